"""Work that does not depend on settings of torch that the caller may have made, and leaves them as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ._threads import one_thread


@contextmanager
def isolated() -> Iterator[None]:
    """Compute with gradients, outside inference mode, and on one thread unless the work is large.

    All of these belong to the calling Python thread. Random numbers are the subject of :mod:`._rng`.
    """
    with one_thread(), torch.inference_mode(False):
        yield
