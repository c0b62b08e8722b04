"""A critic that learns from a stream: every batch is read before it is learned from."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..critic import EncodedCritic, PairedCritic
from ..critic._negatives import offset_indices
from ..measures import Measure
from ..utils._threads import one_thread_if_small
from ._density_ratio import EVALUATION_SETS, average_weights, log_mean_exp, paired

__all__: list[str] = []

# Decay of the moving average of the weights, which is what is evaluated.
AVERAGING = 0.998
# Decay of the moving average of the normaliser: one batch has too few re-paired rows for large dependencies.
NORMALIZER_AVERAGING = 0.98


class StreamedCritic:
    r"""Trains a critic on batches that are seen once, and reads the value of each before.

    .. math:: E_P[T] - \log E_Q[e^T]

    on the batch, with the second mean over the last batches too. Columns are standardised by their statistics so far.

    Parameters
    ----------
    measure : Measure
        What the critic is trained on; its best T is the log density ratio.
    kind : str or None, default=None
        Form of the critic; see :data:`sklearn_mdm.critic.CRITICS`.
    hidden_dims : sequence of int, default=(128, 128, 64)
        Widths of its hidden layers.
    n_negatives : int, default=8
        Re-paired rows per row of a batch.
    lr : float, default=1e-3
        Learning rate of Adam.
    seed : int, default=0
        Seed of the critic and of the re-pairings.

    Attributes
    ----------
    log_normalizer_ : float
        Moving average of :math:`E_Q[e^T]`, in logarithm.
    n_updates_ : int
        Number of batches so far.
    """

    def __init__(
        self,
        measure: Measure,
        *,
        kind: str | None = None,
        hidden_dims: Sequence[int] = (128, 128, 64),
        n_negatives: int = 8,
        lr: float = 1e-3,
        seed: int = 0,
    ) -> None:
        self.measure = measure
        self.kind = kind
        self.hidden_dims = hidden_dims
        self.n_negatives = n_negatives
        self.lr = lr
        self.seed = seed
        self.n_updates_ = 0

    def update(self, codes: Sequence[np.ndarray]) -> tuple[float, float]:
        """Return the value of a batch and its standard error, then learn from it."""
        with torch.random.fork_rng(devices=[]), ExitStack() as threads:
            torch.default_generator.manual_seed(self.seed + self.n_updates_)
            if not self.n_updates_:
                self._begin(codes)
            threads.enter_context(one_thread_if_small([self.network_], len(codes[0]) * (1 + EVALUATION_SETS)))
            self._track(codes)
            z = self._standardized(codes)
            value, std = self._read(z)
            index = offset_indices(len(z[0]), len(z), self.n_negatives, self.generator_)
            self.optimizer_.zero_grad(set_to_none=True)
            objective = self.measure.critic_objective(self.network_, z, index)
            if not math.isfinite(objective.item()):
                raise FloatingPointError(
                    f"non-finite objective ({objective.item()}) of {type(self.measure).__name__} at batch "
                    f"{self.n_updates_}. Try a smaller lr, or look for extreme values in X."
                )
            (-objective).backward()
            self.optimizer_.step()
            self.n_updates_ += 1
            average_weights(self.average_, self.network_, min(AVERAGING, self.n_updates_ / (self.n_updates_ + 10)))
        return value, std

    def _begin(self, codes: Sequence[np.ndarray]) -> None:
        dims = [z.shape[1] for z in codes]
        self.network_ = self.measure.build_critic(dims, self.hidden_dims, kind=self.kind, raw=True)
        if isinstance(self.network_, PairedCritic):
            self.network_.silence()
        if isinstance(self.network_, EncodedCritic):
            self.network_.noise = 0.0  # no sample comes twice: there is nothing to memorise
        self.network_.train()
        self.average_ = copy.deepcopy(self.network_).eval().requires_grad_(False)
        self.optimizer_ = torch.optim.Adam(self.network_.parameters(), lr=self.lr, fused=True)
        self.generator_ = torch.Generator().manual_seed(self.seed)
        self.count_, self.log_normalizer_ = 0, 0.0

    def _track(self, codes: Sequence[np.ndarray]) -> None:
        """Mean and variance of the columns over all batches."""
        batch = np.concatenate(codes, axis=1)
        if not self.count_:
            self.mean_, self.variance_ = np.zeros(batch.shape[1]), np.zeros(batch.shape[1])
        total = self.count_ + len(batch)
        difference = batch.mean(0) - self.mean_
        share = len(batch) / total
        self.variance_ += share * (batch.var(0) - self.variance_ + (1 - share) * difference**2)
        self.mean_ += share * difference
        self.count_ = total

    def _standardized(self, codes: Sequence[np.ndarray]) -> list[Tensor]:
        scale = np.sqrt(self.variance_)
        scale = np.where(scale > 1e-12 * np.abs(self.mean_) + 1e-300, scale, 1.0)
        z = (np.concatenate(codes, axis=1) - self.mean_) / scale
        return list(torch.from_numpy(z).float().split([code.shape[1] for code in codes], dim=1))

    def _read(self, z: list[Tensor]) -> tuple[float, float]:
        index = offset_indices(len(z[0]), len(z), EVALUATION_SETS, self.generator_)
        network: Any = self.average_
        with torch.no_grad():
            features = network.encode(z)
            t_joint = network.combine(features).double().numpy()
            t_product = network.combine(paired(features, index)).double().numpy()
        decay = min(NORMALIZER_AVERAGING, self.n_updates_ / (self.n_updates_ + 10))
        batch = log_mean_exp(t_product)
        if decay:
            batch = float(np.logaddexp(self.log_normalizer_ + math.log(decay), batch + math.log(1 - decay)))
        self.log_normalizer_ = batch
        return float(t_joint.mean() - batch), float(t_joint.std(ddof=1) / math.sqrt(len(t_joint)))

    def log_ratio(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """Return T of each row, (n_samples,)."""
        with torch.no_grad():
            return self.average_(self._standardized(codes)).double().numpy()

    evidence = log_ratio  # for a test of independence

    def pointwise(self, codes: Sequence[np.ndarray]) -> np.ndarray:
        """Log density ratio of each row in nats, (n_samples,)."""
        return self.log_ratio(codes) - self.log_normalizer_

    def score(self, codes: Sequence[np.ndarray], groups: None = None) -> tuple[float, float]:
        """Mean of :meth:`pointwise` and its standard error; a stream has no groups."""
        values = self.pointwise(codes)
        return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))
