"""ModalityDicts of memory maps: a pickle names the file, where that is the same for whoever reads it."""

import copy
import os
import pickle
import sys

import numpy as np
import pytest

from sklearn_mdm import ModalityDict

VALUES = np.random.default_rng(0).normal(size=(400, 50))
SMALL = 1000  # bytes


@pytest.fixture(params=["C", "F"])
def file(request, tmp_path):
    np.save(tmp_path / "a.npy", np.asarray(VALUES, order=request.param))
    return tmp_path / "a.npy"


def mapped(file, mode="r"):
    return ModalityDict(a=np.load(file, mmap_mode=mode))


PARTS = {
    "whole": lambda a: a,
    "rows": lambda a: a[10:300],
    "some rows and columns": lambda a: a[::3, 5:9],
    "one column": lambda a: a[:, 7],
    "steps": lambda a: a[:, :, None],
    "one row again and again": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_pickle__of_a_part_of_a_file__is_small_and_reads_the_same(file, part):
    X = ModalityDict(a=part(mapped(file)["a"]))
    pickled = pickle.dumps(X)
    again = pickle.loads(pickled)
    assert len(pickled) < SMALL
    assert again == X == {"a": part(VALUES)}
    assert again["a"].strides == X["a"].strides
    assert not again["a"].flags.writeable
    assert len(pickle.dumps(again)) < SMALL  # where a worker passes it on


def test_pickle__of_a_map_with_an_offset__reads_the_same(tmp_path):
    raw = np.arange(30_000, dtype="i2")
    raw.tofile(tmp_path / "raw")
    X = ModalityDict(a=np.memmap(tmp_path / "raw", "i2", "r", offset=10_002, shape=(1000, 3))[7:])
    pickled = pickle.dumps(X)
    assert len(pickled) < SMALL
    assert pickle.loads(pickled) == X == {"a": raw[5001:8001].reshape(1000, 3)[7:]}


BY_VALUE = {
    "may be written to": lambda file: mapped(file, "r+"),
    "differs from the file": lambda file: mapped(file, "c"),
    "backwards": lambda file: ModalityDict(a=mapped(file)["a"][::-1]),
    "taken out": lambda file: mapped(file)[np.arange(400)],
    "a copy": lambda file: copy.deepcopy(mapped(file)),
}


@pytest.mark.parametrize("make", BY_VALUE.values(), ids=BY_VALUE)
def test_pickle__of_other_arrays__has_their_values(file, make):
    X = make(file)
    pickled = pickle.dumps(X)
    assert len(pickled) > VALUES.nbytes
    file.unlink()
    assert pickle.loads(pickled) == X


@pytest.mark.parametrize("change", [os.unlink, lambda file: replace(file, 1 - VALUES)], ids=["deleted", "replaced"])
@pytest.mark.skipif(os.name == "nt", reason="Windows does not delete files that are mapped")
def test_pickle__of_a_file_that_is_no_longer_what_is_mapped__has_the_values(file, change):
    X = mapped(file)
    change(file)
    pickled = pickle.dumps(X)
    assert len(pickled) > VALUES.nbytes
    assert pickle.loads(pickled) == {"a": VALUES}


CHANGES = {
    "deleted": os.unlink,
    "another time": lambda file: os.utime(file, (1, 1)),
    "shorter": lambda file: replace(file, VALUES[:10]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.skipif(os.name == "nt", reason="Windows does not delete files that are mapped")
def test_unpickle__where_the_file_is_another__says_so(file, change):
    pickled = pickle.dumps(mapped(file))
    change(file)
    with pytest.raises(ValueError, match=r"a\.npy.*is not here as it was when"):
        pickle.loads(pickled)


def test_copies__of_memory_maps__share_or_have_the_values(file):
    X = mapped(file)
    assert copy.copy(X)["a"] is X["a"]
    deep = copy.deepcopy(X)
    assert deep == X and not np.shares_memory(deep["a"], X["a"])


def replace(file, values):
    np.save(file.with_name("new.npy"), values)
    os.replace(file.with_name("new.npy"), file)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="files that are mapped are told by their names alone")
def test_pickle__of_a_file_that_was_replaced_by_one_with_the_same_ends__has_the_values(file, tmp_path):
    X = mapped(file)
    other = VALUES.copy()
    other[200, 25] += 1
    np.save(tmp_path / "other.npy", np.asarray(other, order="F" if np.isfortran(X["a"]) else "C"))
    os.replace(tmp_path / "other.npy", file)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(X))["a"], VALUES)
