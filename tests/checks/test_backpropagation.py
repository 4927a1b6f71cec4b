"""The checks of chapter 9 accept right answers and name each plausible mistake."""

import math
from itertools import product

import pytest
import torch
from torch.nn import functional as F

from mnist_course.checks import backpropagation as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_right, assert_wrong

chapter = definitions("backpropagation")

CHECKS = [
    "bias_gradient",
    "leaky_relu_backward",
    "avg_pool2d_backward",
    "weight_gradient",
    "max_pool2d_backward",
    "operation",
]


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_is_right_and_the_stub_is_told_to_begin(name):
    verdict = getattr(check, name)(chapter[f"solution_{name}"])
    assert verdict.ok, verdict.message
    verdict = getattr(check, name)(chapter[f"my_{name}"])
    assert not verdict.ok
    assert verdict.message.startswith("Nothing is written yet")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda dy: dy.mean((2, 3)).mean(0), "You take the mean"),
        (lambda dy: dy.flatten().sum()[None], "Right for one image and one map. The maps are"),
        (lambda dy: dy.sum((0, 2, 3)).tolist(), "a list; the exercise asks for a tensor"),
        (lambda dy: dy.sum((0, 2, 3)) + 1e-8, "largest difference is 1e-08"),
        (lambda dy: dy.sum((0, 2, 3)).float(), "float64 became float32"),
        (lambda dy: dy.sum((0, 2, 4)), "raised IndexError"),
        (lambda dy: None, "returned None"),
    ],
)
def test_bias_gradient(answer, message):
    assert_wrong(check.bias_gradient(answer), message)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda dy, x, s: (x > 0).double() + s * (x <= 0), "multiply it by the upstream"),
        (lambda dy, x, s: torch.where(x > 0, dy, dy.mul_(s)), "changes `dy` in place"),
        (lambda dy, x, s: torch.where(x > 0, dy, 0.1 * dy), "numbers are not"),
    ],
)
def test_leaky_relu_backward(answer, message):
    assert_wrong(check.leaky_relu_backward(answer), message)


@pytest.mark.parametrize(
    "answer",
    [
        lambda dy, x, s: dy * ((x > 0) + s * (x <= 0)),  # float32, if nothing else is said
        lambda dy, x, s: dy * torch.where(x > 0, 1, s),
        lambda dy, x, s: dy * torch.tensor([s, 1.0])[(x > 0).long()],
        lambda dy, x, s: dy.masked_fill(x <= 0, 0) + s * dy.masked_fill(x > 0, 0),
    ],
)
def test_leaky_relu_backward_in_other_ways(answer):
    assert_right(check.leaky_relu_backward(answer))


def averaged(dy, x_shape, k, s, share=None, add=True, corner=False):
    """The way back of average pooling, with the mistakes that people make."""
    dx = dy.new_zeros(x_shape)
    for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
        rows, columns = slice(i * s, i * s + k), slice(j * s, j * s + k)
        if corner:
            rows, columns = i * s, j * s
        part = dy[:, :, i, j] if corner else dy[:, :, i : i + 1, j : j + 1]
        part = part / (k**2 if share is None else share(k))
        dx[:, :, rows, columns] = dx[:, :, rows, columns] + part if add else part
    return dx


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *a: averaged(*a, share=lambda k: 1), "whole gradient"),
        (lambda *a: averaged(*a, share=lambda k: k), "divide by kernel_size"),
        (lambda *a: averaged(*a, add=False), "Right for rows and columns left over. Where windows"),
        (lambda *a: averaged(*a, share=lambda k: 1, corner=True), "max pooling of zeros"),
        (
            lambda dy, shape, k, s: dy.repeat_interleave(k, 2).repeat_interleave(k, 3) / k**2,
            "Right for several images and channels.",
        ),
    ],
)
def test_avg_pool2d_backward(answer, message):
    assert_wrong(check.avg_pool2d_backward(answer), message)


