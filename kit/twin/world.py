"""What is planted in the twin: genes with their names, perturbations with their properties, guides.

`cell_lines` draws how each cell line responds. All is drawn from one generator, in a fixed order; nothing
here draws a cell or writes a file.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .cell_lines import SILENT, Line, draw_lines


@dataclass(frozen=True)
class Size:
    """How much to plant and to draw: numbers of genes, perturbations and cells, the competition's own."""

    genes: int = 19_226  # of the competition's cells
    outputs: int = 5_127
    foreign: int = 300  # genes that only the atlases measure
    train: int = 80
    val: int = 60
    test: int = 60
    others: int = 240  # perturbations that only the atlases hold
    modules: int = 24  # pathways whose members have similar effects
    regulators: int = 60
    spread: float = 1.9  # sd of the genes' log rates
    strength: float = 0.056  # median rms of a response, log2
    controls: int = 1_026
    cells: tuple = (31, 135.75, 216, 250.5, 447)  # least, quartiles and most cells a target
    guides: int = 3
    depth: int = 20_710  # median UMI a cell
    atlas_genes: tuple = (8_563, 18_080)  # Replogle's, VCC's
    atlas_cells: int = 30  # a perturbation
    atlas_controls: int = 1_000


QUICK = Size(
    genes=900, outputs=560, foreign=40, train=40, val=20, test=20, others=80, modules=10,
    regulators=20, spread=2.6, strength=0.08, controls=320, cells=(20, 60, 80, 95, 130), guides=2,
    depth=15_000, atlas_genes=(620, 860), atlas_cells=25, atlas_controls=320,
)  # fmt: skip
SIZES = {"quick": QUICK, "full": Size()}


@dataclass(frozen=True)
class World:
    """Planted truth.

    `genes` by symbol: `ensembl, mitochondrial, foreign, output`, `home` (number of its regulator, -1:
    none), `previous, alias` (joined by `|`), `screen_symbol` (its name in older screens).
    `perturbations` by symbol: `split, module` (-1: none), `sign, shared` (part of the response that is
    the module's), `strength` (rms log2), `escapers` (share of cells), `efficiency, expressed, output`,
    `informative` (a training target of its module has effects). `guides` by guide: `symbol`, `share` of
    its cells, `efficiency` (share of own transcripts removed; 0: dead). `regulators`: their symbols.
    `lines`: a Line by name.
    """

    genes: pd.DataFrame
    perturbations: pd.DataFrame
    guides: pd.DataFrame
    regulators: list
    lines: dict[str, Line]


def plant(size: Size, rng: np.random.Generator) -> World:
    """Draw a World with the numbers of a Size."""
    genes, base = _genes(size, rng)
    perturbations = _perturbations(size, genes, base, rng)
    genes["home"] = _homes(size, genes, perturbations, rng)
    _name(genes, perturbations, rng)
    lines = draw_lines(size, genes, perturbations, base, rng)
    idle = ~genes["mitochondrial"] & ~genes.index.isin(perturbations.index)
    regulators = rng.choice(genes.index[idle], size.regulators, replace=False)
    return World(genes, perturbations, _guides(size, perturbations, rng), list(regulators), lines)


def shuffled(world: World, rng: np.random.Generator) -> pd.Series:
    """Return a renaming of all genes, by symbol, that keeps perturbed genes among themselves."""
    hit = world.genes.index.isin(world.perturbations.index)
    names = world.genes.index.to_series()
    for group in (hit, ~hit):
        names[group] = rng.permutation(names[group].to_numpy())
    return names


