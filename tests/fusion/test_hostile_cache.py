"""States that are kept on disk: whatever happens to the files, the states are those that were computed."""

import errno
import os
import pickle
import resource
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_mdm import MDMFusionRegressor
from sklearn_mdm.fusion import MAGFusion
from sklearn_mdm.fusion.mag._cache import DIGEST_SIZE, FOLDER, cached_states

pytest.importorskip("transformers")

import torch

from . import transformer_models as tiny

WIDTH = 5
TEXTS = ["a good film", "the plot is boring", "bad", "the film is good", "a new plot", "boring"]


def rows(n=20, seed=0):
    """Texts of 1 to 6 tokens, no two alike; some have the same length."""
    rng = np.random.default_rng(seed)
    return [
        np.column_stack([rng.integers(0, 2**20, 1 + i % 6), np.zeros(1 + i % 6)]).astype(np.int32) for i in range(n)
    ]


def compute(texts):
    return [np.sin(np.outer(text[:, 0], np.arange(1, WIDTH + 1))).astype(np.float32) for text in texts]


def nothing(texts):
    raise AssertionError("everything should have been on disk")


def states(folder, texts, how=compute):
    return cached_states(texts, how, WIDTH, folder if folder is None else str(folder), "f" * 64)


def filled(folder, texts):
    expected = states(folder, texts)
    return expected, sorted((folder / FOLDER).iterdir())


def same(found, expected):
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


# --- damage -----------------------------------------------------------------------------------------------------------


def put(path, content):
    path.write_bytes(content)


