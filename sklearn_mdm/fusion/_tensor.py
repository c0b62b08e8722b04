"""Tensor fusion: the outer product of the representations, then a multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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

# Beyond this many products per sample the first layer alone has some 10^8 weights.
MAX_PRODUCTS = 2**20
# Products in memory at a time: 128 MB in single precision.
MAX_PRODUCTS_AT_ONCE = 2**25


@dataclass(eq=False, repr=False)
class TensorFusion(Fusion):
    r"""Multiply the representations in every combination and predict from the products (TFN).

    .. math::

       \hat y = \mathrm{MLP}\left(\begin{bmatrix} z_1 \\ 1 \end{bmatrix} \otimes \dots \otimes
       \begin{bmatrix} z_m \\ 1 \end{bmatrix}\right)

    The appended ones keep the products of every subset of the modalities beside those of all (Section 4.2 of [1]_).

    The dependency term reads the representations :math:`z_j`, the outputs of the encoders; those of missing modalities
    are replaced as ``missing`` says. With ``"skip"`` the factor of a missing modality is :math:`[0; 1]`, which leaves
    the products of the others. The fused representation is the last hidden layer, since the tensor itself is too wide
    to be kept for every sample. ``encoder="auto"`` is an LSTM for a sequence, as for text in the paper, and a
    multilayer perceptron for a vector. (The paper averages audio and video over time: ``encoder={"audio": "mlp"}``.)

    Beside the encoders, time and memory are linear in the number of samples and in :math:`\prod_j (k_j + 1)`, for
    representations of width :math:`k_j`: 35,937 for three of 32. More than 1,048,576 are an error: from
    four modalities on, take narrower ones or :class:`LowRankFusion`.

    Parameters
    ----------
    hidden_dims : sequence of int, default=(64, 64)
        Widths of the hidden layers after the tensor, at least one.
    dropout : float, default=0.0
        Probability of zeroing a product during training.

    Notes
    -----
    Departures from the paper: the output is not squeezed into the range of the labels by a sigmoid (6 sigmoid - 3
    there), targets are standardised instead; representations are linear outputs, without the ReLU that ends the audio
    and visual subnetworks there, so that none of their units is constant where T reads them; any number of modalities,
    from one.

    References
    ----------
    .. [1] Zadeh, Chen, Poria, Cambria, Morency, "Tensor Fusion Network for Multimodal Sentiment Analysis", EMNLP 2017.

    Examples
    --------
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.encoders import MLPEncoder
    >>> from sklearn_mdm.fusion import TensorFusion
    >>> model = MDMFusionRegressor(fusion=TensorFusion(dropout=0.2), encoder=MLPEncoder(out_dim=8))
    >>> model.get_params()["fusion__dropout"]
    0.2
    """

    hidden_dims: Sequence[int] = (64, 64)
    dropout: float = 0.0

    _parameter_constraints: ClassVar[dict] = {"hidden_dims": [SIZE, SIZES], "dropout": [DROPOUT]}

    def build(
        self, shapes: Shapes, n_outputs: int, *, encoder: EncoderChoice = "auto", missing: Missing = "mean"
    ) -> FusionModule:
        self._validate_params()
        hidden_dims = np.atleast_1d(self.hidden_dims).tolist()
        if not hidden_dims:
            raise ValueError("TensorFusion needs at least one hidden layer, got hidden_dims=().")
        encoders = ModalityEncoders(shapes, encoder, missing, sequence_encoder="lstm")
        width = math.prod(dim + 1 for dim in encoders.code_dims.values())
        if width > MAX_PRODUCTS:
            factors = " x ".join(f"({dim} + 1)" for dim in encoders.code_dims.values())
            raise ValueError(
                f"the tensor of TensorFusion would have {factors} = {width:,} entries per sample, from the "
                f"representations of {len(shapes)} modalities; at most {MAX_PRODUCTS:,} are allowed. Use narrower "
                'representations, for example encoder=MLPEncoder(out_dim=8), or fusion="low_rank".'
            )
        return _TensorFusion(encoders, width, hidden_dims, n_outputs, self.dropout)


class _TensorFusion(FusionModule):
    fixed_work = True  # see net/_step_graphs.py

    def __init__(
        self, encoders: ModalityEncoders, width: int, hidden_dims: Sequence[int], n_outputs: int, dropout: float
    ) -> None:
        super().__init__(encoders)
        self.rows_at_once = max(MAX_PRODUCTS_AT_ONCE // width, 1)
        self.dropout = nn.Dropout(dropout)
        *hidden, self.out = mlp(width, hidden_dims, n_outputs)
        self.hidden = nn.Sequential(*hidden)

    def forward(self, X: Inputs, mask: Masks | None = None) -> FusionOutput:
        z = self.represent(X, mask)
        return self.from_representations(self.encoders.fill(z, mask))._replace(representations=z)

    def from_representations(self, z: dict[str, Tensor]) -> FusionOutput:
        parts = zip(*(part.split(self.rows_at_once) for part in z.values()), strict=True)
        fused = torch.cat([self.hidden(self._drop(outer_product(part))) for part in parts])
        return FusionOutput(self.out(fused), fused, z)

    def _drop(self, products: Tensor) -> Tensor:
        p = self.dropout.p
        if not self.training or not 0 < p < 1 or products.device.type != "cpu":
            return self.dropout(products)
        # On the CPU torch draws a double for every product, and that takes longer than the layer that reads them.
        draws = torch.empty(-(-products.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        draws = draws.view(torch.int16)[: products.numel()].view_as(products)
        kept = draws >= round(p * 2**16) - 2**15
        return products * kept.to(products.dtype).mul_(1 / (1 - p))


def outer_product(representations: Iterable[Tensor]) -> Tensor:
    """Products (B, (k_1 + 1) ... (k_m + 1)) of one entry of each (B, k_j) with a one at its end, last fastest."""
    product: Tensor | None = None
    for z in representations:
        extended = torch.cat([z, z.new_ones(len(z), 1)], dim=1)
        product = extended if product is None else (product.unsqueeze(2) * extended.unsqueeze(1)).flatten(1)
    assert product is not None
    return product
