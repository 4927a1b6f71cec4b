"""Checks of chapter 5: stride, padding, dilation and groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
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

__all__ = ["cost", "depthwise_conv2d", "field_rows", "output_size", "pad", "strided_conv2d"]


def _size(n: int, k: int, s: int = 1, p: int = 0, d: int = 1) -> int:
    return max((n + 2 * p - d * (k - 1) - 1) // s + 1, 0)


# Well-known wrong formulas for the size of the output.
_WRONG_SIZES: dict[str, Callable[[int, int, int, int, int], float]] = {
    "the +1 belongs outside the fraction: divide and round down first, then count place number 0": (
        lambda n, k, s, p, d: (n + 2 * p - d * (k - 1)) // s
    ),
    "the +1 is missing: the places are numbered from 0, so there is one more of them": (
        lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) // s
    ),
    "the padding counts twice, it stands at both ends": (
        lambda n, k, s, p, d: (n + p - d * (k - 1) - 1) // s + 1
    ),
    "the padding is not used": lambda n, k, s, p, d: (n - d * (k - 1) - 1) // s + 1,
    "the stride is not used": lambda n, k, s, p, d: n + 2 * p - d * (k - 1),
    "the dilation is not used": lambda n, k, s, p, d: (n + 2 * p - k) // s + 1,
    "k pixels have k - 1 gaps between them, so a window reaches over d * (k - 1) + 1 pixels, "
    "not over d * k": lambda n, k, s, p, d: (n + 2 * p - d * k) // s + 1,
    "you round up, which lets the last window hang over the edge": (
        lambda n, k, s, p, d: -((d * (k - 1) + 1 - n - 2 * p) // s) + 1
    ),
}
_Case = tuple[int, int, int, int, int]


def _sizes(strides: list[int], paddings: list[int], dilations: list[int]) -> list[_Case]:
    cases = product(range(1, 12), range(1, 5), strides, paddings, dilations)
    return [case for case in cases if _size(*case)]


_STEPS: dict[str, list[_Case]] = {
    "stride 1 without padding": _sizes([1], [0], [1]),
    "padding 1 and 2": _sizes([1], [1, 2], [1]),
    "stride 2 and 3": _sizes([2, 3], [0, 1], [1]),
    "dilation": _sizes([1, 2], [0, 1], [2, 3]),
    "large pictures": [(224, 7, 2, 3, 1), (227, 11, 4, 2, 1), (100, 5, 5, 0, 6)],
}


def _named(case: _Case) -> str:
    names = ("n", "kernel_size", "stride", "padding", "dilation")
    return ", ".join(f"{name} = {value}" for name, value in zip(names, case, strict=True))


@exercise
def output_size(function: Callable[..., Any]) -> str:
    """Check ``function(n, kernel_size, stride, padding, dilation)``: the size along one axis.

    It must be 0 where the window does not fit into the padded row.
    """
    done = ""
    for step, cases in _STEPS.items():
        _right_sizes(function, cases, f"Right for {done}; for " if done else "For ")
        done = step
    nowhere = [
        (n, k, s, p, d)
        for n, k, p, d in product(range(1, 5), range(2, 6), range(2), (1, 2))
        for s in (1, 2, 3)
        if _size(n, k, 1, p, d) == 0
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
