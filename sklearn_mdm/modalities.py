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
from skorch.helper import SliceDict

__all__ = ["ModalityDict", "SingleModalityWarning"]

FLOAT_DTYPES = [np.float64, np.float32]
SPARSE_REMEDY = (
    "reduce it to a dense array first, for example with sklearn.decomposition.TruncatedSVD "
    "(ModalityTransformer applies it to one modality)"
)


class SingleModalityWarning(UserWarning):
    """The dependency term is off because X holds a single modality."""


class ModalityDict(SliceDict):
    """A dict of modalities that scikit-learn can index by sample.

    A plain dict works in ``fit``, ``predict`` and ``score``, but not where scikit-learn itself selects samples
    (``GridSearchCV``, ``cross_val_score``, ``train_test_split``): its length is the number of keys. Wrap it:
    ``GridSearchCV(...).fit(ModalityDict(X), y)``.

    Parameters
    ----------
    data : mapping or (modality, feature) data frame, default=None
        Name (any string or integer) to values, one entry per sample in the same order: an array of shape
        (n_samples, n_features) or (n_samples, n_steps, n_features), a data frame, a list of (n_steps_i, n_features)
        arrays, a list of strings or of token lists, or None for a modality that no sample has.
    **modalities : array-like
        Further modalities by keyword.

    Raises
    ------
    ValueError
        If modalities differ in their number of samples, or none has values.

    Notes
    -----
    ``X["audio"]`` is a modality; ``X[mask]``, ``X[indices]`` and ``X[2:5]`` are samples; ``X[3]`` is the sample 3 as
    a ModalityDict of length one, unless 3 is the name of a modality. ``len(X)`` is the number of samples.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm import ModalityDict
    >>> X = ModalityDict(audio=np.zeros((4, 2)), text=["fine", "good", None, "bad"])
    >>> len(X), len(X[[0, 2]]), X[1:3]["text"].tolist()
    (4, 2, ['good', None])
    """

    def __init__(self, data: Mapping[Hashable, Any] | None = None, /, **modalities: Any) -> None:
        given = split_container(data) if is_multiindex_frame(data) else data
        values = {
            name: as_samples(value)
            for name, value in [*dict({} if given is None else given).items(), *modalities.items()]
        }
        self._len = common_length(values)
        dict.__init__(self, values)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple):  # scikit-learn indexes arrays as X[rows, ...]
            key = key[0]
        if isinstance(key, (str, numbers.Integral)):
            if key in self:
                return dict.__getitem__(self, key)
            if isinstance(key, str):
                raise KeyError(key)
            index = int(key)
            if not -self._len <= index < self._len:
                raise IndexError(f"sample {index} is out of range for a ModalityDict of {self._len} samples.")
            key = slice(index % self._len, index % self._len + 1)
        if not isinstance(key, slice):
            key = np.asarray(key)
            key = key.astype(np.intp) if key.size == 0 else key
        return type(self)({name: None if value is None else _safe_indexing(value, key) for name, value in self.items()})

    def __setitem__(self, name: Hashable, value: Any) -> None:
        values = {**self, name: as_samples(value)}
        self._len = common_length(values)
        dict.__setitem__(self, name, values[name])

    def copy(self) -> ModalityDict:
        """Return a shallow copy.

        Returns
        -------
        ModalityDict
            Another dict of the same arrays.
        """
        return type(self)(self)

    def update(self, other: Mapping[Hashable, Any] | None = None, /, **modalities: Any) -> None:
        """Set the modalities of another mapping in this one.

        Parameters
        ----------
        other : mapping, default=None
            Name to values, as for the constructor.
        **modalities : array-like
            Further modalities by keyword.
        """
        for name, value in [*dict({} if other is None else other).items(), *modalities.items()]:
            self[name] = value

    def __reduce__(self) -> tuple:
        return type(self), (dict(self),)

    def __repr__(self) -> str:
        return f"ModalityDict({dict(self)!r})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Mapping)
            and set(self) == set(other)
            and all(_same(value, other[name]) for name, value in self.items())
        )

    __hash__ = None  # type: ignore[assignment]


