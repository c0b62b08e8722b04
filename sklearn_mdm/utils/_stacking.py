"""Several networks of one architecture as one, whose tensors have a leading member axis.

On a CPU a small layer costs its call more than its products: one call for all members takes a third of the time of a
call each. A module takes part if its class says ``member_axis = True`` in its own body (a subclass has to say so
itself): its ``forward``, and whatever else is called, then do the same whether tensors, its own parameters and buffers
among them, are those of one network or have one more axis in front.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _Orthogonal
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

from ._rng import bernoulli_like

# torch's own that work on one more axis as they are: element by element, matrix by matrix, or by calling others.
_ANY_RANK = (nn.ReLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.Identity, _Orthogonal)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict, ParametrizationList)

# From a tensor of each member, (*shape), to one of all of them, (n_members, *shape).
Join = Callable[[Sequence[Tensor]], Tensor]


class StackedLinear(nn.Module):
    """A linear layer of each member, for x (n_members, ..., n_in)."""

    weight: Tensor
    bias: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        rows = x if x.dim() == 3 else x.flatten(1, -2)
        weight = self.weight.transpose(1, 2)
        product = torch.bmm(rows, weight) if self.bias is None else torch.baddbmm(self.bias[:, None], rows, weight)
        return product if x.dim() == 3 else product.unflatten(1, x.shape[1:-1])


class StackedParametrizedLinear(StackedLinear):
    """One whose weight is computed, such as an orthogonal matrix."""

    parametrizations: Any

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.parametrizations.weight()


class StackedDropout(nn.Module):
    """Dropout whose draws come from each member's own stream."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not 0 < self.p < 1:
            return nn.functional.dropout(x, self.p, self.training)
        return x * bernoulli_like(x, 1 - self.p).div_(1 - self.p)


def can_stack(module: nn.Module) -> bool:
    """Whether networks like this one can be stacked."""
    for part in module.modules():
        known = type(part) in (nn.Linear, nn.Dropout, *_ANY_RANK, *_CONTAINERS) or _is_parametrized_linear(part)
        if not known and not vars(type(part)).get("member_axis", False):
            return False
    return True


def stack(members: Sequence[nn.Module], join: Join) -> Any:
    """Return a module that does for x (n_members, ...) what each of these does for its part of x.

    ``join`` makes the tensor of all members from one of each; it decides whether they share memory. The members must
    agree in architecture and mode; see :func:`can_stack`.
    """
    first = members[0]
    if type(first) is nn.Dropout:
        return StackedDropout(first.p).train(first.training)
    if type(first) is nn.Linear:
        twin: nn.Module = StackedLinear()
    elif _is_parametrized_linear(first):
        twin = StackedParametrizedLinear()
    else:
        twin = copy.copy(first)
    twin.training = first.training
    twin._parameters = {name: _joined([m._parameters[name] for m in members], join) for name in first._parameters}
    twin._buffers = {name: _joined([m._buffers[name] for m in members], join) for name in first._buffers}
    twin._modules = {
        name: None if part is None else stack([m._modules[name] for m in members], join)  # type: ignore[misc]
        for name, part in first._modules.items()
    }
    return twin


def _is_parametrized_linear(module: nn.Module) -> bool:
    return is_parametrized(module, "weight") and type(module).__bases__ == (nn.Linear,)  # torch's class for this


def _joined(tensors: Sequence[Any], join: Join) -> Any:
    return None if tensors[0] is None else join(tensors)
