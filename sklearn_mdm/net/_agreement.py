"""Agreement between subsets of the modalities: what is predicted from all of them teaches what some predict.

Samples without a target are made harder for what is taught, and for the dependency term: some of their cells are those
of other samples (SCARF, Bahri et al. 2022).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..utils._rng import bernoulli_like
from ._data import Batch

# Probability that a modality is kept in what is taught, and that of its class from which on a prediction teaches.
KEPT, SURE = 0.5, 0.8
# Share of the cells that are taken from other samples.
CORRUPTED = 0.3
# What a batch adds to the running means of the probabilities of the classes.
MOMENTUM = 0.02


def agreement_losses(criterion: Any, taught: Tensor, teacher: Tensor, *, classes: bool) -> Tensor:
    """Loss of predictions from some modalities against those from all, (n, n_outputs) each: (n,).

    Classes are taught where the teacher is sure, and as if they were labels; numbers everywhere (FixMatch, Sohn et al.
    2020, with missing modalities as what makes a sample hard).
    """
    if not classes:
        losses = criterion(taught, teacher)
        return losses.flatten(1).mean(1) if losses.dim() > 1 else losses
    probability, label = teacher.softmax(-1).max(-1)
    return criterion(taught, label) * (probability > SURE)


def class_shares(y: Tensor, n_classes: int) -> Tensor:
    """Share of each class among labels, (n_classes,), as if every class had one label more."""
    counts = torch.bincount(y, minlength=n_classes) + 1
    return counts / counts.sum()


def aligned(teacher: Tensor, means: Tensor | None, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Tilt predictions (n, n_classes) so that classes are as frequent as among labels; with few, one would take over.

    Returns them, and the running mean of the probabilities (distribution alignment, Berthelot et al. 2020).
    """
    now = teacher.softmax(-1).mean(0)
    means = now if means is None else torch.lerp(means, now, MOMENTUM)
    return teacher + (shares.to(means) / means).log(), means


def corrupted(batch: Batch, axis: int = 0) -> Batch:
    """Take cells of each modality from other samples, which lie along this axis in random order."""
    X = {}
    for j, (name, x) in enumerate(batch.X.items(), start=1):
        X[name] = torch.where(bernoulli_like(x, CORRUPTED).bool(), x.roll(j, axis), x)
    return Batch(X, batch.mask, batch.complete, batch.weight)
