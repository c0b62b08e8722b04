"""Parameters that take a name or a small parameter object: ``measure="kl"`` or ``measure=KL(bound=5)``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils._param_validation import Interval

# A layer that is wider is a slip of the pen: with it, weights of any other layer would fill the memory.
MAX_SIZE = 2**20


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
        remedy = ""
        if isinstance(value, type) and hasattr(value, method):
            remedy = f" Pass an object of this class, such as {value.__name__}()."
        elif method == "build" and hasattr(value, "forward"):
            remedy = " A module of torch is what build() returns; the page Extending of the user guide has both."
        raise TypeError(
            f"{parameter} must be a name ({', '.join(map(repr, sorted(registry)))}) or an object with a {method}() "
            f"method, got {value!r}.{remedy}"
        )
    component = clone(value, safe=False)
    if hasattr(component, "_parameter_constraints"):
        component._validate_params()
    return component


@contextmanager
def fitting_into_memory(what: str) -> Iterator[None]:
    """Say what did not fit into memory, while modules are built."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise ValueError(f"{what} does not fit into memory: {error}. Make its layers narrower.") from error


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


class _Size(Interval):
    """A positive integer that a layer can have as its width, of any type but no truth value."""

    def __init__(self) -> None:
        super().__init__(Integral, 1, MAX_SIZE, closed="both")

    def is_satisfied_by(self, val: Any) -> bool:
        return not isinstance(val, (bool, np.bool_)) and bool(super().is_satisfied_by(val))


class _Sizes(_Size):
    """A sequence of them."""

    def is_satisfied_by(self, val: Any) -> bool:
        is_sequence = isinstance(val, (Sequence, np.ndarray)) and getattr(val, "ndim", 1) == 1
        return is_sequence and all(_Size.is_satisfied_by(self, each) for each in val)

    def __str__(self) -> str:
        return f"a sequence of positive ints up to {MAX_SIZE}"


# Constraints of parameters in the manner of scikit-learn, whose ``_validate_params`` reads ``_parameter_constraints``.
SIZE, SIZES = _Size(), _Sizes()
DROPOUT = Interval(Real, 0, 1, closed="left")
ABOVE_ZERO = Interval(Real, 0, None, closed="neither")
NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
