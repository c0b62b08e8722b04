"""Task loss of a batch: targets as the criterion wants them, means by weight, and the units in which it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..utils._placing import placed
from ._data import Batch


def matched(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return targets on the device of the predictions, in their type and shape where these are numbers.

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
    return y_true


def averaged(losses: Tensor, X: Any) -> Tensor:
    """Average losses over outputs evenly, then over samples by their weight."""
    weight = getattr(X, "weight", None)
    if weight is None or losses.dim() == 0:
        return losses.mean()
    return ((losses.flatten(1).mean(1) if losses.dim() > 1 else losses) * weight).mean()


def log_scale(criterion: Any) -> Sequence[float]:
    """What losses of each output are multiplied by to be in the units of the original targets; one for all alike."""
    return getattr(criterion, "log_scale", (1.0,))


def loss_in_units(net: Any, y_pred: Tensor, y_true: Tensor, X: Batch) -> Tensor | None:
    """Task loss in the units of the original targets, where they have several; see :func:`in_units`."""
    scale = log_scale(net.criterion_)
    if len(scale) == 1:
        return None
    with torch.no_grad():
        losses = net.criterion_(y_pred, placed(y_true, y_pred.device))
        return averaged(losses * net._constant(scale, losses), X)


def in_units(criterion: Any, task: float, logged: float | None) -> float:
    """The same where all targets have one unit, to which the criterion says how to get back."""
    return task * log_scale(criterion)[0] if logged is None else logged
