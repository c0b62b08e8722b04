"""What both estimators share: fit in its steps - read, split, train, report - and applying what was fitted."""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, TransformerMixin, is_classifier
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from ..callbacks._resumable import seed_of
from ..encoders._modality_encoders import ENCODERS
from ..fusion import FUSIONS
from ..fusion._committee import Average
from ..inputs._cells import find_columns, fit_fillings
from ..inputs._keys import modality_keys
from ..inputs._labels import row_labels
from ..inputs._observed import Observed
from ..inputs._schema import ModalitySchema
from ..measures import MEASURES
from ..net._data import Batch, as_batch
from ..net._state import NetState
from ..persistence._savable import Savable
from ..utils._fit_tasks import CallbackSupportMixin, fit_task
from ..utils._isolation import isolated
from ..utils._parameter_objects import check_nested
from ._absent import STREAMED, WHY_ABSENT
from ._committee_mixin import OUT_OF_FOLD, CommitteeMixin
from ._critic_imputer import check_imputer, weighted_means
from ._dependency_mixin import DependencyMixin
from ._few_labels import MAX_EPOCHS, has_few_labels
from ._lam_path import candidates_of, wanted_candidates
from ._members import Folds, Part
from ._net_builder import build_net, check_callbacks
from ._net_data import datasets_of, prepared, with_prepared
from ._parameters import Parameters
from ._reading import read_samples
from ._reporting import report
from ._samples import Samples, check_all_seen, check_not_cut_like
from ._scaling import fit_scalers, scale
from ._splitting import split
from ._target import check_scoring_callbacks
from ._training import check_usable, run_epochs
from ._training_rows import TrainingRows

if TYPE_CHECKING:
    from typing_extensions import Self

REGISTRIES: dict[str, Mapping[str, type]] = {"fusion": FUSIONS, "encoder": ENCODERS, "measure": MEASURES}
# Rows of a stream that are remembered, a random part of more: 38 MB of hashes.
MAX_STREAMED_ROWS = 2**22

# What n_estimators="auto" is, unless the fusion asks for a single member.
MEMBERS = 8

