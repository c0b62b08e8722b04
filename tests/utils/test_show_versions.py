"""The text that a report of a fault begins with."""

import re
from types import SimpleNamespace

import pytest
import torch

import sklearn_mdm
from sklearn_mdm.utils import _show_versions


def test_show_versions__text__has_versions_devices_and_thread_pools(capsys):
    sklearn_mdm.show_versions()
    text = capsys.readouterr().out
    for line in ("System:", "Python dependencies:", "Devices:", "threadpoolctl info:", "user_api"):
        assert line in text
    for name, version in [("sklearn-mdm", sklearn_mdm.__version__), ("torch", torch.__version__.split("+")[0])]:
        assert re.search(rf"^ +{name}: {re.escape(version)}", text, re.MULTILINE)
    assert re.search(rf"torch threads: {torch.get_num_threads()}$", text, re.MULTILINE)


def test_show_versions__package_that_is_absent__is_none(monkeypatch, capsys):
    monkeypatch.setattr(_show_versions, "DEPENDENCIES", ["no-package-of-this-name"])
    sklearn_mdm.show_versions()
    assert "no-package-of-this-name: None" in capsys.readouterr().out


@pytest.mark.parametrize("n_cards", [0, 2])
def test_show_versions__cards__are_named(n_cards, monkeypatch, capsys):
    card = SimpleNamespace(name="a card", total_memory=80 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_cards)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    sklearn_mdm.show_versions()
    assert capsys.readouterr().out.count("a card, 80 GiB, 9.0") == n_cards
