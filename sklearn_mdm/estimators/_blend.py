"""Weights of what predicts in a committee: its groups of networks, and models beside them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ..encoders._mlp import mean_and_std
from ..net._data import Batch
from ._views import View

# Columns, and numbers, of inputs from which on models beside the networks do not pay: their solvers take longer.
MAX_INPUTS, MAX_NUMBERS = 5_000, 2 * 10**7
# Samples up to which a kernel member pays, which compares all with all.
MAX_KERNEL_ROWS = 4_000

# Samples held out that a critic completed, from which on these have weights of their own; those of fewer follow chance.
MIN_COMPLETED = 100

# Averages runs of outputs, which begin at ``starts``, by weights (n, 1) that add up to one in each run.
AverageOutputs = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Model(Protocol):
    """A model beside the networks."""

    oof: np.ndarray

    def outputs(self, views: Sequence[View]) -> np.ndarray:
        """Predictions (n_samples, n_outputs), log-probabilities of a classifier."""


@dataclass(frozen=True, eq=False)
class Blend:
    """Models beside the networks, by name, and the weights of all groups of networks, then of these models.

    ``learned_of_completed`` are those where networks read what a critic completed, as models beside them do not, if
    enough samples held out were such.
    """

    models: dict[str, Model]
    weights: np.ndarray
    learned_of_completed: np.ndarray | None = None

    @property
    def weights_of_completed(self) -> np.ndarray:
        """Weights where networks read what a critic completed: those learned, or else half is the networks'."""
        if self.learned_of_completed is not None:
            return self.learned_of_completed
        n_groups = len(self.weights) - len(self.models)
        own = np.zeros(len(self.weights))
        own[:n_groups] = self.weights[:n_groups] if self.weights[:n_groups].any() else 1.0
        return (self.weights + own / own.sum()) / 2

    def outputs(self, batch: Batch, wanted: Collection[str]) -> list[np.ndarray]:
        """What models of these names predict."""
        views = views_of(batch)
        return [model.outputs(views) for name, model in self.models.items() if name in wanted]


def views_of(batch: Batch) -> list[View]:
    """Inputs of each modality: sequences as mean and standard deviation, what was not observed as zeros."""
    views = []
    for name, x in batch.X.items():
        mask = None if batch.mask is None else batch.mask[name]
        if x.dim() == 3:
            pooled = mean_and_std(x if mask is None else torch.where(mask[..., None], x, 0), mask)
            pooled[:, x.shape[2] :] -= 1  # the standard deviation of all steps
            x, mask = pooled, None if mask is None else mask.any(dim=1)
        views.append(View(x.numpy(), None if mask is None or mask.all() else mask.numpy()))
    return views


def width_of(batch: Batch) -> int:
    """Number of columns of all views."""
    return sum(x.shape[-1] * (x.dim() - 1) for x in batch.X.values())


def weighted(outputs: Sequence[np.ndarray], weights: np.ndarray, average: AverageOutputs) -> np.ndarray:
    """Average outputs (n, n_outputs) of groups by their weights, in each row over those that are not NaN there."""
    stacked = np.stack(outputs, axis=1)
    n, n_groups, n_outputs = stacked.shape
    if n and np.all(weights > 0) and np.isfinite(stacked).all():
        share = np.tile(weights / weights.sum(), n)
        return average(stacked.reshape(-1, n_outputs), share[:, None], np.arange(0, n * n_groups, n_groups))
    known = np.isfinite(stacked).all(axis=2)
    share = np.where(known, weights, 0.0)
    # Where only groups without weight speak, they do so evenly.
    share = np.where(share.sum(1, keepdims=True) > 0, share, known)
    there = share > 0
    rows = np.flatnonzero(there.any(axis=1))
    result = np.full((n, n_outputs), np.nan)
    if len(rows):
        share = (share / np.maximum(share.sum(1, keepdims=True), np.finfo(float).tiny))[there]
        starts = np.r_[0, np.cumsum(there[rows].sum(1))[:-1]]
        result[rows] = average(stacked[there], share[:, None], starts)
    return result
