"""How much a file may unpack to: counted before it is made."""

from __future__ import annotations

import math
from collections.abc import Sequence

# What a file of this many bytes may unpack to if nothing is said: real features, padded with zeros, shrink to a tenth
# to a twentieth at most; a file that is made to burst, to a thousandth.
LEAST, TIMES_FILE = 2**27, 32


class FileTooLargeError(ValueError):
    """A file unpacks to more than it may; its message is complete."""


class Limit:
    """Counts bytes that a file unpacks to, and stops at a limit; None is no limit."""

    def __init__(self, name: str, max_bytes: int | None) -> None:
        self.name, self.max_bytes = name, math.inf if max_bytes is None else max_bytes
        self.spent = 0

    def spend(self, n_bytes: int, what: str = "what it holds") -> None:
        """Count so many bytes more."""
        self.spent += n_bytes
        if self.spent > self.max_bytes:
            self.check(self.spent, what)

    def check(self, n_bytes: int, what: str) -> None:
        """Stop if this alone takes too many bytes."""
        if n_bytes > self.max_bytes:
            raise FileTooLargeError(
                f"{self.name} is larger than max_bytes={self.max_bytes:,} once it is unpacked: {what} takes "
                f"{_readable(n_bytes)}. If you trust where it is from and have the memory, pass a larger max_bytes=, "
                "or None for no limit."
            )

    def again(self) -> Limit:
        """Start a count of its own with the same limit."""
        limit = Limit(self.name, None)
        limit.max_bytes = self.max_bytes
        return limit


def default_limit(file_size: int) -> int:
    """Return how many bytes a file of this size may unpack to."""
    return max(LEAST, TIMES_FILE * file_size)


def size_of(shape: Sequence[int], itemsize: int) -> int:
    """Bytes of an array; axes without entries count as one, since others may be long beside them."""
    return math.prod(max(1, n) for n in shape) * max(1, itemsize)


def _readable(n_bytes: int) -> str:
    if n_bytes < 2**20:
        return f"{n_bytes:,} bytes"
    if n_bytes < 2**60:
        return f"{n_bytes / 2**30:,.2f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:,.1f} MiB"
    return "more bytes than any machine has"
