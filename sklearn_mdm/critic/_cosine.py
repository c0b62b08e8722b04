"""The critic that compares two modalities at a time, by the angle between their projections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ._base import PairedCritic, Representations, Widths, zero_

# Keeps the direction of a projection of length zero defined; others change by less than a rounding error of single
# precision.
SMALLEST_SQUARE = 1e-6


class CosineCritic(PairedCritic):
    r"""Cosines between projections of two modalities at a time.

    .. math:: T_{ab}(z) = \frac1\tau \frac{f_a(z_a)^\top f_b(z_b)}{|f_a(z_a)| \, |f_b(z_b)|}, \quad
              f_j(z) = W_j \mathrm{ReLU}(z) + c_j

    T of a row is the mean over the pairs of modalities. All rows with all others are one batched product of matrices,
    see :meth:`all_pairs`. A representation may keep what the other modalities know nothing of: only the projection is
    compared.

    Parameters
    ----------
    code_dims : sequence of int
        Width of each modality's representation.
    k : int, default=64
        Width of the projections.
    temperature : float, default=0.2
        :math:`\tau`; T lies between :math:`\pm 1 / \tau`.
    raw : bool, default=False
        Whether inputs are standardised columns of data. They are projected as they are, without the ReLU.

    References
    ----------
    .. [1] Chen, Kornblith, Norouzi, Hinton, "A simple framework for contrastive learning of visual representations"
       (SimCLR), ICML 2020, for the projection.
    .. [2] Radford et al., "Learning transferable visual models from natural language supervision" (CLIP), ICML 2021.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.critic import CosineCritic
    >>> critic = CosineCritic([3, 2, 2])
    >>> z = [torch.randn(8, 3), torch.randn(8, 2), torch.randn(8, 2)]
    >>> critic(z).shape, critic.all_pairs(z).shape
    (torch.Size([8]), torch.Size([3, 8, 8]))
    """

    member_axis = True  # see utils/_stacking.py

    def __init__(self, code_dims: Widths, k: int = 64, *, temperature: float = 0.2, raw: bool = False) -> None:
        super().__init__(code_dims, raw=True)  # the length is lost anyway
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}.")
        self.temperature = temperature
        self.raw = raw
        self.projections = nn.ModuleList([nn.Linear(width, k) for width in self.code_dims])

    def encode(self, representations: Representations) -> list[Tensor]:
        """Return the projections, of length one."""
        return list(self._directions(representations).unbind(-3))

    def _directions(self, representations: Representations) -> Tensor:
        """Projections of length one, (n_modalities, n_samples, k)."""
        inputs = [z if self.raw else torch.relu(z) for z in representations]
        f = torch.stack([project(z) for project, z in zip(self.projections, inputs, strict=True)], dim=-3)
        return f * torch.rsqrt(f.square().sum(-1, keepdim=True) + SMALLEST_SQUARE)

    def _combine(self, features: Sequence[Tensor]) -> Tensor:
        total, squares = features[0], features[0].square()
        for f in features[1:]:
            total, squares = total + f, squares + f.square()
        # All pairs at once: (sum f)^2 - sum f^2 is twice the sum of their products.
        m = len(features)
        return (total.square() - squares).sum(-1) / (self.temperature * m * (m - 1))

    def all_pairs(self, representations: Representations) -> Tensor:
        """Return T of each row of one modality with each of another, (n_pairs, n_samples, n_samples).

        Pairs of modalities a < b are in the order of ``itertools.combinations``; a's rows come first.
        """
        f = self._directions(representations)
        a, b = torch.triu_indices(f.shape[-3], f.shape[-3], 1, device=f.device)
        scaled = f / self.temperature
        return scaled.index_select(-3, a) @ f.index_select(-3, b).mT

    def silence(self) -> None:
        """Set the output to zero, from where T can still learn: one modality keeps its projection."""
        for project in list(self.projections)[1:]:
            zero_(project)
