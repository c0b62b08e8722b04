"""Multi-attention fusion: an LSTM per modality that also reads what all of them did at the step before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..encoders._base import EncoderChoice, Inputs, Masks, Missing, Shapes
from ..utils._layers import mlp
from ..utils._parameter_objects import DROPOUT, SIZE, SIZES
from ._aligned import EmbeddedSteps, check_aligned, widths_per_modality
from ._base import Fusion, FusionModule, FusionOutput
from ._packed import Packing


@dataclass(eq=False, repr=False)
class MultiAttentionFusion(Fusion):
    r"""Let an LSTM per modality read, at every step, what several attentions found in all hidden states (MARN).

    With :math:`h_t` the hidden states of all modalities after step t side by side, and :math:`k = 1, \dots, K`,

    .. math::

       h_{j,t}, c_{j,t} &= \mathrm{LSTM}_j([W_j x_{j,t}; v_{t-1}], h_{j,t-1}, c_{j,t-1}) \\
       \tilde h_t^k &= \mathrm{softmax}(A_k h_t + a_k) \odot h_t \\
       s_{j,t} &= \mathrm{relu}(C_j [\tilde h_{j,t}^1; \dots; \tilde h_{j,t}^K] + b_j) \\
       v_t &= G [s_{1,t}; \dots; s_{m,t}] + g, \qquad v_0 = 0 \\
       \hat y &= \mathrm{MLP}([h_{1,T}; \dots; h_{m,T}; v_T])

    where :math:`\tilde h_{j,t}^k` is the part of :math:`\tilde h_t^k` that belongs to modality j. An LSTM whose gates
    read the cross-view code :math:`v_{t-1}` beside input and state is the Long-short Term Hybrid Memory of [1]_; the
    three lines after it are its Multi-attention Block.

    The dependency term reads :math:`z_j`, the mean of :math:`W_j x_{j,t}` over the observed steps of modality j: states
    and cross-view codes have seen every modality. It is zero for a modality that was not observed. The fused
    representation is what the MLP reads, :math:`[h_{1,T}; \dots; h_{m,T}; v_T]`.

    Modalities must be sequences of the same number of steps, which mean the same moments, or all vectors, which count
    as one step. A modality that was not observed at a step reads as the mean of standardised data, zero, or with
    ``missing="token"`` as a learned vector in place of :math:`W_j x_{j,t}`. Zero adds nothing to the gates, so
    ``"mean"`` and ``"skip"`` are the same. Everything rests at steps at which no modality was observed. ``encoder``
    must stay ``"auto"``.

    Time and memory are linear in samples, observed steps and features, and in K times the square of the joint width of
    the states. Everything but the embeddings :math:`W_j x_{j,t}` goes from step to step, in a Python loop.

    Parameters
    ----------
    embed_dim : int, default=32
        Width of the embedding :math:`W_j x_{j,t}` of each modality.
    hidden_dims : int or sequence of int, default=32
        Width of the state of each LSTM: one for all, or one per modality in the order of the fitted ``modalities_``.
    n_attentions : int, default=4
        Number K of attentions.
    reduced_dim : int, default=16
        Width of the reduced attended state :math:`s_{j,t}` of each modality.
    cross_dim : int, default=32
        Width of the cross-view code :math:`v_t`.
    head_dim : int, default=64
        Width of the hidden layer of the MLP.
    dropout : float, default=0.0
        Probability of zeroing a unit of this layer during training.

    Notes
    -----
    Not verified against a reference implementation, as no complete one is public; the tests compare it with a loop over
    the equations above.

    Departures from the paper: the embeddings :math:`W_j`, without bias and nonlinearity, are an addition. They factor
    the input weights of the LSTM so that a part of the network reads one modality only. The paper leaves the depth of
    the networks A, C and G open; here each is one layer.

    References
    ----------
    .. [1] Zadeh, Liang, Poria, Vij, Cambria, Morency, "Multi-attention Recurrent Network for Human Communication
       Comprehension", AAAI 2018.

    Examples
    --------
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.fusion import MultiAttentionFusion
    >>> MDMFusionRegressor(fusion=MultiAttentionFusion(n_attentions=2)).get_params()["fusion__n_attentions"]
    2
    """

    embed_dim: int = 32
    hidden_dims: int | Sequence[int] = 32
    n_attentions: int = 4
    reduced_dim: int = 16
    cross_dim: int = 32
    head_dim: int = 64
    dropout: float = 0.0

    _parameter_constraints: ClassVar[dict] = {
        **{name: [SIZE] for name in ["embed_dim", "n_attentions", "reduced_dim", "cross_dim", "head_dim"]},
        "hidden_dims": [SIZE, SIZES],
        "dropout": [DROPOUT],
    }

    def build(
        self, shapes: Shapes, n_outputs: int, *, encoder: EncoderChoice = "auto", missing: Missing = "mean"
    ) -> FusionModule:
        self._validate_params()
        check_aligned("MultiAttentionFusion", shapes, encoder, missing)
        return _MultiAttentionFusion(self, shapes, n_outputs, missing)


class _MultiAttentionFusion(EmbeddedSteps):
    fixed_work = True  # see net/_step_graphs.py

    def __init__(self, fusion: MultiAttentionFusion, shapes: Shapes, n_outputs: int, missing: Missing) -> None:
        super().__init__("MultiAttentionFusion", shapes, fusion.embed_dim, missing)
        hidden_dims = widths_per_modality("MultiAttentionFusion", shapes, fusion.hidden_dims)
        embed_dim, cross_dim, self.n_attentions = fusion.embed_dim, fusion.cross_dim, fusion.n_attentions
        self.hidden_dims = list(hidden_dims.values())
        self.cells = nn.ModuleDict(
            {name: nn.LSTMCell(embed_dim + cross_dim, width) for name, width in hidden_dims.items()}
        )
        width = sum(self.hidden_dims)
        self.attention = nn.Linear(width, self.n_attentions * width)
        self.reduce = nn.ModuleDict(
            {name: nn.Linear(self.n_attentions * width, fusion.reduced_dim) for name, width in hidden_dims.items()}
        )
        self.cross = nn.Linear(len(shapes) * fusion.reduced_dim, cross_dim)
        self.head = mlp(width + cross_dim, [fusion.head_dim], n_outputs, fusion.dropout)

    def forward(self, X: Inputs, mask: Masks | None = None) -> FusionOutput:
        joint, seen, z = self._embed(X, mask)
        packing = Packing(seen, *joint.shape[:2])
        fused = packing.per_sample(self._run(packing.pack(joint), packing.sizes))
        return FusionOutput(self.head(fused), fused, z)

    def _run(self, rows: Tensor, sizes: list[int]) -> Tensor:
        """Hidden states and cross-view code after the last step of each sample, from packed embeddings."""
        n_samples = sum(sizes[:1])
        states = [(rows.new_zeros(n_samples, width), rows.new_zeros(n_samples, width)) for width in self.hidden_dims]
        cross = rows.new_zeros(n_samples, self.cross.out_features)
        ended = [rows.new_zeros(0, sum(self.hidden_dims) + self.cross.out_features)]
        for row, going_on in zip(rows.split(sizes), [*sizes[1:], 0], strict=False):
            parts = row.chunk(len(states), dim=1)
            states = [
                cell(torch.cat([part, cross], dim=1), state)
                for cell, part, state in zip(self.cells.values(), parts, states, strict=True)
            ]
            hidden = torch.cat([h for h, _ in states], dim=1)
            cross = self._cross_view(hidden)
            if going_on < len(row):  # the samples with fewest steps are last
                ended.append(torch.cat([hidden[going_on:], cross[going_on:]], dim=1))
                states = [(h[:going_on], c[:going_on]) for h, c in states]
                cross = cross[:going_on]
        return torch.cat(ended[::-1])

    def _cross_view(self, hidden: Tensor) -> Tensor:
        """Multi-attention Block: (B, h) to (B, cross_dim)."""
        scores = self.attention(hidden).unflatten(1, (self.n_attentions, -1))
        attended = (scores.softmax(2) * hidden.unsqueeze(1)).split(self.hidden_dims, dim=2)
        reduced = [reduce(part.flatten(1)) for reduce, part in zip(self.reduce.values(), attended, strict=True)]
        return self.cross(torch.cat(reduced, dim=1).relu())
