"""Simulate a competition: the same files and schema, two atlases, pathways, and a planted truth.

The twin tests software; it never says which model is better. Cells are drawn, not effects: counts of
single cells with uneven depth, batches, a shared stress axis, cells that escape and guides that are
dead; means, effects and weights come from them as the host's do. What is planted is in `world`,
how cells are drawn in `cells`, how all is written in `tables`. Not here: doublets, ambient
RNA, guides that hit other genes, and Replogle's many columns besides those that are read.

At size full (seed 0; `benchmarks/twin.py` makes this table again) beside what is published of the
competition's 80 training rows; effects in log2:

                                        twin   published   bound
    effect sd                           .0548      .0569   25 %
    share of |effect| > .1              4.4 %      5.4 %   25 %
    share of |effect| > .25             .43 %      .46 %   25 %
    WMAE of the mean prediction         .1410      .1268   25 %
      its quartiles            .073 .111 .166   .081 .105 .141   factor 1.5
      its maximum                        .794       .633
    WMAE of the zero prediction         .1548      .1413   factor 1.5
    weights, median                      .042       .035   factor 1.5
    weights above 1                    18.9 %     18.8 %   factor 1.5
    weights, maximum                      461        415
    on-target effect                     -.67       -.57
    components for 90 % of variance        50         44
    least, largest effect          -3.13 1.66  -3.78 1.69
    cells, UMI and genes a cell   17,882 20,059 5,054   17,882 20,710 4,980
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from .. import metric
from ..competition import CONTROL
from ..expression import pseudobulk, t_of_samples
from ..io.files import InputError, alone_in, check_known, read_json, replacing
from .cell_lines import draw_each
from .world import SIZES, Size, World, plant, shuffled

__all__ = [
    "SIZES",  # how much is drawn, by the name of a size: `quick`, `full`
    "simulate",  # write a simulated competition with two atlases, pathways and the planted truth
]

VERSION = 2  # of the generator: raised whenever the same seed gives another twin
LFC = 0.025  # `treat` at this threshold gives weights of the published shape


def simulate(folder: Path | str, *, size: str = "quick", seed: int = 0, null: bool = False) -> Path:
    """Write a twin into `folder`, whole or not at all, and return its path.

    `size`: `quick` (a few MB, seconds) or `full` (the competition's). `null=True` gives the same
    competition with all knowledge shuffled: pathways, interactions and the atlases' labels. A folder
    that already holds this twin is left as it is; one that holds anything else raises InputError.
    """
    check_known([size], SIZES, "no twin has the size")
    folder = Path(folder)
    settings = {"simulated": True, "size": size, "seed": seed, "null": null, "version": VERSION}
    if seed < 0:
        raise InputError(f"seed is {seed}, want 0 or more")
    with alone_in(folder.parent):
        for left in folder.parent.glob(f".{folder.name}.*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        if not _holds(folder, settings):
            _write(folder, settings)
    return folder


def _write(folder, settings):
    """Simulate and write what `settings` say."""
    from . import tables

    seed, null, counted = settings["seed"], settings["null"], SIZES[settings["size"]]
    # A stream of numbers for each purpose: the null twin shares all but the last.
    *streams, shuffle = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(6))
    world = plant(counted, streams[0])
    names = shuffled(world, shuffle) if null else None
    with replacing(folder) as place:
        place.mkdir()
        tables.write_competition(place, world, *draw_competition(world, counted, streams[1]))
        tables.write_replogle(place, world, counted, streams[2], names)
        tables.write_vcc(place, world, counted, streams[3], names)
        pathways = tables.write_knowledge(place, world, counted, streams[4], names)
        tables.write_truth(place, world, pathways)
        counts = {"counts": asdict(counted)}
        (place / "twin.json").write_text(json.dumps(settings | counts, indent=1) + "\n")


def _holds(folder, settings):
    """Whether the folder holds this very twin; InputError if it holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = read_json(folder / "twin.json")
    except InputError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{folder} holds other things than a twin; give a new or empty folder")
    if wrong := [key for key, value in settings.items() if found.get(key) != value]:
        got = ", ".join(f"{key} {found.get(key)}" for key in wrong)
        want = ", ".join(f"{key} {settings[key]}" for key in wrong)
        raise InputError(f"{folder} holds a twin of {got}, want {want}; delete it or name another")
    return True


def draw_competition(world: World, size: Size, rng: np.random.Generator) -> tuple:
    """Draw the competition's cells and make its tables as the host does.

    Returns `cells` (AnnData of the training and control cells) and three frames: `means`
    (perturbations and control x output gene), `effects` and `weights`.
    """
    split = world.perturbations["split"]
    outputs = world.genes.index[world.genes["output"]]
    plans = {}
    for name in ("train", "val", "test"):
        names = split.index[split == name]
        plans[name] = dict(zip(names, cells_by_target(size, len(names), rng), strict=True))
    cells = _draw_screen(world, {CONTROL: size.controls} | plans["train"], size, rng)
    # The held-out targets' cells give their truth and are forgotten.
    held_out = _draw_screen(world, plans["val"] | plans["test"], size, rng)
    parts = [pseudobulk.samples(part, outputs, min_cells=1) for part in (cells, held_out)]
    expression = pd.concat([part for part, _ in parts], axis=1)
    samples = pd.concat([part for _, part in parts])
    # The mean over samples weighted by their cells is the plain mean over cells.
    by = samples["sgrna_symbol"]
    means = (expression * samples["cells"]).T.groupby(by, sort=False).sum()
    means = means.div(samples["cells"].groupby(by, sort=False).sum(), axis=0)
    effects = (means - means.loc[CONTROL]).drop(index=CONTROL)
    weights = metric.weights_from_t(t_of_samples(expression, samples, lfc=LFC))
    return cells, means, effects, weights


def _draw_screen(world, plan, size, rng):
    """Cells as the competition labels them."""
    import anndata
    from scipy.sparse import csr_matrix, vstack

    genes = ~world.genes["foreign"].to_numpy()

    def keep(counts, table):
        return csr_matrix(counts), table

    blocks = draw_each(world, "competition", plan, rng, keep, genes=genes, depth=size.depth)
    counts, tables = zip(*blocks, strict=True)
    obs = pd.concat(tables).set_axis(["sgrna_symbol", "sgrna_id", "channel"], axis=1)
    var = pd.DataFrame(index=world.genes.index[genes])
    return anndata.AnnData(vstack(counts, format="csr"), obs, var)


def cells_by_target(size: Size, number: int, rng: np.random.Generator) -> np.ndarray:
    """Return the cells of each target: quantiles of `size.cells`, ends included, in random order."""
    cells = np.interp(np.linspace(0, 1, number), np.linspace(0, 1, 5), size.cells)
    return rng.permutation(np.rint(cells).astype(int))
