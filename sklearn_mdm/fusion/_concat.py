"""Concatenation fusion: codes side by side, then a multilayer perceptron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from ..encoders import ModalityCodes
from ..encoders._mlp import mlp
from ..utils._parameter_objects import check_sizes
from ._base import FusionOutput

__all__ = ["ConcatFusion"]


class ConcatFusion(BaseEstimator):
    r"""Concatenate the modality codes and predict from them with a multilayer perceptron.

    .. math:: \hat y = \mathrm{MLP}([z_1; \dots; z_m])

    The dependency term reads the codes :math:`z_j`, the outputs of the encoders; those of missing modalities are
    replaced as ``missing`` says, with ``"skip"`` by zeros, so that they add nothing to the first layer.
    ``encoder="auto"`` is a multilayer perceptron for a vector and a GRU for a sequence. Time and memory are linear in
    samples, steps and features.

    Parameters
    ----------
    hidden_dims : sequence of int, default=(64,)
        Widths of the hidden layers after the concatenation.
    dropout : float, default=0.0
        Probability of zeroing a hidden unit during training.

    Examples
    --------
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.fusion import ConcatFusion
    >>> MDMFusionRegressor(fusion=ConcatFusion(hidden_dims=(32,), dropout=0.2)).get_params()["fusion__dropout"]
    0.2
    """

    def __init__(self, hidden_dims: Sequence[int] = (64,), dropout: float = 0.0) -> None:
        self.hidden_dims = hidden_dims
        self.dropout = dropout

    def build(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        n_outputs: int,
        *,
        encoder: Any = "auto",
        missing: str = "mean",
    ) -> nn.Module:
        """Return the fusion module.

        Parameters
        ----------
        shapes : mapping of str to tuple
            Shape of one sample of each modality: (n_features,) or (n_steps, n_features).
        n_outputs : int
            Number of targets or classes.
        encoder : str, encoder object, or mapping of str to either, default="auto"
            See :class:`sklearn_mdm.encoders.ModalityCodes`.
        missing : {"mean", "token", "skip"}, default="mean"
            See :class:`sklearn_mdm.encoders.ModalityCodes`.

        Returns
        -------
        module : nn.Module
            Its ``forward(X, mask)`` returns a :class:`FusionOutput`.
        """
        check_sizes(self, "hidden_dims")
        hidden_dims = np.atleast_1d(self.hidden_dims).tolist()
        return _Concat(ModalityCodes(shapes, encoder, missing), hidden_dims, n_outputs, self.dropout)


class _Concat(nn.Module):
    def __init__(self, codes: ModalityCodes, hidden_dims: Sequence[int], n_outputs: int, dropout: float) -> None:
        super().__init__()
        self.codes = codes
        self.code_dims = codes.code_dims
        n_fused = sum(self.code_dims.values())
        # The codes are linear outputs, which T reads; the head applies the nonlinearity.
        self.head = nn.Sequential(nn.ReLU(), *mlp(n_fused, hidden_dims, n_outputs, dropout))

    def represent(self, X: Mapping[str, Tensor], mask: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        return self.codes.represent(X, mask)

    def forward(self, X: Mapping[str, Tensor], mask: Mapping[str, Tensor] | None = None) -> FusionOutput:
        codes = self.represent(X, mask)
        fused = torch.cat(list(self.codes.fill(codes, mask).values()), dim=1)
        return FusionOutput(self.head(fused), fused, codes)