def _genes(size, rng):
    """Invented genes in an order of no meaning, and the log rates of the competition's line."""
    number = size.genes + size.foreign
    width = len(str(number))
    plain = [f"TWIN{i:0{width}d}" for i in range(1, number - 13)]
    for i in rng.choice(np.arange(1, len(plain)), number // 50, replace=False):
        plain[i] = f"TC{100_000 + i}.1"  # a clone's name: its dot marks no duplicate
    twice = next(name for name in plain if name.startswith("TWIN"))
    names = np.array([f"MT-TWIN{i}" for i in range(1, 14)] + plain + [f"{twice}.1"])
    names = names[rng.permutation(number)]
    genes = pd.DataFrame(index=pd.Index(names, name="symbol"))
    genes["ensembl"] = [f"ENSG99{i:09d}" for i in 1 + rng.permutation(number)]
    genes["mitochondrial"] = genes.index.str.startswith("MT-")

    base = size.spread * rng.standard_normal(number)
    base = np.minimum(base, 3.2 * size.spread)
    mitochondrial = genes["mitochondrial"].to_numpy()
    nuclear = np.exp(base[~mitochondrial]).sum()
    shares = rng.dirichlet(np.full(13, 4.0))
    base[mitochondrial] = np.log(0.065 / 0.935 * nuclear * shares)  # 5 % of all transcripts

    must = mitochondrial | genes.index.isin([twice, f"{twice}.1"])
    foreign = rng.choice(np.flatnonzero(~must), size.foreign, replace=False)
    genes["foreign"] = np.isin(np.arange(number), foreign)
    # Outputs are drawn by their chance to be seen in a cell, so most are expressed.
    seen = 1 - np.exp(-2.3 * size.depth * np.exp(base) / np.exp(base).sum())
    chance = np.where(must, 1e9, np.where(genes["foreign"], 0, seen))
    order = np.argsort(-np.log(rng.random(number)) / np.maximum(chance, 1e-12))
    genes["output"] = np.isin(np.arange(number), order[: size.outputs])
    return genes, base


def _perturbations(size, genes, base, rng):
    """Draw the perturbations and their properties; writes silent genes into `base`."""
    counts = {"train": size.train, "val": size.val, "test": size.test, "other": size.others}
    splits = np.repeat(list(counts), list(counts.values()))
    number = len(splits)
    module = np.full(number, -1)
    output, expressed = np.ones(number, bool), np.ones(number, bool)
    opposite = np.zeros(number, bool)
    for split in counts:
        rows = rng.permutation(np.flatnonzero(splits == split))
        # One in seven has no output column, one in twenty is not expressed.
        output[rows[: round(0.14 * len(rows))]] = False
        expressed[rows[len(rows) // 2 :][: max(1, round(0.05 * len(rows)))]] = False
        rows = rng.permutation(rows)[: round(0.7 * len(rows))]
        module[rows] = rng.permutation(np.arange(len(rows)) % size.modules)
        opposite[rows[::6]] = True

    strength = size.strength * np.exp(0.55 * rng.standard_normal(number))
    # The mitochondrial axis is module 0; two of its members and one other perturbation dominate.
    strongest = rng.choice(np.flatnonzero((splits == "train") & expressed), 3, replace=False)
    module[strongest] = 0, 0, size.modules - 1
    strength[strongest] = size.strength * np.array([6.5, 5.5, 3.5])
    held_out = np.isin(splits, ["val", "test"])
    strong = rng.choice(np.flatnonzero(held_out & expressed), 2, replace=False)
    module[strong], strength[strong] = 0, size.strength * np.array([5.0, 3.0])

    symbols = _symbols_to_hit(genes, base, output, rng)
    base[genes.index.get_indexer(symbols[~expressed])] = SILENT
    taught = (splits == "train") & expressed & (module >= 0)
    number_taught = np.bincount(module[taught], minlength=size.modules)
    columns = {
        "split": splits,
        "module": module,
        "sign": np.where(opposite & (module > 0), -1, 1),
        "shared": np.where(module >= 0, rng.uniform(0.62, 0.92, number), 0.0),
        "strength": strength,
        "escapers": rng.beta(2, 7, number),
        "efficiency": rng.beta(14, 2, number),
        "expressed": expressed,
        "output": output,
        "informative": (module >= 0) & expressed & (number_taught[module] > taught),
    }
    return pd.DataFrame(columns, index=pd.Index(symbols, name="symbol"))


def _symbols_to_hit(genes, base, output, rng):
    """Draw genes to perturb among the well expressed, with or without an output column."""
    known = ~genes["foreign"] & ~genes.index.str.contains("[.-]")
    by_rate = genes[known].iloc[np.argsort(-base[known])]
    symbols = np.empty(len(output), dtype=object)
    for wanted in (True, False):
        pool, needed = by_rate.index[by_rate["output"] == wanted], (output == wanted).sum()
        symbols[output == wanted] = rng.choice(pool[: round(3 * needed)], needed, replace=False)
    return symbols


def _homes(size, genes, perturbations, rng):
    """The regulator that controls each gene, or -1; half of a module's members obey one of its own."""
    home = np.where(rng.random(len(genes)) < 0.55, rng.integers(0, size.regulators, len(genes)), -1)
    home[genes["mitochondrial"]] = -1
    own = perturbations["module"].to_numpy()
    obeys = (own >= 0) & (rng.random(len(own)) < 0.5)
    home[genes.index.get_indexer(perturbations.index)[obeys]] = own[obeys] % size.regulators
    return home


def _name(genes, perturbations, rng):
    """Give some genes older symbols and aliases, a few of them ambiguous; screens use one of each.

    Adds `previous` and `alias` (joined by `|`) and `screen_symbol`, the name in an older screen.
    """
    common = genes.index[genes.index.str.startswith("TWIN") & ~genes.index.str.endswith(".1")]
    bystanders = common.difference(perturbations.index, sort=False)
    draw = rng.choice(bystanders, len(common) // 12, replace=False)
    renamed, aliased = np.split(draw, [2 * len(draw) // 3])
    # Perturbed genes among them: an atlas then calls its targets by names of its day.
    renamed = [*renamed, *rng.choice(perturbations.index, len(perturbations) // 12, replace=False)]
    genes["previous"], genes["alias"], genes["screen_symbol"] = "", "", genes.index
    for column, word, symbols in (("previous", "OLD", renamed), ("alias", "ALT", aliased)):
        names = [symbol.replace("TWIN", f"TW{word}") for symbol in symbols]
        genes.loc[symbols, column] = names
        genes.loc[symbols, "screen_symbol"] = names
    # Traps: a previous symbol and an alias of two genes each, and a current symbol as a previous one.
    first, second, third = bystanders.difference(draw, sort=False)[:3]
    genes.loc[first, "previous"] = genes.at[renamed[0], "previous"]
    genes.loc[second, "alias"] = genes.at[aliased[0], "alias"]
    genes.loc[third, "previous"] = f"{first}|{third.replace('TWIN', 'TWOLD')}"


def _guides(size, perturbations, rng):
    """Guides of each perturbation: uneven shares of the cells; some are dead, never all of one."""
    share = rng.dirichlet(np.full(size.guides, 6.0), len(perturbations))
    best = np.argmax(share, axis=1)[:, None] == np.arange(size.guides)
    dead = (rng.random(share.shape) < 1 / 6) & ~best
    weaker = rng.uniform(0.75, 1.0, share.shape)
    symbols = np.repeat(perturbations.index.to_numpy(), size.guides)
    efficiency = np.where(dead, 0.0, weaker * perturbations["efficiency"].to_numpy()[:, None])
    names = [f"{symbol}_{i % size.guides + 1}" for i, symbol in enumerate(symbols)]
    columns = {"symbol": symbols, "share": share.ravel(), "efficiency": efficiency.ravel()}
    return pd.DataFrame(columns, names)
