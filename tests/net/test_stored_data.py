"""Reading batches ahead: in order, no further than asked for, and with an end."""

import threading
import time

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from sklearn_mdm.callbacks._same_fit import _Description
from sklearn_mdm.inputs._observed import Observed
from sklearn_mdm.inputs._on_disk import OnDisk
from sklearn_mdm.net import _stored_data
from sklearn_mdm.net._data import as_batch
from sklearn_mdm.net._stored_data import BATCHES_AHEAD, StoredModality, read_ahead


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "sklearn-mdm-read-ahead"]


def test_read_ahead__in_memory__is_the_iterator_itself():
    batches = [1, 2]
    with read_ahead(batches, str, stored=False) as found:
        assert found is batches


def test_read_ahead__stored__all_are_prepared_in_order():
    with read_ahead(range(50), str, stored=True) as found:
        assert list(found) == [str(i) for i in range(50)]
    assert not threads()


def test_read_ahead__slow_consumer__queue_is_bounded():
    begun = []

    def batches():
        for i in range(100):
            begun.append(i)
            yield i

    with read_ahead(batches(), str, stored=True) as found:
        next(iter(found))
        deadline = time.monotonic() + 10
        while len(begun) < BATCHES_AHEAD + 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        # One was handed out, so many wait, and one waits for a place.
        assert len(begun) <= BATCHES_AHEAD + 2
    assert not threads()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_read_ahead__error_of_the_thread__comes_where_its_batch_would(error):
    def batches():
        yield 1
        raise error("told")

    found = []
    with pytest.raises(error, match="told"), read_ahead(batches(), lambda i: i, stored=True) as ready:
        for i in ready:
            found.append(i)
    assert found == [1]
    assert not threads()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_read_ahead__error_of_the_consumer__ends_the_thread(error):
    with pytest.raises(error), read_ahead(iter(int, 1), lambda i: i, stored=True) as ready:
        for _ in ready:
            raise error
    assert not threads()


@pytest.mark.parametrize("shape", [(50, 3), (50, 4, 3)], ids=["vectors", "sequences"])
def test_as_batch__modality_on_disk__stands_for_the_tensor(shape, monkeypatch):
    monkeypatch.setattr(_stored_data, "NUMBERS_COMPARED", 20)
    values = np.random.default_rng(0).normal(size=shape)
    values[[3, 7]] = np.nan
    tensor = as_batch(Observed.of({"a": values}), torch.float32).X["a"]
    stored = as_batch(Observed.of({"a": OnDisk(values, values.dtype)}), torch.float32).X["a"]
    assert isinstance(stored, StoredModality)
    assert (stored.shape, stored.dtype, stored.dim(), len(stored)) == (tensor.shape, tensor.dtype, tensor.dim(), 50)
    rows = torch.tensor([7, 2, 2, 49])
    assert_array_equal(stored.index_select(0, rows), tensor.index_select(0, rows))
    # A checkpoint of a fit is known by its data, wherever these are.
    assert _Description()(stored) == _Description()(tensor)
    other = as_batch(Observed.of({"a": OnDisk(values + 1, values.dtype)}), torch.float32).X["a"]
    assert _Description()(other) != _Description()(tensor)
