"""Graphs of objects as a list of nodes for JSON, with arrays beside it, and back.

A node is ``[kind, ...]``. In it a number, text, true, false or null stands for itself, and ``[i]`` for the object of
node i, so that what is shared stays shared. There is no nesting: depth costs no recursion when a file is read, and
what is made is bounded by the number of nodes and the bytes of the arrays. Objects are made without their
constructors, and get their attributes as they are; nothing that a file says is called.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..exceptions import SavedFileError
from ._kinds import (
    COPIES,
    KIND_OF_MUTABLE,
    KIND_OF_WHOLE,
    MUTABLE,
    PLAIN,
    STORED,
    WHOLE,
    checked_key,
    checked_keys,
    object_array,
    plain_dtype,
    text_of,
)
from ._names import Names, name_of

_WEAK = "_flat_weight_refs"  # of torch's recurrent layers, made anew
_COPIED = (np.ndarray, pd.Index)


class Encoder:
    """From objects to nodes and arrays.

    Attributes
    ----------
    nodes : list
        For JSON.
    arrays : dict of str to ndarray
        Arrays of types that safetensors knows, by name.
    unknown : dict of str to object
        Where there was something that no node can stand for, and what.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.unknown: dict[str, Any] = {}
        self._seen: dict[int, tuple[int, Any]] = {}  # with the objects: ids of those that are gone are used again

    def refer(self, obj: Any, path: str, attribute: str = "") -> Any:
        """Return what stands for an object in a node: as the value of an attribute, or as part of something else."""
        if obj is None or type(obj) in (str, int, bool) or (type(obj) is float and math.isfinite(obj)):
            return obj
        if isinstance(obj, type) or (callable(obj) and hasattr(obj, "__qualname__")):
            name = self.names.of(obj, attribute or "no attribute")
            if name is None:
                self.unknown[path] = obj
            elif id(obj) not in self._seen:
                self._remember(obj, ["name", name])
        elif id(obj) not in self._seen:
            try:
                self._add(obj, path)
            except (TypeError, NotImplementedError):
                self.unknown[path] = obj
                self._remember(obj, [None])
        return [self._seen[id(obj)][0]] if id(obj) in self._seen else None

    def _remember(self, obj: Any, node: list) -> list:
        self._seen[id(obj)] = len(self.nodes), obj
        self.nodes.append(node)
        return node

    def _add(self, obj: Any, path: str) -> None:
        kind = type(obj)
        if kind in KIND_OF_MUTABLE:
            node = self._remember(obj, [KIND_OF_MUTABLE[kind]])
            if isinstance(obj, dict):
                items = obj.items()
                node += [[self._key(key, path), self.refer(value, f"{path}[{key!r}]")] for key, value in items]
            elif isinstance(obj, set):
                node += [self._key(part, path) for part in sorted(obj, key=repr)]  # the same file each time
            else:
                node += [self.refer(part, f"{path}[{i}]") for i, part in enumerate(obj)]
        elif kind in KIND_OF_WHOLE:
            parts = WHOLE[KIND_OF_WHOLE[kind]][1](obj)
            self._whole(obj, KIND_OF_WHOLE[kind], parts, path)
        elif isinstance(obj, np.dtype):
            if plain_dtype(obj.str) != obj:
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
        if dtype.kind not in PLAIN:
            raise TypeError
        if dtype.kind not in STORED or not dtype.isnative or dtype.itemsize > 8:
            dense = dense.reshape(-1).view(np.uint8)
        name = f"array{len(self.arrays)}"
        self.arrays[name] = dense
        self._remember(array, ["array", name, dtype.str, list(array.shape), order])

    def _object(self, obj: Any, path: str) -> None:
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
            prefix = f"{path}." if path else ""
            node.append({key: self.refer(value, prefix + key, key) for key, value in _state_of(obj).items()})

    def _name(self, obj: Any) -> str:
        name = self.names.of(obj)
        if name is None:
            raise TypeError
        return name

    def _key(self, key: Any, path: str) -> Any:
        return self.refer(checked_key(key), f"{path}, key {key!r}")


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
        self.arrays = dict(arrays)
        self.names = names
        self.place = place
        self.nodes: Sequence[Any] = ()
        self.copied: set[int] = set()
        self.made: list[Any] = []
        self._makers: dict[str, Callable[..., Any]] = {
            **{kind: make for kind, (_, _, make) in WHOLE.items()},
            "dtype": plain_dtype,
            "device": lambda text: torch.device(place(text_of(text))),
            "scalar": lambda array: array[()],
            "objects": object_array,
            "tensor": self._tensor,
            "name": lambda name: None,  # what it is depends on where it is
            "enum": lambda name, member: self._class(name, Enum)[text_of(member)],
            "new": self._new,
        }

    def decode(self, nodes: Sequence[Any]) -> list[Any]:
        """Return the object of each node."""
        self.nodes = nodes
        for kind, *parts in nodes:
            if kind in MUTABLE:
                self.made.append(MUTABLE[kind]())
            elif kind == "object":
                self.made.append(object.__new__(self.names.find(parts[0])))
            elif kind == "array":
                self.made.append(self._array(*parts))
            else:
                if kind in COPIES:
                    self._take(parts)
                self.made.append(self._makers[kind](*map(self._get, parts)))
        for obj, (kind, *parts) in zip(self.made, nodes, strict=True):
            if kind in ("dict", "ordered dict"):
                keys = checked_keys(self._get(key) for key, _ in parts)
                obj.update(zip(keys, (self._get(value) for _, value in parts), strict=True))
            elif kind == "set":
                obj.update(checked_keys(map(self._get, parts)))
            elif kind in ("list", "history"):
                obj.extend(map(self._get, parts))
        objects = [(obj, node) for obj, node in zip(self.made, nodes, strict=True) if node[0] == "object"]
        for obj, (_, _, state) in objects:
            _set_state(obj, {key: self._get(value, key) for key, value in state.items()})
        for obj, _ in objects:
            if isinstance(obj, nn.Module):
                _complete_module(obj)
        for obj, _ in reversed(objects):  # parts first
            if hasattr(type(obj), "_loaded"):
                obj._loaded(self.place)
        return self.made

    def _get(self, value: Any, attribute: str = "no attribute") -> Any:
        if not isinstance(value, list):
            if isinstance(value, dict):
                raise TypeError("a part of a node is neither a scalar nor a node")
            return value
        (i,) = value
        if i < 0:
            raise IndexError(i)
        made = self.made[i]  # which is there only later, if so is the node
        return self.names.find(self.nodes[i][1], attribute) if self.nodes[i][0] == "name" else made

    def _take(self, parts: Sequence[Any]) -> None:
        """See that each array is copied once, so that what is made is no larger than the file."""
        arrays = [part[0] for part in parts if isinstance(part, list) and isinstance(self._get(part), _COPIED)]
        if not self.copied.isdisjoint(arrays) or len(set(arrays)) < len(arrays):
            raise ValueError("an array is the content of two objects")
        self.copied.update(arrays)

    def _new(self, name: str, *args: Any) -> Any:
        cls = self._class(name, (str, tuple))
        if issubclass(cls, str) and not all(type(arg) in (str, int, float, bool) for arg in args):
            raise TypeError("a text of what is no scalar")  # to write others out may take for ever
        return cls.__new__(cls, *args)

    def _class(self, name: str, kind: Any) -> Any:
        cls = self.names.find(name)
        if not issubclass(cls, kind):
            raise TypeError(f"{name!r} is of another kind")
        return cls

    def _array(self, name: str, text: str, shape: Sequence[int], order: Sequence[int]) -> np.ndarray:
        dtype = plain_dtype(text)
        if dtype.kind not in PLAIN:
            raise TypeError(f"an array of {text!r} is not made of bytes")
        dense = self.arrays.pop(name).view(dtype).reshape([shape[axis] for axis in order])
        return dense.transpose(np.argsort(order)).copy(order="K")

    def _tensor(
        self, array: np.ndarray, dtype: torch.dtype, device: str, requires_grad: bool, parameter: bool
    ) -> Tensor:
        # A copy, as memory of torch is aligned.
        tensor = torch.from_numpy(array).view(dtype).to(self.place(device), copy=True)
        return nn.Parameter(tensor, requires_grad) if parameter else tensor.requires_grad_(requires_grad)


