"""Checks of chapter 4, convolution by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks import (
    NotSolvedError,
    compared,
    exercise,
    finite,
    normal,
    numbers,
    run,
    same,
)

__all__ = [
    "conv2d",
    "counterexample",
    "end_detector",
    "response",
    "slide",
    "true_convolution",
]


def _patch(x: Tensor, w: Tensor, i: int, j: int) -> Tensor:
    return x[:, i : i + w.shape[1], j : j + w.shape[2]]


def _response(x: Tensor, w: Tensor, b: float, i: int, j: int) -> float:
    return (w * _patch(x, w, i, j)).sum().item() + b


@compared(
    cases={
        f"{C} channel(s), a {K_h}×{K_w} kernel and the place ({i}, {j})": (
            normal(C, 8, 9), normal(C, K_h, K_w, seed=1), 0.75 + i, i, j,
        )
        for C, K_h, K_w in ((3, 3, 3), (1, 3, 3), (1, 2, 4), (4, 5, 2))
        for i, j in ((0, 0), (2, 0), (1, 3))
    },
    mistakes={
        "The sum of the products is right, but the bias is missing.": (
            lambda x, w, b, i, j: (w * _patch(x, w, i, j)).sum()
        ),
        "You return a number for every channel: one filter adds up over the channels.": (
            # Of a single channel nothing can be told.
            lambda x, w, b, i, j: (w * _patch(x, w, i, j)).sum((1, 2))[: len(x) * (len(x) > 1)] + b
        ),
        "The bias is added to every product, so it counts many times: add it once, after the sum.":
            lambda x, w, b, i, j: (w * _patch(x, w, i, j) + b).sum(),
        "Rows and columns are exchanged: i counts rows, j columns.": (
            lambda x, w, b, i, j: (w * _patch(x, w, j, i)).sum() + b
        ),
        "Only channel 0 of x is used: each channel has a slice of the filter, add up over all.": (
            lambda x, w, b, i, j: (w * _patch(x, w, i, j)[:1]).sum() + b,
            lambda x, w, b, i, j: (w * _patch(x, w, i, j))[0].sum() + b,
        ),
        "The kernel is flipped: w[:, u, v] meets x[:, i + u, j + v].": (
            lambda x, w, b, i, j: (w.flip(1, 2) * _patch(x, w, i, j)).sum() + b
        ),
        "You used the matrix product @; multiply entry by entry with * and add up.": (
            lambda x, w, b, i, j: _patch(x, w, i, j) @ w,
            lambda x, w, b, i, j: (_patch(x, w, i, j) @ w).sum() + b,
        ),
    },
    right="One number for one place: all channels, all weights, one bias.",
)  # fmt: skip
def response(x: Tensor, w: Tensor, b: float, i: int, j: int) -> float:
    """Check ``function(x, w, b, i, j)``: one output number of one filter with bias.

    ``x`` is ``(C, H, W)``, ``w`` is ``(C, K_h, K_w)``, ``b`` a number.
    """
    return _response(x, w, b, i, j)


_Layer = Callable[[Tensor, Tensor, Tensor], Tensor]


def _without_the_first(w: Tensor) -> Tensor:
    """What is left of the weights when the sums run from 1 to K - 1."""
    return F.pad(w[..., 1:, 1:], (1, 0, 1, 0))


_PLACES = "i takes H - K_h + 1 values, so `range(H - K_h + 1)`"
# Wrong answers to F.conv2d(x, w, b), whatever the number of channels, filters and images.
_WRONG_SLIDES: dict[str, _Layer] = {
    "the kernel is flipped in both directions: that is the convolution of mathematics. "
    "Networks use w[u, v] with x[i + u, j + v].": lambda x, w, b: F.conv2d(x, w.flip(2, 3), b),
    "the first row and column of the kernel are never used: sums in Python start at 0.": (
        lambda x, w, b: F.conv2d(x, _without_the_first(w), b)
    ),
    f"the last row and column of the result were never filled: {_PLACES}.": (
        lambda x, w, b: F.pad(F.conv2d(x, w, b)[..., :-1, :-1], (0, 1, 0, 1))
    ),
    "rows and columns of the kernel are exchanged: it is w[u, v] that meets x[i + u, j + v]. "
    "A symmetric kernel hides this.": lambda x, w, b: F.conv2d(x, w.mT, b),
}  # fmt: skip
_WRONG_LAYERS: dict[str, _Layer] = _WRONG_SLIDES | {
    "the bias is missing: the rest is right.": lambda x, w, b: F.conv2d(x, w),
    "the bias is added once for every input channel: add it once, after the sum.": (
        lambda x, w, b: F.conv2d(x, w, w.shape[1] * b)
    ),
    "only input channel 0 is used: add up over all input channels.": (
        lambda x, w, b: F.conv2d(x[:, :1], w[:, :1], b)
    ),
    "only the last term of the sum over channels survives: use += where the channels are added.": (
        lambda x, w, b: F.conv2d(x[:, -1:], w[:, -1:], b)
    ),
    "the filters are added up, too: each of them makes a map of its own.": (
        lambda x, w, b: F.conv2d(x, w.sum(0, keepdim=True).expand_as(w), b)
    ),
}


@compared(
    cases={
        case: (normal(*x), normal(*w, seed=1), normal(w[0], seed=2))
        for case, (x, w) in {
            "one image, one channel, one 3×3 filter": ((1, 1, 6, 6), (1, 1, 3, 3)),
            "an image with H ≠ W": ((1, 1, 5, 8), (1, 1, 3, 3)),
            "a kernel with K_h ≠ K_w": ((1, 1, 7, 6), (1, 1, 2, 3)),
            "two filters": ((1, 1, 6, 7), (2, 1, 3, 3)),
            "three input channels": ((1, 3, 6, 7), (2, 3, 3, 3)),
            "a batch of two": ((2, 3, 6, 7), (4, 3, 3, 2)),
            "a kernel as large as the image": ((2, 2, 4, 5), (3, 2, 4, 5)),
            "a 1×1 kernel": ((2, 3, 4, 5), (2, 3, 1, 1)),
        }.items()
    },
    mistakes={f"With {{case}}, {words}": wrong for words, wrong in _WRONG_LAYERS.items()},
    so_far=True,
    shape=_PLACES,
    right="Your layer equals PyTorch's for batches, channels, filters and odd shapes.",
    avoiding=("conv1d", "conv2d", "conv3d", "convolution"),
)
def conv2d(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Check ``function(x, w, b)``: a convolution layer with stride 1 and no padding.

    ``x`` is ``(N, C_in, H, W)``, ``w`` is ``(C_out, C_in, K_h, K_w)``, ``b`` is ``(C_out,)``.
    """
    return F.conv2d(x, w, b)


