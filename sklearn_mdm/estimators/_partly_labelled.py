"""What learns several outputs of which labels are missing here and there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..utils._folds import Split
from ._views import View


class PartlyLabelledLoss(nn.Module):
    """Loss of each entry (n, n_outputs), zero where the target is NaN.

    Parameters
    ----------
    loss : torch.nn.Module
        Loss of single entries.
    factors : array of shape (n_outputs,)
        What the losses of each output are multiplied by: weight of all training samples by that of those with a label
        of it, so that outputs count alike in a mean over samples.
    """

    factors: Tensor

    fixed_work = True  # see net/_step_graphs.py

    def __init__(self, loss: nn.Module, factors: np.ndarray) -> None:
        super().__init__()
        self.of_complete, self.even = loss, bool((factors == 1).all())
        self.register_buffer("factors", torch.tensor(factors))

    def forward(self, y_pred: Tensor, y_true: Tensor) -> Tensor:
        """Compare predictions and targets."""
        missing = y_true.isnan()
        if missing.is_cuda or missing.any():  # to look would be to wait for the GPU
            y_true = torch.where(missing, y_pred.detach(), y_true)
        losses = self.of_complete(y_pred, y_true)
        return losses if self.even else losses * self.factors.to(losses)


def label_factors(y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Weight of all samples by that of those with a label, of each output, (n_outputs,); zero where none has."""
    labelled = ~np.isnan(y)
    if labelled.all():
        return np.ones(y.shape[1])
    weight = np.ones(len(y)) if weight is None else weight
    share = weight @ labelled / weight.sum()
    return np.divide(1, share, out=np.zeros(len(share)), where=share > 0)


@dataclass(eq=False)
class PartlyLabelledModel:
    """A model beside the networks for each set of outputs that have their labels in the same samples.

    Parameters
    ----------
    build : callable
        Makes such a model.

    Attributes
    ----------
    models : list of (array of int, model)
        Models, and the outputs that each predicts.
    oof : array of shape (n_samples, n_outputs)
        Predictions by models that were not fitted to the entry; NaN where there is none.
    """

    build: Callable[[], Any]
    models: list[tuple[np.ndarray, Any]] = field(init=False)
    oof: np.ndarray = field(init=False)

    def fit(
        self,
        views: Sequence[View],
        y: np.ndarray,
        weight: np.ndarray | None = None,
        splits: Sequence[Split] = (),
        units: np.ndarray | None = None,
    ) -> PartlyLabelledModel:
        """Fit each model to the samples that have labels of its outputs; parameters are those of the models."""
        self.models, self.oof = [], np.full(y.shape, np.nan)
        patterns, pattern_of = np.unique(~np.isnan(y), axis=1, return_inverse=True)
        for k, labelled in enumerate(patterns.T):
            rows, outputs = np.flatnonzero(labelled), np.flatnonzero(pattern_of.ravel() == k)
            place = np.full(len(y), -1)
            place[rows] = np.arange(len(rows))
            own = [tuple(place[part][place[part] >= 0] for part in split) for split in splits]
            model = self.build().fit(
                _taken(views, rows),
                y[np.ix_(rows, outputs)],
                None if weight is None else weight[rows],
                [(train, held_out) for train, held_out in own if len(train) and len(held_out)],
                None if units is None else units[rows],
            )
            self.oof[np.ix_(rows, outputs)] = model.oof
            others = np.flatnonzero(~labelled)
            if len(others):
                self.oof[np.ix_(others, outputs)] = model.outputs(_taken(views, others))
            self.models.append((outputs, model))
        return self

    def outputs(self, views: Sequence[View]) -> np.ndarray:
        """Predictions (n_samples, n_outputs)."""
        parts = [model.outputs(views) for _, model in self.models]
        return np.concatenate(parts, axis=1)[:, np.argsort(np.concatenate([outputs for outputs, _ in self.models]))]

    def _to_save(self) -> dict[str, Any]:
        """What a file of :mod:`..persistence` keeps: what predicts."""
        return {**vars(self), "build": None}


def _taken(views: Sequence[View], rows: np.ndarray) -> list[View]:
    return [view.take(rows) for view in views]
