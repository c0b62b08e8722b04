"""Training data that stays on a GPU as a whole, from which batches are then taken there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._data import BatchIterator, MaskedDataset
from ._member_data import MemberDatasets

# Share of the memory that is free which data may take.
MOST_OF_MEMORY = 0.5


def resident(dataset: Any, net: Any, kept: dict[int, Any]) -> Any:
    """Return a dataset whose tensors are on the device of the net; the dataset itself where they stay where they are.

    They do on a CPU, where there is no room on the device, and where batches are made by other processes. ``kept`` has
    what is on the device already.
    """
    if dataset is None or torch.device(net.device).type != "cuda" or net.iterator_train is not BatchIterator:
        return dataset
    tensors = {id(x): x for part in _parts(dataset) for x in _tensors_of(part)}
    if not all(isinstance(x, Tensor) for x in tensors.values()):  # what is on disk
        return dataset
    needed = sum(x.numel() * x.element_size() for key, x in tensors.items() if key not in kept)
    free, _ = torch.cuda.mem_get_info(net.device)
    if needed > MOST_OF_MEMORY * free:
        return dataset
    return _moved(dataset, torch.device(net.device), kept)


def _parts(dataset: Any) -> list[MaskedDataset]:
    if isinstance(dataset, torch.utils.data.Subset):
        return _parts(dataset.dataset)
    if isinstance(dataset, MemberDatasets):
        return [part for each in dataset.datasets for part in _parts(each)]
    return [dataset] + ([] if dataset.unlabelled is None else _parts(dataset.unlabelled))


def _tensors_of(data: MaskedDataset) -> list[Tensor]:
    found = [*data.X.values(), *(data.mask or {}).values(), data.y, data.weight]
    return [x for x in found if x is not None]


def _moved(dataset: Any, device: torch.device, kept: dict[int, Any]) -> Any:
    if isinstance(dataset, torch.utils.data.Subset):
        return torch.utils.data.Subset(_moved(dataset.dataset, device, kept), dataset.indices)
    if isinstance(dataset, MemberDatasets):
        return MemberDatasets([_moved(each, device, kept) for each in dataset.datasets])
    return dataset.to(device, kept)
