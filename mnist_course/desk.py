"""The learner's desk: which exercises and questions are done, and where drawings are kept.

``make lab`` makes a desk, a folder with copies of the chapters (see ``tools/desk.py``). A notebook
on it finds the desk by the file ``.desk.json`` in its own folder or in one above. What is
remembered lies there in plain files, each written whole or not at all, and by several notebooks
at once. Away from a desk nothing is remembered, and nothing is written.
"""

from __future__ import annotations

import html
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mnist_course import files

MARK, LOCK, PROGRESS = ".desk.json", ".desk.lock", "progress.json"
VERSION = 1
PATIENCE = 5  # seconds to wait for another notebook that is writing

# What tells JupyterLab to call forget_live_figures.
HOOK = "--ContentsManager.pre_save_hook=mnist_course.desk.forget_live_figures"

_LIVE = "application/vnd.jupyter.widget-view+json"
ALIVE, ONCE = "In JupyterLab and in the book ", "Once you run this cell, "
_CHECK = re.compile(r"[a-z_]+\.[a-z_][a-z_0-9]*")
_QUESTION = re.compile(r"ask-([a-z]+)-[a-z0-9-]+")
_SOLUTION = re.compile(r"\s*# Solution\b")
_NOT_A_DESK = (
    "This notebook does not lie on a desk, so nothing is remembered: open the course with make lab."
)


class DeskError(ValueError):
    """A desk cannot be used as it is; the message says why, and what to do."""


@dataclass(frozen=True)
class Chapter:
    """A chapter as it lies on the desk.

    Attributes:
        file: the name of its notebook.
        title: its title, with its number.
        part: the part of the book that it belongs to.
        minutes: how long its text says that it takes.
        exercises: for the number of each exercise with a check, ``"4.1"``, the names of its checks,
            ``("convolution.conv2d",)``. The names stay when chapters get other numbers.
        questions: for the title of each question with choices, ``"Question 1"``, its name,
            ``"ask-convolution-map-size"``, which stays, too.
    """

    file: str
    title: str
    part: str
    minutes: int
    exercises: dict[str, tuple[str, ...]]
    questions: dict[str, str] = field(default_factory=dict)

    def marks(self, done: frozenset[str]) -> list[bool]:
        """For each exercise, whether all its checks are among those ``done``."""
        return [done.issuperset(checks) for checks in self.exercises.values()]


def find_desk(start: Path | None = None) -> Path | None:
    """The desk that a folder lies on, by default the working folder; ``None`` if on none."""
    with suppress(OSError):  # a folder may have been deleted under its notebook
        folder = Path.cwd() if start is None else start.resolve()
        for each in (folder, *folder.parents):
            if (each / MARK).is_file():
                return each
    return None


@contextmanager
def locked(desk: Path, seconds: float = PATIENCE) -> Iterator[None]:
    """Keep every other process from changing what the desk remembers.

    Raises:
        DeskError: if another one keeps it for longer than ``seconds``.
        OSError: if the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(desk / LOCK, timeout=seconds):
            yield
    except Timeout:
        raise DeskError(f"another program has been writing to {desk} for {seconds} s") from None


def read_json(path: Path) -> dict[str, Any]:
    """What a file of the desk holds; empty if there is none.

    Raises:
        DeskError: if it is damaged, or of a newer edition of the course.
        OSError: if it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("version"), int):
        raise DeskError(f"{path.name} is damaged")
    if content["version"] > VERSION:
        raise DeskError(f"{path.name} was written by a newer edition of the course")
    return content


def put_aside(path: Path, why: str) -> Path:
    """Give a file another name, which says why and when, and return that name.

    Raises:
        OSError: if it cannot be renamed.
    """
    day, number = time.strftime("%Y-%m-%d"), 1
    while (aside := path.with_name(f"{path.stem}.{why}-{day}-{number}{path.suffix}")).exists():
        number += 1
    return path.rename(aside)


def forget_live_figures(model: dict[str, Any], **_: Any) -> None:
    """Let JupyterLab save a figure's picture and not the live figure, which no kernel has tomorrow.

    A hook of its contents manager. Outputs that have nothing but a widget stay as they are.
    """
    if model.get("type") != "notebook" or not isinstance(model.get("content"), dict):
        return
    for cell in model["content"].get("cells", []):
        for output in cell.get("outputs", []):
            shown = output.get("data", {})
            if _LIVE in shown and "text/html" in shown:
                del shown[_LIVE]
        say_how_to_wake(cell)


def say_how_to_wake(cell: dict[str, Any]) -> None:
    """Say below a picture that it comes alive when its cell is run: on the desk, it does not yet.

    Args:
        cell: of a notebook; the words below its pictures are changed.
    """
    for output in cell.get("outputs", []):
        shown = output.get("data", {})
        if text := shown.get("text/html"):
            lines = [text] if isinstance(text, str) else text
            said = [line.replace(ALIVE, ONCE) for line in lines]
            shown["text/html"] = said[0] if isinstance(text, str) else said


