"""Scikit-learn estimators for multimodal fusion by mutual dependency maximisation."""

from .dependency import DependencyEstimator
from .estimators import MDMFusionClassifier, MDMFusionRegressor
from .modalities import SingleModalityWarning
from .modality_dict import ModalityDict
from .net import MDMNet
from .padding import pad_sequences, zero_padding_to_nan
from .preprocessing import ModalityTransformer

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
