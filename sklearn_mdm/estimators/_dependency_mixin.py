"""Reading the dependency off a fitted estimator: scores, pointwise values, and the critic behind them."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from ..critic._negatives import offset_indices
from ..dependency._density_ratio import EVALUATION_SETS, TrainedCritic
from ..exceptions import SingleModalityWarning, TooFewSamplesError
from ..inputs._observed import complete_rows
from ..inputs._schema import ModalitySchema
from ..measures import KL
from ..net._inference import represent
from ..utils._parameter_objects import users_names
from ..utils._splits import fewest_rows, held_out_rows, read_groups
from ._critic_imputer import CANDIDATES, CriticImputer

__all__: list[str] = []


# Updates of a critic that fit_dependency trains.
DEPENDENCY_UPDATES = 2000
# Share of the rows that calibrate it, where none are given.
CALIBRATION_FRACTION = 1 / 3
# Fewer rows than these are too few to calibrate on; some that the net was trained on are better then.
UNSEEN_ROWS = 30


def train_reporting_critic(
    codes: Sequence[np.ndarray],
    *,
    groups: np.ndarray | None = None,
    held_out: np.ndarray | None = None,
    n_updates: int,
    seed: int,
) -> TrainedCritic:
    """Train a critic on one part of the rows, and calibrate it on the other.

    Parameters
    ----------
    codes : sequence of arrays of shape (n_samples, k_j)
        One code per modality.
    groups : array of shape (n_samples,), default=None
        Rows of one group are all used for training or all held out.
    held_out : array of bool of shape (n_samples,), default=None
        Rows to calibrate on, instead of a random third.
    n_updates : int
        Most updates.
    seed : int
        Seed of the split, of the critic and of its batches.

    Raises
    ------
    TooFewSamplesError
        If either part has too few samples, or there is a single group.
    """
    n, fewest = len(codes[0]), 3 * fewest_rows(len(codes))
    if n < fewest:
        raise TooFewSamplesError(
            f"{n} samples have every modality observed; the critic needs at least {fewest}. Pass more samples."
        )
    if held_out is None:
        held_out = held_out_rows(n, CALIBRATION_FRACTION, seed, groups)
    critic = TrainedCritic(
        KL(),
        kind="encoded",
        hidden_dims=(64, 64, 64),
        n_updates=n_updates,
        n_negatives=4,
        n_components=4,
        refit=False,
        seed=seed,
    ).fit(codes, held_out)
    rest = [code[held_out] for code in codes]
    return critic.normalize(rest, None if groups is None else groups[held_out])


class DependencyMixin:
    """Dependency between the modalities, as seen by a fitted fusion estimator."""

    _schema: ModalitySchema
    modalities_: list
    net_: Any
    reporting_critic_: TrainedCritic
    imputer_: CriticImputer
    dependency_curve_: list[float]
    lam: float
    missing: str
    _seed: int
    _epochs_run: int

    def fit_dependency(self, X: Any, *, groups: Any = None) -> Any:
        """Train, or replace, the critic that reports dependency; the net stays as it is.

        ``fit`` does this at ``lam > 0``. Call it after a fit at ``lam=0``, or to report on other data. With
        ``missing="critic"``, predictions draw what a sample lacks from this data from then on.

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
        arrays = self._read(X)
        codes, complete = self._codes_of(arrays)
        groups = read_groups(groups, len(complete))
        if groups is not None:
            groups = groups[complete]
        self.reporting_critic_ = train_reporting_critic(
            codes, groups=groups, n_updates=DEPENDENCY_UPDATES, seed=self._seed
        )
        self._keep_candidates(arrays, codes, complete)
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
        codes, complete = train_codes, train_complete = self._codes_of(train)
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
        try:
            self.reporting_critic_ = train_reporting_critic(
                codes, groups=groups, held_out=unseen, n_updates=max(1, n_updates), seed=self._seed
            )
        except TooFewSamplesError:
            return  # dependency_score asks for fit_dependency with more samples
        self._keep_candidates(train, train_codes, train_complete)

    def _keep_candidates(
        self, arrays: Mapping[Hashable, np.ndarray], codes: list[np.ndarray], complete: np.ndarray
    ) -> None:
        """Keep some of the complete rows for ``missing="critic"``."""
        self.__dict__.pop("imputer_", None)
        if self.missing != "critic":
            return
        chosen = np.random.default_rng(self._seed).permutation(len(codes[0]))[:CANDIDATES]
        rows = np.flatnonzero(complete)[chosen]
        X = self._scaled({name: array[rows] for name, array in arrays.items()})  # type: ignore[attr-defined]
        self.imputer_ = CriticImputer(self.reporting_critic_, [z[chosen] for z in codes], X, seed=self._seed)

    def _codes(self, X: Any) -> tuple[list[np.ndarray], np.ndarray]:
        return self._codes_of(self._read(X))

    def _read(self, X: Any) -> dict[Hashable, np.ndarray]:
        check_is_fitted(self, "net_")
        if len(self.modalities_) < 2:
            raise ValueError(
                f"dependency is undefined for the single modality {self.modalities_[0]!r}. Fit on two or more: a dict "
                "of arrays, or a 2-D X with modalities={name: columns}."
            )
        return self._prepared(self._schema.read(self, X))  # type: ignore[attr-defined]

    def _codes_of(self, arrays: Mapping[Hashable, np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """Codes of the complete rows, and which rows these are."""
        complete = complete_rows(arrays)
        if not complete.any():
            return [np.empty((0, dim)) for dim in self.net_.module_.code_dims.values()], complete
        scaled = self._scaled({name: array[complete] for name, array in arrays.items()})  # type: ignore[attr-defined]
        with users_names(self.modalities_):
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

    def _critic(self) -> TrainedCritic:
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
        if net.measure_.needs_y:
            raise ValueError(
                f"{type(net.measure_).__name__} reads class labels, which are not passed here; dependency_curve_ holds "
                "its values in training."
            )
        n, m = len(codes[0]), len(codes)
        if n < m:
            raise ValueError(f"{n} complete samples cannot re-pair {m} modalities; pass at least {m}.")
        generator = torch.Generator().manual_seed(0)
        tensors = [torch.as_tensor(z, dtype=net.dtype, device=net.device) for z in codes]
        with torch.no_grad():
            net.critic_.eval()
            values = [
                net.measure_.value(
                    net.critic_, tensors, offset_indices(n, m, net.n_negatives, generator).to(net.device)
                ).item()
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
        complete, fewest = int(complete_rows(arrays).sum()), fewest_rows(len(self.modalities_))
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
