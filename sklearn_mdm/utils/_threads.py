"""One thread for small work, where handing it out costs more than doing it; the caller's threads for large work."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar
from weakref import WeakKeyDictionary

import torch
from threadpoolctl import LibController, ThreadpoolController
from torch import nn

# Multiply-adds of a forward pass above which a second thread pays: some milliseconds. On a busy machine the threads of
# smaller passes wait for each other at every layer: that was measured to slow fits fiftyfold, and passes of 2**25 still
# twentyfold. A pool that is never opened cannot hang a process that is forked later, either.
SMALL_PASS = 2**27

_here = threading.local()  # numbers of threads belong to Python threads: .outside are those that the caller came with
_sizes: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def one_thread() -> AbstractContextManager[None]:
    """Compute on one thread, unless a :func:`threads_for` inside finds that its work is large.

    OpenMP (and MKL with it) is limited for the calling Python thread only. The BLAS of numpy and scipy knows one number
    for all, which is one as long as any thread is limited.
    """
    return _limited(True)


def threads_for(modules: Iterable[nn.Module], n_rows: int) -> AbstractContextManager[None]:
    """Compute on one thread if passes of ``n_rows`` through the modules are small, else on as many as the caller has.

    A process that was forked has one thread always.

    Parameters
    ----------
    modules : iterable of nn.Module
        What is applied to every row.
    n_rows : int
        Rows of a batch; for sequences, rows times steps.
    """
    return threads_for_work(sum(map(_n_parameters, modules)) * n_rows)


def threads_for_work(multiply_adds: float) -> AbstractContextManager[None]:
    """Compute on one thread if what is done between two waits for all threads is small; see :func:`threads_for`."""
    return _limited(multiply_adds <= SMALL_PASS)


@contextmanager
def _limited(single: bool) -> Iterator[None]:
    single = single or _process.forked
    outermost, before = not hasattr(_here, "outside"), getattr(_here, "single", False)
    if outermost:
        torch.get_num_threads()  # the first use of torch in a thread sets the number, which would undo a limit
        _here.outside = [library.get_num_threads() for library in _libraries("openmp")]
    try:
        _set(single, before)
        yield
    finally:
        _set(before, single)
        if outermost:
            del _here.outside


def _set(single: bool, before: bool) -> None:
    _here.single = single
    if single != before:
        for library, n_threads in zip(_libraries("openmp"), _here.outside, strict=True):
            library.set_num_threads(1 if single else n_threads)
        _set_mkl()(1 if single else 0)  # 0: what holds for the process
        _limit_blas(1 if single else -1)


def _limit_blas(by: int) -> None:
    """Count the threads that are limited; the first sets the number of BLAS to one, the last puts it back."""
    with _blas.lock:
        _blas.n_limited += by
        if _blas.n_limited == 1 and by == 1:
            _blas.before = [library.get_num_threads() for library in _libraries("blas")]
            for library in _libraries("blas"):
                library.set_num_threads(1)
        elif _blas.n_limited == 0:
            for library, n_threads in zip(_libraries("blas"), _blas.before, strict=True):
                library.set_num_threads(n_threads)


class LockOfProcess:
    """A lock that a forked child finds open: the thread that may have held it is not there."""

    all: ClassVar[list[LockOfProcess]] = []

    def __init__(self) -> None:
        self.renew()
        self.all.append(self)

    def renew(self) -> None:
        """Forget who holds it."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()


class _Blas:
    def __init__(self) -> None:
        self.lock = LockOfProcess()
        self.n_limited = 0
        self.before: list[int] = []


_blas = _Blas()


class _Process:
    forked = False  # since this module was imported: until then its parent may have opened a pool


_process = _Process()


def _after_fork() -> None:
    """Compute on one thread from now on: OpenMP would wait forever for the threads of the parent's pool."""
    _process.forked = True
    for lock in LockOfProcess.all:
        lock.renew()
    was_limited, _blas.n_limited = _blas.n_limited > 0, int(getattr(_here, "single", False))
    if was_limited and not _blas.n_limited:  # by a thread that is not there to put it back
        for library, n_threads in zip(_libraries("blas"), _blas.before, strict=True):
            library.set_num_threads(n_threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _n_parameters(module: nn.Module) -> int:
    # Counting takes as long as a small pass.
    if module not in _sizes:
        _sizes[module] = sum(parameter.numel() for parameter in module.parameters())
    return _sizes[module]


@functools.cache
def _libraries(user_api: str) -> list[LibController]:
    # Looking for the loaded libraries takes milliseconds; they stay the same.
    return ThreadpoolController().select(user_api=user_api).lib_controllers


@functools.cache
def _set_mkl() -> Callable[[int], object]:
    """Set the number of threads of torch's MKL, which after ``torch.set_num_threads`` no longer asks OpenMP."""
    for path in (Path(torch.__file__).parent / "lib").glob("*torch_cpu.*"):
        found = getattr(ctypes.CDLL(str(path)), "MKL_Set_Num_Threads_Local", None)
        if found is not None:
            return found
    return lambda n_threads: None
