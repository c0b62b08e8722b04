"""Agreement between subsets of the modalities: what is predicted from all of them teaches what some predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ._data import Batch

# Probability that a modality is kept in what is taught, and that of its class from which on a prediction teaches.
KEPT, SURE = 0.5, 0.8


def agreement_losses(criterion: Any, taught: Tensor, teacher: Tensor, y: Tensor) -> Tensor:
    """Loss of predictions from some modalities against those from all, (n, n_outputs) each: (n,).

    Classes, which the targets y are then, are taught where the teacher is sure, and as if they were labels; numbers
    everywhere (FixMatch, Sohn et al. 2020, with missing modalities as what makes a sample hard).
    """
    if y.is_floating_point() or teacher.shape[1] == 1:
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
    noise = noise.to(seen.device)
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
