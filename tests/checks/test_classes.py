"""The checks of chapter 9: answers in other styles, and mistakes beyond those of the tables."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import classes as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("classes")
test_the_chapter = of_the_chapter(check, chapter, {name: name for name in check.__all__})


def softmax_in_loops(z):
    p = torch.zeros(z.shape)
    for row, image in enumerate(z.tolist()):
        e = [math.exp(logit - max(image)) for logit in image]
        for column in range(len(e)):
            p[row, column] = e[column] / sum(e)
    return p


def smoothed(z, labels, epsilon):
    return (1 - epsilon) * F.cross_entropy(z, labels) - epsilon * z.log_softmax(1).mean()


def rowwise(z, m):
    e = (z - m).exp()
    return e / e.sum(1, keepdim=True)


def one_hot(z, labels):
    return F.one_hot(labels, z.shape[1]).to(z.dtype)


def by_autograd(z, labels):
    z = z.clone().requires_grad_()
    F.cross_entropy(z, labels).backward()
    return z.grad


def logs_of_right(p, labels):
    """Minus the mean logarithm of the right class."""
    return -p.log()[range(len(p)), labels].mean()


RIGHT = {
    "softmax": [
        chapter["softmax"],
        softmax_in_loops,
        lambda z: 1 / (z[:, None, :] - z[:, :, None]).exp().sum(2),
    ],
    "logsumexp": [
        chapter["logsumexp"],
        lambda z: torch.from_numpy(np.logaddexp.reduce(z.numpy(), axis=1)),
    ],
    "cross_entropy": [
        chapter["cross_entropy"],
        lambda z, t: -z.log_softmax(1)[range(len(z)), t].mean(),
    ],
    "gradient": [
        chapter["cross_entropy_gradient"],
        lambda z, t: (z.softmax(1) - torch.eye(z.shape[1])[t]) / len(z),
    ],
    "mended_loss": [F.cross_entropy],
    "smooth_loss": [
        smoothed,
        lambda z, t, e: F.cross_entropy(z, (1 - e) * one_hot(z, t) + e / z.shape[1]),
    ],
}
WRONG = {
    "softmax": [
        (chapter["naive_softmax"], "exp(1000) overflows"),
        (lambda z: rowwise(z, 500), "not a constant"),
        (lambda z: rowwise(z, z.mean(1, keepdim=True)), "not their mean"),
        (lambda z: rowwise(z, z.abs().amax(1, True)), "underflows to 0"),
        (lambda z: rowwise(z, z.max()), "whole *batch*, which"),
        (lambda z: rowwise(z.clamp(-50, 50), 0), "numbers are not"),
        (lambda z: (z - z.amax(1, True)).exp() / (rowwise(z, 0) / z.exp() + 1e-8), "numbers"),
        (lambda z: rowwise(z.float(), z.float().amax(1, True)), "float32"),
        (nn.Softmax(1), "calls F.softmax"),
    ],
    "logsumexp": [
        (lambda z: z.exp().sum(1).log(), "exp(1000) overflows"),
        (lambda z: z.max() + (z - z.max()).exp().sum(1).log(), "whole *batch*, which"),
        (lambda z: z.mean(1) + (z - z.mean(1, True)).exp().sum(1).log(), "not their mean"),
        (lambda z: z.exp().log().sum(1), "add first"),
        (lambda z: (z - z.amax(1, True)).exp().sum(1).log(), "never added again"),
        (lambda z: z.logsumexp(1) - 2 * z.amax(1), "numbers are not"),
        (lambda z: z.exp().sum().log(), "whole batch"),
        (lambda z: z.logsumexp(1), "calls Tensor.logsumexp"),
    ],
    "cross_entropy": [
        (lambda z, t: logs_of_right(z.softmax(1), t), "a probability became 0"),
        (lambda z, t: (z.exp().sum(1).log() - z[range(len(z)), t]).mean(), "an exp overflowed"),
        (lambda z, t: -(one_hot(z, t) * z.log_softmax(1)).mean(), "divides once too often"),
        (lambda z, t: logs_of_right(z.softmax(1) + 1e-12, t),
         "small number inside the logarithm, or clamp there, and for logits of 1000 the loss is"),
        (lambda z, t: F.cross_entropy(z, t.float()), "raised"),
        (F.cross_entropy, "calls F.cross_entropy"),
        (lambda z, t: nn.NLLLoss()(z.log_softmax(1), t), "calls F.nll_loss"),
        (lambda z, t: F.cross_entropy(z, t).item(), "a float; the exercise asks for a tensor"),
    ],
    "gradient": [
        (lambda z, t: (rowwise(z, 0) - one_hot(z, t)) / len(z), "exp(1000) overflows"),
        (lambda z, t: chapter["slope"](chapter["squared_error"], z, t), "of the squared error"),
        (lambda z, t: (z.softmax(1) - one_hot(z, t)) / 7, "numbers are not"),
        (by_autograd, "calls Tensor.backward"),
    ],
    "mended_loss": [
        (chapter["suspicious_loss"], "both bugs are there"),
        (lambda z, t: F.cross_entropy(z.softmax(1), t),
         "Right for 100 images whose ten logits are all equal. Softmax is applied twice"),
        (lambda z, t: z.new_tensor(10).log(), "For logits of shape (4, 4) the number is"),
    ],
    "smooth_loss": [
        (lambda z, t, e: logs_of_right(z.softmax(1), t) * (1 - e)
         - e * z.softmax(1).log().mean(), "a probability became 0"),
        (lambda z, t, e: smoothed(z, t, 0.1), "and epsilon = 0.0 the number is"),
        (lambda z, t, e: nn.CrossEntropyLoss(label_smoothing=e)(z, t),
         "calls F.cross_entropy with label_smoothing"),
    ],
}  # fmt: skip
test_verdicts = judged(check, RIGHT, WRONG)