solution = chapter["solution_weight_gradient"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *a: solution(*a).flip(2, 3), "there is no flip"),
        (lambda dy, x, k, s: solution(dy, x, k, 1), "The stride is not used"),
        (lambda dy, x, k, s: solution(dy, x, k, s) / len(x), "Right for several channels and maps"),
        (lambda dy, x, k, s: solution(dy, x, k, s) / len(x), "divide by the number of images"),
        (
            lambda dy, x, k, s: solution(dy, x, k, s) / (dy.numel() / dy.shape[1]),
            "You take the mean",
        ),
        (lambda *a: solution(*a).transpose(0, 1), "channels are exchanged"),
        (lambda dy, x, k, s: solution(dy[:1], x[:1], k, s), "Only the first image"),
        (lambda dy, x, k, s: solution(dy, x, (k[0], k[0]), s), "Right for several images"),
        (
            lambda dy, x, k, s: F.conv2d(
                x.transpose(0, 1), dy.transpose(0, 1), dilation=s
            ).transpose(0, 1),
            "Right for stride 2. For stride 2 with a column left over",
        ),
    ],
)
def test_weight_gradient(answer, message):
    assert_wrong(check.weight_gradient(answer), message)


buggy = chapter["buggy_max_pool2d_backward"]


def peak():
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = 1
    return x


def test_the_counterexample_of_the_solution_catches_the_bug_and_accuses_nobody_else():
    found = chapter["solution_counterexample"]
    assert check.counterexample(found, buggy).ok
    repaired = chapter["solution_max_pool2d_backward"]
    assert not check.counterexample(found, repaired).ok


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (chapter["my_counterexample"], "Nothing is written yet"),
        (lambda: (torch.rand(1, 1, 4, 4), 2, 2), "do not overlap"),
        (lambda: (torch.arange(9.0).view(1, 1, 3, 3), 2, 1), "no pixel wins two"),
        (lambda: (torch.arange(9.0).view(1, 1, 3, 3), 3, 1), "only one window"),
        (lambda: torch.rand(1, 1, 4, 4), "Return three things"),
        (lambda: (torch.rand(1, 1, 1, 1), 2, 1), "Return three things"),
        (lambda: (torch.rand(1, 4, 4), 2, 1), "four axes"),
        (lambda: (torch.full((1, 1, 3, 3), torch.nan), 2, 1), "x contains nan"),
        (lambda: (torch.full((1, 1, 3, 3), torch.inf), 2, 1), "x contains nan or infinity"),
        (lambda: (1e300 * torch.arange(9.0).double().view(1, 1, 3, 3), 2, 1), "no pixel wins two"),
        (lambda: (peak(), 2.5, 1), "Return three things"),
    ],
)
def test_counterexample(answer, message):
    assert_wrong(check.counterexample(answer, buggy), message)


def test_a_counterexample_must_not_stop_the_function():
    def stops(dy, x, kernel_size, stride):
        raise ZeroDivisionError("oh")

    assert_wrong(check.counterexample(lambda: (peak(), 2, 1), stops), "not stop")


def to_all_equal(dy, x, k, s):
    dx = torch.zeros_like(x)
    for i, j in product(range(dy.shape[2]), range(dy.shape[3])):
        window = x[:, :, i * s : i * s + k, j * s : j * s + k]
        won = window == window.amax((2, 3), keepdim=True)
        dx[:, :, i * s : i * s + k, j * s : j * s + k] += won * dy[:, :, i : i + 1, j : j + 1]
    return dx


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (buggy, "Right for rows and columns left over. A pixel that wins several windows"),
        (to_all_equal, "equally large"),
        (lambda dy, x, k, s: averaged(dy, x.shape, k, s), "average pooling"),
        (lambda dy, x, k, s: torch.zeros_like(x), "numbers are not"),
    ],
)
def test_max_pool2d_backward(answer, message):
    assert_wrong(check.max_pool2d_backward(answer), message)


X = torch.linspace(-1, 2, 12, dtype=torch.float64).view(3, 4)