def nan_inside(path):
    content = bytearray(path.read_bytes())
    content[DIGEST_SIZE : DIGEST_SIZE + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(content)


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


def replace_by_link(path, target):
    path.unlink()
    path.symlink_to(target)


DAMAGE = {
    "zeros": lambda path: put(path, bytes(path.stat().st_size)),
    "empty": lambda path: put(path, b""),
    "truncated": lambda path: put(path, path.read_bytes()[:-1]),
    "longer": lambda path: put(path, path.read_bytes() + b"\0"),
    "huge": lambda path: os.truncate(path, 2**40),
    "without a checksum": lambda path: put(path, path.read_bytes()[DIGEST_SIZE:]),
    "NaN inside": nan_inside,
    "bit of the checksum": lambda path: flip(path, 0),
    "bit of the numbers": lambda path: flip(path, -1),
    "pipe": replace_by_pipe,
    "device": lambda path: replace_by_link(path, "/dev/zero"),
    "link to itself": lambda path: replace_by_link(path, path.name),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file__is_computed_again_and_written_again(damage, tmp_path):
    texts = rows()
    expected, paths = filled(tmp_path, texts)
    damage(paths[7])
    computed = []
    assert same(states(tmp_path, texts, lambda some: computed.extend(some) or compute(some)), expected)
    assert len(computed) == 1
    assert same(states(tmp_path, texts, nothing), expected)
    assert sorted((tmp_path / FOLDER).iterdir()) == paths


def test_a_file_of_another_text__of_the_same_length__does_not_count(tmp_path):
    texts = [text for text in rows() if len(text) == 3]
    expected, paths = filled(tmp_path, texts)
    contents = [path.read_bytes() for path in paths]
    assert len({len(content) for content in contents}) == 1
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    assert same(states(tmp_path, texts), expected)


def mutated(rng, contents, i):
    content = bytearray(contents[i])
    kind = rng.integers(6)
    at = int(rng.integers(len(content)))
    if kind == 0:
        for bit in rng.integers(0, 8 * len(content), rng.integers(1, 4)):
            content[bit // 8] ^= 1 << (bit % 8)
    elif kind == 1:
        del content[at:]
    elif kind == 2:
        content[at:at] = rng.bytes(int(rng.integers(1, 30)))
    elif kind == 3:
        content[at:] = bytes(len(content) - at)
    elif kind == 4:
        content = bytearray(contents[rng.integers(len(contents))])
    else:
        content[at - at % 4 : at - at % 4 + 4] = np.float32(rng.choice([np.nan, np.inf, -np.inf, 1e38])).tobytes()
    return bytes(content)


def test_500_mutated_files__give_the_states_that_were_computed(tmp_path):
    texts, rng = rows(), np.random.default_rng(0)
    expected, paths = filled(tmp_path, texts)
    contents = [path.read_bytes() for path in paths]
    n_changed = 0
    for _ in range(26):
        for i, path in enumerate(paths):
            path.write_bytes(mutated(rng, contents, i))
            n_changed += path.read_bytes() != contents[i]
        assert same(states(tmp_path, texts), expected)
        assert [path.read_bytes() for path in sorted((tmp_path / FOLDER).iterdir())] == contents
    assert n_changed > 500 - 26


def test_parts_of_killed_processes__are_left_alone(tmp_path):
    texts = rows()
    expected, paths = filled(tmp_path, texts)
    part = paths[0].with_name(f"{paths[0].name}.0123.part")
    part.write_bytes(b"half")
    assert same(states(tmp_path, texts, nothing), expected)
    assert part.read_bytes() == b"half"


# --- what cannot be written -------------------------------------------------------------------------------------------


def full_after(n, error):
    """A disk that takes n files."""
    replace, left = Path.replace, [n]

    def limited(self, target):
        left[0] -= 1
        if left[0] < 0:
            raise error
        return replace(self, target)

    return limited


def warned(folder, texts, match):
    with pytest.warns(UserWarning, match=match) as caught:
        found = states(folder, texts)
    assert len(caught) == 1
    assert same(found, compute(texts))


def test_a_full_disk__is_one_warning_and_leaves_no_part_of_a_file(tmp_path, monkeypatch):
    texts = rows(58)
    monkeypatch.setattr(Path, "replace", full_after(3, OSError(errno.ENOSPC, "No space left on device")))
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
    monkeypatch.setattr(Path, "replace", full_after(2, KeyboardInterrupt()))
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


# --- in a fit ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny.save(tmp_path_factory.mktemp("backbone"))


def data():
    return {"text": TEXTS * 2, "audio": np.random.default_rng(0).normal(size=(12, 2))}, np.arange(12) % 3


def fitted(backbone, memory, **fusion):
    fusion = MAGFusion(backbone=backbone, layer=2, frozen_layers=2, memory=memory, **fusion)
    X, y = data()
    settings = {"lam": 0, "max_epochs": 1, "random_state": 0, "device": "cpu"}
    model = MDMFusionRegressor(fusion=fusion, **settings).fit(X, y)
    return model, model.predict(X)


@pytest.mark.parametrize("damage", ["zeros", "NaN inside", "bit of the numbers", "truncated", "pipe"])
def test_predictions__after_damage__are_those_without_memory(damage, backbone, tmp_path):
    _, expected = fitted(backbone, None)
    for _ in range(2):
        assert_array_equal(fitted(backbone, tmp_path)[1], expected)
        for path in (tmp_path / FOLDER).iterdir():
            DAMAGE[damage](path)


def test_a_fit__whose_memory_is_a_file__gives_the_same_with_a_warning(backbone, tmp_path):
    _, expected = fitted(backbone, None)
    with pytest.warns(UserWarning, match=r"could not keep the states of 6 of 6 texts"):
        _, found = fitted(backbone, str(a_file(tmp_path)))
    assert_array_equal(found, expected)


def test_a_pickle__predicts_where_its_directory_cannot_be_made(backbone, tmp_path):
    model, expected = fitted(backbone, str(tmp_path / "memory"))
    loaded = pickle.loads(pickle.dumps(model))
    (tmp_path / "memory" / FOLDER).rename(tmp_path / "moved")
    (tmp_path / "memory").rmdir()
    (tmp_path / "memory").write_text("")
    with pytest.warns(UserWarning, match="could not keep"):
        assert_array_equal(loaded.predict(data()[0]), expected)


def test_a_backbone_that_computes_nan__is_named(tmp_path):
    model = tiny.make_model("bert")
    model.encoder.layer[0].output.dense.bias.data[0] = torch.nan
    with pytest.raises(
        ValueError, match=r"backbone BertModel has 1 weights that are NaN or infinite \(first: encoder.layer.0"
    ):
        fitted(model, tmp_path, tokenizer=tiny.make_tokenizer())


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
