"""A critic that cannot change faster than its input."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from ..utils._rng import RandomStream, drawing_from
from ._base import Inputs, Representations, Widths, split


class _MaxMin(nn.Module):
    """Sorts pairs of units: 1-Lipschitz, and keeps the norm of the gradient, unlike ReLU."""

    member_axis = True  # see utils/_stacking.py

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=-1)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=-1)


class LipschitzCritic(nn.Module):
    """A critic that is 1-Lipschitz by construction: orthogonal layers and MaxMin.

    Parameters
    ----------
    code_dims : sequence of int
        Width of each modality's representation.
    hidden_dims : sequence of int, default=(64, 64)
        Widths of the hidden layers, even numbers.
    raw : bool, default=False
        Whether inputs are standardised columns of data. Otherwise they are learned representations, which are mapped
        into the unit ball first: the measure could be raised by mere scale.

    Notes
    -----
    Lipschitz with respect to the Euclidean distance of the concatenated (bounded) representations.

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

    member_axis = True  # see utils/_stacking.py

    def __init__(self, code_dims: Widths, hidden_dims: Widths = (64, 64), *, raw: bool = False) -> None:
        super().__init__()
        if any(width % 2 for width in hidden_dims):
            raise ValueError(f"critic_hidden_dims must be even for a 1-Lipschitz critic, got {tuple(hidden_dims)}.")
        self.hidden_dims = tuple(hidden_dims)
        self.raw = raw
        self.inputs = Inputs(code_dims, None if raw else "unit")
        layers: list[nn.Module] = []
        widths = [sum(code_dims), *hidden_dims]
        for n_in, n_out in itertools.pairwise(widths):
            layers += [_orthogonal_linear(n_in, n_out), _MaxMin()]
        self.layers = nn.Sequential(*layers, _orthogonal_linear(widths[-1], 1))

    def forward(self, representations: Representations, index: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Return T on the rows, or on the rows and on negatives; see :meth:`PairedCritic.forward`."""
        t = self.layers(self.inputs(representations, index)).squeeze(-1)
        return t if index is None else split(t, representations[0].shape[-2])

    def __reduce__(self) -> tuple:
        # torch refuses to pickle parametrised modules. Parameters are passed on as they are: an optimizer that is
        # pickled along must keep holding the same ones.
        parameters, buffers = dict(self.named_parameters()), dict(self.named_buffers())
        return _rebuild, (self.inputs.code_dims, self.hidden_dims, self.raw, parameters, buffers, self.training)


def _orthogonal_linear(n_in: int, n_out: int) -> nn.Module:
    # The Cayley map costs a quarter of torch's default (a matrix exponential or Householder products).
    return orthogonal(nn.Linear(n_in, n_out), orthogonal_map="cayley")


def _rebuild(
    code_dims: Widths,
    hidden_dims: Widths,
    raw: bool,
    parameters: Mapping[str, nn.Parameter],
    buffers: Mapping[str, Tensor],
    training: bool,
) -> nn.Module:
    with drawing_from(RandomStream(0)):  # and from nobody else's: these weights are replaced
        critic = LipschitzCritic(code_dims, hidden_dims, raw=raw)
    for name, parameter in parameters.items():
        owner, _, leaf = name.rpartition(".")
        critic.get_submodule(owner)._parameters[leaf] = parameter
    for name, buffer in buffers.items():
        owner, _, leaf = name.rpartition(".")
        critic.get_submodule(owner)._buffers[leaf] = buffer
    return critic.train(training)