def _of_one_image(layer: _Layer) -> Callable[[Tensor, Tensor], Tensor]:
    """A layer as a function of one image (H, W) and one kernel (K_h, K_w)."""
    return lambda image, kernel: layer(image[None, None], kernel[None, None], image.new_zeros(1))[
        0, 0
    ]


@compared(
    cases={
        f"a {H}×{W} image and a {K_h}×{K_w} kernel": (normal(H, W), normal(K_h, K_w, seed=1))
        for H, W, K_h, K_w in ((5, 5, 3, 3), (6, 8, 3, 3), (6, 5, 2, 4), (4, 7, 4, 1))
    },
    mistakes={
        f"For {{case}}, {words}": _of_one_image(wrong) for words, wrong in _WRONG_SLIDES.items()
    },
    shape=_PLACES,
    right="It now tells rows from columns, for square kernels and others.",
)
def slide(image: Tensor, kernel: Tensor) -> Tensor:
    """Check ``function(image, kernel)``: one image ``(H, W)``, one kernel ``(K_h, K_w)``."""
    return _of_one_image(F.conv2d)(image, kernel)


def _pair(answer: Any, words: str, kinds: tuple[str, str]) -> list[Tensor]:
    """Two results of the learner's, as finite numbers."""
    try:
        first, second = answer
    except (TypeError, ValueError):
        raise NotSolvedError(f"Return two things, {words}.") from None
    return [
        finite(numbers(part, f"The {kind} must be made of numbers"), f"The {kind}")
        for part, kind in zip((first, second), kinds, strict=True)
    ]


