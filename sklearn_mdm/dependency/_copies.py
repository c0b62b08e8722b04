"""Samples that are there more than once: told from data that repeat by nature, and kept together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..exceptions import DependencyWarning, RepeatedSamplesWarning

__all__: list[str] = []

# Fewer distinct samples than these are the few values that data can take.
MIN_DISTINCT = 12
# Share of the distinct samples that have a value of a modality to themselves, from which on it is measured, not chosen
# from a few.
MIN_OWN_VALUES = 0.9


class Copies:
    """The copies among samples, and groups that hold them together.

    Parameters
    ----------
    arrays : sequence of arrays of shape (n_samples, d_j)
        Samples.
    groups : array of shape (n_samples,) or None
        Groups that were passed.

    Attributes
    ----------
    found : bool
        Whether there is any.
    groups : array of shape (n_samples,) or None
        Groups that no copy and no given group connects; those that were passed if no copy connects two.
    warnings : dict
        Class and text of the warning that copies deserve, if ``groups`` did not hold them together.
    """

    def __init__(self, arrays: Sequence[np.ndarray], groups: np.ndarray | None) -> None:
        self._copy_of = copy_of = find_copies(arrays)
        self.found = copy_of is not None
        self.groups, self.warnings = groups, dict[type[DependencyWarning], str]()
        if copy_of is None:
            return
        self.groups = keep_together(copy_of, groups)
        if self.groups is not groups:
            self.warnings[RepeatedSamplesWarning] = (
                f"{len(copy_of) - copy_of.max() - 1} of {len(copy_of)} samples repeat others in every value. Copies "
                "are kept together, trained on or read, and count as one in the standard error. Pass groups= if they "
                "come of one recording, speaker or patient, so that its other samples stay with them; else drop them."
            )

    def left_out(self, train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        """Rows to train on, without copies of those held out."""
        return train if self._copy_of is None else train[~np.isin(self._copy_of[train], self._copy_of[held_out])]


def one_of_each(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Leave out samples that are copies of earlier ones, and warn a caller's caller of it."""
    copy_of = find_copies(arrays)
    if copy_of is None:
        return arrays
    first = np.sort(np.unique(copy_of, return_index=True)[1])
    warnings.warn(
        f"{len(copy_of) - len(first)} of {len(copy_of)} samples repeat others in every value; one of each is tested.",
        RepeatedSamplesWarning,
        stacklevel=3,
    )
    return [array[first] for array in arrays]


def find_copies(arrays: Sequence[np.ndarray]) -> np.ndarray | None:
    """Number samples by what they are copies of: int (n_samples,); None if none is a copy.

    Samples that agree in every value of every modality are copies, unless such data repeat by nature: a modality is
    there that is measured. Of those that are not, columns lie on a grid that they fill, as classes, counts and
    one-hot vectors do, or several different samples share one value.
    """
    hashes = hash_rows(arrays)
    _, first, copy_of = np.unique(hashes, return_index=True, return_inverse=True)
    if len(first) == len(hashes) or len(first) < MIN_DISTINCT:
        return None
    return copy_of.ravel() if any(_is_measured(array[first]) for array in arrays) else None


def keep_together(copy_of: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Groups (n_samples,) that neither a copy nor a given group connects; those given if no copy connects them."""
    if groups is None:
        return copy_of
    _, group_of = np.unique(groups, return_inverse=True)
    n_copies, n_groups = copy_of.max() + 1, group_of.max() + 1
    edges = (np.ones(len(groups)), (copy_of, n_copies + group_of.ravel()))
    n_connected, labels = connected_components(coo_array(edges, shape=(n_copies + n_groups,) * 2), directed=False)
    return groups if n_connected == n_groups else labels[copy_of]


def hash_rows(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Hash each sample by all of its values: (n_samples,)."""
    return pd.util.hash_pandas_object(pd.DataFrame(np.concatenate(arrays, axis=1)), index=False).to_numpy()


def _is_measured(values: np.ndarray) -> bool:
    own = len(np.unique(hash_rows([values]))) / len(values)
    return own >= MIN_OWN_VALUES and not all(_fills_a_grid(column) for column in values.T)


def _fills_a_grid(column: np.ndarray) -> bool:
    """Whether values are multiples of one step, and take at least every second of them."""
    values = np.unique(column)
    if len(values) < 2:
        return True
    gaps = np.diff(values)
    steps = gaps / gaps.min()
    return bool(steps.sum() < 2 * len(values) and np.allclose(steps, np.round(steps), rtol=0, atol=1e-3))
