"""Applying a fitted net to data, in double precision where that is cheap."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from ..utils._threads import one_thread_if_small
from ._data import Batch, BatchIterator, MaskedDataset

__all__: list[str] = []

# Large enough to keep matrix products busy, small enough for the activations of wide systems.
ROWS_PER_BATCH = 1024
# The same for sequences, of which recurrent systems keep every step.
STEPS_PER_BATCH = 16_384


def predict_and_fuse(net: Any, X: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Prediction (n, n_outputs) and fused representation (n, k) of X."""
    outputs = [module(batch.X, batch.mask) for module, batch in _batches(net, X)]
    return _to_array([o.prediction for o in outputs]), _to_array([o.fused for o in outputs])


def represent(net: Any, X: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Code (n, k_m) of each modality of X."""
    outputs = [list(module.represent(batch.X, batch.mask).values()) for module, batch in _batches(net, X)]
    return [_to_array(list(codes)) for codes in zip(*outputs, strict=True)]


def _batches(net: Any, X: Mapping[str, np.ndarray]) -> Iterator[tuple[Any, Batch]]:
    """Yield the module in evaluation mode with each batch.

    In single precision the last digits of a row depend on how many rows are multiplied with it. On the CPU the module
    is therefore applied in double precision, on a copy, since other threads may be using it. Those that ask for single
    precision are large, and their weights are no finer.
    """
    module, dtype, on_cpu = net.module_, net.dtype, str(net.device) == "cpu"
    if on_cpu and dtype != torch.float64 and not getattr(module, "single_precision", False):
        module, dtype = copy.deepcopy(module).double(), torch.float64
    module.eval()
    longest = max(math.prod(array.shape[1:-1]) for array in X.values())
    size = max(1, min(ROWS_PER_BATCH, STEPS_PER_BATCH // max(longest, 1)))
    n_rows = max(min(len(array), size) * math.prod(array.shape[1:-1]) for array in X.values())
    with torch.no_grad(), one_thread_if_small([module], n_rows):
        for batch, _ in BatchIterator(MaskedDataset(X, dtype=dtype), batch_size=size):
            yield module, batch if on_cpu else batch.to(net.device)


def _to_array(tensors: list[torch.Tensor]) -> np.ndarray:
    return torch.cat(tensors).cpu().double().numpy()
