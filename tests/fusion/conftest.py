"""A tiny transformer in a directory, which tests break."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The directory that stays whole."""
    from . import transformer_models as tiny

    return Path(tiny.save(tmp_path_factory.mktemp("source")))


@pytest.fixture
def folder(source, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(source, tmp_path / "backbone"))


@pytest.fixture(scope="module")
def expected(source):
    """What comes of it."""
    from .hostile_backbones import output

    return output(source)
