"""Picture of the dependency of single samples beside that of negatives."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from ..dependency._estimator import DependencyEstimator
from ..utils._typing import RandomState
from ..utils._unwrap import final_estimator
from ._display import DARK, GREY, MARKERS, Artist, Axes, Display, with_coefficient
from ._pointwise_ratio import PointwiseRatio


class DependencyDisplay(Display):
    """Distribution of the pointwise dependency of samples, beside that of negatives.

    The legend has the mean of the samples in nats, where it is known with its standard error, and in brackets its
    coefficient from 0 to 1.

    Parameters
    ----------
    values : array of shape (n_samples,)
        Log density ratio of each sample in nats; NaN is left out.
    null : array
        Those of negatives, in any shape.
    samples : sequence of int or mapping of int to str, default=()
        Positions of samples to mark, with names if they have any.
    mean_std : float, default=None
        Standard error of the mean, for the legend; None leaves it out. ``from_estimator`` takes that of the estimator,
        which knows what its critic adds to the spread of the values.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure that they are in.
    values_, null_ : matplotlib patches
        Histograms, as densities over the same bins.
    marks_ : list of matplotlib lines
        Marks of the samples.

    See Also
    --------
    rank_samples : The same as a table.

    Examples
    --------
    >>> from sklearn_mdm import DependencyEstimator
    >>> from sklearn_mdm.datasets import make_correlated_gaussians
    >>> from sklearn_mdm.inspection import DependencyDisplay
    >>> X, truth = make_correlated_gaussians(600, rho=0.9, random_state=0)
    >>> estimator = DependencyEstimator(max_updates=50, random_state=0).fit(X[:300])
    >>> display = DependencyDisplay.from_estimator(estimator, X[300:], samples=[3], random_state=0)
    >>> display.ax_.get_xlabel()
    'pointwise dependency (nats)'
    """

    values_: Artist
    null_: Artist
    marks_: list[Artist]

    def __init__(
        self,
        values: np.ndarray,
        null: np.ndarray,
        *,
        samples: Sequence[int] | Mapping[int, str] = (),
        mean_std: float | None = None,
    ) -> None:
        self.values = values
        self.null = null
        self.samples = samples
        self.mean_std = mean_std

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Any,
        *,
        samples: Sequence[int] | Mapping[int, str] = (),
        n_negatives: int = 32,
        random_state: RandomState = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> DependencyDisplay:
        """Compute the values and draw them.

        Parameters
        ----------
        estimator, X : object
            As in :func:`rank_samples`.
        samples : sequence of int or mapping of int to str, default=()
            Positions of samples to mark, with names if they have any.
        n_negatives : int, default=32
            Negatives of each sample, as in :func:`rank_samples`.
        random_state : int, RandomState instance or None, default=None
            Source of the negatives.
        ax : matplotlib Axes, default=None
            Axes to draw on; new ones if None.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : DependencyDisplay
        """
        ratio = PointwiseRatio(estimator, X)
        null = ratio.null(n_negatives, check_random_state(random_state))
        std = _std_of_mean(estimator, X)
        return cls(ratio.spread(ratio.joint()), null, samples=samples, mean_std=std).plot(ax, **kwargs)

    def plot(self, ax: Axes | None = None, *, bins: int | Sequence[float] = 40, **kwargs: Any) -> DependencyDisplay:
        """Draw the histograms and the marks.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; new ones if None.
        bins : int or sequence of float, default=40
            Number or edges of the bins.
        **kwargs : dict
            Passed to ``ax.hist`` for the samples.

        Returns
        -------
        display : DependencyDisplay
        """
        values = np.asarray(self.values, dtype=float)
        marked = self.samples if isinstance(self.samples, Mapping) else {i: f"sample {i}" for i in self.samples}
        for i in marked:
            if not -len(values) <= i < len(values) or np.isnan(values[i]):
                raise ValueError(f"sample {i} cannot be marked: it is not among the {len(values)}, or has no value.")
        known, null = values[~np.isnan(values)], np.ravel(self.null)
        ax = self._draw_on(ax)
        edges = np.histogram_bin_edges(np.concatenate([known, null]), bins)
        _, _, self.null_ = ax.hist(
            null, edges, density=True, color=GREY, hatch="///", edgecolor="white", linewidth=0, label="negatives"
        )
        label = f"samples, mean {with_coefficient(known.mean(), self.mean_std)}" if len(known) else "samples"
        style = {"histtype": "step", "color": DARK, "linewidth": 2, "label": label}
        _, _, self.values_ = ax.hist(known, edges, density=True, **{**style, **kwargs})
        self.marks_ = []
        for position, (i, name) in enumerate(marked.items()):
            marker = MARKERS[position % len(MARKERS)]
            label = f"{name}: {values[i]:.1f}"
            style = {"color": "black", "markersize": 9, "markeredgecolor": "white", "clip_on": False, "zorder": 5}
            self.marks_ += ax.plot(values[i], 0, marker, label=label, **style)
        ax.set(xlabel="pointwise dependency (nats)", ylabel="density")
        ax.legend(frameon=False)
        return self


def _std_of_mean(estimator: BaseEstimator, X: Any) -> float:
    """Standard error of the mean over the complete samples, as the estimator reports it."""
    final, X = final_estimator(estimator, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # they were given where the values were read
        if not isinstance(final, DependencyEstimator):
            return float(final.dependency_score(X, return_std=True)[1])
        arrays = final._complete(X)
    # Parts of a total share their rows, and critics of folds theirs: errors are added, or averaged, as going together.
    of_critics = [critic.scores_of_parts(arrays).values() for critic in final.critics_]
    return float(np.mean([sum(std for _, std in parts) for parts in of_critics]))
