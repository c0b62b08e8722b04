"""The parameters of both estimators: types, defaults and ranges; and what else their docstrings share, written once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, Literal, TypeVar

import torch
from sklearn.utils._param_validation import Interval, StrOptions

from ..encoders import Encoder
from ..fusion import Fusion
from ..measures import Measure
from ..utils._parameter_objects import SIZES
from ..utils._typing import RandomState

EstimatorClass = TypeVar("EstimatorClass", bound=type)

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@dataclass(kw_only=True, eq=False, repr=False)
class Parameters:
    """Stores the parameters that both estimators have: the constructor of scikit-learn, a line each."""

    fusion: str | Fusion = "concat"
    encoder: str | Encoder | Mapping[Any, str | Encoder] = "auto"
    measure: str | Measure = "auto"
    lam: float | Sequence[float] | Literal["auto"] = 0.03
    unroll: int = 1
    n_estimators: int | Literal["auto"] = "auto"
    cv: Any = None
    modalities: Mapping[Any, Any] | None = None
    missing: Literal["auto", "mean", "token", "skip", "critic"] = "auto"
    modality_dropout: float = 0.0
    agreement: float | Literal["auto"] = "auto"
    critic_hidden_dims: Sequence[int] = (64, 64)
    critic_lr: float = 1e-3
    n_negatives: int = 1
    linear_member: bool | Literal["auto"] = "auto"
    kernel_member: bool | Literal["auto"] = "auto"
    spreading_member: bool | Literal["auto"] = "auto"
    scaling: Literal["auto", "standard", "robust", "rank"] | None = "auto"
    optimizer: str | type[torch.optim.Optimizer] = "adamw"
    lr: float = 2e-3
    weight_decay: float = 1e-2
    batch_size: int = 64
    max_epochs: int = 100
    early_stopping: bool | Literal["auto"] = "auto"
    validation_fraction: float = 0.15
    n_iter_no_change: int = 6
    tol: float = 1e-4
    callbacks: list[Any] | None = None
    device: str | torch.device = "auto"
    warm_start: bool = False
    random_state: RandomState = None
    verbose: int = 0

    _parameter_constraints: ClassVar[dict] = {
        "fusion": "no_validation",
        "encoder": "no_validation",
        "measure": "no_validation",
        "lam": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"}), "array-like"],
        "unroll": [Interval(Integral, 1, None, closed="left")],
        "n_estimators": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "cv": ["cv_object"],
        "modalities": [Mapping, None],
        "missing": [StrOptions({"auto", "mean", "token", "skip", "critic"})],
        "agreement": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "modality_dropout": [Interval(Real, 0, 1, closed="left")],
        "critic_hidden_dims": [SIZES],
        "critic_lr": [Interval(Real, 0, None, closed="neither")],
        "n_negatives": [Interval(Integral, 1, None, closed="left")],
        "linear_member": [StrOptions({"auto"}), "boolean"],
        "kernel_member": [StrOptions({"auto"}), "boolean"],
        "spreading_member": [StrOptions({"auto"}), "boolean"],
        "scaling": [StrOptions({"auto", "standard", "robust", "rank"}), None],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": [StrOptions({"auto"}), "boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "callbacks": [list, None],
        "device": [str, torch.device],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }


# Parts of docstrings by name. A class has the name in angle brackets where the part belongs.
PARTS = {}

PARTS["shared parameters, in _parameters.py"] = r"""
fusion : str or fusion object, default="concat"
    System that fuses the modalities: "concat", "late", "tensor", "low_rank", "ef_lstm", "memory", "multi_attention",
    "misa", "mag" (or the name that a paper gives it, such as "tfn"), or a parameter object such as
    ``ConcatFusion(hidden_dims=(32,), dropout=0.1)``, whose own parameters a grid reaches as ``fusion__dropout``; see
    :mod:`sklearn_mdm.fusion`. ``MAGFusion(backbone=...)`` reads texts.
encoder : str, encoder object, or dict of modality name to either, default="auto"
    What turns each modality into its representation: "auto", "mlp", "lstm", "gru", "transformer" or an object; see
    :mod:`sklearn_mdm.encoders`.
measure : str or Measure, default="auto"
    Dependency that is maximised: "auto" ("pairwise_infonce" where some samples lack a label, "kl" otherwise), "kl", "f"
    or "nwj", "jsd", "smile", "infonce" or "cpc", "pairwise_infonce", "wasserstein", "wpc", "knife", for a classifier
    "tcmax", or an object of :mod:`sklearn_mdm.measures` such as ``KL(bound=5.0)``.
