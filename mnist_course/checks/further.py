"""Checks of chapter 28: other pictures, residual connections, maps of scores, patches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks import compared, normal, uniform

__all__ = ["for_the_network", "patches", "residual", "score_maps"]


def _pictures(N: int, H: int, W: int, low: int = 0, high: int = 510) -> tuple[Tensor]:
    """Bytes, by default half of them 255: a cut to 0 and 1 leaves something to see."""
    numbers = low + (high + 1 - low) * uniform(N, H, W, 3, seed=H)
    return (numbers.clamp(max=255).byte(),)


def _front(pictures: Tensor) -> Tensor:
    return pictures.permute(0, 3, 1, 2)


def _cut(pictures: Tensor) -> Tensor:
    N, H, W, _ = pictures.shape
    return pictures.reshape(N, 3, H, W)


@compared(
    cases={
        "1 picture of 2×3": _pictures(1, 2, 3),
        "2 pictures of 5×5": _pictures(2, 5, 5),
        "3 pictures of 4×7": _pictures(3, 4, 7),
        "2 pictures of 6×3, of bytes from 20 to 200": _pictures(2, 6, 3, 20, 200),
    },
    mistakes={
        "The values still reach 255; divide by 255.": _front,
        "The channels are in front, but byte() after the division leaves 0 and 1 only.": (
            lambda pictures: (_front(pictures) / 255).byte()
        ),
        "The numbers are scaled rightly, but reshape does not move the channels: each 'channel' is "
        "a third of the picture. Use permute.": lambda pictures: _cut(pictures) / 255,
        "Both bugs are still there: reshape does not move the channels, and byte() after the "
        "division leaves 0 and 1 only.": lambda pictures: (_cut(pictures) / 255).byte(),
        "Rows and columns are exchanged: the order is picture, channel, row, column.": (
            lambda pictures: _front(pictures).mT / 255
        ),
        "For {case} you divide by the largest byte; divide by 255, whatever is in the pictures.": (
            lambda pictures: _front(pictures) / pictures.max(),
            lambda pictures: _front(pictures) / pictures.amax((1, 2, 3)).view(-1, 1, 1, 1),
        ),
    },
    right="Channels in front, nothing torn apart, values in [0, 1].",
    typed=torch.float32,
)
def for_the_network(pictures: Tensor) -> Tensor:
    """Check ``function(pictures)``: bytes (N, H, W, 3) to float32 (N, 3, H, W) in [0, 1]."""
    return _front(pictures) / 255


def _block(
    x: Tensor, w1: Tensor, w2: Tensor, skip: Tensor, stride: int, *, between: bool = True
) -> tuple[Tensor, Tensor]:
    """The two sums of a residual block: through it and around it."""
    inner = F.conv2d(x, w1, stride=stride, padding=1)
    f = F.conv2d(inner.relu() if between else inner, w2, padding=1)
    return f, F.conv2d(x, skip, stride=stride)


@compared(
    cases={
        f"{a} to {b} channels, stride {stride}, maps of {H}×{W}": (
            normal(2, a, H, W, seed=1), normal(b, a, 3, 3, seed=2), normal(b, b, 3, 3, seed=3),
            normal(b, a, 1, 1, seed=4), stride,
        )
        for a, b, H, W, stride in [
            (3, 3, 5, 4, 1), (2, 4, 6, 7, 1), (2, 4, 6, 6, 2), (3, 5, 7, 8, 2), (1, 2, 8, 5, 3),
        ]
    },
    mistakes={
        "The way around is missing: add g(x) to f(x).": lambda *given: _block(*given)[0].relu(),
        "The ReLU at the end is missing.": lambda *given: torch.add(*_block(*given)),
        "The ReLU belongs after the sum, not before g(x) is added.": (
            lambda *given: _block(*given)[0].relu() + _block(*given)[1]
        ),
        "The ReLU between the two convolutions is missing.": (
            lambda *given: torch.add(*_block(*given, between=False)).relu()
        ),
        "x itself is added; here the way around is a convolution with `skip`.": (
            lambda x, *rest: (_block(x, *rest)[0] + x).relu()
        ),
    },
    right="Through the block and around it, with stride and new channels on both ways.",
    shape="the stride belongs to the first convolution and to the way around",
    raised={
        "must match the size": "The two ways differ in size: give the stride to the first "
        "convolution and to the way around, not to the second convolution, and padding 1 to the "
        "3 × 3 convolutions only.",
    },
)  # fmt: skip
def residual(x: Tensor, w1: Tensor, w2: Tensor, skip: Tensor, stride: int) -> Tensor:
    """Check ``function(x, w1, w2, skip, stride)``: a residual block with a 1×1 way around."""
    f, g = _block(x, w1, w2, skip, stride)
    return (f + g).relu()


def _plain(maps: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("oc,nchw->nohw", weight, maps)


@compared(
    cases={
        f"maps {(N, C, H, W)} and {classes} classes": (
            normal(N, C, H, W, seed=1), normal(classes, C, seed=2), normal(classes, seed=3),
        )
        for N, C, classes, H, W in [(1, 1, 2, 1, 1), (2, 4, 3, 2, 2), (2, 3, 5, 4, 3)]
    },
    mistakes={
        "The bias is missing; it belongs to every place.": (
            lambda maps, weight, bias: _plain(maps, weight)
        ),
        "The bias is shared out over the places; but the mean divides by their number, so every "
        "place gets all of it.": lambda maps, weight, bias: (
            _plain(maps, weight) + (bias / maps[0, 0].numel())[:, None, None]
        ),
        "These are the network's scores, the mean over the places; leave the mean out.": (
            lambda maps, weight, bias: _plain(maps, weight).mean((2, 3)) + bias
        ),
        "The places come before the classes; expected (N, O, H, W).": (
            lambda maps, weight, bias: _plain(maps, weight).permute(0, 2, 3, 1) + bias
        ),
    },
    right="A score for every class at every place; their mean is the network's answer.",
)  # fmt: skip
def score_maps(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Check ``function(maps, weight, bias)``: the class scores of every place, (N, O, H, W)."""
    return _plain(maps, weight) + bias[:, None, None]


