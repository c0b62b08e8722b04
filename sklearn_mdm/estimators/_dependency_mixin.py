"""Reading the dependency off a fitted estimator: scores, pointwise values, and the critic behind them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from ..critic._negatives import offset_indices
from ..dependency._coefficient import coefficient, coefficient_with_std
from ..dependency._copies import Copies, copies_of
from ..dependency._density_ratio import EVALUATION_SETS, TrainedCritic
from ..dependency._member_critics import MemberCritics
from ..dependency._reliability import warn_all
from ..exceptions import SeenSamplesWarning, SingleModalityWarning, UnusedSamplesWarning
from ..inputs._cells import warn_of_filled
from ..inputs._containers import as_samples
from ..inputs._labels import check_beside
from ..inputs._observed import Observed
from ..net._net import MDMNet
from ..utils._arguments import named
from ..utils._isolation import isolated
from ..utils._splits import fewest_rows, read_groups
from ..utils._warnings import warn_caller
from ._critic_imputer import MAX_CANDIDATES, CriticImputer
from ._lam_path import candidates_of
from ._reporting_critic import (
    DEPENDENCY_UPDATES,
    enough_unseen,
    rows_to_calibrate,
    train_reporting_critic,
    train_reporting_critics,
)
from ._rows_on_disk import all_at_once, are_many, runs_of, some_of
from ._samples import Samples
from ._training_rows import TrainingRows


class DependencyMixin:
    """Dependency between the modalities, as seen by a fitted fusion estimator.

    What it reads of X comes from ``_read_later`` and ``_represent``, and nets from ``_member_nets``: the estimator
    provides them. Representations of the members of a committee are side by side.
    """

    modalities_: list[Any]
    net_: Any
    reporting_critic_: TrainedCritic | MemberCritics
    imputer_: CriticImputer
    dependency_curve_: list[float]
    lam: float | Sequence[float] | Literal["auto"]
    agreement_: float
    lam_: float
    missing: Literal["auto", "mean", "token", "skip", "critic"]
    _seed: int
    _n_members: int
    _net_rows: TrainingRows
    _critic_rows: TrainingRows
    _repeat_by_nature: bool
    _reference: list[np.ndarray]
    _epochs_run: int

    def _read_later(self, X: Any) -> Observed:
        """X after fit, as it was observed."""
        raise NotImplementedError

    def _represent(self, X: Observed, rows: np.ndarray | None = None) -> list[np.ndarray]:
        """Representations (n, k_m) of X, or of some rows of it, by modality."""
        raise NotImplementedError

    def _member_nets(self) -> list[MDMNet]:
        """The net of each member."""
        raise NotImplementedError

    def _fuses(self) -> bool:
        """Whether predictions are made from representations alone."""
        raise NotImplementedError

    def fit_dependency(self, X: Any, *, groups: Any = None) -> Any:
        """Train, or replace, the critic that reports dependency; the net stays as it is.

        ``fit`` does this at ``lam > 0``. Call it after a fit at ``lam=0``, or to report on other data. With
        ``missing="auto"`` or ``"critic"``, predictions draw what a sample lacks from this data from then on.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples; those with a missing modality are left out. Single cells that are missing are filled, with a
            warning that says how many. Of more than 24,000 complete ones on disk a random part is read.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group are never both trained and calibrated on. Nor are samples that agree in every value,
            with a :class:`~sklearn_mdm.exceptions.RepeatedSamplesWarning` unless groups hold them together.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If there are too few samples with every modality, or too few groups.
        """
        observed = self._read_modalities(X)
        rows = some_of(observed, np.flatnonzero(observed.complete), self._seed)
        z = self._represent(observed, rows)
        check_beside(observed.index, groups=groups)
        with named("groups"):
            groups = read_groups(as_samples(groups), len(observed))
        if groups is not None:
            groups = groups[rows]
        copies = copies_of(observed.arrays.values(), rows, groups)
        hashes = observed.hashes[rows]
        self._train_reporting_critics(
            z,
            hashes=hashes,
            groups=groups,
            copies=copies,
            held_out=self._unseen_by_members(hashes, groups),
            n_updates=DEPENDENCY_UPDATES,
        )
        warn_all(copies.warnings, stacklevel=2)
        self._keep_candidates(observed, rows, z)
        return self

    def _unseen_by_members(self, hashes: np.ndarray, groups: np.ndarray | None) -> list[np.ndarray | None]:
        """Rows to calibrate the critic of each member on: of rows of the fit, those that the member held out."""
        unseen = ~self._net_rows.trained(hashes)
        own: list[np.ndarray | None] = [None] * self._n_members
        if self._n_members == 1 or unseen.all(axis=1).any():
            return own
        for k, rows in enumerate(unseen.T):
            if groups is None or not np.isin(groups[rows], groups[~rows]).any():
                own[k] = enough_unseen(rows, groups, self._seed + k)
        return own

    def _train_reporting_critics(
        self,
        z: list[np.ndarray],
        *,
        hashes: np.ndarray,
        groups: np.ndarray | None,
        copies: Copies,
        held_out: list[np.ndarray | None],
        n_updates: int,
        thrifty: bool = False,
    ) -> None:
        """Train a critic on the representations of each member, which z has side by side, of rows of these hashes."""
        n = self._n_members
        calibrated = [rows_to_calibrate(z, groups, copies, held_out[k], self._seed + k)[0] for k in range(n)]
        self._critic_rows = TrainingRows(n)
        self._critic_rows.add(hashes, ~np.stack(calibrated, axis=1))
        self._repeat_by_nature = not copies.found
        if n == 1:
            self.reporting_critic_ = train_reporting_critic(
                z,
                groups=groups,
                copies=copies,
                held_out=held_out[0],
                n_updates=n_updates,
                thrifty=thrifty,
                seed=self._seed,
            )
            return
        self.reporting_critic_ = train_reporting_critics(
            [self._of_member(z, k) for k in range(n)],
            groups_by_member=[groups] * n,
            copies_by_member=[copies] * n,
            held_out_by_member=held_out,
            n_updates=n_updates,
            thrifty=thrifty,
            seeds=[self._seed + k for k in range(n)],
        )

    def _of_member(self, z: list[np.ndarray], k: int) -> list[np.ndarray]:
        """Representations of one member."""
        return [np.split(part, self._n_members, axis=1)[k] for part in z]

    def _keep_candidates(self, X: Observed, rows: np.ndarray, z: list[np.ndarray]) -> None:
        """Keep some of the complete rows, whose representations are z: to complete others with, and to compare with."""
        self.__dict__.pop("imputer_", None)
        chosen = np.random.default_rng(self._seed).permutation(len(rows))[:MAX_CANDIDATES]
        self._reference = [part[chosen] for part in z]
        if self.missing not in ("auto", "critic"):
            return
        critics = getattr(self.reporting_critic_, "critics", [self.reporting_critic_])
        samples = None if self._fuses() else X.take(rows[chosen]).loaded()
        self.imputer_ = CriticImputer(critics, self._reference, samples)

    def _read_modalities(self, X: Any) -> Observed:
        check_is_fitted(self, "net_")
        if len(self.modalities_) < 2:
            raise ValueError(
                f"dependency is undefined for the single modality {self.modalities_[0]!r}. Fit on two or more: a dict "
                "of arrays, or a 2-D X with modalities={name: columns}."
            )
        observed = self._read_later(X)
        warn_of_filled(observed, "what their row suggests")
        return observed

    def pointwise_dependency(self, X: Any) -> np.ndarray:
        r"""Dependency of each sample: the estimated :math:`\log p(z_1..z_m) / \prod_j p(z_j)`, in nats.

        High values mark samples whose modalities agree with each other, low ones samples where they disagree. A
        sample's value does not depend on the other rows of X. With a committee it is the mean over the members, for a
        labelled sample that was in the fit over those that held it out. Of samples that trained all of them, or the
        critic, such as those without a label or of a single network, values are too high; a
        :class:`~sklearn_mdm.exceptions.SeenSamplesWarning` says how many there are.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples. Single cells that are missing are filled, with a warning that says how many.

        Returns
        -------
        values : array of shape (n_samples,)
            NaN where a modality is missing.

        Raises
        ------
        ValueError
            If there is a single modality, or no critic that reports: call :meth:`fit_dependency` then.

        See Also
        --------
        DependencyEstimator.score_samples : The same quantity of the modalities themselves, without a task.
        sklearn_mdm.inspection.pointwise_attribution : What of it each modality of a sample accounts for.

        Notes
        -----
        In a Pipeline: ``pipe[-1].pointwise_dependency(pipe[:-1].transform(X))``.
        """
        observed = self._read_modalities(X)
        rows = np.flatnonzero(observed.complete)
        values = np.full(len(observed), np.nan)
        critic = self._critic()
        given = self._held_out_by(observed, rows) if len(rows) else {}
        for run in runs_of(observed, rows):
            z = self._represent(observed, rows[run])
            values[rows[run]] = critic.pointwise(z, **{name: each[run] for name, each in given.items()})
        return values

    def _held_out_by(self, X: Observed, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Which members of a committee saw these rows neither in fit nor by their critics: no other speaks of them.

        Warns of rows that all saw.
        """
        hashes = X.hashes[rows]
        trained = self._net_rows.trained(hashes) | self._critic_rows.trained(hashes)
        self._warn_of_seen(np.asarray(trained.all(axis=1)))
        return {"held_out_by": ~trained} if isinstance(self._critic(), MemberCritics) else {}

    def _warn_of_seen(self, seen: np.ndarray) -> None:
        """Warn of samples that were trained on, unless they are as many as are equal to others by nature."""
        n, n_seen, share = len(seen), int(seen.sum()), 0.0
        if self._repeat_by_nature:
            share = max(self._net_rows.share_equal, self._critic_rows.share_equal)
        if n_seen > share * n + 3 * math.sqrt(share * (1 - share) * n):
            by = "the network" if self._n_members == 1 else "every network of the committee"
            warn_caller(
                f"{n_seen} of {n} samples were trained on, by {by} or by the critic that reports, and look more "
                "dependent than new ones. Pass new samples. Or fit with folds, which n_estimators and early_stopping "
                "make by default: labelled samples are then read by networks that did not see them. Of samples without "
                "a label, pointwise_ of a DependencyEstimator has values from critics that did not see them.",
                SeenSamplesWarning,
            )

    @overload
    def dependency_score(
        self,
        X: Any,
        *,
        return_std: Literal[False] = False,
        measure: Literal["training"] | None = None,
        unit: Literal["nats", "coefficient"] = "nats",
    ) -> float: ...

    @overload
    def dependency_score(
        self, X: Any, *, return_std: Literal[True], measure: None = None, unit: Literal["nats", "coefficient"] = "nats"
    ) -> tuple[float, float]: ...

    def dependency_score(
        self,
        X: Any,
        *,
        return_std: bool = False,
        measure: Literal["training"] | None = None,
        unit: Literal["nats", "coefficient"] = "nats",
    ) -> float | tuple[float, float]:
        r"""Dependency between the modalities' representations, averaged over the samples, and over members.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            New samples; or, of a committee that holds out folds, those of the fit, each of which is read by networks
            that did not see it. A :class:`~sklearn_mdm.exceptions.SeenSamplesWarning` says how many were seen by all,
            recognised by their values. Samples with a missing modality are left out, and single cells that are missing
            filled, with warnings that say how many.
        return_std : bool, default=False
            Whether to return the standard error too.
        measure : {None, "training"}, default=None
            None: total correlation in nats from the reporting critic, whatever measure trained the net; an estimate
            from below that is never clipped, so it may be negative. ``"training"``: the training measure with the
            training critic, in the measure's own unit; on samples of the fit that is a value of training. Of more than
            24,000 samples on disk a random part is read.
        unit : {"nats", "coefficient"}, default="nats"
            ``"coefficient"``: :math:`\sqrt{1 - e^{-2 \max(D, 0)}}` of the score D in nats, from 0 (independent) to 1
            (one modality determines another); of two Gaussian variables their correlation [1]_, and of more modalities
            the generalisation [2]_.

        Returns
        -------
        score : float
        std : float
            Standard error, if ``return_std``, as for independent samples, of which copies count as one: several of one
            speaker or patient say less than it assumes. Of a coefficient, half of what lies between the coefficients
            one standard error above and below, as at zero it has no derivative. Among more than 24,000 samples on disk
            copies are not looked for.

        Raises
        ------
        ValueError
            If there is a single modality, no complete sample, or no critic, as after ``lam=0`` or ``partial_fit``: call
            :meth:`fit_dependency` then. If the training measure, which is not total correlation, has no coefficient.

        Notes
        -----
        A Pipeline does not have this method. Its last step does, for what the steps before make of X:
        ``pipe[-1].dependency_score(pipe[:-1].transform(X))``. Of a search ``pipe`` is ``search.best_estimator_``,
        or, around an estimator alone, that estimator itself.

        References
        ----------
        .. [1] Linfoot, "An informational measure of correlation", Information and Control 1 (1), 1957.
        .. [2] Joe, "Relative entropy measures of multivariate dependence", Journal of the American Statistical
           Association 84 (405), 1989.
        """
        if measure not in (None, "training"):
            raise ValueError(f'measure must be None or "training", got {measure!r}.')
        if unit not in ("nats", "coefficient"):
            raise ValueError(f'unit must be "nats" or "coefficient", got {unit!r}.')
        observed = self._read_modalities(X)
        complete, rows = observed.complete, np.flatnonzero(observed.complete)
        if measure is not None:
            rows = some_of(observed, rows, self._seed)
        z = self._represent(observed, rows) if measure is not None or all_at_once(observed, rows) else None
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
            held_out_by = self._held_out_by(observed, rows)
            groups = None
            if return_std and not are_many(observed, rows):
                groups = copies_of(observed.arrays.values(), rows, None).groups
            if z is None:
                parts = (self._represent(observed, rows[run]) for run in runs_of(observed, rows))
                value, std = critic.score_of_parts(parts, groups, **held_out_by)
            else:
                value, std = critic.score(z, groups, **held_out_by)
            if unit == "coefficient":
                value, std = coefficient_with_std(value, std)
            return (value, std) if return_std else value
        assert z is not None
        if return_std:
            raise ValueError('return_std=True is not available with measure="training".')
        if unit == "nats":
            return self._training_measure(z)
        if not self.net_.measure_.total_correlation:
            raise ValueError(
                f"{type(self.net_.measure_).__name__} is not total correlation in nats, which alone has a coefficient. "
                'Use measure=None, whose value is, or unit="nats", which leaves the value as it is.'
            )
        return coefficient(self._training_measure(z))

    def _critic(self) -> TrainedCritic | MemberCritics:
        if not hasattr(self, "reporting_critic_"):
            raise ValueError(
                "no critic reports dependency here: fit trains one at lam > 0 and with enough samples that have every "
                "modality, partial_fit never does. Call fit_dependency(X) first."
            )
        return self.reporting_critic_

    @isolated()
    def _training_measure(self, z: list[np.ndarray]) -> float:
        net = self.net_
        if not np.isfinite(self.dependency_curve_).any():
            raise ValueError('measure="training" needs a fit with lam > 0: no critic was trained.')
        if net.measure_.needs_y:
            raise ValueError(
                f"{type(net.measure_).__name__} reads class labels, which are not passed here; dependency_curve_ holds "
                "its values in training."
            )
        n, m = len(z[0]), len(z)
        if n < m:
            raise ValueError(f"{n} complete samples make no negatives of {m} modalities; pass at least {m}.")
        values = []
        for k, member in enumerate(self._member_nets()):
            generator = torch.Generator().manual_seed(0)
            tensors = [torch.as_tensor(part, dtype=net.dtype, device=net.device) for part in self._of_member(z, k)]
            with torch.no_grad():
                member.critic_.eval()
                for _ in range(EVALUATION_SETS):
                    index = offset_indices(n, m, net.n_negatives, generator).to(net.device)
                    values.append(member.measure_.value(member.critic_, tensors, index).item())
        return float(np.mean(values))

    def _warn_idle_term(self, train: Samples) -> None:
        """Say so if the dependency term was asked for and never used."""
        if (
            self.lam_ == 0
            or len(self.modalities_) == 1
            or np.isfinite(self.dependency_curve_[len(self.dependency_curve_) - self._epochs_run :]).any()
        ):
            return
        complete = int(train.X.complete[train.with_unlabelled()[0]].sum())
        fewest = fewest_rows(len(self.modalities_))
        warnings.warn(
            f"lam={self.lam_} had no effect: no batch had the {fewest} samples with every modality observed that the "
            f"dependency term needs ({complete} of the training samples have, batch_size={self.net_.batch_size}). "
            "Raise batch_size, or set lam=0.",
            UserWarning,
            stacklevel=5,
        )

    def _learns_from_unlabelled(self) -> bool:
        """Whether samples without a label train the networks."""
        learns = self.agreement_ or (self.lam_ > 0 and not self.net_.measure_.needs_y)
        return len(self.modalities_) > 1 and bool(learns)

    def _warn_idle_unlabelled(self, n_unlabelled: int) -> None:
        """Say so if samples without a label train nothing."""
        if self._learns_from_unlabelled():
            return
        several, reads_labels = len(self.modalities_) > 1, self.net_.measure_.needs_y
        why = "X holds a single modality" if not several else f"lam={self.lam_:g} and agreement=0"
        if several and reads_labels and self.lam_:
            why = f"{type(self.net_.measure_).__name__} reads labels and agreement=0"
        warn_caller(
            f"{n_unlabelled} samples without a label train no network, as {why}. They enter what is no network "
            "alone, such as the scaling of X. Set agreement or lam > 0, with two or more modalities, or drop them.",
            UnusedSamplesWarning,
        )

    def _warn_single_modality(self) -> None:
        largest = candidates_of(self.lam)[-1].lam
        if largest > 0 and len(self.modalities_) == 1:
            warnings.warn(
                f"X holds the single modality {self.modalities_[0]!r}, so there is no dependency to maximise and lam="
                f"{self.lam!r} has no effect. Pass modalities={{name: columns}} to say which columns belong together, "
                "a dict of arrays, or lam=0.",
                SingleModalityWarning,
                stacklevel=5,
            )
