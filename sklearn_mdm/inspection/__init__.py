"""How much each modality matters, to a score and to single samples, and pictures of it."""

from ._dependency_display import DependencyDisplay
from ._drop import ModalityDropDisplay, modality_drop
from ._fusion_map_display import FusionMapDisplay
from ._importance import modality_importance, modality_shapley
from ._lam_path_display import LamPathDisplay
from ._pointwise import mismatch_test, pointwise_attribution, rank_samples
from ._training_display import TrainingDisplay

__all__ = [
    "DependencyDisplay",
    "FusionMapDisplay",
    "LamPathDisplay",
    "ModalityDropDisplay",
    "TrainingDisplay",
    "mismatch_test",
    "modality_drop",
    "modality_importance",
    "modality_shapley",
    "pointwise_attribution",
    "rank_samples",
]
