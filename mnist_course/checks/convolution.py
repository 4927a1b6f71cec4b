"""Checks for the exercises on convolution (chapter 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks._returning import Verdict, compare, right, run, wrong

__all__ = [
    "conv2d",
    "counterexample",
    "end_detector",
    "im2col",
    "response",
    "slide",
    "true_convolution",
]


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def _shift_kernel(w: Tensor) -> Tensor:
    """What is left of the weights when the sums run from 1 to K - 1."""
    kept = w.clone()
    kept[..., 0, :] = 0
    kept[..., :, 0] = 0
    return kept


def _judge(
    answer: Any, expected: Tensor, case: str, hints: Iterable[tuple[str, Tensor]]
) -> Verdict | None:
    """Like :func:`compare`, but knows a result that only lacks precision."""
    verdict = compare(answer, expected, case, hints=hints)
    if verdict is None or not isinstance(answer, Tensor) or answer.dtype != torch.float32:
        return verdict
    if compare(answer, expected, case, tolerance=1e-4) is None:
        return wrong(
            "The numbers are right, but in single precision only: the input is float64, and "
            "your result float32. Make it with `dtype=x.dtype`, or with `x.new_zeros(…)`."
        )
    return verdict


def response(function: Callable[..., Any]) -> Verdict:
    """Check ``function(x, w, b, i, j)``: one output number of one filter with bias.

    ``x`` is ``(C, H, W)``, ``w`` is ``(C, K_h, K_w)``, ``b`` a number.
    """
    for C, K_h, K_w in ((1, 3, 3), (1, 2, 4), (3, 3, 3), (4, 5, 2)):
        for i, j in ((0, 0), (2, 0), (1, 3)):
            x, w, b = _random(C, 8, 9), _random(C, K_h, K_w), float(_random(1))
            products = w * x[:, i : i + K_h, j : j + K_w]
            hints = [
                ("The sum of the products is right, but the bias is missing.", products.sum()),
                (
                    "You return a number for every channel: one filter adds up over the channels.",
                    products.sum((1, 2)) + b,
                ),
                (
                    "The bias is added to every product, so it counts many times: "
                    "add it once, after the sum.",
                    (products + b).sum(),
                ),
                (
                    "The patch always starts at the corner: cut it out at row i, column j.",
                    (w * x[:, :K_h, :K_w]).sum() + b,
                ),
                (
                    "Rows and columns are exchanged: i counts rows, j columns.",
                    (w * x[:, j : j + K_h, i : i + K_w]).sum() + b,
                ),
            ]
            if K_h == K_w:
                product = x[:, i : i + K_h, j : j + K_w] @ w
                explanation = (
                    "You used the matrix product @; multiply entry by entry with * and add up."
                )
                hints += [(explanation, product), (explanation, product.sum() + b)]
            case = f"{C} channel(s), a {K_h}×{K_w} kernel and the place ({i}, {j})"
            answer = run(function, x, w, b, i, j)
            verdict = _judge(answer, products.sum() + b, case, hints)
            if verdict is not None:
                return verdict
    return right("One number for one place: all channels, all weights, one bias.")


def _conv2d_hints(x: Tensor, w: Tensor, b: Tensor) -> list[tuple[str, Tensor]]:
    """Well-known wrong answers to ``F.conv2d(x, w, b)``, simplest cause first."""
    y = F.conv2d(x, w)
    bias = b[:, None, None]
    N, _, H_out, W_out = y.shape
    hints = [
        (
            "The result is all zeros: a loop that never fills `y`, or a result that is not stored?",
            torch.zeros_like(y),
        ),
        ("The bias is missing: the rest is right.", y),
        (
            "The bias is added once for every input channel: add it once, after the sum.",
            y + w.shape[1] * bias,
        ),
        (
            "Only input channel 0 is used: add up over all input channels.",
            F.conv2d(x[:, :1], w[:, :1]) + bias,
        ),
        (
            "Only the last term of the sum over channels survives: use += where the channels "
            "are added.",
            F.conv2d(x[:, -1:], w[:, -1:]) + bias,
        ),
        (
            "The kernel is flipped in both directions: that is the convolution of mathematics. "
            "Networks use w[u, v] with x[i + u, j + v].",
            F.conv2d(x, w.flip(2, 3)) + bias,
        ),
        (
            "The first row and column of the kernel are never used: sums in Python start at 0.",
            F.conv2d(x, _shift_kernel(w)) + bias,
        ),
        (
            "The last row and column of the result are missing: i takes H - K_h + 1 values, "
            "so `range(H - K_h + 1)`.",
            (y + bias)[..., : H_out - 1, : W_out - 1],
        ),
        (
            "The last row and column of the result were never filled: i takes H - K_h + 1 values, "
            "so `range(H - K_h + 1)`.",
            F.pad((y + bias)[..., : H_out - 1, : W_out - 1], (0, 1, 0, 1)),
        ),
        (
            "The result is right for image 0 only: every image of the batch needs its own.",
            (y + bias)[:1].expand(N, -1, -1, -1),
        ),
    ]
    if w.shape[2] == w.shape[3]:
        hints.append(
            (
                "Rows and columns of the kernel are exchanged: it is w[u, v] that meets "
                "x[i + u, j + v]. A symmetric kernel hides this.",
                F.conv2d(x, w.transpose(2, 3)) + bias,
            )
        )
    return hints


def conv2d(function: Callable[..., Any]) -> Verdict:
    """Check ``function(x, w, b)``: a convolution layer with stride 1 and no padding.

    ``x`` is ``(N, C_in, H, W)``, ``w`` is ``(C_out, C_in, K_h, K_w)``, ``b`` is ``(C_out,)``.
    """
    cases = {
        "one image, one channel, one 3×3 filter": ((1, 1, 6, 6), (1, 1, 3, 3)),
        "an image with H ≠ W": ((1, 1, 5, 8), (1, 1, 3, 3)),
        "a kernel with K_h ≠ K_w": ((1, 1, 7, 6), (1, 1, 2, 3)),
        "two filters": ((1, 1, 6, 7), (2, 1, 3, 3)),
        "three input channels": ((1, 3, 6, 7), (2, 3, 3, 3)),
        "a batch of two": ((2, 3, 6, 7), (4, 3, 3, 2)),
        "a kernel as large as the image": ((2, 2, 4, 5), (3, 2, 4, 5)),
        "a 1×1 kernel": ((2, 3, 4, 5), (2, 3, 1, 1)),
    }
    done: list[str] = []
    for case, (x_shape, w_shape) in cases.items():
        x, w, b = _random(*x_shape), _random(*w_shape), _random(w_shape[0])
        answer = run(function, x.clone(), w.clone(), b.clone())
        verdict = _judge(answer, F.conv2d(x, w, b), case, _conv2d_hints(x, w, b))
        if verdict is not None:
            so_far = f"Right for {done[-1]}; but with {case}: " if done else ""
            return wrong(so_far + verdict.message)
        done.append(case)
    return right("Your layer equals PyTorch's for batches, channels, filters and odd shapes.")


def slide(function: Callable[..., Any]) -> Verdict:
    """Check ``function(image, kernel)``: one image ``(H, W)``, one kernel ``(K_h, K_w)``."""
    for size, kernel_size in (((5, 5), (3, 3)), ((6, 8), (3, 3)), ((6, 5), (2, 4))):
        image, kernel = _random(*size), _random(*kernel_size)
        x, w, b = image[None, None], kernel[None, None], torch.zeros(1, dtype=torch.float64)
        # Without a bias and channels, only some of the known mistakes can be told apart.
        hints = [
            (explanation, mistake[0, 0])
            for explanation, mistake in _conv2d_hints(x, w, b)
            if "bias" not in explanation
            and "channel" not in explanation
            and "batch" not in explanation
        ]
        case = f"a {size[0]}×{size[1]} image and a {kernel_size[0]}×{kernel_size[1]} kernel"
        answer = run(function, image.clone(), kernel.clone())
        verdict = _judge(answer, F.conv2d(x, w)[0, 0], case, hints)
        if verdict is not None:
            return verdict
    return right("It now tells rows from columns, for square kernels and others.")


def counterexample(function: Callable[..., Any], suspect: Callable[..., Any]) -> Verdict:
    """Check that ``function()`` returns an image and a kernel for which ``suspect`` is wrong.

    Args:
        function: the learner's, returns ``(image, kernel)``, of shapes ``(H, W)``, ``(K_h, K_w)``.
        suspect: the faulty function, called as ``suspect(image, kernel)``.
    """
    case = run(function)
    if isinstance(case, Verdict):
        return case
    try:
        image, kernel = (torch.as_tensor(part).detach().double() for part in case)
    except Exception:
        return wrong("Return two tensors: `return image, kernel`.")
    if image.ndim != 2 or kernel.ndim != 2:
        return wrong(
            "Image and kernel must have two axes each, got "
            f"shapes {tuple(image.shape)} and {tuple(kernel.shape)}."
        )
    if any(k < 1 or k > n for n, k in zip(image.shape, kernel.shape, strict=True)):
        return wrong(
            f"The kernel {tuple(kernel.shape)} does not fit into the image {tuple(image.shape)}."
        )
    expected = F.conv2d(image[None, None], kernel[None, None])[0, 0]
    answer = run(suspect, image.clone(), kernel.clone())
    if isinstance(answer, Verdict):
        return wrong(
            "Here the function raises an error, which anybody would notice; find a case where "
            "it runs and is wrong. A square kernel will do."
        )
    if not torch.allclose(answer.double(), expected):
        return right("Here the function is wrong, and your test sees it.")
    if not image.any() or not kernel.any():
        return wrong("With zeros every answer is zero, right or wrong: this test sees nothing.")
    if bool((image == image.flatten()[0]).all()):
        return wrong(
            "All pixels of your image are equal, so it does not matter which weight meets which "
            "pixel. Use an image with structure."
        )
    if kernel.shape[0] == kernel.shape[1] and torch.equal(kernel, kernel.T):
        return wrong(
            "The function is right here. Your kernel is symmetric: rows and columns can be "
            "exchanged unnoticed. Try one that is not."
        )
    return wrong("The function gives the right answer here: this test does not catch the bug.")


def true_convolution(function: Callable[..., Any]) -> Verdict:
    """Check ``function(x, w)``: convolution with flipped kernels, no bias, where they fit.

    ``x`` is ``(N, C_in, H, W)``, ``w`` is ``(C_out, C_in, K_h, K_w)``.
    """
    for x_shape, w_shape in (
        ((1, 1, 6, 6), (1, 1, 3, 3)),
        ((1, 1, 6, 7), (1, 1, 2, 3)),
        ((2, 3, 6, 7), (4, 3, 3, 3)),
    ):
        x, w = _random(*x_shape), _random(*w_shape)
        hints = [
            ("This is cross-correlation: flip the kernel before you slide it.", F.conv2d(x, w)),
            (
                "Only the rows are flipped (upside down): flip the columns as well.",
                F.conv2d(x, w.flip(2)),
            ),
            (
                "Only the columns are flipped (left to right): flip the rows as well.",
                F.conv2d(x, w.flip(3)),
            ),
            (
                "The order of the input channels is reversed too: flip axes 2 and 3 only.",
                F.conv2d(x, w.flip(1, 2, 3)),
            ),
            (
                "Everything is reversed, the filters and channels too: flip axes 2 and 3 only.",
                F.conv2d(x, w.flip(0, 1, 2, 3)),
            ),
            (
                "You flipped the image and not the kernel, so the map comes out turned around.",
                F.conv2d(x.flip(2, 3), w),
            ),
        ]
        if w_shape[2] == w_shape[3]:
            hints.append(
                (
                    "The kernel is transposed; a flip reverses both axes: w.flip(2, 3).",
                    F.conv2d(x, w.transpose(2, 3)),
                )
            )
        case = f"x of shape {x_shape} and w of shape {w_shape}"
        answer = run(function, x.clone(), w.clone())
        verdict = _judge(answer, F.conv2d(x, w.flip(2, 3)), case, hints)
        if verdict is not None:
            return verdict
    return right("That is convolution as mathematics defines it: half a turn of each kernel.")


def im2col(function: Callable[..., Any]) -> Verdict:
    """Check ``function(x, kernel_size)``: the patches of ``(N, C, H, W)`` as columns."""
    for (N, C, H, W), (K_h, K_w) in (
        ((1, 1, 4, 4), (3, 3)),
        ((1, 1, 4, 6), (2, 3)),
        ((1, 3, 5, 6), (3, 2)),
        ((2, 3, 5, 6), (3, 2)),
    ):
        x = _random(N, C, H, W)
        expected = F.unfold(x, (K_h, K_w))
        blocks = expected.view(N, C, K_h, K_w, H - K_h + 1, W - K_w + 1)
        hints = [
            (
                "Patches are rows here, and should be columns: exchange the last two axes.",
                expected.transpose(1, 2),
            ),
            (
                "The order inside a column is not that of the weights: the channel comes first, "
                "then the kernel's row, then its column.",
                blocks.permute(0, 2, 3, 1, 4, 5).reshape(expected.shape),
            ),
            (
                "Each patch is read column by column: read it row by row, as flatten() does.",
                blocks.transpose(2, 3).reshape(expected.shape),
            ),
            (
                "The patches come column by column of the image: let i be the outer loop, "
                "j the inner one.",
                blocks.transpose(4, 5).reshape(expected.shape),
            ),
            (
                "The last places are missing: i takes H - K_h + 1 values, j takes W - K_w + 1.",
                blocks[..., :-1, :-1].reshape(N, C * K_h * K_w, -1),
            ),
        ]
        case = f"x of shape {(N, C, H, W)} and a {K_h}×{K_w} kernel"
        verdict = _judge(run(function, x.clone(), (K_h, K_w)), expected, case, hints)
        if verdict is not None:
            return verdict
    return right("Every patch is a column, in the order that the weights have.")


# Strokes for the end detector: corners of a polyline, and whether it is an open stroke.
_STROKES: dict[str, list[tuple[int, int]]] = {
    "a horizontal stroke": [(0, 0), (0, 8)],
    "a vertical stroke": [(0, 0), (8, 0)],
    "a diagonal stroke": [(0, 0), (7, 7)],
    "the other diagonal": [(0, 7), (7, 0)],
    "a short stroke": [(0, 0), (0, 3)],
    "a stroke with a corner": [(0, 0), (8, 0), (8, 6)],
    "a stroke with an obtuse bend": [(0, 0), (5, 5), (5, 11)],
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


def end_detector(function: Callable[..., Any]) -> Verdict:
    """Check that ``function()`` returns a kernel and a bias that are positive at ends of strokes.

    Any odd square kernel will do: the response plus the bias must be above zero at both ends of
    each drawn stroke, and at or below zero at every other pixel, also on blank paper.
    """
    answer = run(function)
    if isinstance(answer, Verdict):
        return answer
    try:
        kernel, bias = (torch.as_tensor(np.asarray(part)).double() for part in answer)
    except Exception:
        return wrong("Return a table of weights and a number: `return kernel, bias`.")
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        return wrong(f"The kernel must be square and odd, got the shape {tuple(kernel.shape)}.")
    if bias.numel() != 1:
        return wrong(f"The bias is one number, got the shape {tuple(bias.shape)}.")
    half = kernel.shape[0] // 2
    for name, corners in _STROKES.items():
        image, ends = _draw(corners, margin=2 * half + 1)
        y = F.conv2d(image[None, None], kernel[None, None])[0, 0] + bias
        inner = slice(half, -half or None)
        ink, at_end = image[inner, inner] > 0, ends[inner, inner]
        if (y > 0)[~ink].any():
            return wrong(
                f"On {name} your detector answers beside the stroke, on paper: a pixel without "
                "ink must score below one with ink. Which weight makes sure of that?"
            )
        if (y[at_end] <= 0).all():
            return wrong(
                f"On {name} it finds neither end: the largest value is {y[at_end].max():.3g}. "
                "Is the bias too strict?"
            )
        if (y[at_end] <= 0).any():
            return wrong(
                f"On {name} it finds one end and misses the other: should the kernel look the same "
                "from all sides?"
            )
        false = int((y > 0)[ink & ~at_end].sum())
        if false:
            return wrong(
                f"On {name} it also answers at {false} place(s) along the stroke. How many "
                "neighbours with ink has an end, how many has the middle?"
            )
    return right("It finds every end of every stroke, and nothing else.")
