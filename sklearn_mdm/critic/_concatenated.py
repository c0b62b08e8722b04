"""The critic that reads all representations at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..utils._layers import mlp
from ._base import PairedCritic, Representations, Widths, split, zero_


class Critic(PairedCritic):
    r"""Multilayer perceptron on the concatenated representations.

    Parameters
    ----------
    code_dims : sequence of int
        Width of each modality's representation.
    hidden_dims : sequence of int, default=(64, 64)
        Widths of the hidden layers.
    bound : float or None, default=None
        If given, T is ``bound * tanh(output / bound)``: bounded, with a gradient everywhere.
    raw : bool, default=False
        Whether inputs are standardised columns of data. Otherwise they are learned representations, which are mapped
        into a ball first.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.critic import Critic
    >>> from sklearn_mdm.critic import offset_indices
    >>> critic = Critic([3, 2])
    >>> z = [torch.randn(8, 3), torch.randn(8, 2)]
    >>> t_joint, t_product = critic(z, offset_indices(8, 2, n_sets=4))
    >>> t_joint.shape, t_product.shape
    (torch.Size([8]), torch.Size([32]))
    """

    member_axis = True  # see utils/_stacking.py
    layers: nn.Sequential

    def __init__(
        self, code_dims: Widths, hidden_dims: Widths = (64, 64), *, bound: float | None = None, raw: bool = False
    ) -> None:
        super().__init__(code_dims, bound=bound, raw=raw)
        n_in = sum(self.code_dims)
        self.layers = mlp(n_in, hidden_dims, 1)
        # Gathering what the first layer made of each modality is the cheaper the wider the representations are. With
        # narrow ones, one product over gathered rows is (a third of the time at widths 10 to 32, twice at 300).
        self.project_first = bool(hidden_dims) and n_in > 3 * hidden_dims[0]

    def encode(self, representations: Representations) -> list[Tensor]:
        """Return each modality's share in the first layer."""
        weights = self._first.weight.split(self.code_dims, dim=-1)
        bounded = self.inputs.each(representations)
        return [z @ weight.mT for z, weight in zip(bounded, weights, strict=True)]

    @property
    def _first(self) -> Any:
        return self.layers[0]

    def _combine(self, features: Sequence[Tensor]) -> Tensor:
        return self.layers[1:](sum(features) + self._first.bias.unsqueeze(-2)).squeeze(-1)

    def silence(self) -> None:
        zero_(self.layers[-1])

    def forward(self, representations: Representations, index: Tensor | None = None) -> Any:
        """Return T on the rows, or on the rows and on negatives; see :meth:`PairedCritic.forward`."""
        if self.project_first:
            return super().forward(representations, index)
        t = self._bounded(self.layers(self.inputs(representations, index)).squeeze(-1))
        return t if index is None else split(t, representations[0].shape[-2])
