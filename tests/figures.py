"""What tests of figures ask of one: its title, its rows, whether it fits. Closes figures too."""

import pytest

from kit import plots


@pytest.fixture(autouse=True)
def _closed_figures():
    plots.plt.switch_backend("agg")
    yield
    plots.plt.close("all")


def title(figure):
    return " ".join(figure.get_suptitle().split())


def labels(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


def fits(figure, path):
    """Whether the figure is 800 pixels wide with its title inside."""
    figure.savefig(path, dpi=100)
    columns = plots.plt.imread(path).shape[1]
    boxes = [text.get_window_extent() for text in figure.texts]
    return columns == 800 and all(box.x0 >= 0 and box.x1 <= 800 for box in boxes)