# --- exercises ------------------------------------------------------------------------------------


def record(check: str, right: bool) -> None:
    """Remember on the desk what a check said of an answer.

    What was right once stays done. What a solution of the book computes is not counted.
    Never raises anything: a learner's cell must not fail because of it.

    Args:
        check: word of the chapter and name of the check, ``"convolution.conv2d"``.
        right: whether the answer was right.
    """
    with suppress(Exception):
        desk = find_desk()
        if desk is None or not _CHECK.fullmatch(check) or _SOLUTION.match(_running_cell()):
            return
        with locked(desk):
            content = _progress(desk)
            checks = content.setdefault("checks", {})
            before = checks.get(check, {})
            now = int(time.time() * 1000)
            done = before.get("done") or (now if right else None)
            tries = before.get("tries", 0) + (before.get("done") is None)
            checks[check] = before | {"done": done, "tries": tries, "last": now}
            _write(desk / PROGRESS, content)


def done(desk: Path | None = None) -> frozenset[str]:
    """The checks that an answer has passed; none away from a desk."""
    desk = find_desk() if desk is None else desk
    if desk is None:
        return frozenset()
    try:
        checks = read_json(desk / PROGRESS).get("checks", {})
        return frozenset(name for name, each in checks.items() if each.get("done"))
    except (DeskError, OSError, AttributeError):
        return frozenset()


def told(check: str) -> str:
    """``"Done in this chapter: 2 of 6 exercises."``; empty away from a desk, or if unknown."""
    desk = find_desk()
    for chapter in chapters(desk) if desk else []:
        if any(check in checks for checks in chapter.exercises.values()):
            marks = chapter.marks(done(desk))
            return f"Done in this chapter: {_counted(marks)}."
    return ""


def reset(*words: str) -> None:
    """Forget what was done in these chapters, or in all if none is named.

    What is written in the notebooks stays.

    Args:
        words: the words that name the chapters, ``"convolution"``.

    Raises:
        DeskError: if the notebook does not lie on a desk, or another program keeps it busy.
        OSError: if the desk cannot be written to.
    """
    desk = find_desk()
    if desk is None:
        raise DeskError(_NOT_A_DESK)
    with locked(desk):
        content = _progress(desk)
        for kind, between in (("checks", "."), ("answers", "-")):
            content[kind] = {
                name: each
                for name, each in content.get(kind, {}).items()
                if words and name.removeprefix("ask-").split(between)[0] not in words
            }
        _write(desk / PROGRESS, content)


def _progress(desk: Path) -> dict[str, Any]:
    """What the desk remembers. A damaged file is put aside; one of a newer edition raises."""
    path = desk / PROGRESS
    try:
        content = read_json(path)
        checks, answers = (content.get(kind, {}).values() for kind in ("checks", "answers"))
        if not (all(isinstance(each, dict) for each in checks) and all(map(_is_answer, answers))):
            raise DeskError(f"{path.name} is damaged")
    except (DeskError, AttributeError) as error:
        if "newer" in str(error):
            raise
        put_aside(path, "damaged")
        content = {}
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    files.write(path, json.dumps({"version": VERSION, **content}, indent=1) + "\n")


def _running_cell() -> str:
    """The code of the cell that runs; empty outside a notebook."""
    if "IPython" not in sys.modules:
        return ""
    shell = sys.modules["IPython"].get_ipython()
    return str(shell.history_manager.input_hist_raw[-1]) if shell else ""


# --- questions ------------------------------------------------------------------------------------


def answer(question: str, choice: str, right: bool) -> None:
    """Remember on the desk what was chosen in a quiz. The first choice decides.

    Args:
        question: its name, ``"ask-convolution-map-size"``.
        choice: the text of the choice.
        right: whether it is the right one.

    Raises:
        ValueError: if no question has such a name.
        DeskError: if the notebook does not lie on a desk, or another program keeps it busy.
        OSError: if the desk cannot be written to.
    """
    if not _QUESTION.fullmatch(question):
        raise ValueError(f"expected the name of a question, ask-chapter-words, got {question!r}")
    with _answers() as answers:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        known = answers.setdefault(question, {"tried": [], "right": bool(right), "at": now})
        if choice not in known["tried"]:
            known["tried"].append(choice)


def forget(questions: Iterable[str]) -> None:
    """Forget what was chosen in these questions.

    Raises:
        DeskError: if the notebook does not lie on a desk, or another program keeps it busy.
        OSError: if the desk cannot be written to.
    """
    with _answers() as answers:
        for question in questions:
            answers.pop(question, None)


def answered(desk: Path | None = None) -> dict[str, bool]:
    """The questions that were answered, and whether the first choice was the right one."""
    desk = find_desk() if desk is None else desk
    if desk is None:
        return {}
    try:
        answers = read_json(desk / PROGRESS).get("answers", {})
        return {name: each["right"] for name, each in answers.items() if _is_answer(each)}
    except (DeskError, OSError, AttributeError):
        return {}


