"""Errors that name the argument of a call which is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


def check_rows(name: str, n_found: int, n_samples: int, of: str = "X") -> None:
    """Reject an argument that has not one entry for each sample of another."""
    if n_found != n_samples:
        raise ValueError(
            f"Found inconsistent numbers of samples: {name} has {n_found} samples, {of} has {n_samples}. Pass one "
            "entry for each sample."
        )


@contextmanager
def named(argument: str) -> Iterator[None]:
    """Say which argument cannot be read, where the error that says why does not."""
    try:
        yield
    except (TypeError, ValueError) as error:
        # Of a class of its own is what somebody may catch by that.
        if type(error) not in (TypeError, ValueError) or re.search(rf"(?<!\w){re.escape(argument)}(?!\w)", str(error)):
            raise
        raise type(error)(f"{argument}: {error}") from error
