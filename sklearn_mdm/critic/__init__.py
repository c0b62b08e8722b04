"""T, the statistical network: from one code per modality to a number."""

from .base import PairedCritic
from .concatenated import Critic
from .encoded import EncodedCritic
from .factored import MultilinearCritic, SeparableCritic
from .lipschitz import LipschitzCritic

__all__ = ["Critic", "EncodedCritic", "LipschitzCritic", "MultilinearCritic", "PairedCritic", "SeparableCritic"]

CRITICS: dict[str, type[PairedCritic]] = {
    "concatenated": Critic,
    "encoded": EncodedCritic,
    "separable": SeparableCritic,
    "multilinear": MultilinearCritic,
}
