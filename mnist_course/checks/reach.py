"""Checks of the chapter on reach and cost: dilation, groups, receptive fields, counting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks import (
    NotSolvedError,
    compared,
    count,
    exercise,
    normal,
    number,
    run,
)

__all__ = ["cost", "depthwise_conv2d", "dilations", "field_rows"]


def _size(n: int, k: int, s: int = 1, p: int = 0, d: int = 1) -> int:
    return max((n + 2 * p - d * (k - 1) - 1) // s + 1, 0)


@exercise
def dilations(function: Callable[..., Any]) -> str:
    """Check ``function()``: the dilations of three layers of 3 × 3, wide and without holes."""
    answer = run(function)
    try:
        first, second, third = answer
    except (TypeError, ValueError):
        raise NotSolvedError(f"Return three whole numbers; got {answer!r}.") from None
    reached = {0}
    for name, d in {"first": first, "second": second, "third": third}.items():
        count(d, f"The {name} dilation")
        if d < 1:
            raise NotSolvedError(f"A dilation is 1 or more; the {name} is {int(d)}.")
        reached = {place + u * int(d) for place in reached for u in range(3)}
    side = max(reached) + 1
    if holes := side - len(reached):
        first_hole = next(row for row in range(side) if row not in reached)
        raise NotSolvedError(
            f"The field has side {side}, and no path leads to {holes} of its rows; the first of "
            f"them is row {first_hole}."
        )
    if len(reached) < 3**3:
        raise NotSolvedError(
            f"The field has side {side} and no holes, but it can be wider: several paths lead to "
            "the same row."
        )
    return "The field has side 27, and every path leads to another row."


_Layer = tuple[int, int, int, int]


def _field(
    layers: Sequence[_Layer], i: int, *, used: str = "spd", extra: int = 1, from_first: bool = False
) -> tuple[int, int]:
    """First and last row, with the layers in the order they are taken, right or wrong.

    ``used`` are the initials of stride, padding and dilation; ``extra`` is what is subtracted from
    the kernel size; ``from_first`` starts each last row from the first one, not from the last.
    """
    first = last = i
    for k, *others in layers:
        s, p, d = (
            value if name in used else unused
            for name, value, unused in zip("spd", others, (1, 0, 1), strict=True)
        )
        first = first * s - p
        last = (first if from_first else last * s - p) + d * (k - extra)
    return first, last


@compared(
    cases={
        f"{name}, i = {i}": (layers, i)
        for name, layers in {
            "one layer, kernel 3": [(3, 1, 0, 1)],
            "two layers, kernels 3 and 5": [(3, 1, 0, 1), (5, 1, 0, 1)],
            "padding": [(3, 1, 1, 1), (5, 1, 2, 1)],
            "dilation": [(3, 1, 2, 2), (3, 1, 0, 3)],
            "stride": [(3, 2, 0, 1)],
            "a stride below another layer": [(2, 2, 0, 1), (3, 1, 0, 1)],
            "the three blocks of the course's network": [(3, 1, 1, 1), (2, 2, 0, 1)] * 3,
            "all of them at once": [(5, 2, 2, 1), (3, 1, 3, 3), (4, 3, 0, 1)],
        }.items()
        for i in (0, 1, 4)
    },
    case="{case} (layers = {layers})",
    so_far=True,
    mistakes={
        f"For {{case}} you return {{answer}}, expected {{expected}}: {words}": wrong
        for words, wrong in {
            "the layers are taken from the picture upwards: start at the output, with "
            "`reversed(layers)`.": _field,
            "the padding is not used.": lambda layers, i: _field(layers[::-1], i, used="sd"),
            "the dilation is not used.": lambda layers, i: _field(layers[::-1], i, used="sp"),
            "the stride is not used.": lambda layers, i: _field(layers[::-1], i, used="pd"),
            "a window of k rows ends d * (k - 1) rows after its first, not d * k.": (
                lambda layers, i: _field(layers[::-1], i, extra=0)
            ),
            "the last row goes its own way down, from the last row above, not from the first.": (
                lambda layers, i: _field(layers[::-1], i, from_first=True)
            ),
        }.items()
    },
    right="You find size and place of every field, padding, stride and dilation included.",
    shape="return two numbers, first and last",
    otherwise="You return {answer}, expected {expected}.",
)
def field_rows(layers: Sequence[_Layer], i: int) -> tuple[int, int]:
    """Check ``function(layers, i)``: first and last row of the picture that output row i reads.

    A layer is ``(kernel_size, stride, padding, dilation)``, the first is the one that reads the
    picture. Rows of the padding count, so that the numbers may be negative.
    """
    return _field(layers[::-1], i)


@dataclass(frozen=True)
class _Convolution:
    """A convolution of a picture, whose cost is counted."""

    a: int  # in_channels
    b: int  # out_channels
    k: int
    H: int
    W: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    bias: bool = True

    @property
    def weights(self) -> int:
        return self.b * (self.a // self.groups) * self.k**2

    @property
    def places(self) -> int:
        """How many pixels the output has."""
        s, p, d = self.stride, self.padding, self.dilation
        return _size(self.H, self.k, s, p, d) * _size(self.W, self.k, s, p, d)


_Mistakes = dict[str, Callable[[_Convolution], int]]
_WRONG_PARAMETERS: _Mistakes = {
    "the biases are missing, one per output channel": lambda c: c.weights,
    "there is no bias here": lambda c: c.weights + c.b,
    "there is one bias per output channel, neither one for all nor one per input": (
        lambda c: c.weights + 1
    ),
    "with groups a kernel has only in_channels / groups slices": (
        lambda c: c.weights * c.groups + c.b * c.bias
    ),
    "a kernel has a slice for every channel that it reads, in_channels / groups": (
        lambda c: c.weights * c.groups // c.a + c.b * c.bias
    ),
    "a kernel has k × k weights per channel": lambda c: c.weights // c.k + c.b * c.bias,
    "the weights do not depend on the size of the picture": lambda c: c.weights * c.places,
}
_WRONG_MULTIPLY_ADDS: _Mistakes = {
    "every output pixel needs them: count the places of the output, not of the input": (
        lambda c: c.weights * c.H * c.W
    ),
    "once for every place of the output": lambda c: c.weights,
    "with groups a kernel reads only in_channels / groups slices": (
        lambda c: c.weights * c.groups * c.places
    ),
    "a bias is an addition only, and is not counted here": lambda c: (c.weights + c.b) * c.places,
    "one multiply-add is one multiplication and one addition: do not count it twice": (
        lambda c: 2 * c.weights * c.places
    ),
    "count the places again, with the dilation": (
        lambda c: c.weights * replace(c, dilation=1).places
    ),
}
_CONVOLUTIONS: dict[str, tuple[tuple[int, int, int, int, int], dict[str, Any]]] = {
    "one channel, one kernel": ((1, 1, 3, 6, 6), {"bias": False}),
    "a bias": ((1, 4, 3, 6, 6), {}),
    "three input channels": ((3, 8, 3, 6, 9), {}),
    "padding": ((3, 8, 5, 7, 9), {"padding": 2}),
    "stride 2": ((3, 8, 3, 7, 10), {"padding": 1, "stride": 2}),
    "dilation 2": ((2, 4, 3, 9, 8), {"dilation": 2}),
    "groups": ((6, 12, 3, 7, 7), {"groups": 3}),
    "depthwise, without a bias": ((8, 8, 3, 6, 5), {"groups": 8, "bias": False}),
    "all at once": ((4, 6, 2, 11, 8), {"stride": 3, "padding": 2, "dilation": 4, "groups": 2}),
}


@exercise
def cost(function: Callable[..., Any]) -> str:
    """Check the function that counts ``(parameters, multiply_adds)`` of a convolution.

    It is called as ``function(in_channels, out_channels, kernel_size, height, width, stride=…,
    padding=…, dilation=…, groups=…, bias=…)``.
    """
    for case, (sizes, settings) in _CONVOLUTIONS.items():
        a, b, k, H, W = sizes
        options = "".join(f", {name}={value}" for name, value in settings.items())
        asked = f"For {case} (Conv2d({a}, {b}, {k}{options}) on {H}×{W})"
        answer = run(function, *sizes, **settings)
        try:
            parameters, multiply_adds = answer
        except (TypeError, ValueError):
            raise NotSolvedError(
                f"Return a pair, `return parameters, multiply_adds`; got {answer!r}."
            ) from None
        c = _Convolution(*sizes, **settings)
        for what, got, wanted, mistakes in (
            ("parameters", parameters, c.weights + c.b * c.bias, _WRONG_PARAMETERS),
            ("multiply-adds", multiply_adds, c.weights * c.places, _WRONG_MULTIPLY_ADDS),
        ):
            if number(got, f"{asked}, {what}") != wanted:
                because = [f": {words}" for words, wrong in mistakes.items() if got == wrong(c)]
                raise NotSolvedError(
                    f"{asked} you count {got} {what}, expected {wanted}{''.join(because[:1])}."
                )
            count(got, f"{asked}, {what}")
    return "Every layer's bill is right, with bias, stride, padding, dilation and groups."


def _depthwise(x: Tensor, w: Tensor) -> Tensor:
    return F.conv2d(x, w, groups=x.shape[1])


def _interleaved(x: Tensor, w: Tensor) -> Tensor:
    return torch.cat([_depthwise(x, part) for part in w.split(x.shape[1])], dim=1)


@compared(
    cases={
        case: (normal(*shape), normal(shape[1] * m, 1, *size, seed=1))
        for case, shape, m, size in (
            ("one channel", (1, 1, 6, 6), 1, (3, 3)),
            ("three channels", (1, 3, 6, 7), 1, (3, 3)),
            ("a batch and a kernel that is not square", (2, 3, 6, 7), 1, (3, 2)),
            ("the channel multiplier m = 2", (2, 3, 6, 7), 2, (3, 3)),
            ("the channel multiplier m = 3", (1, 2, 5, 5), 3, (2, 2)),
        )
    },
    mistakes={
        "With {case}: output o reads channel o // m, not o % m or o % C: the outputs of one "
        "channel stand side by side.": _interleaved,
        "With {case}: you add up over the input channels; here every output reads a single one.": (
            lambda x, w: F.conv2d(x, w.expand(-1, x.shape[1], -1, -1))
        ),
        "With {case}: the kernel of output 0 is used for all: each output has its own.": (
            lambda x, w: _depthwise(x, w[:1].expand_as(w))
        ),
        "With {case}: all outputs read channel 0.": lambda x, w: F.conv2d(x[:, :1], w),
    },
    right="Equal to F.conv2d with one group per channel, for every multiplier.",
    avoiding=("conv1d", "conv2d", "conv3d", "convolution"),
)
def depthwise_conv2d(x: Tensor, w: Tensor) -> Tensor:
    """Check ``function(x, w)``: each channel on its own, stride 1, no padding, no bias.

    ``x`` is ``(N, C, H, W)``, ``w`` is ``(C · m, 1, K_h, K_w)``; output ``o`` reads channel
    ``o // m``.
    """
    return _depthwise(x, w)
