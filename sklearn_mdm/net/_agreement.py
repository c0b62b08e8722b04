"""Agreement between subsets of the modalities: what is predicted from all of them teaches what some predict.

Samples without a target are made harder for what is taught, and for the dependency term: some of their cells are those
of other samples (SCARF, Bahri et al. 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..utils._placing import placed
from ..utils._rng import bernoulli_like
from ._data import Batch

# Probability that a modality is kept in what is taught, and that of its class from which on a prediction teaches.
KEPT, SURE = 0.5, 0.8
# Share of the cells that are taken from other samples.
CORRUPTED = 0.3
# What a batch adds to the running means of the probabilities of the classes.
MOMENTUM = 0.02


def are_classes(y: Tensor, prediction: Tensor) -> bool:
    """Whether targets are classes, of which predictions are logits."""
    return not y.is_floating_point() and prediction.shape[-1] > 1


def agreement_losses(criterion: Any, taught: Tensor, teacher: Tensor, y: Tensor) -> Tensor:
    """Loss of predictions from some modalities against those from all, (n, n_outputs) each: (n,).

    Classes, which the targets y are then, are taught where the teacher is sure, and as if they were labels; numbers
    everywhere (FixMatch, Sohn et al. 2020, with missing modalities as what makes a sample hard).
    """
    if not are_classes(y, teacher):
        # What makes up for entries without a label has nothing to make up for here.
        losses = getattr(criterion, "of_complete", criterion)(taught, teacher)
        return losses.flatten(1).mean(1) if losses.dim() > 1 else losses
    probability, label = teacher.softmax(-1).max(-1)
    losses = criterion(taught, label)
    if losses.dim() == 0:
        raise ValueError(
            "agreement leaves out samples whose class is not sure, and needs the loss of each: pass "
            'criterion__reduction="none" (or agreement=0).'
        )
    return losses * (probability > SURE)


def without_some(batch: Batch, noise: Tensor, rate: float) -> dict[Any, Tensor]:
    """Masks of a batch without the modalities whose noise, (n_modalities, *rows) between 0 and 1, is below a rate."""
    n_axes = noise.dim() - 1
    there = batch.mask or {name: x.new_ones(x.shape[:-1], dtype=torch.bool) for name, x in batch.X.items()}
    seen = torch.stack([there[name] if there[name].dim() == n_axes else there[name].any(-1) for name in batch.X])
    noise = placed(noise, seen.device)
    kept = seen & (noise >= rate)
    # A sample that would lose everything keeps the observed modality with the largest draw.
    last = torch.zeros_like(seen).scatter_(0, torch.where(seen, noise, -1.0).argmax(0, keepdim=True), True)
    kept |= seen & last & ~kept.any(0)
    return {
        name: there[name] & (keep if there[name].dim() == n_axes else keep[..., None])
        for name, keep in zip(batch.X, kept, strict=True)
    }


def one_below_other(parts: Sequence[Mapping[Any, Tensor]], axis: int = 0) -> dict[Any, Tensor]:
    """Join tensors of the same names, for one pass through a module instead of several."""
    return {name: torch.cat([part[name] for part in parts], axis) for name in parts[0]}


def class_shares(y: Tensor, n_classes: int) -> Tensor:
    """Share of each class among labels, (n_classes,), as if every class had one label more."""
    counts = torch.bincount(y, minlength=n_classes) + 1
    return counts / counts.sum()


def aligned(teacher: Tensor, means: Tensor | None, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Tilt predictions (n, n_classes) so that classes are as frequent as among labels; with few, one would take over.

    Returns them, and the running mean of the probabilities (distribution alignment, Berthelot et al. 2020).
    """
    now = teacher.softmax(-1).mean(0)
    means = now if means is None else torch.lerp(means.to(now), now, MOMENTUM)
    return teacher + (shares.to(means) / means.clamp_min(torch.finfo(means.dtype).tiny)).log(), means


def corrupted(batch: Batch, axis: int = 0) -> Batch:
    """Take cells of each modality from other samples, which lie along this axis in random order."""
    X = {}
    for j, (name, x) in enumerate(batch.X.items(), start=1):
        X[name] = torch.where(bernoulli_like(x, CORRUPTED).bool(), x.roll(j, axis), x)
    return Batch(X, batch.mask, batch.complete, batch.weight)


def agreed(net: Any, task: Tensor, batch: Batch, y: Tensor, pool: Batch, spoiled: Batch) -> Tensor:
    """Task loss with all and with some modalities, and the agreement between them where no target is needed."""
    with torch.no_grad():
        net.module_.eval()
        teacher = balanced(net, net.module_(pool.X, pool.mask).prediction)
        net.module_.train()
    with net._drawing("taught"):
        masks = [net._without_some(part, 1 - KEPT, "agreement") for part in (batch, spoiled)]
        X, mask = one_below_other((batch.X, spoiled.X)), one_below_other(masks)
        some, taught = net.module_(X, mask).prediction.split([len(batch), len(spoiled)])
        task = (task + net.get_loss(some, y, X=batch, training=True)) / 2
    return task + net.agreement * agreement_losses(net.criterion_, taught, teacher, y).mean()


def balanced(net: Any, teacher: Tensor) -> Tensor:
    """Predictions on samples without a target, of classes as frequent as those with one."""
    if not are_classes(net.y_, teacher):
        return teacher
    if net.shares_ is None:
        net.shares_ = class_shares(net.y_, teacher.shape[1])
    teacher, means = aligned(teacher, net.mean_probability_, net.shares_)
    if net.mean_probability_ is None or net.mean_probability_.device != means.device:
        net.mean_probability_ = means
    else:
        net.mean_probability_.copy_(means)  # a graph of the step reads it where it is
    return teacher
