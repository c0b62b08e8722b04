"""What X may be, and how it is read: every accepted form becomes NaN-coded float arrays, one per modality.

NaN means "not observed" and nothing else does: a row of NaN is a missing modality, a time step of NaN is padding or
a gap. Everything that can be wrong with X is found here, so that the rest of the package can rely on it.
"""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils import _safe_indexing, check_array
from sklearn.utils.validation import validate_data

from sklearn_mdm.modality_dict import as_samples, common_length, is_text, split_container

__all__ = ["SingleModalityWarning"]

FLOAT_DTYPES = [np.float64, np.float32]
SPARSE_REMEDY = (
    "reduce it to a dense array first, for example with sklearn.decomposition.TruncatedSVD "
    "(ModalityTransformer applies it to one modality)"
)


class SingleModalityWarning(UserWarning):
    """The dependency term is off because X holds a single modality."""


def sorted_names(names: Iterable[Hashable]) -> list[Hashable]:
    """Sort modality names, so that neither the order of keys nor of column blocks can matter."""
    names = list(names)
    for name in names:
        if isinstance(name, bool) or not isinstance(name, (str, numbers.Integral)):
            raise TypeError(f"modality names must be strings or integers, got {name!r} ({type(name).__name__}).")
    return sorted(names, key=lambda name: (isinstance(name, str), name))


def column_positions(X: Any, selector: Any, name: Hashable) -> np.ndarray:
    """Resolve a ColumnTransformer-style selector to column positions."""
    if callable(selector):
        selector = selector(X)
    columns = getattr(X, "columns", None)
    n_columns = X.shape[1] if hasattr(X, "shape") else np.shape(X)[1]
    positions: Any = np.arange(n_columns)[None, :]
    if columns is not None:
        positions = pd.DataFrame(positions, columns=list(columns))
    if isinstance(selector, (list, tuple, np.ndarray)) and len(selector) == 0:
        chosen = np.empty(0, dtype=int)
    else:
        try:
            chosen = np.ravel(_safe_indexing(positions, selector, axis=1))
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(
                f"modalities[{name!r}]={selector!r} does not select columns of X ({n_columns} columns): {error}"
            ) from error
    if chosen.size == 0:
        raise ValueError(f"modalities[{name!r}]={selector!r} selects no column of X.")
    return chosen


def resolve_columns(X: Any, modalities: Mapping[Hashable, Any]) -> dict[Hashable, np.ndarray]:
    """Column positions of each modality of a flat X, checked to be disjoint."""
    if not isinstance(modalities, Mapping) or not modalities:
        raise ValueError(f"modalities must map names to column selectors, got {modalities!r}.")
    columns = {name: column_positions(X, modalities[name], name) for name in sorted_names(modalities)}
    seen: dict[int, Hashable] = {}
    for name, positions in columns.items():
        for position in positions.tolist():
            if position in seen:
                raise ValueError(
                    f"column {position} of X is in modality {seen[position]!r} and again in modality {name!r}: a "
                    "shared column makes their dependency infinite. Give each column to one modality."
                )
            seen[position] = name
    return columns


def as_float_array(name: Hashable, value: Any, owner: str) -> np.ndarray:
    """Read one modality as a float array (n, d) or (n, T, d), with NaN where nothing was observed."""
    label = f"modality {name!r}"
    if sparse.issparse(value):
        raise TypeError(f"{label} is sparse ({type(value).__name__}), but {owner} needs dense data: {SPARSE_REMEDY}.")
    value = as_samples(value)
    if is_text(value):
        raise ValueError(
            f"{label} holds text, but {owner} needs numbers here. Encode it first, for example with "
            f"ModalityTransformer({{{name!r}: make_pipeline(TfidfVectorizer(), TruncatedSVD(100))}}); "
            f"fusion=MAGFusion(text={name!r}, backbone=...) reads it as it is."
        )
    if getattr(value, "ndim", None) == 1 and getattr(value, "dtype", None) == object:
        return _pad_ragged(label, value)
    if len(np.shape(value)) not in (2, 3):
        raise ValueError(
            f"{label} has shape {np.shape(value)}; expected (n_samples, n_features), (n_samples, n_steps, n_features) "
            "or a list of (n_steps_i, n_features) arrays. Use array.reshape(-1, 1) if it is a single feature."
        )
    array = check_numbers(label, value)
    if array.shape[-1] == 0:
        raise ValueError(f"{label} has 0 features (shape {array.shape}); at least one is required.")
    return array


