"""Picture of the fused representation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import _num_samples, column_or_1d

from ..utils._arguments import check_rows, named
from ._display import MARKERS, Artist, Axes, Display, class_colors, styled

# Classes with a marker of their own. More are drawn as numbers if they are, else by repeated markers and by colour.
MAX_CLASSES = len(MARKERS)


class FusionMapDisplay(Display):
    """Two-dimensional view of the fused representation: its first two principal components.

    Parameters
    ----------
    coordinates : array of shape (n_samples, 2)
        Position of each sample.
    target : array of shape (n_samples,), default=None
        Class, which gets a marker and a colour, or number, which gets a colour.
    explained : sequence of two floats, default=None
        Share of the variance along each axis, for the labels.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the picture.
    figure_ : matplotlib Figure
        Figure that they are in.
    points_ : list of matplotlib PathCollection
        Points, those of each class in the order of the sorted classes, or all of them.
    colorbar_ : matplotlib Colorbar or None
        Scale of a numerical target.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mdm import MDMFusionClassifier
    >>> from sklearn_mdm.inspection import FusionMapDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = {"a": rng.normal(size=(60, 2)), "b": rng.normal(size=(60, 2))}
    >>> y = np.where(X["a"][:, 0] > 0, "right", "left")
    >>> model = MDMFusionClassifier(lam=0, max_epochs=3, random_state=0).fit(X, y)
    >>> display = FusionMapDisplay.from_estimator(model, X, y)
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['left', 'right']
    """

    points_: list[Artist]
    colorbar_: Any

    def __init__(
        self, coordinates: np.ndarray, target: Any = None, *, explained: Sequence[float] | None = None
    ) -> None:
        self.coordinates = coordinates
        self.target = target
        self.explained = explained

    @classmethod
    def from_estimator(
        cls, estimator: BaseEstimator, X: Any, y: Any = None, *, ax: Axes | None = None, **kwargs: Any
    ) -> FusionMapDisplay:
        """Project the fused representation of samples and draw it.

        Parameters
        ----------
        estimator : object
            Fitted fusion estimator, or a pipeline or search around one: anything whose ``transform`` returns an array
            of two or more columns.
        X : dict, ModalityDict, data frame or array
            Samples.
        y : array-like of shape (n_samples,), default=None
            Their classes or numbers.
        ax : matplotlib Axes, default=None
            Axes to draw on; new ones if None.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        display : FusionMapDisplay
        """
        fused = np.asarray(estimator.transform(X))
        if y is not None:
            with named("y"):
                check_rows("y", _num_samples(y), len(fused))
        if fused.ndim != 2 or min(fused.shape) < 2:
            raise ValueError(
                f"the fused representation has shape {fused.shape}; a map needs two samples and two columns."
            )
        pca = PCA(2, svd_solver="full").fit(fused)
        return cls(pca.transform(fused), y, explained=pca.explained_variance_ratio_).plot(ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> FusionMapDisplay:
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; new ones if None.
        **kwargs : dict
            Passed to ``ax.scatter``, in place of its own keywords.

        Returns
        -------
        display : FusionMapDisplay
        """
        ax = self._draw_on(ax)
        self.colorbar_ = None
        x, y = np.asarray(self.coordinates).T
        target = None if self.target is None else column_or_1d(self.target)
        with np.errstate(invalid="ignore"):  # it casts to int, to see whether numbers are whole
            kind = "" if target is None else type_of_target(target)

        def scatter(rows: slice | np.ndarray, **own: Any) -> Artist:
            own = {"s": 28, "edgecolor": "black", "linewidth": 0.4, **own}
            if kwargs.keys() & {"c", "color"}:  # either takes the place of both
                own = {name: value for name, value in own.items() if name not in ("c", "color", "cmap")}
            return ax.scatter(x[rows], y[rows], **styled("collections.PathCollection", own, kwargs))

        if target is None:
            self.points_ = [scatter(slice(None))]
        elif kind.startswith("continuous") or (target.dtype.kind in "iuf" and len(np.unique(target)) > MAX_CLASSES):
            self.points_ = [scatter(slice(None), c=target.astype(float), cmap="viridis")]
            if self.points_[0].get_array() is not None:
                self.colorbar_ = self.figure_.colorbar(self.points_[0], ax=ax, label="target")
        else:
            classes = np.unique(target)
            self.points_ = [
                scatter(target == label, color=color, marker=marker, label=str(label))
                for label, color, marker in zip(classes, class_colors(len(classes)), cycle(MARKERS), strict=False)
            ]
            ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        names = ["first component", "second component"]
        if self.explained is not None:
            names = [f"{name} ({share:.0%} of variance)" for name, share in zip(names, self.explained, strict=True)]
        ax.set(xlabel=names[0], ylabel=names[1])
        return self
