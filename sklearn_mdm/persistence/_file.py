"""A safetensors file with a digest of all of it, which appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..exceptions import SavedFileError
from ..utils._whole_files import whole_file

_ZEROS = "0" * hashlib.sha256().digest_size * 2
# Of the header. Quotes inside of other texts have a backslash in front.
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{%d})"' % len(_ZEROS))


def write(path: Path, metadata: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> None:
    """Put texts and arrays in a file, in the place of an earlier one."""
    from safetensors.numpy import save as serialize

    content = bytearray(serialize(dict(arrays), {**metadata, "sha256": _ZEROS}))
    start, end = _digest_span(content)
    content[start:end] = _digest(content, start, end)
    try:
        with whole_file(path) as file:
            file.write(content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            error.errno,
            f"{reason}: nothing was saved. What was in {str(path)!r} before, if anything, is as it was.",
            str(path),
        ) from error


def read(content: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Return the texts and arrays of a file's content, if it is bit for bit what was written."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    start, end = _digest_span(content)
    if content[start:end] != _digest(content, start, end):
        raise SavedFileError("its checksum is not that of its content: it was damaged or cut. Copy or save it again.")
    size = _header_size(content)
    try:
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        return metadata, parse(content)
    except (SafetensorError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise SavedFileError(f"it is no safetensors file of arrays and texts ({error}).") from error


def _digest_span(content: bytes | bytearray) -> tuple[int, int]:
    """Where the digest is in the header, which is the digest of everything else."""
    found = _DIGEST.search(content, 8, 8 + _header_size(content))
    if found is None:
        raise SavedFileError("it has no checksum: it is damaged, or not a file that save wrote.")
    return found.span(1)


def _header_size(content: bytes | bytearray) -> int:
    return min(int.from_bytes(content[:8], "little"), len(content))


def _digest(content: bytes | bytearray, start: int, end: int) -> bytes:
    view = memoryview(content)
    digest = hashlib.sha256(view[:start])
    digest.update(view[end:])
    return digest.hexdigest().encode()
