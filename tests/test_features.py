"""Coordinates of perturbations: their products are their similarity."""

import numpy as np
from small_planted import planted

from kit.knowledge import Knowledge
from kit.networks import vae as module
from kit.networks.vae import Features

KERNELS = ("all_sets", "small_sets")


def test_products_of_coordinates_are_the_mean_kernel(tmp_path):
    _, pathways = planted(tmp_path, rows=12, modules=3)
    knowledge, names = Knowledge(pathways), [f"P{i}" for i in range(12)]
    values = Features(knowledge, names, KERNELS, 16)(names)
    kernels = knowledge.kernels(names)
    mean = (kernels["all_sets"] + kernels["small_sets"]) / 2
    np.testing.assert_allclose(values @ values.T, mean, atol=1e-5)
    assert values.dtype == np.float32


def test_a_perturbation_that_is_no_anchor_lies_where_its_pathway_lies(tmp_path):
    _, pathways = planted(tmp_path, rows=12, modules=3)
    values = Features(Knowledge(pathways), [f"P{i}" for i in range(6)], KERNELS, 8)(
        ["P0", "P9", "P10"]
    )
    np.testing.assert_allclose(values[1], values[0], atol=1e-5)  # 9 and 0 are of one module
    assert not np.allclose(values[2], values[0])


def test_what_nothing_is_known_of_lies_at_zero(tmp_path):
    _, pathways = planted(tmp_path, rows=12)
    features = Features(Knowledge(pathways), ["P0", "P1"], KERNELS, 4)
    assert not features(["NOBODY"]).any()
    assert features([]).shape == (0, 4)
    assert not Features(Knowledge(), ["P0", "P1"], KERNELS, 4)(["P0"]).any()


def test_asking_by_blocks_changes_nothing(tmp_path, monkeypatch):
    _, pathways = planted(tmp_path, rows=12)
    names = [f"P{i}" for i in range(12)]
    whole = Features(Knowledge(pathways), names[:5], KERNELS, 8)(names)
    monkeypatch.setattr(module, "BLOCK", 5)
    parts = Features(Knowledge(pathways), names[:5], KERNELS, 8)(names)
    np.testing.assert_allclose(parts, whole, atol=1e-6)
