"""How long a chapter takes: ``python -m tools.minutes`` prints it for every chapter.

Reading takes a minute for 130 words of prose and 0.4 minutes for each visible cell, outside the
exercises and the quiz. Each exercise takes what is printed under its heading, each question a
minute. The box at the top of a chapter says both sums, rounded to five minutes, and a test holds
it to them::

    *About 35 minutes to read, 80 with the exercises.*
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jupytext
from nbformat import NotebookNode

from tools import chapters, tasks

WORDS = 130
"""Words of such prose that are read in a minute."""

CELL = 0.4
"""Minutes for a cell and what it prints."""

BOX = re.compile(r"\bAbout (\d+) minutes to read, (\d+) with the exercises\b")
APART = ("Exercises", "Quiz")
"""Sections that reading leaves out."""

# What is no prose: code, formulas on lines of their own, fences of boxes and their options,
# comments. What stands for a word: a formula in a sentence, a role or a link.
_NO_PROSE = re.compile(
    r"^(`{3,}).*?^\1|\$\$.*?\$\$|<[^>]+>|^(?::{3,}|:[\w-]+:|%|\([^\n]*\)=$)[^\n]*",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_ONE_WORD = re.compile(r"\{[\w:-]+\}`[^`]*`|\$[^$]+\$|`[^`]+`")
_WORD = re.compile(r"[^\W_][\w'’.,-]*")


@dataclass(frozen=True)
class Effort:
    """What a chapter asks of its reader.

    Attributes:
        words: of prose, outside exercises and quiz.
        cells: visible ones, outside exercises and quiz.
        exercises: minutes printed at the exercises, together.
        questions: of the quiz.
    """

    words: int
    cells: int
    exercises: int
    questions: int

    @property
    def reading(self) -> float:
        """Minutes to read it."""
        return self.words / WORDS + CELL * self.cells

    @property
    def whole(self) -> float:
        """Minutes to read it and to do its exercises and its quiz."""
        return self.reading + self.exercises + self.questions


def words(text: str) -> int:
    """How many words a text has, in MyST Markdown."""
    text = re.sub(_NO_PROSE, " ", text)
    text = _LINK.sub(lambda link: link[1] or "link", text)
    return len(_WORD.findall(_ONE_WORD.sub("word", text)))


def effort(source: Path) -> Effort:
    """What a chapter asks of its reader, from its text."""
    read = list(_read(source))
    return Effort(
        sum(words(cell.source) for cell in read if cell.cell_type == "markdown"),
        sum(cell.cell_type == "code" and not tasks.hidden(cell) for cell in read),
        sum(exercise.minutes for exercise in tasks.exercises(source)),
        len(tasks.questions(source)),
    )


def _read(source: Path) -> Iterator[NotebookNode]:
    """The cells outside the sections that reading leaves out."""
    apart = False
    for title, level, cell in tasks.pieces(jupytext.read(source)):
        if title and level <= 2:
            apart = title in APART
        if not apart:
            yield cell


def rounded(minutes: float) -> int:
    """Minutes as a box prints them: in fives."""
    return max(5, 5 * round(minutes / 5))


def printed(source: Path) -> tuple[int, int] | None:
    """Minutes to read and with the exercises, as the chapter's box says; None if it does not."""
    found = BOX.findall(source.read_text(encoding="utf-8"))
    return (int(found[0][0]), int(found[0][1])) if len(found) == 1 else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: see the module's description."""
    parser = argparse.ArgumentParser(prog="python -m tools.minutes", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NN", help="chapters by number or name")
    options = parser.parse_args(arguments)
    print(f"{'chapter':36}{'words':>7}{'cells':>7}{'to read':>9}{'whole':>7}   printed")
    for source in chapters.sources(options.names):
        of = effort(source)
        box = printed(source)
        said = f"{box[0]}, {box[1]}" if box else "-"
        print(
            f"{source.stem:36}{of.words:7,}{of.cells:7}"
            f"{rounded(of.reading):9}{rounded(of.whole):7}   {said}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
