"""MDMFusionRegressor: one or several numbers from several modalities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import StrOptions

from ..fusion._committee import Average, mean_prediction
from ._base import BaseMDMFusion
from ._parameters import with_shared_parts
from ._scaling import moderate, standardize
from ._target import check_outputs, check_target, scored_target, target_columns

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

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MDMFusionRegressor:
        """Train for one epoch on a batch of samples.

        The first call fixes modalities and scaling. Call ``fit_dependency`` before ``dependency_score``. Predictions
        are then the mean of the networks, as the models beside them and all weights come from ``fit`` alone.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights in the task loss, relative to their mean in the first call.

        Returns
        -------
        self : object
        """
        return self._partial_fit(X, y, sample_weight)

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
        """
        prediction, dtype = self._apply(X)
        prediction = self._in_units_of_y(prediction).astype(dtype, copy=False)
        return prediction.ravel() if self._single_target else prediction

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination of the predictions.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True targets. If X and y have row labels, these must agree.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
        """
        y, sample_weight = scored_target(self, X, y, sample_weight)
        return super().score(X, y, sample_weight)

    def _read_target(
        self, y: Any, n_samples: int, *, rows: np.ndarray | None = None, reset: bool, classes: Any = None
    ) -> np.ndarray:
        columns = target_columns(y)
        y = check_target(self, y, n_samples, rows, numeric=True)
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
        return y

    def _fit_target(self, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        self.target_scaler_ = None
        if self.scaling is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                scaler = StandardScaler().set_output(transform="default").fit(y, sample_weight=moderate(sample_weight))
            if not (np.isfinite(scaler.mean_).all() and np.isfinite(scaler.var_).all()):
                raise ValueError("y has values too large to standardise. Rescale it.")
            self.target_scaler_ = scaler

    def _encode_target(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return (y if self.target_scaler_ is None else standardize(self.target_scaler_, y)).astype(dtype)

    def _in_units_of_y(self, outputs: np.ndarray) -> np.ndarray:
        if self.target_scaler_ is None:
            return outputs
        # As inverse_transform, whose validation takes longer than the prediction of a row.
        return outputs * self.target_scaler_.scale_ + self.target_scaler_.mean_

    def _criterion(self) -> torch.nn.Module:
        cls, power = _LOSSES[self.loss]
        criterion: Any = cls(reduction="none")
        scale = np.ones(self.n_outputs_) if self.target_scaler_ is None else self.target_scaler_.scale_
        criterion.log_scale = tuple((scale**power).tolist())
        return criterion

    def _keep_out_of_fold(self, outputs: np.ndarray, rows: np.ndarray, y: np.ndarray, n_passed: int) -> None:
        values = self._in_units_of_y(outputs)
        prediction = np.full((n_passed, self.n_outputs_), np.nan)
        prediction[rows] = values
        self.oof_prediction_ = prediction.ravel() if self._single_target else prediction
        self.oof_score_ = float(r2_score(y, values)) if len(y) > 1 else math.nan

    def _n_net_outputs(self) -> int:
        return self.n_outputs_

    def _average_of_members(self) -> Average:
        return mean_prediction

    def _average_outputs(self, outputs: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
        return np.add.reduceat(weights * outputs, starts)
