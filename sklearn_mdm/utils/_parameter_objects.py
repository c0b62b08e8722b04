"""Parameters that take a name or a small parameter object: ``measure="kl"`` or ``measure=KL(bound=5)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import clone


def resolve_component(parameter: str, value: Any, registry: Mapping[str, type], method: str) -> Any:
    """Return a fresh parameter object for a name in the registry, or a clone of an object that has the method."""
    if isinstance(value, str):
        if value not in registry:
            raise ValueError(
                f"{parameter}={value!r} is not known. Use one of {sorted(registry)}, or an object such as "
                f"{next(iter(registry.values())).__name__}()."
            )
        return registry[value]()
    if isinstance(value, type) or not hasattr(value, method):
        raise TypeError(
            f"{parameter} must be a name ({', '.join(map(repr, sorted(registry)))}) or an object with a {method}() "
            f"method, got {value!r}."
        )
    return clone(value, safe=False)


def check_nested(estimator: Any, params: Mapping[str, Any], registries: Mapping[str, Mapping[str, type]]) -> None:
    """Raise if one of ``params``, passed to ``set_params``, is ``parameter__...`` and the parameter is no object."""
    for parent, registry in registries.items():
        value = params.get(parent, getattr(estimator, parent))
        nested = [key.partition("__")[2] for key in params if key.startswith(parent + "__")]
        if nested and not hasattr(value, "set_params"):
            cls = (registry.get(value) if isinstance(value, str) else None) or next(iter(registry.values()))
            raise ValueError(
                f"{', '.join(f'{parent}__{key}' for key in nested)} cannot be set while {parent}={value!r} is not a "
                f"parameter object. Pass one instead: {parent}={cls.__name__}({', '.join(f'{k}=...' for k in nested)})."
            )


def check_sizes(owner: Any, *parameters: str) -> None:
    """Reject parameters of ``owner``, widths or sequences of widths, that are not positive integers."""
    for name in parameters:
        value = getattr(owner, name)
        widths = np.atleast_1d(value)
        if widths.size and (widths.dtype.kind not in "iu" or (widths < 1).any()):
            raise ValueError(f"{type(owner).__name__} needs positive {name}, got {value!r}.")
