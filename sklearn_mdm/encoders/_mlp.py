"""Multilayer perceptrons, and sequences summarised by mean and standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..utils._layers import mlp
from ..utils._parameter_objects import DROPOUT, SIZE, SIZES
from ._base import Encoder
from ._steps import step_weights


@dataclass(eq=False, repr=False)
class MLPEncoder(Encoder):
    """Multilayer perceptron on one modality.

    A sequence is first summarised by the mean and the standard deviation of each feature over its observed steps.

    Parameters
    ----------
    hidden_dims : sequence of int, default=(64,)
        Widths of the hidden layers.
    out_dim : int, default=32
        Width of the representation.
    dropout : float, default=0.3
        Probability of zeroing a hidden unit during training.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.encoders import MLPEncoder
    >>> encoder = MLPEncoder(out_dim=8).build((20, 5))  # 20 steps of 5 features
    >>> encoder(torch.randn(4, 20, 5)).shape
    torch.Size([4, 8])
    """

    hidden_dims: Sequence[int] = (64,)
    out_dim: int = 32
    dropout: float = 0.3

    _parameter_constraints: ClassVar[dict] = {"hidden_dims": [SIZE, SIZES], "out_dim": [SIZE], "dropout": [DROPOUT]}

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        self._validate_params()
        return _MLP(shape, np.atleast_1d(self.hidden_dims).tolist(), self.out_dim, self.dropout)


class _MLP(nn.Module):
    member_axis = True  # see utils/_stacking.py

    def __init__(self, shape: tuple[int, ...], hidden_dims: Sequence[int], out_dim: int, dropout: float) -> None:
        super().__init__()
        self.pool = len(shape) == 2
        self.out_dim = out_dim
        self.layers = mlp(shape[-1] * (2 if self.pool else 1), hidden_dims, out_dim, dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.layers(mean_and_std(x, mask) if self.pool else x)


def mean_and_std(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean and standard deviation over the observed steps of x (B, T, d).

    Where no step was observed they are 0 and 1, those of all steps of a standardised feature.
    """
    weight = step_weights(x, mask).unsqueeze(-1)
    mean = (x * weight).sum(-2)
    variance = ((x - mean.unsqueeze(-2)).square() * weight).sum(-2) + (weight.sum(-2) == 0)
    return torch.cat([mean, variance.clamp(min=1e-12).sqrt()], dim=-1)
