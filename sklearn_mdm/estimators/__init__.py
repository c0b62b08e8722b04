"""The fusion estimators: scikit-learn's interface to the net."""

from ._classifier import MDMFusionClassifier
from ._regressor import MDMFusionRegressor

__all__ = ["MDMFusionClassifier", "MDMFusionRegressor"]
