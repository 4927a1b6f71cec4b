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
    """Say what was raised, and quote the learner's line that it came from, if there is one."""
    try:
        words = str(error)
    except Exception:  # an exception class of the learner's own
        words = ""
    raised = type(error).__name__ + (f": {words}" if words else "")
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if is_learners(frame.f_code.co_filename)
    ]
    if not frames:
        if error.__traceback__ is None or error.__traceback__.tb_next is None:
            return f"Calling your function raised {raised}."  # with arguments it does not take
        return (
            f"What your code returned stopped the check ({raised}). Does it return what the "
            "exercise asks for?"
        )
    frame, line = frames[-1]  # the deepest one: the learner's own line, or what it called
    text = linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip()
    return f"Your code raised {raised}" + (f" (line {line}: `{text}`)." if text else ".")


def is_stub(error: NotImplementedError) -> bool:
    """Whether the learner's own code raised it, and not a library that lacks something."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return is_learners(frame.f_code.co_filename)
