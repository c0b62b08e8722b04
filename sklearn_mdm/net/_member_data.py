"""What the members of a committee are trained on: each its own rows of one X, and a batch of each at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from ._data import Batch, MaskedDataset, RowBatches


class MemberDatasets(torch.utils.data.Dataset):
    """The dataset of each member, all of one X."""

    def __init__(self, datasets: Sequence[MaskedDataset]) -> None:
        self.datasets = datasets
        self.X = datasets[0].X

    def __len__(self) -> int:
        return max(len(dataset) for dataset in self.datasets)


@dataclass
class MemberBatch:
    """Rows of a batch of each member that has one: positions in the dataset of the member."""

    members: list[int]
    datasets: list[MaskedDataset]
    rows: list[Tensor]

    def __len__(self) -> int:
        return sum(map(len, self.rows))

    @property
    def sizes(self) -> list[int]:
        """Rows of each member."""
        return [len(rows) for rows in self.rows]

    @property
    def even(self) -> bool:
        """Whether all members have as many rows."""
        return len(set(self.sizes)) == 1

    def targets(self) -> Tensor:
        """Targets of all members, one below the other."""
        return torch.cat(
            [dataset.y.index_select(0, rows) for dataset, rows in zip(self.datasets, self.rows, strict=True)]
        )

    def each(self) -> Iterator[tuple[int, tuple[Batch, Tensor]]]:
        """Return members, each with its batch."""
        for member, dataset, rows in zip(self.members, self.datasets, self.rows, strict=True):
            yield member, dataset.__getitems__(rows)

    def stacked(self) -> tuple[Batch, Tensor]:
        """Return the batches of all members with a leading member axis, and their targets.

        Shorter ones repeat their last row.
        """
        n, data = max(self.sizes), self.datasets
        rows = [r if len(r) == n else torch.cat([r, r[-1:].expand(n - len(r))]) for r in self.rows]
        stored = torch.cat([r if d.rows is None else d.rows[r] for d, r in zip(data, rows, strict=True)])

        def taken(x: Tensor) -> Tensor:
            return x.index_select(0, stored).unflatten(0, (len(rows), n))

        def of_each(parts: Sequence[Tensor]) -> Tensor:
            return torch.stack([part.index_select(0, r) for part, r in zip(parts, rows, strict=True)])

        mask = next((d.mask for d in data if d.mask is not None), None)
        complete = [d.complete for d in data]
        batch = Batch(
            {name: taken(x) for name, x in data[0].X.items()},
            None if mask is None else {name: taken(m) for name, m in mask.items()},
            None
            if all(c is None for c in complete)
            else of_each([torch.ones(len(d), dtype=torch.bool) if d.complete is None else d.complete for d in data]),
            None if data[0].weight is None else of_each([d.weight for d in data if d.weight is not None]),
        )
        return batch, of_each([d.y for d in data])


class MemberBatches:
    """Goes through the batches of all active members side by side, until the last of them has had all of its own."""

    def __init__(self, data: MemberDatasets, active: list[int], iterators: list[RowBatches]) -> None:
        self.dataset = data
        self.active = active
        self.iterators = iterators

    def __len__(self) -> int:
        return max(len(self.iterators[k]) for k in self.active)

    def __iter__(self) -> Iterator[tuple[MemberBatch, Tensor]]:
        active = list(self.active)
        for rows in zip_longest(*(iter(self.iterators[k]) for k in active)):
            having = [(k, self.dataset.datasets[k], r) for k, r in zip(active, rows, strict=True) if r is not None]
            batch = MemberBatch(*(list(part) for part in zip(*having, strict=True)))
            yield batch, batch.targets()
