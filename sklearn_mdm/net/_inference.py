"""Applying a fitted net to data, in double precision where that is cheap."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from ..inputs._observed import Observed
from ..utils._isolation import isolated
from ..utils._threads import threads_for
from ._data import Batch

__all__: list[str] = []

# Large enough to keep matrix products busy, small enough for the activations of wide systems.
ROWS_PER_BATCH = 1024
# The same for sequences, of which recurrent systems keep every step.
STEPS_PER_BATCH = 16_384

# From X, as it was observed, to what the net reads, in a floating type.
ToBatch = Callable[[Observed, torch.dtype], Batch]

# What is kept of modules that are in use: making a copy in double precision takes longer than a pass of a few rows.
_copies: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()


@isolated()
def evaluate(net: Any, X: Observed, to_batch: ToBatch, output: Literal["prediction", "fused"]) -> np.ndarray:
    """Outputs of the module for X, (n, n_outputs), or its fused representations, (n, k)."""
    values = (getattr(module(batch.X, batch.mask), output) for module, batch in _batches(net, X, None, to_batch))
    return _joined(values, len(X))


@isolated()
def represent(net: Any, X: Observed, to_batch: ToBatch, rows: np.ndarray | None = None) -> list[np.ndarray]:
    """Representation (n, k_m) of each modality of X, or of some rows of it."""
    batches = _batches(net, X, rows, to_batch)
    widths = list(net.fusion_module_.code_dims.values())
    values = (torch.cat(list(module.represent(batch.X, batch.mask).values()), dim=1) for module, batch in batches)
    joined = _joined(values, len(X) if rows is None else len(rows))
    return np.split(joined, np.cumsum(widths)[:-1], axis=1)


def _batches(net: Any, X: Observed, rows: np.ndarray | None, to_batch: ToBatch) -> Iterator[tuple[Any, Batch]]:
    """Yield the module in evaluation mode with each batch.

    In single precision the last digits of a row depend on how many rows are multiplied with it. On the CPU the module
    is therefore applied in double precision, on a copy, since other threads may be using it. Those that ask for single
    precision are large, and their weights are no finer.
    """
    module, dtype, on_cpu = net.fusion_module_, net.dtype, str(net.device) == "cpu"
    if on_cpu and dtype != torch.float64 and not getattr(module, "single_precision", False):
        module, dtype = _double(module), torch.float64
    if module.training:
        module.eval()
    size = max(1, min(ROWS_PER_BATCH, STEPS_PER_BATCH // max(X.n_steps, 1)))
    n_rows = min(len(X) if rows is None else len(rows), size) * X.n_steps
    with torch.no_grad(), threads_for([module], n_rows):
        for part in X.batches(size, rows):
            batch = to_batch(part, dtype)
            yield module, batch if on_cpu else batch.to(net.device)


def _double(module: nn.Module) -> nn.Module:
    """Return a copy in double precision, with the values of the module as they are now."""
    double = _copies.get(module)
    if double is not None:
        values = [*module.parameters(), *module.buffers()]
        copies = [*double.parameters(), *double.buffers()]
        if [copied.shape for copied in copies] == [value.shape for value in values]:
            with torch.no_grad():
                torch._foreach_copy_(copies, values)
            return double
    double = _copies[module] = copy.deepcopy(module).double().eval().requires_grad_(False)
    return double


def _joined(batches: Iterable[Tensor], n: int) -> np.ndarray:
    """Batches under each other, in double precision."""
    joined, start = np.empty((0, 0)), 0
    for batch in batches:
        if not start:
            joined = np.empty((n, batch.shape[1]))
        joined[start : start + len(batch)] = batch.cpu().numpy()
        start += len(batch)
    return joined
