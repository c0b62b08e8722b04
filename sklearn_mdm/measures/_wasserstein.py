"""The Wasserstein distance between joint and product."""

from __future__ import annotations

from torch import Tensor, nn

from ..critic import LipschitzCritic
from ..critic._base import Widths
from ._base import CriticKind, Measure


class Wasserstein(Measure):
    r"""Wasserstein-1 distance between joint and product, by the Kantorovich-Rubinstein dual.

    .. math:: I_W = \sup_{\mathrm{Lip}(T) \le 1} \; E_P[T] - E_Q[T]

    Distances are Euclidean on the concatenated representations, each bounded to the unit ball; the value is in units of
    that distance, not in nats. It is finite also for relations without noise, and zero only under independence. T is
    1-Lipschitz by construction: see :class:`~sklearn_mdm.critic.LipschitzCritic`.

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

    member_axis = True  # see stacks
    unit = "distance between bounded representations"
    own_critic = True

    def _build_critic(self, code_dims: Widths, hidden_dims: Widths, kind: CriticKind | None, raw: bool) -> nn.Module:
        return LipschitzCritic(code_dims, hidden_dims, raw=raw)

    def objective(self, t_joint: Tensor, t_product: Tensor) -> Tensor:
        """Kantorovich-Rubinstein objective; see :meth:`Measure.objective`."""
        return t_joint.mean(-1) - t_product.mean(-1)
