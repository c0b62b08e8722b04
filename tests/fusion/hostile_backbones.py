"""What is common to tests of broken and hostile directories of transformers."""

import json
import resource
import shutil

import numpy as np
import pytest
import torch

from sklearn_mdm.fusion import MAGFusion

from . import transformer_models as tiny

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TEXTS = ["a good film", "the plot is unbelievably boring", None, "bad"]
# Most that the process may grow by, whatever a file claims.
MAX_GROWTH = 500 * 2**20


def output(folder, **fusion):
    """What an untrained fusion module of a fixed seed makes of texts."""
    fusion = MAGFusion(backbone=folder, layer=1, frozen_layers=1, dropout=0.0, **fusion)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokens, _ = fusion.schema().encode(TEXTS)
        module = fusion.build({"text": (tokens.shape[1], 3), "audio": (2,)}, 1).eval()
    X = {"text": torch.from_numpy(np.nan_to_num(tokens)), "audio": torch.ones(4, 2)}
    mask = {"text": torch.from_numpy(~np.isnan(tokens[..., 0])), "audio": torch.ones(4, dtype=torch.bool)}
    with torch.no_grad():
        return module(X, mask).prediction.numpy()


def refused(folder, match, **fusion):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=match) as caught:
        output(folder, **fusion)
    assert "trust_remote_code" not in str(caught.value)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_GROWTH


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def shards(folder):
    """Split the weights in two files with an index, and return it."""
    shutil.rmtree(folder)
    tiny.make_model("bert").save_pretrained(folder, max_shard_size="20KB")
    tiny.make_tokenizer("bert").save_pretrained(folder)
    assert not (folder / WEIGHTS).exists()
    return json.loads((folder / INDEX).read_text())
