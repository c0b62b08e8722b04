"""X as it was observed: NaN is looked for once, here, and what it means travels on as masks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ..utils._hashes import row_hashes
from ._on_disk import NUMBERS_READ, CellsOnDisk, OnDisk, OneBelow, missing_cells

Rows = np.ndarray | slice


@dataclass(frozen=True, eq=False)
class Observed:
    """Arrays of the modalities, and what of them was observed.

    Parameters
    ----------
    arrays : dict of name to array of shape (n_samples, n_features) or (n_samples, n_steps, n_features)
        All of one floating type. What a mask hides is of no meaning, and may be NaN. Those that stay on disk are
        :class:`~._on_disk.OnDisk`, and their cells looked for when they are read.
    masks : dict of name to array of bool of shape (n_samples,) or (n_samples, n_steps), or None
        Rows or time steps that were observed; None where all were.
    cells : dict of name to array of bool
        Cells that were not observed in rows or steps that were, in the shape of the array; of the modalities that have
        such cells.
    index : pandas.Index, default=None
        Row labels, where X came as data frames.
    columns : dict of name to list
        Feature names of the modalities that came with some.
    """

    arrays: dict[Hashable, Any]
    masks: dict[Hashable, np.ndarray | None]
    cells: Mapping[Hashable, Any] = field(default_factory=dict)
    index: pd.Index | None = None
    columns: Mapping[Hashable, list] = field(default_factory=dict)

    @classmethod
    def of(cls, arrays: Mapping[Hashable, Any]) -> Observed:
        """Take NaN for what was not observed: whole rows, whole steps, and cells of others."""
        found: dict[Hashable, tuple[np.ndarray | None, Any]] = {
            name: _missing_on_disk(array) if isinstance(array, OnDisk) else _missing_in(array)
            for name, array in arrays.items()
        }
        masks = {name: mask for name, (mask, _) in found.items()}
        return cls(dict(arrays), masks, {name: cells for name, (_, cells) in found.items() if cells is not None})

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
    def on_disk(self) -> bool:
        """Whether some of the arrays stay on disk."""
        return any(isinstance(array, OnDisk) for array in self.arrays.values())

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

    @functools.cached_property
    def hashes(self) -> np.ndarray:
        """Hash of each sample by all of its values: (n_samples,)."""
        return row_hashes(self.arrays.values())

    def prepared(self, arrays: dict[Hashable, np.ndarray]) -> Observed:
        """Replace the arrays by what was made of them; samples are still known by the hashes of what they were."""
        prepared = replace(self, arrays=arrays)
        prepared.__dict__["hashes"] = self.hashes
        return prepared

    def take(self, rows: Rows) -> Observed:
        """Some of the samples: views for a slice, copies for an array; what is on disk stays there."""
        masks = {name: None if mask is None else mask[rows] for name, mask in self.masks.items()}
        taken = {
            name: missing if isinstance(missing, CellsOnDisk) else missing[rows] for name, missing in self.cells.items()
        }
        return replace(
            self,
            arrays={
                name: array.take(rows) if isinstance(array, OnDisk) else array[rows]
                for name, array in self.arrays.items()
            },
            masks={name: None if mask is None or mask.all() else mask for name, mask in masks.items()},
            cells={name: cells for name, cells in taken.items() if isinstance(cells, CellsOnDisk) or cells.any()},
            index=None if self.index is None else self.index[rows],
        ).with_cells_on_disk()

    def with_cells_on_disk(self) -> Observed:
        """Let the cells of arrays on disk be those of the arrays and masks that are here."""
        stored = [name for name, missing in self.cells.items() if isinstance(missing, CellsOnDisk)]
        if not stored:
            return self
        cells = {name: CellsOnDisk(self.arrays[name], self.masks[name]) for name in stored}
        return replace(self, cells={**self.cells, **cells})

    def loaded(self) -> Observed:
        """Read what is on disk."""
        if not self.on_disk:
            return self
        arrays = {name: array[:] if isinstance(array, OnDisk) else array for name, array in self.arrays.items()}
        cells = {
            name: missing_cells(arrays[name], self.masks[name]) if isinstance(missing, CellsOnDisk) else missing
            for name, missing in self.cells.items()
        }
        return replace(self, arrays=arrays, cells={name: missing for name, missing in cells.items() if missing.any()})

    def followed_by(self, other: Observed) -> Observed:
        """Return samples of both, one below the other, in the floating type of the first and without row labels."""
        arrays, masks, cells = dict[Hashable, Any](), dict[Hashable, np.ndarray | None](), dict[Hashable, Any]()
        for name, array in self.arrays.items():
            arrays[name] = one_below(array, other.arrays[name].astype(array.dtype, copy=False))
            mask = one_below(self._mask(name), other._mask(name), fill=False)
            masks[name] = None if mask.all() else mask
            if name not in self.cells and name not in other.cells:
                continue
            if isinstance(arrays[name], OnDisk):
                cells[name] = CellsOnDisk(arrays[name], masks[name])
            else:
                cells[name] = one_below(self._missing_cells(name), other._missing_cells(name), fill=False)
        return replace(self, arrays=arrays, masks=masks, cells=cells, index=None)

    def _mask(self, name: Hashable) -> np.ndarray:
        mask = self.masks[name]
        return np.ones(self.arrays[name].shape[:-1], dtype=bool) if mask is None else mask

    def _missing_cells(self, name: Hashable) -> np.ndarray:
        return self.cells[name] if name in self.cells else np.zeros(self.arrays[name].shape, dtype=bool)

    def batches(self, size: int, rows: np.ndarray | None = None) -> Iterator[Observed]:
        """Runs of at most ``size`` samples, of all or of those at the positions ``rows``, in memory.

        What is on disk is read for many runs at a time.
        """
        row_size = sum(array.row_size for array in self.arrays.values() if isinstance(array, OnDisk))
        read = size * max(1, NUMBERS_READ // row_size // size) if row_size else size
        for start in range(0, len(self) if rows is None else len(rows), read):
            part = slice(start, start + read)
            some = self.take(part if rows is None else rows[part])
            if read == size:
                yield some.loaded()
            else:
                yield from some.loaded().batches(size)

    def map(self, function: Callable[[Hashable, np.ndarray], np.ndarray]) -> Observed:
        """Replace each array by what the function returns for its name and itself."""
        return replace(self, arrays={name: function(name, array) for name, array in self.arrays.items()})


def one_below(*arrays: Any, fill: float = np.nan) -> Any:
    """Concatenate arrays (n_j, ...); after the end of those with fewer steps, in their second axis, comes ``fill``.

    Two of which one is on disk make one on disk.
    """
    if any(isinstance(array, OnDisk) for array in arrays):
        upper, lower = (array if isinstance(array, OnDisk) else OnDisk(array, array.dtype) for array in arrays)
        if upper.ndim == 3:
            n_steps = max(upper.shape[1], lower.shape[1])
            upper, lower = upper.padded(n_steps), lower.padded(n_steps)
        return OnDisk(OneBelow(upper, lower), upper.dtype)
    if arrays[0].ndim > 1:
        n_steps = max(array.shape[1] for array in arrays)
        ends = [[(0, 0), (0, n_steps - a.shape[1]), *[(0, 0)] * (a.ndim - 2)] for a in arrays]
        pairs = zip(arrays, ends, strict=True)
        arrays = tuple(np.pad(a, end, constant_values=fill) if end[1][1] else a for a, end in pairs)
    return np.concatenate(arrays)


def _missing_on_disk(array: OnDisk) -> tuple[np.ndarray | None, CellsOnDisk | None]:
    """Return the same of an array on disk."""
    found = array.scan
    return found.mask, CellsOnDisk(array, found.mask) if found.has_cells else None


def _missing_in(array: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Rows or steps that were observed, and cells of these that were not; None in place of what says nothing."""
    is_nan = np.isnan(array)
    if not is_nan.any():
        return None, None
    mask = ~is_nan.all(axis=-1)
    is_nan &= mask[..., None]
    return None if mask.all() else mask, is_nan if is_nan.any() else None


def check_samples_observed(observed: Observed) -> None:
    """Reject samples of which nothing was observed."""
    seen = observed.rows.any(axis=1)
    if not seen.all():
        raise ValueError(
            f"{int((~seen).sum())} of {seen.size} samples have no observed modality (every value is NaN; first: "
            f"sample {int(np.argmin(seen))}). Remove them."
        )
