"""What differs where some samples lack a label."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from ..net._data import FEWEST_BATCHES
from ._lam_path import candidates_of
from ._samples import Samples

# Labels of the rarest class below which none is held out, as to learn from all is worth more than to choose by a few,
# and updates of the networks then.
FEW_LABELS, UPDATES = 30, 800
MAX_EPOCHS = UPDATES // FEWEST_BATCHES

# Models beside the networks that read labelled samples alone: they count as one where nothing tells their worth.
_LABELLED_ONLY = ("linear", "kernel")


def has_few_labels(estimator: Any, samples: Samples) -> bool:
    """Whether so few of the samples have a label that none is held out."""
    few = samples.unlabelled is not None and is_classifier(estimator) and estimator.early_stopping == "auto"
    # Otherwise the rest teaches no network, which would be trained by other rules for nothing.
    teaches = len(estimator.modalities_) > 1 and any(map(any, candidates_of(estimator.lam, estimator._agreement)))
    return few and teaches and estimator.cv is None and are_few(samples.y, estimator._n_net_outputs())


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
