"""The metric against golden numbers, an independent plain implementation and cases by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.metric import plain_score, simulated_frames
from kit.io.files import InputError
from kit.metric import score, score_arrays, weights_from_t, wmae

GOLDEN = Path(__file__).parent / "golden" / "metric"
EXPECTED = pd.read_csv(GOLDEN / "expected.csv", float_precision="round_trip")


def read(name):
    return pd.read_csv(GOLDEN / name, index_col="pert_id", float_precision="round_trip")


def parts(solution):
    genes = [name for name in solution if f"w_{name}" in solution]
    weights = solution[[f"w_{gene}" for gene in genes]].set_axis(genes, axis=1)
    return solution[genes], weights, solution["baseline_wmae"]


def small(seed=0, rows=4, genes=6):
    solution, prediction, _ = simulated_frames(rows, genes, seed)
    truth, weights, base = parts(solution)
    return truth, prediction, weights, base


@pytest.mark.parametrize(
    "row", list(EXPECTED.itertuples()), ids=lambda row: f"{row.case}-{row.gate_right}"
)
def test_golden_numbers_hold_to_ten_digits(row):
    truth, weights, base = parts(read(f"{row.case}_solution.csv"))
    got = score(truth, read(f"{row.case}_submission.csv"), weights, base, gate=row.gate_right)
    wanted = [row.w, row.wcos, row.score]
    np.testing.assert_allclose([got.w, got.wcos, got.score], wanted, rtol=1e-10, atol=0)
    assert round(got.score, 5) == row.host_rounded


def test_the_hosts_own_example_gives_its_published_number():
    ids, genes = ["a", "b"], ["x", "y"]
    truth = pd.DataFrame([[1.0, 0.0], [0.0, 1.0]], ids, genes)
    prediction = pd.DataFrame([[1.0, 1.0], [0.8, 0.8]], ids, genes)
    ones = pd.DataFrame(1.0, ids, genes)
    assert round(score(truth, prediction, ones, pd.Series(2.0, ids)).score, 5) == 2.81113


def test_without_a_gate_named_it_is_that_of_the_hosts_code():
    for row in EXPECTED[EXPECTED["gate_right"] == 0.2].itertuples():
        truth, weights, base = parts(read(f"{row.case}_solution.csv"))
        prediction = read(f"{row.case}_submission.csv")
        assert score(truth, prediction, weights, base).wcos == pytest.approx(row.wcos, rel=1e-10)
        arrays = (frame[truth.columns].loc[truth.index].to_numpy() for frame in (truth, prediction))
        got = score_arrays(*arrays, weights[truth.columns].to_numpy(), base.to_numpy())
        assert float(got[0]) == pytest.approx(row.score, rel=1e-10)


@pytest.mark.parametrize("gate", [0.2, 0.3])
def test_the_column_by_column_reference_agrees(gate):
    solution, submission, genes = simulated_frames(7, 90, seed=3)
    want = plain_score(solution.reset_index(), submission.reset_index(), genes, gate=gate)
    got = score(*(lambda t, w, b: (t, submission, w, b))(*parts(solution)), gate=gate)
    np.testing.assert_allclose((got.score, got.w, got.wcos), want, rtol=1e-12)


def test_rows_longer_than_a_block_and_shorter_agree():
    truth, prediction, weights, base = small(rows=3, genes=40_000)
    whole = score(truth, prediction, weights, base)
    single = [
        score(truth.loc[[r]], prediction.loc[[r]], weights.loc[[r]], base[[r]]) for r in truth.index
    ]
    np.testing.assert_allclose(whole.w, sum(s.w for s in single), rtol=1e-12)
    np.testing.assert_allclose(
        whole.table["wmae"], [s.table["wmae"].iloc[0] for s in single], rtol=1e-12
    )


def test_order_of_rows_and_genes_does_not_matter():
    truth, prediction, weights, base = small()
    want = score(truth, prediction, weights, base).score
    turned = score(truth, prediction.iloc[::-1, ::-1], weights.iloc[:, ::-1], base[::-1]).score
    assert turned == want
    moved = score(truth.iloc[::-1, ::-1], prediction, weights, base).score
    assert moved == pytest.approx(want, rel=1e-12)


def test_a_prediction_equal_to_the_baseline_scores_zero():
    truth, _, weights, _ = small()
    mean = truth.mean()
    prediction = pd.DataFrame([mean] * len(truth), index=truth.index)
    got = score(truth, prediction, weights, wmae(truth, mean, weights))
    assert got.w == 0
    assert got.score == 0


def test_an_exact_row_is_capped_at_five_and_all_zero_rows_have_no_direction():
    truth, _, weights, base = small()
    exact = score(truth, truth, weights, base)
    assert exact.w == 5 * len(truth)
    assert exact.wcos == pytest.approx(1)
    nothing = score(truth, truth * 0, weights, base)
    assert nothing.wcos == 0
    assert nothing.score == 0


def test_a_wrong_direction_counts_as_zero_not_as_negative():
    truth, _, weights, base = small()
    got = score(truth, -truth, weights, base * 100)
    assert got.wcos == pytest.approx(-1)
    assert got.w > 0
    assert got.score == 0


def test_scores_scale_to_rows():
    got = score(*small(rows=5))
    assert got.rows == 5
    assert got.score_per_row == got.score / 5
    assert got.score_per_60 == pytest.approx(12 * got.score)


def test_one_call_scores_many_candidates():
    truth, prediction, weights, base = (f.to_numpy() for f in small(rows=5, genes=30))
    candidates = np.stack([[prediction * a, prediction + a] for a in (0.5, 0.7, 1.0)])
    scores, w, wcos = score_arrays(truth, candidates, weights, base)
    assert scores.shape == w.shape == wcos.shape == (3, 2)
    one = score_arrays(truth, candidates[1, 1], weights, base)
    assert (scores[1, 1], w[1, 1], wcos[1, 1]) == tuple(float(value) for value in one)
    labels = [pd.DataFrame(values) for values in (truth, candidates[2, 0], weights)]
    assert score(*labels, pd.Series(base)).score == scores[2, 0]


def test_weights_follow_t_by_hand():
    t = pd.DataFrame([[0.0, -0.9, 20.0], [3.0, 0.4, 0.0]], ["a", "b"], ["x", "b", "z"])
    weights = weights_from_t(t)
    first = np.array([0.1, 1.0, 10.0]) ** 2
    np.testing.assert_allclose(weights.loc["a"], 3 * first / first.sum())
    second = np.array([3.1, 0.0, 0.1]) ** 2  # b is its own gene
    np.testing.assert_allclose(weights.loc["b"], 3 * second / second.sum())
    assert (t.to_numpy() == [[0.0, -0.9, 20.0], [3.0, 0.4, 0.0]]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t, p, w, b: (t, p.iloc[1:], w, b),
            "prediction: perturbations do not match: got 3, want 4; missing: pert_",
        ),
        (
            lambda t, p, w, b: (t.iloc[1:], p, w.iloc[1:], b[1:]),
            "prediction: perturbations .* got 4, want 3; unknown: pert_1",
        ),
        (lambda t, p, w, b: (t, p.drop(columns="G2"), w, b), "prediction: genes .* missing: G2"),
        (lambda t, p, w, b: (t, p.assign(X=1.0), w, b), "prediction: genes .* unknown: X"),
        (
            lambda t, p, w, b: (t, pd.concat([p, p.iloc[:1]]), w, b),
            "prediction: perturbations .* repeated: pert_",
        ),
        (
            lambda t, p, w, b: (t, p.where(p != p.loc["pert_2", "G1"]), w, b),
            "prediction is nan at pert_2, G1",
        ),
        (lambda t, p, w, b: (t, p, w, b[:-1]), "baseline_wmae: perturbations .* missing: pert_4"),
        (
            lambda t, p, w, b: (t, p, w, b.where(b.index != "pert_3")),
            "baseline_wmae is nan at pert_3",
        ),
        (lambda t, p, w, b: (t.iloc[:0], p.iloc[:0], w.iloc[:0], b[:0]), "at least one row"),
    ],
)
def test_labels_and_values_that_do_not_fit_are_named(change, message):
    with pytest.raises(InputError, match=message):
        score(*change(*small()))


def test_a_gate_of_zero_is_refused():
    with pytest.raises(InputError, match="gate is 0"):
        score(*small(), gate=0)
