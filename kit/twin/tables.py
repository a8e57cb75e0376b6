"""Write the twin's files as the competition, the screens and the knowledge bases lay theirs out.

Schemas: the competition's tables and cells; Replogle 2022 (dense, Ensembl index, `gene_name` beside
it); the Virtual Cell Challenge (CSR, older symbols, `gene_id` beside them); Reactome's GMT; an edge
list; HGNC's `hgnc_complete_set.txt`. `names`, where given, renames every gene of the knowledge and
every label of an atlas: that makes the null twin.
"""

import csv
import gzip

import numpy as np
import pandas as pd

from ..competition import CONTROL
from ..io.hdf5 import made
from ..metric import wmae
from .cell_lines import draw_each
from .world import shuffled

NUMBER = "%.8g"
HELD_OUT = ("val", "test")
HGNC_COLUMNS = [
    "hgnc_id", "symbol", "name", "locus_group", "locus_type", "status", "location",
    "location_sortable", "alias_symbol", "alias_name", "prev_symbol", "prev_name", "gene_group",
    "gene_group_id", "date_approved_reserved", "date_symbol_changed", "date_name_changed",
    "date_modified", "entrez_id", "ensembl_gene_id",
]  # fmt: skip


def write_competition(place, world, cells, means, effects, weights):
    """Tables of known rows, ids, sample submission, held-back solution and training cells."""
    targets = world.perturbations
    train = targets.index[targets["split"] == "train"]
    mean_effect = effects.loc[train].mean()
    baseline = wmae(effects, mean_effect, weights).rename("baseline_wmae")
    full = pd.concat([effects, weights.add_prefix("w_"), baseline], axis=1)

    known = means.loc[[*train, CONTROL]].rename_axis("pert_symbol")
    known.to_csv(place / "training_data_means.csv", float_format=NUMBER)
    full.loc[train].rename_axis("pert_id").to_csv(
        place / "training_data_ground_truth_table.csv", float_format=NUMBER
    )

    held_out = targets.loc[targets["split"].isin(HELD_OUT), "split"]
    ids = pd.DataFrame({"pert": held_out.index, "class": held_out.to_numpy()})
    ids["pert_id"] = [f"pert_{i + 1}" for i in range(len(ids))]
    ids.to_csv(place / "pert_ids_all.csv", index=False)
    ids[ids["class"] == "val"].to_csv(place / "pert_ids_val.csv", index=False)
    rows = np.outer(ids["class"] == "val", mean_effect)
    sample = pd.DataFrame(rows, pd.Index(ids["pert_id"], name="pert_id"), effects.columns)
    sample.to_csv(place / "sample_submission.csv", float_format=NUMBER)
    for split in HELD_OUT:
        own = ids[ids["class"] == split]
        solution = full.loc[own["pert"]].set_index(pd.Index(own["pert_id"], name="pert_id"))
        solution.to_csv(place / f"solution_{split}.csv", float_format=NUMBER)

    cells = cells[np.argsort(cells.obs["channel"].to_numpy(), kind="stable")].copy()
    cells.X = cells.X.astype(np.float64)
    mitochondrial = world.genes.loc[cells.var_names, "mitochondrial"].to_numpy()
    total = np.asarray(cells.X.sum(axis=1)).ravel()
    mito = np.asarray(cells.X[:, mitochondrial].sum(axis=1)).ravel()
    cells.obs.insert(0, "nCount_RNA", total)
    cells.obs.insert(1, "nFeature_RNA", np.diff(cells.X.indptr))
    cells.obs.insert(2, "percent.mt", 100 * mito / np.maximum(total, 1))
    cells.obs = cells.obs[[*cells.obs.columns[:3], "sgrna_id", "sgrna_symbol", "channel"]]
    cells.var["features"] = cells.var_names.to_numpy()
    _write_h5ad(cells, place / "training_cells.h5ad")


