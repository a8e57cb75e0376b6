"""Figures: drawn from real frames, titles that state the right numbers, order and similarity by hand."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from kit import load_competition, plots
from kit.expression import similarity
from kit.models.baselines import Constant

pytestmark = pytest.mark.filterwarnings("ignore:.*SIMULATED")


@pytest.fixture(autouse=True)
def _closed_figures():
    plots.plt.switch_backend("agg")
    yield
    plots.plt.close("all")


@pytest.fixture(scope="module")
def competition(twin):
    return load_competition(twin)


def effects_of(rows, genes="ABCDE"):
    """A frame with a row a perturbation: {name: effects of the genes}."""
    return pd.DataFrame(rows, index=list(genes)[: len(next(iter(rows.values())))]).T


def title(figure):
    return " ".join(figure.get_suptitle().split())


def test_kit_is_imported_without_matplotlib():
    code = "import sys, kit; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_identical_rows_stand_side_by_side_in_the_cluster_order():
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(9, 30)), index=list("abcdefghi"))
    rows.loc["h"] = rows.loc["b"]
    rows.loc["d"] = 2 * rows.loc["f"] - rows.mean()
    order = list(similarity.cluster_order(similarity.centred_cosine(rows)))
    assert sorted(order) == sorted(rows.index)
    assert abs(order.index("h") - order.index("b")) == 1


def test_two_perturbations_are_ordered_too():
    assert set(
        similarity.cluster_order(similarity.centred_cosine(effects_of({"p": [1, 2], "q": [2, 1]})))
    ) == {
        "p",
        "q",
    }


def test_centred_cosine_equals_a_plain_loop_and_ignores_what_all_rows_share():
    random = np.random.default_rng(1)
    rows = pd.DataFrame(random.normal(size=(5, 12)), index=list("abcde"))
    cosine = similarity.centred_cosine(rows)
    mean = rows.mean()
    for one in rows.index:
        for other in rows.index:
            x, y = rows.loc[one] - mean, rows.loc[other] - mean
            assert cosine.at[one, other] == pytest.approx(x @ y / np.sqrt((x @ x) * (y @ y)))
    shifted = similarity.centred_cosine(rows + random.normal(size=12))
    np.testing.assert_allclose(shifted, cosine, atol=1e-12)


def test_a_row_equal_to_the_mean_resembles_nothing():
    cosine = similarity.centred_cosine(effects_of({"p": [1, 0], "q": [0, 1], "r": [0.5, 0.5]}))
    assert (cosine.loc["r"] == 0).all()
    assert cosine.at["p", "q"] == pytest.approx(-1)


def test_pairs_are_listed_once_with_the_most_similar_first():
    names = list("abc")
    cosines = pd.DataFrame(
        [[1, 0.2, 0.9], [0.2, 1, -0.4], [0.9, -0.4, 1]], index=names, columns=names
    )
    pairs = similarity.most_similar(cosines)
    assert list(pairs.index) == [("a", "c"), ("a", "b"), ("b", "c")]
    assert list(pairs) == [0.9, 0.2, -0.4]


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    random = np.random.default_rng(2)
    one = pd.DataFrame(random.integers(0, 5, size=(4, 9)))  # with ties
    other = one + random.integers(0, 5, size=(4, 9))
    wanted = spearmanr(one.to_numpy().ravel(), other.to_numpy().ravel()).statistic
    assert similarity.rank_correlation(one, other) == pytest.approx(wanted)


def test_the_title_of_the_cells_counts_knockdowns_and_controls_apart():
    groups = {("non-targeting", "ch_1"): 12, ("P", "ch_1"): 3, ("P", "ch_2"): 4, ("Q", "ch_2"): 5}
    cells = [names for names, count in groups.items() for _ in range(count)]
    obs = pd.DataFrame(cells, columns=["sgrna_symbol", "channel"])
    figure = plots.cells_per_perturbation(obs)
    assert title(figure) == "6 cells a knockdown in median, from 5 (Q) to 7; 12 control cells"
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["non-targeting", "P", "Q"]
    widths = [[bar.get_width() for bar in channel] for channel in figure.axes[0].containers]
    assert widths == [[12, 3, 0], [0, 4, 5]]


def test_the_title_of_the_effects_states_their_shares():
    rows = {"p": [0.3, -0.4, 0.0, 0.12, 0.0], "q": [0.0, -0.11, 0.05, 0.0, 0.0]}
    text = title(plots.effect_distribution(effects_of(rows)))
    assert text.startswith("40 % of the effects exceed 0.1, 20 % exceed 0.25 (sd 0.1")
    assert text.endswith("of the latter the strongest 1 of 2 knockdowns hold 100 %")


def test_effects_without_a_strong_one_are_drawn():
    text = title(plots.effect_distribution(effects_of({"p": [0.01, 0.02], "q": [0.0, -0.01]})))
    assert text.endswith("hold 0 %")


def test_the_own_gene_is_drawn_at_its_control_level_with_its_loss_in_the_title():
    effects = effects_of({"A": [-1.0, 0.5, 0], "B": [0.1, -0.5, 0], "X": [0, 0, 0], "C": [0, 0, 0]})
    control = pd.Series({"A": 4.0, "B": 1.0, "C": 0.0})
    figure = plots.own_gene(effects, control, {"half": effects * 0.5})
    assert title(figure) == (
        "2 of 4 knocked-down genes are measured and expressed; their level falls by 37.5 % in median, "
        "from 25 % (A) to 50 % (B)"
    )
    axis = figure.axes[0]
    assert axis.collections[0].get_offsets().tolist() == [[1.0, -0.5], [4.0, -1.0]]
    curve = next(line for line in axis.lines if line.get_label() == "half")
    assert list(curve.get_ydata()) == [-0.25, -0.5]


def test_a_competition_without_own_genes_says_so():
    figure = plots.own_gene(effects_of({"X": [1, 2]}), pd.Series({"A": 1.0, "B": 1.0}))
    assert title(figure) == "0 of 1 knocked-down genes are measured and expressed: nothing to show"


def test_the_title_of_the_weights_states_their_shares():
    weights = pd.DataFrame([[0.0, 0.1, 0.2, 3.7], [1.2, 0.4, 0.4, 2.0]])
    effects = pd.DataFrame([[0.0, 0.1, 0.2, 0.9], [0.4, 0.3, 0.3, 0.5]])
    text = title(plots.weight_distribution(weights, effects))
    assert text.startswith(
        "The heaviest 5 % of entries hold 46.2 % of all weight; median 0.4, 37.5 % above 1"
    )


def test_weights_are_compared_by_label():
    random = np.random.default_rng(3)
    shipped = pd.DataFrame(random.lognormal(size=(4, 30)), index=list("abcd"))
    figure = plots.weight_agreement(
        shipped,
        {
            "noise": shipped.sample(frac=1, random_state=0) * 0 + 1 + random.random((4, 30)),
            "same": shipped.iloc[::-1, ::-1],
        },
    )
    assert title(figure).endswith("by same")
    assert figure.axes[1].get_title() == "same: rank correlation 1.00"


def test_the_weighted_error_is_least_at_the_value_in_the_title():
    effects = effects_of({"p": [-2.0], "q": [-0.1], "r": [0.0], "s": [0.1]})
    weights = effects_of({"p": [9.0], "q": [1.0], "r": [1.0], "s": [1.0]})
    figure = plots.gate_and_weight(effects, weights, "A", (0.2, 0.3))
    assert title(figure).endswith("from -0.05 (median; mean -0.50) to -2.00")
    left, right = figure.axes
    weighted = next(line for line in right.lines if line.get_label() == "weighted")
    assert weighted.get_xdata()[np.argmin(weighted.get_ydata())] == pytest.approx(-2.0)
    narrow, wide = (np.array(line.get_ydata()) for line in left.lines)
    size = np.array(left.lines[0].get_xdata())
    assert (narrow[size >= 0.2] == 1).all()
    assert (wide <= narrow).all()
    assert np.interp(0.1, size, narrow) == pytest.approx(0.25, abs=1e-3)  # s(1/2)^2 = (1/2)^2


def test_the_gains_are_summed_by_sign():
    figure = plots.gains(pd.Series({"a": -0.5, "b": 1.25, "c": 0.5, "d": -0.25}))
    assert title(figure) == (
        "2 of 4 unseen knockdowns are nearer than the mean: they give 1.75 to W, the others -0.75"
    )
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["b", "c", "d", "a"]


def test_the_forest_names_the_best_and_draws_its_interval():
    scores = pd.DataFrame(
        {"score": [0.0, 1.5], "low": [0.0, -0.5], "high": [0.0, 2.0]}, index=["mean", "other"]
    )
    figure = plots.forest(scores, ceiling=9.0)
    assert title(figure) == (
        "Best: other, 1.50 for 60 unseen knockdowns; the mean scores 0, half the cells 9.0"
    )
    bars = figure.axes[0].containers[0].lines[2][0].get_segments()
    assert bars[1][:, 0].tolist() == [-0.5, 2.0]
    assert "half the cells" not in title(plots.forest(scores))


@pytest.mark.parametrize(
    "name",
    [
        "cells",
        "depth",
        "own_gene",
        "effects",
        "similarity",
        "weights",
        "gate_and_weight",
        "constants",
    ],
)
def test_figures_of_the_twin_are_labelled_and_fit_800_pixels(name, competition, tmp_path):
    effects, weights = competition.effects, competition.weights
    draw = {
        "cells": lambda: plots.cells_per_perturbation(competition.read_cells().obs),
        "depth": lambda: plots.depth(competition.read_cells().obs),
        "own_gene": lambda: plots.own_gene(effects, competition.control),
        "effects": lambda: plots.effect_distribution(effects),
        "similarity": lambda: plots.similarity_map(similarity.centred_cosine(effects)),
        "weights": lambda: plots.weight_distribution(weights, effects),
        "gate_and_weight": lambda: plots.gate_and_weight(
            effects, weights, effects.columns[0], (0.2, 0.3)
        ),
        "constants": lambda: plots.constants(
            effects, weights, effects.mean(), Constant().fit(competition).effect_
        ),
    }
    figure = draw[name]()
    assert title(figure)
    assert all(axis.get_xlabel() or axis.get_ylabel() for axis in figure.axes)
    figure.savefig(tmp_path / "figure.png", dpi=100)
    columns = plots.plt.imread(tmp_path / "figure.png").shape[1]
    assert columns == 800
    for text in figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= columns


def test_an_embedding_shows_which_grouping_explains_the_cells():
    random = np.random.default_rng(0)
    symbols = np.repeat(["non-targeting", "A", "B"], 40)
    channels = np.tile(["ch_1", "ch_2"], 60)
    coordinates = random.normal(size=(120, 3))
    coordinates[:, 0] += 100 * (symbols == "A")
    obs = pd.DataFrame({"sgrna_symbol": symbols, "channel": channels})
    figure = plots.cell_embedding(coordinates, obs)
    assert "channels explain 0.0%, perturbations 99.9%" in title(figure)
    assert [len(points.get_offsets()) for points in figure.axes[1].collections] == [80, 40]
