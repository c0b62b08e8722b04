"""What of X was observed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np

__all__: list[str] = []


def observed_rows(array: np.ndarray) -> np.ndarray:
    """Samples with any value of this modality: bool (n_samples,)."""
    return ~np.isnan(array).all(axis=tuple(range(1, array.ndim)))


def complete_rows(arrays: Mapping[Hashable, np.ndarray]) -> np.ndarray:
    """Samples with every modality observed: bool (n_samples,)."""
    return np.logical_and.reduce([observed_rows(array) for array in arrays.values()])


def _checked(arrays: dict[Hashable, np.ndarray], names: list[Hashable]) -> dict[Hashable, np.ndarray]:
    """Order the arrays by name and reject rows that are neither observed nor missing."""
    seen = None
    for name in names:
        array = arrays[name]
        is_nan = np.isnan(array)
        partly = is_nan.any(axis=-1) & ~is_nan.all(axis=-1)
        if partly.any():
            unit = "rows" if array.ndim == 2 else "time steps"
            raise ValueError(
                f"modality {name!r}: {int(partly.sum())} of {partly.size} {unit} contain NaN beside numbers (first: "
                f"sample {int(np.argwhere(partly)[0][0])}). NaN marks a whole row as not observed. Impute single "
                f"values first, for example with ModalityTransformer({{{name!r}: SimpleImputer()}}), or set the "
                "whole row to NaN."
            )
        rows = observed_rows(array)
        seen = rows if seen is None else seen | rows
    if seen is not None and not seen.all():
        raise ValueError(
            f"{int((~seen).sum())} of {seen.size} samples have no observed modality (every value is NaN; first: "
            f"sample {int(np.argmin(seen))}). Remove them."
        )
    return {name: arrays[name] for name in names}
