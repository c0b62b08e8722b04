"""How dependent modalities are, without a prediction task."""

from ._estimator import DependencyEstimator, PermutationTest

__all__ = ["DependencyEstimator", "PermutationTest"]
