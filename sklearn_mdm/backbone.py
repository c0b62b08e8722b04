"""Pretrained transformers of Hugging Face: loading them, and stepping in between their layers."""

from __future__ import annotations

import copy
import hashlib
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__: list[str] = []

# Seconds after which a hub that does not answer counts as out of reach.
HUB_TIMEOUT = 5.0
# Larger numbers of tokens stand for "no limit" in configurations and tokenizers.
NO_LIMIT = 10**6

Step = Callable[[Tensor], Tensor]
# What happens to the states in front of the chosen layer, in the pass that is running: a pass of another thread has
# another one.
_STEP: ContextVar[Step | None] = ContextVar("_STEP", default=None)


class _StopPassError(Exception):
    """Ends a pass of which only the states below the chosen layer are wanted."""


class Backbone(nn.Module):
    """A transformer whose states can be changed in front of one of its layers.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        An encoder with ``config.num_hidden_layers`` layers; it is changed in place.
    layer : int
        How many layers come before the change: 0 means the embeddings, -1 all layers.
    frozen_layers : int or "all"
        How many layers are fixed, the embeddings with them; 0 fixes nothing.
    bf16 : bool
        Whether matrix products are computed in bfloat16 in training.

    Attributes
    ----------
    hidden_size : int
        Width of the states.
    n_positions : int or None
        Most tokens that it has positions for.
    precomputed : bool
        Whether the states in front of the layer never change, and are to be computed once. Not in models whose layers
        depend on their number, such as DeBERTa with a convolution behind the first.
    """

    def __init__(self, model: Any, layer: int, frozen_layers: int | str, bf16: bool) -> None:
        super().__init__()
        self.model = model
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # nothing reads it
        path, blocks = _blocks_of(model)
        self.layer, n_frozen = _checked_layers(layer, frozen_layers, len(blocks))
        self.hidden_size = int(model.config.hidden_size)
        self.n_positions = position_limit(model)
        self.bf16 = bf16
        self.steps_first = model.config.model_type == "xlnet"  # states are (T, B, d) between its layers
        accepted = inspect.signature(model.forward).parameters
        self.takes_types = "token_type_ids" in accepted
        pad = getattr(model.config, "pad_token_id", None)
        self.pad_id = 0 if pad is None else int(pad)
        if n_frozen is not None:
            model.requires_grad_(False)
            for block in blocks[n_frozen:]:
                block.requires_grad_(True)
        self.precomputed = n_frozen is not None and 0 < self.layer <= n_frozen
        self.upper: Any = None
        if self.layer < len(blocks):
            blocks[self.layer].register_forward_pre_hook(_step_in, with_kwargs=True)
            if self.precomputed:  # the layers below have nothing to do in training
                self.upper = _with_blocks(model, path, blocks[self.layer :])
        self._upper_prefixes = tuple(f"{path}.{i}." for i in range(self.layer, len(blocks)))
        if self.upper is not None and not self._upper_agrees():
            self.precomputed, self.upper = False, None

    def below(self, tokens: Tensor, types: Tensor, attended: Tensor) -> Tensor:
        """States (B, T, d) in front of the layer; the layers above do not run."""

        def stop(states: Tensor) -> Tensor:
            raise _StopPassError(states)

        if not self._has_layer_above:
            return self._run(self.model, tokens, types, attended, None).float()
        try:
            return self._run(self.model, tokens, types, attended, stop)
        except _StopPassError as stopped:
            return stopped.args[0].float()

    def forward(
        self, tokens: Tensor, types: Tensor, attended: Tensor, step: Step, states: Tensor | None = None
    ) -> Tensor:
        """Last states (B, T, d), of a pass in which ``step`` changes the states in front of the layer.

        Parameters
        ----------
        tokens, types : Tensor of int of shape (B, T)
            Token ids and types.
        attended : Tensor of bool of shape (B, T)
            Steps that are read.
        step : callable
            Maps states (B, T, d) to states.
        states : Tensor of shape (B, T, d), default=None
            States in front of the layer, where they are known: the layers below do not run.
        """
        if not self._has_layer_above:
            return step(self.below(tokens, types, attended) if states is None else states)
        if states is None:
            return self._run(self.model, tokens, types, attended, step).float()
        return self._run(self.upper, tokens, types, attended, lambda _: step(states)).float()

    def _upper_agrees(self) -> bool:
        """Whether the upper layers do alone what they do in the whole: in some models the first one does more."""
        device = next(self.parameters()).device
        tokens = torch.arange(4, device=device).unsqueeze(0) % self.model.config.vocab_size
        types, attended = torch.zeros_like(tokens), torch.ones_like(tokens, dtype=torch.bool)
        training = self.model.training
        self.eval()
        with torch.no_grad():
            whole = self(tokens, types, attended, lambda states: states)
            parts = self(tokens, types, attended, lambda states: states, self.below(tokens, types, attended))
        self.train()
        self.model.train(training)
        return torch.allclose(parts, whole, rtol=1e-5, atol=1e-5)

    @property
    def _has_layer_above(self) -> bool:
        return bool(self._upper_prefixes)

    def _run(self, model: Any, tokens: Tensor, types: Tensor, attended: Tensor, step: Step | None) -> Tensor:
        options = {"token_type_ids": types} if self.takes_types else {}
        token = _STEP.set(step if step is None else self._oriented(step))
        try:
            with torch.autocast(tokens.device.type, dtype=torch.bfloat16, enabled=self.bf16 and self.training):
                return model(input_ids=tokens, attention_mask=attended.long(), **options).last_hidden_state
        finally:
            _STEP.reset(token)

    def _oriented(self, step: Step) -> Step:
        if not self.steps_first:
            return step
        return lambda states: step(states.transpose(0, 1)).transpose(0, 1)

    def fingerprint(self) -> str:
        """Digest of all that decides the states in front of the layer: architecture, weights and layer."""
        digest = hashlib.sha256(f"{type(self.model).__name__} {self.layer}".encode())
        config = self.model.config.to_dict()
        for key in ("_name_or_path", "transformers_version"):
            config.pop(key, None)
        digest.update(repr(sorted(config.items(), key=lambda item: item[0])).encode())
        for name, value in self.model.state_dict().items():
            if not name.startswith(self._upper_prefixes):
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


