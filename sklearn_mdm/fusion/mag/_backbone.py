"""A pretrained transformer whose states can be changed between two of its layers."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ._loading import files_of_model, model_of_files

# Larger numbers of tokens mean "no limit" in configurations and tokenizers.
MAX_POSITIONS = 10**6


Step = Callable[[Tensor], Tensor]


# What happens to the states in front of the chosen layer, in the pass that is running: a pass of another thread has
# another one.
_STEP: ContextVar[Step | None] = ContextVar("_STEP", default=None)


class _StopPassError(Exception):
    """Ends a pass of which only the states below the chosen layer are wanted."""


class Backbone(nn.Module):
    """A transformer, changed in place, whose states can be changed in front of one of its layers.

    ``layer``, ``frozen_layers`` and ``bf16`` are those of :class:`MAGFusion`. If ``precomputed``, the states in front
    of the layer never change, and are to be computed once. Not in models whose layers depend on their number, such as
    DeBERTa with a convolution behind the first.
    """

    def __init__(self, model: Any, layer: int, frozen_layers: int | Literal["all"], bf16: bool) -> None:
        super().__init__()
        self.model = model
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # nothing reads it
        path, blocks = _blocks_of(model)
        self.layer, self.n_frozen = _checked_layers(layer, frozen_layers, len(blocks))
        self.hidden_size = int(model.config.hidden_size)
        self.n_positions = position_limit(model)
        self.bf16 = bf16
        self.steps_first = model.config.model_type == "xlnet"  # states are (T, B, d) between its layers
        accepted = inspect.signature(model.forward).parameters
        self.takes_types = "token_type_ids" in accepted
        pad = getattr(model.config, "pad_token_id", None)
        self.pad_id = pad if isinstance(pad, int) and 0 <= pad < model.config.vocab_size else 0  # some have -1
        n_frozen = self.n_frozen
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

    def _to_save(self) -> dict[str, Any]:
        """What a file of :mod:`...persistence` keeps: what the model is made of, not the objects of its library."""
        own = {name: getattr(self, name) for name in ("layer", "n_frozen", "bf16", "training")}
        return {**own, "files": files_of_model(self.model)}

    def _loaded(self, place: Any) -> None:
        layer, n_frozen, bf16, training, files = (
            vars(self)[name] for name in ("layer", "n_frozen", "bf16", "training", "files")
        )
        vars(self).clear()
        Backbone.__init__(self, model_of_files(files), layer, n_frozen or 0, bf16)
        self.train(training)

    def below(self, tokens: Tensor, types: Tensor, attended: Tensor) -> Tensor:
        """States (B, T, d) in front of the layer; the layers above do not run."""

        def stop(states: Tensor) -> Tensor:
            raise _StopPassError(states)

        if not self._upper_prefixes:
            return self._run(self.model, tokens, types, attended, None).float()
        try:
            return self._run(self.model, tokens, types, attended, stop)
        except _StopPassError as stopped:
            return stopped.args[0].float()

    def forward(
        self, tokens: Tensor, types: Tensor, attended: Tensor, step: Step, states: Tensor | None = None
    ) -> Tensor:
        """Last states (B, T, d), of a pass in which ``step`` changes the states in front of the layer.

        ``tokens``, their ``types`` and ``attended``, which are read, are (B, T). Where the states in front of the layer
        are known, ``states`` (B, T, d), the layers below do not run.
        """
        if not self._upper_prefixes:
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
        return torch.allclose(parts, whole, rtol=1e-5, atol=1e-5, equal_nan=True)

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
    return limit if limit is not None and 0 < limit < MAX_POSITIONS else None


def _checked_layers(layer: int, frozen_layers: int | Literal["all"], n_layers: int) -> tuple[int, int | None]:
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
