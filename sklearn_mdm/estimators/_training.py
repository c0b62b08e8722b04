"""Training the net of a fusion estimator: its epochs under the settings of the estimator, and what they leave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from skorch.callbacks import PrintLog
from skorch.helper import predefined_split

from ..callbacks._training import OutOfFold
from ..net._member_history import MEMBER_RECORDS
from ..net._net import MDMNet
from ._callbacks import callbacks_of
from ._lam_path import Candidate


def run_epochs(
    estimator: Any,
    train: Any,
    valid: Any,
    keepers: Sequence[OutOfFold],
    candidate: Candidate,
    max_epochs: int | None,
) -> bool:
    """Run the epochs of the net, one without a number; False if Ctrl-C cut them short.

    Members have settings of their own, or else those of the candidate.
    """
    net = estimator.net_
    net.callbacks = callbacks_of(estimator, net, keepers, max_epochs=max_epochs, held_out=valid is not None)
    net.verbose = int(estimator.verbose > 1)
    net.callbacks__print_log = PrintLog(keys_ignored=MEMBER_RECORDS) if net.verbose else None
    net.initialize_callbacks()
    # A warm start may come with other values.
    for name in ("unroll", "n_negatives", "modality_dropout", "batch_size"):
        setattr(net, name, getattr(estimator, name))
    for name, value in candidate._asdict().items():
        setattr(net, name, value)
    net.max_epochs, net.accumulate = max_epochs or 1, 1  # unless a callback says otherwise
    for group in net.optimizer_.param_groups:
        group["lr"] = group.get("own_lr", estimator.lr)
        if "weight_decay" in group:
            group["weight_decay"] = estimator.weight_decay
    for group in net.optimizer_critic_.param_groups if hasattr(net, "optimizer_critic_") else ():
        group["lr"] = estimator.critic_lr
    net.train_split = None if valid is None else predefined_split(valid)
    try:
        net.partial_fit(train)
    except BaseException:
        net.end_training()
        net.callbacks = []  # a progress bar is still open in them, for one
        net.initialize_callbacks()
        raise
    finally:
        net.train_split = None  # it holds the validation data
    finished = net.stopped_ or net.completed_
    if not finished and not net.n_updates_:
        raise KeyboardInterrupt("training was interrupted before its first update")  # skorch swallows it
    return finished


def check_usable(net: MDMNet, prediction: np.ndarray) -> None:
    """See that the last update left numbers, and let go of its gradients."""
    parameters = [parameter for name in net._modules for parameter in getattr(net, name + "_").parameters()]
    largest = torch.stack([norm.float() for norm in torch._foreach_norm(parameters, ord=math.inf)])
    if not (torch.isfinite(largest).all() and np.isfinite(prediction).all()):
        raise FloatingPointError(
            f"non-finite predictions or parameters after epoch {len(net.history)}. Try a smaller lr or critic_lr."
        )
    for parameter in parameters:
        parameter.grad = None
