"""What X may be, and how it is read: every accepted form becomes NaN-coded float arrays, one per modality.

NaN means "not observed" and nothing else does: a row of NaN is a missing modality, a time step of NaN is padding or
a gap, and a cell of NaN beside numbers is a value that is not known. Everything that can be wrong with X is found here,
so that the rest of the package can rely on it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import validate_data

from ..utils._arguments import named
from ._arrays import as_float_array, check_not_sparse, width_of
from ._columns import resolve_columns, sorted_names
from ._containers import as_samples, check_sequence, common_length, split_container
from ._labels import row_labels
from ._observed import Observed, check_samples_observed
from ._on_disk import OnDisk
from ._padding import on_one_axis
from ._tables import as_pandas


class ModalitySchema:
    """How X was laid out at fit: modality names, widths and feature names. Reads any later X into the same form.

    Attributes
    ----------
    names : list
        Modality names, sorted.
    widths : dict
        Number of features of each modality.
    is_sequence : dict
        Whether a modality has time steps.
    feature_names : dict
        Feature names of the modalities that came as data frames or as columns of one.
    columns : dict or None
        Column positions of each modality when X is flat.
    unscaled : frozenset
        Modalities whose numbers are not to be standardised, such as those of tokens.
    """

    unscaled: frozenset = frozenset()
    # Whether modalities on disk are left there, as OnDisk, by those who read them in parts.
    stays_on_disk: bool = False
    flat_names: list | None = None

    names: list[Hashable]
    widths: dict[Hashable, int]
    is_sequence: dict[Hashable, bool]
    feature_names: dict[Hashable, list]
    columns: dict[Hashable, np.ndarray] | None

    def fit_read(
        self, estimator: Any, X: Any, modalities: Mapping[Hashable, Any] | None, *, min_samples: int = 1
    ) -> Any:
        """Learn the layout of X, and read it as Observed.

        Sets ``n_features_in_``, ``feature_names_in_`` (of frames) and ``n_features_per_modality_`` on the
        estimator.
        """
        owner = type(estimator).__name__
        raw = _split_checked(X)
        self.columns, self.feature_names, self.flat_names = None, {}, None
        if raw is None:
            flat = self._validate_flat(estimator, X, reset=True, ensure_min_samples=min_samples)
            self.columns = {"X": np.arange(flat.shape[1])} if modalities is None else resolve_columns(flat, modalities)
            arrays = self._split_flat(owner, flat)
            found = getattr(estimator, "feature_names_in_", None)
            if found is not None:
                self.feature_names = {name: found[positions].tolist() for name, positions in self.columns.items()}
        else:
            if modalities is not None:
                raise ValueError(
                    f"modalities= selects columns of a 2-D X, but X is a {type(X).__name__} that already names its "
                    f"modalities ({', '.join(map(repr, raw))}). Leave modalities=None."
                )
            arrays = self._read_mapping(owner, raw)
        self.names = sorted_names(arrays)
        self.widths = {name: width_of(arrays[name]) for name in self.names}
        self.is_sequence = {name: arrays[name].ndim == 3 for name in self.names}
        if raw is not None:
            self.feature_names = _frame_names(raw)
            estimator.n_features_in_ = sum(self.widths.values())
            self._set_feature_names(estimator)
            n_samples = common_length(arrays)
            if n_samples < min_samples:
                raise ValueError(
                    f"Found {n_samples} sample(s) in every modality, while a minimum of {min_samples} is required "
                    f"by {owner}."
                )
        read = self._finish(arrays, X)
        for name in self.names:
            if self.widths[name] == 0 or not self._any_observed(read, name):
                raise ValueError(
                    f"modality {name!r}: nothing of it is observed in the data passed to fit (every value is NaN or "
                    "None). Leave it out."
                )
        estimator.n_features_per_modality_ = dict(self.widths)
        return read

    def read(self, estimator: Any, X: Any) -> Any:
        """Read a later X: names in any order, absent or None modalities become NaN."""
        owner = type(estimator).__name__
        raw = _split_checked(X)
        if raw is None:
            if self.columns is None:
                raise ValueError(
                    f"X is a {type(X).__name__}, but {owner} was fitted on named modalities "
                    f"({', '.join(map(repr, self.names))}). Pass a dict, a ModalityDict or a (modality, feature) frame."
                )
            flat = self._validate_flat(estimator, X, reset=False)
            return self._finish(self._split_flat(owner, flat), X)
        unknown = [name for name in raw if name not in self.widths]
        if unknown:
            raise ValueError(
                f"X has unknown modalities {unknown}; {owner} was fitted with {self.names}. Remove or rename them."
            )
        self._check_feature_names(owner, _frame_names(raw))
        n_samples = common_length(raw)
        arrays = self._read_mapping(owner, {name: value for name, value in raw.items() if value is not None})
        for name in self.names:
            if name not in arrays or width_of(arrays[name]) == 0:  # absent, or a list of None
                shape = (n_samples, 1, self.widths[name]) if self.is_sequence[name] else (n_samples, self.widths[name])
                arrays[name] = _nothing(shape, on_disk=any(isinstance(a, OnDisk) for a in arrays.values()))
            self._check_shape(owner, name, arrays[name])
        if n_samples == 0:
            raise ValueError(f"Found 0 sample(s) in every modality, while a minimum of 1 is required by {owner}.")
        return self._finish(arrays, X)

    # ModalityTransformer, which takes what the estimators cannot (texts), overrides these five.

    def _validate_flat(self, estimator: Any, X: Any, *, ensure_min_samples: int = 1, **kwargs: Any) -> Any:
        """X as a table whose number and names of columns are those of fit; of its values nothing is looked at."""
        check_not_sparse(estimator, X)
        with named("X"):
            X = _as_flat(X)
            if not isinstance(X, pd.DataFrame):
                options = {"dtype": None, "ensure_all_finite": False, "ensure_min_samples": ensure_min_samples}
                return validate_data(estimator, X, **options, **kwargs)
        X = X if kwargs["reset"] else self.as_at_fit(X)
        validate_data(estimator, X, skip_check_array=True, **kwargs)
        if kwargs["reset"]:
            self.flat_names = list(X.columns)
        else:  # scikit-learn compares names that are strings only
            _check_names("X", list(X.columns), self.flat_names, type(estimator).__name__)
        for axis, (kind, least) in enumerate({"sample": ensure_min_samples, "feature": 1}.items()):
            if X.shape[axis] < least:
                raise ValueError(
                    f"Found {X.shape[axis]} {kind}(s) (shape={X.shape}) while a minimum of {least} is required by "
                    f"{type(estimator).__name__}."
                )
        return X

    def as_at_fit(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return X with the columns of fit, if it differs only in columns that no modality has."""
        names = self.flat_names
        if names is None or are_positions(names) or list(X.columns) == names:
            return X
        assert self.columns is not None
        selected = [names[i] for i in np.sort(np.concatenate(list(self.columns.values())))]
        if len(selected) == len(names) or [name for name in X.columns if name in set(selected)] != selected:
            return X
        return X.reindex(columns=names)

    def _read_value(self, owner: str, name: Hashable, value: Any) -> Any:
        return as_float_array(name, value, owner, stays_on_disk=self.stays_on_disk)

    def _any_observed(self, read: Observed, name: Hashable) -> bool:
        mask = read.masks[name]
        return mask is None or bool(mask.any())

    def _finish(self, arrays: dict[Hashable, Any], X: Any) -> Any:
        dtype = np.result_type(*(array.dtype for array in arrays.values()))
        observed = Observed.of({name: arrays[name].astype(dtype, copy=False) for name in self.names})
        check_samples_observed(observed)
        return replace(on_one_axis(observed), index=row_labels(X), columns=self.feature_names)

    def _split_flat(self, owner: str, flat: Any) -> dict[Hashable, Any]:
        """Read the selected columns of a table, and no others."""
        assert self.columns is not None
        whole = len(self.columns) == 1 and len(next(iter(self.columns.values()))) == flat.shape[1]
        blocks = {
            name: flat if whole and (positions[:-1] < positions[1:]).all() else _safe_indexing(flat, positions, axis=1)
            for name, positions in self.columns.items()
        }
        return {name: self._read_value(owner, name, block) for name, block in blocks.items()}

    def _read_mapping(self, owner: str, raw: Mapping[Hashable, Any]) -> dict[Hashable, np.ndarray]:
        if not raw:
            raise ValueError("X is an empty dict: it must hold at least one modality.")
        sorted_names(raw)
        for name, value in raw.items():
            if value is None:
                raise ValueError(
                    f"modality {name!r} is None: nothing of it is observed in the data passed to fit. Leave it out."
                )
        arrays = {}
        for name, value in raw.items():
            with named(f"modality {name!r}"):
                arrays[name] = self._read_value(owner, name, value)
        common_length(arrays)
        return arrays

    def _check_shape(self, owner: str, name: Hashable, array: np.ndarray) -> None:
        if (array.ndim == 3) != self.is_sequence[name]:
            kinds = {True: "sequences (n_samples, n_steps, n_features)", False: "vectors (n_samples, n_features)"}
            raise ValueError(
                f"modality {name!r} has shape {array.shape}, but {owner} was fitted on "
                f"{kinds[self.is_sequence[name]]} for it. Pass the same; a single step is array[:, None]."
            )
        if width_of(array) != self.widths[name]:
            raise ValueError(
                f"modality {name!r} has {width_of(array)} features, but {owner} was fitted with "
                f"{self.widths[name]} features for it. Pass those, in the order of fit."
            )

    def _set_feature_names(self, estimator: Any) -> None:
        """Set ``feature_names_in_`` to ``modality__feature``, if every modality has names that are strings."""
        names = [self.feature_names.get(name, [None]) for name in self.names]
        if all(isinstance(each, str) for part in names for each in part):
            pairs = zip(self.names, names, strict=True)
            estimator.feature_names_in_ = np.array([f"{m}__{each}" for m, part in pairs for each in part], dtype=object)
        elif hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_

    def _check_feature_names(self, owner: str, names: dict[Hashable, list]) -> None:
        for name, found in names.items():
            _check_names(f"modality {name!r}", found, self.feature_names.get(name), owner)


