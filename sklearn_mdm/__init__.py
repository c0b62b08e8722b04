"""Scikit-learn estimators for multimodal fusion by mutual dependency maximisation."""

from .estimators import MDMFusionClassifier, MDMFusionRegressor
from .modalities import ModalityDict, SingleModalityWarning
from .net import MDMNet
from .preprocessing import ModalityTransformer

__version__ = "0.1.0.dev0"

__all__ = [
    "MDMFusionClassifier",
    "MDMFusionRegressor",
    "MDMNet",
    "ModalityDict",
    "ModalityTransformer",
    "SingleModalityWarning",
]
