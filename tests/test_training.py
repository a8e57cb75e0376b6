"""The one training loop: seeded, stopped early, resumable, and refusing what it cannot go on with."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from kit import InputError
from kit.networks.stack import Stack
from kit.networks.training import Settings, seeded, train

QUICK = Settings(steps=40, rate=0.05, every=5)
X = torch.tensor(np.random.default_rng(1).normal(size=(64, 4)), dtype=torch.float32)
Y = X @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]])


class Task:
    """A noisy linear task, and a network or several for it. calm: without what differs between runs."""

    def __init__(self, *seeds, calm=False):
        self.networks = [self._network(seed, 0.0 if calm else 0.2) for seed in seeds or [0]]
        self.calm, self.steps = calm, []

    @staticmethod
    def _network(seed, dropout):
        with seeded(seed, 0):
            return torch.nn.Sequential(
                torch.nn.Linear(4, 8), torch.nn.Dropout(dropout), torch.nn.Linear(8, 1)
            )

    @property
    def states(self):
        return [[part.clone() for part in one.parameters()] for one in self.networks]

    def loss(self, stack, step, random):
        self.steps.append(step)
        chosen = np.arange(48) if self.calm else random.integers(48, size=16)
        return stack.map(lambda network: ((network(X[chosen]) - Y[chosen]) ** 2).mean())

    def check(self, stack):
        return stack.map(lambda network: ((network(X[48:]) - Y[48:]) ** 2).mean())

    def train_all(self, settings=QUICK, **options):
        return train(self.networks, self.loss, settings, **{"check": self.check} | options)

    def train(self, *args, **options):
        """Train a single network; its history."""
        (history,) = self.train_all(*args, **options)
        return history

    def checked(self):
        """What the check gives for the networks as they are."""
        return self.check(Stack(self.networks)).detach().numpy()


def same(one, other):
    """Whether lists of tensors are the same to the bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def sick(task, places, steps):
    """The task, with a loss and slopes of some networks that are NaN at some steps."""
    original = task.loss

    def loss(stack, step, random):
        found = original(stack, step, random)
        ill = [place in places and step in steps for place in range(len(stack))]
        return found * torch.tensor([np.nan if flag else 1.0 for flag in ill])

    task.loss = loss
    return task


def killed(task, step, place, settings=QUICK, **options):
    """What is in the checkpoint of a run that is interrupted at a step."""
    original = task.loss

    def loss(stack, now, random):
        if now == step:
            raise KeyboardInterrupt
        return original(stack, now, random)

    task.loss = loss
    with pytest.raises(KeyboardInterrupt):
        task.train_all(settings, checkpoint=place, **options)
    return torch.load(place, weights_only=True) if place.exists() else None


def test_training_lowers_the_check_and_keeps_the_best_state():
    task = Task()
    (before,) = task.checked()
    history = task.train()
    assert list(history.columns) == ["step", "rate", "loss", "check"]
    (after,) = task.checked()
    assert after == pytest.approx(history["check"].min())
    assert after < 0.2 * before
    assert not task.networks[0].training


