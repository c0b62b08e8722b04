"""Which measures a DependencyEstimator can estimate, and with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..measures import MEASURES, Measure
from ..utils._parameter_objects import resolve_component
from ._decomposition import Decomposition


def standalone_measure(
    measure: str | Measure, decomposition: Decomposition | None, hidden_dims: Sequence[int]
) -> Measure:
    """Return the measure, if it needs no network and goes with the other parameters."""
    resolved: Measure = resolve_component("measure", measure, MEASURES, "value")
    if resolved.needs_y or not resolved.stands_alone:
        reads, where = "compares representations that a network learns", "a fusion estimator"
        if resolved.needs_y:
            reads, where = "reads the predictions of a classifier", "MDMFusionClassifier"
        raise ValueError(
            f"measure={measure!r} cannot stand alone: it {reads}. Use it in {where}, or take another measure here."
        )
    if decomposition is not None and not resolved.total_correlation:
        raise ValueError(
            f"decomposition={decomposition!r} adds parts of the total correlation, which measure={measure!r} is not. "
            'Use decomposition=None, or a measure such as "kl".'
        )
    widths: Any = np.atleast_1d(np.asarray(hidden_dims, dtype=object))
    if not all(isinstance(width, (int, np.integer)) and width >= 1 for width in widths):
        raise ValueError(f"hidden_dims must be positive integers, got {hidden_dims!r}.")
    return resolved
