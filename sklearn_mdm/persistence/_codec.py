"""Graphs of objects as a list of nodes for JSON, with arrays beside it, and back.

A node is ``[kind, ...]``. In it a number, text, true, false or null stands for itself, and ``[i]`` for the object of
node i, so that what is shared stays shared. There is no nesting: depth costs no recursion when a file is read, and
what is made is bounded by the number of nodes and the bytes of the arrays. Objects are made without their
constructors, and get their attributes as they are; nothing that a file says is called.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from types import FunctionType
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from skorch.history import History
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..exceptions import SavedFileError
from ._names import Names, name_of

_SCALARS = (str, int, float, complex, bytes, type(None), np.generic)  # keys of dicts and sets, and their tuples
_PLAIN = "biufcSUmM"  # kinds of dtype whose bytes say all
_STORED = "biuf"  # those that safetensors knows, up to 8 bytes wide
_WEAK = "_flat_weight_refs"  # of torch's recurrent layers, made anew


def _dtype(text: str) -> np.dtype:
    dtype = np.dtype(text)
    if dtype.kind not in _PLAIN + "O":
        raise TypeError(f"there is no dtype {text!r} in a file")
    return dtype


def _torch_dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"{name!r} is no dtype of torch")
    return dtype


def _random_state(*state: Any) -> np.random.RandomState:
    made = np.random.RandomState()
    made.set_state(state)
    return made


def _objects(shape: tuple, *values: Any) -> np.ndarray:
    made = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):  # a slice would take lists apart
        made[i] = value
    return made.reshape(shape)


def _frame(index: pd.Index, columns: pd.Index, *values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(dict(enumerate(values)), index=index).set_axis(columns, axis=1)


# What is made at once, of parts that come before it: the type, the parts, and what makes it of them.
_WHOLE: dict[str, tuple[type, Callable[[Any], Iterable[Any]], Callable[..., Any]]] = {
    "tuple": (tuple, list, lambda *parts: parts),
    "frozenset": (frozenset, list, lambda *parts: frozenset(map(_key, parts))),
    "slice": (slice, lambda x: [x.start, x.stop, x.step], slice),
    "range": (range, lambda x: [x.start, x.stop, x.step], range),
    "float": (float, lambda x: [repr(x)], float),  # NaN and infinity, which JSON lacks
    "complex": (complex, lambda x: [x.real, x.imag], complex),
    "bytes": (bytes, lambda x: [x.hex()], bytes.fromhex),
    "partial": (
        functools.partial,
        lambda x: [x.func, x.args, tuple(x.keywords.items())],
        lambda func, args, keywords: functools.partial(func, *args, **dict(keywords)),
    ),
    "size": (torch.Size, list, lambda *parts: torch.Size(parts)),
    "torch dtype": (torch.dtype, lambda x: [str(x).removeprefix("torch.")], _torch_dtype),
    "random state": (np.random.RandomState, lambda x: x.get_state(), _random_state),
    "range index": (
        pd.RangeIndex,
        lambda x: [x.start, x.stop, x.step, x.name],
        lambda *x: pd.RangeIndex(*x[:3], name=x[3]),
    ),
    "index": (
        pd.Index,
        lambda x: [x.to_numpy(), str(x.dtype), x.name],
        lambda values, dtype, name: pd.Index(values, dtype=dtype, name=name),
    ),
    "frame": (
        pd.DataFrame,
        lambda x: [x.index, x.columns, *(x.iloc[:, i].to_numpy() for i in range(x.shape[1]))],
        _frame,
    ),
}
_KIND_OF = {type_: kind for kind, (type_, _, _) in _WHOLE.items()}
# What is made empty first and filled later, as it may hold itself.
_CONTAINERS: dict[str, type] = {"list": list, "history": History, "set": set, "dict": dict, "ordered dict": OrderedDict}
_CONTAINER_OF = {type_: kind for kind, type_ in _CONTAINERS.items()}


class Encoder:
    """From objects to nodes and arrays.

    Attributes
    ----------
    nodes : list
        For JSON.
    arrays : dict of str to ndarray
        Arrays of types that safetensors knows, by name.
    unknown : dict of str to str
        Where there was something that no node can stand for, and what.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.unknown: dict[str, Any] = {}
        self._seen: dict[int, tuple[int, Any]] = {}  # with the objects: ids of those that are gone are used again

    def refer(self, obj: Any, path: str) -> Any:
        """Return what stands for an object in a node."""
        if obj is None or type(obj) in (str, int, bool) or (type(obj) is float and math.isfinite(obj)):
            return obj
        if id(obj) not in self._seen:
            try:
                self._add(obj, path)
            except (TypeError, NotImplementedError):
                self.unknown[path] = obj
                self._remember(obj, [None])
        return [self._seen[id(obj)][0]]

    def _remember(self, obj: Any, node: list) -> list:
        self._seen[id(obj)] = len(self.nodes), obj
        self.nodes.append(node)
        return node

    def _add(self, obj: Any, path: str) -> None:
        kind = type(obj)
        if kind in _CONTAINER_OF:
            node = self._remember(obj, [_CONTAINER_OF[kind]])
            if isinstance(obj, dict):
                items = obj.items()
                node += [[self._key(key, path), self.refer(value, f"{path}[{key!r}]")] for key, value in items]
            elif isinstance(obj, set):
                node += [self._key(part, path) for part in obj]
            else:
                node += [self.refer(part, f"{path}[{i}]") for i, part in enumerate(obj)]
        elif kind in _KIND_OF:
            parts = _WHOLE[_KIND_OF[kind]][1](obj)
            self._whole(obj, _KIND_OF[kind], parts, path)
        elif isinstance(obj, np.dtype):
            if _dtype(obj.str) != obj:
                raise TypeError
            self._remember(obj, ["dtype", obj.str])
        elif isinstance(obj, torch.device):
            self._remember(obj, ["device", str(obj)])
        elif isinstance(obj, np.generic):
            self._whole(obj, "scalar", [np.asarray(obj)], path)
        elif kind in (np.ndarray, np.memmap):
            if obj.dtype == object:
                self._whole(obj, "objects", [obj.shape, *obj.ravel()], path)
            else:
                self._array(obj)
        elif kind in (Tensor, nn.Parameter):
            parts = [_as_array(obj), obj.dtype, str(obj.device), obj.requires_grad, kind is nn.Parameter]
            self._whole(obj, "tensor", parts, path)
        else:
            self._object(obj, path)

    def _whole(self, obj: Any, kind: str, parts: Iterable[Any], path: str) -> None:
        node = [kind, *(self.refer(part, f"{path}[{i}]") for i, part in enumerate(parts))]
        self._remember(obj, node)  # after its parts

    def _array(self, array: np.ndarray) -> None:
        # The order of axes in memory decides about last digits of products.
        order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]) * (array.shape[axis] > 1))
        dense = np.array(array.transpose(order), order="C", subok=False)
        dtype = array.dtype
        if dtype.kind not in _PLAIN:
            raise TypeError
        if dtype.kind not in _STORED or not dtype.isnative or dtype.itemsize > 8:
            dense = dense.reshape(-1).view(np.uint8)
        name = f"array{len(self.arrays)}"
        self.arrays[name] = dense
        self._remember(array, ["array", name, dtype.str, list(array.shape), order])

    def _object(self, obj: Any, path: str) -> None:
        if isinstance(obj, type) or (callable(obj) and hasattr(obj, "__qualname__")):
            self._remember(obj, ["name", self._name(obj)])
            return
        cls = type(obj)
        if isinstance(obj, nn.Module) and parametrize.is_parametrized(obj):
            cls = cls.__bases__[0]  # torch makes a class for each such module
        name = self._name(cls)
        if isinstance(obj, Enum):
            self._remember(obj, ["enum", name, obj.name])
        elif isinstance(obj, (str, tuple)) and hasattr(obj, "__getnewargs__"):
            self._whole(obj, "new", [name, *obj.__getnewargs__()], path)
        else:
            node = self._remember(obj, ["object", name])
            saved = obj._to_save() if hasattr(cls, "_to_save") else vars(obj)
            if _is_of_sklearn(obj):
                saved = obj.__getstate__()  # with its version
            node.append(
                {
                    key: self.refer(value, f"{path}.{key}" if path else key)
                    for key, value in saved.items()
                    if key != _WEAK
                }
            )

    def _name(self, obj: Any) -> str:
        name = self.names.of(obj)
        if name is None:
            raise TypeError
        return name

    def _key(self, key: Any, path: str) -> Any:
        return self.refer(_key(key), f"{path}, key {key!r}")


