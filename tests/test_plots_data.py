"""Figures of the data: drawn from real frames, with the right numbers, labels and names."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, fits, labels, legend, numbers, title  # noqa: F401

from kit import load_competition, plots
from kit.expression import similarity
from kit.models.baselines import Constant

pytestmark = pytest.mark.filterwarnings("ignore:.*SIMULATED")


@pytest.fixture(scope="module")
def competition(twin):
    return load_competition(twin)


def effects_of(rows, genes="ABCDE"):
    """A frame with a row a perturbation: {name: effects of the genes}."""
    return pd.DataFrame(rows, index=list(genes)[: len(next(iter(rows.values())))]).T


def test_kit_is_imported_without_matplotlib():
    code = "import sys, kit; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_cells_are_counted_by_perturbation_and_channel():
    groups = {("non-targeting", "ch_1"): 12, ("P", "ch_1"): 3, ("P", "ch_2"): 4, ("Q", "ch_2"): 5}
    cells = [names for names, count in groups.items() for _ in range(count)]
    obs = pd.DataFrame(cells, columns=["sgrna_symbol", "channel"])
    figure = plots.cells_per_perturbation(obs)
    assert numbers(figure) == {6, 5, 7, 12}
    assert "(Q)" in title(figure)
    assert labels(figure.axes[0]) == ["non-targeting", "P", "Q"]
    assert {"ch_1", "ch_2"} <= set(legend(figure))
    widths = [[bar.get_width() for bar in channel] for channel in figure.axes[0].containers]
    assert widths == [[12, 3, 0], [0, 4, 5]]


def test_the_title_of_the_effects_has_their_shares():
    rows = {"p": [0.3, -0.4, 0.0, 0.12, 0.0], "q": [0.0, -0.11, 0.05, 0.0, 0.0]}
    figure = plots.effect_distribution(effects_of(rows))
    assert numbers(figure) >= {40, 20, 1, 2, 94.8}
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    assert heights == pytest.approx([94.77, 5.23], abs=0.01)


@pytest.mark.parametrize("scale", [0.01, 10.0])
def test_the_strength_of_perturbations_has_no_scale(scale):
    rows = {"many": [0.3, 0.3, 0.3, 0.3, 0.3], "strong": [-2.0, 0.0, 0.0, 0.0, 0.0]}
    figure = plots.effect_distribution(scale * effects_of(rows))
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    assert heights == pytest.approx([100 * 4 / 4.45, 100 * 0.45 / 4.45])
    assert "strong\nmany" in figure.axes[1].get_legend().get_title().get_text()


def test_effects_that_are_all_zero_have_no_strength():
    figure = plots.effect_distribution(effects_of({"p": [0.0, 0.0], "q": [0.0, 0.0]}))
    assert [bar.get_height() for bar in figure.axes[1].patches] == [0, 0]


def test_on_target_effects_are_drawn_at_their_control_level_beside_predictions():
    effects = effects_of({"A": [-1.0, 0.5, 0], "B": [0.1, -0.5, 0], "X": [0, 0, 0], "C": [0, 0, 0]})
    control = pd.Series({"A": 4.0, "B": 1.0, "C": 0.0})
    alone = plots.on_target_effects(effects, control)
    assert numbers(alone) == {2, 4, -37.5, -50, -25}
    assert "-50 % (B) to -25 % (A)" in title(alone)
    risen = plots.on_target_effects(effects.abs(), control)
    assert numbers(risen) == {2, 4, 37.5, 25, 50}
    figure = plots.on_target_effects(effects, control, {"half": effects * 0.5})
    assert numbers(figure) == {2, float(f"{np.sqrt((0.5**2 + 0.25**2) / 2):.3f}")}
    assert "half" in title(figure)
    axis = figure.axes[0]
    assert axis.collections[0].get_offsets().tolist() == [[1.0, -0.5], [4.0, -1.0]]
    curve = next(line for line in axis.lines if line.get_label() == "half")
    assert list(curve.get_ydata()) == [-0.25, -0.5]


def test_without_measured_on_target_genes_the_figure_is_empty():
    figure = plots.on_target_effects(effects_of({"X": [1, 2]}), pd.Series({"A": 1.0, "B": 1.0}))
    assert numbers(figure) == {1}
    assert not figure.axes[0].has_data()


def test_the_title_of_the_weights_has_their_shares():
    weights = pd.DataFrame([[0.0, 0.1, 0.2, 3.7], [1.2, 0.4, 0.4, 2.0]])
    effects = pd.DataFrame([[0.0, 0.1, 0.2, 0.9], [0.4, 0.3, 0.3, 0.5]])
    figure = plots.weight_distribution(weights, effects)
    assert numbers(figure) >= {46.2, 0.4, 37.5}
    (line,) = figure.axes[0].lines  # the label names a line as it is drawn
    assert ("dashed" in figure.axes[0].get_xlabel()) == (line.get_linestyle() == "--")


def test_weights_within_a_decade_have_labels_of_whole_powers_only():
    weights = pd.DataFrame([[0.8, 1.2, 0.9, 1.1]])
    figure = plots.weight_distribution(weights, weights)
    figure.canvas.draw()
    for axis in figure.axes:
        minor = [*axis.xaxis.get_minorticklabels(), *axis.yaxis.get_minorticklabels()]
        assert not any(label.get_text() for label in minor)


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
    assert "same" in title(figure)
    assert "noise" not in title(figure)
    assert figure.axes[1].get_title() == "same: rank correlation 1.00"


def test_the_weighted_error_is_least_at_the_value_in_the_title():
    effects = effects_of({"p": [-2.0], "q": [-0.1], "r": [0.0], "s": [0.1]})
    weights = effects_of({"p": [9.0], "q": [1.0], "r": [1.0], "s": [1.0]})
    figure = plots.gate_and_weight(effects, weights, "A", (0.2, 0.3))
    assert numbers(figure) >= {-0.05, -0.5, -2}
    left, right = figure.axes
    weighted = next(line for line in right.lines if line.get_label() == "weighted")
    assert weighted.get_xdata()[np.argmin(weighted.get_ydata())] == pytest.approx(-2.0)
    narrow, wide = (np.array(line.get_ydata()) for line in left.lines)
    size = np.array(left.lines[0].get_xdata())
    assert (narrow[size >= 0.2] == 1).all()
    assert (wide <= narrow).all()
    assert np.interp(0.1, size, narrow) == pytest.approx(0.25, abs=1e-3)  # s(1/2)^2 = (1/2)^2


def test_depth_of_the_competition_is_by_channel():
    cells = pd.DataFrame({"channel": ["one"] * 4 + ["two"] * 4, "nCount_RNA": [10] * 4 + [30] * 4})
    cells["nFeature_RNA"], cells["percent.mt"] = cells["nCount_RNA"] / 2, 5.0
    figure = plots.depth(cells)
    assert numbers(figure) == {10, 30, 20}
    assert set(legend(figure)) == {"one", "two"}
    heights = [max(line.get_xy()[:, 1]) for line in figure.axes[0].patches]
    assert heights == pytest.approx([100, 100])
    cells["percent.mt"] = 0.0  # no mitochondrial gene was kept
    assert [len(plots.depth(cells).axes), len(figure.axes)] == [2, 3]
    cells["nCount_RNA"] = np.nan
    figure = plots.depth(cells)
    assert "UMI are known of no cell" in title(figure)
    assert len(figure.axes) == 1
    cells["nFeature_RNA"] = np.nan
    assert not plots.depth(cells).axes[0].axison


@pytest.mark.parametrize(
    "name",
    [
        "cells",
        "depth",
        "on_target",
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
        "on_target": lambda: plots.on_target_effects(effects, competition.control),
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
    assert fits(figure, tmp_path / "figure.png")
