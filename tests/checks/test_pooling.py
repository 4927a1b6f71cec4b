"""The checks of the chapter on pooling: answers in other styles, and further mistakes."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import pooling as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_right, judged, of_the_chapter

chapter = definitions("pooling")
NAMES = {name: name for name in check.__all__ if name != "fixed_max_pool"}
test_the_chapter = of_the_chapter(check, chapter, NAMES)
LOWEST = torch.finfo(torch.float64).min


def pooled(image, start=-math.inf, size=lambda n: n // 2):
    """Max-pooling in loops, into a tensor of the default type."""
    y = torch.zeros(size(image.shape[0]), size(image.shape[1]))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = max(start, image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max().item())
    return y


def searched(start, padding):
    def pool(x, k, s, p):
        x = F.pad(x, (p, p, p, p), value=padding)
        return x.unfold(2, k, s).unfold(3, k, s).amax((4, 5)).clamp(min=start)

    return pool


def backward(x, upstream, k, s, columns=None, width=None):
    """The gradient in loops, as if the picture had other columns."""
    grad = torch.zeros_like(x)
    for i in range(upstream.shape[0]):
        for j in range(columns or upstream.shape[1]):
            u, v = divmod(x[i * s : i * s + k, j * s : j * s + k].argmax().item(), k)
            grad.view(-1)[(i * s + u) * (width or x.shape[1]) + j * s + v] += upstream[i, j]
    return grad


def by_library(x, upstream, k, s):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.max_pool2d(x[None, None], k, s)[0, 0], x, upstream)[0]


def blur(x, stride, weights=(1, 2, 1)):
    line = torch.tensor(weights, dtype=x.dtype)
    kernel = (torch.outer(line, line) / line.sum() ** 2).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, kernel, stride=stride, groups=x.shape[1])


def test_the_way_back_is_pytorchs():
    for table_case in (((6, 7), 2, 2), ((7, 5), 3, 1), ((9, 8), 2, 3)):
        size, k, s = table_case
        x = torch.rand(size, dtype=torch.float64)
        upstream = torch.rand(*((n - k) // s + 1 for n in size), dtype=torch.float64)
        routed = check.routed(x, upstream, k, s, check.winner)
        assert torch.equal(routed, by_library(x, upstream, k, s))
    assert_right(check.max_pool_backward(backward))


RIGHT = {
    "max_pool": [pooled],
    "average_kernel": [
        lambda c, k: torch.ones(c, 1, k, k) / k**2,
        lambda c, k: torch.ones(c, 1, k, k).double() / k**2,
    ],
    "fixed_max_pool": [chapter["solution_fixed_max_pool"], searched(LOWEST, LOWEST)],
    "max_pool_backward": [backward],
    "blur_pool": [lambda x: F.avg_pool2d(F.avg_pool2d(F.max_pool2d(x, 2, 1), 2, 1), 2, 2, 0)],
}
WRONG = {
    "max_pool": [
        (lambda image: pooled(image, start=0), "must not start at 0"),
        (lambda image: pooled(image, size=lambda n: -(-n // 2)), "incomplete window is dropped"),
        (lambda image: image[::2, ::2], "corner"),
        (lambda image: image.reshape(len(image) // 2, 2, -1, 2).amax((1, 3)), "raised"),
        (lambda image: image.max(), "has shape"),
        (lambda image: nn.MaxPool2d(2)(image[None])[0], "calls F.max_pool2d"),
        (lambda image: torch.ones_like(pooled(image)), "numbers are not"),
    ],
    "average_kernel": [
        (lambda c, k: torch.ones(1, c, k, k) / k**2, "has shape"),
        (lambda c, k: np.full((c, 1, k, k), 1 / k**2), "asks for a tensor"),
    ],
    "fixed_max_pool": [
        (chapter["buggy_max_pool"], "Right for positive numbers; for negative numbers, a window of "
         "2, stride 2, padding 0 every maximum came out as 0."),
        (searched(0, 0), "came out as 0"),
        (searched(0, -math.inf), "came out as 0"),
        (searched(-math.inf, 0), "padding wins"),
        (searched(-math.inf, -1e9), "padding wins"),
        (searched(-math.inf, -1e15), "padding wins"),
        (searched(-math.inf, -10), "padding wins"),
        (searched(-1, -1), "For negative numbers, a window of 2, stride 2, padding 0 every"),
        (searched(-1e15, -1e15), "came out as a number that is not in the image"),
        (searched(torch.finfo(torch.float32).min, -math.inf), "is above them all"),
        (searched(-1234.5, -math.inf), "the numbers are not"),
        (lambda x, k, s, p: searched(0, 0)(x, k, s, 0), "has shape"),
        (F.max_pool2d, "calls F.max_pool2d"),
    ],
    "max_pool_backward": [
        (lambda x, up, k, s: backward(x, up, k, s, columns=up.shape[0]), "a 4×7 image"),
        (lambda x, up, k, s: backward(x, up, k, s, width=x.shape[0]), "a 4×7 image"),
        (lambda x, up, k, s: backward(x, up, k, k), "raised"),
        (lambda x, up, k, s: up, "has shape"),
        (by_library, "calls F.max_pool2d"),
    ],
    "blur_pool": [
        (lambda x: blur(F.max_pool2d(x, 2), 1), "harm is done"),
        (lambda x: F.max_pool2d(blur(x, 1), 2), "maximum comes first"),
        (lambda x: blur(F.max_pool2d(x, 2, 1), 2, (1, 3, 1)), "numbers are not"),
        (lambda x: F.max_pool2d(x, 2, 1), "has shape"),
    ],
}  # fmt: skip
test_verdicts = judged(check, RIGHT, WRONG)
