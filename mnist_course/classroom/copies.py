"""Copies of the chapters for learners: without solutions, cures and answers to the quiz."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mnist_course import files
from mnist_course.classroom import notebooks
from mnist_course.classroom.notebooks import ClassroomError, Original

_CURE = re.compile(r"^# The cure", re.MULTILINE)
_LEFT = re.compile(r"\bsolution_\w+|\bclass Solution\w*|^# (?:A s|S)olution.*|^# The cure.*", re.M)
_RIGHT = re.compile(r"^:class:.*\bright\b.*$|\*\*✓ Right", re.M)
_FOLD = re.compile(
    r"^(?P<fence>:{3,})\{dropdown\} (?P<title>[^\n]+)\n(?P<options>(?:^:[\w-]+:[^\n]*\n)*)"
    r".*?^(?P=fence)[ \t]*\n?",
    re.MULTILINE | re.DOTALL,
)


def copy(original: Original) -> dict[str, Any]:
    """A learner's notebook: what gives an answer away is not in it.

    Solutions and what follows them in an exercise, the cures of the clinic, the replies to the
    choices of the quiz and its plain answers are left out; hints stay.
    Outputs in exercises go, too.
    """
    notebook = notebooks.duplicate(original.notebook)
    kept = []
    for place, cell in enumerate(notebook["cells"]):
        cure = cell["cell_type"] == "code" and _CURE.search(cell["source"])
        if cure or place in original.answers:
            continue
        if cell["cell_type"] == "markdown":
            cell["source"] = _unanswered(cell["source"])
            if place - 1 in original.answers:  # the end of a text about the solution
                cell["source"] = cell["source"][notebooks.before_heading(cell["source"]) :]
        kept.append(cell)
    notebook["cells"] = kept
    for _, _, places in notebooks.sections(kept):
        for place in places:
            if kept[place]["cell_type"] == "code":
                kept[place] |= {"outputs": [], "execution_count": None}
    notebook["metadata"]["mnist_course"] = {"chapter": original.name}
    return notebook


def _unanswered(text: str) -> str:
    """A text whose quiz keeps its choices as a list, and not what is replied to them."""

    def shown(fold: re.Match[str]) -> str:
        if "choice" in fold["options"]:
            return f"- {fold['title']}\n"
        return "" if fold["title"].strip() == "Answer" else fold[0]

    return _FOLD.sub(shown, text)


def left(notebook: dict[str, Any]) -> list[str]:
    """What still gives an answer away in a notebook; nothing in a copy that is as it should be."""
    found = []
    for cell in notebook["cells"]:
        pattern = _RIGHT if cell["cell_type"] == "markdown" else _LEFT
        found += [match[0] for match in pattern.finditer(cell["source"])]
        found += [m[0] for output in cell.get("outputs", ()) for m in _LEFT.finditer(str(output))]
    return found


def hand_out(chapters: list[Original], folder: Path) -> list[Path]:
    """Write a copy of each chapter into a folder.

    Raises:
        ClassroomError: if a copy would give an answer away, or a file of its name is there already;
            then nothing has been written.
        OSError: if a file cannot be written.
    """
    made = {folder / f"{original.name}.ipynb": copy(original) for original in chapters}
    for path, notebook in made.items():
        if path.exists():
            raise ClassroomError(f"{path} is there already. Choose another folder.")
        if remains := left(notebook):
            raise ClassroomError(
                f"{path.name} would give an answer away, so no copy was written: "
                + ", ".join(dict.fromkeys(remains))
            )
    for path, notebook in made.items():
        files.write(path, notebooks.written(notebook))
    return list(made)
