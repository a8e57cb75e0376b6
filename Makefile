PYTHON ?= python3
BIN := .venv/bin
space := $() $()
# `abspath` takes a path with spaces for several.
absolute = $(subst |,$(space),$(abspath $(subst $(space),|,$1)))
export ESG_OUTPUTS := $(call absolute,$(or $(ESG_OUTPUTS),outputs))
ifdef ESG_DATA
export ESG_DATA := $(call absolute,$(ESG_DATA))
endif
NOTEBOOKS := $(sort $(wildcard notebooks/[0-9]*.ipynb))

.PHONY: env demo test lint owner push submit

env: .venv/installed

.venv/installed: requirements.txt
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and f'Python {v[0]}.{v[1]} is too old, want 3.11 or newer: make PYTHON=python3.11')"
	@echo "installing requirements.txt into .venv: a minute or more"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

# The twin stands in where there is no competition data; it is made once.
demo: env
	@if [ -z "$$ESG_DATA" ] && [ ! -d data/echoes-of-silenced-genes ]; then \
		$(BIN)/python -m kit twin data/twin-quick; fi
	@for notebook in $(NOTEBOOKS); do \
		name=$$(basename $$notebook .ipynb); echo "$$notebook"; \
		(cd notebooks && ../$(BIN)/python execute.py $$name.ipynb \
			"$(ESG_OUTPUTS)/$$name/$$name.html") || exit 1; \
	done
	@$(BIN)/python -m kit board "$(ESG_OUTPUTS)"

test: env
	$(BIN)/python -m pytest

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
