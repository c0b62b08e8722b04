"""Where a net is trained, if nobody says: on a GPU, unless it takes longer there."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..net._step_graphs import has_fixed_work

# Rows, times their steps, below which a training is over before a GPU is ahead: a few batches in all.
FEWEST_ROWS = 300
# Parameters times rows (and steps) of a batch from which on a step that is made kernel by kernel takes less time on a
# GPU: of all members; with the term, whose kernels are many, of one of them. A step that is a graph does in any case.
LARGE = 1e7


def pays_on_gpu(
    module: nn.Module, critic: nn.Module | None, *, n: int, size: int, members: int, fixed: bool, term: bool
) -> bool:
    """Whether training a module takes less time on a GPU, up to a fifth.

    Parameters
    ----------
    module : nn.Module
        What is trained, of one member.
    critic : nn.Module or None
        The critic, if there is one.
    n : int
        Rows of the training data, times the steps of the longest sequence.
    size : int
        Rows of a batch of one member, times steps.
    members : int
        Number of members.
    fixed : bool
        Whether steps of as many rows are the same work, so that they can be a graph, if parts of the net allow it.
    term : bool
        Whether there is a dependency term.
    """
    work = size * sum(parameter.numel() for parameter in module.parameters())
    if work * (1 if term else members) >= LARGE:
        return True
    parts = [module] if critic is None or not term else [module, critic]
    return n >= FEWEST_ROWS and fixed and all(map(has_fixed_work, parts))


def resolve_device(wanted: str | torch.device) -> str | None:
    """Return the device that is meant; None if any is, and there is a GPU.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    if wanted == "auto":
        return None if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device).cpu()  # some have a name alone, or no numbers
    except Exception as error:  # a type for every kind of device
        found: list[Any] = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        found += ["mps"] if torch.backends.mps.is_available() else []
        raise ValueError(
            f"device={str(wanted)!r} is not there, or holds no numbers: torch finds {', '.join(found)}. Use one of "
            'these, or "auto", which takes what is faster of what there is.'
        ) from error
    return "cpu" if device.type == "cpu" else str(device)
