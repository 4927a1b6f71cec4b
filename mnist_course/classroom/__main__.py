"""The command line: ``python -m mnist_course.classroom copies | grade | variants``."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mnist_course.classroom import copies, grading, notebooks, reports, variants
from mnist_course.classroom.notebooks import ClassroomError
from mnist_course.classroom.running import Limits


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mnist_course.classroom", description="For teachers: hand out, and grade."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    texts = {
        "copies": "Copy chapters for learners, without solutions and answers.",
        "grade": "Grade a folder of notebooks: a table, a page, and feedback for each learner.",
        "variants": "Make a sheet of its own for each learner, with a key.",
    }
    parts = {name: commands.add_parser(name, help=t, description=t) for name, t in texts.items()}
    parts["copies"].add_argument("chapters", nargs="*", metavar="CHAPTER", help="all if none")
    parts["grade"].add_argument("folder", type=Path, help="what was handed in")
    parts["grade"].add_argument("--chapter", action="append", help="only this one (repeatable)")
    _limits(parts["grade"])
    parts["variants"].add_argument("chapter", choices=sorted(variants.SHEETS))
    parts["variants"].add_argument(
        "--learners", type=Path, required=True, metavar="FILE", help="a name in each line"
    )
    parts["variants"].add_argument("--seed", type=int, required=True, help="same seed, same sheets")
    for name, part in parts.items():
        part.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where to write")
        if name != "variants":
            part.add_argument(
                "--notebooks", type=Path, metavar="FOLDER", help="the chapters, with solutions"
            )
    return parser


def _limits(part: argparse.ArgumentParser) -> None:
    jobs = max(1, (os.cpu_count() or 2) - 1)
    part.add_argument("--jobs", type=_count, default=jobs, help="at once (default: %(default)s)")
    part.add_argument(
        "--seconds", type=_count, default=60, help="of work for each answer (default: %(default)s)"
    )
    part.add_argument(
        "--memory",
        type=_positive,
        default=2.0,
        metavar="GB",
        help="for each (default: %(default)s)",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text}")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _copies(arguments: argparse.Namespace) -> None:
    folder = arguments.notebooks or notebooks.home()
    made = copies.hand_out(notebooks.originals(folder, arguments.chapters), arguments.to)
    print(f"{len(made)} notebooks in {arguments.to}; none has a solution or an answer.")


def _grade(arguments: argparse.Namespace) -> None:
    originals = arguments.notebooks or notebooks.home()
    print(f"Grading {arguments.folder}; for a class that takes minutes.", flush=True)
    graded, problems = grading.grade(
        arguments.folder,
        notebooks.originals(originals, arguments.chapter),
        limits=Limits(seconds=arguments.seconds, memory=arguments.memory),
        jobs=arguments.jobs,
        private=[originals, arguments.to],
    )
    for problem in problems:
        print(f"note: {problem}", file=sys.stderr)
    reports.write(graded, arguments.to)
    counts = Counter(bool(each.submission.problem) for each in graded)
    held = sum(bool(mark.remarks) for each in graded for mark in each.marks)
    print(f"{counts[False]} notebooks graded, {counts[True]} could not be; {held} answers to read.")
    print(f"See {arguments.to / 'marks.html'}, marks.csv and the folder feedback beside it.")


def _variants(arguments: argparse.Namespace) -> None:
    try:
        learners = arguments.learners.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ClassroomError(f"{arguments.learners} cannot be read: {error}") from None
    made = variants.hand_out(arguments.chapter, learners, arguments.seed, arguments.to)
    print(f"{len(made)} sheets in {arguments.to / 'sheets'}; the key is in {arguments.to / 'key'}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns 0, or 1 and a line on stderr if it could not be done."""
    given = _parser().parse_args(arguments)
    try:
        {"copies": _copies, "grade": _grade, "variants": _variants}[given.command](given)
    except (ClassroomError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
