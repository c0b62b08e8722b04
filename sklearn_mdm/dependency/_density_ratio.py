"""A critic trained on some rows and calibrated on others, so that what it says holds on new ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..critic import Critic, PairedCritic
from ..critic._base import gather
from ..critic._negatives import offset_indices
from ..exceptions import TooFewSamplesError
from ..measures import Measure
from ..measures._base import CriticKind
from ..measures._contract import build_checked_critic
from ..utils._blocks import in_blocks
from ..utils._isolation import isolated
from ..utils._rng import RandomStream, drawing_from
from ..utils._splits import fewest_rows
from ..utils._statistics import standard_error
from ..utils._threads import threads_for
from ._batch_value import EVALUATION_SETS, batch_value, batch_value_error
from ._calibration import bound_weights, bounded, limits_of, log_normalizers
from ._contrasts import Contrast, KeptModality, keep_each
from ._gaussian_mixture import MixtureInputs, MixtureRatio, choose_mixture, refit_mixture
from ._normal_scores import NormalScores
from ._training import CHECKS, VALIDATION_SETS, Course, Rows, logistic_loss, train_critics

if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

# Rows that validate and calibrate.
MAX_VALIDATION_ROWS = 4000
# A thrifty critic validates and calibrates on as many negatives per row as others up to so many rows, and from there on
# on as many in all; those fitted together share them, as their mean is what is read.
THRIFTY_NEGATIVES = 1000
# Negatives of each row that weights are found on, and fewest of a thrifty critic.
WEIGHING_NEGATIVES, FEWEST_NEGATIVES = 64, 16
# Negatives of each row that normalise. Values are at most the logarithm of their number, and too low as they come near:
# from so many nats below it on, there are the most.
NORMALIZING_NEGATIVES, NEAR_LIMIT, MOST_NEGATIVES = 1024, 3.5, 4096
# Most rows that normalise; a thrifty critic has as many as make so many negatives, with this many each if they can.
NORMALIZING_ROWS = 10_000
THRIFTY_PAIRS, THRIFTY_NORMALIZING = 4_000_000, 256
# Most rows times components times squared width of its mixtures of several components; those fitted together share it.
THRIFTY_MIXTURE = 10**8


@dataclass(eq=False, repr=False)
class TrainedCritic:
    r"""Trains the critic of a measure, and reads values off it that hold on rows which it was not trained on.

    For measures whose critic estimates the log density ratio :math:`r = p(z_1..z_m) / \prod_j p(z_j)`,

    .. math:: \log \hat r(z) = s(z) - c, \quad s = \min(w_0 T + w_1 g_1 + w_2 g_2, b), \quad w \ge 0

    where T is the critic and g are log ratios of Gaussian mixtures. Weights are those of the largest contrastive bound
    on validation rows, so that what did not learn anything that holds counts for nothing. There, b is the largest s,
    and from a, far below the median, on it only falls as a logarithm. The constant c is the mean over rows of the
    logarithms of their own normalisers, in which each keeps one modality in turn: under the joint,
    :math:`E[\log \hat r] \le KL(P \| Q)`, and at most the logarithm of the number of negatives.

    Parameters
    ----------
    measure : Measure
        What the critic is trained on.
    kind : str or None, default=None
        Form of the critic, a key of :data:`sklearn_mdm.critic.CRITICS`; None takes the measure's own.
    hidden_dims : sequence of int, default=(128, 128, 64)
        Widths of its hidden layers.
    n_updates : int, default=3000
        Most updates of the critic; no more than 60 passes over the rows are made in any case.
    batch_size : int, default=128
        Rows per update.
    n_negatives : int, default=16
        Negatives per row of a batch.
    lr : float, default=4e-3
        Learning rate of AdamW, warmed up and annealed.
    weight_decay : float, default=0.3
        Decoupled weight decay of the critic's matrices.
    n_components : int, default=32
        Most components of a mixture, up to 32; 0 leaves them out.
    scaling : {"standard", "rank", "auto"}, default="standard"
        What is read of the columns: their values, the normal scores of their ranks, or both, with a mixture of each.
    refit : bool, default=True
        Whether mixtures learn from the validation rows too, once they are weighted. Values must then be read on rows
        that are in neither part.
    thrifty : bool, default=False
        Whether to spend less where there is much data: fewer looks at the validation rows, fewer negatives to validate
        and calibrate on, and a single component where representations are wide.
    seed : int, default=0
        Seed of the critic and of its batches.

    Attributes
    ----------
    weights_ : array
        Calibration w; all zero if nothing that was learned held on the validation rows.
    limits_ : tuple of float
        Calibration a and b.
    log_normalizer_, log_normalizer_std_ : float
        The constant c, and its standard error.
    normalized_share_ : float
        Share of the rows passed to :meth:`normalize` that c was taken from, at random.
    n_updates_ : int
        Updates until the best loss on the validation rows.
    curve_ : list of float
        Loss on the validation rows at each check.
    """

    measure: Measure
    _: KW_ONLY
    kind: CriticKind | None = None
    hidden_dims: Sequence[int] = (128, 128, 64)
    n_updates: int = 3000
    batch_size: int = 128
    n_negatives: int = 16
    lr: float = 4e-3
    weight_decay: float = 0.3
    n_components: int = 32
    scaling: Literal["standard", "rank", "auto"] = "standard"
    refit: bool = True
    thrifty: bool = False
    seed: int = 0
    _n_together: int = field(init=False, default=1)

    # -- training ----------------------------------------------------------------------------------------------------

    def fit(self, representations: Sequence[np.ndarray], validation: np.ndarray) -> TrainedCritic:
        """Train, stop and calibrate.

        Parameters
        ----------
        representations : sequence of arrays of shape (n_samples, k_j)
            One per modality.
        validation : array of bool of shape (n_samples,)
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
        fit_together([self], [representations], [validation])
        return self

    def _prepare(self, representations: Sequence[np.ndarray], validation: np.ndarray) -> Rows:
        """Standardise, build the network, and return what it is trained on."""
        fewest = fewest_rows(len(representations))
        sizes = int((~validation).sum()), int(validation.sum())
        if min(sizes) < fewest:
            raise TooFewSamplesError(
                f"{sizes[0]} samples are there to train and {sizes[1]} to calibrate the critic on; each part needs at "
                f"least {fewest}. Pass more samples or smaller groups."
            )
        rows = np.flatnonzero(~validation)
        # In random order: data often come sorted.
        held = np.random.default_rng(self.seed).permutation(np.flatnonzero(validation))[:MAX_VALIDATION_ROWS]
        self.scores_ = None if self.scaling == "standard" else NormalScores().fit(representations)
        columns = np.concatenate([z[rows] for z in self._columns(representations)], axis=1)
        self.mean_, self.scale_ = mean_and_scale(columns)
        tensors = self._standardized(representations)
        train, rest = ([z[torch.from_numpy(part)] for z in tensors] for part in (rows, held))
        draws = RandomStream(self.seed)
        with drawing_from(draws):
            dims = [z.shape[1] for z in tensors]
            self.network_ = build_checked_critic(self.measure, dims, self.hidden_dims, kind=self.kind, raw=True)
            if isinstance(self.network_, PairedCritic) and self.measure.density_ratio:
                self.network_.silence()
            self.network_.float()
        return Rows(train, rest, self._n_sets(VALIDATION_SETS, len(rest[0])), self.seed, draws)

    def _finish(self, rows: Rows, course: Course) -> None:
        """Calibrate what was trained, with a mixture beside it."""
        self.n_updates_, self.curve_ = course
        train, rest = rows.train, rows.validation
        self.network_.requires_grad_(False).double().eval()
        most_work = THRIFTY_MIXTURE / self._n_together if self.thrifty else math.inf
        chosen = [(part, self._choose_mixture(train, rest, part, most_work)) for part in self._mixture_inputs(train)]
        mixtures = [(part, mixture) for part, mixture in chosen if mixture is not None]
        self.mixtures_ = [MixtureRatio(mixture, part) for part, mixture in mixtures]
        self._calibrate([z.double() for z in rest])
        if self.refit:
            # Weighted as on rows that are new to them, mixtures may learn from them too.
            every = [torch.cat(pair) for pair in zip(train, rest, strict=True)]
            self.mixtures_ = [
                MixtureRatio(refit_mixture(mixture, part.columns(every)), part) if weight else ratio
                for (part, mixture), ratio, weight in zip(mixtures, self.mixtures_, self.weights_[1:], strict=True)
            ]

    def _rows_per_update(self) -> int:
        """Rows that all layers of the critic are applied to."""
        encodes = isinstance(self.network_, PairedCritic) and not isinstance(self.network_, Critic)
        return self.batch_size * (1 if encodes else 1 + self.n_negatives)

    def _columns(self, representations: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Values of each modality, their normal scores, or both side by side."""
        if self.scores_ is None:
            return representations
        scores = self.scores_.transform(representations)
        if self.scaling == "rank":
            return scores
        return [np.concatenate(pair, axis=1) for pair in zip(representations, scores, strict=True)]

    def _standardized(self, representations: Sequence[np.ndarray]) -> list[Tensor]:
        columns = self._columns(representations)
        z = (np.concatenate(columns, axis=1) - self.mean_) / self.scale_
        if self.measure.density_ratio:
            # Dependency does not change under a monotone map of a column; heavy tails change what can be learned.
            far = np.abs(z) > 3
            z[far] = np.sign(z[far]) * (3 + np.log1p(np.abs(z[far]) - 3))
        return list(torch.from_numpy(z).float().split([part.shape[1] for part in columns], dim=1))

    def _mixture_inputs(self, z: list[Tensor]) -> list[MixtureInputs]:
        """What each mixture reads of z."""
        if not self.n_components or not self.measure.density_ratio or self.measure.own_critic:
            return []
        widths = [part.shape[1] for part in z]
        if self.scaling != "auto":
            return [MixtureInputs([slice(0, width) for width in widths])]
        halves = [width // 2 for width in widths]
        values, scores = ([slice(i * half, (i + 1) * half) for half in halves] for i in (0, 1))
        return [MixtureInputs(values), MixtureInputs(scores)]

    def _choose_mixture(
        self, train: list[Tensor], rest: list[Tensor], inputs: MixtureInputs, most_work: float
    ) -> GaussianMixture | None:
        generator = torch.Generator().manual_seed(self.seed)
        index = offset_indices(len(rest[0]), len(rest), self._n_sets(VALIDATION_SETS, len(rest[0])), generator)

        def loss(mixture: MixtureRatio) -> float:
            with torch.no_grad():
                features = mixture.encode([z.double() for z in rest])
                sets = [mixture.combine(gather(features, part)) for part in index.split(len(rest[0]), dim=1)]
                return logistic_loss(mixture.combine(features), torch.cat(sets))

        return choose_mixture(
            inputs.columns(train), inputs, loss, seed=self.seed, most=self.n_components, most_work=most_work
        )

    # -- calibration -------------------------------------------------------------------------------------------------

    def _calibrate(self, rest: list[Tensor]) -> None:
        """Weights and limits, from rows that no update saw."""
        self.weights_, self.limits_ = np.ones(1), (-math.inf, math.inf)
        if self.measure.density_ratio:
            n_others = max(FEWEST_NEGATIVES, self._n_sets(WEIGHING_NEGATIVES, len(rest[0])))
            contrasts = self._contrasts(rest, n_others, None)
            self.weigh(bound_weights(contrasts)[0], contrasts)

    def weigh(self, weights: np.ndarray, contrasts: Sequence[Contrast]) -> None:
        """Take weights, and limits from the rows that they were found on."""
        self.weights_, self.limits_ = weights, limits_of(weights, contrasts)

    @isolated()
    def contrasts(
        self, representations: Sequence[np.ndarray], groups: np.ndarray | None, n_rows: int
    ) -> list[Contrast]:
        """What :func:`bound_weights` reads of so many of these rows."""
        rows = np.random.default_rng(self.seed).permutation(len(representations[0]))[:n_rows]
        z = self._double([part[rows] for part in representations])
        return self._contrasts(z, WEIGHING_NEGATIVES, None if groups is None else groups[rows])

    def _contrasts(self, z: list[Tensor], n_others: int, groups: np.ndarray | None) -> list[Contrast]:
        return [kept.joined() for kept in self._kept(z, n_others, groups)]

    def _kept(self, z: list[Tensor], n_others: int, groups: np.ndarray | None) -> list[KeptModality]:
        return keep_each(self._networks(), z, n_others, groups, self.seed + 1)

    def _parts(self, z: list[Tensor], indices: Sequence[Tensor] | None = None) -> np.ndarray:
        """T and the log ratio of the mixture, of rows or of negatives by each index: (n_parts, n) or more columns."""
        parts = []
        with torch.no_grad():
            for network in self._networks():
                features = network.encode(z)
                # One set of negatives after the other: what is encoded is wide.
                every = [features] if indices is None else (gather(features, index) for index in indices)
                parts.append(torch.cat([network.combine(f) for f in every]).numpy())
        return np.stack(parts)

    def _negatives(self, z: list[Tensor], n_sets: int = EVALUATION_SETS) -> list[Tensor]:
        generator = torch.Generator().manual_seed(self.seed + 1)
        return [offset_indices(len(z[0]), len(z), 1, generator) for _ in range(n_sets)]

    def _n_sets(self, most: int, n_rows: int) -> int:
        """Negatives per row, of so many rows: the most, unless they are to be few."""
        return min(most, max(1, THRIFTY_NEGATIVES * most // (n_rows * self._n_together))) if self.thrifty else most

    @isolated()
    def log_ratio(self, representations: Sequence[np.ndarray], index: np.ndarray | None = None) -> np.ndarray:
        """Return s, the calibrated log ratio before it is normalised, of each row, (n_samples,).

        With an index (n_modalities, n), of samples that are put together from row ``index[j, i]`` of modality j, (n,).
        """
        if index is None:
            return in_blocks(lambda z: self._calibrated(self._parts(self._double(z))), representations)
        return self._calibrated(self._parts(self._double(representations), [torch.from_numpy(index)]))

    @isolated()
    def encode(self, representations: Sequence[np.ndarray], kept: Sequence[int] | None = None) -> list[list[Tensor]]:
        """What :meth:`log_ratio_each` reads of each modality, or of those at positions ``kept``."""
        z = self._double(representations)
        with torch.no_grad():
            return [network.encode(z) if kept is None else network.encode(z, kept) for network in self._networks()]

    @isolated()
    def log_ratio_each(self, features: list[list[Tensor]], others: list[list[Tensor]]) -> np.ndarray:
        """Return s of some modalities of each sample put together with the rest of each other one, (n, n_others)."""
        total = torch.zeros(len(features[0][0]), len(others[0][0]), dtype=torch.float64)
        with torch.no_grad():
            for network, weight, own, other in zip(self._networks(), self.weights_, features, others, strict=True):
                if weight:
                    total.add_(network.combine_each(own, other), alpha=weight)
        return bounded(total.numpy(), self.limits_)

    def _networks(self) -> list[Any]:
        return [self.network_, *self.mixtures_]

    def _double(self, representations: Sequence[np.ndarray]) -> list[Tensor]:
        return [z.double() for z in self._standardized(representations)]

    def _calibrated(self, parts: np.ndarray) -> np.ndarray:
        return bounded(self.weights_ @ parts, self.limits_)

    @isolated()
    def normalize(self, representations: Sequence[np.ndarray], groups: np.ndarray | None = None) -> np.ndarray:
        """Take the normaliser from these rows, whose groups are independent units.

        Returns
        -------
        influence : array of shape (n_samples,)
            How far each row moves the mean of :meth:`pointwise` of these rows, whose spread says how well that is
            known: the value of a row, less what it does as a part of negatives. NaN for measures whose critic is no
            log ratio.
        """
        self.log_normalizer_, self.log_normalizer_std_, self.normalized_share_ = 0.0, 0.0, 1.0
        if not self.measure.density_ratio:
            return np.full(len(representations[0]), np.nan)
        if not any(self.weights_):
            return np.zeros(len(representations[0]))
        values = self.log_ratio(representations)
        normalizers, rows = self._normalizers(representations, values, groups)
        normalized = values[rows] - normalizers
        value, scale = normalized.mean(), len(values) / len(rows)
        # The value is that of the rows that have a normaliser; the constant gives all rows the same mean.
        influence = np.full(len(values), value)
        influence[rows] += scale * (normalized - value)
        self.log_normalizer_ = float(values.mean() - value)
        self.log_normalizer_std_, self.normalized_share_ = standard_error(values - influence, groups), 1 / scale
        return influence

    def _normalizers(
        self, representations: Sequence[np.ndarray], values: np.ndarray, groups: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logarithms of the normalisers of some rows, with what these are in those of others; and which rows."""
        n, m = len(representations[0]), len(representations)
        n_rows, n_others = NORMALIZING_ROWS, NORMALIZING_NEGATIVES
        if self.thrifty:
            pairs = THRIFTY_PAIRS // (m * self._n_together)
            n_others = min(n_others, max(THRIFTY_NORMALIZING, pairs // n))
            n_rows = max(THRIFTY_NORMALIZING, pairs // n_others)
        rows = np.arange(n)
        if n > n_rows:
            rows = np.sort(np.random.default_rng(self.seed).permutation(n)[:n_rows])
            groups = None if groups is None else groups[rows]
        z = self._double([part[rows] for part in representations])
        found = log_normalizers(self._kept(z, n_others, groups), self.weights_, self.limits_)
        if self.thrifty or n_others >= len(rows):
            return found, rows
        if np.mean(values[rows] - found) > math.log1p(n_others) - NEAR_LIMIT:
            found = log_normalizers(self._kept(z, MOST_NEGATIVES, groups), self.weights_, self.limits_)
        return found, rows

    # -- reading -----------------------------------------------------------------------------------------------------

    def pointwise(self, representations: Sequence[np.ndarray]) -> np.ndarray:
        """Estimated log density ratio of each row, in nats; a row's value does not depend on the other rows.

        Parameters
        ----------
        representations : sequence of arrays of shape (n_samples, k_j)
            One per modality.

        Returns
        -------
        values : array of shape (n_samples,)
        """
        return self.log_ratio(representations) - self.log_normalizer_

    @isolated()
    def score(self, representations: Sequence[np.ndarray], groups: np.ndarray | None = None) -> tuple[float, float]:
        """Value of the measure on these rows, and its standard error, for which groups are independent units.

        For measures of total correlation, the mean of :meth:`pointwise`; for others, their value on these rows and on
        negatives of them. The errors of both means are added as if they were independent, which is conservative.
        """
        if not self.measure.density_ratio:
            z = self._double(representations)
            given = self.network_, self.measure, z, self.batch_size, self.seed + 1
            return batch_value(*given), batch_value_error(*given, groups)
        values = self.pointwise(representations)
        value = float(values.mean())
        if type(self.measure).estimate is not Measure.estimate:
            z = self._double(representations)
            product = self._calibrated(self._parts(z, self._negatives(z))) - self.log_normalizer_
            value = self.measure.estimate(values, product)
        looked_for = self.looked_for(representations, values)
        spread = standard_error(looked_for, groups) if self.measure.total_correlation else math.nan
        return value, math.hypot(spread, self.log_normalizer_std_)

    def score_of_parts(
        self, parts: Iterable[Sequence[np.ndarray]], groups: np.ndarray | None = None
    ) -> tuple[float, float]:
        """Return :meth:`score` of representations that come in parts, where that is the mean of :meth:`pointwise`."""
        found = [(values, self.looked_for(z, values)) for z in parts for values in [self.pointwise(z)]]
        values, looked_for = (np.concatenate(each) for each in zip(*found, strict=True))
        return float(values.mean()), math.hypot(standard_error(looked_for, groups), self.log_normalizer_std_)

    @isolated()
    def looked_for(self, representations: Sequence[np.ndarray], values: np.ndarray) -> np.ndarray:
        """Numbers (n_samples,) whose spread says how well the mean of these rows' :meth:`pointwise` is known.

        These are the values, unless nothing was found: what was looked for then.
        """
        return values if any(self.weights_) else self._parts(self._double(representations))[-1]

    @isolated()
    def permutations(self, representations: Sequence[np.ndarray], orders: Sequence[np.ndarray]) -> np.ndarray:
        """Evidence of rows in each of several orders (n_modalities, n_rows) of their modalities: (n_orders, n_rows)."""
        z, indices = self._double(representations), [torch.from_numpy(order) for order in orders]
        if not self.measure.density_ratio:
            single = [z_j.float() for z_j in z]
            network = copy.deepcopy(self.network_).float()
            with torch.no_grad():
                return np.array([network(gather(single, index)).double().numpy() for index in indices])
        return self._evidence(self._parts(z, indices)).reshape(len(orders), -1)

    @isolated()
    def evidence(self, representations: Sequence[np.ndarray]) -> np.ndarray:
        """Log ratio of each row for a test of independence, before it is normalised, (n_samples,)."""
        return self._evidence(self._parts(self._double(representations)))

    def _evidence(self, parts: np.ndarray) -> np.ndarray:
        # What was weighted down for want of evidence still ranks: a test may use what an estimate must not.
        return self._calibrated(parts) if any(self.weights_) else parts[-1]


@isolated()
def fit_together(
    critics: Sequence[TrainedCritic], representations: Sequence[Sequence[np.ndarray]], validations: Sequence[np.ndarray]
) -> None:
    """Fit critics that differ in their seeds at most, each to its own rows; see :meth:`TrainedCritic.fit`.

    Their networks are trained in one pass, if these can be stacked; each critic is what it would be alone, up to
    rounding. Thrifty ones share what a single one may spend on mixtures and on negatives.
    """
    for critic in critics:
        critic._n_together = len(critics)
    given = zip(critics, representations, validations, strict=True)
    rows = [critic._prepare(z, validation) for critic, z, validation in given]
    first, networks = critics[0], [critic.network_ for critic in critics]
    with threads_for(networks, first._rows_per_update()):
        courses = train_critics(
            networks,
            first.measure,
            rows,
            n_updates=first.n_updates,
            batch_size=first.batch_size,
            n_negatives=first.n_negatives,
            lr=first.lr,
            weight_decay=first.weight_decay,
            n_checks=CHECKS // 2 if first.thrifty else CHECKS,
        )
    for critic, own, course in zip(critics, rows, courses, strict=True):
        critic._finish(own, course)


def mean_and_scale(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of columns, the latter infinite where all values are equal up to rounding.

    Of a column that says nothing here, and has no unit, nothing is read elsewhere.
    """
    top = np.abs(rows).max(0)
    top[top == 0] = 1.0  # squares of very large or small values would leave the range of numbers
    mean, std = (rows / top).mean(0), (rows / top).std(0)
    scale = std * top  # zero where it is less than the smallest number
    return mean * top, np.where((std > 10 * np.finfo(float).eps * np.abs(mean)) & (scale > 0), scale, np.inf)