def check_numbers(label: str, value: Any) -> np.ndarray:
    """Convert value to a float array that may hold NaN but nothing infinite; errors start with the label."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # its quick look for infinities is a sum, which may overflow
            return check_array(
                value,
                dtype=FLOAT_DTYPES,
                ensure_all_finite="allow-nan",
                allow_nd=True,
                ensure_min_samples=0,
                ensure_min_features=0,
                input_name=label,
            )
    except (TypeError, ValueError, OverflowError) as error:
        if label in str(error):
            raise
        raise type(error)(f"{label}: {error}") from error


def _pad_ragged(label: str, samples: np.ndarray) -> np.ndarray:
    """Stack a list of (T_i, d) arrays, or of (d,) rows, into one array; None and missing steps become NaN."""
    arrays: list[np.ndarray | None] = []
    for i, item in enumerate(samples):
        if item is None or (isinstance(item, float) and np.isnan(item)):
            arrays.append(None)
            continue
        if len(np.shape(item)) not in (1, 2):
            raise ValueError(
                f"{label}, sample {i} has shape {np.shape(item)}; each sample of a list must be an array "
                "(n_steps_i, n_features) or (n_features,), or None where it was not observed."
            )
        is_row = len(np.shape(item)) == 1
        item = check_numbers(f"{label}, sample {i}", np.atleast_2d(item))
        arrays.append(item[0] if is_row else item)
    observed = [array for array in arrays if array is not None]
    if not observed:
        return np.full((len(arrays), 1, 0), np.nan)
    dims, widths = {array.ndim for array in observed}, sorted({array.shape[-1] for array in observed})
    if len(dims) > 1 or len(widths) > 1:
        raise ValueError(
            f"{label}: its samples differ in their number of features ({widths}) or of dimensions ({sorted(dims)})."
        )
    n_steps = (max(len(array) for array in observed),) if dims == {2} else ()
    padded = np.full((len(arrays), *n_steps, widths[0]), np.nan, dtype=np.result_type(*observed))
    for row, array in zip(padded, arrays, strict=True):
        if array is not None:
            row[: len(array)] = array
    return padded


def observed_rows(array: np.ndarray) -> np.ndarray:
    """Samples with any value of this modality: bool (n_samples,)."""
    return ~np.isnan(array).all(axis=tuple(range(1, array.ndim)))


def complete_rows(arrays: Mapping[Hashable, np.ndarray]) -> np.ndarray:
    """Samples with every modality observed: bool (n_samples,)."""
    return np.logical_and.reduce([observed_rows(array) for array in arrays.values()])


def width_of(value: Any) -> int:
    """Return the number of features; a text counts as one."""
    return 1 if value.ndim == 1 else int(value.shape[-1])


def check_not_sparse(estimator: Any, X: Any) -> None:
    """Reject a sparse X as a whole."""
    if sparse.issparse(X):
        raise TypeError(
            f"Sparse data was passed ({type(X).__name__}), but {type(estimator).__name__} needs dense data: "
            f"{SPARSE_REMEDY}."
        )


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
        Modalities whose numbers are not to be standardised: codes, such as those of tokens.
    """

    unscaled: frozenset = frozenset()

    names: list[Hashable]
    widths: dict[Hashable, int]
    is_sequence: dict[Hashable, bool]
    feature_names: dict[Hashable, list]
    columns: dict[Hashable, np.ndarray] | None

    def fit_read(
        self, estimator: Any, X: Any, modalities: Mapping[Hashable, Any] | None, *, min_samples: int = 1
    ) -> dict[Hashable, np.ndarray]:
        """Learn the layout of X and return its arrays.

        Sets ``n_features_in_``, ``feature_names_in_`` (flat frames) and ``n_features_per_modality_`` on the
        estimator.
        """
        owner = type(estimator).__name__
        raw = _split_checked(X)
        self.columns, self.feature_names = None, {}
        if raw is None:
            flat = self._validate_flat(estimator, X, reset=True, ensure_min_samples=min_samples)
            # Resolved on X itself, since selectors may name the columns of a frame.
            self.columns = {"X": np.arange(flat.shape[1])} if modalities is None else resolve_columns(X, modalities)
            arrays = self._split_flat(flat)
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
            if hasattr(estimator, "feature_names_in_"):
                del estimator.feature_names_in_
            n_samples = common_length(arrays)
            if n_samples < min_samples:
                raise ValueError(
                    f"Found {n_samples} sample(s) in every modality, while a minimum of {min_samples} is required "
                    f"by {owner}."
                )
        for name in self.names:
            if self.widths[name] == 0 or not self._is_observed(arrays[name]).any():
                raise ValueError(
                    f"modality {name!r}: nothing of it is observed in the data passed to fit (every value is NaN or "
                    "None). Leave it out."
                )
        estimator.n_features_per_modality_ = dict(self.widths)
        return self._finish(arrays)

    def read(self, estimator: Any, X: Any) -> dict[Hashable, np.ndarray]:
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
            return self._finish(self._split_flat(flat))
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
                arrays[name] = np.full(shape, np.nan, dtype=np.float32)  # so that it decides no common dtype
            self._check_shape(owner, name, arrays[name])
        if n_samples == 0:
            raise ValueError(f"Found 0 sample(s) in every modality, while a minimum of 1 is required by {owner}.")
        return self._finish(arrays)

    # ModalityTransformer, which takes what the estimators cannot (texts, single NaN values), overrides these five.

    def _validate_flat(self, estimator: Any, X: Any, **kwargs: Any) -> Any:
        check_not_sparse(estimator, X)
        return validate_data(estimator, X, dtype=FLOAT_DTYPES, ensure_all_finite="allow-nan", **kwargs)

    def _read_value(self, owner: str, name: Hashable, value: Any) -> Any:
        return as_float_array(name, value, owner)

    def _is_observed(self, value: Any) -> np.ndarray:
        return observed_rows(value)

    def _finish(self, arrays: dict[Hashable, Any]) -> dict[Hashable, Any]:
        dtype = np.result_type(*arrays.values())
        checked = _checked({name: array.astype(dtype, copy=False) for name, array in arrays.items()}, self.names)
        return _on_one_axis(checked)

    def _split_flat(self, flat: Any) -> dict[Hashable, Any]:
        assert self.columns is not None
        return {name: _safe_indexing(flat, positions, axis=1) for name, positions in self.columns.items()}

    def _read_mapping(self, owner: str, raw: Mapping[Hashable, Any]) -> dict[Hashable, np.ndarray]:
        if not raw:
            raise ValueError("X is an empty dict: it must hold at least one modality.")
        sorted_names(raw)
        for name, value in raw.items():
            if value is None:
                raise ValueError(
                    f"modality {name!r} is None: nothing of it is observed in the data passed to fit. Leave it out."
                )
        arrays = {name: self._read_value(owner, name, value) for name, value in raw.items()}
        common_length(arrays)
        return arrays

    def _check_shape(self, owner: str, name: Hashable, array: np.ndarray) -> None:
        if (array.ndim == 3) != self.is_sequence[name]:
            kinds = {True: "sequences (n_samples, n_steps, n_features)", False: "vectors (n_samples, n_features)"}
            raise ValueError(
                f"modality {name!r} has shape {array.shape}, but {owner} was fitted on "
                f"{kinds[self.is_sequence[name]]} for it."
            )
        if width_of(array) != self.widths[name]:
            raise ValueError(
                f"modality {name!r} has {width_of(array)} features, but {owner} was fitted with "
                f"{self.widths[name]} features for it."
            )

    def _check_feature_names(self, owner: str, names: dict[Hashable, list]) -> None:
        for name, found in names.items():
            expected = self.feature_names.get(name)
            if expected is None or found == expected or len(found) != len(expected):
                continue
            first = next(i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
            raise ValueError(
                f"the feature names of modality {name!r} should match those that were passed to fit, in name and "
                f"order: at position {first} found {found[first]!r}, {owner} was fitted with {expected[first]!r}."
            )


def _split_checked(X: Any) -> dict[Hashable, Any] | None:
    """Split a container into raw modalities, whose columns must differ in name."""
    raw = split_container(X)
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


def _frame_names(raw: Mapping[Hashable, Any]) -> dict[Hashable, list]:
    return {name: list(value.columns) for name, value in raw.items() if isinstance(value, pd.DataFrame)}


def _on_one_axis(arrays: dict[Hashable, np.ndarray]) -> dict[Hashable, np.ndarray]:
    """Pad sequences that end together in every sample to one number of steps.

    Lists of them differ where the longest sample lacks a modality, which systems that read all at once must not mind.
    """
    sequences = [name for name, array in arrays.items() if array.ndim == 3]
    n_steps = max((arrays[name].shape[1] for name in sequences), default=0)
    if all(arrays[name].shape[1] == n_steps for name in sequences):
        return arrays
    ends = np.stack([_ends(arrays[name]) for name in sequences])
    if ((ends > 0) & (ends < ends.max(axis=0))).any():
        return arrays
    return arrays | {name: pad_steps(arrays[name], n_steps) for name in sequences}


def _ends(array: np.ndarray) -> np.ndarray:
    """Number of steps up to the last observed one of each sample, (n_samples,); 0 without any."""
    seen = ~np.isnan(array).all(axis=2)
    return np.where(seen.any(axis=1), seen.shape[1] - seen[:, ::-1].argmax(axis=1), 0)


def pad_steps(array: np.ndarray, n_steps: int) -> np.ndarray:
    """Put NaN after sequences (n, T, d), up to this number of steps."""
    return np.pad(array, ((0, 0), (0, n_steps - array.shape[1]), (0, 0)), constant_values=np.nan)


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
