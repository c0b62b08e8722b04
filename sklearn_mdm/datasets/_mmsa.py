"""Reader of files in the layout that users of multimodal sentiment data exchange."""

from __future__ import annotations

import gzip
import os
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from sklearn.utils import Bunch

from ..inputs._containers import as_samples
from ..inputs._modality_dict import ModalityDict
from ..inputs._padding import zero_padding_to_nan
from ._safe_pickle import load_plain_pickle

SPLITS = ("train", "valid", "test")
MODALITIES = ("text", "audio", "vision")
TARGETS = ("regression_labels", "classification_labels", "labels", "y")
# Keys that hold no modality of their own; "text_bert" is what "text" was computed from.
NO_MODALITY = re.compile(rf"({'|'.join(TARGETS)}|text_bert|annotations?|ids?|groups?|lengths?)(_.*)?|.*_lengths?")
# Kinds of NumPy that are read as numbers.
NUMBERS = "fiub"
# First bytes of an npz file, and of one that gzip compressed.
ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b"
# And of files that are to be decompressed first.
OTHER_COMPRESSIONS = {b"BZh": "bz2", b"\xfd7z": "xz"}
# Between the video and the clip in an id.
ID_SEPARATOR = "$_$"
# Which steps of zeros are padding.
Padding: TypeAlias = Literal["end", "anywhere"]


def load_mmsa(
    path: str | os.PathLike,
    *,
    modalities: Sequence[str] | None = None,
    target: str | None = None,
    zero_padding: Padding | None = None,
    infinite: float | None = None,
) -> Bunch:
    """Load multimodal sentiment data in the layout of the package MMSA, or the same as npz.

    The pickle is a dict of the splits "train", "valid" and "test", each of them a dict with "text", "audio" and
    "vision", arrays of shape (n_samples, n_steps, n_features); where they are not aligned, "audio_lengths" and
    "vision_lengths"; "regression_labels" or "classification_labels"; "id"; and "raw_text" [1]_. It is read without
    running anything in it: only NumPy arrays and plain containers are known. An npz file has the keys
    ``<split>_<modality>``, ``<split>_y``, ``<split>_id``, ``<split>_group`` and ``<split>_<modality>_length``.

    Parameters
    ----------
    path : str or path
        File: npz or a pickle, which may be compressed by gzip. What it is is read off its first bytes, not its name.
    modalities : sequence of str, default=None
        Keys that become modalities; "raw_text" may be among them. None takes those of text, audio and vision that are
        there, and of an npz file all others of numbers that are neither labels, annotations, ids nor lengths.
    target : str, default=None
        Key of the target. None takes the first one there is of "regression_labels", "classification_labels", "labels"
        and "y".
    zero_padding : {"end", "anywhere"}, default=None
        Which steps of zeros become NaN in sequences whose lengths are not given; see
        :func:`~sklearn_mdm.zero_padding_to_nan`. None leaves them as they are.
    infinite : float, default=None
        What takes the place of infinite values, which audio features of this field may have; MMSA puts 0 there. None
        makes them an error.

    Returns
    -------
    data : Bunch
        A Bunch for each split that the file has, with

        X : ModalityDict
            The modalities. Steps beyond the given length of a sequence are NaN, at whichever end the padding is.
        y : array of shape (n_samples,), or (n_samples, n_outputs) and beyond
            Target, in the shape that it has in the file; that of one value per sample is flat.
        ids : array of str of shape (n_samples,), or None
            Names of the samples.
        groups : array of str of shape (n_samples,), or None
            Their videos, which :class:`~sklearn.model_selection.GroupKFold` should not cut: what comes before "$_$" in
            an id, or the group of an npz file.
        raw_text : array of str of shape (n_samples,), or None
            What was said: "raw_text", or "transcript" in an npz file.

    Raises
    ------
    ValueError
        If the file holds anything else than arrays and plain containers, has another layout, or a modality does not fit
        its lengths.

    Warns
    -----
    UserWarning
        If splits of other names, or other arrays that look like modalities, are not read; they are named.

    References
    ----------
    .. [1] Mao, Yuan, Xu, Yu, Liu, Gao, "M-SENA: An Integrated Platform for Multimodal Sentiment Analysis", ACL 2022.

    Examples
    --------
    >>> import pickle, tempfile
    >>> import numpy as np
    >>> from sklearn_mdm.datasets import load_mmsa
    >>> split = {
    ...     "text": np.ones((2, 3, 4), dtype=np.float32),
    ...     "audio": np.array([[[1.0], [2.0]], [[3.0], [0.0]]]),
    ...     "audio_lengths": [2, 1],
    ...     "regression_labels": np.array([-1.0, 2.4]),
    ...     "id": ["film$_$1", "film$_$2"],
    ... }
    >>> with tempfile.NamedTemporaryFile(suffix=".pkl") as file:
    ...     pickle.dump({"train": split}, file)
    ...     file.flush()
    ...     train = load_mmsa(file.name).train
    >>> train.X, train.groups.tolist()
    (ModalityDict(text: array (2, 3, 4), audio: array (2, 2, 1)), ['film', 'film'])
    >>> train.X["audio"][1, :, 0]
    array([ 3., nan])
    """
    path = Path(path)
    if zero_padding not in (None, "end", "anywhere"):
        raise ValueError(f"zero_padding must be None, 'end' or 'anywhere', got {zero_padding!r}.")
    with path.open("rb") as file:
        start = file.read(len(ZIP))
    is_npz = start == ZIP
    if start[:3] in OTHER_COMPRESSIONS:
        raise ValueError(f"{path.name} is compressed by {OTHER_COMPRESSIONS[start[:3]]}. Decompress it first.")
    content = _read_npz(path) if is_npz else _read_pickle(path, gzip.open if start.startswith(GZIP) else open)
    splits = [split for split in SPLITS if split in content]
    if not splits:
        raise ValueError(
            f"{path.name} has none of the splits {list(SPLITS)}; found {sorted(map(str, content))}. "
            "Rename its splits, in lower case."
        )
    ignored = [f"split {str(name)!r}" for name in content if name not in SPLITS and _is_split(content[name])]
    data = Bunch()
    for split in splits:
        found = content[split]
        names = modalities
        if names is None:
            names = [name for name in MODALITIES if name in found]
            others = [name for name, value in found.items() if name not in (*names, target) and _has_features(value)]
            others = [name for name in others if not NO_MODALITY.fullmatch(str(name))]
            if is_npz:
                names += others
            else:
                ignored += [f"{str(name)!r} of {split}" for name in others]
        data[split] = _as_bunch(split, found, names, target, zero_padding, infinite)
    if ignored:
        warnings.warn(
            f"{path.name}: {', '.join(ignored)} is not read. Splits must be called {list(SPLITS)}; pass modalities= to "
            "read other keys.",
            UserWarning,
            stacklevel=2,
        )
    return data


