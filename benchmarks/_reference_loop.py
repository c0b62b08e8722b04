"""The yardstick of ``speed.py``: the same training as a bare torch loop, written by hand.

FROZEN. This file says what the arithmetic costs when nothing but torch is used. It is not to be changed when the
package changes, or figures of different versions could no longer be compared; if the arithmetic of the defaults ever
changes, add a new reference beside this one.

It does what ``MDMFusionRegressor`` does with ``ConcatFusion`` and ``MLPEncoder`` at their defaults, as one would write
it for one experiment: three modalities without missing values, one target, codes of one width, float32, no
validation, no history, no checks, one ``.item()`` an epoch. Nothing is imported from the package.

Each step makes ``unroll`` updates of the critic on detached codes, then one update of the model on
``mse - lam * dependency``. Critic batches come in a shuffled order of their own. Joint and re-paired rows pass the
critic in one forward.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.nn.utils.parametrizations import orthogonal


class Model(nn.Module):
    """One encoder per modality, and a head on the concatenated codes."""

    def __init__(self, widths, hidden=64, code=32):
        super().__init__()
        self.encoders = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, code)) for width in widths
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(code * len(widths), hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def encode(self, xs):
        return torch.cat([encoder(x) for encoder, x in zip(self.encoders, xs, strict=True)], dim=1)


class MaxMin(nn.Module):
    def forward(self, x):
        a, b = x.chunk(2, dim=1)
        return torch.cat([torch.maximum(a, b), torch.minimum(a, b)], dim=1)


class Critic(nn.Module):
    """T on joint rows and, below them, on re-paired rows; codes are bounded to the unit ball, each on its own."""

    def __init__(self, n_modalities, code=32, hidden=64, lipschitz=False):
        super().__init__()
        self.shape = n_modalities, code
        self.scale = 1.0 if lipschitz else math.sqrt(code)
        activation = MaxMin if lipschitz else nn.ReLU
        self.layers = nn.Sequential(
            linear(n_modalities * code, hidden, lipschitz),
            activation(),
            linear(hidden, hidden, lipschitz),
            activation(),
            linear(hidden, 1, lipschitz),
        )

    def forward(self, codes, pairs):
        z = codes.unflatten(1, self.shape)  # (B, modality, code)
        z = z * (torch.rsqrt(1 + z.square().sum(2, keepdim=True)) * self.scale)
        return self.layers(torch.cat([z, z[pairs]]).flatten(1)).squeeze(1)


def linear(n_in, n_out, lipschitz):
    layer = nn.Linear(n_in, n_out)
    return orthogonal(layer, orthogonal_map="cayley") if lipschitz else layer


def repair(n, n_modalities, generator):
    """Rows of each modality in a sample of the product of marginals: one random order, distinct cyclic offsets."""
    order = torch.randperm(n, generator=generator)
    offsets = torch.randperm(n, generator=generator)[:n_modalities]
    return order[(torch.arange(n)[:, None] + offsets) % n], torch.arange(n_modalities)


def dependency(t, n, measure, bound=10.0):
    """Objective of the critic, from T on n joint rows and on the re-paired rows after them."""
    if measure == "wasserstein":
        return t[:n].mean() - t[n:].mean()
    t = bound * torch.tanh(t / bound)
    if measure == "kl":
        return t[:n].mean() - (torch.logsumexp(t[n:], 0) - math.log(n))
    return t[:n].mean() - torch.exp(t[n:] - 1).mean()


def shuffled_batches(n, size, generator):
    """Rows of whole batches without end, reshuffled after every pass."""
    while True:
        order = torch.randperm(n, generator=generator)
        for start in range(0, n - size + 1, size):
            yield order[start : start + size]


def train(xs, y, *, lam, unroll, measure, batch_size, epochs, seed=0):
    """Train a fresh model.

    Parameters
    ----------
    xs : list of Tensor of shape (n_samples, n_features), dtype float32
        The modalities.
    y : Tensor of shape (n_samples, 1), dtype float32
    lam, unroll, measure, batch_size, epochs : as in MDMFusionRegressor (``max_epochs``)

    Returns
    -------
    losses : list of float
        Mean of the objective in each epoch.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    n, m = len(y), len(xs)
    model = Model([x.shape[1] for x in xs])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2, fused=True)
    if lam:
        critic = Critic(m, lipschitz=measure == "wasserstein")
        critic_parameters = list(critic.parameters())
        critic_optimizer = torch.optim.Adam(critic_parameters, lr=1e-3, fused=True)
        critic_batches = shuffled_batches(n, batch_size, generator)

    losses = []
    for _ in range(epochs):
        total = torch.zeros(())
        batches = torch.randperm(n, generator=generator).split(batch_size)
        for rows in batches:
            if lam:
                for parameter in critic_parameters:
                    parameter.requires_grad_(True)
                for _ in range(unroll):
                    critic_rows = next(critic_batches)
                    with torch.no_grad():
                        codes = model.encode([x.index_select(0, critic_rows) for x in xs])
                    critic_optimizer.zero_grad(set_to_none=True)
                    t = critic(codes, repair(batch_size, m, generator))
                    (-dependency(t, batch_size, measure)).backward()
                    critic_optimizer.step()
                for parameter in critic_parameters:
                    parameter.requires_grad_(False)  # the model step passes gradients through T, not to it

            optimizer.zero_grad(set_to_none=True)
            codes = model.encode([x.index_select(0, rows) for x in xs])
            loss = mse_loss(model.head(codes), y.index_select(0, rows))
            if lam:
                t = critic(codes, repair(len(rows), m, generator))
                loss = loss - lam * dependency(t, len(rows), measure)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        losses.append(total.item() / len(batches))
    return losses