@exercise
def counterexample(function: Callable[..., Any], suspect: Callable[..., Any]) -> str:
    """Check that ``function()`` returns an image and a kernel for which ``suspect`` is wrong.

    Args:
        function: the learner's, returns ``(image, kernel)``, of shapes ``(H, W)``, ``(K_h, K_w)``.
        suspect: the faulty function, called as ``suspect(image, kernel)``.
    """
    image, kernel = _pair(run(function), "two tensors: `return image, kernel`", ("image", "kernel"))
    if image.ndim != 2 or kernel.ndim != 2:
        raise NotSolvedError(
            "Image and kernel must have two axes each, got "
            f"shapes {tuple(image.shape)} and {tuple(kernel.shape)}."
        )
    if any(k < 1 or k > n for n, k in zip(image.shape, kernel.shape, strict=True)):
        raise NotSolvedError(
            f"The kernel {tuple(kernel.shape)} does not fit into the image {tuple(image.shape)}."
        )
    right = _of_one_image(F.conv2d)(image, kernel)
    expected = finite(right, "The right answer for your image and kernel")
    try:
        answer = run(suspect, image, kernel)
    except NotSolvedError as error:
        raise NotSolvedError(
            "Here the function raises an error, which anybody would notice; find a case where "
            "it runs and is wrong. A square kernel will do."
        ) from error
    rounding = 1e-9 * (image.abs().max() * kernel.abs().sum()).item()
    if not same(answer, expected, rounding):
        return "Here the function is wrong, and your test sees it."
    why = "this test does not catch the bug"
    if kernel.shape[0] == kernel.shape[1] and torch.equal(kernel, kernel.T):
        why = "your kernel is symmetric: exchanging rows and columns changes nothing"
    if bool((image == image.flatten()[0]).all()):
        why = (
            "all pixels of your image are equal, so it does not matter which weight meets which "
            "pixel. Use an image with structure"
        )
    raise NotSolvedError(f"The function gives the right answer here: {why}.")


@compared(
    cases={
        f"x of shape {x} and w of shape {w}": (normal(*x), normal(*w, seed=1))
        for x, w in (
            ((1, 1, 6, 6), (1, 1, 3, 3)), ((1, 1, 6, 7), (1, 1, 2, 3)),
            ((2, 3, 6, 7), (4, 3, 3, 3)), ((3, 2, 5, 4), (2, 2, 4, 1)),
        )
    },
    mistakes={
        "This is cross-correlation: flip the kernel before you slide it.": F.conv2d,
        "Only the rows are flipped (upside down): flip the columns as well.": (
            lambda x, w: F.conv2d(x, w.flip(2))
        ),
        "Only the columns are flipped (left to right): flip the rows as well.": (
            lambda x, w: F.conv2d(x, w.flip(3))
        ),
        "Filters or channels are reversed too: flip axes 2 and 3 only.": (
            lambda x, w: F.conv2d(x, w.flip(1, 2, 3)),
            lambda x, w: F.conv2d(x, w.flip(0, 1, 2, 3)),
        ),
        "The kernel is transposed or turned by a quarter; a flip reverses both axes, half a turn: "
        "w.flip(2, 3).": (
            lambda x, w: F.conv2d(x, w.mT),
            lambda x, w: F.conv2d(x, w.rot90(1, (2, 3))),
            lambda x, w: F.conv2d(x, w.rot90(-1, (2, 3))),
        ),
    },
    right="That is convolution as mathematics defines it: half a turn of each kernel.",
)  # fmt: skip
def true_convolution(x: Tensor, w: Tensor) -> Tensor:
    """Check ``function(x, w)``: convolution with flipped kernels, no bias, where they fit.

    ``x`` is ``(N, C_in, H, W)``, ``w`` is ``(C_out, C_in, K_h, K_w)``.
    """
    return F.conv2d(x, w.flip(2, 3))


