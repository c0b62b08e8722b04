"""Measures that tell a sample from others that share its first modality."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..critic import LipschitzCritic, MultilinearCritic
from ..critic._base import Representations, Widths
from ._base import CriticKind, Measure

# Most combinations that a row is told from, and most of all rows of a batch together.
MAX_TUPLES_OF_A_ROW = 2**12
MAX_TUPLES = 2**21


class InfoNCE(Measure):
    r"""Noise-contrastive estimate of dependency (InfoNCE, contrastive predictive coding).

    .. math:: \frac1n \sum_i \Big( T(z_1^i, \dots, z_m^i)
              - \log \frac{1}{|S_i|} \sum_{s \in S_i} e^{T(z_1^i, z_2^{s_2}, \dots, z_m^{s_m})} \Big)

    where the set :math:`S_i` holds the sample itself and others that share its first modality. With a
    :class:`~sklearn_mdm.critic.MultilinearCritic` (``kind="multilinear"``, the default) these are all
    :math:`b^{m-1}` combinations of the b rows of a batch, or of a part of it where these are too many, and
    ``n_negatives`` is not used; with other critics, the row and its ``n_negatives`` negatives, of which there should be
    many. In nats, with little variance, and never above the logarithm of the size of :math:`S_i`: see :meth:`limit`.

    Parameters
    ----------
    bound : float or None, default=10.0
        The critic is bounded by ``bound * tanh(T / bound)``; None leaves T unbounded.

    Notes
    -----
    For two modalities the value is a lower bound of the mutual information. For more, combinations of rows share
    elements, and the proof does not carry over: the inner mean is a V-statistic of :math:`E_Q[e^T | z_1]`, and the
    value is treated as its plug-in estimate and not as a bound. Any :math:`c(z_1)` may be added to T, so T of one row
    is no density ratio.

    References
    ----------
    .. [1] van den Oord, Li, Vinyals, "Representation learning with contrastive predictive coding", 2018.
    .. [2] Poole et al., "On variational bounds of mutual information", ICML 2019.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import InfoNCE
    >>> InfoNCE().objective(torch.full((4,), 50.0), torch.zeros(8))  # two others each: log 3
    tensor(1.0986)
    >>> round(InfoNCE().limit(64, 3), 3)  # 2 * log(64)
    8.318
    """

    member_axis = True  # see stacks
    total_correlation = True
    default_kind = "multilinear"

    def __init__(self, bound: float | None = 10.0) -> None:
        self.bound = bound

    def limit(self, n_samples: int, n_modalities: int, n_negatives: int | None = None) -> float:
        r"""Largest possible value, in nats.

        Parameters
        ----------
        n_samples : int
            Rows of a batch.
        n_modalities : int
            Number of modalities m.
        n_negatives : int, default=None
            Negatives per row. None: all combinations of b rows are contrasted, as with a
            :class:`~sklearn_mdm.critic.MultilinearCritic`. b is ``n_samples``, or a part of them: a larger batch is
            split evenly so that :math:`b^{m-1} \le 2^{12}` and, in all, :math:`n b^{m-1} \le 2^{21}`. Of batches of 64
            rows, all are combined for three modalities, 16 for four, 8 for five and 4 for six.

        Returns
        -------
        limit : float
            ``(m - 1) * log(b)``, or ``log(1 + n_negatives)``.
        """
        if n_negatives is not None:
            return math.log1p(n_negatives)
        return (n_modalities - 1) * math.log(_rows_combined(n_samples, n_modalities))

    def objective(self, t_joint: Tensor, t_product: Tensor) -> Tensor:
        """Contrastive objective; negatives that share a row's first modality come one after the other."""
        others = t_product.view(*t_joint.shape, -1)
        return _contrast(t_joint, torch.cat([t_joint.unsqueeze(-1), others], dim=-1))

    def critic_objective(self, critic: nn.Module, representations: Representations, index: Tensor) -> Tensor:
        """Contrastive objective; see :meth:`Measure.critic_objective`."""
        if not isinstance(critic, MultilinearCritic):
            t_joint, t_product = critic(representations, index)
            return self.objective(t_joint, t_product.gather(-1, index[..., 0, :].argsort(stable=True)))
        n, m = representations[0].shape[-2], len(representations)
        b = _rows_combined(n, m)
        parts = [z[..., : n // b * b, :].unflatten(-2, (-1, b)) for z in representations]
        t = critic.all_tuples(parts)
        together: tuple[Any, ...] = (..., *[torch.arange(b, device=t.device)] * m)
        return _contrast(t[together], t.flatten(1 - m)).mean(-1)


class WassersteinPredictiveCoding(InfoNCE):
    r"""The objective of :class:`InfoNCE` with a 1-Lipschitz critic (Wasserstein predictive coding).

    With K negatives per row it is, by Jensen's inequality, at most :math:`\frac{K}{K + 1}` of the objective of
    :class:`Wasserstein` for the same T: a lower bound of the Wasserstein distance, in units of distance between
    bounded representations and not in nats. Where that distance is small against one it is nearly a multiple of it;
    unlike it, it saturates at log(K + 1).

    References
    ----------
    .. [1] Ozair et al., "Wasserstein Dependency Measure for Representation Learning", NeurIPS 2019.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.measures import WassersteinPredictiveCoding
    >>> WassersteinPredictiveCoding().objective(torch.ones(4), torch.ones(8))
    tensor(0.)
    """

    member_axis = True  # see stacks
    unit = "distance between bounded representations"
    own_critic = True
    total_correlation = False

    def __init__(self) -> None:  # T is bounded by its slope
        pass

    def _build_critic(self, code_dims: Widths, hidden_dims: Widths, kind: CriticKind | None, raw: bool) -> nn.Module:
        return LipschitzCritic(code_dims, hidden_dims, raw=raw)

    def limit(self, n_samples: int, n_modalities: int, n_negatives: int | None = 1) -> float:
        """Largest possible value, ``log(1 + n_negatives)``; see :meth:`InfoNCE.limit`."""
        return super().limit(n_samples, n_modalities, 1 if n_negatives is None else n_negatives)


def _rows_combined(n: int, m: int) -> int:
    """Rows of which all combinations are contrasted: all n, or an even part of them where these are too many."""
    most_others = min(MAX_TUPLES_OF_A_ROW, MAX_TUPLES / n)
    most = max(2, math.floor(most_others ** (1 / (m - 1)) + 1e-9))
    return n // -(-n // most)


def _contrast(positive: Tensor, scores: Tensor) -> Tensor:
    """Mean over rows of T of the true sample, relative to the log mean exp of the k scores it is told apart from."""
    return (positive - torch.logsumexp(scores, -1)).mean(-1) + math.log(scores.shape[-1])
