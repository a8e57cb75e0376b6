PYTHON ?= python3
# Python 3.12 as in Kaggle's image, where it runs. Its torch from PyPI is a CUDA build (7 GB) on Linux; a lighter
# build of the same version that stands in .venv-kaggle already is kept.
KAGGLE_PYTHON ?= $(if $(shell python3.12 -c "import ensurepip; print(1)" 2>/dev/null),python3.12,$(PYTHON))
BIN := .venv/bin
space := $() $()
# `abspath` takes a path with spaces for several.
absolute = $(subst |,$(space),$(abspath $(subst $(space),|,$1)))
export ESG_OUTPUTS := $(call absolute,$(or $(ESG_OUTPUTS),outputs))
ifdef ESG_DATA
export ESG_DATA := $(call absolute,$(ESG_DATA))
endif
NOTEBOOKS := $(sort $(wildcard notebooks/[0-9]*.ipynb))
RUNS := $(NOTEBOOKS:notebooks/%.ipynb=run-%)

.PHONY: env data $(RUNS) demo test test-kaggle lint owner push submit

env: .venv/installed

.venv/installed: requirements.txt
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and f'Python {v[0]}.{v[1]} is too old, want 3.11 or newer: make PYTHON=python3.11')"
	$(call install,$(PYTHON))

.venv-kaggle/installed: requirements-kaggle.txt
	@$(KAGGLE_PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(v not in ((3, 11), (3, 12)) and f'Python {v[0]}.{v[1]} has no wheels of the versions on Kaggle, want 3.11 or 3.12: make test-kaggle KAGGLE_PYTHON=python3.12')"
	$(call install,$(KAGGLE_PYTHON))

# A virtual environment of this Python in the folder of the target.
define install
@echo "installing $< into $(@D): a minute or more"
@$1 -m venv $(@D)
@$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
@touch $@
endef

# One notebook after another, or as many at once as -j says: `make -j2 demo`.
demo: $(RUNS)
	@$(BIN)/python -m kit board "$(ESG_OUTPUTS)"

$(RUNS): run-%: data
	@number=0; for run in $(RUNS); do number=$$((number + 1)); [ $$run = $@ ] && break; done; \
	said="$$number of $(words $(RUNS)): notebooks/$*.ipynb"; echo "$$said"; begun=$$(date +%s); \
	cd notebooks && ../$(BIN)/python execute.py $*.ipynb "$(ESG_OUTPUTS)/$*/$*.html" && \
	echo "$$said took $$(($$(date +%s) - begun)) s"

# 00 merges the screens for the others, 08 blends their models. 09 waits, or 08 could meet its half-written
# outputs.
$(filter-out run-00%,$(RUNS)): $(filter run-00%,$(RUNS))
$(filter run-08%,$(RUNS)): $(filter-out run-08% run-09%,$(RUNS))
$(filter run-09%,$(RUNS)): $(filter run-08%,$(RUNS))

# The twin stands in where there is no competition data; it is made once.
data: env
	@if [ -z "$$ESG_DATA" ] && [ ! -d data/echoes-of-silenced-genes ]; then \
		$(BIN)/python -m kit twin data/twin-quick; fi

# In two processes, for two cores. `python -m pytest` runs the same in one.
test: env
	$(BIN)/python tests/side_by_side.py

# The model contract, the networks, merge, submission and three notebooks on the versions of Kaggle's image.
test-kaggle: .venv-kaggle/installed
	.venv-kaggle/bin/python tests/side_by_side.py kaggle

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# To Kaggle (see docs/kaggle.md): make owner NAME=jane, make push [NOTEBOOK=03] [DRY=1], make submit FILE=...
owner: env
	@$(if $(NAME),,$(error say whose: make owner NAME=your-kaggle-name))
	@$(BIN)/python -m kaggle_metadata owner "$(NAME)"

push: env
	@$(BIN)/python -m kaggle_metadata push $(NOTEBOOK) $(if $(DRY),--dry-run)

submit: env
	@$(if $(FILE),,$(error say what: make submit FILE=outputs/kaggle/08_ensemble/submission.csv))
	@$(BIN)/python -m kaggle_metadata submit "$(FILE)" $(if $(MESSAGE),--message "$(MESSAGE)") \
		$(if $(DRY),--dry-run)
