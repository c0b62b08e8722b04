"""Reading arrays and plain containers from a pickle without running anything that it asks for."""

from __future__ import annotations

import pickle
import pickletools
from typing import Any, BinaryIO

import numpy as np

# Kinds of arrays that are read: bool, int, uint, float, complex, bytes, str and object.
KINDS = "biufcSUO"
# What is passed on as it is, besides NumPy's scalars.
PLAIN_TYPES = (type(None), bool, int, float, complex, str, bytes, bytearray)


def load_plain_pickle(file: BinaryIO) -> Any:
    """Load a pickle that holds nothing but NumPy arrays and scalars, dicts, lists, tuples, numbers and strings.

    What a pickle names is never imported. In place of NumPy's names there are classes of this module that keep the raw
    content; arrays are made of it afterwards, since NumPy's own unpickling trusts what a pickle says about memory. The
    file is read twice. A pickle that names anything else, or is damaged, is a ``pickle.UnpicklingError``.
    """
    try:
        start = file.tell()
        _check_memo(file)
        file.seek(start)
        return _materialize(_PlainUnpickler(file).load(), {})
    except pickle.UnpicklingError:
        raise
    except RecursionError:
        raise pickle.UnpicklingError("it is nested too deeply.") from None
    except Exception as error:  # a damaged or crafted pickle may raise almost anything
        raise pickle.UnpicklingError(f"it is damaged: {type(error).__name__}: {error}") from error


class _DType:
    """In place of numpy.dtype: its name now, its byte order from the state that follows."""

    __slots__ = ("dtype",)

    def __init__(self, name: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(name, str):
            raise pickle.UnpicklingError(f"it has an array of type {name!r}; only plain ones are read.")
        self.dtype = np.dtype(name)
        if self.dtype.kind not in KINDS or self.dtype.subdtype is not None or self.dtype.names is not None:
            raise pickle.UnpicklingError(f"it has an array of type {self.dtype}; only plain ones are read.")

    def __setstate__(self, state: tuple) -> None:
        order, subdtype, names, fields = state[1:5]
        if order not in "<>|=" or any(part is not None for part in (subdtype, names, fields)):
            raise pickle.UnpicklingError("it has an array with fields; only plain ones are read.")
        if order in "<>":
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """In place of numpy.ndarray: shape, type and content as they were pickled."""

    __slots__ = ("axes", "content", "dtype", "order", "shape")
    order: Any

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.dtype, in_columns, self.content = state
        self.order, self.axes = "F" if in_columns else "C", None

    def materialize(self, done: dict) -> np.ndarray:
        dtype: Any = self.dtype.dtype
        if dtype.kind == "O":
            if not isinstance(self.content, list):
                raise pickle.UnpicklingError("it has an array of objects without a list of them.")
            flat = np.empty(len(self.content), dtype=object)
            for i, item in enumerate(self.content):  # one by one, or NumPy would look into arrays of one shape
                flat[i] = _materialize(item, done)
        else:
            flat = np.frombuffer(_as_bytes(self.content), dtype=dtype)
        if not isinstance(self.shape, tuple) or any(not isinstance(n, int) or n < 0 for n in self.shape):
            raise pickle.UnpicklingError(f"it has an array of shape {self.shape!r}.")
        array = flat.reshape(self.shape, order=self.order)
        return (array if self.axes is None else array.transpose(self.axes)).copy()


class _Callable:
    """Base of what a pickle may call: without state, so that it cannot change what they do."""

    __slots__ = ()


class _Reconstruct(_Callable):
    __slots__ = ()

    def __call__(self, subtype: Any, shape: Any, typecode: Any) -> _Array:
        if subtype is not _Array:
            raise pickle.UnpicklingError("it has an array of a class of its own.")
        return _Array()


class _FromBuffer(_Callable):
    __slots__ = ()

    def __call__(self, buffer: Any, dtype: _DType, shape: tuple, order: str, axis_order: Any = None) -> _Array:
        array = _Array()
        array.__setstate__((1, shape, dtype, order == "F", buffer))
        array.axes = axis_order
        return array


class _Scalar(_Callable):
    __slots__ = ()

    def __call__(self, dtype: _DType, content: Any) -> Any:
        if dtype.dtype.kind == "O":
            return content
        return np.frombuffer(_as_bytes(content), dtype=dtype.dtype)[0]


class _Latin1(_Callable):
    """How pickles of protocol 2 hold bytes: as text."""

    __slots__ = ()

    def __call__(self, text: str, encoding: str = "latin1") -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}.")
        return text.encode("latin1")


class _NoBytes(_Callable):
    """How pickles of protocol 2 hold bytes of which there are none."""

    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


REPLACEMENTS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _Latin1(),
    ("__builtin__", "bytes"): _NoBytes(),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Reconstruct() for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar() for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _FromBuffer() for core in ("core", "_core")},
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return REPLACEMENTS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not looked up.") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"it refers to something outside itself: {pid!r}.")


def _check_memo(file: BinaryIO) -> None:
    """Reject places in the memo that no pickler uses: the unpickler allocates memory for all those before them."""
    for n_before, (opcode, place, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(place or 0) > n_before:
            raise pickle.UnpicklingError(f"it puts something at place {place} of its memo after {n_before} operations.")


def _as_bytes(content: Any) -> bytes:
    if not isinstance(content, (bytes, bytearray)):
        raise pickle.UnpicklingError("it has a number without bytes.")
    return bytes(content)


def _materialize(value: Any, done: dict[int, Any]) -> Any:
    """Make arrays of what came in their place, in containers too; what occurs twice is made once."""
    if not isinstance(value, (dict, list, tuple, _Array)):
        if type(value) in PLAIN_TYPES or isinstance(value, np.generic):
            return value
        if isinstance(value, (type, _DType, _Callable)):
            raise pickle.UnpicklingError("it holds a class or a function.")
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__}, which is not read.")
    if id(value) not in done:
        if isinstance(value, _Array):
            made: Any = value.materialize(done)
        elif isinstance(value, dict):
            made = {_materialize(key, done): _materialize(item, done) for key, item in value.items()}
        else:
            made = type(value)(_materialize(item, done) for item in value)
        done[id(value)] = made
    return done[id(value)]
