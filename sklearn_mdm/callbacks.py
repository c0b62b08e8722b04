"""Stopping and progress, as skorch callbacks."""

from __future__ import annotations

import copy
from typing import Any

from skorch.callbacks import Callback
from skorch.callbacks import EarlyStopping as SkorchEarlyStopping
from tqdm.auto import tqdm

__all__: list[str] = []


class EarlyStopping(SkorchEarlyStopping):
    """Stop when a loss has not fallen by ``threshold`` for ``patience`` epochs; restore the best epoch on request.

    Differs from skorch's in two ways: the threshold is absolute, because a relative one calls an unchanged negative
    loss an improvement, and every module is restored, so that critic and fusion module stay in step.
    """

    best_model_weights_: dict[str, Any] | None

    def __init__(self, monitor: str, patience: int, threshold: float, load_best: bool) -> None:
        super().__init__(
            monitor=monitor, patience=patience, threshold=threshold, threshold_mode="abs", load_best=load_best
        )

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Remember the best epoch, and stop after too many without an improvement."""
        best = self.best_epoch_
        super().on_epoch_end(net, **kwargs)
        if self.load_best and self.best_epoch_ != best:
            self.best_model_weights_ = {
                name: copy.deepcopy(getattr(net, name + "_").state_dict()) for name in net._modules
            }

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Restore every module from the best epoch."""
        if self.best_model_weights_ is not None and self.best_epoch_ != net.history[-1, "epoch"]:
            for name, state in self.best_model_weights_.items():
                getattr(net, name + "_").load_state_dict(state)
        self.best_model_weights_ = None


class ForgetBatches(Callback):
    """Drops the records of single batches, which grow with the data, once their epoch is summed up."""

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Forget the batches of the epoch before."""
        if len(net.history) > 1:
            net.history[-2]["batches"] = []

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Forget the batches of the last epoch."""
        net.history[-1]["batches"] = []


class EpochProgress(Callback):
    """A progress bar over epochs with both terms of the loss."""

    def __init__(self, epochs: int, description: str) -> None:
        self.epochs = epochs
        self.description = description

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Open the bar."""
        self.bar_ = tqdm(total=self.epochs, desc=self.description, unit="epoch")

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Advance the bar."""
        shown = {"train_task_loss": "task", "valid_task_loss": "valid", "train_dependency": "dependency"}
        self.bar_.set_postfix(
            {label: f"{net.history[-1][key]:.3f}" for key, label in shown.items() if key in net.history[-1]}
        )
        self.bar_.update()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar_.close()
        del self.bar_
