"""Checks of chapter 9, backpropagation."""

from __future__ import annotations

from collections.abc import Callable
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

__all__ = [
    "avg_pool2d_backward",
    "bias_gradient",
    "counterexample",
    "leaky_relu_backward",
    "max_pool2d_backward",
    "operation",
    "weight_gradient",
]


@compared(
    cases={
        "one image and one map": (normal(1, 1, 3, 4),),
        "one image and several maps": (normal(1, 5, 3, 4),),
        "several images": (normal(2, 5, 3, 4),),
    },
    case="{case}, dy of shape {dy}",
    so_far=True,
    mistakes={
        "You take the mean. Each place adds its share; what is divided was divided already, in "
        "the loss.": lambda dy: dy.mean((0, 2, 3)),
        "You divide by the number of images: that was done already, in the loss.": (
            lambda dy: dy.sum((0, 2, 3)) / len(dy)
        ),
        "You add up the places, but there is still one row per image: the same bias is used for "
        "all images.": lambda dy: dy.sum((2, 3)),
        "You add up the images, but there is still a number for every place: the same bias is "
        "used at all places.": lambda dy: dy.sum(0),
        "Everything is added into one number: each map has a bias of its own.": torch.sum,
        "The maps are added up: each map has a bias of its own.": (lambda dy: dy.sum((1, 2, 3))),
    },
    right="The bias of a map is used at every place of every image, and you add them all.",
)
def bias_gradient(dy: Tensor) -> Tensor:
    """Check ``function(dy)``: the gradient of a convolution's bias, from (N, C, H, W) to (C)."""
    return dy.sum((0, 2, 3))


@compared(
    cases={
        f"slope {slope} and x of shape {shape}": (normal(*shape, seed=1), normal(*shape), slope)
        for shape, slope in (((6,), 0.1), ((3, 4), 0.01), ((2, 3, 4, 5), 0.2))
    },
    mistakes={
        "This is the way back of ReLU without a leak: where x is negative, `slope` times the "
        "gradient passes.": lambda dy, x, slope: dy * (x > 0),
        "This is the slope at every place; multiply it by the upstream gradient dy.": (
            lambda dy, x, slope: torch.where(x > 0, 1, x.new_tensor(slope))
        ),
        "You applied the leaky ReLU to dy. What decides is the sign of x, the input on the way "
        "forward.": lambda dy, x, slope: F.leaky_relu(dy, slope),
        "The two cases are exchanged: `slope` belongs to negative x.": (
            lambda dy, x, slope: torch.where(x > 0, slope * dy, dy)
        ),
        "You multiply by the output of the leaky ReLU; its *derivative* is 1 or slope.": (
            lambda dy, x, slope: dy * F.leaky_relu(x, slope)
        ),
        "Where x is negative, dy is replaced by slope; it should be multiplied by it.": (
            lambda dy, x, slope: torch.where(x > 0, dy, x.new_tensor(slope))
        ),
    },
    right="All of the gradient passes where x was positive, and the leak elsewhere.",
)
def leaky_relu_backward(dy: Tensor, x: Tensor, slope: float) -> Tensor:
    """Check ``function(dy, x, slope)``: the gradient of a leaky ReLU's input; any shape."""
    return torch.where(x > 0, dy, slope * dy)


