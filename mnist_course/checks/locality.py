"""Checks for the exercises on locality, weight sharing and equivariance (chapter 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks._returning import Verdict, compare, right, run, wrong

__all__ = ["is_equivariant", "matrix", "parameters", "random_shift", "shuffle"]


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def parameters(function: Callable[..., Any]) -> Verdict:
    """Check ``function(C_in, C_out, H, W, K)``: parameters of a dense layer and a convolution."""
    for C_in, C_out, H, W, K in ((1, 1, 5, 5, 3), (1, 32, 28, 28, 3), (3, 16, 10, 12, 5)):
        n, m = C_in * H * W, C_out * H * W
        expected = torch.tensor([m * (n + 1), C_out * (C_in * K * K + 1)])
        dense, convolution = expected.tolist()

        def pair(dense: int, convolution: int) -> Tensor:
            return torch.tensor([dense, convolution])

        hints = [
            ("The two numbers are exchanged: return dense, convolution.", expected.flip(0)),
            ("Both biases are missing.", pair(m * n, C_out * C_in * K * K)),
            ("The dense layer's bias is missing: one for each output.", pair(m * n, convolution)),
            (
                "The dense layer has a bias for each output pixel, not only for each map.",
                pair(m * n + C_out, convolution),
            ),
            (
                "The convolution's bias is missing: one for each output map.",
                pair(dense, C_out * C_in * K * K),
            ),
            (
                "The convolution's kernel must be as deep as its input: C_in slices of K × K.",
                pair(dense, C_out * (K * K + 1)),
            ),
            (
                "The convolution's weights are shared by all places: H and W do not count.",
                pair(dense, C_out * H * W * (C_in * K * K + 1)),
            ),
            (
                "The convolution has one bias for each output map, shared by all places.",
                pair(dense, C_out * C_in * K * K + m),
            ),
            (
                "The convolution has one bias for each output map, not one for the whole layer.",
                pair(dense, C_out * C_in * K * K + 1),
            ),
            (
                "One bias for each output map, not for each slice of the kernel.",
                pair(dense, C_out * C_in * (K * K + 1)),
            ),
        ]
        case = f"C_in={C_in}, C_out={C_out}, H={H}, W={W}, K={K}"
        answer = run(function, C_in, C_out, H, W, K)
        verdict = compare(answer, expected, case, hints=hints)
        if verdict is not None:
            return verdict
    return right("The dense layer pays for every pair of pixels, the convolution for one window.")


def _valid_matrix(kernel: Tensor, H: int, W: int) -> Tensor:
    """The matrix of the convolution without padding: its columns are the answers to one pixel."""
    pixels = torch.eye(H * W, dtype=kernel.dtype).view(H * W, 1, H, W)
    return F.conv2d(pixels, kernel[None, None]).flatten(1).T


def matrix(function: Callable[..., Any]) -> Verdict:
    """Check ``function(kernel, H, W)``: the matrix of a convolution without padding."""
    for K_h, K_w, H, W in ((1, 1, 2, 3), (2, 2, 3, 3), (3, 3, 5, 5), (3, 2, 5, 7), (1, 4, 4, 6)):
        kernel = _random(K_h, K_w)
        expected = _valid_matrix(kernel, H, W)
        hints = [
            ("The matrix is transposed: a row for each output pixel.", expected.T),
            (
                "The kernel is flipped: kernel[u, v] meets the pixel (i + u, j + v).",
                _valid_matrix(kernel.flip(0, 1), H, W),
            ),
            ("The entries are all zeros: is the kernel written into them?", 0 * expected),
            (
                "It still has four axes: flatten the output's two, and the input's two.",
                expected.view(H - K_h + 1, W - K_w + 1, H, W),
            ),
        ]
        if K_h == K_w:
            hints.append(
                (
                    "Rows and columns of the kernel are exchanged.",
                    _valid_matrix(kernel.T, H, W),
                )
            )
        if K_h % 2 and K_w % 2 and K_h * K_w > 1:
            pixels = torch.eye(H * W, dtype=kernel.dtype).view(H * W, 1, H, W)
            padded = F.conv2d(pixels, kernel[None, None], padding=(K_h // 2, K_w // 2))
            hints.append(
                (
                    "This is the matrix with padding: without it, there are only "
                    "(H - K_h + 1) × (W - K_w + 1) output pixels.",
                    padded.flatten(1).T,
                )
            )
        case = f"a {K_h}×{K_w} kernel on a picture of {H}×{W}"
        answer = run(function, kernel, H, W)
        verdict = compare(answer, expected, case, hints=hints)
        if verdict is not None:
            return verdict
    return right("Matrix times picture is the convolution, for square and oblong kernels.")


def _one_way(x: Tensor, axis: int) -> Tensor:
    """A map that is equivariant along ``axis`` only: weights change along the other one."""
    other = 5 - axis
    ramp = torch.arange(1, x.shape[other] + 1, dtype=x.dtype)
    return x * (ramp[:, None] if other == 2 else ramp)


def _circular(x: Tensor) -> Tensor:
    # In float64, so that rounding does not tell one place of a float32 picture from another.
    kernel = torch.tensor([[1.0, 2, 0], [0, -3, 1], [5, 0, 2]], dtype=torch.float64)
    sheet = F.pad(x.double(), (1, 1, 1, 1), mode="circular")
    return F.conv2d(sheet, kernel[None, None]).to(x.dtype)


def _zero_padded(x: Tensor) -> Tensor:
    return F.conv2d(x, torch.ones(1, 1, 3, 3, dtype=x.dtype), padding=1)


def is_equivariant(function: Callable[..., Any]) -> Verdict:
    """Check ``function(f)``: whether ``f`` commutes with circular translations."""
    cases: list[tuple[str, Callable[[Tensor], Tensor], bool, str]] = [
        ("the identity", lambda x: x, True, ""),
        ("a circular convolution", _circular, True, "Move the answer as far as the picture."),
        ("ReLU", torch.relu, True, ""),
        (
            "`x - x.mean()` of each image",
            lambda x: x - x.double().mean((2, 3), keepdim=True).to(x.dtype),
            True,
            "The mean is the same wherever the picture lies.",
        ),
        (
            "a bias that differs from pixel to pixel",
            lambda x: x + torch.linspace(0, 1, x[0].numel(), dtype=x.dtype).view_as(x[0]),
            False,
            "Compare the values, not only the shapes.",
        ),
        (
            "a product with a mask",
            lambda x: x * torch.linspace(0, 1, x[0].numel(), dtype=x.dtype).view_as(x[0]),
            False,
            "On an image of zeros every linear map is equivariant: test with random numbers.",
        ),
        (
            "a map that differs from column to column",
            lambda x: _one_way(x, 2),
            False,
            "You test shifts of rows only: test shifts of columns as well.",
        ),
        (
            "a map that differs from row to row",
            lambda x: _one_way(x, 3),
            False,
            "You test shifts of columns only: test shifts of rows as well.",
        ),
        (
            "a map that tells even columns from odd ones",
            lambda x: x * (torch.arange(x.shape[3]) % 2).to(x.dtype),
            False,
            "Shifts by an even number of pixels do not show it: shift by one.",
        ),
        (
            "a picture turned upside down",
            lambda x: x.flip(2),
            False,
            "Symmetric images, or shifts by half of the picture, do not show it.",
        ),
        (
            "a convolution with zeros around the picture",
            _zero_padded,
            False,
            "With circular shifts the border counts: compare all pixels.",
        ),
        (
            "a constant",
            torch.ones_like,
            True,
            "A constant picture, moved, is the same constant picture: it is equivariant too.",
        ),
        ("the largest value, everywhere", lambda x: x.amax((2, 3), True).expand_as(x), True, ""),
    ]
    for name, f, expected, why in cases:
        answer = run(function, f)
        if isinstance(answer, Verdict):
            return answer
        if isinstance(answer, np.bool_) or (isinstance(answer, Tensor) and answer.numel() == 1):
            answer = bool(answer)
        if not isinstance(answer, bool):
            return wrong(f"Return True or False; for {name} I got {type(answer).__name__}.")
        if answer != expected:
            truth = "is equivariant" if expected else "is not equivariant"
            return wrong(f"You say {answer} for {name}, which {truth}. {why}".rstrip())
    return right(f"Your test judges all {len(cases)} functions as it should.")


def shuffle(function: Callable[..., Any]) -> Verdict:
    """Check ``function(x, seed=0)``: the same shuffle of pixels for every call with a seed."""
    numbers = torch.arange(3 * 42, dtype=torch.float64).view(3, 1, 6, 7)
    given = numbers.clone()
    state = torch.get_rng_state()
    answer = run(function, given)
    if isinstance(answer, Verdict):
        return answer
    untouched = torch.equal(state, torch.get_rng_state())
    if not isinstance(answer, Tensor) or answer.shape != numbers.shape:
        found = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        return wrong(
            f"For images of shape {tuple(numbers.shape)} I expected the same, got {found}."
        )
    if not torch.equal(given, numbers):
        return wrong("The images that were given have changed: return new ones.")
    if torch.equal(answer, numbers):
        return wrong("Nothing was shuffled: the pixels are where they were.")
    if not torch.equal(answer.flatten(1).sort(dim=1).values, numbers.flatten(1)):
        return wrong(
            "Each image must keep its own pixels, each once: shuffle places, not images or values."
        )
    order = answer[0].flatten()
    if not torch.equal(answer.flatten(1) - numbers[:, :, 0, 0], order.expand(3, -1)):
        return wrong("Every image must be shuffled in the same order.")
    if torch.equal(answer.sort(dim=3).values, numbers):
        return wrong("Only the pixels within a row are shuffled: shuffle all places.")
    if torch.equal(answer.sort(dim=2).values, numbers):
        return wrong("Only the pixels within a column are shuffled: shuffle all places.")
    came_from = order.view(6, 7) // 7
    if torch.equal(came_from, came_from[:, :1].expand_as(came_from)):
        return wrong("Whole rows stay together: shuffle all places.")
    again, more = run(function, numbers), run(function, torch.cat([numbers, numbers]))
    if isinstance(more, Verdict):
        return more
    if not torch.equal(answer, again) or not torch.equal(answer, more[:3]):
        return wrong(
            "Two calls shuffled in two different orders, and so would training and test: "
            "the order must follow from the seed alone."
        )
    other = run(function, numbers, seed=1)
    if isinstance(other, Verdict):
        return other
    if torch.equal(answer, other):
        return wrong("seed=0 and seed=1 give the same order: use the seed.")
    if not untouched:
        return wrong(
            "The order is right, but your function also draws from, or resets, the random numbers "
            "of the whole program: use a torch.Generator of its own."
        )
    return right("One order for each seed, for training and test alike.")


def _shifted(x: Tensor, down: int, right: int) -> Tensor:
    H, W = x.shape[-2:]
    sheet = F.pad(x, (W, W, H, H))
    return sheet[..., H - down : 2 * H - down, W - right : 2 * W - right]


def random_shift(function: Callable[..., Any]) -> Verdict:
    """Check ``function(x, limit, generator)``: each image moved by its own random number."""
    image = 1 + torch.arange(63, dtype=torch.float64).view(1, 1, 7, 9)
    x = image.repeat(400, 1, 1, 1)
    for limit in (0, 1, 2):
        given = x.clone()
        answer = run(function, given, limit, torch.Generator().manual_seed(0))
        if isinstance(answer, Verdict):
            return answer
        if not isinstance(answer, Tensor) or answer.shape != x.shape:
            found = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
            return wrong(f"For images of shape {tuple(x.shape)} I expected the same, got {found}.")
        if not torch.equal(given, x):
            return wrong("The images that were given have changed: return new ones.")
        ways = [(d, r) for d in range(-limit, limit + 1) for r in range(-limit, limit + 1)]
        counts = [int((answer == _shifted(image, *way)).flatten(1).all(1).sum()) for way in ways]
        case = f"limit={limit}"
        if sum(counts) < len(x):
            rolled = [image.roll(way, (2, 3)) for way in ways]
            if all(any(torch.equal(a[None], r) for r in rolled) for a in answer):
                return wrong(
                    f"For {case}, what leaves on one side enters on the other: "
                    "the rest should be paper (0)."
                )
            farther = [
                (d, r) for d in range(-limit - 2, limit + 3) for r in range(-limit - 2, limit + 3)
            ]
            moved = [_shifted(image, *way) for way in farther]
            if all(any(torch.equal(a[None], m) for m in moved) for a in answer):
                return wrong(f"For {case}, some images moved farther than the limit.")
            return wrong(
                f"For {case}, some results are not the image moved by at most the limit, "
                "with zeros where it came from."
            )
        if len(ways) > 1 and max(counts) == len(x):
            return wrong("All images moved the same way: draw two numbers for each image.")
        missing = [way for way, count in zip(ways, counts, strict=True) if not count]
        if missing and all(limit in way for way in missing):
            return wrong(
                f"For {case}, no image moved by {limit}: "
                "torch.randint leaves out the upper end, so add 1."
            )
        if missing and {abs(d) == abs(r) for d, r in set(ways) - set(missing)} == {True}:
            return wrong(
                "Down and right always move by the same number: draw one for each direction."
            )
        if missing:
            return wrong(
                f"For {case}, no image of {len(x)} moved by {missing[0]} (down, right): "
                "all ways should be equally likely."
            )
        even = len(x) / len(ways)  # and Pearson's chi-squared, far beyond what chance makes of it
        if sum((count - even) ** 2 / even for count in counts) > 30 + 4 * len(ways):
            way = ways[counts.index(max(counts))]
            return wrong(f"For {case}, too many images moved by {way}: all ways equally likely.")
        again = run(function, x, limit, torch.Generator().manual_seed(0))
        if not isinstance(again, Tensor) or not torch.equal(again, answer):
            return wrong("The same generator gave other shifts: draw from `generator` only.")
        other = run(function, x, limit, torch.Generator().manual_seed(1))
        if limit and isinstance(other, Tensor) and torch.equal(other, answer):
            return wrong("Another generator gave the same shifts: draw from `generator`.")
    return right("Every image goes its own way, and all ways are equally likely.")
