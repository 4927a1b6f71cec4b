"""The checks of chapter 8 accept right answers and name each plausible mistake."""

import pytest
import torch
from torch.nn import functional as F

from mnist_course.checks import classes as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong, cases

chapter = definitions("classes")
NAMES = ["softmax", "logsumexp", "cross_entropy", "gradient", "mended_loss", "smooth_loss"]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        *((name, chapter[f"solution_{name}"]) for name in NAMES),
        ("softmax", chapter["softmax"]),
        ("softmax", lambda z: z.softmax(1)),
        ("logsumexp", chapter["logsumexp"]),
        ("cross_entropy", chapter["cross_entropy"]),
        ("cross_entropy", lambda z, t: -z.log_softmax(1)[range(len(z)), t].mean()),
        ("gradient", chapter["cross_entropy_gradient"]),
        ("mended_loss", F.cross_entropy),
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


WRONG = {
    "softmax": [
        (chapter["naive_softmax"], "exp(1000) overflows"),
        (lambda z: rowwise(z, 500), "not a constant"),
        (lambda z: rowwise(z, z.mean(1, keepdim=True)), "not their mean"),
        (lambda z: rowwise(z, z.amax(1)), "The sum or the largest"),
        (lambda z: rowwise(z, z.abs().amax(1, True)), "underflows to 0"),
        (lambda z: rowwise(z, z.max()), "whole *batch*, which"),
        (lambda z: (z - z.max()).exp() / (z - z.max()).exp().sum(), "over the whole batch"),
        (lambda z: z.softmax(0), "column"),
        (lambda z: z.exp(), "divide them by their sum"),
        (lambda z: z.exp() / z.exp().sum(1), "keepdim=True"),
        (lambda z: z.log_softmax(1), "log-softmax"),
        (lambda z: z / z.sum(1, keepdim=True), "exponential is missing"),
        (lambda z: (-z).softmax(1), "turned round"),
        (lambda z: z.float().softmax(1), "float32"),
        (lambda z: None, "returned None"),
    ],
    "logsumexp": [
        (lambda z: z.exp().sum(1).log(), "exp(1000) overflows"),
        (lambda z: z.max() + (z - z.max()).exp().sum(1).log(), "whole *batch*, which"),
        (
            lambda z: z.mean(1) + (z - z.mean(1, keepdim=True)).exp().sum(1).log(),
            "not their mean",
        ),
        (lambda z: z.exp().sum(1), "take its logarithm"),
        (lambda z: z.exp().log().sum(1), "add first"),
        (lambda z: (z - z.amax(1, True)).exp().sum(1).log(), "never added again"),
        (lambda z: (z - z.amax(1, True)).exp().sum(1).log() - z.amax(1), "subtracted twice"),
        (lambda z: z.exp().mean(1).log(), "mean of the exponentials"),
        (lambda z: z.amax(1), "maximum itself"),
        (lambda z: z.exp().sum().log(), "whole batch"),
        (lambda z: z.logsumexp(0), "over the images"),
        (lambda z: z.logsumexp(1, keepdim=True), "squeeze(1)"),
    ],
    "cross_entropy": [
        (lambda z, t: -z.softmax(1).log()[range(len(z)), t].mean(), "a probability became 0"),
        (lambda z, t: -(z.exp() / z.exp().sum(1, True)).log()[range(len(z)), t].mean(), "became 0"),
        (lambda z, t: (z.exp().sum(1).log() - z[range(len(z)), t]).mean(), "an exp overflowed"),
        (lambda z, t: -F.cross_entropy(z, t), "sign is missing"),
        (lambda z, t: F.cross_entropy(z, t, reduction="sum"), "take their mean"),
        (lambda z, t: F.cross_entropy(z, t, reduction="none"), "one loss for each image"),
        (lambda z, t: -(one_hot(z, t) * z.log_softmax(1)).mean(), "divides once too often"),
        (lambda z, t: -z.log_softmax(1)[:, t].mean(), "every label's column"),
        (lambda z, t: F.nll_loss(z.softmax(1), t), "take the logarithm"),
        (lambda z, t: F.nll_loss(z, t), "log-softmax is missing"),
        (lambda z, t: F.cross_entropy(z.softmax(1), t), "applied twice"),
        (lambda z, t: -z.softmax(1).log2()[range(len(z)), t].mean(), "base 2"),
        (lambda z, t: -z.softmax(1).log10()[range(len(z)), t].mean(), "base 10"),
        (lambda z, t: F.nll_loss(z.log_softmax(0), t), "over the images and not"),
        (lambda z, t: F.cross_entropy(z, t.float()), "raised"),
    ],
    "gradient": [
        (lambda z, t: z.softmax(1) - one_hot(z, t), "divided by N"),
        (lambda z, t: (one_hot(z, t) - z.softmax(1)) / len(z), "sign is turned round"),
        (lambda z, t: z.softmax(1), "subtract the one-hot labels"),
        (lambda z, t: z.softmax(1) / len(z), "one-hot labels"),
        (lambda z, t: (z - one_hot(z, t)) / len(z), "softmax(z) in it"),
        (lambda z, t: (z.softmax(1) - one_hot(z, t)) / z.shape[1], "number of classes"),
        (lambda z, t: (z.softmax(1) - one_hot(z, t)) / z.numel(), "images only"),
        (lambda z, t: (z.softmax(0) - one_hot(z, t)) / len(z), "wrong axis"),
        (
            lambda z, t: chapter["slope"](chapter["squared_error"], z, t),
            "gradient of the squared error",
        ),
    ],
    "mended_loss": [
        (chapter["suspicious_loss"], "both bugs are there"),
        (lambda z, t: -(one_hot(z, t) * z.log_softmax(1)).mean(), "the axis is right"),
        (lambda z, t: -(one_hot(z, t) * z.log_softmax(0)).sum(1).mean(), "the mean is right"),
        (lambda z, t: -(one_hot(z, t) * z.log_softmax(1)).sum(), "are added up; take their mean"),
        (lambda z, t: F.cross_entropy(z.softmax(1), t), "right now, but: Softmax is applied twice"),
    ],
    "smooth_loss": [
        (lambda z, t, e: F.cross_entropy(z, t), "where is epsilon"),
        (lambda z, t, e: (1 - e) * F.cross_entropy(z, t), "less than one"),
        (
            lambda z, t, e: F.cross_entropy(z, (1 - e) * one_hot(z, t).to(z) + e),
            "more than one",
        ),
        (
            lambda z, t, e: F.cross_entropy(
                z, (1 - e) * one_hot(z, t).to(z) + e / (z.shape[1] - 1) * (1 - one_hot(z, t).to(z))
            ),
            "*wrong* classes only",
        ),
        (lambda z, t, e: F.cross_entropy(z, t, label_smoothing=e) / z.shape[1], "over the classes"),
        (lambda z, t, e: -F.cross_entropy(z, t, label_smoothing=e), "sign is missing"),
    ],
}


@pytest.mark.parametrize(("name", "answer", "message"), cases(WRONG))
def test_wrong_answers_are_explained(name, answer, message):
    assert_wrong(getattr(check, name)(answer), message)
