"""To Kaggle with the real `kaggle` command, against a server on this machine."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace

import nbformat
import pytest
from conftest import ROOT
from kaggle_server import OUTPUTS, KaggleServer

from kaggle_metadata import metadata
from kaggle_metadata.client import Busy
from kaggle_metadata.notebook import as_sent
from kaggle_metadata.push import follow
from kaggle_metadata.staging import stage_module
from kit import InputError

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))


def has_kaggle():
    # The command reads its settings on import: it must not see anyone's real ones.
    probe = [sys.executable, "-c", "import kaggle.cli"]
    nothing = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "KAGGLE_KEY": "none"}
    nothing |= {"KAGGLE_USERNAME": "nobody", "KAGGLE_CONFIG_DIR": "/nonexistent"}
    return subprocess.run(probe, env=nothing, capture_output=True).returncode == 0


needs_kaggle = pytest.mark.skipif(
    not has_kaggle(), reason="needs the `kaggle` command: pip install -r requirements-options.txt"
)


@pytest.fixture
def checkout(tmp_path):
    """A copy of what is sent, with an owner."""
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "owner")
    for name in ("kit", "kaggle_metadata", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=ignore)
    (tmp_path / "kaggle_metadata" / "owner").write_text("jane-doe\n")
    return tmp_path


@pytest.fixture
def kaggle(tmp_path):
    (tmp_path / "home").mkdir()
    with KaggleServer(tmp_path / "home") as server:
        yield server


def run(checkout, server, *words):
    """`python -m kaggle_metadata` in the copy; the server is all the network there is."""
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"} | server.environment
    command = [sys.executable, "-m", "kaggle_metadata", *map(str, words)]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)


def push(checkout, server, *words):
    return run(checkout, server, "push", *words, "--poll", 0, "--ready", 60, "--still", 60)


def change_sources(checkout, kernel, key, *names):
    """Attach more to a kernel."""
    path = checkout / "kaggle_metadata" / kernel / "kernel-metadata.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {key: [*data[key], *names]}))


def assert_names(done, *words):
    """It failed and said why in one line, warnings aside."""
    assert done.returncode == 1, done.stdout
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in done.stderr


@needs_kaggle
def test_everything_is_pushed_as_its_metadata_says_and_outputs_come_back(checkout, kaggle):
    caches = checkout / "kit" / "screens" / "__pycache__"
    caches.mkdir(parents=True)
    (caches / "kernels.nbc").write_bytes(b"cached")
    done = push(checkout, kaggle)
    assert done.returncode == 0, done.stderr
    first = [route for route, _ in kaggle.requests].index("SaveKernel")
    assert kaggle.requests[first - 1][0] == "GetDatasetStatus"  # and it said ready
    assert kaggle.datasets["jane-doe/esg-kit"] < 0
    sent = zipfile.ZipFile(io.BytesIO(kaggle.files["kit.zip"])).namelist()
    ours = {path.relative_to(ROOT / "kit") for path in (ROOT / "kit").rglob("*.*")}
    ours = {str(path) for path in ours if "__pycache__" not in path.parts}
    assert ours == set(sent)
    bodies = {body["slug"]: body for body in kaggle.bodies("SaveKernel")}
    assert len(bodies) == len(NOTEBOOKS)
    for folder in sorted((checkout / "kaggle_metadata").glob("[0-9]*")):
        text = (folder / "kernel-metadata.json").read_text()
        data = json.loads(text.replace("OWNER/", "jane-doe/"))
        body = bodies[data["id"]]
        expected = {
            "newTitle": data["title"],
            "language": "python",
            "kernelType": "notebook",
            "isPrivate": True,
            "enableGpu": data["enable_gpu"],
            "enableTpu": False,
            "enableInternet": data["enable_internet"],
            "datasetDataSources": data["dataset_sources"],
            "competitionDataSources": ["echoes-of-silenced-genes"],
            "kernelDataSources": data["kernel_sources"],
        }
        # An empty list does not travel.
        assert {key: body.get(key, []) for key in expected} == expected
        assert body.get("machineShape") == data.get("machine_shape")
        cells = nbformat.read(folder / data["code_file"], as_version=4).cells
        assert [cell["source"] for cell in json.loads(body["text"])["cells"]] == [
            cell.source for cell in cells
        ]
    order = list(bodies)
    for slug, body in bodies.items():
        assert all(
            order.index(name) < order.index(slug) for name in body.get("kernelDataSources", [])
        )
    assert kaggle.most_gpus <= 2
    for name in NOTEBOOKS:
        fetched = checkout / "outputs" / "kaggle" / name
        assert (fetched / "submission.csv").read_bytes() == OUTPUTS["submission.csv"]
        assert "ran" in (fetched / f"esg-{name.replace('_', '-')}.log").read_text()
        assert not (fetched / "parts").exists()
    again = push(checkout, kaggle, "02")
    assert again.returncode == 0, again.stderr
    assert kaggle.counts()["CreateDataset"] == 1
    assert kaggle.counts()["CreateDatasetVersion"] == 1
    assert kaggle.bodies("SaveKernel")[-1]["slug"] == "jane-doe/esg-02-baseline"


def test_caches_and_hidden_folders_are_not_staged(checkout, monkeypatch):
    for name in ("__pycache__", ".ipynb_checkpoints"):
        (checkout / "kit" / "io" / name).mkdir()
    monkeypatch.setattr("kaggle_metadata.staging.FOLDER", checkout / "kaggle_metadata")
    staged = stage_module(checkout / "staged")
    assert (staged / "kit" / "io" / "files.py").is_file()
    assert not [*staged.rglob("__pycache__"), *staged.rglob(".*")]


@needs_kaggle
def test_what_is_staged_can_be_pushed_by_the_plain_command(checkout, kaggle):
    kaggle.datasets["jane-doe/esg-kit"] = 0
    place = checkout / "staged"
    done = run(checkout, kaggle, "stage", place, "02")
    assert done.returncode == 0, done.stderr
    assert json.loads((place / "esg-kit" / "dataset-metadata.json").read_text())["id"].count("jane")
    assert (place / "esg-kit" / "kit" / "metric.py").is_file()
    command = [sys.executable, "-m", "kaggle", "kernels", "push", "-p", place / "02-baseline"]
    environment = {"PATH": os.environ["PATH"]} | kaggle.environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "Kernel version 1 successfully pushed" in done.stdout
    assert "not valid" not in done.stdout
    assert_names(run(checkout, kaggle, "stage", place, "02"), "is not empty")


@needs_kaggle
def test_an_own_output_that_does_not_exist_yet_stops_the_push_before_anything_is_sent(
    checkout, kaggle
):
    done = push(checkout, kaggle, "04", "05")
    assert_names(
        done, "04-neighbours-transfer, 05-vae attach the output of 00-merge", "nothing was sent"
    )
    assert set(kaggle.counts()) == {"GetKernelSessionStatus"}
    dry = run(checkout, kaggle, "push", "04", "--dry-run")
    assert dry.returncode == 0
    assert "which does not exist yet; run first: make push NOTEBOOK=00-merge" in dry.stderr
    kaggle.sessions["jane-doe/esg-00-merge"] = {"left": 9, "gpu": False, "version": 1}
    assert "is in state RUNNING" in run(checkout, kaggle, "push", "04", "--dry-run").stderr
    kaggle.sessions["jane-doe/esg-00-merge"]["left"] = 0
    dry = run(checkout, kaggle, "push", "04", "--dry-run")
    assert dry.returncode == 0
    assert "warning" not in dry.stderr
    done = push(checkout, kaggle, "04")
    assert done.returncode == 0, done.stderr


@needs_kaggle
def test_an_input_of_a_stranger_that_is_not_there_is_named_by_the_dry_run(checkout, kaggle):
    change_sources(checkout, "02-baseline", "dataset_sources", "amy/screens", "amy/others/3")
    kaggle.datasets["amy/others"] = 0
    dry = run(checkout, kaggle, "push", "02", "--dry-run")
    assert dry.returncode == 0
    assert "02-baseline attaches amy/screens, which does not exist" in dry.stderr
    assert "amy/others" not in dry.stderr


def test_a_dry_run_without_kaggle_names_inputs_of_which_nothing_is_known(checkout, kaggle):
    kaggle.refuse |= dict.fromkeys(("GetKernelSessionStatus", "GetDatasetStatus"), (500, "Broken"))
    dry = run(checkout, kaggle, "push", "04", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "the output of 00-merge, which may not exist yet" in dry.stderr
    assert "(Kaggle was not asked: " in dry.stderr
    log = checkout / "outputs" / "kaggle" / "00_merge" / "esg-00-merge.log"
    log.parent.mkdir(parents=True)
    log.write_text("[]")
    assert "may not exist" not in run(checkout, kaggle, "push", "04", "--dry-run").stderr


@needs_kaggle
def test_a_server_error_is_reported(checkout, kaggle):
    kaggle.refuse["SaveKernel"] = (500, "Something went wrong")
    assert_names(push(checkout, kaggle, "02"), "esg-02-baseline", "went wrong")


@needs_kaggle
def test_an_expired_token_is_reported_before_anything_is_sent(checkout, kaggle):
    kaggle.refuse["GetDatasetStatus"] = (401, "Unauthenticated")
    assert_names(push(checkout, kaggle, "02"), "token", "401")
    assert set(kaggle.counts()) == {"GetDatasetStatus"}


@needs_kaggle
def test_a_source_that_kaggle_does_not_know_is_reported_though_the_kernel_was_taken(
    checkout, kaggle
):
    change_sources(checkout, "02-baseline", "dataset_sources", "somebody/a-screen")
    done = push(checkout, kaggle, "02")
    assert_names(done, "not valid dataset sources", "somebody/a-screen")
    assert kaggle.sessions


@needs_kaggle
def test_a_dataset_that_is_never_ready_is_reported_and_no_kernel_is_pushed(checkout, kaggle):
    kaggle.pending = 10_000
    done = run(checkout, kaggle, "push", "02", "--poll", 0, "--ready", 0.1)
    assert_names(done, "jane-doe/esg-kit is not_yet_persisted after 0.1 s")
    assert not kaggle.sessions
    kaggle.broken.add("jane-doe/esg-kit")
    assert_names(push(checkout, kaggle, "02"), "jane-doe/esg-kit is failed at Kaggle")
    assert not kaggle.sessions


@needs_kaggle
def test_a_kernel_that_fails_is_reported_with_its_log_and_those_that_need_it_stay(checkout, kaggle):
    kaggle.failing["jane-doe/esg-00-merge"] = "Out of memory"
    kaggle.silent.add("jane-doe/esg-02-baseline")
    done = push(checkout, kaggle, "00", "02", "04")
    assert_names(done, "3 of 3", "ERROR (Out of memory)", "needs jane-doe/esg-00-merge")
    assert "esg-02-baseline: is complete but left no report.json" in done.stderr
    assert "jane-doe/esg-04-neighbours-transfer" not in kaggle.sessions
    assert (checkout / "outputs/kaggle/00_merge/esg-00-merge.log").exists()


@needs_kaggle
def test_a_submission_is_checked_then_sent(checkout, kaggle, twin, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(twin, data, ignore=shutil.ignore_patterns("*.h5ad", "twin.json"))
    good = data / "sample_submission.csv"
    words = ("--data", data, "--message", "the sample")
    dry = run(checkout, kaggle, "submit", good, *words, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert not kaggle.requests
    done = run(checkout, kaggle, "submit", good, *words)
    assert done.returncode == 0, done.stderr
    (sent,) = kaggle.submissions
    assert sent["competitionName"] == "echoes-of-silenced-genes"
    assert sent["submissionDescription"] == "the sample"
    assert kaggle.files["sample_submission.csv"] == good.read_bytes()
    bad = tmp_path / "bad.csv"
    bad.write_text("".join(good.read_text().splitlines(keepends=True)[:-1]))
    assert_names(run(checkout, kaggle, "submit", bad, *words), "missing")
    assert_names(run(checkout, kaggle, "submit", good, "--data", twin), "simulated data")
    assert len(kaggle.submissions) == 1
    kaggle.refuse["CreateSubmission"] = (403, "Forbidden")
    done = run(checkout, kaggle, "submit", good, *words)
    assert_names(done, "Forbidden; accept the rules at www.kaggle.com/")
    kaggle.refuse["CreateSubmission"] = (400, "Submission limit of 1 a day reached")
    assert_names(run(checkout, kaggle, "submit", good, *words), "limit of 1 a day")


def test_every_notebook_has_a_kernel_and_all_of_it_is_good(checkout):
    folder = checkout / "kaggle_metadata"
    kernels = metadata.read_kernels(folder)
    assert metadata.faults(kernels, folder) == []
    assert sorted(kernel.notebook.stem for kernel in kernels) == NOTEBOOKS
    for kernel in kernels:
        assert kernel.folder.name == kernel.notebook.stem.replace("_", "-")
        assert kernel.slug == f"esg-{kernel.folder.name}"
    link = ROOT / "kaggle_metadata" / "esg-kit" / "kit"
    assert link.resolve() == ROOT / "kit"


def test_a_dry_run_lists_what_would_be_sent_and_sends_nothing(checkout, kaggle):
    done = run(checkout, kaggle, "push", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert not kaggle.requests
    lines = done.stdout.splitlines()
    assert "kit/ as jane-doe/esg-kit" in lines[0]
    assert sum("would push" in line for line in lines) == len(NOTEBOOKS)
    assert "verified phone number" in lines[-1]
    line = next(line for line in lines if "04_neighbours_transfer.ipynb" in line)
    assert line.endswith("after esg-00-merge")


def test_nothing_is_sent_before_an_owner_is_known(checkout, kaggle, monkeypatch):
    (checkout / "kaggle_metadata" / "owner").unlink()
    monkeypatch.setattr(KaggleServer, "user", None)
    done = run(checkout, kaggle, "push", "02")
    assert_names(done, "make owner NAME=")
    assert not kaggle.requests


def test_the_owner_is_kept_outside_of_what_git_tracks_and_strangers_stay(checkout, kaggle):
    folder = checkout / "kaggle_metadata"
    change_sources(checkout, "00-merge", "dataset_sources", "amy/esg-screens", "OWNER/screens/2")
    before = {path: path.read_text() for path in folder.glob("*/*.json")}
    done = run(checkout, kaggle, "owner", "John-2")
    assert done.returncode == 0, done.stderr
    assert {path: path.read_text() for path in folder.glob("*/*.json")} == before
    assert (
        subprocess.run(["git", "check-ignore", "-q", "kaggle_metadata/owner"], cwd=ROOT).returncode
        == 0
    )
    merge, *others = metadata.read_kernels(folder)
    assert {one.owner for one in (merge, *others)} == {"John-2"}
    assert merge.data["dataset_sources"] == [
        "John-2/esg-kit",
        "amy/esg-screens",
        "John-2/screens/2",
    ]
    assert metadata.read_dataset(folder)["id"] == "John-2/esg-kit"
    assert_names(run(checkout, kaggle, "owner", "a/b"), "no Kaggle user name")


def test_an_owner_that_stands_in_the_files_of_an_older_checkout_counts(checkout):
    folder = checkout / "kaggle_metadata"
    change_sources(checkout, "00-merge", "dataset_sources", "jim/screens")
    for path in folder.glob("*/*.json"):
        path.write_text(path.read_text().replace("OWNER/", "jim/"))
    (folder / "owner").unlink()
    kernels = metadata.read_kernels(folder)
    assert {one.owner for one in kernels} == {"jim"}
    assert metadata.faults(kernels, folder) == []
    metadata.set_owner("ann", folder)
    kernels = metadata.read_kernels(folder)
    assert {one.owner for one in kernels} == {"ann"}
    assert kernels[0].data["dataset_sources"] == ["ann/esg-kit", "jim/screens"]


def test_without_make_owner_the_user_name_of_the_login_counts(checkout, tmp_path, monkeypatch):
    folder = checkout / "kaggle_metadata"
    (folder / "owner").unlink()
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    assert metadata.find_owner(folder)[0] == "OWNER"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "kaggle.json").write_text('{"username": "sue", "key": "none"}')
    assert metadata.find_owner(folder) == ("sue", "kaggle.json")
    monkeypatch.setenv("KAGGLE_USERNAME", "zoe")
    assert metadata.find_owner(folder) == ("zoe", "$KAGGLE_USERNAME")


CHANGES = {
    "want jane-doe/esg-02-base as title": {"title": "ESG 02 Base"},
    "unknown keys, which Kaggle ignores: enable_gpus": {"enable_gpus": True},
    "is_private: want true or false": {"is_private": "yes"},
    "machine_shape is NvidiaTeslaP100, want NvidiaTeslaT4": {
        "enable_gpu": True,
        "machine_shape": "NvidiaTeslaP100",
    },
    "competition_sources lack echoes-of-silenced-genes": {"competition_sources": []},
    "dataset_sources lack jane-doe/esg-kit": {"dataset_sources": ["amy/esg-kit"]},
    "kernel_sources name no kernel here: jane-doe/esg-99-none": {
        "kernel_sources": ["jane-doe/esg-99-none"]
    },
    "none.ipynb does not exist": {"code_file": "../../notebooks/none.ipynb"},
}


@pytest.mark.parametrize("fault", CHANGES)
def test_what_kaggle_would_refuse_or_drop_is_found(fault, checkout):
    folder = checkout / "kaggle_metadata"
    kernels = metadata.chosen(metadata.read_kernels(folder), ["02"])
    assert metadata.faults(kernels, folder) == []
    bad = replace(kernels[0], data=kernels[0].data | CHANGES[fault])
    (found,) = metadata.faults([bad], folder)
    assert found.startswith("02-baseline: ")
    assert fault in found


def dirty(path):
    """Make a notebook one that ran in Jupyter and on Kaggle, with a kernel of one's own."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, 1):
        cell.execution_count = number
        cell.outputs = [nbformat.v4.new_output("stream", text="x" * 1_000_000)]
        cell.metadata = {"trusted": True, "execution": {"iopub": "2026"}, "_kg_hide-input": True}
    notebook.metadata = {
        "kernelspec": {"name": "my-env", "display_name": "mine", "language": "python"},
        "language_info": {"name": "python", "version": "3.11.7"},
        "kaggle": {"dockerImageVersionId": 1},
    }
    nbformat.write(notebook, path)


