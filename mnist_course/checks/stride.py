"""Checks for the exercises on stride, padding, dilation and groups (chapter 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks._returning import Verdict, compare, right, run, wrong

__all__ = ["cost", "depthwise_conv2d", "field_rows", "output_size", "pad", "strided_conv2d"]


def _random(*shape: int) -> Tensor:
    """Random numbers that are the same in every run, and leave the global generator alone."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _after(done: str, message: str) -> Verdict:
    """Say what is wrong, after what is right already, if anything is."""
    if done:
        return wrong(f"Right for {done}; {message}")
    return wrong(message[0].upper() + message[1:])


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
    "divide with //, which rounds down: a size is a whole number": (
        lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) / s + 1
    ),
}


def _makes_the_mistake(
    function: Callable[..., Any], mistake: Callable[..., float], cases: Sequence[tuple[int, ...]]
) -> bool:
    """Whether the learner's sizes are those of a wrong formula; below 0 is as good as 0."""
    answers = [run(function, *case) for case in cases]
    return all(
        isinstance(answer, (int, float)) and max(answer, 0) == max(mistake(*case), 0)
        for answer, case in zip(answers, cases, strict=True)
    )


def output_size(function: Callable[..., Any]) -> Verdict:
    """Check ``function(n, kernel_size, stride, padding, dilation)``: the size along one axis.

    It must be 0 where the window does not fit into the padded row.
    """
    steps = {
        "stride 1 without padding": ([1], [0], [1]),
        "padding 1 and 2": ([1], [1, 2], [1]),
        "stride 2 and 3": ([2, 3], [0, 1], [1]),
        "dilation": ([1, 2], [0, 1], [2, 3]),
    }
    done = ""
    for step, settings in steps.items():
        cases = [c for c in product(range(1, 12), range(1, 5), *settings) if _size(*c) > 0]
        for n, k, s, p, d in cases:
            answer = run(function, n, k, s, p, d)
            case = f"n = {n}, kernel_size = {k}, stride = {s}, padding = {p}, dilation = {d}"
            verdict = compare(answer, torch.tensor(_size(n, k, s, p, d)), case)
            if verdict is None:
                continue
            if isinstance(answer, Verdict) or "expected numbers" in verdict.message:
                return verdict
            message = f"for {case} you return {answer}, expected {_size(n, k, s, p, d)}"
            for explanation, mistake in _WRONG_SIZES.items():
                if _makes_the_mistake(function, mistake, cases):
                    return _after(done, f"{message}: {explanation}.")
            return _after(done, f"{message}.")
        done = step
    for n, k, p, d in product(range(1, 5), range(2, 6), range(2), (1, 2)):
        if _size(n, k, 1, p, d) == 0:
            for s in (1, 2, 3):
                answer = run(function, n, k, s, p, d)
                if isinstance(answer, Verdict):
                    return answer
                if answer != 0:
                    return wrong(
                        f"Right wherever the window fits. With n = {n}, kernel_size = {k}, "
                        f"stride = {s}, padding = {p}, dilation = {d} it fits nowhere, so 0 is "
                        f"expected; you return {answer}."
                    )
    return right("All sizes agree with PyTorch's, and where nothing fits you say 0.")


def _symmetric(x: Tensor, padding: int) -> Tensor:
    """The mirror that repeats the outermost pixel: 1 0 | 0 1 2 3 | 3 2."""
    for axis in (2, 3):
        n = x.shape[axis]
        start = x.narrow(axis, 0, padding).flip(axis)
        end = x.narrow(axis, n - padding, padding).flip(axis)
        x = torch.cat([start, x, end], axis)
    return x


def _unflipped(x: Tensor, padding: int) -> Tensor:
    """The right rows in the wrong order: 1 2 | 0 1 2 3 | 1 2."""
    for axis in (2, 3):
        n = x.shape[axis]
        start = x.narrow(axis, 1, padding)
        end = x.narrow(axis, n - 1 - padding, padding)
        x = torch.cat([start, x, end], axis)
    return x


