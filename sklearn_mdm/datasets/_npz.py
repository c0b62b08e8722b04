"""Reading the flat keys of an npz file into the layout of the pickle."""

from __future__ import annotations

import errno
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from ._limit import Limit, size_of
from ._pickled_arrays import sound
from ._splits import MODALITIES, has_features

# What NumPy writes. Others unpack more at once than can be counted.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile and NumPy raise on damage. Running out of memory is none.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, ValueError, RuntimeError)
DAMAGED_HEADER = (*DAMAGE, SyntaxError, TypeError, KeyError, IndexError, tokenize.TokenError, OverflowError)


def read_npz(path: Path, splits: Collection[str], limit: Limit) -> dict[str, dict[str, Any]]:
    """Return the arrays by split and name; those of other splits as arrays of their shape without content.

    What the archive says that its arrays take is counted before any is read, and each array is as large as its header
    says; zipfile gives no more than was declared, and compares checksums.
    """
    content: dict[str, dict[str, Any]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _checked_entries(path.name, archive)
            for entry in entries:
                limit.spend(entry.file_size, f"{entry.filename!r} and those before")
            for entry in entries:
                split, _, name = entry.filename.removesuffix(".npy").partition("_")
                if not name:
                    continue
                try:
                    with archive.open(entry) as member:
                        value = _read_array(cast(BinaryIO, member), entry.file_size, limit, split in splits)
                except _ObjectsError:
                    if split in splits:
                        raise
                    continue
                # One of another split is to be named as what is not read.
                if split in splits or name in (*MODALITIES, "y") or has_features(value):
                    content.setdefault(split, {})[name] = value
    except _ObjectsError as error:
        raise ValueError(
            f"{path.name}: {f'{split}_{name}'!r} holds Python objects, which are not read. Save it as an array of "
            "numbers or of strings."
        ) from error
    except DAMAGE as error:
        if str(error).startswith(path.name):
            raise
        found = str(error)[:200].rstrip(".").replace("File is not a zip file", "the end of the archive is missing")
        raise ValueError(f"{path.name} is damaged: {found}. Download or write it again.") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # that is what places before the start of the file raise
            raise
        raise ValueError(f"{path.name} is damaged: it names a place outside itself. Write it again.") from error
    for arrays in content.values():
        for name in [name for name in arrays if name == "length" or name.endswith("_length")]:
            arrays[f"{name}s"] = arrays.pop(name)
        for new, old in (("raw_text", "transcript"), ("groups", "group")):
            if old in arrays:
                arrays[new] = arrays.pop(old)
    return content


class _ObjectsError(Exception):
    """An array of Python objects, which is a pickle."""


def _checked_entries(name: str, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the entries that are arrays, of an archive that is npz."""
    found = [entry.filename for entry in archive.infolist()]
    entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
    if not entries:
        kind = "a model or tensors saved by torch" if any(each.endswith("/data.pkl") for each in found) else "no npz"
        shown = ", ".join(repr(each[:50]) for each in found[:3])
        raise ValueError(
            f"{name} is an archive, but {kind}: it holds {shown or 'nothing'}. Extract it if the data are inside; "
            "otherwise save its arrays by numpy.savez('data.npz', train_text=..., train_y=...)."
        )
    if len({entry.filename for entry in entries}) < len(entries):
        raise ValueError(f"{name} is damaged: it holds two arrays of one name. Write it again.")
    for entry in entries:
        if entry.flag_bits & 1:
            raise ValueError(f"{name} is encrypted. Extract it with its password, and save the arrays by numpy.savez.")
        if entry.compress_type not in COMPRESSIONS:
            raise ValueError(
                f"{name} is compressed by a method that NumPy does not write. Save it by numpy.savez_compressed."
            )
    return entries


def _read_array(member: BinaryIO, n_bytes: int, limit: Limit, is_read: bool) -> np.ndarray:
    """Read an array that takes so many bytes with its header, or only what it is like."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the parser, about what a header is written like
            version = np.lib.format.read_magic(member)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"it has an array of version {version}")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, in_columns, dtype = read(member)
    except zipfile.BadZipFile:
        raise
    except MemoryError as error:  # of the parser, too
        raise ValueError("the header of an array cannot be read") from error
    except DAMAGED_HEADER as error:
        raise ValueError(f"the header of an array cannot be read ({str(error)[:100]})") from error
    if dtype.hasobject:
        raise _ObjectsError
    if dtype.subdtype is not None:
        raise ValueError(f"it has an array of type {str(dtype)[:100]}; only plain ones are read")
    what = f"an array of shape {shape} of {dtype}"
    if len(shape) > 32 or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"it has an array of shape {str(shape)[:100]}")
    limit.check(size_of(shape, dtype.itemsize), what)
    size = 0 if 0 in shape else size_of(shape, 1) * dtype.itemsize
    if member.tell() + size != n_bytes:
        raise ValueError(f"{what} has {n_bytes - member.tell():,} bytes instead of {size:,}")
    if not is_read:
        return np.broadcast_to(np.zeros((), dtype), shape)
    data, n_read = np.empty(size, np.uint8), 0
    while part := member.read(2**18):  # to the end, where the checksum is compared
        data[n_read : n_read + len(part)] = np.frombuffer(part, np.uint8)
        n_read += len(part)
    if n_read < size:
        raise ValueError(f"{what} has {n_read:,} bytes instead of {size:,}")
    array = data.view(dtype) if dtype.itemsize else np.zeros(0, dtype)
    return sound(array.reshape(shape, order="F" if in_columns else "C"))
