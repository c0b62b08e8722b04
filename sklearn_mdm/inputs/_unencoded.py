"""X as transformers may want it, before anything is made a number."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from ._arrays import as_float_array
from ._containers import as_samples, is_text
from ._labels import row_labels
from ._schema import ModalitySchema


class UnencodedSchema(ModalitySchema):
    """Reads X as transformers may want it: frames stay frames, texts stay texts, single values may be NaN."""

    holds_text: dict[Hashable, bool]

    def fit_read(self, *args: Any, **kwargs: Any) -> dict[Hashable, Any]:
        values = super().fit_read(*args, **kwargs)
        self.holds_text = {name: is_text(value) for name, value in values.items()}
        return values

    def _read_value(self, owner: str, name: Hashable, value: Any) -> Any:
        value = as_samples(value)
        if isinstance(value, pd.DataFrame) and value.shape[1] > 0:
            column = value.iloc[:, 0]
            if value.shape[1] > 1 or isinstance(column.dtype, pd.CategoricalDtype) or not is_text(column):
                return value
            value = column
        if is_text(value):
            return np.asarray(value, dtype=object)
        return value if sparse.issparse(value) else as_float_array(name, value, owner)

    def _is_observed(self, value: Any) -> np.ndarray:
        """Whether each row or time step has any value: bool (n,) or (n, T)."""
        if sparse.issparse(value):
            return np.ones(value.shape[0], dtype=bool)
        missing: Any = np.asarray(pd.isna(value))
        return ~missing if missing.ndim == 1 else ~missing.all(axis=-1)

    def _any_observed(self, read: Any, name: Hashable) -> bool:
        return bool(self._is_observed(read[name]).any())

    def _finish(self, arrays: dict[Hashable, Any], X: Any) -> dict[Hashable, Any]:
        row_labels(X)  # which must agree
        return {name: arrays[name] for name in self.names}

    def _check_shape(self, owner: str, name: Hashable, array: Any) -> None:
        if is_text(array) != self.holds_text[name] and self._is_observed(array).any():
            kinds = {True: "text", False: "numbers"}
            raise ValueError(
                f"modality {name!r} holds {kinds[is_text(array)]}, but {owner} was fitted on "
                f"{kinds[self.holds_text[name]]} for it."
            )
        super()._check_shape(owner, name, array)
