"""The one training loop: seeded, stopped early, resumable, and refusing what it cannot go on with."""

import numpy as np
import pandas as pd
import pytest
import torch

from kit import InputError
from kit.networks.training import Settings, seeded, train

QUICK = Settings(steps=40, rate=0.05, every=5)


class Task:
    """A noisy linear task and a network for it."""

    def __init__(self, seed=0):
        with seeded(seed, 0):
            self.network = torch.nn.Sequential(
                torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1)
            )
        random = np.random.default_rng(1)
        self.x = torch.tensor(random.normal(size=(64, 4)), dtype=torch.float32)
        self.y = self.x @ torch.tensor([[1.0], [-2.0], [0.5], [0.0]])

    def loss(self, step, random):
        chosen = random.integers(48, size=16)
        return ((self.network(self.x[chosen]) - self.y[chosen]) ** 2).mean()

    def check(self):
        return ((self.network(self.x[48:]) - self.y[48:]) ** 2).mean()

    def train(self, settings=QUICK, **options):
        return train(self.network, self.loss, settings, check=self.check, **options)


def test_training_lowers_the_check_and_keeps_the_best_state():
    task = Task()
    before = task.check().item()
    history = task.train()
    assert list(history.columns) == ["step", "rate", "loss", "check"]
    assert task.check().item() == pytest.approx(history["check"].min())
    assert task.check().item() < 0.2 * before
    assert not task.network.training


def test_the_same_seed_gives_the_same_bits_and_leaves_torchs_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, again, other = (Task().train(Settings(steps=20, every=5, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    pd.testing.assert_frame_equal(one, again, check_exact=True)
    assert not one["loss"].equals(other["loss"])


@pytest.mark.parametrize("killed_at", [3, 5, 12, 39])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, killed_at):
    whole = Task()
    history = whole.train()
    killed = Task()
    original, kept = killed.loss, tmp_path / "kept.pt"

    def loss(step, random):
        if step == killed_at:
            raise KeyboardInterrupt
        return original(step, random)

    killed.loss = loss
    with pytest.raises(KeyboardInterrupt):
        killed.train(checkpoint=kept)
    resumed = Task(seed=7)  # whatever the network was before, the checkpoint counts
    if not kept.exists():
        resumed = Task()
    found = resumed.train(checkpoint=kept)
    pd.testing.assert_frame_equal(found, history, check_exact=True)
    pairs = zip(whole.network.parameters(), resumed.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [file.name for file in tmp_path.iterdir()] == ["kept.pt"]


def test_a_finished_run_is_not_trained_again(tmp_path):
    task = Task()
    history = task.train(checkpoint=tmp_path / "kept.pt")
    task.loss = None
    pd.testing.assert_frame_equal(task.train(checkpoint=tmp_path / "kept.pt"), history)


def test_training_stops_when_the_check_no_longer_falls():
    task = Task()
    counted = []
    task.check = lambda: torch.tensor(0.0)  # never better than untrained
    before = [value.clone() for value in task.network.parameters()]
    task.loss, original = (
        lambda step, random: counted.append(step) or original(step, random),
        task.loss,
    )
    task.train(Settings(steps=100, every=5, patience=2))
    assert len(counted) == 10
    assert all(torch.equal(a, b) for a, b in zip(before, task.network.parameters(), strict=True))


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine():
    rates = Task().train(Settings(steps=200, rate=1.0, every=1, patience=999))["rate"]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    np.testing.assert_allclose(rates[10:], 0.5 * (1 + np.cos(np.pi * np.arange(190) / 190)))


def test_gradients_are_clipped():
    task = Task()
    seen = []
    original = torch.optim.AdamW.step

    def step(self, *args, **options):
        parts = [p.grad.norm() for group in self.param_groups for p in group["params"]]
        seen.append(float(torch.stack(parts).norm()))
        return original(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        loss = task.loss
        task.loss = lambda step, random: 1000 * loss(step, random)
        task.train(Settings(steps=5))
    assert max(seen) <= 1 + 1e-4


def test_a_loss_that_is_not_finite_is_an_error_that_names_the_step():
    task = Task()
    task.loss = lambda step, random: sum(p.sum() for p in task.network.parameters()) * np.nan
    with pytest.raises(InputError, match="loss is nan at step 5; lower the rate"):
        task.train()


def test_a_checkpoint_of_other_settings_or_another_network_is_refused(tmp_path):
    kept = tmp_path / "kept.pt"
    Task().train(checkpoint=kept)
    with pytest.raises(InputError, match="was made with"):
        Task().train(Settings(steps=41, rate=0.05, every=5), checkpoint=kept)
    other = Task()
    other.network = torch.nn.Linear(4, 1)
    with pytest.raises(InputError, match="is of another network"):
        other.train(checkpoint=kept)


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
