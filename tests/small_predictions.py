"""Out-of-fold predictions of four rows, small enough to be scored by hand."""

import pandas as pd

from kit import OutOfFold, wmae


def hand_made():
    """Four rows of two genes in two folds of training means (1, 0) and (0, 1); weights 1."""
    rows, genes = list("abcd"), ["g", "h"]
    truth = pd.DataFrame([[3.0, 0], [1, 2], [0, 4], [1, 1]], rows, genes)
    prediction = pd.DataFrame([[2.0, 0], [1, 1], [0, 2], [1, 2]], rows, genes)
    mean = pd.DataFrame([[1.0, 0], [1, 0], [0, 1], [0, 1]], rows, genes)
    ones, fold = truth * 0 + 1, pd.Series([0, 0, 1, 1], rows)
    training = {0: pd.Index(list("cdx")), 1: pd.Index(list("abx"))}
    base = wmae(truth, mean, ones)
    return OutOfFold(prediction, truth, ones, base, 0.0, mean, fold, training)
