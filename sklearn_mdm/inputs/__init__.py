"""What X may be, and how it is read."""

from ._modality_dict import ModalityDict
from ._padding import pad_sequences, zero_padding_to_nan
from ._transformer import ModalityTransformer

__all__ = ["ModalityDict", "ModalityTransformer", "pad_sequences", "zero_padding_to_nan"]