# What belongs to one net, and what to the critics that report.
OF_ONE_NET = ("net_", "_net_rows", "_n_features_out", "_folds", "lam_", "agreement_", "_last_agreement", "lam_path_")
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

    def _criterion(self) -> torch.nn.Module:
        raise NotImplementedError

    def _average_of_members(self) -> Average:
        raise NotImplementedError

    def _target_weight(self, y: np.ndarray, sample_weight: np.ndarray | None, *, reset: bool) -> np.ndarray | None:
        """Combine sample weights with what the target asks for, learnt from y on reset."""
        return sample_weight

    def _stratify(self, y: np.ndarray) -> np.ndarray | None:
        """Classes that what is held out has in equal parts, if there are any."""
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
            with self._keeping_folds() as earlier:
                parts, folds = split(self, samples, X_val, y_val, earlier)
                if folds is not None:
                    self._folds = folds
                epochs = min(self.max_epochs, MAX_EPOCHS) if has_few_labels(self, samples) else self.max_epochs
                parts, finished = self._train(samples, parts, reset=reset, max_epochs=epochs)
            try:
                if finished:
                    report(self, samples, parts)
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
                self._not_held_out = STREAMED
                _, finished = self._train(samples, parts, reset=reset, max_epochs=None)
        if not finished:
            raise KeyboardInterrupt("partial_fit was interrupted")  # which must end the loop over the data, too
        return self

    @contextlib.contextmanager
    def _keeping_folds(self) -> Iterator[Folds | None]:
        """Take what the last fit held out; put it back where training fails, and the net with it."""
        earlier = {name: self.__dict__.pop(name, None) for name in ("_folds", "_not_held_out")}
        try:
            yield earlier["_folds"]
        except BaseException:
            for name, value in earlier.items():
                self.__dict__.pop(name, None)
                self.__dict__.update({} if value is None else {name: value})
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
        observed = self._learn_layout(X) if reset else self._schema.read(self, X)
        samples = read_samples(self, observed, y, sample_weight, groups, X_unlabeled, reset=reset, classes=classes)
        self._agreement = self.agreement if samples.unlabelled is not None else None
        if reset:
            # Weights keep their meaning from one partial_fit to the next.
            self._weight_scale = 1.0 if samples.weight is None else float(samples.weight.mean())
            self.modalities_ = list(self._schema.names)
            self._warn_single_modality()
        return samples

    def _learn_layout(self, X: Any) -> Observed:
        """Forget an earlier fit, and read X as what its layout is to be learned from."""
        # A fit that fails must not leave a net that belongs to other data.
        for name in (*OF_ONE_NET, *REPORTED, *OUT_OF_FOLD):
            self.__dict__.pop(name, None)
        self._seen_by_all = False
        self._n_members = self._wanted_members()
        auto = self.scaling == "auto"
        self._scalings: list[Any] = ["robust", "rank"][: self._n_members] if auto else [self.scaling]
        # A fusion that reads texts brings what turns them into arrays. (A class is rejected later.)
        reader = None if isinstance(self.fusion, type) else getattr(self.fusion, "schema", None)
        self._schema = ModalitySchema() if reader is None else reader()
        self._schema.stays_on_disk = reader is None
        observed = self._schema.fit_read(self, X, self.modalities, min_samples=2)
        self._keys = modality_keys(self._schema.names)
        self._seed = seed_of(self.random_state, self.callbacks)
        return observed

    def _train(
        self, samples: Samples, parts: list[Part], *, reset: bool, max_epochs: int | None
    ) -> tuple[list[Part], bool]:
        """Train the net, a new one on reset, for at most so many epochs; None makes the one epoch of a partial_fit.

        Returns the samples as the module prepared them, and whether training came to its end before a Ctrl-C.
        """
        trained_on = parts[0].train
        if len(parts) > 1:
            trained_on = samples.take(np.unique(np.concatenate([part.train.rows for part in parts])))
        candidates = wanted_candidates(self, samples, parts, reset=reset, streamed=max_epochs is None)
        if reset:
            self._fit_scaling(trained_on, streamed=max_epochs is None)
            self.net_ = build_net(self, samples.X, candidates)
        elif not hasattr(self.net_, "optimizer_"):
            self.net_.initialize_optimizer()  # which no file of ``save`` holds
        before = None if reset else NetState(self.net_)
        try:
            parts = with_prepared(parts, self._prepared)
            keepers = self._keepers(parts, len(candidates))
            n_before = len(self.net_.history)
            finished = run_epochs(self, *datasets_of(self, parts, candidates), keepers, candidates[0], max_epochs)
            self._epochs_run = len(self.net_.history) - n_before
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

    def _fit_scaling(self, train: Samples, *, streamed: bool) -> None:
        check_all_seen(train)
        unscaled = self._schema.unscaled if self.scaling is not None else train.X.names
        rows, weight = train.with_unlabelled()
        scalers = [fit_scalers(train.X, rows, weight, unscaled=unscaled, scaling=scaling) for scaling in self._scalings]
        self.scalers_ = scalers[0] if len(scalers) == 1 else scalers
        self._fit_target(train.y, train.weight)
        # The first of many chunks says too little of the target for a choice that stays.
        y = None if streamed else self._encode_target(train.y, np.float64)
        columns = find_columns(train.X, rows, y, classes=is_classifier(self))
        scales = [{name: functools.partial(scale, each, name) for name in each} for each in scalers]
        self._fillings = [fit_fillings(train.X, rows, weight, columns, scale=of_names) for of_names in scales]

    def _to_batch(self, X: Observed, dtype: torch.dtype, group: int = 0) -> Batch:
        """What a group of the members reads of X."""
        scalers = self.scalers_ if isinstance(self.scalers_, dict) else self.scalers_[group]
        fillings = self._fillings[group]
        return as_batch(X, dtype, keys=self._keys, scale=functools.partial(scale, scalers), fillings=fillings)

    def _prepared(self, X: Observed) -> Observed:
        return prepared(self._member_nets()[0].fusion_module_, X, self._keys)

    def _summarize(self, X: Observed, *, whole: bool) -> None:
        """Set the attributes that describe the training, and see that its last update left a usable net."""
        net, prediction = self.net_, np.zeros(0)
        if whole:
            some = X.take(slice(100))
            prediction = self._applied(some, "prediction")
            self._n_features_out = self._applied(some.take(slice(1)), "fused").shape[1]
        check_usable(net, prediction)
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
            check_imputer(self, observed.complete)
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
