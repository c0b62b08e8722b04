"""Memory fusion: an LSTM per modality, attention to changes of the cell states, and a memory of what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..encoders._base import EncoderChoice, Inputs, Masks, Missing, Shapes
from ..encoders._steps import observed
from ..utils._layers import mlp
from ..utils._parameter_objects import DROPOUT, SIZE, SIZES
from ._aligned import align, any_observed, check_aligned, widths_per_modality
from ._base import Fusion, FusionModule, FusionOutput
from ._packed import GatedMemory, LSTMStates, Packing, shift


@dataclass(eq=False, repr=False)
class MemoryFusion(Fusion):
    r"""Watch the cell states of one LSTM per modality and keep what happens across them in a memory (MFN).

    With :math:`c_t` the cell states of all modalities after step t, side by side,

    .. math::

       h_{j,t}, c_{j,t} &= \mathrm{LSTM}_j(x_{j,t}, h_{j,t-1}, c_{j,t-1}) \\
       a_t &= \mathrm{softmax}(\mathrm{MLP}_a([c_{t-1}; c_t])) \odot [c_{t-1}; c_t] \\
       \hat u_t &= \tanh(\mathrm{MLP}_u(a_t)) \\
       \gamma_{1,t} &= \sigma(\mathrm{MLP}_1([a_t; u_{t-1}])), \qquad
       \gamma_{2,t} = \sigma(\mathrm{MLP}_2([a_t; u_{t-1}])) \\
       u_t &= \gamma_{1,t} \odot u_{t-1} + \gamma_{2,t} \odot \hat u_t \\
       \hat y &= \mathrm{MLP}([h_{1,T}; \dots; h_{m,T}; u_T])

    These are the System of LSTMs, the Delta-memory Attention Network and the Multi-view Gated Memory of [1]_; each MLP
    has one hidden layer.

    The dependency term reads :math:`z_j = h_{j,T}`, the last hidden state of the LSTM of modality j. The fused
    representation is what the last MLP reads, :math:`[h_{1,T}; \dots; h_{m,T}; u_T]`.

    Modalities must be sequences of the same number of steps, which mean the same moments, or all vectors, which count
    as one step. The state of a modality rests at steps at which it was not observed, the memory at steps at which none
    was; a modality without any step has a state of zeros, in place of which the last MLP reads a learned vector with
    ``missing="token"``. ``"mean"`` and ``"skip"`` are the same: nothing is read. ``encoder`` must stay ``"auto"``.

    Time is linear in samples and observed steps, and for states of width h in h times the number of features plus
    :math:`h^2`. Memory in training is linear in samples, observed steps and widths.

    Parameters
    ----------
    hidden_dims : int or sequence of int, default=64
        Width of the state of each LSTM: one for all, or one per modality in the order of the fitted ``modalities_``.
    memory_dim : int, default=64
        Width of the memory :math:`u_t`.
    attention_dim, candidate_dim, retain_dim, update_dim, head_dim : int, default=64
        Widths of the hidden layers of :math:`\mathrm{MLP}_a`, :math:`\mathrm{MLP}_u`, :math:`\mathrm{MLP}_1`,
        :math:`\mathrm{MLP}_2` and of the last MLP.
    dropout : float, default=0.0
        Probability of zeroing a unit of these hidden layers during training.

    Notes
    -----
    Departures from the paper: the state of a modality rests where that modality was not observed, instead of reading
    zeros, so that it does not depend on when the others were; any number of modalities, from one. That the gates read
    the memory, too, follows the authors' code (https://github.com/pliang279/MFN).

    Only the memory and the LSTMs go from step to step; attention, candidates and what the gates make of :math:`a_t` are
    computed for all steps at once.

    References
    ----------
    .. [1] Zadeh, Liang, Mazumder, Poria, Cambria, Morency, "Memory Fusion Network for Multi-view Sequential Learning",
       AAAI 2018.

    Examples
    --------
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.fusion import MemoryFusion
    >>> MDMFusionRegressor(fusion=MemoryFusion(memory_dim=128)).get_params()["fusion__memory_dim"]
    128
    """

    hidden_dims: int | Sequence[int] = 64
    memory_dim: int = 64
    attention_dim: int = 64
    candidate_dim: int = 64
    retain_dim: int = 64
    update_dim: int = 64
    head_dim: int = 64
    dropout: float = 0.0

    _parameter_constraints: ClassVar[dict] = {
        "hidden_dims": [SIZE, SIZES],
        **{
            name: [SIZE]
            for name in ["memory_dim", "attention_dim", "candidate_dim", "retain_dim", "update_dim", "head_dim"]
        },
        "dropout": [DROPOUT],
    }

    def build(
        self, shapes: Shapes, n_outputs: int, *, encoder: EncoderChoice = "auto", missing: Missing = "mean"
    ) -> FusionModule:
        self._validate_params()
        check_aligned("MemoryFusion", shapes, encoder, missing)
        return _MemoryFusion(self, shapes, n_outputs, missing)


class _MemoryFusion(FusionModule):
    fixed_work = True  # see net/_step_graphs.py

    def __init__(self, fusion: MemoryFusion, shapes: Shapes, n_outputs: int, missing: Missing) -> None:
        super().__init__()
        self.code_dims = code_dims = widths_per_modality("MemoryFusion", shapes, fusion.hidden_dims)
        width, memory = sum(code_dims.values()), fusion.memory_dim
        self.cells = nn.ModuleDict({name: nn.LSTMCell(shape[-1], code_dims[name]) for name, shape in shapes.items()})
        self.attention = mlp(2 * width, [fusion.attention_dim], 2 * width, fusion.dropout)
        # The first layers of the candidate and of both gates: their part for the states, and for the memory.
        self.hidden_dims = [fusion.candidate_dim, fusion.retain_dim + fusion.update_dim]
        self.read = nn.Linear(2 * width, sum(self.hidden_dims))
        self.recall = nn.Linear(memory, self.hidden_dims[1], bias=False)
        self.candidate = nn.Sequential(
            nn.ReLU(), nn.Dropout(fusion.dropout), nn.Linear(fusion.candidate_dim, memory), nn.Tanh()
        )
        self.retain = nn.Linear(fusion.retain_dim, memory)
        self.update = nn.Linear(fusion.update_dim, memory)
        self.dropout = fusion.dropout
        tokens = code_dims if missing == "token" else {}
        self.tokens = nn.ParameterDict({name: nn.Parameter(torch.zeros(k)) for name, k in tokens.items()})
        self.head = mlp(width + memory, [fusion.head_dim], n_outputs, fusion.dropout)

    def represent(self, X: Inputs, mask: Masks | None = None) -> dict[str, Tensor]:
        steps, seen = align("MemoryFusion", X, mask)
        return {name: self._read_modality(name, steps, seen)[0] for name in self.cells}

    def forward(self, X: Inputs, mask: Masks | None = None) -> FusionOutput:
        steps, seen = align("MemoryFusion", X, mask)
        x = next(iter(steps.values()))
        packing = Packing(any_observed(seen), *x.shape[:2])
        z, states = {}, []
        for name in self.cells:
            z[name], cell_states, own = self._read_modality(name, steps, seen)
            if seen is not None:
                # From the steps of the modality to those of any: the state that it has there, zero before its first.
                latest = packing.pack(own.latest().unsqueeze(-1)).squeeze(-1)
                start = cell_states.new_zeros(1, cell_states.shape[1])
                # A look-up whose gradient, unlike that of index_select, CUDA adds up in one order.
                cell_states = functional.embedding(latest, torch.cat([start, cell_states]))
            states.append(cell_states)
        last = {name: self._fill(name, x, seen) for name, x in z.items()}
        fused = torch.cat([*last.values(), packing.per_sample(self._memory(torch.cat(states, 1), packing.sizes))], 1)
        return FusionOutput(self.head(fused), fused, z)

    def _read_modality(self, name: str, steps: Inputs, seen: Masks | None) -> tuple[Tensor, Tensor, Packing]:
        """Last hidden state (B, h), cell states of the packed steps (N, h), and how they are packed."""
        cell: Any = self.cells[name]
        packing = Packing(None if seen is None else seen[name], *steps[name].shape[:2])
        weights = cell.weight_ih, cell.weight_hh, cell.bias_ih + cell.bias_hh
        last, _, states = LSTMStates.apply(packing.pack(steps[name]), packing.sizes, *weights)
        return packing.per_sample(last), states, packing

    def _memory(self, states: Tensor, sizes: list[int]) -> Tensor:
        """Last state of the memory, from the packed cell states of all modalities."""
        window = torch.cat([shift(states, sizes), states], dim=1)
        attended = self.attention(window).softmax(1) * window
        candidates, gates = self.read(attended).split(self.hidden_dims, dim=1)
        noise = None
        if self.dropout and self.training:
            # A fifth of the time of nn.Dropout, which is felt here.
            noise = torch.rand_like(gates).ge_(self.dropout).div_(max(1 - self.dropout, 1e-12))
        retain, update = self.retain, self.update
        weights = self.recall.weight, retain.weight, retain.bias, update.weight, update.bias
        return GatedMemory.apply(gates, noise, self.candidate(candidates), sizes, *weights)

    def _fill(self, name: str, z: Tensor, seen: Masks | None) -> Tensor:
        """Put the learned vector where nothing of a modality was observed."""
        if seen is None or name not in self.tokens:
            return z
        return torch.where(observed(seen[name]).unsqueeze(1), z, self.tokens[name])
