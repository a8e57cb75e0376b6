"""What tests share: the quick twin, made once, and the folder of real data, where there is one."""

import os
import tempfile
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of small products threads wait for one another
# What `make demo` merged for the same twin is not to be found.
os.environ["ESG_OUTPUTS"] = str(Path(tempfile.gettempdir()) / "outputs-of-tests")
os.environ.setdefault("TQDM_DISABLE", "1")


def pytest_configure(config):
    """Hide the GPU from all but `pytest -m gpu`: on CPU a seed gives the same result everywhere."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session")
def shared():
    """Path inside the folder `shared` beside the project; skips where there is none."""

    def find(*parts):
        path = ROOT.parent.joinpath("shared", *parts)
        if not path.exists():
            pytest.skip(f"needs {path.relative_to(ROOT.parent)} beside the project")
        return path

    return find


@pytest.fixture
def clean(monkeypatch):
    """No data, pathways or tables of names but those of the test, and the usual form of warnings."""
    for name in ("DATA", "PATHWAYS", "ATLAS", "HGNC"):
        monkeypatch.delenv(f"ESG_{name}", raising=False)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)


@pytest.fixture(scope="session")
def twin(tmp_path_factory):
    """Folder of a quick twin with seed 0."""
    from kit.twin import simulate

    return simulate(tmp_path_factory.mktemp("data") / "twin-quick", size="quick", seed=0)