lam : float, sequence of float or "auto", default=0.03
    Weight :math:`\lambda \ge 0` of the dependency term. At 0 no critic is trained. Of several, and of 0, 0.03, 0.1,
    0.3, 1 and 3 with ``"auto"``, each trains networks of its own side by side with the others, with the same seeds and
    folds; the smallest is kept whose networks are not worse on samples held out (``X_val`` where that is passed) than
    those of the best by more than one standard error of the paired difference. Where some samples lack a label,
    ``"auto"`` is 0, 0.3 and 1. Without a choice, 0.03, or 1 where some lack a label (of a sequence the largest that is
    not above it, else its smallest) is trained alone: where nothing is held out, with fewer than five held-out samples
    in the rarest class (of a regressor 50 in all), and in ``partial_fit``. With a single modality it is the smallest.
    Callbacks see the networks of all. See :doc:`/user_guide/training` and :doc:`/user_guide/few_labels`.
unroll : int, default=1
    Critic updates before each update of the model.
n_estimators : int or "auto", default="auto"
    Members of the committee: networks that differ in their seeds and in the fold of the samples that each holds out to
    stop on. Predictions are averages over them. ``"auto"``: 8, but 1 where ``MAGFusion`` has a backbone, of which every
    member would hold a copy. See :doc:`/user_guide/committee`.
cv : int, splitter or iterable of splits, default=None
    What holds out samples for the members: a number of folds or, for time series and blocks, a splitter of
    :mod:`sklearn.model_selection`, whose folds the members share out. None makes as many folds as there are members,
    stratified by class, of whole groups where ``groups`` are passed to ``fit``; with one member it leaves that to
    ``validation_fraction``.
modalities : dict of name to column selector, default=None
    For a 2-D X: which columns belong to which modality. Selectors are those of
    :class:`sklearn.compose.ColumnTransformer`: names, positions, slices, masks or a callable.
missing : {"auto", "mean", "token", "skip", "critic"}, default="auto"
    Replacement for a modality that was not observed. ``"auto"``: what ``"critic"`` does where there is a critic, else
    the mean. ``"mean"``: the centre of its features in training, which ``scaling`` takes to zero (zeros, with
    ``scaling=None``). ``"token"``: a representation that is learned, for which modalities have to be missing in
    training, or be left out by ``modality_dropout``. ``"skip"``: nothing, the fusion does without it. ``"critic"``: in
    prediction, training samples that the critic behind ``dependency_score`` finds likely, over which predictions are
    averaged; in training, the mean. Without this critic, at ``lam=0`` or after too few samples for one, ``"critic"``
    asks for ``fit_dependency``. See :doc:`/user_guide/missing`. Single cells are filled by their row always.
modality_dropout : float, default=0.0
    Probability that a training prediction is made without a modality, per sample and modality; at least one is kept.
    Makes predictions with missing modalities better.
agreement : float or "auto", default="auto"
    Weight of the agreement between subsets of the modalities, which networks learn from samples without a label: what
    they predict from all modalities teaches what they predict from some, of classes where they are sure. Samples with a
    label are then predicted from all and from some modalities, too. Without samples that lack a label it does nothing.
    ``"auto"`` is 1, or chosen from 0 and 1 together with ``lam`` where that is chosen. See
    :doc:`/user_guide/few_labels`.
critic_hidden_dims : sequence of int, default=(64, 64)
    Widths of the critic's hidden layers.
critic_lr : float, default=1e-3
    Learning rate of the critic.
n_negatives : int, default=1
    Negatives per row of a batch.
linear_member : bool or "auto", default="auto"
    Whether a committee of two or more has a linear model beside the networks: ridge or logistic regression on the same
    inputs (those of its first half; sequences as mean and standard deviation), with a penalty chosen out of fold. It,
    the other models beside the networks and the groups of networks that read the same inputs are weighted by the loss
    of their mean out of fold, or by fixed numbers where nothing is held out. ``"auto"``: not for texts or very large
    tables.
kernel_member : bool or "auto", default="auto"
    Whether it has kernel ridge regression too: on the inputs of the linear model, with a kernel that is the mean over
    the modalities of exponential ones, and a penalty chosen out of fold. Strong on small data; memory and time grow
    with the square and the cube of the number of samples, and a pickle holds these. ``"auto"``: where a linear member
    pays, up to 4,000 samples.
