"""Late fusion: a prediction from each modality, averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from ..encoders import ModalityCodes
from ..encoders._mlp import mlp
from ..encoders._modality_encoders import check_missing
from ..encoders._steps import observed
from ..utils._parameter_objects import check_sizes
from ._base import FusionOutput

__all__ = ["LateFusion"]


class LateFusion(BaseEstimator):
    r"""Predict from each modality by itself and average the predictions.

    .. math:: \hat y = \sum_j w_j \, \mathrm{MLP}_j(z_j), \qquad w = \mathrm{softmax}(a)

    Numbers are averaged in regression and logits in classification. The weights, one per modality, are learned or even;
    only modalities that were observed have a say, whichever of ``"mean"``, ``"token"`` and ``"skip"`` ``missing`` is,
    and the weights of the others go to them in proportion. Effects of modalities add up: late fusion cannot learn what
    one modality means in the light of another.

    The dependency term reads the codes :math:`z_j`, the outputs of the encoders. The fused representation holds the
    weighted predictions side by side, which add up to :math:`\hat y`. ``encoder="auto"`` is a multilayer perceptron
    for a vector and a GRU for a sequence. Time and memory are linear in samples, steps and features.

    Parameters
    ----------
    hidden_dims : sequence of int, default=(64,)
        Widths of the hidden layers from a code to its prediction.
    weights : {"learned", "even"}, default="learned"
        Weights of the modalities.
    dropout : float, default=0.0
        Probability of zeroing a hidden unit during training.

    Notes
    -----
    Averaging decisions is older than any one paper; [1]_ reviews it. Networks are trained together, on the loss of the
    average.

    References
    ----------
    .. [1] Baltrušaitis, Ahuja, Morency, "Multimodal Machine Learning: A Survey and Taxonomy", IEEE Transactions on
       Pattern Analysis and Machine Intelligence 41(2), 2019.

    Examples
    --------
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.fusion import LateFusion
    >>> MDMFusionRegressor(fusion=LateFusion(weights="even")).get_params()["fusion__weights"]
    'even'
    """

    def __init__(self, hidden_dims: Sequence[int] = (64,), weights: str = "learned", dropout: float = 0.0) -> None:
        self.hidden_dims = hidden_dims
        self.weights = weights
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
            Makes no difference: a missing modality is left out of the average.

        Returns
        -------
        module : nn.Module
            Its ``forward(X, mask)`` returns a :class:`FusionOutput`.
        """
        check_sizes(self, "hidden_dims")
        if self.weights not in ("learned", "even"):
            raise ValueError(f"LateFusion has weights 'learned' or 'even', got weights={self.weights!r}.")
        hidden_dims = np.atleast_1d(self.hidden_dims).tolist()
        check_missing(missing)
        codes = ModalityCodes(shapes, encoder)
        return _Late(codes, hidden_dims, n_outputs, self.weights == "learned", self.dropout)


class _Late(nn.Module):
    def __init__(
        self, codes: ModalityCodes, hidden_dims: Sequence[int], n_outputs: int, learned: bool, dropout: float
    ) -> None:
        super().__init__()
        self.codes = codes
        self.code_dims = codes.code_dims
        # The codes are linear outputs, which T reads; the heads apply the nonlinearity.
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.ReLU(), *mlp(dim, hidden_dims, n_outputs, dropout))
                for name, dim in self.code_dims.items()
            }
        )
        self.log_weights = nn.Parameter(torch.zeros(len(self.heads)), requires_grad=learned)

    def represent(self, X: Mapping[str, Tensor], mask: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        return self.codes.represent(X, mask)

    def forward(self, X: Mapping[str, Tensor], mask: Mapping[str, Tensor] | None = None) -> FusionOutput:
        codes = self.represent(X, mask)
        decisions = torch.stack([head(codes[name]) for name, head in self.heads.items()], dim=1)  # (B, m, n_outputs)
        log_weights: Tensor = self.log_weights
        if mask is not None:
            seen = torch.stack([observed(mask[name]) for name in self.heads], dim=1)
            # Not minus infinity, which would leave NaN where nothing at all was observed.
            log_weights = torch.where(seen, log_weights, torch.finfo(log_weights.dtype).min)
        weighted = log_weights.softmax(-1).unsqueeze(-1) * decisions
        return FusionOutput(weighted.sum(1), weighted.flatten(1), codes)
