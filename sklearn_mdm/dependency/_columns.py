"""X as columns: one matrix per modality, of the samples that have them all."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from ..inputs._observed import Observed
from ..inputs._schema import ModalitySchema


class ColumnReader:
    """Reads X into columns; a sequence counts as one row of all its steps."""

    def fit_read(
        self, estimator: Any, X: Any, modalities: Mapping[Hashable, Any] | str | None
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Learn the layout of X, and return what :meth:`read` does."""
        if isinstance(modalities, str):  # "columns"
            modalities = None
            if np.ndim(X) == 2 and np.shape(X)[1]:
                names = getattr(X, "columns", range(np.shape(X)[1]))
                modalities = {name: [j] for j, name in enumerate(names)}
        self._schema, self._n_columns = ModalitySchema(), dict[Hashable, int]()
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
        return [self._columns(name, array, part.masks[name]) for name, array in part.arrays.items()], complete

    def _columns(self, name: Hashable, array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        if mask is not None:
            raise ValueError(
                f"modality {name!r} has sequences with steps that were not observed, which cannot be read as columns. "
                "Summarise them first, for example by their mean over time."
            )
        array = array.reshape(len(array), math.prod(array.shape[1:])).astype(np.float64)
        expected = self._n_columns.setdefault(name, array.shape[1])
        if array.shape[1] != expected:
            raise ValueError(
                f"modality {name!r} has {array.shape[1]} values per sample in all its steps, but fit saw {expected}. "
                "Pass sequences of the same number of steps."
            )
        return array
