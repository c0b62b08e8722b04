"""The log density ratio of a Gaussian mixture: where a critic starts from, so that it only learns the rest."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.linalg import solve_triangular
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from ..critic._base import Representations
from ..measures._knife import log_mixture_density, summed_features
from ..utils._threads import threads_for_work

# Covariances need several rows per column; with fewer the ratio is noise.
MIN_ROWS_PER_COLUMN = 5
# Components are tried until they need more than this many numbers per row, or stop to help.
COMPONENTS = (1, 2, 4, 8, 16, 32)
MAX_FEATURES = 256

# Filters of warnings belong to all threads: two that change and restore them side by side would leave them changed.
_filters = threading.Lock()


class MixtureRatio(nn.Module):
    r"""Log density ratio of joint and product under a Gaussian mixture fitted by expectation-maximisation.

    .. math:: g(z) = \log \sum_k \pi_k N(z; \mu_k, \Sigma_k)
              - \sum_j \log \sum_k \pi_k N(z_j; \mu_{k,j}, \Sigma_{k,jj})

    Marginals of a mixture are mixtures, so g is a closed form. With one component its mean is the total correlation
    of Gaussians, :math:`\frac12 (\sum_j \log |\Sigma_{jj}| - \log |\Sigma|)`. More components follow clusters, tails
    and bends. ``mixture`` has full covariances, of the concatenated representations of widths ``code_dims``.
    """

    bias: Tensor
    constant: Tensor
    margin_constants: Tensor

    def __init__(self, mixture: GaussianMixture, code_dims: Sequence[int]) -> None:
        super().__init__()
        weight, bias, constant = _whitening(mixture, slice(None))
        self.register_buffer("bias", torch.from_numpy(bias))
        self.register_buffer("constant", torch.from_numpy(constant))
        ends = np.cumsum(code_dims)
        parts = [slice(end - width, end) for end, width in zip(ends, code_dims, strict=True)]
        self.shares = nn.ModuleList([_linear(weight[:, part]) for part in parts])
        margins = [_whitening(mixture, part) for part in parts]
        self.margins = nn.ModuleList([_linear(weight, bias) for weight, bias, _ in margins])
        self.register_buffer("margin_constants", torch.from_numpy(np.stack([c for _, _, c in margins])))

    def encode(self, representations: Representations, kept: Sequence[int] | None = None) -> list[Tensor]:
        """Share of each modality (with ``kept``, of those there) in the whitened rows, and its own log density."""
        features = []
        layers = list(zip(representations, self.shares, self.margins, self.margin_constants, strict=True))
        for z, share, margin, constant in layers if kept is None else [layers[j] for j in kept]:
            features.append(torch.cat([share(z), log_mixture_density(margin(z), constant)[:, None]], dim=1))
        return features

    def combine(self, features: Sequence[Tensor]) -> Tensor:
        """Log density ratio of rows whose modalities are encoded, in nats."""
        whitened, margins = summed_features(features)
        return log_mixture_density(whitened + self.bias, self.constant) - margins

    def combine_each(self, features: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
        """Log density ratio of each row of some modalities with each of the others, (n, n_others)."""
        (a, margin), (b, other_margin) = summed_features(features), summed_features(others)
        a, b = (part.unflatten(1, (len(self.constant), -1)).transpose(0, 1) for part in (a + self.bias, b))
        # Squares of sums, as products of matrices: (n_components, n, n_others) is the largest that is ever made.
        by_row = (self.constant[:, None] - a.square().sum(-1) / 2 - margin).unsqueeze(2)
        by_other = (-b.square().sum(-1) / 2 - other_margin).unsqueeze(1)
        log_density = torch.baddbmm(by_other.expand(-1, a.shape[1], -1), a, b.mT, alpha=-1).add_(by_row)
        return log_density[0] if len(log_density) == 1 else torch.logsumexp(log_density, 0)

    def forward(self, representations: Representations) -> Tensor:
        """Log density ratio of each row, in nats."""
        return self.combine(self.encode(representations))


def _linear(weight: np.ndarray, bias: np.ndarray | None = None) -> nn.Linear:
    # Without initial weights, which would be drawn from torch's global generator.
    layer = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(bias))
    return layer.requires_grad_(False)


def _whitening(mixture: GaussianMixture, columns: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight (K * d, d), bias (K * d) and log constant (K) of the components' densities on some columns."""
    weights, biases, constants = [], [], []
    for weight, mean, covariance in zip(mixture.weights_, mixture.means_, mixture.covariances_, strict=True):
        root = np.linalg.cholesky(covariance[columns, columns])
        inverse = solve_triangular(root, np.eye(len(root)), lower=True)
        weights.append(inverse)
        biases.append(-inverse @ mean[columns])
        # The powers of 2 pi cancel between joint and product.
        constants.append(np.log(max(weight, 1e-300)) - np.log(np.diag(root)).sum())
    return np.concatenate(weights), np.concatenate(biases), np.asarray(constants)


def _mixture(n_components: int, seed: int) -> GaussianMixture:
    return GaussianMixture(
        n_components, reg_covar=1e-4, tol=1e-3, random_state=seed, init_params="k-means++", max_iter=100
    )


def _fitted(mixture: GaussianMixture, rows: np.ndarray) -> GaussianMixture:
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # held-out rows judge it, whatever its state
        with threads_for_work(rows.size * rows.shape[1] / 8):  # which is several short products
            return mixture.fit(rows)


def refit_mixture(mixture: GaussianMixture, rows: np.ndarray) -> GaussianMixture:
    """Go on with expectation-maximisation on other rows, from where it stands."""
    again = _mixture(mixture.n_components, 0).set_params(
        weights_init=mixture.weights_ / mixture.weights_.sum(),
        means_init=mixture.means_,
        precisions_init=mixture.precisions_,
    )
    return _fitted(again, rows)


def choose_mixture(
    train: np.ndarray,
    code_dims: Sequence[int],
    loss: Callable[[MixtureRatio], float],
    *,
    seed: int,
    most: int,
    most_work: float = math.inf,
) -> GaussianMixture | None:
    """Return the mixture whose ratio has the smallest held-out loss, or None where there are too few rows for one.

    More components, up to ``most``, are tried while the loss falls, and rows times components times squared width are
    at most ``most_work``.
    """
    n, width = train.shape
    if n < MIN_ROWS_PER_COLUMN * width:
        return None
    best, best_loss = None, np.inf
    for n_components in COMPONENTS:
        work = n * n_components * width**2
        too_wide = n_components > 1 and (n_components * width > MAX_FEATURES or work > most_work)
        if n_components > most or too_wide or n < MIN_ROWS_PER_COLUMN * width * n_components:
            break
        mixture = _fitted(_mixture(n_components, seed), train)
        value = loss(MixtureRatio(mixture, code_dims))
        if value < best_loss:
            # An improvement within noise is not worth its cost on every negative.
            if value < best_loss - 1e-3:
                best = mixture
            best_loss = value
        elif value > best_loss + 0.01:
            break
    return best
