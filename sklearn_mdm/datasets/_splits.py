"""Modalities, target and names of a split, of what a file has under its keys."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from sklearn.utils import Bunch

from ..inputs._containers import as_samples
from ..inputs._modality_dict import ModalityDict
from ..inputs._padding import zero_padding_to_nan
from ._limit import Limit

MODALITIES = ("text", "audio", "vision")
TARGETS = ("regression_labels", "classification_labels", "labels", "y")
# Kinds of NumPy that are read as numbers.
NUMBERS = "fiub"
# Between the video and the clip in an id.
ID_SEPARATOR = "$_$"
# Which steps of zeros are padding.
Padding: TypeAlias = Literal["end", "anywhere"]


def as_bunch(
    split: str,
    content: dict,
    modalities: Sequence[str],
    target: str | None,
    zero_padding: Padding | None,
    infinite: float | None,
    limit: Limit,
) -> Bunch:
    """Return a split of the file as load_mmsa does; arrays that are made of lists stay below the limit."""
    absent = [name for name in modalities if name not in content]
    if absent or not modalities:
        raise ValueError(f"{split} has no modalities {absent or list(MODALITIES)}; found {shown(content)}.")
    values: dict[Hashable, Any] = {}
    for name in modalities:
        label = f"{split}, {name!r}"
        if content[name] is None:
            raise ValueError(f"{label} is None. Leave it out of modalities=, or of the file.")
        value = _converted(label, content[name], limit, as_samples)
        lengths = content.get(f"{name}_lengths", content.get("lengths"))
        if lengths is not None:
            lengths = _converted(f"the lengths of {label}", lengths, limit, np.asarray)
        values[name] = _read_modality(label, value, lengths, zero_padding, infinite)
    try:
        X = ModalityDict(values)
        n_samples = len(X)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{split}: {error}") from error
    ids, groups, raw_text = (_one_each(split, content, key, n_samples, limit) for key in ("id", "groups", "raw_text"))
    ids, groups = _names(split, ids, groups, limit)
    y = _read_target(split, content, target, n_samples, limit)
    return Bunch(X=X, y=y, ids=ids, groups=groups, raw_text=raw_text)


def shown(keys: Iterable[Any], most: int = 20) -> str:
    """Return keys for an error, which may be many and long."""
    texts = sorted(str(key)[:50] for key in keys)
    return f"{texts[:most]}" + (f" and {len(texts) - most} more" if len(texts) > most else "")


def _converted(label: str, value: Any, limit: Limit, convert: Callable[[Any], Any]) -> np.ndarray:
    """Return an array of what lists hold, which takes as much for each text as for the longest."""
    limit.check(_written_out(value, keeps_texts=convert is as_samples), f"{label}, as an array,")
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{label} cannot be read as an array: {str(error)[:200]}") from error


def _written_out(value: Any, keeps_texts: bool = False) -> int:
    """Bytes of the array that NumPy makes of a list, at most; where texts are kept, of one that holds none itself."""
    if not isinstance(value, (list, tuple)):
        return 0
    if keeps_texts and any(isinstance(item, str) for item in value):
        return max(map(_written_out, value))
    n_items, width = _items_and_width(value)
    return n_items * width


def _items_and_width(value: Any) -> tuple[int, int]:
    """Count the items of nested lists, and the bytes of the widest."""
    if isinstance(value, (str, bytes)):
        return 1, max(1, len(value)) * (4 if isinstance(value, str) else 1)
    if isinstance(value, np.ndarray):
        return max(1, value.size), value.itemsize
    if not isinstance(value, (list, tuple)) or len(value) == 0:
        return 1, 8
    if set(map(type, value)) <= {int, float, bool}:
        return len(value), 8
    counts, widths = zip(*map(_items_and_width, value), strict=True)
    return sum(counts), max(widths)


def is_split(value: Any) -> bool:
    return isinstance(value, dict) and any(
        isinstance(each, np.ndarray) or has_features(each) for each in value.values()
    )


def has_features(value: Any) -> bool:
    """Whether there are numbers of more than one dimension: an array, or arrays or lists of numbers, one per sample."""
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return value.ndim in (2, 3) and value.dtype.kind in NUMBERS
    if not isinstance(value, (list, tuple, np.ndarray)) or getattr(value, "ndim", 1) == 0 or len(value) == 0:
        return False
    try:
        first = np.asarray(value[0])
    except ValueError:  # ragged
        return False
    return first.ndim in (1, 2) and first.size > 0 and first.dtype.kind in NUMBERS


def _read_modality(label: str, value: Any, lengths: Any, zero_padding: Padding | None, infinite: float | None) -> Any:
    if value.dtype.kind == "O" and value.ndim == 1:  # texts, or sequences of unequal length
        value = value.copy()
        for i, item in enumerate(value):
            if has_features([item]):
                value[i] = _without_infinite(label, np.array(item), infinite)
        return value
    if value.dtype.kind not in NUMBERS:
        return value
    native = value.dtype.newbyteorder("=")
    with np.errstate(over="ignore"):  # what becomes infinite is named below
        value = value.astype(native if native in (np.float32, np.float64) else np.float32)
    value = _without_infinite(label, value, infinite)
    if value.ndim != 3:
        return value
    if lengths is None:
        return value if zero_padding is None else zero_padding_to_nan(value, where=zero_padding)
    # Of a sequence that was cut, the length may be that before.
    try:
        with np.errstate(invalid="raise"):
            lengths = np.minimum(np.asarray(lengths).ravel().astype(int), value.shape[1])
    except (TypeError, ValueError, FloatingPointError) as error:
        raise ValueError(f"the lengths of {label} must be whole numbers: {error}.") from error
    if lengths.shape != (len(value),) or (lengths < 0).any():
        raise ValueError(f"{label} has {len(value)} samples, but there are lengths {lengths} for it.")
    step, used = np.arange(value.shape[1]), (value != 0).any(axis=2)
    if not (used & (step >= lengths[:, None])).any():
        return zero_padding_to_nan(value, lengths=lengths)
    first = value.shape[1] - lengths[:, None]
    if (used & (step < first)).any():
        raise ValueError(
            f"{label} has more steps that are not zero than its lengths say, at either end. Are they those of another "
            "modality? Remove them to go without."
        )
    value[step < first] = np.nan
    return value


def _without_infinite(label: str, value: np.ndarray, infinite: float | None) -> np.ndarray:
    """Replace infinite values in place."""
    where = np.isinf(value)
    if where.any():
        if infinite is None:
            raise ValueError(
                f"{label}: {int(where.sum())} of {where.size} values are infinite. Pass infinite=0 to put zeros there, "
                "as MMSA does."
            )
        value[where] = infinite
    return value


def _read_target(split: str, content: dict, target: str | None, n_samples: int, limit: Limit) -> np.ndarray:
    key = next((name for name in TARGETS if name in content), None) if target is None else target
    if key is None or key not in content:
        lacking = f"none of the targets {list(TARGETS)}" if key is None else f"no target {key!r}"
        raise ValueError(f"{split} has {lacking}; found {shown(content)}. Pass target= to name one.")
    limit.check(_written_out(content[key]), f"{key!r} of {split}, as an array,")
    try:
        y = np.asarray(content[key])
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{split}: values of {key!r} have different lengths from sample to sample.") from error
    if y.size == n_samples:
        return y.ravel()
    if y.ndim < 2 or len(y) != n_samples:
        raise ValueError(f"{split} has {n_samples} samples, and values of {key!r} of shape {y.shape}.")
    return y


def _one_each(split: str, content: dict, key: str, n_samples: int, limit: Limit) -> np.ndarray | None:
    """What the file says of each sample under this key, bytes as text."""
    if content.get(key) is None:
        return None
    values = np.atleast_1d(_converted(f"{split}, {key!r}", content[key], limit, as_samples))
    if len(values) != n_samples:
        raise ValueError(f"{split} has {n_samples} samples and {len(values)} values of {key!r}.")
    try:
        if values.dtype.kind == "S":
            return np.char.decode(values, "utf-8")
        if values.dtype.kind == "O":
            values = values.copy()
            for i, item in enumerate(values.flat):  # one by one, or NumPy would look into items that are lists
                if isinstance(item, bytes):
                    values.flat[i] = item.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{split}: {key!r} holds bytes that are not UTF-8: {error}. Save it as text.") from error
    return values


def _names(
    split: str, ids: np.ndarray | None, groups: np.ndarray | None, limit: Limit
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Names of the samples and of the videos they are from, as arrays of text."""
    if groups is not None and groups.dtype.kind == "O":
        groups = _converted(f"{split}, 'groups'", groups.tolist(), limit, np.asarray)
    if ids is None:
        return None, groups
    names = [ID_SEPARATOR.join(map(str, name)) if np.ndim(name) else str(name) for name in ids]
    if groups is None and all(ID_SEPARATOR in name for name in names):
        videos = [name.split(ID_SEPARATOR)[0] for name in names]
        groups = _converted(f"{split}, the groups", videos, limit, np.asarray)
    return _converted(f"{split}, 'id'", names, limit, np.asarray), groups
