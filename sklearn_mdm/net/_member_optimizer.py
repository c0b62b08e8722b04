"""The one optimizer of several members."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

# Optimizers that work element by element, for which parameters may lie side by side.
_ELEMENTWISE = ("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD")


def is_elementwise(optimizer: Any) -> bool:
    """Whether a class of optimizers works element by element."""
    return getattr(optimizer, "__module__", "").startswith("torch.optim") and optimizer.__name__ in _ELEMENTWISE


def rows_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """What an optimizer holds, in order: a row for each member, where these are stacked."""
    return [row for group in optimizer.param_groups for row in group["params"]]


def forget_others(optimizer: torch.optim.Optimizer, kept: set[int]) -> None:
    """Let go of all parameters but those with these ids."""
    for group in optimizer.param_groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) in kept]
    for parameter in [parameter for parameter in optimizer.state if id(parameter) not in kept]:
        del optimizer.state[parameter]
