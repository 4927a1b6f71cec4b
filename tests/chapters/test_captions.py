"""Figures in the running text of a chapter have captions, numbered in their order."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tools import chapters

CAPTION = re.compile(r"\*\*Figure (\d+)\.\*\* \S")
TASKS = re.compile(r"^#+ (?:Exercises|Quiz)\b", re.MULTILINE)
OUT_OF_SIGHT = {"hide-cell", "hide-output", "remove-output", "remove-cell"}


def shown(cell) -> str:
    """``"live"`` for a live figure, which has its own title, ``"picture"``, or nothing."""
    if cell is None or OUT_OF_SIGHT & set(cell.metadata.get("tags", [])):
        return ""
    data = [output.get("data", {}) for output in cell.get("outputs", [])]
    if any("data-figure" in str(each.get("text/html", "")) for each in data):
        return "live"
    drawn = any("image/png" in each or "<img" in str(each.get("text/html", "")) for each in data)
    return "picture" if drawn else ""


def text_of(source: Path) -> Iterator:
    """The cells of a chapter up to its exercises, without what only computes."""
    for cell in chapters.opened(chapters.notebook_path(source)).cells:
        if "remove-cell" not in cell.metadata.get("tags", []):
            yield cell
        if cell.cell_type == "markdown" and TASKS.search(cell.source):
            return  # the heading may stand below a recap, in one cell with it


@pytest.mark.parametrize("source", chapters.sources(), ids=lambda source: source.stem)
def test_each_figure_has_a_caption_and_each_caption_a_figure(source: Path) -> None:
    cells = [*text_of(source), None]
    bare, captions = [], []
    for before, cell in pairwise([None, *cells]):
        caption = CAPTION.match(cell.source) if cell is not None else None
        if caption:
            assert shown(before), f"{caption[0]} follows no figure"
            captions.append(int(caption[1]))
        elif shown(before) == "picture":
            bare.append(before.source.split("\n")[-3:])
    assert not bare, "figures without a caption right after them"
    assert captions == list(range(1, len(captions) + 1))


@pytest.mark.parametrize("source", chapters.sources(), ids=lambda source: source.stem)
def test_the_figures_that_a_text_speaks_of_are_there(source: Path) -> None:
    cells = list(text_of(source))
    there = {int(found[1]) for cell in cells if (found := CAPTION.match(cell.source))}
    text = source.read_text(encoding="utf-8")
    assert {int(number) for number in re.findall(r"\bFigure (\d+)\b", text)} <= there
