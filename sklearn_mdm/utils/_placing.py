"""Tensors on their way to a device."""

from __future__ import annotations

import torch
from torch import Tensor


def placed(x: Tensor, device: torch.device | str) -> Tensor:
    """Return a tensor on a device, or on its way to a GPU: memory that is not pinned is read before the call ends."""
    return x.to(device, non_blocking=torch.device(device).type == "cuda")
