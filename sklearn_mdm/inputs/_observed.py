"""X as it was observed: NaN is looked for once, here, and what it means travels on as masks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

Rows = np.ndarray | slice


@dataclass(frozen=True, eq=False)
class Observed:
    """Arrays of the modalities, and what of them was observed.

    Parameters
    ----------
    arrays : dict of name to array of shape (n_samples, n_features) or (n_samples, n_steps, n_features)
        All of one floating type. What a mask hides is of no meaning, and may be NaN.
    masks : dict of name to array of bool of shape (n_samples,) or (n_samples, n_steps), or None
        Rows or time steps that were observed; None where all were.
    index : pandas.Index, default=None
        Row labels, where X came as data frames.
    columns : dict of name to list
        Feature names of the modalities that came with some.
    """

    arrays: dict[Hashable, np.ndarray]
    masks: dict[Hashable, np.ndarray | None]
    index: pd.Index | None = None
    columns: Mapping[Hashable, list] = field(default_factory=dict)

    @classmethod
    def of(cls, arrays: Mapping[Hashable, np.ndarray]) -> Observed:
        """Take rows and steps of NaN for what was not observed.

        Raises
        ------
        ValueError
            If a row or step holds NaN beside numbers; the modality is named.
        """
        return cls(dict(arrays), {name: _mask_of(name, array) for name, array in arrays.items()})

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def names(self) -> list[Hashable]:
        """Names of the modalities, in their order."""
        return list(self.arrays)

    @property
    def dtype(self) -> np.dtype:
        """Floating type of the arrays."""
        return next(iter(self.arrays.values())).dtype

    @property
    def n_steps(self) -> int:
        """Most time steps of a modality; vectors have one."""
        return max(array.shape[1] if array.ndim == 3 else 1 for array in self.arrays.values())

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """Which modalities were observed in each sample: bool (n_samples, n_modalities)."""
        rows = np.ones((len(self), len(self.arrays)), dtype=bool)
        for j, mask in enumerate(self.masks.values()):
            if mask is not None:
                rows[:, j] = mask if mask.ndim == 1 else mask.any(axis=1)
        return rows

    @functools.cached_property
    def complete(self) -> np.ndarray:
        """Samples with every modality observed: bool (n_samples,)."""
        return np.asarray(self.rows.all(axis=1))

    def take(self, rows: Rows) -> Observed:
        """Some of the samples: views for a slice, copies for an array."""
        masks = {name: None if mask is None else mask[rows] for name, mask in self.masks.items()}
        return replace(
            self,
            arrays={name: array[rows] for name, array in self.arrays.items()},
            masks={name: None if mask is None or mask.all() else mask for name, mask in masks.items()},
            index=None if self.index is None else self.index[rows],
        )

    def batches(self, size: int, rows: np.ndarray | None = None) -> Iterator[Observed]:
        """Runs of at most ``size`` samples, of all or of those at the positions ``rows``."""
        for start in range(0, len(self) if rows is None else len(rows), size):
            part = slice(start, start + size)
            yield self.take(part if rows is None else rows[part])

    def map(self, function: Callable[[Hashable, np.ndarray], np.ndarray]) -> Observed:
        """Replace each array by what the function returns for its name and itself."""
        return replace(self, arrays={name: function(name, array) for name, array in self.arrays.items()})


def _mask_of(name: Hashable, array: np.ndarray) -> np.ndarray | None:
    is_nan = np.isnan(array)
    if not is_nan.any():
        return None
    mask = ~is_nan.all(axis=-1)
    partly = is_nan.any(axis=-1) & mask
    if partly.any():
        unit = "rows" if array.ndim == 2 else "time steps"
        raise ValueError(
            f"modality {name!r}: {int(partly.sum())} of {partly.size} {unit} contain NaN beside numbers (first: "
            f"sample {int(np.argwhere(partly)[0][0])}). NaN marks a whole row as not observed. Impute single "
            f"values first, for example with ModalityTransformer({{{name!r}: SimpleImputer()}}), or set the "
            "whole row to NaN. (scikit-learn's permutation_importance, which permutes columns one by one, makes such "
            "rows; modality_importance does not.)"
        )
    return mask


def check_samples_observed(observed: Observed) -> None:
    """Reject samples of which nothing was observed."""
    seen = observed.rows.any(axis=1)
    if not seen.all():
        raise ValueError(
            f"{int((~seen).sum())} of {seen.size} samples have no observed modality (every value is NaN; first: "
            f"sample {int(np.argmin(seen))}). Remove them."
        )
