"""Layers that encoders, critics and fusion modules share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def mlp(n_in: int, hidden_dims: Sequence[int], n_out: int, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with ReLU and dropout between them."""
    layers: list[nn.Module] = []
    for width in hidden_dims:
        layers += [nn.Linear(n_in, width), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        n_in = width
    return nn.Sequential(*layers, nn.Linear(n_in, n_out))
