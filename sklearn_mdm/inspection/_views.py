"""X as its modalities, of which some can be re-drawn from other samples or taken away, in the form that X came in."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing

from ..inputs._columns import resolve_columns, sorted_names
from ..inputs._containers import as_samples, common_length, is_multiindex_frame, split_container
from ..inputs._labels import row_labels
from ..inputs._modality_dict import ModalityDict
from ..inputs._schema import ModalitySchema
from ..utils._unwrap import first_step
from ..utils._warnings import warn_caller

# Columns of each modality of a flat X, by names, positions, masks, slices or callables.
ModalityColumns: TypeAlias = Mapping[Hashable, Any]


class ModalityViews:
    """The modalities of X, and X without some of them.

    ``names`` are the modalities that X holds, sorted. The columns of each in a flat X are given, or are those that the
    estimator (the first step of a pipeline) was fitted with.
    """

    def __init__(
        self, X: Any, modalities: ModalityColumns | None = None, estimator: BaseEstimator | None = None
    ) -> None:
        if sparse.issparse(X):
            raise TypeError(f"X is sparse ({type(X).__name__}); expected a dict of arrays, a data frame or an array.")
        values = split_container(X)
        self._columns: dict[Hashable, np.ndarray] | None = None
        if values is not None and modalities is not None:
            raise ValueError(
                f"modalities= selects columns of a 2-D X, but X is a {type(X).__name__} that already names its "
                "modalities. Leave modalities=None."
            )
        row_labels(X)  # which must agree
        if values is not None and not is_multiindex_frame(X):
            self._X: Any = ModalityDict(values)
            self.names = sorted_names(name for name, value in self._X.items() if value is not None)
            self.n_samples = common_length(self._X)
        else:
            self._X = as_samples(X)
            if self._X.ndim != 2:
                raise ValueError(
                    f"X has shape {self._X.shape}; expected a dict of modalities or (n_samples, n_features)."
                )
            schema: Any = getattr(first_step(estimator), "_schema", None)
            if modalities is None and isinstance(self._X, pd.DataFrame) and isinstance(schema, ModalitySchema):
                self._X = schema.as_at_fit(self._X)
            self._columns = _columns_of(self._X, modalities, estimator)
            self.names = sorted_names(self._columns)
            self.n_samples = self._X.shape[0]
        if len(self.names) < 2:
            raise ValueError(f"X holds the single modality {self.names}; this compares two or more.")

    def take(self, rows: np.ndarray) -> Any:
        """Return some samples."""
        return _safe_indexing(self._X, rows)

    def redrawn(self, names: Collection[Hashable], rows: np.ndarray) -> Any:
        """Return X with the named modalities read from other rows."""
        if self._columns is None:
            return self._X | {name: _values_of(self._X[name], rows) for name in names}
        return self._with_blocks({name: _safe_indexing(self._block(name), rows) for name in names})

    def without(self, names: Collection[Hashable]) -> Any:
        """Return X with the named modalities not observed."""
        if self._columns is None:
            return self._X | {name: _nothing_like(self._X[name]) for name in names}
        return self._with_blocks({name: _nothing_like(self._block(name)) for name in names})

    def complete(self) -> np.ndarray:
        """Samples with every modality observed: bool (n_samples,)."""
        blocks = (self._X[name] if self._columns is None else self._block(name) for name in self.names)
        return np.logical_and.reduce([_observed(block) for block in blocks])

    def _block(self, name: Hashable) -> Any:
        assert self._columns is not None
        return _safe_indexing(self._X, self._columns[name], axis=1)

    def _with_blocks(self, blocks: Mapping[Hashable, Any]) -> Any:
        """Return a flat X with the columns of some modalities replaced."""
        assert self._columns is not None
        if not hasattr(self._X, "iloc"):
            X = self._X.astype(np.result_type(self._X, *blocks.values()))
            for name, block in blocks.items():
                X[:, self._columns[name]] = block
            return X
        # Joined again instead of assigned to, as columns may have types of their own.
        given = {int(j) for name in blocks for j in self._columns[name]}
        rest = [j for j in range(self._X.shape[1]) if j not in given]
        pieces = [self._X.iloc[:, rest], *(block.set_axis(self._X.index, axis=0) for block in blocks.values())]
        order = np.argsort(np.concatenate([rest, *(self._columns[name] for name in blocks)]))
        return pd.concat(pieces, axis=1).iloc[:, order]


def complete_views(
    views: ModalityViews, y: Any, modalities: ModalityColumns | None, estimator: BaseEstimator
) -> tuple[ModalityViews, Any]:
    """Leave out the samples that lack a modality, as nothing can be compared on them, and say how many."""
    complete = views.complete()
    left_out = int((~complete).sum())
    if not left_out:
        return views, y
    if left_out == len(complete):
        raise ValueError("every sample has a missing modality: modalities are compared on samples that have all.")
    warn_caller(f"{left_out} of {len(complete)} samples are left out: a modality is missing.", UserWarning)
    rows = np.flatnonzero(complete)
    return ModalityViews(views.take(rows), modalities, estimator), None if y is None else _safe_indexing(y, rows)


def partners(n_samples: int, n_draws: int, random: np.random.RandomState) -> Iterator[np.ndarray]:
    """Yield for each sample the row of another one, never twice the same and every row once in each draw.

    Two draws give no sample the same partner: with one for each modality, no two modalities stay together.
    """
    order = random.permutation(n_samples)
    position = np.argsort(order)
    for offset in 1 + random.permutation(n_samples - 1)[:n_draws]:
        yield order[(position + offset) % n_samples]


def _columns_of(X: Any, modalities: ModalityColumns | None, estimator: BaseEstimator) -> dict[Hashable, np.ndarray]:
    if is_multiindex_frame(X):
        first = X.columns.get_level_values(0)
        return {name: np.flatnonzero(first == name) for name in first.unique()}
    if modalities is not None:
        return resolve_columns(X, modalities)
    columns = getattr(getattr(first_step(estimator), "_schema", None), "columns", None)
    if columns is None:
        raise ValueError(
            f"X is a {type(X).__name__} whose columns belong to no modality. Pass modalities={{name: columns}}, or a "
            "dict of arrays, or a (modality, feature) frame."
        )
    return columns


def _values_of(value: Any, rows: np.ndarray) -> Any:
    """Return the values of other rows under the row labels that are there."""
    taken = _safe_indexing(value, rows)
    if hasattr(value, "iloc"):
        return taken.set_axis(value.index, axis=0)
    return np.asarray(taken) if hasattr(value, "indexes") else taken


def _nothing_like(value: Any) -> Any:
    """Return as many samples as value has, none of which is observed."""
    if sparse.issparse(value):
        return None
    if isinstance(value, pd.DataFrame):
        # Types that have a missing value stay, categories among them; booleans of NumPy have none.
        flags = {name: float for name, dtype in value.dtypes.items() if dtype == np.bool_}
        return value.astype(flags).mask(np.ones(value.shape, dtype=bool))
    if value.ndim == 1:  # texts, or sequences of unequal length
        return np.full(value.shape[0], None, dtype=object)
    if value.dtype.kind in "OSU":  # NaN put among strings would become the text "nan"
        return np.full(value.shape, np.nan, dtype=object)
    dtype = value.dtype if value.dtype.kind == "f" else np.float64
    return np.full(value.shape, np.nan, dtype=dtype)


def _observed(value: Any) -> np.ndarray:
    """Samples with anything of a modality: bool (n_samples,)."""
    if sparse.issparse(value):
        return np.ones(value.shape[0], dtype=bool)
    if np.ndim(value) == 1:
        return np.array([item is not None and not (isinstance(item, float) and np.isnan(item)) for item in value])
    missing: Any = np.asarray(pd.isna(value))
    return ~missing.all(axis=tuple(range(1, missing.ndim)))
