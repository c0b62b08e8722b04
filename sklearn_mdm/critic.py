"""The statistical network T, which reads one code per modality and returns one number per row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

__all__ = ["Critic", "LipschitzCritic"]


class _BoundedCodes(nn.Module):
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
        bounded = [
            z * (torch.rsqrt(1 + z.square().sum(1, keepdim=True)) * radius)
            for z, radius in zip(codes, self.radii, strict=True)
        ]
        joint = torch.cat(bounded, dim=1)
        if index is None:
            return joint
        product = torch.cat([z.index_select(0, rows) for z, rows in zip(bounded, index, strict=True)], dim=1)
        return torch.cat([joint, product])

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


class Critic(nn.Module):
    r"""Multilayer perceptron on the concatenated, bounded codes.

    Parameters
    ----------
    code_dims : sequence of int
        Width of each modality's code.
    hidden_dims : sequence of int, default=(64, 64)
        Widths of the hidden layers.
    bound : float or None, default=None
        If given, T is ``bound * tanh(output / bound)``: bounded, with a gradient everywhere.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.critic import Critic
    >>> from sklearn_mdm.negatives import offset_indices
    >>> critic = Critic([3, 2])
    >>> codes = [torch.randn(8, 3), torch.randn(8, 2)]
    >>> t_joint, t_product = critic(codes, offset_indices(8, 2, n_sets=4))
    >>> t_joint.shape, t_product.shape
    (torch.Size([8]), torch.Size([32]))
    """

    def __init__(
        self, code_dims: Sequence[int], hidden_dims: Sequence[int] = (64, 64), *, bound: float | None = None
    ) -> None:
        super().__init__()
        if bound is not None and not bound > 0:
            raise ValueError(f"bound must be positive or None, got {bound}.")
        self.bound = bound
        self.codes = _BoundedCodes(code_dims, unit_columns=True)
        layers: list[nn.Module] = []
        widths = [sum(self.codes.code_dims), *hidden_dims]
        for n_in, n_out in itertools.pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, codes: Sequence[Tensor], index: Tensor | None = None) -> Any:
        """Return T on the rows, or on the rows and on re-paired ones.

        Parameters
        ----------
        codes : sequence of Tensor of shape (n_samples, code_dims[j])
            One code per modality.
        index : Tensor of shape (n_modalities, n_product), default=None
            Rows of each modality in the re-paired samples; see
            :func:`sklearn_mdm.negatives.offset_indices`.

        Returns
        -------
        t : Tensor of shape (n_samples,), or a pair with (n_product,)
        """
        t = self.layers(self.codes(codes, index)).squeeze(1)
        if self.bound is not None:
            t = self.bound * torch.tanh(t / self.bound)
        return t if index is None else t.split([len(codes[0]), len(t) - len(codes[0])])


class _MaxMin(nn.Module):
    """Sorts pairs of units: 1-Lipschitz, and keeps the norm of the gradient, unlike ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=1)


def _orthogonal_linear(n_in: int, n_out: int) -> nn.Module:
    # The Cayley map costs a quarter of torch's default (a matrix exponential or Householder products).
    return orthogonal(nn.Linear(n_in, n_out), orthogonal_map="cayley")


class LipschitzCritic(nn.Module):
    """A critic that is 1-Lipschitz by construction: orthogonal layers and MaxMin.

    Parameters
    ----------
    code_dims : sequence of int
        Width of each modality's code.
    hidden_dims : sequence of int, default=(64, 64)
        Widths of the hidden layers, even numbers.

    Notes
    -----
    Lipschitz with respect to the Euclidean distance of the concatenated bounded codes.

    References
    ----------
    .. [1] Anil, Lucas, Grosse, "Sorting out Lipschitz function approximation", ICML 2019.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.critic import LipschitzCritic
    >>> critic = LipschitzCritic([3, 2])
    >>> critic([torch.randn(8, 3), torch.randn(8, 2)]).shape
    torch.Size([8])
    """

    def __init__(self, code_dims: Sequence[int], hidden_dims: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        if any(width % 2 for width in hidden_dims):
            raise ValueError(f"critic_hidden_dims must be even for a 1-Lipschitz critic, got {tuple(hidden_dims)}.")
        self.hidden_dims = tuple(hidden_dims)
        self.codes = _BoundedCodes(code_dims)
        layers: list[nn.Module] = []
        widths = [sum(self.codes.code_dims), *hidden_dims]
        for n_in, n_out in itertools.pairwise(widths):
            layers += [_orthogonal_linear(n_in, n_out), _MaxMin()]
        self.layers = nn.Sequential(*layers, _orthogonal_linear(widths[-1], 1))

    def forward(self, codes: Sequence[Tensor], index: Tensor | None = None) -> Any:
        """Return T on the rows, or on the rows and on re-paired ones; see :meth:`Critic.forward`."""
        t = self.layers(self.codes(codes, index)).squeeze(1)
        return t if index is None else t.split([len(codes[0]), len(t) - len(codes[0])])

    def __reduce__(self) -> tuple:
        # torch refuses to pickle parametrised modules. Parameters are passed on as they are: an optimizer that is
        # pickled along must keep holding the same ones.
        parameters, buffers = dict(self.named_parameters()), dict(self.named_buffers())
        return _rebuild, (self.codes.code_dims, self.hidden_dims, parameters, buffers, self.training)


def _rebuild(
    code_dims: Sequence[int],
    hidden_dims: Sequence[int],
    parameters: dict[str, nn.Parameter],
    buffers: dict[str, Tensor],
    training: bool,
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        critic = LipschitzCritic(code_dims, hidden_dims)
    for name, parameter in parameters.items():
        owner, _, leaf = name.rpartition(".")
        critic.get_submodule(owner)._parameters[leaf] = parameter
    for name, buffer in buffers.items():
        owner, _, leaf = name.rpartition(".")
        critic.get_submodule(owner)._buffers[leaf] = buffer
    return critic.train(training)
