"""Encoders that read a sequence step by step: LSTM, GRU and a small transformer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from sklearn.utils._param_validation import StrOptions
from torch import Tensor, nn

from ..utils._parameter_objects import DROPOUT, SIZE
from ._base import Encoder
from ._steps import last_state, mean_over_steps, mean_state, observed_first

_POOLINGS = {"last": last_state, "mean": mean_state}


@dataclass(eq=False, repr=False)
class _RecurrentEncoder(Encoder):
    _network: ClassVar[type[nn.LSTM] | type[nn.GRU]]

    hidden_dim: int = 64
    out_dim: int | None = 32
    n_layers: int = 1
    dropout: float = 0.0
    pooling: Literal["last", "mean"] = "last"

    _parameter_constraints: ClassVar[dict] = {
        "hidden_dim": [SIZE],
        "out_dim": [SIZE, None],
        "n_layers": [SIZE],
        "dropout": [DROPOUT],
        "pooling": [StrOptions(set(_POOLINGS))],
    }

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        _check_sequence(self, shape)
        self._validate_params()
        # torch drops out between layers only, and warns if there is but one.
        between = self.dropout if self.n_layers > 1 else 0.0
        network = self._network(shape[1], int(self.hidden_dim), self.n_layers, batch_first=True, dropout=between)
        return _Recurrent(network, self.out_dim, self.dropout, _POOLINGS[self.pooling])


class LSTMEncoder(_RecurrentEncoder):
    """Long short-term memory over the steps of a sequence; the representation is read off its hidden states.

    The state rests at steps that were not observed, so that padding, wherever it is, and gaps change nothing. Without
    any observed step it is zero. Time is linear in the largest number of observed steps in a batch.

    Parameters
    ----------
    hidden_dim : int, default=64
        Width of the hidden state.
    out_dim : int or None, default=32
        Width of the representation, a linear map of the pooled hidden states; None takes these themselves.
    n_layers : int, default=1
        Number of stacked layers.
    dropout : float, default=0.0
        Probability of zeroing a unit between layers, and of the pooled hidden states, during training.
    pooling : {"last", "mean"}, default="last"
        The last hidden state, or the mean over those of the observed steps. The last one has soon forgotten what was at
        the beginning: of 20 steps or more, the mean learns from early ones what the last state does not.

    References
    ----------
    .. [1] Hochreiter, Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.encoders import LSTMEncoder
    >>> encoder = LSTMEncoder(out_dim=8).build((20, 5))  # 20 steps of 5 features
    >>> encoder(torch.randn(4, 20, 5)).shape
    torch.Size([4, 8])
    """

    _network = nn.LSTM


@dataclass(eq=False, repr=False)
class GRUEncoder(_RecurrentEncoder):
    """Gated recurrent units over the steps of a sequence; the representation is read off their hidden states.

    The state rests at steps that were not observed, so that padding, wherever it is, and gaps change nothing. Without
    any observed step it is zero. Time is linear in the largest number of observed steps in a batch.

    Parameters
    ----------
    hidden_dim : int, default=64
        Width of the hidden state.
    out_dim : int or None, default=32
        Width of the representation, a linear map of the pooled hidden states; None takes these themselves.
    n_layers : int, default=1
        Number of stacked layers.
    dropout : float, default=0.0
        Probability of zeroing a unit between layers, and of the pooled hidden states, during training.
    pooling : {"last", "mean"}, default="mean"
        The last hidden state, or the mean over those of the observed steps. The last one has soon forgotten what was at
        the beginning: of 20 steps or more, the mean learns from early ones what the last state does not.

    References
    ----------
    .. [1] Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
       EMNLP 2014.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.encoders import GRUEncoder
    >>> encoder = GRUEncoder(out_dim=8).build((20, 5))  # 20 steps of 5 features
    >>> encoder(torch.randn(4, 20, 5)).shape
    torch.Size([4, 8])
    """

    _network = nn.GRU
    pooling: Literal["last", "mean"] = "mean"


class _Recurrent(nn.Module):
    fixed_work = True  # see net/_step_graphs.py

    def __init__(
        self, network: nn.LSTM | nn.GRU, out_dim: int | None, dropout: float, pool: Callable[..., Tensor]
    ) -> None:
        super().__init__()
        self.network = network
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Identity() if out_dim is None else nn.Linear(network.hidden_size, out_dim)
        self.out_dim = network.hidden_size if out_dim is None else out_dim

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.out(self.dropout(self.pool(self.network, x, mask)))


@dataclass(eq=False, repr=False)
class TransformerEncoder(Encoder):
    """Small transformer over the steps of a sequence; the representation is read off the mean of its outputs.

    Each step is mapped to ``d_model`` features and given a sinusoidal position; layers are normalised before attention
    and before the feed-forward part (``4 * d_model`` wide), which trains without a warm-up of the learning rate.
    Positions count the observed steps, as the recurrent encoders do: padding, wherever it is, and gaps change nothing.
    Without any observed step the mean is zero. Time and memory are quadratic in the largest number of observed steps
    in a batch.

    Parameters
    ----------
    d_model : int, default=64
        Width of a step, even and a multiple of ``n_heads``.
    n_heads : int, default=4
        Attention heads of a layer.
    n_layers : int, default=1
        Number of layers.
    out_dim : int, default=32
        Width of the representation.
    dropout : float, default=0.0
        Probability of zeroing a unit or an attention weight during training.

    References
    ----------
    .. [1] Vaswani et al., "Attention Is All You Need", NeurIPS 2017 (positions: Section 3.5).
    .. [2] Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020.

    Examples
    --------
    >>> import torch
    >>> from sklearn_mdm.encoders import TransformerEncoder
    >>> encoder = TransformerEncoder(out_dim=8).build((20, 5))  # 20 steps of 5 features
    >>> encoder(torch.randn(4, 20, 5)).shape
    torch.Size([4, 8])
    """

    d_model: int = 64
    n_heads: int = 4
    n_layers: int = 1
    out_dim: int = 32
    dropout: float = 0.0

    _parameter_constraints: ClassVar[dict] = {
        **{name: [SIZE] for name in ["d_model", "n_heads", "n_layers", "out_dim"]},
        "dropout": [DROPOUT],
    }

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        _check_sequence(self, shape)
        self._validate_params()
        if self.d_model % 2 or self.d_model % self.n_heads:
            raise ValueError(
                f"TransformerEncoder needs an even d_model that n_heads divides, got d_model={self.d_model} and "
                f"n_heads={self.n_heads}."
            )
        return _Transformer(shape[1], self.d_model, self.n_heads, self.n_layers, self.out_dim, self.dropout)


class _Transformer(nn.Module):
    def __init__(
        self, n_features: int, d_model: int, n_heads: int, n_layers: int, out_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.out_dim = out_dim
        self.embed = nn.Linear(n_features, d_model)
        self.dropout = nn.Dropout(dropout)
        # Not nn.TransformerEncoder, which starts every layer from the same weights.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(d_model, n_heads, 4 * d_model, dropout, batch_first=True, norm_first=True)
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.out = nn.Linear(d_model, out_dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        steps, lengths = observed_first(x, mask)
        n_steps = steps.shape[1]
        steps = self.embed(steps)
        steps = self.dropout(steps + sinusoids(n_steps, steps.shape[2]).to(steps))
        seen = padding = None
        if lengths is not None:
            seen = torch.arange(n_steps, device=x.device) < lengths.unsqueeze(1)
            # Attention to nothing is undefined: a sample without any step attends to the first, which the mean ignores.
            padding = torch.arange(n_steps, device=x.device) >= lengths.clamp(min=1).unsqueeze(1)
        for layer in self.layers:
            steps = layer(steps, src_key_padding_mask=padding)
        return self.out(mean_over_steps(self.norm(steps), seen))


def sinusoids(n_steps: int, width: int) -> Tensor:
    """Positions (n_steps, width): sine and cosine in turn, of wavelengths from 2 pi to 10000 * 2 pi."""
    frequency = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10000.0) / width))
    angle = torch.arange(n_steps, dtype=torch.float64).unsqueeze(1) * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


def _check_sequence(encoder: Encoder, shape: tuple[int, ...]) -> None:
    if len(shape) != 2:
        raise ValueError(
            f"{type(encoder).__name__} reads sequences (n_samples, n_steps, n_features), but this modality is a vector "
            f'(n_samples, {shape[0]}). Encode it with "mlp": encoder={{name: "mlp"}} sets the encoder of one modality.'
        )
