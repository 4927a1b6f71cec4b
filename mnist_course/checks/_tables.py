"""Checks that are declared: a right function, cases, and mistakes that have a name."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mnist_course.checks._comparing import FLOAT32, compare, same
from mnist_course.checks._running import is_double, run, without
from mnist_course.checks._verdicts import (
    NotSolvedError,
    Verdict,
    exercise,
    explaining,
    saying,
)

Function = Callable[..., Any]
Cases = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Table:
    """What :func:`compared` was told, for the tests.

    Attributes:
        check: the check that was made of it.
        right: the right function.
        cases: the arguments of each call.
        mistakes: wrong functions, by what is said to a learner who wrote such a one.
    """

    check: Callable[[Function], Verdict]
    right: Function
    cases: Cases
    mistakes: Mapping[str, Function | tuple[Function, ...]]


TABLES: list[Table] = []
"""Every check that :func:`compared` has made, for the tests."""


def compared(
    *,
    cases: Cases,
    mistakes: Mapping[str, Function | tuple[Function, ...]],
    right: str,
    case: str = "{case}",
    so_far: bool = False,
    tolerance: float | None = None,
    relative: float = 1e-12,
    typed: bool | torch.dtype = True,
    shape: str = "",
    not_finite: str | Mapping[str, str] = "",
    otherwise: str | Callable[[Tensor], str] = "",
    raised: Mapping[str, str] | None = None,
    avoiding: tuple[str, ...] = (),
) -> Callable[[Function], Callable[[Function], Verdict]]:
    """Make a check of a right function: the learner's must return the same in every case.

    All words may name the case: ``{case}`` becomes its name, ``{stride}`` the argument of this
    name (of a tensor, its shape), ``{answer:.3f}`` and ``{expected:.3f}`` what came and what
    should have come.

    Args:
        cases: the arguments of each call by the name of the case, from simple to hard.
        mistakes: wrong functions, or several that mean the same, by what is said to a learner who
            wrote one. A mistake is passed over in a case in which it fails, or is right. Of
            several answers, ``...`` stands for any.
        right: what holds when all cases are right.
        case: how to name a case, if its name alone says too little.
        so_far: whether to say first which case was right before the one that is wrong.
        tolerance: largest absolute difference that counts as equal. By default rounding in
            float64 is allowed for, and rounding in float32 where no argument is float64.
        relative: what is added to it, as a share of the right number.
        typed: whether the answer must have the type of the right one, see :func:`compare`.
        shape: what to add to the message if the shape is wrong.
        not_finite: the message if the answer is not finite, and should be; several, by the name of
            the case.
        otherwise: what to add to the message if no mistake names it, or a function of the numbers
            that says it.
        raised: what to add to the message of an exception, by a word in it, see
            :func:`explaining`.
        avoiding: functions that the exercise asks to do without, see :func:`without`.
    """

    def make(solution: Function) -> Callable[[Function], Verdict]:
        def one_case(function: Function, name: str, given: tuple[Any, ...]) -> None:
            expected = solution(*copy.deepcopy(given))
            names = _names(solution, given) | {"expected": expected}
            names["case"] = _fill(case, names | {"case": name})
            with explaining(raised or {}):
                answer = run(function, *copy.deepcopy(given), double=_double(given))
            names["answer"] = answer
            inf = not_finite if isinstance(not_finite, str) else not_finite.get(name, "")
            within = _tolerance(given, expected) if tolerance is None else tolerance
            if not same(answer, expected, within, relative):
                _named(mistakes, given, names, within, relative)
            compare(
                answer, expected, names["case"], tolerance=within, relative=relative,
                typed=typed, shape=_fill(shape, names), not_finite=_fill(inf, names),
                otherwise=otherwise if callable(otherwise) else _fill(otherwise, names),
            )  # fmt: skip

        @without(*avoiding)
        def check(function: Function) -> str:
            done = ""
            for name, given in cases.items():
                with saying(f"Right for {done}. " if so_far and done else ""):
                    one_case(function, name, given)
                done = name
            return right

        check.__name__, check.__qualname__ = solution.__name__, solution.__qualname__
        check.__doc__, check.__module__ = solution.__doc__, solution.__module__
        made = exercise(check)
        TABLES.append(Table(made, solution, cases, mistakes))
        return made

    return make


def _names(solution: Function, given: tuple[Any, ...]) -> dict[str, Any]:
    """The arguments as words name them: a tensor by its shape."""
    names = list(inspect.signature(solution).parameters)
    return {
        name: tuple(value.shape) if isinstance(value, (Tensor, np.ndarray)) else value
        for name, value in zip(names, given, strict=True)
    }


def _fill(words: str, names: Mapping[str, Any]) -> str:
    """The words with ``{name}`` replaced where there is such a name; other braces stay."""

    def shown(match: re.Match[str]) -> str:
        name, form = match.groups()
        if name not in names:
            return match[0]
        value = names[name]
        if isinstance(value, Tensor):
            value = value.item() if value.numel() == 1 else value.tolist()
        return format(value, form) if form else str(value)

    return re.sub(r"\{(\w+)(?::([^{}]*))?\}", shown, words)


def _named(
    mistakes: Mapping[str, Function | tuple[Function, ...]],
    given: tuple[Any, ...],
    names: Mapping[str, Any],
    tolerance: float,
    relative: float,
) -> None:
    """Raise the words of the mistake that gives the answer, if one does."""
    for words, functions in mistakes.items():
        for mistake in functions if isinstance(functions, tuple) else (functions,):
            try:
                wrong = mistake(*copy.deepcopy(given))
            except Exception:  # it has no answer in this case
                continue
            some = isinstance(wrong, tuple) and any(part is ... for part in wrong)
            if some and same(names["expected"], wrong, tolerance, relative):
                continue  # what the mistake is about is right here
            if same(names["answer"], wrong, tolerance, relative):
                raise NotSolvedError(_fill(words, names))


def _double(given: tuple[Any, ...]) -> bool:
    """Whether new tensors may be float64: it fits the arguments, or no tensor is among them."""
    return is_double(given) or not any(
        isinstance(value, (Tensor, np.ndarray, nn.Module)) for value in given
    )


def _tolerance(given: tuple[Any, ...], expected: Any) -> float:
    """The default tolerance: where no argument is float64, float32 has to do."""
    parts = expected if isinstance(expected, (list, tuple)) else [expected]
    real = [torch.as_tensor(part) for part in parts]
    if is_double(given) or not any(part.is_floating_point() for part in real):
        return 1e-9
    return 2 * FLOAT32 * max((part.abs().max().item() for part in real if part.numel()), default=0)
