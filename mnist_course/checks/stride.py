"""Checks of chapter 5: the sizes of outputs, stride and padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks import (
    NotSolvedError,
    compare,
    compared,
    count,
    exercise,
    normal,
    number,
    run,
    same,
    saying,
)

__all__ = ["output_size", "pad", "same_padding", "strided_conv2d"]


def _size(n: int, k: int, s: int = 1, p: int = 0) -> int:
    return max((n + 2 * p - k) // s + 1, 0)


# Well-known wrong formulas for the size of the output.
_WRONG_SIZES: dict[str, Callable[[int, int, int, int], float]] = {
    "the +1 belongs outside the fraction: divide and round down first, then count place number 0": (
        lambda n, k, s, p: (n + 2 * p - k + 1) // s
    ),
    "the +1 is missing: the places are numbered from 0, so there is one more of them": (
        lambda n, k, s, p: (n + 2 * p - k) // s
    ),
    "the padding counts twice, it stands at both ends": lambda n, k, s, p: (n + p - k) // s + 1,
    "the padding is not used": lambda n, k, s, p: (n - k) // s + 1,
    "the stride is not used": lambda n, k, s, p: n + 2 * p - k + 1,
    "you round up, which lets the last window hang over the edge": (
        lambda n, k, s, p: -((k - n - 2 * p) // s) + 1
    ),
}
_Case = tuple[int, int, int, int]


def _sizes(strides: list[int], paddings: list[int]) -> list[_Case]:
    cases = product(range(1, 12), range(1, 5), strides, paddings)
    return [case for case in cases if _size(*case)]


_STEPS: dict[str, list[_Case]] = {
    "stride 1 without padding": _sizes([1], [0]),
    "padding 1 and 2": _sizes([1], [1, 2]),
    "stride 2 and 3": _sizes([2, 3], [0, 1]),
    "large pictures": [(224, 7, 2, 3), (227, 11, 4, 2), (100, 30, 5, 0)],
}


def _named(case: _Case) -> str:
    names = ("n", "kernel_size", "stride", "padding")
    return ", ".join(f"{name} = {value}" for name, value in zip(names, case, strict=True))


@exercise
def output_size(function: Callable[..., Any]) -> str:
    """Check ``function(n, kernel_size, stride, padding)``: the size along one axis.

    It must be 0 where the window does not fit into the padded row.
    """
    done = ""
    for step, cases in _STEPS.items():
        _right_sizes(function, cases, f"Right for {done}; for " if done else "For ")
        done = step
    nowhere = [
        (n, k, s, p)
        for n, k, p, s in product(range(1, 5), range(2, 8), range(2), (1, 2, 3))
        if _size(n, k, 1, p) == 0
    ]
    _right_sizes(function, nowhere, "Right wherever the window fits; where it fits nowhere, for ")
    return "All sizes agree with PyTorch's, and where nothing fits you say 0."


def _right_sizes(function: Callable[..., Any], cases: Sequence[_Case], opening: str) -> None:
    """Raise which size is wrong, and by which formula, if one makes all sizes of these cases."""
    answers = [run(function, *case) for case in cases]
    sizes = [
        number(answer, f"{opening}{_named(case)}")
        for answer, case in zip(answers, cases, strict=True)
    ]
    because = [
        f": {words}"
        for words, mistake in _WRONG_SIZES.items()
        # Below 0 is as good as 0, and where nothing fits that says nothing of the formula.
        if any(_size(*case) for case in cases)
        and [max(size, 0) for size in sizes] == [max(mistake(*case), 0) for case in cases]
    ]
    for answer, size, case in zip(answers, sizes, cases, strict=True):
        if size != _size(*case):
            raise NotSolvedError(
                f"{opening}{_named(case)} you return {answer}, expected {_size(*case)}"
                f"{''.join(because[:1])}."
            )
        with saying("A size is a whole number: divide with //, which rounds down. "):
            count(answer, f"For {_named(case)}")


def _pad(x: Tensor, padding: int, mode: str) -> Tensor:
    return F.pad(x, (padding,) * 4, mode="constant" if mode == "zeros" else mode)


def _along(x: Tensor, rows: Callable[[int], list[int]]) -> Tensor:
    """The rows and columns with these numbers, of an axis as long as this."""
    return x[:, :, rows(x.shape[2])][..., rows(x.shape[3])]


def _mirrored(mirror: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor, int, str], Tensor]:
    """A padding whose zeros are right, and whose mirror is this one."""
    return lambda x, padding, mode: (
        _pad(x, padding, mode) if mode == "zeros" else mirror(x, padding)
    )


@compared(
    cases={
        f"mode {mode!r}, padding {padding} and x of shape {shape}": (normal(*shape), padding, mode)
        for mode, shape, padding in (
            ("zeros", (1, 1, 4, 4), 1), ("zeros", (2, 3, 4, 6), 2), ("reflect", (1, 1, 4, 4), 2),
            ("reflect", (2, 3, 5, 6), 3), ("reflect", (1, 2, 7, 4), 1), ("zeros", (2, 1, 3, 4), 0),
            ("reflect", (2, 1, 3, 4), 0),
        )
    },
    mistakes={
        "In mode '{mode}' only columns are added, or only rows: pad all four sides.": (
            lambda x, padding, mode: _pad(x, padding, mode)[:, :, padding : padding + x.shape[2]],
            lambda x, padding, mode: _pad(x, padding, mode)[..., padding : padding + x.shape[3]],
        ),
        "For mode 'reflect' you return zeros around the picture: is the mode used?": (
            lambda x, padding, mode: _pad(x, padding, "zeros")
        ),
        "Your mirror repeats the outermost pixel: `1 0 | 0 1 2 3 | 3 2`. Reflect leaves it out: "
        "`2 1 | 0 1 2 3 | 2 1`.": _mirrored(
            lambda x, p: _along(
                x, lambda n: [*reversed(range(p)), *range(n), *reversed(range(n - p, n))]
            )
        ),
        "You repeat the outermost pixel only; that is mode 'replicate'. Reflect goes back into the "
        "picture: `2 1 | 0 1 2 3 | 2 1`.": _mirrored(lambda x, p: _pad(x, p, "replicate")),
        "The right pixels in the wrong order: a mirror turns them round, `2 1 | 0 1 2 3 | 2 1`.": (
            _mirrored(
                lambda x, p: _along(
                    x, lambda n: [*range(1, p + 1), *range(n), *range(n - 1 - p, n - 1)]
                )
            )
        ),
    },
    right="Zeros and mirror are PyTorch's, on all four sides.",
    avoiding=("pad", "constant_pad_nd", "reflection_pad2d"),
)  # fmt: skip
def pad(x: Tensor, padding: int, mode: str) -> Tensor:
    """Check ``function(x, padding, mode)`` with mode ``"zeros"`` or ``"reflect"``.

    ``x`` is ``(N, C, H, W)``; the answer has ``padding`` more rows and columns on every side.
    """
    return _pad(x, padding, mode)


def _same(n: int, k: int, s: int) -> int:
    """How many pixels TensorFlow's "same" adds in all."""
    return max((-(-n // s) - 1) * s + k - n, 0)


@compared(
    cases={
        f"n = {n}, kernel_size = {k}, stride = {s}": (n, k, s)
        for n, k, s in (
            (7, 3, 1), (7, 5, 1), (7, 4, 1), (28, 3, 2), (27, 3, 2), (28, 7, 2), (10, 3, 3),
            (9, 2, 3), (28, 1, 2),
        )
    },
    so_far=True,
    mistakes={
        f"For {{case}} you return {{answer}}, expected {{expected}}: {words}": wrong
        for words, wrong in {
            "an odd pixel goes to the end, not to the start.": (
                lambda n, k, s: (_same(n, k, s) - _same(n, k, s) // 2, _same(n, k, s) // 2)
            ),
            "that is right for stride 1 only. Count from the last window.": (
                lambda n, k, s: ((k - 1) // 2, k // 2)
            ),
            "all of it stands at the end. Half of it belongs before the row.": (
                lambda n, k, s: (0, _same(n, k, s))
            ),
            "the number of outputs is rounded up, not down.": (
                lambda n, k, s: (
                    max((n // s - 1) * s + k - n, 0) // 2,
                    -(-max((n // s - 1) * s + k - n, 0) // 2),
                )
            ),
            "there cannot be fewer than no pixels.": (
                lambda n, k, s: (
                    ((-(-n // s) - 1) * s + k - n) // 2,
                    -((n - k - (-(-n // s) - 1) * s) // 2),
                )
            ),
        }.items()
    },
    right="That is what TensorFlow pads, for every stride.",
    shape="return two numbers, before and after",
    otherwise="You return {answer}, expected {expected}.",
)  # fmt: skip
def same_padding(n: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Check ``function(n, kernel_size, stride)``: what TensorFlow's "same" pads on both sides."""
    total = _same(n, kernel_size, stride)
    return total // 2, total - total // 2


@exercise
def strided_conv2d(function: Callable[..., Any]) -> str:
    """Check ``function(x, w, stride)``: a convolution without padding, bias or groups.

    ``x`` is ``(N, C_in, H, W)``, ``w`` is ``(C_out, C_in, K_h, K_w)``.
    """
    for stride, done in ((1, ""), (2, "stride 1"), (3, "strides 1 to 2")):
        for size, kernel_size in (((11, 11), (3, 3)), ((12, 9), (3, 2)), ((7, 13), (2, 4))):
            x, w = normal(2, 3, *size), normal(4, 3, *kernel_size, seed=1)
            opening = f"Right for {done}; for" if done else "For"
            with saying(f"{opening} stride {stride}: " if done else ""):
                answer = run(function, x, w, stride)
            with saying(f"{opening} stride {stride} "):
                _known_bugs(answer, x, w, stride)
            with saying(f"Right for {done}. " if done else ""):
                compare(answer, F.conv2d(x, w, stride=stride), f"stride {stride}")
    return "Equal to PyTorch for strides 1, 2 and 3, on square pictures and others."


def _known_bugs(answer: Any, x: Tensor, w: Tensor, stride: int) -> None:
    """Raise what is known of a wrong output, to go on after "for stride 2"."""
    expected, dense = F.conv2d(x, w, stride=stride), F.conv2d(x, w)
    if not isinstance(answer, Tensor) or answer.ndim != 4 or same(answer, expected):
        return
    rows, columns = expected.shape[-2:]
    got_rows, got_columns = answer.shape[-2:]
    if (got_rows, got_columns) != (rows, columns):
        raise NotSolvedError(
            f"the output is {got_rows}×{got_columns}, expected {rows}×{columns}: look at the "
            "loop bound."
        )
    for axis, kind, i in ((2, "rows", "i"), (3, "columns", "j")):
        if empty := _trailing_zeros(answer, axis):
            raise NotSolvedError(
                f"the last {empty} of {answer.shape[axis]} {kind} of the output are all zero: the "
                f"loop over {i} ends too early. Is its bound divided twice?"
            )
    for place, wrong in {
        "row i": dense[:, :, :rows, ::stride],
        "column j": dense[:, :, ::stride, :columns],
        "place (i, j)": dense[:, :, :rows, :columns],
    }.items():
        if same(answer, wrong):
            raise NotSolvedError(
                f"{place} of the output starts `stride` times as far on in the picture: at "
                "(i * stride, j * stride), not at (i, j)."
            )


def _trailing_zeros(y: Tensor, axis: int) -> int:
    """How many slices at the end of an axis are all zero."""
    filled = y.ne(0).transpose(0, axis).flatten(1).any(1).tolist()
    return len(filled) - max((i + 1 for i, f in enumerate(filled) if f), default=0)