def _read_pickle(path: Path, opened: Callable[..., Any]) -> dict:
    try:
        with opened(path, "rb") as file:
            if opened is gzip.open and file.peek(len(ZIP))[: len(ZIP)] == ZIP:
                raise ValueError(f"{path.name} is an npz file that gzip compressed. Decompress it first.")
            content = load_plain_pickle(file)
            while opened is gzip.open and file.read(2**20):  # the checksum is compared at the end
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged: {error}. Download or write it again.") from error
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path.name} is not a pickle of plain arrays: {error} A pickle can run any code when it is loaded; "
            "load_mmsa reads NumPy arrays, dicts, lists, numbers and strings, and nothing else. If you trust the file, "
            "load it with pickle where its packages are installed, and save it as arrays: numpy.savez('data.npz', "
            "train_text=..., train_audio=..., train_y=..., train_id=...); load_mmsa reads that."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path.name} holds a {type(content).__name__}; expected a dict of splits, each of them a dict."
        )
    for split in SPLITS:
        if not isinstance(content.get(split, {}), dict):
            raise ValueError(
                f"{path.name} holds a {type(content[split]).__name__} as {split}; expected a dict of splits, each of "
                "them a dict. Remove a split that is empty."
            )
    return content


def _read_npz(path: Path) -> dict:
    """Bring the flat keys of an npz file into the layout of the pickle."""
    content: dict[str, dict] = {}
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path.name} is damaged: the end of the archive is missing. Download or write it again.")
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            split, _, name = key.partition("_")
            known = split in SPLITS and bool(name)
            try:
                value = arrays[key]
                if known:
                    content.setdefault(split, {})[name] = value
                elif name in (*MODALITIES, "y") or (name and _has_features(value)):
                    content[split] = {name: value}  # to be named as one that is not read
            except (zipfile.BadZipFile, zlib.error) as error:
                raise ValueError(f"{path.name} is damaged: {error}. Download or write it again.") from error
            except ValueError as error:
                if not known:
                    continue
                raise ValueError(
                    f"{path.name}: {key!r} holds Python objects, which are not read. Save it as an array of numbers or "
                    "of strings."
                ) from error
    for arrays in content.values():
        for name in [name for name in arrays if name == "length" or name.endswith("_length")]:
            arrays[f"{name}s"] = arrays.pop(name)
        for new, old in (("raw_text", "transcript"), ("groups", "group")):
            if old in arrays:
                arrays[new] = arrays.pop(old)
    return content


def _as_bunch(
    split: str,
    content: dict,
    modalities: Sequence[str],
    target: str | None,
    zero_padding: Padding | None,
    infinite: float | None,
) -> Bunch:
    absent = [name for name in modalities if name not in content]
    if absent or not modalities:
        raise ValueError(f"{split} has no modalities {absent or list(MODALITIES)}; found {sorted(map(str, content))}.")
    values: dict[Hashable, Any] = {}
    for name in modalities:
        lengths = content.get(f"{name}_lengths", content.get("lengths"))
        values[name] = _read_modality(f"{split}, {name!r}", content[name], lengths, zero_padding, infinite)
    X = ModalityDict(values)
    ids, groups, raw_text = (_one_each(split, content, key, len(X)) for key in ("id", "groups", "raw_text"))
    ids, groups = _names(ids, groups)
    return Bunch(X=X, y=_read_target(split, content, target, len(X)), ids=ids, groups=groups, raw_text=raw_text)


