"""Notebooks as files, and the exercises of a chapter's notebook.

A chapter has its exercises under headings, as ``CONTRIBUTING.md`` describes: cells to write in, a
cell that calls a check, and at the end a hidden cell with the solution.
"""

from __future__ import annotations

import ast
import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mnist_course

LARGEST = 50_000_000  # bytes of a notebook: a thousand figures
LONGEST = 200_000  # characters of a cell
PLACEHOLDER = "…"  # stands in a call of a check where the learner writes an answer
HIDDEN = {"hide-input", "hide-cell", "remove-cell"}
NEUTRAL = ("# Set-up", "# Drawing code")
CHECKS, SHEETS = "mnist_course.checks", "mnist_course.classroom"

_HEADING = re.compile(r"^#{1,6} .+$", re.MULTILINE)
_FENCED = re.compile(r"^(`{3,}|~{3,}).*?^\1", re.MULTILINE | re.DOTALL)
_EXERCISE = re.compile(r"### Exercise (\d+\.\d+): (.+)")
_MAGIC = re.compile(r"^([ \t]*)[%!].*$", re.MULTILINE)


class ClassroomError(ValueError):
    """Something that a teacher handed in cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Check:
    """A call of a check in an exercise.

    Attributes:
        expression: the call, ``"check.max_pool(my_max_pool)"``.
        answers: what the learner writes of its arguments, ``{"my_max_pool"}``.
        given: what the chapter gives, and a learner's cell must not replace.
    """

    expression: str
    answers: frozenset[str]
    given: frozenset[str]

    @property
    def name(self) -> str:
        """What is called, ``"check.max_pool"``."""
        return self.expression.partition("(")[0]


@dataclass(frozen=True)
class Exercise:
    """An exercise that has at least one check: its number, title, checks, and cells' positions."""

    number: str
    title: str
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Original:
    """A chapter as the teacher has it, with its solutions.

    Attributes:
        name: of its file, without the ending: ``"08-pooling"``.
        notebook: what the file holds.
        exercises: those with checks, in order.
        modules: where what the calls of the checks begin with comes from:
            ``{"check": "mnist_course.checks.pooling"}``.
        answers: positions of the cells that give an answer away, text included.
    """

    name: str
    notebook: dict[str, Any]
    exercises: tuple[Exercise, ...]
    modules: Mapping[str, str]
    answers: frozenset[int]

    @property
    def cells(self) -> list[dict[str, Any]]:
        """All cells."""
        return list(self.notebook["cells"])


def home() -> Path:
    """The folder of the chapters' notebooks, beside the package.

    Raises:
        ClassroomError: if the package was installed without them.
    """
    folder = Path(mnist_course.__file__).parents[1] / "notebooks"
    if not folder.is_dir():
        raise ClassroomError(
            f"There is no folder {folder}. Say with --notebooks where the chapters are."
        )
    return folder


