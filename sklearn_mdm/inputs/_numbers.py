"""Numbers out of columns of any type, and the refusal of what is none: dates, durations, complex values, strings."""

from __future__ import annotations

import datetime
import numbers
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from ._containers import is_missing

FLOAT_DTYPES = [np.float64, np.float32]

# What each kind of value is called, and what to do about it.
REMEDIES = {
    "dates": (
        "which as numbers depend on a unit and an origin. Turn them into numbers that mean something, such as days: "
        '(dates - pandas.Timestamp("2020-01-01")) / pandas.Timedelta(days=1), or leave the column out'
    ),
    "durations": (
        "which as numbers depend on a unit. Divide them by one, as in durations / pandas.Timedelta(seconds=1), or "
        "leave the column out"
    ),
    "complex numbers": "Pass real and imaginary parts, or moduli and angles, as columns of their own",
    "strings": (
        "Encode them first, for example with ModalityTransformer({name: OneHotEncoder(sparse_output=False)}), or turn "
        'strings of digits into numbers with pandas.to_numeric(column, errors="coerce")'
    ),
    "labels": "A regressor needs numbers, pandas.to_numeric(y); MDMFusionClassifier takes strings for classes",
    "entries": "Pass one number for each sample and output",
    "vectors": (
        "beside other columns. Pass them as a modality of their own, {name: frame[column].tolist()}, and the rest as "
        "another"
    ),
}
# Arguments that have an entry for each sample, and no columns.
BESIDE_X = ("y", "y_val", "sample_weight", "groups")
TYPES: dict[str, tuple[type, ...]] = {
    "durations": (datetime.timedelta, np.timedelta64),
    "dates": (datetime.date, datetime.time, np.datetime64, pd.Period),
    "strings": (str, bytes),
    "vectors": (list, tuple, np.ndarray, pd.Series),
}


def frame_numbers(label: str, frame: pd.DataFrame) -> np.ndarray:
    """Return the columns of a frame as a float array, NaN where nothing was observed."""
    plain = [dtype for dtype in frame.dtypes if isinstance(dtype, np.dtype) and dtype.kind in "biuf"]
    if len(plain) == frame.shape[1]:
        return frame.to_numpy(dtype=float_type(plain))
    columns = [_column(f"{label}, column {name!r}", frame.iloc[:, j]) for j, name in enumerate(frame.columns)]
    return np.stack(columns, axis=1)


def array_numbers(label: str, array: np.ndarray) -> np.ndarray:
    """Return an array of any type as a float array."""
    if array.dtype.kind in "biuf":
        return array.astype(float_type([array.dtype]), copy=False)
    _check_dtype(label, array.dtype)
    if array.dtype.kind != "O":
        return _floats(label, array)
    columns = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    numbers_of = [_objects(f"{label}, column {j}", column) for j, column in enumerate(columns.T)]
    return np.stack(numbers_of, axis=1).reshape(array.shape) if numbers_of else np.empty(array.shape)


def holds_vectors(value: Any) -> bool:
    """Whether entries of a column are arrays or lists, or all of them missing: a modality in one column."""
    if getattr(value, "dtype", None) != object and not isinstance(getattr(value, "dtype", None), pd.ArrowDtype):
        return False
    kinds = [isinstance(item, TYPES["vectors"]) or hasattr(item, "iloc") for item in value if not is_missing(item)]
    return any(kinds) or not kinds


def check_no_odd_numbers(label: str, value: Any) -> None:
    """Refuse what NumPy would turn into numbers that mean nothing: dates, durations, complex values."""
    values = np.asarray(value)
    _check_dtype(label, values.dtype)
    if values.dtype.kind == "O":
        _check_types(label, [item for item in values.flat if not is_missing(item)])


def _column(label: str, column: pd.Series) -> np.ndarray:
    _check_dtype(label, column.dtype)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return column.to_numpy(dtype=float_type([column.dtype]))
    return _objects(label, column.to_numpy(dtype=object))


def _objects(label: str, values: np.ndarray) -> np.ndarray:
    missing = np.array([is_missing(item) for item in values], dtype=bool)
    _check_types(label, values[~missing])
    return _floats(label, np.where(missing, np.nan, values) if missing.any() else values)


def _floats(label: str, values: np.ndarray) -> np.ndarray:
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        remedy = "Leave it out, or turn it into columns of numbers"
        raise type(error)(f"{label}: {error}. {remedy}.") from error


def float_type(dtypes: list[np.dtype]) -> Any:
    """Type in which numbers of these types are read."""
    common = np.result_type(*dtypes) if dtypes else np.dtype(np.float64)
    return common.newbyteorder("=") if common in FLOAT_DTYPES else np.float64


def _check_dtype(label: str, dtype: Any) -> None:
    kind = getattr(dtype, "kind", "O")
    kind = {"M": "dates", "m": "durations", "c": "complex numbers", "U": "strings", "S": "strings"}.get(kind)
    if kind is not None:
        _refuse(label, kind, str(dtype))


def _check_types(label: str, items: Any) -> None:
    for found in {type(item) for item in items}:
        if issubclass(found, numbers.Complex) and not issubclass(found, numbers.Real):
            _refuse(label, "complex numbers", found.__name__)
        for kind, types in TYPES.items():
            if issubclass(found, types):
                _refuse(label, kind, found.__name__)


def _refuse(label: str, kind: str, found: str) -> NoReturn:
    remedy = REMEDIES[{"strings": "labels", "vectors": "entries"}.get(kind, kind) if label in BESIDE_X else kind]
    joint = ", " if remedy[0].islower() else ". "
    what = ": Complex data not supported" if kind == "complex numbers" else f" holds {kind}"  # as scikit-learn puts it
    raise ValueError(f"{label}{what} ({found}){joint}{remedy}.")
