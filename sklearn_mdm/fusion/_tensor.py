"""Tensor fusion: the outer product of the codes, then a multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from ..encoders import ModalityCodes
from ..encoders._mlp import mlp
from ..utils._parameter_objects import check_sizes
from ._base import FusionOutput

__all__ = ["TensorFusion"]

# Beyond this many products per sample the first layer alone has some 10^8 weights.
WIDEST = 2**20
# Products in memory at a time: 128 MB in single precision.
PRODUCTS_AT_ONCE = 2**25


class TensorFusion(BaseEstimator):
    r"""Multiply the codes in every combination and predict from the products (TFN).

    .. math::

       \hat y = \mathrm{MLP}\left(\begin{bmatrix} z_1 \\ 1 \end{bmatrix} \otimes \dots \otimes
       \begin{bmatrix} z_m \\ 1 \end{bmatrix}\right)

    The appended ones keep the products of every subset of the modalities beside those of all (Section 4.2 of [1]_).

    The dependency term reads the codes :math:`z_j`, the outputs of the encoders; those of missing modalities are
    replaced as ``missing`` says. With ``"skip"`` the factor of a missing modality is :math:`[0; 1]`, which leaves the
    products of the others. The fused representation is the last hidden layer, since the tensor itself is too wide to
    be kept for every sample. ``encoder="auto"`` is an LSTM for a sequence, as for text in the paper, and a multilayer
    perceptron for a vector. (The paper averages audio and video over time: ``encoder={"audio": "mlp"}``.)

    Beside the encoders, time and memory are linear in the number of samples and in :math:`\prod_j (k_j + 1)`, for codes
    of width :math:`k_j`: 35,937 for three codes of 32. From four modalities on, take narrower codes or
    :class:`LowRankFusion`.

    Parameters
    ----------
    hidden_dims : sequence of int, default=(64, 64)
        Widths of the hidden layers after the tensor, at least one.
    dropout : float, default=0.0
        Probability of zeroing a product during training.

    Notes
    -----
    Departures from the paper: the output is not squeezed into the range of the labels by a sigmoid (6 sigmoid - 3
    there), targets are standardised instead; codes are linear outputs, without the ReLU that ends the audio and visual
    subnetworks there, so that none of their units is constant where T reads them; any number of modalities, from one.

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

    def __init__(self, hidden_dims: Sequence[int] = (64, 64), dropout: float = 0.0) -> None:
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
            See :class:`sklearn_mdm.encoders.ModalityCodes`; "auto" is "lstm" for a sequence.
        missing : {"mean", "token", "skip"}, default="mean"
            See :class:`sklearn_mdm.encoders.ModalityCodes`.

        Returns
        -------
        module : nn.Module
            Its ``forward(X, mask)`` returns a :class:`FusionOutput`.

        Raises
        ------
        ValueError
            If the tensor would have more than 1,048,576 entries per sample.
        """
        check_sizes(self, "hidden_dims")
        hidden_dims = np.atleast_1d(self.hidden_dims).tolist()
        if not hidden_dims:
            raise ValueError("TensorFusion needs at least one hidden layer, got hidden_dims=().")
        codes = ModalityCodes(shapes, encoder, missing, sequence_encoder="lstm")
        width = math.prod(dim + 1 for dim in codes.code_dims.values())
        if width > WIDEST:
            factors = " x ".join(f"({dim} + 1)" for dim in codes.code_dims.values())
            raise ValueError(
                f"the tensor of TensorFusion would have {factors} = {width:,} entries per sample, from codes of "
                f"{len(shapes)} modalities; at most {WIDEST:,} are allowed. Use narrower codes, for example "
                'encoder=MLPEncoder(out_dim=8), or fusion="low_rank".'
            )
        return _TensorFusion(codes, width, hidden_dims, n_outputs, self.dropout)


class _TensorFusion(nn.Module):
    def __init__(
        self, codes: ModalityCodes, width: int, hidden_dims: Sequence[int], n_outputs: int, dropout: float
    ) -> None:
        super().__init__()
        self.codes = codes
        self.code_dims = codes.code_dims
        self.rows_at_once = max(PRODUCTS_AT_ONCE // width, 1)
        self.dropout = nn.Dropout(dropout)
        *hidden, self.out = mlp(width, hidden_dims, n_outputs)
        self.hidden = nn.Sequential(*hidden)

    def represent(self, X: Mapping[str, Tensor], mask: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        return self.codes.represent(X, mask)

    def forward(self, X: Mapping[str, Tensor], mask: Mapping[str, Tensor] | None = None) -> FusionOutput:
        codes = self.represent(X, mask)
        parts = zip(*(z.split(self.rows_at_once) for z in self.codes.fill(codes, mask).values()), strict=True)
        fused = torch.cat([self.hidden(self._drop(outer_product(part))) for part in parts])
        return FusionOutput(self.out(fused), fused, codes)

    def _drop(self, products: Tensor) -> Tensor:
        p = self.dropout.p
        if not self.training or not 0 < p < 1 or products.device.type != "cpu":
            return self.dropout(products)
        # On the CPU torch draws a double for every product, and that takes longer than the layer that reads them.
        draws = torch.empty(-(-products.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        draws = draws.view(torch.int16)[: products.numel()].view_as(products)
        kept = draws >= round(p * 2**16) - 2**15
        return products * kept.to(products.dtype).mul_(1 / (1 - p))


def outer_product(codes: Iterable[Tensor]) -> Tensor:
    """Products (B, (k_1 + 1) ... (k_m + 1)) of one entry of each code (B, k_j) with a one at its end, last fastest."""
    product: Tensor | None = None
    for z in codes:
        extended = torch.cat([z, z.new_ones(len(z), 1)], dim=1)
        product = extended if product is None else (product.unsqueeze(2) * extended.unsqueeze(1)).flatten(1)
    assert product is not None
    return product
