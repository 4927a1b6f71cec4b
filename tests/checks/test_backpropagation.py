"""The checks of chapter 10: answers in other styles, and mistakes beyond those of the tables."""

import math

import torch
from torch.nn import functional as F

from mnist_course.checks import backpropagation as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("backpropagation")
NAMES = {name: name for name in check.__all__ if name != "counterexample"}
test_the_chapter = of_the_chapter(check, chapter, NAMES)
weights, repaired = chapter["solution_weight_gradient"], chapter["solution_max_pool2d_backward"]
buggy = chapter["buggy_max_pool2d_backward"]


def by_autograd(x, w1, b, w2, t):
    leaves = [torch.tensor(value).double().requires_grad_() for value in (w1, b, w2)]
    loss = (leaves[2] * (leaves[0] * x + leaves[1]).relu() - t) ** 2
    return tuple(slope.item() for slope in torch.autograd.grad(loss, leaves))


def averaged(dy, x_shape, k, s):
    """By autograd."""
    x = torch.zeros(x_shape).requires_grad_()
    return torch.autograd.grad(F.avg_pool2d(x, k, s), x, dy)[0]


def won(dy, x, k, s):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(F.max_pool2d(x, k, s), x, dy)[0]


def side_by_side(dy, shape, k, s):
    return dy.repeat_interleave(k, 2).repeat_interleave(k, 3) / k**2


def dilated(dy, x, k, s):
    return F.conv2d(x.transpose(0, 1), dy.transpose(0, 1), dilation=s).transpose(0, 1)


def caught(*answer, function=buggy):
    return lambda: answer, function


def stops(dy, x, kernel_size, stride):
    raise ZeroDivisionError("oh")


NINE = torch.arange(9.0).view(1, 1, 3, 3)
PEAK = (NINE == 4).double()
X = torch.linspace(-1, 2, 12, dtype=torch.float64).view(3, 4)


def square_backward(dy, x):
    return 2 * x * dy


def softmax_backward(dy, p):
    return p * (dy - (p * dy).sum(1, keepdim=True))


def root(x):
    return torch.tensor([math.sqrt(value) for value in x.flatten().tolist()])


def returning(forward, backward, x=X):
    return lambda: (forward, backward, x)