def pad(function: Callable[..., Any]) -> Verdict:
    """Check ``function(x, padding, mode)`` with mode ``"zeros"`` or ``"reflect"``.

    ``x`` is ``(N, C, H, W)``; the answer has ``padding`` more rows and columns on every side.
    """
    for mode, shape, padding in (
        ("zeros", (1, 1, 4, 4), 1),
        ("zeros", (2, 3, 4, 6), 2),
        ("reflect", (1, 1, 4, 4), 2),
        ("reflect", (2, 3, 5, 6), 3),
        ("zeros", (2, 1, 3, 4), 0),
        ("reflect", (2, 1, 3, 4), 0),
    ):
        x = _random(*shape)
        around = (padding,) * 4
        kind = "constant" if mode == "zeros" else mode  # what F.pad calls it
        expected = F.pad(x, around, mode=kind)
        hints = []
        if padding:
            hints = [
                (
                    f"For mode {mode!r} and padding {padding} the picture comes back as it was.",
                    x,
                ),
                (
                    f"In mode {mode!r} only columns are added: pad the rows, above and below, too.",
                    F.pad(x, (padding, padding, 0, 0), mode=kind),
                ),
                (
                    f"In mode {mode!r} only rows are added: pad the columns, left and right, too.",
                    F.pad(x, (0, 0, padding, padding), mode=kind),
                ),
                (
                    "Pixels are added at the bottom and on the right only: pad all four sides.",
                    F.pad(x, (0, 2 * padding, 0, 2 * padding)),
                ),
            ]
        if mode == "reflect" and padding:
            hints += [
                (
                    "For mode 'reflect' you return zeros around the picture: is the mode used?",
                    F.pad(x, around),
                ),
                (
                    "Your mirror repeats the outermost pixel: `1 0 | 0 1 2 3 | 3 2`. "
                    "Reflect leaves it out: `2 1 | 0 1 2 3 | 2 1`.",
                    _symmetric(x, padding),
                ),
                (
                    "You repeat the outermost pixel only; that is mode 'replicate'. "
                    "Reflect goes back into the picture: `2 1 | 0 1 2 3 | 2 1`.",
                    F.pad(x, around, mode="replicate"),
                ),
                (
                    "You continue at the opposite side; that is mode 'circular'. "
                    "Reflect goes back into the picture: `2 1 | 0 1 2 3 | 2 1`.",
                    F.pad(x, around, mode="circular"),
                ),
                (
                    "The right pixels in the wrong order: a mirror turns them round, "
                    "`2 1 | 0 1 2 3 | 2 1`.",
                    _unflipped(x, padding),
                ),
            ]
        case = f"mode {mode!r}, padding {padding} and x of shape {shape}"
        answer = run(function, x.clone(), padding, mode)
        verdict = compare(answer, expected, case, hints=hints)
        if verdict is not None:
            return verdict
    return right("Zeros and mirror are PyTorch's, on all four sides.")


_Layer = tuple[int, int, int, int]


def _field(
    layers: Sequence[_Layer],
    i: int,
    *,
    use: tuple[bool, bool, bool] = (True, True, True),
    extra: int = 1,
) -> Tensor:
    """First and last row, with the layers in the order they are taken, right or wrong.

    ``use`` says whether stride, padding and dilation are used; ``extra`` is what is subtracted
    from the kernel size.
    """
    first = last = i
    for k, s, p, d in layers:
        s, p, d = s if use[0] else 1, p if use[1] else 0, d if use[2] else 1
        first = first * s - p
        last = last * s - p + d * (k - extra)
    return torch.tensor([first, last])


def field_rows(function: Callable[..., Any]) -> Verdict:
    """Check ``function(layers, i)``: first and last row of the picture that output row i reads.

    A layer is ``(kernel_size, stride, padding, dilation)``, the first is the one that reads the
    picture. Rows of the padding count, so that the numbers may be negative.
    """
    cases: dict[str, list[_Layer]] = {
        "one layer, kernel 3": [(3, 1, 0, 1)],
        "two layers, kernels 3 and 5": [(3, 1, 0, 1), (5, 1, 0, 1)],
        "padding": [(3, 1, 1, 1), (5, 1, 2, 1)],
        "dilation": [(3, 1, 2, 2), (3, 1, 0, 3)],
        "stride": [(3, 2, 0, 1)],
        "a stride below another layer": [(2, 2, 0, 1), (3, 1, 0, 1)],
        "the three blocks of the course's network": [(3, 1, 1, 1), (2, 2, 0, 1)] * 3,
        "all of them at once": [(5, 2, 2, 1), (3, 1, 3, 3), (4, 3, 0, 1)],
    }
    done = ""
    for case, layers in cases.items():
        downwards = layers[::-1]
        for i in (0, 1, 4):
            hints = [
                (
                    "the layers are taken from the picture upwards: start at the output, "
                    "with `reversed(layers)`.",
                    _field(layers, i),
                ),
                ("the padding is not used.", _field(downwards, i, use=(True, False, True))),
                ("the dilation is not used.", _field(downwards, i, use=(True, True, False))),
                ("the stride is not used.", _field(downwards, i, use=(False, True, True))),
                (
                    "a window of k rows ends d * (k - 1) rows after its first, not d * k.",
                    _field(downwards, i, extra=0),
                ),
            ]
            answer = run(function, list(layers), i)
            expected = _field(downwards, i)
            verdict = compare(answer, expected, f"{case} and i = {i}", hints=hints)
            if verdict is None:
                continue
            if isinstance(answer, Verdict) or "expected numbers" in verdict.message:
                return verdict
            message = (
                f"for {case} (layers = {layers}, i = {i}) you return {answer}, "
                f"expected {tuple(expected.tolist())}"
            )
            because = f": {verdict.message}" if verdict.message in dict(hints) else "."
            return _after(done, message + because)
        done = case
    return right("You find size and place of every field, padding, stride and dilation included.")


