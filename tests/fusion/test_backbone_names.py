"""Names on the hub: the local cache is looked at first, and only what is read is fetched."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("transformers")

import huggingface_hub

from . import transformer_models as tiny
from .hostile_backbones import INDEX, WEIGHTS, edit, output, refused, shards

NAME = "someone/tiny-bert"
TOKENIZER = {"config.json", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and what was asked of the hub, which cannot be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    asked = []

    def model_info(self, name, **options):
        asked.append(name)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    return SimpleNamespace(asked=asked, home=tmp_path / "hub" / "models--someone--tiny-bert")


def stored(home):
    """A snapshot whose files are links to blobs, as the hub's cache has them."""
    snapshot = home / "snapshots" / "0123abc"
    tiny.save(snapshot)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0123abc")
    (home / "blobs").mkdir()
    for i, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(home / "blobs" / str(i))
        path.symlink_to(f"../../blobs/{i}")
    return snapshot


def test_a_name_in_the_local_cache__is_read_without_the_hub(cache, tmp_path):
    stored(cache.home)
    assert_array_equal(output(NAME), output(tiny.save(tmp_path / "backbone")))
    assert not cache.asked


@pytest.mark.parametrize("lacking", ["config.json", WEIGHTS])
def test_a_name_of_which_the_cache_has_a_part__is_asked_for(lacking, cache):
    (stored(cache.home) / lacking).unlink()
    refused(NAME, r"neither a directory, .*ConnectionError: no route to host.*hf download someone/tiny-bert")
    assert cache.asked == [NAME]


def test_a_snapshot__is_checked_like_a_directory(cache):
    snapshot = stored(cache.home)
    edit(snapshot / "config.json", model_type="evil")
    refused(NAME, "backbone='someone/tiny-bert' cannot be loaded: .* does not know. Code that comes with a model is ")


@pytest.mark.parametrize("sharded", [False, True])
def test_a_name_on_the_hub__what_is_not_read_is_not_fetched(sharded, cache, tmp_path, monkeypatch):
    folder = Path(tiny.save(tmp_path / "backbone"))
    expected = output(folder)
    weights = {WEIGHTS}
    if sharded:
        weights = {INDEX, *shards(folder)["weight_map"].values()}
    others = {"pytorch_model.bin", "evil.py", "onnx/model.safetensors", "1_Pooling/config.json"}
    files = [SimpleNamespace(rfilename=name) for name in TOKENIZER | weights | others]
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *args, **options: SimpleNamespace(siblings=files))
    fetched = []

    def snapshot_download(name, *, allow_patterns):
        fetched.append(set(allow_patterns))
        return shutil.copytree(folder, tmp_path / "fetched", dirs_exist_ok=True)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert_array_equal(output(NAME), expected)
    assert all(names == TOKENIZER | weights for names in fetched)
