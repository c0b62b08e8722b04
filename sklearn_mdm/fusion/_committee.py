"""Several fusion modules of one architecture as one that predicts what they do on average."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..encoders._base import Inputs, Masks
from ._base import FusionModule, FusionOutput

# From predictions (n_members, B, n_outputs) to those of the committee, (B, n_outputs).
Average = Callable[[Tensor], Tensor]


class Committee(FusionModule):
    """Predicts what its members predict on average.

    Representations, and fused representations, are those of the members side by side.

    Parameters
    ----------
    members : sequence of FusionModule
        Modules of one architecture.
    average : callable
        From predictions (n_members, B, n_outputs) to their average (B, n_outputs).
    """

    def __init__(self, members: Sequence[FusionModule], average: Average) -> None:
        super().__init__()
        self.members: Any = nn.ModuleList(members)
        self.average = average
        self.single_precision = getattr(members[0], "single_precision", False)
        self.code_dims = {name: len(members) * width for name, width in members[0].code_dims.items()}

    def represent(self, X: Inputs, mask: Masks | None = None) -> dict[str, Tensor]:
        """Return the representations of all members side by side, member by member."""
        return self._side_by_side([member.represent(X, mask) for member in self.members])

    def forward(self, X: Inputs, mask: Masks | None = None) -> FusionOutput:
        """Return the average prediction, and the representations of all members side by side."""
        return self._averaged([member(X, mask) for member in self.members])

    def from_representations(self, z: dict[str, Tensor]) -> FusionOutput:
        """Return what ``forward`` returns, from the representations of all members side by side."""
        parts = zip(*(z[name].chunk(len(self.members), dim=1) for name in self.code_dims), strict=True)
        own = [dict(zip(self.code_dims, part, strict=True)) for part in parts]
        return self._averaged(
            [member.from_representations(part) for member, part in zip(self.members, own, strict=True)]
        )

    def _averaged(self, outputs: Sequence[FusionOutput]) -> FusionOutput:
        return FusionOutput(
            self.average(torch.stack([output.prediction for output in outputs])),
            torch.cat([output.fused for output in outputs], dim=1),
            self._side_by_side([output.representations for output in outputs]),
        )

    def _side_by_side(self, z: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([of_member[name] for of_member in z], dim=1) for name in self.code_dims}


def mean_prediction(predictions: Tensor) -> Tensor:
    """Average numbers (n_members, B, n_outputs)."""
    return predictions.mean(0)


def mean_probability(logits: Tensor) -> Tensor:
    """Average probabilities of which these are the logits, (n_members, B, n_classes), as logarithms."""
    return torch.logsumexp(logits.log_softmax(-1), 0) - math.log(len(logits))