def _step_in(block: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
    """Forward pre-hook of the layer: its first argument is the states."""
    step = _STEP.get()
    if step is None:
        return None
    if args:
        return (step(args[0]).to(args[0].dtype), *args[1:]), kwargs
    states = kwargs["hidden_states"]
    return args, {**kwargs, "hidden_states": step(states).to(states.dtype)}


def _blocks_of(model: Any) -> tuple[str, Any]:
    """Name and list of the layers of a transformer."""
    n_layers = getattr(model.config, "num_hidden_layers", None)
    found = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.ModuleList)]
    found = [(name, part) for name, part in found if len(part) == n_layers and len(part) > 0]
    if len(found) != 1 or getattr(model.config, "is_encoder_decoder", False):
        raise ValueError(
            f"backbone {type(model).__name__} has no single stack of layers to put a gate in. Use an encoder such as "
            "BERT, RoBERTa, DistilBERT, MiniLM or XLNet."
        )
    return found[0]


def position_limit(model: Any) -> int | None:
    """Most tokens that a transformer has positions for; None if there is no limit."""
    limit = getattr(model.config, "max_position_embeddings", None)
    for name, part in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding) and part.padding_idx is not None:
            limit = part.num_embeddings - part.padding_idx - 1  # RoBERTa counts from behind the position of padding
    return limit if limit is not None and 0 < limit < NO_LIMIT else None


def _checked_layers(layer: int, frozen_layers: int | str, n_layers: int) -> tuple[int, int | None]:
    """Resolve both numbers; the second is None if nothing is frozen."""
    if isinstance(layer, bool) or not isinstance(layer, Integral) or not -1 <= layer <= n_layers:
        raise ValueError(f"MAGFusion has a layer from 0 to {n_layers} in this backbone, or -1, got layer={layer!r}.")
    frozen: Any = n_layers if frozen_layers == "all" else frozen_layers
    if isinstance(frozen, bool) or not isinstance(frozen, Integral) or not 0 <= frozen <= n_layers:
        raise ValueError(
            f'MAGFusion has frozen_layers from 0 to {n_layers} in this backbone, or "all", got '
            f"frozen_layers={frozen_layers!r}."
        )
    return n_layers if layer == -1 else layer, frozen or None


def _with_blocks(model: Any, path: str, blocks: Any) -> Any:
    """Return a view of a model that shares its parts but has other layers."""
    twin = copy.copy(model)
    twin._modules = dict(model._modules)
    first, _, rest = path.partition(".")
    twin._modules[first] = _with_blocks(model._modules[first], rest, blocks) if rest else blocks
    return twin


# --- loading ----------------------------------------------------------------------------------------------------------


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


def load_config(backbone: Any) -> Any:
    """Configuration of a backbone: a directory, a name on the hub, or a transformers configuration or model."""
    transformers = import_transformers()
    if isinstance(backbone, transformers.PreTrainedConfig):
        return backbone
    if isinstance(backbone, transformers.PreTrainedModel):
        return backbone.config
    return _load(transformers.AutoConfig, backbone)


def load_outline(backbone: Any) -> Any:
    """Load a model without its weights."""
    transformers = import_transformers()
    if isinstance(backbone, transformers.PreTrainedModel):
        return getattr(backbone, "base_model", backbone)
    with torch.device("meta"):
        return transformers.AutoModel.from_config(copy.deepcopy(load_config(backbone)))


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
