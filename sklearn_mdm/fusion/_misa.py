"""MISA: what each modality shares with the others and what it has of its own, kept apart by losses of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import normalize

from ..encoders import Encoder, ModalityEncoders
from ..encoders._base import EncoderChoice, Inputs, Masks, Missing, Shapes
from ..encoders._steps import observed
from ..utils._parameter_objects import DROPOUT, NOT_NEGATIVE, SIZE
from ._base import Fusion, FusionModule, FusionOutput
from ._packed import LSTMStates, Packing

N_MOMENTS = 5
# Centred rows shorter than this count as less than one row; usual ones are longer than 0.01.
MIN_LENGTH = 1e-4


@dataclass(eq=False, repr=False)
class MISAFusion(Fusion):
    r"""Split each modality into a part that all share and a part of its own, and fuse the parts by attention (MISA).

    From utterance vectors :math:`u_j`,

    .. math::

       z_j &= \mathrm{LayerNorm}(\mathrm{relu}(W_j u_j + b_j)) \\
       c_j &= \sigma(S z_j + s), \qquad p_j = \sigma(P_j z_j + q_j) \\
       [\tilde p_1, \dots, \tilde p_m, \tilde c_1, \dots, \tilde c_m]
         &= \mathrm{Transformer}([p_1, \dots, p_m, c_1, \dots, c_m]) \\
       \hat y &= V \, \mathrm{relu}(U [\tilde p_1; \dots; \tilde c_m] + u) + v

    with one transformer layer, and in training a penalty

    .. math:: w_{sim} L_{sim} + w_{diff} L_{diff} + w_{recon} L_{recon}

    * similarity: the central moment discrepancy between the shared parts of two modalities, that is the distance
      between their means plus those between their central moments of orders 2 to 5, averaged over pairs;
    * difference: with the parts of a batch as matrices, a row per sample, centred and scaled to rows of length one, the
      mean square of the entries of :math:`c_j^\top p_j`, summed over modalities, plus that of :math:`p_i^\top p_j`,
      summed over pairs;
    * reconstruction: the mean square of :math:`z_j - D_j (c_j + p_j) - d_j` over what was observed of all modalities.

    Of a batch, only rows in which a modality was observed enter its terms. A single modality has no similarity.
    See Section 3 of [1]_, and [2]_ for the discrepancy.

    The dependency term reads :math:`z_j`, the projected utterance vectors; those of missing modalities come from what
    ``missing`` puts in place of :math:`u_j`. With ``"skip"`` nothing attends to the parts of a missing modality, and
    the hidden layer reads zeros in place of :math:`\tilde p_j` and :math:`\tilde c_j`. The fused representation is the
    hidden layer, :math:`\mathrm{relu}(U [\tilde p_1; \dots; \tilde c_m] + u)`.

    The utterance vector of a vector is the vector itself; that of a sequence, with ``encoder="auto"``, holds the last
    states of two bidirectional LSTM layers with a LayerNorm between them, each as wide as the features, which read the
    observed steps only. A sequence without any step reads as a single step of zeros. ``encoder`` puts another encoder
    in their place.

    Beside the encoders, time and memory are linear in samples and quadratic in ``hidden_dim`` and in the number of
    modalities. The LSTMs are linear in samples and observed steps and quadratic in the number of features.

    Parameters
    ----------
    hidden_dim : int, default=128
        Width of the :math:`z_j` and of their parts; a multiple of ``n_heads``.
    n_heads : int, default=2
        Attention heads of the transformer layer.
    feedforward_dim : int, default=512
        Width of the feed-forward part of the transformer layer.
    dropout : float, default=0.1
        Probability of zeroing a unit of the hidden layer, and in the transformer layer, during training.
    sim_weight, diff_weight, recon_weight : float, default=1.0, 0.3, 1.0
        Weights of similarity, difference and reconstruction.

    Notes
    -----
    Departures from the paper: any number of modalities, from one; the utterance vector of text is that of any sequence,
    where the paper takes averages of a pretrained BERT as an alternative.

    The difference loss is a sum over the rows of a batch: it depends on ``batch_size``. As in the code published with
    the paper, it is the mean over the entries of the products, where the paper writes their squared Frobenius norm.

    References
    ----------
    .. [1] Hazarika, Zimmermann, Poria, "MISA: Modality-Invariant and -Specific Representations for Multimodal Sentiment
       Analysis", ACM Multimedia 2020.
    .. [2] Zellinger et al., "Central Moment Discrepancy (CMD) for Domain-Invariant Representation Learning", ICLR 2017.

    Examples
    --------
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.fusion import MISAFusion
    >>> MDMFusionRegressor(fusion=MISAFusion(sim_weight=0.5)).get_params()["fusion__sim_weight"]
    0.5
    """

    hidden_dim: int = 128
    n_heads: int = 2
    feedforward_dim: int = 512
    dropout: float = 0.1
    sim_weight: float = 1.0
    diff_weight: float = 0.3
    recon_weight: float = 1.0

    _parameter_constraints: ClassVar[dict] = {
        **{name: [SIZE] for name in ["hidden_dim", "n_heads", "feedforward_dim"]},
        "dropout": [DROPOUT],
        **{name: [NOT_NEGATIVE] for name in ["sim_weight", "diff_weight", "recon_weight"]},
    }

    def build(
        self, shapes: Shapes, n_outputs: int, *, encoder: EncoderChoice = "auto", missing: Missing = "mean"
    ) -> FusionModule:
        self._validate_params()
        if self.hidden_dim % self.n_heads:
            raise ValueError(
                f"MISAFusion needs a hidden_dim that n_heads divides, got hidden_dim={self.hidden_dim} and "
                f"n_heads={self.n_heads}."
            )
        chosen = encoder if isinstance(encoder, Mapping) else dict.fromkeys(shapes, encoder)
        chosen = {name: _Utterance() if chosen.get(name, "auto") == "auto" else chosen[name] for name in shapes}
        return _MISA(self, ModalityEncoders(shapes, chosen, missing), n_outputs)


class _MISA(FusionModule):
    fixed_work = True  # see net/_step_graphs.py

    def __init__(self, fusion: MISAFusion, encoders: ModalityEncoders, n_outputs: int) -> None:
        super().__init__(encoders)
        names, hidden_dim, dropout = list(encoders.code_dims), fusion.hidden_dim, fusion.dropout
        self.code_dims = dict.fromkeys(names, hidden_dim)
        self.weights = fusion.sim_weight, fusion.diff_weight, fusion.recon_weight
        self.project = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(dim, hidden_dim), nn.ReLU(), nn.LayerNorm(hidden_dim))
                for name, dim in encoders.code_dims.items()
            }
        )
        self.private = nn.ModuleDict({name: nn.Linear(hidden_dim, hidden_dim) for name in names})
        self.shared = nn.Linear(hidden_dim, hidden_dim)
        self.decode = nn.ModuleDict({name: nn.Linear(hidden_dim, hidden_dim) for name in names})
        self.attend = nn.TransformerEncoderLayer(
            hidden_dim, fusion.n_heads, fusion.feedforward_dim, dropout, batch_first=True
        )
        n_fused = len(names) * hidden_dim
        self.fuse = nn.Sequential(nn.Linear(2 * n_fused, n_fused), nn.Dropout(dropout), nn.ReLU())
        self.out = nn.Linear(n_fused, n_outputs)

    def represent(self, X: Inputs, mask: Masks | None = None) -> dict[str, Tensor]:
        utterances = self.encoders.fill(self.encoders.represent(X, mask), mask)
        return {name: project(utterances[name]) for name, project in self.project.items()}

    def forward(self, X: Inputs, mask: Masks | None = None) -> FusionOutput:
        representations = self.represent(X, mask)
        z = torch.stack(list(representations.values()))  # (m, B, h)
        shared = self.shared(z).sigmoid()
        private = torch.stack([self.private[name](part) for name, part in representations.items()]).sigmoid()
        seen = None if mask is None else torch.stack([observed(mask[name]) for name in representations])  # (m, B)
        fused = self.fuse(self._attend(torch.cat([private, shared]).transpose(0, 1), seen).flatten(1))
        penalty = None
        if self.training:
            seen = z.new_ones(z.shape[:2]) if seen is None else seen.to(z.dtype)
            both = zip(representations, shared + private, strict=True)
            decoded = torch.stack([self.decode[name](parts) for name, parts in both])
            sim_weight, diff_weight, recon_weight = self.weights
            penalty = sim_weight * similarity(shared, seen) + diff_weight * difference(shared, private, seen)
            penalty = penalty + recon_weight * mean_of((decoded - z).square().mean(2), seen)
        return FusionOutput(self.out(fused), fused, representations, penalty)

    def _attend(self, parts: Tensor, seen: Tensor | None) -> Tensor:
        """Attention over the parts (B, 2 m, h); with ``missing="skip"`` over those of observed modalities."""
        if seen is None or self.encoders.missing != "skip":
            return self.attend(parts)
        kept = seen.t().repeat(1, 2)
        # Attention to nothing is undefined: a sample without anything attends to all, and counts for nothing.
        padding = ~kept & kept.any(1, keepdim=True)
        return torch.where(kept.unsqueeze(2), self.attend(parts, src_key_padding_mask=padding), 0)


def similarity(shared: Tensor, seen: Tensor) -> Tensor:
    """Central moment discrepancy between modalities, averaged over the pairs of those that were observed at all.

    From their shared parts (m, B, h), between 0 and 1, and ``seen`` (m, B), 1 where a modality was observed.
    """
    weight = (seen / seen.sum(1, keepdim=True).clamp(min=1)).unsqueeze(2)
    mean = (weight * shared).sum(1)
    centred = shared - mean.unsqueeze(1)
    powers = torch.stack([centred**order for order in range(2, N_MOMENTS + 1)])
    moments = torch.cat([mean.unsqueeze(0), (weight * powers).sum(2)])  # (N_MOMENTS, m, h)
    pairs = list(combinations(range(len(shared)), 2))
    if not pairs:
        return shared.new_zeros(())
    one, other = torch.tensor(pairs, device=shared.device).t()
    distance = vector_norm(moments[:, one] - moments[:, other], dim=2).sum(0)
    present = seen.amax(1)
    return mean_of(distance, present[one] * present[other])


def difference(shared: Tensor, private: Tensor, seen: Tensor) -> Tensor:
    """Overlap of the shared with the private part of each modality, and of the private parts of each pair.

    From these parts (m, B, h), and ``seen`` (m, B), 1 where a modality was observed.
    """
    pairs = combinations(range(len(shared)), 2)
    terms = [overlap(shared[j], private[j], seen[j]) for j in range(len(shared))]
    terms += [overlap(private[i], private[j], seen[i] * seen[j]) for i, j in pairs]
    return torch.stack(terms).sum()


def overlap(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Mean square of the entries of ``a.T @ b``, of rows (B, h) that are centred and scaled to length one."""
    share = (weight / weight.sum().clamp(min=1)).unsqueeze(1)
    # Rows of weight 0 become zero, and do not count. Without a floor of the length, rows that are all alike would leave
    # their rounding errors, scaled to length one.
    a, b = (normalize((x - (share * x).sum(0)) * weight.unsqueeze(1), dim=1, eps=MIN_LENGTH) for x in (a, b))
    return (a.t() @ b).square().mean()


