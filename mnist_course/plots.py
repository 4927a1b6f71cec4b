"""Figures in one style, readable on white, on dark pages and on paper, with alternative text.

The colours are those of Okabe and Ito (2008), which colour-blind people can tell apart.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442",
)  # fmt: skip
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
SIGNED = LinearSegmentedColormap.from_list("signed", [BLUE, "white", RED])
"""Blue for negative numbers, white for zero, orange for positive ones, if ``vmin = -vmax``."""
SHARPNESS = 2  # pixels of a picture for each pixel of the page

STYLE: dict[Any, Any] = {
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "font.size": 10,
    "image.cmap": "gray_r",
    "image.interpolation": "nearest",
    "savefig.facecolor": "white",
}
mpl.rcParams.update(STYLE)


class _Picture:
    """A finished figure with its alternative text."""

    def __init__(self, png: bytes, alt: str, width: int) -> None:
        self.png, self.alt, self.width = png, alt, width

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        data = base64.b64encode(self.png).decode()
        picture = (
            f'<img class="course-figure" width="{self.width}" '
            f'src="data:image/png;base64,{data}" alt="{html.escape(self.alt, quote=True)}">'
        )
        return {"text/html": picture, "text/plain": f"Figure: {self.alt}"}


def show(figure: Figure, alt: str) -> None:
    """Show a figure with its alternative text, and close it.

    Args:
        figure: the finished figure.
        alt: what the figure shows, for people who cannot see it: one or two sentences that state
            the finding, not "a plot of x".

    Raises:
        ValueError: if ``alt`` is too short to say anything.
    """
    if len(alt.split()) < 4:
        raise ValueError(f"alt text must say what the figure shows, got {alt!r}")
    from IPython.display import display

    width = round(figure.get_figwidth() * mpl.rcParams["figure.dpi"])
    png = _png(figure)
    plt.close(figure)
    display(_Picture(png, alt, width))


def _png(figure: Figure) -> bytes:
    """A figure as PNG: twice as fine as it is shown, for fine screens, in at most 256 colours."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=SHARPNESS * mpl.rcParams["figure.dpi"])
    picture = Image.open(buffer).convert("RGB")
    compressed = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(compressed, format="png", optimize=True)
    return compressed.getvalue()


def digit(image: Tensor, axes: Axes | None = None, title: str = "") -> Axes:
    """Draw one digit, dark ink on white.

    Args:
        image: ``(28, 28)`` or ``(1, 28, 28)``; bytes, or floats where more is darker.
        axes: where to draw; by default a new figure.
        title: a few words above it.
    """
    axes = axes or plt.subplots(figsize=(2.2, 2.2))[1]
    axes.imshow(image.detach().cpu().squeeze().numpy(), vmin=0)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(title)
    return axes


def digits(
    images: Tensor, titles: Sequence[str] = (), columns: int = 10, size: float = 0.8
) -> Figure:
    """Draw a table of digits.

    Args:
        images: ``(N, 1, 28, 28)``.
        titles: a few characters above each; none if empty.
        columns: how many stand in a row.
        size: width of one digit in inches.
    """
    rows = -(-len(images) // columns)
    height = size + (0.22 if len(titles) else 0)
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * size, rows * height), squeeze=False
    )
    for number, place in enumerate(axes.flat):
        place.set_axis_off()
        if number < len(images):
            digit(images[number], place, titles[number] if len(titles) else "")
    return figure
