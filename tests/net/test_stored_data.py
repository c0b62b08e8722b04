"""Reading batches ahead: in order, no further than asked for, and with an end."""

import threading
import time

import pytest

from sklearn_mdm.net._stored_data import AHEAD, read_ahead


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
        while len(begun) < AHEAD + 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        # One was handed out, so many wait, and one waits for a place.
        assert len(begun) <= AHEAD + 2
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
