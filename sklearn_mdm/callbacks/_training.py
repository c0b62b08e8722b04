"""Stopping, progress and what fine-tuning asks for, as skorch callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm


class EarlyStopping(SkorchEarlyStopping):
    """Stop when a loss has not fallen by ``threshold`` for ``patience`` epochs; restore the best epoch on request.

    Differs from skorch's in two ways: the threshold is absolute, because a relative one calls an unchanged negative
    loss an improvement, and every module is restored, so that critic and fusion module stay in step.
    """

    best_model_weights_: dict[str, dict[str, Tensor]] | None
    ends_: list[tuple[int, bool]]  # after training: the best epoch, and whether that was long ago
    load_best: bool

    def __init__(self, monitor: str, patience: int, threshold: float, load_best: bool) -> None:
        super().__init__(
            monitor=monitor, patience=patience, threshold=threshold, threshold_mode="abs", load_best=load_best
        )

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        best, wanted, self.load_best = self.best_epoch_, self.load_best, False
        try:
            super().on_epoch_end(net, **kwargs)  # whose own copy.deepcopy takes longer than an epoch of a small net
        finally:
            self.load_best = wanted
        if self.load_best and self.best_epoch_ != best:
            states = {name: getattr(net, name + "_").state_dict() for name in net._modules}
            self.best_model_weights_ = {
                name: {key: value.clone() if isinstance(value, Tensor) else value for key, value in state.items()}
                for name, state in states.items()
            }

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        # Of the last epoch too: another callback may have gone back to an earlier one by now.
        if self.best_model_weights_ is not None:
            for name, state in self.best_model_weights_.items():
                getattr(net, name + "_").load_state_dict(state)
        self.best_model_weights_ = None
        self.ends_ = [(self.best_epoch_, self.misses_ >= self.patience)]


class MemberStopping(Callback):
    """An :class:`EarlyStopping` for each member of a committee; training ends with the last of them."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.stopping_ = [EarlyStopping(**self.options).initialize() for _ in net.members_]
        for stopping, member in zip(self.stopping_, net.members_, strict=True):
            stopping.on_train_begin(member)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        for k in list(net.active_):
            try:
                self.stopping_[k].on_epoch_end(net.members_[k])
            except KeyboardInterrupt:  # skorch's way to stop
                net.retire(k)
        if not net.active_:
            raise KeyboardInterrupt

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        for stopping, member in zip(self.stopping_, net.members_, strict=True):
            stopping.on_train_end(member)
        self.ends_ = [end for stopping in self.stopping_ for end in stopping.ends_]
        del self.stopping_


class OutOfFold(Callback):
    """Keeps what the members of a committee predict for the samples that they hold out.

    The epoch that a member returns to is the best for its fold, so its last weights say too much good of these samples:
    on noise, R2 of .02. Samples are therefore predicted by another epoch. Each fold is halved: the first halves are
    predicted by the epoch that is best for all second halves together, and the other way round.

    Parameters
    ----------
    halves : list of arrays of bool of shape (n_held_out,)
        Which half each sample is in, for every member.
    members : sequence of int, default=None
        Which members of the net these are, whose epochs are judged together; None for all.

    Attributes
    ----------
    outputs_ : list of arrays of shape (n_held_out, n_outputs), or None before the first epoch
        Outputs of the members.
    """

    outputs_: list[np.ndarray | None]

    def __init__(self, halves: list[np.ndarray], members: Sequence[int] | None = None) -> None:
        self.halves = halves
        self.members = range(len(halves)) if members is None else members

    def initialize(self) -> OutOfFold:
        self.outputs_ = [None] * len(self.halves)
        self.losses_: list[np.ndarray] = [np.empty(0)] * len(self.halves)
        self.best_ = [np.inf, np.inf]
        return self

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        outputs = {}
        for k, member in enumerate(self.members):
            if member in net.active_:  # those that have stopped keep what they had
                parts = zip(*net.validated_[member], strict=True)
                outputs[k], self.losses_[k] = (torch.cat(part).cpu().numpy() for part in parts)
        if not outputs:
            return
        losses, halves = np.concatenate(self.losses_), np.concatenate(self.halves)
        for half in (False, True):
            loss = losses[halves != half].mean() if (halves != half).any() else losses.mean()
            if not loss < self.best_[half]:
                continue
            self.best_[half] = loss
            for k, values in outputs.items():
                kept = self.outputs_[k]
                self.outputs_[k] = kept = np.full_like(values, np.nan) if kept is None else kept
                own = self.halves[k] == half
                kept[own] = values[own]


class ForgetBatches(Callback):
    """Drops the records of single batches, which grow with the data, once their epoch is summed up."""

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        if len(net.history) > 1:
            net.history[-2]["batches"] = []

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        net.history[-1]["batches"] = []


class EpochProgress(Callback):
    """A progress bar over epochs with both terms of the loss."""

    def __init__(self, epochs: int, description: str) -> None:
        self.epochs = epochs
        self.description = description

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.bar_ = tqdm(total=self.epochs, desc=self.description, unit="epoch")

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        shown = {"train_task_loss": "task", "valid_task_loss": "valid", "train_dependency": "dependency"}
        last = net.history[-1]
        self.bar_.set_postfix({label: f"{last[key]:.3f}" for key, label in shown.items() if key in last})
        self.bar_.update()

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_


