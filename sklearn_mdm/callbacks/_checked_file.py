"""A file that is there as a whole or not at all, with a checksum of what it holds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch

from ..utils._whole_files import whole_file

# What such a file begins with; a checksum and what torch saved follow.
MAGIC = b"sklearn-mdm checkpoint 1\n"
BYTES_AT_ONCE = 2**20


class DamagedFileError(ValueError):
    """What was read is not what was written."""


class _Hashing:
    """A file to write to that hashes what it gets, and keeps its first error: torch turns it into one of its own."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.hash = hashlib.blake2b()
        self.error: BaseException | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                self.file.write(data)
                self.hash.update(data)
            except BaseException as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        pass


def write_checked(path: str, content: Any) -> None:
    """Save tensors in plain containers; whenever it ends, the file holds these, or what it held before."""
    # One name for the part: those that are left by killed processes would fill the disk.
    with whole_file(Path(path), part=Path(path + ".part")) as file:
        hashing = _Hashing(file)
        file.write(MAGIC + bytes(hashing.hash.digest_size))
        torch.save(content, hashing)  # type: ignore[arg-type]
        if hashing.error is not None:
            raise hashing.error
        file.seek(len(MAGIC))
        file.write(hashing.hash.digest())


def read_checked(path: str) -> Any:
    """Load what :func:`write_checked` saved; tensors and plain containers alone, so that no code is run.

    Raises
    ------
    DamagedFileError
        If a single bit of the file is another.
    """
    with open(path, "rb") as file:
        hashing = hashlib.blake2b()
        begins, kept = file.read(len(MAGIC)), file.read(hashing.digest_size)
        if begins == MAGIC:
            while part := file.read(BYTES_AT_ONCE):
                hashing.update(part)
        if begins != MAGIC or kept != hashing.digest():
            raise DamagedFileError(
                f"{path} is damaged, or no checkpoint of this package: its checksum is not that of its content."
            )
        file.seek(len(MAGIC) + hashing.digest_size)
        return torch.load(file, map_location="cpu", weights_only=True)
