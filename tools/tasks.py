"""The exercises and the questions of a chapter, read from its text.

``CONTRIBUTING.md`` says how they are written. :mod:`tools.minutes` adds up how long they take,
:mod:`tools.folds` and :mod:`tools.questions` show them on the pages, and the tests hold every
chapter to their form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import jupytext
from nbformat import NotebookNode

CHECKS = Path(__file__).parents[1] / "mnist_course" / "checks"
LEVELS = ("Easy", "Medium", "Hard", "Open")
LEVEL = re.compile(rf"^\*({'|'.join(LEVELS)}) · (\d+) minutes?\*$")
HIDDEN = ("hide-input", "hide-cell", "remove-input", "remove-cell")

_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_CODE = re.compile(r"^(`{3,}).*?^\1", re.MULTILINE | re.DOTALL)
_EXERCISE = re.compile(r"Exercise (\d+\.\d+): (.+)")
_CHECK = re.compile(r"\bcheck\.(\w+)\(")
_DEFINED = re.compile(r"^[@)].*\ndef (\w+)", re.MULTILINE)  # every check is decorated
_QUESTION = re.compile(
    r"^(?P<fence>:{3,})\{admonition\} (?P<title>Question[^\n]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_DROPDOWN = re.compile(
    r"^(?P<fence>:{3,})\{dropdown\} (?P<title>[^\n]+)\n(?P<options>(?:^:[\w-]+:[^\n]*\n)*)\n*"
    r"(?P<reply>.*?)^(?P=fence)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_OPTION = re.compile(r"^:([\w-]+): *(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """A heading of a chapter and the cells below it, to the next heading of its level or above.

    Attributes:
        title: the heading.
        level: 2 for a section of the chapter.
        cells: the cells; text cells are cut at the headings.
    """

    title: str
    level: int
    cells: tuple[NotebookNode, ...]

    @property
    def text(self) -> str:
        """What is written in it, without the code."""
        return "\n".join(cell.source for cell in self.cells if cell.cell_type == "markdown")


@dataclass(frozen=True)
class Exercise:
    """An exercise.

    Attributes:
        number: as printed, ``"7.5"``.
        title: what follows the number.
        level: one of :data:`LEVELS`; empty where the text does not say it.
        minutes: how long it takes; 0 where the text does not say it.
        checks: the checks that are called in it, by the names under which a learner's desk
            remembers them: ``"pooling.blur_pool"``.
        section: all of it.
    """

    number: str
    title: str
    level: str
    minutes: int
    checks: tuple[str, ...]
    section: Section


@dataclass(frozen=True)
class Choice:
    """A possible answer, whether it is the right one, and what is replied to it."""

    text: str
    right: bool
    reply: str


@dataclass(frozen=True)
class Question:
    """A question of a quiz.

    Attributes:
        title: ``"Question 1"``.
        name: its address in the page, which stays for ever: ``"ask-pooling-window-size"``.
        classes: what ``:class:`` says.
        text: what is asked.
        choices: the answers to choose from; none where it has a plain answer.
        answer: the plain answer; empty where there are choices.
    """

    title: str
    name: str
    classes: tuple[str, ...]
    text: str
    choices: tuple[Choice, ...]
    answer: str


def hidden(cell: NotebookNode) -> bool:
    """Whether the page hides the code of a cell, or folds it."""
    return any(tag in cell.metadata.get("tags", ()) for tag in HIDDEN)


def sections(source: Path, level: int = 2) -> list[Section]:
    """The sections of a chapter whose headings have a level; what stands before them is none."""
    found: list[tuple[str, int, list[NotebookNode]]] = []
    open_: list[NotebookNode] | None = None
    for title, depth, cell in pieces(jupytext.read(source)):
        if title and depth <= level:
            open_ = [] if depth == level else None
            if open_ is not None:
                found.append((title, depth, open_))
        if open_ is not None:
            open_.append(cell)
    return [Section(title, depth, tuple(cells)) for title, depth, cells in found]


def pieces(notebook: NotebookNode) -> Iterator[tuple[str, int, NotebookNode]]:
    """The cells of a notebook, cut at headings: heading and its level, or nothing, and the cell."""
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            yield "", 0, cell
            continue
        plain = _CODE.sub(lambda code: " " * len(code[0]), cell.source)  # `#` begins comments there
        starts = sorted({0, *(match.start() for match in _HEADING.finditer(plain))})
        for start, end in pairwise([*starts, len(cell.source)]):
            heading = _HEADING.match(cell.source, start)
            body = cell.source[heading.end() if heading else start : end].strip()
            title, depth = (heading[2].strip(), len(heading[1])) if heading else ("", 0)
            if heading or body:
                yield title, depth, NotebookNode(cell_type="markdown", source=body, metadata={})


def exercises(source: Path) -> list[Exercise]:
    """The exercises of a chapter, in order."""
    found = []
    for section in sections(source, 3):
        if match := _EXERCISE.fullmatch(section.title):
            first = section.text.partition("\n")[0]
            level = LEVEL.match(first)
            kind, minutes = level.groups() if level else ("", 0)
            code = "\n".join(cell.source for cell in section.cells if cell.cell_type == "code")
            checks = called(source.stem.split("-")[1], code)
            found.append(Exercise(match[1], match[2], kind, int(minutes), checks, section))
    return found


def called(word: str, code: str) -> tuple[str, ...]:
    """The checks of a chapter that code calls, ``"pooling.blur_pool"``, each once.

    What a module of checks holds besides, to set an exercise up, is none of them.
    """
    file = CHECKS / f"{word}.py"
    known = _DEFINED.findall(file.read_text(encoding="utf-8")) if file.exists() else None
    names = dict.fromkeys(_CHECK.findall(code))
    return tuple(f"{word}.{name}" for name in names if known is None or name in known)


def questions(source: Path) -> list[Question]:
    """The questions of a chapter, in order."""
    return questions_in(source.read_text(encoding="utf-8"))


def questions_in(text: str) -> list[Question]:
    """The questions in a text, in order."""
    return [_question(match) for match in _QUESTION.finditer(text)]


def cut(text: str) -> tuple[str, str]:
    """What stands before the first question of a text, and the rest; nothing if it asks none."""
    first = _QUESTION.search(text)
    return (text[: first.start()], text[first.start() :]) if first else (text, "")


def _question(match: re.Match[str]) -> Question:
    body = match["body"]
    head, _, rest = body.partition("\n\n") if body.startswith(":") else ("", "", body)
    options = dict(_OPTION.findall(head))
    folds = list(_DROPDOWN.finditer(rest))
    choices, answer = [], ""
    for fold in folds:
        classes = dict(_OPTION.findall(fold["options"])).get("class", "").split()
        if "choice" in classes:
            choices.append(Choice(fold["title"], "right" in classes, fold["reply"].strip()))
        else:
            answer = fold["reply"].strip()
    return Question(
        match["title"].strip(),
        options.get("name", ""),
        tuple(options.get("class", "").split()),
        rest[: folds[0].start() if folds else None].strip(),
        tuple(choices),
        answer,
    )


_BEGINS = re.compile(r"(?:yes|right|correct|exactly|no|not)\b", re.IGNORECASE)
_PROSE = re.compile(r"[^\W_]|[$`*\"'“(\[{]")


def marked(text: str) -> str:
    """The text of a cell in which the reply to each choice says whether it was right.

    So it does wherever the notebook is read, on paper too. Doing it twice changes nothing.
    """

    def reply(match: re.Match[str]) -> str:
        classes = dict(_OPTION.findall(match["options"])).get("class", "").split()
        if "choice" not in classes or match["reply"].startswith("**"):
            return match[0]
        mark, word = ("✓", "Right.") if "right" in classes else ("✗", "No.")
        if _BEGINS.match(match["reply"]):
            word = ""
        said = f"**{' '.join([mark, word]).strip()}**"
        gap = " " if _PROSE.match(match["reply"]) and match["reply"][:2] != "$$" else "\n\n"
        start = match.start("reply") - match.start()
        return f"{match[0][:start]}{said}{gap}{match[0][start:]}"

    return _QUESTION.sub(lambda question: _DROPDOWN.sub(reply, question[0]), text)


def ids(chapters: Iterable[Path]) -> list[str]:
    """The names of the questions of chapters that have choices."""
    return [q.name for source in chapters for q in questions(source) if q.choices and q.name]
