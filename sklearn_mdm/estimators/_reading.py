"""Reading what was passed to fit beside X: targets, weights, groups, and samples without a label."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..inputs._containers import as_samples
from ..inputs._labels import check_beside
from ..inputs._observed import Observed
from ..inputs._padding import on_one_axis
from ..utils._arguments import named
from ..utils._splits import read_groups
from ._samples import Samples, moderate_weight, read_weight, weight_unit


def read_samples(
    estimator: Any,
    observed: Observed,
    y: Any,
    sample_weight: Any,
    groups: Any,
    X_unlabeled: Any,
    *,
    reset: bool,
    classes: Any = None,
) -> Samples:
    """Return samples, labelled ones first, of positive weight; on reset the estimator learns what the target is."""
    check_beside(observed.index, y=y, sample_weight=sample_weight, groups=groups)
    n_passed = len(observed)
    with named("sample_weight"):
        weight = read_weight(sample_weight, n_passed)
        if reset:
            estimator._weight_unit = weight_unit(weight)
        weight = moderate_weight(weight, estimator._weight_unit)
    with named("groups"):
        groups = read_groups(as_samples(groups), n_passed)
    used = np.flatnonzero(weight) if weight is not None and not weight.all() else None
    if reset and used is not None and len(used) < 2:
        raise ValueError(
            "only 1 sample has a positive sample_weight, above 1e-100 of the largest, while a minimum of 2 is required."
        )
    with named("y"):
        y, labelled = estimator._read_target(y, n_passed, rows=used, reset=reset, classes=classes)
    passed = np.arange(n_passed) if used is None else used
    n = len(y)
    if n < n_passed:
        passed = np.r_[passed[labelled], passed[~labelled]]
        observed = observed.take(passed)
        weight = None if weight is None else weight[passed]
        groups = None if groups is None else groups[passed]
    if X_unlabeled is not None:
        with named("X_unlabeled"):
            more = estimator._schema.read(estimator, X_unlabeled)
        observed = on_one_axis(observed.followed_by(more))
    of_labelled = estimator._target_weight(y, None if weight is None else weight[:n], reset=True)
    samples = Samples(
        observed, y, of_labelled, None if groups is None else groups[:n], np.arange(n), passed[:n], n_passed
    )
    return samples.with_rest(weight, groups) if n < len(observed) else samples
