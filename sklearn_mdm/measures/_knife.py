"""Total correlation as a difference of entropies, under learnt Gaussian mixtures (KNIFE)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..critic._base import BoundedCodes, Codes
from ._base import Measure

__all__ = ["KNIFE", "MixtureCritic"]

# Log scales of a kernel lie within this of zero: a kernel neither shrinks onto single rows nor covers everything.
LARGEST_LOG_SCALE = 3.0
# Spread of the initial modes. All kernels start near the standard normal, so that T starts near zero.
MODE_SPREAD = 0.1


class KNIFE(Measure):
    r"""Total correlation as a difference of entropies, each under a learnt Gaussian mixture.

    .. math:: \sum_j H(z_j) - H(z_1, \dots, z_m) \approx E_P[T], \quad
              T(z) = \log q(z_1, \dots, z_m) - \sum_j \log q_j(z_j)

    The mixtures q and :math:`q_j` maximise the likelihood of the codes,
    :math:`E_P[\log q(z) + \sum_j \log q_j(z_j)]`. Re-paired rows are not used, so that the variance does not grow with
    the dependency; the value is a plug-in estimate in nats, *not a bound*, and is as good as the mixtures fit.

    Parameters
    ----------
    n_kernels : int, default=8
        Gaussian kernels of each mixture. More follow bends and clusters, and fit chance on few rows.

    Notes
    -----
    A kernel of d columns has d (d + 3) / 2 parameters, and the joint mixture has the columns of all codes: on wide
    codes it fits the training rows far better than new ones, and the value on training rows is far too high. Take
    narrow codes, such as those of ``MLPEncoder(out_dim=4)``.

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
    >>> codes = [torch.randn(8, 3), torch.randn(8, 2)]
    >>> bool(measure.value(critic, codes).abs() < 0.1)  # it begins near zero
    True
    """

    density_ratio = pointwise = total_correlation = own_critic = True

    def __init__(self, n_kernels: int = 8) -> None:
        self.n_kernels = n_kernels

    def build_critic(
        self,
        code_dims: Sequence[int],
        hidden_dims: Sequence[int] = (64, 64),
        *,
        kind: str | None = None,
        raw: bool = False,
    ) -> nn.Module:
        """Return the mixtures; see :meth:`Measure.build_critic`."""
        if kind is not None:
            raise ValueError(f"KNIFE has a critic of its own, and none of kind {kind!r}. Use kind=None.")
        return MixtureCritic(code_dims, self.n_kernels, raw=raw)

    def critic_objective(self, critic: nn.Module, codes: Sequence[Tensor], index: Tensor | None = None) -> Tensor:
        """Log likelihood of the codes, jointly and by modality; see :meth:`Measure.critic_objective`."""
        mixtures = cast("MixtureCritic", critic)
        joint, margins = mixtures.log_densities(mixtures.encode(codes))
        return (joint + margins).mean()

    def value(self, critic: nn.Module, codes: Sequence[Tensor], index: Tensor | None = None) -> Tensor:
        """Mean of T in nats; see :meth:`Measure.value`."""
        return critic(codes).mean()

    def estimate(self, log_ratio_joint: np.ndarray, log_ratio_product: np.ndarray) -> float:
        """Mean of the log density ratio in nats; see :meth:`Measure.estimate`."""
        return float(np.mean(log_ratio_joint))


class MixtureCritic(nn.Module):
    r"""Log density ratio of learnt Gaussian mixtures: one of all codes together, and one of each.

    .. math:: q(z) = \sum_k \pi_k \, |A_k| \, \phi(A_k (z - \mu_k))

    with a lower-triangular :math:`A_k` whose diagonal is positive and bounded, and :math:`\phi` the standard normal
    density. As with the other critics, each modality is encoded once and re-paired samples combine what is encoded.

    Parameters
    ----------
    code_dims : sequence of int
        Width of each modality's code.
    n_kernels : int, default=8
        Kernels of each mixture.
    raw : bool, default=False
        Whether inputs are standardised columns of data. Otherwise they are learned codes, which are mapped into a
        ball first.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import MixtureCritic
    >>> MixtureCritic([3, 2])([torch.randn(8, 3), torch.randn(8, 2)]).shape
    torch.Size([8])
    """

    def __init__(self, code_dims: Sequence[int], n_kernels: int = 8, *, raw: bool = False) -> None:
        super().__init__()
        if not n_kernels >= 1:
            raise ValueError(f"n_kernels must be at least 1, got {n_kernels}.")
        self.code_dims = tuple(code_dims)
        self.codes = Codes(code_dims) if raw else BoundedCodes(code_dims, unit_columns=True)
        self.joint = _Mixture(sum(code_dims), n_kernels)
        self.margins = nn.ModuleList([_Mixture(width, n_kernels) for width in code_dims])

    def encode(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """Per modality: its share in the whitened rows of each kernel, and its own log density."""
        inputs = self.codes.each(codes)
        densities = [margin(z)[:, None] for z, margin in zip(inputs, self.margins, strict=True)]
        return [torch.cat(pair, dim=1) for pair in zip(self.joint.whiten(inputs), densities, strict=True)]

    def log_densities(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Log density of rows under the joint mixture, and the sum of those of their modalities."""
        total = features[0]
        for f in features[1:]:
            total = total + f
        return self.joint.log_density(total[:, :-1]), total[:, -1]

    def combine(self, features: Sequence[Tensor]) -> Tensor:
        """Return T of rows whose modalities are encoded, (n_samples,)."""
        joint, margins = self.log_densities(features)
        return joint - margins

    def forward(self, codes: Sequence[Tensor], index: Tensor | None = None) -> Any:
        """Return T on the rows, or on the rows and on re-paired ones.

        Parameters
        ----------
        codes : sequence of Tensor of shape (n_samples, code_dims[j])
            One code per modality.
        index : Tensor of shape (n_modalities, n_product), default=None
            Rows of each modality in the re-paired samples.

        Returns
        -------
        t : Tensor of shape (n_samples,), or a pair with (n_product,)
        """
        features = self.encode(codes)
        t_joint = self.combine(features)
        if index is None:
            return t_joint
        return t_joint, self.combine([f.index_select(0, rows) for f, rows in zip(features, index, strict=True)])


