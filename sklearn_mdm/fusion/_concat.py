"""Concatenation fusion: representations side by side, then a multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..encoders import ModalityEncoders
from ..encoders._base import EncoderChoice, Inputs, Masks, Missing, Shapes
from ..utils._layers import mlp
from ..utils._parameter_objects import DROPOUT, SIZE, SIZES
from ._base import Fusion, FusionModule, FusionOutput


@dataclass(eq=False, repr=False)
class ConcatFusion(Fusion):
    r"""Concatenate the representations and predict from them with a multilayer perceptron.

    .. math:: \hat y = \mathrm{MLP}([z_1; \dots; z_m])

    The dependency term reads the representations :math:`z_j`, the outputs of the encoders; those of missing modalities
    are replaced as ``missing`` says, with ``"skip"`` by zeros, so that they add nothing to the first layer.
    ``encoder="auto"`` is a multilayer perceptron for a vector and a GRU for a sequence. Time and memory are linear in
    samples, steps and features.

    Parameters
    ----------
    hidden_dims : sequence of int, default=(64,)
        Widths of the hidden layers after the concatenation.
    dropout : float, default=0.3
        Probability of zeroing a hidden unit during training.

    Examples
    --------
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.fusion import ConcatFusion
    >>> MDMFusionRegressor(fusion=ConcatFusion(hidden_dims=(32,), dropout=0.2)).get_params()["fusion__dropout"]
    0.2
    """

    hidden_dims: Sequence[int] = (64,)
    dropout: float = 0.3

    _parameter_constraints: ClassVar[dict] = {"hidden_dims": [SIZE, SIZES], "dropout": [DROPOUT]}

    def build(
        self, shapes: Shapes, n_outputs: int, *, encoder: EncoderChoice = "auto", missing: Missing = "mean"
    ) -> FusionModule:
        self._validate_params()
        hidden_dims = np.atleast_1d(self.hidden_dims).tolist()
        return _Concat(ModalityEncoders(shapes, encoder, missing), hidden_dims, n_outputs, self.dropout)


class _Concat(FusionModule):
    member_axis = True  # see utils/_stacking.py

    def __init__(self, encoders: ModalityEncoders, hidden_dims: Sequence[int], n_outputs: int, dropout: float) -> None:
        super().__init__(encoders)
        n_fused = sum(self.code_dims.values())
        # The representations are linear outputs, which T reads; the head applies the nonlinearity.
        self.head = nn.Sequential(nn.ReLU(), *mlp(n_fused, hidden_dims, n_outputs, dropout))

    def forward(self, X: Inputs, mask: Masks | None = None) -> FusionOutput:
        z = self.represent(X, mask)
        return self.from_representations(self.encoders.fill(z, mask))._replace(representations=z)

    def from_representations(self, z: dict[str, Tensor]) -> FusionOutput:
        fused = torch.cat(list(z.values()), dim=-1)
        return FusionOutput(self.head(fused), fused, z)
