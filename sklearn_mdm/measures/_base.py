"""What a measure is: a critic to build, what the critic maximises, and the value that is reported."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from ..critic import CRITICS
from ..critic._base import Representations, Widths
from ..utils._parameter_objects import ABOVE_ZERO

# Forms of T.
CriticKind = Literal["concatenated", "encoded", "separable", "multilinear"]


class Measure(BaseEstimator):
    r"""Base class of the dependency measures.

    A measure says which critic it needs and what the critic maximises. To add one, subclass and implement
    :meth:`objective`; override :meth:`critic_objective` or :meth:`value` where what trains the critic and what is
    reported differ, and :meth:`build_critic` for another critic. Constructor parameters are stored as they are, as in
    every scikit-learn estimator; a parameter ``bound`` bounds T. P is the joint distribution of the modalities, Q the
    product of their marginals.

    Attributes
    ----------
    unit : str
        Unit of the value, for logs and reports.
    density_ratio : bool
        Whether the best T is :math:`\log p/q` up to a constant, so that values of other measures can be read off it.
    pointwise : bool
        Whether T of one row says how dependent that row is.
    stands_alone : bool
        Whether it can be estimated on data, without a network.
    total_correlation : bool
        Whether the value is one of total correlation in nats, so that parts of it add up.
    own_critic : bool
        Whether it brings a critic of its own, so that there is no form of T to choose.
    default_kind : str
        Form of T where there is one to choose.
    needs_y : bool
        Whether it reads class labels, and a classifier's logits in place of a critic; see :class:`TCMax`.

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
    density_ratio = False
    pointwise = False
    stands_alone = True
    total_correlation = False
    own_critic = False
    default_kind: CriticKind = "concatenated"
    needs_y = False

    _parameter_constraints: ClassVar[dict] = {"bound": [ABOVE_ZERO, None]}

    def build_critic(
        self, code_dims: Widths, hidden_dims: Widths = (64, 64), *, kind: CriticKind | None = None, raw: bool = False
    ) -> nn.Module:
        """Return the critic that this measure trains.

        Parameters
        ----------
        code_dims : sequence of int
            Width of each modality's representation.
        hidden_dims : sequence of int, default=(64, 64)
            Widths of the hidden layers.
        kind : {"concatenated", "encoded", "separable", "multilinear"}, default=None
            Form of T. None takes ``default_kind``, or the measure's own critic if it brings one.
        raw : bool, default=False
            Whether inputs are standardised columns of data rather than learned representations.

        Returns
        -------
        critic : nn.Module
            ``critic(representations)`` is T of the rows, ``critic(representations, index)`` the pair of T on them and
            on negatives.

        Raises
        ------
        ValueError
            If a parameter of the measure is out of range, or it has no critic of this kind.
        """
        self._validate_params()
        if self.own_critic:
            if kind is not None:
                raise ValueError(
                    f"{type(self).__name__} has a critic of its own, and none of kind {kind!r}. Use kind=None."
                )
        elif kind is None:
            kind = self.default_kind
        elif kind not in CRITICS:
            raise ValueError(f"kind={kind!r} of critic is not known. Use one of {sorted(CRITICS)}.")
        return self._build_critic(code_dims, hidden_dims, kind, raw)

    def _build_critic(self, code_dims: Widths, hidden_dims: Widths, kind: CriticKind | None, raw: bool) -> nn.Module:
        critic: Any = CRITICS[kind or self.default_kind]
        return critic(code_dims, hidden_dims, bound=getattr(self, "bound", None), raw=raw)

    def objective(self, t_joint: Tensor, t_product: Tensor) -> Tensor:
        """Objective to maximise.

        Parameters
        ----------
        t_joint : Tensor of shape (n_joint,)
            Critic values on rows of the data (samples of P).
        t_product : Tensor of shape (n_product,)
            Critic values on negatives (samples of Q).

        Returns
        -------
        objective : Tensor of shape ()
        """
        raise NotImplementedError(f"{type(self).__name__} must implement objective(t_joint, t_product).")

    def critic_objective(self, critic: nn.Module, representations: Representations, index: Tensor) -> Tensor:
        """What updates of the critic maximise; whatever it remembers of a batch, it does while ``critic.training``.

        Parameters
        ----------
        critic : nn.Module
            As returned by :meth:`build_critic`.
        representations : sequence of Tensor of shape (n_samples, code_dims[j])
            One per modality.
        index : Tensor of shape (n_modalities, n_sets * n_samples)
            Rows of each modality in the negatives; see :func:`sklearn_mdm.critic.offset_indices`.

        Returns
        -------
        objective : Tensor of shape ()
        """
        return self.objective(*critic(representations, index))

    def value(self, critic: nn.Module, representations: Representations, index: Tensor) -> Tensor:
        """What enters the training loss as ``-lam * value``, and is logged; by default :meth:`critic_objective`."""
        return self.critic_objective(critic, representations, index)

    def estimate(self, log_ratio_joint: np.ndarray, log_ratio_product: np.ndarray) -> float:
        r"""Value in nats from estimated log density ratios: by default that of Donsker and Varadhan.

        Parameters
        ----------
        log_ratio_joint : array of shape (n_joint,)
            Estimates of :math:`\log p/q` on samples of P.
        log_ratio_product : array of shape (n_product,)
            The same on samples of Q.

        Returns
        -------
        value : float
        """
        return float(np.mean(log_ratio_joint) - (logsumexp(log_ratio_product) - np.log(len(log_ratio_product))))


def log_mean_exp(t: Tensor) -> Tensor:
    """Logarithm of the mean of exp(t), with a gradient."""
    return torch.logsumexp(t, -1) - math.log(t.shape[-1])


def donsker_varadhan(t_joint: Tensor, t_product: Tensor) -> Tensor:
    """Lower bound of the total correlation, for any T."""
    return t_joint.mean(-1) - log_mean_exp(t_product)
