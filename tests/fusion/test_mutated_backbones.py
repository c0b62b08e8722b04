"""Directories of transformers with a file that was changed at random: an error of ours, or they load."""

import json
import random
import resource
import struct
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")

from . import transformer_models as tiny
from .hostile_backbones import INDEX, MAX_GROWTH, WEIGHTS, output, shards

VALUES = [0, -1, 1, 1000, 10**6, 10**9, 2**63, 10**30, 1.5, -0.5, 1e308]
VALUES += ["x", "../x", "", None, True, [], [1], {}, {"a": 1}]


def changed_json(rng, content):
    """JSON with one value, at any depth, gone or another."""
    tree = node = json.loads(content)
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = rng.choice(keys)
        if isinstance(node[key], (dict, list)) and node[key] and rng.random() < 0.7:
            node = node[key]
            continue
        if rng.random() < 0.2:
            del node[key]
        else:
            node[key] = rng.choice(VALUES)
        return json.dumps(tree).encode()


def changed_bytes(rng, content, end):
    content, at = bytearray(content), rng.randrange(end)
    kind = rng.choice(["flip", "cut", "insert", "zeros"])
    if kind == "cut":
        del content[rng.randrange(len(content)) :]
    elif kind == "insert":
        content[at:at] = rng.randbytes(rng.randint(1, 20))
    elif kind == "zeros":
        content[at : at + 50] = bytes(len(content[at : at + 50]))
    else:
        content[at] ^= 1 << rng.randrange(8)
    return bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        WEIGHTS,
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("tokenizer.json", "tokenizer_config.json", INDEX)),
    ],
)
def test_mutated_files__are_an_error_of_ours_or_load(name, tmp_path):
    """60 mutations a file; the numbers of weights are left alone, for nothing tells whether they are right."""
    folder = Path(tiny.save(tmp_path / "backbone"))
    if name == INDEX:
        shards(folder)
    content, rng = (folder / name).read_bytes(), random.Random(name)
    end = len(content) if name.endswith("json") else 8 + struct.unpack("<Q", content[:8])[0]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    n_refused = 0
    for i in range(60):
        mutated = changed_json(rng, content) if name.endswith("json") and i % 2 else changed_bytes(rng, content, end)
        (folder / name).write_bytes(mutated)
        try:
            assert np.isfinite(output(folder)).all()
        except ValueError as error:
            n_refused += 1
            assert type(error) is ValueError, mutated
            assert "trust_remote_code" not in str(error), mutated
    assert n_refused >= 20
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_GROWTH
