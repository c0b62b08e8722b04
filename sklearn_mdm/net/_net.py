"""MDMNet: Algorithm 1 of the paper (critic steps, then a model step) as skorch hooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from skorch.dataset import unpack_data
from skorch.utils import TeeGenerator
from torch import Tensor

from ..critic._negatives import offset_indices
from ..measures import MEASURES
from ..measures._contract import build_checked_critic
from ..utils._parameter_objects import resolve_component
from ..utils._placing import placed
from ..utils._rng import RandomStream, drawing_from, may_draw
from ..utils._splits import fewest_rows
from ..utils._threads import threads_for
from ._agreement import agreed, corrupted, without_some
from ._data import Batch, BatchIterator, MaskedDataset, rows_of, share_of
from ._dependency_term import dependency_of
from ._masked_net import MaskedNet
from ._step_graphs import StepGraphs
from ._stored_data import is_stored, read_ahead
from ._streams import new_generators, reseed
from ._task_loss import averaged, in_units, loss_in_units, matched
from ._totals import Totals, check_step, check_validation

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


class MDMNet(MaskedNet):
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

    graphs_: StepGraphs | None = None

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

    # -- the course of training --------------------------------------------------------------------------------------

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Open the random streams."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self.seed_ = int(np.random.SeedSequence(self.random_state).generate_state(1)[0])
        self.generators_ = new_generators()
        self.mean_probability_ = None if self.mean_probability_ is None else self.mean_probability_.clone()
        self.pool_of_: Any = None
        self.pool_: MaskedDataset | None = None
        # What the module and the critic themselves draw, such as dropout.
        entropy = self.seed_ if self.random_state is None else self.random_state
        self.draws_ = {"module": RandomStream.of(entropy, 1 + len(self.history))}
        parts = [getattr(self, name + "_") for name in (*self._modules, *self._criteria) if hasattr(self, name + "_")]
        self.intercept_ = may_draw(*parts, self.measure_)
        self.stopped_, self.n_updates_ = False, 0
        self.unread_ = []
        self.graphs_ = StepGraphs.of(self)
        self.critic_parameters_ = list(self.critic_.parameters()) if hasattr(self, "critic_") else []

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Reseed the streams from the epoch's number, so that a resumed training repeats an uninterrupted one."""
        super().on_epoch_begin(net, dataset_train=dataset_train, dataset_valid=dataset_valid, **kwargs)
        reseed(self.generators_, self.draws_, self.seed_, len(self.history))
        self._open_pool(dataset_train)
        self._open_term(dataset_train)
        self.totals_ = {"train": Totals(), "valid": Totals()}
        self.terms_skipped_ = self.pending_ = 0

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

    def _open_term(self, dataset: Any) -> None:
        """Decide whether there is a dependency term, and open the stream of the critic's batches."""
        self.term_active_, self.critic_rows_ = False, None
        if not self._wants_critic() or len(self.fusion_module_.code_dims) == 1:
            return
        data, rows = rows_of(dataset)
        if self.pool_ is not None and not self.measure_.needs_y:
            data, rows = self.pool_, torch.arange(len(self.pool_))
        if data.complete is not None:
            rows = rows[data.complete[rows]]
        self.term_active_ = len(rows) >= self._fewest_rows * self.share_[1]
        if self.term_active_ and hasattr(self, "critic_"):
            self.critic_data_, self.critic_rows_ = data, self._shuffled(rows, "critic_batches")

    def _open_pool(self, dataset: Any) -> None:
        """Gather what needs no target, from all samples, if there are any without one."""
        data, rows = rows_of(dataset)
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

    def run_single_epoch(self, iterator: Any, training: bool, *args: Any, **kwargs: Any) -> None:
        """Go through the batches; gradients that are left over at the end make an update too."""
        stored = is_stored(getattr(rows_of(getattr(iterator, "dataset", ()))[0], "X", None))
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
        if self.pool_ is not None:
            pool = self._on_device(self.pool_.batch(self._drawn(self._next_pool_rows)))
            with self._drawing("corruption"):
                spoiled = corrupted(pool)
            if self.agreement:
                loss = agreed(self, loss, Xi, yi, pool, spoiled)
        if output.penalty is not None:
            loss = loss + output.penalty
        dependency = None
        if self.term_active_:
            with self._drawing("critic"):
                if self.pool_ is None or self.measure_.needs_y:
                    # The term reads what was observed, also where the prediction has to do without.
                    dependency = dependency_of(self, Xi, yi, output if mask is Xi.mask else None)
                else:
                    dependency = dependency_of(self, spoiled, None, None)
            if dependency is not None:
                loss = loss - self.lam * dependency
        loss.backward()
        logged = loss_in_units(self, output.prediction, yi, Xi)
        self._note(partial(self._record, len(Xi)), loss, task, logged, dependency)
        return {"loss": loss, "y_pred": output.prediction}

    def _update_module(self, batch: Any) -> None:
        """One update on the mean gradient of the batches since the last one."""
        for parameter in self.module_.parameters() if self.pending_ > 1 else ():
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

    def _critic_objective(self, z: list[Tensor]) -> Tensor:
        return self.measure_.critic_objective(self.critic_, z, self._negatives(len(z[0])))

    def _value(self, z: list[Tensor]) -> Tensor:
        return self.measure_.value(self.critic_, z, self._negatives(len(z[0])))

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
            logged = loss_in_units(self, output.prediction, yi, Xi)
        self._note(partial(self._record_validation, len(Xi)), loss, logged)
        return {"loss": loss, "y_pred": output.prediction}

    def _record_validation(self, n: int, task: float, logged: float | None) -> None:
        logged = in_units(self.criterion_, task, logged)
        check_validation(logged, len(self.history))
        self.totals_["valid"].add(n, task=task, logged=logged)

    def get_loss(self, y_pred: Tensor, y_true: Any, X: Any = None, training: bool = False) -> Tensor:
        """Task loss, averaged over samples by their weight and over outputs evenly.

        Raises
        ------
        ValueError
            If targets and predictions differ in shape, where torch would broadcast.
        """
        return averaged(self.criterion_(y_pred, matched(y_true, y_pred)), X)

    def _record(
        self, n: int, loss: float, task: float, logged: float | None = None, dependency: float | None = None
    ) -> None:
        check_step(loss, task, dependency, len(self.history))
        terms = {} if dependency is None else {"dependency": dependency}
        self.totals_["train"].add(n, loss=loss, task=task, logged=in_units(self.criterion_, task, logged), **terms)

    def _set_training(self, training: bool = True) -> None:
        # Walking the module tree costs as much as a small layer, and the mode seldom changes.
        if self.module_.training != training or (hasattr(self, "critic_") and self.critic_.training != training):
            super()._set_training(training)
