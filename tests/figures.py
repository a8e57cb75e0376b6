"""What tests of figures ask of one: the numbers and names in its title, its rows, whether it fits."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _closed_figures():
    plt.switch_backend("agg")
    yield
    plt.close("all")


def title(figure):
    return " ".join(figure.get_suptitle().split())


def numbers(figure):
    """Numbers in the title: a set."""
    text = title(figure).replace(",", "")
    return {float(number) for number in re.findall(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?!\w)", text)}


def labels(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


def beside(axis):
    """Labels of the rows right of an axis."""
    return [label.get_text() for label in axis.child_axes[0].get_yticklabels()]


def legend(figure):
    """Labels of all legends of a figure and its axes."""
    legends = [*figure.legends, *(axis.get_legend() for axis in figure.axes)]
    return [text.get_text() for one in legends if one for text in one.get_texts()]


def fits(figure, path):
    """Whether the figure is 800 pixels wide with its title and legends inside."""
    figure.savefig(path, dpi=100)
    columns = plt.imread(path).shape[1]
    boxes = [part.get_window_extent() for part in [*figure.texts, *figure.legends]]
    return columns == 800 and all(box.x0 >= 0 and box.x1 <= 800 for box in boxes)


def overprinted(figure):
    """Pairs of texts that lie on each other: titles, legends, notes, labels of axes and ticks."""
    figure.canvas.draw()
    texts = [text for text in _texts(figure) if text.get_visible() and text.get_text().strip()]
    boxes = [text.get_window_extent().padded(-1) for text in texts]
    pairs = [(one, other) for one in range(len(texts)) for other in range(one)]
    return [
        (texts[one].get_text(), texts[other].get_text())
        for one, other in pairs
        if boxes[one].overlaps(boxes[other])
        and not np.allclose(boxes[one], boxes[other], atol=1)  # the same label, of a twin axis
    ]


def _texts(figure):
    """All texts that are seen; labels of ticks beyond the ends of an axis are not."""
    yield from figure.texts
    for legend in [*figure.legends, *filter(None, (axis.get_legend() for axis in figure.axes))]:
        yield from legend.get_texts()
    for axis in figure.axes:
        yield from (axis.title, *axis.texts)
        for part in (axis.xaxis, axis.yaxis) if axis.axison else ():
            low, high = sorted(part.get_view_interval())
            yield part.label
            ticks = zip(part.get_majorticklocs(), part.get_majorticklabels(), strict=True)
            yield from (label for place, label in ticks if low <= place <= high)
