"""Arrays that are a part of a file mapped into memory: told where they are, instead of copied, between processes."""

from __future__ import annotations

import mmap
import os
from typing import Any, NamedTuple

import numpy as np

# Bytes at both ends of a part that are compared with the file, which may have been replaced since it was mapped.
COMPARED = 4096


class FilePart(NamedTuple):
    """Where in a file an array is, and what tells that the file is the same."""

    path: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    size: int
    changed: int  # when, in nanoseconds


def file_part(value: Any) -> FilePart | None:
    """Return where an array is in a file that is mapped read-only; None for any other array, and if that is gone.

    joblib's own files are left to joblib, which deletes them.
    """
    root = value
    while isinstance(root, np.ndarray) and not isinstance(root.base, mmap.mmap):
        root = root.base
    if not isinstance(root, np.memmap) or root.mode != "r" or root.filename is None:
        return None
    path = os.fspath(root.filename)
    if not value.size or min(value.strides) < 0 or is_lent_by_joblib(root):
        return None
    mapped = np.frombuffer(root.base, np.uint8)  # type: ignore[arg-type]  # an mmap, as was asked for
    first, start, root_start = (each.__array_interface__["data"][0] for each in (mapped, value, root))
    try:
        found = os.stat(path)
        part = FilePart(
            path,
            root.offset + start - root_start,
            value.shape,
            value.strides,
            value.dtype,
            found.st_size,
            found.st_mtime_ns,
        )
        here, there = mapped[start - first :][: _extent(part)], _bytes_of(part)
    except (OSError, ValueError):  # deleted, or shorter than it was
        return None
    same = not _is_deleted(start) and all(
        np.array_equal(here[end], there[end]) for end in (slice(COMPARED), slice(-COMPARED, None))
    )
    return part if same else None


def is_lent_by_joblib(array: np.memmap) -> bool:
    """Whether a memory map is a large array in memory that joblib passes on to its processes so."""
    return "joblib_memmapping_folder" in str(array.filename)


def map_again(part: FilePart) -> np.ndarray:
    """Return the array of a part of a file, which this process maps read-only."""
    try:
        found = os.stat(part.path)
        if (found.st_size, found.st_mtime_ns) != (part.size, part.changed):
            raise ValueError("it has another size or time")
        return np.ndarray(part.shape, part.dtype, _bytes_of(part), strides=part.strides)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"the file {part.path!r}, whose memory map is in this ModalityDict, is not here as it was when the "
            f"ModalityDict was pickled ({error}). Give every machine the same file under this path, with its time "
            "(cp -p, rsync -t), or pickle the values: ModalityDict({name: np.array(x) for name, x in X.items()})."
        ) from error


def _is_deleted(address: int) -> bool:
    """Whether the file that is mapped at an address has no name any more, though another may have it now, on Linux."""
    try:
        with open("/proc/self/maps") as maps:
            for line in maps:
                first, end = (int(bound, 16) for bound in line.split(maxsplit=1)[0].split("-"))
                if first <= address < end:
                    return line.rstrip().endswith("(deleted)")
    except OSError:
        pass
    return False


def _extent(part: FilePart) -> int:
    return part.dtype.itemsize + sum((n - 1) * step for n, step in zip(part.shape, part.strides, strict=True))


def _bytes_of(part: FilePart) -> np.memmap:
    return np.memmap(part.path, np.uint8, "r", part.offset, (_extent(part),))
