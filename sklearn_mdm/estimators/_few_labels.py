"""What differs where some samples lack a label."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..net._net import FEWEST_BATCHES

# Labels of the rarest class below which none is held out, as to learn from all is worth more than to choose by a few,
# and updates of the networks then.
FEW_LABELS, UPDATES = 30, 800
MAX_EPOCHS = UPDATES // FEWEST_BATCHES

# Models beside the networks that read labelled samples alone: they count as one where nothing tells their worth.
_LABELLED_ONLY = ("linear", "kernel")


def are_few(y: np.ndarray, n_classes: int) -> bool:
    """Whether these labels of classes are too few to hold any out."""
    return int(np.bincount(y, minlength=n_classes).min()) < FEW_LABELS


def fixed_weights(n_networks: int, models: Collection[str]) -> np.ndarray:
    """Weights of groups of networks, then of models beside them, where nothing was held out.

    Networks, models of labelled samples, and those of all samples have a third each.
    """
    kinds = ["networks"] * n_networks + ["labelled" if name in _LABELLED_ONLY else name for name in models]
    found, kind, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    return 1 / (len(found) * counts[kind])
