"""Training on what stays on disk: rows are read when a batch asks for them, by a thread that is some batches ahead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, Full, Queue
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..utils._isolation import isolated

# Batches that are there before they are asked for, and seconds after which a thread looks whether it is still wanted.
BATCHES_AHEAD, SECONDS_BETWEEN_LOOKS = 4, 0.1

# Numbers that are read at a time where all are, to recognise them.
NUMBERS_COMPARED = 2**20


class StoredModality:
    """What stands for the tensor of a modality on disk: rows of it are read and scaled whenever they are selected.

    Parameters
    ----------
    shape : tuple of int
        Shape of the tensor, samples first.
    dtype : torch.dtype
        Its floating type.
    read : callable
        Makes the tensor of rows at positions (n_rows,), in any order.
    """

    device = torch.device("cpu")

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, read: Callable[[np.ndarray], Tensor]) -> None:
        self.shape = torch.Size(shape)
        self.dtype = dtype
        self.read = read

    def __len__(self) -> int:
        return self.shape[0]

    def dim(self) -> int:
        """Return the number of axes."""
        return len(self.shape)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Read rows; the axis is the first one."""
        assert dim == 0
        return self.read(index.numpy())

    def in_parts(self) -> Iterator[Tensor]:
        """Read all rows, some at a time."""
        size = max(1, NUMBERS_COMPARED // max(1, self.shape[1:].numel()))
        for start in range(0, len(self), size):
            yield self.read(np.arange(start, min(start + size, len(self))))


def is_stored(X: Any) -> bool:
    """Whether some of the tensors of a dataset stay on disk."""
    return any(isinstance(x, StoredModality) for x in X.values()) if isinstance(X, dict) else False


@contextmanager
def read_ahead(batches: Iterable, prepare: Callable[[Any], Any], *, stored: bool) -> Iterator[Iterable]:
    """Go through batches that a thread prepares, some of them ahead, if their rows are on disk.

    The thread has ended when the context does, whatever ends it; an error of the thread is raised where its batch would
    have come.
    """
    if not stored:
        yield batches
        return
    ready: Queue[tuple[Any, BaseException | None]] = Queue(BATCHES_AHEAD)
    unwanted, end = threading.Event(), object()

    def put(item: Any, error: BaseException | None = None) -> None:
        while not unwanted.is_set():
            try:
                return ready.put((item, error), timeout=SECONDS_BETWEEN_LOOKS)
            except Full:
                continue

    def work() -> None:
        try:
            with isolated():  # the settings of torch are those of a thread
                for batch in batches:
                    put(prepare(batch))
                    if unwanted.is_set():
                        return
            put(end)
        except BaseException as error:
            put(end, error)

    def in_order() -> Iterator:
        while True:
            item, error = _next(ready, thread)
            if error is not None:
                raise error
            if item is end:
                return
            yield item

    thread = threading.Thread(target=work, name="sklearn-mdm-read-ahead", daemon=True)
    try:
        thread.start()
        yield in_order()
    finally:
        unwanted.set()
        if thread.ident is not None:
            thread.join()


def _next(ready: Queue, thread: threading.Thread) -> tuple[Any, BaseException | None]:
    """Next of what a thread made; without end it would be waited for in a process that was forked since."""
    while True:
        try:
            return ready.get(timeout=10 * SECONDS_BETWEEN_LOOKS)
        except Empty:
            if not thread.is_alive() and ready.empty():
                raise RuntimeError("the thread that reads batches ahead is gone") from None
