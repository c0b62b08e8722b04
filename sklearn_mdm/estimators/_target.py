"""Reading y."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_X_y

__all__: list[str] = []


def _check_target(estimator: Any, y: Any, n_samples: int, rows: np.ndarray | None, **options: Any) -> np.ndarray:
    """Validate y beside an X that was already read, and keep the given rows."""
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None."
        )
    y = check_X_y(np.zeros((n_samples, 1)), y, **options)[1]
    return y if rows is None else y[rows]
