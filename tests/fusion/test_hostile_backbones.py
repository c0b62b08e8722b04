"""Directories of transformers that are broken, or meant to harm: one error of ours, and nothing runs."""

import json
import os
import struct

import pytest
from numpy.testing import assert_array_equal

pytest.importorskip("transformers")

import torch

from . import transformer_models as tiny
from .hostile_backbones import INDEX, WEIGHTS, edit, output, refused, shards

# --- an index of weights ----------------------------------------------------------------------------------------------


def test_shards__are_read__from_links_as_in_the_hubs_cache_too(folder, expected, tmp_path):
    index = shards(folder)
    assert_array_equal(output(folder), expected)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshots").mkdir()
    folder = folder.rename(tmp_path / "snapshots" / "0a1b")
    for i, name in enumerate(sorted(set(index["weight_map"].values()))):
        (folder / name).rename(tmp_path / "blobs" / str(i))
        (folder / name).symlink_to(f"../../blobs/{i}")
    assert_array_equal(output(folder), expected)


def test_links_out_of_the_directory__are_not_followed(folder, tmp_path):
    (folder / "model.safetensors").rename(tmp_path / "of_another_model")
    (folder / "model.safetensors").symlink_to(tmp_path / "of_another_model")
    with pytest.raises(ValueError, match=r"model\.safetensors is a link out of the directory"):
        output(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "/etc/x.safetensors",
        "a/../../x.safetensors",
        "a\\x.safetensors",
        "C:x.safetensors",
        "a\0.safetensors",
        "x.bin",
        "..",
        "",
        3,
        None,
        ["x.safetensors"],
        {},
    ],
)
def test_an_index_that_names_other_files__is_refused_before_they_are_read(name, folder, monkeypatch):
    index = shards(folder)
    (folder.parent / "x.safetensors").write_bytes(b"not read")
    first = next(iter(index["weight_map"]))
    edit(folder / INDEX, weight_map={**index["weight_map"], first: name})
    opened = []
    monkeypatch.setattr("safetensors.safe_open", lambda *args, **options: opened.append(args))
    refused(folder, r"index.json names .*, which is not a safetensors file in the same directory")
    assert not opened


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[]", "holds a list instead of an object"),
        ("3", "holds a int instead"),
        ("{}", "has no weight_map"),
        ('{"weight_map": []}', "has no weight_map"),
        ('{"weight_map": {}}', "has no weight_map"),
        ('{"weight_map": {"a": "gone.safetensors"}}', r"names 1 files that are not there \(first: gone.safetensors\)"),
        ('{"weight_map": ', "is not JSON"),
        ("[" * 10**6, "is not JSON"),
        ("9" * 10**4, "is not JSON"),
        ("\ud800", "is not JSON"),
        ("", "is not JSON"),
        (" " * (100 * 2**20 + 1), "more than the 104,857,600 that are read"),
    ],
    ids=range(12),
)
def test_an_index_that_is_none__error(text, match, folder):
    shards(folder)
    (folder / INDEX).write_bytes(text.encode(errors="surrogatepass"))
    refused(folder, f"cannot be loaded: .*{match}")


# --- claims -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "claims", "match"),
    [
        ("bert", {"hidden_size": 10**9}, "far larger model than the .* tensors"),
        ("bert", {"intermediate_size": 10**9}, "far larger model"),
        ("bert", {"vocab_size": 10**9}, "far larger model"),
        ("bert", {"max_position_embeddings": 10**9}, "far larger model"),
        ("bert", {"type_vocab_size": 10**9}, "far larger model"),
        ("bert", {"num_hidden_layers": 10**6}, "num_hidden_layers=1000000; at most 10,000"),
        ("bert", {"num_hidden_layers": 10**4}, "far larger model"),
        ("xlnet", {"n_layer": 10**9}, "n_layer=1000000000; at most"),
        ("distilbert", {"n_layers": 10**9}, "n_layers=1000000000; at most"),
        ("bert", {"model_type": "modernbert", "num_hidden_layers": 10**9}, "num_hidden_layers=1000000000; at most"),
        ("bert", {"model_type": "deberta-v2", "hidden_size": 10**8}, "cannot be loaded"),
        ("bert", {"model_type": "resnet"}, "type 'resnet' with vocab_size=None reads no text"),
        (
            "bert",
            {"model_type": "detr", "backbone": "x", "use_pretrained_backbone": True},
            "type 'detr' .* reads no text",
        ),
        ("bert", {"model_type": "encoder-decoder"}, "cannot be loaded"),
        ("bert", {"model_type": "rag"}, "cannot be loaded"),
        ("bert", {"vocab_size": 0}, "vocab_size=0 reads no text"),
        ("bert", {"hidden_size": 2**62}, "cannot be loaded"),
        ("bert", {"hidden_size": 10**400}, "cannot be loaded"),
        ("bert", {"hidden_size": -16}, "cannot be loaded"),
        ("bert", {"num_attention_heads": 0}, "cannot be loaded"),
        ("bert", {"hidden_act": "os.system"}, "cannot be loaded"),
        ("bert", {"hidden_size": 32}, "has another shape for 52 weights"),
        ("bert", {"quantization_config": {"quant_method": "gptq"}}, "cannot be loaded"),
    ],
)
def test_a_configuration_of_a_larger_model__is_refused_before_it_is_built(kind, claims, match, tmp_path):
    tiny.save(tmp_path, kind)
    edit(tmp_path / "config.json", **claims)
    refused(tmp_path, match)


