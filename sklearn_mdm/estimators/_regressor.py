"""MDMFusionRegressor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import StrOptions

from ._base import BaseMDMFusion
from ._classifier import _LOSSES
from ._scaling import standardize
from ._target import check_target, scored_target, target_columns

__all__ = ["MDMFusionRegressor"]


class MDMFusionRegressor(RegressorMixin, MultiOutputMixin, BaseMDMFusion):
    r"""Regression on several modalities, by maximising their mutual dependency.

    Encodes each modality, fuses the representations :math:`z_1, \dots, z_m`, and trains with

    .. math:: L = L_{down} - \lambda \, L_{MDM}(z_1, \dots, z_m)

    where :math:`L_{MDM}` is the dependency between the representations, estimated by a critic that is trained
    alongside (Algorithm 1 of [1]_).

    Parameters
    ----------
    fusion : str or fusion object, default="concat"
        System that fuses the modalities: "concat", "late", "tensor", "low_rank", "ef_lstm", "memory",
        "multi_attention", "misa", "mag" (or the name that a paper gives it, such as "tfn"), or a parameter object such
        as ``ConcatFusion(hidden_dims=(32,), dropout=0.1)``, whose own parameters a grid reaches as ``fusion__dropout``;
        see :mod:`sklearn_mdm.fusion`. ``MAGFusion(backbone=...)`` reads texts.
    encoder : str, encoder object, or dict of modality name to either, default="auto"
        What turns each modality into its representation: "auto", "mlp", "lstm", "gru", "transformer" or an object; see
        :mod:`sklearn_mdm.encoders`.
    measure : str or Measure, default="kl"
        Dependency that is maximised: "kl", "f" or "nwj", "jsd", "smile", "infonce" or "cpc", "wasserstein", "wpc",
        "knife", or an object of :mod:`sklearn_mdm.measures` such as ``KL(bound=5.0)``.
    lam : float, default=0.03
        Weight :math:`\lambda \ge 0` of the dependency term. At 0 no critic is trained.
    unroll : int, default=1
        Critic updates before each update of the model.
    modalities : dict of name to column selector, default=None
        For a 2-D X: which columns belong to which modality. Selectors are those of
        :class:`sklearn.compose.ColumnTransformer`: names, positions, slices, masks or a callable.
    missing : {"mean", "token", "skip", "critic"}, default="mean"
        What replaces a modality that was not observed. ``"mean"``: the training mean of its features (zeros, with
        ``standardize=False``). ``"token"``: a learned representation, which takes missing modalities or
        ``modality_dropout`` in training. ``"skip"``: nothing, the fusion does without it. ``"critic"``: in prediction,
        training samples that the critic behind ``dependency_score`` finds likely, over which predictions are averaged;
        in training, the mean.
        Without this critic, at ``lam=0``, it takes ``fit_dependency``. See :doc:`/user_guide/missing`.
    modality_dropout : float, default=0.0
        Probability that a training prediction is made without a modality, per sample and modality; at least one is
        kept. Makes predictions with missing modalities better.
    critic_hidden_dims : sequence of int, default=(64, 64)
        Widths of the critic's hidden layers.
    critic_lr : float, default=1e-3
        Learning rate of the critic.
    n_negatives : int, default=1
        Negatives per row of a batch.
    standardize : bool, default=True
        Whether to scale each feature of X and each output of y to zero mean and unit variance over the observed
        training rows and steps. Without it ``lam`` and ``lr`` depend on the units of the data.
    loss : {"squared_error", "absolute_error", "huber"}, default="squared_error"
        Task loss, averaged over outputs.
    optimizer : {"adamw", "adam", "sgd"} or torch optimizer class, default="adamw"
        Optimizer of the model. The critic has an Adam of its own.
    lr : float, default=1e-3
        Learning rate of the model.
    weight_decay : float, default=1e-2
        Weight decay of the model, decoupled from the gradient for ``"adamw"``.
    batch_size : int, default=64
        Samples per update. A trailing batch of fewer than four joins the batch before it.
    max_epochs : int, default=100
        Most passes over the training samples.
    early_stopping : bool or "auto", default="auto"
        Whether to hold out ``validation_fraction`` of the samples, stop when the task loss on them no longer falls and
        return to the best epoch. ``"auto"`` does so from 100 samples on. Without it, training stops when the training
        loss no longer falls. ``X_val`` takes the place of the held-out samples.
    validation_fraction : float, default=0.15
        Part of the samples to hold out; whole groups where ``groups`` are passed to ``fit``.
    n_iter_no_change : int, default=10
        Epochs without an improvement by ``tol`` before training stops.
    tol : float, default=1e-4
        Smallest improvement of the loss on the standardised target that counts.
    callbacks : list of skorch callbacks, default=None
        Copies of them see every epoch and batch of ``net_``, whose predictions are those of the raw network
        (standardised targets, logits).
    device : str or torch.device, default="auto"
        ``"auto"`` takes a CUDA device if there is one, else the CPU. On the CPU parameters have the floating type of X,
        elsewhere single precision.
    warm_start : bool, default=False
        Whether ``fit`` continues from the last fit: net, critic, both optimizers and the scaling stay. Changed
        parameters of the system, measure, loss and optimizer class are not taken up; learning rates, weight decay,
        ``lam``, ``unroll``, ``n_negatives``, ``modality_dropout``, ``batch_size`` and those of stopping are.
    random_state : int, RandomState instance or None, default=None
        Source of initial weights, batch order, negatives and the held-out samples. An int makes ``fit`` repeat itself
        bit for bit on one machine with one thread count. Global generators are left alone.
    verbose : int, default=0
        1 shows a progress bar, 2 a line per epoch.

    Attributes
    ----------
    net_ : MDMNet
        The trained skorch net.
    modalities_ : list
        Modality names, sorted.
    n_features_in_ : int
        Total number of features.
    n_features_per_modality_ : dict
        Number of features of each modality.
    feature_names_in_ : array of str
        Column names, if X was a flat data frame of named columns.
    scalers_ : dict of name to StandardScaler
        Scaling of each modality; empty with ``standardize=False``.
    target_scaler_ : StandardScaler or None
        Scaling of y.
    n_outputs_ : int
        Number of targets.
    n_iter_ : int
        Number of epochs that were run.
    history_ : skorch.history.History
        Losses of every epoch; see :class:`MDMNet`. Records of single batches are dropped.
    loss_curve_ : list of float
        Task loss on the training samples at each epoch, in the units of y (squared, for the squared error).
    validation_loss_curve_ : list of float
        Task loss on the held-out samples; NaN without them.
    dependency_curve_ : list of float
        Dependency term at each epoch, in the unit of the measure; NaN at ``lam=0``.
    reporting_critic_ : object
        The critic behind ``dependency_score``; absent at ``lam=0`` until ``fit_dependency``.
    imputer_ : object
        The training samples, 256 at most, that ``missing="critic"`` completes others with; absent without that, and
        wherever there is no ``reporting_critic_``.

    See Also
    --------
    MDMFusionClassifier : The same for classes.
    ModalityTransformer : Scikit-learn transformers per modality.
    ModalityDict : Dict of modalities that scikit-learn can index, for grid searches and cross-validation.

    Notes
    -----
    X may be a dict of arrays (n_samples, n_features) or (n_samples, n_steps, n_features), of data frames or of ragged
    lists; a :class:`ModalityDict` where scikit-learn indexes samples; a data frame with (modality, feature) columns; or
    a 2-D array with ``modalities=``. NaN marks what was not observed: a row of NaN is a missing modality, a time step
    of NaN is padding or a gap. At predict time a modality may also be absent or None.

    A plain 2-D X without ``modalities=`` is one modality: there is no dependency then, and ``lam > 0`` warns.

    References
    ----------
    .. [1] Colombo, Chapuis, Labeau, Clavel, "Improving Multimodal Fusion via Mutual Dependency Maximisation",
       EMNLP 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> rng = np.random.default_rng(0)
    >>> shared = rng.normal(size=(300, 1))
    >>> X = {"audio": shared + rng.normal(size=(300, 4)), "text": shared + rng.normal(size=(300, 6))}
    >>> y = shared.ravel()
    >>> model = MDMFusionRegressor(lam=0.1, random_state=0).fit(X, y)
    >>> model.predict(X).shape
    (300,)
    >>> bool(model.score(X, y) > 0.7)
    True
    >>> bool(model.dependency_score(X) > 0.1)  # nats
    True
    >>> model.predict({"text": X["text"]}).shape  # audio is missing
    (300,)
    """

    def __init__(
        self,
        *,
        fusion: Any = "concat",
        encoder: Any = "auto",
        measure: Any = "kl",
        lam: float = 0.03,
        unroll: int = 1,
        modalities: Mapping[Any, Any] | None = None,
        missing: str = "mean",
        modality_dropout: float = 0.0,
        critic_hidden_dims: Sequence[int] = (64, 64),
        critic_lr: float = 1e-3,
        n_negatives: int = 1,
        standardize: bool = True,
        loss: str = "squared_error",
        optimizer: Any = "adamw",
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        batch_size: int = 64,
        max_epochs: int = 100,
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.15,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        callbacks: list | None = None,
        device: str = "auto",
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.fusion = fusion
        self.encoder = encoder
        self.measure = measure
        self.lam = lam
        self.unroll = unroll
        self.modalities = modalities
        self.missing = missing
        self.modality_dropout = modality_dropout
        self.critic_hidden_dims = critic_hidden_dims
        self.critic_lr = critic_lr
        self.n_negatives = n_negatives
        self.standardize = standardize
        self.loss = loss
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.device = device
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    _parameter_constraints: ClassVar[dict] = {
        **BaseMDMFusion._parameter_constraints,
        "loss": [StrOptions(set(_LOSSES))],
    }

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        X_val: Any = None,
        y_val: Any = None,
    ) -> MDMFusionRegressor:
        """Fit the encoders, the fusion and the critic.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Training samples; see Notes of the class for what is accepted.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights in the task loss and the scaling. Samples of weight zero are left out altogether.
        groups : array-like of shape (n_samples,), default=None
            Samples of one group (speaker, patient) are never split between training and stopping.
        X_val : dict, ModalityDict, data frame or array, default=None
            Samples that decide when to stop, instead of held-out ones. In a Pipeline they do not pass the earlier
            steps unless ``Pipeline(transform_input=["X_val"])`` says so.
        y_val : array-like, default=None
            Their targets.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            If X, y or a parameter is not as described; the message names the modality and the remedy.
        FloatingPointError
            If a loss is not finite; the message names the term and the epoch.
        """
        return self._fit(X, y, sample_weight, groups=groups, X_val=X_val, y_val=y_val)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MDMFusionRegressor:
        """Train for one epoch on a batch of samples.

        The first call fixes modalities and scaling. Call ``fit_dependency`` before ``dependency_score``.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights in the task loss, relative to their mean in the first call.

        Returns
        -------
        self : object
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any) -> np.ndarray:
        """Predict targets.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples; modalities may be absent, None or NaN.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_outputs)
            In the floating type of X.
        """
        prediction, dtype = self._apply(X)
        if self.target_scaler_ is not None:
            # As inverse_transform, whose validation takes longer than the prediction of a row.
            prediction = prediction * self.target_scaler_.scale_ + self.target_scaler_.mean_
        prediction = prediction.astype(dtype, copy=False)
        return prediction.ravel() if self._single_target else prediction

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination of the predictions.

        Parameters
        ----------
        X : dict, ModalityDict, data frame or array
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True targets. If X and y have row labels, these must agree.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
        """
        return super().score(X, scored_target(X, y, sample_weight), sample_weight)

    def _read_target(
        self, y: Any, n_samples: int, *, rows: np.ndarray | None = None, reset: bool, classes: Any = None
    ) -> np.ndarray:
        columns = target_columns(y)
        y = check_target(self, y, n_samples, rows, numeric=True)
        if reset:
            self._target_columns = columns
            self._single_target = y.ndim == 1
            self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]
        y = y.reshape(len(y), -1).astype(np.float64)
        if y.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y has {y.shape[1]} outputs, but {type(self).__name__} was fitted with {self.n_outputs_}."
            )
        if None not in (columns, self._target_columns) and columns != self._target_columns:
            raise ValueError(
                f"the outputs of y are {columns}, but {type(self).__name__} was fitted with {self._target_columns}. "
                "Select them in that order."
            )
        return y

    def _fit_target(self, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        self.target_scaler_ = None
        if self.standardize:
            with np.errstate(over="ignore", invalid="ignore"):
                scaler = StandardScaler().set_output(transform="default").fit(y, sample_weight=sample_weight)
            if not (np.isfinite(scaler.mean_).all() and np.isfinite(scaler.var_).all()):
                raise ValueError("y has values too large to standardise. Rescale it.")
            self.target_scaler_ = scaler

    def _encode_target(self, y: np.ndarray, dtype: Any) -> np.ndarray:
        return (y if self.target_scaler_ is None else standardize(self.target_scaler_, y)).astype(dtype)

    def _criterion(self) -> torch.nn.Module:
        cls, power = _LOSSES[self.loss]
        criterion: Any = cls(reduction="none")
        scale = np.ones(self.n_outputs_) if self.target_scaler_ is None else self.target_scaler_.scale_
        criterion.log_scale = tuple((scale**power).tolist())
        return criterion

    def _n_net_outputs(self) -> int:
        return self.n_outputs_

    def _average_outputs(self, outputs: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
        return np.add.reduceat(weights * outputs, starts)
