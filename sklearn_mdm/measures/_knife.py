"""Total correlation as a difference of entropies, under learnt Gaussian mixtures (KNIFE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..critic import PairedCritic
from ..critic._base import Representations, Widths
from ..utils._parameter_objects import SIZE
from ._base import CriticKind, Measure

# Log scales of a kernel lie within this of zero: a kernel neither shrinks onto single rows nor covers everything.
MAX_LOG_SCALE = 3.0
# Spread of the initial modes. All kernels start near the standard normal, so that T starts near zero.
MODE_SPREAD = 0.1


class KNIFE(Measure):
    r"""Total correlation as a difference of entropies, each under a learnt Gaussian mixture.

    .. math:: \sum_j H(z_j) - H(z_1, \dots, z_m) \approx E_P[T], \quad
              T(z) = \log q(z_1, \dots, z_m) - \sum_j \log q_j(z_j)

    The mixtures q and :math:`q_j` maximise the likelihood of the representations,
    :math:`E_P[\log q(z) + \sum_j \log q_j(z_j)]`. Negatives are not used, so that the variance does not grow with the
    dependency; the value is a plug-in estimate in nats, *not a bound*, and is as good as the mixtures fit.

    Parameters
    ----------
    n_kernels : int, default=8
        Gaussian kernels of each mixture. More follow bends and clusters, and fit chance on few rows.

    Notes
    -----
    A kernel of d columns has d (d + 3) / 2 parameters, and the joint mixture has the columns of all representations: on
    wide ones it fits the training rows far better than new ones, and the value on training rows is far too high. Take
    narrow representations, such as those of ``MLPEncoder(out_dim=4)``.

    The critic has no hidden layers: ``critic_hidden_dims`` is not used, nor is ``n_negatives``.

    References
    ----------
    .. [1] Pichler, Colombo, Boudiaf, Koliander, Piantanida, "A differential entropy estimator for training neural
       networks" (KNIFE), ICML 2022.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import KNIFE
    >>> measure = KNIFE(n_kernels=4)
    >>> critic = measure.build_critic([3, 2])
    >>> z = [torch.randn(8, 3), torch.randn(8, 2)]
    >>> bool(measure.value(critic, z).abs() < 0.5)  # it begins near zero
    True
    """

    density_ratio = pointwise = total_correlation = own_critic = True

    _parameter_constraints: ClassVar[dict] = {"n_kernels": [SIZE]}

    def __init__(self, n_kernels: int = 8) -> None:
        self.n_kernels = n_kernels

    def _build_critic(self, code_dims: Widths, hidden_dims: Widths, kind: CriticKind | None, raw: bool) -> nn.Module:
        return MixtureCritic(code_dims, self.n_kernels, raw=raw)

    def critic_objective(
        self, critic: nn.Module, representations: Representations, index: Tensor | None = None
    ) -> Tensor:
        """Log likelihood of the representations, jointly and by modality; see :meth:`Measure.critic_objective`."""
        mixtures = cast("MixtureCritic", critic)
        joint, margins = mixtures.log_densities(mixtures.encode(representations))
        return (joint + margins).mean()

    def value(self, critic: nn.Module, representations: Representations, index: Tensor | None = None) -> Tensor:
        """Mean of T in nats; see :meth:`Measure.value`."""
        return critic(representations).mean()

    def estimate(self, log_ratio_joint: np.ndarray, log_ratio_product: np.ndarray) -> float:
        """Mean of the log density ratio in nats; see :meth:`Measure.estimate`."""
        return float(np.mean(log_ratio_joint))


class MixtureCritic(PairedCritic):
    r"""Log density ratio of learnt Gaussian mixtures: one of all representations together, and one of each.

    .. math:: q(z) = \sum_k \pi_k \, |A_k| \, \phi(A_k (z - \mu_k))

    with a lower-triangular :math:`A_k` whose diagonal is positive and bounded, and :math:`\phi` the standard normal
    density.

    Parameters
    ----------
    code_dims : sequence of int
        Width of each modality's representation.
    n_kernels : int, default=8
        Kernels of each mixture.
    raw : bool, default=False
        Whether inputs are standardised columns of data. Otherwise they are learned representations, which are mapped
        into a ball first.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import MixtureCritic
    >>> MixtureCritic([3, 2])([torch.randn(8, 3), torch.randn(8, 2)]).shape
    torch.Size([8])
    """

    fixed_work = True  # see net/_step_graphs.py

    def __init__(self, code_dims: Sequence[int], n_kernels: int = 8, *, raw: bool = False) -> None:
        super().__init__(code_dims, raw=raw)
        if not n_kernels >= 1:
            raise ValueError(f"n_kernels must be at least 1, got {n_kernels}.")
        self.joint = _Mixture(sum(code_dims), n_kernels)
        self.margins = nn.ModuleList([_Mixture(width, n_kernels) for width in code_dims])

    def encode(self, representations: Representations) -> list[Tensor]:
        """Per modality: its share in the whitened rows of each kernel, and its own log density."""
        inputs = self.inputs.each(representations)
        densities = [margin(z)[:, None] for z, margin in zip(inputs, self.margins, strict=True)]
        return [torch.cat(pair, dim=1) for pair in zip(self.joint.whiten(inputs), densities, strict=True)]

    def log_densities(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Log density of rows under the joint mixture, and the sum of those of their modalities."""
        whitened, margins = summed_features(features)
        return self.joint.log_density(whitened), margins

    def _combine(self, features: Sequence[Tensor]) -> Tensor:
        joint, margins = self.log_densities(features)
        return joint - margins

    def silence(self) -> None:
        """Leave the mixtures as they are: T is all but zero to begin with."""


