"""Encoders: from one modality to its representation z_m, a function of that modality and of nothing else."""

from ._base import Encoder
from ._mlp import MLPEncoder
from ._modality_encoders import ModalityEncoders
from ._sequence import GRUEncoder, LSTMEncoder, TransformerEncoder

__all__ = ["Encoder", "GRUEncoder", "LSTMEncoder", "MLPEncoder", "ModalityEncoders", "TransformerEncoder"]
