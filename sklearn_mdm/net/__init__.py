"""MDMNet, a skorch net with a critic, and the data that it reads."""

from ._accelerated import AcceleratedMDMNet
from ._data import BatchIterator, MaskedDataset
from ._net import MDMNet

__all__ = ["AcceleratedMDMNet", "BatchIterator", "MDMNet", "MaskedDataset"]
