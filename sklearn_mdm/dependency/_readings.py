"""What a fitted DependencyEstimator says of samples: values, log ratios, parts of a total, and a test."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.validation import check_is_fitted

from ..exceptions import DependencyWarning, SeenSamplesWarning
from ..measures import Measure
from ..utils._fit_tasks import without_callbacks
from ..utils._splits import fewest_rows
from ..utils._warnings import warn_caller
from ._columns import ColumnReader
from ._copies import one_of_each
from ._decomposition import SummedCritic
from ._permutation import MAX_TEST_ROWS, MAX_TEST_ROWS_OF_PARTS, PermutationTest, independence_test
from ._seen_rows import SeenRows


class Readings:
    """Methods of a DependencyEstimator that read what ``fit`` made."""

    measure: str | Measure
    critics_: list[SummedCritic]
    dependency_: float
    held_out_: np.ndarray
    modalities_: list[Hashable]
    _measure: Measure
    _reader: ColumnReader
    _seen: SeenRows
    _grouped: bool
    _seed: int

    def score(self, X: Any, y: Any = None) -> float:
        """Value of the measure on these samples, in nats for measures of total correlation.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples that ``fit`` was not given, or the value is not a held-out one: see ``dependency_`` for that.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        score : float
            With ``cv``, the mean over the critics of all folds.
        """
        arrays = self._new(X)
        return float(np.mean([critic.score(arrays) for critic in self.critics_]))

    def score_samples(self, X: Any) -> np.ndarray:
        r"""Estimated log density ratio :math:`\log r(x)` of each sample, in nats.

        High values mark samples whose modalities agree, low ones samples where they disagree. A sample's value does
        not depend on the others.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples. Those passed to ``fit`` have out-of-fold values in ``pointwise_``.

        Returns
        -------
        values : array of shape (n_samples,)
            NaN where a modality is missing.

        Raises
        ------
        ValueError
            If the measure says nothing about single samples.

        See Also
        --------
        MDMFusionRegressor.pointwise_dependency : The same quantity of representations that were learned for a task.
        """
        self._check_pointwise()
        arrays, complete = self._read(X)
        values = np.full(len(complete), np.nan)
        if complete.any():
            values[complete] = self._mean_pointwise(arrays)
        return values

    def _mean_pointwise(self, arrays: list[np.ndarray]) -> np.ndarray:
        values: np.ndarray = np.mean([critic.pointwise(arrays) for critic in self.critics_], axis=0)
        return values

    def _check_pointwise(self) -> None:
        check_is_fitted(self)
        if not self._measure.pointwise:
            raise ValueError(
                f"measure={self.measure!r} says nothing about single samples. Use "
                'measure="kl", "f", "jsd", "smile" or "knife".'
            )

    def decompose(self, X: Any) -> pd.DataFrame:
        """Values of the parts whose sum is the total.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples that ``fit`` was not given.

        Returns
        -------
        parts : DataFrame
            One row per part, such as "audio, visual; text", with columns "value" and "std" (its standard error).

        Raises
        ------
        ValueError
            If the estimator was fitted without ``decomposition``.
        """
        check_is_fitted(self)
        if len(self.critics_[0].parts) == 1 and len(self.modalities_) > 2:
            raise ValueError('decompose needs a critic for each part. Fit with decomposition="line" or "tree".')
        arrays = self._new(X)
        folds = [pd.DataFrame(c.scores_of_parts(arrays), index=["value", "std"]).T for c in self.critics_]
        return sum(folds) / len(folds)

    @validate_params(
        {"n_permutations": [Interval(Integral, 1, None, closed="left")]}, prefer_skip_nested_validation=True
    )
    def permutation_test(self, X: Any, n_permutations: int = 199) -> PermutationTest:
        r"""Test whether the modalities are independent of each other.

        The mean log ratio of the samples is compared with those after permuting the modalities independently. The
        critic stays the same, so the test is exact for samples that it has not seen, however good the critic, as long
        as samples are independent of each other: grouped ones are not. Samples that ``fit`` trained on and copies of
        others are left out. Of many samples, 2,000 are looked at (500 with a decomposition).

        Critics of folds know all samples passed to ``fit`` between them. For these, one more is trained on half of the
        samples and tested on the other; ``statistic`` is ``dependency_`` then, which all of them went into.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            New samples, or those passed to ``fit``; of these the held-out ones are used with ``cv=None``.
        n_permutations : int, default=199
            Number of permutations B, at least 1. The smallest p-value is :math:`1 / (B + 1)`.

        Returns
        -------
        test : PermutationTest
            With ``statistic``, ``pvalue`` and ``null_distribution``.

        Raises
        ------
        ValueError
            If too few samples are left.
        """
        arrays = self._complete(X)
        if self._grouped:
            message = (
                "fit was given groups, so samples are not independent of each other, and the test rejects too often."
            )
            warn_caller(message, UserWarning)
        seen = self._seen.among(arrays)
        if len(self.critics_) > 1 and seen.all():
            return self._test_half(arrays, n_permutations)
        arrays = one_of_each(_enough([a[~seen] for a in arrays], " that fit did not train on"))
        most = MAX_TEST_ROWS if len(self.critics_[0].parts) == 1 else MAX_TEST_ROWS_OF_PARTS
        return independence_test(self.critics_, arrays, n_permutations, most, self._seed)

    def _test_half(self, arrays: list[np.ndarray], n_permutations: int) -> PermutationTest:
        """No critic of a fold is new to all rows, and those of different folds know of each other's: train one more."""
        X = dict(zip(self.modalities_, arrays, strict=True))
        halved: Any = without_callbacks(clone(self)).set_params(cv=None, modalities=None, random_state=self._seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DependencyWarning)  # fit spoke of what is reported
            test = halved.fit(X).permutation_test(X, n_permutations)
        return test._replace(statistic=self.dependency_) if len(arrays[0]) == len(self.held_out_) else test

    def _read(self, X: Any) -> tuple[list[np.ndarray], np.ndarray]:
        """Columns of the complete rows of X, and which these are."""
        check_is_fitted(self)
        return self._reader.read(self, X)

    def _complete(self, X: Any) -> list[np.ndarray]:
        """Complete rows of X; others are warned of."""
        arrays, complete = self._read(X)
        if left_out := int((~complete).sum()):
            warn_caller(f"{left_out} of {len(complete)} samples are left out: a modality is missing.", UserWarning)
        return arrays

    def _new(self, X: Any) -> list[np.ndarray]:
        """Complete rows of X; rows that fit trained on are warned of."""
        arrays = self._complete(X)
        seen = self._seen.among(arrays)
        if seen.any():
            warn_caller(
                f"{int(seen.sum())} of {len(seen)} samples were trained on in fit, and look more dependent than new "
                "ones. dependency_ and pointwise_ hold the values of those that were not.",
                SeenSamplesWarning,
            )
        return _enough(arrays)


def _enough(arrays: list[np.ndarray], which: str = "") -> list[np.ndarray]:
    fewest = fewest_rows(len(arrays))
    if len(arrays[0]) < fewest:
        raise ValueError(
            f"{len(arrays[0])} samples with every modality observed{which} are too few; pass at least {fewest}."
        )
    return arrays
