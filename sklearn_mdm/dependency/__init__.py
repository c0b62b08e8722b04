"""How dependent modalities are, without a prediction task."""

from ._estimator import DependencyEstimator
from ._permutation import PermutationTest

__all__ = ["DependencyEstimator", "PermutationTest"]
