"""What is found by itself: where, in which order, what is not taken and why, and what may never be."""

import gzip
import shutil
import warnings
from itertools import pairwise

import h5py
import numpy as np
import pandas as pd
import pytest
from small_competition import GENES, TARGETS, TRAINING, write_small, write_solution
from small_merged import write_responses

from kit import InputError, load_competition
from kit.io import locate
from kit.knowledge import gather, load_pathways
from kit.screens import find_responses, merge, read_responses
from kit.screens.gene_names import GeneNames

NAMES = sorted({*GENES, *TRAINING, *TARGETS.values()})
SETS = "".join(f"set {i}\tS-{i}\t" + "\t".join(NAMES[i : i + 4]) + "\n" for i in range(4))
EDGES = "".join(f"{one} {other}\n" for one, other in pairwise(NAMES))
TABLE = pd.DataFrame(np.random.default_rng(0).normal(size=(len(NAMES), 12)), NAMES)
TABLE = TABLE.add_prefix("x")
FOREIGN = "a set\tid\tYAL001C\tYAL002W\tYBR160W\n"


@pytest.fixture
def nowhere(clean, tmp_path, monkeypatch):
    """An empty project and no Kaggle, no network: nothing to find."""
    monkeypatch.delenv("ESG_OUTPUTS", raising=False)
    monkeypatch.delenv("ESG_DATA", raising=False)
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    monkeypatch.setattr(locate, "ROOT", tmp_path / "project")
    monkeypatch.setattr(locate, "KAGGLE_INPUT", tmp_path / "input")
    monkeypatch.setattr("kit.io.files.urllib.request.urlopen", _refuse)
    return tmp_path


def _refuse(*_, **__):
    raise OSError("no network")


@pytest.fixture
def competition(nowhere):
    folder = write_small(nowhere / "data")
    (folder / "hgnc_complete_set.txt").write_text("symbol\n" + "\n".join(NAMES) + "\n")
    return load_competition(folder)


def write_atlas(place, made_for=None, *, own=False, simulated=False):
    """A `responses.h5ad` in a folder, made for a competition (its hash) or without provenance."""
    place.mkdir(parents=True, exist_ok=True)
    effects = pd.DataFrame(np.eye(3, len(GENES)), ["0", "1", "2"], GENES)
    obs = pd.DataFrame({"sgrna_symbol": NAMES[:3], "dataset": "k", "n_cells": 9.0}, effects.index)
    path = write_responses(place / "responses.h5ad", effects, obs.assign(competition=own))
    if made_for is not None:
        with h5py.File(path, "a") as file:
            file["uns/provenance/competition"] = made_for
            file["uns/provenance/simulated"] = simulated
    return path


