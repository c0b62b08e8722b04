"""Measures whose critic estimates the log density ratio of joint and product."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..critic._base import Representations, Widths
from ._base import CriticKind, Measure, donsker_varadhan, log_mean_exp

Divergence = Literal["kl", "reverse_kl", "jensen_shannon", "squared_hellinger"]


class KL(Measure):
    r"""Kullback-Leibler divergence by its Donsker-Varadhan bound.

    .. math:: I_{kl} = \sup_T \; E_P[T] - \log E_Q[e^T]

    (the slides' "Kullback Leibler"; MINE). It is a lower bound of the total correlation, in nats. The logarithm is
    taken by log-sum-exp.

    Parameters
    ----------
    bound : float or None, default=10.0
        The critic is bounded by ``bound * tanh(T / bound)``. A finite batch can always be told apart from its
        negatives, where the objective of an unbounded T diverges; None leaves T unbounded.
    moving_average : float or None, default=0.9
        The gradient of the logarithm divides by :math:`E_Q[e^T]`, and a ratio of two averages over one batch is biased.
        Critic updates divide by a moving average with this decay instead, which includes the batch itself, so that no
        gradient is larger than ``1 / (1 - moving_average)`` times the plain one. Values are the plain ones always, and
        so is the gradient that the network gets. None switches it off.

    Notes
    -----
    The moving average is a buffer ``log_normalizer`` of the critic: it is saved, copied and restored with it.

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

    member_axis = True  # see stacks
    density_ratio = pointwise = total_correlation = True

    _parameter_constraints: ClassVar[dict] = {
        **Measure._parameter_constraints,
        "moving_average": [Interval(Real, 0, 1, closed="left"), None],
    }

    def __init__(self, bound: float | None = 10.0, moving_average: float | None = 0.9) -> None:
        self.bound = bound
        self.moving_average = moving_average

    def _build_critic(self, code_dims: Widths, hidden_dims: Widths, kind: CriticKind | None, raw: bool) -> nn.Module:
        critic = super()._build_critic(code_dims, hidden_dims, kind, raw)
        if self.moving_average is not None:
            # Zero is what a new critic, with T near zero, has.
            critic.register_buffer("log_normalizer", torch.zeros(()))
        return critic

    def objective(self, t_joint: Tensor, t_product: Tensor) -> Tensor:
        """Donsker-Varadhan objective; see :meth:`Measure.objective`."""
        return donsker_varadhan(t_joint, t_product)

    def critic_objective(self, critic: nn.Module, representations: Representations, index: Tensor) -> Tensor:
        """Donsker-Varadhan objective whose gradient divides by the moving average."""
        t_joint, t_product = critic(representations, index)
        average = getattr(critic, "log_normalizer", None)
        if self.moving_average is None or average is None or not (critic.training and torch.is_grad_enabled()):
            return self.objective(t_joint, t_product)
        log_mean, decay = log_mean_exp(t_product), self.moving_average
        # In logarithms: T may drift far up or down before the normaliser notices. (Of several members, one each.)
        if log_mean.is_cuda:
            new = log_mean.detach()
            average.copy_(torch.logaddexp(average + _log(decay), new + math.log(1 - decay)))
            share = (new - average).exp()
            return t_joint.mean(-1) - share * log_mean - (1 - share) * new
        # As numbers: this runs in every step, and on a CPU small tensors cost more.
        batch = log_mean.reshape(-1).tolist()
        moved = [
            _log_add(before + _log(decay), new + math.log(1 - decay))
            for before, new in zip(average.reshape(-1).tolist(), batch, strict=True)
        ]
        average[...] = _like(average, moved)
        weight = [math.exp(new - after) for new, after in zip(batch, moved, strict=True)]  # at most 1 / (1 - decay)
        rest = [(1 - w) * new for w, new in zip(weight, batch, strict=True)]
        # The plain value, with weight times the gradient of the logarithm.
        return t_joint.mean(-1) - _like(log_mean, weight) * log_mean - _like(log_mean, rest)

    def value(self, critic: nn.Module, representations: Representations, index: Tensor) -> Tensor:
        """Donsker-Varadhan value with its own gradient; see :meth:`Measure.value`."""
        return self.objective(*critic(representations, index))


class FDivergence(Measure):
    r"""An f-divergence between joint and product, by its variational bound.

    .. math:: D_f = \sup_T \; E_P[f'(e^{T - 1})] - E_Q[f^*(f'(e^{T - 1}))]

    (Nguyen, Wainwright and Jordan, NWJ; the slides' "f-divergence", also known as f-MINE). For every f the best T is
    :math:`1 + \log p/q`, and a T that is constantly one measures nothing. With ``divergence="kl"`` this is
    :math:`E_P[T] - E_Q[e^{T - 1}]`: it bounds the same number as :class:`KL` from below, without the bias of a
    logarithm of a batch mean but with a larger variance.

    Parameters
    ----------
    bound : float or None, default=10.0
        The critic is bounded by ``bound * tanh(T / bound)``; None leaves T unbounded.
    divergence : {"kl", "reverse_kl", "jensen_shannon", "squared_hellinger"}, default="kl"
        What is estimated.

        ``"kl"``
            :math:`KL(P \| Q)`, the total correlation, in nats.
        ``"reverse_kl"``
            :math:`KL(Q \| P)`, in nats. Infinite where negatives cannot occur jointly, as for a noiseless
            relation; the bound on T keeps it finite.
        ``"jensen_shannon"``
            :math:`\frac12 KL(P \| \frac{P+Q}{2}) + \frac12 KL(Q \| \frac{P+Q}{2})`, in nats, at most log 2.
        ``"squared_hellinger"``
            :math:`\frac12 \int (\sqrt p - \sqrt q)^2`, at most 1.

    Notes
    -----
    Two well-known divergences are left out. The chi-squared divergence averages the squared density ratio over Q: it is
    infinite for three Gaussian modalities that correlate by one half or more, and its estimates have the variance of a
    fourth power. The total variation distance has a best T that is only the sign of :math:`\log p/q`.

    References
    ----------
    .. [1] Nguyen, Wainwright, Jordan, "Estimating divergence functionals and the likelihood ratio by convex risk
       minimization", IEEE Transactions on Information Theory 56, 2010.
    .. [2] Nowozin, Cseke, Tomioka, "f-GAN: Training generative neural samplers using variational divergence
       minimization", NeurIPS 2016.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import FDivergence
    >>> FDivergence().objective(torch.ones(4), torch.ones(8))
    tensor(0.)
    >>> FDivergence(divergence="squared_hellinger").objective(torch.full((4,), 50.0), torch.full((8,), -50.0))
    tensor(1.)
    """

    member_axis = True  # see stacks
    density_ratio = pointwise = True

    _parameter_constraints: ClassVar[dict] = {
        **Measure._parameter_constraints,
        "divergence": [StrOptions(set(get_args(Divergence)))],
    }

    def __init__(self, bound: float | None = 10.0, divergence: Divergence = "kl") -> None:
        self.bound = bound
        self.divergence = divergence

    @property
    def total_correlation(self) -> bool:  # type: ignore[override]
        """Whether the value is one of total correlation in nats."""
        return self.divergence == "kl"

    @property
    def unit(self) -> str:  # type: ignore[override]
        """Unit of the value."""
        return "squared Hellinger distance" if self.divergence == "squared_hellinger" else "nats"

    def objective(self, t_joint: Tensor, t_product: Tensor) -> Tensor:
        """Variational objective; see :meth:`Measure.objective`."""
        return _DIVERGENCES[self.divergence](t_joint, t_product)

    def estimate(self, log_ratio_joint: np.ndarray, log_ratio_product: np.ndarray) -> float:
        """Value of the divergence, in its unit; see :meth:`Measure.estimate`."""
        if self.divergence == "kl":
            return float(np.mean(log_ratio_joint))
        return self.objective(*(1 + torch.as_tensor(ratio) for ratio in (log_ratio_joint, log_ratio_product))).item()


# Of T on rows of the data, p, and on negatives, q; written out, as exponents that cancel would overflow. With s = T - 1
# (the log density ratio) and u = e^s:
#   divergence         f(u)                                      f'(u)                       f*(f'(u))
#   kl                 u log u                                   1 + s                       e^s
#   reverse_kl         -log u                                    -e^-s                       s - 1
#   jensen_shannon     (u log u - (u + 1) log((u + 1) / 2)) / 2  (log 2 - softplus(-s)) / 2  (softplus(s) - log 2) / 2
#   squared_hellinger  (sqrt(u) - 1)^2 / 2                       (1 - e^(-s/2)) / 2          (e^(s/2) - 1) / 2
_DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "kl": lambda p, q: p.mean(-1) - torch.exp(q - 1).mean(-1),
    "reverse_kl": lambda p, q: 2 - torch.exp(1 - p).mean(-1) - q.mean(-1),
    "jensen_shannon": lambda p, q: _logistic(p - 1, q - 1) / 2,
    "squared_hellinger": lambda p, q: 1 - (torch.exp((1 - p) / 2).mean(-1) + torch.exp((q - 1) / 2).mean(-1)) / 2,
}


