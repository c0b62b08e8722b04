"""Fusion systems: parameter objects that build the module between the modalities and the prediction."""

from .base import FusionOutput
from .concat import ConcatFusion

__all__ = ["ConcatFusion", "FusionOutput"]

FUSIONS = {"concat": ConcatFusion}
