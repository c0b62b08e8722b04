"""What a fusion module is checked for when it is built, so that a user's own gets a sentence instead of a traceback."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..encoders._base import Inputs, Masks, Shapes
from ..encoders._modality_encoders import described
from ..utils._parameter_objects import fitting_into_memory
from ..utils._rng import RandomStream, drawing_from
from ..utils._threads import threads_for
from ._base import Fusion, FusionModule, FusionOutput

# Rows of the batch that a module is tried on: all there, without the first modality, only that, a step less, all there.
N_TRIAL_ROWS = 5


class Built:
    """Builds the module of a fusion, as :func:`build_module` does, and can be saved."""

    def __init__(self, fusion: Fusion) -> None:
        self.fusion = fusion

    def __call__(self, shapes: Shapes, n_outputs: int, **options: Any) -> FusionModule:
        return build_module(self.fusion, shapes, n_outputs, **options)


def build_module(fusion: Fusion, shapes: Shapes, n_outputs: int, **options: Any) -> FusionModule:
    """Build the module of a fusion, and see that it keeps to the contract of :class:`FusionModule`."""
    owner = type(fusion).__name__
    try:
        inspect.signature(fusion.build).bind(shapes, n_outputs, **options)
    except TypeError as error:
        expected = "shapes, n_outputs, *, " + ", ".join(options)
        raise TypeError(f"{owner}.build cannot be called as build({expected}): {error}.") from error
    with fitting_into_memory(f"the network of {owner}"):
        module = fusion.build(shapes, n_outputs, **options)
    check_fusion_module(module, shapes, n_outputs, owner)
    return module


def check_fusion_module(module: Any, shapes: Shapes, n_outputs: int, owner: str) -> None:
    """Raise a ValueError that says how a module breaks the contract of :class:`FusionModule`.

    It is tried on a batch of five rows, in evaluation mode: neither its state nor any random generator changes. Not
    if it has ``prepare``: it then reads something else than the modalities. ``owner`` is the fusion class.
    """
    modes = {part: part.training for part in module.modules()} if isinstance(module, nn.Module) else {}
    try:
        _check_attributes(module, shapes)
        if not hasattr(module, "prepare"):
            module.eval()
            n_steps = max(shape[0] if len(shape) == 2 else 1 for shape in shapes.values())
            threads = threads_for([module], N_TRIAL_ROWS * n_steps)
            with torch.no_grad(), drawing_from(RandomStream(0)), threads:
                _try_out(module, shapes, n_outputs)
    except _BrokenContractError as error:
        raise ValueError(
            f"the module that {owner}.build returned breaks the contract of sklearn_mdm.fusion.FusionModule: {error}"
        ) from error.__cause__
    finally:
        for part, mode in modes.items():
            part.training = mode


class _BrokenContractError(Exception):
    """Says how."""


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise _BrokenContractError(otherwise)


def _check_attributes(module: Any, shapes: Shapes) -> None:
    _require(isinstance(module, nn.Module), f"it is {described(module)}, and no torch module.")
    widths = getattr(module, "code_dims", None)
    _require(
        isinstance(widths, Mapping)
        and list(widths) == list(shapes)
        and all(isinstance(width, (int, np.integer)) and width > 0 for width in widths.values()),
        f"its code_dims must give the width of the representation of each of {list(shapes)}, in this order; got "
        f"{widths!r}.",
    )
    _require(callable(getattr(module, "represent", None)), "it has no method represent(X, mask).")


def _try_out(module: FusionModule, shapes: Shapes, n_outputs: int) -> None:
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    X, mask = {}, {}
    for i, (name, shape) in enumerate(shapes.items()):
        numbers = torch.arange(1, N_TRIAL_ROWS * math.prod(shape) + 1, dtype=like.dtype, device=like.device)
        X[name] = numbers.sin().view(N_TRIAL_ROWS, *shape)
        mask[name] = torch.ones(X[name].shape[:-1], dtype=torch.bool, device=like.device)
        if len(shapes) > 1:
            mask[name][1 if i == 0 else 2] = False
        if len(shape) == 2 and shape[0] > 1:
            mask[name][3, -1] = False
    z = _outputs(module, X, None, n_outputs)
    predict: Any = getattr(module, "from_representations", None)
    if predict is not None:
        _require(
            torch.allclose(predict(z).prediction, module(X, None).prediction, rtol=1e-4, atol=1e-6),
            "from_representations and forward give different predictions for samples that have every modality.",
        )
    X = {name: _masked(x, mask[name]) for name, x in X.items()}
    z = _outputs(module, X, mask, n_outputs)
    for name in X if len(X) > 1 else ():
        seen = mask[name].roll(1, 0)
        changed = _represent(module, {**X, name: _masked(1 - 2 * X[name], seen)}, {**mask, name: seen})
        for other in z:
            _require(
                other == name or torch.allclose(changed[other], z[other], rtol=1e-5, atol=1e-7),
                f"the representation of {other!r} changes with modality {name!r}. It must be a function of {other!r} "
                "alone: the dependency term would otherwise measure how the network is wired, not what the modalities "
                "have in common.",
            )


def _masked(x: Tensor, seen: Tensor) -> Tensor:
    return torch.where(seen.unsqueeze(-1), x, 0)


def _outputs(module: FusionModule, X: Inputs, mask: Masks | None, n_outputs: int) -> dict[str, Tensor]:
    """Return the representations, after a look at all that the module returns."""
    z = _represent(module, X, mask)
    output = _called("forward", module, X, mask)
    _require(
        isinstance(output, FusionOutput),
        f"its forward must return FusionOutput(prediction, fused, representations), got {described(output)}.",
    )
    prediction, fused, representations, penalty = output
    _check_tensor("the prediction of forward", prediction, n_outputs)
    _check_tensor("the fused representation of forward", fused, None)
    _check_representations("forward", module, representations)
    for name in z:
        _require(
            torch.allclose(representations[name], z[name], rtol=1e-4, atol=1e-6),
            f"represent and forward give different representations of {name!r} in evaluation mode.",
        )
    _require(
        penalty is None or (isinstance(penalty, Tensor) and penalty.dim() == 0),
        f"the penalty of forward must be None or a tensor of shape (), got {described(penalty)}.",
    )
    return z


def _represent(module: FusionModule, X: Inputs, mask: Masks | None) -> dict[str, Tensor]:
    z = _called("represent", module.represent, X, mask)
    _check_representations("represent", module, z)
    return z


def _called(method: str, function: Callable[..., object], X: Inputs, mask: Masks | None) -> Any:
    try:
        return function(X, mask)
    except Exception as error:  # whatever the code of a user may raise
        given = "mask=None" if mask is None else "a mask of what was observed"
        raise _BrokenContractError(
            f"its {method} failed on {N_TRIAL_ROWS} samples with {given}: {type(error).__name__}: {error}"
        ) from error


def _check_representations(method: str, module: FusionModule, representations: Any) -> None:
    names = list(module.code_dims)
    _require(
        isinstance(representations, Mapping) and list(representations) == names,
        f"{method} must return a dict of the representations of {names}, in this order; got "
        f"{list(representations) if isinstance(representations, Mapping) else described(representations)}.",
    )
    for name, z in representations.items():
        _check_tensor(f"the representation of {name!r} that {method} returns", z, module.code_dims[name])


def _check_tensor(what: str, value: Any, width: int | None) -> None:
    good = isinstance(value, Tensor) and value.dim() == 2 and len(value) == N_TRIAL_ROWS
    _require(
        good and width in (None, value.shape[1]),
        f"{what} must be a tensor ({N_TRIAL_ROWS}, {'k' if width is None else width}) for {N_TRIAL_ROWS} samples, got "
        f"{described(value)}.",
    )
    _require(bool(torch.isfinite(value).all()), f"{what} is not finite on numbers of the size of standardised ones.")