def remarks(competition, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return gather(competition, **options).remarks


# Atlases


def test_an_atlas_is_searched_for_in_one_order(competition, nowhere, monkeypatch):
    ours = competition.training_hash
    variable, argument = write_atlas(nowhere / "variable"), write_atlas(nowhere / "argument")
    # Of places to which only the user copies no hash is asked.
    folders = {"data": None, "project/outputs/00_merge": ours, "project/data/atlas": ours}
    found = [write_atlas(nowhere / folder, made_for) for folder, made_for in folders.items()]
    write_atlas(nowhere / "input" / "datasets" / "a" / "b")  # off Kaggle there is no such folder
    monkeypatch.setattr(locate, "on_kaggle", lambda: True)
    monkeypatch.setattr(locate, "output_folder", lambda name: nowhere / "project/outputs" / name)
    found += sorted((nowhere / "input").glob("datasets/*/*/responses.h5ad"))
    for path in found:
        assert find_responses(competition=competition) == path
        knowledge = gather(competition)
        assert knowledge.atlas.source == path
        assert str(path) in next(line for line in knowledge.remarks if line.startswith("atlas"))
        path.unlink()
    assert find_responses(competition=competition) is None
    monkeypatch.setenv("ESG_ATLAS", str(variable))
    assert gather(competition).atlas.source == variable
    assert gather(competition, atlas=argument).atlas.source == argument


def test_an_atlas_with_another_name_must_be_named(competition):
    path = write_atlas(competition.source).rename(competition.source / "atlas.h5ad")
    assert find_responses(competition=competition) is None
    assert any(line.startswith("atlas: none") for line in remarks(competition))
    assert sum("--atlas" in line and str(path) in line for line in remarks(competition)) == 1
    assert gather(competition, atlas=path).atlas.source == path


@pytest.mark.parametrize("place", ["data", "project/outputs/00_merge", "project/data/atlas"])
@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"made_for": "another"}, "another competition"),
        ({"made_for": "another", "simulated": True}, "simulated data"),
        ({"own": True}, "own cells only"),
    ],
)
def test_an_atlas_of_other_data_is_passed_over_with_one_line(
    competition, nowhere, place, options, why
):
    path = write_atlas(nowhere / place, **options)
    assert find_responses(competition=competition) is None
    (line,) = (line for line in remarks(competition) if str(path) in line)
    assert line.startswith("ignored")
    assert why in line
    if "made_for" in options:
        with pytest.warns(UserWarning, match=why):
            assert len(gather(competition, atlas=path).atlas.obs) == 3
    (nowhere / "input").mkdir()
    mounted = write_atlas(nowhere / "input" / "mine")
    assert gather(competition).atlas.source == mounted


@pytest.mark.parametrize("place", ["project/outputs/00_merge", "project/data/atlas"])
def test_where_the_kit_writes_an_atlas_must_name_its_competition(competition, nowhere, place):
    path = write_atlas(nowhere / place)
    assert gather(competition).atlas is None
    assert any(line.startswith(f"ignored: {path}") for line in remarks(competition))
    assert find_responses() is None


def test_a_damaged_atlas_is_passed_over_and_a_named_one_is_an_error(competition, nowhere):
    path = competition.source / "responses.h5ad"
    path.write_bytes(b"cut off")
    later = write_atlas(nowhere / "project/data/atlas", competition.training_hash)
    assert gather(competition).atlas.source == later
    with pytest.raises(InputError, match="cannot be read"):
        gather(competition, atlas=path)


def test_the_hash_stays_when_truth_and_names_are_added_and_not_when_effects_change(nowhere):
    folder = write_small(nowhere / "data")
    (folder / "pert_ids_all.csv").rename(nowhere / "later.csv")
    before = load_competition(folder)
    write_solution(folder)
    (nowhere / "later.csv").rename(folder / "pert_ids_all.csv")
    after = load_competition(folder)
    assert after.data_hash != before.data_hash
    assert after.training_hash == before.training_hash == after.with_released().training_hash
    other = load_competition(write_small(nowhere / "other", seed=1))
    assert other.training_hash != before.training_hash


def test_what_00_merged_is_used_and_screens_are_merged_once(twin, nowhere, monkeypatch):
    monkeypatch.setenv("ESG_OUTPUTS", str(nowhere / "outputs"))
    with pytest.warns(UserWarning, match="SIMULATED"):
        competition = load_competition(twin)
    screens = sorted({*twin.glob("*.h5ad")} - {competition.cells})
    merged = merge(screens, competition, locate.output_folder("00_merge"), cells=False)
    with h5py.File(merged.responses) as file:
        stored = file["uns/provenance"]
        assert stored["competition"].asstr()[()] == competition.training_hash
        assert bool(stored["simulated"][()])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # named, too, it is that of this competition
        assert len(read_responses(merged.responses, competition).effects)
    alone = nowhere / "outputs" / "04" / "atlas"
    assert gather(competition, merge_into=alone).atlas.source == merged.responses
    assert not alone.exists()
    merged.responses.unlink()
    assert gather(competition, merge_into=alone).atlas.source.parent == alone


# Pathways, interactions, tables


