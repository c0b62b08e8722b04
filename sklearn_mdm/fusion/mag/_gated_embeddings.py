"""MAG on word embeddings: a gate, then an encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...encoders._base import Inputs, Masks
from ...encoders._steps import mean_over_steps
from .._aligned import align
from .._base import FusionOutput
from ._gate import AdaptationGate, Gated


class GatedEmbeddings(Gated):
    """A gate on word embeddings, then an encoder."""

    def __init__(
        self, names: list[str], text: str, gate: AdaptationGate, encoder: nn.Module, head: nn.Module, blank: bool
    ) -> None:
        super().__init__(names, text, gate, blank)
        self.encoder = encoder
        self.head = head

    def represent(self, X: Inputs, mask: Masks | None = None) -> dict[str, Tensor]:
        words, seen = X[self.text], None if mask is None else mask[self.text]
        if seen is not None:
            words = torch.where(seen.unsqueeze(-1), words, 0)
        return self._representations(mean_over_steps(words, seen) if words.dim() == 3 else words, X, mask)

    def forward(self, X: Inputs, mask: Masks | None = None) -> FusionOutput:
        vectors = [name for name, x in X.items() if x.dim() == 2 and name != self.text]
        sequences = {name: x for name, x in X.items() if name not in vectors}
        steps, seen = align("MAGFusion", sequences, None if mask is None else {name: mask[name] for name in sequences})
        n_steps = steps[self.text].shape[1]
        words = None
        if mask is not None and seen is not None:
            words = torch.stack(list(seen.values())).any(0)
            for name in vectors:
                steps[name], seen[name], words = _repeated(X[name], mask[name], words)
            seen = {name: seen[name] & words for name in seen}
        else:
            steps |= {name: X[name].unsqueeze(1).expand(-1, n_steps, -1) for name in vectors}
        has_text = None if seen is None else seen.pop(self.text)
        states = self._filled(steps.pop(self.text), has_text)
        fused = self.encoder(self.gate(states, steps, seen, has_text), words)
        return FusionOutput(self.head(fused), fused, self.represent(X, mask))


def _repeated(x: Tensor, mask: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give every word the vector of its sample; where a sample has no word, there is one now if it has the vector."""
    first = torch.arange(words.shape[1], device=words.device) == 0
    words = words | (mask.unsqueeze(1) & ~words.any(1, keepdim=True) & first)
    x = torch.where(mask.unsqueeze(1), x, 0)
    return x.unsqueeze(1).expand(-1, words.shape[1], -1), mask.unsqueeze(1).expand_as(words), words