@contextmanager
def _answers() -> Iterator[dict[str, Any]]:
    """The answers that the desk remembers, to be changed."""
    desk = find_desk()
    if desk is None:
        raise DeskError(_NOT_A_DESK)
    with locked(desk):
        content = _progress(desk)
        yield content.setdefault("answers", {})
        _write(desk / PROGRESS, content)


def _is_answer(each: object) -> bool:
    """Whether it has the form in which the pages of the book keep and export an answer, too."""
    return (
        isinstance(each, dict)
        and isinstance(each.get("tried"), list)
        and isinstance(each.get("right"), bool)
    )


# --- the start page -------------------------------------------------------------------------------


def chapters(desk: Path) -> list[Chapter]:
    """The chapters on a desk, as ``make lab`` found them; none if it has left no list."""
    try:
        listed = read_json(desk / MARK).get("chapters", [])
        return [
            Chapter(**each | {"exercises": {n: tuple(c) for n, c in each["exercises"].items()}})
            for each in listed
        ]
    except (DeskError, OSError, TypeError, KeyError, AttributeError):
        return []


class Overview:
    """What is done on a desk, as a table in a notebook and as text elsewhere.

    Args:
        desk: by default the one that the working folder lies on.

    Raises:
        DeskError: if there is none.
    """

    def __init__(self, desk: Path | None = None) -> None:
        desk = find_desk() if desk is None else desk
        if desk is None:
            raise DeskError(_NOT_A_DESK)
        right, self.answers = done(desk), answered(desk)
        self.rows = [(each, each.marks(right)) for each in chapters(desk)]

    def __repr__(self) -> str:
        lines = [
            f"{each.title}: {_counted(marks)}{self._asked(each.questions.values())}"
            for each, marks in self.rows
        ]
        return "\n".join([*lines, self.total])

    @property
    def total(self) -> str:
        """How many exercises are done in all, and how many questions."""
        marks = [mark for _, marks in self.rows for mark in marks]
        names = [name for chapter, _ in self.rows for name in chapter.questions.values()]
        right = sum(self.answers.get(name, False) for name in names)
        asked = self._asked(names)
        return f"In all: {_counted(marks)}{asked}" + (f", {right} right at first try" * bool(right))

    def _asked(self, names: Iterable[str]) -> str:
        count = self._count(names)
        return f", {count} questions" if count else ""

    def _count(self, names: Iterable[str]) -> str:
        known = [name in self.answers for name in names]
        return f"{sum(known)} of {len(known)}" if known else ""

    def _repr_html_(self) -> str:
        rows, part = [], ""
        for chapter, marks in self.rows:
            if chapter.part != part:
                part = chapter.part
                rows.append(f'<tr><th colspan="5" style="{_LEFT}">{html.escape(part)}</th></tr>')
            rows.append(_row(chapter, marks, self._count(chapter.questions.values())))
        return (
            f'<table><tr><th style="{_LEFT}">chapter</th><th>minutes to read</th>'
            f'<th style="{_LEFT}">exercises</th>'
            f"<th>done</th><th>questions</th></tr>{''.join(rows)}</table>"
            f"<p>{html.escape(self.total)}</p>"
        )


_LEFT = "text-align:left"


def _counted(marks: list[bool]) -> str:
    return f"{sum(marks)} of {len(marks)} exercises" if marks else "no exercises"


def _row(chapter: Chapter, marks: list[bool], questions: str) -> str:
    dots = "".join(
        f'<span title="{exercise}" style="color:{"#1a7f37" if mark else "#8a8a8a"}">'
        f"{'●' if mark else '○'}</span>"
        for exercise, mark in zip(chapter.exercises, marks, strict=True)
    )
    link = f'<a href="{html.escape(chapter.file)}">{html.escape(chapter.title)}</a>'
    count = f"{sum(marks)} of {len(marks)}" if marks else ""
    return (
        f'<tr><td style="{_LEFT}">{link}</td><td>{chapter.minutes}</td>'
        f'<td style="{_LEFT}" aria-hidden="true">{dots}</td><td>{count}</td>'
        f"<td>{questions}</td></tr>"
    )


def overview() -> Overview:
    """What is done on this desk, a line for each chapter.

    Raises:
        DeskError: if the notebook does not lie on a desk.
    """
    return Overview()


def check() -> str:
    """Whether everything that the chapters need is here, in a few lines of text."""
    import platform

    import torch

    from mnist_course import data, devices

    device = devices.choose_device("auto")
    digits = data.load("test")
    desk = find_desk()
    where = f"Your desk is the folder {desk.name}." if desk else _NOT_A_DESK
    return (
        f"Python {platform.python_version()} and PyTorch {torch.__version__} work, on {device}.\n"
        f"The digits are {digits.source}: {len(digits):,} to test on.\n{where}"
    )