def write_replogle(place, world, size, rng, names):
    """Dense float32 counts of part of the genes, index Ensembl; `UMI_count` is over all genes."""
    import anndata

    base = world.lines["replogle"].base
    measured = base >= np.sort(base)[-round(1.1 * size.atlas_genes[0])]
    lost = rng.choice(np.flatnonzero(measured), measured.sum() - size.atlas_genes[0], replace=False)
    measured[lost] = False

    def keep(counts, table):
        total, mito = counts.sum(axis=1), counts[:, world.genes["mitochondrial"]].sum(axis=1)
        table["UMI_count"], table["mitopercent"] = total.astype(float), mito / np.maximum(total, 1)
        return counts[:, measured].astype(np.float32), table

    counts, cells = _atlas(world, "replogle", size, (0.0, 0.32), rng, keep, names)
    obs = cells.rename(columns={"batch": "gem_group", "symbol": "gene", "guide": "sgID_AB"})
    obs = obs[["gem_group", "gene", "sgID_AB", "mitopercent", "UMI_count"]]
    obs["gem_group"] = obs["gem_group"].astype(int)
    obs.index = [f"TWIN{i}-{batch}" for i, batch in enumerate(obs["gem_group"])]
    obs.index.name = "cell_barcode"
    var = world.genes.loc[measured, ["ensembl", "screen_symbol"]]
    var = var.set_axis(["gene_id", "gene_name"], axis=1).set_index("gene_id")
    atlas = anndata.AnnData(np.concatenate(counts), obs, var)
    _write_h5ad(atlas, place / "TWINB_essential_raw_singlecell_01.h5ad")


def write_vcc(place, world, size, rng, names):
    """CSR float32 counts, index older symbols, `gene_id` Ensembl."""
    import anndata
    from scipy.sparse import csr_matrix, vstack

    measured = np.zeros(len(world.genes), dtype=bool)
    measured[rng.choice(len(measured), size.atlas_genes[1], replace=False)] = True
    measured |= world.genes["mitochondrial"].to_numpy()

    def keep(counts, table):
        return csr_matrix(counts[:, measured], dtype=np.float32), table

    counts, cells = _atlas(world, "vcc", size, (0.19, 0.51), rng, keep, names)
    obs = cells.rename(columns={"symbol": "target_gene", "guide": "guide_id"})
    obs = obs[["target_gene", "guide_id", "batch"]]
    obs.index = [f"TWIN{i}-{batch}" for i, batch in enumerate(obs["batch"])]
    var = world.genes.loc[measured, ["screen_symbol", "ensembl"]]
    var = var.set_axis(["gene_name", "gene_id"], axis=1).set_index("gene_name").rename_axis(None)
    atlas = anndata.AnnData(vstack(counts, format="csr"), obs, var)
    _write_h5ad(atlas, place / "TWINC_adata_Training.h5ad")


def _atlas(world, line, size, held_out, rng, keep, names):
    """Draw an atlas: what `keep` leaves of each perturbation's counts, a list, and a frame by cell.

    It covers the share `held_out` (from, to) of the held-out targets, most training targets and three
    quarters of the other perturbations. Targets and guides have the symbols of its day, shuffled in the
    null twin.
    """
    split = world.perturbations["split"]
    # Val and test alternate, so that both are covered equally.
    order = split[split.isin(HELD_OUT)].groupby(split).cumcount().sort_values(kind="stable").index
    low, high = (round(share * len(order)) for share in held_out)
    chance = split.map({"train": 0.85, "other": 0.75}).fillna(0.0)
    covered = (rng.random(len(split)) < chance) | split.index.isin(order[low:high])
    cells = np.maximum(8, rng.poisson(size.atlas_cells, covered.sum()))
    plan = {CONTROL: size.atlas_controls} | dict(zip(split.index[covered], cells, strict=True))
    genes = np.ones(len(world.genes), dtype=bool)
    drawn = draw_each(world, line, plan, rng, keep, genes=genes, depth=size.depth)
    counts, cells = zip(*drawn, strict=True)
    cells = pd.concat(cells)
    screen = world.genes["screen_symbol"]
    label = (screen if names is None else screen.loc[names].set_axis(names.index)).to_dict()
    number = cells["guide"].str.rsplit("_", n=1).str[1]
    cells["symbol"] = cells["symbol"].map(label | {CONTROL: CONTROL})
    cells["guide"] = cells["symbol"] + "_" + number
    return counts, cells


def _write_h5ad(data, path):
    from anndata.io import write_elem

    data.strings_to_categoricals()
    with made(path) as file:
        write_elem(file, "/", data, dataset_kwargs={"compression": "gzip", "compression_opts": 1})
        del file["raw"]  # empty, and then anndata looks into it when the file is read in part


