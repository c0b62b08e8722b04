"""Directories in which states cannot be kept: one warning, no part of a file, and the same states."""

import errno
import os
import resource
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest

from sklearn_mdm.fusion import MAGFusion
from sklearn_mdm.fusion.mag._cache import DIGEST_SIZE, FOLDER, cached_states

from .states_on_disk import WIDTH, compute, filled, rows, same, states


def full_after(n, error):
    """A disk that takes n files."""
    replace, left = os.replace, [n]

    def limited(part, target):
        left[0] -= 1
        if left[0] < 0:
            raise error
        return replace(part, target)

    return limited


def warned(folder, texts, match):
    with pytest.warns(UserWarning, match=match) as caught:
        found = states(folder, texts)
    assert len(caught) == 1
    assert same(found, compute(texts))


def test_a_full_disk__is_one_warning_and_leaves_no_part_of_a_file(tmp_path, monkeypatch):
    texts = rows(58)
    monkeypatch.setattr(os, "replace", full_after(3, OSError(errno.ENOSPC, "No space left on device")))
    match = r"could not keep the states of 55 of 58 texts in '.*sklearn_mdm_states' \(No space left on device\)"
    warned(tmp_path, texts, match)
    monkeypatch.undo()
    assert len(list((tmp_path / FOLDER).iterdir())) == 3
    computed = []
    assert same(states(tmp_path, texts, lambda some: computed.extend(some) or compute(some)), compute(texts))
    assert len(computed) == 55


def test_a_limit_of_the_size_of_files__leaves_no_part_of_a_file(tmp_path):
    texts = rows(6)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / FOLDER).mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (DIGEST_SIZE + 4 * WIDTH * 4, hard))
    try:
        warned(tmp_path, texts, "2 of 6 texts")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(list((tmp_path / FOLDER).iterdir())) == 4


def test_an_interrupt__leaves_no_part_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", full_after(2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        states(tmp_path, rows())
    assert len(list((tmp_path / FOLDER).iterdir())) == 2


def a_file(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file"


def a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / FOLDER).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    "where", [a_file, a_file_in_place_of_the_folder, lambda tmp_path: "/proc/nowhere", lambda tmp_path: "/dev/null"]
)
def test_a_directory_that_cannot_be_made__is_one_warning(where, tmp_path):
    warned(where(tmp_path), rows(), r"20 of 20 texts .*\((Not a directory|File exists|No such file or directory)\)")


def test_a_directory_in_place_of_a_file__is_one_warning_about_that_file(tmp_path):
    texts = rows()
    _, paths = filled(tmp_path, texts)
    paths[0].unlink()
    paths[0].mkdir()
    warned(tmp_path, texts, r"1 of 1 texts .*Is a directory")
    assert sorted((tmp_path / FOLDER).iterdir()) == paths


def test_files_that_cannot_be_opened__are_computed(tmp_path, monkeypatch):
    texts = rows()
    filled(tmp_path, texts)

    def refuse(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    warned(tmp_path, texts, "20 of 20 texts .*Permission denied")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_states_that_are_not_finite__are_the_backbones_fault_and_not_kept(bad, tmp_path):
    with pytest.raises(ValueError, match=r"the backbone .* NaN or infinite.*The text is not the reason"):
        states(tmp_path, rows(), lambda texts: [np.full((len(text), WIDTH), bad) for text in texts])
    assert not (tmp_path / FOLDER).exists()


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_memory", [str, Path, lambda path: joblib.Memory(path, verbose=0)])
def test_memory__is_a_directory_or_what_joblib_has(as_memory, tmp_path):
    texts = rows()
    cached_states(texts, compute, WIDTH, as_memory(tmp_path), "f")
    assert len(list((tmp_path / FOLDER).iterdir())) == 20


@pytest.mark.parametrize("memory", [3, "", "a\0b", ["x"]])
def test_memory__that_is_no_directory__error(memory):
    with pytest.raises(ValueError, match="memory"):
        MAGFusion(memory=memory).build({"text": (4, 3), "audio": (2,)}, 1)


def test_memory__without_a_backbone__warns(tmp_path):
    with pytest.warns(UserWarning, match="keeps nothing without a backbone"):
        MAGFusion(memory=str(tmp_path)).build({"text": (4, 3), "audio": (2,)}, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MAGFusion().build({"text": (4, 3), "audio": (2,)}, 1)
