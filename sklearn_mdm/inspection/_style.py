"""What the pictures share: axes to draw on, and marks that differ in more than hue."""

from __future__ import annotations

from typing import Any

from sklearn.utils._optional_dependencies import check_matplotlib_support

# From the palette of Okabe and Ito, which people with any colour vision can tell apart. They differ in luminance, too.
DARK, LIGHT, GREY = "#0072B2", "#E69F00", "#BBBBBB"
HATCHES = ("", "//", "..", "xx", "--", "\\\\")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")


def axes_for(display: Any, ax: Any, figsize: tuple[float, float] = (6.4, 4.8)) -> Any:
    """Return the axes to draw on, new ones if there are none, after a check that matplotlib is installed."""
    check_matplotlib_support(f"{type(display).__name__}.plot")
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize, layout="constrained")[1]


def styled(artist: str, own: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return own keywords with those given in their place, by whichever of its names matplotlib knows each.

    ``artist`` is the name of a module and a class, as in ``"lines.Line2D"``.
    """
    from importlib import import_module

    from matplotlib.cbook import normalize_kwargs

    module, name = artist.split(".")
    artist_class = getattr(import_module(f"matplotlib.{module}"), name)
    return {**normalize_kwargs(own, artist_class), **normalize_kwargs(given, artist_class)}


def graded_colors(n: int) -> list[Any]:
    """Return n colours from dark to light, evenly in luminance."""
    import matplotlib

    colormap = matplotlib.colormaps["viridis"]
    return [colormap(0.92 * i / max(n - 1, 1)) for i in range(n)]


def joint_legend(*axes: Any) -> None:
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
