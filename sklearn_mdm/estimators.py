"""MDMFusionRegressor and MDMFusionClassifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_X_y, compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from .base import BaseMDMFusion

__all__ = ["MDMFusionClassifier", "MDMFusionRegressor"]

_LOSSES: dict[str, tuple[type[torch.nn.Module], int]] = {
    # With the power of the target's scale by which the loss grows.
    "squared_error": (torch.nn.MSELoss, 2),
    "absolute_error": (torch.nn.L1Loss, 1),
    "huber": (torch.nn.HuberLoss, 2),
}


class MDMFusionRegressor(RegressorMixin, MultiOutputMixin, BaseMDMFusion):
    def __init__(
        self,
        *,
        fusion: Any = "concat",
        encoder: Any = "auto",
        measure: Any = "kl",
        lam: float = 0.1,
        unroll: int = 1,
        modalities: Mapping[Any, Any] | None = None,
        missing: str = "mean",
        modality_dropout: float = 0.0,
        critic_hidden_dims: Sequence[int] = (64, 64),
        critic_lr: float = 1e-3,
        n_negatives: int = 1,
        standardize: bool = True,
        loss: str = "squared_error",
        optimizer: Any = "adamw",
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 64,
        max_epochs: int = 100,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        callbacks: list | None = None,
        device: str = "auto",
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.fusion = fusion
        self.encoder = encoder
        self.measure = measure
        self.lam = lam
        self.unroll = unroll
        self.modalities = modalities
        self.missing = missing
        self.modality_dropout = modality_dropout
        self.critic_hidden_dims = critic_hidden_dims
        self.critic_lr = critic_lr
        self.n_negatives = n_negatives
        self.standardize = standardize
        self.loss = loss
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.device = device
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    _parameter_constraints: dict = {**BaseMDMFusion._parameter_constraints, "loss": [StrOptions(set(_LOSSES))]}

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        X_val: Any = None,
        y_val: Any = None,
    ) -> MDMFusionRegressor:
        reset = not (self.warm_start and hasattr(self, "net_"))
        return self._fit(X, y, sample_weight, groups=groups, X_val=X_val, y_val=y_val, reset=reset)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MDMFusionRegressor:
        return self._fit(X, y, sample_weight, reset=not hasattr(self, "net_"), one_epoch=True)

    def predict(self, X: Any) -> np.ndarray:
        prediction, _, dtype = self._apply(X)
        if self.target_scaler_ is not None:
            prediction = self.target_scaler_.inverse_transform(prediction)
        prediction = prediction.astype(dtype, copy=False)
        return prediction.ravel() if self._single_target else prediction

    def _read_target(
        self, y: Any, n_samples: int, *, rows: np.ndarray | None = None, reset: bool, classes: Any = None
    ) -> np.ndarray:
        y = _check_target(self, y, n_samples, rows, multi_output=True, y_numeric=True)
        if reset:
            self._single_target = y.ndim == 1
            self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]
        y = y.reshape(len(y), -1).astype(np.float64)
        if y.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y has {y.shape[1]} outputs, but {type(self).__name__} was fitted with {self.n_outputs_}."
            )
        return y

    def _fit_target(self, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        self.target_scaler_ = StandardScaler().fit(y, sample_weight=sample_weight) if self.standardize else None

    def _encode_target(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return (y if self.target_scaler_ is None else self.target_scaler_.transform(y)).astype(dtype)

    def _criterion(self) -> torch.nn.Module:
        cls, power = _LOSSES[self.loss]
        criterion = cls(reduction="none")
        scale = np.ones(self.n_outputs_) if self.target_scaler_ is None else self.target_scaler_.scale_
        criterion.log_scale = tuple((scale**power).tolist())
        return criterion

    def _n_net_outputs(self) -> int:
        return self.n_outputs_


class MDMFusionClassifier(ClassifierMixin, BaseMDMFusion):
    def __init__(
        self,
        *,
        fusion: Any = "concat",
        encoder: Any = "auto",
        measure: Any = "kl",
        lam: float = 0.1,
        unroll: int = 1,
        modalities: Mapping[Any, Any] | None = None,
        missing: str = "mean",
        modality_dropout: float = 0.0,
        critic_hidden_dims: Sequence[int] = (64, 64),
        critic_lr: float = 1e-3,
        n_negatives: int = 1,
        standardize: bool = True,
        class_weight: Any = None,
        optimizer: Any = "adamw",
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 64,
        max_epochs: int = 100,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        callbacks: list | None = None,
        device: str = "auto",
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.fusion = fusion
        self.encoder = encoder
        self.measure = measure
        self.lam = lam
        self.unroll = unroll
        self.modalities = modalities
        self.missing = missing
        self.modality_dropout = modality_dropout
        self.critic_hidden_dims = critic_hidden_dims
        self.critic_lr = critic_lr
        self.n_negatives = n_negatives
        self.standardize = standardize
        self.class_weight = class_weight
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.device = device
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    _parameter_constraints: dict = {
        **BaseMDMFusion._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        X_val: Any = None,
        y_val: Any = None,
    ) -> MDMFusionClassifier:
        reset = not (self.warm_start and hasattr(self, "net_"))
        return self._fit(X, y, sample_weight, groups=groups, X_val=X_val, y_val=y_val, reset=reset)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> MDMFusionClassifier:
        reset = not hasattr(self, "net_")
        if reset and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if not reset and classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes={classes!r} differ from those of the first call to partial_fit: {self.classes_}.")
        return self._fit(X, y, sample_weight, classes=classes, reset=reset, one_epoch=True)

    def predict(self, X: Any) -> np.ndarray:
        logits, _, _ = self._apply(X)
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        logits, _, dtype = self._apply(X)
        return softmax(logits, axis=1).astype(dtype, copy=False)

    def _read_target(
        self, y: Any, n_samples: int, *, rows: np.ndarray | None = None, reset: bool, classes: Any = None
    ) -> np.ndarray:
        y = _check_target(self, y, n_samples, rows)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if reset:
            found = np.unique(y if classes is None else classes)
            if len(found) < 2:
                raise ValueError(
                    f"{type(self).__name__} needs at least 2 classes in y, but it contains only one class: {found[0]!r}."
                )
            self.classes_ = found
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y contains classes that {type(self).__name__} was not fitted with: {unknown.tolist()}; known: "
                f"{self.classes_.tolist()}."
            )
        return np.searchsorted(self.classes_, y)

    def _target_weight(self, y: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray | None:
        if self.class_weight is None:
            return sample_weight
        class_weight = self.class_weight
        if isinstance(class_weight, Mapping):
            unknown = [label for label in class_weight if label not in self.classes_]
            if unknown:
                raise ValueError(f"class_weight names classes {unknown} that y does not have: {self.classes_.tolist()}.")
        labels = self.classes_[y]
        per_sample = compute_sample_weight(class_weight, labels)
        return per_sample if sample_weight is None else per_sample * sample_weight

    def _encode_target(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return y.astype(np.int64)

    def _criterion(self) -> torch.nn.Module:
        criterion = torch.nn.CrossEntropyLoss(reduction="none")
        criterion.log_scale = (1.0,)
        return criterion

    def _n_net_outputs(self) -> int:
        return len(self.classes_)

    def _stratify(self, y: np.ndarray) -> np.ndarray:
        return y


def _check_target(
    estimator: Any, y: Any, n_samples: int, rows: np.ndarray | None, **options: Any
) -> np.ndarray:
    """Validate y beside an X that was already read, and keep the given rows."""
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None."
        )
    y = check_X_y(np.zeros((n_samples, 1)), y, **options)[1]
    return y if rows is None else y[rows]
