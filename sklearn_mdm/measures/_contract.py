"""Whether a measure keeps the contract of :class:`Measure`: asked once, so that one's own fails with a clear error."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..critic._negatives import offset_indices
from ..utils._parameter_objects import fitting_into_memory
from ..utils._rng import RandomStream, drawing_from
from ..utils._splits import fewest_rows
from ._base import Measure


def stacks(measure: Measure) -> bool:
    """Whether it measures several members at once: T (K, n) gives values (K,), with a critic of K members.

    Its class says so in its own body, by ``member_axis = True``: a subclass may do what only works for one.
    """
    return bool(vars(type(measure)).get("member_axis", False))


def build_checked_critic(measure: Measure, code_dims: Sequence[int], *args: Any, **parameters: Any) -> nn.Module:
    """Build the critic of a measure, and try both on a few rows; see :meth:`Measure.build_critic`.

    The trial draws no number that anything else would get, and nothing remembers it.

    Raises
    ------
    TypeError
        If the measure breaks the contract: by a wrong signature, no module, or no scalar tensor as a value.
    """
    _check_signature(measure.build_critic, code_dims, *args, **parameters)
    with fitting_into_memory(f"the critic of {type(measure).__name__}, whose widths hidden_dims gives,"):
        critic = measure.build_critic(code_dims, *args, **parameters)
    if not isinstance(critic, nn.Module):
        raise TypeError(f"{_name(measure.build_critic)} must return a torch module, got {critic!r}.")
    modes, like = {part: part.training for part in critic.modules()}, next(critic.parameters(), torch.empty(0))
    n, generator = fewest_rows(len(code_dims)), torch.Generator().manual_seed(0)
    index = offset_indices(n, len(code_dims), 1, generator).to(like.device)
    rows = [torch.randn(n, width, dtype=torch.float32, generator=generator).to(like) for width in code_dims]
    with drawing_from(RandomStream(0)), torch.enable_grad():
        critic.eval()
        for method in (measure.critic_objective, measure.value):
            value = _tried(method, critic, rows, index)
            if not isinstance(value, Tensor) or value.dim():
                found = f"one of shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
                raise TypeError(f"{_name(method)} must return a scalar tensor, of shape (), got {found}.")
    for part, training in modes.items():
        part.training = training
    return critic


def _check_signature(method: Callable, *args: Any, **parameters: Any) -> None:
    try:
        inspect.signature(method).bind(*args, **parameters)
    except TypeError as error:
        expected = ", ".join(list(inspect.signature(getattr(Measure, method.__name__)).parameters)[1:])
        raise TypeError(f"{_name(method)} takes ({expected}): {error}.") from None


def _tried(method: Callable, *args: Any) -> Any:
    _check_signature(method, *args)
    try:
        return method(*args)
    except NotImplementedError:
        raise  # which says what is wrong
    except ValueError as error:  # of a parameter, or of a computation
        raise ValueError(f"{_name(method)}: {error}") from error
    except Exception as error:
        raise TypeError(f"{_name(method)} breaks the contract of sklearn_mdm.measures.Measure: {error}") from error


def _name(method: Callable) -> str:
    return f"{type(method.__self__).__name__}.{method.__name__}"  # type: ignore[attr-defined]
