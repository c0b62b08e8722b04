"""The dependency that is reported: a critic of its own, calibrated on rows that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit
from torch import Tensor

from .critic import Critic
from .negatives import offset_indices
from .threads import one_thread_if_small

__all__ = ["ReportingCritic"]

# Re-pairings over which values on held-out rows are averaged, and the most held-out rows that are looked at.
EVALUATION_SETS = 32
CALIBRATION_ROWS = 4000


class TooFewSamplesError(ValueError):
    """There are too few samples or groups to train and calibrate a critic."""


class ReportingCritic:
    r"""Estimates the log density ratio of joint and product, in nats, so that it holds on new rows.

    The critic that regularises training sees the training rows, fits them, and overstates itself elsewhere. This one is
    trained as a classifier of true against re-paired rows (logistic loss), with weight decay, on a part of the rows.
    The other part decides when to stop and calibrates it: with :math:`r = p(z_1..z_m) / \prod_j p(z_j)`,

    .. math:: \log \hat r(z) = a T(z) - \log E_Q[e^{a T}], \quad a \ge 0

    where a is the slope of a logistic regression on held-out rows, so that a critic that learned nothing reports zero.
    Under the joint, :math:`E[\log \hat r] \le KL(P \| Q)`: the reported mean is a lower bound of the total correlation
    up to the error of the normaliser, which its standard error contains.

    Parameters
    ----------
    hidden_dims : sequence of int, default=(64, 64)
        Widths of the critic's hidden layers.
    n_updates : int, default=1000
        Most updates of the critic.
    batch_size : int, default=128
        Rows per update.
    n_negatives : int, default=4
        Re-paired rows per row of a batch.
    lr : float, default=2e-3
        Learning rate.
    weight_decay : float, default=1e-2
        Decoupled weight decay.
    seed : int, default=0
        Seed of the split, of the critic and of its batches.

    Attributes
    ----------
    slope_ : float
        Calibration a; 0 if the critic found nothing that held on the held-out rows.
    log_normalizer_ : float
        Logarithm of the mean of exp(a T) over re-paired held-out rows.
    log_normalizer_std_ : float
        Its standard error.
    n_updates_ : int
        Updates until the best held-out loss.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm.dependency import ReportingCritic
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.normal(size=(2000, 1))
    >>> codes = [shared + rng.normal(size=(2000, 1)), shared + rng.normal(size=(2000, 1))]
    >>> critic = ReportingCritic(n_updates=300).fit(codes)  # the truth is -0.5 * log(1 - 0.5 ** 2) = 0.144
    >>> bool(0.08 < critic.pointwise(codes).mean() < 0.2)
    True
    """

    def __init__(
        self,
        *,
        hidden_dims: Sequence[int] = (64, 64),
        n_updates: int = 1000,
        batch_size: int = 128,
        n_negatives: int = 4,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        seed: int = 0,
    ) -> None:
        self.hidden_dims = hidden_dims
        self.n_updates = n_updates
        self.batch_size = batch_size
        self.n_negatives = n_negatives
        self.lr = lr
        self.weight_decay = weight_decay
        self.seed = seed

    def fit(
        self, codes: Sequence[np.ndarray], *, groups: Any = None, held_out: np.ndarray | None = None
    ) -> ReportingCritic:
        """Train and calibrate.

        Parameters
        ----------
        codes : sequence of arrays of shape (n_samples, k_j)
            One code per modality.
        groups : array-like of shape (n_samples,), default=None
            Rows of one group are all used for training or all held out.
        held_out : array of bool of shape (n_samples,), default=None
            Rows to calibrate on, instead of a random third.

        Returns
        -------
        self : ReportingCritic

        Raises
        ------
        ValueError
            If either part has too few samples, or there is a single group.
        """
        stacked = np.concatenate(codes, axis=1)
        n, fewest = len(stacked), max(len(codes), 4)
        if n < 3 * fewest:
            raise TooFewSamplesError(
                f"{n} samples have every modality observed; the critic needs at least {3 * fewest}. Pass more samples."
            )
        if held_out is None:
            held_out = _held_out_rows(len(stacked), groups, self.seed)
        sizes = int((~held_out).sum()), int(held_out.sum())
        if min(sizes) < fewest:
            raise TooFewSamplesError(
                f"groups leave {sizes[0]} samples to train and {sizes[1]} to calibrate the critic on; each part needs "
                f"at least {fewest}. Pass more samples or smaller groups."
            )
        self.mean_, scale = stacked.mean(0), stacked.std(0)
        self.scale_ = np.where(scale > 1e-12 * np.abs(self.mean_) + 1e-300, scale, 1.0)
        tensors = self._standardized(codes)
        train = [z[torch.from_numpy(~held_out)] for z in tensors]
        # In random order: data often come sorted.
        rows = np.random.default_rng(self.seed).permutation(np.flatnonzero(held_out))[:CALIBRATION_ROWS]
        valid = [z[torch.from_numpy(rows)] for z in tensors]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            self.critic_ = Critic([z.shape[1] for z in tensors], self.hidden_dims)
        # T = 0 to begin with: the state to return to if nothing that is learned holds.
        self._silence()
        with one_thread_if_small([self.critic_], self.batch_size * (1 + self.n_negatives)):
            self._train(train, valid)
        self._calibrate(valid, None if groups is None else np.asarray(groups)[rows])
        return self

    def _silence(self) -> None:
        with torch.no_grad():
            for parameter in self.critic_.layers[-1].parameters():
                parameter.zero_()

    def _standardized(self, codes: Sequence[np.ndarray]) -> list[Tensor]:
        stacked = (np.concatenate(codes, axis=1) - self.mean_) / self.scale_
        return list(torch.from_numpy(stacked).float().split([z.shape[1] for z in codes], dim=1))

    def _train(self, train: list[Tensor], valid: list[Tensor]) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        n, m = len(train[0]), len(train)
        size = min(self.batch_size, n)
        optimizer = torch.optim.AdamW(self.critic_.parameters(), lr=self.lr, weight_decay=self.weight_decay, fused=True)
        valid_index = offset_indices(len(valid[0]), m, 4, generator)
        check_every = max(1, self.n_updates // 20)
        best, best_loss, self.n_updates_ = None, 2 * math.log(2), 0
        order = torch.empty(0, dtype=torch.int64)
        for update in range(1, self.n_updates + 1):
            if len(order) < size:
                order = torch.randperm(n, generator=generator)
            rows, order = order[:size], order[size:]
            batch = [z.index_select(0, rows) for z in train]
            optimizer.zero_grad(set_to_none=True)
            _logistic_loss(*self.critic_(batch, offset_indices(size, m, self.n_negatives, generator))).backward()
            optimizer.step()
            if update % check_every == 0:
                with torch.no_grad():
                    loss = _logistic_loss(*self.critic_(valid, valid_index)).item()
                if loss < best_loss:
                    best_loss, self.n_updates_ = loss, update
                    best = {name: value.clone() for name, value in self.critic_.state_dict().items()}
        if best is None:
            self._silence()
        else:
            self.critic_.load_state_dict(best)
        self.critic_.requires_grad_(False).double().eval()

    def _calibrate(self, valid: list[Tensor], groups: np.ndarray | None) -> None:
        valid = [z.double() for z in valid]
        n, m = len(valid[0]), len(valid)
        generator = torch.Generator().manual_seed(self.seed + 1)
        index = [offset_indices(n, m, 1, generator) for _ in range(EVALUATION_SETS)]
        with torch.no_grad():
            t_joint = self.critic_(valid).numpy()
            t_product = np.concatenate([self.critic_(valid, rows)[1].numpy() for rows in index])
        self.slope_ = 0.0
        if np.ptp(t_product) > 0:
            t = np.concatenate([t_joint, t_product])
            # Every joint row counts as often as it is re-paired.
            weight = np.r_[np.full(n, 1.0), np.full(len(t_product), 1 / EVALUATION_SETS)]
            labels = np.r_[np.ones(n), np.zeros(len(t_product))]
            scale = t.std()
            logistic = LogisticRegression(C=1e4).fit(t[:, None] / scale, labels, sample_weight=weight)
            self.slope_ = max(0.0, float(logistic.coef_[0, 0]) / scale)
        values = self.slope_ * t_product
        top = values.max()
        ratio = np.exp(values - top)
        self.log_normalizer_ = float(top + np.log(ratio.mean()))
        # Re-paired rows share samples: the variance is that of the sum over all rows which contain one sample (or
        # group), added over modalities: the first-order term of a generalised U-statistic.
        relative = ratio / ratio.mean() - 1
        unit = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
        variance = 0.0
        for rows in torch.cat(index, dim=1).numpy():
            variance += (np.bincount(unit[rows], weights=relative) ** 2).sum() / len(relative) ** 2
        self.log_normalizer_std_ = math.sqrt(variance)

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
        with torch.no_grad():
            t = self.critic_([z.double() for z in self._standardized(codes)]).numpy()
        return self.slope_ * t - self.log_normalizer_

    def score(self, codes: Sequence[np.ndarray]) -> tuple[float, float]:
        """Mean of :meth:`pointwise` over the rows, in nats, and its standard error."""
        values = self.pointwise(codes)
        spread = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return float(values.mean()), math.hypot(spread, self.log_normalizer_std_)


def _logistic_loss(t_joint: Tensor, t_product: Tensor) -> Tensor:
    softplus = torch.nn.functional.softplus
    return softplus(-t_joint).mean() + softplus(t_product).mean()


def _held_out_rows(n: int, groups: Any, seed: int) -> np.ndarray:
    if groups is not None and len(np.unique(groups)) < 2:
        raise TooFewSamplesError(
            "whole groups are held out to calibrate the critic, but all samples are in one group. Pass more groups, or "
            "groups=None."
        )
    splitter = ShuffleSplit if groups is None else GroupShuffleSplit
    _, rows = next(splitter(n_splits=1, test_size=1 / 3, random_state=seed).split(np.zeros(n), groups=groups))
    held_out = np.zeros(n, dtype=bool)
    held_out[rows] = True
    return held_out
