"""Run the answers to one chapter, each in a process of its own, and ask its checks.

The chapter's own cells run once. For each answer the process forks: the child has limits of time
and memory, no network and nowhere to write but in an empty folder; it runs the learner's cells,
puts back what they replaced in PyTorch and Python, imports the checks anew, asks them, and only
then opens the pipe in which a verdict is expected, with a number that was drawn for it.
All that is Python, and Python can be talked into much: see the page for teachers.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
import types
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mnist_course.classroom import guards
from mnist_course.classroom.notebooks import CHECKS, Check, parsed
from mnist_course.classroom.submissions import Cell, without_checks

PATIENCE = 5
"""How many times its seconds of work an answer may take on a busy machine."""

LONGEST = 2000  # letters of a message


@dataclass(frozen=True)
class Chapter:
    """What is run before every answer.

    Attributes:
        cells: label and code of the chapter's cells, without solutions.
        modules: names of modules of checks, by the name under which the chapter imports them.
        private: folders that no answer may read.
    """

    cells: tuple[tuple[str, str], ...]
    modules: Mapping[str, str]
    private: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """An answer to be run: the learner's cells, and then the calls of checks."""

    cells: tuple[Cell, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Limits:
    """What each answer may use.

    Attributes:
        seconds: of the CPU; on the clock it may be :data:`PATIENCE` times as long.
        memory: in GB, beyond what Python and PyTorch need.
        file: the largest file that it may write, in MB.
    """

    seconds: int = 60
    memory: float = 2.0
    file: int = 20


@dataclass(frozen=True)
class Outcome:
    """What became of an answer.

    Attributes:
        verdicts: of each check: whether it holds, and what it says.
        remarks: for the teacher.
    """

    verdicts: tuple[tuple[bool, str], ...]
    remarks: tuple[str, ...] = ()


def run(
    chapter: Chapter, tasks: Sequence[Task], limits: Limits, jobs: int
) -> tuple[list[str], list[Outcome]]:
    """What went wrong in the chapter's own cells, and the outcome of each task, in order.

    To be called in a process of its own, which it leaves changed: see :mod:`.grading`.

    Raises:
        RuntimeError: if a source of the checks changed meanwhile.
    """
    import torch
    import torch._dynamo  # which replaces functions of PyTorch when it is first needed

    torch.set_num_threads(1)
    sys.dont_write_bytecode = True
    before = _fingerprint()
    space, problems = _prepared(chapter)
    outcomes: dict[int, Outcome] = {}
    waiting = deque(enumerate(tasks))
    busy: dict[int, _Child] = {}
    with tempfile.TemporaryDirectory(prefix="grading-") as place:
        while waiting or busy:
            while waiting and len(busy) < jobs:
                number, task = waiting.popleft()
                busy[number] = _Child(chapter, task, space, limits, Path(place) / str(number))
            for number, child in list(busy.items()):
                if child.ended():
                    outcomes[number] = child.outcome()
                    del busy[number]
            time.sleep(0.005)
    if _fingerprint() != before:
        raise RuntimeError("The checks of the course were changed while they were used.")
    return problems, [outcomes[number] for number in range(len(tasks))]


def _fingerprint() -> str:
    folder = Path(importlib.import_module(CHECKS).__file__ or "").parent
    sources = sorted(folder.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _prepared(chapter: Chapter) -> tuple[dict[str, Any], list[str]]:
    """The names that the chapter makes, and the cells that failed."""
    module = types.ModuleType("__main__")  # where pickle looks for the learner's classes
    sys.modules["__main__"] = module
    problems = []
    for label, source in chapter.cells:
        if problem := _run_cell(label, source, module.__dict__, chapter.modules):
            problems.append(f"{label}: {problem}")
    return module.__dict__, problems


def _run_cell(label: str, source: str, space: dict[str, Any], modules: Mapping[str, str]) -> str:
    """Run a cell without its calls of checks, and say what it raised; empty if nothing."""
    from mnist_course.checks import _blame

    filename = f"<{label}>"
    guards.remember_lines(filename, source)
    try:
        tree = parsed(source) or ast.parse(source)
        exec(compile(without_checks(tree, modules), filename, "exec"), space)
    except SyntaxError as error:
        return f"SyntaxError: {error.msg} (line {error.lineno})"
    except BaseException as error:  # SystemExit, too
        return _blame.blame(error)
    return ""


class _Child:
    """A process that runs one answer."""

    def __init__(
        self, chapter: Chapter, task: Task, space: dict[str, Any], limits: Limits, folder: Path
    ) -> None:
        self.task, self.limits, self.folder = task, limits, folder
        (folder / "work").mkdir(parents=True)
        os.mkfifo(folder / "verdict", 0o600)
        self.pipe = os.open(folder / "verdict", os.O_RDONLY | os.O_NONBLOCK)
        self.secret, self.heard, self.status = secrets.token_hex(16), b"", 0
        self.start, self.late = time.monotonic(), False
        self.pid = os.fork()
        if self.pid == 0:
            _answer(chapter, task, space, limits, folder, self.secret)

    def ended(self) -> bool:
        """Whether it is done; it is stopped when its time is up."""
        self._listen()
        pid, self.status = os.waitpid(self.pid, os.WNOHANG)
        if not pid and time.monotonic() - self.start > PATIENCE * self.limits.seconds:
            self.late = True
            self._kill()
            pid, self.status = os.waitpid(self.pid, 0)
        if pid:
            self._listen()
            self._kill()  # what it has started
            os.close(self.pipe)
            shutil.rmtree(self.folder, ignore_errors=True)
        return bool(pid)

    def _listen(self) -> None:
        with suppress(BlockingIOError):
            while len(self.heard) < 1_000_000 and (more := os.read(self.pipe, 65536)):
                self.heard += more

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def outcome(self) -> Outcome:
        """The verdicts that came with the right number, or why there are none."""
        secret, _, rest = self.heard.decode("utf-8", "replace").partition("\n")
        if secrets.compare_digest(secret.encode(), self.secret.encode()):
            with suppress(ValueError, TypeError, KeyError):
                said = json.loads(rest)
                verdicts = tuple((bool(ok), str(words)) for ok, words in said["verdicts"])
                if len(verdicts) == len(self.task.checks):
                    return Outcome(verdicts, tuple(map(str, said["remarks"])))
        why, remarks = self._silence()
        return Outcome(((False, why),) * len(self.task.checks), remarks)

    def _silence(self) -> tuple[str, tuple[str, ...]]:
        forged = ("something was written where the verdict is expected",) if self.heard else ()
        number = os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else 0
        if self.late or number in (signal.SIGXCPU, signal.SIGKILL):
            seconds = self.limits.seconds
            return (
                f"Your code was still running after {seconds} seconds, so I stopped it. Is there a "
                "loop in it that never ends?"
            ), forged
        if number:
            return f"Your code crashed Python ({signal.Signals(number).name}).", forged
        return "Your code ended Python before the check was done.", forged


def _answer(
    chapter: Chapter,
    task: Task,
    space: dict[str, Any],
    limits: Limits,
    folder: Path,
    secret: str,
) -> NoReturn:
    """In the child: run the learner's cells, ask the checks, and write down what they say."""
    code = 1
    with suppress(BaseException):
        given = {name: space[name] for c in task.checks for name in c.given if name in space}
        free = guards.confine(folder / "work", chapter.private, limits)
        kept = guards.Kept()
        before = {name: space.get(name) for cell in task.cells for name in cell.makes}
        errors = [
            f"{cell.label}: {problem}"
            for cell in task.cells
            if (problem := _run_cell(cell.label, cell.source, space, chapter.modules))
        ]
        remarks = [f"the notebook {deed}" for deed in kept.put_back()]
        space |= given | _fresh(chapter.modules)
        verdicts = []
        for check in task.checks:
            unmade = [n for n in sorted(check.answers & before.keys()) if space.get(n) is before[n]]
            try:
                verdicts.append(_verdict(check, space, unmade, errors))
            except Exception as error:  # a name that the chapter did not make
                verdicts.append((False, "The check could not be asked. Your teacher is told."))
                remarks.append(f"{check.expression} raised {error!r}")
                continue
            remarks += [f"its function {deed}" for deed in kept.put_back()]
            if not _refuses_nonsense(check, space):
                verdicts[-1] = (False, "The check itself was changed, so its verdict is void.")
                remarks.append(f"{check.name} was changed and accepted what is wrong")
        said = {"verdicts": [(ok, words[:LONGEST]) for ok, words in verdicts], "remarks": remarks}
        free()
        with (folder / "verdict").open("w", encoding="utf-8") as pipe:
            pipe.write(f"{secret}\n{json.dumps(said)}")
        code = 0
    os._exit(code)


def _fresh(modules: Mapping[str, str]) -> dict[str, types.ModuleType]:
    """The modules of checks, imported anew, with all that they are made of."""
    for each in list(sys.modules):
        if each.startswith(CHECKS) or each in modules.values():
            del sys.modules[each]
    return {name: importlib.import_module(module) for name, module in modules.items()}


def _verdict(
    check: Check, space: dict[str, Any], unmade: Sequence[str], errors: Sequence[str]
) -> tuple[bool, str]:
    """Ask a check. What went wrong in the learner's cells is said where the answer is missing."""
    if unmade and errors:
        return False, f"`{unmade[0]}` is not there: {'; '.join(errors)}"
    verdict = eval(check.expression, space)
    said = sys.modules[CHECKS].Verdict
    ok = type(verdict) is said and verdict.ok is True
    words = str(verdict.message)
    return ok, words if ok or not errors else f"{words} Before that, {'; '.join(errors)}"


def _refuses_nonsense(check: Check, space: Mapping[str, Any]) -> bool:
    """Whether a check still refuses a function that returns nothing.

    Where words are asked for and not a function, the check is asked about the dots.
    """
    nothing = dict.fromkeys(check.answers, _nothing)
    if not check.answers:
        return True
    return not eval(check.expression, {**space, **nothing}).ok


def _nothing(*_: Any, **__: Any) -> None:
    """What is no answer to any exercise."""
