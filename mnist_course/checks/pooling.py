"""Checks of the chapter on pooling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from mnist_course.checks import Verdict, compare, right, run

__all__ = ["average_kernel", "blur_pool", "fixed_max_pool", "max_pool", "max_pool_backward"]


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def max_pool(function: Callable[[torch.Tensor], Any]) -> Verdict:
    """Check ``function(image)``: the largest number of each 2×2 window, stride 2, of (H, W)."""
    for height, width in [(2, 2), (4, 6), (5, 7)]:
        image = _normal(height, width, seed=height) - 2  # mostly negative
        batch = image[None, None]
        verdict = compare(
            run(function, image),
            F.max_pool2d(batch, 2)[0, 0],
            f"a {height}×{width} image",
            hints=[
                ("Your windows overlap: take steps of two.", F.max_pool2d(batch, 2, 1)[0, 0]),
                ("These are the averages of the windows.", F.avg_pool2d(batch, 2)[0, 0]),
                ("These are the smallest numbers of the windows.", -F.max_pool2d(-batch, 2)[0, 0]),
                (
                    "Right for positive numbers: a search for a maximum must not start at 0.",
                    F.max_pool2d(batch, 2)[0, 0].relu(),
                ),
                ("You took one corner of each window.", image[: height // 2 * 2 : 2, ::2]),
                (
                    f"For a {height}×{width} image a row or column is left over; by PyTorch's rule "
                    "an incomplete window is dropped.",
                    F.max_pool2d(batch, 2, ceil_mode=True)[0, 0],
                ),
            ],
        )
        if verdict is not None:
            return verdict
    return right("It equals F.max_pool2d, for odd sizes too.")


def average_kernel(function: Callable[[int, int], Any]) -> Verdict:
    """Check ``function(channels, k)``: the depthwise kernel that makes average pooling."""
    for channels, k in [(1, 2), (3, 2), (4, 3)]:
        case = f"{channels} channels and a {k}×{k} window" if channels > 1 else "one channel, 2×2"
        expected = torch.full((channels, 1, k, k), 1 / k**2, dtype=torch.float64)
        verdict = compare(
            run(function, channels, k),
            expected,
            case,
            tolerance=1e-7,  # the learner's kernel may be float32
            hints=[
                ("This adds the window up; an average also divides by k × k.", expected * k**2),
                (
                    "You divide by k; a window has k × k numbers.",
                    expected * k,
                ),
                (
                    "Each output channel averages its *own* input channel only. With groups = "
                    "channels each filter has depth 1: shape (channels, 1, k, k).",
                    torch.full((channels, channels, k, k), 1 / k**2, dtype=torch.float64),
                ),
                (
                    "Do not divide by the number of channels: the channels are not mixed.",
                    expected / channels,
                ),
            ],
        )
        if verdict is not None:
            return verdict
    return right("Average pooling is a convolution whose weights nobody has to learn.")


def fixed_max_pool(function: Callable[..., Any]) -> Verdict:
    """Check ``function(x, k, s, p)``: max-pooling that is right for negative numbers, too."""
    cases = [(2, 2, 0), (3, 2, 0), (3, 2, 1), (4, 3, 2)]
    for sign in ("positive", "negative"):
        for k, s, p in cases:
            x = _normal(2, 3, 9, 8).abs()
            x = x if sign == "positive" else -1e12 * (1 + x)
            case = f"{sign} numbers, a window of {k}, stride {s}, padding {p}"
            answer = run(function, x, k, s, p)
            expected = F.max_pool2d(x, k, s, p)
            padded = F.max_pool2d(F.pad(x, (p,) * 4), k, s)
            verdict = compare(
                answer,
                expected,
                case,
                hints=[
                    (
                        f"Right for positive numbers; for {case} every maximum came out as 0. What "
                        "is the search for a maximum compared with at its start?",
                        torch.zeros_like(expected),
                    ),
                    (
                        f"For {case} the padding wins at the edge: pad with a number that can "
                        "never be the largest.",
                        padded,
                    ),
                    (
                        "This is the maximum of the absolute values.",
                        F.max_pool2d(x.abs(), k, s, p),
                    ),
                    (
                        "This is the average now; only the start of the search was wrong.",
                        F.avg_pool2d(x, k, s, p),
                    ),
                ],
            )
            if verdict is not None:
                return verdict
    return right("It equals F.max_pool2d for negative numbers and at a padded edge.")


def max_pool_backward(
    function: Callable[[torch.Tensor, torch.Tensor, int, int], Any],
) -> Verdict:
    """Check ``function(x, upstream, k, s)``: the gradient of max-pooling for an (H, W) image."""

    def gradient(x: torch.Tensor, upstream: torch.Tensor, k: int, s: int) -> torch.Tensor:
        x = x.detach().clone().requires_grad_()
        y = F.max_pool2d(x[None, None], k, s)[0, 0]
        return torch.autograd.grad(y, x, upstream)[0]

    def windows(x: torch.Tensor, k: int, s: int) -> list[tuple[int, int, torch.Tensor]]:
        rows, columns = ((size - k) // s + 1 for size in x.shape)
        return [
            (i, j, x[i * s : i * s + k, j * s : j * s + k])
            for i in range(rows)
            for j in range(columns)
        ]

    def everybody(x: torch.Tensor, upstream: torch.Tensor, k: int, s: int) -> torch.Tensor:
        result = torch.zeros_like(x)
        for i, j, _ in windows(x, k, s):
            result[i * s : i * s + k, j * s : j * s + k] += upstream[i, j]
        return result

    def ties(
        x: torch.Tensor, upstream: torch.Tensor, k: int, s: int, shared: bool = False
    ) -> torch.Tensor:
        result = torch.zeros_like(x)
        for i, j, window in windows(x, k, s):
            winners = window == window.max()
            place = result[i * s : i * s + k, j * s : j * s + k]
            place += winners * upstream[i, j] / (winners.sum() if shared else 1)
        return result

    def last_window(x: torch.Tensor, upstream: torch.Tensor, k: int, s: int) -> torch.Tensor:
        result = torch.zeros_like(x)
        for i, j, window in windows(x, k, s):
            u, v = divmod(int(window.argmax()), window.shape[1])
            result[i * s + u, j * s + v] = upstream[i, j]
        return result

    small = torch.tensor([[1.0, 5], [3, 2]], dtype=torch.float64)
    rough = _normal(6, 6, seed=3) - 2  # mostly negative
    level = torch.zeros(4, 4, dtype=torch.float64)
    cases = [
        ("the window [[1, 5], [3, 2]] with upstream gradient 7", small, 2, 2),
        ("a 6×6 image and windows of 2", rough, 2, 2),
        ("a 6×6 image and overlapping windows (k = 3, s = 1)", rough, 3, 1),
        ("windows in which all numbers are equal", level, 2, 2),
    ]
    for case, x, k, s in cases:
        size = (x.shape[0] - k) // s + 1
        upstream = _normal(size, size, seed=4) if size > 1 else x.new_full((1, 1), 7.0)
        verdict = compare(
            run(function, x.clone(), upstream.clone(), k, s),
            gradient(x, upstream, k, s),
            case,
            hints=[
                (
                    f"For {case}: where windows overlap, one number may win several times; its "
                    "gradients add up (+=, not =).",
                    last_window(x, upstream, k, s),
                ),
                (
                    f"For {case}: there is one winner only; PyTorch takes the first maximum.",
                    ties(x, upstream, k, s),
                ),
                (
                    f"For {case}: you share the gradient among the equals, as amax does; PyTorch's "
                    "max-pooling gives all of it to the first maximum.",
                    ties(x, upstream, k, s, shared=True),
                ),
                (
                    f"For {case}: this is the gradient of average pooling; with max the winner "
                    "takes all.",
                    everybody(x, upstream, k, s) / k**2,
                ),
                (
                    f"For {case}: only the winner receives the gradient, the others get 0.",
                    everybody(x, upstream, k, s),
                ),
                (
                    f"For {case}: you marked the winners; multiply by the upstream gradient.",
                    gradient(x, torch.ones_like(upstream), k, s),
                ),
            ],
        )
        if verdict is not None:
            return verdict
    return right("It equals autograd's, with overlaps and ties.")


def blur_pool(function: Callable[[torch.Tensor], Any]) -> Verdict:
    """Check ``function(x)``: maximum of 2×2 at stride 1, blurred by 3×3, every second kept.

    The blur is the outer product of (1, 2, 1) / 4 with itself, without padding.
    """
    for shape in [(1, 1, 8, 8), (2, 3, 9, 12)]:
        x = _normal(*shape)
        channels = shape[1]
        line = torch.tensor([1, 2, 1], dtype=torch.float64) / 4
        kernel = torch.outer(line, line).expand(channels, 1, 3, 3)
        dense = F.max_pool2d(x, 2, stride=1)
        expected = F.conv2d(dense, kernel, stride=2, groups=channels)
        box = F.avg_pool2d(dense, 3, 2)
        verdict = compare(
            run(function, x),
            expected,
            f"x of shape {shape}",
            hints=[
                (
                    "The maximum already takes steps of 2, so the harm is done before the blur: "
                    "use stride 1 there, and 2 in the blur.",
                    F.conv2d(F.max_pool2d(x, 2), kernel, groups=channels),
                ),
                (
                    "The blur still moves in steps of 1: keep every second row and column.",
                    F.conv2d(dense, kernel, groups=channels),
                ),
                ("The weights of the blur must add up to 1: divide by 16.", 16 * expected),
                ("You blur with equal weights; take the outer product of (1, 2, 1) / 4.", box),
                (
                    "You blur first and take the maximum then; the maximum comes first.",
                    F.max_pool2d(F.conv2d(x, kernel, groups=channels), 2, stride=2),
                ),
            ],
        )
        if verdict is not None:
            return verdict
    return right("Maximum, blur, subsample: the order that avoids aliasing.")
