"""What a log ratio says about rows beside negatives of each, in which it keeps one of its modalities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..critic._base import gather

# Pairs of rows that are looked at together, which a cache holds.
BLOCK = 1 << 15
# Negatives of each row of a network that reads samples as a whole, which makes them dear.
DEAR_NEGATIVES = 32
# Share of negatives that must be of other groups than a row.
MIN_ALLOWED = 0.5


class Contrast(NamedTuple):
    """What the parts of a log ratio say about rows, and about each of them with other rows' modalities put beside one.

    Attributes
    ----------
    own : array of shape (n_parts, n)
        Parts of the rows.
    others : array of shape (n_parts, n, n_others)
        Parts of each row's negatives, in which it keeps one modality.
    allowed : array of bool of shape (n, n_others)
        Negatives that have nothing else of the row.
    """

    own: np.ndarray
    others: np.ndarray
    allowed: np.ndarray


class KeptModality:
    """Rows that keep modality j, and negatives whose other modalities are the same for all of them.

    Attributes
    ----------
    others : array of int of shape (n_modalities - 1, n_others)
        Rows that negatives have their other modalities from.
    """

    def __init__(
        self,
        networks: Sequence[Any],
        features: Sequence[Sequence[Tensor]],
        own: Tensor,
        j: int,
        others: Tensor,
        unit: Tensor,
    ) -> None:
        self.n_rows, self.others = len(unit), others.numpy()
        self._networks, self._own, self._j, self._unit = networks, own, j, unit
        self._features = [of_network[j] for of_network in features]
        rest = [i for i in range(len(features[0])) if i != j]
        self._others = [gather([of_network[i] for i in rest], others) for of_network in features]

    def blocks(self) -> Iterator[tuple[slice, Contrast]]:
        """Yield some rows after the other."""
        step = max(1, BLOCK // self.others.shape[1])
        given = list(zip(self._networks, self._features, self._others, strict=True))
        index = torch.from_numpy(self.others)
        for start in range(0, self.n_rows, step):
            rows = slice(start, start + step)
            with torch.no_grad():
                parts = [_combine_each(network, own[rows], others, self._j) for network, own, others in given]
            allowed = (self._unit[rows, None, None] != self._unit[index.T]).all(2)
            few = allowed.sum(1) < MIN_ALLOWED * len(index.T)
            allowed[few] = (torch.arange(self.n_rows)[rows][few, None, None] != index.T).all(2)
            yield rows, Contrast(self._own[:, rows].numpy(), torch.stack(parts).numpy(), allowed.numpy())

    def joined(self) -> Contrast:
        """All rows at once."""
        blocks = [contrast for _, contrast in self.blocks()]
        own, others = (np.concatenate([getattr(b, name) for b in blocks], axis=1) for name in ("own", "others"))
        return Contrast(own, others, np.concatenate([block.allowed for block in blocks]))


def keep_each(
    networks: Sequence[Any], z: Sequence[Tensor], n_others: int, groups: np.ndarray | None, seed: int
) -> list[KeptModality]:
    """Keep each modality of rows z (n, k_j) in turn; negatives have nothing of the row's group but that.

    Rows of a group that most others are of, too, are told from each other.
    """
    n, m = len(z[0]), len(z)
    unit = torch.arange(n) if groups is None else torch.from_numpy(np.unique(groups, return_inverse=True)[1].ravel())
    if not all(hasattr(network, "combine_each") for network in networks):
        n_others = min(n_others, DEAR_NEGATIVES)
    with torch.no_grad():
        features = [network.encode(z) for network in networks]
        own = torch.stack([network.combine(part) for network, part in zip(networks, features, strict=True)])
    # One order of all rows, from which modalities are taken at distinct offsets: no two of a negative are of one row.
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    start = torch.arange(min(n_others, n))
    offsets = [0, *(torch.randperm(n - 1, generator=generator)[: m - 2] + 1).tolist()]
    others = torch.stack([order[(start + offset) % n] for offset in offsets])
    return [KeptModality(networks, features, own, j, others.roll(j, 0), unit) for j in range(m)]


def _combine_each(network: Any, kept: Tensor, others: Sequence[Tensor], j: int) -> Tensor:
    """What a network says of each row of modality j with each of the others' rows: (n, n_others)."""
    if hasattr(network, "combine_each"):
        found: Tensor = network.combine_each([kept], others)
        return found
    n, n_others = len(kept), len(others[0])
    every = [part.repeat(n, *[1] * (part.dim() - 1)) for part in others]
    every.insert(j, kept.repeat_interleave(n_others, 0))
    whole: Tensor = network.combine(every).view(n, n_others)
    return whole
