"""Draw ``card.png``: the picture that goes with a shared link to the book.

The digits on it are those of :mod:`mnist_course.synthetic`: drawn by a program, from no data set.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from matplotlib.figure import Figure

from mnist_course import plots
from mnist_course.synthetic import handwriting
from tools.cover import NIGHT

WIDTH, HEIGHT, DPI = 1200, 630, 100
WRITER = 1


def card(title: str, line: str) -> Figure:
    """The card: a title, a line, and the ten digits in one hand; 1200 × 630 pixels."""
    figure = Figure((WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor=NIGHT)
    figure.set_layout_engine("none")  # the style of the book's figures would have one
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    axes.set_axis_off()
    axes.text(80, 150, title, color="white", fontsize=58, fontweight="bold", va="center")
    axes.text(80, 245, line, color="0.85", fontsize=20.5, va="center")
    for sample in handwriting(WRITER, 10):
        left = 80 + 106 * sample["label"]
        for stroke in sample["strokes"]:
            x, y = zip(*stroke, strict=True)
            axes.plot(
                [left + 0.9 * each for each in x], [380 + 1.3 * each for each in y],
                color=plots.ORANGE if sample["label"] == 3 else "white",
                linewidth=9, solid_capstyle="round", solid_joinstyle="round",
            )  # fmt: skip
    return figure


def write(outdir: Path) -> Path:
    """Write ``card.png`` into a folder, which is made if need be, and return its path."""
    outdir.mkdir(parents=True, exist_ok=True)
    path = outdir / "card.png"
    root = Path(__file__).parents[1]
    title = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["title"]
    figure = card(title, "From the mathematics of convolution to a network that reads your hand")
    figure.savefig(path, facecolor="auto", metadata={"Software": None})
    return path
