"""The parameters of several members in one block of memory, while they are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..utils._stacking import stack


class Block:
    """The trainable parameters of members in one block of memory, a row each, for as long as they are trained.

    What is stacked, the members themselves and the optimizer all read and write this memory: nothing is copied between
    them. The optimizer holds rows instead of parameters. It must work element by element, and steps over rows whose
    gradient is None.

    Parameters
    ----------
    members : sequence of nn.Module
        Modules of one architecture.
    rows : sequence of nn.Parameter
        What the optimizer holds, one for each member; empty while nothing is packed.
    """

    def __init__(self, members: Sequence[nn.Module], rows: Sequence[nn.Parameter]) -> None:
        self.members = members
        self.rows = rows
        self.parameters = [[p for p in member.parameters() if p.requires_grad] for member in members]
        self.places: dict[int, tuple[int, int]] = {}
        self.values = self.gradients = torch.empty(0)
        self.joined: list[tuple[nn.Parameter, Tensor]] = []  # what is stacked, and where its gradient goes
        self.packed: list[int] = []
        end = 0
        for of_members in zip(*self.parameters, strict=True):
            start, end = end, end + of_members[0].numel()
            self.places.update({id(parameter): (start, end) for parameter in of_members})

    def pack(self, members: Sequence[int]) -> Any:
        """Move the parameters of these members into a block, and return what stacks them."""
        for k in set(self.packed) - set(members):
            self._release(k)
        self.packed = list(members)
        self.values = torch.stack([torch.cat([p.detach().flatten() for p in self.parameters[k]]) for k in members])
        self.gradients = torch.zeros_like(self.values)
        self.joined = []
        for k, values, gradient in zip(members, self.values, self.gradients, strict=True):
            self.rows[k].grad = None  # of another shape
            self.rows[k].data, self.rows[k].grad = values, gradient
            for parameter in self.parameters[k]:
                start, end = self.places[id(parameter)]
                parameter.grad = None
                parameter.data = values[start:end].view(parameter.shape)
                parameter.grad = gradient[start:end].view(parameter.shape)
        return stack([self.members[k] for k in members], self._join)

    def _join(self, tensors: Sequence[Tensor]) -> Tensor:
        if id(tensors[0]) in self.places:
            start, end = self.places[id(tensors[0])]
            shape = (len(tensors), *tensors[0].shape)
            joined = nn.Parameter(self.values[:, start:end].view(shape))
            self.joined.append((joined, self.gradients[:, start:end].view(shape)))
            return joined
        joined_buffer = torch.stack([tensor.detach() for tensor in tensors])
        for tensor, part in zip(tensors, joined_buffer, strict=True):
            tensor.data = part  # such as a moving average, which steps of one member and of all write
        return joined_buffer

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        self.gradients.zero_()

    def collect(self, *, replace: bool = False) -> None:
        """Add the gradients of what is stacked to those of the members, or put them in their place."""
        found = [(gradient, joined.grad) for joined, gradient in self.joined if joined.grad is not None]
        own, stacked = [gradient for gradient, _ in found], [gradient for _, gradient in found]
        if replace and len(found) < len(self.joined):
            self.zero_grad()
        if found and replace:
            torch._foreach_copy_(own, stacked)
        elif found:
            torch._foreach_add_(own, stacked)
        for joined, _ in self.joined:
            joined.grad = None

    def only(self, members: Sequence[int]) -> None:
        """Let the next step of the optimizer change these members alone."""
        for k, gradient in zip(self.packed, self.gradients, strict=True):
            self.rows[k].grad = gradient if k in members else None

    def release(self) -> None:
        """Give every member memory of its own again."""
        for k in self.packed:
            self._release(k)
        self.packed, self.joined, self.values, self.gradients = [], [], torch.empty(0), torch.empty(0)

    def _release(self, k: int) -> None:
        self.rows[k].grad = None
        self.rows[k].data = self.rows[k].data.new_empty(0)
        for parameter in self.parameters[k]:
            parameter.grad = None
        for tensor in (*self.members[k].parameters(), *self.members[k].buffers()):
            tensor.data = tensor.data.clone()
