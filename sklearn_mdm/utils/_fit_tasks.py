"""Callbacks of scikit-learn, from 1.9 on: what ``set_callbacks`` registers follows ``fit``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # an older scikit-learn
    CallbackSupportMixin, with_callbacks = type("CallbackSupportMixin", (), {}), None


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


def _nothing(estimator: Any) -> None:
    """Do nothing."""
