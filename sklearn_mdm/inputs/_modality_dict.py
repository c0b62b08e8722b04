"""A dict of modalities that can be indexed by sample."""

from __future__ import annotations

import copy
import html
import numbers
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils import _safe_indexing
from skorch.helper import SliceDict

from ._columns import sorted_names
from ._containers import as_samples, common_length, split_container
from ._described import described, shown_value
from ._labels import row_labels
from ._memory_maps import FilePart, file_part, map_again


class ModalityDict(SliceDict):
    """A dict of modalities that scikit-learn can index by sample.

    A plain dict works in ``fit``, ``predict`` and ``score``, but not where scikit-learn itself selects samples
    (``GridSearchCV``, ``cross_val_score``, ``train_test_split``): its length is the number of keys. Wrap it:
    ``GridSearchCV(...).fit(ModalityDict(X), y)``.

    Parameters
    ----------
    data : mapping or (modality, feature) data frame, default=None
        Name (any string or integer) to values, one entry per sample in the same order: an array of shape
        (n_samples, n_features) or (n_samples, n_steps, n_features), a data frame, a list of (n_steps_i, n_features)
        arrays, a list of strings or of token lists, or None for a modality that no sample has.
    **modalities : array-like
        Further modalities by keyword.

    Raises
    ------
    ValueError
        If modalities differ in their number of samples, or none has values.

    Notes
    -----
    ``X["audio"]`` is a modality; ``X[mask]``, ``X[indices]`` and ``X[2:5]`` are samples; ``X[3]`` is the sample 3 as
    a ModalityDict of length one, unless 3 is the name of a modality. ``len(X)`` is the number of samples. Several
    modalities are selected by ``ModalityDict({name: X[name] for name in names})``, and joined by ``X | others``.

    Of a modality that is a memory map, opened read-only (``np.load(file, mmap_mode="r")``) or a slice of one, a pickle
    has the name of the file and the place in it, so that tasks of a search are small on any cluster that shares the
    file: whoever unpickles it maps the same file. It is an error if that has another size or time of change. Other
    arrays, and maps of a file that is gone or may be written to, are pickled by value; ``copy.deepcopy`` copies values.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm import ModalityDict
    >>> X = ModalityDict(audio=np.zeros((4, 2)), text=["fine", "good", None, "bad"])
    >>> X
    ModalityDict(audio: array (4, 2), text: 4 texts)
    >>> len(X), len(X[[0, 2]]), X[1:3]["text"].tolist()
    (4, 2, ['good', None])
    """

    def __init__(self, data: Mapping[Any, Any] | None = None, /, **modalities: Any) -> None:
        values = _as_values(data, modalities)
        self._len = common_length(values)
        self._rows: np.ndarray | None = None  # of the ModalityDict that this one was cut from
        dict.__init__(self, values)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, tuple) and len(key) == 2 and key[1] is ...:  # as scikit-learn indexes arrays
            key = key[0]
        if isinstance(key, (str, numbers.Integral)):
            if key in self:
                return dict.__getitem__(self, key)
            if isinstance(key, str):
                raise KeyError(key)
            index = int(key)
            if not -self._len <= index < self._len:
                raise IndexError(f"sample {index} is out of range for a ModalityDict of {self._len} samples.")
            key = slice(index % self._len, index % self._len + 1)
        if not isinstance(key, slice):
            key = np.asarray(key)
            if key.dtype.kind in "UTO" and any(isinstance(item, str) for item in key.ravel()):
                names = key.ravel().tolist()
                raise TypeError(
                    f"a ModalityDict is indexed by one modality name or by samples, got the names {names}. Select "
                    f"modalities with {{name: X[name] for name in {names}}}."
                )
            key = key.astype(np.intp) if key.size == 0 else key
        part = type(self)({name: None if value is None else _safe_indexing(value, key) for name, value in self.items()})
        part._rows = None if isinstance(key, slice) else key
        return part

    def __setitem__(self, name: Hashable, value: Any) -> None:
        self.update({name: value})

    def __or__(self, other: Any) -> ModalityDict:
        return type(self)({**self, **_as_values(other)}) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Any) -> ModalityDict:
        return type(self)({**_as_values(other), **self}) if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Any) -> ModalityDict:
        self.update(other)
        return self

    def setdefault(self, name: Hashable, default: Any = None) -> Any:
        """Return a modality, after setting it if there is none of this name.

        Parameters
        ----------
        name : str or int
            Name of the modality.
        default : array-like, default=None
            Its values if it is not there yet, one entry per sample, as for the constructor.

        Returns
        -------
        array-like
            The values of the modality.
        """
        if name not in self:
            self[name] = default
        return dict.__getitem__(self, name)

    def copy(self) -> ModalityDict:
        """Return a shallow copy.

        Returns
        -------
        ModalityDict
            Another dict of the same arrays.
        """
        return type(self)(self)

    def update(self, other: Mapping[Any, Any] | None = None, /, **modalities: Any) -> None:
        """Set the modalities of another mapping in this one: all of them, or none if they do not fit.

        Parameters
        ----------
        other : mapping or (modality, feature) data frame, default=None
            Name to values, as for the constructor.
        **modalities : array-like
            Further modalities by keyword.
        """
        values = _as_values(other, modalities)
        self._len = common_length({**self, **values})
        dict.update(self, values)

    def to_frame(self) -> tuple[pd.DataFrame, dict[Hashable, list[str]]]:
        """Return one flat data frame, and the ``modalities=`` that go with it.

        Any scikit-learn estimator reads the frame, and those of this package read the same from it as from the dict.

        Returns
        -------
        frame : DataFrame of shape (n_samples, n_features)
            Columns ``modality__feature``, as :meth:`ModalityTransformer.get_feature_names_out` names them; the row
            labels of the modalities if they have some.
        modalities : dict of name to list of str
            Columns of each modality.

        Raises
        ------
        ValueError
            If a modality is None, sequences or texts, which are no columns.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_mdm import ModalityDict
        >>> frame, modalities = ModalityDict(audio=np.zeros((4, 2)), text=np.ones((4, 1))).to_frame()
        >>> modalities
        {'audio': ['audio__x0', 'audio__x1'], 'text': ['text__x0']}
        """
        frames: list[pd.DataFrame] = []
        modalities: dict[Hashable, list[str]] = {}
        labels = row_labels(self)
        for name, value in self.items():
            if value is None or len(value.shape) != 2 or sparse.issparse(value):
                raise ValueError(
                    f"modality {name!r} ({shown_value(value)}) cannot be columns of a frame. Summarise sequences, "
                    "encode texts, for example with ModalityTransformer, and leave out a modality that is None."
                )
            framed = (
                value.reset_index(drop=True)
                if hasattr(value, "iloc")
                else pd.DataFrame(np.asarray(value)).add_prefix("x")
            )
            modalities[name] = [f"{name}__{feature}" for feature in framed.columns]
            frames.append(framed)
        frame = pd.concat(frames, axis=1)
        frame.columns = [column for columns in modalities.values() for column in columns]
        return (frame if labels is None else frame.set_axis(labels, axis=0)), modalities

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in (_shown_name(name), *described(value)))
            + "</tr>"
            for name, value in self.items()
        )
        head = "".join(f"<th>{title}</th>" for title in ("modality", "values", "dtype", "rows missing"))
        return (
            f"<table><caption>ModalityDict, {self._len} samples</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )

    def __copy__(self) -> ModalityDict:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> ModalityDict:
        return type(self)(copy.deepcopy(dict(self), memo))

    def __reduce__(self) -> tuple:
        parts = {name: file_part(value) or value for name, value in self.items()}
        return _unpickle, (type(self), parts)

    def __repr__(self) -> str:
        shown = (f"{_shown_name(name)}: {shown_value(value)}" for name, value in self.items())
        return f"ModalityDict({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Mapping)
            and set(self) == set(other)
            and all(_same(value, other[name]) for name, value in self.items())
        )

    __hash__ = None  # type: ignore[assignment]


