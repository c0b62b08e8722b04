"""Critics that are products of what each modality is encoded to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..utils._layers import mlp
from ._base import PairedCritic, Representations, Widths, zero_


class _FactoredCritic(PairedCritic):
    """One multilayer perceptron per modality, to k features and its own terms."""

    _own_terms = 0
    encoders: Any

    def __init__(
        self, code_dims: Widths, hidden_dims: Widths = (64, 64), *, bound: float | None = None, raw: bool = False
    ) -> None:
        super().__init__(code_dims, bound=bound, raw=raw)
        if not hidden_dims:
            raise ValueError(f"a {type(self).__name__} needs one or more hidden_dims, of which the last is k, got ().")
        *widths, self.k = hidden_dims
        self.encoders = nn.ModuleList([mlp(n_in, widths, self.k + self._own_terms) for n_in in self.code_dims])
        self.bias = nn.Parameter(torch.zeros(()))

    def encode(self, representations: Representations) -> list[Tensor]:
        return [encoder(z) for encoder, z in zip(self.encoders, self.inputs.each(representations), strict=True)]


class SeparableCritic(_FactoredCritic):
    r"""Sum of inner products between the encoded modalities, over pairs of modalities.

    .. math:: T(z) = c + \sum_{i < j} f_i(z_i)^\top f_j(z_j) / \sqrt{k} + \sum_j b_j(z_j)

    It sees how modalities depend in pairs; what only three together show is out of its reach. See
    :class:`MultilinearCritic` for that.

    Parameters
    ----------
    code_dims : sequence of int
        Width of each modality's representation.
    hidden_dims : sequence of int, default=(64, 64)
        Widths of the encoders' hidden layers, then k.
    bound : float or None, default=None
        If given, T is ``bound * tanh(output / bound)``.
    raw : bool, default=False
        Whether inputs are standardised columns of data. Otherwise they are learned representations, which are mapped
        into a ball first.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.critic import SeparableCritic
    >>> SeparableCritic([3, 2])([torch.randn(8, 3), torch.randn(8, 2)]).shape
    torch.Size([8])
    """

    member_axis = True  # see utils/_stacking.py
    _own_terms = 1  # the last column of what a modality is encoded to

    def _combine(self, features: Sequence[Tensor]) -> Tensor:
        total, squares = features[0], features[0].square()
        for f in features[1:]:
            total, squares = total + f, squares + f.square()
        # All pairs at once: (sum f)^2 - sum f^2 is twice the sum of their products.
        pairs = (total.square() - squares)[..., : self.k].sum(-1) / (2 * math.sqrt(self.k))
        return pairs + total[..., self.k] + self.bias.unsqueeze(-1)

    def silence(self) -> None:
        """Set the output to zero, from where T can still learn: one modality keeps its features."""
        for encoder in list(self.encoders)[1:]:
            zero_(encoder[-1])
        with torch.no_grad():
            self.encoders[0][-1].weight[self.k] = 0
            self.encoders[0][-1].bias[self.k] = 0
            self.bias.zero_()


class MultilinearCritic(_FactoredCritic):
    r"""Sum over features of the product over modalities of what each is encoded to.

    .. math:: T(z) = c + \frac{1}{\sqrt{k}} \sum_{r=1}^{k} \prod_{j=1}^{m} f_{jr}(z_j)

    All :math:`n^m` combinations of n rows are one product of small matrices, see :meth:`all_tuples`. As a feature may
    be constant in a modality, terms of fewer modalities are included.

    Parameters
    ----------
    code_dims : sequence of int
        Width of each modality's representation.
    hidden_dims : sequence of int, default=(64, 64)
        Widths of the encoders' hidden layers, then k.
    bound : float or None, default=None
        If given, T is ``bound * tanh(output / bound)``.
    raw : bool, default=False
        Whether inputs are standardised columns of data. Otherwise they are learned representations, which are mapped
        into a ball first.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.critic import MultilinearCritic
    >>> critic = MultilinearCritic([3, 2, 2])
    >>> critic.all_tuples([torch.randn(8, 3), torch.randn(8, 2), torch.randn(8, 2)]).shape
    torch.Size([8, 8, 8])
    """

    member_axis = True  # see utils/_stacking.py

    def __init__(
        self, code_dims: Widths, hidden_dims: Widths = (64, 64), *, bound: float | None = None, raw: bool = False
    ) -> None:
        super().__init__(code_dims, hidden_dims, bound=bound, raw=raw)
        with torch.no_grad():  # near one, so that terms of fewer modalities are learned as fast
            for encoder in self.encoders:
                encoder[-1].bias.fill_(1.0)

    def _combine(self, features: Sequence[Tensor]) -> Tensor:
        product = features[0]
        for f in features[1:]:
            product = product * f
        return product.sum(-1) / math.sqrt(self.k) + self.bias.unsqueeze(-1)

    def all_tuples(self, representations: Representations) -> Tensor:
        """Return T of every combination of the rows' modalities, of shape (n_samples,) * n_modalities.

        Of representations (n_parts, n_samples, code_dims[j]), those of each part.
        """
        features = self.encode(representations)
        n, m = features[0].shape[-2], len(features)
        # Products of either half of the modalities, which then meet in a product of matrices.
        features[-1] = features[-1] / math.sqrt(self.k)
        halves = [_products(features[: (m + 1) // 2]), _products(features[(m + 1) // 2 :])]
        t = halves[0] @ halves[1].mT
        t = t + self.bias.view(self.bias.shape + (1,) * (t.dim() - self.bias.dim()))
        return self._bounded(t.view(*t.shape[:-2], *(n,) * m))

    def silence(self) -> None:
        """Set the output to zero, from where T can still learn: one modality's features become zero."""
        zero_(self.encoders[0][-1])
        with torch.no_grad():
            self.bias.zero_()


def _products(features: Sequence[Tensor]) -> Tensor:
    """Products of all combinations of rows of each, (n ** len(features), k)."""
    product = features[0]
    for f in features[1:]:
        product = (product.unsqueeze(-2) * f.unsqueeze(-3)).flatten(-3, -2)
    return product
