"""What both estimators share: reading X, building the net, training it, and applying it."""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, TransformerMixin, is_classifier
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import PrintLog
from skorch.helper import predefined_split

from ..callbacks._resumable import seed_of
from ..callbacks._training import OutOfFold
from ..dependency._copies import copies_of
from ..dependency._reliability import warn_all
from ..encoders._modality_encoders import ENCODERS
from ..exceptions import TooFewSamplesError
from ..fusion import FUSIONS
from ..fusion._committee import Average
from ..inputs._cells import find_columns, fit_fillings
from ..inputs._containers import as_samples
from ..inputs._keys import modality_keys
from ..inputs._labels import check_beside, row_labels
from ..inputs._observed import Observed, one_below
from ..inputs._padding import on_one_axis
from ..inputs._schema import ModalitySchema
from ..measures import MEASURES
from ..net._committee import CommitteeNet
from ..net._data import Batch, MaskedDataset, as_batch
from ..net._member_data import MemberDatasets
from ..net._member_history import MEMBER_RECORDS
from ..net._state import NetState
from ..persistence._savable import Savable
from ..utils._arguments import named
from ..utils._fit_tasks import CallbackSupportMixin, fit_task
from ..utils._isolation import isolated
from ..utils._parameter_objects import check_nested
from ..utils._splits import read_groups, validation_split
from ._absent import PASSED, STREAMED, WHY_ABSENT, why_none_held_out
from ._callbacks import callbacks_of
from ._committee_mixin import OUT_OF_FOLD, CommitteeMixin
from ._critic_imputer import weighted_means
from ._dependency_mixin import DependencyMixin
from ._few_labels import MAX_EPOCHS, are_few
from ._lam_path import Candidate, can_choose, candidates_of, default_of
from ._members import Part
from ._net_builder import build_net, check_callbacks
from ._parameters import Parameters
from ._reporting_critic import DEPENDENCY_UPDATES, MIN_UNSEEN_ROWS, enough_unseen
from ._samples import (
    Samples,
    check_not_cut_like,
    check_validation_size,
    moderate_weight,
    read_weight,
    weight_unit,
)
from ._scaling import fit_scalers, scale
from ._target import check_scoring_callbacks
from ._training_rows import TrainingRows

if TYPE_CHECKING:
    from typing_extensions import Self

REGISTRIES: dict[str, Mapping[str, type]] = {"fusion": FUSIONS, "encoder": ENCODERS, "measure": MEASURES}
# With fewer samples, early_stopping="auto" keeps them all for training: of a single member, and of a committee, whose
# members together are trained on all.
MIN_SAMPLES_TO_SPLIT, MIN_SAMPLES_TO_FOLD = 100, 20
# Samples that the reporting critic is trained and calibrated on. With more, the value moves by less than its standard
# error, which is half as large again with 4,000 to calibrate on as with 10,000.
MAX_REPORT_TRAINING, MAX_REPORT_CALIBRATION = 20_000, 4_000

# Rows of a stream that are remembered, a random part of more: 38 MB of hashes.
MAX_STREAMED_ROWS = 2**22

# What n_estimators="auto" is, unless the fusion asks for a single member.
MEMBERS = 8

# What belongs to the critics that report.
REPORTED = ("reporting_critic_", "imputer_", "_reference", "_critic_rows", "_repeat_by_nature")


