"""Applying a fitted net to data, in double precision where that is cheap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..inputs._observed import Observed
from ..utils._isolation import isolated
from ..utils._threads import threads_for
from ._copies import copy_of
from ._data import Batch

# Large enough to keep matrix products busy, small enough for the activations of wide systems.
ROWS_PER_BATCH = 1024
# The same for sequences, of which recurrent systems keep every step.
STEPS_PER_BATCH = 16_384

# From X, as it was observed, to what the net reads, in a floating type.
ToBatch = Callable[[Observed, torch.dtype], Batch]
# Arrays (n, n_columns) made of a batch that is not on a GPU.
Beside = Callable[[Batch], Sequence[np.ndarray]]


@isolated()
def evaluate(
    net: Any,
    X: Observed,
    to_batch: ToBatch,
    output: Literal["prediction", "fused"],
    rows: np.ndarray | None = None,
    *,
    beside: Beside | None = None,
) -> np.ndarray:
    """Outputs of the module for X, or some rows of it, (n, n_outputs), or its fused representations, (n, k).

    ``beside`` may make more columns of the batches that the module reads.
    """
    return _apply(net, X, rows, to_batch, lambda module, batch: getattr(module(batch.X, batch.mask), output), beside)


@isolated()
def represent(net: Any, X: Observed, to_batch: ToBatch, rows: np.ndarray | None = None) -> list[np.ndarray]:
    """Representation (n, k_m) of each modality of X, or of some rows of it."""

    def side_by_side(module: Any, batch: Batch) -> Tensor:
        return torch.cat(list(module.represent(batch.X, batch.mask).values()), dim=1)

    widths = list(net.fusion_module_.code_dims.values())
    return np.split(_apply(net, X, rows, to_batch, side_by_side), np.cumsum(widths)[:-1], axis=1)


@isolated()
def fuse(net: Any, z: Sequence[np.ndarray], output: Literal["prediction", "fused"]) -> np.ndarray:
    """Outputs (n, n_outputs) of a module that has ``from_representations``, from those (n, k_m) of each modality."""
    module, dtype = _applicable(net)
    results, n = [], len(z[0])
    with torch.no_grad(), threads_for([module], min(n, ROWS_PER_BATCH)):
        for start in range(0, n, ROWS_PER_BATCH):
            rows = slice(start, start + ROWS_PER_BATCH)
            parts = (torch.as_tensor(part[rows], dtype=dtype, device=net.device) for part in z)
            values = getattr(module.from_representations(dict(zip(module.code_dims, parts, strict=True))), output)
            results.append(values.double().cpu().numpy())
    return np.concatenate(results)


def _apply(
    net: Any,
    X: Observed,
    rows: np.ndarray | None,
    to_batch: ToBatch,
    function: Callable[[Any, Batch], Tensor],
    beside: Beside | None = None,
) -> np.ndarray:
    """Results of a function of the module, in evaluation mode, and of each batch, under each other."""
    module, dtype = _applicable(net)
    n, on_cpu = len(X) if rows is None else len(rows), str(net.device) == "cpu"
    size = max(1, min(ROWS_PER_BATCH, STEPS_PER_BATCH // max(X.n_steps, 1)))
    results, start = np.empty((n, 0)), 0
    with torch.no_grad(), threads_for([module], min(n, size) * X.n_steps):
        for part in X.batches(size, rows):
            batch = to_batch(part, dtype)
            values = function(module, batch if on_cpu else batch.to(net.device)).cpu().numpy()
            if beside is not None:
                values = np.concatenate([values, *beside(batch)], axis=1)
            if not start:
                results = np.empty((n, values.shape[1]))
            results[start : start + len(values)] = values
            start += len(values)
    return results


def _applicable(net: Any) -> tuple[Any, torch.dtype]:
    """Return the module in evaluation mode, and the floating type in which it is applied.

    In single precision the last digits of a row depend on how many rows are multiplied with it. On the CPU the module
    is therefore applied in double precision, on a copy, since other threads may be using it. Those that ask for single
    precision are large, and their weights are no finer. What computes all members of a committee as one is a copy, too.
    """
    module, dtype, on_cpu = net.fusion_module_, net.dtype, str(net.device) == "cpu"
    if on_cpu and not getattr(module, "single_precision", False):
        copied = copy_of(module, single=dtype != torch.float64)
        if copied is not None:
            return copied, torch.float64
    if module.training:
        module.eval()
    return module, dtype
