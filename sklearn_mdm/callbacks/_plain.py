"""What callbacks and optimizers remember, as tensors and plain containers, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor

# How an entry says what it stands for.
ARRAY, STATE, ATTRIBUTES = "__array__", "__state__", "__attributes__"


def plain(value: Any) -> Any:
    """Return a value as tensors on the CPU in lists, tuples and dicts.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {ARRAY: torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, (list, tuple)):
        return (list if isinstance(value, list) else tuple)(plain(part) for part in value)
    if isinstance(value, Mapping):
        return {plain(key): plain(part) for key, part in value.items()}
    if isinstance(value, Callback) and not hasattr(value, "state_dict"):
        return {ATTRIBUTES: _plain_ones({name: part for name, part in vars(value).items() if name.endswith("_")})}
    if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
        return {STATE: _plain_ones(value.state_dict())}
    raise TypeError(f"{type(value).__name__} cannot be stored as tensors and plain containers")


def _plain_ones(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that can be stored; others, such as functions and open files, begin anew."""
    kept = {}
    for name, value in values.items():
        try:
            kept[name] = plain(value)
        except TypeError:
            continue
    return kept


def restored(kept: Any, now: Any = None) -> Any:
    """Return a value from what :func:`plain` made of it; objects that are there ``now`` take their state back."""
    if isinstance(kept, (list, tuple)):
        beside = now if isinstance(now, (list, tuple)) and len(now) == len(kept) else [None] * len(kept)
        return type(kept)(restored(*pair) for pair in zip(kept, beside, strict=True))
    if not isinstance(kept, dict):
        return kept
    if ARRAY in kept:
        return kept[ARRAY].numpy()
    if STATE in kept:
        now.load_state_dict(restored(kept[STATE]))
        return now
    if ATTRIBUTES in kept:
        for name, part in kept[ATTRIBUTES].items():
            setattr(now, name, restored(part, getattr(now, name, None)))
        return now
    return {key: restored(part, now.get(key) if isinstance(now, Mapping) else None) for key, part in kept.items()}
