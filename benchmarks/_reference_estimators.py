"""Estimators of total correlation and of the Wasserstein distance to compare with, each as plain as its source.

They take a list of arrays of shape (n_samples, d_j), one a modality, and return one number, in nats unless it is a
distance.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import digamma
from torch import nn


def standardize(xs, rows=slice(None)):
    """Columns with mean 0 and standard deviation 1 over some rows."""
    return [(x - x[rows].mean(0)) / np.where(x[rows].std(0) > 0, x[rows].std(0), 1.0) for x in xs]


def gaussian_total_correlation(xs):
    """Total correlation of Gaussians with the covariance of the sample: right for Gaussians only.

    Half the sum of the log determinants of the modalities' covariances, less that of the joint covariance.
    """
    parts = sum(np.linalg.slogdet(np.atleast_2d(np.cov(x, rowvar=False)))[1] for x in xs)
    return 0.5 * float(parts - np.linalg.slogdet(np.cov(np.hstack(xs), rowvar=False))[1])


def ksg_total_correlation(xs, k=3):
    """Nearest-neighbour estimate of total correlation.

    With the maximum norm everywhere, and c_j the number of samples, itself included, that are closer to a sample in
    modality j than its k-th neighbour is in all of them,

        psi(k) + (m - 1) psi(n) - mean of sum_j psi(c_j)

    Kraskov, Stoegbauer, Grassberger, "Estimating mutual information", Physical Review E 69, 2004: the first of their
    two algorithms, in its form for m variables.
    """
    n, m = len(xs[0]), len(xs)
    if not 1 <= k < n:
        raise ValueError(f"k must be between 1 and n - 1 = {n - 1}, got {k}.")
    joint = np.hstack(xs)
    distance = cKDTree(joint).query(joint, k=[k + 1], p=np.inf)[0][:, 0]  # the first neighbour is the sample itself
    radius = np.nextafter(distance, 0)  # strictly closer
    total = digamma(k) + (m - 1) * digamma(n)
    for x in xs:
        counts = cKDTree(x).query_ball_point(x, radius, p=np.inf, return_length=True)
        total -= digamma(np.maximum(counts, 1)).mean()  # duplicates make the radius zero, and leave nothing inside
    return float(total)


def mine_total_correlation(xs, held_out, **training):
    """Plain MINE: trained on the rest of the rows, and the Donsker-Varadhan value on those held out.

    Belghazi et al., "Mutual Information Neural Estimation", ICML 2018, with one permutation for each modality.

    Parameters
    ----------
    xs : list of arrays of shape (n_samples, d_j)
        Standardised modalities.
    held_out : array of int
        Rows that the value is read on.
    **training
        Arguments of :func:`train_mine`.
    """
    train = np.setdiff1d(np.arange(len(xs[0])), held_out)
    critic = train_mine([x[train] for x in xs], **training)
    return mine_value(critic, [x[held_out] for x in xs])


def train_mine(
    xs,
    *,
    hidden_dims=(64, 64),
    n_updates=2000,
    batch_size=256,
    n_negatives=1,
    lr=1e-3,
    moving_average=None,
    optimizer=torch.optim.Adam,
    seed=0,
):
    """Return a multilayer perceptron on the concatenated modalities that maximises E_P T - log E_Q exp(T).

    ``moving_average`` is the decay of the average that the gradient of the logarithm divides by, or None for the plain
    gradient. ``n_negatives`` sets of independent permutations of a batch, one for each modality, stand for Q.
    """
    generator = torch.Generator().manual_seed(seed)
    xs = [torch.as_tensor(x, dtype=torch.float32) for x in xs]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        widths = [sum(x.shape[1] for x in xs), *hidden_dims, 1]
        layers = [layer for pair in itertools.pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
        critic = nn.Sequential(*layers[:-1])
    steps = optimizer(critic.parameters(), lr=lr)
    average = None
    for _ in range(n_updates):
        rows = torch.randint(len(xs[0]), (batch_size,), generator=generator)
        batch = [x[rows] for x in xs]
        t_joint = critic(torch.cat(batch, dim=1))
        t_product = critic(_permuted(batch, n_negatives, generator))
        if moving_average is None:
            loss = _log_mean_exp(t_product) - t_joint.mean()
        else:
            mean = t_product.exp().mean()
            kept = mean.detach() if average is None else average
            average = moving_average * kept + (1 - moving_average) * mean.detach()
            loss = mean / average - t_joint.mean()
        steps.zero_grad()
        loss.backward()
        steps.step()
    return critic


def mine_value(critic, xs, n_sets=32, seed=1):
    """Donsker-Varadhan value of a critic on some rows, with several sets of permutations."""
    generator = torch.Generator().manual_seed(seed)
    xs = [torch.as_tensor(x, dtype=torch.float32) for x in xs]
    with torch.no_grad():
        t_product = torch.cat([critic(_permuted(xs, 1, generator)) for _ in range(n_sets)])
        return (critic(torch.cat(xs, dim=1)).double().mean() - _log_mean_exp(t_product.double())).item()


def _permuted(batch, n_sets, generator):
    n = len(batch[0])
    return torch.cat(
        [torch.cat([x[torch.randperm(n, generator=generator)] for x in batch], dim=1) for _ in range(n_sets)]
    )


def _log_mean_exp(t):
    return torch.logsumexp(t.flatten(), 0) - math.log(t.numel())


def exact_wasserstein(p, q):
    """Wasserstein-1 distance of two samples (n, d) and (k, d) with the Euclidean norm, by exact optimal transport.

    Needs POT (Flamary et al., "POT: Python Optimal Transport", JMLR 22, 2021): ``pip install POT``.
    """
    import ot

    return float(ot.emd2([], [], cdist(p, q), numItermax=10_000_000))
