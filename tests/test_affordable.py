"""The time budget is kept: what fits is fitted, what does not is left out with its measured cost."""

import re
import threading
import time

import numpy as np
import pandas as pd
import pytest
from small_competition import write_small
from small_planted import planted

from kit import folds, load_competition, out_of_fold
from kit.forecast.predict import cheap_models, fit_within
from kit.knowledge import Knowledge
from kit.models import Constant


class Slow(Constant):
    """The constant, after some seconds of waiting in each fit; the first fit waits longer."""

    def __init__(self, seconds, first=0.0):
        super().__init__()
        self.seconds = seconds
        self.first = [first]
        self.fits = 0

    def __deepcopy__(self, memo):
        return self

    def fit(self, train):
        end = time.perf_counter() + self.seconds + self.first[0]
        self.first[0] = 0.0
        self.fits += 1
        while time.perf_counter() < end:
            try:
                time.sleep(0.01)
            except Exception:  # a fit that goes on whatever happens
                continue
        return super().fit(train)


@pytest.fixture
def competition(tmp_path):
    return planted(tmp_path, rows=12, genes=8)[0]


def parts(competition, number=4):
    return folds(competition.effects.index, number, seed=0)


def within(seconds, models, competition, held_out=None):
    """`fit_within` on four folds of the training rows."""
    held_out = held_out or parts(competition)
    return fit_within(seconds, models, competition, held_out)


def test_a_member_is_what_out_of_fold_and_a_fit_on_all_rows_give(competition):
    held_out = parts(competition)
    fitted, _ = within(60, {"constant": Constant()}, competition, held_out)
    member = fitted["constant"]
    again = out_of_fold(Constant(), competition, held_out)
    pd.testing.assert_frame_equal(
        member.out_of_fold.prediction,
        again.prediction.loc[competition.effects.index],
        check_names=False,
    )
    assert member.out_of_fold.score().score == pytest.approx(again.score().score)
    expected = Constant().fit(competition).predict(["X1"])
    np.testing.assert_array_equal(member.test, expected)


def test_a_model_too_slow_is_left_out_after_its_first_fold(competition):
    slow = Slow(0.8)  # it would need 5 x 0.8 s
    fitted, left_out = within(2, {"slow": slow, "constant": Constant()}, competition)
    assert slow.fits == 1
    assert list(fitted) == ["constant"]
    assert re.match(r"4 more fits of 0\.\d s or more, ", left_out["slow"])


def test_what_is_done_once_for_all_folds_does_not_count_for_each(competition):
    models = {"pretrained": Slow(0.5, first=0.5)}  # a first fold of 1 s: 5 of these were too long
    fitted, _ = within(4.5, models, competition)
    assert list(fitted) == ["pretrained"]


def test_a_fit_that_does_not_end_is_stopped(competition):
    start = time.perf_counter()
    _, left_out = within(0.3, {"endless": Slow(60)}, competition)
    assert time.perf_counter() - start < 20
    assert left_out == {"endless": "time was over in the middle of a fit"}


def test_without_time_nothing_is_tried(competition):
    _, left_out = within(0, {"constant": Constant()}, competition)
    assert left_out == {"constant": "no time is left"}


def test_a_fault_in_a_model_is_no_lack_of_time(competition):
    class Faulty(Constant):
        def fit(self, train):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        within(60, {"faulty": Faulty()}, competition)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_the_cheap_models_need_no_more_knowledge_than_there_is(tmp_path):
    _, pathways = planted(tmp_path, rows=12, genes=8)
    assert list(cheap_models(Knowledge())) == ["constant"]
    assert list(cheap_models(Knowledge(pathways))) == ["constant", "ridge", "neighbours", "pairs"]
    small = load_competition(write_small(tmp_path / "small"))
    fitted, _ = within(60, cheap_models(Knowledge()), small, parts(small, 2))
    assert np.isfinite(fitted["constant"].test.to_numpy()).all()


def test_where_there_are_no_alarms_the_time_is_kept_between_fits(competition):
    slow, found = Slow(0.4), []

    def work():
        found.append(within(0.2, {"slow": slow}, competition))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert slow.fits == 1
    assert "more fits of" in found[0][1]["slow"]
