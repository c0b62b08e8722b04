"""Folds of copies; those of groups, classes and splitters are in tests/estimators/test_committee.py."""

import numpy as np
from numpy.testing import assert_array_equal

from sklearn_mdm.utils._folds import splits_of_members


def test_copies__are_in_the_fold_of_a_single_row_of_their_weight():
    classes = np.array([0, 1, 2, 1, 0, 2, 1, 0, 2, 1])
    times = np.array([1, 3, 1, 2, 1, 1, 4, 1, 2, 1])
    source = np.repeat(np.arange(10), times)
    options = {"n_members": 4, "seed": 3, "n_folds": 3}
    once = splits_of_members(n_samples=10, rows=np.arange(10), classes=classes, **options)
    labels = np.array(list("jihgfedcba"))[source]  # any names, in any order
    repeated = splits_of_members(
        n_samples=len(source), rows=np.arange(len(source)), classes=classes[source], copies=labels, **options
    )
    for of_rows, of_repeats in zip(once, repeated, strict=True):
        for part, expected in zip(of_repeats, of_rows, strict=True):
            assert_array_equal(part, np.flatnonzero(np.isin(source, expected)))
