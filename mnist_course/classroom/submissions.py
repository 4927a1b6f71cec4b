"""What learners handed in: who, which chapter, and what of it answers which exercise."""

from __future__ import annotations

import ast
import re
import symtable
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mnist_course.classroom import notebooks
from mnist_course.classroom.notebooks import PLACEHOLDER, Check, ClassroomError, Exercise, Original
from mnist_course.files import printable

# What an answer does not need, and with which a process can be talked into a verdict.
_words = re.compile(r"\w+").findall
_WATCHED = frozenset(
    _words(
        """
    __closure__ __wrapped__ __globals__ __code__ __subclasses__ __builtins__ __traceback__ __spec__
    __loader__ _getframe currentframe f_back f_locals f_globals tb_frame gi_frame get_objects
    get_referrers get_referents addaudithook TABLES Verdict NotSolvedError _verdicts _comparing
    _running _tables
    """
    )
)
_WATCHED_NAMES = frozenset(["exec", "eval", "compile", "__import__"])
_WATCHED_MODULES = frozenset(
    _words("""
    gc ctypes inspect importlib builtins socket subprocess multiprocessing threading _thread signal
    atexit requests urllib http pty code faulthandler mmap resource
    """)
)
_WATCHED_PARTS = {
    "sys": frozenset(_words("modules meta_path path_hooks settrace setprofile _current_frames")),
    "os": frozenset(
        _words("""
        write open _exit fork forkpty kill killpg system popen setsid dup dup2 pipe environ
        """)
    ),
}
_ARCHIVES = frozenset([".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz"])
_HARMLESS = frozenset(["F", "plots", "plt", "print", "len", "glue", "range"])
_ASSIGNED = re.compile(r"^(?:async )?(?:def|class)[ \t]+(\w+)|^(\w+)[ \t]*=(?!=)", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        label: what messages call it.
        source: its code.
        makes: the names that it makes, or whose objects it may change.
        needs: the names that it needs when it is run.
        later: the names that its functions need when they are called.
    """

    label: str
    source: str
    makes: frozenset[str]
    needs: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Answer:
    """A learner's answer to an exercise.

    Attributes:
        exercise: which.
        cells: of the learner, to be run in this order; none where nothing was begun.
        checks: the calls of the original, with the learner's words where words are asked for.
        held: what a teacher should read before the answer counts.
    """

    exercise: Exercise
    cells: tuple[Cell, ...]
    checks: tuple[Check, ...]
    held: tuple[str, ...]

    @property
    def begun(self) -> bool:
        """Whether the learner wrote anything."""
        return bool(self.cells) or self.checks != self.exercise.checks


@dataclass(frozen=True)
class Submission:
    """A file that was handed in.

    Attributes:
        learner: whose.
        path: the file.
        original: the chapter; ``None`` where it cannot be told.
        answers: to the exercises of the chapter, in order.
        problem: why it cannot be graded; empty where it can.
    """

    learner: str
    path: Path
    original: Original | None = None
    answers: tuple[Answer, ...] = field(default=())
    problem: str = ""


def collect(folder: Path, chapters: Iterable[Original]) -> list[Submission]:
    """The notebooks in a folder, with the answers in them, by learner.

    A notebook in a folder of its own belongs to the learner whose name the folder has; one that
    lies in ``folder`` itself has the learner's name. The chapter is found by what :mod:`.copies`
    wrote into it, or by its calls of checks, so it may be renamed. Who handed in something else
    is among them, too, with a problem.

    Raises:
        ClassroomError: if there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise ClassroomError(f"There is no folder {folder}.")
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() == ".ipynb" and ".ipynb_checkpoints" not in path.parts
    ]
    if not paths:
        raise ClassroomError(f"There are no notebooks in {folder}.")
    known = list(chapters)
    found = [_submission(folder, path, known) for path in paths]
    given = {path.relative_to(folder).parts[0] for path in paths}
    return found + [_unread(path) for path in sorted(folder.iterdir()) if _missed(path, given)]


def _missed(path: Path, given: Collection[str]) -> bool:
    """Whether something in the folder has no notebook in it, and somebody may believe it has."""
    return path.name not in given and not path.name.startswith((".", "__"))


