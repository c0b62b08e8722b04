"""Loading pretrained transformers of Hugging Face."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

# Seconds after which a hub that does not answer counts as out of reach.
HUB_TIMEOUT = 5.0


def import_transformers() -> Any:
    """Import transformers, or say how to install it."""
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            'MAGFusion(backbone=...) needs the package transformers: pip install "sklearn-mdm[transformers]". Without '
            "it, MAGFusion() reads word embeddings (n_samples, n_words, n_features)."
        ) from error
    return transformers


def load_outline(backbone: Any) -> Any:
    """Load a model without its weights: from a directory, by name, or of a transformers configuration or model."""
    transformers = import_transformers()
    if isinstance(backbone, transformers.PreTrainedModel):
        return getattr(backbone, "base_model", backbone)
    given = isinstance(backbone, transformers.PreTrainedConfig)
    config = copy.deepcopy(backbone) if given else _load(transformers.AutoConfig, backbone)
    with torch.device("meta"):
        return transformers.AutoModel.from_config(config)


def load_model(backbone: Any) -> Any:
    """Load a model in single precision: from a directory, by name, with the weights of a model, or with random ones."""
    transformers = import_transformers()
    if isinstance(backbone, transformers.PreTrainedConfig):
        model = transformers.AutoModel.from_config(copy.deepcopy(backbone), dtype=torch.float32)
    elif isinstance(backbone, transformers.PreTrainedModel):
        model = copy.deepcopy(getattr(backbone, "base_model", backbone)).float().requires_grad_(True)
    else:
        model = _load_weights(backbone)
    if any(getattr(part, "gradient_checkpointing", False) for part in model.modules()):
        raise ValueError(
            f"backbone {type(model).__name__} has gradient checkpointing switched on, which can lose the gradients of "
            "the gate. Switch it off: model.gradient_checkpointing_disable(), or gradient_checkpointing=False in its "
            "configuration."
        )
    return model


def _load_weights(backbone: Any) -> Any:
    """Load a model from a directory or by name, all of its weights."""
    transformers = import_transformers()
    model, report = _load(
        transformers.AutoModel, backbone, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    lacking = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if lacking:
        raise ValueError(
            f"backbone={str(backbone)!r} lacks {len(lacking)} weights of a {type(model).__name__} (first: "
            f"{lacking[0]}); they would be random. Check that its config.json and its weights belong together."
        )
    return model


def load_tokenizer(backbone: Any, tokenizer: Any) -> Any:
    """Load the tokenizer of a backbone, or the one that was passed; None if there is none."""
    transformers = import_transformers()
    source = tokenizer
    if source is None:
        source = backbone
        if isinstance(backbone, (transformers.PreTrainedConfig, transformers.PreTrainedModel)):
            source = getattr(backbone, "name_or_path", "")
            if not Path(source, "tokenizer_config.json").exists():
                return None  # token ids can still be read
    if isinstance(source, (str, os.PathLike)):
        source = _load(transformers.AutoTokenizer, source)
    if not getattr(source, "is_fast", False):
        raise ValueError(
            f"tokenizer {type(source).__name__} does not tell which characters a token covers, and so which word. Use "
            'a "fast" tokenizer, one with a tokenizer.json.'
        )
    return source


def _load(cls: Any, source: Any, **options: Any) -> Any:
    """Call ``from_pretrained``: a directory as it is, a name from the local cache and only then from the hub."""
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            "backbone must be a directory, a name on the Hugging Face hub, or a transformers configuration or model, "
            f"got {source!r}."
        )
    name, options = os.fspath(source), {**options, "trust_remote_code": False}
    if not Path(name).is_dir() and (name.startswith((".", "/", "~")) or Path(name).is_absolute() or "\\" in name):
        raise ValueError(f"backbone={name!r}: there is no such directory.")
    with _quiet():
        try:
            return cls.from_pretrained(name, local_files_only=True, **options)
        except OSError as error:
            if Path(name).is_dir():
                raise ValueError(
                    f"backbone={name!r} cannot be loaded: {error} The directory must hold config.json, "
                    "tokenizer.json and model.safetensors; other formats of weights, which may run code, are not read."
                ) from error
        return _from_hub(cls, name, options)


def _from_hub(cls: Any, name: str, options: dict[str, Any]) -> Any:
    import huggingface_hub

    try:
        huggingface_hub.HfApi().model_info(name, timeout=HUB_TIMEOUT)
        return cls.from_pretrained(name, **options)
    except Exception as error:  # unknown names, refusals and network errors share no class
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"backbone={name!r} is neither a directory, nor in the local cache of the Hugging Face hub, nor to be had "
            f"from it ({type(error).__name__}: {reason}). On a machine with a connection run `hf download {name} "
            f"--local-dir {name.rpartition('/')[2]}`, copy that directory here, and pass its path."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing progress bars and reports."""
    from transformers.utils import logging

    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
