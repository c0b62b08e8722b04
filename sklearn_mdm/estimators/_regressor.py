"""MDMFusionRegressor: one or several numbers from several modalities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions

from ..fusion._committee import Average, mean_prediction
from ..utils._arguments import check_rows, named
from ..utils._statistics import power_of_two_unit
from ._base import BaseMDMFusion
from ._parameters import with_shared_parts
from ._partly_labelled import PartlyLabelledLoss, label_factors
from ._scaling import of_mean_one, standard_scaler, standardize
from ._target import check_outputs, check_target, r2_of_labelled, scored_target, target_columns

_LOSSES: dict[str, tuple[type[torch.nn.Module], int]] = {
    # With the power of the target's scale by which the loss grows.
    "squared_error": (torch.nn.MSELoss, 2),
    "absolute_error": (torch.nn.L1Loss, 1),
    "huber": (torch.nn.HuberLoss, 2),
}


@with_shared_parts
@dataclass(kw_only=True, eq=False, repr=False)
class MDMFusionRegressor(RegressorMixin, MultiOutputMixin, BaseMDMFusion):
    r"""Regression on several modalities, by maximising their mutual dependency.

    Encodes each modality, fuses the representations :math:`z_1, \dots, z_m`, and trains with

    .. math:: L = L_{down} - \lambda \, L_{MDM}(z_1, \dots, z_m)

    where :math:`L_{MDM}` is the dependency between the representations, estimated by a critic that is trained
    alongside (Algorithm 1 of [1]_).

    By default predictions are those of a committee: eight such networks, averaged with a linear and a kernel model
    where these pay; see ``n_estimators``, ``linear_member`` and ``kernel_member``.

    Parameters
    ----------
    <shared parameters, in _parameters.py>
    loss : {"squared_error", "absolute_error", "huber"}, default="squared_error"
        Task loss, averaged over outputs.

    Attributes
    ----------
    <shared attributes, in _parameters.py>
    target_scaler_ : StandardScaler or None
        Scaling of y.
    n_outputs_ : int
        Number of targets.
    oof_prediction_ : array of shape (n_samples,) or (n_samples, n_outputs)
        Prediction of every training sample by the members that held it out, NaN where there is none; absent like
        ``oof_score_``.

    See Also
    --------
    MDMFusionClassifier : The same for classes.
    DependencyEstimator : Dependency between the modalities themselves, without a task.
    ModalityTransformer : Scikit-learn transformers per modality.
    ModalityDict : Dict of modalities that scikit-learn can index, for grid searches and cross-validation.

    Notes
    -----
    <shared notes and references, in _parameters.py>

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.normal(size=(300, 1))
    >>> X = {"audio": shared + rng.normal(size=(300, 4)), "text": shared + rng.normal(size=(300, 6))}
    >>> y = shared.ravel()
    >>> model = MDMFusionRegressor(lam=0.1, random_state=0).fit(X, y)
    >>> model.predict(X).shape
    (300,)
    >>> bool(model.score(X, y) > 0.7)
    True
    >>> bool(model.dependency_score(X) > 0.1)  # nats
    True
    >>> model.predict({"text": X["text"]}).shape  # audio is missing
    (300,)
    """

    loss: Literal["squared_error", "absolute_error", "huber"] = "squared_error"

    _parameter_constraints: ClassVar[dict] = {
        **BaseMDMFusion._parameter_constraints,
        "loss": [StrOptions(set(_LOSSES))],
    }

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_unlabeled: Any = None) -> MDMFusionRegressor:
        """Train for one epoch on a batch of samples.

        The first call fixes modalities, scaling and ``measure="auto"``. Call ``fit_dependency`` before
        ``dependency_score``. Predictions are then the mean of the networks, as the models beside them and all weights
        come from ``fit`` alone.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, as in ``fit``; a label at least in every call, two of each output in the first.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights in the task loss, relative to their mean in the first call.
        X_unlabeled : dict, ModalityDict, data frame or array, default=None
            Further samples, without a label. With some, here or in y, an epoch passes over the labelled ones as often
            as it takes to make 16 updates.

        Returns
        -------
        self : object
        """
        return self._partial_fit(X, y, sample_weight, X_unlabeled=X_unlabeled)

    def predict(self, X: Any) -> np.ndarray:
        """Predict targets.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples; modalities may be absent, None or NaN.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_outputs)
            In the floating type of X.

        Raises
        ------
        NotFittedError, ValueError
            If the estimator is not fitted, X is not of the modalities and features of ``fit``, or its values are so far
            from those of ``fit`` that predictions are not finite, or too large for the type of X. With
            ``missing="critic"`` also if a modality is missing and there is no critic.
        """
        prediction, dtype = self._apply(X)
        with np.errstate(over="ignore"):
            prediction = self._in_units_of_y(prediction).astype(dtype, copy=False)
        if np.isinf(prediction).any():
            raise ValueError(
                f"predictions are too large for {dtype}, the floating type of X. Rescale y, or pass X in float64."
            )
        return prediction.ravel() if self._single_target else prediction

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination of the predictions.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True targets. If X and y have row labels, these must agree. Samples without a label are left out, of each
            output those without a label of it.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
            R2, best at 1, of several outputs their mean; negative where the mean of y predicts better.
        """
        y, sample_weight, labelled = scored_target(self, X, y, sample_weight)
        prediction = self.predict(X)
        check_rows("y", len(labelled), len(prediction))
        if labelled.all() and not np.asarray(pd.isna(y)).any():
            with named("y"):
                if power_of_two_unit(np.max(np.abs(np.asarray(y, dtype=float)), initial=0)) == 1:
                    with np.errstate(over="ignore"):  # of predictions that have nothing to do with y: R2 is -inf
                        return r2_score(y, prediction, sample_weight=sample_weight)
                y = np.asarray(y, dtype=float)
        prediction, n = prediction[labelled], len(y)
        return r2_of_labelled(y.reshape(n, -1), prediction.reshape(n, -1), sample_weight)

    def _read_target(
        self, y: Any, n_samples: int, *, rows: np.ndarray | None = None, reset: bool, classes: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        columns = target_columns(y)
        y, labelled = check_target(self, y, n_samples, rows, fewest=2 if reset else 1, numeric=True)
        if reset:
            self._target_columns = columns
            self._single_target = y.ndim == 1
            self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]
        y = y.reshape(len(y), -1).astype(np.float64)
        if y.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y has {y.shape[1]} outputs, but {type(self).__name__} was fitted with {self.n_outputs_}."
            )
        check_outputs(self, columns)
        counts = np.isfinite(y).sum(axis=0)
        if reset and counts.min() < min(2, len(y)):
            output = int(counts.argmin())
            raise ValueError(
                f"output {output if columns is None else repr(columns[output])} of y has labels in {counts[output]} of "
                f"{n_samples} samples, while a minimum of 2 is required. Leave it out."
            )
        return y, labelled

    def _fit_target(self, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        without = np.flatnonzero(np.isnan(y).all(axis=0))
        if len(without):
            raise ValueError(
                f"output {without[0]} of y has no label among the {len(y)} samples that are left to train on, without "
                "those that are held out for validation. Leave it out, or pass X_val and y_val or early_stopping=False."
            )
        self._label_factors = label_factors(y, sample_weight)
        self.target_scaler_ = None
        if self.scaling is not None:
            scaler = standard_scaler(lambda: [(y, of_mean_one(sample_weight))])
            if not np.isfinite(scaler.var_).all():  # losses are logged in its unit
                raise ValueError(
                    "y has values too large to standardise: squares in its units would be no numbers. Rescale it."
                )
            self.target_scaler_ = scaler

    def _encode_target(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        y = y if self.target_scaler_ is None else standardize(self.target_scaler_, y)
        with np.errstate(over="ignore"):
            encoded = y.astype(dtype)
        if np.isinf(encoded).any():
            scaling = "" if self.scaling is not None else ', or leave scaling="auto"'
            raise ValueError(f"y has values too large for {np.dtype(dtype)}. Rescale it{scaling}.")
        return encoded

    def _in_units_of_y(self, outputs: np.ndarray) -> np.ndarray:
        if self.target_scaler_ is None:
            return outputs
        # As inverse_transform, whose validation takes longer than the prediction of a row.
        return outputs * self.target_scaler_.scale_ + self.target_scaler_.mean_

    def _criterion(self) -> torch.nn.Module:
        cls, power = _LOSSES[self.loss]
        criterion: Any = cls(reduction="none")
        if self.n_outputs_ > 1:
            criterion = PartlyLabelledLoss(criterion, self._label_factors)
        scale = np.ones(self.n_outputs_) if self.target_scaler_ is None else self.target_scaler_.scale_
        criterion.log_scale = tuple((scale**power).tolist())
        return criterion

    def _keep_out_of_fold(self, outputs: np.ndarray, rows: np.ndarray, y: np.ndarray, n_passed: int) -> None:
        values = self._in_units_of_y(outputs)
        prediction = np.full((n_passed, self.n_outputs_), np.nan)
        prediction[rows] = values
        self.oof_prediction_ = prediction.ravel() if self._single_target else prediction
        self.oof_score_ = r2_of_labelled(y, values)

    def _n_net_outputs(self) -> int:
        return self.n_outputs_

    def _average_of_members(self) -> Average:
        return mean_prediction

    def _average_outputs(self, outputs: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
        return np.add.reduceat(weights * outputs, starts)