RIGHT = {
    "slopes": [
        by_autograd,
        lambda x, w1, b, w2, t: [float(slope) for slope in by_autograd(x, w1, b, w2, t)],
    ],
    "avg_pool2d_backward": [averaged],
    "max_pool2d_backward": [won],
    "counterexample": [(chapter["solution_counterexample"], buggy)],
    "operation": [
        returning(torch.square, square_backward),
        returning(torch.square, square_backward, torch.zeros(3).double() + 1e-3),
        returning(torch.relu, lambda dy, x: dy * (x > 0)),
        returning(torch.relu, lambda dy, x: dy * (x > 0), X.abs() + 1),
        returning(torch.log, lambda dy, x: dy / x, X.abs() + 1),
        returning(torch.sqrt, lambda dy, x: dy / (2 * x.sqrt()), X.abs() + 1),
        returning(torch.sigmoid, lambda dy, x: dy * x.sigmoid() * (1 - x.sigmoid()), 20 * X),
        returning(torch.exp, lambda dy, x: dy * x.exp(), 10 * X),
        returning(lambda x: x.sort(1).values, lambda dy, x: dy.gather(1, x.argsort(1).argsort(1))),
        returning(lambda x: x.softmax(1), lambda dy, x: softmax_backward(dy, x.softmax(1)), 10 * X),
        returning(lambda x: x.roll(1, 1), lambda dy, x: dy.roll(-1, 1)),
        returning(lambda x: x.mean(1), lambda dy, x: dy[:, None].expand(3, 4) / 4),
        returning(lambda x: x.sum(), lambda dy, x: dy.expand_as(x)),
    ],
}
WRONG = {
    "slopes": [
        (lambda *given: by_autograd(*given)[:2], "2"),
        (lambda *given: sum(by_autograd(*given)), "number"),
        (lambda x, w1, b, w2, t: by_autograd(x, w1, 0 * b, w2, t), "numbers of the chapter"),
        (lambda *given: [slope + 0.1 for slope in by_autograd(*given)], "3 of 3 are wrong"),
    ],
    "avg_pool2d_backward": [
        (side_by_side, "Right for several images and channels."),
        (lambda dy, shape, k, s: averaged(dy, shape, k, s) * k, "divide by kernel_size"),
    ],
    "weight_gradient": [
        (lambda dy, x, k, s: weights(dy, x, k, s) / len(x), "Right for several channels and maps"),
        (lambda *given: weights(*given).transpose(0, 1), "has shape (3, 2, 3, 3), expected"),
        (lambda dy, x, k, s: weights(dy[:1], x[:1], k, s), "For several images"),
        (lambda dy, x, k, s: weights(dy, x, (k[0], k[0]), s), "Right for several images"),
        (dilated, "Right for stride 2. For stride 2 with a column left over"),
    ],
    "counterexample": [
        ((chapter["my_counterexample"], buggy), "Nothing is written yet"),
        ((chapter["solution_counterexample"], repaired), "Here the function is right"),
        (caught(torch.rand(1, 1, 4, 4), 2, 2), "do not overlap"),
        (caught(NINE, 2, 1), "no pixel wins two"),
        (caught(NINE, 3, 1), "only one window"),
        ((lambda: torch.rand(1, 1, 4, 4), buggy), "Return three things"),
        (caught(torch.rand(1, 1, 1, 1), 2, 1), "Return three things"),
        (caught(PEAK, 2.5, 1), "Return three things"),
        (caught(torch.rand(1, 4, 4), 2, 1), "four axes"),
        (caught(torch.nan * NINE, 2, 1), "x contains nan"),
        (caught(torch.inf * (NINE + 1), 2, 1), "x contains nan or infinity"),
        (caught(1e300 * NINE.double(), 2, 1), "no pixel wins two"),
        (caught(PEAK, 2, 1, function=stops), "not stop"),
    ],
    "max_pool2d_backward": [
        (buggy, "Right for rows and columns left over. For overlapping windows"),
        (lambda dy, x, k, s: averaged(dy, x.shape, k, s), "average pooling"),
        (lambda dy, x, k, s: torch.zeros_like(x), "numbers are not"),
    ],
    "operation": [
        (lambda: torch.square, "Return three things"),
        (returning(torch.square, square_backward, X.float()), "float64"),
        (returning(torch.square, lambda dy, x: x * dy), "0.5 times what is measured"),
        (returning(torch.square, lambda dy, x: -2 * x * dy), "-1 times what is measured"),
        (returning(torch.square, lambda dy, x: 2 * x), "Along a random direction"),
        (returning(torch.square, lambda dy, x: (2 * x * dy).sum(0)), "has the shape of x"),
        (returning(torch.square, lambda dy, x: 3), "backward returned int"),
        (returning(lambda x: x.roll(1, 1), lambda dy, x: dy.roll(1, 1)), "random direction"),
        (returning(torch.ones_like, lambda dy, x: 0 * dy), "does not change with x"),
        (returning(torch.log, lambda dy, x: dy / x), "finite"),
        (returning(lambda x: x @ x, lambda dy, x: dy), "In forward"),
        (returning(torch.square, lambda dy, x: dy @ x), "In backward"),
        (returning(torch.relu, lambda dy, x: dy, X.abs() + 1), "your x, but not at -x."),
        (returning(lambda x: x**3, lambda dy, x: dy, 0 * X + 3**-0.5), "your x, but not at"),
        (returning(torch.relu, lambda dy, x: dy * (x > 0), X.round()), "x lies on a kink"),
        (returning(root, lambda dy, x: dy, 0 * X), "x lies at the edge of what forward takes"),
        (returning(lambda x: x + torch.rand(3, 4), lambda dy, x: dy), "another the second time"),
        (returning(torch.square, lambda dy, x: 2 * dy.mul_(x)), "changes `dy` in place"),
        (returning(lambda x: x.float() ** 2, square_backward), "keep the type of x"),
        (returning(torch.square, square_backward, X * torch.nan), "x contains nan"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)
