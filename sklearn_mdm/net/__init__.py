"""MDMNet, a skorch net with a critic, and the data that it reads."""

from ._data import BatchIterator, MaskedDataset
from ._net import MDMNet

__all__ = ["BatchIterator", "MDMNet", "MaskedDataset"]
