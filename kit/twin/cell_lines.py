"""The three cell lines of the twin: how they respond to perturbations, and the cells drawn from them.

A perturbation's noiseless response is `strength x (shared part + own part) + stress`. The shared part is
its pathway's program: what the pathway's regulators do to the genes that they control, directly and
through other regulators. The own part goes through regulators and genes of its own. Other cell lines
rewire part of the network, so that the same perturbation has only partly similar effects.

Cells are UMI counts with depth, batches, a stress axis, escapers and dead guides.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..competition import CONTROL
from ..io.progress import progress

if TYPE_CHECKING:
    from .world import Size, World

BATCHES = {  # of three cell lines, by the screen they appear in
    "competition": [f"ch_{i}" for i in range(1, 5)],
    "replogle": list(range(1, 7)),
    "vcc": [f"Flex_{i}_{j:02d}" for i in (1, 2) for j in (1, 2)],
}
SILENT = -12.0  # log rate of a gene that is not expressed
CONTROL_GUIDES = 30
ROWS_AT_ONCE = 32  # cells: their rates stay in the cache


@dataclass(frozen=True)
class Line:
    """One cell line as one screen measures it; `response` is the noiseless truth."""

    base: np.ndarray  # (genes,) natural log of the rate
    response: np.ndarray  # (perturbations, genes) log2 fold change in a cell that does not escape
    axes: np.ndarray  # (2, genes) how cells vary by stress and by cycle, log2
    batches: list
    batch_effect: np.ndarray  # (batches, genes) log2


@dataclass(frozen=True)
class Network:
    """What moves a line's genes. Each gene obeys its `home` regulator by its `coefficient`."""

    home: np.ndarray  # (genes,), -1: none
    coefficient: np.ndarray  # (genes,)
    direct: np.ndarray  # (perturbations, genes) effects past all regulators
    stress: np.ndarray  # (genes,)


def _rewired(network, rng):
    """Another line's network: two genes in five keep their regulator, some of them change sign."""
    number = len(network.home)
    kept = rng.random(number) < 0.4
    coefficient = np.where(kept, network.coefficient, _coefficients(rng, number))
    same = rng.random(network.direct.shape, dtype=np.float32) < 0.35
    return Network(
        home=np.where(kept, network.home, rng.permutation(network.home)),
        coefficient=coefficient * np.where(rng.random(number) < 0.1, -1, 1),
        direct=np.where(same, network.direct, _direct(rng, network.direct.shape)),
        stress=0.6 * network.stress + 0.8 * _direct(rng, (1, number), share=0.12)[0],
    )


def draw_lines(
    size: "Size",
    genes: pd.DataFrame,
    perturbations: pd.DataFrame,
    base: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Line]:
    """Return the three lines. Others than the competition's rewire the network and shift the rates."""
    number, count = len(genes), len(perturbations)
    own = genes.index.get_indexer(perturbations.index)
    acts = _acts(size, count, rng)
    stress, cycle = _direct(rng, (2, number), share=0.12)
    network = Network(
        genes["home"].to_numpy(), _coefficients(rng, number), _direct(rng, (count, number)), stress
    )
    mito_fall = np.where(genes["mitochondrial"], -rng.uniform(7, 12, number), 0.0)
    mito_fall *= np.sqrt(number / 20_000)
    # Three in ten share a promoter with another gene, which falls too, in every line.
    beside = rng.integers(0, number, count)
    falls = np.where(rng.random(count) < 0.3, -rng.uniform(0.5, 2.0, count), 0.0)

    lines = {}
    for name, batches in BATCHES.items():
        wiring, rates, strength = network, base, perturbations["strength"].to_numpy()
        if name != "competition":
            wiring = _rewired(network, rng)
            shift = np.append(0.7 * rng.standard_normal(size.regulators), 0.0)  # last: home -1
            rates = base + shift[network.home] + 0.5 * rng.standard_normal(number)
            rates[own] = np.maximum(rates[own], np.quantile(base, 0.6))
            rates[own[rng.random(count) < 0.03]] = SILENT
            strength = strength * np.exp(0.5 * rng.standard_normal(count))
            strength *= np.where(rng.random(count) < 0.06, -1, 1)
        response = _responses(wiring, perturbations, acts, mito_fall, strength)
        stressed = 0.4 * np.minimum(np.abs(strength), 4 * size.strength)
        response += stressed[:, None] * wiring.stress
        response[np.arange(count), beside] += falls
        response[np.arange(count), own] = 0.0  # its own fall is drawn cell by cell
        response[rates[own] == SILENT] = 0.0
        response = np.clip(response, -6.0, 2.0).astype(np.float32)
        axes = np.stack([0.25 * wiring.stress, 0.3 * cycle]).astype(np.float32)
        batch_effect = 0.08 * rng.standard_normal((len(batches), number))
        lines[name] = Line(rates, response, axes, batches, batch_effect.astype(np.float32))
    return lines


def _acts(size, count, rng):
    """Effects of modules and of single perturbations on regulators, direct and through others."""
    cascade = rng.standard_normal((size.regulators,) * 2)
    cascade *= rng.random(cascade.shape) < 2 / size.regulators
    cascade *= 0.5 / max(1.0, np.abs(np.linalg.eigvals(cascade)).max())
    reach = np.linalg.inv(np.eye(size.regulators) - cascade)
    # Module m acts on its regulator m and two others, a single perturbation on any two.
    modules = _sparse_rows(rng, size.modules, size.regulators, 2)
    modules[np.arange(size.modules), np.arange(size.modules) % size.regulators] = 1.6
    return modules @ reach, _sparse_rows(rng, count, size.regulators, 2) @ reach


def _responses(network, perturbations, acts, mito_fall, strength):
    """Noiseless responses (perturbation x gene): the module's program, signed, and an own part."""
    modules, alone = acts
    regulon = np.zeros((modules.shape[1], len(network.home)), dtype=np.float32)
    obeys = np.flatnonzero(network.home >= 0)
    regulon[network.home[obeys], obeys] = network.coefficient[obeys]
    programs = _unit(modules @ regulon)
    programs[0] = np.where(mito_fall < 0, mito_fall, programs[0])
    response = _unit(_unit(alone @ regulon) + network.direct)
    shared = perturbations["shared"].to_numpy()[:, None]
    response *= np.sqrt(1 - shared)
    member = perturbations["module"].to_numpy() >= 0
    toward = perturbations["sign"].to_numpy()[:, None] * np.sqrt(shared)
    response[member] += toward[member] * programs[perturbations["module"].to_numpy()[member]]
    return strength[:, None] * response


def _sparse_rows(rng, rows, columns, picks):
    """Rows of zeros with a few standard normal entries each."""
    table = np.zeros((rows, columns))
    for row in table:
        row[rng.choice(columns, picks, replace=False)] = rng.standard_normal(picks)
    return table


def _coefficients(rng, number):
    """What its regulator does to each gene: heavy-tailed, four in five upwards."""
    return np.exp(0.7 * rng.standard_normal(number)) * np.where(rng.random(number) < 0.8, 1, -1)


def _direct(rng, shape, share=0.015):
    """Sparse heavy-tailed rows of root mean square 1."""
    values = rng.standard_normal(shape, dtype=np.float32) ** 3
    return _unit(values * (rng.random(shape, dtype=np.float32) < share))


def _unit(rows):
    """Scale every row to root mean square 1."""
    return rows / np.sqrt(np.mean(rows**2, axis=1, keepdims=True)).clip(1e-9)


def draw_each(
    world: "World",
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