def _as_array(tensor: Tensor) -> np.ndarray:
    values = tensor.detach().cpu()
    try:
        return values.numpy()
    except TypeError:  # bfloat16 and others that NumPy lacks
        return values.view({1: torch.uint8, 2: torch.int16}[values.itemsize]).numpy()


def _is_of_sklearn(obj: Any) -> bool:
    return isinstance(obj, BaseEstimator) and type(obj).__module__.startswith("sklearn.")


def _state_of(obj: Any) -> dict[str, Any]:
    if hasattr(type(obj), "_to_save"):
        return obj._to_save()
    state = obj.__getstate__() if _is_of_sklearn(obj) else vars(obj)  # the former with its version
    return {key: value for key, value in state.items() if key != _WEAK}


def _set_state(obj: Any, state: dict[str, Any]) -> None:
    """Give an object its attributes, past everything that its class does when one is set."""
    for key in state:
        _check_free(obj, key)
    if isinstance(obj, nn.Module):
        nn.Module.__setstate__(obj, state)  # which adds what older versions of torch lacked
    elif _is_of_sklearn(obj):
        text_of(state.get("_sklearn_version"))
        BaseEstimator.__setstate__(obj, state)  # which warns of another version
    else:
        vars(obj).update(state)


def _check_free(obj: Any, key: str) -> None:
    """See that nothing of a file comes in the place of what the class does, such as methods and properties."""
    own = inspect.getattr_static(type(obj), key, None)
    does = callable(own) or hasattr(type(own), "__get__")
    if key.startswith("__") or (does and not isinstance(own, cached_property)):
        raise SavedFileError(f"an object of {name_of(obj)!r} has an attribute {key!r}, which is its class's.")


def _complete_module(module: nn.Module) -> None:
    """Make what torch keeps beside the attributes, once all modules have theirs."""
    if isinstance(module, nn.RNNBase):
        module._init_flat_weights()
    if parametrize.is_parametrized(module):
        parametrize._inject_new_class(module)
        for name in list(module.parametrizations):  # type: ignore[arg-type]
            _check_free(module, name)
            parametrize._inject_property(module, name)
