"""Checks for the exercises on backpropagation (chapter 9)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks import Verdict, compare, right, run, wrong

__all__ = [
    "avg_pool2d_backward",
    "bias_gradient",
    "counterexample",
    "leaky_relu_backward",
    "max_pool2d_backward",
    "operation",
    "weight_gradient",
]


def _random(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers that are the same in every run, and leave the global generator alone."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _after(done: str, verdict: Verdict) -> Verdict:
    """Say first what is right already, if anything is."""
    return wrong(f"Right for {done}. {verdict.message}") if done else verdict


def _max_pool2d_gradient(dy: Tensor, x: Tensor, kernel_size: int, stride: int) -> Tensor:
    """The gradient of the input of max pooling, by autograd."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(F.max_pool2d(x, kernel_size, stride), x, dy)[0]


def bias_gradient(function: Callable[[Tensor], Any]) -> Verdict:
    """Check ``function(dy)``: the gradient of a convolution's bias, from (N, C, H, W) to (C)."""
    done = ""
    for case, shape in {
        "one image and one map": (1, 1, 3, 4),
        "one image and several maps": (1, 5, 3, 4),
        "several images": (2, 5, 3, 4),
    }.items():
        dy = _random(*shape)
        verdict = compare(
            run(function, dy.clone()),
            dy.sum((0, 2, 3)),
            f"{case}, dy of shape {shape}",
            hints=[
                (
                    "You take the mean. Each place adds its share; what is divided was divided "
                    "already, in the loss.",
                    dy.mean((0, 2, 3)),
                ),
                (
                    "You divide by the number of images: that was done already, in the loss.",
                    dy.sum((0, 2, 3)) / len(dy),
                ),
                (
                    "You add up the places, but there is still one row per image: the same bias "
                    "is used for all images.",
                    dy.sum((2, 3)),
                ),
                (
                    "You add up the images, but there is still a number for every place: the same "
                    "bias is used at all places.",
                    dy.sum(0),
                ),
                (
                    "Everything is added into one number: each map has a bias of its own.",
                    dy.sum(),
                ),
                (
                    "The maps are added up and the images are not: each map has a bias of its own.",
                    dy.sum((1, 2, 3)),
                ),
            ],
        )
        if verdict is not None:
            return _after(done, verdict)
        done = case
    return right("The bias of a map is used at every place of every image, and you add them all.")


def leaky_relu_backward(function: Callable[[Tensor, Tensor, float], Any]) -> Verdict:
    """Check ``function(dy, x, slope)``: the gradient of a leaky ReLU's input; any shape."""
    for shape, slope in (((6,), 0.1), ((3, 4), 0.01), ((2, 3, 4, 5), 0.2)):
        x, dy = _random(*shape), _random(*shape, seed=1)
        positive = x > 0
        verdict = compare(
            run(function, dy.clone(), x.clone(), slope),
            torch.where(positive, dy, slope * dy),
            f"slope {slope} and x of shape {shape}",
            hints=[
                (
                    "This is the way back of ReLU without a leak: where x is negative, `slope` "
                    "times the gradient passes.",
                    dy * positive,
                ),
                (
                    "This is the slope at every place; multiply it by the upstream gradient dy.",
                    torch.where(positive, 1.0, slope).double(),
                ),
                (
                    "You applied the leaky ReLU to dy. What decides is the sign of x, the input on "
                    "the way forward.",
                    F.leaky_relu(dy, slope),
                ),
                (
                    "The two cases are exchanged: `slope` belongs to negative x.",
                    torch.where(positive, slope * dy, dy),
                ),
                (
                    "You multiply by the output of the leaky ReLU; its *derivative* is 1 or slope.",
                    dy * F.leaky_relu(x, slope),
                ),
                (
                    "Where x is negative, dy is replaced by slope; it should be multiplied by it.",
                    torch.where(positive, dy, slope),
                ),
            ],
        )
        if verdict is not None:
            return verdict
    return right("All of the gradient passes where x was positive, and the leak elsewhere.")


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


def avg_pool2d_backward(
    function: Callable[[Tensor, tuple[int, ...], int, int], Any],
) -> Verdict:
    """Check ``function(dy, x_shape, kernel_size, stride)``: the way back of average pooling."""
    done = ""
    for case, shape, kernel_size, stride in (
        ("windows side by side", (1, 1, 4, 6), 2, 2),
        ("several images and channels", (2, 3, 6, 4), 2, 2),
        ("rows and columns left over", (2, 3, 7, 8), 3, 3),
        ("overlapping windows", (2, 3, 7, 5), 3, 2),
        ("gaps between the windows", (1, 2, 7, 8), 2, 3),
    ):
        x = _random(*shape)
        y = F.avg_pool2d(x, kernel_size, stride)
        dy = _random(*y.shape, seed=1)
        expected = _spread(dy, shape, kernel_size, stride)
        squares = kernel_size**2
        verdict = compare(
            run(function, dy.clone(), shape, kernel_size, stride),
            expected,
            f"{case} (x of shape {shape}, kernel_size {kernel_size}, stride {stride})",
            hints=[
                (
                    "Every pixel gets the whole gradient of its window: a pixel touched the mean "
                    "with strength 1 / kernel_size², so that is its share.",
                    expected * squares,
                ),
                (
                    "You divide by kernel_size: a window has kernel_size² pixels.",
                    expected * kernel_size,
                ),
                (
                    "Where windows overlap, the last one overwrites the others: ways add up, so "
                    "write += instead of =.",
                    _spread(dy, shape, kernel_size, stride, add=False),
                ),
                (
                    "This is the way back of max pooling of zeros: here every pixel of the window "
                    "gets its share, not just the first.",
                    _max_pool2d_gradient(dy, torch.zeros_like(x), kernel_size, stride),
                ),
            ],
        )
        if verdict is not None:
            return _after(done, verdict)
        done = case
    return right("Every pixel gets its share of every window that it was in.")


