"""What the pictures share: axes to draw on, and marks that differ in more than hue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from sklearn.utils._optional_dependencies import check_matplotlib_support

from ..dependency._coefficient import coefficient

if TYPE_CHECKING:
    import matplotlib

Axes: TypeAlias = "matplotlib.axes.Axes"
Artist: TypeAlias = "matplotlib.artist.Artist | matplotlib.container.Container"

# From the palette of Okabe and Ito, which people with any colour vision can tell apart. They differ in luminance, too.
DARK, LIGHT, GREY = "#0072B2", "#E69F00", "#BBBBBB"
HATCHES = ("", "//", "..", "xx", "--", "\\\\")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
# After the palette "muted" of Paul Tol, three of its colours moved apart in luminance.
CLASS_COLORS = "#332288 #882255 #117733 #AA4499 #CC6677 #A3A32E #5CC2B0 #88CCEE #DDCC77 #DDDDDD".split()


class Display:
    """Base of the displays: ``ax_``, on which a picture was drawn, and its figure."""

    ax_: Axes
    figure_: matplotlib.figure.Figure

    def _draw_on(self, ax: Axes | None, figsize: tuple[float, float] = (6.4, 4.8)) -> Axes:
        """Return the axes to draw on, new ones if there are none, after a check that matplotlib is installed."""
        check_matplotlib_support(f"{type(self).__name__}.plot")
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.subplots(figsize=figsize, layout="constrained")[1]
        self.ax_, self.figure_ = ax, ax.figure
        return ax


def with_coefficient(nats: float, std: float | None = None) -> str:
    """Nats, with their standard error if there is one, and their coefficient in brackets."""
    error = "" if std is None or not math.isfinite(std) else f" ± {std:.2g}"
    return f"{nats:.3g}{error} ({coefficient(nats):.3g})"


def tick_with_coefficient(nats: float, _: Any = None) -> str:
    """Label of a tick, as matplotlib asks for it: with its position."""
    return with_coefficient(nats)


def named_measure(estimator: Any, what: str) -> str:
    """Label of what a fit measured in training: its measure and the unit of that, as in "term: KL (nats)"."""
    measure = getattr(estimator.net_, "measure_", None)
    return what if measure is None else f"{what}:\n{type(measure).__name__} ({measure.unit})"


def styled(artist: str, own: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return own keywords with those given in their place, by whichever of its names matplotlib knows each.

    ``artist`` is the name of a module and a class, as in ``"lines.Line2D"``.
    """
    from matplotlib.cbook import normalize_kwargs

    module, name = artist.split(".")
    artist_class = getattr(import_module(f"matplotlib.{module}"), name)
    return {**normalize_kwargs(own, artist_class), **normalize_kwargs(given, artist_class)}


def graded_colors(n: int) -> list[tuple[float, ...]]:
    """Return n colours from dark to light, evenly in luminance."""
    import matplotlib

    colormap = matplotlib.colormaps["viridis"]
    return [colormap(0.92 * i / max(n - 1, 1)) for i in range(n)]


def class_colors(n: int) -> Sequence[Any]:
    """Return n colours from dark to light, of different hue up to ten."""
    if n > len(CLASS_COLORS):
        return graded_colors(n)
    palette = CLASS_COLORS if n == len(CLASS_COLORS) else CLASS_COLORS[:-1]  # fewer do without the palest
    return [palette[round(i * (len(palette) - 1) / max(n - 1, 1))] for i in range(n)]


def legend_above(ax: Axes) -> None:
    """Put the legend above the axes: inside it would hide lines."""
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def panel_below(ax: Axes) -> Axes:
    """Divide the place of some axes into two, and return new ones in the lower half, with the same x axis."""
    figure, place = ax.figure, ax.get_subplotspec()
    if place is None:  # they were put somewhere by hand
        box = ax.get_position()
        below = figure.add_axes((box.x0, box.y0, box.width, 0.46 * box.height), sharex=ax)
        ax.set_position((box.x0, box.y0 + 0.54 * box.height, box.width, 0.46 * box.height))
    else:
        upper, lower = place.subgridspec(2, 1, hspace=0.08)
        ax.set_subplotspec(upper)
        below = figure.add_subplot(lower, sharex=ax)
    ax.tick_params(labelbottom=False)
    ax.set_xlabel("")
    return below
