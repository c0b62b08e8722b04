"""Models beside the networks of a committee, fitted after these, and the weights of all by what was held out."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from ..inputs._observed import Observed
from ..net._inference import evaluate
from ._blend import MAX_INPUTS, MAX_KERNEL_ROWS, MAX_NUMBERS, MIN_COMPLETED, Blend, Model, views_of, weighted, width_of
from ._convex_weights import convex_weights
from ._few_labels import fixed_weights
from ._kernel_member import KernelMember
from ._linear_member import LinearMember
from ._members import Part
from ._partly_labelled import PartlyLabelledModel
from ._samples import Samples
from ._spreading_member import SpreadingMember
from ._views import View

# Rows that the models beside the networks predict at a time.
BATCH_ROWS = 4096


def fit_blend(
    estimator: Any,
    samples: Samples,
    parts: Sequence[Part],
    out_of_fold: list[np.ndarray] | None,
    completed: np.ndarray,
) -> Blend | None:
    """Fit models beside the networks, and weigh these and the groups of networks by predictions held out.

    ``completed`` (n_samples,) says for which samples these are of what a critic completed.
    """
    if estimator._n_members == 1:
        return None
    samples = replace(samples, X=parts[0].train.X)
    loss = "log_loss" if is_classifier(estimator) else estimator.loss
    y = estimator._encode_target(samples.y, np.float64)
    splits = [(p.train.rows, p.valid.rows) for p in parts if p.valid is not None and p.valid.X is samples.X]
    models: dict[str, Model] = {}
    wanted = _wanted_models(estimator, samples)
    labelled = None
    for name, kind in wanted.items():
        build = functools.partial(kind, loss, estimator._n_net_outputs() if is_classifier(estimator) else 0)
        model = PartlyLabelledModel(build) if np.isnan(y).any() else build()
        most = _most_on_disk(estimator, samples, kind)
        if most is not None and len(y) > most:
            models[name] = _fitted_to_part(estimator, model, samples, y, splits, most)
            continue
        if labelled is None:
            labelled = _views(estimator, samples.X.take(samples.rows))
        # Of all samples, labelled ones come first.
        views = _views(estimator, samples.X) if kind is SpreadingMember else labelled
        models[name] = model.fit(views, y, samples.weight, splits, samples.units)
    n_groups = len(estimator._scalings) + len(models)
    if n_groups == 1:
        return None
    even = np.full(n_groups, 1 / n_groups)
    fixed = even if samples.unlabelled is None else fixed_weights(len(estimator._scalings), models)
    valid = parts[0].valid
    if out_of_fold is not None:
        held_out = [model.oof for model in models.values()]
        weights = _weights_of(estimator, out_of_fold, held_out, y, samples.weight, loss)
        of_completed = None
        if completed.sum() >= MIN_COMPLETED:
            networks, outputs = ([values[completed] for values in each] for each in (out_of_fold, held_out))
            weight = None if samples.weight is None else samples.weight[completed]
            of_completed = _weights_of(estimator, networks, outputs, y[completed], weight, loss)
        return Blend(models, weights, of_completed)
    if valid is not None and valid.X is not samples.X:  # X_val
        networks = [evaluate(net, valid.X, to_batch, "prediction") for net, to_batch in estimator._groups()]
        y = estimator._encode_target(valid.y, np.float64)
        outputs = model_outputs(estimator, Blend(models, fixed), valid.X)
        weights = _weights_of(estimator, networks, outputs, y, valid.weight, loss)
        return Blend(models, weights)
    return Blend(models, fixed)


def model_outputs(estimator: Any, blend: Blend, X: Observed, wanted: Collection[str] | None = None) -> list[np.ndarray]:
    """What the models beside the networks predict, or those of these names."""
    wanted = blend.models if wanted is None else wanted
    parts = [blend.outputs(estimator._to_batch(part, estimator.net_.dtype), wanted) for part in X.batches(BATCH_ROWS)]
    return [np.concatenate(of_model) for of_model in zip(*parts, strict=True)]


def _views(estimator: Any, X: Observed) -> list[View]:
    """What the models beside the networks read of X."""
    return views_of(estimator._to_batch(X.loaded(), estimator.net_.dtype))


def _most_on_disk(estimator: Any, samples: Samples, kind: type) -> int | None:
    """Rows on disk that such a model is fitted to; None for all."""
    if not samples.X.on_disk:
        return None
    width = width_of(estimator._to_batch(samples.X.take(slice(1)).loaded(), estimator.net_.dtype))
    most = max(1, MAX_NUMBERS // width)
    if kind is SpreadingMember and len(samples.X) > min(most, MAX_KERNEL_ROWS):
        raise ValueError(
            f"spreading_member=True compares all samples with all, and X holds {len(samples.X)} on disk, of which "
            f"at most {min(most, MAX_KERNEL_ROWS)} are read for it. Leave it out, or pass arrays in memory."
        )
    return min(most, MAX_KERNEL_ROWS) if kind is KernelMember else most


def _fitted_to_part(
    estimator: Any, model: Any, samples: Samples, y: np.ndarray, splits: list[tuple[np.ndarray, np.ndarray]], most: int
) -> Any:
    """Fit a model beside the networks to a random part of the rows; others are held out by all of it."""
    order = np.random.default_rng(estimator._seed).permutation(len(y))
    known, others = np.sort(order[:most]), np.sort(order[most:])
    part, place = samples.take(known), np.full(1 + samples.rows.max(), -1)
    place[part.rows] = np.arange(most)
    own = [tuple(place[rows][place[rows] >= 0] for rows in split) for split in splits]
    own = [split for split in own if all(map(len, split))]
    model.fit(_views(estimator, samples.X.take(part.rows)), y[known], part.weight, own, part.units)
    oof = np.full((len(y), model.oof.shape[1]), np.nan)
    oof[known] = model.oof
    rest = samples.X.batches(BATCH_ROWS, samples.rows[others])
    oof[others] = np.concatenate([model.outputs(_views(estimator, some)) for some in rest])
    model.oof = oof
    return model


def _weights_of(
    estimator: Any,
    networks: list[np.ndarray],
    models: list[np.ndarray],
    y: np.ndarray,
    weight: np.ndarray | None,
    loss: str,
) -> np.ndarray:
    """Weights of groups of networks and of models beside them, (n_groups,), from outputs for samples held out."""
    if np.isfinite(np.stack(networks)).all(axis=(0, 2)).any():
        return convex_weights(np.stack([*networks, *models]), y, weight, loss)
    # Groups that hold out different folds have no sample by which to compare them, except with the models.
    even = np.full(len(networks), 1 / len(networks))
    together = weighted(networks, even, estimator._average_outputs)
    found = convex_weights(np.stack([together, *models]), y, weight, loss)
    return np.concatenate([found[0] * even, found[1:]])


def _wanted_models(estimator: Any, samples: Samples) -> dict[str, type[LinearMember | KernelMember | SpreadingMember]]:
    """The models beside the networks, by name."""
    width = width_of(estimator._to_batch(samples.X.take(slice(1)).loaded(), estimator.net_.dtype))
    # Texts have no columns before the fusion has read them.
    pays = not len(estimator._schema.unscaled) and not hasattr(estimator._member_nets()[0].fusion_module_, "prepare")
    pays &= width <= MAX_INPUTS and width * len(samples.y) <= MAX_NUMBERS
    wanted: dict[str, type[LinearMember | KernelMember | SpreadingMember]] = {}
    if pays if estimator.linear_member == "auto" else estimator.linear_member:
        wanted["linear"] = LinearMember
    if pays and len(samples.y) <= MAX_KERNEL_ROWS if estimator.kernel_member == "auto" else estimator.kernel_member:
        wanted["kernel"] = KernelMember
    if samples.unlabelled is not None and is_classifier(estimator):
        asked = estimator.spreading_member
        if pays and len(samples.X) <= MAX_KERNEL_ROWS if asked == "auto" else asked:
            wanted["spreading"] = SpreadingMember
    return wanted
