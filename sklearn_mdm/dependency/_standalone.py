"""What the parameters of a DependencyEstimator make: a measure that can stand alone, and its critics."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, Protocol

from ..measures import MEASURES, Measure
from ..measures._base import CriticKind
from ..utils._parameter_objects import resolve_component
from ._decomposition import Decomposition, SummedCritic
from ._density_ratio import TrainedCritic


class Parameters(Protocol):
    """Those of an estimator that are read here."""

    measure: str | Measure
    critic: CriticKind | None
    hidden_dims: Sequence[int]
    scaling: Literal["auto", "standard", "rank"]
    decomposition: Decomposition | None
    n_components: int
    max_updates: int
    batch_size: int
    n_negatives: int
    lr: float
    weight_decay: float
    modalities_: list[Hashable]


def standalone_measure(estimator: Parameters) -> Measure:
    """Return the measure, if it needs no network and goes with the other parameters."""
    measure, decomposition = estimator.measure, estimator.decomposition
    resolved: Measure = resolve_component("measure", measure, MEASURES, "value")
    if resolved.needs_y or not resolved.stands_alone:
        reads, where = "compares representations that a network learns", "a fusion estimator"
        if resolved.needs_y:
            reads, where = "reads the predictions of a classifier", "MDMFusionClassifier"
        raise ValueError(
            f"measure={measure!r} cannot stand alone: it {reads}. Use it in {where}, or take another measure here."
        )
    if decomposition is not None and not resolved.total_correlation:
        raise ValueError(
            f"decomposition={decomposition!r} adds parts of the total correlation, which measure={measure!r} is not. "
            'Use decomposition=None, or a measure such as "kl".'
        )
    return resolved


def standalone_critic(estimator: Parameters, measure: Measure, seed: int) -> SummedCritic:
    """Return critics of all parts of the total, which are not fitted."""
    # Negatives are cheap for the encoded critic, and the square in it spares learning correlations.
    takes_any = measure.density_ratio and not measure.own_critic
    # A distance is one of columns as they are: with ranks beside them it would be another.
    distance = not measure.density_ratio and not measure.total_correlation
    scaling = "standard" if distance and estimator.scaling == "auto" else estimator.scaling

    def make() -> TrainedCritic:
        return TrainedCritic(
            measure,
            kind="encoded" if estimator.critic is None and takes_any else estimator.critic,
            hidden_dims=tuple(estimator.hidden_dims),
            n_updates=estimator.max_updates,
            batch_size=estimator.batch_size,
            n_negatives=estimator.n_negatives,
            lr=estimator.lr,
            weight_decay=estimator.weight_decay,
            n_components=estimator.n_components,
            scaling=scaling,
            seed=seed,
        )

    return SummedCritic(make, estimator.modalities_, estimator.decomposition)