# Strokes for the end detector: corners of a polyline, open at both ends.
_STROKES: dict[str, list[tuple[int, int]]] = {
    "a horizontal stroke": [(0, 0), (0, 8)],
    "a vertical stroke": [(0, 0), (8, 0)],
    "a diagonal stroke": [(0, 0), (7, 7)],
    "the other diagonal": [(0, 7), (7, 0)],
    "a short stroke": [(0, 0), (0, 3)],
    "a stroke with a corner": [(0, 0), (8, 0), (8, 6)],
    "a stroke with an obtuse bend": [(0, 0), (5, 5), (5, 11)],
    "a stroke with a sharp bend": [(0, 0), (0, 6), (6, 0)],
    "a zigzag": [(0, 0), (6, 6), (12, 0)],
}


def _draw(corners: list[tuple[int, int]], margin: int) -> tuple[Tensor, Tensor]:
    """An image of a stroke one pixel wide, and a mask of its two ends."""
    height = 1 + max(row for row, _ in corners) + 2 * margin
    width = 1 + max(column for _, column in corners) + 2 * margin
    image = torch.zeros(height, width, dtype=torch.float64)
    for (r0, c0), (r1, c1) in pairwise(corners):
        steps = max(abs(r1 - r0), abs(c1 - c0))
        for step in range(steps + 1):
            row, column = r0 + (r1 - r0) * step // steps, c0 + (c1 - c0) * step // steps
            image[margin + row, margin + column] = 1
    ends = torch.zeros_like(image, dtype=torch.bool)
    for row, column in (corners[0], corners[-1]):
        ends[margin + row, margin + column] = True
    return image, ends


@exercise
def end_detector(function: Callable[..., Any]) -> str:
    """Check that ``function()`` returns a kernel and a bias that are positive at ends of strokes.

    Any odd square kernel will do: the response plus the bias must be above zero at both ends of
    each drawn stroke, and at or below zero at every other pixel, also on blank paper.
    """
    kernel, bias = _pair(
        run(function), "a table of weights and a number: `return kernel, bias`", ("kernel", "bias")
    )
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        raise NotSolvedError(
            f"The kernel must be square and odd, got the shape {tuple(kernel.shape)}."
        )
    if bias.numel() != 1:
        raise NotSolvedError(f"The bias is one number, got the shape {tuple(bias.shape)}.")
    for turn in range(8):
        for name, corners in _STROKES.items():
            image, ends = (
                (picture.T if turn >= 4 else picture).rot90(turn % 4)
                for picture in _draw(corners, margin=len(kernel))
            )
            _finds_the_ends(
                f"{name}, turned or mirrored," if turn else name, image, ends, kernel, bias
            )
    return "It finds every end of every stroke, and nothing else."


def _finds_the_ends(name: str, image: Tensor, ends: Tensor, kernel: Tensor, bias: Tensor) -> None:
    """Raise what the detector does wrong on one stroke."""
    half = len(kernel) // 2
    y = finite(_of_one_image(F.conv2d)(image, kernel) + bias, "What your kernel answers")
    inner = slice(half, -half or None)
    ink, at_end = image[inner, inner] > 0, ends[inner, inner]
    if (y > 0)[~ink].any():
        raise NotSolvedError(
            f"On {name} your detector answers beside the stroke, on paper: a pixel without "
            "ink must score below one with ink. Which weight makes sure of that?"
        )
    if (y[at_end] <= 0).all():
        raise NotSolvedError(f"On {name} it finds neither end: is the bias too strict?")
    if (y[at_end] <= 0).any():
        raise NotSolvedError(
            f"On {name} it finds one end and misses the other: should the kernel look the same "
            "from all sides?"
        )
    false = int((y > 0)[ink & ~at_end].sum())
    if false:
        raise NotSolvedError(
            f"On {name} it also answers at {false} place(s) along the stroke. How many "
            "neighbours with ink has an end, how many has the middle?"
        )
