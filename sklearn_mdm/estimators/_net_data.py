"""What the net of a fusion estimator is trained and validated on, from the samples of its members."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..inputs._observed import Observed
from ..net._committee import CommitteeNet
from ..net._data import Batch, MaskedDataset
from ..net._member_data import MemberDatasets
from ..utils._isolation import isolated
from ._lam_path import Candidate
from ._members import Part
from ._samples import Samples


def prepared(module: Any, X: Observed, keys: Mapping[Hashable, str]) -> Observed:
    """Let the module compute once what training does not change, such as the states of a frozen backbone."""
    prepare = getattr(module, "prepare", None)
    if prepare is None:
        return X
    X = X.loaded()
    with isolated():
        found = prepare({keys[name]: array for name, array in X.arrays.items()})
    return X.prepared({name: found[keys[name]] for name in X.names})


def with_prepared(parts: Sequence[Part], prepare: Callable[[Observed], Observed]) -> list[Part]:
    """Prepare X of all parts, once where they share it."""
    prepared: dict[int, Observed] = {}
    for samples in (samples for part in parts for samples in (part.train, part.valid) if samples is not None):
        if id(samples.X) not in prepared:
            prepared[id(samples.X)] = prepare(samples.X)
    return [
        Part(
            replace(part.train, X=prepared[id(part.train.X)]),
            None if part.valid is None else replace(part.valid, X=prepared[id(part.valid.X)]),
        )
        for part in parts
    ]


def datasets_of(estimator: Any, parts: Sequence[Part], candidates: Sequence[Candidate]) -> tuple[Any, Any]:
    """What the net is trained and validated on; parts of one X share its memory, and candidates a member's."""
    net = estimator.net_
    batches: dict[tuple[int, int], Batch] = {}
    others: dict[int, MaskedDataset] = {}
    # With nothing to learn from samples without a label, training is what it is without them.
    teach = len(estimator.modalities_) > 1 and any(
        candidate.agreement or (candidate.lam and not net.measure_.needs_y) for candidate in candidates
    )

    def dataset(samples: Samples, group: int, *, training: bool) -> MaskedDataset:
        key = id(samples.X), group
        if key not in batches:
            batches[key] = estimator._to_batch(samples.X, net.dtype, group)
        if training and teach and samples.unlabelled is not None and group not in others:
            others[group] = MaskedDataset(batches[key], dtype=net.dtype, rows=samples.unlabelled)
        return _dataset(estimator, batches[key], samples, others.get(group) if training else None)

    groups = [estimator._group_of(k) for k in range(len(parts))]
    train = [dataset(part.train, group, training=True) for part, group in zip(parts, groups, strict=True)]
    valid = [
        dataset(part.valid, group, training=False)
        for part, group in zip(parts, groups, strict=True)
        if part.valid is not None
    ]
    if not isinstance(net, CommitteeNet):
        return train[0], valid[0] if valid else None
    train, valid = ([part for part in each for _ in candidates] for each in (train, valid))
    return MemberDatasets(train), MemberDatasets(valid) if valid else None


def _dataset(estimator: Any, batch: Batch, samples: Samples, unlabelled: MaskedDataset | None) -> MaskedDataset:
    dtype = estimator.net_.dtype
    y = estimator._encode_target(samples.y, np.float64 if dtype == torch.float64 else np.float32)
    weight = samples.weight
    if weight is not None:
        # Relative to those of the same part of the folds: a sample of weight two is then one that is there twice.
        scale = weight.mean() if hasattr(estimator, "_folds") else estimator._weight_scale
        if not scale:
            raise ValueError(
                "class_weight gives every sample of a fold, or of what is left without it, the weight zero. Hold "
                "out other folds, by cv or groups, or leave out the samples of these classes."
            )
        weight = weight / scale
    return MaskedDataset(batch, y, weight, dtype=dtype, rows=samples.rows, unlabelled=unlabelled)
