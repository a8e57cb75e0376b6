"""Figure of training: titles and dots state where members were stopped."""

import numpy as np
import pandas as pd
from figures import _closed_figures, fits, title  # noqa: F401

from kit.plots.training import training_curves


def history(checks, stage="competition"):
    frames = [
        pd.DataFrame({"step": [10, 20, 30], "loss": [0.0, -0.1, -0.3], "check": check}).assign(
            stage=stage, member=member
        )
        for member, check in enumerate(checks)
    ]
    return pd.concat(frames, ignore_index=True)


def test_the_title_says_when_rows_left_out_were_foretold_best(tmp_path):
    both = pd.concat(
        [history([[0, -0.1, -0.2]], "screens"), history([[0.1, -0.04, 0.2], [-0.02, 0, 1]])]
    )
    figure = training_curves(both)
    assert title(figure) == (
        "On the screens rows left out gain, most at step 30 (-0.200 on average) "
        "On the competition rows left out gain in 2 of 2 members, most at step 10 to 20 "
        "(-0.030 on average)"
    )
    dots = [line.get_xydata()[0] for line in figure.axes[1].lines if line.get_marker() == "o"]
    np.testing.assert_allclose(dots, [[20, -0.04], [10, -0.02]])
    assert fits(figure, tmp_path / "figure.png")


def test_what_was_not_learned_is_said(tmp_path):
    figure = training_curves(history([[0.1, 0.2, 0.3], [0.0, 0.1, 0.1]]))
    assert "nothing was learned that holds" in title(figure)
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert fits(figure, tmp_path / "figure.png")


def test_without_left_out_rows_there_is_nothing_to_stop_on(tmp_path):
    figure = training_curves(history([[np.nan] * 3]))
    assert title(figure) == "On the competition nothing was left out to stop on"
    assert fits(figure, tmp_path / "figure.png")