def _weight_gradient(dy: Tensor, x: Tensor, kernel_size: tuple[int, int], stride: int) -> Tensor:
    """A convolution's gradient of the weights without padding."""
    _, _, H_out, W_out = dy.shape
    dw = dy.new_zeros(dy.shape[1], x.shape[1], *kernel_size)
    for u, v in product(*map(range, kernel_size)):
        under = x[:, :, u : u + (H_out - 1) * stride + 1 : stride]
        under = under[..., v : v + (W_out - 1) * stride + 1 : stride]
        dw[:, :, u, v] = torch.einsum("noij,ncij->oc", dy, under)
    return dw


def weight_gradient(
    function: Callable[[Tensor, Tensor, tuple[int, int], int], Any],
) -> Verdict:
    """Check ``function(dy, x, kernel_size, stride)``: the gradient of a convolution's weights."""
    done = ""
    for case, x_shape, C_out, kernel_size, stride in (
        ("one channel, one map, stride 1", (1, 1, 5, 5), 1, (3, 3), 1),
        ("several channels and maps", (1, 3, 5, 6), 2, (3, 3), 1),
        ("several images", (4, 3, 5, 6), 2, (3, 3), 1),
        ("a kernel that is not square", (2, 2, 6, 7), 3, (3, 2), 1),
        ("stride 2", (2, 2, 7, 7), 3, (3, 3), 2),
        ("stride 2 with a column left over", (2, 3, 7, 8), 2, (3, 3), 2),
        ("stride 3 with rows left over", (2, 2, 9, 8), 3, (2, 3), 3),
    ):
        x = _random(*x_shape)
        H_out, W_out = (
            (n - k) // stride + 1 for n, k in zip(x_shape[2:], kernel_size, strict=True)
        )
        dy = _random(x_shape[0], C_out, H_out, W_out, seed=1)
        expected = _weight_gradient(dy, x, kernel_size, stride)
        verdict = compare(
            run(function, dy.clone(), x.clone(), kernel_size, stride),
            expected,
            f"{case} (x of shape {x_shape}, kernel {kernel_size}, stride {stride})",
            hints=[
                (
                    "The kernel is turned by half a turn: for the weights there is no flip, "
                    "weight (u, v) met the pixel at (i * stride + u, j * stride + v).",
                    expected.flip(2, 3),
                ),
                (
                    "The stride is not used: neighbouring windows stand `stride` pixels apart.",
                    _weight_gradient(dy, x, kernel_size, 1),
                ),
                (
                    "You divide by the number of images: that was done already, in the loss.",
                    expected / len(x),
                ),
                (
                    "You take the mean over images and places; their shares add up.",
                    expected / (dy.numel() / C_out),
                ),
                (
                    "Input and output channels are exchanged: the result is "
                    "(C_out, C_in, K_h, K_w).",
                    expected.transpose(0, 1),
                ),
                (
                    "Only the first image counts: all images of the batch used these weights.",
                    _weight_gradient(dy[:1], x[:1], kernel_size, stride),
                ),
            ],
        )
        if verdict is not None:
            return _after(done, verdict)
        done = case
    return right("For every stride, each weight collects what all its pixels owe it.")


