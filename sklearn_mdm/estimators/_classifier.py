"""MDMFusionClassifier: a class from several modalities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import compute_class_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from ..fusion._committee import Average, mean_probability
from ..utils._arguments import check_rows, named
from ._base import BaseMDMFusion
from ._parameters import with_shared_parts
from ._samples import weight_unit
from ._target import check_target, scored_target


@with_shared_parts
@dataclass(kw_only=True, eq=False, repr=False)
class MDMFusionClassifier(ClassifierMixin, BaseMDMFusion):
    r"""Classification on several modalities, by maximising their mutual dependency.

    Encodes each modality, fuses the representations :math:`z_1, \dots, z_m`, and trains with

    .. math:: L = L_{down} - \lambda \, L_{MDM}(z_1, \dots, z_m)

    where :math:`L_{down}` is the cross-entropy and :math:`L_{MDM}` the dependency between the representations,
    estimated by a critic that is trained alongside (Algorithm 1 of [1]_).

    By default predictions are those of a committee: eight such networks, averaged with a linear and a kernel model
    where these pay; see ``n_estimators``, ``linear_member`` and ``kernel_member``.

    Parameters
    ----------
    <shared parameters, in _parameters.py>
    class_weight : dict of label to weight, "balanced" or None, default=None
        Weights of the classes in the task loss; ``"balanced"`` weighs them inversely to their frequency.

    Attributes
    ----------
    <shared attributes, in _parameters.py>
    classes_ : array of shape (n_classes,)
        Class labels.
    oof_decision_function_ : array of shape (n_samples, n_classes)
        Probabilities of every training sample by the members that held it out, NaN where there is none; absent like
        ``oof_score_``. Named like ``oob_decision_function_`` of scikit-learn's forests.

    See Also
    --------
    MDMFusionRegressor : The same for numbers.
    DependencyEstimator : Dependency between the modalities themselves, without a task.
    ModalityTransformer : Scikit-learn transformers per modality.
    ModalityDict : Dict of modalities that scikit-learn can index, for grid searches and cross-validation.

    Notes
    -----
    <shared notes and references, in _parameters.py>

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn_mdm import MDMFusionClassifier
    >>> data, y = load_breast_cancer(return_X_y=True)
    >>> views = {"mean": slice(0, 10), "error": slice(10, 20), "worst": slice(20, 30)}
    >>> model = MDMFusionClassifier(modalities=views, random_state=0).fit(data, y)
    >>> bool(model.score(data, y) > 0.95)
    True
    >>> model.predict_proba({"mean": data[:2, :10]}).shape  # two views are missing
    (2, 2)
    """

    class_weight: Mapping[Any, float] | Literal["balanced"] | None = None

    _parameter_constraints: ClassVar[dict] = {
        **BaseMDMFusion._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, *, X_unlabeled: Any = None
    ) -> MDMFusionClassifier:
        """Train for one epoch on a batch of samples.

        The first call fixes modalities, scaling, classes and ``measure="auto"``. Call ``fit_dependency`` before
        ``dependency_score``. Predictions are then the mean of the networks: the models beside them and all weights come
        from ``fit`` alone.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples.
        y : array-like of shape (n_samples,)
            Class labels, as in ``fit``; one at least in every call, two in the first.
        classes : array-like of shape (n_classes,), default=None
            All classes there are; required in the first call.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights in the task loss, relative to their mean in the first call.
        X_unlabeled : dict, ModalityDict, data frame or array, default=None
            Further samples, without a label. With some, here or in y, an epoch passes over the labelled ones as often
            as it takes to make 16 updates.

        Returns
        -------
        self : object
        """
        reset = not hasattr(self, "net_")
        if reset and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if self.class_weight == "balanced":
            raise ValueError(
                'class_weight="balanced" would change with every batch of partial_fit. Pass the weights as a dict, for '
                "example from sklearn.utils.compute_class_weight."
            )
        with named("classes"):
            found = self.classes_ if classes is None else np.unique(np.asarray(classes))
        if len(found) < 2:
            raise ValueError(f"classes must hold at least 2 classes, got {classes!r}.")
        if not reset and not np.array_equal(found, self.classes_):
            raise ValueError(
                f"classes={classes!r} differ from those of the first call to partial_fit: {self.classes_}."
            )
        return self._partial_fit(X, y, sample_weight, X_unlabeled=X_unlabeled, classes=found)

    def predict(self, X: Any) -> np.ndarray:
        """Predict class labels.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples; modalities may be absent, None or NaN.

        Returns
        -------
        y : array of shape (n_samples,)

        Raises
        ------
        NotFittedError, ValueError
            If the estimator is not fitted, X is not of the modalities and features of ``fit``, or its values are so far
            from those of ``fit`` that outputs are not finite. With ``missing="critic"`` also if a modality is missing
            and there is no critic.
        """
        logits, _ = self._apply(X)
        return self.classes_[logits.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples; modalities may be absent, None or NaN.

        Returns
        -------
        proba : array of shape (n_samples, n_classes)
            In the order of ``classes_``, in the floating type of X.

        Raises
        ------
        NotFittedError, ValueError
            As :meth:`predict`.
        """
        logits, dtype = self._apply(X)
        return softmax(logits, axis=1).astype(dtype, copy=False)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict logarithms of class probabilities.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples; modalities may be absent, None or NaN.

        Returns
        -------
        log_proba : array of shape (n_samples, n_classes)
            In the order of ``classes_``, in the floating type of X.

        Raises
        ------
        NotFittedError, ValueError
            As :meth:`predict`.
        """
        logits, dtype = self._apply(X)
        return log_softmax(logits, axis=1).astype(dtype, copy=False)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy of the predictions.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples.
        y : array-like of shape (n_samples,)
            True labels. If X and y have row labels, these must agree. Samples without a label are left out.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
            Between 0 and 1, best at 1.
        """
        y, sample_weight, labelled = scored_target(self, X, y, sample_weight)
        prediction = self.predict(X)
        check_rows("y", len(labelled), len(prediction))
        with named("y"):
            return accuracy_score(y, prediction[labelled], sample_weight=sample_weight)

    def _read_target(
        self, y: Any, n_samples: int, *, rows: np.ndarray | None = None, reset: bool, classes: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        y, labelled = check_target(self, y, n_samples, rows, fewest=2 if reset else 1)
        y = column_or_1d(y, warn=True)
        with np.errstate(invalid="ignore"):  # it casts to int, to see whether numbers are whole
            check_classification_targets(y)
        if reset:
            found = np.unique(y if classes is None else classes)
            if len(found) < 2:
                raise ValueError(
                    f"{type(self).__name__} needs at least 2 classes in y, but the data contains only one class: "
                    f"{found.tolist()[0]!r}."
                )
            self.classes_: np.ndarray = found
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y contains classes that {type(self).__name__} was not fitted with: {unknown.tolist()}; known: "
                f"{self.classes_.tolist()}."
            )
        return np.searchsorted(self.classes_, y), labelled

    def _target_weight(self, y: np.ndarray, sample_weight: np.ndarray | None, *, reset: bool) -> np.ndarray | None:
        if self.class_weight is None:
            return sample_weight
        if reset:
            self._weight_of_class = self._weights_of_classes(y)
        per_sample = self._weight_of_class[y]
        weight = per_sample if sample_weight is None else per_sample * sample_weight
        if not weight.any():
            raise ValueError(f"class_weight={self.class_weight!r} gives every sample the weight zero.")
        return weight

    def _weights_of_classes(self, y: np.ndarray) -> np.ndarray:
        """Weight of each class, (n_classes,); one for a class that y does not have."""
        weights = np.ones(len(self.classes_))
        if not isinstance(self.class_weight, Mapping):  # "balanced"
            there = np.unique(y)
            weights[there] = compute_class_weight(self.class_weight, classes=there, y=y)
            return weights
        unknown = [label for label in self.class_weight if label not in self.classes_]
        if unknown:
            raise ValueError(f"class_weight names classes {unknown} that y does not have: {self.classes_.tolist()}.")
        bad = {label: weight for label, weight in self.class_weight.items() if not _is_weight(weight)}
        if bad:
            raise ValueError(f"class_weight has negative or non-finite weights {bad}; weights must be >= 0 and finite.")
        for label, weight in self.class_weight.items():
            weights[self.classes_ == label] = weight
        return weights / weight_unit(weights)

    def _encode_target(self, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
        return y.astype(np.int64)

    def _criterion(self) -> torch.nn.Module:
        criterion: Any = torch.nn.CrossEntropyLoss(reduction="none")
        criterion.log_scale = (1.0,)
        return criterion

    def _keep_out_of_fold(self, outputs: np.ndarray, rows: np.ndarray, y: np.ndarray, n_passed: int) -> None:
        self.oof_decision_function_ = np.full((n_passed, len(self.classes_)), np.nan)
        self.oof_decision_function_[rows] = softmax(outputs, axis=1)
        self.oof_score_ = float((outputs.argmax(axis=1) == y).mean())

    def _n_net_outputs(self) -> int:
        return len(self.classes_)

    def _average_of_members(self) -> Average:
        return mean_probability

    def _average_outputs(self, outputs: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
        # Of probabilities, whose logarithms are logits again.
        return np.logaddexp.reduceat(log_softmax(outputs, axis=1) + np.log(weights), starts)

    def _stratify(self, y: np.ndarray) -> np.ndarray:
        return y


def _is_weight(weight: Any) -> bool:
    try:
        return not isinstance(weight, str) and bool(0 <= weight < np.inf)
    except (TypeError, ValueError):
        return False
