"""Measures of multivariate dependency, as objectives of the statistical network T (the critic).

P is the joint distribution of the modalities and Q the product of their marginals; T reads one code per modality.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from .critic import Critic, LipschitzCritic

__all__ = ["KL", "FDivergence", "Measure", "Wasserstein"]


class Measure(BaseEstimator):
    """Base class of the dependency measures.

    A measure says which critic it needs and turns critic values on joint and re-paired rows into the objective that
    the critic maximises and that enters the training loss as ``- lam * objective``. To add one, subclass and implement
    :meth:`objective`.

    Attributes
    ----------
    unit : str
        Unit of the objective, for logs and reports.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import Measure
    >>> class MeanGap(Measure):
    ...     unit = "arbitrary"
    ...
    ...     def objective(self, t_joint, t_product):
    ...         return torch.tanh(t_joint).mean() - torch.tanh(t_product).mean()
    >>> MeanGap().objective(torch.zeros(4), torch.zeros(8))
    tensor(0.)
    """

    unit = "nats"

    def build_critic(self, code_dims: Sequence[int], hidden_dims: Sequence[int] = (64, 64)) -> nn.Module:
        """Return the critic that this measure trains, for codes of these widths."""
        return Critic(code_dims, hidden_dims)

    def objective(self, t_joint: Tensor, t_product: Tensor) -> Tensor:
        """Objective to maximise.

        Parameters
        ----------
        t_joint : Tensor of shape (n_joint,)
            Critic values on rows of the data (samples of P).
        t_product : Tensor of shape (n_product,)
            Critic values on re-paired rows (samples of Q).

        Returns
        -------
        objective : Tensor of shape ()
        """
        raise NotImplementedError


class KL(Measure):
    r"""Kullback-Leibler divergence by its Donsker-Varadhan bound.

    .. math:: I_{kl} = \sup_T \; E_P[T] - \log E_Q[e^T]

    (the slides' "Kullback Leibler"). It is a lower bound of the total correlation, in nats. The logarithm is taken by
    log-sum-exp.

    Parameters
    ----------
    bound : float or None, default=10.0
        The critic is bounded by ``bound * tanh(T / bound)``. A finite batch can always be told apart from its
        re-paired rows, where the objective of an unbounded T diverges; None leaves T unbounded.

    References
    ----------
    .. [1] Belghazi et al., "Mutual Information Neural Estimation", ICML 2018.
    .. [2] Colombo, Chapuis, Labeau, Clavel, "Improving Multimodal Fusion via Mutual Dependency Maximisation",
       EMNLP 2021.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import KL
    >>> KL().objective(torch.ones(4), torch.ones(8))  # a constant T measures nothing
    tensor(0.)
    """

    def __init__(self, bound: float | None = 10.0) -> None:
        self.bound = bound

    def build_critic(self, code_dims: Sequence[int], hidden_dims: Sequence[int] = (64, 64)) -> nn.Module:
        """Return a bounded critic."""
        return Critic(code_dims, hidden_dims, bound=self.bound)

    def objective(self, t_joint: Tensor, t_product: Tensor) -> Tensor:
        """Donsker-Varadhan objective; see :meth:`Measure.objective`."""
        return t_joint.mean() - (torch.logsumexp(t_product, 0) - math.log(len(t_product)))


class FDivergence(Measure):
    r"""The f-divergence with :math:`f(u) = u \log u`, by the bound of Nguyen, Wainwright and Jordan (NWJ).

    .. math:: I_f = \sup_T \; E_P[T] - E_Q[e^{T - 1}]

    (the slides' "f-divergence"; also known as f-MINE). It bounds the same number as :class:`KL` from below, in nats,
    without the bias of a logarithm of a batch mean but with a larger variance.

    Parameters
    ----------
    bound : float or None, default=10.0
        The critic is bounded by ``bound * tanh(T / bound)``; None leaves T unbounded.

    References
    ----------
    .. [1] Nguyen, Wainwright, Jordan, "Estimating divergence functionals and the likelihood ratio by convex risk
       minimization", IEEE Transactions on Information Theory 56, 2010.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import FDivergence
    >>> FDivergence().objective(torch.ones(4), torch.ones(8))
    tensor(0.)
    """

    def __init__(self, bound: float | None = 10.0) -> None:
        self.bound = bound

    def build_critic(self, code_dims: Sequence[int], hidden_dims: Sequence[int] = (64, 64)) -> nn.Module:
        """Return a bounded critic."""
        return Critic(code_dims, hidden_dims, bound=self.bound)

    def objective(self, t_joint: Tensor, t_product: Tensor) -> Tensor:
        """NWJ objective; see :meth:`Measure.objective`."""
        return t_joint.mean() - torch.exp(t_product - 1).mean()


class Wasserstein(Measure):
    r"""Wasserstein-1 distance between joint and product, by the Kantorovich-Rubinstein dual.

    .. math:: I_W = \sup_{\mathrm{Lip}(T) \le 1} \; E_P[T] - E_Q[T]

    The critic is 1-Lipschitz by construction (orthogonal layers and MaxMin). Distances are Euclidean on the
    concatenated codes, each bounded to the unit ball; the value is in units of that distance, not in nats.

    Notes
    -----
    The slides print :math:`E_P[T] - \log E_Q[T]`. Adding a constant c to T keeps it 1-Lipschitz and changes that value
    to :math:`E_P[T] + c - \log(E_Q[T] + c)`, which grows without bound, so the dual is used instead.

    References
    ----------
    .. [1] Ozair et al., "Wasserstein Dependency Measure for Representation Learning", NeurIPS 2019.
    .. [2] Anil, Lucas, Grosse, "Sorting out Lipschitz function approximation", ICML 2019.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import Wasserstein
    >>> Wasserstein().objective(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]))
    tensor(0.5000)
    """

    unit = "distance between bounded codes"

    def build_critic(self, code_dims: Sequence[int], hidden_dims: Sequence[int] = (64, 64)) -> nn.Module:
        """Return a 1-Lipschitz critic."""
        return LipschitzCritic(code_dims, hidden_dims)

    def objective(self, t_joint: Tensor, t_product: Tensor) -> Tensor:
        """Kantorovich-Rubinstein objective; see :meth:`Measure.objective`."""
        return t_joint.mean() - t_product.mean()


MEASURES = {"kl": KL, "f": FDivergence, "nwj": FDivergence, "wasserstein": Wasserstein}
