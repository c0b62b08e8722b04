"""AcceleratedMDMNet: one MDMNet trained by several processes, each on its share of every batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from skorch.hf import AccelerateMixin
from skorch.utils import noop
from torch import Tensor, nn

from ..callbacks._resumable import ResumableCheckpoint
from ..utils._rng import RandomStream
from ._data import MIN_BATCH, rows_of
from ._net import MDMNet
from ._streams import OWN_DRAWS
from ._totals import Totals

# What a process draws for its own rows, beside dropout; the order of batches is the same in all processes.
OWN_STREAMS = ("negatives", "modality_dropout", "agreement")
# Running sums of an epoch, by what they are of.
TOTALED = ("loss", "task", "logged", "dependency")
BATCH_LOSSES = ("train_loss", "valid_loss")


class AcceleratedMDMNet(AccelerateMixin, MDMNet):
    """An :class:`~sklearn_mdm.MDMNet` that several processes, each with a GPU or not, train together by accelerate.

    Every process runs the same script on the same data, and takes an equal share of every batch, of the module and of
    the critic. Before each update, of module or critic, gradients are averaged over processes. The dependency term and
    its negatives compare the rows of one share with each other: the gradient is the mean of those of the shares, as
    one process would have it that went through them one by one. With one process it is that of an MDMNet.

    Parameters
    ----------
    module : torch module (class or instance)
        A fusion module. Its initial weights are those of the main process.
    criterion : torch criterion (class), default=torch.nn.MSELoss
        Task loss.
    accelerator : accelerate.Accelerator
        Says how many processes there are, and which device is this one's. Of its settings, mixed precision and
        gradient accumulation are refused; for the latter there is
        :class:`~sklearn_mdm.callbacks.GradientAccumulation`.
    device : str or torch.device, default=None
        None takes that of the accelerator.
    **kwargs : dict
        Further parameters of :class:`~sklearn_mdm.MDMNet`. ``batch_size`` counts the rows of all processes together.

    See Also
    --------
    skorch.hf.AccelerateMixin : The mixin, with its further parameters ``unwrap_after_train`` and
        ``callbacks__print_log__sink``: the main process alone prints, and writes what ``save_params`` saves.

    Notes
    -----
    The mixin wraps modules in torch's DistributedDataParallel, which averages gradients of what goes through
    ``forward``. Here the critic and ``represent`` are called too, so modules stay as they are, and gradients are
    averaged by ``Accelerator.reduce``.

    Examples
    --------
    In a script that ``accelerate launch --num_processes 2 script.py`` or ``torchrun`` starts::

        from accelerate import Accelerator
        from sklearn_mdm.net import AcceleratedMDMNet

        accelerator = Accelerator()
        net = AcceleratedMDMNet(module, accelerator=accelerator, batch_size=1024)
        net.fit(X, y)
        net.save_params(f_params="module.safetensors", use_safetensors=True)
        accelerator.end_training()
    """

    # Those of the mixin go through DistributedDataParallel and share batches out themselves.
    train_step = MDMNet.train_step
    train_step_single = MDMNet.train_step_single
    evaluation_step = MDMNet.evaluation_step
    get_iterator = MDMNet.get_iterator
    _step_optimizer = MDMNet._step_optimizer

    def __init__(
        self, module: Any, criterion: Any = nn.MSELoss, *, accelerator: Any, device: Any = None, **kwargs: Any
    ) -> None:
        if device is None:
            device = "cpu" if accelerator.device.type == "cpu" else accelerator.device  # some name it cpu:0
        super().__init__(module, criterion, accelerator=accelerator, device=device, **kwargs)

    @property
    def share_(self) -> tuple[int, int]:  # type: ignore[override]
        """Which share of every batch is this process's, of how many."""
        return self.accelerator.process_index, self.accelerator.num_processes

    def _validate_params(self) -> None:
        MDMNet._validate_params(self)  # the mixin wants no device
        accelerator, (_, n) = self.accelerator, self.share_
        kind = str(getattr(accelerator.distributed_type, "value", accelerator.distributed_type))
        if kind != "NO" and not kind.startswith("MULTI_"):
            raise ValueError(f"AcceleratedMDMNet averages gradients of whole modules, and does not know {kind}.")
        if accelerator.mixed_precision != "no" or accelerator.gradient_accumulation_steps != 1:
            raise ValueError(
                "AcceleratedMDMNet needs Accelerator(mixed_precision='no', gradient_accumulation_steps=1). To "
                "accumulate, use sklearn_mdm.callbacks.GradientAccumulation; for a precision, dtype."
            )
        if torch.device(self.device).type != torch.device(accelerator.device).type:
            raise ValueError(
                f"device={self.device!r}, but that of the accelerator is {accelerator.device}. Leave it out."
            )
        if n > 1 and self.batch_size != -1 and self.batch_size < MIN_BATCH * n:
            raise ValueError(
                f"batch_size={self.batch_size} is shared by {n} processes, and each needs {MIN_BATCH} rows: it must be "
                f"{MIN_BATCH * n} or more."
            )

    def _initialize_callbacks(self) -> Any:
        if vars(self)["callbacks__print_log__sink"] == "auto":
            # With the mixin's own choice, accelerator.print, skorch prints even if verbose=0.
            self.callbacks__print_log__sink: Any = print if self.accelerator.is_main_process else noop
        return super()._initialize_callbacks()

    def _initialize_accelerator(self) -> AcceleratedMDMNet:
        return self  # modules stay unwrapped

    # -- the same in all processes -----------------------------------------------------------------------------------

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Begin with the seed of the main process."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self.graphs_ = None  # a step waits for other processes
        which, n = self.share_
        if n == 1:
            return
        if any(isinstance(callback, ResumableCheckpoint) for _, callback in self.callbacks_):
            raise ValueError(
                "ResumableCheckpoint holds the state of one process. With several, use skorch's Checkpoint and "
                "LoadInitState."
            )
        self.seed_ = self._of_main(self.seed_)
        if which:
            self.draws_["module"] = RandomStream.of(self.seed_, 1 + len(self.history), which)

    def on_epoch_begin(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Reseed the streams; what is drawn for rows differs between processes."""
        super().on_epoch_begin(net, dataset_train=dataset_train, dataset_valid=dataset_valid, **kwargs)
        which, _ = self.share_
        if which:
            streams: dict[str, Any] = {**self.generators_, **self.draws_}
            for name, seed in own_seeds(self.seed_, len(self.history), which).items():
                reseed = getattr(streams[name], "reseed", None) or streams[name].manual_seed
                reseed(seed)

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Split as :class:`~sklearn_mdm.MDMNet` does, and compare the parts of all processes.

        Raises
        ------
        ValueError
            If processes train on different rows, or there are too few to share.
        """
        train, valid = super().get_split_datasets(X, y, **fit_params)
        n = self.share_[1]
        if n == 1:
            return train, valid
        if len(train) < MIN_BATCH * n:
            raise ValueError(f"{len(train)} training samples are shared by {n} processes: {MIN_BATCH * n} are needed.")
        found = _fingerprint(train) + _fingerprint(valid)
        same = torch.tensor([found == self._of_main(found)], dtype=torch.float64, device=self.device)
        if self._reduced(same) < n:
            raise ValueError(
                "the processes train or validate on different samples. Each has to read all of X and y, in the same "
                "order, and to split them alike (a random_state for train_split): shares are taken batch by batch."
            )
        return train, valid

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Tell the callbacks; where one of them ends training in some process, it ends in all.

        Once they have been told that training begins, and may have loaded an earlier one, all processes have the
        weights of the main one.
        """
        if method_name == "on_train_begin":
            super().notify(method_name, **cb_kwargs)
            self._begin_alike()
            return
        if method_name != "on_epoch_end" or self.share_[1] == 1:
            super().notify(method_name, **cb_kwargs)
            return
        interrupt = None
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as error:
            interrupt = error
        ends = torch.tensor([interrupt is not None], dtype=torch.float64, device=self.device)
        if interrupt is None and self._reduced(ends) > 0:
            self.stopped_ = True
            raise KeyboardInterrupt
        if interrupt is not None:
            self._reduced(ends)
            raise interrupt

    def _begin_alike(self) -> None:
        n = self.share_[1]
        if n == 1:
            return
        before = torch.tensor([float(len(self.history) == self._of_main(len(self.history)))], device=self.device)
        if self._reduced(before) < n:
            raise ValueError(
                "the processes go on from different epochs: what a callback such as LoadInitState loads has to be "
                "there for each of them, in a folder that all machines share."
            )
        with torch.no_grad():
            for module in self._trained():
                for tensor in (*module.parameters(), *module.buffers()):
                    tensor.copy_(self._broadcast(tensor.detach()))

    # -- averages over processes -------------------------------------------------------------------------------------

    def on_epoch_end(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Record losses as means over processes."""
        if self.share_[1] > 1:
            self._average_records()
        super().on_epoch_end(net, dataset_train=dataset_train, dataset_valid=dataset_valid, **kwargs)

    def _average_records(self) -> None:
        """Replace sums of the epoch by those of all processes, and losses of batches by their means."""
        batches = self.history[-1]["batches"]
        kinds = [self.totals_["train"], self.totals_["valid"]]
        totals = [[float(sums.get(name, 0)) for name in TOTALED] for t in kinds for sums in (t.sums, t.counts)]
        losses = [[row.get(name, 0.0) for name in BATCH_LOSSES] for row in batches]
        flat = [self.terms_skipped_, *(x for row in (*totals, *losses) for x in row)]
        skipped, *values = self._reduced(torch.tensor(flat, dtype=torch.float64, device=self.device)).tolist()
        self.terms_skipped_ = round(skipped)
        numbers = iter(values)
        for kind in ("train", "valid"):
            sums, counts = ({name: next(numbers) for name in TOTALED} for _ in range(2))
            self.totals_[kind] = Totals()
            self.totals_[kind].sums = {name: value for name, value in sums.items() if counts[name]}
            self.totals_[kind].counts = {name: round(count) for name, count in counts.items() if count}
        for row in batches:
            for name in BATCH_LOSSES:
                mean = next(numbers) / self.share_[1]
                if name in row:
                    row[name] = mean

    def _critic_gradient(self, batch: Any) -> None:
        super()._critic_gradient(batch)
        self._average(self.critic_)

    def _update_module(self, batch: Any) -> None:
        self._average(self.module_)
        super()._update_module(batch)

    @torch.no_grad()
    def _average(self, module: nn.Module) -> None:
        """Average gradients over processes, and buffers such as running means with them, by one call."""
        if self.share_[1] == 1:
            return
        learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
        buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
        there = torch.ones(len(learning), dtype=self.dtype, device=self.device)
        absent = [k for k, parameter in enumerate(learning) if parameter.grad is None]
        if absent:
            there[absent] = 0
        parts = [*gradients, *buffers, there]
        means = self.accelerator.reduce(torch.cat([part.reshape(-1) for part in parts]), reduction="mean")
        *found, there = means.split([part.numel() for part in parts])
        # What has no gradient in any process keeps none, for an optimizer makes no step of it.
        nowhere = {k for k in absent if not there[k]}
        for k, (parameter, mean) in enumerate(zip(learning, found[: len(learning)], strict=True)):
            if k not in nowhere:
                parameter.grad = mean.view_as(parameter)
        for buffer, mean in zip(buffers, found[len(learning) :], strict=True):
            buffer.copy_(mean.view_as(buffer))

    def _reduced(self, values: Tensor) -> Tensor:
        """Sum over processes."""
        return self.accelerator.reduce(values, reduction="sum")

    def _trained(self) -> Iterable[nn.Module]:
        return [self.module_, self.critic_] if hasattr(self, "critic_") else [self.module_]

    def _broadcast(self, tensor: Tensor) -> Tensor:
        from accelerate.utils import broadcast

        return broadcast(tensor.contiguous(), from_process=0)

    def _of_main(self, value: Any) -> Any:
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value], from_process=0)[0]


def own_seeds(*entropy: int) -> dict[str, int]:
    """Return seeds of what a process draws for its own rows, from those of the fit, the epoch and the process."""
    names = (*OWN_STREAMS, *OWN_DRAWS)
    return dict(zip(names, np.random.SeedSequence(entropy).generate_state(len(names)).tolist(), strict=True))


def _fingerprint(dataset: Any) -> tuple[float, ...]:
    """What two datasets share that are of the same rows in the same order, as far as a few numbers tell."""
    if dataset is None:
        return (0,)
    data, rows = rows_of(dataset)
    place = torch.arange(1, len(rows) + 1, dtype=torch.float64)
    y = data.y.cpu().double().reshape(len(data.y), -1).sum(1) if len(data.y) else None
    weighed = 0.0 if y is None else float((torch.nan_to_num(y[rows]) * place).sum())
    return len(rows), float((rows.double() * place).sum()), weighed