def read(path: Path) -> dict[str, Any]:
    """A notebook, with the text of each cell in one piece.

    Raises:
        ClassroomError: if the file is none.
        OSError: if it cannot be read.
    """
    if path.stat().st_size > LARGEST:
        raise ClassroomError(f"it has more than {LARGEST // 1_000_000} MB")
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            source = cell["source"]
            cell["source"] = source if isinstance(source, str) else "".join(source)
            cell["metadata"] = dict(cell.get("metadata") or {})
            if cell["cell_type"] not in ("code", "markdown", "raw"):
                raise ValueError
        notebook["metadata"] = dict(notebook.get("metadata") or {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ClassroomError("it is not a notebook") from None
    return dict(notebook)


def originals(folder: Path, chapters: list[str] | None = None) -> list[Original]:
    """The chapters of a folder, all or those named, by number, word or file name.

    Raises:
        ClassroomError: if there is none, or one that is named is not there.
    """
    paths = sorted(folder.rglob("*.ipynb"))
    if not paths:
        raise ClassroomError(f"There are no notebooks in {folder}.")
    for chapter in chapters or []:
        if not any(_called(path, chapter) for path in paths):
            raise ClassroomError(f"There is no chapter {chapter!r} in {folder}.")
    wanted = [p for p in paths if not chapters or any(_called(p, c) for c in chapters)]
    try:
        return [original(path) for path in wanted]
    except OSError as error:
        raise ClassroomError(f"A chapter cannot be read: {error}") from error


def _called(path: Path, chapter: str) -> bool:
    number, *words = path.stem.split("-")
    wanted = chapter.removesuffix(".ipynb").removesuffix(".md")
    return wanted in (path.stem, number, number.lstrip("0"), *words[:1])


def original(path: Path) -> Original:
    """A chapter.

    Raises:
        ClassroomError: if the file is no notebook.
    """
    try:
        notebook = read(path)
    except ClassroomError as error:
        raise ClassroomError(f"{path}: {error}") from None
    modules = _modules(notebook["cells"])
    exercises, answers = [], set()
    for number, title, places in sections(notebook["cells"]):
        cells = {place: notebook["cells"][place] for place in places}
        solved = _first_answer(cells)
        answers |= {place for place in cells if place >= solved}
        posed = _calls([cells[p] for p in cells if p < solved], modules)
        told = _calls([cells[p] for p in cells if p >= solved], modules)
        if posed:
            checks = tuple(_check(call, told, modules) for call in posed)
            exercises.append(Exercise(number, title, checks))
    stem = str(notebook["metadata"].get("mnist_course", {}).get("chapter", path.stem))
    return Original(stem, notebook, tuple(exercises), modules, frozenset(answers))


def sections(cells: list[dict[str, Any]]) -> Iterator[tuple[str, str, list[int]]]:
    """Number, title and the positions of the cells of each exercise.

    A text cell that ends an exercise, or in which it begins, belongs to none.
    """
    open_: tuple[str, str, list[int]] | None = None
    for place, cell in enumerate(cells):
        titles = headings(cell["source"]) if cell["cell_type"] == "markdown" else []
        if titles:
            if open_:
                yield open_
            match = _EXERCISE.fullmatch(titles[-1].strip())
            open_ = (match[1], match[2], []) if match else None
        elif open_:
            open_[2].append(place)
    if open_:
        yield open_


def headings(text: str) -> list[str]:
    """The headings of a text cell; a comment in code is none."""
    return _HEADING.findall(_FENCED.sub("", text))


def before_heading(text: str) -> int:
    """Where the first heading of a text begins; its length if there is none."""
    plain = _FENCED.sub(lambda code: " " * len(code[0]), text)
    heading = _HEADING.search(plain)
    return heading.start() if heading else len(text)


def hidden(cell: Mapping[str, Any]) -> bool:
    """Whether the page folds the code of a cell away."""
    return bool(HIDDEN & set(cell["metadata"].get("tags", ())))


def _first_answer(cells: Mapping[int, dict[str, Any]]) -> int:
    """Where the answer to an exercise begins: hidden cells behind the last one to write in."""
    code = {place: cell for place, cell in cells.items() if cell["cell_type"] == "code"}
    last = max((place for place, cell in code.items() if not hidden(cell)), default=-1)
    return min(
        (
            place
            for place, cell in code.items()
            if place > last and not cell["source"].lstrip().startswith(NEUTRAL)
        ),
        default=max(cells, default=0) + 1,
    )


def _modules(cells: list[dict[str, Any]]) -> dict[str, str]:
    """Names under which a chapter imports modules of checks."""
    found: dict[str, str] = {}
    for cell in cells:
        tree = parsed(cell["source"]) if cell["cell_type"] == "code" else None
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.ImportFrom) and node.module in (CHECKS, SHEETS):
                found |= {(a.asname or a.name): f"{node.module}.{a.name}" for a in node.names}
    return found


def parsed(source: str) -> ast.Module | None:
    """The syntax tree of a cell, in which a magic does nothing; ``None`` if it has none."""
    if len(source) > LONGEST:
        return None
    for text in (source, _MAGIC.sub(r"\1pass", source)):
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def called(node: ast.AST, modules: Mapping[str, str]) -> list[ast.Call]:
    """The calls of checks in a piece of code."""
    return [
        each
        for each in ast.walk(node)
        if isinstance(each, ast.Call)
        and isinstance(each.func, ast.Attribute)
        and isinstance(each.func.value, ast.Name)
        and each.func.value.id in modules
    ]


def _calls(cells: list[dict[str, Any]], modules: Mapping[str, str]) -> list[ast.Call]:
    """Calls of checks that stand as statements, or are printed."""
    found = []
    for cell in cells:
        tree = parsed(cell["source"]) if cell["cell_type"] == "code" else None
        for statement in tree.body if tree else ():
            if isinstance(statement, ast.Expr):
                found += called(statement, modules)
            elif isinstance(statement, ast.For):
                found += [call for line in statement.body for call in called(line, modules)]
    return found


def _check(call: ast.Call, solved: list[ast.Call], modules: Mapping[str, str]) -> Check:
    """A call as the exercise poses it; what the solution passes likewise is given."""
    twins = [each for each in solved if ast.unparse(each.func) == ast.unparse(call.func)]
    names = _names(call) - set(modules)
    given = names & set().union(*map(_names, twins))
    return Check(ast.unparse(call), frozenset(names - given), frozenset(given))


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def duplicate(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that can be changed."""
    return copy.deepcopy(dict(notebook))


def written(notebook: Mapping[str, Any]) -> str:
    """What the file of a notebook holds."""
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"
