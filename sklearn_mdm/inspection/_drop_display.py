"""Picture of the scores without subsets of modalities."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ._drop import modality_drop
from ._style import DARK, HATCHES, LIGHT, axes_for, graded_colors

# With more subsets than these, bars are too many to be read.
MOST_BARS = 16


class ModalityDropDisplay:
    """Scores of an estimator without each subset of the modalities.

    Bars, one for each subset, or with many modalities their spread by the number of modalities left out.

    Parameters
    ----------
    table : DataFrame
        What :func:`modality_drop` returns.
    score_name : str, default="score"
        Label of the scores.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure that they are in.
    bars_ : matplotlib BarContainer or None
        Bars in the order of the table, if ``kind="bars"``.
    points_, line_ : matplotlib artists or None
        A point for each subset, and the line of their means, if ``kind="strata"``.

    See Also
    --------
    modality_drop : Computes the table.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from sklearn_mdm.inspection import ModalityDropDisplay
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=200)
    >>> X = np.column_stack([y + rng.normal(size=200), rng.normal(size=200)])
    >>> model = HistGradientBoostingClassifier(max_iter=5).fit(X, y)
    >>> modalities = {"signal": [0], "noise": [1]}
    >>> display = ModalityDropDisplay.from_estimator(model, X, y, modalities=modalities, random_state=0)
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['noise + signal', 'signal', 'noise']
    """

    ax_: Any
    figure_: Any
    bars_: Any
    points_: Any
    line_: Any

    def __init__(self, table: pd.DataFrame, *, score_name: str = "score") -> None:
        self.table = table
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        scoring: Any = None,
        n_repeats: int = 50,
        max_subsets: int = 20,
        modalities: Mapping[Hashable, Any] | None = None,
        random_state: Any = None,
        ax: Any = None,
        kind: str = "auto",
        **kwargs: Any,
    ) -> ModalityDropDisplay:
        """Compute the scores and draw them.

        Parameters
        ----------
        estimator : object
            Fitted estimator that predicts from samples with missing modalities.
        X : dict, ModalityDict, data frame or array
            Samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        scoring : str, callable or None, default=None
            One metric. None takes the estimator's own score.
        n_repeats : int, default=50
            Bootstrap samples for the standard errors.
        max_subsets : int, default=20
            Most subsets of each size.
        modalities : dict, default=None
            Columns of each modality of a flat X.
        random_state : int, RandomState instance or None, default=None
            Source of randomness.
        ax : matplotlib Axes, default=None
            Axes to draw on; new ones if None.
        kind : {"auto", "bars", "strata"}, default="auto"
            See :meth:`plot`.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : ModalityDropDisplay
        """
        table = modality_drop(
            estimator,
            X,
            y,
            scoring=scoring,
            n_repeats=n_repeats,
            max_subsets=max_subsets,
            modalities=modalities,
            random_state=random_state,
        )
        name = scoring.replace("_", " ") if isinstance(scoring, str) else "score"
        return cls(table, score_name=name).plot(ax, kind=kind, **kwargs)

    def plot(self, ax: Any = None, *, kind: str = "auto", **kwargs: Any) -> ModalityDropDisplay:
        """Draw the scores.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; new ones if None.
        kind : {"auto", "bars", "strata"}, default="auto"
            ``"bars"``: one bar for each subset, named by the modalities that are kept, with a bootstrap standard error.
            ``"strata"``: scores against the number of modalities left out. ``"auto"``: bars of up to 16 subsets.
        **kwargs : dict
            Passed to ``ax.barh`` or, for the points, ``ax.plot``.

        Returns
        -------
        display : ModalityDropDisplay
        """
        if kind not in ("auto", "bars", "strata"):
            raise ValueError(f"kind must be 'auto', 'bars' or 'strata', got {kind!r}.")
        if kind == "auto":
            kind = "bars" if len(self.table) <= MOST_BARS else "strata"
        self.bars_ = self.points_ = self.line_ = None
        self._plot_bars(ax, kwargs) if kind == "bars" else self._plot_strata(ax, kwargs)
        self.figure_ = self.ax_.figure
        return self

    def _plot_bars(self, ax: Any, kwargs: dict) -> None:
        table = self.table
        self.ax_ = axes_for(self, ax, (6.4, 1.2 + 0.36 * len(table)))
        n_dropped = table["dropped"].map(len).to_numpy()
        colors = graded_colors(n_dropped.max() + 1)
        labels = [" + ".join(map(str, kept)) for kept in table["kept"]]
        style = {
            "color": [colors[n] for n in n_dropped],
            "edgecolor": "black",
            "hatch": [HATCHES[n % len(HATCHES)] for n in n_dropped],
            "error_kw": {"ecolor": "black", "capsize": 3},
        }
        self.bars_ = self.ax_.barh(
            np.arange(len(table)), table["score"], xerr=table["score_std"], **{**style, **kwargs}
        )
        self.ax_.axvline(table["score"].iloc[0], color="black", linestyle="--", linewidth=1)
        self.ax_.set(yticks=np.arange(len(table)), yticklabels=labels, xlabel=self.score_name, ylabel="modalities kept")
        self.ax_.invert_yaxis()

    def _plot_strata(self, ax: Any, kwargs: dict) -> None:
        self.ax_ = axes_for(self, ax)
        n_dropped, score = self.table["dropped"].map(len), self.table["score"]
        means = score.groupby(n_dropped).mean()
        style = {"color": LIGHT, "marker": "o", "linestyle": "", "markeredgecolor": "black", "label": "one subset"}
        (self.points_,) = self.ax_.plot(n_dropped, score, **{**style, **kwargs})
        (self.line_,) = self.ax_.plot(means.index, means, color=DARK, marker="s", label="mean")
        self.ax_.set(xlabel="modalities left out", ylabel=self.score_name, xticks=means.index)
        self.ax_.legend(frameon=False)
