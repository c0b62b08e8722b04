"""Scikit-learn estimators for multimodal fusion by mutual dependency maximisation."""

from ._version import __version__ as __version__
from .dependency import DependencyEstimator
from .estimators import MDMFusionClassifier, MDMFusionRegressor
from .exceptions import SingleModalityWarning
from .inputs import ModalityDict, ModalityTransformer, pad_sequences, zero_padding_to_nan
from .net import MDMNet
from .persistence import load
from .utils._show_versions import show_versions

__all__ = [
    "DependencyEstimator",
    "MDMFusionClassifier",
    "MDMFusionRegressor",
    "MDMNet",
    "ModalityDict",
    "ModalityTransformer",
    "SingleModalityWarning",
    "load",
    "pad_sequences",
    "show_versions",
    "zero_padding_to_nan",
]
