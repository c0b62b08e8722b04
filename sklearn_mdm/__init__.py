"""Scikit-learn estimators for multimodal fusion by mutual dependency maximisation."""

from .dependency import DependencyEstimator
from .estimators import MDMFusionClassifier, MDMFusionRegressor
from .exceptions import SingleModalityWarning
from .inputs import ModalityDict, ModalityTransformer, pad_sequences, zero_padding_to_nan
from .net import MDMNet

__version__ = "0.1.0.dev0"

__all__ = [
    "DependencyEstimator",
    "MDMFusionClassifier",
    "MDMFusionRegressor",
    "MDMNet",
    "ModalityDict",
    "ModalityTransformer",
    "SingleModalityWarning",
    "pad_sequences",
    "zero_padding_to_nan",
]
