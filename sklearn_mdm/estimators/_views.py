"""What the models beside the networks of a committee read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class View(NamedTuple):
    """Columns (n, n_columns) of a modality, zero where it was not observed; ``seen`` (n,), None for everywhere."""

    columns: np.ndarray
    seen: np.ndarray | None
