"""Data as the net sees it: tensors without NaN, masks of what was observed, and whole batches at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..encoders._steps import observed

__all__ = ["BatchIterator", "MaskedDataset"]

# A trailing batch smaller than this joins the one before it: one row has no batch statistics and no re-pairing.
SMALLEST_BATCH = 4


@dataclass(slots=True)
class Batch:
    """Some rows of a MaskedDataset, without their target.

    ``mask`` is None when every row and step of every modality was observed, ``complete`` (rows with every modality)
    when all are.
    """

    X: dict[Hashable, Tensor]
    mask: dict[Hashable, Tensor] | None
    complete: Tensor | None
    weight: Tensor | None

    def __len__(self) -> int:
        return len(next(iter(self.X.values())))

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return Batch(
            {name: x.to(device) for name, x in self.X.items()},
            None if self.mask is None else {name: mask.to(device) for name, mask in self.mask.items()},
            None if self.complete is None else self.complete.to(device),
            None if self.weight is None else self.weight.to(device),
        )


class MaskedDataset(torch.utils.data.Dataset):
    """Modalities with NaN for what was not observed, as tensors with masks.

    Parameters
    ----------
    X : mapping of str to array of shape (n_samples, n_features) or (n_samples, n_steps, n_features)
        Rows (or time steps) of NaN were not observed. Values under the mask are set to zero.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets: floats, or class indices as integers.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the task loss.
    dtype : torch.dtype, default=torch.float32
        Floating type of the tensors.

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
        X: Mapping[Any, Any],
        y: Any = None,
        sample_weight: Any = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if not isinstance(X, Mapping):
            raise TypeError(f"X must map modality names to arrays, got {type(X).__name__}.")
        self.X: dict[Hashable, Tensor] = {}
        self.mask: dict[Hashable, Tensor] | None = {}
        for name in X:
            array = np.asarray(X[name])
            is_nan = np.isnan(array)
            mask = ~is_nan.all(axis=-1)
            if (is_nan.any(axis=-1) & mask).any():
                raise ValueError(
                    f"modality {name!r} has rows or steps with NaN beside numbers. NaN marks a whole row or step as "
                    "not observed; impute single values first."
                )
            # A copy in any case: training must not see later changes of the user's arrays.
            self.X[name] = torch.tensor(np.where(mask[..., None], array, 0), dtype=dtype)
            self.mask[name] = torch.from_numpy(mask)
        if all(bool(mask.all()) for mask in self.mask.values()):
            self.mask, complete = None, None
        else:
            complete = torch.stack([observed(mask) for mask in self.mask.values()]).all(0)
            complete = None if bool(complete.all()) else complete
        self.complete: Tensor | None = complete
        self.weight = None if sample_weight is None else torch.tensor(np.asarray(sample_weight), dtype=dtype)
        self.y = torch.zeros(0) if y is None else torch.tensor(np.asarray(y))
        if self.y.is_floating_point():
            self.y = self.y.to(dtype)

    def __len__(self) -> int:
        return len(next(iter(self.X.values())))

    def batch(self, rows: Tensor | slice) -> Batch:
        """Rows without their target."""
        take = _take(rows)
        return Batch(
            {name: take(x) for name, x in self.X.items()},
            None if self.mask is None else {name: take(mask) for name, mask in self.mask.items()},
            None if self.complete is None else take(self.complete),
            None if self.weight is None else take(self.weight),
        )

    def __getitems__(self, rows: Sequence[int] | Tensor) -> tuple[Batch, Tensor]:
        rows = torch.as_tensor(rows)
        return self.batch(rows), (self.y.index_select(0, rows) if len(self.y) else self.y)

    def __getitem__(self, rows: Any) -> tuple[Batch, Tensor]:
        return self.__getitems__(torch.atleast_1d(torch.as_tensor(rows)))


def _take(rows: Tensor | slice) -> Any:
    return (lambda x: x[rows]) if isinstance(rows, slice) else (lambda x: x.index_select(0, rows))


class BatchIterator:
    """Iterates over whole batches of a dataset with ``__getitems__``; stands in for torch's DataLoader.

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
        dataset: torch.utils.data.Dataset,
        batch_size: int = 128,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.generator = generator

    def _starts(self) -> list[int]:
        n = len(self.dataset)  # type: ignore[arg-type]
        starts = list(range(0, n, self.batch_size))
        if len(starts) > 1 and n - starts[-1] < min(SMALLEST_BATCH, self.batch_size):
            starts.pop()
        return starts

    def __len__(self) -> int:
        return len(self._starts())

    def __iter__(self) -> Iterator[tuple[Batch, Tensor]]:
        n = len(self.dataset)  # type: ignore[arg-type]
        order = torch.randperm(n, generator=self.generator) if self.shuffle else torch.arange(n)
        starts = self._starts()
        for start, end in zip(starts, [*starts[1:], n], strict=True):
            yield self.dataset.__getitems__(order[start:end])  # type: ignore[attr-defined]
