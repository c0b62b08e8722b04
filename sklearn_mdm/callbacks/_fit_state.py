"""Everything that training changes in a net and in its callbacks, at the end of an epoch, and back into others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, EpochTimer, PrintLog
from skorch.history import History
from torch import Tensor

from ._plain import plain, restored

# What a net, or a member of a committee, has of its own beside its history and its random numbers.
OF_NET = ("seed_", "n_updates_", "mean_probability_", "rows_seen_")


def state_of(net: Any, callbacks: Sequence[tuple[str, Callback]]) -> dict[str, Any]:
    """Return the state of a net, and of these callbacks, between two epochs: in tensors and plain containers."""
    return {
        "modules": {name: plain(dict(_tensors_of(getattr(net, name + "_")))) for name in net._modules},
        "trainable": [parameter.requires_grad for parameter in net.module_.parameters()],
        "modes": {name: [part.training for part in getattr(net, name + "_").modules()] for name in net._modules},
        "optimizers": {name: plain(getattr(net, name + "_").state_dict()) for name in net._optimizers},
        "parts": [_state_of_part(part) for part in (net, *getattr(net, "members_", []))],
        "active": plain(getattr(net, "active_", None)),
        "callbacks": {name: plain(callback) for name, callback in callbacks if _remembers(callback)},
    }


def restore(net: Any, callbacks: Sequence[tuple[str, Callback]], state: dict[str, Any]) -> None:
    """Put a net that is about to be trained, and its callbacks, into a state."""
    with torch.no_grad():
        for name in net._modules:
            for key, tensor in _tensors_of(getattr(net, name + "_")):
                tensor.copy_(state["modules"][name][key])
    for parameter, trainable in zip(net.module_.parameters(), state["trainable"], strict=True):
        parameter.requires_grad = trainable
    for name in net._modules:  # a net sets that of all parts only where that of the whole is another
        for part, training in zip(getattr(net, name + "_").modules(), state["modes"][name], strict=True):
            part.training = training
    for name in net._optimizers:
        _restore_optimizer(getattr(net, name + "_"), state["optimizers"][name])
    for part, kept in zip((net, *getattr(net, "members_", [])), state["parts"], strict=True):
        _restore_part(part, kept)
    if state["active"] is not None:
        net.active_ = list(state["active"])
    for name, callback in callbacks:
        if name in state["callbacks"] and _remembers(callback):
            restored(state["callbacks"][name], callback)


def _tensors_of(module: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers, those too that a state_dict leaves out."""
    for named in (module.named_parameters(), module.named_buffers()):
        for name, tensor in named:
            yield name, tensor.detach()


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    optimizer.load_state_dict(state)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for at, values in state["state"].items():
        now = optimizer.state[parameters[at]]
        for name, value in values.items():
            if isinstance(value, Tensor):  # of which torch makes numbers of the parameter's type
                now[name] = value.to(now[name].device)


def _remembers(callback: Callback) -> bool:
    """Whether a callback does more than print, or measure time."""
    return not isinstance(callback, (PrintLog, EpochTimer))


def _state_of_part(part: Any) -> dict[str, Any]:
    state = {name: plain(getattr(part, name)) for name in OF_NET if hasattr(part, name)}
    state["history"] = json.dumps(part.history.to_list(), default=_as_number)
    if hasattr(part, "draws_"):  # all other random numbers are seeded anew in every epoch
        stream = part.draws_["module"]
        state["draws"] = stream.seed, {device: each.get_state() for device, each in stream.generators.items()}
    return state


def _restore_part(part: Any, state: dict[str, Any]) -> None:
    for name in OF_NET:
        if name in state:
            value = state[name]
            setattr(part, name, value.to(part.device) if isinstance(value, Tensor) else value)
    part.history = History(json.loads(state["history"]))
    if "draws" in state:
        stream = part.draws_["module"]
        stream.seed, generators = state["draws"]
        for device, numbers in generators.items():
            stream.on(device).set_state(numbers)


def _as_number(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray, Tensor)):
        return value.tolist()
    raise TypeError(f"the history holds a {type(value).__name__}, which a checkpoint cannot store")
