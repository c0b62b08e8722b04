"""Arrays that stay on disk: memory maps, datasets of zarr and HDF5; rows of them are read where they are needed."""

from __future__ import annotations

import functools
import math
import mmap
from collections.abc import Iterator
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from ._memory_maps import is_lent_by_joblib

# Numbers that are read at a time: 16 MB in single precision.
NUMBERS_READ = 2**22
# Numbers of a stretch of a file without chunks of its own that one read fetches, for whichever rows of it are wanted.
NUMBERS_OF_STRETCH = 2**14


def is_on_disk(value: Any) -> bool:
    """Whether a modality is an array of numbers in a file: a memory map, or a view of one, or a zarr or HDF5 dataset.

    The latter are told by what they have, so that neither library is needed: shape, dtype, and the sizes of chunks.
    """
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", ())
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf" or len(shape) not in (2, 3) or 0 in shape:
        return False
    if isinstance(value, np.ma.MaskedArray):
        return False
    if isinstance(value, np.ndarray):
        base: Any = value
        while isinstance(base, (np.ndarray, memoryview)):
            if isinstance(base, np.memmap) and is_lent_by_joblib(base):
                return False
            base = base.base if isinstance(base, np.ndarray) else base.obj
        return isinstance(base, mmap.mmap)
    if hasattr(value, "coords"):  # an array of xarray, which has labels
        return False
    chunks = getattr(value, "chunks", ())
    return chunks is None or (len(chunks) == len(shape) and all(isinstance(size, Integral) for size in chunks))


class Scan(NamedTuple):
    """What one reading of an array tells.

    Parameters
    ----------
    mask : array of bool of shape (n_samples,) or (n_samples, n_steps), or None
        Rows or steps that are not NaN as a whole; None where all are.
    has_cells : bool
        Whether some of these have NaN beside numbers.
    n_infinite : int
        Number of infinite values.
    first_infinite : tuple of (int, int) or None
        Sample and column of the first.
    """

    mask: np.ndarray | None
    has_cells: bool
    n_infinite: int
    first_infinite: tuple[int, int] | None


