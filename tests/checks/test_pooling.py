"""Each check of chapter 7 accepts what is right and names mistakes beyond those of its table."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import pooling as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong

chapter = definitions("pooling")
NAMES = ["max_pool", "average_kernel", "fixed_max_pool", "max_pool_backward", "blur_pool"]


@pytest.mark.parametrize("name", NAMES)
def test_the_stub_is_not_yet_and_the_solution_right(name):
    if name == "fixed_max_pool":
        message = (
            "Right for positive numbers; for negative numbers, a window of 2, stride 2, padding 0 "
            "every maximum came out as 0."
        )
        assert_wrong(check.fixed_max_pool(chapter["buggy_max_pool"]), message)
    else:
        assert_not_begun(getattr(check, name)(chapter[f"my_{name}"]))
    assert_right(getattr(check, name)(chapter[f"solution_{name}"]))


def pooled(image, start=-math.inf, largest=max, size=lambda n: n // 2):
    """Max-pooling in loops, into a tensor of the default type."""
    y = torch.zeros(size(image.shape[0]), size(image.shape[1]))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            window = image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            y[i, j] = largest(start, window.max().item())
    return y


def test_max_pool_in_loops_is_right():
    assert_right(check.max_pool(pooled))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda image: pooled(image, start=0), "must not start at 0"),
        (lambda image: pooled(image, size=lambda n: -(-n // 2)), "incomplete window is dropped"),
        (lambda image: image[::2, ::2], "corner"),
        (lambda image: image.reshape(len(image) // 2, 2, -1, 2).amax((1, 3)), "raised"),
        (lambda image: image.max(), "has shape"),
        (lambda image: pooled(image).float(), "float64 became float32"),
        (lambda image: pooled(image).numpy(), "a NumPy array; the exercise asks for a tensor"),
        (lambda image: pooled(image.clamp_(min=0)), "changes `image` in place"),
        (lambda image: nn.MaxPool2d(2)(image[None])[0], "calls F.max_pool2d"),
        (lambda image: torch.ones(image.shape[0] // 2, image.shape[1] // 2), "numbers are not"),
    ],
)
def test_max_pool_names_the_mistake(answer, message):
    assert_wrong(check.max_pool(answer), message)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda c, k: torch.ones(1, c, k, k) / k**2, "has shape"),
        (lambda c, k: np.full((c, 1, k, k), 1 / k**2), "asks for a tensor"),
        (lambda c, k: torch.full((c, 1, k, k), 1 / k**2).tolist(), "asks for a tensor"),
        (lambda c, k: torch.full((c, 1, k, k), 1 / 4), "numbers are not"),
    ],
)
def test_average_kernel_names_the_mistake(answer, message):
    assert_wrong(check.average_kernel(answer), message)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_average_kernel_may_be_of_any_floating_type(dtype):
    assert_right(check.average_kernel(lambda c, k: torch.ones(c, 1, k, k, dtype=dtype) / k**2))


def searched(x, k, s, p, start, padding):
    x = F.pad(x, (p, p, p, p), value=padding)
    y = x.unfold(2, k, s).unfold(3, k, s).amax((4, 5))
    return y.clamp(min=start)


@pytest.mark.parametrize(
    ("start", "padding", "message"),
    [
        (0, 0, "came out as 0"),
        (0, -math.inf, "came out as 0"),
        (-math.inf, 0, "padding wins"),
        (-math.inf, -1e9, "padding wins"),
        (-math.inf, -1e15, "padding wins"),
        (-math.inf, -10, "padding wins"),
        (-1, -1, "For negative numbers, a window of 2, stride 2, padding 0 every maximum came"),
        (-1e15, -1e15, "came out as a number that is not in the image"),
        (torch.finfo(torch.float32).min, -math.inf, "is above them all"),
        (-1234.5, -math.inf, "the numbers are not"),
    ],
)
def test_fixed_max_pool_names_the_mistake(start, padding, message):
    answer = lambda x, k, s, p: searched(x, k, s, p, start, padding)  # noqa: E731
    assert_wrong(check.fixed_max_pool(answer), message)


def test_fixed_max_pool_may_start_from_the_lowest_number_and_not_call_the_library():
    low = torch.finfo(torch.float64).min
    assert_right(check.fixed_max_pool(lambda *given: searched(*given, start=low, padding=low)))
    assert_wrong(check.fixed_max_pool(F.max_pool2d), "calls F.max_pool2d")
    assert_wrong(check.fixed_max_pool(lambda x, k, s, p: searched(x, k, s, 0, 0, 0)), "has shape")


def backward(x, upstream, k, s, *, add=True, which="first", rows=None, columns=None, width=None):
    """The gradient in loops, with mistakes that people make."""
    grad = torch.zeros_like(x)
    for i in range(rows or upstream.shape[0]):
        for j in range(columns or upstream.shape[1]):
            window = x[i * s : i * s + k, j * s : j * s + k]
            winners = (window == window.max()).nonzero().tolist()
            chosen = {"first": winners[:1], "last": winners[-1:]}.get(which, winners)
            for u, v in chosen:
                share = upstream[i, j] / (len(chosen) if which == "shared" else 1)
                place = (i * s + u) * (width or x.shape[1]) + j * s + v
                grad.view(-1)[place] = share + (grad.view(-1)[place] if add else 0)
    return grad


def to_all(x, upstream, k, s):
    x = x.clone().requires_grad_()
    y = k * k * F.avg_pool2d(x[None, None], k, s)[0, 0]
    return torch.autograd.grad(y, x, upstream)[0]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *a: backward(*a, add=False), "add up"),
        (lambda *a: backward(*a, which="all"), "there is one winner only"),
        (lambda *a: backward(*a, which="shared"), "share the gradient among the equals"),
        (lambda *a: backward(*a, which="last"), "you take the last"),
        (lambda x, up, k, s: to_all(x, up, k, s) / k**2, "winner takes all"),
        (to_all, "others get 0"),
        (lambda x, up, k, s: backward(x, torch.ones_like(up), k, s), "multiply by the upstream"),
        (lambda x, up, k, s: backward(x, up, k, s, columns=up.shape[0]), "a 4×7 image"),
        (lambda x, up, k, s: backward(x, up, k, s, width=x.shape[0]), "a 4×7 image"),
        (lambda x, up, k, s: backward(x, up, k, k), ""),
        (lambda x, up, k, s: up, "has shape"),
    ],
)
def test_max_pool_backward_names_the_mistake(answer, message):
    assert_wrong(check.max_pool_backward(answer), message)


def test_max_pool_backward_is_right_in_loops_and_not_by_the_library():
    def by_library(x, upstream, k, s):
        x = x.clone().requires_grad_()
        return torch.autograd.grad(F.max_pool2d(x[None, None], k, s)[0, 0], x, upstream)[0]

    assert_right(check.max_pool_backward(backward))
    assert_wrong(check.max_pool_backward(by_library), "calls F.max_pool2d")


def blur(x, stride, weights=(1, 2, 1)):
    line = torch.tensor(weights, dtype=x.dtype)
    kernel = (torch.outer(line, line) / line.sum() ** 2).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, kernel, stride=stride, groups=x.shape[1])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: blur(F.max_pool2d(x, 2), 1), "harm is done"),
        (lambda x: blur(F.max_pool2d(x, 2, 1), 2, (1, 1, 1)), "equal weights"),
        (lambda x: F.max_pool2d(blur(x, 1), 2), "maximum comes first"),
        (lambda x: blur(F.max_pool2d(x, 2, 1), 2, (1, 3, 1)), "numbers are not"),
        (lambda x: F.max_pool2d(x, 2, 1), "has shape"),
    ],
)
def test_blur_pool_names_the_mistake(answer, message):
    assert_wrong(check.blur_pool(answer), message)


def test_blur_pool_is_right_as_two_averages():
    def averaged(x):
        return F.avg_pool2d(F.avg_pool2d(F.max_pool2d(x, 2, 1), 2, 1), 2, 2, 0)

    assert_right(check.blur_pool(averaged))
