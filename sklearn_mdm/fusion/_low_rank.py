"""Low-rank fusion: tensor fusion whose weights are sums of products, so that the tensor is never formed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..encoders import ModalityEncoders
from ..encoders._base import EncoderChoice, Inputs, Masks, Missing, Shapes
from ..utils._parameter_objects import SIZE
from ._base import Fusion, FusionModule, FusionOutput


@dataclass(eq=False, repr=False)
class LowRankFusion(Fusion):
    r"""Predict from all products of the representations by weights of low rank (LMF, also LFN).

    .. math::

       \hat y = b + \sum_{r=1}^{R} w_r \prod_j F_j^{(r)} \begin{bmatrix} z_j \\ 1 \end{bmatrix}

    with an element-wise product over modalities. It equals a linear map of the tensor of :class:`TensorFusion` whose
    weight tensor is a sum of R outer products of the factors :math:`F_j^{(r)}` (Section 3 of [1]_), without forming
    that tensor.

    The dependency term reads the representations :math:`z_j`, the outputs of the encoders; those of missing modalities
    are replaced as ``missing`` says. With ``"skip"`` the factor of a missing modality is :math:`F_j^{(r)} [0; 1]`, a
    learned constant, as in the tensor that is not formed. The fused representation holds the R products side by side.
    ``encoder="auto"`` is an LSTM for a sequence, as for text in the paper, and a multilayer perceptron for a vector.
    (The paper averages audio and video over time: ``encoder={"audio": "mlp"}``.)

    Beside the encoders, time and memory are linear in the number of samples, of modalities, of outputs, in the width
    of the representations and in the rank.

    Parameters
    ----------
    rank : int, default=4
        Number R of products per output.

    Notes
    -----
    Departures from the paper: the weights :math:`w_r` are those of its published code, its equations add the products
    up evenly; representations are linear outputs, without the ReLU that ends the audio and visual subnetworks there;
    any number of modalities, from one. With many modalities the products start close to zero and are slow to grow.

    References
    ----------
    .. [1] Liu, Shen, Lakshminarasimhan, Liang, Zadeh, Morency, "Efficient Low-rank Multimodal Fusion with
       Modality-Specific Factors", ACL 2018.

    Examples
    --------
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.fusion import LowRankFusion
    >>> MDMFusionRegressor(fusion=LowRankFusion(rank=8)).get_params()["fusion__rank"]
    8
    """

    rank: int = 4

    _parameter_constraints: ClassVar[dict] = {"rank": [SIZE]}

    def build(
        self, shapes: Shapes, n_outputs: int, *, encoder: EncoderChoice = "auto", missing: Missing = "mean"
    ) -> FusionModule:
        self._validate_params()
        return _LowRank(ModalityEncoders(shapes, encoder, missing, sequence_encoder="lstm"), self.rank, n_outputs)


class _LowRank(FusionModule):
    member_axis = True  # see utils/_stacking.py

    def __init__(self, encoders: ModalityEncoders, rank: int, n_outputs: int) -> None:
        super().__init__(encoders)
        self.n_outputs = n_outputs
        # F_j applied to [z_j; 1] is a linear layer whose bias is the column that meets the one.
        self.factors = nn.ModuleDict({name: nn.Linear(dim, rank * n_outputs) for name, dim in self.code_dims.items()})
        self.rank_weights = nn.Parameter(torch.randn(rank) / math.sqrt(rank))
        self.bias = nn.Parameter(torch.zeros(n_outputs))

    def forward(self, X: Inputs, mask: Masks | None = None) -> FusionOutput:
        z = self.represent(X, mask)
        return self.from_representations(self.encoders.fill(z, mask))._replace(representations=z)

    def from_representations(self, z: dict[str, Tensor]) -> FusionOutput:
        products = reduce(torch.mul, (factor(z[name]) for name, factor in self.factors.items()))
        by_rank = products.unflatten(-1, (-1, self.n_outputs))  # (B, rank, n_outputs)
        prediction = torch.einsum("...r,...bro->...bo", self.rank_weights, by_rank) + self.bias.unsqueeze(-2)
        return FusionOutput(prediction, products, z)