class OnDisk:
    """An array (n, d) or (n, T, d) in a file, of which rows are read when they are indexed.

    Parameters
    ----------
    source : array-like
        What has a shape, a dtype, and rows for a slice, or for an array of increasing positions.
    dtype : numpy.dtype
        Floating type of what is read.
    rows : array of int of shape (n,), default=None
        Positions in the source of the rows of this array; None for all.
    n_steps : int, default=None
        Steps up to which NaN comes behind those of the source.
    """

    def __init__(self, source: Any, dtype: Any, rows: np.ndarray | None = None, n_steps: int | None = None) -> None:
        self.source, self.dtype, self.rows, self.n_steps = source, np.dtype(dtype), rows, n_steps
        shape = tuple(map(int, source.shape))
        n = shape[0] if rows is None else len(rows)
        self.shape = (n, *shape[1:]) if n_steps is None else (n, n_steps, shape[2])
        self.ndim = len(shape)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_size(self) -> int:
        """Numbers of a row."""
        return math.prod(self.shape[1:])

    def astype(self, dtype: Any, copy: bool = False) -> OnDisk:
        """Return what is read in another type."""
        if dtype == self.dtype:
            return self
        other = OnDisk(self.source, dtype, self.rows, self.n_steps)
        if "scan" in self.__dict__:
            other.__dict__["scan"] = self.scan
        return other

    def take(self, rows: np.ndarray | slice) -> OnDisk:
        """Some of the rows, which stay on disk."""
        return OnDisk(self.source, self.dtype, self._places(rows), self.n_steps)

    def _places(self, rows: np.ndarray | slice) -> np.ndarray:
        """Positions of rows in the source."""
        if self.rows is not None:
            return self.rows[rows]
        if isinstance(rows, slice):
            return np.arange(*rows.indices(len(self)))
        return np.flatnonzero(rows) if rows.dtype == bool else rows

    def padded(self, n_steps: int) -> OnDisk:
        """Return the same sequences with NaN behind their end, up to this number of steps."""
        return OnDisk(self.source, self.dtype, self.rows, n_steps)

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        """Read rows, in any order: (n_rows, ...)."""
        if isinstance(rows, slice) and self.rows is None:
            values = self.source[slice(*rows.indices(len(self)))]
        else:
            values = _read(self.source, self._places(rows))
        with np.errstate(over="ignore"):
            values = np.asarray(values).astype(self.dtype, copy=False)
        if self.n_steps is None or values.shape[1] == self.n_steps:
            return values
        behind = (0, self.n_steps - values.shape[1])
        return np.pad(values, ((0, 0), behind, (0, 0)), constant_values=np.nan)

    def parts(self, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Read all rows, or some, so many at a time that these need little memory."""
        size = max(1, NUMBERS_READ // self.row_size)
        for start in range(0, len(self) if rows is None else len(rows), size):
            part = slice(start, start + size)
            yield self[part if rows is None else rows[part]]

    @functools.cached_property
    def scan(self) -> Scan:
        """What was observed, and whether anything is infinite: the whole array is read once."""
        mask = np.ones(self.shape[:-1], dtype=bool)
        has_cells, n_infinite, first, start = False, 0, None, 0
        for part in self.parts():
            rows = slice(start, start + len(part))
            start += len(part)
            with np.errstate(over="ignore", invalid="ignore"):
                if np.isfinite(part.sum()):
                    continue
            is_nan, infinite = np.isnan(part), np.isinf(part)
            mask[rows] = ~is_nan.all(axis=-1)
            has_cells = has_cells or bool((is_nan & mask[rows][..., None]).any())
            n_infinite += int(infinite.sum())
            if first is None and infinite.any():
                where = np.argwhere(infinite)[0]
                first = rows.start + int(where[0]), int(where[-1])
        return Scan(None if mask.all() else mask, has_cells, n_infinite, first)


class CellsOnDisk:
    """Cells of an array on disk that were not observed, in rows or steps that were: looked for where they are read.

    Parameters
    ----------
    array : OnDisk
        The array.
    mask : array of bool of shape (n_samples,) or (n_samples, n_steps), or None
        Its rows or steps that were observed.
    """

    def __init__(self, array: OnDisk, mask: np.ndarray | None) -> None:
        self.array, self.mask, self.shape = array, mask, array.shape

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        return missing_cells(self.array[rows], None if self.mask is None else self.mask[rows])


class OneBelow:
    """What one array, in memory or on disk, and another below it hold, as the source of a third."""

    def __init__(self, upper: Any, lower: Any) -> None:
        self.upper, self.lower = upper, lower
        self.shape = (len(upper) + len(lower), *upper.shape[1:])

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        n = len(self.upper)
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self.upper) + len(self.lower))
            parts = self.upper[start : min(stop, n)], self.lower[max(start - n, 0) : max(stop - n, 0)]
        else:
            at = int(np.searchsorted(rows, n))
            parts = self.upper[rows[:at]], self.lower[rows[at:] - n]
        return np.concatenate([part for part in parts if len(part)] or parts[:1])


def missing_cells(values: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Cells that are NaN in rows or steps that are not NaN as a whole."""
    is_nan = np.isnan(values)
    if mask is not None:
        is_nan &= mask[..., None]
    return is_nan


def _read(source: Any, rows: np.ndarray) -> np.ndarray:
    """Read rows at any positions; of what is no array in increasing order, and neighbours together."""
    n = len(rows)
    if not n:
        return np.asarray(source[0:0])
    if rows[-1] - rows[0] == n - 1 and (np.diff(rows) == 1).all():
        return source[int(rows[0]) : int(rows[-1]) + 1]
    if isinstance(source, np.ndarray):
        return source[rows]
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    values: np.ndarray
    if isinstance(source, OneBelow):
        values = source[ordered]
    elif hasattr(source, "oindex"):  # zarr, which decompresses a chunk once for all rows of it
        values = source.oindex[ordered]
    else:
        chunks = getattr(source, "chunks", None)
        unit = int(chunks[0]) if chunks else max(1, NUMBERS_OF_STRETCH // math.prod(source.shape[1:]))
        values = np.empty((n, *source.shape[1:]), dtype=source.dtype)
        starts = np.flatnonzero(np.diff(ordered // unit, prepend=-1))
        for start, end in zip(starts, [*starts[1:], n], strict=True):
            first = int(ordered[start])
            block = np.asarray(source[first : int(ordered[end - 1]) + 1])
            values[start:end] = block[ordered[start:end] - first]
    found = np.empty_like(values)
    found[order] = values
    return found
