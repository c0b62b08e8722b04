"""Early fusion: one LSTM over the modalities side by side at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..encoders._base import EncoderChoice, Inputs, Masks, Missing, Shapes
from ..encoders._steps import last_state
from ..utils._layers import mlp
from ..utils._parameter_objects import DROPOUT, SIZE
from ._aligned import EmbeddedSteps, check_aligned
from ._base import Fusion, FusionModule, FusionOutput


@dataclass(eq=False, repr=False)
class EarlyFusionLSTM(Fusion):
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

    embed_dim: int = 32
    hidden_dim: int = 64
    n_layers: int = 1
    dropout: float = 0.0

    _parameter_constraints: ClassVar[dict] = {
        **{name: [SIZE] for name in ["embed_dim", "hidden_dim", "n_layers"]},
        "dropout": [DROPOUT],
    }

    def build(
        self, shapes: Shapes, n_outputs: int, *, encoder: EncoderChoice = "auto", missing: Missing = "mean"
    ) -> FusionModule:
        self._validate_params()
        check_aligned("EarlyFusionLSTM", shapes, encoder, missing)
        return _EarlyFusion(self, shapes, n_outputs, missing)


class _EarlyFusion(EmbeddedSteps):
    fixed_work = True  # see net/_step_graphs.py

    def __init__(self, fusion: EarlyFusionLSTM, shapes: Shapes, n_outputs: int, missing: Missing) -> None:
        super().__init__("EarlyFusionLSTM", shapes, fusion.embed_dim, missing)
        width, n_layers = int(fusion.hidden_dim), fusion.n_layers
        # torch drops out between layers only, and warns if there is but one.
        between = fusion.dropout if n_layers > 1 else 0.0
        self.lstm = nn.LSTM(len(shapes) * int(fusion.embed_dim), width, n_layers, batch_first=True, dropout=between)
        self.head = mlp(width, [width], n_outputs, fusion.dropout)

    def forward(self, X: Inputs, mask: Masks | None = None) -> FusionOutput:
        joint, seen, z = self._embed(X, mask)
        fused = last_state(self.lstm, joint, seen)
        return FusionOutput(self.head(fused), fused, z)