def cost(function: Callable[..., Any]) -> Verdict:
    """Check the function that counts ``(parameters, multiply_adds)`` of a convolution.

    It is called as ``function(in_channels, out_channels, kernel_size, height, width, stride=…,
    padding=…, dilation=…, groups=…, bias=…)``.
    """
    for case, (a, b, k), (H, W), settings in (
        ("one channel, one kernel", (1, 1, 3), (6, 6), {"bias": False}),
        ("a bias", (1, 4, 3), (6, 6), {}),
        ("three input channels", (3, 8, 3), (6, 9), {}),
        ("padding", (3, 8, 5), (7, 9), {"padding": 2}),
        ("stride 2", (3, 8, 3), (7, 10), {"padding": 1, "stride": 2}),
        ("dilation 2", (2, 4, 3), (9, 8), {"dilation": 2}),
        ("groups", (6, 12, 3), (7, 7), {"groups": 3}),
        ("depthwise, without a bias", (8, 8, 3), (6, 5), {"groups": 8, "bias": False}),
    ):
        layer = nn.Conv2d(a, b, k, **settings)
        s, p = settings.get("stride", 1), settings.get("padding", 0)
        rows, columns = layer(torch.zeros(1, a, H, W)).shape[-2:]
        weights, places = layer.weight.numel(), rows * columns
        expected = (sum(part.numel() for part in layer.parameters()), weights * places)
        answer = run(function, a, b, k, H, W, **settings)
        if isinstance(answer, Verdict):
            return answer
        options = "".join(f", {name}={value}" for name, value in settings.items())
        asked = f"{case} (Conv2d({a}, {b}, {k}{options}) on {H}×{W})"
        try:
            parameters, multiply_adds = answer
        except (TypeError, ValueError):
            return wrong(f"Return a pair, `return parameters, multiply_adds`; got {answer!r}.")
        groups = layer.groups
        one_each = "there is one bias per output channel, neither one for all nor one per input"
        hints_parameters = [
            ("the biases are missing, one per output channel", weights),
            ("there is no bias here", weights + b),
            (one_each, weights + 1),
            (one_each, weights + a),
            (
                "with groups a kernel has only in_channels / groups slices",
                weights * groups + (b if layer.bias is not None else 0),
            ),
            (
                "a kernel has a slice for every channel that it reads, in_channels / groups",
                expected[0] - weights + weights * groups // a,
            ),
            ("a kernel has k × k weights per channel", expected[0] - weights + weights // k),
            ("the weights do not depend on the size of the picture", expected[1]),
        ]
        hints_multiply_adds = [
            (
                "every output pixel needs them: count the places of the output, not of the input",
                weights * H * W,
            ),
            ("once for every place of the output", weights),
            (
                "with groups a kernel has only in_channels / groups slices",
                weights * groups * places,
            ),
            (
                "a bias is an addition only, and is not counted here",
                (weights + b) * places,
            ),
            (
                "one multiply-add is one multiplication and one addition: do not count it twice",
                2 * weights * places,
            ),
            (
                "count the places again, with the dilation",
                weights * _size(H, k, s, p) * _size(W, k, s, p),
            ),
            (
                "count the places again, with the padding",
                weights * _size(H, k, s) * _size(W, k, s),
            ),
        ]
        for what, got, wanted, hints in (
            ("parameters", parameters, expected[0], hints_parameters),
            ("multiply-adds", multiply_adds, expected[1], hints_multiply_adds),
        ):
            verdict = compare(got, torch.tensor(wanted), asked)
            if verdict is None:
                continue
            if "expected numbers" in verdict.message:
                return verdict
            because = next((f": {text}" for text, mistake in hints if got == mistake), "")
            return wrong(f"For {asked} you count {got} {what}, expected {wanted}{because}.")
    return right("Every layer's bill is right, with bias, stride, padding, dilation and groups.")


def _trailing_zeros(y: Tensor, axis: int) -> int:
    """How many slices at the end of an axis are all zero."""
    filled = y.ne(0).transpose(0, axis).flatten(1).any(1).tolist()
    return len(filled) - max((i + 1 for i, f in enumerate(filled) if f), default=0)


def strided_conv2d(function: Callable[..., Any]) -> Verdict:
    """Check ``function(x, w, stride)``: a convolution without padding, bias or groups.

    ``x`` is ``(N, C_in, H, W)``, ``w`` is ``(C_out, C_in, K_h, K_w)``.
    """
    done = ""
    for stride in (1, 2, 3):
        for (H, W), (K_h, K_w) in (((11, 11), (3, 3)), ((12, 9), (3, 2))):
            x, w = _random(2, 3, H, W), _random(4, 3, K_h, K_w)
            expected = F.conv2d(x, w, stride=stride)
            rows, columns = expected.shape[-2:]
            dense = F.conv2d(x, w)
            hints = [
                (
                    "row i of the output starts at row i * stride of the picture; you start at i.",
                    dense[:, :, :rows, ::stride],
                ),
                (
                    "column j of the output starts at column j * stride of the picture; "
                    "you start at j.",
                    dense[:, :, ::stride, :columns],
                ),
                (
                    "place (i, j) of the output starts at (i * stride, j * stride) of the "
                    "picture; you start at (i, j).",
                    dense[:, :, :rows, :columns],
                ),
            ]
            answer = run(function, x.clone(), w.clone(), stride)
            verdict = compare(answer, expected, f"stride {stride}", hints=hints)
            if verdict is None:
                continue
            if isinstance(answer, Verdict):
                failed = answer.message
                return _after(done, f"for stride {stride}: {failed}") if done else answer
            if not isinstance(answer, Tensor) or answer.ndim != 4:
                return verdict
            got_rows, got_columns = answer.shape[-2:]
            if (got_rows, got_columns) != (rows, columns):
                message = (
                    f"the output is {got_rows}×{got_columns}, expected {rows}×{columns}: "
                    "look at the loop bound."
                )
            elif empty := _trailing_zeros(answer, 2):
                message = (
                    f"the last {empty} of {rows} rows of the output are all zero: the loop over i "
                    "ends too early. Is its bound divided twice?"
                )
            elif empty := _trailing_zeros(answer, 3):
                message = (
                    f"the last {empty} of {columns} columns of the output are all zero: the loop "
                    "over j ends too early. Is its bound divided twice?"
                )
            elif verdict.message in dict(hints):
                message = verdict.message
            else:
                message = "the shape is right but the numbers are not."
            return _after(done, f"for stride {stride} {message}")
        done = "stride 1" if stride == 1 else f"strides 1 to {stride}"
    return right("Equal to PyTorch for strides 1, 2 and 3, on square pictures and others.")


def depthwise_conv2d(function: Callable[..., Any]) -> Verdict:
    """Check ``function(x, w)``: each channel on its own, stride 1, no padding, no bias.

    ``x`` is ``(N, C, H, W)``, ``w`` is ``(C · m, 1, K_h, K_w)``; output ``o`` reads channel
    ``o // m``.
    """
    for case, (N, C, H, W), m, (K_h, K_w) in (
        ("one channel", (1, 1, 6, 6), 1, (3, 3)),
        ("three channels", (1, 3, 6, 7), 1, (3, 3)),
        ("a batch and a kernel that is not square", (2, 3, 6, 7), 1, (3, 2)),
        ("the channel multiplier m = 2", (2, 3, 6, 7), 2, (3, 3)),
        ("the channel multiplier m = 3", (1, 2, 5, 5), 3, (2, 2)),
    ):
        x, w = _random(N, C, H, W), _random(C * m, 1, K_h, K_w)
        expected = F.conv2d(x, w, groups=C)
        interleaved = torch.cat(
            [F.conv2d(x, w[i * C : (i + 1) * C], groups=C) for i in range(m)], 1
        )
        hints = [
            (
                f"With {case}: output o reads channel o // m, not o % m or o % C: the outputs of "
                "one channel stand side by side.",
                interleaved,
            ),
            (
                f"With {case}: you add up over the input channels; here every output reads a "
                "single one.",
                F.conv2d(x, w.expand(-1, C, -1, -1)),
            ),
            (
                f"With {case}: the kernel of output 0 is used for all: each output has its own.",
                F.conv2d(x, w[:1].expand(C * m, -1, -1, -1), groups=C),
            ),
            (
                f"With {case}: all outputs read channel 0.",
                F.conv2d(x[:, :1], w),
            ),
            (
                f"With {case}: only the outputs 0 to C - 1 are filled; there are C · m.",
                F.pad(F.conv2d(x, w[:C], groups=C), (0, 0, 0, 0, 0, C * (m - 1))),
            ),
        ]
        verdict = compare(run(function, x.clone(), w.clone()), expected, case, hints=hints)
        if verdict is not None:
            return verdict
    return right("Equal to F.conv2d with one group per channel, for every multiplier.")