def write_knowledge(place, world, size, rng, names):
    """Gene sets, interactions and the table of names; returns the sets' ids by what they are."""
    genes, hits = world.genes, world.perturbations
    sets = {}
    for module in range(size.modules):
        members = hits.index[hits["module"] == module]
        nearby = genes.index[genes["home"] == module % size.regulators]
        extra = rng.choice(nearby, min(len(nearby), len(members) // 3), replace=False)
        sets[f"complex {module}"] = {*_some(rng, members, 0.85), *extra}
    for number, regulator in enumerate(world.regulators):
        regulated = _some(rng, genes.index[genes["home"] == number], 0.7)
        sets[f"regulon {number}"] = {regulator, *regulated}
    # The other half is the same sets under shuffled names: nothing but their sizes is kept.
    noise = shuffled(world, rng)
    sets |= {f"noise {key}": set(noise[list(value)]) for key, value in sets.items()}
    edges = _edges(world, size, rng)
    if names is not None:
        sets = {key: set(names[list(value)]) for key, value in sets.items()}
        edges = np.vectorize(names.to_dict().get)(edges)

    order = rng.permutation(len(sets))
    lines, ids = [], {}
    for number, key in enumerate(np.array(list(sets))[order]):
        ids[key] = f"R-TWN-{number + 1:06d}"
        lines.append("\t".join([f"Twin pathway {number + 1}", ids[key], *sorted(sets[key])]))
    (place / "pathways.gmt").write_text("\n".join(lines) + "\n")
    with gzip.GzipFile(place / "interactions.tsv.gz", "wb", mtime=0) as file:
        file.write("".join(f"{a} {b}\n" for a, b in edges).encode())
    _write_hgnc(place / "hgnc_complete_set.txt", genes)
    return ids


def _edges(world, size, rng):
    """Pairs of genes: within complexes, from regulators, as many at random, and those of hubs."""
    genes, hits = world.genes, world.perturbations
    pairs = []
    for module in range(size.modules):
        members = hits.index[hits["module"] == module].to_numpy()
        a, b = np.triu_indices(len(members), 1)
        kept = rng.random(len(a)) < 0.5
        pairs.append(np.column_stack([members[a[kept]], members[b[kept]]]))
    for number, regulator in enumerate(world.regulators):
        known = _some(rng, genes.index[genes["home"] == number], 0.3)
        pairs.append(np.column_stack([np.full(len(known), regulator, dtype=object), known]))
    symbols = genes.index.to_numpy()
    often = rng.pareto(1.5, len(symbols)) + 0.05
    real = sum(map(len, pairs))
    pairs.append(rng.choice(symbols, (real, 2), p=often / often.sum()))
    for hub in rng.choice(symbols, max(3, len(symbols) // 1000), replace=False):
        near = rng.choice(symbols, len(symbols) // 20, replace=False)
        pairs.append(np.column_stack([np.full(len(near), hub, dtype=object), near]))
    pairs = np.sort(np.concatenate(pairs).astype(str), axis=1)
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    return rng.permutation(pairs)


def _some(rng, values, share):
    values = np.asarray(values, dtype=object)
    return values[rng.random(len(values)) < share]


def _write_hgnc(path, genes):
    """The first columns of HGNC's table; clones and `.1` duplicates have no entry there."""
    named = genes[~genes.index.str.contains(".", regex=False)].sort_index()
    table = pd.DataFrame("", named.index, HGNC_COLUMNS)
    table["hgnc_id"] = [f"HGNC:99{i:06d}" for i in range(len(named))]
    table["symbol"], table["name"] = named.index, "simulated gene " + named.index
    table["locus_group"], table["locus_type"] = "protein-coding gene", "gene with protein product"
    table["status"], table["ensembl_gene_id"] = "Approved", named["ensembl"]
    table["alias_symbol"] = named["alias"].map(_quoted)
    table["prev_symbol"] = named["previous"].map(_quoted)
    table.to_csv(path, sep="\t", index=False, quoting=csv.QUOTE_NONE)


def _quoted(names):
    """HGNC quotes a field of several names."""
    return f'"{names}"' if "|" in names else names


def write_truth(place, world, pathways):
    """What was planted, for tests alone: `truth.csv` by perturbation, `truth_effects.npz` noiseless.

    The arrays of the latter: `perturbation`, `gene` (outputs), and by line `competition`, `replogle`,
    `vcc`: perturbation x gene log2 fold changes of a cell that does not escape.
    """
    table = world.perturbations.copy()
    guides = world.guides
    table["dead_guides"] = (guides["efficiency"] == 0).groupby(guides["symbol"]).sum()
    table["opposite"] = table.pop("sign") < 0
    table["pathway"] = [pathways.get(f"complex {module}", "") for module in table["module"]]
    table.rename_axis("perturbation").to_csv(place / "truth.csv", float_format=NUMBER)
    outputs = world.genes["output"].to_numpy()
    np.savez_compressed(
        place / "truth_effects.npz",
        perturbation=table.index.to_numpy(dtype=str),
        gene=world.genes.index[outputs].to_numpy(dtype=str),
        **{name: line.response[:, outputs] for name, line in world.lines.items()},
    )
