"""Arrays in containers, made of what a pickle held in their place."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from ._limit import Limit
from ._pickled_arrays import Array, DType

# What each part of a pickle costs beside its bytes: an instruction, its argument. Both of a number are about as large
# as one in a list.
COST = 30
# An item of a container, which two parts made.
ITEM = 2 * COST
# How deep containers may lie in one another: splits, keys, samples, steps and features are five.
MAX_DEPTH = 16
PLAIN_TYPES = (type(None), bool, int, float, complex)
TEXT_TYPES = (str, bytes, bytearray)


class Named:
    """A name that a pickle asks for, by its module."""

    __slots__ = ("path",)

    def __init__(self, path: tuple[str, str]) -> None:
        self.path = path


class Made:
    """Makes arrays of what came in their place, in containers too; what occurs twice is made once and counted twice."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.done: dict[int, tuple[Any, int, int]] = {}

    def of(self, value: Any, depth: int) -> tuple[Any, int, int]:
        """Return what is made of a value, its bytes if all in it were written out, and how many levels it has."""
        kind = type(value)
        if kind in PLAIN_TYPES:
            return value, ITEM, 0
        if kind in TEXT_TYPES:
            return value, ITEM + len(value), 0
        if isinstance(value, np.generic):
            return value, ITEM + value.nbytes, 0
        if kind in (Named, DType):
            raise pickle.UnpicklingError("it holds a class or a function.")
        if id(value) not in self.done:
            if depth >= MAX_DEPTH:
                raise pickle.UnpicklingError(f"it is nested too deeply, more than {MAX_DEPTH} containers.")
            self.done[id(value)] = self._of_container(value, depth)
        made, n_bytes, height = self.done[id(value)]
        if depth + height > MAX_DEPTH:
            raise pickle.UnpicklingError(f"it is nested too deeply, more than {MAX_DEPTH} containers.")
        return made, n_bytes, height

    def _of_container(self, value: Any, depth: int) -> tuple[Any, int, int]:
        if isinstance(value, Array):
            value.check()
            if isinstance(value.content, list):
                items, n_bytes, height = self.of(value.content, depth)
                made: Any = value.made_of_objects(items, self.limit)
            else:
                made = value.made_of_bytes(self.limit)
                value.content = None  # or all would be there twice
                n_bytes, height = ITEM + made.nbytes, 1
        elif isinstance(value, dict):
            items, n_bytes, height = self._of_items(list(value.values()), depth)
            made = dict(zip(value, items, strict=True))
        else:
            items, n_bytes, height = self._of_items(value, depth)
            made = items if isinstance(value, list) else tuple(items)
        self.limit.check(n_bytes, "what it holds, with all that occurs several times,")
        return made, n_bytes, height

    def _of_items(self, values: Any, depth: int) -> tuple[list, int, int]:
        items, n_bytes, height = [], ITEM, 0
        for value in values:
            if type(value) in PLAIN_TYPES:  # most of long lists
                items.append(value)
                n_bytes += ITEM
                continue
            item, n_more, n_levels = self.of(value, depth + 1)
            items.append(item)
            n_bytes += n_more
            height = max(height, n_levels)
        return items, n_bytes, height + 1
