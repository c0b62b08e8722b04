"""Reader of files in the layout that users of multimodal sentiment data exchange."""

from __future__ import annotations

import gzip
import io
import numbers
import os
import pickle
import re
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from sklearn.utils import Bunch

from ._file_kinds import SAVE_AS_NPZ, ZIP, check_regular, kind_of
from ._limit import Limit, default_limit
from ._npz import read_npz
from ._safe_pickle import DAMAGED, load_plain_pickle
from ._splits import MODALITIES, TARGETS, Padding, as_bunch, has_features, is_split, shown

SPLITS = ("train", "valid", "test")
# Keys that hold no modality of their own; "text_bert" is what "text" was computed from.
NO_MODALITY = re.compile(rf"({'|'.join(TARGETS)}|text_bert|annotations?|ids?|groups?|lengths?)(_.*)?|.*_lengths?")


def load_mmsa(
    path: str | os.PathLike[str],
    *,
    modalities: Sequence[str] | None = None,
    target: str | None = None,
    zero_padding: Padding | None = None,
    infinite: float | None = None,
    max_bytes: int | str | None = "auto",
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
    max_bytes : int, "auto" or None, default="auto"
        Bytes that what the file holds may take when it is unpacked, counted before it is; a file of more is an error. A
        small one can be made to take all memory there is. "auto" is 32 times the size of the file, at least 128 MiB,
        which files of features are far from, compressed or not. None is no limit.

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
        If the file is damaged, unpacks to more than ``max_bytes``, is of another kind, holds anything else than arrays
        and plain containers, has another layout, or a modality does not fit its lengths.

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
    is_auto = isinstance(max_bytes, str) and max_bytes == "auto"
    if not is_auto and max_bytes is not None:
        if not isinstance(max_bytes, numbers.Integral) or isinstance(max_bytes, bool) or max_bytes < 1:
            raise ValueError(f"max_bytes must be a positive integer, 'auto' or None, got {max_bytes!r}.")
    size = check_regular(path)
    limit = Limit(path.name, default_limit(size) if is_auto else cast("int | None", max_bytes))
    with path.open("rb") as file:
        kind = kind_of(path.name, file.read(1024))
    is_npz = kind == "npz"
    content = read_npz(path, SPLITS, limit) if is_npz else _read_pickle(path, kind == "gzip", limit)
    splits = [split for split in SPLITS if split in content]
    if not splits:
        raise ValueError(
            f"{path.name} has none of the splits {list(SPLITS)}; found {shown(content)}. "
            "Rename its splits, in lower case."
        )
    ignored = [f"split {str(name)!r}" for name in content if name not in SPLITS and is_split(content[name])]
    data = Bunch()
    for split in splits:
        found = content[split]
        names = modalities
        if names is None:
            names = [name for name in MODALITIES if name in found]
            others = [name for name, value in found.items() if name not in (*names, target) and has_features(value)]
            others = [name for name in others if not NO_MODALITY.fullmatch(str(name))]
            if is_npz:
                names += others
            else:
                ignored += [f"{str(name)!r} of {split}" for name in others]
        data[split] = as_bunch(split, found, names, target, zero_padding, infinite, limit.again())
    if ignored:
        warnings.warn(
            f"{path.name}: {', '.join(ignored[:20])} is not read. Splits must be called {list(SPLITS)}; pass "
            "modalities= to read other keys.",
            UserWarning,
            stacklevel=2,
        )
    return data


def _read_pickle(path: Path, is_compressed: bool, limit: Limit) -> dict:
    try:
        with gzip.open(path) if is_compressed else path.open("rb") as opened:
            file = io.BufferedReader(cast(io.RawIOBase, opened), 2**20)  # of small pieces gzip alone is slow
            if is_compressed:
                start = file.peek(1024)[:1024]
                if start.startswith(ZIP):
                    raise ValueError(f"{path.name} is an npz file that gzip compressed. Decompress it first.")
                if kind_of(f"What is compressed in {path.name}", start) == "gzip":
                    raise ValueError(f"{path.name} is compressed by gzip twice. Decompress it first.")
            content = load_plain_pickle(file, limit)
            while is_compressed and (rest := file.read(2**20)):  # the checksum is compared at the end
                limit.spend(len(rest))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path.name} is damaged: {error}. Download or write it again.") from error
    except pickle.UnpicklingError as error:
        if str(error).startswith(DAMAGED):
            found = str(error).removeprefix(DAMAGED).rstrip(".")
            raise ValueError(
                f"{path.name} is damaged, or neither npz nor a pickle: {found}. Download or write it again."
            ) from error
        raise ValueError(
            f"{path.name} is not a pickle of plain arrays: {error} A pickle can run any code when it is loaded; "
            "load_mmsa reads NumPy arrays, dicts, lists, numbers and strings, and nothing else. If you trust the file, "
            f"load it with pickle where its packages are installed. {SAVE_AS_NPZ}"
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
