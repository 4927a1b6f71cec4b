"""Checks of chapter 10, backpropagation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from operator import index
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
    run,
    same,
    saying,
)
from mnist_course.checks.pooling import WRONG_WAYS_BACK, average, routed, winner

__all__ = [
    "avg_pool2d_backward",
    "counterexample",
    "max_pool2d_backward",
    "operation",
    "slopes",
    "weight_gradient",
]


def _slopes(
    x: float,
    w1: float,
    b: float,
    w2: float,
    t: float,
    *,
    factor: float = 2,
    gate: bool = True,
    strict: bool = True,
) -> tuple[float, float, float]:
    """The slopes of (w2 · max(0, w1 · x + b) − t)² with respect to w1, b and w2, or nearly."""
    z = w1 * x + b
    h = max(0.0, z)
    dy = factor * (w2 * h - t)
    dz = dy * w2 if not gate or z > 0 or (not strict and z == 0) else 0.0
    return dz * x, dz, dy * h


@compared(
    cases={
        "the numbers of the chapter": (2.0, 3.0, -1.0, 2.0, 7.0),
        "other numbers": (-1.5, -2.0, 0.5, 3.0, 4.0),
        "a result above the target": (0.5, 2.0, 1.0, 4.0, 1.0),
        "a ReLU that is shut": (2.0, -3.0, 1.0, 0.5, 5.0),
        "a ReLU exactly at 0": (2.0, 1.0, -2.0, 0.5, 5.0),
    },
    case="{case} (x = {x}, w1 = {w1}, b = {b}, w2 = {w2}, t = {t})",
    so_far=True,
    mistakes={
        "The slope of the square has a factor 2: 2 (y - t).": partial(_slopes, factor=1),
        "The sign is turned round: the difference is y - t, not t - y.": (
            partial(_slopes, factor=-2)
        ),
        "For {case} nothing comes through ReLU: where its input is not positive, the slopes of w1 "
        "and b are 0.": (partial(_slopes, gate=False), partial(_slopes, strict=False)),
        "The second slope is right for w1 and the first for b: return those of w1, b, w2.": (
            lambda *given: tuple(_slopes(*given)[place] for place in (1, 0, 2))
        ),
        "A factor of a product gets the *other* factor: w2 gets h, and h gets w2.": (
            lambda x, w1, b, w2, t: _crossed(x, w1, b, w2, t)
        ),
    },
    right="Every slope is what the chain rule and a measurement say.",
)
def slopes(x: float, w1: float, b: float, w2: float, t: float) -> tuple[float, float, float]:
    """Check ``function(x, w1, b, w2, t)``: three slopes of the two-layer graph."""
    return _slopes(x, w1, b, w2, t)


def _crossed(x: float, w1: float, b: float, w2: float, t: float) -> tuple[float, float, float]:
    """The slopes of someone who hands each factor of w2 · h its own value."""
    z = w1 * x + b
    h = max(0.0, z)
    dy = 2 * (w2 * h - t)
    dz = dy * h if z > 0 else 0.0
    return dz * x, dz, dy * w2


def _on_maps(way_back: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A way back of one map, ``(x, dy, kernel_size, stride)``, for all maps of a batch."""

    def of_batch(dy: Tensor, x: Tensor, kernel_size: int, stride: int) -> Tensor:
        maps = zip(x.flatten(0, 1), dy.flatten(0, 1), strict=True)
        return torch.stack([way_back(a, b, kernel_size, stride) for a, b in maps]).view_as(x)

    return of_batch


def _shared_out(
    dy: Tensor, x_shape: tuple[int, ...], kernel_size: int, stride: int, add: bool = True
) -> Tensor:
    """Average pooling's way back; without ``add``, a later window overwrites an earlier one."""
    way_back = _on_maps(partial(routed, shares=average, add=add))
    return way_back(dy, dy.new_zeros(x_shape), kernel_size, stride)


