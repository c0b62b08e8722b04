"""The measure that tells which rows of two modalities belong together, averaged over pairs of modalities."""

from __future__ import annotations

import math
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ..critic import CosineCritic
from ..critic._base import Representations, Widths
from ..utils._parameter_objects import ABOVE_ZERO
from ._base import CriticKind, Measure

# Range of T up to which no exponential of it is lost in single precision beside the largest.
MAX_RANGE = 80.0


class PairwiseInfoNCE(Measure):
    r"""InfoNCE between modalities in pairs, by the cosine of their projections (the loss of CLIP and SimCLR).

    .. math:: \frac{2}{m (m - 1)} \sum_{a < b} \frac{1}{2n} \sum_i \Big(
              2 \, T_{ab}^{ii} - \log \frac1n \sum_j e^{T_{ab}^{ij}} - \log \frac1n \sum_j e^{T_{ab}^{ji}} \Big)

    where :math:`T_{ab}^{ij}` is the cosine between row i of modality a and row j of modality b, divided by a
    temperature; both are projected first, see :class:`~sklearn_mdm.critic.CosineCritic`. Every row of a batch is told
    from all others, in both directions: ``n_negatives`` is not used. In nats, with little variance.

    Parameters
    ----------
    temperature : float, default=0.2
        Divides cosines. A small one looks at the rows that are hardest to tell apart, and lets the value be large: it
        is at most :math:`2 / \tau` and at most the logarithm of the rows of a batch, see :meth:`limit`.

    Notes
    -----
    For two modalities the value is a lower bound of their mutual information, in expectation over batches. For more it
    is the mean of such bounds over pairs, and no total correlation: what only three modalities together show is out of
    its reach. T is determined up to functions of one modality, so T of one row is no density ratio.

    The critic has no hidden layers: the last of ``critic_hidden_dims`` is the width of the projections.

    References
    ----------
    .. [1] van den Oord, Li, Vinyals, "Representation learning with contrastive predictive coding", 2018.
    .. [2] Chen, Kornblith, Norouzi, Hinton, "A simple framework for contrastive learning of visual representations"
       (SimCLR), ICML 2020.
    .. [3] Radford et al., "Learning transferable visual models from natural language supervision" (CLIP), ICML 2021.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import PairwiseInfoNCE
    >>> measure = PairwiseInfoNCE()
    >>> critic = measure.build_critic([3, 2, 2])
    >>> z = [torch.randn(8, 3), torch.randn(8, 2), torch.randn(8, 2)]
    >>> measure.value(critic, z).shape
    torch.Size([])
    >>> round(measure.limit(64), 2)  # all but log(64)
    4.16
    """

    member_axis = True  # see stacks
    own_critic = True
    stands_alone = False  # a linear projection finds little in data that no network has encoded

    _parameter_constraints: ClassVar[dict] = {"temperature": [ABOVE_ZERO]}

    def __init__(self, temperature: float = 0.2) -> None:
        self.temperature = temperature

    def _build_critic(self, code_dims: Widths, hidden_dims: Widths, kind: CriticKind | None, raw: bool) -> nn.Module:
        if not hidden_dims:
            raise ValueError("PairwiseInfoNCE needs one or more hidden_dims, of which it projects to the last, got ().")
        return CosineCritic(code_dims, hidden_dims[-1], temperature=self.temperature, raw=raw)

    def limit(self, n_samples: int) -> float:
        """Largest possible value in nats, for a batch of that many rows."""
        return math.log(n_samples) - math.log1p((n_samples - 1) * math.exp(-2 / self.temperature))

    def critic_objective(
        self, critic: nn.Module, representations: Representations, index: Tensor | None = None
    ) -> Tensor:
        """Contrast of each row with all others, over pairs of modalities; see :meth:`Measure.critic_objective`."""
        t = cast("CosineCritic", critic).all_pairs(representations)
        largest = 1 / self.temperature
        if 2 * largest < MAX_RANGE:
            # One exponential serves both directions: that of each direction took a quarter of a step.
            ratios = (t - largest).exp()
            others = (ratios.sum(-1).log() + ratios.sum(-2).log()) / 2 + largest
        else:
            others = (torch.logsumexp(t, -1) + torch.logsumexp(t, -2)) / 2
        return (t.diagonal(dim1=-2, dim2=-1) - others).mean((-2, -1)) + math.log(t.shape[-1])

    def value(self, critic: nn.Module, representations: Representations, index: Tensor | None = None) -> Tensor:
        """The same; see :meth:`Measure.value`."""
        return self.critic_objective(critic, representations)
