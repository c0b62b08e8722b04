"""Files that appear whole, or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path, *, durable: bool = True, part: Path | None = None) -> Iterator[BinaryIO]:
    """Open what takes the place of a file once all of it is written: who reads it meanwhile finds the earlier one.

    Parameters
    ----------
    path : Path
        The file.
    durable : bool, default=True
        Whether it is on the disk before it is in its place, so that this holds after a crash of the system, too.
    part : Path, default=None
        Where it is until then, in the same folder: a killed process leaves it there. None takes a name of its own, so
        that several may write at the same time.
    """
    part = part or path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.remove(part)
        raise
    if durable:
        with suppress(OSError):  # not every system can open a folder, or has its entries written
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