def test_sets_edges_and_tables_are_found_by_content_in_all_places(competition, nowhere):
    (nowhere / "project" / "data").mkdir(parents=True)
    (nowhere / "input" / "mine").mkdir(parents=True)
    (competition.source / "ppi_edges.tsv.gz").write_bytes(gzip.compress(EDGES.encode()))
    (competition.source / "complexes").write_text(SETS)
    (nowhere / "project" / "data" / "programs.txt").write_text(SETS.replace("set", "program"))
    TABLE.to_csv(nowhere / "input" / "mine" / "embedding.csv")
    shutil.copy(competition.source / "complexes", nowhere / "input" / "mine" / "copy.gmt")
    knowledge = gather(competition)
    kinds = knowledge.pathways.provenance["kind"].to_dict()
    assert kinds == {
        "complexes": "sets",
        "ppi_edges": "edges",
        "programs": "sets",
        "embedding": "table",
    }
    lines = [line for line in knowledge.remarks if line.startswith("pathways")]
    assert len(lines) == len(kinds)
    for line in lines:
        assert " of 8 genes" in line
        assert " of 6 training perturbations" in line
        assert " of 4 targets" in line
    assert sum("copy.gmt" in line for line in knowledge.remarks) == 1
    # Without a competition nothing is matched.
    found = load_pathways(folder=competition.source, names=GeneNames(), download=False)
    assert {"complexes", "ppi_edges", "programs"} <= set(found.provenance.index)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("yeast.gmt", FOREIGN),
        ("notes.txt", "a line of words, that is no edge\n"),
        ("list.txt", "TP53\nMYC\n"),
        ("numbers.csv", "a,b\n1,2\n3,4\n"),
    ],
)
def test_what_holds_no_genes_of_the_competition_is_left_out_or_refused(competition, name, content):
    (competition.source / "sets.gmt").write_text(SETS)
    path = competition.source / name
    path.write_text(content)
    assert list(gather(competition).pathways.provenance.index) == ["sets"]
    (line,) = (line for line in remarks(competition) if name in line)
    assert line.startswith(f"ignored: {path}, because")
    with pytest.raises(InputError, match=name):
        gather(competition, pathways=[path])


def test_many_ignored_files_are_one_line(competition):
    (competition.source / "sets.gmt").write_text(SETS)
    for number in range(9):
        (competition.source / f"note {number}.txt").write_text("words\n")
    (line,) = (line for line in remarks(competition) if line.startswith("ignored"))
    assert "note 0.txt" in line
    assert "and 4 more" in line


def test_files_known_by_name_are_not_mentioned(competition):
    (competition.source / "sets.gmt").write_text(SETS)
    for name in ("README.txt", "LICENSE", "submission_2.csv", "report.json", ".hidden.txt"):
        (competition.source / name).write_text("words\n")
    assert len(remarks(competition)) == 2  # the sets and the atlas


@pytest.mark.parametrize("name", ["ENSG00000141510", "P04637"])
def test_ids_that_match_nothing_are_refused_with_what_maps_them(competition, name):
    path = competition.source / "ids.gmt"
    path.write_text(f"set\tid\t{name}\t{name[:-1]}1\t{name[:-1]}2\n")
    with pytest.raises(InputError, match=r"HGNC's table.*(ensembl_gene_id|uniprot_ids)"):
        gather(competition, pathways=[path])


def training(competition):
    return pd.read_csv(competition.source / "training_data_means.csv", index_col=0)


def coded(effects):
    """Effects gene x perturbation under other names of the columns."""
    return effects.T.set_axis([f"c{i}" for i in range(len(effects))], axis=1)


