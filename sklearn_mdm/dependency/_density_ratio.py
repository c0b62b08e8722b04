"""A critic trained on some rows and calibrated on others, so that what it says holds on new ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..critic import PairedCritic
from ..critic._negatives import offset_indices
from ..exceptions import TooFewSamplesError
from ..measures import Measure
from ..utils._splits import fewest_rows
from ..utils._threads import one_thread_if_small
from ._gaussian_mixture import MixtureRatio, choose_mixture, refit_mixture

__all__: list[str] = []

# Re-pairings over which values on rows that were not trained on are averaged, and the most such rows that calibrate.
EVALUATION_SETS = 32
STOPPING_ROWS = 4000
# Looks at the stopping rows during training, and how many of them may pass without progress.
CHECKS = 20
PATIENCE = 8
# Passes over the rows after which there is nothing left to learn from them.
MOST_EPOCHS = 200
# Decay of the moving average of the weights, which is what is evaluated and kept: single iterates are noisy.
AVERAGING = 0.995
# Likelihood ratio, on the scale of a chi-squared variable, that calibration takes for chance.
NOISE = 4.0
# Rows that a permutation test looks at, which bounds its time.
TEST_ROWS = 2000


class TrainedCritic:
    r"""Trains the critic of a measure, and reads values off it that hold on rows which it was not trained on.

    For measures whose critic estimates the log density ratio :math:`r = p(z_1..z_m) / \prod_j p(z_j)`,

    .. math:: \log \hat r(z) = s(z) - \log E_Q[e^{s}], \quad s = \min(a T + a_0 g, b), \quad a, a_0 \ge 0

    where T is the critic and g the log ratio of a Gaussian mixture. Their weights are those of a logistic regression
    of true against re-paired stopping rows, so that what did not learn anything that holds counts for nothing; b is the
    cap with the best value there, as a few re-paired rows far outside the data otherwise decide the normaliser. Under
    the joint, :math:`E[\log \hat r] \le KL(P \| Q)` up to the error of the normaliser.

    Parameters
    ----------
    measure : Measure
        What the critic is trained on.
    kind : str or None, default=None
        Form of the critic, a key of :data:`sklearn_mdm.critic.CRITICS`; None takes the measure's own.
    hidden_dims : sequence of int, default=(128, 128, 64)
        Widths of its hidden layers.
    n_updates : int, default=3000
        Most updates of the critic; no more than 200 passes over the rows are made in any case.
    batch_size : int, default=128
        Rows per update.
    n_negatives : int, default=16
        Re-paired rows per row of a batch.
    lr : float, default=4e-3
        Learning rate of AdamW, warmed up and annealed.
    weight_decay : float, default=0.3
        Decoupled weight decay of the critic's matrices.
    n_components : int, default=32
        Most components of the mixture, up to 32; 0 leaves it out.
    refit : bool, default=True
        Whether the mixture learns from the stopping rows too, once it is weighted. Values must then be read on rows
        that are in neither part.
    seed : int, default=0
        Seed of the critic and of its batches.

    Attributes
    ----------
    weights_ : array
        Calibration a and :math:`a_0`; all zero if nothing that was learned held on the stopping rows.
    cap_ : float
        Calibration b.
    log_normalizer_, log_normalizer_std_ : float
        Logarithm of the mean of :math:`e^s` over re-paired rows, and its standard error.
    n_updates_ : int
        Updates until the best loss on the stopping rows.
    curve_ : list of float
        Loss on the stopping rows at each check.
    """

    def __init__(
        self,
        measure: Measure,
        *,
        kind: str | None = None,
        hidden_dims: Sequence[int] = (128, 128, 64),
        n_updates: int = 3000,
        batch_size: int = 128,
        n_negatives: int = 16,
        lr: float = 4e-3,
        weight_decay: float = 0.3,
        n_components: int = 32,
        refit: bool = True,
        seed: int = 0,
    ) -> None:
        self.measure = measure
        self.kind = kind
        self.hidden_dims = hidden_dims
        self.n_updates = n_updates
        self.batch_size = batch_size
        self.n_negatives = n_negatives
        self.lr = lr
        self.weight_decay = weight_decay
        self.n_components = n_components
        self.refit = refit
        self.seed = seed

    # -- training ----------------------------------------------------------------------------------------------------

    def fit(self, codes: Sequence[np.ndarray], stopping: np.ndarray) -> TrainedCritic:
        """Train, stop and calibrate.

        Parameters
        ----------
        codes : sequence of arrays of shape (n_samples, k_j)
            One code per modality.
        stopping : array of bool of shape (n_samples,)
            Rows that are not trained on, but decide when to stop and calibrate.

        Returns
        -------
        self : TrainedCritic

        Raises
        ------
        TooFewSamplesError
            If either part has too few samples.
        FloatingPointError
            If the objective becomes non-finite.
        """
        fewest = fewest_rows(len(codes))
        sizes = int((~stopping).sum()), int(stopping.sum())
        if min(sizes) < fewest:
            raise TooFewSamplesError(
                f"{sizes[0]} samples are there to train and {sizes[1]} to calibrate the critic on; each part needs at "
                f"least {fewest}. Pass more samples or smaller groups."
            )
        train_rows = np.flatnonzero(~stopping)
        # In random order: data often come sorted.
        stopping_rows = np.random.default_rng(self.seed).permutation(np.flatnonzero(stopping))[:STOPPING_ROWS]
        self.mean_, self.scale_ = mean_and_scale(np.concatenate([z[train_rows] for z in codes], axis=1))
        tensors = self._standardized(codes)
        train = [z[torch.from_numpy(train_rows)] for z in tensors]
        stop = [z[torch.from_numpy(stopping_rows)] for z in tensors]
        dims = [z.shape[1] for z in tensors]
        with torch.random.fork_rng(devices=[]), ExitStack() as threads:
            torch.default_generator.manual_seed(self.seed)  # initial weights and noise
            self.network_ = self.measure.build_critic(dims, self.hidden_dims, kind=self.kind, raw=True)
            if isinstance(self.network_, PairedCritic) and self.measure.density_ratio:
                self.network_.silence()
            threads.enter_context(one_thread_if_small([self.network_], self.batch_size * (1 + self.n_negatives)))
            self._train(train, stop)
            self.network_.requires_grad_(False).double().eval()
            mixture = self._choose_mixture(train, stop, dims)
            self.mixture_ = None if mixture is None else MixtureRatio(mixture, dims)
            self._calibrate([z.double() for z in stop])
            if self.refit and mixture is not None and self.weights_[-1]:
                # Weighted as on rows that are new to it, the mixture may learn from them too.
                rows = torch.cat([torch.cat(train, 1), torch.cat(stop, 1)]).double().numpy()
                self.mixture_ = MixtureRatio(refit_mixture(mixture, rows), dims)
        return self

    def _standardized(self, codes: Sequence[np.ndarray]) -> list[Tensor]:
        z = (np.concatenate(codes, axis=1) - self.mean_) / self.scale_
        if self.measure.density_ratio:
            # Dependency does not change under a monotone map of a column; heavy tails change what can be learned.
            z = np.where(np.abs(z) > 3, np.sign(z) * (3 + np.log1p(np.maximum(np.abs(z) - 3, 0))), z)
        return list(torch.from_numpy(z).float().split([z.shape[1] for z in codes], dim=1))

    def _train(self, train: list[Tensor], stop: list[Tensor]) -> None:
        network, measure, m = self.network_, self.measure, len(train)
        generator = torch.Generator().manual_seed(self.seed)
        size = min(self.batch_size, len(train[0]))
        n_updates = min(self.n_updates, math.ceil(MOST_EPOCHS * len(train[0]) / size))
        optimizer, schedule = self._optimizer(n_updates)
        check_every = max(1, n_updates // CHECKS)
        index = offset_indices(len(stop[0]), m, 8, generator)
        average = copy.deepcopy(network).eval()
        best, best_loss = copy.deepcopy(average.state_dict()), self._stopping_loss(average, stop, index)
        self.n_updates_, self.curve_ = 0, [best_loss]
        order = torch.empty(0, dtype=torch.int64)
        network.train()
        for update in range(1, n_updates + 1):
            if len(order) < size:
                order = torch.randperm(len(train[0]), generator=generator)
            rows, order = order[:size], order[size:]
            batch = [z.index_select(0, rows) for z in train]
            optimizer.zero_grad(set_to_none=True)
            objective = measure.critic_objective(network, batch, offset_indices(size, m, self.n_negatives, generator))
            (-objective).backward()
            optimizer.step()
            schedule.step()
            average_weights(average, network, min(AVERAGING, update / (update + 10)))
            if update % check_every == 0:
                if not math.isfinite(objective.item()):
                    raise FloatingPointError(
                        f"non-finite objective ({objective.item()}) of {type(measure).__name__} at update {update}. "
                        "Try a smaller lr, or look for extreme values in X."
                    )
                self.curve_.append(self._stopping_loss(average, stop, index))
                if self.curve_[-1] < best_loss:
                    best_loss, self.n_updates_ = self.curve_[-1], update
                    best = copy.deepcopy(average.state_dict())
                elif update - self.n_updates_ >= PATIENCE * check_every:
                    break
        network.load_state_dict(best)

    def _optimizer(self, n_updates: int) -> tuple[torch.optim.Optimizer, Any]:
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        for name, parameter in self.network_.named_parameters():
            # Orthogonal layers have no scale to decay.
            matrix = parameter.dim() > 1 and "parametrizations" not in name
            (decayed if matrix else free).append(parameter)
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": free, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=self.lr, fused=True)

        def rate(update: int) -> float:
            return min(1.0, (update + 1) / 100) * 0.5 * (1 + math.cos(math.pi * min(1.0, update / n_updates)))

        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)

    def _stopping_loss(self, network: nn.Module, stop: list[Tensor], index: Tensor) -> float:
        with torch.no_grad():
            if self.measure.density_ratio:
                return _logistic_loss(*network(stop, index))
            return -self.measure.value(network, stop, index).item()

    def _choose_mixture(self, train: list[Tensor], stop: list[Tensor], dims: list[int]) -> GaussianMixture | None:
        if not self.n_components or not self.measure.density_ratio or self.measure.own_critic:
            return None
        index = offset_indices(len(stop[0]), len(stop), 8, torch.Generator().manual_seed(self.seed))

        def loss(mixture: MixtureRatio) -> float:
            with torch.no_grad():
                features = mixture.encode([z.double() for z in stop])
                return _logistic_loss(mixture.combine(features), mixture.combine(paired(features, index)))

        rows = torch.cat(train, dim=1).double().numpy()
        return choose_mixture(rows, dims, loss, seed=self.seed, most=self.n_components)

    # -- calibration -------------------------------------------------------------------------------------------------

    def _calibrate(self, stop: list[Tensor]) -> None:
        """Weights and cap, from rows that no update saw."""
        self.weights_, self.cap_ = np.ones(1), math.inf
        if not self.measure.density_ratio:
            return
        joint, product = self._parts(stop), self._parts(stop, self._pairings(stop))
        self.weights_ = _logistic_weights(joint, product)
        s_joint, s_product = self.weights_ @ joint, self.weights_ @ product

        def value(cap: float) -> float:
            return np.minimum(s_joint, cap).mean() - log_mean_exp(np.minimum(s_product, cap))

        self.cap_ = max(np.quantile(s_joint, [1.0, 0.995, 0.99, 0.98, 0.95, 0.9]), key=value)

    def _parts(self, z: list[Tensor], pairings: list[Tensor] | None = None) -> np.ndarray:
        """T and the log ratio of the mixture, of rows or of their re-pairings: (n_parts, n) or (n_parts, sets * n)."""
        parts = []
        networks: list[Any] = [self.network_] if self.mixture_ is None else [self.network_, self.mixture_]
        with torch.no_grad():
            for network in networks:
                features = network.encode(z)
                indices = [None] if pairings is None else pairings
                t = [network.combine(features if rows is None else paired(features, rows)) for rows in indices]
                parts.append(torch.cat(t).numpy())
        return np.stack(parts)

    def _pairings(self, z: list[Tensor]) -> list[Tensor]:
        generator = torch.Generator().manual_seed(self.seed + 1)
        return [offset_indices(len(z[0]), len(z), 1, generator) for _ in range(EVALUATION_SETS)]

    def log_ratio(self, codes: Sequence[np.ndarray], index: np.ndarray | None = None) -> np.ndarray:
        """Return s, the calibrated log ratio before it is normalised, of each row, (n_samples,).

        With an index (n_modalities, n), of samples that are put together from row ``index[j, i]`` of modality j, (n,).
        """
        pairings = None if index is None else [torch.from_numpy(index)]
        return self._calibrated(self._parts(self._double(codes), pairings))

    def _double(self, codes: Sequence[np.ndarray]) -> list[Tensor]:
        return [z.double() for z in self._standardized(codes)]

    def _calibrated(self, parts: np.ndarray) -> np.ndarray:
        return np.minimum(self.weights_ @ parts, self.cap_)

    def normalize(self, codes: Sequence[np.ndarray], groups: np.ndarray | None = None) -> TrainedCritic:
        """Take the normaliser from these rows, whose groups are independent units."""
        self.log_normalizer_, self.log_normalizer_std_ = 0.0, 0.0
        if self.measure.density_ratio:
            z = self._double(codes)
            pairings = self._pairings(z)
            values = self._calibrated(self._parts(z, pairings))
            self.log_normalizer_ = log_mean_exp(values)
            # Re-paired rows share samples: the variance is that of the sum over all rows which contain one sample (or
            # group), added over modalities: the first-order term of a generalised U-statistic.
            relative = np.exp(values - self.log_normalizer_) - 1
            unit = np.arange(len(z[0])) if groups is None else np.unique(groups, return_inverse=True)[1]
            variance = 0.0
            for rows in torch.cat(pairings, dim=1).numpy():
                variance += (np.bincount(unit[rows], weights=relative) ** 2).sum() / len(relative) ** 2
            self.log_normalizer_std_ = math.sqrt(variance)
        return self

    # -- reading -----------------------------------------------------------------------------------------------------

    def pointwise(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """Estimated log density ratio of each row, in nats; a row's value does not depend on the other rows.

        Parameters
        ----------
        codes : sequence of arrays of shape (n_samples, k_j)
            One code per modality.

        Returns
        -------
        values : array of shape (n_samples,)
        """
        return self.log_ratio(codes) - self.log_normalizer_

    def score(self, codes: Sequence[np.ndarray], groups: np.ndarray | None = None) -> tuple[float, float]:
        """Value of the measure on these rows, and its standard error, for which groups are independent units.

        For measures of total correlation, the mean of :meth:`pointwise`; for others, their value on these rows and on
        re-pairings of them. The errors of both means are added as if they were independent, which is conservative.
        """
        if not self.measure.density_ratio:
            values = self._batch_values(codes)
            return float(values.mean()), _standard_error(values, None)
        values = self.pointwise(codes)
        value = float(values.mean())
        if type(self.measure).estimate is not Measure.estimate:
            z = self._double(codes)
            product = self._calibrated(self._parts(z, self._pairings(z))) - self.log_normalizer_
            value = self.measure.estimate(values, product)
        if not any(self.weights_):
            # Nothing was found. How well that is known follows from what was looked for.
            values = self._parts(self._double(codes))[-1]
        spread = _standard_error(values, groups) if self.measure.total_correlation else math.nan
        return value, math.hypot(spread, self.log_normalizer_std_)

    def _batch_values(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        z = self._double(codes)
        generator = torch.Generator().manual_seed(self.seed + 1)
        n_batches = max(2, len(z[0]) // self.batch_size)
        if len(z[0]) < n_batches * fewest_rows(len(z)):
            n_batches = 1
        values = []
        with torch.no_grad():
            for rows in torch.randperm(len(z[0]), generator=generator).tensor_split(n_batches):
                batch = [code[rows] for code in z]
                index = offset_indices(len(rows), len(z), EVALUATION_SETS, generator)
                values.append(self.measure.value(self.network_, batch, index).item())
        return np.asarray(values)

    def permutation_means(self, codes: Sequence[np.ndarray], n_permutations: int, seed: int) -> np.ndarray:
        """Mean log ratio of (at most 2,000 of) the rows, then of those with modalities permuted independently.

        Returns
        -------
        means : array of shape (1 + n_permutations,)
        """
        random = np.random.default_rng(seed)
        rows = random.permutation(len(codes[0]))[:TEST_ROWS]
        z = self._double([code[rows] for code in codes])
        n, m = len(rows), len(codes)
        orders = [np.arange(n)] * m
        pairings = [torch.from_numpy(np.stack(orders))]
        for _ in range(n_permutations):
            pairings.append(torch.from_numpy(np.stack([orders[0], *(random.permutation(n) for _ in range(m - 1))])))
        if not self.measure.density_ratio:
            features = [z_j.float() for z_j in z]
            network = copy.deepcopy(self.network_).float()
            with torch.no_grad():
                return np.array([network(paired(features, index)).mean().item() for index in pairings])
        return self._evidence(self._parts(z, pairings)).reshape(1 + n_permutations, n).mean(1)

    def evidence(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """Log ratio of each row for a test of independence, before it is normalised, (n_samples,)."""
        return self._evidence(self._parts(self._double(codes)))

    def _evidence(self, parts: np.ndarray) -> np.ndarray:
        # What was weighted down for want of evidence still ranks: a test may use what an estimate must not.
        return self._calibrated(parts) if any(self.weights_) else parts[-1]


def mean_and_scale(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of columns, the latter 1 where all values are equal up to rounding."""
    top = np.abs(rows).max(0)
    top[top == 0] = 1.0  # squares of very large or small values would leave the range of numbers
    mean, std = (rows / top).mean(0), (rows / top).std(0)
    return mean * top, np.where(std > 10 * np.finfo(float).eps * np.abs(mean), std * top, 1.0)


