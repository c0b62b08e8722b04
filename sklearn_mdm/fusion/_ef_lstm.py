"""Early fusion: one LSTM over the modalities side by side at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from ..encoders._mlp import mlp
from ..encoders._steps import last_state, mean_over_steps
from ..utils._parameter_objects import check_sizes
from ._aligned import align, any_observed, check_aligned
from ._base import FusionOutput

__all__ = ["EarlyFusionLSTM"]


class EarlyFusionLSTM(BaseEstimator):
    r"""Put the modalities side by side at every step, run one LSTM over them, predict from its last state (EF-LSTM).

    .. math::

       h_t = \mathrm{LSTM}([W_1 x_{1,t}; \dots; W_m x_{m,t}], h_{t-1}), \qquad
       \hat y = \mathrm{MLP}(h_T)

    The dependency term reads :math:`z_j`, the mean of :math:`W_j x_{j,t}` over the observed steps of modality j: the
    states of the LSTM have seen every modality. It is zero for a modality that was not observed. The fused
    representation is :math:`h_T`.

    Modalities must be sequences of the same number of steps, which mean the same moments, or all vectors, which count
    as one step. A modality that was not observed at a step reads as the mean of standardised data, zero, or with
    ``missing="token"`` as a learned vector in place of :math:`W_j x_{j,t}`. Zero adds nothing to the gates, so
    ``"mean"`` and ``"skip"`` are the same. The state rests at steps at which no modality was observed. ``encoder`` must
    stay ``"auto"``.

    Time is linear in samples, steps and features, without a Python loop over steps.

    Parameters
    ----------
    embed_dim : int, default=32
        Width of the embedding :math:`W_j x_{j,t}` of each modality.
    hidden_dim : int, default=64
        Width of the state of the LSTM and of the hidden layer after it.
    n_layers : int, default=1
        Number of stacked LSTM layers.
    dropout : float, default=0.0
        Probability of zeroing a unit of the hidden layer, and between LSTM layers, during training.

    Notes
    -----
    EF-LSTM has no paper of its own; it is the early-fusion baseline of [1]_ and of those that followed it: an LSTM on
    concatenated features, then a linear layer, ReLU, dropout and a linear layer. The embeddings :math:`W_j`, without
    bias and nonlinearity, are an addition: they factor the input weights of the LSTM so that a part of the network
    reads one modality only.

    References
    ----------
    .. [1] Zadeh, Liang, Mazumder, Poria, Cambria, Morency, "Memory Fusion Network for Multi-view Sequential Learning",
       AAAI 2018.

    Examples
    --------
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.fusion import EarlyFusionLSTM
    >>> MDMFusionRegressor(fusion=EarlyFusionLSTM(hidden_dim=128)).get_params()["fusion__hidden_dim"]
    128
    """

    def __init__(self, embed_dim: int = 32, hidden_dim: int = 64, n_layers: int = 1, dropout: float = 0.0) -> None:
        self.embed_dim = embed_dim
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.dropout = dropout

    def build(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        n_outputs: int,
        *,
        encoder: Any = "auto",
        missing: str = "mean",
    ) -> nn.Module:
        """Return the fusion module.

        Parameters
        ----------
        shapes : mapping of str to tuple
            Shape of one sample of each modality: all (n_features,), or all (n_steps, n_features) with the same n_steps.
        n_outputs : int
            Number of targets or classes.
        encoder : {"auto"}, default="auto"
            The system embeds the modalities itself.
        missing : {"mean", "token", "skip"}, default="mean"
            What stands in for a modality at steps where it was not observed.

        Returns
        -------
        module : nn.Module
            Its ``forward(X, mask)`` returns a :class:`FusionOutput`.

        Raises
        ------
        ValueError
            If the modalities differ in their number of steps, or an encoder is given.
        """
        check_sizes(self, "embed_dim", "hidden_dim", "n_layers")
        check_aligned("EarlyFusionLSTM", shapes, encoder, missing)
        return _EarlyFusion(
            shapes, n_outputs, self.embed_dim, self.hidden_dim, self.n_layers, self.dropout, missing == "token"
        )


class _EarlyFusion(nn.Module):
    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        n_outputs: int,
        embed_dim: int,
        hidden_dim: int,
        n_layers: int,
        dropout: float,
        tokens: bool,
    ) -> None:
        super().__init__()
        self.code_dims = dict.fromkeys(shapes, embed_dim)
        self.embeddings = nn.ModuleDict(
            {name: nn.Linear(shape[-1], embed_dim, bias=False) for name, shape in shapes.items()}
        )
        self.tokens = nn.ParameterDict({name: nn.Parameter(torch.zeros(embed_dim)) for name in shapes if tokens})
        # torch drops out between layers only, and warns if there is but one.
        between = dropout if n_layers > 1 else 0.0
        self.lstm = nn.LSTM(len(shapes) * embed_dim, hidden_dim, n_layers, batch_first=True, dropout=between)
        self.head = mlp(hidden_dim, [hidden_dim], n_outputs, dropout)

    def represent(self, X: Mapping[str, Tensor], mask: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        return self._pool(*align("EarlyFusionLSTM", X, mask))

    def forward(self, X: Mapping[str, Tensor], mask: Mapping[str, Tensor] | None = None) -> FusionOutput:
        steps, seen = align("EarlyFusionLSTM", X, mask)
        embedded = {name: embed(steps[name]) for name, embed in self.embeddings.items()}
        if seen is not None:
            for name, token in self.tokens.items():
                embedded[name] = torch.where(seen[name].unsqueeze(-1), embedded[name], token)
        fused = last_state(self.lstm, torch.cat(list(embedded.values()), dim=2), any_observed(seen))
        return FusionOutput(self.head(fused), fused, self._pool(steps, seen))

    def _pool(self, steps: Mapping[str, Tensor], seen: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        # The mean of the embeddings is the embedding of the mean, for a fraction of the work.
        return {
            name: embed(mean_over_steps(steps[name], None if seen is None else seen[name]))
            for name, embed in self.embeddings.items()
        }
