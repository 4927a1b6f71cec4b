"""Each check of chapter 7 accepts the right answer and names each plausible mistake."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from mnist_course.checks import pooling as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_wrong

chapter = definitions("pooling")
STUBS = {"fixed_max_pool": "buggy_max_pool"}


@pytest.mark.parametrize(
    "name", ["max_pool", "average_kernel", "fixed_max_pool", "max_pool_backward", "blur_pool"]
)
def test_the_stub_is_not_yet_and_the_solution_right(name: str) -> None:
    assert not getattr(check, name)(chapter[STUBS.get(name, f"my_{name}")])
    verdict = getattr(check, name)(chapter[f"solution_{name}"])
    assert verdict, verdict.message


def on_image(pool: Callable) -> Callable:
    return lambda image: pool(image[None, None])[0, 0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (on_image(lambda x: F.max_pool2d(x, 2, stride=1)), "overlap"),
        (on_image(lambda x: F.max_pool2d(x, 2).clamp(min=0)), "must not start at 0"),
        (on_image(lambda x: F.avg_pool2d(x, 2)), "averages"),
        (on_image(lambda x: -F.max_pool2d(-x, 2)), "smallest"),
        (lambda image: image[::2, ::2], "corner"),
        (on_image(lambda x: F.max_pool2d(x, 2, ceil_mode=True)), "incomplete window is dropped"),
        (lambda image: image.reshape(len(image) // 2, 2, -1, 2).amax((1, 3)), "raised"),
        (lambda image: image.max(), "has shape"),
    ],
)
def test_max_pool_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.max_pool(answer), message)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda c, k: torch.ones(c, 1, k, k), "also divides"),
        (lambda c, k: torch.ones(c, 1, k, k) / k, "k × k numbers"),
        (lambda c, k: torch.ones(c, c, k, k) / k**2, "(channels, 1, k, k)"),
        (lambda c, k: torch.ones(c, 1, k, k) / (c * k**2), "not mixed"),
        (lambda c, k: torch.ones(1, c, k, k) / k**2, "has shape"),
    ],
)
def test_average_kernel_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.average_kernel(answer), message)


def searched(x: torch.Tensor, k: int, s: int, p: int, start: float, padding: float) -> torch.Tensor:
    y = F.max_pool2d(F.pad(x, (p, p, p, p), value=padding), k, s)
    return y.clamp(min=start)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *a: searched(*a, start=0, padding=0), "came out as 0"),
        (lambda *a: searched(*a, start=0, padding=-math.inf), "came out as 0"),
        (lambda *a: searched(*a, start=-math.inf, padding=0), "padding wins"),
        (lambda *a: searched(*a, start=-1, padding=-1), "For negative numbers"),
        (lambda x, k, s, p: F.max_pool2d(x.abs(), k, s, p), "absolute values"),
        (lambda x, k, s, p: F.avg_pool2d(x, k, s, p), "average"),
        (lambda x, k, s, p: F.max_pool2d(x, k, s), "has shape"),
    ],
)
def test_fixed_max_pool_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.fixed_max_pool(answer), message)


def backward(
    x: torch.Tensor,
    upstream: torch.Tensor,
    k: int,
    s: int,
    *,
    add: bool = True,
    ties: bool = False,
    shared: bool = False,
) -> torch.Tensor:
    grad = torch.zeros_like(x)
    for i in range(upstream.shape[0]):
        for j in range(upstream.shape[1]):
            window = x[i * s : i * s + k, j * s : j * s + k]
            place = grad[i * s : i * s + k, j * s : j * s + k]
            first = torch.zeros(k * k, dtype=torch.bool)
            first[(window == window.max()).flatten().nonzero()[0]] = True
            winners = (window == window.max()) if ties else first.reshape(k, k)
            share = upstream[i, j] / (winners.sum() if shared else 1)
            place[winners] = share + (place[winners] if add else 0)
    return grad


def to_all(x: torch.Tensor, upstream: torch.Tensor, k: int, s: int) -> torch.Tensor:
    x = x.clone().requires_grad_()
    y = k * k * F.avg_pool2d(x[None, None], k, s)[0, 0]
    return torch.autograd.grad(y, x, upstream)[0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *a: backward(*a, add=False), "add up"),
        (lambda *a: backward(*a, ties=True), "first maximum"),
        (lambda *a: backward(*a, ties=True, shared=True), "share the gradient among the equals"),
        (lambda x, up, k, s: to_all(x, up, k, s) / k**2, "winner takes all"),
        (to_all, "others get 0"),
        (lambda x, up, k, s: backward(x, torch.ones_like(up), k, s), "multiply by the upstream"),
        (lambda x, up, k, s: up, "has shape"),
    ],
)
def test_max_pool_backward_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.max_pool_backward(answer), message)


def blur(x: torch.Tensor, stride: int, weights: tuple[float, ...] = (1, 2, 1)) -> torch.Tensor:
    line = torch.tensor(weights, dtype=x.dtype)
    kernel = (torch.outer(line, line) / line.sum() ** 2).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, kernel, stride=stride, groups=x.shape[1])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: blur(F.max_pool2d(x, 2), 1), "harm is done"),
        (lambda x: blur(F.max_pool2d(x, 2, 1), 1), "steps of 1"),
        (lambda x: 16 * blur(F.max_pool2d(x, 2, 1), 2), "divide by 16"),
        (lambda x: blur(F.max_pool2d(x, 2, 1), 2, (1, 1, 1)), "equal weights"),
        (lambda x: F.max_pool2d(blur(x, 1), 2), "maximum comes first"),
        (lambda x: F.max_pool2d(x, 2, 1), "has shape"),
    ],
)
def test_blur_pool_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.blur_pool(answer), message)
