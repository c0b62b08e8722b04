"""What the models beside the networks of a committee read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class View(NamedTuple):
    """Columns (n, n_columns) of a modality, zero where it was not observed; ``seen`` (n,), None for everywhere."""

    columns: np.ndarray
    seen: np.ndarray | None

    def take(self, rows: np.ndarray | slice) -> View:
        """Some of the rows."""
        return View(self.columns[rows], None if self.seen is None else self.seen[rows])
