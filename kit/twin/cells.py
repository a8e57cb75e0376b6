"""Draw the twin's cells: UMI counts with depth, batches, a stress axis, escapers and dead guides."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from ..competition import CONTROL
from ..io.progress import progress
from .world import World

CONTROL_GUIDES = 30
ROWS_AT_ONCE = 32  # cells: their rates stay in the cache


def draw_each(
    world: World,
    line: str,
    plan: dict[str, int],
    rng: np.random.Generator,
    keep: Callable,
    *,
    genes: np.ndarray,
    depth: int,
) -> Iterator:
    """Yield `keep(counts, cells)` for each perturbation of `plan` (cells by symbol), in its order.

    Two threads draw; each perturbation has its own stream of numbers, so their order means nothing.
    """

    def draw(symbol, number, stream):
        return keep(*draw_cells(world, line, symbol, number, stream, genes=genes, depth=depth))

    with ThreadPoolExecutor(2) as pool, progress(f"cells like {line}", len(plan)) as done:
        for block in pool.map(draw, plan.keys(), plan.values(), rng.spawn(len(plan))):
            yield block
            done()


def draw_cells(world, line_name, symbol, number, rng, *, genes, depth):
    """Draw cells of one perturbation, or of the control.

    `genes`: mask of those that are drawn; `depth`: median UMI. Returns counts (cell x gene, int) and a
    frame by cell: `symbol, guide, batch`.
    """
    line, control = world.lines[line_name], symbol == CONTROL
    if control:
        drawn, efficiency = rng.integers(0, CONTROL_GUIDES, number), np.zeros(CONTROL_GUIDES)
        guides = np.array([f"{CONTROL}_{i + 1}" for i in range(CONTROL_GUIDES)])
        escapes, response = np.ones(number, dtype=bool), np.zeros(genes.sum())
    else:
        table = world.guides[world.guides["symbol"] == symbol]
        drawn = rng.choice(len(table), number, p=table["share"].to_numpy())
        guides, efficiency = table.index.to_numpy(), table["efficiency"].to_numpy()
        escapes = rng.random(number) < world.perturbations.at[symbol, "escapers"]
        response = line.response[world.perturbations.index.get_loc(symbol), genes]
    hit = ~escapes & (efficiency[drawn] > 0)
    share = rng.dirichlet(np.full(len(line.batches), 40.0))
    batch = rng.choice(len(line.batches), number, p=share)

    # log2 rates are one product of two small matrices: what moves a cell x what that does to a gene.
    mitochondrial = world.genes["mitochondrial"].to_numpy()[genes]
    axes = rng.standard_normal((number, 2))  # stress, cycle
    moves = [np.eye(len(line.batches))[batch], axes, 0.5 * rng.standard_normal(number), hit]
    does = [line.batch_effect[:, genes], line.axes[:, genes], mitochondrial, response]
    moves, does = (part.astype(np.float32) for part in (np.column_stack(moves), np.vstack(does)))
    base = (line.base[genes] / np.log(2)).astype(np.float32)
    total = depth * np.exp(0.35 * rng.standard_normal(number)) * (0.9 + 0.05 * batch)
    counts = np.empty((number, len(base)), dtype=np.int32)
    for start in range(0, number, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        # Not `@`: its own threads get in the way of these, and its last bits depend on the machine.
        rate = np.einsum("cm,mg->cg", moves[rows], does) + base
        # Poisson with a lognormal rate: more dispersed than Poisson, as counts of cells are.
        rate += 0.5 * rng.standard_normal(rate.shape, dtype=np.float32)
        np.exp2(rate, out=rate)
        rate *= (total[rows] / rate.sum(axis=1, dtype=np.float64)).astype(np.float32)[:, None]
        counts[rows] = rng.poisson(rate)
    for place in np.flatnonzero(world.genes.index[genes] == symbol):
        counts[hit, place] = rng.binomial(counts[hit, place], 1 - efficiency[drawn][hit])
    cells = {"symbol": symbol, "guide": guides[drawn], "batch": np.array(line.batches)[batch]}
    return counts, pd.DataFrame(cells, index=[f"{symbol}-{i}" for i in range(number)])
