"""Several fusion modules of one architecture as one that predicts what they do on average."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..encoders._base import Inputs, Masks
from ..utils._stacking import can_stack, stack
from ._base import FusionModule, FusionOutput

# From predictions (n_members, B, n_outputs) to those of the committee, (B, n_outputs).
Average = Callable[[Tensor], Tensor]

# Parameters of a member up to which it pays to stack: the call of a layer takes longer than to copy and apply it.
MAX_STACKED = 2**15


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

    def stacked(self) -> StackedCommittee | None:
        """Return what computes all members as one, on copies in double precision; None if that does not pay or work."""
        first = self.members[0]
        small = sum(parameter.numel() for parameter in first.parameters()) <= MAX_STACKED
        # A part that is there twice would be stacked twice.
        once = len(list(first.modules())) == len(list(first.named_modules(remove_duplicate=False)))
        return StackedCommittee(self) if small and once and can_stack(first) else None

    def _averaged(self, outputs: Sequence[FusionOutput]) -> FusionOutput:
        return FusionOutput(
            self.average(torch.stack([output.prediction for output in outputs])),
            torch.cat([output.fused for output in outputs], dim=1),
            self._side_by_side([output.representations for output in outputs]),
        )

    def _side_by_side(self, z: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([of_member[name] for of_member in z], dim=1) for name in self.code_dims}


class Committees:
    """Makes committees of one average, and can be saved."""

    def __init__(self, average: Average) -> None:
        self.average = average

    def __call__(self, members: Sequence[Any]) -> Committee:
        return Committee(members, self.average)


class StackedCommittee(nn.Module):
    """Does what a committee does, by one call a layer for all its members.

    Parameters
    ----------
    committee : Committee
        Its members can be stacked.
    """

    def __init__(self, committee: Committee) -> None:
        super().__init__()
        self.n_members = len(committee.members)
        self.average = committee.average
        self.code_dims = committee.code_dims
        self.members = stack(list(committee.members), _joined_in_double)

    def represent(self, X: Inputs, mask: Masks | None = None) -> dict[str, Tensor]:
        """Return the representations of all members side by side, member by member."""
        z = self.members.represent(self._repeated(X), mask and self._repeated(mask))
        return {name: _side_by_side(part) for name, part in z.items()}

    def forward(self, X: Inputs, mask: Masks | None = None) -> StackedOutput:
        """Return the average prediction, and the fused representations side by side."""
        return StackedOutput(self.members(self._repeated(X), mask and self._repeated(mask)), self.average)

    def from_representations(self, z: dict[str, Tensor]) -> StackedOutput:
        """Return what ``forward`` returns, from the representations of all members side by side."""
        own = {name: part.unflatten(1, (self.n_members, -1)).transpose(0, 1) for name, part in z.items()}
        return StackedOutput(self.members.from_representations(own), self.average)

    def _repeated(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.expand(self.n_members, *tensor.shape) for name, tensor in tensors.items()}


class StackedOutput:
    """Output of members as one, of which what is not asked for is not put together."""

    def __init__(self, output: FusionOutput, average: Average) -> None:
        self.output = output
        self.average = average

    @property
    def prediction(self) -> Tensor:
        """Average of the members."""
        return self.average(self.output.prediction)

    @property
    def fused(self) -> Tensor:
        """Those of the members side by side."""
        return _side_by_side(self.output.fused)


def _joined_in_double(tensors: Sequence[Tensor]) -> Tensor:
    joined = torch.stack([tensor.detach() for tensor in tensors])
    return joined.double() if joined.is_floating_point() else joined


def _side_by_side(of_members: Tensor) -> Tensor:
    """From (n_members, B, k) to (B, n_members * k)."""
    return of_members.transpose(0, 1).flatten(1)


def mean_prediction(predictions: Tensor) -> Tensor:
    """Average numbers (n_members, B, n_outputs)."""
    return predictions.mean(0)


def mean_probability(logits: Tensor) -> Tensor:
    """Average probabilities of which these are the logits, (n_members, B, n_classes), as logarithms."""
    return torch.logsumexp(logits.log_softmax(-1), 0) - math.log(len(logits))