spreading_member : bool or "auto", default="auto"
    Whether a label spreading model of all samples joins a committee of classifiers where some samples lack a label;
    ``"auto"``: up to 4,000 samples. See :doc:`/user_guide/few_labels`.
scaling : {"auto", "standard", "robust", "rank"} or None, default="auto"
    What each feature of X is made comparable by, over the observed training rows and steps. ``"standard"``: mean and
    variance. ``"robust"``: median and quartiles, with values far outside drawn in. ``"rank"``: normal scores of ranks.
    ``"auto"``: half the members of a committee read robustly scaled features and the others ranks, a single one the
    former. Each output of a regressor's y is standardised too, unless None: ``lam`` and ``lr`` then depend on the units
    of the data.
optimizer : {"adamw", "adam", "sgd"} or torch optimizer class, default="adamw"
    Optimizer of the model. The critic has an Adam of its own.
lr : float, default=2e-3
    Learning rate of the model.
weight_decay : float, default=1e-2
    Weight decay of the model, decoupled from the gradient for ``"adamw"``.
batch_size : int, default=64
    Samples per update. A trailing batch of fewer than four joins the batch before it.
max_epochs : int, default=100
    Most passes over the training samples. Where samples without a label train the networks, an epoch passes over the
    labelled ones as often as it takes to make 16 updates, and a classifier with few labels has 50 epochs at most (see
    ``early_stopping``).
early_stopping : bool or "auto", default="auto"
    Whether to hold out ``validation_fraction`` of the samples, stop when the task loss on them no longer falls and
    return to the best epoch. ``"auto"`` does so from 100 samples on, from 20 in a committee, or where ``cv`` is given.
    Without it, training stops when the training loss no longer falls. ``X_val`` takes the place of the held-out
    samples. In a committee each member stops for itself, on its own fold. With fewer than 30 labels in the rarest
    class, beside samples without one, ``"auto"`` holds out nothing, unless ``cv`` is given; see
    :doc:`/user_guide/few_labels`.
validation_fraction : float, default=0.15
    Part of the samples to hold out, stratified by class; whole groups where ``groups`` are passed to ``fit``. The
    members of a committee hold out folds instead.
n_iter_no_change : int, default=6
    Epochs without an improvement by ``tol`` before training stops.
tol : float, default=1e-4
    Smallest improvement of the loss, on standardised targets in regression, that counts.
callbacks : list of skorch callbacks, default=None
    Copies of them see every epoch and batch of ``net_``, whose predictions are those of the raw network (standardised
    targets, logits).
device : str or torch.device, default="auto"
    ``"auto"`` takes a CUDA device if there is one, unless training takes longer there: with few samples, and where
    steps of a small network cannot be launched as one, as with missing modalities. On the CPU parameters have the
    floating type of X, elsewhere single precision.
warm_start : bool, default=False
    Whether ``fit`` continues from the last fit: net, critic, both optimizers, scaling and classes stay, and so do the
    folds of samples that were in it. Changed parameters of the system, measure (``"auto"`` is what it was), loss,
    optimizer class and number of members are not taken up; learning rates, weight decay, ``lam`` (a number; of several,
    the one that was chosen stays), ``unroll``, ``n_negatives``, ``modality_dropout``, ``agreement``, ``batch_size`` and
    those of stopping are.
random_state : int, RandomState instance or None, default=None
    Source of initial weights, batch order, negatives and the held-out samples. An int makes ``fit`` repeat itself bit
    for bit on one machine with one thread count. Global generators are left alone.
verbose : int, default=0
    1 shows a progress bar and, in one line, when and why training stopped; 2 a line per epoch instead of the bar.
"""

PARTS["shared attributes, in _parameters.py"] = """
net_ : MDMNet
    The trained skorch net. In a committee its ``module_.members`` are the networks of all members.
lam_ : float
    Weight of the dependency term: ``lam``, or the one that was chosen.
agreement_ : float
    Weight of the agreement between modalities: ``agreement``, or the one that was chosen; 0 where all samples have a
    label.
lam_path_ : data frame
    What ``lam_`` was chosen by, a row for each candidate, ascending: ``lam``; ``agreement``, if a candidate has any;
    ``loss``, the task loss of its networks on samples held out, on standardised targets in regression; ``loss_se``, the
    standard error of its difference to the best, paired by sample (or group); ``dependency`` and ``dependency_std``,
    the mean and standard deviation over its networks of the last value of the term in training, in nats or the unit of
    its measure, NaN at 0 (the latter of a single network, too); ``chosen``. Absent without a choice.
