"""ModalityTransformer: one scikit-learn transformer per modality, fitted on what was observed."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import Tags, _safe_indexing, get_tags
from sklearn.utils._set_output import _get_output_config, _wrap_data_with_container
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from ..persistence._savable import Savable, why_no_names
from ..utils._arguments import check_rows, named
from ..utils._fit_tasks import CallbackSupportMixin, fit_task
from ._arrays import as_float_array, check_numbers
from ._containers import as_samples, is_multiindex_frame, is_text, n_samples_of, split_container
from ._labels import check_beside, row_labels
from ._modality_dict import ModalityDict
from ._unencoded import UnencodedSchema

PASSTHROUGH = "passthrough"


class _UnwrappedTransform:
    """The methods that return X in its own container.

    scikit-learn wraps the ``transform`` that a transformer class itself defines, for ``set_output``, and the wrapper
    makes a flat frame of everything. An inherited one it leaves alone.
    """

    def fit_transform(self: Any, X: Any, y: Any = None) -> Any:
        """Fit every transformer and transform X.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array-like of shape (n_samples, n_features)
            The modalities.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Target, for transformers that use one.

        Returns
        -------
        ModalityDict, data frame or ndarray of shape (n_samples, n_features_out)
            X, transformed, in the container that X came in.
        """
        with fit_task(self, X, y):
            return self._fit_transform(X, y)

    def transform(self: Any, X: Any) -> Any:
        """Transform every modality.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array-like of shape (n_samples, n_features)
            The modalities, some of which may be absent or None.

        Returns
        -------
        ModalityDict, data frame or ndarray of shape (n_samples, n_features_out)
            X, transformed, in the container that X came in; NaN where nothing was observed.
        """
        check_is_fitted(self, "transformers_")
        values = self._schema.read(self, X)
        outputs = {}
        for name in self.modalities_:
            transformer, value = self.transformers_[name], values[name]
            observed = self._schema._is_observed(value)
            if not observed.any():
                width, dtype = self._output_forms[name]
                outputs[name] = np.full((*observed.shape, *width), None if dtype == object else np.nan, dtype=dtype)
            elif _passes(transformer):
                outputs[name] = _unchanged(name, value)
            else:
                with _naming(name, transformer, value):
                    rows = transformer.transform(_observed_rows(value, observed))
                outputs[name] = _spread(name, transformer, rows, observed)
        return self._pack(X, outputs)


class ModalityTransformer(_UnwrappedTransform, Savable, CallbackSupportMixin, TransformerMixin, BaseEstimator):
    """Apply one transformer to each modality, on what was observed of it.

    Parameters
    ----------
    transformers : dict, transformer or "passthrough", default="passthrough"
        Modality name to a transformer, a pipeline or "passthrough"; modalities that it does not name pass through
        unchanged. Anything else than a dict is cloned for every modality.
    modalities : dict, default=None
        Only for a flat X, a 2-D array or a data frame with a single level of columns: modality name to a column
        selector, as in :class:`~sklearn.compose.ColumnTransformer`. Columns that no selector names are dropped. By
        default such an X is a single modality, "X".

    Attributes
    ----------
    transformers_ : dict
        Modality name to its fitted transformer, or to "passthrough".
    modalities_ : list
        Modality names in the order of the output: that of ``modalities``, or of the X seen in ``fit``.
    n_features_in_ : int
        Number of input features of all modalities together; a modality of texts counts as one.
    n_features_per_modality_ : dict
        Number of input features of each modality.
    feature_names_in_ : ndarray of str
        Column names, if X is a flat data frame of columns named by strings; of a dict of such frames,
        "modality__column".

    See Also
    --------
    ModalityDict : What a dict of modalities becomes, so that scikit-learn can select samples.
    sklearn.compose.ColumnTransformer : Transformers for columns of a flat X without missing rows.

    Notes
    -----
    A transformer sees the observed rows of its modality only, those that are not NaN or None throughout; the others
    come back as NaN. A row that is partly NaN is observed, and reaches the transformer as it is: those that take NaN
    leave the cells to the estimator, as :class:`~sklearn.preprocessing.StandardScaler` does; before others goes a
    :class:`~sklearn.impute.SimpleImputer`.
    In sequences, arrays of shape (n_samples, n_steps, n_features) or lists of (n_steps_i, n_features) arrays, the rows
    are the observed time steps of all samples, with the target of their sample; lists come back padded with NaN.
    A data frame reaches a transformer as a data frame. Texts reach it as a list: a list, array or Series of strings or
    token lists, and a data frame of a single column of strings (other than a categorical one).

    The parameters of the transformers are ``{modality}__{parameter}``, or ``transformers__{parameter}`` if there is
    one for all. Integer names of modalities are written as strings there: ``set_params(**{"0__with_mean": False})``.
    Names in ``transformers`` must therefore differ as strings, not contain a double underscore and not be
    "transformers" or "modalities".

    A mapping comes back as a :class:`ModalityDict`, of data frames with the row labels of X if ``set_output`` asks for
    them, where absent modalities stay absent and None stays None; a data
    frame with (modality, feature) columns as such a frame, where they become NaN; a flat X as an array, its modalities
    side by side, or as what ``set_output`` asks for.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA, TruncatedSVD
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_mdm import ModalityTransformer
    >>> X = {
    ...     "audio": np.array([[1.0, 2.0], [3.0, 6.0], [np.nan, np.nan]]),
    ...     "text": ["a good film", None, "a bad film"],
    ... }
    >>> transformer = ModalityTransformer(
    ...     {"audio": StandardScaler(), "text": make_pipeline(TfidfVectorizer(), TruncatedSVD(1))}
    ... )
    >>> Xt = transformer.fit_transform(X)
    >>> Xt["audio"]
    array([[-1., -1.],
           [ 1.,  1.],
           [nan, nan]])
    >>> np.isnan(Xt["text"]).ravel()
    array([False,  True, False])
    >>> transformer.get_feature_names_out()
    array(['audio__x0', 'audio__x1', 'text__truncatedsvd0'], dtype=object)
    >>> transformer.set_params(audio=PCA(), audio__n_components=1).fit_transform(X)["audio"].shape
    (3, 1)
    """

    def __init__(self, transformers: Any = PASSTHROUGH, *, modalities: Mapping[Any, Any] | None = None) -> None:
        self.transformers = transformers
        self.modalities = modalities

    def fit(self, X: Any, y: Any = None) -> ModalityTransformer:
        """Fit every transformer on the observed rows of its modality.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array-like of shape (n_samples, n_features)
            The modalities.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Target, for transformers that use one.

        Returns
        -------
        ModalityTransformer
            The fitted transformer itself.

        Raises
        ------
        ValueError, TypeError
            If ``transformers`` names a modality that X does not have, or holds what does not transform, or one of them
            refuses its modality or leaves no feature; the message names the modality and the remedy.
        """
        self.fit_transform(X, y)  # only the output tells how many features there are
        return self

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the output features, ``modality__feature``.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Input names for a flat X that was not a data frame with string columns.

        Returns
        -------
        ndarray of str objects
            Names in the order of ``modalities_``. A flat X without ``modalities`` has names without a prefix.
        """
        check_is_fitted(self, "transformers_")
        blocks = self._block_names(input_features)
        if self._schema.columns is not None and self.modalities is None:
            names = [str(feature) for block in blocks.values() for feature in block]
        else:
            names = [f"{name}__{feature}" for name, block in blocks.items() for feature in block]
        return np.asarray(names, dtype=object)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, those of the transformers by modality name.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the transformers of ``transformers`` and their parameters.

        Returns
        -------
        dict
            Parameter names to values; the transformer of "audio" is ``audio``, its parameters are ``audio__...``.
        """
        params = super().get_params(deep=deep)
        for name, transformer in self._named_transformers().items() if deep else ():
            params[name] = transformer
            if hasattr(transformer, "get_params") and not isinstance(transformer, type):
                params.update({f"{name}__{key}": value for key, value in transformer.get_params().items()})
        return params

    def set_params(self, **params: Any) -> ModalityTransformer:
        """Set parameters, those of the transformers by modality name.

        Parameters
        ----------
        **params : dict
            Names as ``get_params`` returns them, to values: ``audio=StandardScaler()`` replaces a transformer,
            ``audio__with_mean=False`` sets one of its parameters. Integer names of modalities are written as strings.

        Returns
        -------
        ModalityTransformer
            The transformer itself.
        """
        if "transformers" in params:  # first, for the other names refer to what it holds
            self.transformers = params.pop("transformers")
        replaced = {name: params.pop(name) for name in self._named_transformers() if name in params}
        if replaced:  # in a new dict: the one at hand is the caller's
            self.transformers = {name: replaced.get(str(name), old) for name, old in self.transformers.items()}
        return super().set_params(**params)

    def _named_transformers(self) -> dict[str, Any]:
        """Return the transformers that can be reached as parameters."""
        if not isinstance(self.transformers, Mapping):
            return {}
        named = {str(name): transformer for name, transformer in self.transformers.items()}
        return {name: value for name, value in named.items() if name not in self._get_param_names()}

    def _sk_visual_block_(self) -> Any:
        from sklearn.pipeline import FeatureUnion

        if isinstance(self.transformers, Mapping):
            named = self.transformers or {"every modality": PASSTHROUGH}
        else:
            named = {"every modality": self.transformers}
        return FeatureUnion([(str(name), each) for name, each in named.items()])._sk_visual_block_()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = True
        tags.input_tags.allow_nan = True
        named = self.transformers.values() if isinstance(self.transformers, Mapping) else [self.transformers]
        parts = [get_tags(part) for part in named if hasattr(part, "__sklearn_tags__") and not isinstance(part, type)]
        tags.non_deterministic = any(part.non_deterministic for part in parts)
        tags.transformer_tags.preserves_dtype = [
            dtype
            for dtype in ("float64", "float32")
            if all(part.transformer_tags and dtype in part.transformer_tags.preserves_dtype for part in parts)
        ]
        return tags

    _why_absent: ClassVar = {"feature_names_in_": why_no_names}
    _fitted: ClassVar[tuple[str, ...]] = (
        "transformers_",
        "modalities_",
        "n_features_in_",
        "n_features_per_modality_",
        "_schema",
        "_output_forms",
    )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "transformers_")

    def _checked_transformers(self) -> dict[Hashable, Any]:
        names = self.modalities_
        if not isinstance(self.transformers, Mapping):
            transformers = dict.fromkeys(names, self.transformers)
        else:
            transformers = {name: self.transformers.get(name, PASSTHROUGH) for name in names}
            for name in self.transformers:
                if name not in transformers:
                    raise ValueError(
                        f"transformers has an entry for modality {name!r}, which X does not have: its modalities are "
                        f"{names}. Remove or rename the entry."
                    )
                if "__" in str(name) or str(name) in self._get_param_names():
                    raise ValueError(
                        f"the transformer of modality {name!r} cannot be told from other parameters by its name: names "
                        f"in transformers must not contain '__' nor be one of {self._get_param_names()}. Rename the "
                        "modality."
                    )
            if len({str(name) for name in self.transformers}) < len(self.transformers):
                raise ValueError(
                    f"some names in transformers ({list(self.transformers)}) are the same once written as strings, as "
                    "parameters must be. Rename a modality."
                )
        for name, transformer in transformers.items():
            fits = hasattr(transformer, "fit") and hasattr(transformer, "transform")
            if isinstance(transformer, type) or not (fits or _passes(transformer)):
                raise TypeError(
                    f"the transformer of modality {name!r} is {transformer!r}; expected an object with fit and "
                    "transform, such as StandardScaler(), or 'passthrough'."
                )
        return transformers

    def _fit_transform(self, X: Any, y: Any) -> Any:
        self.__dict__.pop("transformers_", None)  # a fit that fails leaves nothing that belongs to other data
        self._schema = UnencodedSchema()
        values = self._schema.fit_read(self, X, self.modalities)
        check_beside(row_labels(X), y=y)
        given = split_container(X)
        self.modalities_ = list(given if given is not None else self.modalities or values)
        transformers = self._checked_transformers()
        with named("y"):
            y, n_samples = as_samples(y), n_samples_of(next(iter(values.values())))
            check_rows("y", n_samples if y is None else n_samples_of(y), n_samples)
        fitted, self._output_forms, outputs = {}, {}, {}
        for name in self.modalities_:
            fitted[name], outputs[name] = self._fit_transform_one(name, transformers[name], values[name], y)
            # To fill in where a later X has nothing: NaN of the same width, or None for texts.
            self._output_forms[name] = (
                () if outputs[name].ndim == 1 else outputs[name].shape[-1:],
                outputs[name].dtype,
            )
        self.transformers_ = fitted
        return self._pack(X, outputs)

    def _fit_transform_one(self, name: Hashable, transformer: Any, value: Any, y: Any) -> tuple[Any, Any]:
        if _passes(transformer):
            return PASSTHROUGH, _unchanged(name, value)
        observed = self._schema._is_observed(value)
        rows = _observed_rows(value, observed)
        # The sample that each row, or each time step, belongs to.
        y = None if y is None else _safe_indexing(y, np.nonzero(observed)[0])
        transformer = clone(transformer)
        with _naming(name, transformer, value):
            whole = hasattr(transformer, "fit_transform")
            rows = transformer.fit_transform(rows, y) if whole else transformer.fit(rows, y).transform(rows)
        output = _spread(name, transformer, rows, observed)
        if output.shape[-1] == 0:
            raise ValueError(f"modality {name!r}: {transformer!r} leaves no feature. Keep at least one.")
        return transformer, output

    def _pack(self, X: Any, outputs: dict[Hashable, Any]) -> Any:
        """Return the outputs in the container that X came in."""
        if is_multiindex_frame(X):
            names = self._block_names()
            # What X lacks becomes columns of NaN, so that they are always the same; a sequence cannot be columns.
            frames = {
                name: pd.DataFrame(output, index=X.index, columns=names[name])
                for name, output in outputs.items()
                if output.ndim < 3
            }
            return pd.concat(frames, axis=1, names=X.columns.names)
        if (given := split_container(X)) is not None:
            outputs = {name: None if value is None else outputs[name] for name, value in given.items()}
            packed = ModalityDict(self._as_frames(X, outputs))
            packed._rows = getattr(X, "_rows", None)  # by which a search that cuts X_val is noticed
            return packed
        for name, output in outputs.items():
            if output.ndim == 1:
                raise ValueError(
                    f"modality {name!r} is text and passes through unchanged, but a flat X comes back as numbers. Give "
                    "it a transformer, for example make_pipeline(TfidfVectorizer(), TruncatedSVD(100))."
                )
        return _wrap_data_with_container("transform", np.hstack(list(outputs.values())), X, self)

    def _as_frames(self, X: Any, outputs: dict[Hashable, Any]) -> dict[Hashable, Any]:
        """Modalities as the data frames that ``set_output`` asks for, of pandas; sequences and texts stay arrays."""
        if _get_output_config("transform", estimator=self)["dense"] == "default":
            return outputs
        names, labels = self._block_names(), row_labels(X)
        return {
            name: pd.DataFrame(output, labels, [str(each) for each in names[name]], copy=False)
            if output is not None and output.ndim == 2
            else output
            for name, output in outputs.items()
        }

    def _block_names(self, input_features: Any = None) -> dict[Hashable, list]:
        """Return the names of the output features of each modality."""
        schema, names = self._schema, {}
        flat: Any = None if schema.columns is None else _check_feature_names_in(self, input_features)
        for name in self.modalities_:
            inputs = schema.feature_names.get(name) or [f"x{i}" for i in range(schema.widths[name])]
            if schema.columns is not None:
                inputs = list(flat[schema.columns[name]])
            names[name] = _output_names(self.transformers_[name], inputs, *self._output_forms[name][0] or (1,))
        return names


def _passes(transformer: Any) -> bool:
    return isinstance(transformer, str) and transformer == PASSTHROUGH


def _observed_rows(value: Any, observed: np.ndarray) -> Any:
    rows = value[observed]
    return rows.tolist() if is_text(value) else rows


def _unchanged(name: Hashable, value: Any) -> np.ndarray:
    return value if is_text(value) else as_float_array(name, value, "'passthrough'")


def _spread(name: Hashable, transformer: Any, rows: Any, observed: np.ndarray) -> np.ndarray:
    """Put the rows that a transformer returned where they belong, among NaN."""
    found = f"modality {name!r}: {transformer!r} returned"
    if sparse.issparse(rows):
        raise TypeError(
            f"{found} a sparse matrix; expected a dense array, for rows that were not observed become NaN. Append "
            f"TruncatedSVD to it, as in make_pipeline({type(transformer).__name__}(), TruncatedSVD(100)), or ask it "
            "for dense output."
        )
    n_rows = int(observed.sum())
    if len(np.shape(rows)) != 2 or np.shape(rows)[0] != n_rows:
        raise ValueError(
            f"{found} shape {np.shape(rows)} for {n_rows} observed rows; expected ({n_rows}, n_features). Use a "
            "transformer that returns one row for each row it is given."
        )
    rows = check_numbers(f"modality {name!r} after its transformer", rows)
    output = np.full((*observed.shape, rows.shape[1]), np.nan, dtype=rows.dtype)
    output[observed] = rows
    return output


def _output_names(transformer: Any, inputs: list, n_features: int) -> list:
    names = inputs
    if not _passes(transformer):
        try:
            names = list(transformer.get_feature_names_out(inputs))
        except AttributeError:  # it has none, or a step of it has none
            names = []
    return names if len(names) == n_features else list(range(n_features))


@contextmanager
def _naming(name: Hashable, transformer: Any, value: Any) -> Iterator[None]:
    """Say in errors which modality they are about, and what to do about texts and NaN where they are not wanted."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        remedy = ""
        if is_text(value) and "Expected 2D" in str(error):
            remedy = (
                "\nStrings reach a transformer as a list of texts. If they are categories, pass them as a data frame "
                'with a categorical column: frame.astype("category").'
            )
        elif "Input X contains NaN" in str(error):
            remedy = (
                "\nRows that are NaN throughout are left out. Single cells need a transformer that takes them, or an "
                f"imputer before it: make_pipeline(SimpleImputer(), {type(transformer).__name__}(...))."
            )
        raise kind(f"modality {name!r}, {type(transformer).__name__}: {error}{remedy}") from error
