"""Reading the dependency off a fitted estimator: scores, pointwise values, and the critic behind them."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from .dependency import EVALUATION_SETS, ReportingCritic, TooFewSamplesError
from .evaluation import represent
from .modalities import ModalitySchema, SingleModalityWarning, observed_rows
from .negatives import offset_indices

__all__: list[str] = []


# Fewer rows than these are too few to calibrate on; some that the net was trained on are better then.
UNSEEN_ROWS = 30


def complete_rows(arrays: Mapping[Hashable, np.ndarray]) -> np.ndarray:
    """Samples with every modality observed: bool (n_samples,)."""
    return np.logical_and.reduce([observed_rows(array) for array in arrays.values()])


def read_groups(groups: Any, n_samples: int) -> np.ndarray | None:
    """Validate groups as one label per sample."""
    if groups is None:
        return None
    groups = column_or_1d(groups)
    check_consistent_length(np.empty(n_samples), groups)
    if pd.isna(groups).any():
        raise ValueError(f"groups has {int(pd.isna(groups).sum())} missing labels; every sample needs one.")
    return groups


class DependencyMixin:
    """Dependency between the modalities, as seen by a fitted fusion estimator."""

    _schema: ModalitySchema
    modalities_: list
    net_: Any
    reporting_critic_: ReportingCritic
    dependency_curve_: list[float]
    lam: float
    _seed: int
    _epochs_run: int

    def fit_dependency(self, X: Any, *, groups: Any = None) -> Any:
        """Train, or replace, the critic that reports dependency; the net stays as it is.

        ``fit`` does this at ``lam > 0``. Call it after a fit at ``lam=0``, or to report on other data.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples; those with a missing modality are left out.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group are never both trained and calibrated on.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If there are too few samples with every modality, or too few groups.
        """
        codes, complete = self._codes(X)
        groups = read_groups(groups, len(complete))
        if groups is not None:
            groups = groups[complete]
        self.reporting_critic_ = ReportingCritic(seed=self._seed).fit(codes, groups=groups)
        return self

    def _fit_reporting_critic(
        self,
        train: dict,
        held_out: dict | None,
        train_groups: np.ndarray | None,
        held_out_groups: np.ndarray | None,
        *,
        n_updates: int,
    ) -> None:
        """Train the reporting critic on what the net was fitted on, if that is enough."""
        codes, complete = self._codes_of(train)
        groups = None if train_groups is None else train_groups[complete]
        unseen = None
        if held_out is not None:
            more, complete = self._codes_of(held_out)
            if len(more[0]) >= UNSEEN_ROWS:
                # Rows that stopped the training never entered a gradient: what holds on them holds on new data.
                unseen = np.repeat([False, True], [len(codes[0]), len(more[0])])
                codes = [np.concatenate(pair) for pair in zip(codes, more, strict=True)]
                if groups is not None:
                    groups = None if held_out_groups is None else np.r_[groups, held_out_groups[complete]]
        critic = ReportingCritic(n_updates=max(1, n_updates), seed=self._seed)
        try:
            critic.fit(codes, groups=groups, held_out=unseen)
        except TooFewSamplesError:
            return  # dependency_score asks for fit_dependency with more samples
        self.reporting_critic_ = critic

    def _codes(self, X: Any) -> tuple[list[np.ndarray], np.ndarray]:
        check_is_fitted(self, "net_")
        if len(self.modalities_) < 2:
            raise ValueError(
                f"dependency is undefined for the single modality {self.modalities_[0]!r}. Fit on two or more: a dict "
                "of arrays, or a 2-D X with modalities={name: columns}."
            )
        return self._codes_of(self._schema.read(self, X))

    def _codes_of(self, arrays: Mapping[Hashable, np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """Codes of the complete rows, and which rows these are."""
        complete = complete_rows(arrays)
        if not complete.any():
            return [np.empty((0, dim)) for dim in self.net_.module_.code_dims.values()], complete
        scaled = self._scaled({name: array[complete] for name, array in arrays.items()})  # type: ignore[attr-defined]
        codes = represent(self.net_, scaled)
        for name, code in zip(self.modalities_, codes, strict=True):
            if not np.isfinite(code).all():
                raise ValueError(
                    f"the codes of modality {name!r} are not finite: its values are too far from those of the data "
                    "passed to fit."
                )
        return codes, complete

    def pointwise_dependency(self, X: Any) -> np.ndarray:
        r"""Dependency of each sample: the estimated :math:`\log p(z_1..z_m) / \prod_j p(z_j)`, in nats.

        High values mark samples whose modalities agree with each other, low ones samples where they are at odds. A
        sample's value does not depend on the other rows of X.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples.

        Returns
        -------
        values : array of shape (n_samples,)
            NaN where a modality is missing.
        """
        codes, complete = self._codes(X)
        values = np.full(len(complete), np.nan)
        critic = self._critic()
        if complete.any():
            values[complete] = critic.pointwise(codes)
        return values

    def dependency_score(self, X: Any, *, return_std: bool = False, measure: str | None = None) -> Any:
        """Dependency between the modalities' representations, averaged over the samples.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples, best ones that the estimator was not fitted on. Those with a missing modality are left out, with
            a warning that says how many.
        return_std : bool, default=False
            Whether to return the standard error too.
        measure : {None, "training"}, default=None
            None: total correlation in nats from the reporting critic, whatever measure trained the net; an estimate
            from below that is never clipped, so it may be negative. ``"training"``: the training measure with the
            training critic, in the measure's own unit.

        Returns
        -------
        score : float
        std : float
            Standard error, if ``return_std``, as for independent samples: several of one speaker or patient say less
            than it assumes.

        Raises
        ------
        ValueError
            If there is a single modality, no complete sample, or no critic because ``lam=0``: call
            :meth:`fit_dependency` then.
        """
        if measure not in (None, "training"):
            raise ValueError(f'measure must be None or "training", got {measure!r}.')
        codes, complete = self._codes(X)
        critic = self._critic() if measure is None else None
        left_out = int((~complete).sum())
        if left_out == len(complete):
            raise ValueError("every sample has a missing modality: dependency needs samples with all of them.")
        if left_out:
            warnings.warn(
                f"{left_out} of {len(complete)} samples are left out of the dependency score: a modality is missing.",
                UserWarning,
                stacklevel=2,
            )
        if critic is not None:
            score, std = critic.score(codes)
            return (score, std) if return_std else score
        if return_std:
            raise ValueError('return_std=True is not available with measure="training".')
        return self._training_measure(codes)

    def _critic(self) -> ReportingCritic:
        if not hasattr(self, "reporting_critic_"):
            raise ValueError(
                "no critic reports dependency here: fit trains one at lam > 0 and with enough samples that have every "
                "modality, partial_fit never does. Call fit_dependency(X) first."
            )
        return self.reporting_critic_

    def _training_measure(self, codes: list[np.ndarray]) -> float:
        net = self.net_
        if not np.isfinite(self.dependency_curve_).any():
            raise ValueError('measure="training" needs a fit with lam > 0: no critic was trained.')
        n, m = len(codes[0]), len(codes)
        if n < m:
            raise ValueError(f"{n} complete samples cannot re-pair {m} modalities; pass at least {m}.")
        generator = torch.Generator().manual_seed(0)
        tensors = [torch.as_tensor(z, dtype=net.dtype, device=net.device) for z in codes]
        with torch.no_grad():
            net.critic_.eval()
            values = [
                net.measure_.objective(*net.critic_(tensors, offset_indices(n, m, 1, generator).to(net.device))).item()
                for _ in range(EVALUATION_SETS)
            ]
        return float(np.mean(values))

    def _warn_idle_term(self, arrays: Mapping[Hashable, np.ndarray]) -> None:
        """Say so if the dependency term was asked for and never used."""
        if (
            self.lam == 0
            or len(self.modalities_) == 1
            or np.isfinite(self.dependency_curve_[-self._epochs_run :]).any()
        ):
            return
        complete, fewest = int(complete_rows(arrays).sum()), max(len(self.modalities_), 4)
        warnings.warn(
            f"lam={self.lam} had no effect: no batch had the {fewest} samples with every modality observed that the "
            f"dependency term needs ({complete} of the training samples have, batch_size={self.net_.batch_size}). "
            "Raise batch_size, or set lam=0.",
            UserWarning,
            stacklevel=4,
        )

    def _warn_single_modality(self, schema: ModalitySchema) -> None:
        if self.lam > 0 and len(schema.names) == 1:
            warnings.warn(
                f"X holds the single modality {schema.names[0]!r}, so there is no dependency to maximise and lam="
                f"{self.lam} has no effect. Pass modalities={{name: columns}} to say which columns belong together, a "
                "dict of arrays, or lam=0.",
                SingleModalityWarning,
                stacklevel=4,
            )
