"""Fusion systems: parameter objects that build the module between the modalities and the prediction."""

from ._base import Fusion, FusionModule, FusionOutput
from ._concat import ConcatFusion
from ._ef_lstm import EarlyFusionLSTM
from ._late import LateFusion
from ._low_rank import LowRankFusion
from ._memory import MemoryFusion
from ._misa import MISAFusion
from ._multi_attention import MultiAttentionFusion
from ._tensor import TensorFusion
from .mag import AdaptationGate, MAGFusion

__all__ = [
    "AdaptationGate",
    "ConcatFusion",
    "EarlyFusionLSTM",
    "Fusion",
    "FusionModule",
    "FusionOutput",
    "LateFusion",
    "LowRankFusion",
    "MAGFusion",
    "MISAFusion",
    "MemoryFusion",
    "MultiAttentionFusion",
    "TensorFusion",
]

# By what they do, and by the names that papers give them.
FUSIONS: dict[str, type[Fusion]] = {
    "concat": ConcatFusion,
    "ef_lstm": EarlyFusionLSTM,
    "ef-lstm": EarlyFusionLSTM,
    "late": LateFusion,
    "tensor": TensorFusion,
    "tfn": TensorFusion,
    "low_rank": LowRankFusion,
    "lfn": LowRankFusion,
    "lmf": LowRankFusion,
    "memory": MemoryFusion,
    "mfn": MemoryFusion,
    "multi_attention": MultiAttentionFusion,
    "marn": MultiAttentionFusion,
    "misa": MISAFusion,
    "mag": MAGFusion,
}