class BaseMDMFusion(
    Parameters, CommitteeMixin, DependencyMixin, Savable, CallbackSupportMixin, TransformerMixin, BaseEstimator
):
    """Template of the fusion estimators; subclasses say what y is and what the net's output means."""

    _fitted: ClassVar[tuple[str, ...]] = (
        "net_",
        "modalities_",
        "n_features_in_",
        "n_features_per_modality_",
        "scalers_",
        "history_",
        "lam_",
        "agreement_",
        "n_iter_",
        "loss_curve_",
        "validation_loss_curve_",
        "dependency_curve_",
        "_schema",
        "_keys",
        "_fillings",
        "_scalings",
        "_n_members",
        "_n_features_out",
        "_seed",
    )
    _why_absent: ClassVar = WHY_ABSENT
    # GridSearchCV.fit(..., groups=g) reaches the validation split without a set_fit_request.
    __metadata_request__fit: ClassVar[dict] = {"groups": True}

    # -- what subclasses fill in -------------------------------------------------------------------------------------

    def _read_target(
        self, y: Any, n_samples: int, *, rows: np.ndarray | None = None, reset: bool, classes: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Validate y and learn its layout on reset.

        Returns the labels of the given rows that have some, and which of the given rows these are, bool (n_rows,).
        """
        raise NotImplementedError

    def _fit_target(self, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """Learn what is needed to encode the target from the training rows."""

    def _encode_target(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        raise NotImplementedError

    def _criterion(self) -> torch.nn.Module:
        raise NotImplementedError

    def _n_net_outputs(self) -> int:
        raise NotImplementedError

    def _average_of_members(self) -> Average:
        raise NotImplementedError

    def _average_outputs(self, outputs: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Average runs of the net's outputs, which begin at ``starts``; the weights (n, 1) of a run add up to one."""
        raise NotImplementedError

    def _keep_out_of_fold(self, outputs: np.ndarray, rows: np.ndarray, y: np.ndarray, n_passed: int) -> None:
        """Keep predictions, from outputs (n, n_outputs) for these rows of those passed to fit, and their score."""
        raise NotImplementedError

    def _target_weight(self, y: np.ndarray, sample_weight: np.ndarray | None, *, reset: bool) -> np.ndarray | None:
        """Combine sample weights with what the target asks for, learnt from y on reset."""
        return sample_weight

    def _stratify(self, y: np.ndarray) -> np.ndarray | None:
        return None

    # -- parameters --------------------------------------------------------------------------------------------------

    def set_params(self, **params: Any) -> Any:
        """Set parameters; ``fusion__...``, ``encoder__...`` and ``measure__...`` reach into objects.

        Raises
        ------
        ValueError
            If a nested parameter is set while its parent is a name; the message says which object to pass.
        """
        check_nested(self, params, REGISTRIES)
        return super().set_params(**params)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = True
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True  # as a modality in a dict
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # -- fitting: read, split, train, report -------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        X_unlabeled: Any = None,
    ) -> Self:
        """Fit the encoders, the fusion and the critic.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Training samples; see Notes of the class for what is accepted.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets of a regressor; class labels, (n_samples,), of a classifier: numbers or strings. NaN, None,
            pandas.NA and masked entries say that a sample, or an output of it, has no label; see Notes of the class.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights in the task loss and the scaling, without a label in the scaling alone. Samples of weight zero are
            left out altogether.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group (speaker, patient) are never split between training and validation. Those without a
            label are always trained on.
        X_val : dict, ModalityDict, data frame or array, default=None
            Samples that decide when to stop, instead of held-out ones. In a Pipeline they do not pass the earlier
            steps unless ``Pipeline(transform_input=["X_val"])`` says so.
        y_val : array-like, default=None
            Their targets.
        X_unlabeled : dict, ModalityDict, data frame or array, default=None
            Further samples, which have no label, with any number of rows; modalities may be absent. In a search pass a
            plain dict: ``GridSearchCV`` cuts what has as many rows as X. In a Pipeline they do not pass the earlier
            steps unless ``Pipeline(transform_input=["X_unlabeled"])`` says so.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            If X, y or a parameter is not as described; the message names the modality and the remedy.
        FloatingPointError
            If a loss is not finite; the message names the term and the epoch.
        """
        self._validate_params()
        with fit_task(self, X, y, n_subtasks=self.max_epochs):
            return self._fit(X, y, sample_weight, groups=groups, X_val=X_val, y_val=y_val, X_unlabeled=X_unlabeled)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, groups: Any, X_val: Any, y_val: Any, X_unlabeled: Any) -> Any:
        candidates_of(self.lam)  # which says what is wrong
        check_callbacks(self.callbacks)
        check_not_cut_like(X, X_val=X_val, X_unlabeled=X_unlabeled)
        if is_classifier(self):
            check_scoring_callbacks(self.callbacks)
        reset = not (self.warm_start and hasattr(self, "net_"))
        with isolated():
            samples = self._with_copies(self._read(X, y, sample_weight, groups, X_unlabeled, reset=reset))
            with self._keeping_folds():
                parts = self._split(samples, X_val, y_val)
                epochs = min(self.max_epochs, MAX_EPOCHS) if self._has_few_labels(samples) else self.max_epochs
                parts, finished = self._train(samples, parts, reset=reset, max_epochs=epochs)
            try:
                if finished:
                    self._report(samples, parts)
                self._predict_out_of_fold(samples, parts)
            except KeyboardInterrupt:
                finished = False
            except Exception:  # nothing is half fitted
                for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
                    delattr(self, name)
                raise
            finally:
                self.__dict__.pop("_held_out_outputs", None)
        if not finished:
            warnings.warn(
                f"fit was interrupted in epoch {self.n_iter_} or after it. The estimator keeps what was learned until "
                "then, without a critic that reports dependency: fit_dependency(X) trains one.",
                UserWarning,
                stacklevel=3,
            )
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, *, X_unlabeled: Any, classes: Any = None) -> Any:
        reset = not hasattr(self, "net_")
        if reset:
            self._validate_params()
            candidates_of(self.lam)
            check_callbacks(self.callbacks)
        with isolated():
            samples = self._read(X, y, sample_weight, None, X_unlabeled, reset=reset, classes=classes)
            parts = [Part(samples, None)] * self._n_members
            with self._keeping_folds():
                self.__dict__.pop("_folds", None)
                self._not_held_out = STREAMED
                _, finished = self._train(samples, parts, reset=reset, max_epochs=None)
        if not finished:
            raise KeyboardInterrupt("partial_fit was interrupted")  # which must end the loop over the data, too
        return self

    @contextlib.contextmanager
    def _keeping_folds(self) -> Iterator[None]:
        """Put the folds of the last fit back where training fails, and the net with it."""
        earlier = self.__dict__.get("_folds")
        try:
            yield
        except BaseException:
            self.__dict__.pop("_folds", None)
            if earlier is not None:
                self._folds = earlier
            raise

    def _wanted_members(self) -> int:
        if self.n_estimators != "auto":
            return self.n_estimators
        return 1 if getattr(self.fusion, "single_member", False) else MEMBERS

    def _read(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        groups: Any,
        X_unlabeled: Any,
        *,
        reset: bool,
        classes: Any = None,
    ) -> Samples:
        """Read what was passed to fit; on reset learn its layout."""
        if reset:
            # A fit that fails must not leave a net that belongs to other data.
            for name in (
                "net_",
                "_net_rows",
                "_n_features_out",
                "_folds",
                "lam_",
                "agreement_",
                "_last_agreement",
                "lam_path_",
                *REPORTED,
                *OUT_OF_FOLD,
            ):
                self.__dict__.pop(name, None)
            self._seen_by_all = False
            self._n_members = self._wanted_members()
            self._scalings: list[Any] = [self.scaling]
            if self.scaling == "auto":
                self._scalings = ["robust", "rank"][: self._n_members]
            # A fusion that reads texts brings what turns them into arrays. (A class is rejected later.)
            reader = None if isinstance(self.fusion, type) else getattr(self.fusion, "schema", None)
            self._schema = ModalitySchema() if reader is None else reader()
            self._schema.stays_on_disk = reader is None
            observed = self._schema.fit_read(self, X, self.modalities, min_samples=2)
            self._keys = modality_keys(self._schema.names)
            self._seed = seed_of(self.random_state, self.callbacks)
        else:
            observed = self._schema.read(self, X)
        check_beside(observed.index, y=y, sample_weight=sample_weight, groups=groups)
        n_passed = len(observed)
        with named("sample_weight"):
            weight = read_weight(sample_weight, n_passed)
            if reset:
                self._weight_unit = weight_unit(weight)
            weight = moderate_weight(weight, self._weight_unit)
        with named("groups"):
            groups = read_groups(as_samples(groups), len(observed))
        used = np.flatnonzero(weight) if weight is not None and not weight.all() else None
        if reset and used is not None and len(used) < 2:
            raise ValueError(
                "only 1 sample has a positive sample_weight, above 1e-100 of the largest, while a minimum of 2 is "
                "required."
            )
        with named("y"):
            y, labelled = self._read_target(y, len(observed), rows=used, reset=reset, classes=classes)
        passed = np.arange(n_passed) if used is None else used
        n = len(y)
        if n < n_passed:
            passed = np.r_[passed[labelled], passed[~labelled]]
            observed = observed.take(passed)
            weight = None if weight is None else weight[passed]
            groups = None if groups is None else groups[passed]
        if X_unlabeled is not None:
            with named("X_unlabeled"):
                more = self._schema.read(self, X_unlabeled)
            observed = on_one_axis(observed.followed_by(more))
        given = weight
        weight = self._target_weight(y, None if given is None else given[:n], reset=True)
        samples = Samples(
            observed, y, weight, None if groups is None else groups[:n], np.arange(n), passed[:n], n_passed
        )
        if n < len(observed):
            samples = samples.with_rest(given, groups)
        self._agreement = self.agreement if n < len(observed) else None
        if reset:
            # Weights keep their meaning from one partial_fit to the next.
            self._weight_scale = 1.0 if weight is None else float(weight.mean())
            self.modalities_ = list(self._schema.names)
            self._warn_single_modality()
        return samples

    def _split(self, samples: Samples, X_val: Any, y_val: Any) -> list[Part]:
        """What each member is trained on, and what decides when it stops: passed, held out, or nothing."""
        if (X_val is None) != (y_val is None):
            given, other = ("X_val", "y_val") if y_val is None else ("y_val", "X_val")
            raise ValueError(f"{given} was passed without {other}; stopping needs both.")
        earlier = self.__dict__.pop("_folds", None)
        wants_split = X_val is None and self._wants_split(samples)
        if self.cv is not None and not wants_split:
            given = "X_val" if X_val is not None else "early_stopping=False"
            raise ValueError(f"cv says what to hold out, and with {given} nothing is. Leave out one of the two.")
        self.__dict__.pop("_not_held_out", None)
        if X_val is not None:
            self._not_held_out = PASSED
            with named("X_val"):
                observed = self._schema.read(self, X_val)
            check_beside(observed.index, "X_val", y_val=y_val)
            with named("y_val"):
                check_validation_size(len(observed), y_val)
                y_val, labelled = self._read_target(y_val, len(observed), reset=False)
            observed = observed if labelled.all() else observed.take(np.flatnonzero(labelled))
            weight = self._target_weight(y_val, None, reset=False)
            rows = np.arange(len(observed))
            return [Part(samples, Samples(observed, y_val, weight, None, rows, rows, len(rows)))] * self._n_members
        if not wants_split:
            self._not_held_out = why_none_held_out(self.early_stopping, samples.y, self._fewest_to_split())
            return [Part(samples, None)] * self._n_members
        if self._n_members == 1 and self.cv is None:
            splits = [
                validation_split(
                    len(samples.y),
                    self.validation_fraction,
                    self._seed,
                    groups=samples.groups,
                    stratify=self._stratify(samples.y),
                )
            ]
        else:
            splits = self._member_splits(samples, earlier)
        return [Part(samples.take(train), samples.take(held_out)) for train, held_out in splits]

    def _wants_split(self, samples: Samples) -> bool:
        if self.early_stopping == "auto":
            enough = len(samples.y) >= self._fewest_to_split()
            return self.cv is not None or (enough and not self._has_few_labels(samples))
        return bool(self.early_stopping)

    def _fewest_to_split(self) -> int:
        """Labelled samples from which on ``early_stopping="auto"`` holds some out."""
        return MIN_SAMPLES_TO_SPLIT if self._n_members == 1 else MIN_SAMPLES_TO_FOLD

    def _has_few_labels(self, samples: Samples) -> bool:
        """Whether so few of the samples have a label that none is held out."""
        few = samples.unlabelled is not None and is_classifier(self) and self.early_stopping == "auto"
        # Otherwise the rest teaches no network, which would be trained by other rules for nothing.
        teaches = len(self.modalities_) > 1 and any(map(any, candidates_of(self.lam, self._agreement)))
        return few and teaches and self.cv is None and are_few(samples.y, self._n_net_outputs())

    def _train(
        self, samples: Samples, parts: list[Part], *, reset: bool, max_epochs: int | None
    ) -> tuple[list[Part], bool]:
        """Train the net, a new one on reset, for at most so many epochs; None makes the one epoch of a partial_fit.

        Returns the samples as the module prepared them, and whether training came to its end before a Ctrl-C.
        """
        trained_on = parts[0].train
        if len(parts) > 1:
            trained_on = samples.take(np.unique(np.concatenate([part.train.rows for part in parts])))
        candidates = self._candidates(samples, parts, reset=reset, streamed=max_epochs is None)
        if reset:
            self._fit_scaling(trained_on, streamed=max_epochs is None)
            self.net_ = build_net(self, samples.X, candidates)
        elif not hasattr(self.net_, "optimizer_"):
            self.net_.initialize_optimizer()  # which no file of ``save`` holds
        before = None if reset else NetState(self.net_)
        try:
            parts = self._prepared_parts(parts)
            keepers = self._keepers(parts, len(candidates))
            finished = self._run_net(*self._datasets(parts, candidates), max_epochs, keepers, candidates[0])
            chosen = 0
            if len(candidates) > 1:
                chosen = self._choose(candidates, [keeper.outputs_ for keeper in keepers], samples, parts)
            self._summarize(parts[0].train.X, whole=reset or max_epochs is not None)
        except BaseException:
            if before is None:
                del self.net_
            else:
                before.restore()  # one bad batch must not cost what was learned before
            raise
        # The critic of an earlier net reads representations that are no longer made.
        for name in (*REPORTED, *OUT_OF_FOLD):
            self.__dict__.pop(name, None)
        self.lam_, self.agreement_ = candidates[chosen]
        if self._agreement is not None:  # where all samples have a label there is none, which is no choice
            self._last_agreement = self.agreement_
        if isinstance(self.lam, Real):
            self.__dict__.pop("lam_path_", None)  # of an earlier fit
        if self._has_folds():
            self._held_out_outputs = keepers[chosen].outputs_
        else:
            self._seen_by_all = True  # folds of a later fit hold out nothing that no update saw
        self._remember(samples, parts, streamed=max_epochs is None)
        if finished and (reset or max_epochs is not None):  # once for a stream of small batches
            self._warn_idle_term(trained_on)
        if finished and samples.unlabelled is not None:
            self._warn_idle_unlabelled(len(samples.unlabelled))
        return parts, finished

    def _remember(self, samples: Samples, parts: list[Part], *, streamed: bool) -> None:
        """Remember which rows the members were trained on, so that no one takes them for new ones."""
        if not hasattr(self, "_net_rows"):
            self._net_rows = TrainingRows(self._n_members)
        trained = np.zeros((len(samples.X), self._n_members), dtype=bool)
        for k, part in enumerate(parts):
            trained[part.train.rows, k] = True
        if samples.unlabelled is not None and self._learns_from_unlabelled():
            trained[samples.unlabelled] = True
        self._net_rows.add(samples.X.hashes, trained, most=MAX_STREAMED_ROWS if streamed else None)

    def _report(self, samples: Samples, parts: list[Part]) -> None:
        """Train the critics that report dependency on what the members were trained on, if that is enough."""
        if self.lam_ == 0 or len(self.modalities_) == 1:
            return
        train, valid = parts[0].train, parts[0].valid
        held_out: list[np.ndarray | None]
        if self._has_folds():
            most = MAX_REPORT_TRAINING + MAX_REPORT_CALIBRATION
            rows, groups = self._reported_rows(replace(samples, X=train.X), most, samples.groups)
            z, arrays, candidates, held_out = self._represent(train.X, rows), list(train.X.arrays.values()), rows, []
            hashes = train.X.hashes[rows]
            for member in parts:
                not_seen = np.isin(rows, samples.rows) & ~np.isin(rows, member.train.rows)
                held_out.append(enough_unseen(not_seen, groups, self._seed + len(held_out)))
        else:
            rows, groups = self._reported_rows(train, MAX_REPORT_TRAINING, samples.groups)
            z, held_out = self._represent(train.X, rows), [None] * self._n_members
            arrays, candidates, hashes = list(train.X.arrays.values()), rows, train.X.hashes[rows]
            if valid is not None and valid.complete.sum() >= MIN_UNSEEN_ROWS:
                # Rows that stopped the training never entered a gradient: what holds on them holds on new data.
                unseen = self._some_complete(valid, MAX_REPORT_CALIBRATION)
                held_out = [np.repeat([False, True], [len(candidates), len(unseen.rows)])] * self._n_members
                z = [np.concatenate(both) for both in zip(z, self._represent(valid.X, unseen.rows), strict=True)]
                hashes = np.r_[hashes, valid.X.hashes[unseen.rows]]
                if valid.X is train.X:
                    rows = np.r_[rows, unseen.rows]
                else:
                    some, others = train.X.take(rows).arrays, valid.X.take(unseen.rows).arrays
                    arrays = [one_below(some[name], others[name]) for name in train.X.names]
                    rows = np.arange(len(rows) + len(unseen.rows))
                if groups is not None:
                    groups = None if unseen.groups is None else np.r_[groups, unseen.groups]
        copies = copies_of(arrays, rows, groups)
        # Of a member on average, as each trained for a while of its own.
        epochs = self.history_[len(self.history_) - self._epochs_run :]
        trained = [np.isfinite(epoch.get("train_task_loss_of_members", [0.0])).mean() for epoch in epochs]
        batches = [epoch.get("train_batch_count", 0) for epoch in epochs]
        updates = round(sum(share * n for share, n in zip(trained, batches, strict=True)))
        try:
            # A fifth as many updates as the model had cost an eighth of a fit without encoders; halving them lowers
            # values of nonlinear dependency by up to a tenth. Members stop early and share some of the work: a third
            # costs a fifth of their fit, where a fifth halved the value of a few hundred images.
            self._train_reporting_critics(
                z,
                hashes=hashes,
                groups=groups,
                copies=copies,
                held_out=held_out,
                n_updates=min(max(1, updates // (5 if self._n_members == 1 else 3)), DEPENDENCY_UPDATES),
                thrifty=True,
            )
        except TooFewSamplesError:
            return  # dependency_score asks for fit_dependency with more samples
        own = valid is None or valid.X is train.X or copies_of(train.X.arrays.values(), candidates, None).found
        if own:  # not only of training samples that were passed as X_val
            warn_all(copies.warnings, stacklevel=4)
        self._keep_candidates(train.X, candidates, [values[: len(candidates)] for values in z])

    def _reported_rows(
        self, samples: Samples, most: int, groups: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Positions in X of samples with every modality, at most so many, labelled ones first; and their groups.

        Of those without a label none is of a group that others have, or the same as one of them: it would be trained
        on where these are calibrated on.
        """
        part = self._some_complete(samples, most)
        unlabelled, of_unlabelled = samples.unlabelled, samples.unlabelled_groups
        if unlabelled is None:
            return part.rows, part.groups
        apart = samples.X.complete[unlabelled]
        if groups is not None and of_unlabelled is not None:
            apart = apart & ~np.isin(of_unlabelled, groups)
        more = np.random.default_rng(self._seed).permutation(np.flatnonzero(apart))[: most - len(part.rows)]
        hashes = samples.X.hashes
        more = np.sort(more[~np.isin(hashes[unlabelled[more]], hashes[part.rows])])
        if part.groups is None or of_unlabelled is None:
            return np.r_[part.rows, unlabelled[more]], None
        return np.r_[part.rows, unlabelled[more]], np.r_[part.groups, of_unlabelled[more]]

    def _some_complete(self, samples: Samples, most: int) -> Samples:
        """Samples with every modality, at most so many of them."""
        complete = np.flatnonzero(samples.complete)
        if len(complete) > most:
            complete = np.sort(np.random.default_rng(self._seed).permutation(complete)[:most])
        return samples.take(complete)

    def _candidates(self, samples: Samples, parts: list[Part], *, reset: bool, streamed: bool) -> list[Candidate]:
        """What is trained side by side, to choose from; one where nothing is there to choose by."""
        if not reset and not isinstance(self.lam, Real):
            agreement = candidates_of(0.0, self._agreement)[0].agreement
            if self._agreement == "auto":
                agreement = getattr(self, "_last_agreement", agreement)
            return [Candidate(self.lam_, agreement)]  # those that were chosen
        candidates = candidates_of(self.lam, self._agreement)
        if len(candidates) == 1:
            return candidates
        if len(self.modalities_) == 1:
            return candidates[:1]
        held_out = self._compared(samples, parts)
        n_classes = self._n_net_outputs() if is_classifier(self) else None
        if streamed or held_out is None or not can_choose(held_out.y, n_classes):
            return [default_of(self.lam, self._agreement)]
        return candidates

    def _fit_scaling(self, train: Samples, *, streamed: bool) -> None:
        for name, seen in zip(train.X.names, train.X.rows[train.rows].any(axis=0), strict=True):
            if not seen:
                raise ValueError(
                    f"modality {name!r} is observed in none of the {len(train.y)} samples that are left to train on, "
                    "without those of zero weight and those that are held out for validation. Leave it out, or pass "
                    "X_val and y_val or early_stopping=False."
                )
        unscaled = self._schema.unscaled if self.scaling is not None else train.X.names
        rows, weight = train.with_unlabelled()
        scalers = [fit_scalers(train.X, rows, weight, unscaled=unscaled, scaling=scaling) for scaling in self._scalings]
        self.scalers_ = scalers[0] if len(scalers) == 1 else scalers
        self._fit_target(train.y, train.weight)
        # The first of many chunks says too little of the target for a choice that stays.
        y = None if streamed else self._encode_target(train.y, np.float64)
        columns = find_columns(train.X, rows, y, classes=is_classifier(self))
        self._fillings = [
            fit_fillings(
                train.X,
                rows,
                weight,
                columns,
                scale={name: functools.partial(scale, each, name) for name in each},
            )
            for each in scalers
        ]

    def _to_batch(self, X: Observed, dtype: torch.dtype, group: int = 0) -> Batch:
        """What a group of the members reads of X."""
        scalers = self.scalers_ if isinstance(self.scalers_, dict) else self.scalers_[group]
        fillings = self._fillings[group]
        return as_batch(X, dtype, keys=self._keys, scale=functools.partial(scale, scalers), fillings=fillings)

    def _prepared(self, X: Observed) -> Observed:
        """Let the module compute once what training does not change, such as the states of a frozen backbone."""
        prepare = getattr(self._member_nets()[0].fusion_module_, "prepare", None)
        if prepare is None:
            return X
        X = X.loaded()
        with isolated():
            prepared = prepare({self._keys[name]: array for name, array in X.arrays.items()})
        return X.prepared({name: prepared[self._keys[name]] for name in X.names})

    def _prepared_parts(self, parts: list[Part]) -> list[Part]:
        prepared: dict[int, Observed] = {}
        for samples in (samples for part in parts for samples in (part.train, part.valid) if samples is not None):
            if id(samples.X) not in prepared:
                prepared[id(samples.X)] = self._prepared(samples.X)
        return [
            Part(
                replace(part.train, X=prepared[id(part.train.X)]),
                None if part.valid is None else replace(part.valid, X=prepared[id(part.valid.X)]),
            )
            for part in parts
        ]

    def _datasets(self, parts: list[Part], candidates: list[Candidate]) -> tuple[Any, Any]:
        """What the net is trained and validated on; parts of one X share its memory, and candidates a member's."""
        batches: dict[tuple[int, int], Batch] = {}
        others: dict[int, MaskedDataset] = {}
        # With nothing to learn from samples without a label, training is what it is without them.
        teach = len(self.modalities_) > 1 and any(
            candidate.agreement or (candidate.lam and not self.net_.measure_.needs_y) for candidate in candidates
        )

        def dataset(samples: Samples, group: int, *, training: bool) -> MaskedDataset:
            key = id(samples.X), group
            if key not in batches:
                batches[key] = self._to_batch(samples.X, self.net_.dtype, group)
            if training and teach and samples.unlabelled is not None and group not in others:
                others[group] = MaskedDataset(batches[key], dtype=self.net_.dtype, rows=samples.unlabelled)
            return self._dataset(batches[key], samples, others.get(group) if training else None)

        groups = [self._group_of(k) for k in range(len(parts))]
        train = [dataset(part.train, group, training=True) for part, group in zip(parts, groups, strict=True)]
        valid = [
            dataset(part.valid, group, training=False)
            for part, group in zip(parts, groups, strict=True)
            if part.valid is not None
        ]
        if not isinstance(self.net_, CommitteeNet):
            return train[0], valid[0] if valid else None
        train, valid = ([part for part in each for _ in candidates] for each in (train, valid))
        return MemberDatasets(train), MemberDatasets(valid) if valid else None

    def _dataset(self, batch: Batch, samples: Samples, unlabelled: MaskedDataset | None) -> MaskedDataset:
        dtype = self.net_.dtype
        y = self._encode_target(samples.y, np.float64 if dtype == torch.float64 else np.float32)
        weight = samples.weight
        if weight is not None:
            # Relative to those of the same part of the folds: a sample of weight two is then one that is there twice.
            scale = weight.mean() if hasattr(self, "_folds") else self._weight_scale
            if not scale:
                raise ValueError(
                    "class_weight gives every sample of a fold, or of what is left without it, the weight zero. Hold "
                    "out other folds, by cv or groups, or leave out the samples of these classes."
                )
            weight = weight / scale
        return MaskedDataset(batch, y, weight, dtype=dtype, rows=samples.rows, unlabelled=unlabelled)

    def _run_net(
        self, train: Any, valid: Any, max_epochs: int | None, keepers: list[OutOfFold], candidate: Candidate
    ) -> bool:
        """Run the epochs of the net, with these settings where members have none; False if Ctrl-C cut them short."""
        net = self.net_
        epochs = max_epochs or 1
        net.callbacks = callbacks_of(self, net, keepers, max_epochs=max_epochs, held_out=valid is not None)
        net.verbose = int(self.verbose > 1)
        net.callbacks__print_log = PrintLog(keys_ignored=MEMBER_RECORDS) if net.verbose else None
        net.initialize_callbacks()
        # A warm start may come with other values.
        for name in ("unroll", "n_negatives", "modality_dropout", "batch_size"):
            setattr(net, name, getattr(self, name))
        for name, value in candidate._asdict().items():
            setattr(net, name, value)
        net.max_epochs, net.accumulate = epochs, 1  # unless a callback says otherwise
        for group in net.optimizer_.param_groups:
            group["lr"] = group.get("own_lr", self.lr)
            if "weight_decay" in group:
                group["weight_decay"] = self.weight_decay
        for group in net.optimizer_critic_.param_groups if hasattr(net, "optimizer_critic_") else ():
            group["lr"] = self.critic_lr
        done = len(net.history)
        net.train_split = None if valid is None else predefined_split(valid)
        try:
            net.partial_fit(train)
        except BaseException:
            net.end_training()
            net.callbacks = []  # a progress bar is still open in them, for one
            net.initialize_callbacks()
            raise
        finally:
            net.train_split = None  # it holds the validation data
        self._epochs_run = len(net.history) - done
        finished = net.stopped_ or net.completed_
        if not finished and not net.n_updates_:
            raise KeyboardInterrupt("training was interrupted before its first update")  # skorch swallows it
        return finished

    def _summarize(self, X: Observed, *, whole: bool) -> None:
        """Set the attributes that describe the training, and see that its last update left a usable net."""
        net, prediction = self.net_, np.zeros(0)
        if whole:
            some = X.take(slice(100))
            prediction = self._applied(some, "prediction")
            self._n_features_out = self._applied(some.take(slice(1)), "fused").shape[1]
        parameters = [parameter for name in net._modules for parameter in getattr(net, name + "_").parameters()]
        largest = torch.stack([norm.float() for norm in torch._foreach_norm(parameters, ord=math.inf)])
        if not (torch.isfinite(largest).all() and np.isfinite(prediction).all()):
            raise FloatingPointError(
                f"non-finite predictions or parameters after epoch {len(net.history)}. Try a smaller lr or critic_lr."
            )
        for parameter in parameters:
            parameter.grad = None
        self.history_ = net.history
        self.n_iter_ = len(net.history)
        # Not built anew: after many a partial_fit that would take longer than training.
        curves = {
            "loss_curve_": "train_task_loss",
            "validation_loss_curve_": "valid_task_loss",
            "dependency_curve_": "train_dependency",
        }
        for name, key in curves.items():
            curve = getattr(self, name, [])[: self.n_iter_ - self._epochs_run]
            setattr(self, name, curve + [float(row.get(key, math.nan)) for row in net.history[len(curve) :]])

    # -- applying ----------------------------------------------------------------------------------------------------

    def _apply(self, X: Any) -> tuple[np.ndarray, np.dtype]:
        """Outputs of the net (n, n_outputs), and the floating type of X."""
        return self._evaluated(X, "prediction", self._average_outputs)

    def _evaluated(
        self, X: Any, output: Literal["prediction", "fused"], average: Callable[..., np.ndarray]
    ) -> tuple[np.ndarray, np.dtype]:
        check_is_fitted(self, "net_")
        observed = self._read_later(X)
        if self.missing == "critic":
            self._check_imputer(observed.complete)
        values = self._completed(observed, output, average)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"the {'predictions' if output == 'prediction' else 'fused representations'} of "
                f"{int((~finite).sum())} samples are not finite (first: sample {int(np.argmin(finite))}): their values "
                "are too far from those of the data passed to fit."
            )
        return values, observed.dtype

    def _represent(self, X: Observed, rows: np.ndarray | None = None) -> list[np.ndarray]:
        """Representations (n, k_m) of X, or of some rows of it, by modality."""
        if not (len(X) if rows is None else len(rows)):
            return [np.empty((0, dim)) for dim in self.net_.fusion_module_.code_dims.values()]
        z = self._represented(X, rows)
        for name, part in zip(self.modalities_, z, strict=True):
            if not np.isfinite(part).all():
                raise ValueError(
                    f"the representations of modality {name!r} are not finite: its values are too far from those of "
                    "the data passed to fit."
                )
        return z

    def _read_later(self, X: Any) -> Observed:
        return self._prepared(self._schema.read(self, X))

    def _check_imputer(self, complete: np.ndarray) -> None:
        if not hasattr(self, "imputer_") and not complete.all():
            raise ValueError(
                f"{int((~complete).sum())} of {len(complete)} samples lack a modality, and there is no critic, or no "
                'training sample, for missing="critic" to complete them with. fit provides both with this setting, '
                "lam > 0 and enough samples that have every modality; partial_fit never does. Call fit_dependency(X) "
                'with training data first, or set_params(missing="auto"), which then takes the mean.'
            )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    def _to_save(self) -> dict[str, Any]:
        """What a file of :mod:`..persistence` keeps: callbacks belong to one fit, and to files of one machine."""
        return {**super()._to_save(), "callbacks": None}

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of what ``transform`` returns: "fused0", "fused1", and so on.

        Parameters
        ----------
        input_features : Ignored
            Present for API consistency.

        Returns
        -------
        names : array of str of shape (n_fused,)
        """
        check_is_fitted(self, "_n_features_out")
        return np.asarray([f"fused{i}" for i in range(self._n_features_out)], dtype=object)

    def transform(self, X: Any) -> np.ndarray:
        """Return the fused representation of the samples; those of all members of a committee side by side.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples, in any form accepted by ``fit``; modalities may be absent, None or NaN.

        Returns
        -------
        fused : array of shape (n_samples, n_fused)
            In the floating type of X.

        Raises
        ------
        NotFittedError, ValueError
            As :meth:`predict`.
        """
        fused, dtype = self._evaluated(X, "fused", weighted_means)
        fused = fused.astype(dtype, copy=False)
        labels = row_labels(X) if isinstance(X, Mapping) else None  # scikit-learn looks for those of a frame itself
        if labels is not None and _get_output_config("transform", estimator=self)["dense"] == "pandas":
            return pd.DataFrame(fused, index=labels)
        return fused