def test_the_same_seed_gives_the_same_bits_and_leaves_torchs_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, again, other = (Task().train(Settings(steps=20, every=5, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    pd.testing.assert_frame_equal(one, again, check_exact=True)
    assert not one["loss"].equals(other["loss"])


def test_networks_side_by_side_learn_what_each_learns_alone():
    together = Task(0, 1, 2, calm=True)
    histories = together.train_all()
    for seed, state, history in zip((0, 1, 2), together.states, histories, strict=True):
        alone = Task(seed, calm=True)
        pd.testing.assert_frame_equal(alone.train(), history, atol=1e-5, rtol=1e-5)
        for part, other in zip(state, alone.states[0], strict=True):
            torch.testing.assert_close(part, other, atol=1e-5, rtol=1e-5)
    assert not same(together.states[0], together.states[1])


def test_random_numbers_inside_a_network_differ_between_networks():
    task = Task(0, 0)
    one, other = task.train_all()
    assert not one["loss"].equals(other["loss"])  # the same network, but another dropout


@pytest.mark.parametrize("seeds", [[0], [0, 1, 2]])
@pytest.mark.parametrize("killed_at", [3, 5, 12, 39])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, killed_at, seeds):
    whole, kept = Task(*seeds), tmp_path / "kept.pt"
    histories = whole.train_all()
    # Whatever the networks were before, a checkpoint counts.
    saved = killed(Task(*seeds), killed_at, kept) is not None
    resumed = Task(*(seed + 7 * saved for seed in seeds))
    found = resumed.train_all(checkpoint=kept)
    for one, other in zip(found, histories, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert all(map(same, whole.states, resumed.states))
    assert [file.name for file in tmp_path.iterdir()] == ["kept.pt"]


def test_a_finished_run_is_not_trained_again(tmp_path):
    task = Task()
    history = task.train(checkpoint=tmp_path / "kept.pt")
    task.loss = None
    pd.testing.assert_frame_equal(task.train(checkpoint=tmp_path / "kept.pt"), history)


def test_training_stops_when_the_check_no_longer_falls():
    task = Task()
    task.check = lambda stack: torch.zeros(len(stack))  # never better than untrained
    before = task.states
    task.train(Settings(steps=100, every=5, patience=2))
    assert len(task.steps) == 10
    assert all(map(same, before, task.states))


def test_a_network_out_of_patience_keeps_its_best_state_while_others_go_on():
    task, own = Task(0, 1), iter([0.0, 1.0, 1.0, *9 * [-1.0]])  # better again, but too late
    original = task.check
    task.check = lambda stack: torch.stack([torch.tensor(next(own)), original(stack)[1]])
    before = task.states
    first, second = task.train_all(Settings(steps=40, rate=0.05, every=5, patience=2))
    assert len(first) == len(second) > 3
    assert same(task.states[0], before[0])
    assert task.checked()[1] == pytest.approx(second["check"].min())


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine():
    rates = Task().train(Settings(steps=200, rate=1.0, every=1, patience=999))["rate"]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    np.testing.assert_allclose(rates[10:], 0.5 * (1 + np.cos(np.pi * np.arange(190) / 190)))


def test_gradients_are_clipped_network_by_network(monkeypatch):
    task, seen = Task(0, 1, 2, calm=True), []
    original = torch.optim.AdamW.step

    def step(self, *args, **options):
        slopes = [p.grad for group in self.param_groups for p in group["params"]]
        norms = [torch.cat([one[place].flatten() for one in slopes]).norm() for place in range(3)]
        seen.append(torch.stack(norms))
        return original(self, *args, **options)

    def gradients(factors):
        seen.clear()
        loss = Task.loss.__get__(task)
        task.loss = lambda *args: torch.tensor(factors) * loss(*args)
        task.train_all(Settings(steps=5))
        return torch.stack(seen)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    assert gradients([1000.0, 1000.0, 1000.0]).max() <= 1 + 1e-4
    mixed = gradients([1000.0, 1e-3, 0.0])
    torch.testing.assert_close(mixed[:, 0], torch.ones(5), atol=1e-4, rtol=0)
    assert (mixed[:, 1] < 0.1).all()  # a small one stays as it is, whatever is beside it
    assert (mixed[:, 1] > 0).all()
    assert not mixed[:, 2].any()


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("at", [0, 3, 12, 38])
def test_a_network_that_falls_ill_goes_on_from_its_last_check_and_leaves_the_others(
    at, place, checked
):
    options = {} if checked else {"check": None}
    healthy, ill, begun = Task(0, 1, 2), sick(Task(0, 1, 2), [place], {at}), 5 * (at // 5)
    histories = healthy.train_all(**options)
    message = rf"network {place + 1} of 3 .* steps {begun} and {begun + 5} .* at step {begun}"
    with pytest.warns(RuntimeWarning, match=message) as warned:
        found = ill.train_all(**options)
    assert len(warned) == 1
    for other in {0, 1, 2} - {place}:
        pd.testing.assert_frame_equal(found[other], histories[other], check_exact=True)
        assert same(ill.states[other], healthy.states[other])
    own, rows = found[place], begun // 5
    assert len(own) == len(histories[place])
    pd.testing.assert_frame_equal(own[:rows], histories[place][:rows], check_exact=True)
    assert np.isfinite(own["loss"][rows + 1 :]).all()
    assert all(torch.isfinite(part).all() for part in ill.states[place])
    if checked and rows:
        assert own["check"][rows] == own["check"][rows - 1]
    if at < 30:  # it learns again
        assert own["loss"].iloc[-1] < 0.5 * histories[place]["loss"][0]


@pytest.mark.parametrize("begun", [0, 10])
def test_a_network_that_falls_ill_goes_back_with_all_that_the_optimiser_holds(tmp_path, begun):
    healthy, ill = Task(0, 1), sick(Task(0, 1), [1], {begun + 2})
    start = {name: part.clone() for name, part in Stack(healthy.networks).state.items()}
    before = killed(healthy, begun, tmp_path / "before.pt")
    with pytest.warns(RuntimeWarning, match="network 2 of 2"):
        after = killed(ill, begun + 5, tmp_path / "after.pt")
    before = before or {"state": start, "optimizer": {"state": None}}
    for name, part in after["state"].items():
        assert torch.equal(part[1], before["state"][name][1])
        assert not torch.equal(part[0], before["state"][name][0])
    for number, moments in after["optimizer"]["state"].items():
        for name in ("exp_avg", "exp_avg_sq"):
            then = before["optimizer"]["state"]
            wanted = then[number][name][1] if then else torch.zeros_like(moments[name][1])
            assert torch.equal(moments[name][1], wanted)
            assert moments[name][0].any()


def test_slopes_that_are_not_finite_count_as_a_loss_that_is_not():
    task, original = Task(0, 1), Task().loss

    def loss(stack, step, random):
        def root(network, flag):  # of 0: 0, but its slope is not finite
            return (0 * network[0].weight.sum() + 1 - flag).sqrt() - 1 + flag

        ill = torch.tensor([float(step == 12), 0.0])
        return original(stack, step, random) + stack.map(root, ill)

    task.loss = loss
    with pytest.warns(RuntimeWarning, match="network 1 of 2 .* between steps 10 and 15"):
        task.train_all()
    assert all(torch.isfinite(part).all() for state in task.states for part in state)


@pytest.mark.parametrize("at", [2, 11])
@pytest.mark.parametrize("killed_at", [13, 17])
def test_a_run_killed_after_a_network_fell_ill_goes_on_to_the_same_bits(tmp_path, at, killed_at):
    whole, again, resumed = (sick(Task(0, 1, 2), [1], {at}) for _ in range(3))
    with pytest.warns(RuntimeWarning, match="network 2 of 3"):
        histories = whole.train_all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert killed(again, killed_at, tmp_path / "kept.pt")["step"] == killed_at // 5 * 5
        found = resumed.train_all(checkpoint=tmp_path / "kept.pt")
    assert all(map(same, whole.states, resumed.states))
    for one, other in zip(found, histories, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
@pytest.mark.parametrize("checked", [True, False])
def test_if_no_network_has_a_finite_loss_from_the_start_that_is_an_error(seeds, checked):
    task = sick(Task(*seeds), [0, 1], range(40))
    with pytest.raises(
        InputError, match=r"not finite in the first 5 steps; lower the rate .*0\.05"
    ):
        task.train_all(**{} if checked else {"check": None})


@pytest.mark.parametrize("checked", [True, False])
def test_a_run_that_stays_ill_ends_with_the_last_good_state(tmp_path, checked):
    options = {} if checked else {"check": None}
    settings = Settings(steps=999, rate=0.05, every=5, patience=3)
    good = killed(Task(0, 1), 10, tmp_path / "good.pt", settings, **options)
    ill = sick(Task(0, 1), [0, 1], range(12, 999))
    with pytest.warns(RuntimeWarning, match="network 1, 2 of 2"):
        histories = ill.train_all(settings, **options)
    assert ill.steps[-1] == 24  # two checks that are well, three without a gain
    assert [len(history) for history in histories] == [5, 5]
    assert same(Stack(ill.networks).state.values(), good["best" if checked else "state"].values())


def test_one_network_that_stays_ill_does_not_end_the_run_of_the_others():
    healthy, ill = Task(0, 1), sick(Task(0, 1), [0], range(12, 999))
    settings = Settings(steps=60, rate=0.05, every=5, patience=3)
    healthy.train_all(settings, check=None)
    with pytest.warns(RuntimeWarning, match="network 1 of 2"):
        ill.train_all(settings, check=None)
    assert ill.steps[-1] == 59
    assert same(ill.states[1], healthy.states[1])
    assert all(torch.isfinite(part).all() for part in ill.states[0])


def test_a_checkpoint_of_other_settings_or_other_networks_is_refused(tmp_path):
    kept = tmp_path / "kept.pt"
    Task(0, 1).train_all(checkpoint=kept)
    with pytest.raises(InputError, match="was made with"):
        Task(0, 1).train_all(Settings(steps=41, rate=0.05, every=5), checkpoint=kept)
    other = Task(0, 1)
    other.networks = [torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)]
    for one in (other, Task(0), Task(0, 1, 2)):
        with pytest.raises(InputError, match="is of another network"):
            one.train_all(checkpoint=kept)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_file_that_is_no_checkpoint_is_refused_and_runs_nothing(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "proof"), "w"))

    for content in (b"", b"not a checkpoint", pickle.dumps(Evil())):
        (tmp_path / "bad.pt").write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.pt is no checkpoint"):
            Task().train(checkpoint=tmp_path / "bad.pt")
    assert not (tmp_path / "proof").exists()