def softmax_backward(dy, p):
    return p * (dy - (p * dy).sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("forward", "backward", "x"),
    [
        (torch.square, lambda dy, x: 2 * x * dy, X),
        (torch.square, lambda dy, x: 2 * x * dy, torch.zeros(3).double() + 1e-3),
        (torch.relu, lambda dy, x: dy * (x > 0), X),
        (torch.relu, lambda dy, x: dy * (x > 0), X.abs() + 1),
        (torch.log, lambda dy, x: dy / x, X.abs() + 1),
        (torch.sqrt, lambda dy, x: dy / (2 * x.sqrt()), X.abs() + 1),
        (torch.sigmoid, lambda dy, x: dy * x.sigmoid() * (1 - x.sigmoid()), 20 * X),
        (torch.exp, lambda dy, x: dy * x.exp(), 10 * X),
        (lambda x: x.sort(1).values, lambda dy, x: dy.gather(1, x.argsort(1).argsort(1)), X),
        (lambda x: x.softmax(1), lambda dy, x: softmax_backward(dy, x.softmax(1)), 10 * X),
        (lambda x: x.roll(1, 1), lambda dy, x: dy.roll(-1, 1), X),
        (lambda x: x.mean(1), lambda dy, x: dy[:, None].expand(3, 4) / 4, X),
        (lambda x: x.sum(), lambda dy, x: dy.expand_as(x), X),
    ],
)
def test_operations_that_are_right(forward, backward, x):
    verdict = check.operation(lambda: (forward, backward, x))
    assert verdict.ok, verdict.message


def root(x):
    return torch.tensor([math.sqrt(value) for value in x.flatten().tolist()])


def noisy(x):
    return x + torch.rand_like(x)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: torch.square, "Return three things"),
        (lambda: (torch.square, lambda dy, x: 2 * x * dy, X.float()), "float64"),
        (lambda: (torch.square, lambda dy, x: x * dy, X), "0.5 times what is measured"),
        (lambda: (torch.square, lambda dy, x: -2 * x * dy, X), "-1 times what is measured"),
        (lambda: (torch.square, lambda dy, x: 2 * x, X), "Along a random direction"),
        (lambda: (torch.square, lambda dy, x: (2 * x * dy).sum(0), X), "has the shape of what"),
        (lambda: (torch.square, lambda dy, x: 3, X), "backward returned int"),
        (lambda: (lambda x: x.roll(1, 1), lambda dy, x: dy.roll(1, 1), X), "random direction"),
        (lambda: (torch.ones_like, lambda dy, x: 0 * dy, X), "does not change with x"),
        (lambda: (torch.log, lambda dy, x: dy / x, X), "finite"),
        (lambda: (lambda x: x @ x, lambda dy, x: dy, X), "In forward"),
        (lambda: (torch.square, lambda dy, x: dy @ x, X), "In backward"),
        (lambda: (torch.relu, lambda dy, x: dy, X.abs() + 1), "Right at your x, but not at -x."),
        (
            lambda: (lambda x: x**3, lambda dy, x: dy, 0 * X + 3**-0.5),
            "Right at your x, but not at",
        ),
        (lambda: (torch.relu, lambda dy, x: dy * (x > 0), X.round()), "x lies on a kink"),
        (lambda: (root, lambda dy, x: dy, 0 * X), "x lies at the edge of what forward takes"),
        (lambda: (noisy, lambda dy, x: dy, X), "another the second time"),
        (lambda: (torch.square, lambda dy, x: 2 * dy.mul_(x), X), "changes `dy` in place"),
        (lambda: (lambda x: x.float() ** 2, lambda dy, x: 2 * x * dy, X), "keep the type of x"),
        (lambda: (torch.square, lambda dy, x: 2 * x * dy, X * torch.nan), "x contains nan"),
    ],
)
def test_operations_that_are_wrong(answer, message):
    assert_wrong(check.operation(answer), message)
