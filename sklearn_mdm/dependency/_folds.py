"""Which samples a critic is given, and on which its value is read."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, check_cv

from ..exceptions import TooFewSamplesError
from ..utils._splits import held_out_rows

__all__: list[str] = []


def split_folds(
    n_samples: int, cv: Any, held_out_fraction: float, *, groups: np.ndarray | None, seed: int, min_rows: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of rows to train and calibrate on, and rows that are held out.

    Parameters
    ----------
    n_samples : int
        Number of samples.
    cv : int, splitter or None
        Folds; None holds out one part of the samples.
    held_out_fraction : float
        Share of that part.
    groups : array of shape (n_samples,) or None
        Samples of one group are on one side.
    seed : int
        Seed of the splits.
    min_rows : int
        Fewest rows of a held-out part, and half of the fewest of the others.
    """
    if cv is None:
        most = 1 - 2 * min_rows / n_samples
        held_out = held_out_rows(n_samples, min(held_out_fraction, most), seed, groups)
        splits = [(np.flatnonzero(~held_out), np.flatnonzero(held_out))]
    else:
        if isinstance(cv, Integral):
            cv = KFold(cv, shuffle=True, random_state=seed) if groups is None else GroupKFold(cv)
        splits = list(check_cv(cv).split(np.zeros((n_samples, 1)), groups=groups))
        if np.bincount(np.concatenate([rest for _, rest in splits]), minlength=n_samples).max() > 1:
            raise ValueError("cv holds out some samples more than once; use a splitter whose folds do not overlap.")
        if groups is not None and any(np.isin(groups[train], groups[rest]).any() for train, rest in splits):
            raise ValueError("cv cuts groups. Use a splitter that keeps them together, such as GroupKFold.")
    for train, rest in splits:
        if len(train) < 2 * min_rows or len(rest) < min_rows:
            raise TooFewSamplesError(
                f"{len(train)} samples are there to train and calibrate on and {len(rest)} are held out; at least "
                f"{2 * min_rows} and {min_rows} are needed. Change held_out_fraction or cv, or pass more samples."
            )
    return splits
