"""Checks that tell a learner at once whether an exercise is right, and if not, what is wrong.

A check takes what the learner wrote, compares it with the library on random cases in float64, and
returns a :class:`Verdict`. It never raises because of the learner's code: an exception inside the
learner's function is part of the verdict. There is one module of checks for each chapter.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

__all__ = ["Verdict", "compare", "right", "run", "wrong"]


@dataclass(frozen=True)
class Verdict:
    """The answer of a check. A verdict is false when the exercise is not solved.

    Attributes:
        ok: whether the exercise is solved.
        message: one or two sentences for the learner: what holds, or what is wrong and where to
            look.
    """

    ok: bool
    message: str

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        return f"{'✓ Right.' if self.ok else '✗ Not yet.'} {self.message}"


def right(message: str) -> Verdict:
    """A verdict that says the exercise is solved."""
    return Verdict(True, message)


def wrong(message: str) -> Verdict:
    """A verdict that says what is not right yet."""
    return Verdict(False, message)


def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call the learner's function; an exception becomes a :class:`Verdict` that quotes it.

    Returns:
        What the function returned, or a :class:`Verdict` if it raised or returned ``None``.
    """
    try:
        result = function(*args, **kwargs)
    except NotImplementedError:
        return wrong("Nothing is written yet: replace the line `raise NotImplementedError`.")
    except Exception as error:
        # The deepest frame is where the learner's own line failed, or what it called.
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
        where = (
            f" (line {frames[0].lineno}: `{frames[0].line}`)" if frames and frames[0].line else ""
        )
        return wrong(f"Your code raised {type(error).__name__}: {error}{where}.")
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
    """Compare one answer with the expected tensor.

    Args:
        answer: what the learner's function returned: a tensor, array, number or nested list.
        expected: the right answer, in float64.
        case: what was asked, for the message: ``"a 5×5 image and a 3×3 kernel"``.
        tolerance: largest absolute difference that counts as equal.
        hints: pairs ``(explanation, wrong answer)``: if the learner's answer equals one of these
            well-known wrong answers, its explanation is the message.

    Returns:
        ``None`` if the answer is right, else the verdict that says what is wrong.
    """
    if isinstance(answer, Verdict):
        return answer
    try:
        # NumPy keeps Python numbers in float64, where torch would round them to float32.
        got = answer if isinstance(answer, torch.Tensor) else torch.from_numpy(np.array(answer))
        got = got.detach().to("cpu", torch.float64)
    except Exception:
        return wrong(f"For {case} I expected numbers, got {type(answer).__name__}.")

    def same(wanted: torch.Tensor) -> bool:
        wanted = wanted.detach().double()
        return got.shape == wanted.shape and torch.allclose(got, wanted, rtol=0, atol=tolerance)

    if same(expected):
        return None
    for explanation, mistake in hints:
        if same(mistake):
            return wrong(explanation)
    if got.shape != expected.shape:
        return wrong(
            f"For {case} the result has shape {tuple(got.shape)}, expected {tuple(expected.shape)}."
        )
    if not torch.isfinite(got).all():
        return wrong(f"For {case} the result contains nan or infinity.")
    difference = (got - expected.detach().double()).abs()
    near = tolerance < difference.max() <= 1e-5 * (1 + expected.detach().double().abs().max())
    if near and expected.is_floating_point():  # whole numbers are right, or wrong
        return wrong(
            f"For {case} only the first seven digits are right: somewhere float64 became "
            "float32. Give new tensors the type of the input, as in torch.zeros(…, dtype=x.dtype)."
        )
    place = np.unravel_index(int(difference.argmax()), tuple(expected.shape)) if got.ndim else ()
    at = f" at index {tuple(int(i) for i in place)}" if place else ""
    return wrong(
        f"For {case} the shape is right but the numbers are not: the largest difference is "
        f"{difference.max():.3g}{at}."
    )
