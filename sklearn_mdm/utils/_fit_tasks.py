"""Callbacks of scikit-learn, from 1.9 on: what ``set_callbacks`` registers follows ``fit``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # an older scikit-learn
    CallbackSupportMixin, with_callbacks = type("CallbackSupportMixin", (), {}), None

T = TypeVar("T")


@contextlib.contextmanager
def fit_task(estimator: Any, X: Any, y: Any, n_subtasks: int = 0) -> Iterator[None]:
    """Tell the callbacks of an estimator of its fit, in which at most so many tasks follow one another.

    Not a decorator: warnings of ``fit`` count the frames up to its caller.
    """
    if with_callbacks is None:
        yield
        return
    try:
        context = estimator._init_callback_context(max_subtasks=n_subtasks)
        context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)
        yield
        context.call_on_fit_task_end(estimator=estimator, X=X, y=y, reconstruction_attributes={})
    finally:
        with_callbacks(_nothing)(estimator)  # which tears down


def subtasks(estimator: Any, name: str, parts: Iterable[T]) -> Iterator[T]:
    """Yield the parts of a fit, and tell the callbacks of the estimator, if any follow it, of each as a task."""
    context = vars(estimator).get("_callback_fit_ctx")
    for part in parts:
        task = None if context is None else context.subcontext(task_name=name)
        if task is not None:
            task.call_on_fit_task_begin(estimator=estimator)
        yield part
        if task is not None:
            task.call_on_fit_task_end(estimator=estimator)


def without_callbacks(estimator: T) -> T:
    """Return an estimator, a clone that is fitted for some other purpose, of which its callbacks are not told."""
    vars(estimator).pop("_skl_callbacks", None)
    return estimator


def _nothing(estimator: Any) -> None:
    """Do nothing."""
