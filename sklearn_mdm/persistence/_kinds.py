"""Kinds of nodes whose objects are told by their type: what is written of them, and what makes them again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from skorch.history import History

SCALARS = (str, int, float, bytes, type(None), np.generic)  # keys of dicts and sets, and their tuples
LONGEST_KEY = 100  # parts of a tuple that is one
PLAIN = "biufcSUmM"  # kinds of dtype whose bytes say all
STORED = "biuf"  # those that safetensors knows, up to 8 bytes wide


def checked_key(key: Any) -> Any:
    """Return a key that is hashed in no time: a scalar, or a tuple of such."""
    parts = key if type(key) is tuple else (key,)
    if len(parts) <= LONGEST_KEY and all(isinstance(part, SCALARS) for part in parts):
        return key
    raise TypeError(f"a {type(key).__name__} is no key in a file")


def checked_keys(keys: Iterable[Any]) -> list[Any]:
    """Return keys of one container, which are told apart by their hashes: where most are equal, it takes for ever."""
    checked = [checked_key(key) for key in keys]
    if 2 * len(set(map(hash, checked))) < len(checked):
        raise ValueError("most keys of a container have the hash of another one")
    return checked


def text_of(value: Any) -> str:
    """Return a text, as nothing else is to be written out, hashed or compared."""
    if type(value) is not str:
        raise TypeError(f"a {type(value).__name__} in the place of a text")
    return value


def plain_dtype(text: str) -> np.dtype:
    """Return a dtype, unless it has fields or belongs to another package."""
    dtype = np.dtype(text_of(text))
    if dtype.kind not in PLAIN + "O":
        raise TypeError(f"there is no dtype {text!r} in a file")
    return dtype


def _torch_dtype(name: str) -> torch.dtype:
    dtype = vars(torch).get(name)  # what is not there may be a module that torch would import
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"{name!r} is no dtype of torch")
    return dtype


# More numbers than any estimator counts.
MOST_IN_RANGE = 10**5


def _range(start: int, stop: int, step: int) -> range:
    made = range(start, stop, step)
    if len(made) > MOST_IN_RANGE:
        raise ValueError(f"a range of {len(made):,} numbers")
    return made


def _random_state(*state: Any) -> np.random.RandomState:
    _, key, position, *_ = state
    if key.shape != (624,) or key.dtype != np.uint32 or not 0 <= position <= 624:
        raise ValueError("no state of a generator")
    made = np.random.RandomState()
    made.set_state(state)
    return made


def object_array(shape: tuple, *values: Any) -> np.ndarray:
    """Return an array that holds these objects."""
    made = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):  # a slice would take lists apart
        made[i] = value
    return made.reshape(shape)


def _parts_of_index(index: pd.Index) -> list[Any]:
    if index.dtype not in ("str", "string"):
        plain_dtype(str(index.dtype))  # of pandas' own, some name files
    return [index.to_numpy(copy=True), str(index.dtype), index.name]


def _index(values: np.ndarray, dtype: str, name: Any) -> pd.Index:
    if type(values) is not np.ndarray or (
        text_of(dtype) not in ("str", "string") and plain_dtype(dtype) != values.dtype
    ):
        raise TypeError("an index of other values than it says")
    checked = checked_keys(values) if values.dtype == object else values
    return pd.Index(checked, dtype=dtype, name=checked_key(name))


def _frame(index: pd.Index, columns: pd.Index, *values: np.ndarray) -> pd.DataFrame:
    if not isinstance(index, pd.Index) or not isinstance(columns, pd.Index) or len(columns) != len(values):
        raise TypeError("a frame without its rows and columns")
    if any(type(value) is not np.ndarray or value.shape != (len(index),) for value in values):
        raise ValueError("a column with other rows than its frame")
    return pd.DataFrame(dict(enumerate(values)), index=index).set_axis(columns, axis=1)


# What is made at once, of parts that come before it: the type, the parts, and what makes it of them.
WHOLE: dict[str, tuple[type, Callable[[Any], Iterable[Any]], Callable[..., Any]]] = {
    "tuple": (tuple, list, lambda *parts: parts),
    "frozenset": (frozenset, lambda x: sorted(x, key=repr), lambda *parts: frozenset(checked_keys(parts))),
    "slice": (slice, lambda x: [x.start, x.stop, x.step], slice),
    "range": (range, lambda x: [x.start, x.stop, x.step], _range),
    "float": (float, lambda x: [repr(x)], lambda x: float(text_of(x))),  # NaN and infinity, which JSON lacks
    "complex": (complex, lambda x: [x.real, x.imag], complex),
    "bytes": (bytes, lambda x: [x.hex()], bytes.fromhex),
    "path": (type(Path()), lambda x: [str(x)], lambda x: Path(text_of(x))),
    "size": (torch.Size, list, lambda *parts: torch.Size(parts)),
    "torch dtype": (torch.dtype, lambda x: [str(x).removeprefix("torch.")], _torch_dtype),
    "random state": (np.random.RandomState, lambda x: x.get_state(), _random_state),
    "range index": (
        pd.RangeIndex,
        lambda x: [x.start, x.stop, x.step, x.name],
        lambda *x: pd.RangeIndex(_range(*x[:3]), name=checked_key(x[3])),
    ),
    "index": (pd.Index, _parts_of_index, _index),
    "frame": (
        pd.DataFrame,
        lambda x: [x.index, x.columns, *(x.iloc[:, i].to_numpy() for i in range(x.shape[1]))],
        _frame,
    ),
}
# Those that hold copies of the arrays that are their parts.
COPIES = ("tensor", "index", "frame", "random state")
KIND_OF_WHOLE = {type_: kind for kind, (type_, _, _) in WHOLE.items()}
# What is made empty first and filled later, as it may hold itself.
MUTABLE: dict[str, type] = {"list": list, "history": History, "set": set, "dict": dict, "ordered dict": OrderedDict}
KIND_OF_MUTABLE = {type_: kind for kind, type_ in MUTABLE.items()}