def _is_split(value: Any) -> bool:
    return isinstance(value, dict) and any(
        isinstance(each, np.ndarray) or _has_features(each) for each in value.values()
    )


def _has_features(value: Any) -> bool:
    """Whether there are numbers of more than one dimension: an array, or arrays or lists of numbers, one per sample."""
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return value.ndim in (2, 3) and value.dtype.kind in NUMBERS
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) == 0:
        return False
    try:
        first = np.asarray(value[0])
    except ValueError:  # ragged
        return False
    return first.ndim in (1, 2) and first.size > 0 and first.dtype.kind in NUMBERS


def _read_modality(label: str, value: Any, lengths: Any, zero_padding: Padding | None, infinite: float | None) -> Any:
    if value is None:
        raise ValueError(f"{label} is None. Leave it out of modalities=, or of the file.")
    value = as_samples(value)
    if value.dtype.kind == "O" and value.ndim == 1:  # texts, or sequences of unequal length
        value = value.copy()
        for i, item in enumerate(value):
            if _has_features([item]):
                value[i] = _without_infinite(label, np.array(item), infinite)
        return value
    if value.dtype.kind not in NUMBERS:
        return value
    value = value.astype(value.dtype if value.dtype in (np.float32, np.float64) else np.float32)
    value = _without_infinite(label, value, infinite)
    if value.ndim != 3:
        return value
    if lengths is None:
        return value if zero_padding is None else zero_padding_to_nan(value, where=zero_padding)
    # Of a sequence that was cut, the length may be that before.
    try:
        with np.errstate(invalid="raise"):
            lengths = np.minimum(np.asarray(lengths).ravel().astype(int), value.shape[1])
    except (TypeError, ValueError, FloatingPointError) as error:
        raise ValueError(f"the lengths of {label} must be whole numbers: {error}.") from error
    if lengths.shape != (len(value),) or (lengths < 0).any():
        raise ValueError(f"{label} has {len(value)} samples, but there are lengths {lengths} for it.")
    step, used = np.arange(value.shape[1]), (value != 0).any(axis=2)
    if not (used & (step >= lengths[:, None])).any():
        return zero_padding_to_nan(value, lengths=lengths)
    first = value.shape[1] - lengths[:, None]
    if (used & (step < first)).any():
        raise ValueError(
            f"{label} has more steps that are not zero than its lengths say, at either end. Are they those of another "
            "modality? Remove them to go without."
        )
    value[step < first] = np.nan
    return value


def _without_infinite(label: str, value: np.ndarray, infinite: float | None) -> np.ndarray:
    """Replace infinite values in place."""
    where = np.isinf(value)
    if where.any():
        if infinite is None:
            raise ValueError(
                f"{label}: {int(where.sum())} of {where.size} values are infinite. Pass infinite=0 to put zeros there, "
                "as MMSA does."
            )
        value[where] = infinite
    return value


def _read_target(split: str, content: dict, target: str | None, n_samples: int) -> np.ndarray:
    key = next((name for name in TARGETS if name in content), None) if target is None else target
    if key is None or key not in content:
        lacking = f"none of the targets {list(TARGETS)}" if key is None else f"no target {key!r}"
        raise ValueError(f"{split} has {lacking}; found {sorted(map(str, content))}. Pass target= to name one.")
    try:
        y = np.asarray(content[key])
    except ValueError as error:
        raise ValueError(f"{split}: values of {key!r} have different lengths from sample to sample.") from error
    if y.size == n_samples:
        return y.ravel()
    if y.ndim < 2 or len(y) != n_samples:
        raise ValueError(f"{split} has {n_samples} samples, and values of {key!r} of shape {y.shape}.")
    return y


def _one_each(split: str, content: dict, key: str, n_samples: int) -> np.ndarray | None:
    """What the file says of each sample under this key, bytes as text."""
    if content.get(key) is None:
        return None
    values = np.atleast_1d(as_samples(content[key]))
    if len(values) != n_samples:
        raise ValueError(f"{split} has {n_samples} samples and {len(values)} values of {key!r}.")
    try:
        if values.dtype.kind == "S":
            return np.char.decode(values, "utf-8")
        if values.dtype.kind == "O":
            values = values.copy()
            for i, item in enumerate(values.flat):  # one by one, or NumPy would look into items that are lists
                if isinstance(item, bytes):
                    values.flat[i] = item.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{split}: {key!r} holds bytes that are not UTF-8: {error}. Save it as text.") from error
    return values


def _names(ids: np.ndarray | None, groups: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Names of the samples and of the videos they are from, as arrays of text."""
    if groups is not None and groups.dtype.kind == "O":
        groups = np.asarray(groups.tolist())
    if ids is None:
        return None, groups
    names = [ID_SEPARATOR.join(map(str, name)) if np.ndim(name) else str(name) for name in ids]
    if groups is None and all(ID_SEPARATOR in name for name in names):
        groups = np.asarray([name.split(ID_SEPARATOR)[0] for name in names])
    return np.asarray(names), groups
