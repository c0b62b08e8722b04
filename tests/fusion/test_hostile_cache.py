"""States that are kept on disk: whatever happens to the files, the states are those that were computed."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_mdm import MDMFusionRegressor
from sklearn_mdm.fusion import MAGFusion
from sklearn_mdm.fusion.mag._cache import DIGEST_SIZE, FOLDER

pytest.importorskip("transformers")

import torch

from . import transformer_models as tiny
from .states_on_disk import compute, filled, nothing, rows, same, states

TEXTS = ["a good film", "the plot is boring", "bad", "the film is good", "a new plot", "boring"]


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
        _, found = fitted(backbone, "/dev/null")
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