modalities_ : list
    Modality names, sorted.
n_features_in_ : int
    Total number of features.
n_features_per_modality_ : dict
    Number of features of each modality.
feature_names_in_ : array of str
    Column names, if X was a flat data frame of columns named by strings; of a dict of such frames, "modality__column".
scalers_ : dict of name to scaler, or list of them
    Scaling of each modality, a StandardScaler for ``"standard"``; empty with ``scaling=None``. Where members of a
    committee read different inputs, a list with those of each half.
n_iter_ : int
    Number of epochs that were run, by the member that ran the most.
history_ : skorch.history.History
    Losses of every epoch; see :class:`MDMNet`. Records of single batches are dropped. A committee has means over the
    members that were still trained, and lists with the value of every member, NaN for those that had stopped, such as
    ``train_task_loss_of_members``.
loss_curve_ : list of float
    Task loss on the training samples at each epoch: in nats for a classifier, in the units of y for a regressor
    (squared, for the squared error).
validation_loss_curve_ : list of float
    Task loss on the held-out samples; NaN without them.
dependency_curve_ : list of float
    Dependency term at each epoch, in nats or the unit of its measure; NaN at ``lam=0``.
reporting_critic_ : object
    The critic behind ``dependency_score``, or that of every member. Until ``fit_dependency`` it is absent at ``lam_``
    0, with too few samples that have every modality, and after ``partial_fit``.
imputer_ : object
    What is kept of the training samples, 256 at most, that others are completed with: their representations, or the
    samples themselves where a fusion system predicts from more than these. Absent with other ``missing`` than "auto"
    and "critic", and wherever there is no ``reporting_critic_``.
blend_weights_ : dict of str to float
    Weights of what a committee averages, where that is more than one group of networks: groups by their scaling, then
    "linear", "kernel" and "spreading", the models beside them. Where nothing was held out they are even, or, where some
    samples lack a label, even among networks, models of labelled samples, and label spreading. Samples that a critic
    completes have others; see :doc:`/user_guide/committee`.
oof_score_ : float
    Score of the out-of-fold predictions, as of ``score``, every sample counting once; absent unless the members of a
    committee held out folds.
"""

PARTS["shared notes and references, in _parameters.py"] = """
X may be a dict of arrays (n_samples, n_features) or (n_samples, n_steps, n_features), of data frames or of ragged
lists; a :class:`ModalityDict` where scikit-learn indexes samples; a data frame with (modality, feature) columns; or
a 2-D array with ``modalities=``. NaN marks what was not observed: a row of NaN is a missing modality, a time step
of NaN is padding or a gap. At predict time a modality may also be absent or None. A cell of NaN in a row or step that
holds numbers is filled with its mean given the other cells of that row, under a normal distribution of the columns of
the modality [2]_ that is learned in ``fit``; columns whose missing cells tell something of y there get an indicator of
them beside the features. See :doc:`/user_guide/missing`.

NaN, None, pandas.NA and masked entries of y mean "no label". Samples without one, and those of ``X_unlabeled``, train
the dependency term and the agreement of every member and are never held out; label spreading, the scaling of X, the
filling of cells, the completion of samples and the critic that reports dependency read them too. The task loss, folds,
classes, and the linear and the kernel model read labelled samples only. Of several outputs of a regressor, some may
lack labels here and there: each counts by its labelled samples. Scorers of scikit-learn refuse NaN in y: in searches
pass such samples as ``X_unlabeled``. With ``lam=0`` and ``agreement=0``, and with one modality, they train no network,
and warn. ``-1`` is a class like any other. See :doc:`/user_guide/few_labels`.

A plain 2-D X without ``modalities=`` is one modality: there is no dependency then, and ``lam > 0`` warns.

References
----------
.. [1] Colombo, Chapuis, Labeau, Clavel, "Improving Multimodal Fusion via Mutual Dependency Maximisation",
   EMNLP 2021.
.. [2] Little, Rubin, "Statistical Analysis with Missing Data", 3rd edition, Wiley 2019, Section 11.2.
"""


def with_shared_parts(cls: EstimatorClass) -> EstimatorClass:
    """Fill the shared parts into the docstring of a class."""
    doc = inspect.cleandoc(cls.__doc__ or "")  # there is none with python -OO
    for name, text in PARTS.items():
        doc = doc.replace(f"<{name}>", text.strip())
    cls.__doc__ = doc
    return cls