class JensenShannon(Measure):
    r"""Total correlation from a critic that is trained as a classifier of rows against negatives.

    The critic maximises the (negative) logistic loss, twice the Jensen-Shannon divergence at its best,

    .. math:: \sup_T \; 2 \log 2 - E_P[\mathrm{softplus}(-T)] - E_Q[\mathrm{softplus}(T)]

    where T is :math:`\log p/q`. It moves T by bounded amounts, whatever T is, and trains far more stably than an
    exponential. The value is the total correlation in nats, :math:`E_P[T] - \log E_Q[e^T]`.

    Parameters
    ----------
    bound : float or None, default=10.0
        The critic is bounded by ``bound * tanh(T / bound)``; None leaves T unbounded.

    See Also
    --------
    FDivergence : The Jensen-Shannon divergence itself, with ``divergence="jensen_shannon"``.

    Notes
    -----
    A widely copied implementation reports the bound of :class:`FDivergence`, :math:`E_P[T] - E_Q[e^{T - 1}]`, for this
    critic. With a T that is :math:`\log p/q`, and not one more, that is I - 1/e: 0.37 nats too low at the best T.

    References
    ----------
    .. [1] Hjelm et al., "Learning deep representations by mutual information estimation and maximization", ICLR 2019.
    .. [2] Poole et al., "On variational bounds of mutual information", ICML 2019.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import JensenShannon
    >>> JensenShannon().objective(torch.zeros(4), torch.zeros(8))
    tensor(0.)
    """

    member_axis = True  # see stacks
    density_ratio = pointwise = total_correlation = True

    def __init__(self, bound: float | None = 10.0) -> None:
        self.bound = bound

    def objective(self, t_joint: Tensor, t_product: Tensor) -> Tensor:
        """Logistic objective of the critic; see :meth:`Measure.objective`."""
        return _logistic(t_joint, t_product)

    def value(self, critic: nn.Module, representations: Representations, index: Tensor) -> Tensor:
        """Donsker-Varadhan value in nats; see :meth:`Measure.value`."""
        return donsker_varadhan(*critic(representations, index))


