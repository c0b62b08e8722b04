"""The log density ratio of a Gaussian mixture: where a critic starts from, so that it only learns the rest."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.linalg import solve_triangular
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from ..critic._base import Representations
from ..measures._knife import log_mixture_density, summed_features
from ..utils._threads import LockOfProcess, threads_for_work

if TYPE_CHECKING:  # imported where it is used: it brings nearly half of scikit-learn with it
    from sklearn.mixture import GaussianMixture

# Several components need several rows per column each; a single one is shrunk where rows are few.
MIN_ROWS_PER_COLUMN = 5
# Components are tried until they need more than this many numbers per row, or stop to help.
COMPONENTS = (2, 4, 8, 16, 32)
MAX_FEATURES = 256
# Smallest fall of the loss that is worth the cost of more components on every negative, and how many numbers of
# components may pass without one.
MIN_GAIN, MIXTURE_PATIENCE = 1e-3, 2
# Most columns of a full covariance.
MAX_WIDTH = 500
# Rows that mixtures are fitted to, which is enough for as few components.
MAX_ROWS = 20_000

# Filters of warnings belong to all threads: two that change and restore them side by side would leave them changed.
_filters = LockOfProcess()


class MixtureInputs:
    """Columns that a mixture reads of each modality."""

    def __init__(self, parts: Sequence[slice]) -> None:
        self.parts = list(parts)
        self.widths = [part.stop - part.start for part in parts]

    def of(self, representations: Representations) -> list[Tensor]:
        """Those of each modality."""
        return [z[:, part] for z, part in zip(representations, self.parts, strict=True)]

    def columns(self, representations: Representations) -> np.ndarray:
        """Those of all modalities side by side, (n, width)."""
        return torch.cat(self.of(representations), dim=1).double().numpy()


class MixtureRatio(nn.Module):
    r"""Log density ratio of joint and product under a Gaussian mixture fitted by expectation-maximisation.

    .. math:: g(z) = \log \sum_k \pi_k N(z; \mu_k, \Sigma_k)
              - \sum_j \log \sum_k \pi_k N(z_j; \mu_{k,j}, \Sigma_{k,jj})

    Marginals of a mixture are mixtures, so g is a closed form. With one component its mean is the total correlation
    of Gaussians, :math:`\frac12 (\sum_j \log |\Sigma_{jj}| - \log |\Sigma|)`. More components follow clusters, tails
    and bends. ``mixture`` has full covariances, of the columns that ``inputs`` says are read of each modality.
    """

    bias: Tensor
    constant: Tensor
    margin_constants: Tensor

    def __init__(self, mixture: GaussianMixture, inputs: MixtureInputs) -> None:
        super().__init__()
        self.inputs = inputs
        weight, bias, constant = _whitening(mixture, slice(None))
        self.register_buffer("bias", torch.from_numpy(bias))
        self.register_buffer("constant", torch.from_numpy(constant))
        ends = np.cumsum(inputs.widths)
        parts = [slice(end - width, end) for end, width in zip(ends, inputs.widths, strict=True)]
        self.shares = nn.ModuleList([_linear(weight[:, part]) for part in parts])
        margins = [_whitening(mixture, part) for part in parts]
        self.margins = nn.ModuleList([_linear(weight, bias) for weight, bias, _ in margins])
        self.register_buffer("margin_constants", torch.from_numpy(np.stack([c for _, _, c in margins])))

    def encode(self, representations: Representations, kept: Sequence[int] | None = None) -> list[Tensor]:
        """Share of each modality (with ``kept``, of those there) in the whitened rows, and its own log density."""
        features = []
        layers = list(
            zip(self.inputs.of(representations), self.shares, self.margins, self.margin_constants, strict=True)
        )
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
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(
        n_components, reg_covar=1e-4, tol=1e-3, random_state=seed, init_params="k-means++", max_iter=100
    )


def _single(rows: np.ndarray) -> GaussianMixture:
    """One component, whose covariance is shrunk towards a multiple of the identity if rows are few."""
    from sklearn.covariance import OAS, EmpiricalCovariance

    estimate = EmpiricalCovariance() if len(rows) >= MIN_ROWS_PER_COLUMN * rows.shape[1] else OAS()
    covariance = estimate.fit(rows).covariance_ + 1e-4 * np.eye(rows.shape[1])
    mixture = _mixture(1, 0)
    mixture.weights_, mixture.means_, mixture.covariances_ = np.ones(1), rows.mean(0)[None], covariance[None]
    return mixture


def _fitted(mixture: GaussianMixture, rows: np.ndarray) -> GaussianMixture:
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # held-out rows judge it, whatever its state
        with threads_for_work(rows.size * rows.shape[1] / 8):  # which is several short products
            return mixture.fit(rows)


def refit_mixture(mixture: GaussianMixture, rows: np.ndarray) -> GaussianMixture:
    """Go on with expectation-maximisation on other rows, from where it stands."""
    if mixture.n_components == 1:
        return _single(rows)
    again = _mixture(mixture.n_components, 0).set_params(
        weights_init=mixture.weights_ / mixture.weights_.sum(),
        means_init=mixture.means_,
        precisions_init=mixture.precisions_,
    )
    return _fitted(again, _some(rows, 0))


def _some(rows: np.ndarray, seed: int) -> np.ndarray:
    return rows if len(rows) <= MAX_ROWS else rows[np.random.default_rng(seed).permutation(len(rows))[:MAX_ROWS]]


def choose_mixture(
    train: np.ndarray,
    inputs: MixtureInputs,
    loss: Callable[[MixtureRatio], float],
    *,
    seed: int,
    most: int,
    most_work: float = math.inf,
) -> GaussianMixture | None:
    """Return the mixture whose ratio has the smallest held-out loss, or None where columns are too many.

    More components, up to ``most``, are tried while the loss falls below the least so far, and rows times components
    times squared width are at most ``most_work``.
    """
    rows = _some(train, seed)
    n, width = rows.shape
    if width > MAX_WIDTH:
        return None
    best, since = _single(train), 0
    best_loss = loss(MixtureRatio(best, inputs))
    for n_components in COMPONENTS:
        work = n * n_components * width**2
        too_wide = n_components * width > MAX_FEATURES or work > most_work
        too_few = n < MIN_ROWS_PER_COLUMN * width * n_components
        if n_components > most or too_wide or too_few or since >= MIXTURE_PATIENCE:
            break
        mixture = _fitted(_mixture(n_components, seed), rows)
        value = loss(MixtureRatio(mixture, inputs))
        if value < best_loss - MIN_GAIN:
            best, best_loss, since = mixture, value, 0
        else:
            since += 1
    return best