def _patches(x: Tensor, size: int, order: str = "N i j C u v") -> Tensor:
    """Patches (i, j) with the pixels (u, v), the axes in the order given; the first 3 are kept."""
    N, C, H, W = x.shape
    cut = x.reshape(N, C, H // size, size, W // size, size)
    axes = ["NCiujv".index(axis) for axis in order.split()]
    return cut.permute(axes).flatten(3).flatten(1, 2)


@compared(
    cases={
        f"{N} picture{'s' * (N > 1)} of {C}×{H}×{W} and patches of {size}×{size}": (
            normal(N, C, H, W),
            size,
        )
        for N, C, H, W, size in [(1, 1, 4, 4, 2), (2, 3, 4, 6, 2), (2, 2, 9, 6, 3), (1, 3, 4, 4, 4)]
    },
    mistakes={
        "Exchange the last two axes: a row, not a column, for each patch.": (
            lambda x, size: _patches(x, size).mT
        ),
        "The shape is right, but reshape alone cuts across the rows of the pictures: split both "
        "axes first, then permute.": (
            lambda x, size: x.reshape(len(x), -1, x.shape[1] * size * size)
        ),
        "Each patch is right, but its values come pixel by pixel; the channel first.": (
            lambda x, size: _patches(x, size, "N i j u v C")
        ),
        "Each patch is right, but column by column; the order is channel, row, column.": (
            lambda x, size: _patches(x, size, "N i j C v u")
        ),
        "The patches come column by column; row by row is asked for.": (
            lambda x, size: _patches(x, size, "N j i C u v")
        ),
    },
    right="Every pixel is in its patch, and every patch in its row.",
)
def patches(x: Tensor, size: int) -> Tensor:
    """Check ``function(x, size)``: (N, C, H, W) to (N, patches, C·size·size)."""
    return _patches(x, size)
