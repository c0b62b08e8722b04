"""What is lost when modalities are missing at prediction: a table, and its picture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from numbers import Integral
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from ..utils._typing import RandomState
from ._display import DARK, HATCHES, LIGHT, Artist, Axes, Display, graded_colors
from ._scores import PARAMETER_CHECKS, SubsetScores
from ._views import ModalityColumns

# With more subsets than these, bars are too many to be read.
MAX_BARS = 16


@validate_params(
    PARAMETER_CHECKS | {"max_subsets": [Interval(Integral, 1, None, closed="left")]},
    prefer_skip_nested_validation=True,
)
def modality_drop(
    estimator: BaseEstimator,
    X: Any,
    y: Any,
    *,
    scoring: str | Callable[..., Any] | None = None,
    n_repeats: int = 50,
    max_subsets: int = 20,
    modalities: ModalityColumns | None = None,
    random_state: RandomState = None,
) -> pd.DataFrame:
    """Score a fitted estimator without each subset of the modalities.

    The modalities that are left out are not observed at all: NaN in arrays and data frames, None in lists. Nothing is
    trained; an estimator that was never shown a missing modality is judged as it is.

    Parameters
    ----------
    estimator : object
        Fitted estimator that predicts from samples with missing modalities: a fusion estimator, or any other, such as a
        pipeline that imputes NaN, or a search around one.
    X : dict, ModalityDict, data frame or array
        Samples, best ones that the estimator was not fitted on. Those that lack a modality already are left out, with
        a warning.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), or None
        Their targets; None for a scoring that does without.
    scoring : str, callable or None, default=None
        One metric, as for :func:`~sklearn.model_selection.cross_val_score`. None takes the estimator's own score.
    n_repeats : int, default=50
        Bootstrap samples for the standard errors, drawn within classes for a classifier, whose sizes count
        as given. Predictions are made once for each subset.
    max_subsets : int, default=20
        Most subsets of each size that are looked at; of more, that many are drawn at random. 20 is enough for all
        subsets of up to six modalities.
    modalities : dict, default=None
        Columns of each modality where X is a 2-D array or a flat frame, as in
        :class:`~sklearn.compose.ColumnTransformer`. None takes those that the estimator was fitted with.
    random_state : int, RandomState instance or None, default=None
        Source of the bootstrap samples, and of subsets where they are drawn.

    Returns
    -------
    table : DataFrame
        One row per subset, the first with everything kept, by number of modalities left out. ``kept`` and ``dropped``
        are tuples of names; ``score``; ``change``, the score minus that of the first row; ``score_std`` and
        ``change_std``, their bootstrap standard errors. The samples are the same in all rows, so a change may be far
        better known than a score.

    Raises
    ------
    ValueError
        If the estimator does not predict with missing modalities, X holds fewer than two, or y is None and the scoring
        needs it.

    See Also
    --------
    modality_importance : Re-draws modalities instead, which any estimator takes.
    ModalityDropDisplay : Picture of this table.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from sklearn_mdm.inspection import modality_drop
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=400)
    >>> X = np.column_stack([y + 0.1 * rng.normal(size=400), rng.normal(size=400)])
    >>> model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(X[:200], y[:200])
    >>> table = modality_drop(model, X[200:], y[200:], modalities={"signal": [0], "noise": [1]}, random_state=0)
    >>> table[["kept", "score"]].round(2)
                  kept  score
    0  (noise, signal)   1.00
    1        (signal,)   1.00
    2         (noise,)   0.55
    """
    scores = SubsetScores(estimator, X, y, scoring, "missing", n_repeats, modalities, random_state)
    names = tuple(scores.names)
    everything = scores(names)
    rows = []
    for dropped in [(), *_subsets(names, max_subsets, check_random_state(random_state))]:
        kept = tuple(name for name in names if name not in dropped)
        score, change = scores(kept), scores(kept) - everything
        rows.append((kept, dropped, score[0], score[1:].std(ddof=1), change[0], change[1:].std(ddof=1)))
    return pd.DataFrame(rows, columns=["kept", "dropped", "score", "score_std", "change", "change_std"])


class ModalityDropDisplay(Display):
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

    bars_: Artist | None
    points_: Artist | None
    line_: Artist | None

    def __init__(self, table: pd.DataFrame, *, score_name: str = "score") -> None:
        self.table = table
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Any,
        y: Any,
        *,
        scoring: str | Callable[..., Any] | None = None,
        n_repeats: int = 50,
        max_subsets: int = 20,
        modalities: ModalityColumns | None = None,
        random_state: RandomState = None,
        ax: Axes | None = None,
        kind: Literal["auto", "bars", "strata"] = "auto",
        **kwargs: Any,
    ) -> ModalityDropDisplay:
        """Compute the scores and draw them.

        Parameters
        ----------
        estimator, X, y : object
            As in :func:`modality_drop`, and so are the next five.
        scoring : str, callable or None, default=None
            One metric; None takes the estimator's own score.
        n_repeats : int, default=50
            Bootstrap samples for the standard errors.
        max_subsets : int, default=20
            Most subsets of each size that are looked at.
        modalities : dict, default=None
            Columns of each modality where X is a 2-D array or a flat frame.
        random_state : int, RandomState instance or None, default=None
            Source of the bootstrap samples, and of subsets where they are drawn.
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
        sizes = {"n_repeats": n_repeats, "max_subsets": max_subsets}
        table = modality_drop(
            estimator, X, y, scoring=scoring, **sizes, modalities=modalities, random_state=random_state
        )
        name = scoring.replace("_", " ") if isinstance(scoring, str) else "score"
        return cls(table, score_name=name).plot(ax, kind=kind, **kwargs)

    def plot(
        self, ax: Axes | None = None, *, kind: Literal["auto", "bars", "strata"] = "auto", **kwargs: Any
    ) -> ModalityDropDisplay:
        """Draw the scores.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; new ones if None.
        kind : {"auto", "bars", "strata"}, default="auto"
            ``"bars"``: one bar for each subset, named by the modalities that are kept, with a bootstrap standard error.
            ``"strata"``: scores against the number of modalities left out, with the same. ``"auto"``: bars of up to 16
            subsets.
        **kwargs : dict
            Passed to ``ax.barh`` or, for the points, ``ax.plot``.

        Returns
        -------
        display : ModalityDropDisplay
        """
        if kind not in ("auto", "bars", "strata"):
            raise ValueError(f"kind must be 'auto', 'bars' or 'strata', got {kind!r}.")
        if kind == "auto":
            kind = "bars" if len(self.table) <= MAX_BARS else "strata"
        self.bars_ = self.points_ = self.line_ = None
        self._plot_bars(ax, kwargs) if kind == "bars" else self._plot_strata(ax, kwargs)
        return self

    def _plot_bars(self, ax: Axes | None, kwargs: dict[str, Any]) -> None:
        table = self.table
        ax = self._draw_on(ax, (6.4, 1.2 + 0.36 * len(table)))
        n_dropped = table["dropped"].map(len).to_numpy()
        colors = graded_colors(n_dropped.max() + 1)
        labels = [" + ".join(map(str, kept)) for kept in table["kept"]]
        style = {
            "color": [colors[n] for n in n_dropped],
            "edgecolor": "black",
            "hatch": [HATCHES[n % len(HATCHES)] for n in n_dropped],
            "error_kw": {"ecolor": "black", "capsize": 3},
        }
        self.bars_ = ax.barh(np.arange(len(table)), table["score"], xerr=table["score_std"], **{**style, **kwargs})
        ax.axvline(table["score"].iloc[0], color="black", linestyle="--", linewidth=1)
        ax.set(yticks=np.arange(len(table)), yticklabels=labels, xlabel=self.score_name, ylabel="modalities kept")
        ax.invert_yaxis()

    def _plot_strata(self, ax: Axes | None, kwargs: dict[str, Any]) -> None:
        ax = self._draw_on(ax)
        n_dropped, score = self.table["dropped"].map(len), self.table["score"]
        means = score.groupby(n_dropped).mean()
        style = {"color": LIGHT, "marker": "o", "linestyle": "", "markeredgecolor": "black", "label": "one subset"}
        ax.errorbar(n_dropped, score, self.table["score_std"], fmt="none", ecolor=LIGHT, elinewidth=1, alpha=0.4)
        (self.points_,) = ax.plot(n_dropped, score, **{**style, **kwargs})
        (self.line_,) = ax.plot(means.index, means, color=DARK, marker="s", label="mean")
        ax.set(xlabel="modalities left out", ylabel=self.score_name, xticks=means.index)
        ax.legend(frameon=False)


def _subsets(names: tuple, most: int, random: np.random.RandomState) -> list[tuple]:
    """Subsets to leave out, smaller ones first: of each size all, or as many as allowed."""
    subsets: list[tuple] = []
    for size in range(1, len(names)):
        if math.comb(len(names), size) <= most:
            subsets += itertools.combinations(names, size)
            continue
        drawn: set[tuple[int, ...]] = set()
        while len(drawn) < most:
            drawn.add(tuple(sorted(random.permutation(len(names))[:size].tolist())))
        subsets += [tuple(names[j] for j in chosen) for chosen in sorted(drawn)]
    return subsets
