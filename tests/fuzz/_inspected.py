"""What must hold of the functions that look into a fitted estimator."""

import numpy as np
from numpy.testing import assert_array_equal

from sklearn_mdm.inspection import (
    mismatch_test,
    modality_drop,
    modality_importance,
    pointwise_attribution,
    rank_samples,
)

from ._calls import assert_close, called, rows_of, tried

# Targets whose squares leave the range of numbers, and scores with them.
BEYOND_SQUARES = ("huge", "large", "tiny", "denormal")


def check_scores(case, model, X, y):
    """Tables of scores without modalities, and with those of other samples."""
    finite = case.target not in BEYOND_SQUARES
    tried(check_drop, model, X, y, finite)
    tried(check_importance, model, X, y, finite)


def check_drop(model, X, y, finite):
    table = called(model, modality_drop, model, X, y, n_repeats=3, random_state=0)
    assert len(table) == 2 ** len(table["kept"][0]) - 1
    numbers = table[["score", "score_std", "change", "change_std"]].to_numpy()
    assert not finite or np.isfinite(numbers).all(), numbers
    again = called(model, modality_drop, model, X, y, n_repeats=3, random_state=0)
    assert_array_equal(again["score"], table["score"])


def check_importance(model, X, y, finite):
    table = called(model, modality_importance, model, X, y, n_repeats=2, random_state=0)
    assert not finite or np.isfinite(table.to_numpy()).all(), table


def check_samples(case, model, X, n):
    """Tables of how well the modalities of each sample go together."""
    tried(check_attribution, case, model, X, n)
    tried(check_ranks, model, X, n)
    tried(check_mismatches, model, X)


def check_attribution(case, model, X, n):
    for background in (None, X):
        found = called(model, pointwise_attribution, model, X, background=background, n_draws=8, random_state=0)
        assert len(found) == n and not np.isinf(found.to_numpy()).any(), found
        assert (found.isna().all(axis=1) == found.isna().any(axis=1)).all()
    kept = called(model, pointwise_attribution, model, X, n_draws=8)
    alone = called(model, pointwise_attribution, model, rows_of(X, [n - 1]), n_draws=8)
    assert_close(case, alone.to_numpy(), kept.to_numpy()[[n - 1]], "attribution of a row alone", 1e-6)


def check_ranks(model, X, n):
    table = called(model, rank_samples, model, X, n_negatives=4, random_state=0)
    values, percentiles = table["value"].dropna(), table["null_percentile"].dropna()
    assert sorted(table["sample"]) == list(range(n)) and values.is_monotonic_increasing
    assert np.isfinite(values).all() and percentiles.between(0, 100).all() and len(values) == len(percentiles)


def check_mismatches(model, X):
    table = called(model, mismatch_test, model, X, n_negatives=2, random_state=0)
    assert table["auroc"].between(0, 1).all() and np.isfinite(table["std"]).all() and (table["std"] >= 0).all(), table
