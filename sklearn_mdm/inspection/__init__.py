"""How much each modality matters, to a score and to single samples, and pictures of it."""

from ._drop import modality_drop
from ._importance import modality_importance, modality_shapley

__all__ = ["modality_drop", "modality_importance", "modality_shapley"]
