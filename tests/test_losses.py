"""The networks' loss: 0 for one that learned nothing, by hand where it can be, blind to what is NaN."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_planted import planted

from kit import metric
from kit.networks.losses import (
    APART,
    LossWeights,
    beyond,
    bin_chances,
    chance_loss,
    cosine_loss,
    entry_weights,
    expected_effect,
    loss,
    row_losses,
    wmae_loss,
)
from kit.networks.screen_data import competition_data

LOSS_WEIGHTS = {
    "chance": LossWeights(),
    "wmae": LossWeights(0, 1, 0),
    "cosine": LossWeights(0, 0, 1),
    "all": LossWeights(1, 1, 0.2),
}


@pytest.fixture
def screen(tmp_path):
    return competition_data(planted(tmp_path, rows=16)[0])


@pytest.fixture
def rows(screen):
    return screen.rows


def outputs(rows, shift=0.0, width=0.0):
    shape = rows.effects.shape
    return torch.full(shape, float(shift)), torch.full(shape, float(width))


def of(pieces, rows, shift, width):
    return loss(pieces, rows, shift, width)


def test_chances_of_bins_are_the_genes_own_at_shift_and_scale_0(rows):
    chances = bin_chances(rows, *outputs(rows))
    torch.testing.assert_close(chances.sum(dim=2), torch.ones(rows.effects.shape))
    beyond = 1 - chances[0].cumsum(dim=1)[:, :-1]
    torch.testing.assert_close(torch.logit(beyond), rows.odds.T, rtol=1e-3, atol=1e-4)


def test_a_shift_moves_the_expectation_up_and_a_width_pulls_it_together(rows):
    plain = expected_effect(rows, *outputs(rows))
    assert (expected_effect(rows, *outputs(rows, 1)) > plain).all()
    assert (expected_effect(rows, *outputs(rows, -1)) < plain).all()
    far = bin_chances(rows, *outputs(rows, 0, 2))  # odds all near even: the outer bins hold all
    assert (
        far[:, :, [0, -1]].sum(dim=2) > bin_chances(rows, *outputs(rows))[:, :, [0, -1]].sum(dim=2)
    ).all()


@pytest.mark.parametrize("name", LOSS_WEIGHTS)
@pytest.mark.parametrize("count", [15, 16])  # of an even number of rows the middle odds are 0
def test_odds_drawn_apart_without_end_leave_loss_and_slope_finite(screen, name, count):
    rows = screen.subset(range(count)).rows
    assert (rows.odds == 0).any() == (count == 16)
    for far in (-90.0, -1e4):
        shift, width = outputs(rows, 0.5)
        width[0] = far
        shift, width = (part.requires_grad_() for part in (shift, width))
        found = of(LOSS_WEIGHTS[name], rows, shift, width)
        found.backward()
        assert torch.isfinite(found)
        assert torch.isfinite(shift.grad).all()
        assert torch.isfinite(width.grad).all()
        assert shift.grad[1:].any()


def test_up_to_a_great_width_the_odds_are_drawn_apart_to_the_bit(rows):
    for width in (-APART, -20.0, -1.0, 0.0, 3.0, 200.0):
        shift, widths = outputs(rows, 0.5, width)
        plain = rows.odds.T[None] * torch.exp(-widths)[:, :, None] + shift[:, :, None]
        assert torch.equal(beyond(rows, shift, widths), plain)
    certain = bin_chances(rows, *outputs(rows, 0, -APART))
    assert torch.equal(bin_chances(rows, *outputs(rows, 0, -1e4)), certain)


@pytest.mark.parametrize("name", ["chance", "wmae"])
def test_shift_and_scale_0_lose_nothing(rows, name):
    assert float(of(LOSS_WEIGHTS[name], rows, *outputs(rows))) == pytest.approx(0, abs=1e-6)


def test_the_log_loss_is_that_of_a_slow_loop(rows):
    random = np.random.default_rng(0)
    shift, width = (
        torch.tensor(random.normal(size=rows.effects.shape), dtype=torch.float32) for _ in range(2)
    )
    found = chance_loss(rows, shift, width)
    pull, total = entry_weights(rows).numpy(), 0.0
    for row, gene in np.ndindex(*rows.effects.shape):
        for level in range(len(rows.odds)):
            odds = float(rows.odds[level, gene])
            new = odds * np.exp(-float(width[row, gene])) + float(shift[row, gene])
            sign = 1 if rows.effects[row, gene] > rows.thresholds[level, gene] else -1
            total += pull[row, gene] * (
                np.logaddexp(0, -sign * new) - np.logaddexp(0, -sign * odds)
            )
    assert float(found) == pytest.approx(total / pull.sum(), rel=1e-4)


def test_the_relative_error_is_the_metrics(rows):
    prediction = rows.effects * 0.5
    constant = rows.effects.mean(dim=0)
    arrays = [part.double().numpy() for part in (rows.effects, prediction, rows.weights)]
    truth, guess, weights = (pd.DataFrame(part) for part in arrays)
    share = rows.row_weights.double().numpy()
    found = (share * metric.wmae(truth, guess, weights)).sum()
    blind = (share * metric.wmae(truth, pd.Series(constant.double().numpy()), weights)).sum()
    got = wmae_loss(rows, prediction, constant)
    assert float(got) == pytest.approx(found / blind, rel=1e-4)


def test_the_cosine_is_the_metrics(rows):
    prediction = 0.7 * rows.effects + 0.1
    frames = [
        pd.DataFrame(part.double().numpy()) for part in (rows.effects, prediction, rows.weights)
    ]
    wanted = metric.score(*frames, metric.wmae(frames[0], frames[0].mean(), frames[2])).wcos
    got = cosine_loss(rows, prediction)
    assert 1 - float(got) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("name", LOSS_WEIGHTS)
def test_the_truth_lies_down_the_slope(rows, name):
    shift, width = (part.requires_grad_() for part in outputs(rows, 0.01))
    of(LOSS_WEIGHTS[name], rows, shift, width).backward()
    above = rows.effects > rows.thresholds[-3]
    assert (shift.grad[above] <= 1e-9).all()
    assert shift.grad[above].sum() < 0


@pytest.mark.parametrize("name", LOSS_WEIGHTS)
def test_what_was_not_measured_is_in_no_loss(rows, name):
    rows.weights[:, 3] = 0.0
    rows.weights[2, 7] = 0.0
    shift, width = (part.requires_grad_() for part in outputs(rows, 0.3, 0.1))
    before = of(LOSS_WEIGHTS[name], rows, shift, width)
    before.backward()
    assert not shift.grad[:, 3].any()
    assert not shift.grad[2, 7]
    assert shift.grad[:, 4].any()
    rows.effects[:, 3] = 100.0
    rows.effects[2, 7] = -100.0
    assert float(of(LOSS_WEIGHTS[name], rows, shift, width)) == pytest.approx(
        float(before), rel=1e-6
    )


def test_entries_count_half_the_same_and_half_by_the_metric(rows):
    weights = {"weights": torch.tensor([[1.0, 3.0, 0.0]]), "row_weights": torch.ones(1)}
    few = rows.at(torch.arange(3))._replace(**weights)
    np.testing.assert_allclose(entry_weights(few), [[0.75, 1.25, 0]], rtol=1e-4)


@pytest.mark.parametrize("name", LOSS_WEIGHTS)
def test_the_loss_of_a_row_is_that_of_its_own_with_a_share_of_shift_and_scale(screen, name):
    random = torch.Generator().manual_seed(0)
    shift, width = torch.randn((2, *screen.effects.shape), generator=random)
    screen.weights[:, 3] = 0.0
    for share in (0.0, 0.5, 1.0):
        found = row_losses(LOSS_WEIGHTS[name], screen.rows, shift, width, share)
        wanted = []
        for place in range(len(screen)):
            one = screen.subset([place], marginals=True).rows
            parts = (share * part[[place]] for part in (shift, width))
            wanted.append(float(loss(LOSS_WEIGHTS[name], one, *parts)))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