def _standard_error(values: np.ndarray, groups: np.ndarray | None) -> float:
    """Of the mean of values, whose groups are independent units."""
    if groups is not None:
        units = np.unique(groups, return_inverse=True)[1]
        sums = np.bincount(units, weights=values - values.mean())
        return math.sqrt((sums**2).sum() * len(sums) / max(len(sums) - 1, 1)) / len(values)
    return values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def paired(features: Sequence[Tensor], index: Tensor) -> list[Tensor]:
    return [f.index_select(0, rows) for f, rows in zip(features, index, strict=True)]


def _logistic_loss(t_joint: Tensor, t_product: Tensor) -> float:
    """Logistic loss of telling true from re-paired rows, with T made a log ratio."""
    shift = torch.logsumexp(t_product.double(), 0) - math.log(len(t_product))
    softplus = nn.functional.softplus
    return (softplus(shift - t_joint).mean() + softplus(t_product - shift).mean()).item()


def _logistic_weights(joint: np.ndarray, product: np.ndarray) -> np.ndarray:
    """Non-negative weights of a logistic regression of true against re-paired rows on the parts of the log ratio.

    They are shrunk by their likelihood ratio: the parts were chosen by their success on the same rows, so a little of
    it is chance.
    """
    t = np.concatenate([joint, product], axis=1)
    labels = np.r_[np.ones(joint.shape[1]), np.zeros(product.shape[1])]
    # Every joint row counts as often as it is re-paired.
    sample_weight = np.where(labels == 1, 1.0, joint.shape[1] / product.shape[1])
    weights, scale = np.zeros(len(t)), t.std(1)
    used = scale > 0
    while used.any():
        columns = (t[used] / scale[used, None]).T
        logistic = LogisticRegression(C=1e4).fit(columns, labels, sample_weight=sample_weight)
        found = logistic.coef_[0]
        if (found >= 0).all():
            gain = math.log(2) - log_loss(labels, logistic.predict_proba(columns), sample_weight=sample_weight)
            ratio = 2 * gain * sample_weight.sum()
            weights[used] = max(0.0, 1 - NOISE / ratio) * found / scale[used] if ratio > 0 else 0.0
            break
        used[np.flatnonzero(used)[found.argmin()]] = False
    return weights


def average_weights(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the parameters of one network towards those of another, and copy its buffers."""
    if getattr(network, "constraint", None) == "spectral_norm":
        decay = 0.0  # the singular vectors in its buffers belong to the parameters as they are
    get_ema_multi_avg_fn(decay)(list(average.parameters()), list(network.parameters()), None)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)


def log_mean_exp(values: np.ndarray) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).mean()))
