"""Late fusion: a prediction from each modality, averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor, nn

from ..encoders import ModalityEncoders
from ..encoders._base import EncoderChoice, Inputs, Masks, Missing, Shapes
from ..encoders._modality_encoders import check_missing
from ..encoders._steps import observed
from ..utils._layers import mlp
from ..utils._parameter_objects import DROPOUT, SIZE, SIZES
from ._base import Fusion, FusionModule, FusionOutput


@dataclass(eq=False, repr=False)
class LateFusion(Fusion):
    r"""Predict from each modality by itself and average the predictions.

    .. math:: \hat y = \sum_j w_j \, \mathrm{MLP}_j(z_j), \qquad w = \mathrm{softmax}(a)

    Numbers are averaged in regression and logits in classification. The weights, one per modality, are learned or even;
    only modalities that were observed have a say, whichever of ``"mean"``, ``"token"`` and ``"skip"`` ``missing`` is,
    and the weights of the others go to them in proportion. Effects of modalities add up: late fusion cannot learn what
    one modality means in the light of another.

    The dependency term reads the representations :math:`z_j`, the outputs of the encoders. The fused representation
    holds the weighted predictions side by side, which add up to :math:`\hat y`. ``encoder="auto"`` is a multilayer
    perceptron for a vector and a GRU for a sequence. Time and memory are linear in samples, steps and features.

    Parameters
    ----------
    hidden_dims : sequence of int, default=(64,)
        Widths of the hidden layers from a representation to its prediction.
    weights : {"learned", "even"}, default="learned"
        Weights of the modalities.
    dropout : float, default=0.3
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

    hidden_dims: Sequence[int] = (64,)
    weights: Literal["learned", "even"] = "learned"
    dropout: float = 0.3

    _parameter_constraints: ClassVar[dict] = {
        "hidden_dims": [SIZE, SIZES],
        "weights": [StrOptions({"learned", "even"})],
        "dropout": [DROPOUT],
    }

    def build(
        self, shapes: Shapes, n_outputs: int, *, encoder: EncoderChoice = "auto", missing: Missing = "mean"
    ) -> FusionModule:
        self._validate_params()
        hidden_dims = np.atleast_1d(self.hidden_dims).tolist()
        check_missing(missing)
        return _Late(ModalityEncoders(shapes, encoder), hidden_dims, n_outputs, self.weights == "learned", self.dropout)


class _Late(FusionModule):
    member_axis = True  # see utils/_stacking.py

    def __init__(
        self, encoders: ModalityEncoders, hidden_dims: Sequence[int], n_outputs: int, learned: bool, dropout: float
    ) -> None:
        super().__init__(encoders)
        # The representations are linear outputs, which T reads; the heads apply the nonlinearity.
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.ReLU(), *mlp(dim, hidden_dims, n_outputs, dropout))
                for name, dim in self.code_dims.items()
            }
        )
        self.log_weights = nn.Parameter(torch.zeros(len(self.heads)), requires_grad=learned)

    def forward(self, X: Inputs, mask: Masks | None = None) -> FusionOutput:
        return self.from_representations(self.represent(X, mask), mask)

    def from_representations(self, z: dict[str, Tensor], mask: Masks | None = None) -> FusionOutput:
        decisions = torch.stack([head(z[name]) for name, head in self.heads.items()], dim=-2)  # (B, m, n_outputs)
        log_weights = self.log_weights.unsqueeze(-2)  # (1, m)
        if mask is not None:
            seen = torch.stack([observed(mask[name], z[name].dim() - 1) for name in self.heads], dim=-1)
            # Not minus infinity, which would leave NaN where nothing at all was observed.
            log_weights = torch.where(seen, log_weights, torch.finfo(log_weights.dtype).min)
        weighted = log_weights.softmax(-1).unsqueeze(-1) * decisions
        return FusionOutput(weighted.sum(-2), weighted.flatten(-2), z)
