"""T, the statistical network: from one representation per modality to a number."""

from ._base import PairedCritic
from ._concatenated import Critic
from ._cosine import CosineCritic
from ._encoded import EncodedCritic
from ._factored import MultilinearCritic, SeparableCritic
from ._lipschitz import LipschitzCritic
from ._negatives import offset_indices

__all__ = [
    "CosineCritic",
    "Critic",
    "EncodedCritic",
    "LipschitzCritic",
    "MultilinearCritic",
    "PairedCritic",
    "SeparableCritic",
    "offset_indices",
]

CRITICS: dict[str, type[PairedCritic]] = {
    "concatenated": Critic,
    "encoded": EncodedCritic,
    "separable": SeparableCritic,
    "multilinear": MultilinearCritic,
}