LEAKS = {
    "means": training,
    "means by gene": lambda competition: training(competition).T,
    "a prediction by id": lambda competition: (
        TABLE.iloc[:4, :1].dot(pd.DataFrame(1.0, ["x0"], GENES)).set_axis(list(TARGETS))
    ),
    "a prediction by name": lambda competition: pd.DataFrame(0.1, list(TARGETS.values()), GENES),
    "a prediction by gene": lambda competition: pd.DataFrame(0.1, GENES, list(TARGETS)),
    "effects under codes": lambda competition: coded(competition.effects),
    "effects and more": lambda competition: coded(competition.effects).join(TABLE),
    "a row of truth": lambda competition: coded(competition.solution[GENES].iloc[:1]),
    "effects by perturbation": lambda competition: competition.effects.set_axis(
        [f"c{i}" for i in range(len(GENES))], axis=1
    ),
    "weights too": lambda competition: competition.solution,
    "rounded": lambda competition: coded(competition.effects).round(2),
    "in natural logarithms": lambda competition: np.log(2) * coded(competition.effects),
    "named after": lambda competition: competition.effects.T.add_prefix("KO_") * 1.01,
    "named before": lambda competition: competition.effects.add_suffix("_pred"),
    "natural means": lambda competition: (
        np.log(2) * (coded(competition.effects).add(competition.control, axis=0))
    ),
}


@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv.gz", "mine.npz"])
@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_a_table_that_holds_the_truth_or_a_prediction_never_becomes_knowledge(
    competition, leak, name
):
    write_solution(competition.source)
    competition = load_competition(competition.source)
    (competition.source / "sets.gmt").write_text(SETS)
    path, table = competition.source / name, leak(competition)
    if name.endswith("npz"):
        np.savez(path, genes=np.array(table.index, dtype=str), values=table.to_numpy())
    else:
        table.to_csv(path, sep="\t" if "tsv" in name else ",")
    knowledge = gather(competition)
    assert list(knowledge.pathways.provenance.index) == ["sets"]
    assert sum(name in line and line.startswith("ignored") for line in knowledge.remarks) == 1


@pytest.mark.parametrize(
    "header", [["knockdown", "gene", "log2fc"], ["set", "gene", "score"], None]
)
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.filterwarnings("ignore:.*SIMULATED")
def test_effects_in_rows_never_become_edges_or_sets(twin, nowhere, header, swapped):
    folder = nowhere / "twin"
    folder.mkdir(parents=True)
    for path in [
        *twin.glob("*.csv"),
        *twin.glob("*.json"),
        *twin.glob("*.txt"),
        *twin.glob("*.gmt"),
    ]:
        shutil.copy(path, folder)
    competition = load_competition(folder)
    before = list(gather(competition).pathways.provenance.index)
    rows = competition.effects.rename_axis("one").rename_axis("other", axis=1).stack().abs()
    rows = rows.reset_index().iloc[:, [1, 0, 2] if swapped else [0, 1, 2]]
    rows.to_csv(folder / "mine.csv", header=header or False, index=False)
    knowledge = gather(competition)
    assert list(knowledge.pathways.provenance.index) == before
    assert sum("mine.csv" in line and "ignored" in line for line in knowledge.remarks) == 1


def test_a_few_numbers_by_gene_do_not_become_knowledge_and_replace_no_sets(competition):
    TABLE.iloc[:, :2].to_csv(competition.source / "gene_lengths.csv")
    (competition.source / "hgnc_families.txt").write_text("family\tname\n1\tone\n")
    knowledge = gather(competition)
    assert knowledge.pathways is None
    assert any("gene_lengths.csv" in line and "2 numbers" in line for line in knowledge.remarks)
    named = gather(competition, pathways=[competition.source / "gene_lengths.csv"])
    assert list(named.pathways.provenance.index) == ["gene_lengths"]


def test_files_with_other_endings_are_read_or_named(competition):
    (competition.source / "sets.gmt").write_text(SETS)
    (competition.source / "net.tab").write_text(EDGES)
    (competition.source / "net.xlsx").write_bytes(b"PK\3\4 no archive")
    knowledge = gather(competition)
    assert set(knowledge.pathways.provenance.index) == {"sets", "net"}
    assert any("net.xlsx" in line for line in knowledge.remarks)
