"""Picture of a training run."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from ..net._member_history import known_std
from ..utils._unwrap import final_estimator
from ._display import DARK, LIGHT, Artist, Axes, Display, legend_above, named_measure, panel_below, styled


class TrainingDisplay(Display):
    """Both terms of the loss over the epochs: the task loss and, below, the estimate of dependency that is maximised.

    Of a committee these are means over the members that were still trained; bands are their standard deviations.

    Parameters
    ----------
    task_loss : array of shape (n_epochs,)
        Task loss on the training samples.
    validation_loss : array of shape (n_epochs,), default=None
        Task loss on the held-out samples; None or NaN without them.
    dependency : array of shape (n_epochs,), default=None
        Dependency term, in nats or the unit of its measure; None or NaN at ``lam=0``.
    lam : float, default=None
        Weight of the dependency term, for its title.
    task_loss_std, validation_loss_std, dependency_std : array of shape (n_epochs,), default=None
        Standard deviations over the members, drawn as bands.
    dependency_name : str, default="dependency term"
        Label of the dependency term: ``from_estimator`` names its measure and the unit of that.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the task loss.
    dependency_ax_ : matplotlib Axes or None
        Axes of the dependency term, below those of the task loss.
    figure_ : matplotlib Figure
        Figure that they are in.
    task_line_, validation_line_, dependency_line_ : matplotlib Line2D
        Lines; None where there is nothing to show.

    Notes
    -----
    The estimate is that of the critic in training, on samples that it is trained on: it tells whether the term moves,
    not how dependent the modalities are. ``dependency_score`` on new samples does.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> from sklearn_mdm.inspection import TrainingDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = {"a": rng.normal(size=(60, 2)), "b": rng.normal(size=(60, 2))}
    >>> model = MDMFusionRegressor(lam=0.1, max_epochs=3, random_state=0).fit(X, X["a"][:, 0])
    >>> display = TrainingDisplay.from_estimator(model)
    >>> display.task_line_.get_xdata().tolist()
    [1, 2, 3]
    """

    dependency_ax_: Axes | None
    task_line_: Artist
    validation_line_: Artist | None
    dependency_line_: Artist | None

    def __init__(
        self,
        task_loss: np.ndarray,
        validation_loss: np.ndarray | None = None,
        dependency: np.ndarray | None = None,
        *,
        lam: float | None = None,
        task_loss_std: np.ndarray | None = None,
        validation_loss_std: np.ndarray | None = None,
        dependency_std: np.ndarray | None = None,
        dependency_name: str = "dependency term",
    ) -> None:
        self.task_loss = task_loss
        self.validation_loss = validation_loss
        self.dependency = dependency
        self.lam = lam
        self.task_loss_std = task_loss_std
        self.validation_loss_std = validation_loss_std
        self.dependency_std = dependency_std
        self.dependency_name = dependency_name

    @classmethod
    def from_estimator(cls, estimator: BaseEstimator, *, ax: Axes | None = None, **kwargs: Any) -> TrainingDisplay:
        """Draw the training of a fitted estimator.

        Parameters
        ----------
        estimator : object
            Fitted fusion estimator, or a pipeline or search around one.
        ax : matplotlib Axes, default=None
            Axes to draw on; new ones if None.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : TrainingDisplay
        """
        final, _ = final_estimator(estimator)
        if not hasattr(final, "loss_curve_") or not hasattr(final, "dependency_curve_"):
            raise TypeError(
                f"{type(final).__name__} has no curves of a training with a dependency term. Pass a fitted "
                "MDMFusionClassifier or MDMFusionRegressor, or a pipeline or search around one."
            )
        curves = (final.loss_curve_, final.validation_loss_curve_, final.dependency_curve_)
        keys = {"task_loss": "train_task_loss", "validation_loss": "valid_task_loss", "dependency": "train_dependency"}
        spread = {f"{name}_std": _std_over_members(final.history_, f"{key}_of_members") for name, key in keys.items()}
        name = named_measure(final, "dependency term")
        return cls(*map(np.asarray, curves), lam=final.lam_, dependency_name=name, **spread).plot(ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> TrainingDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; new ones if None.
        **kwargs : dict
            Passed to ``ax.plot`` for the task loss on the training samples.

        Returns
        -------
        display : TrainingDisplay
        """
        there = _is_there(self.dependency)
        ax = self._draw_on(ax, (6.4, 6.0 if there else 4.8))
        epochs = np.arange(1, len(self.task_loss) + 1)
        style = {"color": DARK, "linestyle": "-", "label": "task loss, training"}
        (self.task_line_,) = ax.plot(epochs, self.task_loss, **styled("lines.Line2D", style, kwargs))
        _draw_band(ax, self.task_line_, self.task_loss_std)
        self.validation_line_ = self.dependency_line_ = self.dependency_ax_ = None
        if _is_there(self.validation_loss):
            (self.validation_line_,) = ax.plot(
                epochs, self.validation_loss, color="black", linestyle=":", linewidth=2, label="task loss, held out"
            )
            _draw_band(ax, self.validation_line_, self.validation_loss_std)
        ax.set_ylabel("task loss")
        if there:
            self.dependency_ax_ = panel_below(ax)
            (self.dependency_line_,) = self.dependency_ax_.plot(
                epochs, self.dependency, color=LIGHT, linestyle="--", linewidth=2
            )
            _draw_band(self.dependency_ax_, self.dependency_line_, self.dependency_std)
            weight = "" if self.lam is None else f"\n(weight {self.lam:g})"
            self.dependency_ax_.set_ylabel(self.dependency_name + weight)
        (self.dependency_ax_ or ax).set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        legend_above(ax)
        return self


def _std_over_members(history: Any, key: str) -> np.ndarray:
    """Standard deviation at each epoch over the members that were still trained, NaN where that was one."""
    return np.array([known_std(row.get(key, [])) for row in history])


def _draw_band(ax: Axes, line: Any, std: np.ndarray | None) -> None:
    if _is_there(std):
        x, y = line.get_data()
        ax.fill_between(x, y - std, y + std, color=line.get_color(), alpha=0.2, linewidth=0)


def _is_there(curve: np.ndarray | None) -> bool:
    return curve is not None and bool(np.isfinite(curve).any())
