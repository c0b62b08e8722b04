"""What the directory of a transformer says of itself, looked at before anything is built of it or runs."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
MORE_TOKENIZER_FILES = ("special_tokens_map.json", "added_tokens.json")
# Bytes of JSON that are parsed. The largest vocabularies that are published take a third of it.
MAX_JSON = 100 * 2**20
# A model may have this many times the tensors and numbers that are in its files, and so many more: the files need not
# hold poolers, tied weights, or tables that are computed.
CLAIM_FACTOR, MORE_TENSORS, MORE_NUMBERS = 2, 1000, 2**25
# More layers than these are a mistake, whatever the files hold.
MAX_LAYERS = 10_000
# Not of the part that is used (number of classes), or naming programs and files elsewhere: hub kernels, modules, other
# weights, another configuration.
IGNORED = frozenset(
    {
        "attn_implementation",
        "experts_implementation",
        "auto_map",
        "configuration_files",
        "id2label",
        "label2id",
        "num_labels",
        "transformers_weights",
    }
)


def check_files(folder: Path) -> None:
    """Refuse what is not read, or cannot be: adapters, pipes and devices, JSON of a size that nothing needs."""
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            "it holds an adapter (adapter_config.json), which is not read, for it may name another model. Merge it: "
            "peft's merge_and_unload(), and save_pretrained() to another directory."
        )
    for path in folder.iterdir():
        if not path.exists():
            continue  # a link of the hub's cache to what was not downloaded
        found = path.stat()
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise ValueError(f"{path.name} is not a file.")
        if path.suffix == ".json" and found.st_size > MAX_JSON:
            raise ValueError(f"{path.name} has {found.st_size:,} bytes, more than the {MAX_JSON:,} that are read.")


def check_tokenizer(folder: Path) -> None:
    """Refuse files of a tokenizer that are no JSON objects, by their names."""
    for name in TOKENIZER_FILES + MORE_TOKENIZER_FILES:
        if (folder / name).exists():
            _read_object(folder / name)


def read_config(folder: Path, name: str) -> Any:
    """Return the configuration in the directory of a model, without the programs and files elsewhere that it names."""
    import transformers

    given = _read_object(folder / CONFIG)
    kind = given.get("model_type")
    if not isinstance(kind, str) or kind not in transformers.CONFIG_MAPPING:
        raise ValueError(
            f"its config.json has model_type={kind!r}, which transformers {transformers.__version__} does not know. "
            "Code that comes with a model is never run: take a model of an architecture that transformers has, such "
            "as BERT or RoBERTa, or another version of transformers."
        )
    config = _without_ignored(given)
    _check_layers(config)
    config = transformers.CONFIG_MAPPING[kind].from_dict(config)
    config._name_or_path = name
    return config


def read_sizes(folder: Path) -> tuple[int, int]:
    """Return how many tensors and numbers are in the weights, by their headers."""
    from safetensors import safe_open

    n_tensors = n_numbers = 0
    for path in _weight_files(folder):
        with safe_open(path, framework="pt") as weights:  # compares the header with the size of the file
            for name in weights.keys():
                n_tensors += 1
                n_numbers += torch.Size(weights.get_slice(name).get_shape()).numel()
    return n_tensors, n_numbers


@contextmanager
def bounded(n_tensors: int, n_numbers: int) -> Iterator[None]:
    """Stop building modules in this thread that claim far more than there are weights for."""
    tensors, numbers = CLAIM_FACTOR * n_tensors + MORE_TENSORS, CLAIM_FACTOR * n_numbers + MORE_NUMBERS
    thread = threading.get_ident()

    def count(module: Any, name: str, parameter: Any) -> None:
        nonlocal tensors, numbers
        if parameter is None or threading.get_ident() != thread:
            return
        tensors, numbers = tensors - 1, numbers - parameter.numel()
        if tensors < 0 or numbers < 0:
            raise ValueError(
                f"its config.json is that of a far larger model than the {n_tensors:,} tensors of {n_numbers:,} "
                "numbers in its weights. Check that they belong together."
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _weight_files(folder: Path) -> list[Path]:
    """Paths of the weights; an index may only name files beside it, which may be links, as in the hub's cache."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise ValueError(f"it has no {WEIGHTS}.")
    weight_map = _read_object(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{INDEX} has no weight_map that says which file holds a weight.")
    for name in weight_map.values():
        if not isinstance(name, str) or not name.endswith(".safetensors") or set(name) & set("/\\:\0"):
            raise ValueError(f"{INDEX} names {name!r}, which is not a safetensors file in the same directory.")
    names = sorted(set(weight_map.values()))
    lacking = [name for name in names if not (folder / name).is_file()]
    if lacking:
        raise ValueError(f"{INDEX} names {len(lacking)} files that are not there (first: {lacking[0]}).")
    return [folder / name for name in names]


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"it has no {path.name}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds a {type(content).__name__} instead of an object.")
    return content


def _without_ignored(value: Any) -> Any:
    if isinstance(value, dict):
        # With underscores in front, or "_internal" behind, they are the same attributes.
        return {
            key: _without_ignored(item)
            for key, item in value.items()
            if key.strip("_").removesuffix("_internal") not in IGNORED
        }
    return [_without_ignored(item) for item in value] if isinstance(value, list) else value


def _check_layers(config: Any) -> None:
    """Refuse numbers of layers that configurations would make lists of, before there is a module to count."""
    for key, value in config.items():
        if isinstance(value, dict):
            _check_layers(value)
        elif isinstance(value, int) and any(part in key for part in ("layer", "block", "depth")) and value > MAX_LAYERS:
            raise ValueError(f"its config.json has {key}={value}; at most {MAX_LAYERS:,} make sense.")
