"""Member: one of the nets that a committee trains side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ._net import OF_TRAINING, MDMNet


class Member(MDMNet):
    """A net that draws, counts and remembers as one that is trained alone would; the committee makes the updates."""

    # What tells it from others in errors, and whether its critic learns, or samples without a target are drawn, without
    # need, so that all are computed as one.
    label = ""
    rides_along = draws_along = False

    def initialize_optimizer(self, triggered_directly: Any = None) -> MDMNet:
        """Leave that to the committee."""
        return self

    def on_epoch_end(self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **kwargs: Any) -> None:
        """Record losses, that which stops the training among them."""
        self.term_active_ = self.term_active_ and bool(self.lam)
        super().on_epoch_end(net, dataset_train=dataset_train, dataset_valid=dataset_valid, **kwargs)
        self.rows_seen_ = {part: totals.counts.get("task", 0) for part, totals in self.totals_.items()}
        self.history.record("train_loss", self.totals_["train"].mean("loss"))
        if self.totals_["valid"]:
            self.history.record("valid_loss", self.totals_["valid"].mean("task"))

    def _wants_critic(self) -> bool:
        return self.rides_along or super()._wants_critic()

    def _wants_pool(self) -> bool:
        return self.draws_along or super()._wants_pool()

    def _record(self, *args: Any) -> None:
        with self._named():
            super()._record(*args)

    def _record_validation(self, *args: Any) -> None:
        with self._named():
            super()._record_validation(*args)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except FloatingPointError as error:
            raise FloatingPointError(f"{self.label}{error}") from error.__cause__

    def __getstate__(self) -> dict[str, Any]:
        # Modules are pickled with the committee, which hands them out again.
        apart = ("module_", "critic_", "criterion_", *OF_TRAINING)
        return {name: value for name, value in vars(self).items() if name not in apart}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def label_of(own: Mapping[str, Any], settings: Sequence[Mapping[str, Any]]) -> str:
    """What begins an error of a member of these settings: those in which members differ."""
    told = [f"{name}={value:g}" for name, value in own.items() if any(other[name] != value for other in settings)]
    return ", ".join(told) + ": " if told else ""


def record_each(
    members: Sequence[MDMNet],
    sizes: Sequence[int],
    of_term: Sequence[int],
    loss: list[float],
    task: list[float],
    logged: list[float] | None,
    dependency: list[float] | None,
) -> None:
    """Record a step of each member; those of these positions have a dependency term."""
    values = dict(zip(of_term, dependency or (), strict=True))
    for i, (member, n) in enumerate(zip(members, sizes, strict=True)):
        member._record(n, loss[i], task[i], None if logged is None else logged[i], values.get(i))


def record_validation_of_each(
    members: Sequence[MDMNet], sizes: Sequence[int], task: list[float], logged: list[float] | None
) -> None:
    """Record a batch of validation of each member."""
    for i, (member, n) in enumerate(zip(members, sizes, strict=True)):
        member._record_validation(n, task[i], None if logged is None else logged[i])
