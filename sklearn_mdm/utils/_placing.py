"""Numbers on a device that nobody waits for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


def placed(x: Tensor, device: torch.device | str) -> Tensor:
    """Return a tensor on a device, or on its way to a GPU: memory that is not pinned is read before the call ends."""
    return x.to(device, non_blocking=torch.device(device).type == "cuda")


def constant(values: Sequence[float], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor (n_values,) on the device of another, of its type or another one; it is not to be written to.

    It is made once: to make one on a GPU waits for the GPU.
    """
    return _constant(tuple(values), like.dtype if dtype is None else dtype, like.device)


@lru_cache(maxsize=1024)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