def counterexample(
    function: Callable[[], Any], buggy: Callable[[Tensor, Tensor, int, int], Any]
) -> Verdict:
    """Check ``function()``, which returns x, kernel_size and stride for which ``buggy`` is wrong.

    Args:
        function: the learner's; x is (N, C, H, W), the gradient of the output is chosen here.
        buggy: the way back of max pooling that is to be caught, called with dy, x, kernel_size
            and stride.
    """
    answer = run(function)
    if isinstance(answer, Verdict):
        return answer
    try:
        x, kernel_size, stride = answer
        x = torch.as_tensor(x).detach().double()
        kernel_size, stride = int(kernel_size), int(stride)
        y = F.max_pool2d(x, kernel_size, stride)
    except Exception as error:
        return wrong(
            "Return three things, x of shape (N, C, H, W), kernel_size and stride, that "
            f"F.max_pool2d takes; it says: {error}."
        )
    if x.ndim != 4:
        return wrong(f"x has shape {tuple(x.shape)}, expected four axes, (N, C, H, W).")
    dy = _random(*y.shape)
    got = run(buggy, dy.clone(), x.clone(), kernel_size, stride)
    if isinstance(got, Verdict):
        return wrong(f"The function should give a wrong answer, not stop. {got.message}")
    if not torch.allclose(got, _max_pool2d_gradient(dy, x, kernel_size, stride), atol=1e-9):
        return right("Here a gradient comes out wrong: you have caught the bug.")
    if stride >= kernel_size:
        return wrong(
            "Here the function is right. Your windows do not overlap, so no pixel can win twice."
        )
    if y.shape[2:].numel() == 1:
        return wrong(
            "Here the function is right: there is only one window, so no pixel can win twice. Make "
            "the picture larger."
        )
    return wrong(
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


def max_pool2d_backward(function: Callable[[Tensor, Tensor, int, int], Any]) -> Verdict:
    """Check ``function(dy, x, kernel_size, stride)``: the way back of max pooling."""
    done = ""
    for case, x, kernel_size, stride in (
        ("windows side by side", _random(2, 3, 4, 6), 2, 2),
        ("rows and columns left over", _random(1, 2, 7, 5), 2, 2),
        ("overlapping windows", _random(2, 3, 7, 6), 3, 2),
        ("windows that overlap a lot", _random(2, 2, 6, 6), 3, 1),
        ("negative pixels only", -_random(2, 2, 6, 6).abs() - 1, 3, 2),
        ("equal pixels, of which the first one wins", torch.zeros(1, 2, 4, 4).double(), 2, 2),
    ):
        y = F.max_pool2d(x, kernel_size, stride)
        dy = _random(*y.shape, seed=1)
        verdict = compare(
            run(function, dy.clone(), x.clone(), kernel_size, stride),
            _max_pool2d_gradient(dy, x, kernel_size, stride),
            f"{case} (kernel_size {kernel_size}, stride {stride})",
            hints=[
                (
                    "A pixel that wins several windows is paid by the last one only: its ways to "
                    "the loss add up.",
                    _assigned(dy, x, kernel_size, stride),
                ),
                (
                    "Several pixels of a window are equally large, and you pay them all; the "
                    "output is one of them, and PyTorch takes the first.",
                    _to_all_equal(dy, x, kernel_size, stride),
                ),
                (
                    "This is the way back of average pooling: in max pooling the winner takes all.",
                    _spread(dy, tuple(x.shape), kernel_size, stride),
                ),
            ],
        )
        if verdict is not None:
            return _after(done, verdict)
        done = case
    return right("Every winner gets the gradients of all the windows that it won.")


def operation(function: Callable[[], Any]) -> Verdict:
    """Check ``function()``, which returns an operation as ``forward, backward, x``.

    ``forward(x)`` and ``backward(dy, x)`` are the learner's; the slopes are measured by central
    differences along random directions, so nothing needs to be known of the operation.
    """
    answer = run(function)
    if isinstance(answer, Verdict):
        return answer
    try:
        forward, backward, x = answer
        x = x.detach().clone()
    except (TypeError, ValueError, AttributeError):
        return wrong("Return three things: forward, backward, and a tensor x to try them on.")
    if x.dtype != torch.float64:
        return wrong(f"x is {x.dtype}; slopes are measured in float64, so return x.double().")
    y = run(forward, x.clone())
    if isinstance(y, Verdict):
        return wrong(f"In forward: {y.message}")
    if not isinstance(y, Tensor) or not torch.isfinite(y).all():
        return wrong("forward(x) should return a tensor of finite numbers.")
    dy = _random(*y.shape, seed=1)
    dx = run(backward, dy.clone(), x.clone())
    if isinstance(dx, Verdict):
        return wrong(f"In backward: {dx.message}")
    if not isinstance(dx, Tensor) or dx.shape != x.shape:
        shape = tuple(dx.shape) if isinstance(dx, Tensor) else type(dx).__name__
        return wrong(
            f"backward returned {shape}; a gradient has the shape of what it belongs to, "
            f"here {tuple(x.shape)}."
        )

    h, measured, claimed = 1e-5, [], []
    for seed in range(2, 8):
        d = _random(*x.shape, seed=seed)
        change = (forward(x + h * d).detach() - forward(x - h * d).detach()) / (2 * h)
        measured.append((dy * change).sum().item())
        claimed.append((dx * d).sum().item())
    slopes, answers = torch.tensor([measured, claimed], dtype=torch.float64)
    if slopes.abs().max() < 1e-12:
        return wrong("The output does not change with x at all: invent something that uses it.")
    error = ((slopes - answers).norm() / slopes.norm()).item()
    if error < 1e-6:
        return right(f"Measured and claimed slopes agree (relative error below {1e-6:.0e}).")
    ratio = (slopes @ answers / (slopes @ slopes)).item()
    if (answers - ratio * slopes).norm() < 1e-6 * answers.norm():
        return wrong(f"All slopes are {ratio:.4g} times what is measured: a factor is wrong.")
    return wrong(
        f"Along a random direction the slope is {measured[0]:.4g}, your gradient says "
        f"{claimed[0]:.4g} (relative error {error:.1e}). Which outputs did each number touch?"
    )
