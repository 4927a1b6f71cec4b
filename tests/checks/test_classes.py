"""The checks of chapter 8 accept right answers and name each plausible mistake."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import classes as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong, cases

chapter = definitions("classes")
NAMES = ["softmax", "logsumexp", "cross_entropy", "gradient", "mended_loss", "smooth_loss"]


def softmax_in_loops(z):
    p = torch.zeros(z.shape)
    for row, image in enumerate(z.tolist()):
        e = [math.exp(logit - max(image)) for logit in image]
        for column in range(len(e)):
            p[row, column] = e[column] / sum(e)
    return p


def smoothed(z, labels, epsilon):
    return (1 - epsilon) * F.cross_entropy(z, labels) - epsilon * z.log_softmax(1).mean()


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        *((name, chapter[f"solution_{name}"]) for name in NAMES),
        ("softmax", chapter["softmax"]),
        ("softmax", softmax_in_loops),
        ("softmax", lambda z: 1 / (z[:, None, :] - z[:, :, None]).exp().sum(2)),
        ("logsumexp", chapter["logsumexp"]),
        ("logsumexp", lambda z: torch.from_numpy(np.logaddexp.reduce(z.numpy(), axis=1))),
        ("cross_entropy", chapter["cross_entropy"]),
        ("cross_entropy", lambda z, t: -z.log_softmax(1)[range(len(z)), t].mean()),
        ("gradient", chapter["cross_entropy_gradient"]),
        ("gradient", lambda z, t: (z.softmax(1) - torch.eye(z.shape[1])[t]) / len(z)),
        ("mended_loss", F.cross_entropy),
        ("smooth_loss", smoothed),
        ("smooth_loss", lambda z, t, e: F.cross_entropy(z, (1 - e) * one_hot(z, t) + e / len(z.T))),
    ],
)
def test_right_answers_are_accepted(name, answer):
    assert_right(getattr(check, name)(answer))


@pytest.mark.parametrize("name", NAMES)
def test_stubs_are_told_to_begin(name):
    assert_not_begun(getattr(check, name)(chapter[f"my_{name}"]))


def rowwise(z, m):
    e = (z - m).exp()
    return e / e.sum(1, keepdim=True)


def one_hot(z, labels):
    return F.one_hot(labels, z.shape[1])


def by_autograd(z, labels):
    z = z.clone().requires_grad_()
    F.cross_entropy(z, labels).backward()
    return z.grad


WRONG = {
    "softmax": [
        (chapter["naive_softmax"], "exp(1000) overflows"),
        (lambda z: rowwise(z, 500), "not a constant"),
        (lambda z: rowwise(z, z.mean(1, keepdim=True)), "not their mean"),
        (lambda z: rowwise(z, z.amax(1)), "The sum or the largest"),
        (lambda z: rowwise(z, z.abs().amax(1, True)), "underflows to 0"),
        (lambda z: rowwise(z, z.max()), "whole *batch*, which"),
        (lambda z: z.exp() / z.exp().sum(1), "keepdim=True"),
        (lambda z: z.exp() / z.exp().sum(), "over the whole batch"),
        (lambda z: rowwise(z.clamp(-50, 50), 0), "numbers are not"),
        (lambda z: (z - z.amax(1, True)).exp() / (rowwise(z, 0) / z.exp() + 1e-8), "numbers"),
        (lambda z: rowwise(z.float(), z.float().amax(1, True)), "float32"),
        (lambda z: rowwise(z, z.amax(1, True)).numpy(), "the exercise asks for a tensor"),
        (lambda z: rowwise(z.sub_(z.amax(1, True)), 0), "changes `z` in place"),
        (nn.Softmax(1), "calls F.softmax"),
        (lambda z: None, "returned None"),
    ],
    "logsumexp": [
        (lambda z: z.exp().sum(1).log(), "exp(1000) overflows"),
        (lambda z: z.max() + (z - z.max()).exp().sum(1).log(), "whole *batch*, which"),
        (
            lambda z: z.mean(1) + (z - z.mean(1, keepdim=True)).exp().sum(1).log(),
            "not their mean",
        ),
        (lambda z: z.exp().log().sum(1), "add first"),
        (lambda z: (z - z.amax(1, True)).exp().sum(1).log(), "never added again"),
        (lambda z: (z - z.amax(1, True)).exp().sum(1).log() - z.amax(1), "subtracted twice"),
        (lambda z: z.exp().mean(1).log(), "mean of the exponentials"),
        (lambda z: z.exp().sum().log(), "whole batch"),
        (lambda z: z.logsumexp(1), "calls Tensor.logsumexp"),
    ],
    "cross_entropy": [
        (lambda z, t: -z.softmax(1).log()[range(len(z)), t].mean(), "a probability became 0"),
        (lambda z, t: -rowwise(z, 0).log()[range(len(z)), t].mean(), "became 0"),
        (lambda z, t: (z.exp().sum(1).log() - z[range(len(z)), t]).mean(), "an exp overflowed"),
        (lambda z, t: -(one_hot(z, t) * z.log_softmax(1)).mean(), "divides once too often"),
        (lambda z, t: -z.softmax(1).log2()[range(len(z)), t].mean(), "base 2"),
        (
            lambda z, t: -(z.softmax(1) + 1e-12).log()[range(len(z)), t].mean(),
            "a small number inside the logarithm, or clamp there, and for logits of 1000 the loss "
            "is 19.2",
        ),
        (lambda z, t: F.cross_entropy(z, t.float()), "raised"),
        (F.cross_entropy, "calls F.cross_entropy"),
        (lambda z, t: nn.NLLLoss()(z.log_softmax(1), t), "calls F.nll_loss"),
        (lambda z, t: F.cross_entropy(z, t).item(), "a float; the exercise asks for a tensor"),
    ],
    "gradient": [
        (lambda z, t: (rowwise(z, 0) - one_hot(z, t)) / len(z), "exp(1000) overflows"),
        (
            lambda z, t: chapter["slope"](chapter["squared_error"], z, t),
            "gradient of the squared error",
        ),
        (lambda z, t: (z.softmax(1) - one_hot(z, t)) / 7, "numbers are not"),
        (by_autograd, "calls Tensor.backward"),
    ],
    "mended_loss": [
        (chapter["suspicious_loss"], "both bugs are there"),
        (lambda z, t: -(one_hot(z, t) * z.log_softmax(1)).mean(), "the axis is right"),
        (lambda z, t: -(one_hot(z, t) * z.log_softmax(0)).sum(1).mean(), "the mean is right"),
        (lambda z, t: -(one_hot(z, t) * z.log_softmax(1)).sum(), "are added up; take their mean"),
        (
            lambda z, t: F.cross_entropy(z.softmax(1), t),
            "Right for 100 images whose ten logits are all equal. Softmax is applied twice",
        ),
        (lambda z, t: z.new_tensor(10).log(), "For logits of shape (4, 4) the number is"),
    ],
    "smooth_loss": [
        (
            lambda z, t, e: F.cross_entropy(
                z, (1 - e) * one_hot(z, t).to(z) + e / (z.shape[1] - 1) * (1 - one_hot(z, t).to(z))
            ),
            "*wrong* classes only",
        ),
        (
            lambda z, t, e: -(
                ((1 - e) * one_hot(z, t) + e / z.shape[1]) * z.softmax(1).log()
            ).sum(1).mean(),
            "a probability became 0",
        ),
        (lambda z, t, e: smoothed(z, t, 0.1), "and epsilon = 0.0 the number is"),
        (
            lambda z, t, e: nn.CrossEntropyLoss(label_smoothing=e)(z, t),
            "calls F.cross_entropy with label_smoothing",
        ),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "answer", "message"), cases(WRONG))
def test_wrong_answers_are_explained(name, answer, message):
    assert_wrong(getattr(check, name)(answer), message)
