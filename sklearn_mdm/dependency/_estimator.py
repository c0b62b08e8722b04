"""DependencyEstimator: how much several modalities depend on each other, without a prediction task."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.model_selection import GroupKFold, KFold, check_cv
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from sklearn.utils.validation import check_is_fitted

from ..critic import MultilinearCritic
from ..exceptions import SeenSamplesWarning, TooFewSamplesError
from ..inputs._schema import ModalitySchema
from ..measures import MEASURES, Measure
from ..utils._parameter_objects import check_nested, resolve_component
from ..utils._splits import fewest_rows, held_out_rows, read_groups
from ._decomposition import SummedCritic
from ._density_ratio import EVALUATION_SETS, TrainedCritic
from ._reliability import find_warnings, warn_all
from ._streaming import StreamedCritic

__all__ = ["DependencyEstimator", "PermutationTest"]

FITTED = (
    "critics_",
    "dependency_",
    "dependency_std_",
    "pointwise_",
    "held_out_",
    "dependency_curve_",
    "warnings_",
    "modalities_",
    "_schema",
    "_n_columns",
)
# Of the samples that a critic is given, those that it is not trained on but that stop and calibrate it.
STOPPING_FRACTION = 0.2
# Training rows that are looked at for the gap between them and held-out ones.
GAP_ROWS = 2000


class PermutationTest(NamedTuple):
    """Result of :meth:`sklearn_mdm.DependencyEstimator.permutation_test`.

    Parameters
    ----------
    statistic : float
        Mean log ratio of the samples.
    pvalue : float
        Share of the permutations, the samples as they are counted as one, whose mean is at least as large.
    null_distribution : array of shape (n_permutations,)
        Mean log ratio of each permutation.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm import DependencyEstimator
    >>> rng = np.random.default_rng(0)
    >>> X = {"a": rng.normal(size=(200, 1)), "b": rng.normal(size=(200, 1))}
    >>> test = DependencyEstimator(max_updates=50, random_state=0).fit(X).permutation_test(X)
    >>> test.pvalue > 0.05
    True
    """

    statistic: float
    pvalue: float
    null_distribution: np.ndarray


class DependencyEstimator(BaseEstimator):
    r"""Total correlation, or another measure of dependency, between two or more modalities.

    .. math:: TC = KL\Big(p(x_1, \dots, x_m) \,\Big\|\, \prod_j p(x_j)\Big) = E[\log r(x)], \quad
              r(x) = \frac{p(x_1, \dots, x_m)}{\prod_j p(x_j)}

    A critic T is trained to tell samples from others whose modalities were re-paired; the log ratio of a Gaussian
    mixture stands beside it. Both are calibrated on samples that neither was fitted to, and the value is read on
    further samples, so that it is a lower bound up to its standard error. Columns are standardised; nothing else is
    assumed about them.

    Parameters
    ----------
    measure : {"kl", "f", "jsd", "smile", "knife", "infonce", "wasserstein", "wpc"} or Measure, default="kl"
        What is estimated, and what the critic is trained on; see :mod:`sklearn_mdm.measures`.
    critic : {"encoded", "concatenated", "separable", "multilinear"}, default=None
        Form of T; see :mod:`sklearn_mdm.critic`. None takes "encoded" for measures of total correlation, and what the
        measure asks for otherwise.
    hidden_dims : sequence of int, default=(128, 128, 64)
        Widths of the critic's hidden layers.
    scaling : {"standardize", "rank"}, default="standardize"
        ``"rank"`` replaces columns by the normal scores of their ranks. Dependency does not change; do it for columns
        with heavy tails or odd scales.
    held_out_fraction : float, default=0.5
        Share of the samples on which ``dependency_`` is read, and which the critic never sees. Ignored if ``cv`` is
        given.
    cv : int or cross-validation splitter, default=None
        Cross-fitting: one critic per fold, each read on the samples that it was not trained on, so that every sample
        gets an out-of-fold value in ``pointwise_``. None holds out one part of the samples.
    decomposition : {"line", "tree"}, default=None
        Estimate the total as a sum of parts, with a critic each. ``"line"``: one modality after the other is added,
        :math:`I(x_1; x_2) + I(x_1, x_2; x_3) + \dots` ``"tree"``: halves, and halves of halves. Parts are smaller than
        their total and easier to estimate. None: one critic of all modalities.
    n_components : int, default=32
        Most components of the Gaussian mixture; 0 leaves it out.
    max_updates : int, default=3000
        Most updates of each critic; small data get no more than 200 passes.
    batch_size : int, default=128
        Samples per update.
    n_negatives : int, default=16
        Re-paired samples per sample of a batch.
    lr : float, default=4e-3
        Learning rate, annealed in ``fit`` and constant in ``partial_fit``, where a smaller one such as 1e-3 is better.
    weight_decay : float, default=0.3
        Decoupled weight decay.
    modalities : dict or "columns", default=None
        Columns of each modality where X is a 2-D array or a flat data frame: names to selectors, as in
        :class:`~sklearn.compose.ColumnTransformer`. ``"columns"`` makes every column a modality.
    random_state : int, RandomState instance or None, default=None
        Source of randomness: splits, initial weights, batches.

    Attributes
    ----------
    dependency_ : float
        Value on the held-out samples (with ``cv``, on all of them), in nats for measures of total correlation. Never
        clipped: below zero, the critic found nothing that holds. After ``partial_fit``, the value on its last batch.
    dependency_std_ : float
        Its standard error, which takes samples (or groups) to be independent.
    pointwise_ : array of shape (n_samples,)
        Out-of-fold log ratio of each sample passed to ``fit``, in nats; NaN where a modality is missing, the sample was
        trained on, or the measure says nothing about single samples.
    held_out_ : array of int
        Samples on which ``dependency_`` was read.
    critics_ : list
        For each fold an object whose ``critics`` are those of the parts, by name.
    dependency_curve_ : list of float
        Value on each batch passed to ``partial_fit``, before it was learned from.
    warnings_ : list of str
        Names of the warnings that the estimate gave rise to.
    modalities_ : list
        Names of the modalities.
    n_features_in_ : int
        Number of columns of all modalities.
    n_features_per_modality_ : dict
        Number of columns of each.
    feature_names_in_ : array of shape (n_features,)
        Column names, if X is a flat data frame.

    See Also
    --------
    MDMFusionClassifier.dependency_score : Dependency between representations that were learned for a task.

    Notes
    -----
    No lower bound of n samples can be certain far above log n nats [2]_; :class:`.SampleLimitWarning` says so. Other
    warnings tell of critics that overfit or were still improving, and of measures that are saturated.

    References
    ----------
    .. [1] Belghazi et al., "Mutual Information Neural Estimation", ICML 2018.
    .. [2] McAllester, Stratos, "Formal limitations on the measurement of mutual information", AISTATS 2020.
    .. [3] Bai, Cheng, Hao, Carin, "Estimating Total Correlation with Mutual Information Estimators", AISTATS 2023, for
       the decompositions.

    Examples
    --------
    >>> from sklearn_mdm import DependencyEstimator
    >>> from sklearn_mdm.datasets import make_correlated_gaussians
    >>> X, truth = make_correlated_gaussians(2000, rho=0.5, random_state=0)
    >>> estimator = DependencyEstimator(max_updates=200, random_state=0).fit(X)
    >>> bool(abs(estimator.dependency_ - truth) < 3 * estimator.dependency_std_)
    True
    >>> estimator.score_samples(X).shape
    (2000,)
    """

    _parameter_constraints: ClassVar[dict] = {
        "measure": "no_validation",
        "critic": [StrOptions({"encoded", "concatenated", "separable", "multilinear"}), None],
        "hidden_dims": ["array-like"],
        "scaling": [StrOptions({"standardize", "rank"})],
        "held_out_fraction": [Interval(Real, 0, 1, closed="neither")],
        "cv": ["cv_object"],
        "decomposition": [StrOptions({"line", "tree"}), None],
        "n_components": [Interval(Integral, 0, None, closed="left")],
        "max_updates": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 4, None, closed="left")],
        "n_negatives": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "modalities": [Mapping, StrOptions({"columns"}), None],
        "random_state": ["random_state"],
    }
    __metadata_request__fit: ClassVar[dict] = {"groups": True}

    dependency_: float
    dependency_std_: float
    pointwise_: np.ndarray
    held_out_: np.ndarray
    critics_: list[SummedCritic]
    dependency_curve_: list[float]
    warnings_: list[str]
    modalities_: list[Hashable]
    n_features_in_: int
    n_features_per_modality_: dict[Hashable, int]
    _n_columns: dict[Hashable, int]

    def __init__(
        self,
        measure: Any = "kl",
        *,
        critic: str | None = None,
        hidden_dims: Sequence[int] = (128, 128, 64),
        scaling: str = "standardize",
        held_out_fraction: float = 0.5,
        cv: Any = None,
        decomposition: str | None = None,
        n_components: int = 32,
        max_updates: int = 3000,
        batch_size: int = 128,
        n_negatives: int = 16,
        lr: float = 4e-3,
        weight_decay: float = 0.3,
        modalities: Any = None,
        random_state: Any = None,
    ) -> None:
        self.measure = measure
        self.critic = critic
        self.hidden_dims = hidden_dims
        self.scaling = scaling
        self.held_out_fraction = held_out_fraction
        self.cv = cv
        self.decomposition = decomposition
        self.n_components = n_components
        self.max_updates = max_updates
        self.batch_size = batch_size
        self.n_negatives = n_negatives
        self.lr = lr
        self.weight_decay = weight_decay
        self.modalities = modalities
        self.random_state = random_state

    def set_params(self, **params: Any) -> DependencyEstimator:
        """Set parameters; ``measure__...`` reaches into a measure object.

        Raises
        ------
        ValueError
            If ``measure__...`` is set while the measure is a name; the message says which object to pass.
        """
        check_nested(self, params, {"measure": MEASURES})
        return super().set_params(**params)

    # -- fitting -----------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, groups: Any = None) -> DependencyEstimator:
        """Train the critics on a part of the samples and read the dependency on the rest.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples with two or more modalities. Those with a missing modality are left out; sequences need the same
            number of observed steps in every sample, and count as one row of columns.
        y : Ignored
            Present for API consistency.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group are never both trained on and read.

        Returns
        -------
        self : DependencyEstimator

        Raises
        ------
        ValueError
            If there is a single modality, too few complete samples or groups, or a combination of parameters that the
            measure does not support.
        """
        self._validate_params()
        self._forget()
        arrays, complete = self._read(X, reset=True)
        groups = read_groups(groups, len(complete))
        if groups is not None:
            groups = groups[complete]
        if len(arrays[0]) < 3 * fewest_rows(len(arrays)):
            raise TooFewSamplesError(
                f"n_samples={len(arrays[0])} with every modality observed is too few to train, calibrate and read a "
                f"critic; it needs at least {3 * fewest_rows(len(arrays))}."
            )
        self._fit_folds(arrays, complete, groups)
        return self

    def _forget(self) -> None:
        """Let go of an earlier fit: one that fails must not leave what belongs to other data."""
        for name in FITTED:
            self.__dict__.pop(name, None)

    def _fit_folds(self, arrays: list[np.ndarray], complete: np.ndarray, groups: np.ndarray | None) -> None:
        n, rows, fewest = len(arrays[0]), np.flatnonzero(complete), fewest_rows(len(arrays))
        critics, pointwise, folds = [], np.full(len(complete), np.nan), []
        found: dict = {}
        splits = self._split(n, groups)
        for train, held_out in splits:
            if len(train) < 2 * fewest or len(held_out) < fewest:
                raise TooFewSamplesError(
                    f"{len(train)} samples are there to train and calibrate on and {len(held_out)} are held out; at "
                    f"least {2 * fewest} and {fewest} are needed. Change held_out_fraction or cv, or pass more samples."
                )
        for train, held_out in splits:
            used, rest = [a[train] for a in arrays], [a[held_out] for a in arrays]
            used_groups, rest_groups = (None, None) if groups is None else (groups[train], groups[held_out])
            fraction = max(STOPPING_FRACTION, fewest / len(train))
            stopping = held_out_rows(len(train), fraction, self._seed, used_groups)
            critic = self._critic(self._trained).fit(used, stopping).normalize(rest, rest_groups)
            if self._measure.pointwise:
                pointwise[rows[held_out]] = critic.pointwise(rest)
            gap_rows = np.random.default_rng(self._seed).permutation(np.flatnonzero(~stopping))[:GAP_ROWS]
            parts = critic.scores_of_parts(rest, rest_groups)
            train_parts = critic.scores_of_parts([a[gap_rows] for a in used])
            for name, part in critic.critics.items():
                found |= find_warnings(
                    parts[name][0],
                    train_parts[name][0],
                    len(held_out),
                    part.curve_,
                    in_nats=self._measure.total_correlation,
                    limit=self._limit(part, len(critic.parts[name]), len(held_out)),
                )
            # Parts share their rows: their errors are added as if they went together.
            folds.append([len(held_out), *np.sum(list(parts.values()), axis=0)])
            critics.append(critic)
        sizes, values, stds = np.transpose(folds)
        weights = sizes / sizes.sum()
        self.critics_, self.pointwise_ = critics, pointwise
        self.held_out_ = rows[np.concatenate([held_out for _, held_out in splits])]
        self.dependency_ = float(weights @ values)
        self.dependency_std_ = float(np.linalg.norm(weights * stds))
        self._trained_rows = np.unique(np.concatenate([train for train, _ in splits]))
        self._fit_hashes = _row_hashes(arrays)
        self._grouped = groups is not None
        self.warnings_ = [category.__name__ for category in found]
        warn_all(found, stacklevel=3)

    def _limit(self, critic: TrainedCritic, n_modalities: int, n_held_out: int) -> float | None:
        """Largest value that the measure can take."""
        if not hasattr(self._measure, "limit"):
            return None
        n_negatives = None if isinstance(critic.network_, MultilinearCritic) else EVALUATION_SETS
        return self._measure.limit(min(self.batch_size, n_held_out), n_modalities, n_negatives)

    def _critic(self, make: Any) -> SummedCritic:
        return SummedCritic(make, self.modalities_, self.decomposition, rank=self.scaling == "rank")

    def _trained(self) -> TrainedCritic:
        return TrainedCritic(
            self._measure,
            kind=self._kind(),
            hidden_dims=tuple(self.hidden_dims),
            n_updates=self.max_updates,
            batch_size=self.batch_size,
            n_negatives=self.n_negatives,
            lr=self.lr,
            weight_decay=self.weight_decay,
            n_components=self.n_components,
            seed=self._seed,
        )

    def _kind(self) -> str | None:
        # Re-paired samples are cheap for it, and the square in it spares learning correlations.
        takes_any = self._measure.density_ratio and not self._measure.own_critic
        return "encoded" if self.critic is None and takes_any else self.critic

    def _split(self, n: int, groups: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
        if self.cv is None:
            most = 1 - 2 * fewest_rows(len(self.modalities_)) / n
            held_out = held_out_rows(n, min(self.held_out_fraction, most), self._seed, groups)
            return [(np.flatnonzero(~held_out), np.flatnonzero(held_out))]
        cv = self.cv
        if isinstance(cv, Integral):
            cv = KFold(cv, shuffle=True, random_state=self._seed) if groups is None else GroupKFold(cv)
        splits = list(check_cv(cv).split(np.zeros((n, 1)), groups=groups))
        if np.bincount(np.concatenate([held_out for _, held_out in splits]), minlength=n).max() > 1:
            raise ValueError("cv holds out some samples more than once; use a splitter whose folds do not overlap.")
        if groups is not None and any(np.isin(groups[train], groups[held_out]).any() for train, held_out in splits):
            raise ValueError("cv cuts groups. Use a splitter that keeps them together, such as GroupKFold.")
        return splits

    def _read(self, X: Any, *, reset: bool) -> tuple[list[np.ndarray], np.ndarray]:
        """Complete rows of each modality as columns, and which rows these are."""
        if reset:
            self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
            self._measure: Measure = resolve_component("measure", self.measure, MEASURES, "value")
            if self._measure.needs_y or not self._measure.stands_alone:
                raise ValueError(
                    f"measure={self.measure!r} reads the predictions of a classifier and cannot stand alone. Use it in "
                    "MDMFusionClassifier, or take another measure here."
                )
            if self.decomposition is not None and not self._measure.total_correlation:
                raise ValueError(
                    f"decomposition={self.decomposition!r} adds parts of the total correlation, which "
                    f'measure={self.measure!r} is not. Use decomposition=None, or a measure such as "kl".'
                )
            widths: Any = np.atleast_1d(np.asarray(self.hidden_dims, dtype=object))
            if not all(isinstance(width, (int, np.integer)) and width >= 1 for width in widths):
                raise ValueError(f"hidden_dims must be positive integers, got {self.hidden_dims!r}.")
            schema = ModalitySchema()
            modalities = self.modalities
            if isinstance(modalities, str):
                modalities = None
                if np.ndim(X) == 2 and np.shape(X)[1]:
                    names = getattr(X, "columns", range(np.shape(X)[1]))
                    modalities = {name: [j] for j, name in enumerate(names)}
            observed = schema.fit_read(self, X, modalities)
            if len(schema.names) < 2:
                raise ValueError(
                    f"dependency is undefined for the single modality {schema.names[0]!r} "
                    f"(n_features={self.n_features_in_}). Pass a dict of arrays, modalities={{name: columns}} for a "
                    '2-D X, or modalities="columns" to make every column a modality.'
                )
            self._schema, self._n_columns = schema, {}
            self.modalities_ = list(schema.names)
        else:
            check_is_fitted(self)
            observed = self._schema.read(self, X)
        complete = observed.complete
        return [self._columns(name, array[complete]) for name, array in observed.arrays.items()], complete

    def _columns(self, name: Hashable, array: np.ndarray) -> np.ndarray:
        if np.isnan(array).any():
            raise ValueError(
                f"modality {name!r} has sequences with steps that were not observed, which cannot be read as columns. "
                "Summarise them first, for example by their mean over time."
            )
        array = array.reshape(len(array), math.prod(array.shape[1:])).astype(np.float64)
        expected = self._n_columns.setdefault(name, array.shape[1])
        if array.shape[1] != expected:
            raise ValueError(
                f"modality {name!r} has {array.shape[1]} values per sample in all its steps, but fit saw {expected}. "
                "Pass sequences of the same number of steps."
            )
        return array

    # -- streams -----------------------------------------------------------------------------------------------------

    def partial_fit(self, X: Any, y: Any = None) -> DependencyEstimator:
        """Read the dependency on a fresh batch, then make one update of the critics with it.

        For streams, where no sample is seen twice: every value is one on new samples. The normaliser is an average over
        the last batches, and the value that of Donsker and Varadhan. There is no calibration and no mixture:
        ``max_updates``, ``held_out_fraction``, ``cv``, ``batch_size``, ``weight_decay`` and ``scaling="rank"`` do not
        apply. Later calls go on from the critics as they are, also when the distribution has changed.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples that were not passed before.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : DependencyEstimator
            With ``dependency_`` the value on this batch and ``dependency_curve_`` those of all batches.
        """
        self._validate_params()
        first = not hasattr(self, "dependency_curve_")
        if first:
            self._forget()
        arrays, _ = self._read(X, reset=first)
        if len(arrays[0]) < fewest_rows(len(arrays)):
            raise ValueError(
                f"n_samples={len(arrays[0])} with every modality observed is too few for an update; it needs at least "
                f"{fewest_rows(len(arrays))}."
            )
        if first:
            if not (self._measure.density_ratio and self._measure.total_correlation):
                raise ValueError(
                    f'partial_fit needs a measure such as "kl", "f" or "jsd", not measure={self.measure!r}.'
                )
            if self.scaling == "rank":
                raise ValueError('scaling="rank" needs all samples at once; use scaling="standardize" in partial_fit.')
        critic = self._critic(self._streamed) if first else self.critics_[0]
        values, stds = zip(*(part.update(codes) for part, codes in critic.each(arrays)), strict=True)
        if first:  # the update went well
            self.critics_, self.dependency_curve_, self.warnings_ = [critic], [], []
            self._trained_rows, self._fit_hashes, self._grouped = np.empty(0, dtype=int), np.empty(0), False
        self.dependency_, self.dependency_std_ = float(sum(values)), float(sum(stds))
        self.dependency_curve_.append(self.dependency_)
        return self

    def _streamed(self) -> StreamedCritic:
        return StreamedCritic(
            self._measure,
            kind=self._kind(),
            hidden_dims=tuple(self.hidden_dims),
            n_negatives=self.n_negatives,
            lr=self.lr,
            seed=self._seed,
        )

    # -- reading -----------------------------------------------------------------------------------------------------

    def score(self, X: Any, y: Any = None) -> float:
        """Value of the measure on these samples, in nats for measures of total correlation.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples that ``fit`` was not given, or the value is not a held-out one: see ``dependency_`` for that.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        score : float
            With ``cv``, the mean over the critics of all folds.
        """
        arrays, _ = self._new(X)
        return float(np.mean([critic.score(arrays) for critic in self.critics_]))

    def score_samples(self, X: Any) -> np.ndarray:
        r"""Estimated log density ratio :math:`\log r(x)` of each sample, in nats.

        High values mark samples whose modalities agree, low ones samples where they are at odds. A sample's value does
        not depend on the others.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples. Those passed to ``fit`` have out-of-fold values in ``pointwise_``.

        Returns
        -------
        values : array of shape (n_samples,)
            NaN where a modality is missing.

        Raises
        ------
        ValueError
            If the measure says nothing about single samples.
        """
        check_is_fitted(self)
        self._check_pointwise()
        arrays, complete = self._read(X, reset=False)
        values = np.full(len(complete), np.nan)
        if complete.any():
            values[complete] = np.mean([critic.pointwise(arrays) for critic in self.critics_], axis=0)
        return values

    def _check_pointwise(self) -> None:
        if not self._measure.pointwise:
            raise ValueError(
                f"measure={self.measure!r} says nothing about single samples. Use "
                'measure="kl", "f", "jsd", "smile" or "knife".'
            )

    def decompose(self, X: Any) -> pd.DataFrame:
        """Values of the parts whose sum is the total.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples that ``fit`` was not given.

        Returns
        -------
        parts : DataFrame
            One row per part, such as "audio, visual; text", with columns "value" and "std" (its standard error).

        Raises
        ------
        ValueError
            If the estimator was fitted without ``decomposition``.
        """
        check_is_fitted(self)
        if len(self.critics_[0].parts) == 1 and len(self.modalities_) > 2:
            raise ValueError('decompose needs a critic for each part. Fit with decomposition="line" or "tree".')
        arrays, _ = self._new(X)
        folds = [pd.DataFrame(c.scores_of_parts(arrays), index=["value", "std"]).T for c in self.critics_]
        return sum(folds) / len(folds)

    @validate_params(
        {"n_permutations": [Interval(Integral, 1, None, closed="left")]}, prefer_skip_nested_validation=True
    )
    def permutation_test(self, X: Any, n_permutations: int = 199) -> PermutationTest:
        r"""Test whether the modalities are independent of each other.

        The mean log ratio of the samples is compared with those after permuting the modalities independently. The
        critic is the fitted one throughout, so the test is exact for samples that it has not seen, however good the
        critic, as long as samples are independent of each other: grouped ones are not. Samples that ``fit`` trained on
        are left out. Of many samples, 2,000 are looked at (500 with a decomposition).

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            New samples, or those passed to ``fit``, of which the held-out ones are used then.
        n_permutations : int, default=199
            Number of permutations B, at least 1. The smallest p-value is :math:`1 / (B + 1)`.

        Returns
        -------
        test : PermutationTest
            With ``statistic``, ``pvalue`` and ``null_distribution``.

        Raises
        ------
        ValueError
            If too few samples are left.
        """
        arrays, _ = self._new(X, leave_out_seen=True)
        if self._grouped:
            warnings.warn(
                "fit was given groups, so samples are not independent of each other, and the test rejects too often.",
                UserWarning,
                stacklevel=2,
            )
        means = np.mean([c.permutation_means(arrays, n_permutations, self._seed) for c in self.critics_], axis=0)
        statistic, null = means[0], means[1:]
        # Sums in another order differ in their last digits; a tie must count as one.
        tolerance = 1e-9 * max(1.0, float(np.abs(means).max()))
        return PermutationTest(
            float(statistic), float((1 + (null >= statistic - tolerance).sum()) / (1 + len(null))), null
        )

    def _new(self, X: Any, *, leave_out_seen: bool = False) -> tuple[list[np.ndarray], np.ndarray]:
        """Complete rows of X, and which these are; rows that fit trained on are left out or warned of."""
        check_is_fitted(self)
        arrays, complete = self._read(X, reset=False)
        left_out = int((~complete).sum())
        if left_out:
            warnings.warn(
                f"{left_out} of {len(complete)} samples are left out: a modality is missing.", UserWarning, stacklevel=3
            )
        seen = self._seen_rows(arrays)
        if leave_out_seen:
            arrays = [a[~seen] for a in arrays]
        elif seen.any():
            warnings.warn(
                f"{int(seen.sum())} of {len(seen)} samples were trained on in fit, and look more dependent than new "
                "ones. dependency_ and pointwise_ hold the values of those that were not.",
                SeenSamplesWarning,
                stacklevel=3,
            )
        fewest = fewest_rows(len(arrays))
        if len(arrays[0]) < fewest:
            remedy = " With cv, every sample was trained on in some fold: pass new ones." if seen.all() else ""
            raise ValueError(
                f"{len(arrays[0])} samples with every modality observed"
                f"{' that fit did not train on' if leave_out_seen else ''} are too few; pass at least {fewest}.{remedy}"
            )
        return arrays, complete

    def _seen_rows(self, arrays: list[np.ndarray]) -> np.ndarray:
        """Rows that fit trained on: bool (n_samples,)."""
        hashes = _row_hashes(arrays)
        if np.array_equal(hashes, self._fit_hashes):
            seen = np.zeros(len(hashes), dtype=bool)
            seen[self._trained_rows] = True
            return seen
        if len(np.unique(self._fit_hashes)) < len(self._fit_hashes):
            return np.zeros(len(hashes), dtype=bool)  # where rows repeat, equal ones need not be the same
        return np.isin(hashes, self._fit_hashes[self._trained_rows])

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "critics_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = True
        tags.input_tags.allow_nan = True  # where a modality was not observed
        tags.input_tags.three_d_array = True  # as a modality in a dict
        return tags


def _row_hashes(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return pd.util.hash_pandas_object(pd.DataFrame(np.concatenate(arrays, axis=1)), index=False).to_numpy()