def _same(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    if hasattr(a, "equals"):
        return bool(a.equals(b))
    a, b = as_samples(a), as_samples(b)
    if sparse.issparse(a) or sparse.issparse(b):
        return sparse.issparse(a) and sparse.issparse(b) and a.shape == b.shape and (a != b).nnz == 0
    if a.shape != b.shape:
        return False
    if a.dtype == object:
        return all(x is y or np.array_equal(x, y) for x, y in zip(a.ravel(), b.ravel(), strict=True))
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f")


def as_samples(value: Any) -> Any:
    """Return value in a form whose first axis can be indexed; ragged lists and texts become 1-D object arrays."""
    if value is None or hasattr(value, "iloc"):
        return value
    if sparse.issparse(value):
        return value.tocsr()  # not every sparse format can be indexed
    if hasattr(value, "shape") and not isinstance(value, np.ndarray):
        return np.asarray(value)
    if isinstance(value, np.ndarray):
        return value
    value = list(value)
    # Any string decides, for NumPy would turn ["fine", nan] into the texts "fine" and "nan".
    if any(isinstance(item, str) for item in value) or all(item is None for item in value) or _is_ragged(value):
        samples = np.empty(len(value), dtype=object)
        samples[:] = value
        return samples
    return np.asarray(value)


def _is_ragged(value: list) -> bool:
    shapes = {None if item is None else np.shape(item) for item in value if not _is_ragged_item(item)}
    return len(shapes) > 1 or any(_is_ragged_item(item) for item in value) or any(_is_tokens(item) for item in value)


def _is_ragged_item(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return len({np.shape(step) for step in item}) > 1
    return False


def _is_tokens(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and any(isinstance(token, str) for token in item)


def n_samples_of(value: Any) -> int:
    shape = getattr(value, "shape", None)
    if shape is not None:
        if len(shape) == 0:
            raise ValueError("expected one entry per sample, got a single number.")
        return int(shape[0])
    return len(value)


def common_length(values: Mapping[Hashable, Any]) -> int:
    lengths = {name: n_samples_of(value) for name, value in values.items() if value is not None}
    if values and not lengths:
        raise ValueError(f"every modality ({', '.join(map(repr, values))}) is None: at least one must have values.")
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name!r} has {n}" for name, n in lengths.items())
        raise ValueError(f"modalities must have the same number of samples, one entry per sample: {found}.")
    return next(iter(lengths.values()), 0)


def is_multiindex_frame(X: Any) -> bool:
    return isinstance(X, pd.DataFrame) and isinstance(X.columns, pd.MultiIndex)


def split_container(X: Any) -> dict[Hashable, Any] | None:
    """Return the raw modalities of a mapping or of a (modality, feature) frame, or None for a flat X."""
    if sparse.issparse(X):  # before Mapping: scipy's DOK matrices are dicts
        return None
    if isinstance(X, Mapping):
        return {name: X[name] for name in X}
    if is_multiindex_frame(X):
        if X.columns.nlevels != 2:
            raise ValueError(
                f"the columns of X have {X.columns.nlevels} levels; expected two: (modality, feature). Drop or join "
                "levels so that the first names the modality."
            )
        first = X.columns.get_level_values(0)
        blocks = {name: X.loc[:, first == name] for name in first.unique()}
        return {name: block.set_axis(block.columns.get_level_values(1), axis=1) for name, block in blocks.items()}
    return None


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


def is_text(value: Any) -> bool:
    """Whether value holds strings or token lists, one per sample."""
    if value is None or sparse.issparse(value) or len(np.shape(value)) != 1:
        return False
    if isinstance(getattr(value, "dtype", None), pd.StringDtype):
        return True
    items = np.asarray(value)
    if items.dtype.kind in "UST":
        return True
    return items.dtype == object and any(isinstance(item, str) or _is_tokens(item) for item in items)


def as_float_array(name: Hashable, value: Any, owner: str) -> np.ndarray:
    """Read one modality as a float array (n, d) or (n, T, d), with NaN where nothing was observed."""
    label = f"modality {name!r}"
    if sparse.issparse(value):
        raise TypeError(f"{label} is sparse ({type(value).__name__}), but {owner} needs dense data: {SPARSE_REMEDY}.")
    value = as_samples(value)
    if is_text(value):
        raise ValueError(
            f"{label} holds text, but {owner} needs numbers here. Encode it first, for example with "
            f"ModalityTransformer({{{name!r}: make_pipeline(TfidfVectorizer(), TruncatedSVD(100))}})."
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
        Feature names of the modalities that came as data frames.
    columns : dict or None
        Column positions of each modality when X is flat.
    """

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
        raw = split_container(X)
        self.columns, self.feature_names = None, {}
        if raw is None:
            flat = self._validate_flat(estimator, X, reset=True, ensure_min_samples=min_samples)
            # Resolved on X itself, since selectors may name the columns of a frame.
            self.columns = {"X": np.arange(flat.shape[1])} if modalities is None else resolve_columns(X, modalities)
            arrays = self._split_flat(flat)
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
        raw = split_container(X)
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
        return _checked({name: array.astype(dtype, copy=False) for name, array in arrays.items()}, self.names)

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
        if array.shape[-1] != self.widths[name]:
            raise ValueError(
                f"modality {name!r} has {array.shape[-1]} features, but {owner} was fitted with "
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


def _frame_names(raw: Mapping[Hashable, Any]) -> dict[Hashable, list]:
    return {name: list(value.columns) for name, value in raw.items() if isinstance(value, pd.DataFrame)}


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
