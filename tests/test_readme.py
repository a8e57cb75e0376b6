"""README.md holds: its examples run, its commands parse, its map is whole, its figures are there."""

import re
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from kit.__main__ import main, parser

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAP = README.partition("## What is where")[2].partition("\n## ")[0]
pytestmark = pytest.mark.filterwarnings("ignore:.*SIMULATED")


def blocks(language):
    """Contents of the fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def commands():
    """Words of each command of the bash blocks, without comments, environment and place of Python."""
    for block in blocks("bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words:
                yield [words[0].rpartition("/")[2], *words[1:]]


def mapped():
    """Paths of the map's first column; a bare name lies beside the one before it."""
    beside = ROOT
    for row in MAP.splitlines():
        for name in re.findall(r"`([^`]+)`", row.split("|")[1]) if row.startswith("| `") else ():
            path = ROOT / name if "/" in name else beside / name
            beside = path.parent
            yield path


@pytest.fixture(scope="module")
def workplace(twin, tmp_path_factory):
    """A folder with the files that the examples name, made of the twin's; its screens are merged."""
    place = tmp_path_factory.mktemp("readme")
    files = {
        "pathways.gmt": "ReactomePathways.gmt",
        "interactions.tsv.gz": "interactions.tsv.gz",
        "TWINB_essential_raw_singlecell_01.h5ad": "K562_essential_raw_singlecell_01.h5ad",
        "TWINC_adata_Training.h5ad": "adata_Training.h5ad",
    }
    for source, name in files.items():
        shutil.copy(twin / source, place / name)
    shutil.copy(place / "ReactomePathways.gmt", place / "GO_Biological_Process_2021.gmt")
    genes = pd.read_csv(twin / "pert_ids_all.csv")["pert"]
    numbers = np.random.default_rng(0).normal(size=(len(genes), 8))
    pd.DataFrame(numbers, genes).to_csv(place / "genept.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("ESG_DATA", str(twin))
        merges = [words for words in commands() if words[:4] == ["python", "-m", "kit", "merge"]]
        assert main([*merges[-1][3:], "--data", str(twin)]) == 0
    return place


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_an_example_runs_as_it_stands(number, workplace, twin, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("ESG_DATA", str(twin))
    for name in ("ESG_PATHWAYS", "ESG_ATLAS", "ESG_HGNC"):
        monkeypatch.delenv(name, raising=False)
    made = {}
    exec(compile(blocks("python")[number], f"README.md, example {number + 1}", "exec"), made)
    if "table" in made:
        scores = made["table"][["score", "low", "high"]]
        assert np.isfinite(scores.to_numpy(dtype=float)).all()
        assert list(made["models"]) == list(scores.index)
    if "prediction" in made:
        assert main(["check", "submission.csv", "--data", str(twin)]) == 0


def test_the_model_of_the_example_keeps_the_constant_where_it_knows_nothing(
    workplace, twin, monkeypatch
):
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("ESG_DATA", str(twin))
    example = next(block for block in blocks("python") if "\nclass " in block)
    made = {}
    exec(example, made)
    competition = made["competition"]
    near = made["pathways"].kernel(competition.targets["perturbation"], competition.effects.index)
    asked = [near.max(axis=1).idxmax(), "NOT_A_GENE"]
    model = list(made["models"].values())[-1].base
    prediction = model.fit(competition).predict(asked)
    constant = made["Constant"]().fit(competition).predict(asked)
    assert (prediction.columns == competition.genes).all()
    pd.testing.assert_series_equal(prediction.loc["NOT_A_GENE"], constant.loc["NOT_A_GENE"])
    assert not np.allclose(prediction.loc[asked[0]], constant.loc[asked[0]])
    code = example[example.index("class ") :].partition("\n\n\n")[0]
    assert len(code.splitlines()) <= 22


@pytest.mark.parametrize(
    "words", [words for words in commands() if words[:3] == ["python", "-m", "kit"]], ids=" ".join
)
def test_a_command_of_the_kit_is_one_that_it_takes(words, capsys):
    assert parser().parse_args(words[3:]).command == words[3]


def test_targets_of_make_exist_and_modules_that_are_run_too():
    makefile = (ROOT / "Makefile").read_text()
    known = {name for line in re.findall(r"^([\w ]+):", makefile, re.M) for name in line.split()}
    spoken = {words[1] for words in commands() if words[0] == "make"}
    spoken |= set(re.findall(r"`make ([\w-]+)", README))
    assert spoken <= known
    for module in re.findall(r"python -m ((?:benchmarks|kaggle_metadata)[\w.]*)", README):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def test_every_path_of_the_map_exists():
    paths = list(mapped())
    assert len(paths) > 50
    assert not [str(path.relative_to(ROOT)) for path in paths if not path.exists()]
    assert len(set(paths)) == len(paths)


def test_every_file_of_the_kit_is_in_the_map():
    named = set(mapped())
    files = [path for path in (ROOT / "kit").rglob("*.py") if path.name != "__init__.py"]
    lost = [path for path in files if not named & {path, *path.parents}]
    assert not [str(path.relative_to(ROOT)) for path in lost]


def test_figures_are_small_shown_and_made_by_the_script():
    shown = re.findall(r"!\[[^\]]+\]\((docs/[\w.]+)\)", README)
    assert sorted(ROOT / name for name in shown) == sorted((ROOT / "docs").iterdir())
    assert len(shown) == 3
    assert sum((ROOT / name).stat().st_size for name in shown) < 300_000
    script = (ROOT / "benchmarks" / "figures.py").read_text()
    assert all(f'"{name[5:-4]}")' in script for name in shown)


def test_links_within_the_page_lead_somewhere():
    headings = re.findall(r"^#+ (.+)$", README, re.M)
    anchors = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("http"):
            assert (ROOT / target).exists()
