"""The Wasserstein distance between joint and product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..critic import LipschitzCritic
from ._base import Measure

__all__ = ["Wasserstein"]


class Wasserstein(Measure):
    r"""Wasserstein-1 distance between joint and product, by the Kantorovich-Rubinstein dual.

    .. math:: I_W = \sup_{\mathrm{Lip}(T) \le 1} \; E_P[T] - E_Q[T]

    Distances are Euclidean on the concatenated codes, each bounded to the unit ball; the value is in units of that
    distance, not in nats. It is finite also for relations without noise, and zero only under independence.

    Parameters
    ----------
    constraint : {"orthogonal", "spectral_norm", "gradient_penalty"}, default="orthogonal"
        What keeps T 1-Lipschitz.

        ``"orthogonal"``
            Orthogonal layers and MaxMin: exactly, and with the largest values of those that are.
        ``"spectral_norm"``
            Layers divided by their largest singular value: up to the error of a power iteration, and looser.
        ``"gradient_penalty"``
            A penalty on slopes other than one between joint and re-paired samples. Slopes exceed one by some ten
            percent where training pays for it, so the value is no lower bound.
    gradient_penalty : float, default=10.0
        Weight of the penalty; only with ``constraint="gradient_penalty"``.

    Notes
    -----
    The slides print :math:`E_P[T] - \log E_Q[T]`. Adding a constant c to T keeps it 1-Lipschitz and changes that value
    to :math:`E_P[T] + c - \log(E_Q[T] + c)`, which grows without bound, so the dual is used instead.

    References
    ----------
    .. [1] Ozair et al., "Wasserstein Dependency Measure for Representation Learning", NeurIPS 2019.
    .. [2] Anil, Lucas, Grosse, "Sorting out Lipschitz function approximation", ICML 2019.
    .. [3] Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import Wasserstein
    >>> Wasserstein().objective(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]))
    tensor(0.5000)
    """

    unit = "distance between bounded codes"
    own_critic = True

    def __init__(self, constraint: str = "orthogonal", gradient_penalty: float = 10.0) -> None:
        self.constraint = constraint
        self.gradient_penalty = gradient_penalty

    @property
    def lower_bound(self) -> bool:  # type: ignore[override]
        """Whether T is 1-Lipschitz by construction."""
        return self.constraint != "gradient_penalty"

    def build_critic(
        self,
        code_dims: Sequence[int],
        hidden_dims: Sequence[int] = (64, 64),
        *,
        kind: str | None = None,
        raw: bool = False,
    ) -> nn.Module:
        """Return a critic that is 1-Lipschitz, or free to be penalised; see :meth:`Measure.build_critic`."""
        check_lipschitz(self, kind, ("orthogonal", "spectral_norm", "gradient_penalty"))
        if not self.gradient_penalty >= 0:
            raise ValueError(f"gradient_penalty must not be negative, got {self.gradient_penalty}.")
        constraint = "none" if self.constraint == "gradient_penalty" else self.constraint
        return LipschitzCritic(code_dims, hidden_dims, constraint=constraint, raw=raw)

    def objective(self, t_joint: Tensor, t_product: Tensor) -> Tensor:
        """Kantorovich-Rubinstein objective; see :meth:`Measure.objective`."""
        return t_joint.mean() - t_product.mean()

    def critic_objective(self, critic: nn.Module, codes: Sequence[Tensor], index: Tensor) -> Tensor:
        """Kantorovich-Rubinstein objective, less the penalty; see :meth:`Measure.critic_objective`."""
        value = self.value(critic, codes, index)
        if self.constraint != "gradient_penalty" or not torch.is_grad_enabled():
            return value
        return value - self.gradient_penalty * _excess_slope(cast("LipschitzCritic", critic), codes, index)

    def value(self, critic: nn.Module, codes: Sequence[Tensor], index: Tensor) -> Tensor:
        """Kantorovich-Rubinstein objective; see :meth:`Measure.value`."""
        return self.objective(*critic(codes, index))


def check_lipschitz(measure: Any, kind: str | None, constraints: Sequence[str]) -> None:
    """Refuse constraints that the measure does not know, and kinds of critic that cannot be 1-Lipschitz."""
    if kind not in (None, "concatenated"):
        raise ValueError(
            f"{type(measure).__name__} needs a critic that is 1-Lipschitz in all codes together, which one of kind "
            f'{kind!r} is not. Use kind="concatenated".'
        )
    if measure.constraint not in constraints:
        raise ValueError(f"constraint must be one of {sorted(constraints)}, got {measure.constraint!r}.")


def _excess_slope(critic: LipschitzCritic, codes: Sequence[Tensor], index: Tensor) -> Tensor:
    """Mean squared deviation of the slope of T from one, on mixes of joint and re-paired samples."""
    samples = critic.codes(codes, index)
    joint, product = samples.split([len(codes[0]), index.shape[1]])
    # Rows are in random order, so evenly spaced mixing weights are as good as random ones.
    weight = ((torch.arange(len(product), device=samples.device) + 0.5) / len(product)).to(samples.dtype)[:, None]
    mixed = torch.lerp(joint.repeat(len(product) // len(joint), 1), product, weight).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic.layers(mixed).sum(), mixed, create_graph=True)
    return (slope.square().sum(1).clamp(min=1e-12).sqrt() - 1).square().mean()
