"""Figures of a merge: agreement by hand and by a plain loop, titles that state the right numbers."""

import numpy as np
import pandas as pd
import pytest

from kit import CONTROL, plots
from kit.expression import similarity


@pytest.fixture(autouse=True)
def _closed_figures():
    plots.plt.switch_backend("agg")
    yield
    plots.plt.close("all")


def title(figure):
    return " ".join(figure.get_suptitle().split())


def table_of(random, names, genes="ABCDEFGH"):
    return pd.DataFrame(random.normal(size=(len(names), len(genes))), list(names), list(genes))


def by_screen(values):
    """A series by (screen, name): {screen: {name: value}}."""
    return pd.concat({screen: pd.Series(own) for screen, own in values.items()})


def drawn(axis):
    """The values of each row of dots."""
    return [sorted(dots.get_offsets()[:, 0].tolist()) for dots in axis.collections[:-1]]


def test_agreement_equals_a_plain_loop_over_genes_that_both_screens_measured():
    random = np.random.default_rng(0)
    one, other = table_of(random, "pqr"), table_of(random, "sqpt", "HGFEDCBX")
    other["C"] = np.nan
    other.loc["s", "D"] = np.nan
    same, floor = similarity.between_screens({"one": one, "other": other})
    genes = list("BEFGH")
    x, y = (table[genes] - table[genes].mean() for table in (one, other))
    cosine = {
        (a, b): x.loc[a] @ y.loc[b] / np.sqrt((x.loc[a] ** 2).sum() * (y.loc[b] ** 2).sum())
        for a in one.index
        for b in other.index
    }
    assert list(same.index) == [("one", "other", "p"), ("one", "other", "q")]
    for name in "pq":
        row = same.loc[("one", "other", name)]
        assert row["cosine"] == pytest.approx(cosine[name, name])
        others = [cosine[name, b] for b in other.index if b != name]
        assert row["rank"] == pytest.approx(np.mean(np.array(others) < cosine[name, name]))
    different = [value for (a, b), value in cosine.items() if a != b]
    wanted = np.quantile(different, [0.05, 0.5, 0.95])
    np.testing.assert_allclose(floor.loc[("one", "other")], wanted)


def test_what_all_knockdowns_of_a_screen_share_is_no_agreement():
    random = np.random.default_rng(1)
    one, other = table_of(random, "pqrs"), table_of(random, "pqrs")
    shifted = similarity.between_screens({"a": one + random.normal(size=8), "b": other})
    for before, after in zip(
        similarity.between_screens({"a": one, "b": other}), shifted, strict=True
    ):
        np.testing.assert_allclose(after, before, atol=1e-12)


def test_a_copy_of_a_screen_agrees_wholly():
    one = table_of(np.random.default_rng(2), "pqrs")
    same, _ = similarity.between_screens({"a": one, "b": one.iloc[::-1, ::-1]})
    np.testing.assert_allclose(same, 1)
    assert len(same) == 4


def test_screens_without_a_common_gene_or_knockdown_are_left_out():
    random = np.random.default_rng(3)
    tables = {
        "a": table_of(random, "pq"),
        "b": table_of(random, "pq", "XYZ"),
        "c": table_of(random, "rs"),
        "d": table_of(random, "qr"),
    }
    same, floor = similarity.between_screens(tables)
    assert list(floor.index) == [("a", "d"), ("c", "d")]
    assert list(same.index) == [("a", "d", "q"), ("c", "d", "r")]
    assert similarity.between_screens({"a": tables["a"]})[0].empty


def test_the_title_of_the_agreement_counts_what_lies_beyond_the_floor():
    names = ["one", "other", "perturbation"]
    index = pd.MultiIndex.from_product([["a"], ["b"], list("pqrs")], names=names)
    same = pd.DataFrame({"cosine": [0.5, 0.1, 0.3, -0.1], "rank": 1.0}, index)
    pair = pd.MultiIndex.from_tuples([("a", "b")], names=names[:2])
    floor = pd.DataFrame({"low": -0.2, "median": -0.001, "high": 0.25}, pair)
    figure = plots.agreement(same, floor)
    assert title(figure) == (
        "The same knockdown in two screens has a cosine of 0.20 in median, different ones 0.00; "
        "50 % of the same are more alike than 95 % of the different"
    )
    (axis,) = figure.axes
    assert drawn(axis) == [[-0.1, 0.1, 0.3, 0.5]]
    (band,) = axis.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((-0.2, 0.25))


