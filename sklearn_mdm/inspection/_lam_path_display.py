"""Picture of a search over lam, or of the choice that a fit made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..utils._unwrap import final_estimator
from ._display import (
    DARK,
    LIGHT,
    Artist,
    Axes,
    Display,
    legend_above,
    named_measure,
    panel_below,
    tick_with_coefficient,
)

NATS = "dependency (nats)"


class LamPathDisplay(Display):
    """Score and, in a panel below, dependency over the weight ``lam`` of the dependency term.

    Values of ``lam`` stand at equal distances: they are usually searched on a logarithmic scale, which has no place
    for 0.

    Parameters
    ----------
    lam : array of shape (n_lam,)
        Values of ``lam``, ascending.
    score, score_std : array of shape (n_lam,)
        Mean and standard deviation of the score over the folds; of a single fit (``from_estimator``) the loss, and the
        standard error of its difference to the best.
    dependency, dependency_std : array of shape (n_lam,), default=None
        Mean and standard deviation of the dependency in nats, over the folds, or over the networks of a single fit. NaN
        where there is none, as at ``lam=0``; None, or NaN, draws no error bars.
    score_name : str, default="score"
        Label of the score.
    dependency_name : str, default="dependency (nats)"
        Label of the dependency. With the default, ticks have its coefficient from 0 to 1 in brackets.
    chosen : float, default=None
        The ``lam`` to mark; None for none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the score.
    dependency_ax_ : matplotlib Axes or None
        Axes of the dependency, below those of the score.
    figure_ : matplotlib Figure
        Figure that they are in.
    score_line_, dependency_line_ : matplotlib ErrorbarContainer
        Lines with their standard deviations; the latter None without dependency.
    chosen_line_ : matplotlib Line2D or None
        Line at ``chosen``.

    See Also
    --------
    sklearn_mdm.metrics.dependency_scorer : Puts dependency into the results of a search.

    Examples
    --------
    >>> from sklearn_mdm.inspection import LamPathDisplay
    >>> cv_results = {
    ...     "param_lam": [0.0, 0.03, 0.1],
    ...     "mean_test_accuracy": [0.90, 0.91, 0.91],
    ...     "std_test_accuracy": [0.02, 0.02, 0.01],
    ...     "mean_test_dependency": [float("nan"), 1.4, 1.6],
    ...     "std_test_dependency": [float("nan"), 0.1, 0.1],
    ... }
    >>> display = LamPathDisplay.from_cv_results(cv_results, score="accuracy", dependency="dependency")
    >>> [label.get_text() for label in display.dependency_ax_.get_xticklabels()]
    ['0', '0.03', '0.1']

    The choice of a single fit:

    >>> import numpy as np
    >>> from sklearn_mdm import MDMFusionRegressor
    >>> shared = np.random.default_rng(0).normal(size=(120, 1))
    >>> noise = np.random.default_rng(1).normal(size=(2, 120, 3))
    >>> X = {"audio": shared + noise[0], "text": shared + noise[1]}
    >>> model = MDMFusionRegressor(lam=[0, 0.1, 1], n_estimators=2, max_epochs=5, random_state=0)
    >>> display = LamPathDisplay.from_estimator(model.fit(X, shared.ravel()))
    >>> display.chosen == model.lam_
    True
    """

    dependency_ax_: Axes | None
    score_line_: Artist
    dependency_line_: Artist | None
    chosen_line_: Artist | None

    def __init__(
        self,
        lam: np.ndarray,
        score: np.ndarray,
        score_std: np.ndarray,
        dependency: np.ndarray | None = None,
        dependency_std: np.ndarray | None = None,
        *,
        score_name: str = "score",
        dependency_name: str = NATS,
        chosen: float | None = None,
    ) -> None:
        self.lam = lam
        self.score = score
        self.score_std = score_std
        self.dependency = dependency
        self.dependency_std = dependency_std
        self.score_name = score_name
        self.dependency_name = dependency_name
        self.chosen = chosen

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None, **kwargs: Any) -> LamPathDisplay:
        """Draw what a fit chose ``lam`` by: held-out loss and its paired standard error, and dependency in training.

        The latter has its standard deviation over the networks of a candidate. Where the weight of agreement was
        chosen, too, these are the candidates of the one that was.

        Parameters
        ----------
        estimator : object
            Fitted fusion estimator with ``lam_path_``, or a pipeline or search around one.
        ax : matplotlib Axes, default=None
            Axes to draw on; new ones if None.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : LamPathDisplay

        Raises
        ------
        TypeError
            If the fit made no choice; the message says why.
        """
        final, _ = final_estimator(estimator)
        try:
            path = final.lam_path_
        except AttributeError as error:  # which says why
            raise TypeError(f"there is no choice of lam to draw: {error}") from None
        if "agreement" in path:  # else there were two candidates of each lam
            path = path[path["agreement"] == path["agreement"][path["chosen"].idxmax()]]
        dependency, std = (path.reindex(columns=[c])[c].to_numpy() for c in ("dependency", "dependency_std"))
        return cls(
            path["lam"].to_numpy(),
            path["loss"].replace(np.inf, np.nan).to_numpy(),
            path["loss_se"].to_numpy(),
            dependency if np.isfinite(dependency).any() else None,
            std if np.isfinite(std).any() else None,
            score_name="held-out loss",
            dependency_name=named_measure(final, "dependency term in training"),
            chosen=final.lam_,
        ).plot(ax, **kwargs)

    @classmethod
    def from_cv_results(
        cls,
        cv_results: Mapping[str, Any],
        *,
        score: str = "score",
        dependency: str | None = None,
        param: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> LamPathDisplay:
        """Draw the results of a search.

        Parameters
        ----------
        cv_results : dict
            ``cv_results_`` of a search over ``lam``. Where other parameters were searched too, the best score of each
            ``lam`` is shown, and the dependency that goes with it. Rows of a grid without ``lam`` are left out.
        score : str, default="score"
            Name of the metric in ``cv_results``: ``"score"`` if there was only one.
        dependency : str, default=None
            Name of the metric that is :func:`~sklearn_mdm.metrics.dependency_scorer`. None shows the score only.
        param : str, default=None
            Name of the parameter. None finds ``"lam"`` or, in a pipeline, the one that ends on ``"__lam"``.
        ax : matplotlib Axes, default=None
            Axes to draw on; new ones if None.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : LamPathDisplay
        """
        searched = [key for key in cv_results if key.startswith("param_")]
        if param is None:
            keys = [key for key in searched if key == "param_lam" or key.endswith("__lam")]
        else:
            keys = ["param_" + param]
        if len(keys) != 1 or keys[0] not in cv_results:
            found = sorted(key.removeprefix("param_") for key in searched)
            raise ValueError(f"expected one parameter lam in cv_results, found {found}. Pass param= to name it.")
        for name in (score, dependency):
            if name is not None and f"mean_test_{name}" not in cv_results:
                found = sorted(key.removeprefix("mean_test_") for key in cv_results if key.startswith("mean_test_"))
                raise ValueError(f"cv_results has no metric {name!r}; found {found}.")
        # A search over a list of grids masks the parameter where a grid does not have it.
        column = np.ma.asarray(cv_results[keys[0]])
        there = ~np.ma.getmaskarray(column)
        if not there.any():
            raise ValueError(f"cv_results has no value of {keys[0].removeprefix('param_')!r}: every row is masked.")
        lams = np.full(len(column), np.nan)
        lams[there] = np.asarray(column[there], dtype=float)
        means = np.asarray(cv_results[f"mean_test_{score}"], dtype=float)
        values = np.unique(lams[there])
        rows_of = [np.flatnonzero(lams == lam) for lam in values]
        best = [rows[np.argmax(np.nan_to_num(means[rows], nan=-np.inf))] for rows in rows_of]
        columns = [
            np.asarray(cv_results[f"{kind}_test_{name}"], dtype=float)[best]
            for name in (score, dependency)
            if name is not None
            for kind in ("mean", "std")
        ]
        return cls(values, *columns, score_name=score.replace("_", " ")).plot(ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> LamPathDisplay:
        """Draw the path.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, whose place the two panels share; new ones if None.
        **kwargs : dict
            Passed to ``ax.errorbar`` for the score.

        Returns
        -------
        display : LamPathDisplay
        """
        ax = self._draw_on(ax, (6.4, 4.8 if self.dependency is None else 6.0))
        positions = np.arange(len(self.lam))
        style = {"color": DARK, "marker": "o", "linestyle": "-", "capsize": 3}
        self.score_line_ = ax.errorbar(positions, self.score, self.score_std, **{**style, **kwargs})
        ax.set(ylabel=self.score_name, xticks=positions)
        ax.set_xticklabels([f"{lam:g}" for lam in self.lam])
        self.dependency_ax_ = self.dependency_line_ = self.chosen_line_ = None
        if self.dependency is not None:
            self.dependency_ax_ = panel_below(ax)
            style = {"color": LIGHT, "marker": "s", "linestyle": "--", "capsize": 3}
            self.dependency_line_ = self.dependency_ax_.errorbar(
                positions, self.dependency, self.dependency_std, **style
            )
            self.dependency_ax_.set_ylabel(self.dependency_name)
            if self.dependency_name == NATS:
                self.dependency_ax_.set_ylabel("dependency in nats (coefficient)")
                self.dependency_ax_.yaxis.set_major_formatter(tick_with_coefficient)
        panels = [panel for panel in (ax, self.dependency_ax_) if panel is not None]
        panels[-1].set_xlabel("lam")
        if self.chosen is not None:
            place = int(np.argmin(np.abs(np.asarray(self.lam) - self.chosen)))
            style = {"color": "black", "linestyle": ":", "linewidth": 1, "zorder": 0}
            label = f"chosen: {self.chosen:g}"
            self.chosen_line_, *_ = [panel.axvline(place, label=label, **style) for panel in panels]
            legend_above(ax)
        return self
