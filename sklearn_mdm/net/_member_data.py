"""What the members of a committee are trained on: each its own rows of the same samples, a batch of each at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

import torch
from torch import Tensor

from ..utils._placing import placed
from ._data import Batch, MaskedDataset, RowBatches


class MemberDatasets(torch.utils.data.Dataset):
    """The dataset of each member, all of the same samples, though perhaps scaled in other ways."""

    def __init__(self, datasets: Sequence[MaskedDataset]) -> None:
        self.datasets = datasets
        self.X = datasets[0].X

    def __len__(self) -> int:
        return max(len(dataset) for dataset in self.datasets)


class MemberBatch:
    """Rows of a batch of each member that has one.

    Parameters
    ----------
    members : list of int
        Which members these are.
    datasets : list of MaskedDataset
        Their datasets, all of the same samples.
    rows : list of Tensor
        Positions in them.

    Attributes
    ----------
    sizes : list of int
        Number of rows of each.
    even : bool
        Whether all have as many.
    """

    def __init__(self, members: list[int], datasets: list[MaskedDataset], rows: list[Tensor]) -> None:
        self.members = members
        self.datasets = datasets
        self.rows = rows
        self.sizes = [r.shape[0] for r in rows]
        self.even = len(set(self.sizes)) == 1
        self.ready: tuple[Batch, Tensor] | None = None

    def __len__(self) -> int:
        return sum(self.sizes)

    def targets(self) -> Tensor:
        """Targets of all members, one below the other."""
        if self.even and self.datasets[0].y.is_cuda:
            joined = Joined.of(self.datasets)
            return joined.y[joined.places(self.rows).flatten()]
        return torch.cat(
            [
                data.y.index_select(0, placed(rows, data.y.device))
                for data, rows in zip(self.datasets, self.rows, strict=True)
            ]
        )

    def unpadded(self, values: Tensor) -> Tensor:
        """Values (n_members, n, ...) of the rows alone, one below the other."""
        if self.even:
            return values.flatten(0, 1)
        return torch.cat([part[:n] for part, n in zip(values, self.sizes, strict=True)])

    def each(self) -> Iterator[tuple[int, tuple[Batch, Tensor]]]:
        """Return members, each with its batch."""
        for member, dataset, rows in zip(self.members, self.datasets, self.rows, strict=True):
            yield member, dataset.__getitems__(rows)

    def stacked(self) -> tuple[Batch, Tensor]:
        """Return the batches of all members with a leading member axis, and their targets.

        Shorter ones repeat their last row.
        """
        return self._stacked() if self.ready is None else self.ready

    def prepare(self) -> None:
        """Make now what :meth:`stacked` will return."""
        self.ready = self._stacked()

    def _stacked(self) -> tuple[Batch, Tensor]:
        n, data, rows = max(self.sizes), self.datasets, self.rows
        if not self.even:
            rows = [torch.cat([r, r[-1:].expand(n - size)]) for r, size in zip(rows, self.sizes, strict=True)]
        device = data[0].y.device
        if device.type == "cuda":
            joined = Joined.of(data)
            places = joined.places(rows)
            stored = list(joined.stored[places])
        else:
            stored = [r if d.stored is None else d.stored.index_select(0, r) for d, r in zip(data, rows, strict=True)]
        # Members that read the same inputs are next to each other, and are served at once.
        groups = [list(group) for _, group in groupby(range(len(data)), key=lambda i: id(data[i].X))]

        def taken(tensors: Sequence[Tensor]) -> Tensor:
            parts = [tensors[g[0]].index_select(0, torch.cat([stored[i] for i in g])) for g in groups]
            return (parts[0] if len(parts) == 1 else torch.cat(parts)).unflatten(0, (len(rows), n))

        def of_each(parts: Sequence[Tensor]) -> Tensor:
            return torch.stack([part.index_select(0, r) for part, r in zip(parts, rows, strict=True)])

        mask = next((d.mask for d in data if d.mask is not None), None)  # of all rows, whichever a member reads
        complete = [d.complete for d in data]
        batch = Batch(
            {name: taken([d.X[name] for d in data]) for name in data[0].X},
            None if mask is None else {name: taken([m] * len(data)) for name, m in mask.items()},
            None
            if all(c is None for c in complete)
            else of_each([torch.ones(len(d), dtype=torch.bool) if d.complete is None else d.complete for d in data]),
        )
        if device.type == "cuda":
            batch.weight = None if joined.weight is None else joined.weight[places]
            return batch, joined.y[places] if len(joined.y) else joined.y
        if data[0].weight is not None:
            batch.weight = of_each([d.weight for d in data if d.weight is not None])
        return batch, of_each([d.y for d in data]) if len(data[0].y) else data[0].y


@dataclass(eq=False)
class Joined:
    """What datasets on a GPU have of their own, one below the other: to take rows of all is then one kernel.

    ``stored`` are the rows of X of their samples, ``starts`` (n_datasets, 1) where each begins.
    """

    starts: Tensor
    stored: Tensor
    y: Tensor
    weight: Tensor | None

    @classmethod
    def of(cls, data: list[MaskedDataset]) -> Joined:
        """Join these datasets; what was joined is kept with the first of them."""
        # All that were joined: graphs of steps go on reading them.
        kept: dict[tuple[int, ...], Joined] = data[0].__dict__.setdefault("joined", {})
        these = tuple(map(id, data))
        if these not in kept:
            device = data[0].y.device
            sizes = torch.tensor([0, *(len(d) for d in data[:-1])], device=device)
            stored = [torch.arange(len(d), device=device) if d.stored is None else d.stored for d in data]
            weights = [d.weight for d in data if d.weight is not None]
            kept[these] = cls(
                sizes.cumsum(0)[:, None],
                torch.cat(stored),
                torch.cat([d.y for d in data]),
                torch.cat(weights) if weights else None,
            )
        return kept[these]

    def places(self, rows: Sequence[Tensor]) -> Tensor:
        """Where these rows of the datasets are, (n_datasets, n)."""
        return placed(torch.stack(list(rows)), self.starts.device) + self.starts


def means_of(losses: Tensor, weight: Tensor | None, n_rows: Tensor | None) -> Tensor:
    """Means of losses (n_members, n) or (n_members, n, n_outputs) over outputs, then over the first rows of each.

    ``n_rows`` (n_members,) is None where all have as many.
    """
    by_row = losses.flatten(2).mean(2) if losses.dim() > 2 else losses
    if weight is not None:
        by_row = by_row * weight
    if n_rows is None:
        return by_row.mean(1)
    there = torch.arange(by_row.shape[1], device=by_row.device) < n_rows[:, None]
    return torch.where(there, by_row, 0).sum(1) / n_rows


class MemberBatches:
    """Goes through the batches of all active members side by side, until the last of them has had all of its own."""

    def __init__(self, data: MemberDatasets, active: list[int], iterators: list[RowBatches]) -> None:
        self.dataset = data
        self.active = active
        self.iterators = iterators

    def __len__(self) -> int:
        return max(len(self.iterators[k]) for k in self.active)

    def __iter__(self) -> Iterator[tuple[MemberBatch, Tensor]]:
        return map(self.take, self.rows)

    @property
    def rows(self) -> Iterator[dict[int, Tensor]]:
        """Rows of each member that has a batch, batch by batch."""
        active = list(self.active)
        for rows in zip_longest(*(iter(self.iterators[k]) for k in active)):
            yield {k: r for k, r in zip(active, rows, strict=True) if r is not None}

    def take(self, rows: dict[int, Tensor]) -> tuple[MemberBatch, Tensor]:
        """Return the batch of these rows."""
        batch = MemberBatch(list(rows), [self.dataset.datasets[k] for k in rows], list(rows.values()))
        return batch, batch.targets()
