"""Data as the net sees it: tensors without NaN, masks of what was observed, and whole batches at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..encoders._steps import observed
from ..inputs._cells import CellFilling
from ..inputs._observed import Observed
from ..inputs._on_disk import OnDisk
from ..utils._placing import placed
from ._stored_data import StoredModality

# A trailing batch smaller than this joins the one before it: one row has no batch statistics and no negatives.
MIN_BATCH = 4
# The fewest batches of an epoch where samples lack a target: few samples with one would be gone through before the
# others have said anything.
FEWEST_BATCHES = 16
# Numbers that are scaled and copied at a time: the copy of X is then all the memory that it takes.
MAX_NUMBERS_COPIED = 2**20

Scale = Callable[[Hashable, np.ndarray], np.ndarray]


@dataclass(slots=True)
class Batch:
    """Some rows, without their target.

    ``mask`` is None when every row and step of every modality was observed, ``complete`` (rows with every modality)
    when all are; that is on the CPU, whatever the device of the others, since it says how many rows there are.
    """

    X: dict[Hashable, Tensor]
    mask: dict[Hashable, Tensor] | None
    complete: Tensor | None = None
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(next(iter(self.X.values())))

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return Batch(
            {name: placed(x, device) for name, x in self.X.items()},
            None if self.mask is None else {name: placed(mask, device) for name, mask in self.mask.items()},
            self.complete,
            None if self.weight is None else placed(self.weight, device),
        )


def as_batch(
    data: Observed,
    dtype: torch.dtype,
    *,
    keys: Mapping[Hashable, str] | None = None,
    scale: Scale | None = None,
    fillings: Mapping[Hashable, CellFilling] | None = None,
) -> Batch:
    """Copy X into tensors, zero where nothing was observed; what is on disk stays there until rows are selected.

    Parameters
    ----------
    data : Observed
        Arrays and masks.
    dtype : torch.dtype
        Floating type of the tensors.
    keys : mapping of name to str, default=None
        What the modalities are called in torch; as in ``data`` if None.
    scale : callable, default=None
        Scales some rows or steps (n, n_features) of the modality of a name.
    fillings : mapping of name to CellFilling, default=None
        What fills single cells that were not observed, after scaling, and which columns have indicators of them, which
        come behind the features. None where there are no such cells.
    """
    names = {name: name if keys is None else keys[name] for name in data.names}
    X: dict[Hashable, Any] = {}
    for name, array in data.arrays.items():
        make = _stored if isinstance(array, OnDisk) else _copied
        X[names[name]] = make(name, data, dtype, scale, (fillings or {}).get(name))
    if all(mask is None for mask in data.masks.values()):
        return Batch(X, None)
    masks = {
        names[name]: torch.ones(data.arrays[name].shape[:-1], dtype=torch.bool) if mask is None else torch.tensor(mask)
        for name, mask in data.masks.items()
    }
    return Batch(X, masks)


def _copied(
    name: Hashable, data: Observed, dtype: torch.dtype, scale: Scale | None, filling: CellFilling | None
) -> Tensor:
    array, mask, missing = data.arrays[name], data.masks[name], data.cells.get(name)
    n_indicators = 0 if filling is None else len(filling.indicated)
    copied = torch.empty((*array.shape[:-1], array.shape[-1] + n_indicators), dtype=dtype)
    out = copied.numpy()
    size = max(1, MAX_NUMBERS_COPIED // max(1, array[:1].size))
    for start in range(0, len(array), size):
        rows = slice(start, start + size)
        part = array[rows]
        if scale is not None:
            part = scale(name, part.reshape(-1, part.shape[-1])).reshape(part.shape)
        if filling is not None:
            part = filling(part, None if missing is None else missing[rows])
        with np.errstate(over="ignore"):
            out[rows] = part if mask is None else np.where(mask[rows][..., None], part, 0)
        if out.itemsize < array.itemsize and np.isinf(out[rows]).any():
            raise ValueError(
                f"modality {name!r} has values too large for {out.dtype}, in which the network computes. Check its "
                "units, or clip it."
            )
    return copied


def _stored(
    name: Hashable, data: Observed, dtype: torch.dtype, scale: Scale | None, filling: CellFilling | None
) -> StoredModality:
    """Return what stands for :func:`_copied`."""
    array = data.arrays[name]
    alone = Observed({name: array}, {name: data.masks[name]}, {k: v for k, v in data.cells.items() if k == name})
    shape = array.shape if filling is None else (len(array), *filling.shape(array.shape[1:]))
    return StoredModality(shape, dtype, lambda rows: _copied(name, alone.take(rows).loaded(), dtype, scale, filling))


class MaskedDataset(torch.utils.data.Dataset[Any]):
    """Modalities with NaN for what was not observed, as tensors with masks.

    Parameters
    ----------
    X : mapping of str to array of shape (n_samples, n_features) or (n_samples, n_steps, n_features)
        Rows (or time steps) of NaN were not observed. Values under the mask are set to zero. NaN beside numbers is an
        error: what fills it is known to the estimators.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets: floats, or class indices as integers.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the task loss.
    dtype : torch.dtype, default=torch.float32
        Floating type of the tensors.
    rows : array of int of shape (n_samples,), default=None
        Positions in X of the samples of this dataset, to which y and sample_weight belong; None takes all.
    unlabelled : MaskedDataset, default=None
        Samples of the same modalities without a target: they enter what needs none, such as the dependency term.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm.net import MaskedDataset
    >>> data = MaskedDataset({"audio": np.array([[1.0, 2.0], [np.nan, np.nan]])}, y=[0.5, 1.5])
    >>> batch, y = data[[0, 1]]
    >>> batch.X["audio"].tolist(), batch.mask["audio"].tolist()
    ([[1.0, 2.0], [0.0, 0.0]], [True, False])
    """

    def __init__(
        self,
        X: Mapping[Any, Any] | Batch,
        y: Any = None,
        sample_weight: Any = None,
        dtype: torch.dtype = torch.float32,
        *,
        rows: np.ndarray | None = None,
        unlabelled: MaskedDataset | None = None,
    ) -> None:
        if not isinstance(X, (Mapping, Batch)):
            raise TypeError(f"X must map modality names to arrays, got {type(X).__name__}.")
        data = X if isinstance(X, Batch) else as_batch(_read(X), dtype)
        self.X = data.X
        self.unlabelled = unlabelled
        if unlabelled is not None and _layout(unlabelled.X) != _layout(self.X):
            raise ValueError(
                f"unlabelled samples have other modalities or features: {_layout(unlabelled.X)} beside "
                f"{_layout(self.X)} (shape of a sample and dtype). Both must agree in all of them."
            )
        device = next(iter(self.X.values())).device
        # On the CPU, and where X is. Of many, members share the memory of their positions with what took them.
        self.rows = None if rows is None else torch.from_numpy(np.require(rows, requirements=("C", "W")))
        self.stored = None if self.rows is None else self.rows.to(device)
        self.mask, self.complete = data.mask, None
        if data.mask is not None:
            masks = [mask if self.stored is None else mask.index_select(0, self.stored) for mask in data.mask.values()]
            if all(bool(mask.all()) for mask in masks):
                self.mask = None
            else:
                complete = torch.stack([observed(mask) for mask in masks]).all(0).cpu()
                self.complete = None if bool(complete.all()) else complete
        self.weight = None
        if sample_weight is not None:
            self.weight = torch.tensor(np.ascontiguousarray(sample_weight), dtype=dtype)
        self.y = torch.zeros(0, device=device) if y is None else torch.tensor(np.ascontiguousarray(y))
        self.y = self.y.to(dtype if self.y.is_floating_point() else torch.int64)

    def __len__(self) -> int:
        return len(next(iter(self.X.values()))) if self.rows is None else len(self.rows)

    def to(self, device: torch.device, kept: dict[int, Any]) -> MaskedDataset:
        """Return the same dataset on a device. ``kept``, by id, has those tensors that are there already.

        Rows may be asked for by positions on either device, where none is incomplete.
        """

        def moved(x: Tensor) -> Tensor:
            if id(x) not in kept:
                kept[id(x)] = x.to(device)
            return kept[id(x)]

        data = copy.copy(self)
        if id(self.X) not in kept:  # members that read the same inputs share the mapping, too
            kept[id(self.X)] = {name: moved(x) for name, x in self.X.items()}
        data.X = kept[id(self.X)]
        data.mask = None if self.mask is None else {name: moved(x) for name, x in self.mask.items()}
        data.weight = None if self.weight is None else moved(self.weight)
        data.stored = None if self.rows is None else self.rows.to(device)
        data.y = moved(self.y)
        data.unlabelled = None if self.unlabelled is None else self.unlabelled.to(device, kept)
        return data

    def with_unlabelled(self, rows: Tensor) -> MaskedDataset:
        """Return some of these samples, and all without a target, as samples without a target."""
        others = self.unlabelled
        assert others is not None
        both = (self, others)
        stored, more = (torch.arange(len(data)) if data.rows is None else data.rows for data in both)
        X, mask = self.X, others.mask if self.mask is None else self.mask  # of all stored rows, if any has one
        if others.X is not X:
            more = more + len(next(iter(X.values())))
            X = {name: torch.cat([data.X[name] for data in both]) for name in X}
            if mask is not None:
                masks = [data.mask or _all_there(data.X) for data in both]
                mask = {name: torch.cat([each[name] for each in masks]) for name in X}
        return MaskedDataset(Batch(X, mask), rows=torch.cat([stored.index_select(0, rows), more]).numpy())

    def batch(self, rows: Tensor) -> Batch:
        """Rows without their target."""
        there = placed(rows, self.y.device)
        stored = there if self.stored is None else self.stored.index_select(0, there)
        return Batch(
            {name: x.index_select(0, stored) for name, x in self.X.items()},
            None if self.mask is None else {name: mask.index_select(0, stored) for name, mask in self.mask.items()},
            None if self.complete is None else self.complete.index_select(0, rows),
            None if self.weight is None else self.weight.index_select(0, there),
        )

    def __getitems__(self, rows: Sequence[int] | Tensor) -> tuple[Batch, Tensor]:
        rows = torch.as_tensor(rows)
        return self.batch(rows), (self.y.index_select(0, placed(rows, self.y.device)) if len(self.y) else self.y)

    def __getitem__(self, rows: Any) -> tuple[Batch, Tensor]:
        return self.__getitems__(torch.atleast_1d(torch.arange(len(self))[rows]))


def _layout(X: Mapping[Hashable, Tensor]) -> dict[Hashable, tuple[tuple[int, ...], torch.dtype]]:
    return {name: (tuple(x.shape[1:]), x.dtype) for name, x in X.items()}


def _all_there(X: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
    return {name: torch.ones(x.shape[:-1], dtype=torch.bool) for name, x in X.items()}


def _read(X: Mapping[Any, Any]) -> Observed:
    arrays = {name: np.asarray(X[name]) for name in X}
    wrong = {
        name: array for name, array in arrays.items() if array.ndim not in (2, 3) or array.dtype.kind not in "fiub"
    }
    if wrong or not arrays:
        found = ", ".join(f"{name!r} is {array.dtype} of shape {array.shape}" for name, array in wrong.items())
        raise ValueError(
            f"X must map modality names to numbers of shape (n, d) or (n, T, d): {found or 'it holds no modality'}."
        )
    data = Observed.of(arrays)
    for name, missing in data.cells.items():
        partly = missing.any(axis=-1)
        raise ValueError(
            f"modality {name!r}: {int(partly.sum())} of {partly.size} {'rows' if partly.ndim == 1 else 'time steps'} "
            f"contain NaN beside numbers (first: sample {int(np.argwhere(partly)[0][0])}). A net reads whole rows and "
            "steps: fill such cells first, for example with SimpleImputer(add_indicator=True). MDMFusionRegressor and "
            "MDMFusionClassifier do it themselves."
        )
    return data


def share_of(rows: Tensor, share: tuple[int, int]) -> Tensor:
    """Return every k-th of some rows: a share, given as (which, of how many), as large as all others."""
    which, k = share
    return rows[: len(rows) - len(rows) % k][which::k]


class RowBatches:
    """Rows of each batch: a sampler for torch's DataLoader, and what :class:`BatchIterator` goes through.

    Passes over the rows are repeated until there are the fewest batches. Of each batch a share is taken.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        shuffle: bool,
        generator: torch.Generator | None,
        fewest: int = 1,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.n = n
        self.shuffle = shuffle
        self.generator = generator
        self.share = share
        self.starts = list(range(0, n, batch_size))
        if len(self.starts) > 1 and n - self.starts[-1] < min(MIN_BATCH * share[1], batch_size):
            self.starts.pop()
        self.n_passes = -(-fewest // max(1, len(self.starts)))

    def __len__(self) -> int:
        return self.n_passes * len(self.starts)

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(self.n_passes):
            order = torch.randperm(self.n, generator=self.generator) if self.shuffle else torch.arange(self.n)
            for start, end in zip(self.starts, [*self.starts[1:], self.n], strict=True):
                yield share_of(order[start:end], self.share)


class BatchIterator:
    """Iterates over whole batches of a dataset with ``__getitems__``; takes the place of torch's DataLoader.

    Parameters
    ----------
    dataset : Dataset
        A :class:`MaskedDataset`, or a Subset of one.
    batch_size : int, default=128
        Rows per batch. A trailing batch of fewer than four rows joins the batch before it.
    shuffle : bool, default=False
        Whether rows come in a new random order in every pass.
    generator : torch.Generator, default=None
        Source of the order; the global one if None.
    fewest : int, default=1
        Batches below which the rows are gone through again.
    share : tuple of two int, default=(0, 1)
        Which share of every batch is taken, of how many: those of several processes are equally large.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm.net import BatchIterator, MaskedDataset
    >>> data = MaskedDataset({"audio": np.zeros((10, 2))}, y=np.zeros(10))
    >>> [len(batch) for batch, y in BatchIterator(data, batch_size=4)]
    [4, 6]
    """

    def __init__(
        self,
        dataset: torch.utils.data.Dataset[Any],
        batch_size: int = 128,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
        fewest: int = 1,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.dataset = dataset
        self.rows = RowBatches(len(dataset), batch_size, shuffle, generator, fewest, share)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[Batch, Tensor]]:
        return map(self.take, self.rows)

    def take(self, rows: Tensor) -> tuple[Batch, Tensor]:
        """Return the batch of these rows."""
        return self.dataset.__getitems__(rows)  # type: ignore[attr-defined]


def fewest_batches(dataset: Any) -> int:
    """Fewest batches of an epoch."""
    return 1 if rows_of(dataset)[0].unlabelled is None else FEWEST_BATCHES


def rows_of(dataset: Any) -> tuple[MaskedDataset, Tensor]:
    """Return the MaskedDataset behind a (nested) Subset, and the rows of it that are meant."""
    rows: Tensor | None = None
    while isinstance(dataset, torch.utils.data.Subset):
        indices = torch.as_tensor(dataset.indices)
        rows = indices if rows is None else indices[rows]
        dataset = dataset.dataset
    return dataset, torch.arange(len(dataset)) if rows is None else rows
