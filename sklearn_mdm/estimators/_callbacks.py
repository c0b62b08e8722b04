"""What watches the training of a fusion estimator: the callbacks of its user, and its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from skorch.callbacks import Checkpoint, TrainEndCheckpoint

from ..callbacks._fit_tasks import EpochTasks
from ..callbacks._resumable import check_resumes
from ..callbacks._training import EarlyStopping, EpochProgress, ForgetBatches, MemberStopping, OutOfFold, StopReport
from ..net._committee import CommitteeNet
from ..net._net import MDMNet


def callbacks_of(
    estimator: Any, net: MDMNet, keepers: Sequence[OutOfFold], *, max_epochs: int | None, held_out: bool
) -> list[Any]:
    """Return the callbacks of a training, in order.

    Parameters
    ----------
    estimator : fusion estimator
        Whose parameters say what is wanted.
    net : MDMNet
        What is trained.
    keepers : sequence of OutOfFold
        What keeps the predictions of samples held out.
    max_epochs : int or None
        Epochs at most; None for the one of a ``partial_fit``.
    held_out : bool
        Whether there are samples that are held out.
    """
    own = copy.deepcopy(estimator.callbacks) or []
    check_resumes(own, new=max_epochs is not None and not net.history)
    for each in own:
        callback = each[1] if isinstance(each, tuple) else each
        if isinstance(callback, Checkpoint) and callback.load_best and callback.f_history is None:
            raise ValueError(
                "Checkpoint(load_best=True) finds the best epoch by its f_history, which is None. Name one."
            )
    # It is to write what stopping has gone back to.
    at_end = [each for each in own if isinstance(each[1] if isinstance(each, tuple) else each, TrainEndCheckpoint)]
    callbacks = [*(each for each in own if all(each is not other for other in at_end)), *keepers]
    if max_epochs is not None:
        stops = held_out and estimator.early_stopping is not False
        options = {
            # Of the standardised targets, so that their units do not decide when to stop.
            "monitor": "valid_loss" if stops else "train_scaled_task_loss",
            "patience": estimator.n_iter_no_change,
            "threshold": estimator.tol,
            "load_best": stops,
        }
        stopping = (MemberStopping if isinstance(net, CommitteeNet) else EarlyStopping)(**options)
        callbacks.append(stopping)
        name = type(estimator).__name__
        if estimator.verbose == 1:
            callbacks.append(EpochProgress(max_epochs, name))
        if estimator.verbose:
            callbacks.append(StopReport(stopping, max_epochs, name, options))
        if getattr(estimator, "_skl_callbacks", None):
            callbacks.append(EpochTasks(estimator))  # last, as it may stop what the others have to see
    return [*callbacks, *at_end, ForgetBatches()]
