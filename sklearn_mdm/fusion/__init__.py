"""Fusion systems: parameter objects that build the module between the modalities and the prediction."""

from .adaptation_gate import AdaptationGate
from .base import FusionOutput
from .concat import ConcatFusion
from .ef_lstm import EarlyFusionLSTM
from .late import LateFusion
from .low_rank import LowRankFusion
from .mag import MAGFusion
from .memory import MemoryFusion
from .misa import MISAFusion
from .multi_attention import MultiAttentionFusion
from .tensor import TensorFusion

__all__ = [
    "AdaptationGate",
    "ConcatFusion",
    "EarlyFusionLSTM",
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
FUSIONS = {
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
