"""Applying a fitted net to data, in double precision where that is cheap."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from ..inputs._observed import Observed
from ..utils._threads import one_thread_if_small
from ._data import Batch

__all__: list[str] = []

# Large enough to keep matrix products busy, small enough for the activations of wide systems.
ROWS_PER_BATCH = 1024
# The same for sequences, of which recurrent systems keep every step.
STEPS_PER_BATCH = 16_384

# From X, as it was observed, to what the net reads, in a floating type.
ToBatch = Callable[[Observed, torch.dtype], Batch]

# Copies in double precision of modules that are in use: making one takes longer than a pass of a few rows.
_doubles: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


def predict_and_fuse(net: Any, X: Observed, to_batch: ToBatch) -> tuple[np.ndarray, np.ndarray]:
    """Prediction (n, n_outputs) and fused representation (n, k) of X."""
    outputs = [module(batch.X, batch.mask) for module, batch in _batches(net, X, None, to_batch)]
    return _to_array([o.prediction for o in outputs]), _to_array([o.fused for o in outputs])


def represent(net: Any, X: Observed, to_batch: ToBatch, rows: np.ndarray | None = None) -> list[np.ndarray]:
    """Representation (n, k_m) of each modality of X, or of some rows of it."""
    outputs = [
        list(module.represent(batch.X, batch.mask).values()) for module, batch in _batches(net, X, rows, to_batch)
    ]
    return [_to_array(list(z)) for z in zip(*outputs, strict=True)]


def _batches(net: Any, X: Observed, rows: np.ndarray | None, to_batch: ToBatch) -> Iterator[tuple[Any, Batch]]:
    """Yield the module in evaluation mode with each batch.

    In single precision the last digits of a row depend on how many rows are multiplied with it. On the CPU the module
    is therefore applied in double precision, on a copy, since other threads may be using it. Those that ask for single
    precision are large, and their weights are no finer.
    """
    module, dtype, on_cpu = net.fusion_module_, net.dtype, str(net.device) == "cpu"
    if on_cpu and dtype != torch.float64 and not getattr(module, "single_precision", False):
        module, dtype = _double(module), torch.float64
    module.eval()
    size = max(1, min(ROWS_PER_BATCH, STEPS_PER_BATCH // max(X.n_steps, 1)))
    n_rows = min(len(X) if rows is None else len(rows), size) * X.n_steps
    with torch.no_grad(), one_thread_if_small([module], n_rows):
        for part in X.batches(size, rows):
            batch = to_batch(part, dtype)
            yield module, batch if on_cpu else batch.to(net.device)


def _double(module: nn.Module) -> nn.Module:
    """Return a copy in double precision, with the values of the module as they are now."""
    values = [*module.parameters(), *module.buffers()]
    double = _doubles.get(module)
    copies = [] if double is None else [*double.parameters(), *double.buffers()]
    if double is None or [value.shape for value in copies] != [value.shape for value in values]:
        double = _doubles[module] = copy.deepcopy(module).double()
    else:
        with torch.no_grad():
            torch._foreach_copy_(copies, values)
    return double


def _to_array(tensors: list[Tensor]) -> np.ndarray:
    return torch.cat(tensors).cpu().double().numpy()
