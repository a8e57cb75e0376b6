"""A machine that looks like Kaggle's to a notebook: its folders, read-only inputs, no network."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from conftest import ROOT

from kit.io.locate import DATASET, SLUG

RUNNER = ROOT / "notebooks" / "execute.py"
# Where Kaggle puts what is attached: as it does now, as it did, and with the host's own dataset of the
# same files in place of the competition.
OWNED = {"dataset": "datasets/someone/{}", "kernel": "notebooks/someone/{}"}
LAYOUTS = {
    "now": OWNED | {"competition": f"competitions/{SLUG}"},
    "before": {"dataset": "{}", "kernel": "{}", "competition": SLUG},
    "dataset": OWNED | {"competition": f"datasets/mylliabiotechnology/{DATASET}"},
}

# A root folder that has everything of this machine's and /kaggle besides, in a namespace of its own
# without network. Inputs are read-only.
SHAPED = """
set -e
mount -t tmpfs tmpfs /mnt
for entry in /*; do
    if [ -L "$entry" ]; then cp -P "$entry" /mnt/
    elif [ -d "$entry" ] && [ "$entry" != /mnt ]; then
        mkdir "/mnt$entry"; mount --rbind "$entry" "/mnt$entry"
    fi
done
mkdir -p /mnt/kaggle
mount --rbind "$TREE" /mnt/kaggle
mount --bind /mnt/kaggle/input /mnt/kaggle/input
mount -o remount,ro,bind /mnt/kaggle/input
exec chroot /mnt sh -c 'cd /kaggle/working && exec "$@"' sh "$@"
"""
# What Kaggle's image lacks; a notebook may install anndata by its one `%pip` line. Python runs a file of
# this name when it starts.
ABSENT = ("anndata", "scanpy", "torch_geometric", "leidenalg", "dask")
SITE = """
import sys
from importlib.machinery import PathFinder


class Kaggle(PathFinder):
    @classmethod
    def find_spec(cls, name, *args):
        return None if name in {absent} else super().find_spec(name, *args)


sys.meta_path = [Kaggle if finder is PathFinder else finder for finder in sys.meta_path]
"""
ISOLATED = ["unshare", "--map-root-user", "--mount", "--net"]


def can_isolate():
    """Whether this machine lets us make such namespaces."""
    return shutil.which("unshare") and not subprocess.run([*ISOLATED, "true"]).returncode


class Session:
    """One Kaggle session in `tree`: attach inputs by a layout, run once, without `absent` packages."""

    def __init__(self, tree, layout, absent=ABSENT):
        self.tree, self.layout = Path(tree), LAYOUTS[layout]
        for name in ("input", "working", "source"):
            (self.tree / name).mkdir(parents=True)
        (self.tree / "source" / "sitecustomize.py").write_text(SITE.format(absent=set(absent)))

    def attach(self, kind, folder, name=""):
        """Copy a folder to where Kaggle mounts a `dataset`, `kernel` or `competition`."""
        place = self.tree / "input" / self.layout[kind].format(name)
        shutil.copytree(folder, place, ignore=shutil.ignore_patterns("__pycache__"))
        return place

    @property
    def dataset(self):
        """The mount of the module's dataset."""
        return self.tree / "input" / self.layout["dataset"].format("esg-kit")

    def attach_kit(self, place="kit"):
        """Attach the module, at `place` in its dataset, by default as the one that is pushed holds it."""
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "kit", self.dataset / place, ignore=ignore)
        return self.dataset

    def run_notebook(self, path):
        """Run a notebook as Kaggle does; returns the process. What it shows is in `shown`.

        Networks are trained for few steps: `make demo` trains them as long as the notebooks say.
        """
        shutil.copy(RUNNER, self.tree / "source")
        text = re.sub(r"Settings\(steps=\w+", "Settings(steps=6", path.read_text())
        (self.tree / "source" / path.name).write_text(text)
        return self.run("/kaggle/source/execute.py", f"/kaggle/source/{path.name}", self.shown.name)

    def run(self, *words):
        """Run Python with `words` in the working folder."""
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment |= {
            "TREE": str(self.tree),
            "KAGGLE_KERNEL_RUN_TYPE": "Batch",
            "LANG": "C.UTF-8",
            "PYTHONPATH": "/kaggle/source",
        }
        command = [*ISOLATED, "sh", "-c", SHAPED, "sh", sys.executable, *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    @property
    def printed(self):
        """What the notebook's cells printed, all in one."""
        cells = nbformat.read(self.shown, as_version=4).cells
        outputs = [one for cell in cells for one in cell.get("outputs", ())]
        return "".join(one.get("text", "") for one in outputs)

    @property
    def working(self):
        return self.tree / "working"

    @property
    def shown(self):
        return self.working / "executed.ipynb"


class Kernels:
    """All notebooks as kernels: each runs once, given what its metadata names, earlier outputs too."""

    def __init__(self, folder, competition):
        self.folder, self.competition = Path(folder), competition
        self.sessions = {}

    def session(self, notebook):
        """The session in which a notebook (`04_neighbours_transfer`) ran to its end."""
        if notebook not in self.sessions:
            self.sessions[notebook] = self._run(notebook)
        return self.sessions[notebook]

    def sources(self, notebook):
        """Notebooks whose outputs this one is given."""
        path = ROOT / "kaggle_metadata" / notebook.replace("_", "-") / "kernel-metadata.json"
        slugs = [name.partition("/")[2] for name in json.loads(path.read_text())["kernel_sources"]]
        return [slug.removeprefix("esg-").replace("-", "_") for slug in slugs]

    def _run(self, notebook):
        layout = list(LAYOUTS)[int(notebook[:2]) % len(LAYOUTS)]  # all three, in turn
        given = {name: self.session(name) for name in self.sources(notebook)}
        path = ROOT / "notebooks" / f"{notebook}.ipynb"
        installs = "%pip install -q anndata" in path.read_text()
        session = Session(self.folder / notebook, layout, ABSENT[1:] if installs else ABSENT)
        session.attach("competition", self.competition)
        session.attach_kit()
        for name, earlier in given.items():
            session.attach("kernel", earlier.working, f"esg-{name.replace('_', '-')}")
        done = session.run_notebook(path)
        assert done.returncode == 0, done.stderr[-3000:]
        return session
