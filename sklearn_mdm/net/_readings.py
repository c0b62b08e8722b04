"""Values of training steps that are read together: to look at one on a GPU is to wait for all that comes before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# What records values: a number for each of them, or a list where it has an axis, and None where there is none.
Record = Callable[..., None]


class Reading(NamedTuple):
    """Values on a device, one after the other, and what records them: with the shape of each, None if there is none."""

    parts: list[tuple[Record, list[tuple[int, ...] | None]]]
    values: Tensor

    @classmethod
    def of(cls, record: Record, values: Sequence[Tensor | None]) -> Reading:
        """Return the reading of one record."""
        there = [value.detach().reshape(-1) for value in values if value is not None]
        return cls([(record, [None if value is None else tuple(value.shape) for value in values])], torch.cat(there))

    @classmethod
    def joined(cls, readings: Sequence[Reading]) -> Reading:
        """Return several as one."""
        return cls([part for reading in readings for part in reading.parts], torch.cat([r.values for r in readings]))


def read(readings: Sequence[Reading]) -> None:
    """Record the values of all of these, in order."""
    if not readings:
        return
    numbers = iter(torch.cat([reading.values for reading in readings]).tolist())
    for reading in readings:
        for record, shapes in reading.parts:
            values: list[float | list[float] | None] = []
            for shape in shapes:
                if shape is None:
                    values.append(None)
                else:
                    values.append([next(numbers) for _ in range(shape[0])] if shape else next(numbers))
            record(*values)