def _split_checked(X: Any) -> dict[Hashable, Any] | None:
    """Split a container into raw modalities, whose columns must differ in name."""
    raw = split_container(X)
    raw = None if raw is None else {name: as_pandas(value) for name, value in raw.items()}
    frames = {"X": X} if raw is None else {f"modality {name!r}": value for name, value in raw.items()}
    for label, frame in frames.items():
        columns = getattr(frame, "columns", None)
        if isinstance(columns, pd.Index) and not columns.is_unique:
            twice = columns[columns.duplicated()].unique().tolist()
            raise ValueError(
                f"{label} has more than one column of the same name: {twice}. Rename them, or drop the columns that "
                "are there twice, so that names tell features apart."
            )
    return raw


def _nothing(shape: tuple[int, ...], *, on_disk: bool) -> Any:
    """NaN in a type that decides no common one; beside what is on disk it takes no memory."""
    dtype = np.float32
    return OnDisk(np.broadcast_to(dtype(np.nan), shape), dtype) if on_disk else np.full(shape, np.nan, dtype=dtype)


def _as_flat(X: Any) -> Any:
    """A flat X as a frame or array; views that lack names are told from it."""
    check_sequence(X)
    views = [np.shape(view) for view in X if hasattr(view, "shape")] if isinstance(X, (list, tuple)) else []
    if (views and max(map(len, views)) > 1) or getattr(X, "ndim", 2) == 3:
        found = f"shapes {', '.join(map(str, views))}" if views else f"shape {np.shape(X)}"
        raise ValueError(
            f"X is of type {type(X).__name__} and of {found}, without names of modalities. Pass a dict, such as "
            '{"audio": array, "text": array}; an array on its own must be (n_samples, n_features).'
        )
    return as_samples(X) if hasattr(X, "shape") else X


