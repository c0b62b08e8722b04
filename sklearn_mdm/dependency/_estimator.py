"""DependencyEstimator: how much several modalities depend on each other, without a prediction task."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ..exceptions import TooFewSamplesError
from ..inputs._containers import as_samples
from ..inputs._labels import check_beside, row_labels
from ..measures import MEASURES, Measure
from ..measures._base import CriticKind
from ..persistence._savable import Savable, why_no_names
from ..utils._arguments import named
from ..utils._fit_tasks import CallbackSupportMixin, fit_task, subtasks
from ..utils._parameter_objects import SIZES, check_nested
from ..utils._splits import fewest_rows, read_groups
from ..utils._typing import RandomState
from ._coefficient import coefficient
from ._columns import ColumnReader
from ._copies import Copies
from ._cross_fitting import cross_fit, split_folds
from ._decomposition import Decomposition, SummedCritic
from ._readings import Readings
from ._reliability import warn_all
from ._seen_rows import SeenRows, some_rows
from ._standalone import standalone_critic, standalone_measure

# Most samples that a fit looks at: more change little, and cost more.
MAX_SAMPLES = 100_000

READ = ("dependency_", "dependency_std_", "coefficient_", "pointwise_", "held_out_", "warnings_")
FITTED = ("critics_", "modalities_", *READ, "_reference")


@dataclass(eq=False, repr=False)
class DependencyEstimator(Readings, Savable, CallbackSupportMixin, BaseEstimator):
    r"""Total correlation, or another measure of dependency, between two or more modalities.

    .. math:: TC = KL\Big(p(x_1, \dots, x_m) \,\Big\|\, \prod_j p(x_j)\Big) = E[\log r(x)], \quad
              r(x) = \frac{p(x_1, \dots, x_m)}{\prod_j p(x_j)}

    A critic T is trained to tell samples from negatives, whose modalities come from different samples; log ratios of
    Gaussian mixtures are added to it. T reads the values of columns and their ranks, and there is a mixture of each:
    what the samples prefer counts. The value is read on samples that none of these was fitted to, as a contrastive
    bound [4]_ of their weighted sum, so that it is a lower bound up to its standard error. Single values of NaN are
    filled, with a warning; see Notes.

    Parameters
    ----------
    measure : {"kl", "f", "jsd", "smile", "knife", "infonce", "wasserstein", "wpc"} or Measure, default="kl"
        What is estimated, and what the critic is trained on; see :mod:`sklearn_mdm.measures`.
    critic : {"encoded", "concatenated", "separable", "multilinear"} or None, default=None
        Form of T; see :mod:`sklearn_mdm.critic`. None takes "encoded" where T is to be a log ratio ("kl", "f", "jsd",
        "smile"), and what the measure asks for otherwise.
    hidden_dims : sequence of int, default=(128, 128, 128, 64)
        Widths of the critic's hidden layers.
    scaling : {"auto", "standard", "rank"}, default="auto"
        What is read of columns: their values, single ones far outside drawn in (``"standard"``); the normal scores of
        their ranks, with the same dependency (``"rank"``); or both. Measures of distance read values with ``"auto"``.
    held_out_fraction : float, default=0.5
        Share of the samples on which ``dependency_`` is read with ``cv=None``, and which the critic never sees.
    cv : "auto", int, cross-validation splitter or None, default="auto"
        Cross-fitting: one critic per fold, each read on the samples that it was not trained on, so that every sample
        gets an out-of-fold value in ``pointwise_``. ``"auto"``: five folds, three of more than 3,000 samples, and None
        for measures whose critic is no log ratio. None holds out one part of the samples.
    decomposition : {"line", "tree"} or None, default=None
        Estimate the total as a sum of parts, with a critic each. ``"line"``: one modality after the other is added,
        :math:`I(x_1; x_2) + I(x_1, x_2; x_3) + \dots` ``"tree"``: halves, and halves of halves. Parts are smaller than
        their total and easier to estimate. None: one critic of all modalities.
    n_components : int, default=32
        Most components of each Gaussian mixture; 0 leaves them out.
    max_updates : int, default=3000
        Most updates of each critic; small data get no more than 60 passes.
    batch_size : int, default=128
        Samples per update.
    n_negatives : int, default=16
        Negatives per sample of a batch.
    lr : float, default=8e-3
        Learning rate, which is annealed.
    weight_decay : float, default=1.0
        Decoupled weight decay.
    modalities : dict or "columns", default=None
        Columns of each modality where X is a 2-D array or a flat data frame: names to selectors, as in
        :class:`~sklearn.compose.ColumnTransformer`. ``"columns"`` makes every column a modality.
    random_state : int, RandomState instance or None, default=None
        Source of randomness: splits, initial weights, batches.

    Attributes
    ----------
    dependency_ : float
        Value on the held-out samples (with folds, on all of them), in nats for measures of total correlation. Never
        clipped: at zero or below, the critic found nothing that holds.
    dependency_std_ : float
        Its standard error, which takes samples (or groups) to be independent. The interval of two of them to each side
        is one of what the estimator finds in such samples on average; dependency itself is that, or more.
    coefficient_ : float
        ``dependency_`` D on a scale from 0 (independent) to 1 (one modality determines another):
        :math:`\sqrt{1 - e^{-2 \max(D, 0)}}`, of two Gaussian variables their correlation [5]_, and of more modalities
        the generalisation [6]_. NaN for measures that are not of total correlation.
    pointwise_ : array of shape (n_samples,)
        Out-of-fold log ratio of each sample passed to ``fit``, in nats; NaN where a modality is missing, the sample was
        trained on, or the measure says nothing about single samples.
    held_out_ : array of int
        Samples on which ``dependency_`` was read.
    critics_ : list
        For each fold an object whose ``critics`` are those of the parts, by name.
    warnings_ : list of str
        Names of the warnings that the estimate gave rise to.
    modalities_ : list
        Names of the modalities.
    n_features_in_ : int
        Number of columns of all modalities.
    n_features_per_modality_ : dict
        Number of columns of each.
    feature_names_in_ : array of shape (n_features,)
        Column names, if X is a flat data frame of columns named by strings; of a dict of such frames,
        "modality__column".

    See Also
    --------
    MDMFusionClassifier.dependency_score : Dependency between representations that were learned for a task.

    Notes
    -----
    No lower bound of n samples can be certain far above log n nats [2]_, and this one is at most the logarithm of the
    number of samples held out together (or 4,096, if they are more). Where modalities determine each other it comes
    near, and :class:`.SampleLimitWarning` says that dependency is at least that. Other warnings tell of critics that
    overfit or were still improving, and of measures that are saturated.

    Weights of critic and mixtures are found on the samples that are read, with folds, and shrunk by what chance may
    have made of them; with ``cv=None`` on a part of the samples that are trained on. Of more than 100,000 samples, as
    many random ones are used; the others have a value in ``pointwise_`` too.

    Cells of NaN in a row that holds numbers too are filled with the median of their column in ``fit``, with
    ``scaling="standard"`` its mean, and a warning says how many of which modality. The value is that of the filled
    data: too low where cells are missing for no reason, and possibly too high where several modalities miss them in the
    same samples.

    Samples that agree in every value are copies of one another, which are kept together like those of a group, with a
    :class:`.RepeatedSamplesWarning`. Discrete data repeat by nature, and are left alone: data in which no modality is
    measured, as its columns fill a grid (classes, counts, one-hot vectors) or many different samples share its values.

    References
    ----------
    .. [1] Belghazi et al., "Mutual Information Neural Estimation", ICML 2018.
    .. [2] McAllester, Stratos, "Formal limitations on the measurement of mutual information", AISTATS 2020.
    .. [3] Bai, Cheng, Hao, Carin, "Estimating Total Correlation with Mutual Information Estimators", AISTATS 2023, for
       the decompositions.
    .. [4] van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018.
    .. [5] Linfoot, "An informational measure of correlation", Information and Control 1 (1), 1957.
    .. [6] Joe, "Relative entropy measures of multivariate dependence", Journal of the American Statistical Association
       84 (405), 1989.

    Examples
    --------
    >>> from sklearn_mdm import DependencyEstimator
    >>> from sklearn_mdm.datasets import make_correlated_gaussians
    >>> X, truth = make_correlated_gaussians(1000, rho=0.5, random_state=0)
    >>> estimator = DependencyEstimator(max_updates=200, random_state=0).fit(X)
    >>> bool(abs(estimator.dependency_ - truth) < 3 * estimator.dependency_std_)
    True
    >>> 0.6 < estimator.coefficient_ < 0.8
    True
    >>> estimator.score_samples(X).shape
    (1000,)
    """

    measure: str | Measure = "kl"
    _: KW_ONLY
    critic: CriticKind | None = None
    hidden_dims: Sequence[int] = (128, 128, 128, 64)
    scaling: Literal["auto", "standard", "rank"] = "auto"
    held_out_fraction: float = 0.5
    cv: Any = "auto"
    decomposition: Decomposition | None = None
    n_components: int = 32
    max_updates: int = 3000
    batch_size: int = 128
    n_negatives: int = 16
    lr: float = 8e-3
    weight_decay: float = 1.0
    modalities: Mapping[Any, Any] | Literal["columns"] | None = None
    random_state: RandomState = None

    _parameter_constraints: ClassVar[dict] = {
        "measure": "no_validation",
        "critic": [StrOptions({"encoded", "concatenated", "separable", "multilinear"}), None],
        "hidden_dims": [SIZES],
        "scaling": [StrOptions({"auto", "standard", "rank"})],
        "held_out_fraction": [Interval(Real, 0, 1, closed="neither")],
        "cv": [StrOptions({"auto"}), "cv_object"],
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
    _fitted: ClassVar = ("critics_", "pointwise_", "held_out_", "modalities_", "n_features_in_", "_reader", "_measure")
    _why_absent: ClassVar = {"feature_names_in_": why_no_names}
    dependency_: float = field(init=False)
    dependency_std_: float = field(init=False)
    coefficient_: float = field(init=False)
    pointwise_: np.ndarray = field(init=False)
    held_out_: np.ndarray = field(init=False)
    critics_: list[SummedCritic] = field(init=False)
    warnings_: list[str] = field(init=False)
    modalities_: list[Hashable] = field(init=False)
    n_features_in_: int = field(init=False)
    n_features_per_modality_: dict[Hashable, int] = field(init=False)

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
        for name in FITTED:  # an earlier fit: one that fails must not leave what belongs to other data
            self.__dict__.pop(name, None)
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._measure = standalone_measure(self)
        reader = ColumnReader("mean" if self.scaling == "standard" else "median")
        arrays, complete = reader.fit_read(self, X, self.modalities)
        self._reader, self.modalities_ = reader, reader.names
        check_beside(row_labels(X), groups=groups)
        with named("groups"):
            groups = read_groups(as_samples(groups), len(complete))
        groups = None if groups is None else groups[complete]
        min_rows, rows = fewest_rows(len(arrays)), np.flatnonzero(complete)
        if len(rows) < 3 * min_rows:
            raise TooFewSamplesError(
                f"n_samples={len(rows)} with every modality observed is too few to train, calibrate and read a critic; "
                f"it needs at least {3 * min_rows}."
            )
        every, used = arrays, np.arange(len(rows))
        if len(rows) > MAX_SAMPLES:
            used = np.sort(np.random.default_rng(self._seed).permutation(len(rows))[:MAX_SAMPLES])
            arrays, groups = [a[used] for a in arrays], None if groups is None else groups[used]
        copies = Copies(arrays, groups)
        cv = self.cv if self._measure.density_ratio or not isinstance(self.cv, str) else None
        splits = split_folds(
            len(used), cv, self.held_out_fraction, groups=groups, seed=self._seed, min_rows=min_rows, copies=copies
        )
        with fit_task(self, X, y, n_subtasks=len(splits)):
            found = cross_fit(
                partial(standalone_critic, self, self._measure, self._seed),
                self._measure,
                arrays,
                subtasks(self, "fold", splits),
                groups=copies.groups,
                batch_size=self.batch_size,
                seed=self._seed,
            )
            self.critics_, self.dependency_, self.dependency_std_ = found.critics, found.value, found.std
            self.coefficient_ = coefficient(found.value) if self._measure.total_correlation else math.nan
            self.pointwise_ = np.full(len(complete), np.nan)
            self.pointwise_[rows[used]] = found.pointwise
            held_out = np.concatenate([held_out for _, held_out in splits])
            self.held_out_ = rows[used[held_out]]
            if len(used) < len(rows) and self._measure.pointwise:
                rest = np.setdiff1d(np.arange(len(rows)), used, assume_unique=True)
                self.pointwise_[rows[rest]] = self._mean_pointwise([a[rest] for a in every])
            trained = np.unique(np.concatenate([train for train, _ in splits]))
            self._reference = some_rows(arrays, held_out, self._seed)
            self._seen = SeenRows(arrays, trained, copies=copies.found)
            self._grouped = groups is not None
            found.warnings.update(copies.warnings)
            self.warnings_ = [category.__name__ for category in found.warnings]
        warn_all(found.warnings, stacklevel=2)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "critics_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = True
        tags.input_tags.allow_nan = True  # where a modality was not observed
        tags.input_tags.three_d_array = True  # as a modality in a dict
        return tags
