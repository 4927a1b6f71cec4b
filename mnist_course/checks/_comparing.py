"""Comparing what the learner's code returns with what is right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_course.checks._verdicts import NotSolvedError

FLOAT32 = 1e-6
"""A tolerance for numbers around 1 that may have been computed in float32."""


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Normal random numbers in float64, the same for a seed in every run."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers from 0 to 1 in float64, the same for a seed in every run."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def numbers(answer: Any, what: str) -> Tensor:
    """The numbers of a tensor, array, number or nested list, as a float64 tensor on the CPU.

    Args:
        answer: what the learner's function returned.
        what: what it is, for the message: ``"For a 5×5 image I expected numbers"``.

    Raises:
        NotSolvedError: if it holds something else; complex, sparse and meta tensors do.
    """
    try:
        if isinstance(answer, Tensor):
            if answer.layout != torch.strided or answer.is_meta or answer.is_complex():
                kind = "complex" if answer.is_complex() else str(answer.layout).split(".")[-1]
                raise NotSolvedError(
                    f"{what}, got a {'meta' if answer.is_meta else kind} tensor: return an "
                    "ordinary one."
                )
            return answer.detach().to("cpu", torch.float64)
        array = np.asarray(_without_tensors(answer))  # keeps Python numbers in float64
        if array.dtype.kind not in "biuf":
            raise TypeError
        return torch.from_numpy(array.astype(np.float64))
    except (TypeError, ValueError, RuntimeError, OverflowError, RecursionError):
        raise NotSolvedError(f"{what}, got {_kind(answer)}.") from None


def _without_tensors(answer: Any) -> Any:
    if isinstance(answer, (list, tuple)):
        return [_without_tensors(part) for part in answer]
    return answer.detach().cpu().numpy() if isinstance(answer, Tensor) else answer


def _kind(answer: Any) -> str:
    if isinstance(answer, int) and not isinstance(answer, bool):
        return "an integer that is too large for a float"
    return type(answer).__name__


def number(answer: Any, what: str) -> float:
    """One finite number of any type: Python's, NumPy's or a tensor with a single entry.

    Raises:
        NotSolvedError: if it is something else, nan or infinity.
    """
    got = numbers(answer, f"{what}: I expected one number")
    if got.numel() != 1 or isinstance(answer, (list, tuple)):
        raise NotSolvedError(f"{what}: I expected one number, got shape {tuple(got.shape)}.")
    if not got.isfinite().all():
        raise NotSolvedError(f"{what}: I expected a finite number, got {got.item()}.")
    return got.item()


def count(answer: Any, what: str) -> int:
    """A whole number, of a whole type: ``3``, not ``3.0`` or ``True``.

    Raises:
        NotSolvedError: if it is something else.
    """
    value = number(answer, what)
    reason = _another_type(answer, 0)
    if reason is not None:
        raise NotSolvedError(f"{what}: {reason}.")
    return int(value)


def finite(answer: Tensor, what: str) -> Tensor:
    """The tensor itself, if all its numbers are finite: every comparison with nan is false.

    Raises:
        NotSolvedError: if it contains nan or infinity.
    """
    if not answer.isfinite().all():
        raise NotSolvedError(f"{what} contains nan or infinity.")
    return answer


def same(answer: Any, expected: Any, tolerance: float = 1e-9, relative: float = 1e-12) -> bool:
    """Whether two answers hold the same numbers in the same shape; nan is equal to nothing.

    A part ``...`` of several answers that are expected stands for anything.
    """
    if expected is ...:
        return True
    if _has_parts(expected):
        return (
            isinstance(answer, (list, tuple))
            and len(answer) == len(expected)
            and all(same(a, e, tolerance, relative) for a, e in zip(answer, expected, strict=True))
        )
    try:
        got, wanted = numbers(answer, ""), numbers(expected, "")
    except NotSolvedError:
        return False
    return got.shape == wanted.shape and torch.allclose(got, wanted, rtol=relative, atol=tolerance)


def _has_parts(expected: Any) -> bool:
    """Whether it is several answers, and not the numbers of one."""
    return isinstance(expected, (list, tuple)) and any(
        part is ... or isinstance(part, (Tensor, list, tuple)) for part in expected
    )


def compare(
    answer: Any,
    expected: Any,
    case: str,
    *,
    mistakes: Mapping[str, Any] | None = None,
    tolerance: float = 1e-9,
    relative: float = 1e-12,
    typed: bool | torch.dtype = True,
    shape: str = "",
    not_finite: str = "",
    otherwise: str | Callable[[Tensor], str] = "",
) -> None:
    """Compare one answer with the right one.

    Args:
        answer: what the learner's function returned.
        expected: the right answer, of the type that is asked for: a tensor of a dtype (any
            floating one stands for all), an ``int`` for a count, a ``float`` for a number of any
            type, a list or tuple of these for several answers.
        case: what was asked, for the message: ``"a 5×5 image and a 3×3 kernel"``.
        mistakes: well-known wrong answers, by what is said to a learner who returns one.
        tolerance: largest absolute difference that counts as equal.
        relative: what is added to it, as a share of the right number.
        typed: whether the type matters, too; or the only dtype that a tensor may have.
        shape: what to add to the message if the shape is wrong.
        not_finite: the message if the answer is not finite, and should be.
        otherwise: what to add to the message if nothing is known but that the numbers differ;
            or a function of the numbers that says it.

    Raises:
        NotSolvedError: if the answer is another; the message says what is wrong.
    """
    if same(answer, expected, tolerance, relative):
        reason = _another_type(answer, expected) if typed else None
        if not reason and isinstance(typed, torch.dtype) and answer.dtype != typed:
            reason = f"your tensor is of {answer.dtype}; the exercise asks for {typed}"
        if reason is not None:
            raise NotSolvedError(f"For {case} the numbers are right, but {reason}.")
        return
    for words, wrong in (mistakes or {}).items():
        if same(answer, wrong, tolerance, relative):
            raise NotSolvedError(words)
    if _has_parts(expected):
        for index, (part, right) in enumerate(_pairs(answer, expected, case), 1):
            name = f"{case}, result {index},"
            compare(part, right, name, tolerance=tolerance, relative=relative, typed=typed)
        return
    got, wanted = numbers(answer, f"For {case} I expected numbers"), numbers(expected, "")
    if wanted.ndim == 0 != got.ndim:
        raise NotSolvedError(f"For {case} I expected one number, got shape {tuple(got.shape)}.")
    if got.shape != wanted.shape:
        raise NotSolvedError(
            f"For {case} the result has shape {tuple(got.shape)}, expected {tuple(wanted.shape)}"
            f"{f': {shape}' if shape else ''}."
        )
    if not got.isfinite().all() and wanted.isfinite().all():
        raise NotSolvedError(not_finite or f"For {case} the result contains nan or infinity.")
    words = f"For {case} {_difference(answer, got, expected, wanted, relative)}"
    more = otherwise(got) if callable(otherwise) else otherwise
    raise NotSolvedError(f"{words} {more}".rstrip())


def _pairs(answer: Any, expected: Sequence[Any], case: str) -> Iterable[tuple[Any, Any]]:
    """Each of several answers with the right one."""
    several = isinstance(answer, (list, tuple))
    if not several or len(answer) != len(expected):
        got = len(answer) if several else type(answer).__name__
        raise NotSolvedError(f"For {case} return {len(expected)} things, got {got}.")
    return zip(answer, expected, strict=True)


def _another_type(answer: Any, expected: Any) -> str | None:
    """Why right numbers are not what was asked for, if they are not."""
    if isinstance(expected, (list, tuple)):
        reasons = (_another_type(a, e) for a, e in zip(answer, expected, strict=True))
        return next((reason for reason in reasons if reason is not None), None)
    if isinstance(expected, Tensor):
        if not isinstance(answer, Tensor):
            return f"you return {_article(answer)}; the exercise asks for a tensor"
        if expected.is_floating_point():
            fits = answer.is_floating_point()
        else:
            fits = answer.dtype == expected.dtype
        asked = "floating-point numbers" if expected.is_floating_point() else str(expected.dtype)
        return None if fits else f"your tensor is of {answer.dtype}; the exercise asks for {asked}"
    if isinstance(expected, (bool, int)):
        dtype = answer.dtype if isinstance(answer, Tensor) else torch.tensor(answer).dtype
        whole = not (dtype.is_floating_point or dtype == torch.bool)
        if isinstance(expected, bool):
            return None if dtype == torch.bool else f"{answer!r} is not a bool, True or False"
        return None if whole else f"{answer!r} is not a whole number like {int(answer)}"
    return None


def _article(answer: Any) -> str:
    if isinstance(answer, np.ndarray):
        return "a NumPy array"
    name = type(answer).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _difference(answer: Any, got: Tensor, expected: Any, wanted: Tensor, relative: float) -> str:
    """How an answer of the right shape differs from the right one."""
    difference = (got - wanted).abs().nan_to_num(nan=torch.inf)
    worst = difference.max().item() if difference.numel() else 0.0
    large = wanted.abs().nan_to_num(posinf=0).max().item() if wanted.numel() else 0.0
    whole = not (isinstance(expected, float) or (
        isinstance(expected, Tensor) and expected.is_floating_point()
    ))  # fmt: skip
    if not whole and worst <= 1e-5 * (1 + large) and _is_rounded(answer, got):
        return (
            "the numbers are right to about seven figures only: somewhere float64 became float32. "
            "Keep the type of the input: no .float(), and new tensors like "
            "torch.zeros(…, dtype=x.dtype)."
        )
    if got.ndim == 0:
        within = f" (within {relative:.0%})".replace("%", " %") if relative >= 0.001 else ""
        return f"the number is {got.item():.6g}, expected {wanted.item():.6g}{within}."
    place = np.unravel_index(int(difference.argmax()), tuple(got.shape))
    at = tuple(int(i) for i in place)
    if whole:
        wrong = int((difference > 0).sum())
        return (
            f"the shape is right but the numbers are not: {wrong} of {got.numel()} are wrong, "
            f"index {at} is {got[at]:.6g}, expected {wanted[at]:.6g}."
        )
    return (
        "the shape is right but the numbers are not: the largest difference is "
        f"{worst:.3g} at index {at}."
    )


def _is_rounded(answer: Any, got: Tensor) -> bool:
    """Whether the numbers have been in float32: the type says so, or every single one does."""
    if isinstance(answer, Tensor):
        return answer.dtype == torch.float32 or torch.equal(got, got.float().double())
    return torch.equal(got, got.float().double())
