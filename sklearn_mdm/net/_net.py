"""MDMNet: Algorithm 1 of the paper (critic steps, then a model step) as skorch hooks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.dataset import unpack_data
from skorch.utils import TeeGenerator
from torch import Tensor, nn

from ..callbacks._resumable import ResumableCheckpoint
from ..critic._negatives import offset_indices
from ..exceptions import CheckpointWarning
from ..measures import MEASURES
from ..measures._contract import build_checked_critic
from ..utils._isolation import isolated
from ..utils._parameter_objects import resolve_component
from ..utils._placing import placed
from ..utils._rng import RandomStream, drawing_from, may_draw
from ..utils._splits import fewest_rows
from ..utils._threads import threads_for
from ._agreement import (
    KEPT,
    agreement_losses,
    aligned,
    are_classes,
    class_shares,
    corrupted,
    one_below_other,
    without_some,
)
from ._data import Batch, BatchIterator, MaskedDataset, share_of
from ._member_history import history_of_member
from ._readings import Reading, read
from ._resident import resident
from ._step_graphs import DrawsOfStep, StepGraphs
from ._stored_data import is_stored, read_ahead

# Each source of randomness has a stream of its own, so that switching one off leaves the others as they are.
STREAMS = ("batches", "critic_batches", "negatives", "modality_dropout")
# The fewest batches of an epoch where samples lack a target: few samples with one would be gone through before the
# others have said anything.
FEWEST_BATCHES = 16
# Those of samples without a target, which are seeded after all others.
UNLABELLED_STREAMS = ("unlabelled", "agreement")
# What is drawn for one purpose alone, dropout too: that in predictions is then the same with and without it.
OWN_DRAWS = ("critic", "taught", "corruption")

# What only training needs.
OF_TRAINING = (
    "generators_",
    "term_active_",
    "critic_data_",
    "critic_rows_",
    "pool_of_",
    "shares_",
    "y_",
    "pool_",
    "pool_rows_",
    "draws_",
    "intercept_",
    "critic_parameters_",
    "totals_",
    "pending_",
    "unread_",
    "graphs_",
    "constants_",
)


class MDMNet(NeuralNet):
    r"""A skorch net trained on ``task loss - lam * dependency between the modalities``.

    Every training step makes ``unroll`` updates of the critic T on detached representations, then one update of the
    module on

    .. math:: L = L_{down} - \lambda \, L_{MDM}(z_1, \dots, z_m)

    (Algorithm 1 of [1]_). One epoch is one pass of model updates; critic batches come from a stream of their own.
    Only rows with every modality observed enter the dependency term.

    Parameters
    ----------
    module : torch module (class or instance)
        A fusion module: ``forward(X, mask)`` returns a :class:`sklearn_mdm.fusion.FusionOutput`,
        ``represent(X, mask)`` its representations, and ``code_dims`` maps their names to their widths.
    criterion : torch criterion (class), default=torch.nn.MSELoss
        Task loss. With ``criterion__reduction="none"`` sample weights are honoured.
    measure : str or Measure, default="kl"
        Dependency measure: "kl", "f", "nwj", "jsd", "smile", "infonce", "cpc", "pairwise_infonce", "wasserstein",
        "wpc", "knife", "tcmax" (for classifiers), or an object of :mod:`sklearn_mdm.measures`.
    lam : float, default=0.03
        Weight of the dependency term. At 0 no critic step is made.
    unroll : int, default=1
        Critic updates before each model update.
    n_negatives : int, default=1
        Negatives per row of a batch; "knife", "pairwise_infonce", and "infonce" with its own critic, do without.
    modality_dropout : float, default=0.0
        Probability that the prediction is made without a modality, per sample and modality, during training. At least
        one observed modality is kept.
    agreement : float, default=0.0
        Weight of the agreement between subsets of the modalities, where there are samples without a target
        (``unlabelled`` of a :class:`~sklearn_mdm.net.MaskedDataset`), on these and on those with one: what is predicted
        from all modalities teaches what is predicted from some, as a target of the criterion; of classes, of which
        predictions are then logits, where it is sure (``criterion__reduction="none"``). Samples with a target are then
        predicted from all and from some, too.
    accumulate : int, default=1
        Batches whose mean gradient makes one update of the module; see
        :class:`sklearn_mdm.callbacks.GradientAccumulation`.
    optimizer, optimizer_critic : torch optimizer (class), default=torch.optim.Adam
        Optimizers of the module and of the critic.
    lr : float, default=1e-3
        Learning rate of both; ``optimizer_critic__lr`` sets the critic's own.
    random_state : int or None, default=0
        Seed of batch order, critic batches, negatives, dropout layers and modality dropout; None draws one. Initial
        weights follow torch's global generator.
    dtype : torch.dtype, default=torch.float32
        Floating type of parameters and data.
    iterator_train, iterator_valid : type, default=BatchIterator
        Iterators over batches: :class:`~sklearn_mdm.net.BatchIterator`, or torch's ``DataLoader`` for its workers
        (``iterator_train__num_workers=2``).
    train_split : callable or None, default=None
        skorch's split into training and validation data; None validates on nothing.
    **kwargs : dict
        Further parameters of :class:`skorch.NeuralNet`; ``critic__hidden_dims`` and ``critic__kind`` set the layers
        and the form of the critic, see :meth:`sklearn_mdm.measures.Measure.build_critic`. X is a mapping of arrays,
        (n, d) or (n, T, d), with NaN rows or steps where nothing was observed.

    Attributes
    ----------
    module_, critic_ : torch.nn.Module
        The fusion module, and the critic: only with two or more modalities, and if the measure has one.
    measure_ : Measure
        The dependency measure.
    optimizer_, optimizer_critic_ : torch.optim.Optimizer
        Optimizers of the module and of the critic, where there is one.
    history_ : skorch.history.History
        Per epoch: ``train_loss`` (the objective), ``train_task_loss`` and ``valid_task_loss`` (in the units of the
        targets), ``train_scaled_task_loss`` and ``valid_loss`` (as optimised), ``train_dependency`` (in the unit of
        the measure) and ``terms_skipped`` (steps with too few complete rows).

    References
    ----------
    .. [1] Colombo, Chapuis, Labeau, Clavel, "Improving Multimodal Fusion via Mutual Dependency Maximisation",
       EMNLP 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm import MDMNet
    >>> from sklearn_mdm.fusion import ConcatFusion
    >>> rng = np.random.default_rng(0)
    >>> X = {"audio": rng.normal(size=(64, 3)), "text": rng.normal(size=(64, 5))}
    >>> module = ConcatFusion().build({"audio": (3,), "text": (5,)}, n_outputs=1)
    >>> net = MDMNet(module, lam=0.1, max_epochs=2, verbose=0).fit(X, X["audio"][:, :1])
    >>> net.predict(X).shape, len(net.history[:, "train_dependency"])
    ((64, 1), 2)
    """

    draws_of_step_: DrawsOfStep | None = None  # while a graph of the step is made
    graphs_: StepGraphs | None = None
    share_ = (0, 1)  # of every batch, which this process trains on: which, of how many

    def __init__(
        self,
        module: Any,
        criterion: Any = torch.nn.MSELoss,
        *,
        measure: Any = "kl",
        lam: float = 0.03,
        unroll: int = 1,
        n_negatives: int = 1,
        modality_dropout: float = 0.0,
        agreement: float = 0.0,
        accumulate: int = 1,
        optimizer: Any = torch.optim.Adam,
        optimizer_critic: Any = torch.optim.Adam,
        lr: float = 1e-3,
        random_state: int | None = 0,
        dtype: torch.dtype = torch.float32,
        iterator_train: Any = BatchIterator,
        iterator_valid: Any = BatchIterator,
        train_split: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            module,
            criterion,
            optimizer=optimizer,
            lr=lr,
            dataset=kwargs.pop("dataset", MaskedDataset),  # clone passes it on
            iterator_train=iterator_train,
            iterator_valid=iterator_valid,
            train_split=train_split,
            **kwargs,
        )
        self.measure = measure
        self.lam = lam
        self.unroll = unroll
        self.n_negatives = n_negatives
        self.modality_dropout = modality_dropout
        self.agreement = agreement
        self.accumulate = accumulate
        self.optimizer_critic = optimizer_critic
        self.random_state = random_state
        self.dtype = dtype

    # -- construction ------------------------------------------------------------------------------------------------

    def initialize_module(self) -> MDMNet:
        """Build the fusion module and the critic of the measure, if it has one."""
        super().initialize_module()
        self.module_.to(self.dtype)
        self.mean_probability_: Tensor | None = None
        self.measure_ = resolve_component("measure", self.measure, MEASURES, "value")
        if len(self.fusion_module_.code_dims) == 1 or self.measure_.needs_y:
            for name in {"critic_", "optimizer_critic_"} & vars(self).keys():  # of an earlier measure
                delattr(self, name)
        else:
            # The module's dropout must not depend on which critic was built.
            with drawing_from(RandomStream.fork()):
                dims = list(self.fusion_module_.code_dims.values())
                critic = build_checked_critic(self.measure_, dims, **self.get_params_for("critic"))
            self.critic_ = critic.to(self.dtype)
        return self

    def initialize_optimizer(self, triggered_directly: Any = None) -> MDMNet:
        """Give the module and the critic an optimizer each."""
        args, kwargs = self.get_params_for_optimizer("optimizer", self.module_.named_parameters())
        self.optimizer_ = self.optimizer(*args, **kwargs)
        if hasattr(self, "critic_"):
            args, kwargs = self.get_params_for_optimizer("optimizer_critic", self.critic_.named_parameters())
            self.optimizer_critic_ = self.optimizer_critic(*args, **kwargs)
        return self

    def initialize_callbacks(self) -> MDMNet:
        """Put what stores the state of all callbacks behind them."""
        super().initialize_callbacks()
        self.callbacks_.sort(key=lambda named: isinstance(named[1], ResumableCheckpoint))
        return self

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Wrap X in a MaskedDataset of the net's dtype."""
        if self.dataset is not MaskedDataset:
            raise TypeError(f"MDMNet wraps X in a MaskedDataset, got dataset={self.dataset!r}. Leave it out.")
        if not isinstance(X, torch.utils.data.Dataset):
            return MaskedDataset(X, y, dtype=self.dtype)
        if not isinstance(_rows_of(X)[0], MaskedDataset):
            raise TypeError(f"MDMNet reads a mapping of arrays, a MaskedDataset or a Subset of one, got {type(X)!r}.")
        return X

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return the batches of a dataset, shuffled in training by the net's own generator."""
        name = "iterator_train" if training else "iterator_valid"
        cls, options = getattr(self, name), self.get_params_for(name)
        size = options.pop("batch_size", self.batch_size)
        batches = BatchIterator(
            dataset,
            len(dataset) if size == -1 else size,
            shuffle=options.pop("shuffle", training),
            generator=self.generators_["batches"] if training else None,
            fewest=fewest_batches(dataset) if training else 1,
            share=self.share_ if training else (0, 1),
        )
        if cls is BatchIterator:
            return batches
        # A DataLoader, for its workers: it asks for whole batches of rows, and has nothing to collate.
        return cls(dataset, batch_sampler=batches.rows, collate_fn=_as_it_is, **options)

    @property
    def fusion_module_(self) -> Any:
        """The fusion module itself, where something wraps it, such as torch's DistributedDataParallel."""
        return self.module_ if hasattr(self.module_, "code_dims") else self.module_.module

    # -- the course of training --------------------------------------------------------------------------------------

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Open the random streams."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self.seed_ = int(np.random.SeedSequence(self.random_state).generate_state(1)[0])
        self.generators_ = {stream: torch.Generator() for stream in (*STREAMS, *UNLABELLED_STREAMS)}
        self.mean_probability_ = None if self.mean_probability_ is None else self.mean_probability_.clone()
        self.pool_of_: Any = None
        self.pool_: MaskedDataset | None = None
        # What the module and the critic themselves draw, such as dropout.
        entropy = self.seed_ if self.random_state is None else self.random_state
        self.draws_ = {"module": RandomStream.of(entropy, 1 + len(self.history))}
        parts = [getattr(self, name + "_") for name in (*self._modules, *self._criteria) if hasattr(self, name + "_")]
        self.intercept_ = may_draw(*parts, self.measure_)
        self.stopped_, self.n_updates_ = False, 0
        self.unread_: list[Reading] = []
        self.graphs_ = StepGraphs.of(self)
        self.critic_parameters_ = list(self.critic_.parameters()) if hasattr(self, "critic_") else []

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Tell the callbacks; remember that one stopped training, which skorch does not tell from Ctrl-C."""
        if method_name == "on_train_begin":
            self.begun_at_, self.completed_, self.failure_told_ = len(self.history), False, False
        self.notifying_ = True
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt:
            self.stopped_ = not self.__dict__.pop("cut_short_", False)
            raise
        finally:
            self.notifying_ = False

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Reseed the streams from the epoch's number, so that a resumed training repeats an uninterrupted one."""
        super().on_epoch_begin(net, dataset_train=dataset_train, dataset_valid=dataset_valid, **kwargs)
        streams = (*STREAMS, "critic", *UNLABELLED_STREAMS, "taught", "corruption")
        seeds = np.random.SeedSequence([self.seed_, len(self.history)]).generate_state(len(streams))
        for stream, seed in zip(streams, seeds.tolist(), strict=True):
            if stream in OWN_DRAWS:
                self.draws_.setdefault(stream, RandomStream(seed)).reseed(seed)
            else:
                self.generators_[stream].manual_seed(seed)
        self._open_pool(dataset_train)
        self._open_term(dataset_train)
        self.totals_ = {"train": _Totals(), "valid": _Totals()}
        self.terms_skipped_ = 0
        self.pending_ = 0

    def on_epoch_end(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Record both terms of the loss."""
        super().on_epoch_end(net, dataset_train=dataset_train, dataset_valid=dataset_valid, **kwargs)
        train, valid = self.totals_["train"], self.totals_["valid"]
        self.history.record("train_task_loss", train.mean("logged"))
        self.history.record("train_scaled_task_loss", train.mean("task"))
        if self.term_active_:
            self.history.record("train_dependency", train.mean("dependency"))
            self.history.record("terms_skipped", self.terms_skipped_)
        if valid:
            self.history.record("valid_task_loss", valid.mean("logged"))

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Let go of the training data."""
        super().on_train_end(net, X=X, y=y, **kwargs)
        self.end_training()

    def end_training(self) -> None:
        """Let go of everything that only training needs; for a training that an error ended, too."""
        self._learn_critic(True)
        if self.mean_probability_ is not None:
            self.mean_probability_ = self.mean_probability_.cpu()  # it is pickled
        for name in OF_TRAINING:
            self.__dict__.pop(name, None)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in OF_TRAINING}

    def _to_save(self) -> dict[str, Any]:
        """What a file of :mod:`..persistence` keeps of the net: no moments of optimizers, which are twice the weights.

        Callbacks belong to one fit; the next one brings its own.
        """
        left_out = ("callbacks_", "parts_", "virtual_params_", *(f"{name}_" for name in self._optimizers))
        kept = [name for name in vars(self) if name not in left_out and not name.startswith("callbacks__")]
        state = {name: getattr(self, name) for name in kept}
        return state if isinstance(self.callbacks, str) else {**state, "callbacks": []}

    def _loaded(self, place: Callable[[str], str]) -> None:
        """Move to the device that ``place`` says, once all attributes are there; optimizers are made when needed."""
        if not isinstance(self.device, (str, torch.device)):
            raise TypeError("a device that is none")
        self.device: Any = place(str(self.device))
        for name in (*self._modules, *self._criteria):
            module = vars(self).get(name + "_")
            if isinstance(module, nn.Module):
                if not all(isinstance(part, nn.Module) for part in module.modules()):
                    raise TypeError("a part of a module is none")
                for part in module.modules():  # each once, however many hold it
                    part._apply(lambda tensor: tensor.to(self.device), recurse=False)
        self.callbacks_: list[Any] = []
        self.virtual_params_: dict[str, Any] = {}

    def _open_term(self, dataset: Any) -> None:
        """Decide whether there is a dependency term, and open the stream of the critic's batches."""
        self.term_active_, self.critic_rows_ = False, None
        if not self._wants_critic() or len(self.fusion_module_.code_dims) == 1:
            return
        data, rows = _rows_of(dataset)
        if self.pool_ is not None and not self.measure_.needs_y:
            data, rows = self.pool_, torch.arange(len(self.pool_))
        if data.complete is not None:
            rows = rows[data.complete[rows]]
        self.term_active_ = len(rows) >= self._fewest_rows * self.share_[1]
        if self.term_active_ and hasattr(self, "critic_"):
            self.critic_data_, self.critic_rows_ = data, self._shuffled(rows, "critic_batches")

    def _open_pool(self, dataset: Any) -> None:
        """Gather what needs no target, from all samples, if there are any without one."""
        data, rows = _rows_of(dataset)
        if data.unlabelled is None or not self._wants_pool() or len(self.fusion_module_.code_dims) == 1:
            self.pool_of_ = self.pool_ = None
            return
        if self.pool_of_ is not dataset:
            self.pool_of_, self.pool_ = dataset, data.with_unlabelled(rows)
            self.y_ = data.y[rows]
            self.shares_: Tensor | None = None
        assert self.pool_ is not None
        self.pool_rows_ = self._shuffled(torch.arange(len(self.pool_)), "unlabelled")

    def _wants_critic(self) -> bool:
        return bool(self.lam)

    def _wants_pool(self) -> bool:
        return bool(self.agreement) or (self._wants_critic() and not self.measure_.needs_y)

    def _shuffled(self, rows: Tensor, stream: str) -> Iterator[Tensor]:
        """Batches of these rows without end, reshuffled after every pass."""
        size, generator = self._size_among(len(rows)), self.generators_[stream]
        while True:
            order = rows[torch.randperm(len(rows), generator=generator)]
            # Whole batches only: a remainder would be a noisier objective at the same step size.
            for start in range(0, len(rows) - size + 1, size):
                yield share_of(order[start : start + size], self.share_)

    def _size_among(self, n: int) -> int:
        """Rows of a batch that needs no target, of n."""
        return n if self.batch_size == -1 else min(max(self.batch_size, self._fewest_rows * self.share_[1]), n)

    @property
    def _fewest_rows(self) -> int:
        """Fewest rows that make negatives which say anything."""
        return fewest_rows(len(self.fusion_module_.code_dims))

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> MDMNet:
        """Train, whatever the settings of torch that the caller made; see :meth:`skorch.NeuralNet.fit_loop`.

        Epochs that a callback loaded when training began, such as skorch's ``LoadInitState``, count.
        """
        epochs = self.max_epochs if epochs is None else epochs
        with isolated():
            super().fit_loop(X, y, max(0, epochs - max(0, len(self.history) - self.begun_at_)), **kwargs)
        self.completed_ = True
        return self

    def run_single_epoch(self, iterator: Any, training: bool, *args: Any, **kwargs: Any) -> None:
        """Go through the batches; gradients that are left over at the end make an update too."""
        stored = is_stored(getattr(_rows_of(getattr(iterator, "dataset", ()))[0], "X", None))
        with (
            threads_for([self.fusion_module_], self._steps_per_batch(iterator)),
            read_ahead(iterator, self._prepare, stored=stored) as batches,
        ):
            if batches is None or self.graphs_ is None:
                super().run_single_epoch(batches, training, *args, **kwargs)
            else:
                self.graphs_.run_epoch(batches, training, *args, **kwargs)
            if training and self.pending_:
                self._update_module(None)
        self._read()

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Split into training and validation data; on a GPU they are moved there as a whole, if they fit."""
        train, valid = super().get_split_datasets(X, y, **fit_params)
        kept: dict[int, Any] = {}  # what both have in common, once
        return resident(train, self, kept), resident(valid, self, kept)

    def _prepare(self, batch: Any) -> Any:
        """Read what is still on disk of a batch, unless members that are computed one by one do so themselves."""
        if getattr(self, "stacked_", False) and hasattr(batch[0], "prepare"):
            batch[0].prepare()
        return batch

    def _steps_per_batch(self, iterator: Any) -> int:
        """Rows of a batch, times the steps of its longest sequence."""
        dataset = getattr(iterator, "dataset", ())
        size = len(dataset) if self.batch_size == -1 else self.batch_size
        sequences = getattr(_rows_of(dataset)[0], "X", {})
        return size * max((x.shape[1] for x in sequences.values() if x.dim() == 3), default=1)

    # -- saving and loading of parts -----------------------------------------------------------------------------------

    def save_params(self, *args: Any, **kwargs: Any) -> None:
        """Save parts of the net; see :meth:`skorch.NeuralNet.save_params`.

        Where a callback cannot, such as skorch's ``Checkpoint``, which is silent, a warning says so, once a training.
        """
        try:
            super().save_params(*args, **kwargs)
        except Exception as error:
            if getattr(self, "notifying_", False) and not self.failure_told_:
                self.failure_told_ = True
                paths = [str(value) for value in (*args, *kwargs.values()) if isinstance(value, str | PathLike)]
                warnings.warn(
                    f"a checkpoint could not be written to {', '.join(paths)} ({error}); training goes on, and of "
                    "further failures nothing is said.",
                    CheckpointWarning,
                    stacklevel=2,
                )
            raise

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load parts of the net; see :meth:`skorch.NeuralNet.load_params`."""
        super().load_params(*args, **kwargs)
        for k, member in enumerate(getattr(self, "members_", ())):  # whose own are not saved
            member.history = history_of_member(self.history, member.history, k)

    # -- steps -------------------------------------------------------------------------------------------------------

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """``unroll`` critic updates, then one model update."""
        self._set_training(True)
        if self.critic_rows_ is not None:
            self._learn_critic(True)
            for _ in range(self.unroll):
                self._critic_step(self.critic_data_.batch(self._drawn(self._next_critic_rows)))
            self._learn_critic(False)  # the model step passes gradients through T, not to it
        if not self.pending_:
            self._zero_grad_optimizer(set_to_none=True)
        step = self.train_step_single(batch, **fit_params)
        self.pending_ += 1
        if self.pending_ >= self.accumulate:
            self._update_module(batch)
        return step

    def _next_critic_rows(self) -> Tensor:
        assert self.critic_rows_ is not None
        return next(self.critic_rows_)

    def _next_pool_rows(self) -> Tensor:
        return next(self.pool_rows_)

    def _zero_grad_optimizer(self, set_to_none: bool | None = None) -> None:
        self.optimizer_.zero_grad(set_to_none=bool(set_to_none))  # the critic's is for _critic_step

    def _step_optimizer(self, step_fn: Any) -> None:
        self.optimizer_.step(step_fn)

    def _learn_critic(self, learn: bool) -> None:
        for parameter in getattr(self, "critic_parameters_", ()):
            parameter.requires_grad = learn

    def _drawing(self, stream: str) -> AbstractContextManager[None]:
        return drawing_from(self.draws_[stream], intercept=self.intercept_)

    def _critic_step(self, batch: Batch) -> None:
        self.optimizer_critic_.zero_grad(set_to_none=True)
        self._critic_gradient(batch)
        self.optimizer_critic_.step()

    def _critic_gradient(self, batch: Batch) -> None:
        batch = self._on_device(batch)
        with self._drawing("critic"):
            if self.pool_ is not None:
                batch = corrupted(batch)
            with torch.no_grad():
                z = self.fusion_module_.represent(batch.X, batch.mask)
            objective = self._critic_objective(list(z.values()))
        (-objective).backward()

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Task loss minus ``lam`` times dependency of a batch, and its gradient."""
        Xi, yi = unpack_data(batch)
        Xi = self._on_device(Xi)
        mask = Xi.mask
        if self.modality_dropout:
            mask = self._without_some(Xi, self.modality_dropout, "modality_dropout")
        with self._drawing("module"):
            output = self.module_(Xi.X, mask)
            loss = task = self.get_loss(output.prediction, yi, X=Xi, training=True)
        pool = None
        if self.pool_ is not None:
            pool = self._on_device(self.pool_.batch(self._drawn(self._next_pool_rows)))
        if pool is not None:
            with self._drawing("corruption"):
                spoiled = corrupted(pool)
        if pool is not None and self.agreement:
            loss = self._agreed(loss, Xi, yi, pool, spoiled)
        if output.penalty is not None:
            loss = loss + output.penalty
        dependency = None
        if self.term_active_:
            with self._drawing("critic"):
                if pool is None or self.measure_.needs_y:
                    # The term reads what was observed, also where the prediction has to do without.
                    dependency = self._dependency(Xi, yi, output if mask is Xi.mask else None)
                else:
                    dependency = self._dependency(spoiled, None, None)
            if dependency is not None:
                loss = loss - self.lam * dependency
        loss.backward()
        logged = self._logged(output.prediction, yi, Xi)
        self._note(partial(self._record, len(Xi)), loss, task, logged, dependency)
        return {"loss": loss, "y_pred": output.prediction}

    def _note(self, record: Callable[..., None], *values: Tensor | None) -> None:
        """Record values of a step: on a GPU once the epoch is over, for to look at one is to wait for all before it."""
        if str(self.device) == "cpu":
            record(*(None if value is None else value.tolist() for value in values))
        else:
            self.unread_.append(Reading.of(record, values))

    def _read(self) -> None:
        """Record what was put off."""
        unread = list(self.unread_)
        self.unread_.clear()
        read(unread)

    def _update_module(self, batch: Any) -> None:
        """One update on the mean gradient of the batches since the last one."""
        if self.pending_ > 1:
            for parameter in self.module_.parameters():
                if parameter.grad is not None:
                    parameter.grad /= self.pending_
        self.pending_ = 0
        self.notify(
            "on_grad_computed",
            named_parameters=TeeGenerator(self.module_.named_parameters()),
            batch=batch,
            training=True,
        )
        self._step_optimizer(None)
        self.n_updates_ += 1

    def _negatives(self, n: int) -> Tensor:
        """Row of each modality in the negatives of n rows."""
        m, k = len(self.fusion_module_.code_dims), self.n_negatives
        return placed(self._drawn(lambda: offset_indices(n, m, k, self.generators_["negatives"])), self.device)

    def _constant(self, values: Sequence[float], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return a tensor (n_values,) beside another, of its type or another one, that is not to be written to.

        It is made once a training, so that graphs of steps find it where it was.
        """
        dtype = like.dtype if dtype is None else dtype
        made: dict[Any, Tensor] = self.__dict__.setdefault("constants_", {})
        key = tuple(values), dtype, like.device
        if key not in made:
            made[key] = placed(torch.tensor(key[0], dtype=dtype), like.device)
        return made[key]

    def _drawn(self, draw: Callable[[], Tensor]) -> Tensor:
        """What is drawn for a step by the generators on the CPU. A graph of the step keeps a place for it."""
        return draw() if self.draws_of_step_ is None else self.draws_of_step_.take(draw)

    def _critic_objective(self, z: list[Tensor]) -> Tensor:
        return self.measure_.critic_objective(self.critic_, z, self._negatives(len(z[0])))

    def _value(self, z: list[Tensor]) -> Tensor:
        return self.measure_.value(self.critic_, z, self._negatives(len(z[0])))

    def _agreed(self, task: Tensor, batch: Batch, y: Tensor, pool: Batch, spoiled: Batch) -> Tensor:
        """Task loss with all and with some modalities, and the agreement between them where no target is needed."""
        with torch.no_grad():
            self.module_.eval()
            teacher = self._aligned(self.module_(pool.X, pool.mask).prediction)
            self.module_.train()
        with self._drawing("taught"):
            masks = [self._without_some(part, 1 - KEPT, "agreement") for part in (batch, spoiled)]
            X, mask = one_below_other((batch.X, spoiled.X)), one_below_other(masks)
            some, taught = self.module_(X, mask).prediction.split([len(batch), len(spoiled)])
            task = (task + self.get_loss(some, y, X=batch, training=True)) / 2
        return task + self.agreement * agreement_losses(self.criterion_, taught, teacher, y).mean()

    def _aligned(self, teacher: Tensor) -> Tensor:
        """Predictions on samples without a target, of classes as frequent as those with one."""
        if not are_classes(self.y_, teacher):
            return teacher
        if self.shares_ is None:
            self.shares_ = class_shares(self.y_, teacher.shape[1])
        teacher, means = aligned(teacher, self.mean_probability_, self.shares_)
        if self.mean_probability_ is None or self.mean_probability_.device != means.device:
            self.mean_probability_ = means
        else:
            self.mean_probability_.copy_(means)  # a graph of the step reads it where it is
        return teacher

    def _dependency(self, batch: Batch, y: Tensor | None, output: Any) -> Tensor | None:
        """The dependency term of a batch, with its output if there is one; None with too few complete rows."""
        n_rows = len(batch) if batch.complete is None else int(batch.complete.sum())
        if n_rows < self._fewest_rows:
            self.terms_skipped_ += 1
            return None
        if self.measure_.needs_y:
            assert y is not None
            return self._value_of_logits(batch, y, None if output is None else output.prediction)
        z = self.fusion_module_.represent(batch.X, batch.mask) if output is None else output.representations
        if batch.complete is None:
            return self._value(list(z.values()))
        rows = placed(batch.complete.nonzero().squeeze(1), self.device)
        return self._value([part.index_select(0, rows) for part in z.values()])

    def _value_of_logits(self, batch: Batch, y: Tensor, logits: Tensor | None) -> Tensor:
        """The term of a measure that reads labels; ``logits`` are None where a modality was dropped from them."""
        if batch.complete is None:
            rows = torch.arange(len(batch), device=self.device)
        else:
            rows = placed(batch.complete.nonzero().squeeze(1), self.device)
        pairing = rows[self._negatives(len(rows))]
        joint = self._logits(batch, rows.expand(len(pairing), -1)) if logits is None else logits[rows]
        return self.measure_.logit_value(joint, placed(y, self.device)[rows], self._logits(batch, pairing))

    def _logits(self, batch: Batch, index: Tensor) -> Tensor:
        """Predictions on samples whose modalities come from different rows of the batch."""
        X = {name: x.index_select(0, rows) for (name, x), rows in zip(batch.X.items(), index, strict=True)}
        mask = batch.mask
        if mask is not None:
            mask = {name: mask[name].index_select(0, rows) for name, rows in zip(batch.X, index, strict=True)}
        return self.module_(X, mask).prediction

    def _without_some(self, batch: Batch, rate: float, stream: str) -> dict[Any, Tensor]:
        """Masks of a batch without the modalities that are dropped."""
        return without_some(batch, self._drawn(partial(self._noise, len(batch), stream)), rate)

    def _noise(self, n: int, stream: str) -> Tensor:
        """Numbers between 0 and 1 that say which modalities are dropped from n rows: (n_modalities, n)."""
        size = len(self.fusion_module_.code_dims), n
        return torch.rand(size, dtype=torch.float32, generator=self.generators_[stream])

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Task loss of a validation batch; stopping follows it, not the composite."""
        Xi, yi = unpack_data(batch)
        Xi = self._on_device(Xi)
        self._set_training(False)
        with torch.no_grad():
            output = self.module_(Xi.X, Xi.mask)
            loss = self.get_loss(output.prediction, yi, X=Xi, training=False)
            logged = self._logged(output.prediction, yi, Xi)
        self._note(partial(self._record_validation, len(Xi)), loss, logged)
        return {"loss": loss, "y_pred": output.prediction}

    def _record_validation(self, n: int, task: float, logged: float | None) -> None:
        logged = self._in_units(task, logged)
        if not math.isfinite(logged):
            raise FloatingPointError(
                f"non-finite task loss ({logged}) on the validation samples in epoch {len(self.history)}. Look for "
                "extreme values in them, or try a smaller lr."
            )
        self.totals_["valid"].add(n, task=task, logged=logged)

    def get_loss(self, y_pred: Tensor, y_true: Any, X: Any = None, training: bool = False) -> Tensor:
        """Task loss, averaged over samples by their weight and over outputs evenly.

        Raises
        ------
        ValueError
            If targets and predictions differ in shape, where torch would broadcast.
        """
        y_true = placed(y_true, y_pred.device)
        if y_pred.dim() == 2 and y_pred.shape[1] == 1 and not y_true.is_floating_point():
            y_true = y_true.to(y_pred.dtype)  # a number, as one column cannot be class scores
        if y_true.is_floating_point():
            if y_true.dim() == 1 and y_pred.shape == (len(y_true), 1):
                y_true = y_true[:, None]
            if y_true.shape != y_pred.shape:
                raise ValueError(
                    f"targets have shape {tuple(y_true.shape)} and predictions {tuple(y_pred.shape)}: the module must "
                    "return one column per target."
                )
        return _reduce(self.criterion_(y_pred, y_true), X)

    def _logged(self, y_pred: Tensor, y_true: Tensor, X: Batch) -> Tensor | None:
        """Task loss in the units of the original targets, where they have several; see :meth:`_in_units`."""
        scale = getattr(self.criterion_, "log_scale", (1.0,))
        if len(scale) == 1:
            return None
        with torch.no_grad():
            losses = self.criterion_(y_pred, placed(y_true, y_pred.device))
            return _reduce(losses * self._constant(scale, losses), X)

    def _in_units(self, task: float, logged: float | None) -> float:
        """The same where all targets have one unit, to which the criterion says how to get back."""
        return task * getattr(self.criterion_, "log_scale", (1.0,))[0] if logged is None else logged

    def _record(
        self, n: int, loss: float, task: float, logged: float | None = None, dependency: float | None = None
    ) -> None:
        if not math.isfinite(loss):
            named = {"task loss": task, "dependency term": dependency or 0.0}
            culprits = [f"{name} ({value})" for name, value in named.items() if not math.isfinite(value)]
            raise FloatingPointError(
                f"non-finite {' and '.join(culprits) or 'penalty of the fusion module'} in epoch "
                f"{len(self.history)}. Try a smaller lr"
                f"{', critic_lr or lam' if dependency is not None else ''}, or look for extreme values in X and y."
            )
        terms = {} if dependency is None else {"dependency": dependency}
        self.totals_["train"].add(n, loss=loss, task=task, logged=self._in_units(task, logged), **terms)

    # -- inference ---------------------------------------------------------------------------------------------------

    def _on_device(self, batch: Any) -> Any:
        return batch if str(self.device) == "cpu" else batch.to(self.device)

    def infer(self, x: Batch, **fit_params: Any) -> Any:
        """Apply the module to a batch."""
        x = self._on_device(x)
        return self.module_(x.X, x.mask)

    def evaluation_step(self, batch: Any, training: bool = False) -> tuple[Tensor, Tensor]:
        """Return prediction and fused representation of a batch."""
        self.check_is_fitted()
        Xi, _ = unpack_data(batch)
        with torch.set_grad_enabled(training):
            self._set_training(training)
            output = self.infer(Xi)
        return output.prediction, output.fused

    def _set_training(self, training: bool = True) -> None:
        # Walking the module tree costs as much as a small layer, and the mode seldom changes.
        if self.module_.training != training or (hasattr(self, "critic_") and self.critic_.training != training):
            super()._set_training(training)


def _reduce(losses: Tensor, X: Any) -> Tensor:
    """Average losses over outputs evenly, then over samples by their weight."""
    weight = getattr(X, "weight", None)
    if weight is None or losses.dim() == 0:
        return losses.mean()
    return ((losses.flatten(1).mean(1) if losses.dim() > 1 else losses) * weight).mean()


class _Totals:
    """Running means, weighted by the number of rows."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.counts)

    def add(self, n: int, **values: float) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + n * value
            self.counts[name] = self.counts.get(name, 0) + n

    def mean(self, name: str) -> float:
        return self.sums[name] / self.counts[name] if name in self.counts else math.nan


def fewest_batches(dataset: Any) -> int:
    """Fewest batches of an epoch."""
    return 1 if _rows_of(dataset)[0].unlabelled is None else FEWEST_BATCHES


def _as_it_is(batch: Any) -> Any:
    return batch


def _rows_of(dataset: Any) -> tuple[MaskedDataset, Tensor]:
    """Return the MaskedDataset behind a (nested) Subset, and the rows of it that are meant."""
    rows: Tensor | None = None
    while isinstance(dataset, torch.utils.data.Subset):
        indices = torch.as_tensor(dataset.indices)
        rows = indices if rows is None else indices[rows]
        dataset = dataset.dataset
    return dataset, torch.arange(len(dataset)) if rows is None else rows
