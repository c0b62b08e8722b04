"""X as columns: one matrix per modality, of the samples that have them all."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np

from ..inputs._cells import CellFilling, fit_filling_of_columns, warn_of_filled
from ..inputs._observed import Observed
from ..inputs._schema import ModalitySchema
from ._far_values import FarValues


class ColumnReader:
    """Reads X into columns; a sequence counts as one row of all its steps.

    Single cells that were not observed are filled with the mean of their column in fit, or with its median, which is
    the centre of its ranks. No indicator comes beside them: dependency between what is missing here and there is not
    asked for.
    """

    def __init__(self, fill: Literal["mean", "median"]) -> None:
        self._fill = fill

    def fit_read(
        self, estimator: Any, X: Any, modalities: Mapping[Hashable, Any] | str | None
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Learn the layout of X, and return what :meth:`read` does."""
        if isinstance(modalities, str):  # "columns"
            modalities = None
            if np.ndim(X) == 2 and np.shape(X)[1]:
                names = getattr(X, "columns", range(np.shape(X)[1]))
                modalities = {name: [j] for j, name in enumerate(names)}
        self._schema, self._fillings = ModalitySchema(), dict[Hashable, CellFilling]()
        self._far_values = dict[Hashable, FarValues]()
        observed = self._schema.fit_read(estimator, X, modalities)
        self.names = list(self._schema.names)
        if len(self.names) < 2:
            raise ValueError(
                f"dependency is undefined for the single modality {self.names[0]!r} "
                f"(n_features={estimator.n_features_in_}). Pass a dict of arrays, modalities={{name: columns}} for a "
                '2-D X, or modalities="columns" to make every column a modality.'
            )
        return self._complete(observed)

    def read(self, estimator: Any, X: Any) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the columns (n_complete, d_j) of each modality, and which samples are complete, (n_samples,)."""
        return self._complete(self._schema.read(estimator, X))

    def _complete(self, observed: Observed) -> tuple[list[np.ndarray], np.ndarray]:
        complete = observed.complete
        part = observed if complete.all() else observed.take(complete)
        columns = [self._columns(name, part) for name in part.names]
        warn_of_filled(part, f"the training {self._fill}")
        return columns, complete

    def _columns(self, name: Hashable, part: Observed) -> np.ndarray:
        if part.masks[name] is not None:
            raise ValueError(
                f"modality {name!r} has sequences with steps that were not observed, which cannot be read as columns. "
                "Summarise them first, for example by their mean over time."
            )
        columns, missing = as_columns(part.arrays[name]).astype(np.float64), part.cells.get(name)
        missing = None if missing is None else as_columns(missing)
        if name not in self._far_values:
            self._far_values[name] = FarValues(name, columns if missing is None else np.where(missing, np.nan, columns))
        elif columns.shape[1] != len(self._far_values[name].center_):
            raise ValueError(
                f"modality {name!r} has {columns.shape[1]} values per sample in all its steps, but fit saw "
                f"{len(self._far_values[name].center_)}. Pass sequences of the same number of steps."
            )
        columns = self._far_values[name](columns)
        if name not in self._fillings:
            self._fillings[name] = fit_filling_of_columns(name, columns, missing, median=self._fill == "median")
        return self._fillings[name](columns, missing)


def as_columns(array: np.ndarray) -> np.ndarray:
    """Put the steps of sequences (n, T, d) side by side."""
    return array.reshape(len(array), math.prod(array.shape[1:]))