def test_numbers_of_classes__and_their_names__are_not_read(folder, expected):
    edit(folder / "config.json", num_labels=10**9, id2label=3, label2id={"a": []})
    assert_array_equal(output(folder), expected)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(1000),
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 2**64 - 1) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 10**6) + b"[" * 10**6,
    ]
    + [
        struct.pack("<Q", len(header)) + header + bytes(8)
        for header in (
            b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}',
            b'{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}',
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}',
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        )
    ],
    ids=range(11),
)
def test_weights_with_a_header_that_lies__error(content, folder):
    (folder / WEIGHTS).write_bytes(content)
    refused(folder, "backbone=.* (cannot be loaded: |lacks 53 weights)")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_truncated_weights__error(share, folder):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: int(share * len(content))])
    refused(folder, "backbone=.* cannot be loaded: ")


def test_weights_that_are_nan__are_named(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / WEIGHTS)
    weights["encoder.layer.1.output.dense.bias"][3] = torch.nan
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    refused(folder, r"has 1 weights that are NaN or infinite \(first: encoder.layer.1.output.dense.bias\)")


def test_pipes__in_place_of_files__are_not_waited_for(folder):
    for name in ("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json", INDEX, "added_tokens.json"):
        content = (folder / name).read_bytes() if (folder / name).exists() else None
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
        refused(folder, f"{name} is not a file")
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"pad_token_id": -1}, None),
        ({"pad_token_id": 10**6}, "cannot be loaded"),
        ({"pad_token_id": "x"}, "cannot be loaded"),
        ({"type_vocab_size": 1}, "has another shape for 1 weights"),
    ],
)
def test_padding_and_types_that_the_backbone_lacks__error_or_make_no_difference(changes, match, folder, expected):
    edit(folder / "config.json", **changes)
    if match is None:
        assert_array_equal(output(folder), expected)
    else:
        refused(folder, match)


@pytest.mark.parametrize("limit", [0, -1, 1e30, float("inf"), float("nan"), 40.5, 40.0, "40", [], True, 1])
def test_a_tokenizer_with_an_odd_limit__error_or_makes_no_difference(limit, folder, expected):
    edit(folder / "tokenizer_config.json", model_max_length=limit)
    if isinstance(limit, float) or limit in (0, -1):
        assert_array_equal(output(folder), expected)
    else:
        refused(folder, "it has model_max_length=|read 1 tokens at most, .* leaves no room for a word")


def test_a_tokenizer_of_a_larger_vocabulary__error(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["film"] = 10**6
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    refused(folder, "tokenizer gives token id 1000000, but the backbone knows those below 19")


def test_a_tokenizer_of_more_token_types__error(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["post_processor"]["single"][0]["SpecialToken"]["type_id"] = 7
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    refused(folder, "tokenizer gives token type 7, but the backbone knows those below 2")


def test_a_tokenizer_that_was_passed__is_named_as_such(folder, source):
    (folder / "tokenizer.json").write_text("{")
    refused(source, "tokenizer=.* cannot be loaded: tokenizer.json is not JSON", tokenizer=str(folder))


def test_a_directory_of_a_tokenizer_alone__will_do(source, expected, tmp_path):
    tiny.make_tokenizer().save_pretrained(tmp_path)
    assert_array_equal(output(source, tokenizer=tmp_path), expected)