class Decoder:
    """From nodes and arrays to objects; the opposite of :class:`Encoder`.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The arrays.
    names : Names
        Which classes and functions nodes may name.
    place : callable
        From the device that something was on, as text, to the one where it is wanted.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], names: Names, place: Callable[[str], str]) -> None:
        self.arrays = arrays
        self.names = names
        self.place = place
        self.made: list[Any] = []
        self._makers: dict[str, Callable[..., Any]] = {
            **{kind: make for kind, (_, _, make) in _WHOLE.items()},
            "dtype": _dtype,
            "device": lambda text: torch.device(place(text)),
            "scalar": lambda array: array[()],
            "objects": _objects,
            "tensor": self._tensor,
            "name": names.find,
            "enum": lambda name, member: self._class(name, Enum)[member],
            "new": lambda name, *args: self._class(name, (str, tuple)).__new__(names.find(name), *args),
        }

    def decode(self, nodes: Sequence[Any]) -> list[Any]:
        """Return the object of each node."""
        for kind, *parts in nodes:
            if kind in _CONTAINERS:
                self.made.append(_CONTAINERS[kind]())
            elif kind == "object":
                self.made.append(object.__new__(self.names.find(parts[0])))
            elif kind == "array":
                self.made.append(self._array(*parts))
            else:
                self.made.append(self._makers[kind](*map(self._get, parts)))
        for obj, (kind, *parts) in zip(self.made, nodes, strict=True):
            if kind in ("dict", "ordered dict"):
                obj.update((_key(self._get(key)), self._get(value)) for key, value in parts)
            elif kind == "set":
                obj.update(_key(self._get(part)) for part in parts)
            elif kind in ("list", "history"):
                obj.extend(map(self._get, parts))
        objects = [(obj, node) for obj, node in zip(self.made, nodes, strict=True) if node[0] == "object"]
        for obj, (_, _, state) in objects:
            _set_state(obj, {key: self._get(value) for key, value in state.items()})
        for obj, _ in objects:
            if isinstance(obj, nn.Module):
                _complete_module(obj)
        for obj, _ in objects:
            if hasattr(type(obj), "_loaded"):
                obj._loaded(self.place)
        return self.made

    def _get(self, value: Any) -> Any:
        if not isinstance(value, list):
            if isinstance(value, dict):
                raise TypeError("a part of a node is neither a scalar nor a node")
            return value
        (i,) = value
        if i < 0:
            raise IndexError(i)
        return self.made[i]

    def _class(self, name: str, kind: Any) -> Any:
        cls = self.names.find(name)
        if not issubclass(cls, kind):
            raise TypeError(f"{name!r} is of another kind")
        return cls

    def _array(self, name: str, text: str, shape: Sequence[int], order: Sequence[int]) -> np.ndarray:
        dtype = _dtype(text)
        if dtype.kind not in _PLAIN:
            raise TypeError(f"an array of {text!r} is not made of bytes")
        dense = self.arrays[name].view(dtype).reshape([shape[axis] for axis in order])
        return dense.transpose(np.argsort(order)).copy(order="K")

    def _tensor(
        self, array: np.ndarray, dtype: torch.dtype, device: str, requires_grad: bool, parameter: bool
    ) -> Tensor:
        # A copy, as memory of torch is aligned.
        tensor = torch.from_numpy(array).view(dtype).to(self.place(device), copy=True)
        return nn.Parameter(tensor, requires_grad) if parameter else tensor.requires_grad_(requires_grad)


def _key(key: Any) -> Any:
    """Return a key that is hashed in no time: a scalar, or a tuple of such."""
    if isinstance(key, _SCALARS) or (type(key) is tuple and all(isinstance(part, _SCALARS) for part in key)):
        return key
    raise TypeError(f"a {type(key).__name__} is no key in a file")


def _as_array(tensor: Tensor) -> np.ndarray:
    values = tensor.detach().cpu()
    try:
        return values.numpy()
    except TypeError:  # bfloat16 and others that NumPy lacks
        return values.view({1: torch.uint8, 2: torch.int16}[values.itemsize]).numpy()


def _is_of_sklearn(obj: Any) -> bool:
    return isinstance(obj, BaseEstimator) and type(obj).__module__.startswith("sklearn.")


def _set_state(obj: Any, state: dict[str, Any]) -> None:
    """Give an object its attributes, past everything that its class does when one is set."""
    for key in state:
        # Nothing of a file may come in the place of what the class does.
        own = inspect.getattr_static(type(obj), key, None)
        if key.startswith("__") or isinstance(own, (FunctionType, property, classmethod, staticmethod)):
            raise SavedFileError(f"an object of {name_of(obj)!r} has an attribute {key!r}, which is its class's.")
    if isinstance(obj, nn.Module):
        nn.Module.__setstate__(obj, state)  # which adds what older versions of torch lacked
    elif _is_of_sklearn(obj):
        BaseEstimator.__setstate__(obj, state)  # which warns of another version
    else:
        vars(obj).update(state)


def _complete_module(module: nn.Module) -> None:
    """Make what torch keeps beside the attributes, once all modules have theirs."""
    if isinstance(module, nn.RNNBase):
        module._init_flat_weights()
    if parametrize.is_parametrized(module):
        parametrize._inject_new_class(module)
        for name in list(module.parametrizations):  # type: ignore[arg-type]
            parametrize._inject_property(module, name)
