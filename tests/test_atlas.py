"""Reading atlas responses: found, aligned by name, gaps kept, held-out truth dropped."""

import sys

import h5py
import numpy as np
import pandas as pd
import pytest
from small_merged import small_competition, write_responses

from kit import InputError, load_competition
from kit.io import locate
from kit.screens.atlas import find_responses, read_responses
from kit.screens.cells import MergedCells

EFFECTS = pd.DataFrame(
    [[0.5, np.nan, -1], [0, 0.25, 2], [1, 1, 1]],
    ["KRAS|one", "TFAM|one", "TFAM|home"],
    ["B", "A", "X"],
)
OBS = pd.DataFrame(
    {
        "sgrna_symbol": ["KRAS", "TFAM", "TFAM"],
        "dataset": ["one", "one", "home"],
        "n_cells": [100, np.nan, 7],
        "competition": [False, False, True],
    },
    EFFECTS.index,
)
GENES = pd.Series(1.0, ["A", "B", "C"])


@pytest.fixture
def file(tmp_path):
    return write_responses(tmp_path / "responses.h5ad", EFFECTS, OBS, se=EFFECTS.abs() / 10)


def test_genes_are_aligned_by_name_and_gaps_stay_gaps(file):
    found = read_responses(file, small_competition(GENES, ["TFAM"]))
    wanted = pd.DataFrame(
        [[np.nan, 0.5, np.nan], [0.25, 0, np.nan], [1, 1, np.nan]], EFFECTS.index, GENES.index
    )
    pd.testing.assert_frame_equal(found.effects, wanted.astype(np.float32))
    pd.testing.assert_frame_equal(found.se, (wanted.abs() / 10).astype(np.float32), rtol=1e-6)
    assert found.obs["n_cells"].isna().tolist() == [False, True, False]
    assert found.source == file


def test_held_out_truth_of_the_competition_is_dropped(file):
    for competition in (small_competition(GENES, ["KRAS"]), None):
        found = read_responses(file, competition)
        assert list(found.effects.index) == list(found.obs.index) == ["KRAS|one", "TFAM|one"]
        assert list(found.se.index) == ["KRAS|one", "TFAM|one"]
    kept = read_responses(file, small_competition(GENES, ["TFAM"]))
    assert list(kept.obs["dataset"]) == ["one", "one", "home"]


def test_without_a_competition_genes_are_the_files(file):
    assert list(read_responses(file).effects.columns) == ["B", "A", "X"]


def test_an_atlas_without_errors_and_provenance_is_read(tmp_path):
    path = write_responses(tmp_path / "a.h5ad", EFFECTS, OBS.drop(columns="competition"))
    found = read_responses(path, small_competition(GENES))
    assert found.se is None
    assert len(found.effects) == 3


def test_the_real_atlas_of_k562_is_read(shared):
    competition = load_competition(shared("real", "rpe1"))
    found = read_responses(shared("real", "rpe1", "atlas.h5ad"), competition)
    assert found.effects.shape == (585, 532)
    assert list(found.effects.columns) == list(competition.genes)
    assert found.obs["sgrna_symbol"].isin(competition.targets["perturbation"]).sum() == 120
    assert found.se is None


def test_responses_are_found_by_argument_variable_or_mount(file, tmp_path, monkeypatch):
    mounts = tmp_path / "input"
    monkeypatch.setattr(locate, "KAGGLE_INPUT", mounts)
    monkeypatch.delenv("ESG_ATLAS", raising=False)
    assert find_responses() is None
    with pytest.raises(InputError, match=r"no responses.h5ad .*set ESG_ATLAS"):
        read_responses()
    mounts.mkdir()
    with pytest.raises(InputError, match=r"no responses.h5ad .*datasets/\*/\*.*attach"):
        read_responses()
    for folder in ("notebooks/someone/esg-00-merge", "datasets/someone/atlas", "atlas"):
        place = mounts / folder / "responses.h5ad"
        place.parent.mkdir(parents=True)
        place.write_bytes(file.read_bytes())
        assert len(read_responses().effects) == 2
        assert find_responses() == place
        place.unlink()
    monkeypatch.setenv("ESG_ATLAS", str(file.parent))
    assert find_responses() == file
    monkeypatch.setenv("ESG_ATLAS", str(tmp_path / "gone.h5ad"))
    assert find_responses(file) == file
    with pytest.raises(
        InputError, match=r"gone.h5ad \(\$ESG_ATLAS\) does not exist; give the path"
    ):
        find_responses()
    with pytest.raises(InputError, match=r"other.h5ad \(the path given\) does not exist"):
        find_responses(tmp_path / "other.h5ad")


def no_matrix(file):
    del file["X"]


def sparse(file):
    del file["X"]
    file.create_group("X")


def one_gene_less(file):
    values = file["X"][:, 1:]
    del file["X"]
    file["X"] = values


def infinite(file):
    file["X"][0, 0] = np.inf


def no_dataset(file):
    del file["obs/dataset"]
    file["obs"].attrs["column-order"] = ["sgrna_symbol", "n_cells", "competition"]


def gene_twice(file):
    file["var/_index"][0] = "A"


def text_for_bool(file):
    del file["obs/competition"]
    file["obs/competition"] = np.array(["no", "no", "yes"], dtype="S3")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_matrix, "X is no dense matrix of 3 rows and 3 genes; is it responses.h5ad"),
        (sparse, "X is no dense matrix of 3 rows and 3 genes"),
        (one_gene_less, "X is no dense matrix of 3 rows and 3 genes"),
        (infinite, "effects holds infinite values, or some beyond 1e.06; want numbers or NaN"),
        (no_dataset, "no obs column dataset, it has sgrna_symbol, n_cells, competition"),
        (gene_twice, "has repeated genes: A"),
        (text_for_bool, "obs `competition` is .*, want bool"),
    ],
)
@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
def test_a_spoilt_file_is_one_clear_line(file, spoil, message):
    with h5py.File(file, "a") as opened:
        spoil(opened)
    with pytest.raises(InputError, match=message) as error:
        read_responses(file, small_competition(GENES))
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_cut_off_or_of_other_genes_is_refused(file):
    with pytest.raises(
        InputError, match="none of the competition's genes; it has B, A, X, want P, Q"
    ):
        read_responses(file, small_competition(pd.Series(1.0, ["P", "Q"])))
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"responses.h5ad cannot be read: .* cut off"):
        read_responses(file)


def test_without_anndata_the_step_to_take_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata.io", None)
    with pytest.raises(InputError, match="need the package anndata; run: pip install anndata"):
        read_responses(file)
    with pytest.raises(InputError, match="need the package anndata"):
        MergedCells(file, imputation="none")