@needs_kaggle
def test_a_notebook_that_was_run_is_sent_without_what_the_run_left(checkout, kaggle):
    path = checkout / "notebooks" / "02_baseline.ipynb"
    dirty(path)
    text = path.read_text()
    done = push(checkout, kaggle, "02")
    assert done.returncode == 0, done.stderr
    assert path.read_text() == text
    sent = json.loads(kaggle.bodies("SaveKernel")[0]["text"])
    clean = nbformat.read(ROOT / "notebooks" / path.name, as_version=4)
    assert sent["metadata"] == clean.metadata
    assert [cell["source"] for cell in sent["cells"]] == [cell.source for cell in clean.cells]
    for cell in sent["cells"]:
        code = cell["cell_type"] == "code"
        assert cell["metadata"] == ({"_kg_hide-input": True} if code else {})
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_check_names_what_is_left_out_in_a_line_each(checkout, kaggle):
    clean = run(checkout, kaggle, "check")
    assert clean.stdout.count("\n") == 1, clean.stderr
    for name in ("02_baseline", "05_vae"):
        dirty(checkout / "notebooks" / f"{name}.ipynb")
    done = run(checkout, kaggle, "check")
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert last.endswith("good")
    assert len(lines) == 3
    for line, words in zip(lines, ("outputs left out", "metadata of runs", "my-env"), strict=True):
        assert words in line
        assert line.endswith("02_baseline.ipynb, 05_vae.ipynb")


