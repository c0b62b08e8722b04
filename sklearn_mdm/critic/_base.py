"""What the critics share: codes put into one scale, and modalities that are encoded once for all re-pairings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["PairedCritic"]


class BoundedCodes(nn.Module):
    r"""Concatenates codes, each mapped into the open unit ball by :math:`z / \sqrt{1 + |z|^2}`.

    The map is injective, smooth and does not look at the batch. Without a bound the Wasserstein measure could be
    raised by mere scale.

    With ``unit_columns`` the ball of a code of width k has radius :math:`\sqrt{k}`, so that coordinates are of order
    one, as the first layer of a multilayer perceptron expects them.
    """

    def __init__(self, code_dims: Sequence[int], *, unit_columns: bool = False) -> None:
        super().__init__()
        self.code_dims = tuple(code_dims)
        self.radii = [math.sqrt(k) if unit_columns else 1.0 for k in self.code_dims]

    def forward(self, codes: Sequence[Tensor], index: Tensor | None = None) -> Tensor:
        if len(set(self.code_dims)) == 1:
            return self._forward_stacked(codes, index)
        return concatenate(self.each(codes), index)

    def each(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """Bounded codes, one by one."""
        return [
            z * (torch.rsqrt(1 + z.square().sum(1, keepdim=True)) * radius)
            for z, radius in zip(codes, self.radii, strict=True)
        ]

    def _forward_stacked(self, codes: Sequence[Tensor], index: Tensor | None) -> Tensor:
        # The same for codes of one width, in a third of the operations: on small batches these are the cost.
        m = len(self.code_dims)
        z = torch.stack(list(codes), dim=1)  # (B, m, k)
        z = z * (torch.rsqrt(1 + z.square().sum(2, keepdim=True)) * self.radii[0])
        if index is None:
            return z.flatten(1)
        cells = (index.T * m + torch.arange(m, device=index.device)).flatten()
        product = z.flatten(0, 1).index_select(0, cells).view(-1, m * self.code_dims[0])
        return torch.cat([z.flatten(1), product])


class Codes(nn.Module):
    """Concatenates standardised columns as they are."""

    def __init__(self, code_dims: Sequence[int]) -> None:
        super().__init__()
        self.code_dims = tuple(code_dims)

    def forward(self, codes: Sequence[Tensor], index: Tensor | None = None) -> Tensor:
        return concatenate(codes, index)

    def each(self, codes: Sequence[Tensor]) -> list[Tensor]:
        return list(codes)


def concatenate(codes: Sequence[Tensor], index: Tensor | None) -> Tensor:
    """Rows, then re-paired rows, as one matrix."""
    joint = torch.cat(list(codes), dim=1)
    if index is None:
        return joint
    product = torch.cat([z.index_select(0, rows) for z, rows in zip(codes, index, strict=True)], dim=1)
    return torch.cat([joint, product])


class PairedCritic(nn.Module):
    """Base of the critics: each modality is encoded once, re-paired samples only combine what is encoded.

    Subclasses implement ``encode``, ``_combine`` (T before it is bounded) and ``silence``.

    Parameters
    ----------
    code_dims : sequence of int
        Width of each modality's code.
    bound : float or None, default=None
        If given, T is ``bound * tanh(output / bound)``: bounded, with a gradient everywhere.
    raw : bool, default=False
        Whether inputs are standardised columns of data. Otherwise they are learned codes, which are mapped into a
        ball first.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.critic import PairedCritic
    >>> class InnerProduct(PairedCritic):
    ...     def encode(self, codes):
    ...         return self.codes.each(codes)
    ...
    ...     def _combine(self, features):
    ...         return (features[0] * features[1]).sum(1)
    >>> InnerProduct([3, 3])([torch.randn(8, 3), torch.randn(8, 3)]).shape
    torch.Size([8])
    """

    codes: Any

    def __init__(self, code_dims: Sequence[int], *, bound: float | None = None, raw: bool = False) -> None:
        super().__init__()
        if bound is not None and not bound > 0:
            raise ValueError(f"bound must be positive or None, got {bound}.")
        self.bound = bound
        self.code_dims = tuple(code_dims)
        self.codes = Codes(code_dims) if raw else BoundedCodes(code_dims, unit_columns=True)

    def encode(self, codes: Sequence[Tensor]) -> list[Tensor]:
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

    def forward(self, codes: Sequence[Tensor], index: Tensor | None = None) -> Any:
        """Return T on the rows, or on the rows and on re-paired ones.

        Parameters
        ----------
        codes : sequence of Tensor of shape (n_samples, code_dims[j])
            One code per modality.
        index : Tensor of shape (n_modalities, n_product), default=None
            Rows of each modality in the re-paired samples; see
            :func:`sklearn_mdm.critic.offset_indices`.

        Returns
        -------
        t : Tensor of shape (n_samples,), or a pair with (n_product,)
        """
        features = self.encode(codes)
        if index is None:
            return self.combine(features)
        n = len(features[0])
        rows = torch.cat([torch.arange(n, device=index.device).expand(len(index), n), index], dim=1)
        t = self.combine([f.index_select(0, r) for f, r in zip(features, rows, strict=True)])
        return t.split([n, index.shape[1]])

    def _bounded(self, t: Tensor) -> Tensor:
        return t if self.bound is None else self.bound * torch.tanh(t / self.bound)


def zero_(layer: nn.Module) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
