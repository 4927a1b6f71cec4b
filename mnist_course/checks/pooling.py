"""Checks of the chapter on pooling."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks import compared, normal

__all__ = ["average_kernel", "blur_pool", "fixed_max_pool", "max_pool", "max_pool_backward"]

_MAX_POOL = ("max_pool2d", "max_pool2d_with_indices", "adaptive_max_pool2d")

# What people take for minus infinity.
_LOW = (-1.0, -10, -100, -999, -1e3, -1e4, -1e5, -1e6, -1e9, -1e10, -1e12, -1e15, -1e18, -1e30,
        -1e38, -sys.maxsize, torch.finfo(torch.float32).min)  # fmt: skip


def _image(pool: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A pooling of (N, C, H, W), for one image (H, W)."""
    return lambda image: pool(image[None, None])[0, 0]


@compared(
    cases={
        f"a {H}×{W} image": (normal(H, W, seed=H) - 2,)  # mostly negative
        for H, W in [(2, 4), (4, 6), (5, 7), (9, 4)]
    },
    mistakes={
        "Your windows overlap: take steps of two.": _image(lambda x: F.max_pool2d(x, 2, 1)),
        "These are the averages of the windows.": _image(lambda x: F.avg_pool2d(x, 2)),
        "Right for positive numbers: a search for a maximum must not start at 0.": (
            _image(lambda x: F.max_pool2d(x, 2).relu())
        ),
        "You took one corner of each window.": lambda x: x[: len(x) // 2 * 2 : 2, :-1:2],
        "For {case} a row or column is left over: an incomplete window is dropped.": _image(
            lambda x: F.max_pool2d(x, 2, ceil_mode=True)
        ),
    },
    right="It equals F.max_pool2d, for odd sizes too.",
    avoiding=_MAX_POOL,
)
def max_pool(image: Tensor) -> Tensor:
    """Check ``function(image)``: the largest number of each 2×2 window, stride 2, of (H, W)."""
    return F.max_pool2d(image[None, None], 2)[0, 0]


@compared(
    cases={
        f"{channels} channel(s) and a {k}×{k} window": (channels, k)
        for channels, k in ((1, 2), (3, 2), (4, 3), (2, 5))
    },
    mistakes={
        "This adds the window up; an average also divides by k × k.": (
            lambda channels, k: torch.ones(channels, 1, k, k)
        ),
        "You divide by k; a window has k × k numbers.": (
            lambda channels, k: torch.ones(channels, 1, k, k) / k
        ),
        "Each output channel averages its *own* input channel only. With groups = channels each "
        "filter has depth 1: shape (channels, 1, k, k).": (
            lambda channels, k: torch.ones(channels, channels, k, k) / k**2
        ),
    },
    right="Average pooling is a convolution whose weights need no training.",
)
def average_kernel(channels: int, k: int) -> Tensor:
    """Check ``function(channels, k)``: the depthwise kernel that makes average pooling."""
    return torch.full((channels, 1, k, k), 1 / k**2)


def _padded(x: Tensor, k: int, s: int, p: int, value: float) -> Tensor:
    return F.max_pool2d(F.pad(x, (p,) * 4, value=value), k, s)


@compared(
    cases={
        f"{sign} numbers, a window of {k}, stride {s}, padding {p}": (x, k, s, p)
        for sign, x in {
            "positive": normal(2, 3, 9, 8).abs(),
            # So low that only minus infinity, or the lowest float64, is below them all.
            "negative": -1e300 * (1 + normal(2, 3, 9, 8).abs()),
        }.items()
        for k, s, p in [(2, 2, 0), (3, 2, 0), (3, 2, 1), (4, 3, 2)]
    },
    mistakes={
        "Right for positive numbers; for {case} every maximum came out as 0. What is the search "
        "for a maximum compared with at its start?": (
            lambda x, k, s, p: torch.zeros_like(F.max_pool2d(x, k, s, p))
        ),
        "For {case} every maximum came out as a number that is not in the image: the one with "
        "which the search starts is above them all. Is any number below every float?": tuple(
            lambda x, k, s, p, low=low: torch.full_like(F.max_pool2d(x, k, s, p), low)
            for low in _LOW
        ),
        "For {case} the padding wins at the edge: pad with a number that can never be the "
        "largest.": tuple(
            lambda x, k, s, p, low=low: _padded(x, k, s, p, low) for low in (0.0, *_LOW)
        ),
    },
    right="It equals F.max_pool2d for negative numbers and at a padded edge.",
    avoiding=_MAX_POOL,
)
def fixed_max_pool(x: Tensor, k: int, s: int, p: int) -> Tensor:
    """Check ``function(x, k, s, p)``: max-pooling that is right for negative numbers, too."""
    return F.max_pool2d(x, k, s, p)


def routed(
    x: Tensor,
    upstream: Tensor,
    k: int,
    s: int,
    shares: Callable[[Tensor], Tensor],
    add: bool = True,
) -> Tensor:
    """Each upstream gradient times ``shares(window)``, back where the window of (H, W) was.

    Without ``add``, a later window overwrites what an earlier one sent.
    """
    result = torch.zeros_like(x)
    for i, j in product(*map(range, upstream.shape)):
        window = slice(i * s, i * s + k), slice(j * s, j * s + k)
        sent, place = shares(x[window]) * upstream[i, j], result[window]
        place.copy_(place + sent if add else torch.where(sent != 0, sent, place))
    return result


def _winners(window: Tensor) -> Tensor:
    return (window == window.max()).double()


def winner(window: Tensor, which: int = 0) -> Tensor:
    """1 at one of the largest numbers of a window, by default the first."""
    places = _winners(window).flatten().nonzero()
    return F.one_hot(places[which], window.numel()).double().view_as(window)


def average(window: Tensor) -> Tensor:
    """The share of each number of a window in their mean."""
    return torch.full_like(window, 1 / window.numel())


# Wrong ways back of max-pooling, from (x, upstream, k, s).
WRONG_WAYS_BACK: dict[str, Callable[..., Tensor]] = {
    "where windows overlap, one number may win several times; its gradients add up (+=, not =).": (
        partial(routed, shares=winner, add=False)
    ),
    "there is one winner only; PyTorch takes the first maximum.": partial(routed, shares=_winners),
    "you share the gradient among the equals, as amax does; PyTorch's max-pooling gives all of it "
    "to the first maximum.": (
        partial(routed, shares=lambda window: _winners(window) / _winners(window).sum())
    ),
    "of several equal maxima you take the last; PyTorch takes the first.": (
        partial(routed, shares=partial(winner, which=-1))
    ),
    "this is the gradient of average pooling; with max the winner takes all.": (
        partial(routed, shares=average)
    ),
    "only the winner receives the gradient, the others get 0.": (
        partial(routed, shares=torch.ones_like)
    ),
    "you marked the winners; multiply by the upstream gradient.": (
        lambda x, upstream, k, s: routed(x, torch.ones_like(upstream), k, s, winner)
    ),
}


def _backward_case(x: Tensor, k: int, s: int) -> tuple[Tensor, Tensor, int, int]:
    rows, columns = ((size - k) // s + 1 for size in x.shape)
    return x, normal(rows, columns, seed=4), k, s


@compared(
    cases={
        "the window [[1, 5], [3, 2]] with upstream gradient 7": (
            torch.tensor([[1.0, 5], [3, 2]]).double(), torch.tensor([[7.0]]).double(), 2, 2,
        ),
        **{
            f"a {H}×{W} image and {windows} (k = {k}, s = {s})": (
                _backward_case(normal(H, W, seed=3) - 2, k, s)
            )
            for H, W, windows, k, s in [
                (6, 6, "windows side by side", 2, 2), (4, 7, "windows side by side", 2, 2),
                (6, 6, "overlapping windows", 3, 1), (8, 5, "overlapping windows", 3, 2),
                (5, 9, "gaps between the windows", 2, 3),
            ]
        },
        "windows in which all numbers are equal": (
            _backward_case(torch.zeros(4, 4).double(), 2, 2)
        ),
    },
    mistakes={f"For {{case}}: {words}": wrong for words, wrong in WRONG_WAYS_BACK.items()},
    right="It equals autograd's, with overlaps and ties.",
    avoiding=_MAX_POOL,
)  # fmt: skip
def max_pool_backward(x: Tensor, upstream: Tensor, k: int, s: int) -> Tensor:
    """Check ``function(x, upstream, k, s)``: the gradient of max-pooling for an (H, W) image."""
    return routed(x, upstream, k, s, winner)


def _blur(x: Tensor, stride: int = 1) -> Tensor:
    line = torch.tensor([1, 2, 1], dtype=x.dtype) / 4
    kernel = torch.outer(line, line).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, kernel, stride=stride, groups=x.shape[1])


@compared(
    cases={f"x of shape {shape}": (normal(*shape),) for shape in [(1, 1, 8, 8), (2, 3, 9, 12)]},
    mistakes={
        "The maximum already takes steps of 2, so the harm is done before the blur: use stride 1 "
        "there, and 2 in the blur.": lambda x: _blur(F.max_pool2d(x, 2)),
        "The blur still moves in steps of 1: keep every second row and column.": (
            lambda x: _blur(F.max_pool2d(x, 2, 1))
        ),
        "The weights of the blur must add up to 1: divide by 16.": (
            lambda x: 16 * _blur(F.max_pool2d(x, 2, 1), 2)
        ),
        "You blur first and take the maximum then; the maximum comes first.": (
            lambda x: F.max_pool2d(_blur(x), 2, 2)
        ),
    },
    right="Maximum, blur, subsample: the order that avoids aliasing.",
)
def blur_pool(x: Tensor) -> Tensor:
    """Check ``function(x)``: maximum of 2×2 at stride 1, blurred by 3×3, every second kept.

    The blur is the outer product of (1, 2, 1) / 4 with itself, without padding.
    """
    return _blur(F.max_pool2d(x, 2, 1), 2)
