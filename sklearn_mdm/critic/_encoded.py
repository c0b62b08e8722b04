"""The critic that encodes each modality on its own and lets them meet late."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from ..utils._rng import randn_like
from ._base import PairedCritic, Representations, Widths, zero_


class EncodedCritic(PairedCritic):
    r"""Encodes each modality on its own; modalities only meet in the last layer.

    .. math:: T(z) = v^\top \mathrm{ReLU}(h) + w^\top h^2 + c, \quad h = \sum_j (A_j x_j + \phi_j(x_j)), \quad
              x_j = (z_j, z_j^2)

    with one multilayer perceptron :math:`\phi_j` per modality (layer normalisation, GELU). The square of h holds every
    product of two modalities' features: on standardised columns, the log density ratio of any Gaussian. A negative
    costs a sum and an activation, whatever the widths of representations and encoders.

    Parameters
    ----------
    code_dims : sequence of int
        Width of each modality's representation.
    hidden_dims : sequence of int, default=(64, 64)
        Widths of the encoders' hidden layers, then of h; two or more.
    bound : float or None, default=None
        If given, T is ``bound * tanh(output / bound)``.
    raw : bool, default=False
        Whether inputs are standardised columns of data. Otherwise they are learned representations, which are mapped
        into a ball first.
    noise : float, default=0.1
        Standard deviation of the Gaussian noise that inputs get in training: samples are few, and T has no reason to
        change over distances as small.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.critic import EncodedCritic
    >>> EncodedCritic([3, 2])([torch.randn(8, 3), torch.randn(8, 2)]).shape
    torch.Size([8])
    """

    member_axis = True  # see utils/_stacking.py
    first: Any
    weights: nn.ParameterList
    biases: nn.ParameterList

    def __init__(
        self,
        code_dims: Widths,
        hidden_dims: Widths = (64, 64),
        *,
        bound: float | None = None,
        raw: bool = False,
        noise: float = 0.1,
    ) -> None:
        super().__init__(code_dims, bound=bound, raw=raw)
        if len(hidden_dims) < 2:
            raise ValueError(f"an encoded critic needs two or more hidden_dims, got {tuple(hidden_dims)}.")
        n_modalities, n_hidden, self.width = len(self.code_dims), hidden_dims[0], hidden_dims[-1]
        self.noise = noise
        # The first hidden layer and A_j read the same inputs: one product gives both.
        self.first = nn.ModuleList([nn.Linear(2 * n_in, n_hidden + self.width) for n_in in self.code_dims])
        # From there on layers are of one size, and those of all modalities are one product too.
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for n_in, n_out in itertools.pairwise(hidden_dims):
            limit = 1 / math.sqrt(n_in)
            self.weights.append(nn.Parameter(torch.empty(n_modalities, n_in, n_out).uniform_(-limit, limit)))
            self.biases.append(nn.Parameter(torch.zeros(n_modalities, 1, n_out)))
        self.output = nn.Linear(self.width, 1)
        self.second_order = nn.Linear(self.width, 1, bias=False)
        with torch.no_grad():
            limit = math.sqrt(3 / sum(self.code_dims))
            for first, n_in in zip(self.first, self.code_dims, strict=True):
                direct = first.weight[n_hidden:]  # linear at first, with unit variance of the sum over modalities
                direct[:, :n_in].uniform_(-limit, limit)
                direct[:, n_in:].zero_()
            self.second_order.weight.mul_(0.1)

    def encode(self, representations: Representations, kept: Sequence[int] | None = None) -> list[Tensor]:
        """Return each modality's share in h; with ``kept``, that of the modalities at these positions only."""
        z = torch.cat(self.inputs.each(representations), dim=-1)
        if self.training and self.noise:
            z = torch.add(z, randn_like(z), alpha=self.noise)
        parts = list(zip(z.split(self.code_dims, -1), (z.square() - 1).split(self.code_dims, -1), strict=True))
        some = range(len(parts)) if kept is None else kept
        hidden = torch.stack([self.first[j](torch.cat(parts[j], -1)) for j in some], -3)
        hidden, share = hidden.split([hidden.shape[-1] - self.width, self.width], dim=-1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            hidden = gelu(layer_norm(hidden, hidden.shape[-1:]))
            if kept is not None:
                weight, bias = weight[kept], bias[kept]
            # One matrix for each modality, and for each of several members.
            product = torch.baddbmm(*(part.flatten(0, -3) for part in (bias, hidden, weight)))
            hidden = product.unflatten(0, hidden.shape[:-2])
        return list((share + hidden).unbind(-3))

    def _combine(self, features: Sequence[Tensor]) -> Tensor:
        h = features[0]
        for other in features[1:]:
            h = h + other
        return (self.output(torch.relu(h)) + self.second_order(h.square())).squeeze(-1)

    def combine_each(self, features: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
        """Return T of each row of some modalities (n, width) with each of the others (n_others, width): (n, n_others).

        As h is the sum of two rows a and b, its squares are a matrix product, and ReLU(h), half of ``h + |h|``, a
        distance of a and -b: nothing of size n * n_others * width is ever made.
        """
        a, b = sum(features[1:], features[0]), sum(others[1:], others[0])
        v, w = self.output.weight[0], self.second_order.weight[0]
        if a.dtype == torch.float32:
            return self._bounded(self._combine_each_single(a, b, v, w))
        rising = v > 0
        halved = a * v / 2, -b * v / 2
        up, down = (torch.cdist(halved[0][:, kept], halved[1][:, kept], p=1) for kept in (rising, ~rising))
        by_row = a @ v / 2 + a.square() @ w + self.output.bias
        by_other = b @ v / 2 + b.square() @ w
        t = torch.addmm(by_other.expand(len(a), -1), a * w, b.t(), alpha=2)
        return self._bounded(t.add_(up).sub_(down).add_(by_row[:, None]))

    def _combine_each_single(self, a: Tensor, b: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """The same in half of the time, with ``ReLU(a + b) = max(a, -b) + b``, unless rows are few.

        Large numbers are not to cancel, so that the mean of the others is moved from b to a.
        """
        mean = b.mean(0)
        a, b = a + mean, b - mean
        t = torch.addmm((b @ v + b.square() @ w)[:, None].expand(-1, len(a)), b, (a * w).t(), alpha=2)
        larger = torch.empty_like(t)
        for row, least, weight in zip(a.t().contiguous(), -b.t()[..., None], v.tolist(), strict=True):
            t.add_(torch.maximum(row, least, out=larger), alpha=weight)
        return t.add_(a.square() @ w + self.output.bias).t()

    def silence(self) -> None:
        zero_(self.output)
        zero_(self.second_order)
