"""What the training of a net depends on, in words and checksums, by which a fit is recognised."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, Checkpoint, LoadInitState, TrainEndCheckpoint
from torch import Tensor, nn

from .._version import __version__
from ._fit_tasks import EpochTasks
from ._training import EpochProgress, ForgetBatches, StopReport

# What only says how far training is.
TELLING = (EpochProgress, EpochTasks, StopReport)
# Parameters of a net that training does not depend on, or that is compared by what it makes.
NOT_COMPARED = {"callbacks", "verbose", "warm_start", "train_split", "torch_load_kwargs", "predict_nonlinearity"}
NOT_COMPARED |= {"use_caching", "iterator_valid", "dataset", "combine"}
# More is a checksum, and values of more are not told.
LONGEST, LONGEST_TOLD = 200, 60


def settings_of(net: Any, callbacks: Sequence[tuple[str, Callback]], train: Any, valid: Any) -> dict[str, str]:
    """Return what the training of a net with these callbacks, on these datasets, depends on, by name."""
    describe = _Description()
    found = {"version of sklearn-mdm": __version__}
    found["version of torch"] = str(torch.__version__)
    params = net.get_params(deep=False)
    for name in sorted(params.keys() - NOT_COMPARED):
        if not name.startswith(("_", "callbacks__", "iterator_valid__")):
            label = "seed from random_state" if name == "random_state" else name
            initial = name == "module" and isinstance(params[name], nn.Module)  # weights of it are in the file
            found[label] = _shortened(describe.parts(params[name]) if initial else describe(params[name]))
    for name, callback in callbacks:
        if _acts(callback):
            found[f"callback {name}"] = _shortened(describe(_params_of(callback)))
    for name in net._modules:
        layers = {key: (tuple(p.shape), str(p.dtype)) for key, p in getattr(net, name + "_").named_parameters()}
        found[f"layers of the {name}"] = _shortened(describe(layers))
    found["training samples"] = _checksum(describe(train))
    found["samples held out"] = _checksum(describe(valid))
    return found


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Say in what two fits differ; empty if in nothing."""
    told = []
    for name in sorted(there.keys() | here.keys()):
        one, other = there.get(name, "not set"), here.get(name, "not set")
        if one != other:
            long = len(one) + len(other) > LONGEST_TOLD or "checksum" in one + other
            told.append(name if long else f"{name} ({one} there, {other} here)")
    return ", ".join(told)


def _acts(callback: Callback) -> bool:
    """Whether a callback is known to take part in training; others may hold anything, and are their author's."""
    if isinstance(callback, (Checkpoint, TrainEndCheckpoint, LoadInitState, ForgetBatches, *TELLING)):
        return False
    known = ("skorch.callbacks.training", "skorch.callbacks.lr_scheduler", "skorch.callbacks.regularization")
    return type(callback).__module__.startswith((*known, __package__ or ""))


def _params_of(callback: Callback) -> dict[str, Any]:
    return {name: value for name, value in vars(callback).items() if not name.endswith("_") and name != "sink"}


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else _checksum(text)


def _checksum(text: str) -> str:
    return f"checksum {hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"


class _Description:
    """Describes values by what they hold, the same in every process: without addresses, in a fixed order."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}
        self.kept: list[Any] = []  # an id is that of one object for as long as this one lives

    def __call__(self, value: Any) -> str:
        if value is None or isinstance(value, (bool, int, float, str, bytes, torch.dtype, torch.device, np.generic)):
            return repr(value)
        if id(value) not in self.known:
            self.known[id(value)] = type(value).__qualname__  # for what holds itself
            self.kept.append(value)
            self.known[id(value)] = self._described(value)
        return self.known[id(value)]

    def _described(self, value: Any) -> str:
        if isinstance(value, Tensor):
            return self._of_numbers([value.detach().cpu()], value.shape, value.dtype)
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            return self._of_numbers([torch.from_numpy(np.ascontiguousarray(value))], value.shape, value.dtype)
        if hasattr(type(value), "in_parts"):  # what stands for a tensor on disk, and is described as one
            return self._of_numbers(value.in_parts(), value.shape, value.dtype)
        if isinstance(value, MethodType):
            return f"{self(value.__func__)} of {self(value.__self__)}"
        if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
            return f"{value.__module__}.{value.__qualname__}"
        if isinstance(value, partial):
            return f"{self(value.func)}({self(value.args)}, {self(value.keywords)})"
        if isinstance(value, Mapping):
            return "{" + ", ".join(f"{self(key)}: {self(part)}" for key, part in value.items()) + "}"
        if isinstance(value, (list, tuple)):
            return "[" + ", ".join(map(self, value)) + "]"
        if isinstance(value, (set, frozenset)):
            return "{" + ", ".join(sorted(map(self, value))) + "}"
        if isinstance(value, nn.Module):
            return f"{self.parts(value)}; {self(dict(value.state_dict()))}"
        held = sorted(getattr(value, "__dict__", {}).items())
        return f"{type(value).__qualname__}({', '.join(f'{name}={self(part)}' for name, part in held)})"

    def parts(self, module: nn.Module) -> str:
        """Describe types and attributes of all parts of a module, not its tensors."""
        parts = []
        for name, part in module.named_modules():
            simple = {
                key: value
                for key, value in vars(part).items()
                if isinstance(value, (bool, int, float, str, tuple)) and key != "training"
            }
            parts.append(f"{name}: {type(part).__qualname__}({self(simple)})")
        return "; ".join(parts)

    def _of_numbers(self, parts: Iterable[Tensor], shape: Any, dtype: Any) -> str:
        numbers = hashlib.blake2b(digest_size=16)
        for part in parts:
            numbers.update(part.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return f"array({tuple(shape)}, {dtype}, {numbers.hexdigest()})"