def _sizes(shape: tuple[int, ...], kernel_size: tuple[int, int], stride: int) -> list[int]:
    """Rows and columns of what a window without padding makes of x."""
    return [(n - k) // stride + 1 for n, k in zip(shape[2:], kernel_size, strict=True)]


def _average_case(
    shape: tuple[int, ...], kernel_size: int, stride: int
) -> tuple[Tensor, tuple[int, ...], int, int]:
    sizes = _sizes(shape, (kernel_size, kernel_size), stride)
    return normal(*shape[:2], *sizes, seed=1), shape, kernel_size, stride


@compared(
    cases={
        "windows side by side": _average_case((1, 1, 4, 6), 2, 2),
        "several images and channels": _average_case((2, 3, 6, 4), 2, 2),
        "rows and columns left over": _average_case((2, 3, 7, 8), 3, 3),
        "overlapping windows": _average_case((2, 3, 7, 5), 3, 2),
        "gaps between the windows": _average_case((1, 2, 7, 8), 2, 3),
    },
    case="{case} (x of shape {x_shape}, kernel_size {kernel_size}, stride {stride})",
    so_far=True,
    mistakes={
        "Every pixel gets the whole gradient of its window: a pixel touched the mean with strength "
        "1 / kernel_size², so that is its share.": (
            lambda dy, x_shape, k, s: _shared_out(dy, x_shape, k, s) * k**2
        ),
        "You divide by kernel_size: a window has kernel_size² pixels.": (
            lambda dy, x_shape, k, s: _shared_out(dy, x_shape, k, s) * k
        ),
        "Where windows overlap, the last one overwrites the others: ways add up, so write += "
        "instead of =.": partial(_shared_out, add=False),
    },
    right="Every pixel gets its share of every window that it was in.",
)
def avg_pool2d_backward(
    dy: Tensor, x_shape: tuple[int, ...], kernel_size: int, stride: int
) -> Tensor:
    """Check ``function(dy, x_shape, kernel_size, stride)``: the way back of average pooling."""
    return _shared_out(dy, x_shape, kernel_size, stride)


def _weight_gradient(dy: Tensor, x: Tensor, kernel_size: tuple[int, int], stride: int) -> Tensor:
    """A convolution's gradient of the weights without padding."""
    _, _, H_out, W_out = dy.shape
    dw = dy.new_zeros(dy.shape[1], x.shape[1], *kernel_size)
    for u, v in product(*map(range, kernel_size)):
        under = x[:, :, u : u + (H_out - 1) * stride + 1 : stride]
        under = under[..., v : v + (W_out - 1) * stride + 1 : stride]
        dw[:, :, u, v] = torch.einsum("noij,ncij->oc", dy, under)
    return dw


def _weight_case(
    x_shape: tuple[int, ...], C_out: int, kernel_size: tuple[int, int], stride: int
) -> tuple[Tensor, Tensor, tuple[int, int], int]:
    sizes = _sizes(x_shape, kernel_size, stride)
    return normal(x_shape[0], C_out, *sizes, seed=1), normal(*x_shape), kernel_size, stride


@compared(
    cases={
        "one channel, one map, stride 1": _weight_case((1, 1, 5, 5), 1, (3, 3), 1),
        "several channels and maps": _weight_case((1, 3, 5, 6), 2, (3, 3), 1),
        "several images": _weight_case((4, 3, 5, 6), 2, (3, 3), 1),
        "a kernel that is not square": _weight_case((2, 2, 6, 7), 3, (3, 2), 1),
        "stride 2": _weight_case((2, 2, 7, 7), 3, (3, 3), 2),
        "stride 2 with a column left over": _weight_case((2, 3, 7, 8), 2, (3, 3), 2),
        "stride 3 with rows left over": _weight_case((2, 2, 9, 8), 3, (2, 3), 3),
    },
    case="{case} (x of shape {x}, kernel {kernel_size}, stride {stride})",
    so_far=True,
    mistakes={
        "The kernel is turned by half a turn: for the weights there is no flip, weight (u, v) met "
        "the pixel at (i * stride + u, j * stride + v).": (
            lambda *given: _weight_gradient(*given).flip(2, 3)
        ),
        "The stride is not used: neighbouring windows stand `stride` pixels apart.": (
            lambda dy, x, kernel_size, stride: _weight_gradient(dy, x, kernel_size, 1)
        ),
        "You divide by the number of images: that was done already, in the loss.": (
            lambda dy, x, *rest: _weight_gradient(dy, x, *rest) / len(x)
        ),
    },
    right="For every stride, each weight collects what all its pixels owe it.",
)
def weight_gradient(dy: Tensor, x: Tensor, kernel_size: tuple[int, int], stride: int) -> Tensor:
    """Check ``function(dy, x, kernel_size, stride)``: the gradient of a convolution's weights."""
    return _weight_gradient(dy, x, kernel_size, stride)


_to_winners = _on_maps(partial(routed, shares=winner))  # max pooling's way back


@exercise
def counterexample(
    function: Callable[[], Any], buggy: Callable[[Tensor, Tensor, int, int], Any]
) -> str:
    """Check ``function()``, which returns x, kernel_size and stride for which ``buggy`` is wrong.

    Args:
        function: the learner's; x is (N, C, H, W), the gradient of the output is chosen here.
        buggy: the way back of max pooling that is to be caught, called with dy, x, kernel_size
            and stride.
    """
    answer = run(function)
    try:
        x, kernel_size, stride = answer
        x = torch.as_tensor(x).detach().double()
        kernel_size, stride = index(kernel_size), index(stride)
        y = F.max_pool2d(x, kernel_size, stride)
    except Exception as error:
        raise NotSolvedError(
            "Return three things, x of shape (N, C, H, W), kernel_size and stride, that "
            f"F.max_pool2d takes; it says: {error}."
        ) from error
    if x.ndim != 4:
        raise NotSolvedError(f"x has shape {tuple(x.shape)}, expected four axes, (N, C, H, W).")
    finite(x, "x")  # with nan nothing is equal, right or wrong
    dy = normal(*y.shape)
    with saying("The function should give a wrong answer, not stop. "):
        got = run(buggy, dy, x, kernel_size, stride)
    if not same(got, _to_winners(dy, x, kernel_size, stride)):
        return "Here a gradient comes out wrong: you have caught the bug."
    if stride >= kernel_size:
        raise NotSolvedError(
            "Here the function is right. Your windows do not overlap, so no pixel can win twice."
        )
    if y.shape[2:].numel() == 1:
        raise NotSolvedError(
            "Here the function is right: with only one window no pixel can win twice."
        )
    raise NotSolvedError(
        "Here the function is right: your windows overlap, but no pixel wins two of them. Make "
        "one pixel larger than everything around it."
    )


def _max_case(x: Tensor, kernel_size: int, stride: int) -> tuple[Tensor, Tensor, int, int]:
    sizes = _sizes(tuple(x.shape), (kernel_size, kernel_size), stride)
    return normal(*x.shape[:2], *sizes, seed=1), x, kernel_size, stride


@compared(
    cases={
        "windows side by side": _max_case(normal(2, 3, 4, 6), 2, 2),
        "rows and columns left over": _max_case(normal(1, 2, 7, 5), 2, 2),
        "overlapping windows": _max_case(normal(2, 3, 7, 6), 3, 2),
        "windows that overlap a lot": _max_case(normal(2, 2, 6, 6), 3, 1),
        "gaps between the windows": _max_case(normal(1, 2, 7, 9), 2, 3),
        "negative pixels only": _max_case(-normal(2, 2, 6, 6).abs() - 1, 3, 2),
        "equal pixels, of which the first one wins": (
            _max_case(torch.zeros(1, 2, 4, 4).double(), 2, 2)
        ),
    },
    case="{case} (kernel_size {kernel_size}, stride {stride})",
    so_far=True,
    mistakes={
        f"For {{case}}, {words}": _on_maps(wrong) for words, wrong in WRONG_WAYS_BACK.items()
    },
    right="Every winner gets the gradients of all the windows that it won.",
)
def max_pool2d_backward(dy: Tensor, x: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Check ``function(dy, x, kernel_size, stride)``: the way back of max pooling."""
    return _to_winners(dy, x, kernel_size, stride)


@exercise
def operation(function: Callable[[], Any]) -> str:
    """Check ``function()``, which returns an operation as ``forward, backward, x``.

    ``forward(x)`` and ``backward(dy, x)`` are the learner's; the slopes are measured by central
    differences along random directions, so nothing needs to be known of the operation. They are
    measured at other places than the learner's ``x``, too, where the operation takes them.
    """
    answer = run(function)
    try:
        forward, backward, x = answer
        x = x.detach().clone()
    except (TypeError, ValueError, AttributeError):
        raise NotSolvedError(
            "Return three things: forward, backward, and a tensor x to try them on."
        ) from None
    if x.dtype != torch.float64:
        raise NotSolvedError(
            f"x is {x.dtype}; slopes are measured in float64, so return x.double()."
        )
    finite(x, "x")
    y = _output(forward, x)
    if not same(y, _output(forward, x)):
        raise NotSolvedError(
            "forward(x) is another the second time: what is random has no slope to measure."
        )
    measured = _measured(forward, x)
    if measured.abs().max() < 1e-12:
        raise NotSolvedError(
            "The output does not change with x at all: invent something that uses it."
        )
    _agree(measured, _claimed(backward, x, y), 1e-6)
    for place, other in {
        "-x": -x, "2 x": 2 * x, "x / 2": x / 2, "x plus noise": x + 0.1 * normal(*x.shape, seed=9),
    }.items():  # fmt: skip
        try:
            y, measured = _output(forward, other), _measured(forward, other)
        except NotSolvedError:
            continue  # the operation is not made for this place
        with saying(f"Right at your x, but not at {place}. "):
            # Anything may happen here, a slope that is all rounding as well.
            _agree(measured, _claimed(backward, other, y), 1e-3, 1e-8 * (1 + y.abs().max().item()))
    return f"Measured and claimed slopes agree (relative error below {1e-6:.0e})."


def _output(forward: Callable[[Tensor], Any], x: Tensor) -> Tensor:
    with saying("In forward: "):
        y = run(forward, x.clone())
    if not isinstance(y, Tensor) or not torch.isfinite(y).all():
        raise NotSolvedError("forward(x) should return a tensor of finite numbers.")
    if y.dtype != torch.float64:
        raise NotSolvedError(
            f"forward(x) returns {y.dtype}: slopes are measured in float64, so keep the type of x."
        )
    return y.detach().clone()


_DIRECTIONS = range(2, 8)  # seeds


def _measured(forward: Callable[[Tensor], Any], x: Tensor) -> Tensor:
    """The slopes of dy · forward(x) along six random directions, by central differences.

    Raises:
        NotSolvedError: if x lies on a kink, or at the edge of what forward takes.
    """
    y, h, slopes = _output(forward, x), 1e-5, []
    dy = normal(*y.shape, seed=1)
    for seed in _DIRECTIONS:
        d = normal(*x.shape, seed=seed)
        with saying("x lies at the edge of what forward takes. A little beside it: "):
            before, after = (_output(forward, x + step * d) for step in (-h, h))
            near = [_output(forward, x + step * d) for step in (-h / 10, h / 10)]
        slope = (after - before) / (2 * h)
        # By how much the slope before x differs from the one after it, far and near. On a smooth
        # curve the difference shrinks with the step, at a kink it stays.
        far_bend = (after - 2 * y + before).abs().max() / h
        near_bend = (near[1] - 2 * y + near[0]).abs().max() / (h / 10)
        if near_bend > far_bend / 2 and near_bend > 1e-3 * slope.abs().max():
            raise NotSolvedError(
                "x lies on a kink: just before it the slope is another than just after it, so "
                "nothing can be measured there. Your gradient may be right; choose another x."
            )
        slopes.append((dy * slope).sum())
    return torch.stack(slopes)


def _claimed(backward: Callable[[Tensor, Tensor], Any], x: Tensor, y: Tensor) -> Tensor:
    """What the learner's gradient says of the same slopes."""
    with saying("In backward: "):
        dx = run(backward, normal(*y.shape, seed=1), x.clone())
    if not isinstance(dx, Tensor) or dx.shape != x.shape:
        shape = tuple(dx.shape) if isinstance(dx, Tensor) else type(dx).__name__
        raise NotSolvedError(
            f"backward returned {shape}; a gradient has the shape of x, here {tuple(x.shape)}."
        )
    dx = finite(dx.detach().double(), "What backward returned")
    return torch.stack([(dx * normal(*x.shape, seed=seed)).sum() for seed in _DIRECTIONS])


def _agree(slopes: Tensor, answers: Tensor, tolerance: float, rounding: float = 0) -> None:
    """Raise how the measured slopes and the learner's differ, if they do."""
    difference, size = (slopes - answers).norm(), max(slopes.norm(), answers.norm())
    if difference <= tolerance * size + rounding:
        return
    ratio = (slopes @ answers / (slopes @ slopes)).item()
    if (answers - ratio * slopes).norm() < 1e-6 * answers.norm():
        raise NotSolvedError(
            f"All slopes are {ratio:.4g} times what is measured: a factor is wrong."
        )
    raise NotSolvedError(
        f"Along a random direction the slope is {slopes[0]:.4g}, your gradient says "
        f"{answers[0]:.4g} (relative error {difference / size:.1e}). Which outputs did each "
        "number touch?"
    )
