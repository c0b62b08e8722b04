"""The dependency term of a batch: what a measure says of its complete rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..utils._placing import placed
from ._data import Batch


def dependency_of(net: Any, batch: Batch, y: Tensor | None, output: Any) -> Tensor | None:
    """The dependency term of a batch, with its output if there is one; None with too few complete rows."""
    n_rows = len(batch) if batch.complete is None else int(batch.complete.sum())
    if n_rows < net._fewest_rows:
        net.terms_skipped_ += 1
        return None
    if net.measure_.needs_y:
        assert y is not None
        return _value_of_logits(net, batch, y, None if output is None else output.prediction)
    z = net.fusion_module_.represent(batch.X, batch.mask) if output is None else output.representations
    if batch.complete is None:
        return net._value(list(z.values()))
    rows = placed(batch.complete.nonzero().squeeze(1), net.device)
    return net._value([part.index_select(0, rows) for part in z.values()])


def _value_of_logits(net: Any, batch: Batch, y: Tensor, logits: Tensor | None) -> Tensor:
    """The term of a measure that reads labels; ``logits`` are None where a modality was dropped from them."""
    if batch.complete is None:
        rows = torch.arange(len(batch), device=net.device)
    else:
        rows = placed(batch.complete.nonzero().squeeze(1), net.device)
    pairing = rows[net._negatives(len(rows))]
    joint = logits_of_mixed(net.module_, batch, rows.expand(len(pairing), -1)) if logits is None else logits[rows]
    return net.measure_.logit_value(joint, placed(y, net.device)[rows], logits_of_mixed(net.module_, batch, pairing))


def logits_of_mixed(module: Any, batch: Batch, index: Tensor) -> Tensor:
    """Predictions on samples whose modalities come from different rows of the batch."""
    X = {name: x.index_select(0, rows) for (name, x), rows in zip(batch.X.items(), index, strict=True)}
    mask = batch.mask
    if mask is not None:
        mask = {name: mask[name].index_select(0, rows) for name, rows in zip(batch.X, index, strict=True)}
    return module(X, mask).prediction
