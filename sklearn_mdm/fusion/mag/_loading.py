"""Loading pretrained transformers of Hugging Face."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ._checkpoint import (
    CONFIG,
    INDEX,
    TOKENIZER_FILES,
    WEIGHTS,
    bounded,
    check_files,
    check_tokenizer,
    read_config,
    read_sizes,
)

# Seconds after which a hub that does not answer counts as out of reach.
HUB_TIMEOUT = 5.0
# Characters of what went wrong that an error repeats.
MAX_REASON = 500


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
        outline = getattr(backbone, "base_model", backbone)
        _check_reads_text(outline.config)
        return outline
    if isinstance(backbone, transformers.PreTrainedConfig):
        _check_reads_text(backbone)
        with torch.device("meta"):
            return transformers.AutoModel.from_config(copy.deepcopy(backbone), trust_remote_code=False)
    folder = _folder_of(backbone, "backbone", (WEIGHTS, INDEX))
    with _loading("backbone", backbone):
        return _checked_outline(folder, os.fspath(backbone))


def _check_reads_text(config: Any) -> None:
    size = getattr(config, "vocab_size", None)
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"a model of type {config.model_type!r} with vocab_size={size!r} reads no text.")


def load_model(backbone: Any) -> Any:
    """Load a model in single precision: from a directory, by name, with the weights of a model, or with random ones."""
    transformers = import_transformers()
    if isinstance(backbone, transformers.PreTrainedConfig):
        config = copy.deepcopy(backbone)
        model = transformers.AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
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
    broken = [name for name, value in model.named_parameters() if not torch.isfinite(value).all()]
    if broken:
        raise ValueError(
            f"backbone {type(model).__name__} has {len(broken)} weights that are NaN or infinite (first: {broken[0]}). "
            "Copy or download it again."
        )
    return model


def _checked_outline(folder: Path, name: str) -> Any:
    """Build the model that a directory describes, without weights, if there are weights for it."""
    transformers = import_transformers()
    check_files(folder)
    config = read_config(folder, name)
    # Before it is built, for models of images take parts from elsewhere. Any config.json can claim a vocabulary: it
    # counts if models of this type have one.
    _check_reads_text(type(config)())
    _check_reads_text(config)
    with bounded(*read_sizes(folder)), torch.device("meta"):
        return transformers.AutoModel.from_config(config, trust_remote_code=False)


def _load_weights(backbone: Any) -> Any:
    """Load a model from a directory or by name, all of its weights, and see that it runs."""
    transformers = import_transformers()
    folder = _folder_of(backbone, "backbone", (WEIGHTS, INDEX))
    with _loading("backbone", backbone):
        _checked_outline(folder, os.fspath(backbone))
        model, report = transformers.AutoModel.from_pretrained(
            str(folder),
            config=read_config(folder, os.fspath(backbone)),
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            local_files_only=True,
            trust_remote_code=False,
        )
    lacking = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    other = sorted(str(found[0]) for found in report["mismatched_keys"])
    for names, what in ((lacking, "lacks"), (other, "has another shape for")):
        if names:
            raise ValueError(
                f"backbone={os.fspath(backbone)!r} {what} {len(names)} weights of a {type(model).__name__} (first: "
                f"{names[0]}); they would be random. Check that its config.json and its weights belong together."
            )
    if not model.config.is_encoder_decoder:  # which are refused later, for what they are
        tokens = torch.zeros(1, 2, dtype=torch.long)
        with _loading("backbone", backbone), torch.no_grad():
            model.eval()(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    return model


def files_of_model(model: Any) -> dict[str, Any]:
    """Return what a directory of this model says, to be saved: its configuration as text, and its weights."""
    weights = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    return {CONFIG: model.config.to_json_string(use_diff=False), WEIGHTS: weights}


def model_of_files(files: Mapping[str, Any]) -> Any:
    """Return the model of files, looked at like those of any directory."""
    from safetensors.torch import save_file

    with TemporaryDirectory() as folder:
        Path(folder, CONFIG).write_text(files[CONFIG], encoding="utf-8")
        save_file({name: value.contiguous() for name, value in files[WEIGHTS].items()}, Path(folder, WEIGHTS))
        return _load_weights(folder)


def files_of_tokenizer(tokenizer: Any) -> dict[str, str]:
    """Return the files of a tokenizer, to be saved."""
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {name: Path(folder, name).read_text(encoding="utf-8") for name in TOKENIZER_FILES}


def tokenizer_of_files(files: Mapping[str, str]) -> Any:
    """Return the tokenizer of files, looked at like those of any directory."""
    with TemporaryDirectory() as folder:
        for name in TOKENIZER_FILES:
            Path(folder, name).write_text(files[name], encoding="utf-8")
        return _load_tokenizer(folder, "tokenizer")


def load_tokenizer(backbone: Any, tokenizer: Any) -> Any:
    """Load the tokenizer of a backbone, or the one that was passed; None if there is none."""
    transformers = import_transformers()
    source, label = tokenizer, "tokenizer"
    if source is None:
        source, label = backbone, "backbone"
        if isinstance(backbone, (transformers.PreTrainedConfig, transformers.PreTrainedModel)):
            source = getattr(backbone, "name_or_path", "")
            if not source or not Path(source, "tokenizer_config.json").exists():
                return None  # token ids can still be read
    if isinstance(source, (str, os.PathLike)):
        source = _load_tokenizer(source, label)
    if not getattr(source, "is_fast", False):
        raise ValueError(
            f"tokenizer {type(source).__name__} does not tell which characters a token covers, and so which word. Use "
            'a "fast" tokenizer, one with a tokenizer.json.'
        )
    return source


def _load_tokenizer(source: Any, label: str) -> Any:
    """Load a tokenizer from a directory or by name, and see that it runs."""
    transformers = import_transformers()
    folder = _folder_of(source, label, TOKENIZER_FILES)
    with _loading(label, source):
        check_files(folder)
        check_tokenizer(folder)
        there = (folder / CONFIG).exists()
        config = read_config(folder, os.fspath(source)) if there else transformers.PreTrainedConfig()
        # transformers 5.10 would follow another tokenizer_file of tokenizer_config.json, wherever that is.
        own = {"tokenizer_file": str(folder / TOKENIZER_FILES[0])}
        options = {"local_files_only": True, "trust_remote_code": False, **own}
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), config=config, **options)
        if getattr(tokenizer, "is_fast", False):
            tokenizer(["a", ""], truncation=True, max_length=8, return_offsets_mapping=True, verbose=False)
            tokenizer.num_special_tokens_to_add()
        limit = tokenizer.model_max_length
        if not isinstance(limit, (int, float)) or isinstance(limit, bool):
            raise TypeError(f"it has model_max_length={limit!r}.")
    return tokenizer


@contextmanager
def _loading(label: str, source: Any) -> Iterator[None]:
    """Turn whatever a broken file raises into one error that says what is expected."""
    try:
        with _quiet():
            yield
    except BaseException as error:  # files may be broken in any way, and Rust panics are no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = str(error).strip() or type(error).__name__
        if "trust_remote_code" in reason:
            reason = "it needs code that comes with it, which is never run."
        reason = reason if type(error) in (ValueError, OSError) else f"{type(error).__name__}: {reason}"
        reason = reason if len(reason) <= MAX_REASON else reason[:MAX_REASON] + " ..."
        raise ValueError(
            f"{label}={os.fspath(source)!r} cannot be loaded: {reason} The directory must hold config.json, "
            "tokenizer.json and model.safetensors; other formats of weights, which may run code, are not read."
        ) from error


def _folder_of(source: Any, label: str, needed: Iterable[str]) -> Path:
    """Return a directory as it is; that of a name in the local cache, if a needed file is there, or from the hub."""
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"{label} must be a directory, a name on the Hugging Face hub, or a transformers "
            f"{'tokenizer' if label == 'tokenizer' else 'configuration or model'}, got {source!r}."
        )
    name = os.fspath(source)
    if Path(name).is_dir():
        return Path(name)
    if name.startswith((".", "/", "~")) or Path(name).is_absolute() or "\\" in name:
        raise ValueError(f"{label}={name!r}: there is no such directory.")
    import huggingface_hub

    try:
        cached = huggingface_hub.try_to_load_from_cache(name, CONFIG)
        if isinstance(cached, str) and any(Path(cached).with_name(file).is_file() for file in needed):
            return Path(cached).parent
        files = huggingface_hub.HfApi().model_info(name, timeout=HUB_TIMEOUT).siblings or []
        with _quiet():
            return Path(huggingface_hub.snapshot_download(name, allow_patterns=_wanted(f.rfilename for f in files)))
    except Exception as error:  # unknown names, refusals and network errors share no class
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{label}={name!r} is neither a directory, nor in the local cache of the Hugging Face hub, nor to be had "
            f"from it ({type(error).__name__}: {reason}). On a machine with a connection run `hf download {name} "
            f"--local-dir {name.rpartition('/')[2]}`, copy that directory here, and pass its path."
        ) from error


def _wanted(files: Iterable[str]) -> list[str]:
    """Files of a repository that are read: those in subfolders, and other formats of weights, are not."""
    files = [file for file in files if "/" not in file]
    ends = (".json", ".txt", ".model")
    weights = [WEIGHTS] if WEIGHTS in files else [f for f in files if f.endswith(".safetensors")]
    return [file for file in files if file.endswith(ends)] + weights


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