class _Mixture(nn.Module):
    """Log density of a Gaussian mixture, up to powers of 2 pi, which cancel in T."""

    fixed_work = True  # see net/_step_graphs.py

    def __init__(self, width: int, n_kernels: int) -> None:
        super().__init__()
        self.modes = nn.Parameter(MODE_SPREAD * torch.randn(n_kernels, width))
        self.scales = nn.Parameter(torch.zeros(n_kernels, width))
        self.lower = nn.Parameter(torch.zeros(n_kernels, width, width))
        self.weights = nn.Parameter(torch.zeros(n_kernels))

    def log_scales(self) -> Tensor:
        return MAX_LOG_SCALE * torch.tanh(self.scales / MAX_LOG_SCALE)

    def whiten(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Share of each part of the columns in the whitened rows of all kernels, (n_samples, n_kernels * width)."""
        roots = self.lower.tril(-1) + torch.diag_embed(self.log_scales().exp())
        widths = [z.shape[1] for z in parts]
        shares = []
        for z, root, mode in zip(parts, roots.split(widths, 2), self.modes.split(widths, 1), strict=True):
            shares.append(nn.functional.linear(z, root.flatten(0, 1), -(root @ mode[:, :, None]).flatten()))
        return shares

    def log_density(self, whitened: Tensor) -> Tensor:
        return log_mixture_density(whitened, torch.log_softmax(self.weights, 0) + self.log_scales().sum(1))

    def forward(self, z: Tensor) -> Tensor:
        return self.log_density(self.whiten([z])[0])


def summed_features(features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Whitened rows of the joint mixture and log densities of the margins, from each modality's share in them."""
    total = features[0]
    for f in features[1:]:
        total = total + f
    return total[:, :-1], total[:, -1]


def log_mixture_density(whitened: Tensor, log_constants: Tensor) -> Tensor:
    """Log density of rows (n, K * width) that are whitened by each of K kernels, whose log constants are (K,)."""
    distance = whitened.unflatten(1, (len(log_constants), -1)).square().sum(2)
    return torch.logsumexp(log_constants - 0.5 * distance, 1)