@pytest.mark.parametrize("metadata", [{}, {"language_info": {"name": "python"}}])
def test_a_notebook_without_kernelspec_is_sent_with_one(metadata, checkout, kaggle):
    path = checkout / "notebooks" / "02_baseline.ipynb"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metadata": metadata}))
    done = run(checkout, kaggle, "check", "02")
    assert done.returncode == 0, done.stderr
    assert "kernelspec python3 added to 02_baseline.ipynb" in done.stdout
    assert json.loads(as_sent(path))["metadata"]["kernelspec"]["name"] == "python3"


@pytest.mark.parametrize("kind", ["large", "other language", "old format"])
def test_a_notebook_that_kaggle_could_not_run_is_not_sent(kind, checkout, kaggle):
    path = checkout / "notebooks" / "02_baseline.ipynb"
    notebook = nbformat.read(path, as_version=4)
    if kind == "large":
        notebook.cells[0].source += "x" * 1_000_000
        fault = "want less than 1,000,000"
    elif kind == "other language":
        notebook.metadata["kernelspec"] = {"name": "ir", "display_name": "R", "language": "R"}
        fault = "02_baseline.ipynb is written in R, want python"
    else:
        notebook = {"nbformat": 3, "nbformat_minor": 0, "worksheets": [], "metadata": {}}
        fault = "is no notebook of format 4"
    path.write_text(json.dumps(notebook))
    assert_names(run(checkout, kaggle, "push", "02"), fault)
    assert not kaggle.requests


