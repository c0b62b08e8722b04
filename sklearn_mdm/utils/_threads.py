"""One thread for small passes, where handing out the work costs more than the work."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from threadpoolctl import ThreadpoolController
from torch import nn

__all__: list[str] = []

# Multiply-adds of a forward pass above which a second thread pays. On a busy machine the threads of smaller passes wait
# for each other at every layer, which was measured to slow a fit twentyfold.
SMALL_PASS = 2**24


def one_thread_if_small(modules: Iterable[nn.Module], n_rows: int) -> AbstractContextManager:
    """Limit OpenMP to one thread, for the calling thread only, if a pass of ``n_rows`` through the modules is small.

    Parameters
    ----------
    modules : iterable of nn.Module
        What is applied to every row.
    n_rows : int
        Rows of a batch; for sequences, rows times steps.
    """
    n_parameters = sum(parameter.numel() for module in modules for parameter in module.parameters())
    if n_parameters * n_rows > SMALL_PASS:
        return nullcontext()
    return _controller().limit(limits=1, user_api="openmp")


@functools.cache
def _controller() -> ThreadpoolController:
    # Looking for the loaded libraries takes milliseconds; they stay the same.
    return ThreadpoolController()
