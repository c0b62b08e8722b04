"""Encoders: from one modality to its representation z_m, a function of that modality and of nothing else."""

from ._mlp import MLPEncoder
from ._modality_encoders import ModalityCodes
from ._sequence import GRUEncoder, LSTMEncoder, TransformerEncoder

__all__ = ["GRUEncoder", "LSTMEncoder", "MLPEncoder", "ModalityCodes", "TransformerEncoder"]
