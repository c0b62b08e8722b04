"""Weights of what predicts in a committee: its groups of networks, and linear models on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..encoders._mlp import mean_and_std
from ..net._data import Batch
from ._linear_member import LinearMember

# Numbers of inputs from which on a linear member does not pay: its solvers take longer than the networks.
MAX_INPUTS, MAX_DESIGN = 5_000, 2 * 10**7

# Averages runs of outputs, which begin at ``starts``, by weights (n, 1) that add up to one in each run.
AverageOutputs = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Blend:
    """Linear members, one for each group of networks, and the weights of all groups, then of all linear members."""

    linear: list[LinearMember]
    weights: np.ndarray


def design_of(batch: Batch) -> np.ndarray:
    """Inputs side by side, (n, n_columns): sequences as mean and standard deviation, what was not observed as zeros."""
    columns = []
    for name, x in batch.X.items():
        if x.dim() == 3:
            mask = None if batch.mask is None else batch.mask[name]
            pooled = mean_and_std(x if mask is None else torch.where(mask[..., None], x, 0), mask)
            pooled[:, x.shape[2] :] -= 1  # the standard deviation of all steps
            x = pooled
        columns.append(x.numpy())
    return np.concatenate(columns, axis=1)


def width_of(batch: Batch) -> int:
    """Number of columns of the design."""
    return sum(x.shape[-1] * (x.dim() - 1) for x in batch.X.values())


def weighted(outputs: Sequence[np.ndarray], weights: np.ndarray, average: AverageOutputs) -> np.ndarray:
    """Average outputs (n, n_outputs) of groups by their weights, in each row over those that are not NaN there."""
    stacked = np.stack(outputs, axis=1)  # (n, n_groups, n_outputs)
    known = np.isfinite(stacked).all(axis=2)
    share = np.where(known, weights, 0.0)
    # Where only groups without weight speak, they do so evenly.
    share = np.where(share.sum(1, keepdims=True) > 0, share, known)
    there = share > 0
    rows = np.flatnonzero(there.any(axis=1))
    result = np.full((len(stacked), stacked.shape[2]), np.nan)
    if len(rows):
        share = (share / np.maximum(share.sum(1, keepdims=True), np.finfo(float).tiny))[there]
        starts = np.r_[0, np.cumsum(there[rows].sum(1))[:-1]]
        result[rows] = average(stacked[there], share[:, None], starts)
    return result
