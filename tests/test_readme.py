"""README.md and docs/ hold: examples run, commands parse, links lead somewhere, the map is whole."""

import pickle
import re
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

import kit
from kit.__main__ import main, parser
from kit.evaluation import find_outputs, read_saved_runs
from kit.knowledge import load_knowledge
from kit.report.board import board

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
README = PAGES["README.md"]
MAP = README.partition("## The map")[2].partition("\n## ")[0]
pytestmark = pytest.mark.filterwarnings("ignore:.*SIMULATED")


def blocks(language):
    """The fenced blocks of a language, by page and number."""
    return {
        f"{page} {number}": block
        for page, text in PAGES.items()
        for number, block in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
        )
    }


def commands():
    """Words of each command of the bash blocks, without comments, environment and place of Python."""
    for block in blocks("bash").values():
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words:
                yield [words[0].rpartition("/")[2], *words[1:]]


def anchors(page):
    """What `#` links to a page may name."""
    headings = re.findall(r"^#+ (.+)$", page, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}


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
    (place / "genept.pickle").write_bytes(pickle.dumps(dict(zip(genes, numbers, strict=True))))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("ESG_DATA", str(twin))
        merges = [words for words in commands() if words[:4] == ["python", "-m", "kit", "merge"]]
        assert main([*merges[-1][3:], "--data", str(twin)]) == 0
    return place


@pytest.mark.parametrize("example", blocks("python"))
def test_an_example_runs_as_it_stands(example, workplace, twin, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("ESG_OUTPUTS", str(workplace / "outputs"))
    monkeypatch.setenv("ESG_DATA", str(twin))
    for name in ("ESG_PATHWAYS", "ESG_ATLAS", "ESG_HGNC"):
        monkeypatch.delenv(name, raising=False)
    made = {}
    exec(compile(blocks("python")[example], example, "exec"), made)
    if "table" in made:
        scores = made["table"][["score", "low", "high"]]
        assert np.isfinite(scores.to_numpy(dtype=float)).all()
        assert list(made["models"]) == list(scores.index)
    if "numbers" in made:
        assert load_knowledge("genept.npz").shape == made["values"].shape
    if "prediction" in made:
        assert main(["check", "submission.csv", "--data", str(twin)]) == 0


def test_the_model_of_the_example_keeps_the_constant_where_it_knows_nothing(
    workplace, twin, monkeypatch
):
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("ESG_DATA", str(twin))
    monkeypatch.setenv("ESG_OUTPUTS", str(workplace / "own"))
    example = next(block for block in blocks("python").values() if "\nclass NearestMean" in block)
    made = {}
    exec(example, made)
    saved, refused = read_saved_runs(made["competition"], find_outputs(workplace / "own"))
    assert {"nearest", "constant"} <= set(
        saved
    )  # so the blend takes it, with the folds of the others
    assert not refused
    assert "nearest" in set(board(workplace / "own")["model"])
    competition, knowledge = made["competition"], made["knowledge"]
    near = knowledge.pathway_kernel(competition.targets["perturbation"], competition.effects.index)
    names = [near.max(axis=1).idxmax(), "NOT_A_GENE"]
    model = list(made["models"].values())[-1].base
    prediction = model.fit(competition).predict(names)
    constant = made["Constant"]().fit(competition).predict(names)
    assert (prediction.columns == competition.genes).all()
    pd.testing.assert_series_equal(prediction.loc["NOT_A_GENE"], constant.loc["NOT_A_GENE"])
    assert not np.allclose(prediction.loc[names[0]], constant.loc[names[0]])
    code = example[example.index("class ") :].partition("\n\n\n")[0]
    assert len(code.splitlines()) <= 22


@pytest.mark.parametrize(
    "words", [words for words in commands() if words[:3] == ["python", "-m", "kit"]], ids=" ".join
)
def test_a_command_of_the_kit_is_one_that_it_takes(words, capsys):
    assert parser().parse_args(words[3:]).command == words[3]


def test_targets_of_make_and_modules_that_are_run_exist():
    makefile = (ROOT / "Makefile").read_text()
    known = {name for line in re.findall(r"^([\w -]+):", makefile, re.M) for name in line.split()}
    named = {words[1] for words in commands() if words[0] == "make"}
    for page in PAGES.values():
        named |= set(re.findall(r"`make ([\w-]+)", page))
        for module in re.findall(r"python -m ((?:benchmarks|kaggle_metadata)[\w.]*)", page):
            path = ROOT.joinpath(*module.split("."))
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
    assert named <= known


def test_the_map_holds_every_room_and_notebook_and_fits_a_page():
    rows = [row for row in MAP.splitlines() if row.startswith("| `")]
    named = [ROOT / name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert not [path for path in named if not path.exists()]
    assert len(set(named)) == len(named)
    rooms = [path.parent for path in (ROOT / "kit").glob("*/__init__.py")]
    rooms += [path for path in (ROOT / "kit").glob("*.py") if not path.name.startswith("__")]
    assert {path for path in named if path.parent == ROOT / "kit"} == set(rooms)
    assert len(rows) <= 20
    assert len(README.splitlines()) <= 200
    notebooks = {path.name[:2] for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    (row,) = (row for row in rows if "`notebooks/`" in row)
    numbers = [int(number) for number in re.findall(r"\b\d\d\b", row)]
    assert set(range(min(numbers), max(numbers) + 1)) == {int(number) for number in notebooks}


def test_figures_are_small_shown_once_and_made_by_the_script():
    shown = [
        (ROOT / page).parent / name
        for page, text in PAGES.items()
        for name in re.findall(r"!\[[^\]]+\]\(([^)]+\.png)\)", text)
    ]
    assert sorted(shown) == sorted((ROOT / "docs").glob("*.png"))
    assert len(shown) == 3
    assert sum(path.stat().st_size for path in shown) < 300_000
    script = (ROOT / "benchmarks" / "figures.py").read_text()
    assert all(f'"{path.stem}"' in script for path in shown)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists()
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8"))


def test_the_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text()
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^version: (.+)$", citation, re.M)[1] == kit.__version__
    assert re.search(r"^## (.+)$", changes, re.M)[1] == kit.__version__
