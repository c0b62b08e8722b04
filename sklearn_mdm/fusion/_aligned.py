"""What systems that read all modalities step by step share: one time axis for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..encoders._modality_encoders import check_missing

__all__: list[str] = []


def check_aligned(owner: str, shapes: Mapping[str, tuple[int, ...]], encoder: Any, missing: str) -> None:
    """Reject modalities without a common time axis, and options that ``owner`` would not use.

    Parameters
    ----------
    owner : str
        Name of the fusion class, for the messages.
    shapes : mapping of str to tuple
        Shape of one sample of each modality: all (n_features,), which counts as one step, or all (n_steps, n_features)
        with the same n_steps.
    encoder : str or object
        The ``encoder`` parameter; only "auto" is accepted.
    missing : str
        The ``missing`` parameter.
    """
    check_missing(missing)
    if not (isinstance(encoder, str) and encoder == "auto"):
        raise ValueError(
            f'{owner} reads the modalities itself, step by step, and takes no encoder: leave encoder="auto", got '
            f"{encoder!r}."
        )
    if len({shape[:-1] for shape in shapes.values()}) > 1:
        raise _misaligned(owner, {name: shape[0] if len(shape) == 2 else None for name, shape in shapes.items()})


def align(
    owner: str, X: Mapping[str, Tensor], mask: Mapping[str, Tensor] | None
) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Return sequences (B, T, d), zero where nothing was observed, and masks (B, T), all of the same T.

    A vector is one step. A modality of which the batch holds nothing may have any number of steps.
    """
    steps = {name: x if x.dim() == 3 else x.unsqueeze(1) for name, x in X.items()}
    n_steps = max(x.shape[1] for x in steps.values())
    short = [name for name, x in steps.items() if x.shape[1] < n_steps]
    if any(mask is None or bool(mask[name].any()) for name in short):
        raise _misaligned(owner, {name: x.shape[1] for name, x in steps.items()})
    if mask is None:
        return steps, None
    seen = {name: mask[name] if mask[name].dim() == 2 else mask[name].unsqueeze(1) for name in steps}
    for name in short:
        missing = n_steps - steps[name].shape[1]
        steps[name], seen[name] = pad(steps[name], (0, 0, 0, missing)), pad(seen[name], (0, missing))
    return {name: torch.where(seen[name].unsqueeze(-1), x, 0) for name, x in steps.items()}, seen


def any_observed(seen: Mapping[str, Tensor] | None) -> Tensor | None:
    """Steps (B, T) at which any modality was observed; None if all were."""
    return None if seen is None else torch.stack(list(seen.values())).any(0)


def _misaligned(owner: str, n_steps: Mapping[str, int | None]) -> ValueError:
    found = ", ".join(f"{name!r} {'a vector' if n is None else f'{n} steps'}" for name, n in n_steps.items())
    return ValueError(
        f"{owner} reads all modalities at once, step by step, and needs the same number of steps in each; found "
        f"{found}. If step t is the same moment in all of them, bring them to one length with "
        "sklearn_mdm.pad_sequences(..., n_steps=...); otherwise use a fusion that summarises each modality "
        'first: "concat", "late", "tensor", "low_rank" or "misa".'
    )
