"""Reading y."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import _check_y, check_consistent_length

__all__: list[str] = []


def check_target(estimator: Any, y: Any, n_samples: int, rows: np.ndarray | None, **options: Any) -> np.ndarray:
    """Validate y beside an X that was already read, and keep the given rows."""
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None."
        )
    y = _check_y(y, estimator=estimator, **options)
    check_consistent_length(np.empty(n_samples), y)
    return y if rows is None else y[rows]
