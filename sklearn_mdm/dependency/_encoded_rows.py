"""Log ratios of samples that are put together from rows, each of which a critic encodes once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..critic._base import gather
from ..utils._blocks import ROWS_AT_ONCE
from ..utils._isolation import isolated
from ._calibration import bounded
from ._decomposition import SummedCritic
from ._density_ratio import TrainedCritic
from ._member_critics import MemberCritics

# What a critic reads of the representations of all modalities.
View: TypeAlias = Callable[[list[np.ndarray]], list[np.ndarray]]


class RowRatio(Protocol):
    """Log density ratio, in nats, of rows and of what is put together from them."""

    def encode(self, z: list[np.ndarray]) -> Any:
        """What is kept of rows (n, k_j) of each modality."""

    def values(self, features: Any, index: np.ndarray | None = None) -> np.ndarray:
        """Of each row, or of samples with modality j from row ``index[j, i]``: (n,)."""

    def each(self, features: Any, j: int, others: Any) -> np.ndarray:
        """Of each row with modality j of each of the others: (n, n_others)."""


class PlainRatio:
    """Of a critic that takes samples as a whole, and reads anew what is put together."""

    def __init__(self, critic: Any) -> None:
        self.critic = critic

    def encode(self, z: list[np.ndarray]) -> list[np.ndarray]:
        return z

    def values(self, features: list[np.ndarray], index: np.ndarray | None = None) -> np.ndarray:
        if index is not None:
            features = [z[rows] for z, rows in zip(features, index, strict=True)]
        return self.critic.pointwise(features)

    def each(self, features: list[np.ndarray], j: int, others: list[np.ndarray]) -> np.ndarray:
        found = []
        for row in others[j]:
            redrawn = list(features)
            redrawn[j] = np.broadcast_to(row, features[j].shape)
            found.append(self.critic.pointwise(redrawn))
        return np.stack(found, axis=1)


class EncodedRatio:
    """Of a critic that encodes modalities one by one.

    ``view`` makes of rows what it reads. In ``single`` precision, in which its network was trained, it takes half of
    the time.
    """

    def __init__(self, critic: TrainedCritic, view: View, *, single: bool) -> None:
        self.critic, self.view = critic, view
        self.dtype = torch.float32 if single else torch.float64
        self.networks = [copy.deepcopy(network).float() if single else network for network in critic._networks()]

    @isolated()
    def encode(self, z: list[np.ndarray]) -> list[list[Tensor]]:
        z, blocks = self.view(z), []
        with torch.no_grad():
            for start in range(0, len(z[0]), ROWS_AT_ONCE):
                block = [part[start : start + ROWS_AT_ONCE] for part in z]
                tensors = [part.to(self.dtype) for part in self.critic._standardized(block)]
                blocks.append([network.encode(tensors) for network in self.networks])
        if len(blocks) == 1:
            return blocks[0]
        return [[torch.cat(parts) for parts in zip(*of_net, strict=True)] for of_net in zip(*blocks, strict=True)]

    @isolated()
    def values(self, features: list[list[Tensor]], index: np.ndarray | None = None) -> np.ndarray:
        with torch.no_grad():
            if index is None:
                return self._log_ratio([net.combine(part) for net, part in zip(self.networks, features, strict=True)])
            blocks = torch.from_numpy(index).split(ROWS_AT_ONCE, dim=1)
            return np.concatenate([self.values([gather(part, rows) for part in features]) for rows in blocks])

    @isolated()
    def each(self, features: list[list[Tensor]], j: int, others: list[list[Tensor]]) -> np.ndarray:
        with torch.no_grad():
            given = zip(self.networks, features, others, strict=True)
            return self._log_ratio([_combine_each(net, own, j, other[j]) for net, own, other in given])

    def _log_ratio(self, parts: Sequence[Tensor]) -> np.ndarray:
        total = torch.zeros_like(parts[0])
        for part, weight in zip(parts, self.critic.weights_.tolist(), strict=True):
            total.add_(part, alpha=weight)
        return bounded(total.numpy(), self.critic.limits_) - self.critic.log_normalizer_


def row_ratios(critic: Any, *, single: bool) -> list[RowRatio]:
    """What reads a critic off encoded rows: one or several, such as one a member, whose mean is the critic's."""
    if isinstance(critic, TrainedCritic):
        return [EncodedRatio(critic, lambda z: z, single=single)]
    if isinstance(critic, MemberCritics):
        return [EncodedRatio(own, _columns_of(critic, k), single=single) for k, own in enumerate(critic.critics)]
    if isinstance(critic, SummedCritic) and len(critic.critics) == 1:
        (inner,) = critic.critics.values()
        return [EncodedRatio(inner, lambda z: critic.each(z)[0][1], single=single)]
    return [PlainRatio(critic)]


def _columns_of(critics: MemberCritics, k: int) -> View:
    n = len(critics.critics)

    def view(z: list[np.ndarray]) -> list[np.ndarray]:
        return [part[:, k * (part.shape[1] // n) : (k + 1) * (part.shape[1] // n)] for part in z]

    return view


def _combine_each(network: Any, features: Sequence[Tensor], j: int, others: Tensor) -> Tensor:
    """T of each row with modality j of each of the others, (n, n_others)."""
    if hasattr(network, "combine_each"):
        return network.combine_each([part for i, part in enumerate(features) if i != j], [others])
    redrawn = ([row.expand_as(own) if i == j else own for i, own in enumerate(features)] for row in others)
    return torch.stack([network.combine(part) for part in redrawn], dim=1)
