"""The score to expect: continued to all rows along the learning curve, and right for rows never seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_ensemble import members

from kit import Competition, InputError, OutOfFold, folds, out_of_fold
from kit.evaluation import expected_score, expected_spread
from kit.metric import weights_from_t


def curve_of(fewer, more):
    """The same forty rows predicted from 20 rows, and from 32, with noise of two sizes."""
    runs = members(rows=40, fewer=fewer, more=more)
    names = runs["more"].truth.index
    halves, fifths = (pd.Series(np.arange(40) % parts, names) for parts in (2, 5))
    found = []
    for run, fold in ((runs["fewer"], halves), (runs["more"], fifths)):
        training = {number: names[fold != number] for number in fold.unique()}
        found.append(replace(run, fold=fold, training=training))
    return tuple(found)


def test_both_parts_of_the_score_are_continued_along_a_line_to_all_rows():
    fewer, more = curve_of(0.6, 0.3)
    low, high = fewer.score(), more.score()
    w, wcos = (
        now + (now - before) * (40 - 32) / (32 - 20)
        for before, now in ((low.w * 60 / 40, high.w * 60 / 40), (low.wcos, high.wcos))
    )
    assert wcos < 1
    np.testing.assert_allclose(expected_score(more, (fewer, more)), (w * wcos, w, wcos))
    # Another model on the same rows gains as much from the rows that a fold lacks.
    other = replace(more, prediction=more.prediction / 2)
    found = expected_score(other, (fewer, more))
    assert found[1] - expected_score(other)[1] == pytest.approx(w - high.w * 60 / 40)
    # The order of rows in the two runs does not matter.
    turned = fewer.subset(fewer.truth.index[::-1])
    np.testing.assert_allclose(expected_score(more, (turned, more)), (w * wcos, w, wcos))


def test_without_a_curve_the_score_is_that_of_the_rows():
    _, more = curve_of(0.6, 0.3)
    score = more.score()
    np.testing.assert_allclose(
        expected_score(more), (score.score_per_60, score.w * 60 / 40, score.wcos)
    )


def test_no_cosine_exceeds_one_and_a_curve_needs_two_points():
    fewer, more = curve_of(1.0, 0.05)
    assert more.score().wcos + (more.score().wcos - fewer.score().wcos) * 2 / 3 > 1
    assert expected_score(more, (fewer, more))[2] == 1
    with pytest.raises(InputError, match="32 to 20 training rows"):
        expected_score(more, (more, fewer))


def test_draws_of_new_rows_lie_around_the_continued_score():
    fewer, more = curve_of(0.6, 0.4)
    drawn = expected_spread(more, rows=40, curve=(fewer, more), draws=500)
    alone = expected_spread(more, rows=40, draws=500)
    expected = expected_score(more, (fewer, more))[0]
    assert drawn["score"].mean() == pytest.approx(expected, rel=0.05)
    assert alone["score"].mean() == pytest.approx(more.score().score_per_60, rel=0.05)
    assert expected > 1.1 * more.score().score_per_60


class SameModule:
    """The mean of the training rows of a row's own module, or of all where it has none."""

    def fit(self, train):
        self.train_ = train.effects
        return self

    def predict(self, names):
        rows = []
        for name in names:
            near = self.train_.index.str.split("_").str[0] == name.split("_")[0]
            rows.append(self.train_[near].mean() if near.any() else self.train_.mean())
        return pd.DataFrame(rows, pd.Index(names, name="perturbation"))


def modules(seed, rows=240, genes=10):
    """A competition of perturbations in two hundred modules, each with effects of its own."""
    random = np.random.default_rng(seed)
    module = random.integers(200, size=rows)
    centres = random.normal(0, 0.5, (200, genes))
    effects = centres[module] + random.normal(0, 0.15, (rows, genes))
    names = pd.Index([f"M{m}_{i}" for i, m in enumerate(module)], name="perturbation")
    effects = pd.DataFrame(effects, names, [f"G{i}" for i in range(genes)])
    weights, targets = (
        weights_from_t(effects / 0.1),
        pd.DataFrame(columns=["perturbation", "split"]),
    )
    baseline = effects.abs().mean(axis=1)
    return Competition(effects, weights, effects.iloc[0] * 0, targets, baseline, None, None, Path())


def test_on_rows_never_seen_the_continued_score_is_right_and_that_out_of_fold_too_low():
    errors = []
    for seed in range(16):
        everything = modules(seed)
        names = everything.effects.index
        train = everything.subset(names[:120])
        fewer, more = (out_of_fold(SameModule(), train, folds(names[:120], k)) for k in (2, 5))
        prediction = SameModule().fit(train).predict(list(names[120:]))
        new = OutOfFold.from_predictions(everything, prediction, pd.Series(0, names[120:]))
        score = new.score().score_per_60
        expected, plain = expected_score(more, (fewer, more))[0], more.score().score_per_60
        errors.append((score - expected, score - plain))
    continued, plain = np.mean(errors, axis=0)
    assert plain > 3
    assert abs(continued) < plain / 2
