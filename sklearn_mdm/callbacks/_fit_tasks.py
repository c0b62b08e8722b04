"""Epochs as tasks of ``fit``, for callbacks of scikit-learn."""

from __future__ import annotations

from typing import Any

from skorch import NeuralNet
from skorch.callbacks import Callback


class EpochTasks(Callback):
    """Tells the callbacks that an estimator has from ``set_callbacks`` of every epoch; any of them may stop training.

    Parameters
    ----------
    estimator : fusion estimator
        What is fitted; let go of when training ends.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.task: Any = None

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        if self.estimator is not None:
            self.task = self.estimator._callback_fit_ctx.subcontext(task_name="epoch")
            self.task.call_on_fit_task_begin(estimator=self.estimator)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if self._end():
            raise KeyboardInterrupt  # skorch's way to stop

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        self._end()  # where another callback stopped training in this epoch
        self.estimator = None

    def _end(self) -> bool:
        task, self.task = self.task, None
        return task is not None and bool(task.call_on_fit_task_end(estimator=self.estimator))
