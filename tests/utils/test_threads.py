"""Threads: few where passes are small, and those of everybody else left alone."""

import threading

import pytest
import torch

from sklearn_mdm import MDMNet
from sklearn_mdm.utils._threads import SMALL_PASS, one_thread_if_small

pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(autouse=True)
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_one_thread__inside_and_only_if_small():
    layer = torch.nn.Linear(99, 10)  # 1000 parameters
    few = SMALL_PASS // 1000
    with one_thread_if_small([layer], few):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    for modules, n_rows in (([layer], few + 1), ([layer, layer], few)):
        with one_thread_if_small(modules, n_rows):
            assert torch.get_num_threads() == 3
    with pytest.raises(RuntimeError), one_thread_if_small([layer], 1):
        raise RuntimeError
    assert torch.get_num_threads() == 3


def test_fit_and_predict__leave_the_number_of_threads(estimator, X, y, monkeypatch):
    inside = []
    train_step = MDMNet.train_step

    def spy(self, batch, **fit_params):
        inside.append(torch.get_num_threads())
        return train_step(self, batch, **fit_params)

    monkeypatch.setattr(MDMNet, "train_step", spy)
    fitted = estimator(lam=1.0).fit(X, y)
    assert set(inside) == {1}
    assert torch.get_num_threads() == 3
    for method in (fitted.predict, fitted.transform, fitted.fit_dependency, fitted.dependency_score):
        method(X)
        assert torch.get_num_threads() == 3
    with pytest.raises(FloatingPointError):
        fitted.set_params(lr=1e300).fit(X, y)
    assert torch.get_num_threads() == 3


def test_another_thread__keeps_its_own(regressor, X, y):
    seen, done = [], threading.Event()

    def watch():
        torch.set_num_threads(3)  # for this thread
        while not done.is_set():
            seen.append(torch.get_num_threads())
            done.wait(1e-3)

    other = threading.Thread(target=watch)
    other.start()
    try:
        regressor(lam=1.0).fit(X, y).fit_dependency(X).predict(X)
    finally:
        done.set()
        other.join()
    assert set(seen) == {3} and len(seen) > 1
