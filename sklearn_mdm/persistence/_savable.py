"""What estimators have in common: save, pickles that say which version wrote them, and why an attribute is absent."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from .._version import __version__
from ..exceptions import OtherVersionWarning, SavedFileError
from ._codec import Decoder, Encoder
from ._file import read, write
from ._names import Names, name_of

FORMAT = "sklearn_mdm"
# The array that holds the text of the nodes.
NODES = "nodes"
# Goes up when files can no longer be read by earlier versions of the package.
FORMAT_VERSION = "1"
# Kinds of things without a place in a file that an error lists.
MAX_LISTED = 5
# Characters of an error that are repeated.
MAX_TOLD = 500


class Savable:
    """An estimator that can be saved, and whose pickles carry the version of the package.

    Attributes
    ----------
    _fitted : tuple of str
        Attributes that every fitted one has.
    _why_absent : mapping of str to function
        Why a fitted one lacks an attribute that others have, and what to do about it: said by the AttributeError.
    """

    _fitted: ClassVar[tuple[str, ...]] = ()
    _why_absent: ClassVar[Mapping[str, Callable[[Any], str]]] = {}

    def save(self, path: str | os.PathLike[str], *, trusted: Iterable[Any] = ()) -> None:
        """Save the fitted estimator in a file from which :func:`sklearn_mdm.load` executes nothing.

        Parameters
        ----------
        path : str or path
            The file, in the format of safetensors. It appears whole: where saving fails, an earlier file of this name
            stays as it was.
        trusted : iterable of classes and functions, default=()
            Those that the estimator holds beside classes of this package, torch and scikit-learn, such as your own
            fusion and its module. What ``load`` is passed has to name them, too. Of their objects the attributes
            (``__dict__``) are saved, and set again without a call of ``__init__``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If it holds something that has no place in such a file; the message says what and where.
        OSError
            If the file cannot be written.

        See Also
        --------
        sklearn_mdm.load : Load it.

        Notes
        -----
        Predictions and dependency of the loaded estimator are equal bit by bit. Moments of the optimizers are left
        out: ``partial_fit`` and ``warm_start`` go on with new ones, where they would go on with the old ones after
        pickle. So are ``callbacks``, which belong to one fit: the parameter is None in what is loaded.
        """
        check_is_fitted(self)
        encoder = Encoder(Names(trusted))
        encoder.refer(self, "")
        if encoder.unknown:
            raise TypeError(_unknown_message(self, encoder.unknown))
        metadata = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "version": __version__,
            "class": type(self).__name__,
        }
        # Beside the arrays, for headers of files are to be small.
        nodes = json.dumps(encoder.nodes, allow_nan=False, separators=(",", ":")).encode()
        write(Path(path), metadata, {**encoder.arrays, NODES: np.frombuffer(nodes, dtype=np.uint8)})

    def _to_save(self) -> dict[str, Any]:
        """What a file keeps: not what scikit-learn's ``set_callbacks`` registered, which follows fits here and now."""
        return {name: value for name, value in vars(self).items() if name != "_skl_callbacks"}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_written_by": __version__}  # type: ignore[misc]

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        written_by = vars(self).pop("_written_by", "an unknown version")
        if not _agree(written_by):
            self._written_by = written_by
            _warn(type(self).__name__, written_by)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # Only called for what is not there, or what a property says is not.
            try:
                return object.__getattribute__(self, name)
            except AttributeError as error:
                # A property of a subclass may miss something else.
                missed = error.name == name and error.obj is self
                why = type(self)._why_absent.get(name) if missed else None
                if why is None and "_written_by" not in vars(self):
                    raise
                told = f"{error}."
                if why is not None:
                    fitted = all(each in vars(self) for each in type(self)._fitted)
                    told = f"{error}: {why(self) if fitted else 'it is not fitted. Call fit first.'}"
                if "_written_by" in vars(self):
                    told += f" It {_advice(self._written_by)}"
                raise AttributeError(told, name=name, obj=self) from (error if why is None else None)


def why_no_names(estimator: Any) -> str:
    """Why a fitted estimator has no ``feature_names_in_``."""
    return (
        "it is there after a fit on a data frame, or on a dict of nothing but data frames, whose columns are all named "
        "by strings."
    )


