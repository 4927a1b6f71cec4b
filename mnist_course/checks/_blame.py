"""What went wrong in the learner's code, and in which line of it."""

from __future__ import annotations

import linecache
import os
import sysconfig
import traceback
from pathlib import Path

import torch

_MACHINES_OWN = ("<frozen ", "<__array_function__", "<eval_with_key>")
_LIBRARIES = tuple(
    f"{folder}{os.sep}"
    for folder in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        str(Path(os.__file__).parent),
        str(Path(torch.__file__).parents[1]),
        str(Path(__file__).parents[1]),
    }
)


def is_learners(filename: str) -> bool:
    """Whether code of this file is the learner's: a cell, or a file outside every library."""
    return not filename.startswith((*_MACHINES_OWN, *_LIBRARIES))


def blame(error: BaseException) -> str:
    """Say what the learner's code raised, and quote their own line that it came from."""
    line, trace = learners_line(error), error.__traceback__
    if line is None and (trace is None or trace.tb_next is None):
        return f"Calling your function raised {_raised(error)}."  # arguments it does not take
    return f"Your code raised {_raised(error)}" + (f" ({line})." if line else ".")


def blame_answer(error: BaseException) -> str:
    """Say what was raised by a check that met something odd in the learner's answer."""
    if learners_line(error) is not None:
        return blame(error)
    return (
        f"What your code returned stopped the check ({_raised(error)}). Does it return what the "
        "exercise asks for?"
    )


def _raised(error: BaseException) -> str:
    try:
        words = str(error)
    except Exception:  # an exception class of the learner's own
        words = ""
    return type(error).__name__ + (f": {words}" if words else "")


def learners_line(error: BaseException) -> str | None:
    """The learner's deepest line: the one that failed, or that called what failed.

    It is empty if the text is not at hand, and None if no line of theirs is to blame.
    """
    frames = [
        (frame, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
        if is_learners(frame.f_code.co_filename)
    ]
    if not frames:
        return None
    frame, number = frames[-1]
    text = linecache.getline(frame.f_code.co_filename, number, frame.f_globals).strip()
    return f"line {number}: `{text}`" if text else ""


def is_stub(error: NotImplementedError) -> bool:
    """Whether the learner's own code raised it, and not a library that lacks something."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return is_learners(frame.f_code.co_filename)
