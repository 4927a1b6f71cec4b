"""Checks of the last chapter: other pictures, residual connections, maps of scores, patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from mnist_course.checks._returning import Verdict, compare, right, run, wrong

__all__ = ["for_the_network", "patches", "residual", "score_maps"]


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def for_the_network(function: Callable[[torch.Tensor], Any]) -> Verdict:
    """Check ``function(pictures)``: bytes (N, H, W, 3) to float32 (N, 3, H, W) in [0, 1]."""
    for n, height, width in [(1, 2, 2), (2, 5, 5), (3, 4, 7)]:
        generator = torch.Generator().manual_seed(height)
        pictures = torch.randint(256, (n, height, width, 3), generator=generator).byte()
        pictures[0, 0, 0, 1] = 255  # so that even pictures cut down to 0 and 1 can be told apart
        answer = run(function, pictures.clone())
        if isinstance(answer, Verdict):
            return answer
        front = pictures.permute(0, 3, 1, 2)
        cut = pictures.reshape(n, 3, height, width)
        verdict = compare(
            answer,
            front.double() / 255,
            f"{n} pictures of {height}×{width}",
            tolerance=1e-6,
            hints=[
                ("The values still reach 255; divide by 255.", front),
                (
                    "The channels are in front, but byte() after the division leaves 0 and 1 only.",
                    (front / 255).byte(),
                ),
                (
                    "The numbers are scaled rightly, but reshape does not move the channels: each "
                    "'channel' is a third of the picture. Use permute.",
                    cut.double() / 255,
                ),
                (
                    "Both bugs are still there: reshape does not move the channels, and byte() "
                    "after the division leaves 0 and 1 only.",
                    (cut / 255).byte(),
                ),
                (
                    "Rows and columns are exchanged: the order is picture, channel, row, column.",
                    front.mT.double() / 255,
                ),
            ],
        )
        if verdict is not None:
            return verdict
        if answer.dtype != torch.float32:
            return wrong(f"The numbers are right, but their type is {answer.dtype}, not float32.")
    return right("Channels in front, nothing torn apart, values in [0, 1].")


def residual(function: Callable[..., Any]) -> Verdict:
    """Check ``function(x, w1, w2, skip, stride)``: a residual block with a 1×1 way around."""
    for channels, out, size, stride in [(3, 3, 5, 1), (2, 4, 6, 1), (2, 4, 6, 2), (3, 5, 7, 2)]:
        x = _normal(2, channels, size, size, seed=1)
        w1, w2 = _normal(out, channels, 3, 3, seed=2), _normal(out, out, 3, 3, seed=3)
        skip = _normal(out, channels, 1, 1, seed=4)
        answer = run(function, x.clone(), w1, w2, skip, stride)
        linear = F.conv2d(x, w1, stride=stride, padding=1)
        f = F.conv2d(linear.relu(), w2, padding=1)
        g = F.conv2d(x, skip, stride=stride)
        hints = [
            ("The way around is missing: add g(x) to f(x).", f.relu()),
            ("The ReLU at the end is missing.", f + g),
            ("The ReLU belongs after the sum, not before g(x) is added.", f.relu() + g),
            (
                "The ReLU between the two convolutions is missing.",
                (F.conv2d(linear, w2, padding=1) + g).relu(),
            ),
        ]
        if channels == out and stride == 1:
            hints.append(
                ("x itself is added; here the way around is a convolution with `skip`.",
                 (f + x).relu())
            )  # fmt: skip
        case = f"{channels} to {out} channels, stride {stride}, maps of {size}×{size}"
        verdict = compare(answer, (f + g).relu(), case, hints=hints)
        if verdict is not None:
            return verdict
    return right("Through the block and around it, with stride and new channels on both ways.")


def score_maps(function: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Any]) -> Verdict:
    """Check ``function(maps, weight, bias)``: the class scores of every place, (N, O, H, W)."""
    for n, channels, classes, height, width in [(1, 1, 2, 1, 1), (2, 4, 3, 2, 2), (2, 3, 5, 4, 3)]:
        maps = _normal(n, channels, height, width, seed=1)
        weight, bias = _normal(classes, channels, seed=2), _normal(classes, seed=3)
        answer = run(function, maps.clone(), weight, bias)
        plain = torch.einsum("oc,nchw->nohw", weight, maps)
        verdict = compare(
            answer,
            plain + bias[:, None, None],
            f"maps {tuple(maps.shape)} and {classes} classes",
            hints=[
                ("The bias is missing; it belongs to every place.", plain),
                (
                    "The bias is shared out over the places; but the mean divides by their number, "
                    "so every place gets all of it.",
                    plain + bias[:, None, None] / (height * width),
                ),
                (
                    "These are the network's scores, the mean over the places; leave the mean out.",
                    plain.mean((2, 3)) + bias,
                ),
                (
                    "The places come before the classes; expected (N, O, H, W).",
                    (plain + bias[:, None, None]).permute(0, 2, 3, 1),
                ),
            ],
        )
        if verdict is not None:
            return verdict
    return right("A score for every class at every place; their mean is the network's answer.")


def patches(function: Callable[[torch.Tensor, int], Any]) -> Verdict:
    """Check ``function(x, size)``: (N, C, H, W) to (N, patches, C·size·size)."""
    for n, channels, height, width, size in [(1, 1, 4, 4, 2), (2, 3, 4, 6, 2), (2, 2, 9, 6, 3)]:
        x = _normal(n, channels, height, width)
        columns = F.unfold(x, kernel_size=size, stride=size)
        by_pixel = columns.reshape(n, channels, size * size, -1).permute(0, 3, 2, 1).flatten(2)
        verdict = compare(
            run(function, x.clone(), size),
            columns.mT,
            f"{n} pictures of {channels}×{height}×{width} and patches of {size}×{size}",
            hints=[
                ("Exchange the last two axes: a row, not a column, for each patch.", columns),
                (
                    "The shape is right, but reshape alone cuts across the rows of the pictures: "
                    "split both axes first, then permute.",
                    x.reshape(n, -1, channels * size * size),
                ),
                (
                    "Each patch is right, but its values come pixel by pixel; the channel first.",
                    by_pixel,
                ),
                (
                    "The patches come column by column; row by row is asked for.",
                    columns.mT.reshape(n, height // size, width // size, -1)
                    .transpose(1, 2)
                    .flatten(1, 2),
                ),
            ],
        )
        if verdict is not None:
            return verdict
    return right("Every pixel is in its patch, and every patch in its row.")
