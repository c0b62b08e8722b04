"""When an estimate of dependency cannot be trusted, and the warnings that say so."""

from __future__ import annotations

import math
import warnings

from ..exceptions import (
    BatchLimitWarning,
    DependencyWarning,
    OverfittingWarning,
    SampleLimitWarning,
    StillRisingWarning,
)

# Values this near, in nats, to the logarithm of the number of samples rest on the few most dependent of them.
LOG_N_MARGIN = 1.5
# Share of the largest possible value from which on a contrastive measure is saturated.
SATURATED = 0.8
# Fall of the loss over the last tenth of the updates, relative to what was gained in all.
RISING = 0.02
# What the training rows may say above held-out ones, in nats and relative to the value.
EXCESS, RELATIVE_EXCESS = 0.25, 0.25


def find_warnings(
    value: float, train_value: float, n_negatives: int, curve: list[float], *, in_nats: bool, limit: float | None
) -> dict[type[DependencyWarning], str]:
    """Return the warnings that an estimate deserves, with their texts.

    ``value`` and ``train_value`` are estimates on held-out samples, told from ``n_negatives`` each, and on training
    samples, ``curve`` the loss on the validation samples at each check, from before training on, and ``limit`` the
    largest possible value of the measure.
    """
    found: dict[type[DependencyWarning], str] = {}
    if in_nats and value > max(0.0, math.log(n_negatives) - LOG_N_MARGIN):
        found[SampleLimitWarning] = (
            f"dependency is at least {value:.2f} nats: as much as that is near log({n_negatives}) = "
            f"{math.log(n_negatives):.2f}, the most that so many held-out samples can show. Pass more samples, or "
            'split the total with decomposition="line".'
        )
    if limit is not None and value > SATURATED * limit:
        found[BatchLimitWarning] = (
            f"the value of {value:.2f} is near {limit:.2f}, the largest that this measure takes with such batches. "
            'Raise batch_size, or use measure="kl".'
        )
    last, gained = max(1, len(curve) // 10), curve[0] - min(curve)
    if len(curve) > 2 and curve[-1 - last] - curve[-1] > RISING * gained and curve[-1] == min(curve) and gained > 0.01:
        found[StillRisingWarning] = (
            "the critic was still improving when its updates were used up: the value is too low. Raise max_updates."
        )
    saturated = SampleLimitWarning in found or BatchLimitWarning in found
    if not saturated and train_value - value > max(EXCESS, RELATIVE_EXCESS * abs(value)):
        found[OverfittingWarning] = (
            f"the critic says {train_value:.2f} about the samples it was trained on and {value:.2f} about held-out "
            "ones. The value is likely too low: pass more samples, or reduce the number of features."
        )
    return found


def warn_all(found: dict[type[DependencyWarning], str], stacklevel: int) -> None:
    """Issue the warnings."""
    for category, text in found.items():
        warnings.warn(text, category, stacklevel=stacklevel + 1)
