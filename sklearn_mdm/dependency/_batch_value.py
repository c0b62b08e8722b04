"""Values of measures whose critic is no log ratio: those of batches, and how well their mean is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..critic._negatives import offset_indices
from ..measures import Measure
from ..utils._splits import fewest_rows

# Negatives per row over which values are averaged.
EVALUATION_SETS = 32
# Blocks of rows, each of which is left out once, and rows of which there are no more in them: ten values of a batch.
N_BLOCKS, MAX_BLOCK_ROWS = 10, 2000


def batch_value(network: Any, measure: Measure, z: list[Tensor], batch_size: int, seed: int) -> float:
    """Mean value of a measure over batches of rows."""
    generator = torch.Generator().manual_seed(seed)
    n_batches = max(2, len(z[0]) // batch_size)
    if len(z[0]) < n_batches * fewest_rows(len(z)):
        n_batches = 1
    values = []
    with torch.no_grad():
        for rows in torch.randperm(len(z[0]), generator=generator).tensor_split(n_batches):
            index = offset_indices(len(rows), len(z), EVALUATION_SETS, generator)
            values.append(measure.value(network, [z_j[rows] for z_j in z], index).item())
    return float(np.mean(values))


def batch_value_error(
    network: Any, measure: Measure, z: list[Tensor], batch_size: int, seed: int, groups: np.ndarray | None
) -> float:
    """Standard error of :func:`batch_value`, for which groups are independent units: the jackknife of blocks of them.

    Every block has negatives of its own, whose noise makes it too large by about a seventh.
    """
    units = np.arange(len(z[0])) if groups is None else np.unique(groups, return_inverse=True)[1].ravel()
    n_units = int(units.max()) + 1
    n_blocks = min(N_BLOCKS, n_units)
    if n_blocks < 2:
        return math.nan
    block_of_unit = np.random.default_rng(seed).permutation(n_units) % n_blocks
    blocks = block_of_unit[units]
    share = min(1.0, MAX_BLOCK_ROWS / len(units))
    used = np.random.default_rng(seed + 1).random(n_units)[units] <= share
    kept = [torch.from_numpy(np.flatnonzero(used & (blocks != k))) for k in range(n_blocks)]
    values = np.array([batch_value(network, measure, [z_j[rows] for z_j in z], batch_size, seed) for rows in kept])
    return math.sqrt(share * (n_blocks - 1) * values.var())
