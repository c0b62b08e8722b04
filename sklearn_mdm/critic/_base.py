"""What the critics share: representations put into one scale, and modalities encoded once for all negatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

# One tensor (n_samples, k_j) per modality.
Representations: TypeAlias = Sequence[Tensor]
# Of the representations of all modalities, or of hidden layers.
Widths: TypeAlias = Sequence[int]


class Inputs(nn.Module):
    r"""Puts representations into one scale: each is mapped into an open ball by :math:`z / \sqrt{1 + |z|^2}`.

    The map is injective, smooth and does not look at the batch. Without a bound the Wasserstein measure could be
    raised by mere scale. The radius of the ball is one ("unit"), or :math:`\sqrt{k}` for a representation of width k
    ("columns"): coordinates are then of order one, as the first layer of a multilayer perceptron expects them. None
    leaves inputs as they are: standardised columns.
    """

    member_axis = True  # see utils/_stacking.py

    def __init__(self, code_dims: Widths, ball: Literal["unit", "columns"] | None) -> None:
        super().__init__()
        self.code_dims = tuple(code_dims)
        self.bounded = ball is not None
        self.radii = [math.sqrt(k) if ball == "columns" else 1.0 for k in self.code_dims]

    def forward(self, representations: Representations, index: Tensor | None = None) -> Tensor:
        """Rows, then negatives, as one matrix."""
        if self.bounded and len(set(self.code_dims)) == 1:
            return self._forward_stacked(representations, index)
        z = self.each(representations)
        joint = torch.cat(z, dim=-1)
        return joint if index is None else torch.cat([joint, torch.cat(gather(z, index), dim=-1)], dim=-2)

    def each(self, representations: Representations) -> list[Tensor]:
        """Scaled representations, one by one."""
        if not self.bounded:
            return list(representations)
        return [
            z * (torch.rsqrt(1 + z.square().sum(-1, keepdim=True)) * radius)
            for z, radius in zip(representations, self.radii, strict=True)
        ]

    def _forward_stacked(self, representations: Representations, index: Tensor | None) -> Tensor:
        # The same for representations of one width, in a third of the operations: on small batches these are the cost.
        m = len(self.code_dims)
        z = torch.stack(list(representations), dim=-2)  # (B, m, k)
        z = z * (torch.rsqrt(1 + z.square().sum(-1, keepdim=True)) * self.radii[0])
        joint = z.flatten(-2)
        if index is None:
            return joint
        cells = (index.mT * m + torch.arange(m, device=index.device)).flatten(-2)
        product = take(z.flatten(-3, -2), cells).view(*index.shape[:-2], -1, m * self.code_dims[0])
        return torch.cat([joint, product], dim=-2)


def gather(features: Sequence[Tensor], index: Tensor) -> list[Tensor]:
    """Of each modality the rows ``index[j]``: what is encoded of the negatives."""
    return [take(f, rows) for f, rows in zip(features, index.unbind(-2), strict=True)]


def take(x: Tensor, rows: Tensor) -> Tensor:
    """Rows (n,) of x; or of x (K, B, k) the rows (K, n), of each member its own."""
    if rows.dim() == 1:
        return x.index_select(0, rows)
    members = torch.arange(len(x), device=rows.device).unsqueeze(1)
    return x.flatten(0, 1).index_select(0, (members * x.shape[1] + rows).flatten()).unflatten(0, rows.shape)


class PairedCritic(nn.Module):
    """Base of the critics: each modality is encoded once, and negatives only combine what is encoded.

    Subclasses implement ``encode``, ``_combine`` (T before it is bounded) and ``silence``.

    Parameters
    ----------
    code_dims : sequence of int
        Width of each modality's representation.
    bound : float or None, default=None
        If given, T is ``bound * tanh(output / bound)``: bounded, with a gradient everywhere.
    raw : bool, default=False
        Whether inputs are standardised columns of data. Otherwise they are learned representations, which are mapped
        into a ball first.

    Attributes
    ----------
    inputs : torch.nn.Module
        Puts representations into one scale: ``inputs.each(representations)``.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.critic import PairedCritic
    >>> class InnerProduct(PairedCritic):
    ...     def encode(self, representations):
    ...         return self.inputs.each(representations)
    ...
    ...     def _combine(self, features):
    ...         return (features[0] * features[1]).sum(1)
    >>> InnerProduct([3, 3])([torch.randn(8, 3), torch.randn(8, 3)]).shape
    torch.Size([8])
    """

    def __init__(self, code_dims: Widths, *, bound: float | None = None, raw: bool = False) -> None:
        super().__init__()
        if bound is not None and not bound > 0:
            raise ValueError(f"bound must be positive or None, got {bound}.")
        self.bound = bound
        self.code_dims = tuple(code_dims)
        self.inputs = Inputs(code_dims, None if raw else "columns")

    def encode(self, representations: Representations) -> list[Tensor]:
        """Return what T keeps of each modality, one tensor (n_samples, width_j) each."""
        raise NotImplementedError

    def combine(self, features: Sequence[Tensor]) -> Tensor:
        """Return T of rows whose modalities are encoded, (n_samples,)."""
        return self._bounded(self._combine(features))

    def _combine(self, features: Sequence[Tensor]) -> Tensor:
        raise NotImplementedError

    def silence(self) -> None:
        """Set the output to zero, from where T can still learn."""
        raise NotImplementedError

    def forward(self, representations: Representations, index: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Return T on the rows, or on the rows and on negatives.

        Parameters
        ----------
        representations : sequence of Tensor of shape (n_samples, code_dims[j])
            One per modality.
        index : Tensor of shape (n_modalities, n_product), default=None
            Rows of each modality in the negatives; see :func:`sklearn_mdm.critic.offset_indices`.

        Returns
        -------
        t : Tensor of shape (n_samples,), or a pair with (n_product,)
        """
        features = self.encode(representations)
        if index is None:
            return self.combine(features)
        n = representations[0].shape[-2]
        rows = torch.cat([torch.arange(n, device=index.device).expand(*index.shape[:-1], n), index], dim=-1)
        return split(self.combine(gather(features, rows)), n)

    def _bounded(self, t: Tensor) -> Tensor:
        return t if self.bound is None else self.bound * torch.tanh(t / self.bound)


def split(t: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """T of n rows, and of the negatives after them."""
    t_joint, t_product = t.split([n, t.shape[-1] - n], dim=-1)
    return t_joint, t_product


def zero_(layer: nn.Module) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
