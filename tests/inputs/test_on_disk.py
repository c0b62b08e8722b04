"""Arrays on disk: what is one, and that any index reads what it would of an array."""

import itertools
import mmap
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from joblib import Parallel, delayed
from numpy.testing import assert_array_equal

from sklearn_mdm import ModalityDict
from sklearn_mdm.inputs import _on_disk
from sklearn_mdm.inputs._observed import Observed
from sklearn_mdm.inputs._on_disk import CellsOnDisk, OnDisk, is_on_disk

COUNTER = itertools.count()
VALUES = np.random.default_rng(0).normal(size=(40, 5, 3))


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "values.npy", VALUES)
    return np.load(tmp_path / "values.npy", mmap_mode="r")


def dataset(**options):
    file = h5py.File(f"values{next(COUNTER)}.h5", "w", driver="core", backing_store=False)
    return file.create_dataset("values", data=VALUES, **options)


def test_is_on_disk__of_every_container__is_as_expected(mapped):
    buffer = mmap.mmap(-1, VALUES.nbytes)
    lazy = SimpleNamespace(shape=(4, 2), dtype=np.dtype(float), chunks=((2, 2), (2,)))  # as dask says it
    expected = {
        "map": (mapped, True),
        "view": (np.asarray(mapped)[:, 0], True),
        "part": (mapped[3:9], True),
        "reshaped": (mapped.reshape(-1, 15), True),
        "in a ModalityDict": (dict.__getitem__(ModalityDict(a=mapped), "a"), True),
        "buffer": (np.frombuffer(buffer).reshape(VALUES.shape), True),
        "hdf5": (dataset(), True),
        "hdf5 in chunks": (dataset(chunks=(8, 5, 3)), True),
        "rows": (mapped[[1, 2]], False),
        "copy": (mapped.copy(), False),
        "sum": (mapped + 1, False),
        "array": (VALUES, False),
        "one axis": (mapped[:, 0, 0], False),
        "no rows": (mapped[:0], False),
        "masked": (np.ma.masked_array(mapped), False),
        "texts": (mapped.astype(str), False),
        "tensor": (torch.zeros(4, 2), False),
        "frame": (pd.DataFrame(VALUES[:, 0]), False),
        "xarray": (xr.DataArray(VALUES), False),
        "lazy": (lazy, False),
        "list": ([[1.0]], False),
        "None": (None, False),
    }
    assert {name: is_on_disk(value) for name, (value, _) in expected.items()} == {
        name: stored for name, (_, stored) in expected.items()
    }


def test_is_on_disk__what_joblib_lends_to_its_processes__is_not():
    kinds = Parallel(n_jobs=2, max_nbytes=1000)(delayed(map_and_place)(np.ones((n, 50))) for n in (2, 300))
    assert kinds == [(False, False), (True, False)]


def map_and_place(array):
    return isinstance(array, np.memmap), is_on_disk(array)


INDEXES = {
    "all": slice(None),
    "run": slice(7, 19),
    "beyond the end": slice(35, 99),
    "increasing": np.array([0, 1, 5, 6, 39]),
    "in any order": np.array([39, 3, 4, 17, 3, 0]),
    "neighbours": np.arange(4, 12),
    "bools": np.arange(40) % 3 == 0,
    "none": np.empty(0, dtype=int),
}


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("source", ["map", "hdf5", "chunks", "memory below a map", "map below hdf5"])
def test_getitem__any_index__is_that_of_the_array(source, index, mapped, monkeypatch):
    monkeypatch.setattr(_on_disk, "NUMBERS_OF_STRETCH", 45)
    made = {
        "map": lambda: OnDisk(mapped, float),
        "hdf5": lambda: OnDisk(dataset(), float),
        "chunks": lambda: OnDisk(dataset(chunks=(6, 5, 3)), float),
        "memory below a map": lambda: OnDisk(_on_disk.OneBelow(OnDisk(mapped[:11], float), VALUES[11:]), float),
        "map below hdf5": lambda: OnDisk(
            _on_disk.OneBelow(OnDisk(dataset(), float, np.arange(9)), OnDisk(mapped[9:], float)), float
        ),
    }[source]()
    rows = INDEXES[index]
    assert_array_equal(made[rows], VALUES[rows])
    order = np.random.default_rng(1).permutation(40)
    assert_array_equal(made.take(order)[rows], VALUES[order][rows])
    assert_array_equal(made.take(order).take(rows)[:], VALUES[order][rows])
    assert made.take(rows).shape == VALUES[rows].shape
    longer = np.pad(VALUES, ((0, 0), (0, 2), (0, 0)), constant_values=np.nan)
    assert_array_equal(made.padded(7)[rows], longer[rows])
    assert made.astype(np.float32)[rows].dtype == np.float32


def test_observed__on_disk__takes_and_loads_what_is_in_memory(mapped, tmp_path, monkeypatch):
    monkeypatch.setattr(_on_disk, "NUMBERS_READ", 60)
    values = VALUES.copy()
    values[4:9, 3:] = np.nan
    values[11] = np.nan
    values[20, 1, 2] = np.nan
    np.save(tmp_path / "missing.npy", values)
    stored = Observed.of({"a": OnDisk(np.load(tmp_path / "missing.npy", mmap_mode="r"), float), "b": VALUES[:, 0]})
    memory = Observed.of({"a": values, "b": VALUES[:, 0]})
    assert stored.on_disk and not stored.loaded().on_disk
    assert isinstance(stored.cells["a"], CellsOnDisk)
    for rows in (slice(2, 22), np.arange(40)[::-1], np.array([20, 4]), slice(0, 3)):
        found, expected = stored.take(rows).loaded(), memory.take(rows)
        assert found.cells.keys() == expected.cells.keys()
        for name in "ab":
            assert_array_equal(found.arrays[name], expected.arrays[name])
            assert_array_equal(found.masks[name], expected.masks[name])
            assert_array_equal(found.cells.get(name), expected.cells.get(name))
    assert_array_equal(stored.hashes, memory.hashes)
    assert_array_equal(stored.complete, memory.complete)
    sizes = [len(part) for part in stored.batches(7)]
    assert sizes == [len(part) for part in memory.batches(7)]
