"""How alike effects are: cosines between knockdowns, their order in a map, agreement of two tables."""

import numpy as np
import pandas as pd


def centred_cosine(effects):
    """Cosine of every two perturbations' effects after taking off the mean effect of each gene."""
    centred = (effects - effects.mean()).to_numpy()
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    return pd.DataFrame(unit @ unit.T, index=effects.index, columns=effects.index)


def cluster_order(similarity):
    """Names in the leaf order of average-linkage clustering on 1 - similarity: like beside like."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    distance = squareform(np.clip(1 - similarity.to_numpy(), 0, None), checks=False)
    return similarity.index[leaves_list(linkage(distance, "average", optimal_ordering=True))]


def most_similar(similarity):
    """Cosine of all pairs, the most similar first: a series by (one, other)."""
    first, second = np.triu_indices(len(similarity), 1)
    names = similarity.index
    pairs = pd.MultiIndex.from_arrays([names[first], names[second]], names=["one", "other"])
    cosine = pd.Series(similarity.to_numpy()[first, second], pairs, name="cosine")
    return cosine.sort_values(ascending=False, kind="stable")


def rank_correlation(one, other):
    """Spearman's rank correlation over all entries of two frames of the same shape."""
    ranks = [pd.Series(frame.to_numpy().ravel()).rank() for frame in (one, other)]
    return np.corrcoef(*ranks)[0, 1]