def mean_of(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean; 0 where all weights are."""
    return (values * weight).sum() / weight.sum().clamp(min=1)


class _Utterance(Encoder):
    """Utterance vectors of the paper: two bidirectional LSTM layers for a sequence, a vector as it is."""

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        return _BidirectionalLSTM(shape[1]) if len(shape) == 2 else _AsItIs(shape[0])


class _AsItIs(nn.Module):
    fixed_work = True  # see net/_step_graphs.py

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.out_dim = n_features

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x


class _BidirectionalLSTM(nn.Module):
    fixed_work = True  # see net/_step_graphs.py

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.out_dim = 4 * n_features
        self.first = nn.LSTM(n_features, n_features, batch_first=True, bidirectional=True)
        self.norm = nn.LayerNorm(2 * n_features)
        self.second = nn.LSTM(2 * n_features, n_features, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            states, (first, _) = self.first(x)
            _, (second, _) = self.second(self.norm(states))
            return torch.cat([*first, *second], dim=1)
        no_step = ~mask.any(1, keepdim=True)
        mask = torch.cat([mask[:, :1] | no_step, mask[:, 1:]], dim=1)  # where x is zero
        packing = Packing(mask, *x.shape[:2])
        turned = packing.turned()
        rows, first_ends = both_ways(self.first, packing.pack(x), packing.sizes, turned)
        _, second_ends = both_ways(self.second, self.norm(rows), packing.sizes, turned)
        return packing.per_sample(torch.cat([*first_ends, *second_ends], dim=1))


def both_ways(lstm: nn.LSTM, rows: Tensor, sizes: list[int], turned: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """States (N, 2 h) of a bidirectional LSTM at all packed steps, and the last ones (n, h) of each direction."""
    (ahead, ahead_end), (back, back_end) = (
        LSTMStates.apply(
            steps,
            sizes,
            getattr(lstm, f"weight_ih_l0{way}"),
            getattr(lstm, f"weight_hh_l0{way}"),
            getattr(lstm, f"bias_ih_l0{way}") + getattr(lstm, f"bias_hh_l0{way}"),
        )[1::-1]
        for way, steps in (("", rows), ("_reverse", rows.index_select(0, turned)))
    )
    return torch.cat([ahead, back.index_select(0, turned)], dim=1), (ahead_end, back_end)