class SMILE(JensenShannon):
    r"""Total correlation from a clipped density ratio, after training as :class:`JensenShannon`.

    .. math:: E_P[T] - \log E_Q[\mathrm{clip}(e^T, e^{-c}, e^c)]

    The few negatives with the largest :math:`e^T` decide the normaliser and its variance, which grows
    exponentially with what is estimated. Clipping bounds the variance at the price of a bias: the value is *not a lower
    bound*, and a small c overshoots.

    Parameters
    ----------
    clip : float, default=5.0
        c, in nats.
    bound : float or None, default=10.0
        The critic is bounded by ``bound * tanh(T / bound)``; None leaves T unbounded.

    References
    ----------
    .. [1] Song, Ermon, "Understanding the limitations of variational mutual information estimators", ICLR 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm.measures import SMILE
    >>> SMILE(clip=1.0).estimate(np.array([3.0]), np.array([-9.0, 9.0]))  # 3 - log((1 / e + e) / 2)
    2.566...
    """

    member_axis = True  # see stacks

    _parameter_constraints: ClassVar[dict] = {
        **Measure._parameter_constraints,
        "clip": [Interval(Real, 0, None, closed="right")],
    }

    def __init__(self, clip: float = 5.0, bound: float | None = 10.0) -> None:
        super().__init__(bound)
        self.clip = clip

    def value(self, critic: nn.Module, representations: Representations, index: Tensor) -> Tensor:
        """Clipped value in nats; see :meth:`Measure.value`."""
        t_joint, t_product = critic(representations, index)
        return donsker_varadhan(t_joint, t_product.clamp(-self.clip, self.clip))

    def estimate(self, log_ratio_joint: np.ndarray, log_ratio_product: np.ndarray) -> float:
        """Clipped value in nats; see :meth:`Measure.estimate`."""
        return super().estimate(log_ratio_joint, np.clip(log_ratio_product, -self.clip, self.clip))


def _logistic(t_joint: Tensor, t_product: Tensor) -> Tensor:
    return 2 * math.log(2) - softplus(-t_joint).mean(-1) - softplus(t_product).mean(-1)


def _like(t: Tensor, numbers: list[float]) -> float | Tensor:
    """Numbers in the shape of t, (K,); or the only one as it is."""
    return t.new_tensor(numbers) if t.dim() else numbers[0]


def _log(x: float) -> float:
    return math.log(x) if x else -math.inf


def _log_add(a: float, b: float) -> float:
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))
