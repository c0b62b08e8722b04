"""From one modality to its code z_m. A code is a function of its own modality and of nothing else."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..utils._parameter_objects import resolve_component
from ._mlp import MLPEncoder
from ._sequence import GRUEncoder, LSTMEncoder, TransformerEncoder
from ._steps import observed

__all__ = ["ModalityCodes"]

ENCODERS = {
    "auto": MLPEncoder,
    "mlp": MLPEncoder,
    "lstm": LSTMEncoder,
    "gru": GRUEncoder,
    "transformer": TransformerEncoder,
}


# What a fusion module can put in place of a modality that was not observed.
MISSING = ("mean", "token", "skip")


# Where learned codes start. At zero a ReLU would pass them no gradient, and they would stay there.
TOKEN = 0.1


class ModalityCodes(nn.Module):
    """The encoders of all modalities, and what stands in for the code of a missing one.

    Fusion modules hold one of these as their first part.

    Parameters
    ----------
    shapes : mapping of str to tuple
        Shape of one sample of each modality: (n_features,) or (n_steps, n_features).
    encoder : {"auto", "mlp", "lstm", "gru", "transformer"}, encoder object, or mapping of str to any, default="auto"
        What turns a modality into its code; a mapping gives one per modality, and "auto" to those that it leaves out.
        An encoder object has a ``build(shape)`` that returns a module whose ``forward(x, mask=None)`` gives codes
        (B, out_dim); x is zero where the mask says that nothing was observed.
    missing : {"mean", "token", "skip"}, default="mean"
        Stand-in for a modality that was not observed. ``"mean"``: its encoder reads the mean of standardised data, that
        is zeros, for a sequence with a standard deviation of one; an encoder that goes step by step reads no step.
        ``"token"``: a learned vector takes the place of its code. ``"skip"``: zeros do, which add nothing to a linear
        layer.
    sequence_encoder : str, default="gru"
        What "auto" stands for where a modality is a sequence; for a vector it is "mlp".

    Attributes
    ----------
    code_dims : dict of str to int
        Width of each code.

    Raises
    ------
    ValueError
        If an encoder is not known, or cannot read its modality; the modality is named. If ``missing`` is not known.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.encoders import ModalityCodes
    >>> codes = ModalityCodes({"m0": (3,), "m1": (5,)})
    >>> z = codes.represent({"m0": torch.randn(2, 3), "m1": torch.randn(2, 5)})
    >>> z["m0"].shape
    torch.Size([2, 32])
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        encoder: Any = "auto",
        missing: str = "mean",
        *,
        sequence_encoder: str = "gru",
    ) -> None:
        super().__init__()
        check_missing(missing)
        self.missing = missing
        chosen = encoder if isinstance(encoder, Mapping) else dict.fromkeys(shapes, encoder)
        self.encoders = nn.ModuleDict()
        for name, shape in shapes.items():
            choice = chosen.get(name, "auto")
            if isinstance(choice, str) and choice == "auto" and len(shape) == 2:
                choice = sequence_encoder
            part = resolve_component("encoder", choice, ENCODERS, "build")
            try:
                self.encoders[name] = part.build(shape)
            except ValueError as error:
                raise ValueError(f"modality {name!r}: {error}") from error
        self.code_dims: dict[str, int] = {name: int(module.out_dim) for name, module in self.encoders.items()}  # type: ignore[arg-type]
        self.tokens = (
            nn.ParameterDict({name: nn.Parameter(torch.full((dim,), TOKEN)) for name, dim in self.code_dims.items()})
            if missing == "token"
            else None
        )

    def represent(self, X: Mapping[str, Tensor], mask: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return the code of each modality as (B, k); rows of a missing modality hold the code of its mean."""
        if mask is None:
            return {name: encoder(X[name]) for name, encoder in self.encoders.items()}
        return {
            name: encoder(torch.where(_like(mask[name], X[name]), X[name], 0), mask[name])
            for name, encoder in self.encoders.items()
        }

    def fill(self, codes: Mapping[str, Tensor], mask: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """Put the stand-in where a modality was not observed."""
        if mask is None or self.missing == "mean":
            return dict(codes)
        return {
            name: torch.where(observed(mask[name]).unsqueeze(1), code, 0 if self.tokens is None else self.tokens[name])
            for name, code in codes.items()
        }


def check_missing(missing: str) -> None:
    """Reject what no fusion module can do about a modality that was not observed."""
    if missing == "critic":
        raise ValueError(
            'missing="critic" imputes with the critic of a fitted estimator; a fusion module is built with '
            f"{', '.join(map(repr, MISSING))}."
        )
    if missing not in MISSING:
        raise ValueError(f"missing must be one of {', '.join(map(repr, MISSING))}, got {missing!r}.")


def _like(mask: Tensor, x: Tensor) -> Tensor:
    return mask.unsqueeze(-1) if mask.dim() < x.dim() else mask


def per_modality(encoder: Any, names: Sequence[Hashable]) -> dict[str, Any] | Any:
    """Translate an ``encoder`` parameter given per modality name to the names used inside torch."""
    if not isinstance(encoder, Mapping):
        return encoder
    unknown = [name for name in encoder if name not in names]
    if unknown:
        raise ValueError(f"encoder names modalities {unknown} that X does not have; X has {list(names)}.")
    return {f"m{i}": encoder[name] for i, name in enumerate(names) if name in encoder}
