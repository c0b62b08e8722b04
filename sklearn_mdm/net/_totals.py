"""Losses of an epoch, summed over its steps, and the errors that tell of steps whose losses are no numbers."""

from __future__ import annotations

import math


class Totals:
    """Running means, weighted by the number of rows."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.counts)

    def add(self, n: int, **values: float) -> None:
        """Add means over n rows."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + n * value
            self.counts[name] = self.counts.get(name, 0) + n

    def mean(self, name: str) -> float:
        """Mean over all rows, NaN if there is none."""
        return self.sums[name] / self.counts[name] if name in self.counts else math.nan


def check_step(loss: float, task: float, dependency: float | None, epoch: int) -> None:
    """Raise an error that names the terms of a training step which are not finite."""
    if math.isfinite(loss):
        return
    named = {"task loss": task, "dependency term": dependency or 0.0}
    culprits = [f"{name} ({value})" for name, value in named.items() if not math.isfinite(value)]
    raise FloatingPointError(
        f"non-finite {' and '.join(culprits) or 'penalty of the fusion module'} in epoch {epoch}. Try a smaller lr"
        f"{', critic_lr or lam' if dependency is not None else ''}, or look for extreme values in X and y."
    )


def check_validation(loss: float, epoch: int) -> None:
    """Raise an error if the loss of a validation batch is not finite."""
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"non-finite task loss ({loss}) on the validation samples in epoch {epoch}. Look for extreme values in "
            "them, or try a smaller lr."
        )
