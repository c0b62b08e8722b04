"""Agreement between subsets of the modalities: what is predicted from all of them teaches what some predict."""

from __future__ import annotations

from typing import Any

from torch import Tensor

# Probability that a modality is kept in what is taught, and that of its class from which on a prediction teaches.
KEPT, SURE = 0.5, 0.8


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
