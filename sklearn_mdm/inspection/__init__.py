"""How much each modality matters, to a score and to single samples, and pictures of it."""

from ._drop import modality_drop
from ._importance import modality_importance, modality_shapley
from ._pointwise import mismatch_test, pointwise_attribution, rank_samples

__all__ = [
    "mismatch_test",
    "modality_drop",
    "modality_importance",
    "modality_shapley",
    "pointwise_attribution",
    "rank_samples",
]