def test_kernels_that_wait_for_each_other_are_found(checkout):
    folder = checkout / "kaggle_metadata"
    path = folder / "00-merge" / "kernel-metadata.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"kernel_sources": ["jane-doe/esg-04-neighbours-transfer"]}))
    with pytest.raises(InputError, match=r"wait for each other: .*esg-00-merge"):
        metadata.read_kernels(folder)


class Account:
    """Sessions that end after a number of questions, and a limit that other sessions share."""

    def __init__(self, limit, questions=2):
        self.limit, self.questions = limit, questions
        self.left, self.most, self.order = {}, 0, []

    def push(self, folder):
        active = sum(left > 0 for left in self.left.values())
        if active >= self.limit:
            raise Busy("Maximum batch GPU session count reached")
        self.left[f"jane-doe/esg-{folder.name}"] = self.questions
        self.order.append(folder.name)
        self.most = max(self.most, active + 1)

    def kernel_state(self, name):
        self.left[name] -= 1
        return ("COMPLETE" if self.left[name] <= 0 else "RUNNING"), ""

    def fetch(self, name, folder):
        folder.mkdir(parents=True)
        (folder / "report.json").write_text("{}")


def gpu_kernels(folder, *names):
    """Kernels that need a GPU, each with a notebook."""
    kernels = []
    for name in names:
        (folder / name).mkdir()
        notebook = shutil.copy(
            ROOT / "notebooks" / "02_baseline.ipynb", folder / name / f"{name}.ipynb"
        )
        data = {"id": f"jane-doe/esg-{name}", "code_file": notebook.name, "kernel_sources": []}
        kernels.append(metadata.Kernel(folder / name, data | {"enable_gpu": True}))
    return kernels


@pytest.mark.parametrize(("limit", "most"), [(9, 2), (1, 1)])
def test_gpu_kernels_run_two_at_once_or_as_few_as_the_account_has_free(limit, most, tmp_path):
    kernels = gpu_kernels(tmp_path, "05", "06", "07", "08")
    kernels[3].data["kernel_sources"] = [kernels[0].id]
    account = Account(limit)
    faults = follow(account, kernels, tmp_path / "out", poll=0, patience=5, say=lambda _: None)
    assert faults == {}
    assert account.most == most
    assert sorted(account.order) == ["05", "06", "07", "08"]
    assert account.order.index("08") > account.order.index("05")


def test_what_does_not_start_or_end_is_given_up(tmp_path):
    kernels = gpu_kernels(tmp_path, "1", "2", "3")
    account = Account(9, questions=10**9)
    faults = follow(account, kernels, tmp_path / "out", poll=0, patience=0.05, say=lambda _: None)
    assert "still runs" in faults["jane-doe/esg-1"]
    assert "not pushed within" in faults["jane-doe/esg-3"]
