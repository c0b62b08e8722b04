"""What stands for NumPy's names in a pickle: the content as it was pickled, and the array that is made of it."""

from __future__ import annotations

import pickle
import re
from typing import Any

import numpy as np

from ._limit import Limit, size_of

# Kinds of arrays that are read: bool, int, uint, float, complex, bytes, str and object.
KINDS = "biufcSUO"
LAST_CHARACTER = 0x10FFFF


class DType:
    """In place of numpy.dtype: its name now, its byte order from the state that follows."""

    __slots__ = ("dtype",)

    def __init__(self, name: Any) -> None:
        # NumPy would read fields, shapes and units from longer names.
        if not isinstance(name, str) or not re.fullmatch(rf"[{KINDS}][0-9]{{1,10}}", name):
            raise pickle.UnpicklingError(f"it has an array of type {str(name)[:50]!r}; only plain ones are read.")
        self.dtype = np.dtype("O" if name[0] == "O" else name)

    def set_state(self, state: Any) -> None:
        """Take the byte order; size and flags are not believed."""
        order, subdtype, names, fields = state[1:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in (subdtype, names, fields)):
            raise pickle.UnpicklingError("it has an array with fields; only plain ones are read.")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class Array:
    """In place of numpy.ndarray: shape, type and content as they were pickled."""

    __slots__ = ("axes", "content", "dtype", "in_columns", "shape")

    def __init__(self) -> None:
        self.shape: Any = None

    def set_state(self, state: Any) -> None:
        """Take what describes an array."""
        _, self.shape, self.dtype, in_columns, self.content = state
        self.in_columns, self.axes = bool(in_columns), None

    def check(self) -> None:
        """Reject parts that do not belong together."""
        shape = self.shape
        if not isinstance(shape, tuple) or len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
            raise pickle.UnpicklingError(f"it has an array of shape {str(shape)[:100]}.")
        if not isinstance(self.dtype, DType):
            raise pickle.UnpicklingError("it has an array without a type.")
        expected = list if self.dtype.dtype.kind == "O" else (bytes, bytearray)
        if not isinstance(self.content, expected):
            raise pickle.UnpicklingError(f"it has an array of {self.dtype.dtype} of a {type(self.content).__name__}.")

    def made_of_bytes(self, limit: Limit) -> np.ndarray:
        """Return the array of numbers or texts."""
        dtype = self.dtype.dtype
        limit.spend(size_of(self.shape, dtype.itemsize), f"an array of shape {self.shape} of {dtype}")
        return sound(self._shaped(np.frombuffer(self.content, dtype=dtype)).copy())

    def made_of_objects(self, items: list, limit: Limit) -> np.ndarray:
        """Return the array of these objects."""
        limit.spend(size_of(self.shape, np.dtype(object).itemsize), f"an array of shape {self.shape} of objects")
        flat = np.empty(len(items), dtype=object)
        for i, item in enumerate(items):  # one by one, or NumPy would look into arrays of one shape
            flat[i] = item
        return self._shaped(flat).copy()

    def _shaped(self, flat: np.ndarray) -> np.ndarray:
        array = flat.reshape(self.shape, order="F" if self.in_columns else "C")
        return array if self.axes is None else array.transpose(self.axes)


def sound(array: np.ndarray) -> np.ndarray:
    """Return an array whose values are some: texts of known characters, truths that are 0 or 1."""
    if array.dtype.kind == "U" and array.size:
        characters = (
            np.ascontiguousarray(array).reshape(-1).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        )
        if characters.max(initial=0) > LAST_CHARACTER:
            raise ValueError("texts hold what is no character")
    if array.dtype.kind == "b":
        return array.view(np.uint8) != 0
    return array


# -- what a pickle may call -------------------------------------------------------------------------------------------


def _reconstruct(limit: Limit, subtype: Any, shape: Any, typecode: Any) -> Array:
    if subtype != NDARRAY:
        raise pickle.UnpicklingError("it has an array of a class of its own.")
    return Array()


def _from_buffer(limit: Limit, buffer: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None) -> Array:
    array = Array()
    array.set_state((1, shape, dtype, order == "F", buffer))
    array.axes = axis_order
    return array


def _dtype(limit: Limit, name: Any, align: Any = False, copy: Any = True) -> DType:
    return DType(name)


def _scalar(limit: Limit, dtype: Any, content: Any) -> Any:
    if not isinstance(dtype, DType):
        raise pickle.UnpicklingError("it has a number without a type.")
    if dtype.dtype.kind == "O":
        return content
    if not isinstance(content, (bytes, bytearray)) or len(content) != dtype.dtype.itemsize:
        raise pickle.UnpicklingError("it has a number without its bytes.")
    limit.spend(len(content))
    return sound(np.frombuffer(content, dtype=dtype.dtype))[0]


def _latin1(limit: Limit, text: Any, encoding: Any = "latin1") -> bytes:
    """How pickles of protocol 2 hold bytes: as text."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it asks for the encoding {str(encoding)[:50]!r}.")
    limit.spend(len(text))
    return text.encode("latin1")


def _no_bytes(limit: Limit) -> bytes:
    """How pickles of protocol 2 hold bytes of which there are none."""
    return b""


NDARRAY = ("numpy", "ndarray")
# By the names that pickles know them by; each takes the limit first. An ndarray is named, and never called.
CALLABLE: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _latin1,
    ("__builtin__", "bytes"): _no_bytes,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}
