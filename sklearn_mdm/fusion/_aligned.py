"""What systems that read all modalities step by step share: one time axis for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..encoders._base import EncoderChoice, Inputs, Masks, Missing, Shapes
from ..encoders._modality_encoders import check_missing
from ..encoders._steps import mean_over_steps
from ._base import FusionModule


def check_aligned(owner: str, shapes: Shapes, encoder: EncoderChoice, missing: Missing) -> None:
    """Reject modalities without a common time axis, and options that the fusion class ``owner`` would not use.

    Samples of all modalities must be vectors, which count as one step, or sequences of the same number of steps.
    """
    check_missing(missing)
    if encoder != "auto":
        raise ValueError(
            f'{owner} reads the modalities itself, step by step, and takes no encoder: leave encoder="auto", got '
            f"{encoder!r}."
        )
    if len({shape[:-1] for shape in shapes.values()}) > 1:
        raise _misaligned(owner, {name: shape[0] if len(shape) == 2 else None for name, shape in shapes.items()})


def widths_per_modality(owner: str, shapes: Shapes, hidden_dims: int | Sequence[int]) -> dict[str, int]:
    """Width of the state of each modality, from one for all, or one per modality."""
    widths = np.atleast_1d(hidden_dims).tolist()
    if len(widths) not in (1, len(shapes)):
        raise ValueError(
            f"{owner} needs one width of the hidden state, or one per modality; got hidden_dims={hidden_dims!r} for "
            f"{len(shapes)} modalities."
        )
    return dict(zip(shapes, widths if len(widths) > 1 else widths * len(shapes), strict=True))


def align(owner: str, X: Inputs, mask: Masks | None) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
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


def any_observed(seen: Masks | None) -> Tensor | None:
    """Steps (B, T) at which any modality was observed; None if all were."""
    return None if seen is None else torch.stack(list(seen.values())).any(0)


class EmbeddedSteps(FusionModule):
    """Base of modules that read an embedding of every modality at every step, without bias and nonlinearity.

    A representation is the mean of the embeddings over the observed steps of its modality. With ``missing="token"`` a
    learned vector replaces the embedding at steps where a modality was not observed. ``owner`` is the fusion class.
    """

    def __init__(self, owner: str, shapes: Shapes, embed_dim: int, missing: Missing) -> None:
        super().__init__()
        self.owner = owner
        self.code_dims = dict.fromkeys(shapes, embed_dim)
        self.embeddings = nn.ModuleDict(
            {name: nn.Linear(shape[-1], embed_dim, bias=False) for name, shape in shapes.items()}
        )
        tokens = shapes if missing == "token" else ()
        self.tokens = nn.ParameterDict({name: nn.Parameter(torch.zeros(embed_dim)) for name in tokens})

    def represent(self, X: Inputs, mask: Masks | None = None) -> dict[str, Tensor]:
        return self._pool(*align(self.owner, X, mask))

    def _embed(self, X: Inputs, mask: Masks | None) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Embeddings side by side (B, T, m * embed_dim), steps at which any modality was observed, representations."""
        steps, seen = align(self.owner, X, mask)
        embedded = {name: embed(steps[name]) for name, embed in self.embeddings.items()}
        if seen is not None:
            for name, token in self.tokens.items():
                embedded[name] = torch.where(seen[name].unsqueeze(-1), embedded[name], token)
        return torch.cat(list(embedded.values()), dim=2), any_observed(seen), self._pool(steps, seen)

    def _pool(self, steps: Inputs, seen: Masks | None) -> dict[str, Tensor]:
        # The mean of the embeddings is the embedding of the mean, for a fraction of the work.
        return {
            name: embed(mean_over_steps(steps[name], None if seen is None else seen[name]))
            for name, embed in self.embeddings.items()
        }


def _misaligned(owner: str, n_steps: Mapping[str, int | None]) -> ValueError:
    found = ", ".join(f"{name!r} {'a vector' if n is None else f'{n} steps'}" for name, n in n_steps.items())
    return ValueError(
        f"{owner} reads all modalities at once, step by step, and needs the same number of steps in each; found "
        f"{found}. If step t is the same moment in all of them, bring them to one length with "
        "sklearn_mdm.pad_sequences(..., n_steps=...); otherwise use a fusion that summarises each modality "
        'first: "concat", "late", "tensor", "low_rank" or "misa".'
    )
