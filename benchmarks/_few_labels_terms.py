"""Terms that are compared with the dependency measures: controls, written as measures of one's own.

Both read projections of the representations, as :class:`~sklearn_mdm.measures.PairwiseInfoNCE` does, and no
predictions. The agreement penalty of cooperative learning is one on predictions of each modality; here it stands on
unit projections, of which a constant one agrees perfectly: the net may collapse them, and only the task holds against.
"""

from __future__ import annotations

import torch
from torch import nn

from sklearn_mdm.critic import PairedCritic
from sklearn_mdm.measures import Measure


class Projections(PairedCritic):
    """A linear projection of ReLU(z) of each modality."""

    member_axis = True

    def __init__(self, code_dims, k=64):
        super().__init__(code_dims, raw=True)
        self.projections = nn.ModuleList([nn.Linear(width, k) for width in self.code_dims])

    def encode(self, representations):
        return [project(torch.relu(z)) for project, z in zip(self.projections, representations, strict=True)]

    def _combine(self, features):
        return -_distances(torch.stack(list(features), dim=-3))


def _distances(f):
    """Mean over pairs of modalities of the mean squared distance, for f (m, n, k): (n,)."""
    # The sum over pairs is m times the squared distance from the mean of all.
    return 2 / (f.shape[-3] - 1) * (f - f.mean(-3, keepdim=True)).square().mean(-1).sum(-2)


class _Term(Measure):
    own_critic = True
    stands_alone = False

    def _build_critic(self, code_dims, hidden_dims, kind, raw):
        return Projections(code_dims, hidden_dims[-1])

    def critic_objective(self, critic, representations, index):
        return self.of_projections(torch.stack(critic.encode(representations), dim=-3))

    def of_projections(self, f):
        raise NotImplementedError


class VICReg(_Term):
    """Invariance, variance and covariance, negated (Bardes, Ponce, LeCun, "VICReg", ICLR 2022).

    Parameters
    ----------
    invariance, variance, covariance : float
        Weights, by default those of the paper divided by 25.
    """

    member_axis = True
    unit = "negative loss"

    def __init__(self, invariance=1.0, variance=1.0, covariance=0.04):
        self.invariance = invariance
        self.variance = variance
        self.covariance = covariance

    def of_projections(self, f):
        n, k = f.shape[-2:]
        centred = f - f.mean(-2, keepdim=True)
        spread = (centred.square().sum(-2) / (n - 1) + 1e-4).sqrt()
        too_narrow = torch.relu(1 - spread).mean(-1)  # of each modality
        product = centred.mT @ centred / (n - 1)
        squares = product.square().sum((-2, -1)) - product.diagonal(dim1=-2, dim2=-1).square().sum(-1)
        penalty = self.variance * too_narrow + self.covariance * squares / k
        return -self.invariance * _distances(f).mean(-1) - 2 * penalty.mean(-1)  # a pair has two of each


class Agreement(_Term):
    """Negative mean squared distance between unit projections (after Ding et al., PNAS 2022)."""

    member_axis = True
    unit = "negative squared distance"

    def of_projections(self, f):
        unit = f * torch.rsqrt(f.square().sum(-1, keepdim=True) + 1e-6)
        return -_distances(unit).mean(-1) * f.shape[-1]
