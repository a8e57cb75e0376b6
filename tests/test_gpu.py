"""On a GPU the networks compute what they compute on the CPU: `pytest -m gpu`."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from notebook_outputs import NOTEBOOKS, assert_complete
from small_planted import an_atlas, killed, planted

from kit.knowledge import Knowledge, load_pathways
from kit.networks import GNN, VAE, Settings, Transformer, device
from kit.screens.gene_names import GeneNames

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("error")]
NETWORKS = {"vae": VAE, "gnn": GNN, "transformer": Transformer}
STEPS = Settings(steps=30, rate=2e-3, every=10)


@pytest.fixture(autouse=True)
def a_gpu():
    """Skips where torch finds no GPU that works."""
    if device().type != "cuda":
        pytest.skip(f"no GPU: torch {torch.__version__} works on the CPU only")


def fitted(name, folder, policy="pretrain", **options):
    """A network after 30 steps on a screen and 30 on the competition, without shrinkage."""
    competition, pathways = planted(folder, rows=24)
    knowledge = Knowledge(pathways, an_atlas(competition))
    options = {"pretraining": STEPS, "tuning": STEPS, "members": 2} | options
    model = NETWORKS[name](knowledge, policy=policy, **options).fit(competition)
    model.shrinkage_ = 1.0
    return model


def numbers(model):
    """What a model predicts and what it has learned, as frames."""
    names = ["P1", "P20", "X1", "NOBODY"]
    # Probabilities: a prediction jumps between support points.
    chances = model.predict_distribution(names).chances()
    found = {"shift": model.logit_shift(names), "chances": pd.DataFrame(chances.reshape(60, -1))}
    # Later losses, of few rows, grow apart by tenths from a last bit.
    found["losses"] = model.history_.query("stage == 'screens'")[["loss", "check"]]
    if isinstance(model, VAE):
        found["shifts"], found["gates"] = model.latent_shifts(names)
        found["decoded"] = model.decoded_effects(names)
    if isinstance(model, Transformer):
        found["attention"], found["contributions"] = (
            model.attention(names),
            model.contributions(names).to_frame(),
        )
        found["mixtures"] = model.mixtures()[0]
    if isinstance(model, GNN):
        found["carried"] = model.carried("P1").sort_index().to_frame()
        found["signal"], found["gates"] = model.signal("P1"), model.gates()[0].fillna(0.0)
        found["routes"] = model.routes("P1")[["amount"]].sort_values("amount", ignore_index=True)
    return found


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    """The same numbers from a process that sees no GPU, by network."""
    folder = tmp_path_factory.mktemp("cpu")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    subprocess.run([sys.executable, __file__, str(folder)], env=environment, check=True)
    return pickle.loads((folder / "numbers.pkl").read_bytes())


@pytest.mark.parametrize("name", NETWORKS)
def test_thirty_steps_end_where_they_end_on_the_cpu(name, on_cpu, tmp_path):
    model = fitted(name, tmp_path)
    assert {part.device.type for part in model.networks_[0].parameters()} == {"cuda"}
    for part, found in numbers(model).items():
        wanted = on_cpu[name][part].to_numpy().ravel()
        found = found.to_numpy().ravel()
        assert np.abs(found - wanted).max() < 0.05, part
        if wanted.std() > 1e-6:
            assert np.corrcoef(found, wanted)[0, 1] > 0.9999, part


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_parameters_give_the_same_shifts(name, on_cpu, tmp_path):
    np.testing.assert_allclose(drawn_logits(name, tmp_path), on_cpu[name, "drawn"], atol=1e-3)


def drawn_logits(name, folder):
    """Logit shifts of networks with parameters drawn on the CPU."""
    model = fitted(name, folder, policy="screens", pretraining=Settings(steps=1))
    random = np.random.default_rng(0)
    for network in model.networks_:
        for part in network.parameters():
            drawn = 0.1 * random.standard_normal(tuple(part.shape), dtype=np.float32)
            part.data = torch.as_tensor(drawn, device=part.device)
    return model.logit_shift(["P1", "P20"]).to_numpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_killed_fit_goes_on_from_its_checkpoint(name, tmp_path, monkeypatch):
    whole, kept = fitted(name, tmp_path), tmp_path / "kept"
    killed(
        monkeypatch, type(whole.networks_[0]), 45, lambda: fitted(name, tmp_path, checkpoints=kept)
    )
    assert len(list(kept.glob("*.pt"))) == 2
    resumed = fitted(name, tmp_path, checkpoints=kept)
    shifts = [model.logit_shift(["P1"]) for model in (resumed, whole)]
    np.testing.assert_allclose(*shifts, atol=0.05)  # atomic sums differ from run to run


@pytest.mark.parametrize("name", NETWORKS)
def test_fifteen_networks_of_full_size_fit_side_by_side(name, tmp_path):
    competition, _ = planted(tmp_path, rows=120, genes=5000)
    knowledge = Knowledge(of_all_genes(competition, tmp_path))
    steps = Settings(steps=2, every=2)
    model = NETWORKS[name](knowledge, policy="competition", members=15, tuning=steps)
    torch.cuda.reset_peak_memory_stats()
    assert len(model.fit(competition).networks_) == 15
    assert np.isfinite(model.history_[["loss", "check"]].to_numpy()).all()
    assert torch.cuda.max_memory_allocated() < 12 * 2**30  # a T4 has 15


def of_all_genes(competition, folder):
    """Pathways in which every gene and perturbation has sets and partners."""
    random, names = np.random.default_rng(0), [*competition.genes, *competition.effects.index]
    sets = [random.choice(names, 60, replace=False) for _ in range(600)]
    pairs = random.choice(names, (30_000, 2))
    (folder / "sets.gmt").write_text(
        "".join("\t".join([f"set {place}", "", *one]) + "\n" for place, one in enumerate(sets))
    )
    (folder / "bonds.tsv").write_text("".join(f"{one} {other}\n" for one, other in pairs))
    files = folder / "planted.gmt", folder / "sets.gmt", folder / "bonds.tsv"
    return load_pathways(*files, names=GeneNames())


def test_a_notebook_runs_on_the_gpu_without_a_warning(twin, tmp_path):
    (path,) = (path for path in NOTEBOOKS if path.stem == "06_transformer")
    folders = {"ESG_DATA": str(twin), "ESG_OUTPUTS": str(tmp_path), "ESG_BUDGET": "quick"}
    command = [sys.executable, ROOT / "notebooks" / "execute.py", path, tmp_path / "shown.ipynb"]
    environment = os.environ | folders
    done = subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_complete(tmp_path / path.stem, twin)
    cells = nbformat.read(tmp_path / "shown.ipynb", as_version=4).cells
    shown = [out for cell in cells for out in cell.get("outputs", ()) if "text" in out]
    assert any("device: cuda" in out.text for out in shown)
    lines = [line for out in shown for line in out.text.splitlines() if "Warning: " in line]
    assert [line for line in lines if "holds SIMULATED data" not in line] == []


if __name__ == "__main__":
    place, found = Path(sys.argv[1]), {}
    for kind in NETWORKS:
        found[kind] = numbers(fitted(kind, place))
        found[kind, "drawn"] = drawn_logits(kind, place)
    (place / "numbers.pkl").write_bytes(pickle.dumps(found))
