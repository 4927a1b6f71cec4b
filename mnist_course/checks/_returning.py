"""For checks that return their verdicts: the machinery as functions that return, not raise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from mnist_course.checks import _comparing
from mnist_course.checks._blame import blame, is_stub
from mnist_course.checks._verdicts import NotSolvedError, Verdict

__all__ = ["Verdict", "compare", "right", "run", "wrong"]


def right(message: str) -> Verdict:
    """A verdict that says the exercise is solved."""
    return Verdict(True, message)


def wrong(message: str) -> Verdict:
    """A verdict that says what is not right yet."""
    return Verdict(False, message)


def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the learner's function returns, or the verdict on its failing."""
    try:
        result = function(*args, **kwargs)
    except NotImplementedError as error:
        if is_stub(error):
            return wrong("Nothing is written yet: replace the line `raise NotImplementedError`.")
        return wrong(blame(error))
    except Exception as error:
        return wrong(blame(error))
    if result is None:
        return wrong("Your function returned None: does it end with `return …`?")
    return result


def compare(
    answer: Any,
    expected: torch.Tensor,
    case: str,
    *,
    tolerance: float = 1e-9,
    hints: Iterable[tuple[str, torch.Tensor]] = (),
) -> Verdict | None:
    """The verdict on one answer that is not right, else None."""
    if isinstance(answer, Verdict):
        return answer
    try:
        if not _comparing.same(answer, expected, tolerance, 0):
            for words, mistake in hints:
                if _comparing.same(answer, mistake, tolerance, 0):
                    return wrong(words)
        _comparing.compare(answer, expected, case, tolerance=tolerance, relative=0, typed=False)
    except NotSolvedError as error:
        return wrong(str(error))
    return None
