"""Bounds that hold while a file is read."""

import contextlib
import sys
import time

import pytest

from sklearn_mdm.datasets import load_mmsa

MAX_SECONDS, MAX_BYTES = 5, 500 * 2**20


@contextlib.contextmanager
def _bounded():
    """Let what is inside take 5 s of the processor and, on Linux, 500 MB of memory."""
    started = time.process_time()
    with _limited_memory():
        yield
    assert time.process_time() - started < MAX_SECONDS


@contextlib.contextmanager
def _limited_memory():
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    with open("/proc/self/status", encoding="ascii") as status:
        used = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + MAX_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@pytest.fixture
def bounded():
    """Return the context in which little time and memory may be taken."""
    return _bounded


@pytest.fixture
def read(tmp_path):
    """Write bytes to a file, and read it within bounds of time and memory."""

    def read_bytes(data, name="data.pkl", **options):
        path = tmp_path / name
        path.write_bytes(data)
        with _bounded():
            return load_mmsa(path, **options)

    return read_bytes