def load(path: str | os.PathLike[str], *, trusted: Iterable[Any] = (), device: str | torch.device | None = None) -> Any:
    """Load an estimator that was saved with its method ``save``.

    Nothing in the file is executed, and it can name only classes of this package, those of torch's layers and of some
    modules of scikit-learn, and those that are passed here.

    Parameters
    ----------
    path : str or path
        The file.
    trusted : iterable of classes and functions, default=()
        Further classes and functions that the file may name: those that were passed to ``save``.
    device : str or torch.device, default=None
        Where the networks are to be. None takes the device on which they were, or the CPU where that is not there.

    Returns
    -------
    estimator : object
        An estimator with equal predictions, dependency and parameters, but for ``callbacks``, which is None.
        ``partial_fit`` and ``warm_start`` go on with new moments of the optimizers.

    Raises
    ------
    SavedFileError
        If the file is not bit for bit what was saved, or names something that it must not, or is no fitted estimator.

    Warns
    -----
    OtherVersionWarning
        If another minor version of this package saved it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import sklearn_mdm
    >>> rng = np.random.default_rng(0)
    >>> X = {"audio": rng.normal(size=(40, 3)), "text": rng.normal(size=(40, 5))}
    >>> model = sklearn_mdm.MDMFusionRegressor(max_epochs=2, random_state=0).fit(X, X["audio"][:, 0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "model.safetensors")
    ...     model.save(file)
    ...     loaded = sklearn_mdm.load(file)
    >>> bool((loaded.predict(X) == model.predict(X)).all())
    True
    """
    if device is not None:
        torch.empty(0, device=device)  # torch says what is wrong with it
    version = __version__
    content = Path(path).read_bytes()
    try:
        metadata, arrays = read(content)
        if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
            raise SavedFileError("it is not a file that save wrote.")
        version = str(metadata.get("version"))
        if metadata.get("format_version") != FORMAT_VERSION:
            raise SavedFileError(
                f"sklearn-mdm {version} wrote it, in a format that sklearn-mdm {__version__} does not know."
            )
        decoder = Decoder(arrays, Names(trusted), lambda was: _place(was, device))
        nodes = json.loads(arrays[NODES].tobytes().decode(), parse_constant=_no_number)
        estimator = decoder.decode(nodes)[0]
        if not isinstance(estimator, Savable):
            raise SavedFileError("it holds no estimator.")
        lacking = [name for name in type(estimator)._fitted if vars(estimator).get(name, decoder) is decoder]
        if lacking:
            raise SavedFileError(f"its {type(estimator).__name__} lacks {', '.join(lacking)}, which fit makes.")
    except Exception as error:  # a forged file can be wrong in any way
        reason = _reason(error)
        if not _agree(version):
            reason += f" It {_advice(version)}"
        raise SavedFileError(f"{str(path)!r} cannot be loaded: {reason}") from None
    if not _agree(version):
        estimator._written_by = version
        _warn(type(estimator).__name__, version)
    return estimator


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _reason(error: Exception) -> str:
    """Tell an error; its parts only if they are texts, since to write out what a file holds may take for ever."""
    told = str(error) if all(type(part) is str for part in error.args) else ""
    told = told if len(told) <= MAX_TOLD else told[:MAX_TOLD] + "..."
    if isinstance(error, SavedFileError):
        return told
    return f"it holds what save does not write ({type(error).__name__}{told and f': {told}'})."


def _place(was: str, wanted: str | torch.device | None) -> str:
    """Device for what was on another one: the one that is wanted, where there is such a wish, else that if there."""
    if wanted is not None:
        return str(wanted)
    try:
        torch.empty(0, device=was)
    except (RuntimeError, AssertionError):  # the latter by builds of torch without it
        return "cpu"
    return was


def _agree(version: str) -> bool:
    return version.split(".")[:2] == __version__.split(".")[:2]


def _advice(version: str) -> str:
    return (
        f"was written by sklearn-mdm {version}, and this is {__version__}: fit it again, or load it with the version "
        "that wrote it."
    )


def _warn(name: str, version: str) -> None:
    warnings.warn(f"this {name} {_advice(version)} Results may differ or fail.", OtherVersionWarning, stacklevel=3)


def _unknown_message(estimator: Any, unknown: dict[str, Any]) -> str:
    kinds = {name_of(obj): path for path, obj in reversed(unknown.items())}  # each where it comes first
    shown = [f"{path or 'itself'} ({kind})" for kind, path in reversed(kinds.items())][:MAX_LISTED]
    more = len(kinds) - len(shown)
    found = ", ".join(shown) + (f" and {more} more" if more else "")
    return (
        f"{type(estimator).__name__} cannot be saved with {found}, which is neither data nor of a class that every "
        "file may name. Pass classes and functions of your own that can be imported where it is loaded, to both: "
        "save(path, trusted=[...]) and sklearn_mdm.load(path, trusted=[...]). Or use pickle or joblib, whose files "
        "execute code when they are loaded."
    )