def test_targets_are_counted_by_split_and_by_number_of_screens():
    split = pd.Series({"p": "train", "q": "train", "r": "val", "s": "test", "t": "test"})
    figure = plots.targets_covered(pd.Series({"p": 0, "q": 5, "r": 1, "s": 0, "t": 2}), split)
    assert title(figure) == (
        "2 of 3 targets to predict and 1 of 2 training knockdowns are in another screen"
    )
    bars = [[bar.get_width() for bar in kind] for kind in figure.axes[0].containers]
    assert bars == [[1, 0, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["train", "val", "test"]


def test_targets_without_any_screen_are_drawn():
    split = pd.Series({"p": "train", "r": "val"})
    text = title(plots.targets_covered(pd.Series(0, split.index), split))
    assert text.startswith("0 of 1 targets to predict and 0 of 1 training")


@pytest.fixture
def obs():
    """Two screens of 40 cells, the second without known mitochondrial UMI."""
    cells = 40
    table = pd.DataFrame(
        {
            "dataset": np.repeat(["a", "b"], cells),
            "batch": ["1"] * 30 + ["2"] * 10 + ["x"] * cells,
            "sgrna_symbol": np.resize([CONTROL, "P"], 2 * cells),
            "RNAcount": [100.0] * 30 + [250.0] * 10 + [1_000.0] * cells,
            "featurecount": np.arange(2 * cells),
            "mitocount": [5.0] * cells + [np.nan] * cells,
        }
    )
    return table.astype({"dataset": "category", "batch": "category", "sgrna_symbol": "category"})


def test_depth_is_drawn_as_shares_of_each_screen(obs):
    figure = plots.depth_by_screen(obs)
    assert title(figure) == "The median cell of a screen has 100 to 1,000 UMI"
    heights = [
        [max(line.get_xy()[:, 1]) for line in axis.patches if len(line.get_xy())]
        for axis in figure.axes
    ]
    assert heights[0] == pytest.approx([75, 100])
    assert heights[2][0] == pytest.approx(75)  # 5 of 100 UMI, else 5 of 250


def test_batches_are_counted_within_their_screen(obs):
    figure = plots.batches(obs, min_controls=10)
    assert title(figure) == (
        "Within a screen the median UMI of batches differs up to 2.50-fold; "
        "1 of 3 batches have fewer than 10 control cells"
    )
    left, right = figure.axes
    assert drawn(left) == [[100, 250], [1_000]]
    assert drawn(right)[:2] == [[5, 15], [20]]


def test_the_title_on_batches_names_the_knockdown_that_moves_most():
    figure = plots.without_batches(by_screen({"a": {"P": 0.1, "Q": 0.4}, "b": {"R": 0.25}}))
    assert title(figure) == (
        "Without batches effects move by 0.25 standard errors in the median of a screen, "
        "at most by 0.40 (Q)"
    )


def test_errors_of_hidden_genes_are_compared_with_the_control_mean():
    index = pd.MultiIndex.from_tuples([("a", "P"), ("a", "Q"), ("b", "P"), ("b", "R")])
    errors = pd.DataFrame(
        {"control_mean": [3.0, 4.0, 2.0, 0.0], "pathway": [3.0, 2.0, 3.0, 1.0]}, index
    )
    figure = plots.hidden_genes(errors)
    low, high = 100 * np.sqrt(13) / 5, 150.0
    assert title(figure) == (
        f"Guessed from the cell, hidden genes of a screen have {low:.1f} % to {high:.1f} % of the "
        "control mean's error; 33.3 % of 3 genes gain"
    )
    assert drawn(figure.axes[0])[0] == [0.5, 1.0]


@pytest.mark.parametrize("screens", [1, 12])
def test_figures_of_screens_are_labelled_and_fit_800_pixels(screens, tmp_path):
    random = np.random.default_rng(4)
    names = [f"TWIN_essential_raw_singlecell_{i:02d}" for i in range(screens)]
    loss = by_screen({name: dict(zip("PQRST", random.random(5), strict=True)) for name in names})
    errors = pd.DataFrame({"control_mean": 1 + loss, "pathway": 1.0})
    same, floor = similarity.between_screens(
        {n: table_of(random, "pqrst") for n in [*names[:3], "z"]}
    )
    figures = [
        plots.without_batches(loss),
        plots.hidden_genes(errors),
        plots.agreement(same, floor),
    ]
    for figure in figures:
        assert all(axis.get_xlabel() for axis in figure.axes)
        figure.savefig(tmp_path / "figure.png", dpi=100)
        assert plots.plt.imread(tmp_path / "figure.png").shape[1] == 800
        box = figure.texts[0].get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= 800
