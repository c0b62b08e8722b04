"""MAG in a transformer: tokens, the steps that belong to their words, and a gate between two layers."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ...encoders._base import Inputs, Masks
from ...encoders._steps import mean_over_steps
from .._base import FusionOutput
from ._backbone import Backbone
from ._cache import cached_states
from ._gate import AdaptationGate, Gated
from ._text import N_COLUMNS, TOKEN, TYPE, WORD

# Rows of a pass in evaluation, where texts are brought together by their length.
MAX_ROWS_PER_PASS = 32


class GatedBackbone(Gated):
    """A gate between two layers of a transformer, whose last states are pooled."""

    single_precision = True

    def __init__(
        self,
        names: list[str],
        text: str,
        gate: AdaptationGate,
        backbone: Backbone,
        head: nn.Module,
        position: int | None,
        blank: bool,
        memory: Any,
    ) -> None:
        super().__init__(names, text, gate, blank)
        self.backbone = backbone
        self.head = head
        self.position = position
        self.memory = memory
        self.fingerprint = backbone.fingerprint() if backbone.precomputed and memory is not None else ""

    def _to_save(self) -> dict[str, Any]:
        return {**vars(self), "memory": None, "fingerprint": ""}  # directories of another machine

    # -- texts -------------------------------------------------------------------------------------------------------

    def _tokens(self, X: Inputs, mask: Masks | None) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, 3 or more), and which of them are there, without the steps that no text of the batch fills."""
        x = X[self.text]
        if mask is None:
            return x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        longest = _longest(mask[self.text])
        x, seen = x[:, :longest], mask[self.text][:, :longest]
        return torch.where(seen.unsqueeze(-1), x, 0), seen

    def _below(self, x: Tensor, seen: Tensor) -> Tensor:
        if x.shape[2] > N_COLUMNS:
            return x[..., N_COLUMNS:]
        # Attention to nothing is undefined: a sample without text attends to padding, which its representation ignores.
        attended = seen | ~seen.any(1, keepdim=True)
        return self.backbone.below(self._ids(x, seen), x[..., TYPE].long(), attended)

    def _ids(self, x: Tensor, seen: Tensor) -> Tensor:
        return torch.where(seen, x[..., TOKEN].long(), self.backbone.pad_id)

    @staticmethod
    def _pooled(states: Tensor, x: Tensor, seen: Tensor) -> Tensor:
        """Representation of the text: the mean over its words, special tokens left out."""
        return mean_over_steps(states, seen & (x[..., WORD] >= 0))

    def represent(self, X: Inputs, mask: Masks | None = None) -> dict[str, Tensor]:
        x, seen = self._tokens(X, mask)
        return self._representations(self._pooled(self._below(x, seen), x, seen), X, mask)

    # -- the pass ----------------------------------------------------------------------------------------------------

    def forward(self, X: Inputs, mask: Masks | None = None) -> FusionOutput:
        n = len(X[self.text])
        if self.training or mask is None or n <= MAX_ROWS_PER_PASS:
            return self._forward(X, mask)
        # Padding costs as much as words: texts of about the same length go together.
        order = mask[self.text].sum(1).argsort(stable=True)
        outputs = [
            self._forward({k: v[rows] for k, v in X.items()}, {k: v[rows] for k, v in mask.items()})
            for rows in order.split(MAX_ROWS_PER_PASS)
        ]
        back = order.argsort()
        return FusionOutput(
            torch.cat([output.prediction for output in outputs])[back],
            torch.cat([output.fused for output in outputs])[back],
            {name: torch.cat([o.representations[name] for o in outputs])[back] for name in self.code_dims},
        )

    def _forward(self, X: Inputs, mask: Masks | None) -> FusionOutput:
        x, seen = self._tokens(X, mask)
        n_tokens = x.shape[1]
        word, has_text = x[..., WORD].long(), None
        attended = seen
        if mask is not None and not bool(seen.any(1).all()):
            word, attended = self._blank_words(word, seen, X, mask)
            has_text = pad(seen, (0, word.shape[1] - n_tokens)) | seen.any(1, keepdim=True)
        x = pad(x, (0, 0, 0, word.shape[1] - n_tokens))
        seen = pad(seen, (0, word.shape[1] - n_tokens))
        sides, side_seen = self._spread(word, attended, X, mask)
        entering: list[Tensor] = []

        def step(states: Tensor) -> Tensor:
            states = states.float()
            entering.append(states)
            return self.gate(self._filled(states, has_text), sides, side_seen, has_text)

        given = x[..., N_COLUMNS:] if x.shape[2] > N_COLUMNS else None
        states = self.backbone(self._ids(x, seen), x[..., TYPE].long(), attended, step, given)
        own = self._pooled(entering[0][:, :n_tokens], x[:, :n_tokens], seen[:, :n_tokens])
        if self.position is None:
            fused = mean_over_steps(states, attended)
        else:
            where = attended.sum(1) - 1 if self.position == -1 else attended.new_zeros(len(states), dtype=torch.long)
            fused = states[torch.arange(len(states), device=states.device), where.clamp(min=0)]
        return FusionOutput(self.head(fused), fused, self._representations(own, X, mask))

    def _blank_words(self, word: Tensor, seen: Tensor, X: Inputs, mask: Masks) -> tuple[Tensor, Tensor]:
        """Words (B, T') and read steps of samples some of which have no text: those have a word for each side step.

        Steps that the backbone has no position for are left unread.
        """
        n_words = torch.ones(len(word), dtype=torch.long, device=word.device)
        for name, x in X.items():
            if x.dim() == 3 and name != self.text:
                count = torch.arange(1, x.shape[1] + 1, device=word.device)
                n_words = torch.maximum(n_words, (mask[name] * count).amax(1))
        lacks = ~seen.any(1)
        most = int(n_words[lacks].max())
        if self.backbone.n_positions is not None:
            most = min(most, self.backbone.n_positions)
        longest = max(word.shape[1], most)
        more = longest - word.shape[1]
        steps = torch.arange(longest, device=word.device)
        word = torch.where(lacks.unsqueeze(1), steps, pad(word, (0, more)))
        attended = torch.where(lacks.unsqueeze(1), steps < n_words.unsqueeze(1), pad(seen, (0, more)))
        return word, attended

    def _spread(
        self, word: Tensor, attended: Tensor, X: Inputs, mask: Masks | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What belongs to each token: the step of its word, or the vector of its sample; to special tokens nothing."""
        sides, seen = {}, {}
        for name, x in X.items():
            if name == self.text:
                continue
            m = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device) if mask is None else mask[name]
            if x.dim() == 2:
                x, m, step = x.unsqueeze(1), m.unsqueeze(1), torch.where(word < 0, word, 0)
            else:
                step = word
            there = attended & (step >= 0) & (step < x.shape[1])
            step = step.clamp(0, x.shape[1] - 1)
            seen[name] = there & m.gather(1, step)
            x = x.gather(1, step.unsqueeze(-1).expand(-1, -1, x.shape[2]))
            sides[name] = torch.where(seen[name].unsqueeze(-1), x, 0)
        return sides, seen

    # -- states of frozen layers ---------------------------------------------------------------------------------------

    def prepare(self, X: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Append to the tokens the states in front of the gate, if these never change."""
        if not self.backbone.precomputed:
            return X
        tokens = X[self.text]
        lengths = (~np.isnan(tokens[..., TOKEN])).sum(1)
        rows = [row[:n].astype(np.int32) for row, n in zip(tokens, lengths, strict=True) if n]
        width = self.backbone.hidden_size
        texts = [row[:, [TOKEN, TYPE]] for row in rows]
        exact = functools.cache(self._exact_backbone)  # not made where every text is found
        states = iter(
            cached_states(texts, lambda some: self._states(exact(), some), width, self.memory, self.fingerprint)
        )
        prepared = np.full((*tokens.shape[:2], N_COLUMNS + width), np.nan, dtype=np.float32)
        prepared[..., :N_COLUMNS] = tokens
        for row, n in zip(prepared, lengths, strict=True):
            if n:
                row[:n, N_COLUMNS:] = next(states)
        return {**X, self.text: prepared}

    def _exact_backbone(self) -> Backbone:
        """Return a copy that computes in double precision."""
        # In single precision the last digits of a text depend on those that are computed with it: what a fold finds on
        # disk would be another number than what it computes. Rounded from double precision, it is the same.
        backbone = copy.deepcopy(self.backbone).eval()
        return backbone if self.gate.norm.weight.device.type == "mps" else backbone.double()

    def _states(self, backbone: Backbone, rows: Sequence[np.ndarray]) -> list[np.ndarray]:
        lengths = torch.tensor([len(row) for row in rows])
        device = self.gate.norm.weight.device
        seen = (torch.arange(int(lengths.max())) < lengths.unsqueeze(1)).to(device)
        ids = nn.utils.rnn.pad_sequence([torch.from_numpy(row).long() for row in rows], batch_first=True).to(device)
        with torch.no_grad():
            states = backbone.below(torch.where(seen, ids[..., 0], backbone.pad_id), ids[..., 1], seen)
        return [row[:n].cpu().numpy() for row, n in zip(states, lengths.tolist(), strict=True)]


def _longest(mask: Tensor) -> int:
    """Return the number of steps up to the last one that any sample has, and at least 1."""
    steps = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return max(int((mask.any(0) * steps).max()), 1)
