"""Figures of prior knowledge: cells that hold the kernel, the rarest sets, what each source knows."""

import numpy as np
import pandas as pd
import pytest
from figures import _closed_figures, beside, fits, labels, numbers, title  # noqa: F401

from kit import plots
from kit.knowledge import load_pathways
from kit.screens.gene_names import GeneNames


@pytest.fixture
def pathways(tmp_path):
    (tmp_path / "sets.gmt").write_text(
        "rare\t1\tA\tB\tC\ncommon\t2\tA\tB\tD\tF\nelsewhere\t3\tE\tF\tG\n"
    )
    (tmp_path / "edges.tsv").write_text("A D\nD H\nH B\n")
    return load_pathways(tmp_path / "sets.gmt", tmp_path / "edges.tsv", names=GeneNames())


def test_the_map_holds_the_kernel_of_each_part_and_the_rarest_common_set(pathways):
    others = ["D", "B", "A", "E", "D", "nothing"]
    figure = plots.neighbourhood(pathways, "A", others)
    (axis,) = figure.axes
    kernel, parts = pathways.kernel(["A"], ["B", "D"]).iloc[0], pathways.kernels(["A", "B", "D"])
    texts = [text.get_text() for text in axis.texts]
    rows = [
        [f"{kernel[name]:.2f}"] + [f"{k.at['A', name]:.2f}" for k in parts.values()]
        for name in "BD"
    ]
    rows.sort(key=lambda row: row[0], reverse=True)
    assert texts == [*rows[0], *rows[1]]
    names = labels(axis)
    nearest = kernel.idxmax()
    assert names[0] == nearest
    assert sorted(names) == ["B", "D"]
    first = sum(k.at["A", nearest] >= k.loc["A", ["B", "D"]].max() for k in parts.values())
    assert numbers(figure) == {float(f"{kernel.max():.2f}"), first, 3, 2, 4, 0.1}
    assert f"to {nearest} " in title(figure)
    shared = dict(zip(names, beside(axis), strict=True))
    assert shared == {"B": "rare (3)", "D": "common (4)"}


def test_what_a_part_does_not_know_is_a_dash(pathways):
    figure = plots.neighbourhood(pathways, "A", ["C"])
    rare, common = np.log(7 / 3), np.log(7 / 4)
    cosine = f"{rare / np.hypot(rare, common):.2f}"
    assert [text.get_text() for text in figure.axes[0].texts] == [cosine] * 3 + ["-"]


def test_of_a_perturbation_that_nothing_knows_the_figure_is_empty(pathways):
    figure = plots.neighbourhood(pathways, "nothing", ["A", "B"])
    assert numbers(figure) == {2}
    assert not figure.axes[0].has_data()


def test_the_coverage_is_drawn_by_source(pathways):
    more = pathways.with_knowledge(pd.DataFrame({"x": [1.0, 2.0]}, ["A", "Z"]), "GenePT")
    figure = plots.pathway_coverage(more.coverage(["A", "B", "Z", "nothing"]))
    assert numbers(figure) == {3, 4, 1}
    assert "(nothing)" in title(figure)
    (axis,) = figure.axes
    assert [bar.get_width() for bar in axis.patches] == [50, 50, 50]
    assert beside(axis) == ["50 %, in median 1", "50 %, in median 0.5", "50 %"]
    assert axis.get_xlim() == (0, 100)


@pytest.mark.parametrize("sources", [1, 4])
def test_the_label_right_of_few_rows_is_no_longer_than_the_figure(tmp_path, sources):
    counts = pd.DataFrame({f"source {i}": [3, 9] for i in range(sources)}, ["A", "B"])
    figure = plots.pathway_coverage(counts.assign(known=True))
    figure.savefig(tmp_path / "figure.png")
    (axis,) = figure.axes
    label = axis.child_axes[0].yaxis.label.get_window_extent()
    assert label.y0 >= 0
    assert label.y1 <= figure.bbox.y1
    assert axis.get_window_extent().height >= 0.3 * figure.bbox.height


@pytest.mark.parametrize("neighbours", [1, 30])
def test_figures_of_real_knowledge_fit_800_pixels(shared, tmp_path, neighbours):
    sources = ("ReactomePathways.gmt", "ppi_edges.tsv.gz")
    pathways = load_pathways(*(shared("real", "pathways", name) for name in sources))
    targets = pd.read_csv(shared("real", "k562", "pert_ids_all.csv"))["pert"]
    figures = [
        plots.neighbourhood(pathways, "AARS", targets, top=neighbours),
        plots.pathway_coverage(pathways.coverage(targets)),
    ]
    for figure in figures:
        assert fits(figure, tmp_path / "figure.png")
    values = figures[0].axes[0].images[0].get_array()
    assert np.ma.max(values) <= 1
    assert len(values) == neighbours


def test_complexes_have_means_inside_and_over_all_pairs(tmp_path):
    inside = pd.DataFrame(
        {"truth": [0.8, 0.2], "random folds": [0.6, 0.5]}, ["ribosome (4)", "proteasome (2)"]
    )
    overall = pd.Series({"truth": -0.01, "random folds": 0.1})
    figure = plots.complexes(inside, overall, null=(-0.2, 0.2))
    assert numbers(figure) == {2, 0.5, -0.01, 0.55, 0.1}
    (axis,) = figure.axes
    assert labels(axis) == ["ribosome (4)", "proteasome (2)"]
    assert list(axis.lines[0].get_xdata()) == [0.8, 0.2]
    assert fits(figure, tmp_path / "figure.png")
    long = "positive regulation of transcription from RNA polymerase II promoter by oleic acid (4)"
    figure = plots.complexes(inside.set_axis([long, "b (2)"]), overall)
    assert labels(figure.axes[0])[0].endswith("... (4)")
    figure.savefig(tmp_path / "figure.png")
    axis = figure.axes[0]
    for text in (axis.xaxis.label, *axis.get_yticklabels()):
        assert 0 <= text.get_window_extent().x0 < text.get_window_extent().x1 <= figure.bbox.x1