def _unpickle(cls: type[ModalityDict], parts: Mapping[Hashable, Any]) -> ModalityDict:
    return cls({name: map_again(part) if isinstance(part, FilePart) else part for name, part in parts.items()})


def _as_values(data: Any, modalities: Mapping[str, Any] | None = None) -> dict[Hashable, Any]:
    """Return what was passed as modalities, each in a form that can be indexed by sample."""
    given = data if data is None or isinstance(data, Mapping) else split_container(data) or data
    items = [*dict({} if given is None else given).items(), *(modalities or {}).items()]
    sorted_names(name for name, _ in items)  # which says what is no name
    return {name: as_samples(value) for name, value in items}


def _shown_name(name: Hashable) -> str:
    return repr(str(name)) if isinstance(name, str) and not name.isidentifier() else str(name)


def _same(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    if hasattr(a, "equals"):
        return bool(a.equals(b))
    a, b = as_samples(a), as_samples(b)
    if sparse.issparse(a) or sparse.issparse(b):
        return sparse.issparse(a) and sparse.issparse(b) and a.shape == b.shape and (a != b).nnz == 0
    if a.shape != b.shape:
        return False
    if a.dtype == object:
        return all(x is y or np.array_equal(x, y) for x, y in zip(a.ravel(), b.ravel(), strict=True))
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f")
