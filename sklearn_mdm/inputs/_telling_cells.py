"""Columns whose missing cells say something about the target."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.stats import rankdata

# Share of columns that is expected to be found by chance among those that are.
FALSE_DISCOVERIES = 0.05
# Rows that must have, and that must lack, a cell of the column: of fewer the test says more than there is.
MIN_ROWS = 10


def telling_columns(missing: np.ndarray, y: np.ndarray, *, classes: bool) -> np.ndarray:
    """Find columns of which the target is different where their cells are missing.

    Tests are those of the variance of each column of ``missing`` between classes, or of its correlation with the ranks
    of each output, with the false discovery rate controlled by the procedure of Benjamini and Hochberg.

    Parameters
    ----------
    missing : array of shape (n_samples, n_features)
        Whether a cell is missing; of a sequence in which share of its steps.
    y : array of shape (n_samples,) or (n_samples, n_outputs)
        Indices of classes, or values; samples with NaN are left out, of each output its own.
    classes : bool
        Whether y holds classes.

    Returns
    -------
    columns : array of int
    """
    # Imports nearly half of scikit-learn, which `import sklearn_mdm` should not.
    from sklearn.feature_selection import SelectFdr, f_classif, f_regression

    targets = [y] if classes else list(y.T)
    found = np.zeros(missing.shape[1], dtype=bool)
    for target in targets:
        known = np.isfinite(target)
        target, shares = target[known], missing[known]
        candidates = np.flatnonzero(np.minimum((shares > 0).sum(axis=0), (shares < 1).sum(axis=0)) >= MIN_ROWS)
        n_values = len(np.unique(target))
        if not len(candidates) or n_values < 2 or (classes and n_values >= len(target)):
            continue
        test = SelectFdr(f_classif if classes else f_regression, alpha=FALSE_DISCOVERIES / len(targets))
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            warnings.simplefilter("ignore")
            found[candidates] |= test.fit(shares[:, candidates], target if classes else rankdata(target)).get_support()
    return np.flatnonzero(found)