class _Mixture(nn.Module):
    """Log density of a Gaussian mixture, up to powers of 2 pi, which cancel in T."""

    def __init__(self, width: int, n_kernels: int) -> None:
        super().__init__()
        self.modes = nn.Parameter(MODE_SPREAD * torch.randn(n_kernels, width))
        self.scales = nn.Parameter(torch.zeros(n_kernels, width))
        self.lower = nn.Parameter(torch.zeros(n_kernels, width, width))
        self.weights = nn.Parameter(torch.zeros(n_kernels))

    def log_scales(self) -> Tensor:
        return LARGEST_LOG_SCALE * torch.tanh(self.scales / LARGEST_LOG_SCALE)

    def whiten(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Share of each part of the columns in the whitened rows of all kernels, (n_samples, n_kernels * width)."""
        roots = self.lower.tril(-1) + torch.diag_embed(self.log_scales().exp())
        widths = [z.shape[1] for z in parts]
        shares = []
        for z, root, mode in zip(parts, roots.split(widths, 2), self.modes.split(widths, 1), strict=True):
            shares.append(nn.functional.linear(z, root.flatten(0, 1), -(root @ mode[:, :, None]).flatten()))
        return shares

    def log_density(self, whitened: Tensor) -> Tensor:
        distance = whitened.unflatten(1, self.modes.shape).square().sum(2)
        constants = torch.log_softmax(self.weights, 0) + self.log_scales().sum(1)
        return torch.logsumexp(constants - 0.5 * distance, 1)

    def forward(self, z: Tensor) -> Tensor:
        return self.log_density(self.whiten([z])[0])