def _unread(path: Path) -> Submission:
    """What holds no notebook: it is not graded, and its learner not forgotten."""
    learner = path.name if path.is_dir() else path.stem
    inside = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    archives = [each for each in inside if each.suffix.lower() in _ARCHIVES]
    if archives:
        problem = f"{archives[0].name} is an archive: unpack it"
    else:
        names = ", ".join(each.name for each in inside[:3])
        problem = "there is no notebook" + (f", but {names}" if names else " in it")
    return Submission(unicodedata.normalize("NFC", printable(learner)), path, problem=problem)


def _submission(folder: Path, path: Path, chapters: list[Original]) -> Submission:
    parts = path.relative_to(folder).parts
    name = parts[0] if len(parts) > 1 else path.stem
    learner = unicodedata.normalize("NFC", printable(name))
    try:
        if path.is_symlink() or not path.is_file():
            raise ClassroomError("it is a link or a folder, not a file")
        notebook = notebooks.read(path)
        original = _chapter(notebook, chapters)
        return Submission(learner, path, original, _answers(notebook, original))
    except (ClassroomError, OSError) as error:
        return Submission(learner, path, problem=str(error))


def _chapter(notebook: Mapping[str, Any], chapters: list[Original]) -> Original:
    marks = notebook["metadata"].get("mnist_course")
    name = marks.get("chapter") if isinstance(marks, dict) else None
    for original in chapters:
        if original.name == name:
            return original
    code = "\n".join(cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code")

    def shared(original: Original) -> int:
        module = any(f"import {m.rpartition('.')[2]} as" in code for m in original.modules.values())
        names = {f"{c.name}(" for e in original.exercises for c in e.checks}
        return sum(name in code for name in names) if module else 0

    best = max(chapters, key=shared)
    if not shared(best):
        raise ClassroomError("it is none of the chapters: no cell calls a check of one")
    return best


def _answers(notebook: Mapping[str, Any], original: Original) -> tuple[Answer, ...]:
    code = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    theirs = {cell["source"].strip() for cell in original.cells}
    imported = _imported(original.cells)
    own = [
        _cell(f"cell {number}", source, original, imported)
        for number, source in enumerate(code, 1)
        if source.strip() not in theirs and source.strip()
    ]
    words = [
        call
        for source in code
        if (tree := notebooks.parsed(source))
        for call in notebooks.called(tree, original.modules)
    ]
    return tuple(_answer(exercise, own, words) for exercise in original.exercises)


def _imported(cells: list[dict[str, Any]]) -> set[str]:
    """What the cells of a chapter import."""
    trees = [notebooks.parsed(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    nodes = [node for tree in trees if tree for node in tree.body]
    imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {name for node in imports for name in _made(node)}


def _answer(exercise: Exercise, own: list[Cell], words: list[ast.Call]) -> Answer:
    cells = tuple(needed(own, {name for check in exercise.checks for name in check.answers}))
    if not any(cell.makes & check.answers for cell in cells for check in exercise.checks):
        cells = ()
    checks = tuple(_in_their_words(check, words) for check in exercise.checks)
    held = dict.fromkeys(word for cell in cells for word in watched(cell.source))
    return Answer(exercise, cells, checks, tuple(held))


def _in_their_words(check: Check, calls: list[ast.Call]) -> Check:
    """The call of a check with the words that the learner wrote in the place of the dots."""
    posed = ast.parse(check.expression, mode="eval").body
    assert isinstance(posed, ast.Call)
    if not any(_is_open(argument) for argument in posed.args):
        return check
    for call in reversed(calls):
        alike = ast.unparse(call.func) == ast.unparse(posed.func)
        if alike and len(call.args) == len(posed.args) and not call.keywords:
            pairs = list(zip(posed.args, call.args, strict=True))
            if all(
                isinstance(said, ast.Constant)
                if _is_open(asked)
                else ast.dump(said) == ast.dump(asked)
                for asked, said in pairs
            ):
                return Check(ast.unparse(call), check.answers, check.given)
    return check


def _is_open(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value == PLACEHOLDER


def _cell(label: str, source: str, original: Original, imported: set[str]) -> Cell:
    modules = original.modules
    tree = notebooks.parsed(source)
    if tree is None:  # what it would make if it could be read
        makes = {name for match in _ASSIGNED.findall(source[:10_000]) for name in match if name}
        return Cell(label, source, frozenset(makes))
    tree.body = [line for line in tree.body if not _only_checks(line, modules)]
    makes = {name for line in tree.body for name in _made(line)}
    if not any(isinstance(line, (ast.Import, ast.ImportFrom)) for line in tree.body):
        makes -= imported  # who calls `torch.manual_seed` does not make `torch`
    needs, later, there = set(), set(), set(modules)
    for line in tree.body:
        table = symtable.symtable(ast.unparse(line), label, "exec")
        later |= _called_later(table) - set(modules)
        if isinstance(line, ast.For):
            there |= {n.id for n in ast.walk(line.target) if isinstance(n, ast.Name)}
        needs |= {s.get_name() for s in table.get_symbols() if s.is_referenced()} - there
        if isinstance(line, (ast.Assign, ast.Import, ast.ImportFrom)):
            there |= _made(line)
    return Cell(label, source, *map(frozenset, (makes - set(modules), needs, later)))


def _called_later(table: symtable.SymbolTable) -> set[str]:
    """The names that the functions in a piece of code look up in the notebook."""
    found: set[str] = set()
    for child in table.get_children():
        found |= {each.get_name() for each in child.get_symbols() if each.is_global()}
        found |= _called_later(child)
    return found


def chapter_cells(original: Original) -> list[Cell]:
    """The cells of a chapter that may be run before an answer, in order: all but solutions.

    To see what a cell may change is harder in a chapter that trains networks: it is whatever the
    cell hands to a function, except to those that only look at it.
    """
    imported = _imported(original.cells)
    found = []
    for number, cell in enumerate(original.cells, 1):
        if cell["cell_type"] == "code" and number - 1 not in original.answers:
            plain = _cell(f"the chapter's cell {number}", cell["source"], original, imported)
            tree = notebooks.parsed(cell["source"])
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)] if tree else []
            handed = {
                argument.id
                for call in calls
                if not _root(call.func) & _HARMLESS
                for argument in (*call.args, *(word.value for word in call.keywords))
                if isinstance(argument, ast.Name)
            }
            makes = plain.makes | (handed - imported)
            found.append(replace(plain, makes=makes))
    return found


def needed(cells: list[Cell], names: Iterable[str]) -> list[Cell]:
    """The cells that make names, and those that these need, in order."""
    chosen: set[int] = set()
    wanted, asked = [(name, len(cells)) for name in names], set()
    while wanted:
        name, end = wanted.pop()
        if (name, end) not in asked:
            asked.add((name, end))
            for place in range(end):
                if name in cells[place].makes:
                    chosen.add(place)
                    wanted += [(each, place) for each in cells[place].needs]
                    wanted += [(each, len(cells)) for each in cells[place].later]
    return [cells[place] for place in sorted(chosen)]


def _only_checks(statement: ast.stmt, modules: Mapping[str, str]) -> bool:
    return isinstance(statement, ast.Expr) and bool(notebooks.called(statement, modules))


def without_checks(tree: ast.Module, modules: Mapping[str, str]) -> ast.Module:
    """The code of a cell without the calls of checks in it: the original's are made instead."""
    body = [line for line in tree.body if not _only_checks(line, modules)]
    return ast.Module(body=body, type_ignores=[])


def _made(statement: ast.stmt) -> set[str]:
    """The names that a statement at the top of a cell makes, or whose objects it changes."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, ast.Expr):  # `table.update(…)`
        return _root(statement.value.func) if isinstance(statement.value, ast.Call) else set()
    found = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.alias):
            found.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(getattr(node, "ctx", None), ast.Store):
            found |= _root(node)
    return found


def _root(node: ast.AST) -> set[str]:
    """The name that `name.part[…]` begins with."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def watched(source: str) -> list[str]:
    """What in a cell a teacher should read: it reaches behind the exercise, or out of it."""
    tree = notebooks.parsed(source)
    if tree is None:
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if _is_watched(a.name)]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            parts = _WATCHED_PARTS.get(module, frozenset())
            found += [f"{module}.{a.name}" for a in node.names if a.name in _WATCHED | parts]
            found += [module] * _is_watched(module)
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in _WATCHED | _WATCHED_PARTS.get(owner, frozenset()):
                found.append(node.attr)
        elif isinstance(node, ast.Name) and node.id in _WATCHED | _WATCHED_NAMES:
            found.append(node.id)
        elif isinstance(node, ast.Constant) and str(node.value) in _WATCHED:
            found.append(str(node.value))
    return list(dict.fromkeys(found))


def _is_watched(module: str) -> bool:
    inner = module.startswith(f"{notebooks.CHECKS}.")
    return inner or module.partition(".")[0] in _WATCHED_MODULES
