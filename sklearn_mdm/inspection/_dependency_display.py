"""Picture of the dependency of single samples beside that of negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from ._pointwise_ratio import PointwiseRatio
from ._style import DARK, GREY, MARKERS, axes_for


class DependencyDisplay:
    """Distribution of the pointwise dependency of samples, beside that of negatives.

    Parameters
    ----------
    values : array of shape (n_samples,)
        Log density ratio of each sample in nats; NaN is left out.
    null : array
        Those of negatives, in any shape.
    samples : sequence of int or mapping of int to str, default=()
        Positions of samples to mark, with names if they have any.

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

    ax_: Any
    figure_: Any
    values_: Any
    null_: Any
    marks_: list[Any]

    def __init__(self, values: np.ndarray, null: np.ndarray, *, samples: Any = ()) -> None:
        self.values = values
        self.null = null
        self.samples = samples

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        samples: Any = (),
        n_negatives: int = 32,
        random_state: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> DependencyDisplay:
        """Compute the values and draw them.

        Parameters
        ----------
        estimator : object
            Fitted fusion estimator or :class:`~sklearn_mdm.DependencyEstimator`, or a pipeline or search around one.
        X : dict, ModalityDict, data frame or array
            Samples, best ones that the estimator was not fitted on.
        samples : sequence of int or mapping of int to str, default=()
            Positions of samples to mark, with names if they have any.
        n_negatives : int, default=32
            Negatives made of each sample for the null: ones in which no two modalities belong together.
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
        return cls(ratio.spread(ratio.joint()), null, samples=samples).plot(ax, **kwargs)

    def plot(self, ax: Any = None, *, bins: int | Sequence[float] = 40, **kwargs: Any) -> DependencyDisplay:
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
        marked = self.samples if hasattr(self.samples, "items") else {i: f"sample {i}" for i in self.samples}
        for i in marked:
            if not -len(values) <= i < len(values) or np.isnan(values[i]):
                raise ValueError(f"sample {i} cannot be marked: it is not among the {len(values)}, or has no value.")
        known, null = values[~np.isnan(values)], np.ravel(self.null)
        self.ax_ = axes_for(self, ax)
        edges = np.histogram_bin_edges(np.concatenate([known, null]), bins)
        _, _, self.null_ = self.ax_.hist(
            null, edges, density=True, color=GREY, hatch="///", edgecolor="white", linewidth=0, label="negatives"
        )
        style = {"histtype": "step", "color": DARK, "linewidth": 2, "label": "samples"}
        _, _, self.values_ = self.ax_.hist(known, edges, density=True, **{**style, **kwargs})
        self.marks_ = []
        for position, (i, name) in enumerate(marked.items()):
            marker = MARKERS[position % len(MARKERS)]
            label = f"{name}: {values[i]:.1f}"
            (mark,) = self.ax_.plot(
                values[i],
                0,
                marker,
                color="black",
                markersize=9,
                markeredgecolor="white",
                clip_on=False,
                zorder=5,
                label=label,
            )
            self.marks_.append(mark)
        self.ax_.set(xlabel="pointwise dependency (nats)", ylabel="density")
        self.ax_.legend(frameon=False)
        self.figure_ = self.ax_.figure
        return self
