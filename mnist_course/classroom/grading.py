"""Grade what a class handed in."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mnist_course.classroom.notebooks import ClassroomError, Exercise, Original
from mnist_course.classroom.running import Chapter, Limits, Outcome, Task, run
from mnist_course.classroom.submissions import (
    Answer,
    Submission,
    chapter_cells,
    collect,
    needed,
)

# One thread for each answer: as many run at once as are asked for. And nothing of ours is told.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "agg",
    "CUDA_VISIBLE_DEVICES": "",
}


@dataclass(frozen=True)
class Mark:
    """What an answer to an exercise is worth.

    Attributes:
        exercise: which.
        points: the share of its checks that hold, 0 to 1; ``None`` where nothing was begun.
        words: what the checks say, in order.
        remarks: for the teacher, not for the learner.
    """

    exercise: Exercise
    points: float | None
    words: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graded:
    """A submission with its marks, in the order of the exercises; none if it cannot be graded."""

    submission: Submission
    marks: tuple[Mark, ...] = ()
    remarks: tuple[str, ...] = field(default=())


def grade(
    folder: Path,
    chapters: Sequence[Original],
    *,
    limits: Limits | None = None,
    jobs: int = 1,
    private: Sequence[Path] = (),
) -> tuple[list[Graded], list[str]]:
    """Grade all notebooks in a folder.

    An answer is what a learner's notebook makes for the calls of checks in the chapter: the cells
    that define it, and those that these need. They are run one after the other, whatever one of
    them raises, in a process for each exercise. The calls themselves are the original's, so it
    does not matter whether a notebook still has them.

    Args:
        folder: what was handed in; see :func:`.submissions.collect`.
        chapters: the originals, with solutions.
        limits: for each answer.
        jobs: how many answers run at once.
        private: folders that no answer may read, beside ``folder``.

    Returns:
        The graded submissions, by learner, and what went wrong in cells of the chapters.

    Raises:
        ClassroomError: if there is nothing to grade, or the system cannot do it.
        RuntimeError: if the checks changed while they were used.
    """
    if not hasattr(os, "fork"):
        raise ClassroomError("Grading needs Linux or macOS; on Windows, use WSL.")
    submissions = collect(folder, chapters)
    marks: dict[Path, tuple[Mark, ...]] = {}
    problems: list[str] = []
    for original in chapters:
        mine = [each for each in submissions if each.original is original]
        if mine:
            secret = tuple(str(path) for path in (folder, *private))
            found, outcomes = _run(original, mine, secret, limits or Limits(), jobs)
            problems += [f"{original.name}, {problem}" for problem in found]
            marks |= {each.path: _marks(each, outcomes) for each in mine}
    return [
        Graded(each, marks.get(each.path, ()), tuple(_doubles(each, submissions)))
        for each in submissions
    ], problems


def _doubles(submission: Submission, others: Sequence[Submission]) -> Iterator[str]:
    chapter = submission.original
    for other in others:
        same = other.learner == submission.learner and other.original is chapter
        if chapter and same and other is not submission:
            yield f"{submission.learner} handed in this chapter more than once: {other.path.name}"


def _marks(submission: Submission, outcomes: Mapping[Answer, Outcome]) -> tuple[Mark, ...]:
    return tuple(_mark(answer, outcomes.get(answer)) for answer in submission.answers)


def _mark(answer: Answer, outcome: Outcome | None) -> Mark:
    if outcome is None:
        return Mark(answer.exercise, None, ("Nothing is written yet.",))
    words = tuple(said for _, said in outcome.verdicts)
    if answer.held:
        reason = f"held back until read: {', '.join(answer.held)}"
        return Mark(
            answer.exercise,
            0.0,
            ("Your teacher will read this answer before it counts.",),
            (reason, *outcome.remarks, *words),
        )
    points = sum(ok for ok, _ in outcome.verdicts) / len(outcome.verdicts)
    return Mark(answer.exercise, points, words, outcome.remarks)


def _run(
    original: Original,
    submissions: Sequence[Submission],
    private: tuple[str, ...],
    limits: Limits,
    jobs: int,
) -> tuple[list[str], dict[Answer, Outcome]]:
    """Run every different answer to a chapter once, in a new process that forks for each."""
    answers = dict.fromkeys(
        answer for each in submissions for answer in each.answers if answer.begun
    )
    chapter = Chapter(prelude(original, answers), dict(original.modules), private)
    tasks = [Task(answer.cells, answer.checks) for answer in answers]
    spawn = multiprocessing.get_context("spawn")
    with _environment(), ProcessPoolExecutor(1, mp_context=spawn, initializer=_quiet) as pool:
        try:
            problems, outcomes = pool.submit(run, chapter, tasks, limits, jobs).result()
        except BrokenProcessPool:
            raise ClassroomError(f"The cells of {original.name} ended Python.") from None
    return problems, dict(zip(answers, outcomes, strict=True))


def prelude(original: Original, answers: Iterable[Answer]) -> tuple[tuple[str, str], ...]:
    """Label and code of the cells of a chapter that answers need: to run all takes a minute.

    Cells to write in are among them, because an exercise may need what another one gives.
    """
    names = set()
    for answer in answers:
        names |= {name for cell in answer.cells for name in cell.needs | cell.later}
        names |= {name for check in answer.checks for name in check.given | check.answers}
    cells = needed(chapter_cells(original), names)
    return tuple((cell.label, cell.source) for cell in cells)


def _quiet() -> None:
    void = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(void, stream)


@contextmanager
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        sys.stdout.flush()
