"""Copies of modules that are applied in their place: in double precision, and of a committee all members as one."""

from __future__ import annotations

import copy
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

# What is kept of modules that are in use: making a copy takes longer than a pass of a few rows.
_copies: WeakKeyDictionary[nn.Module, _Copy] = WeakKeyDictionary()


def copy_of(module: Any, *, single: bool) -> Any:
    """Return a copy in double precision and evaluation mode, with the values of the module as they are now.

    None where the module does as well: not in single precision, and no committee that is computed as one.
    """
    kept = _copies.get(module)
    if kept is None or not kept.follow():
        stacked = module.stacked() if hasattr(module, "stacked") else None
        if stacked is None and not single:
            return None
        kept = _copies[module] = _Copy(module, stacked)
    return kept.module


class _Copy:
    """A copy of a module, or of a committee what computes its members as one, which have their settings in common.

    It keeps the dicts in which torch holds what a module is made of: to walk through the module takes longer than to
    apply it to a row.
    """

    def __init__(self, module: nn.Module, stacked: Any) -> None:
        twin = copy.deepcopy(module).double() if stacked is None else stacked
        self.module = twin.eval().requires_grad_(False)
        if stacked is None:
            own, twins = [list(module.modules())], list(twin.modules())
            self.tensors = _values(twins)
        else:
            members: Any = module.members
            own, twins = [list(member.modules()) for member in members], list(stacked.members.modules())
            self.tensors = [joined[k] for k in range(len(own)) for joined in _values(twins)]
        parts = [part for of_member in own for part in of_member]
        whole = [module, *module.children(), *parts]
        self.children = [(part._modules, list(part._modules.values())) for part in whole if part._modules]
        self.owned = _owned(parts)
        # Attributes that a user may set after the fit.
        self.settings = [
            (vars(part), vars(twin), key)
            for part, twin in zip(own[0], twins, strict=True)
            for key, value in vars(part).items()
            if isinstance(value, (bool, int, float, str, tuple)) and key != "training"
        ]

    def follow(self) -> bool:
        """Take over the values of the module as they are now; False if it is made of something else by now."""
        values = [value for part in self.owned for value in part.values() if value is not None]
        if any(list(now.values()) != then for now, then in self.children):
            return False
        if [copied.shape for copied in self.tensors] != [value.shape for value in values]:
            return False
        with torch.no_grad():
            torch._foreach_copy_(self.tensors, values)
        for own, other, key in self.settings:
            other[key] = own[key]
        return True


def _owned(parts: list[nn.Module]) -> list[dict[str, Any]]:
    return [owned for part in parts for owned in (part._parameters, part._buffers) if owned]


def _values(parts: list[nn.Module]) -> list[Tensor]:
    return [value for owned in _owned(parts) for value in owned.values() if value is not None]
