"""The gate of MAG, and what the modules that hold one share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...encoders._base import Inputs, Masks
from ...encoders._steps import mean_over_steps, observed
from .._base import FusionModule


class AdaptationGate(nn.Module):
    """The multimodal adaptation gate; see :class:`MAGFusion` for the formula.

    Parameters
    ----------
    text_dim : int
        Width of the states of words.
    side_dims : mapping of str to int
        Width of each of the other modalities.
    beta : float, default=1.0
        Largest length of the displacement, in lengths of the word's state.
    dropout : float, default=0.1
        Probability of zeroing a unit of a displaced word during training.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.fusion import AdaptationGate
    >>> gate = AdaptationGate(8, {"audio": 3})
    >>> words, audio = torch.randn(2, 5, 8), torch.randn(2, 5, 3)
    >>> seen = {"audio": torch.tensor([[True] * 5, [False] * 5])}
    >>> out = gate(words, {"audio": audio}, seen)
    >>> torch.equal(out[0], words[0]), torch.equal(out[1], words[1])
    (False, True)
    """

    eps = 1e-6

    def __init__(self, text_dim: int, side_dims: Mapping[str, int], beta: float = 1.0, dropout: float = 0.1) -> None:
        super().__init__()
        self.beta = beta
        self.gates = nn.ModuleDict({name: nn.Linear(text_dim + dim, text_dim) for name, dim in side_dims.items()})
        self.projections = nn.ModuleDict({name: nn.Linear(dim, text_dim) for name, dim in side_dims.items()})
        self.norm = nn.LayerNorm(text_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        states: Tensor,
        sides: Mapping[str, Tensor],
        seen: Mapping[str, Tensor] | None = None,
        has_text: Tensor | None = None,
    ) -> Tensor:
        """Displace words by the other modalities.

        Parameters
        ----------
        states : Tensor of shape (B, T, text_dim)
            States of the words.
        sides : mapping of str to Tensor of shape (B, T, d)
            What belongs to each word, without NaN.
        seen : mapping of str to Tensor of bool of shape (B, T), default=None
            Where it was observed; None if everywhere.
        has_text : Tensor of bool of shape (B, T), default=None
            Where the state is that of a word, and not of a blank; None if everywhere.

        Returns
        -------
        Tensor of shape (B, T, text_dim)
            Displaced states; those of words without any other modality are the very same.
        """
        if not sides or self.beta == 0:
            return states
        shift: Any = 0
        for name, x in sides.items():
            gate = torch.relu(self.gates[name](torch.cat([states, x], dim=-1)))
            part = gate * self.projections[name](x)
            shift = shift + (part if seen is None else torch.where(seen[name].unsqueeze(-1), part, 0))
        length = torch.linalg.vector_norm(states, dim=-1), torch.linalg.vector_norm(shift, dim=-1)
        alpha = (self.beta * length[0] / (length[1] + self.eps)).clamp(max=1)
        if has_text is not None:
            alpha = torch.where(has_text, alpha, 1)
        displaced = self.dropout(self.norm(states + alpha.unsqueeze(-1) * shift))
        if seen is None:
            return displaced
        touched = torch.stack(list(seen.values())).any(0)
        return torch.where(touched.unsqueeze(-1), displaced.to(states.dtype), states)

    def represent(self, name: str, x: Tensor, mask: Tensor | None) -> Tensor:
        """Mean projection (B, text_dim) of a modality (B, d) or (B, T, d); zero where it was not observed."""
        if mask is not None:
            x = torch.where(mask.unsqueeze(-1), x, 0)
        if x.dim() == 3:
            x = mean_over_steps(x, mask)
        z = self.projections[name](x)
        return z if mask is None else torch.where(observed(mask).unsqueeze(1), z, 0)


class Gated(FusionModule):
    """What both modules share: the gate, the representations of the other modalities, and the blank."""

    def __init__(self, names: list[str], text: str, gate: AdaptationGate, blank: bool) -> None:
        super().__init__()
        self.text = text
        self.gate = gate
        dim = gate.norm.normalized_shape[0]
        self.code_dims = dict.fromkeys(names, dim)
        self.blank = nn.Parameter(torch.zeros(dim)) if blank else None

    def _representations(self, text: Tensor, X: Inputs, mask: Masks | None) -> dict[str, Tensor]:
        return {
            name: text
            if name == self.text
            else self.gate.represent(name, X[name], None if mask is None else mask[name])
            for name in self.code_dims
        }

    def _filled(self, states: Tensor, has_text: Tensor | None) -> Tensor:
        """Put the blank where there is no text."""
        if has_text is None:
            return states
        blank = states.new_zeros(()) if self.blank is None else self.blank.to(states.dtype)
        return torch.where(has_text.unsqueeze(-1), states, blank)
