"""The encoders of all modalities, and what replaces the representation of a modality that was not observed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from ..utils._parameter_objects import resolve_component
from ._base import Encoder, EncoderChoice, Inputs, Masks, Missing, Shapes
from ._mlp import MLPEncoder
from ._sequence import GRUEncoder, LSTMEncoder, TransformerEncoder
from ._steps import observed

ENCODERS: dict[str, type[Encoder]] = {
    "auto": MLPEncoder,
    "mlp": MLPEncoder,
    "lstm": LSTMEncoder,
    "gru": GRUEncoder,
    "transformer": TransformerEncoder,
}

# Where learned representations start. At zero a ReLU would pass them no gradient, and they would stay there.
INITIAL_TOKEN = 0.1


class ModalityEncoders(nn.Module):
    """The encoders of all modalities, and what replaces the representation of a missing one.

    Fusion modules hold one of these as their first part.

    Parameters
    ----------
    shapes : mapping of str to tuple
        Shape of one sample of each modality: (n_features,) or (n_steps, n_features).
    encoder : {"auto", "mlp", "lstm", "gru", "transformer"}, Encoder, or mapping of str to any, default="auto"
        What turns a modality into its representation; a mapping gives one per modality, and "auto" to those that it
        leaves out.
    missing : {"mean", "token", "skip"}, default="mean"
        Replacement for a modality that was not observed. ``"mean"``: its encoder reads the mean of standardised data,
        that is zeros, for a sequence with a standard deviation of one; an encoder that goes step by step reads no step.
        ``"token"``: a learned vector takes the place of its representation. ``"skip"``: zeros do, which add nothing to
        a linear layer.
    sequence_encoder : str, default="gru"
        What "auto" means where a modality is a sequence; for a vector it is "mlp".

    Attributes
    ----------
    code_dims : dict of str to int
        Width of each representation.

    Raises
    ------
    ValueError
        If an encoder is not known, or cannot read its modality; the modality is named. If ``missing`` is not known.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.encoders import ModalityEncoders
    >>> encoders = ModalityEncoders({"m0": (3,), "m1": (5,)})
    >>> z = encoders.represent({"m0": torch.randn(2, 3), "m1": torch.randn(2, 5)})
    >>> z["m0"].shape
    torch.Size([2, 32])
    """

    member_axis = True  # see utils/_stacking.py

    def __init__(
        self,
        shapes: Shapes,
        encoder: EncoderChoice = "auto",
        missing: Missing = "mean",
        *,
        sequence_encoder: str = "gru",
    ) -> None:
        super().__init__()
        check_missing(missing)
        self.missing = missing
        chosen = encoder if isinstance(encoder, Mapping) else dict.fromkeys(shapes, encoder)
        self.encoders = nn.ModuleDict()
        self.code_dims: dict[str, int] = {}
        self.n_axes = {name: len(shape) for name, shape in shapes.items()}  # of one sample
        for name, shape in shapes.items():
            choice = chosen.get(name, "auto")
            if isinstance(choice, str) and choice == "auto" and len(shape) == 2:
                choice = sequence_encoder
            self.encoders[name], self.code_dims[name] = build_encoder(choice, name, shape)
        self.tokens = (
            nn.ParameterDict(
                {name: nn.Parameter(torch.full((width,), INITIAL_TOKEN)) for name, width in self.code_dims.items()}
            )
            if missing == "token"
            else None
        )

    def represent(self, X: Inputs, mask: Masks | None = None) -> dict[str, Tensor]:
        """Return the representation of each modality, (B, k); that of a missing one is what its encoder makes of zeros.

        Raises
        ------
        ValueError
            If an encoder returns something else than its ``out_dim`` promises; the modality is named.
        """
        z = {}
        for name, encoder in self.encoders.items():
            if mask is None:
                z[name] = encoder(X[name])
            else:
                z[name] = encoder(torch.where(_like(mask[name], X[name]), X[name], 0), mask[name])
            rows = X[name].shape[: -self.n_axes[name]]  # (B,), or (K, B) of K members
            if getattr(z[name], "shape", ())[len(rows) :] != (self.code_dims[name],):
                raise ValueError(
                    f"modality {name!r}: its encoder returned {described(z[name])} for {rows[-1]} samples; its "
                    f"out_dim promises a tensor {(*rows, self.code_dims[name])}."
                )
        return z

    def fill(self, representations: Mapping[str, Tensor], mask: Masks | None) -> dict[str, Tensor]:
        """Put the replacement where a modality was not observed."""
        if mask is None or self.missing == "mean":
            return dict(representations)
        filled = {}
        for name, z in representations.items():
            seen = observed(mask[name], z.dim() - 1).unsqueeze(-1)
            filled[name] = torch.where(seen, z, 0 if self.tokens is None else self.tokens[name].unsqueeze(-2))
        return filled


def build_encoder(choice: str | Encoder, name: str, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
    """Build the encoder of the modality ``name``, and return it with the width of its representation."""
    try:
        encoder = resolve_component("encoder", choice, ENCODERS, "build")
        module = encoder.build(shape)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) and not isinstance(error, ValueError) else ValueError
        raise kind(f"modality {name!r}: {error}") from error
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"modality {name!r}: {type(encoder).__name__}.build must return a torch module, got {described(module)}."
        )
    width = getattr(module, "out_dim", None)
    if not isinstance(width, (int, np.integer)) or width < 1:
        raise ValueError(
            f"modality {name!r}: the module that {type(encoder).__name__}.build returned needs an attribute out_dim, "
            f"the width of its representations, a positive integer; got {width!r}."
        )
    return module, int(width)


def check_missing(missing: str) -> None:
    """Reject what no fusion module can do about a modality that was not observed."""
    known = ", ".join(map(repr, get_args(Missing)))
    if missing == "critic":
        raise ValueError(
            f'missing="critic" imputes with the critic of a fitted estimator; a fusion module is built with {known}.'
        )
    if missing not in get_args(Missing):
        raise ValueError(f"missing must be one of {known}, got {missing!r}.")


def described(value: object) -> str:
    """Say what was found in place of a tensor or module: its shape, or its type."""
    return (
        f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"an object of type {type(value).__name__}"
    )


def _like(mask: Tensor, x: Tensor) -> Tensor:
    return mask.unsqueeze(-1) if mask.dim() < x.dim() else mask


def per_modality(encoder: str | Encoder | Mapping[Hashable, str | Encoder], names: Sequence[Hashable]) -> EncoderChoice:
    """Translate an ``encoder`` parameter given per modality name to the names used inside torch."""
    if not isinstance(encoder, Mapping):
        return encoder
    unknown = [name for name in encoder if name not in names]
    if unknown:
        raise ValueError(f"encoder names modalities {unknown} that X does not have; X has {list(names)}.")
    return {f"m{i}": encoder[name] for i, name in enumerate(names) if name in encoder}