class StopReport(Callback):
    """Prints one line at the end: when training stopped, why, and which epoch was the best.

    Parameters
    ----------
    stopping : EarlyStopping or MemberStopping
        What ends the training early; told of the end before this.
    epochs : int
        Epochs that were asked for.
    description : str
        What is trained.
    options : dict
        What ``stopping`` was made of.
    """

    def __init__(self, stopping: Callback, epochs: int, description: str, options: dict[str, Any]) -> None:
        self.stopping = stopping
        self.epochs = epochs
        self.description = description
        self.options = options

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        epoch, ends = len(net.history), self.stopping.ends_
        best, n_early = sorted({best for best, _ in ends}), sum(early for _, early in ends)
        restored = self.options["load_best"]
        loss = "validation loss" if restored else "training loss"
        if net.completed_:
            why = f"after epoch {epoch}, with all {self.epochs} epochs made"
            if n_early:
                why += f" ({n_early} of {len(ends)} networks stopped early)"
        elif n_early == len(ends):
            why = (
                f"early, after epoch {epoch}: the {loss} had not fallen by tol={self.options['threshold']:g} for "
                f"n_iter_no_change={self.options['patience']} epochs"
            )
        else:
            why = f"after epoch {epoch}: {'a callback ended it' if net.stopped_ else 'interrupted'}"
        when = f"epoch {best[0]}" if len(best) == 1 else f"epochs {best[0]} to {best[-1]} (of {len(ends)} networks)"
        print(f"{self.description}: stopped {why}; best {loss} in {when}{', restored' if restored else ''}.")


class WarmupLinearDecay(Callback):
    """Raise all learning rates of the module from zero, then lower them to zero, both in a straight line.

    The course runs over ``max_epochs``, batch by batch: choose ``max_epochs`` as the number of epochs that are to be
    made, for early stopping would end it on the way. Groups of parameters with learning rates of their own, such as
    those of a pretrained backbone, keep their proportions. The critic keeps its learning rate.

    In ``partial_fit``, each call is a course of its own over its one epoch. For a course over all data use ``fit``.

    Parameters
    ----------
    warmup : float, default=0.1
        Share of the batches in which the learning rates rise, from 0 to less than 1.

    Raises
    ------
    ValueError
        If ``warmup`` is not in that range; when training begins.

    Examples
    --------
    >>> from skorch.callbacks import GradientNormClipping
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.callbacks import WarmupLinearDecay
    >>> callbacks = [WarmupLinearDecay(0.1), GradientNormClipping(1.0)]
    >>> model = MDMFusionRegressor(callbacks=callbacks, max_epochs=5)
    """

    def __init__(self, warmup: float = 0.1) -> None:
        self.warmup = warmup

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Remember the full learning rates."""
        if not 0 <= self.warmup < 1:
            raise ValueError(f"WarmupLinearDecay needs 0 <= warmup < 1, got {self.warmup!r}.")
        self.full_rates_ = [group["lr"] for group in net.optimizer_.param_groups]
        self.n_batches_, self.batch_ = 0, 0

    def on_epoch_begin(self, net: NeuralNet, dataset_train: Dataset[Any] | None = None, **kwargs: Any) -> None:
        """Count the batches of the training."""
        if not self.n_batches_:
            self.n_batches_ = net.max_epochs * len(net.get_iterator(dataset_train, training=True))

    def on_batch_begin(self, net: NeuralNet, training: bool = False, **kwargs: Any) -> None:
        """Set the learning rates of a training batch."""
        if not training:
            return
        rising = self.warmup * self.n_batches_
        if self.batch_ < rising:
            share = min((self.batch_ + 1) / rising, 1.0)
        else:
            share = (self.n_batches_ - self.batch_) / (self.n_batches_ - rising)
        self.batch_ += 1
        for group, rate in zip(net.optimizer_.param_groups, self.full_rates_, strict=True):
            group["lr"] = share * rate

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Put the full learning rates back."""
        for group, rate in zip(net.optimizer_.param_groups, self.full_rates_, strict=True):
            group["lr"] = rate


class GradientAccumulation(Callback):
    """Make one update of the module from the mean gradient of several batches, for large batches in little memory.

    The dependency term still compares the samples of one batch with each other, and the critic is updated at every
    batch. Gradients are clipped once per update. What is left at the end of an epoch makes an update too.

    Parameters
    ----------
    n_batches : int, default=2
        Batches per update.

    Raises
    ------
    ValueError
        If ``n_batches`` is not a positive integer; when training begins.

    Examples
    --------
    Updates from 32 samples, 8 of which are in memory at a time:

    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.callbacks import GradientAccumulation
    >>> model = MDMFusionRegressor(batch_size=8, callbacks=[GradientAccumulation(4)])
    """

    def __init__(self, n_batches: int = 2) -> None:
        self.n_batches = n_batches

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Tell the net."""
        if isinstance(self.n_batches, bool) or not isinstance(self.n_batches, Integral) or self.n_batches < 1:
            raise ValueError(f"GradientAccumulation needs a positive integer n_batches, got {self.n_batches!r}.")
        net.accumulate = int(self.n_batches)
