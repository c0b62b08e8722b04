"""CommitteeNet: several members trained side by side, as one net with one optimizer and one history."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from skorch import NeuralNet
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..critic._negatives import stacked_indices
from ..measures._contract import stacks
from ..utils._placing import placed
from ..utils._rng import MemberStreams, RandomStream, drawing_from
from ..utils._stacking import can_stack
from ._agreement import KEPT, agreement_losses, balanced, corrupted, one_below_other, without_some
from ._block import Block
from ._data import Batch, RowBatches, fewest_batches
from ._member import Member, label_of, record_each, record_validation_of_each
from ._member_data import MemberBatch, MemberBatches, MemberDatasets, means_of
from ._member_history import RECORDED, history_of, known_mean
from ._member_optimizer import forget_others, is_elementwise, rows_of
from ._net import OF_TRAINING, MDMNet
from ._step_graphs import StepGraphs
from ._task_loss import log_scale

# Rows of a member that are validated at a time.
VALIDATION_ROWS = 1024
# What only training needs.
_OWN_OF_TRAINING = ("active_", "twins_", "learning_", "batches_of_", "even_pools_", "validated_")
# What is set on the committee, and read by every member.
_FOLLOWED = ("lam", "unroll", "n_negatives", "modality_dropout", "agreement", "batch_size", "device")


class CommitteeNet(MDMNet):
    """An :class:`MDMNet` whose module holds several members: networks of one architecture, each with its own seed.

    A member is what an :class:`MDMNet` of its seed is, trained on its rows; the committee goes through their batches
    side by side. Where modules and measure allow it, all members are computed as one, otherwise one after the other,
    with the same numbers up to rounding. Data are a ``MemberDatasets``, a dataset for each member.

    Parameters
    ----------
    module, criterion, **kwargs
        As of :class:`MDMNet`; ``module`` is called once a member.
    seeds : sequence of int
        ``random_state`` of each member, and the seed of its initial weights.
    combine : callable
        From the modules of the members to the one that predicts, with a list of them as ``members``.
    settings : sequence of dict, default=None
        Parameters in which each member differs from the committee, such as ``{"lam": 0.1}``; None for none.

    Attributes
    ----------
    module_ : nn.Module
        Its ``members`` are the fusion modules.
    members_ : list of MDMNet
        A net for each member, with a ``history`` of its own.
    stacked_ : bool
        Whether members are computed as one.
    """

    module_: Any
    critic_: Any
    history_: Any

    def __init__(
        self,
        module: Any,
        criterion: Any = torch.nn.MSELoss,
        *,
        seeds: Sequence[int],
        combine: Callable[[Sequence[nn.Module]], nn.Module],
        settings: Sequence[Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, criterion, **kwargs)
        self.seeds = seeds
        self.combine = combine
        self.settings = settings

    # -- construction ------------------------------------------------------------------------------------------------

    def initialize_module(self) -> MDMNet:
        """Build every member as a net of its own would be."""
        apart = ("seeds", "combine", "settings", "module", "criterion")
        params = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name not in apart and not name.startswith(("_", "optimizer__", "optimizer_critic__"))
        }
        params.update(callbacks="disable", verbose=0)
        self.members_ = []
        for seed in self.seeds:
            params["random_state"] = seed
            with drawing_from(RandomStream.of(seed, 0)):
                self.members_.append(Member(self.module, self.criterion, **params).initialize())
        self.module_ = self.combine([member.fusion_module_ for member in self.members_])
        self.measure_ = self.members_[0].measure_
        for name in ("critic_", "parts_"):
            self.__dict__.pop(name, None)
        if hasattr(self.members_[0], "critic_"):
            self.critic_ = nn.ModuleList([member.critic_ for member in self.members_])
        return self

    def initialize_optimizer(self, triggered_directly: Any = None) -> MDMNet:
        """Give all members one optimizer, and all critics another."""
        first, critic = self.members_[0], getattr(self.members_[0], "critic_", None)
        self.stacked_ = (
            can_stack(first.fusion_module_)
            and is_elementwise(self.optimizer)
            and is_elementwise(self.optimizer_critic)
            and not self.get_params_for("optimizer").get("param_groups")
            and not first.measure_.needs_y
            and (critic is None or (can_stack(critic) and stacks(first.measure_)))
        )
        self.optimizer_ = self._optimizer_of("optimizer", self.module_.members)
        if critic is not None:
            self.optimizer_critic_ = self._optimizer_of("optimizer_critic", self.critic_)
        return self

    def _optimizer_of(self, name: str, modules: Sequence[nn.Module]) -> torch.optim.Optimizer:
        if self.stacked_:
            like = next(modules[0].parameters()).detach()
            named = [(str(k), nn.Parameter(like.new_empty(0))) for k in range(len(modules))]
        else:
            named = [pair for module in modules for pair in module.named_parameters()]
        args, kwargs = self.get_params_for_optimizer(name, named)
        return getattr(self, name)(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "parts_"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for k, member in enumerate(getattr(self, "members_", [])):
            member.module_, member.criterion_, member.device = self.module_.members[k], self.criterion_, self.device
            if hasattr(self, "critic_"):
                member.critic_ = self.critic_[k]

    def part(self, members: range) -> Any:
        """Return what can be applied like this net, and is of these members alone."""
        parts = self.__dict__.setdefault("parts_", {})
        if members not in parts:  # kept, as copies in double precision are
            parts[members] = self.combine([self.module_.members[k] for k in members])
        # Training since then has set the mode of the members, which they have in common, and not that of the part.
        parts[members].training = any(member.training for member in parts[members].members)
        return SimpleNamespace(fusion_module_=parts[members], dtype=self.dtype, device=self.device)

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """Take datasets of members as they are."""
        return X if isinstance(X, MemberDatasets) else super().get_dataset(X, y)

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return the batches of all members side by side."""
        if not isinstance(dataset, MemberDatasets):
            return super().get_iterator(dataset, training)
        iterators = []
        for member, own in zip(self.members_, dataset.datasets, strict=True):
            size = self.batch_size if training else max(self.batch_size, VALIDATION_ROWS)
            size = len(own) if self.batch_size == -1 else size
            generator = member.generators_["batches"] if training else None
            fewest = fewest_batches(own) if training else 1
            iterators.append(RowBatches(len(own), size, training, generator, fewest))
        return MemberBatches(dataset, self.active_, iterators)

    # -- the course of training --------------------------------------------------------------------------------------

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Open the random streams of the members, and move their parameters together."""
        NeuralNet.on_train_begin(self, net, X=X, y=y, **kwargs)
        self.stopped_, self.n_updates_, self.critic_parameters_ = False, 0, []
        self.unread_, self.graphs_ = [], StepGraphs.of(self)
        self.active_ = list(range(len(self.members_)))
        for k, member in enumerate(self.members_):
            own = self.settings[k] if self.settings else {}
            for name in _FOLLOWED:
                setattr(member, name, own.get(name, getattr(self, name)))
            member.label = label_of(own, self.settings or ())
            member.on_train_begin(member)
            member.unread_ = self.unread_
        if self.stacked_:
            self.blocks_ = {"module": Block(list(self.module_.members), rows_of(self.optimizer_))}
            if hasattr(self, "critic_"):
                self.blocks_["critic"] = Block(list(self.critic_), rows_of(self.optimizer_critic_))
        self.twins_: dict[str, Any] = {}

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Begin an epoch of every member that has not stopped."""
        NeuralNet.on_epoch_begin(self, net, dataset_train=dataset_train, dataset_valid=dataset_valid, **kwargs)
        active = [self.members_[k] for k in self.active_]
        rides_along = self.stacked_ and any(member.lam for member in active)
        draws_along = self.stacked_ and any(member.agreement for member in active)
        for k, member in zip(self.active_, active, strict=True):
            member.rides_along, member.draws_along = rides_along, draws_along
            member.on_epoch_begin(member, dataset_train=dataset_train.datasets[k])
        self.term_active_ = any(member.term_active_ for member in active)
        self.even_pools_ = len({m._size_among(len(m.pool_)) for m in active if m.pool_ is not None}) <= 1
        self.pending_ = 0
        self.batches_of_ = dict.fromkeys(self.active_, 0)
        self.validated_: dict[int, list[tuple[Tensor, Tensor]]] = {k: [] for k in self.active_}
        if self.stacked_ and (not self.twins_ or self.blocks_["module"].packed != self.active_):
            self.twins_ = {name: block.pack(self.active_) for name, block in self.blocks_.items()}
            self.learning_ = list(self.twins_["critic"].parameters()) if "critic" in self.twins_ else []

    def on_epoch_end(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Record means over the members of this epoch, and what each of them has."""
        NeuralNet.on_epoch_end(self, net, dataset_train=dataset_train, dataset_valid=dataset_valid, **kwargs)
        for k in self.active_:
            self.members_[k].on_epoch_end(self.members_[k])
        last = {k: self.members_[k].history[-1] for k in self.active_}
        for key in RECORDED:
            if any(key in row for row in last.values()):
                values = [last[k].get(key, math.nan) if k in last else math.nan for k in range(len(self.members_))]
                self.history.record(key, known_mean(values))
                self.history.record(f"{key}_of_members", values)
        if self.term_active_:
            self.history.record("terms_skipped", sum(row.get("terms_skipped", 0) for row in last.values()))

    def retire(self, member: int) -> None:
        """Train this member no longer."""
        self.active_.remove(member)

    def keep(self, members: Sequence[int]) -> None:
        """Go on with these members alone, whose settings are the same, as if there had never been any others."""
        parts = {"optimizer_": self.module_.members, "optimizer_critic_": getattr(self, "critic_", None)}
        for name, modules in parts.items():
            if modules is not None:
                optimizer: torch.optim.Optimizer = getattr(self, name)
                rows = (
                    [[row] for row in rows_of(optimizer)] if self.stacked_ else [list(m.parameters()) for m in modules]
                )
                forget_others(optimizer, {id(parameter) for k in members for parameter in rows[k]})
        self.members_ = [self.members_[k] for k in members]
        self.module_ = self.combine([self.module_.members[k] for k in members])
        if hasattr(self, "critic_"):
            self.critic_ = nn.ModuleList([self.critic_[k] for k in members])
        self.seeds = [self.seeds[k] for k in members]
        for name, value in (self.settings[members[0]] if self.settings else {}).items():
            setattr(self, name, value)
        self.settings = None
        self.__dict__.pop("parts_", None)
        self.history_ = history_of(self.history_, self.members_, members)

    def end_training(self) -> None:
        """Let go of everything that only training needs; for a training that an error ended, too."""
        for member in self.members_:
            member.end_training()
        for block in self.__dict__.pop("blocks_", {}).values():
            block.release()
        for name in (*OF_TRAINING, *_OWN_OF_TRAINING):
            self.__dict__.pop(name, None)

    # -- steps -------------------------------------------------------------------------------------------------------

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """``unroll`` updates of the critics, then one update of the module, for every member that has a batch."""
        rows: MemberBatch = batch[0]
        # What is drawn for padding would be missing elsewhere, and rows without a target are mixed.
        even = self.even_pools_ and (rows.even or not self.members_[0].intercept_)
        whole = self.stacked_ and rows.members == self.active_ and even
        self._set_mode(True, stacked=whole)
        members = [self.members_[k] for k in rows.members]
        if self.term_active_ and hasattr(self, "critic_"):
            learning = [k for k, member in zip(rows.members, members, strict=True) if member.critic_rows_ is not None]
            self._learn_critic(True)
            for _ in range(self.unroll):
                self._critics_step(learning)
            self._learn_critic(False)
        if not self.pending_ and not whole:
            self._zero_grad("module", self.optimizer_)
        step = self._stacked_gradient(rows) if whole else self._gradients_one_by_one(rows)
        for k in rows.members:
            self.batches_of_[k] += 1
        self.pending_ += 1
        if self.pending_ >= self.accumulate:
            self._update_module(batch)
        return step

    def _gradients_one_by_one(self, rows: MemberBatch) -> dict[str, Any]:
        steps = [(len(part[0]), self.members_[k].train_step_single(part)) for k, part in rows.each()]
        total = sum(n * step["loss"].detach() for n, step in steps) / len(rows)
        return {"loss": total, "y_pred": torch.cat([step["y_pred"] for _, step in steps])}

    def _update_module(self, batch: Any) -> None:
        """One update on the mean gradient of the batches since the last one, each member's own."""
        for k, n in self.batches_of_.items():
            if n > 1:
                for parameter in self.module_.members[k].parameters():
                    if parameter.grad is not None:
                        parameter.grad /= n
        if self.stacked_:
            self.blocks_["module"].only([k for k, n in self.batches_of_.items() if n])
        self.batches_of_ = dict.fromkeys(self.active_, 0)
        self.pending_ = 1  # divided above
        super()._update_module(batch)

    def _zero_grad(self, name: str, optimizer: torch.optim.Optimizer) -> None:
        if self.stacked_:
            self.blocks_[name].zero_grad()
        else:
            optimizer.zero_grad(set_to_none=True)

    def _learn_critic(self, learn: bool) -> None:
        for member in self.members_:
            member._learn_critic(learn)
        for parameter in getattr(self, "learning_", ()):
            parameter.requires_grad = learn

    def _critics_step(self, learning: list[int]) -> None:
        members = [self.members_[k] for k in learning]
        rows = [self._drawn(member._next_critic_rows) for member in members]
        if self.stacked_ and learning == self.active_ and len(set(map(len, rows))) == 1:
            parts = MemberBatch(learning, [member.critic_data_ for member in members], rows)
            batch = self._on_device(parts.stacked()[0])
            with self._drawing_of("critic", members):
                if members[0].pool_ is not None:
                    batch = corrupted(batch, axis=1)
                with torch.no_grad():
                    z = list(self.twins_["module"].represent(batch.X, batch.mask).values())
                index = self._negatives_of(members, len(rows[0]))
                objective = self.measure_.critic_objective(self.twins_["critic"], z, index)
            (-objective.sum()).backward()
            self.blocks_["critic"].collect(replace=True)
        else:
            self._zero_grad("critic", self.optimizer_critic_)
            for member, part in zip(members, rows, strict=True):
                member._critic_gradient(member.critic_data_.batch(part))
        if self.stacked_:
            self.blocks_["critic"].only(learning)
        self.optimizer_critic_.step()

    def _drawing_of(self, stream: str, members: Sequence[MDMNet]) -> AbstractContextManager[None]:
        # What is stacked asks for its numbers.
        return drawing_from(MemberStreams([member.draws_[stream] for member in members]), intercept=False)

    def _negatives_of(self, members: Sequence[MDMNet], n: int) -> Tensor:
        m, k = len(self.fusion_module_.code_dims), self.n_negatives
        generators = [member.generators_["negatives"] for member in members]
        return placed(self._drawn(lambda: stacked_indices(n, m, k, generators)), self.device)

    def _stacked_gradient(self, rows: MemberBatch) -> dict[str, Any]:
        """Gradients of all members at once."""
        members = [self.members_[k] for k in rows.members]
        batch, y = rows.stacked()
        batch, y = self._on_device(batch), placed(y, self.device)
        mask = batch.mask
        if self.modality_dropout:
            mask = self._without_some_of(members, batch, rows.sizes, self.modality_dropout, "modality_dropout")
        with self._drawing_of("module", members):
            output = self.twins_["module"](batch.X, mask)
            task, logged = self._task_losses(output.prediction, y, batch.weight, rows.sizes)
        loss = task
        used: Tensor | None = None
        # What the term reads, and how many rows of it each member has.
        read, sizes, known = batch, rows.sizes, output if mask is batch.mask else None
        if members[0].pool_ is not None:
            drawn = [self._drawn(member._next_pool_rows) for member in members]
            pool = MemberBatch(rows.members, [member.pool_ for member in members], drawn)
            unlabelled = self._on_device(pool.stacked()[0])
            with self._drawing_of("corruption", members):
                read, sizes, known = corrupted(unlabelled, axis=1), pool.sizes, None
            if any(member.agreement for member in members):
                loss = self._agreed_of(members, task, batch, y, rows.sizes, unlabelled, read)
        found: dict[int, Tensor] = {}
        if self.term_active_:
            with self._drawing_of("critic", members):
                terms = self._dependencies(members, read, sizes, known)
            found = {i: term for i, term in enumerate(terms) if term is not None and members[i].lam}
            if found:
                used = torch.stack(list(found.values()))
                weighted = used * self._constant([-members[i].lam for i in found], used)
                loss = loss.index_add(0, self._constant(list(found), loss, torch.int64), weighted)
        loss.sum().backward()
        self.blocks_["module"].collect(replace=not self.pending_)
        self._note(partial(record_each, members, rows.sizes, list(found)), loss, task, logged, used)
        mean = (loss.detach() * (self._constant(rows.sizes, loss) / len(rows))).sum()
        return {"loss": mean, "y_pred": rows.unpadded(output.prediction)}

    def _agreed_of(
        self,
        members: Sequence[MDMNet],
        task: Tensor,
        batch: Batch,
        y: Tensor,
        sizes: Sequence[int],
        pool: Batch,
        spoiled: Batch,
    ) -> Tensor:
        """What :func:`.agreed` does, for all members: (n_members,)."""
        twin = self.twins_["module"]
        with torch.no_grad():
            twin.eval()
            outputs = twin(pool.X, pool.mask).prediction
            parts = zip(members, outputs, strict=True)
            teacher = torch.cat([balanced(member, part) if member.agreement else part for member, part in parts])
            twin.train()
        with self._drawing_of("taught", members):
            even = [outputs.shape[1]] * len(members)
            drop = partial(self._without_some_of, members, rate=1 - KEPT, stream="agreement")
            masks = [drop(batch, sizes), drop(spoiled, even)]
            X, mask = one_below_other((batch.X, spoiled.X), 1), one_below_other(masks, 1)
            some, taught = twin(X, mask).prediction.split([max(sizes), max(even)], 1)
            both = (task + self._task_losses(some, y, batch.weight, sizes)[0]) / 2
        losses = agreement_losses(self.criterion_, taught.flatten(0, 1), teacher, y)
        weight = self._constant([member.agreement for member in members], task)
        return torch.where(weight > 0, both + weight * losses.unflatten(0, taught.shape[:2]).mean(1), task)

    def _without_some_of(
        self, members: Sequence[MDMNet], batch: Batch, sizes: Sequence[int], rate: float, stream: str
    ) -> dict[Any, Tensor]:
        """Masks without the modalities that each member drops."""

        def draw() -> Tensor:
            noise = [member._noise(n, stream).T for member, n in zip(members, sizes, strict=True)]
            return pad_sequence(noise, batch_first=True).movedim(2, 0)

        return without_some(batch, self._drawn(draw), rate)

    def _task_losses(
        self, prediction: Tensor, y: Tensor, weight: Tensor | None, sizes: Sequence[int]
    ) -> tuple[Tensor, Tensor | None]:
        """Task loss of each member, (n_members,), and in the units of the original targets, where they have several."""
        losses = self.criterion_(prediction.flatten(0, 1), y.flatten(0, 1)).unflatten(0, prediction.shape[:2])
        scale = log_scale(self.criterion_)
        n_rows = None if len(set(sizes)) == 1 else self._constant(sizes, losses, torch.int64)
        in_units = None if len(scale) == 1 else losses.detach() * self._constant(scale, losses)
        return means_of(losses, weight, n_rows), None if in_units is None else means_of(in_units, weight, n_rows)

    def _dependencies(
        self, members: Sequence[MDMNet], batch: Batch, sizes: Sequence[int], output: Any
    ) -> Sequence[Tensor | None]:
        """The dependency term of each member, with the output if there is one; None with too few complete rows."""
        z = self.twins_["module"].represent(batch.X, batch.mask) if output is None else output.representations
        parts = list(z.values())
        if batch.complete is None and len(set(sizes)) == 1 and sizes[0] >= self._fewest_rows:
            index = self._negatives_of(members, sizes[0])
            return self.measure_.value(self.twins_["critic"], parts, index).unbind()
        values: list[Tensor | None] = []
        for i, (member, n) in enumerate(zip(members, sizes, strict=True)):
            if batch.complete is None:
                rows = torch.arange(n, device=parts[0].device)
            else:
                rows = placed(batch.complete[i, :n].nonzero().squeeze(1), parts[0].device)
            if not member.term_active_ or not member.lam or len(rows) < self._fewest_rows:
                member.terms_skipped_ += member.term_active_
                values.append(None)
            else:
                values.append(member._value([part[i].index_select(0, rows) for part in parts]))
        return values

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Task loss of a validation batch of every member."""
        rows = batch[0]
        if not isinstance(rows, MemberBatch):
            return super().validation_step(batch, **fit_params)
        whole = self.stacked_ and rows.members == self.active_
        self._set_mode(False, stacked=whole)
        if not whole:
            steps = []
            for k, part in rows.each():
                steps.append((len(part[1]), self.members_[k].validation_step(part)))
                self._keep_validated(k, steps[-1][1]["y_pred"], placed(part[1], self.device), part[0].weight)
            total = sum(n * step["loss"] for n, step in steps) / len(rows)
            return {"loss": total, "y_pred": torch.cat([step["y_pred"] for _, step in steps])}
        stacked, y = rows.stacked()
        stacked, y = self._on_device(stacked), placed(y, self.device)
        with torch.no_grad():
            prediction = self.twins_["module"](stacked.X, stacked.mask).prediction
            losses, logged = self._task_losses(prediction, y, stacked.weight, rows.sizes)
        weights = [None] * len(y) if stacked.weight is None else stacked.weight
        record = partial(record_validation_of_each, [self.members_[k] for k in rows.members], rows.sizes)
        self._note(record, losses, logged)
        for k, n, outputs, targets, weight in zip(rows.members, rows.sizes, prediction, y, weights, strict=True):
            self._keep_validated(k, outputs[:n], targets[:n], None if weight is None else weight[:n])
        return {
            "loss": (losses * self._constant(rows.sizes, losses)).sum() / len(rows),
            "y_pred": rows.unpadded(prediction),
        }

    def _keep_validated(self, member: int, outputs: Tensor, y: Tensor, weight: Tensor | None) -> None:
        """Keep outputs (n, n_outputs) for samples that a member holds out, and their losses (n,)."""
        losses = self.criterion_(outputs, y).flatten(1 if outputs.dim() == y.dim() else 0)
        by_row = losses.mean(1) if losses.dim() > 1 else losses
        kept = outputs, by_row if weight is None else by_row * weight.to(by_row.device)
        self.validated_[member].append(tuple(part.detach().double() for part in kept))  # type: ignore[arg-type]

    def _set_mode(self, training: bool, *, stacked: bool) -> None:
        """Set what is about to be computed to training or evaluation: to walk through all members takes long."""
        if not stacked or self.term_active_:
            self._set_training(training)
        for twin in self.twins_.values():
            if twin.training != training:
                twin.train(training)
