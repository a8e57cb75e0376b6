"""The variants of a network that notebooks compare."""

import numpy as np
from small_planted import an_atlas, planted
from test_deep import small

from kit.networks.losses import LossWeights
from kit.networks.variants import variants


def test_one_thing_changes_at_a_time(tmp_path):
    competition, pathways = planted(tmp_path, rows=12)
    model = small(pathways, an_atlas(competition))
    found = variants(model, cells=True, screens=True)
    assert [one.policy for one in found.values()] == ["screens", "competition", *3 * ["pretrain"]]
    assert [one.draws > 0 for one in found.values()] == [False, False, False, True, False]
    assert [one.pieces == LossWeights() for one in found.values()] == [True] * 4 + [False]


def test_without_cells_and_screens_only_the_loss_is_left_to_change(tmp_path):
    _, pathways = planted(tmp_path, rows=12)
    found = variants(small(pathways), cells=False, screens=False)
    assert list(found) == ["competition", "competition, metric loss"]


def test_variants_learn_from_screens_once_and_leave_the_model_as_it_was(tmp_path):
    competition, pathways = planted(tmp_path, rows=24)
    model = small(pathways, an_atlas(competition))
    found = variants(model, cells=False, screens=True)
    for name in ("screens", "pretrain"):
        prediction = found[name].fit(competition).predict(["P1"])
        assert np.isfinite(prediction.to_numpy()).all()
    assert len(model.once.kept) == 1
    assert model.policy == "competition"
    assert not hasattr(model, "networks_")
