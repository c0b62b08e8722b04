"""What the pictures share: axes to draw on, and marks that differ in more than hue."""

from __future__ import annotations

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


def with_coefficient(nats: float, _: Any = None) -> str:
    """Nats, and their coefficient in brackets: also the label of a tick."""
    return f"{nats:.3g} ({coefficient(nats):.3g})"


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


def joint_legend(*axes: Axes) -> None:
    """Put one legend for all of these axes, which share their place, above them: inside it would hide lines."""
    handles = [handle for ax in axes for handle in ax.get_legend_handles_labels()[0]]
    axes[-1].legend(
        handles,
        [handle.get_label() for handle in handles],
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=2,
        frameon=False,
    )