def _frame_names(raw: Mapping[Hashable, Any]) -> dict[Hashable, list]:
    """Feature names of the modalities that came with some: of tables, and of the tables in a list."""
    names = {}
    for name, value in raw.items():
        if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object):
            found = [names for names in map(_names_of_item, value) if names is not None]
        else:
            found = [list(value.columns)] if isinstance(value, pd.DataFrame) else []
        if hasattr(value, "indexes") and value.dims[-1] in value.indexes:  # an array of xarray
            found = [value.indexes[value.dims[-1]].tolist()]
        for i, other in enumerate(found):
            if other != found[0]:
                raise ValueError(
                    f"modality {name!r}: the columns of its table {i}, {other}, are not those of the first one, "
                    f"{found[0]}. Select the same columns in the same order in each."
                )
        if found:
            names[name] = found[0]
    return names


def _names_of_item(item: Any) -> list | None:
    """Feature names of one sample in a list: a table of any library, or a vector with labels."""
    if hasattr(item, "indexes") and hasattr(item, "dims"):
        return item.indexes[item.dims[-1]].tolist() if item.dims and item.dims[-1] in item.indexes else None
    if isinstance(item, pd.Series):
        return None if are_positions(list(item.index)) else list(item.index)
    names = getattr(item, "column_names", getattr(item, "columns", None))
    return None if names is None else list(names)


def _check_names(label: str, found: list, expected: list | None, owner: str) -> None:
    """Reject feature names that are not those of fit; positions say nothing, unless they are in another order."""
    if expected is None or len(found) != len(expected):
        return
    if (are_positions(found) or are_positions(expected)) and set(found) != set(expected):
        return
    # As strings, which is all that some kinds of table have.
    pairs = enumerate(zip(map(str, found), map(str, expected), strict=True))
    first = next((i for i, (a, b) in pairs if a != b), None)
    if first is not None:
        raise ValueError(
            f"the feature names of {label} should match those that were passed to fit, in name and order: at position "
            f"{first} found {found[first]!r}, {owner} was fitted with {expected[first]!r}. Select them in the order of "
            "fit, table[names]."
        )


def are_positions(names: list) -> bool:
    """Whether names are those that a frame without names has: they say nothing."""
    return names == list(range(len(names)))