def _max_pool2d_gradient(dy: Tensor, x: Tensor, kernel_size: int, stride: int) -> Tensor:
    """The gradient of the input of max pooling, by autograd."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(F.max_pool2d(x, kernel_size, stride), x, dy)[0]


def _spread(
    dy: Tensor, x_shape: tuple[int, ...], kernel_size: int, stride: int, *, add: bool = True
) -> Tensor:
    """Average pooling's way back; without ``add``, a later window overwrites an earlier one."""
    dx = dy.new_zeros(x_shape)
    for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
        window = dx[:, :, i * stride :, j * stride :][:, :, :kernel_size, :kernel_size]
        share = dy[:, :, i : i + 1, j : j + 1] / kernel_size**2
        window.copy_(window + share if add else share.expand_as(window))
    return dx


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
            lambda dy, x_shape, k, s: _spread(dy, x_shape, k, s) * k**2
        ),
        "You divide by kernel_size: a window has kernel_size² pixels.": (
            lambda dy, x_shape, k, s: _spread(dy, x_shape, k, s) * k
        ),
        "Where windows overlap, the last one overwrites the others: ways add up, so write += "
        "instead of =.": lambda *given: _spread(*given, add=False),
        "This is the way back of max pooling of zeros: here every pixel of the window gets its "
        "share, not just the first.": (
            lambda dy, x_shape, k, s: _max_pool2d_gradient(dy, dy.new_zeros(x_shape), k, s)
        ),
    },
    right="Every pixel gets its share of every window that it was in.",
)
def avg_pool2d_backward(
    dy: Tensor, x_shape: tuple[int, ...], kernel_size: int, stride: int
) -> Tensor:
    """Check ``function(dy, x_shape, kernel_size, stride)``: the way back of average pooling."""
    return _spread(dy, x_shape, kernel_size, stride)


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
        "You take the mean over images and places; their shares add up.": (
            lambda dy, *rest: _weight_gradient(dy, *rest) / (dy.numel() / dy.shape[1])
        ),
        "Input and output channels are exchanged: the result is (C_out, C_in, K_h, K_w).": (
            lambda *given: _weight_gradient(*given).transpose(0, 1)
        ),
        "Only the first image counts: all images of the batch used these weights.": (
            lambda dy, x, *rest: _weight_gradient(dy[:1], x[:1], *rest)
        ),
    },
    right="For every stride, each weight collects what all its pixels owe it.",
)
def weight_gradient(dy: Tensor, x: Tensor, kernel_size: tuple[int, int], stride: int) -> Tensor:
    """Check ``function(dy, x, kernel_size, stride)``: the gradient of a convolution's weights."""
    return _weight_gradient(dy, x, kernel_size, stride)


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
    if not same(got, _max_pool2d_gradient(dy, x, kernel_size, stride)):
        return "Here a gradient comes out wrong: you have caught the bug."
    if stride >= kernel_size:
        raise NotSolvedError(
            "Here the function is right. Your windows do not overlap, so no pixel can win twice."
        )
    if y.shape[2:].numel() == 1:
        raise NotSolvedError(
            "Here the function is right: there is only one window, so no pixel can win twice. Make "
            "the picture larger."
        )
    raise NotSolvedError(
        "Here the function is right: your windows overlap, but no pixel wins two of them. Make "
        "one pixel larger than everything around it."
    )


def _assigned(dy: Tensor, x: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Max pooling's way back with the bug of the exercise: a later window overwrites."""
    dx = torch.zeros_like(x)
    for n, c, i, j in product(*map(range, dy.shape)):
        window = x[n, c, i * stride :, j * stride :][:kernel_size, :kernel_size]
        u, v = divmod(int(window.argmax()), kernel_size)
        dx[n, c, i * stride + u, j * stride + v] = dy[n, c, i, j]
    return dx


def _to_all_equal(dy: Tensor, x: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Max pooling's way back where every pixel as large as the maximum is paid."""
    dx = torch.zeros_like(x)
    for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
        rows = slice(i * stride, i * stride + kernel_size)
        columns = slice(j * stride, j * stride + kernel_size)
        window = x[:, :, rows, columns]
        won = window == window.amax((2, 3), keepdim=True)
        dx[:, :, rows, columns] += won * dy[:, :, i : i + 1, j : j + 1]
    return dx


def _to_last(dy: Tensor, x: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Max pooling's way back where of several maxima of a window the last one is paid."""
    dx = torch.zeros_like(x)
    for n, c, i, j in product(*map(range, dy.shape)):
        window = x[n, c, i * stride :, j * stride :][:kernel_size, :kernel_size]
        u, v = (window == window.max()).nonzero()[-1].tolist()
        dx[n, c, i * stride + u, j * stride + v] += dy[n, c, i, j]
    return dx


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
        "A pixel that wins several windows is paid by the last one only: its ways to the loss add "
        "up.": _assigned,
        "Several pixels of a window are equally large, and you pay them all; the output is one of "
        "them, and PyTorch takes the first.": _to_all_equal,
        "Several pixels of a window are equally large, and you pay the last of them; PyTorch takes "
        "the first.": _to_last,
        "This is the way back of average pooling: in max pooling the winner takes all.": (
            lambda dy, x, *rest: _spread(dy, tuple(x.shape), *rest)
        ),
    },
    right="Every winner gets the gradients of all the windows that it won.",
)
def max_pool2d_backward(dy: Tensor, x: Tensor, kernel_size: int, stride: int) -> Tensor:
    """Check ``function(dy, x, kernel_size, stride)``: the way back of max pooling."""
    return _max_pool2d_gradient(dy, x, kernel_size, stride)


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
            f"backward returned {shape}; a gradient has the shape of what it belongs to, "
            f"here {tuple(x.shape)}."
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
