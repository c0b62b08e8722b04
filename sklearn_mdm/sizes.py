"""Checks of the sizes that parameter objects are given."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__: list[str] = []


def check_sizes(owner: Any, *parameters: str) -> None:
    """Reject parameters of ``owner``, widths or sequences of widths, that are not positive integers."""
    for name in parameters:
        value = getattr(owner, name)
        widths = np.atleast_1d(value)
        if widths.size and (widths.dtype.kind not in "iu" or (widths < 1).any()):
            raise ValueError(f"{type(owner).__name__} needs positive {name}, got {value!r}.")
