"""Draw the cover of the book: a digit in pixels under a window of three by three."""

from __future__ import annotations

import io
import textwrap

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mnist_course import plots
from mnist_course.strokes import preprocess
from mnist_course.synthetic import handwriting

NIGHT = "#12324a"
ALT = "Cover: a seven in white pixels on dark blue; an orange frame marks three by three of them."
WRITER = 7


def cover(title: str, subtitle: str, author: str, file_format: str) -> bytes:
    """The cover, of the shape of A4.

    The digit on it is drawn by a program, from no data set.

    Args:
        title: of the book, in a few words.
        subtitle: a line or two.
        author: who wrote it.
        file_format: ``"png"``, 1600 pixels wide, or ``"svg"``.
    """
    (seven,) = (digit for digit in handwriting(WRITER, 10) if digit["label"] == 7)
    pixels = preprocess(seven["strokes"])
    height = 36 * 2**0.5
    figure = Figure((8, 8 * 2**0.5), dpi=200, facecolor=NIGHT)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 36), ylim=(height, 0))
    axes.set_axis_off()
    for y, x in np.argwhere(pixels):
        ink = float(pixels[y, x])
        axes.add_patch(Rectangle((x + 4.05, y + 17.05), 0.9, 0.9, color="white", alpha=ink, lw=0))
    axes.add_patch(Rectangle((19, 24), 3, 3, fill=False, edgecolor=plots.ORANGE, linewidth=7))
    axes.text(3.4, 8.2, title, color="white", fontsize=46, fontweight="bold")
    lines = "\n".join(textwrap.wrap(subtitle, 44))
    axes.text(3.4, 10, lines, color="white", fontsize=17, linespacing=1.5, va="top")
    axes.text(3.4, height - 3, author, color="white", fontsize=15)
    buffer = io.BytesIO()
    unstamped = {"svg": {"Date": None}, "png": {"Software": None}}[file_format]
    with mpl.rc_context({"svg.hashsalt": "cover"}):
        figure.savefig(buffer, format=file_format, facecolor=NIGHT, metadata=unstamped)
    return buffer.getvalue()
