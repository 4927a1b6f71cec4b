"""Checks for the exercises on softmax and cross-entropy (chapter 8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks._returning import Verdict, compare, right, run, wrong

__all__ = [
    "cross_entropy",
    "gradient",
    "logsumexp",
    "mended_loss",
    "smooth_loss",
    "softmax",
]

Hints = list[tuple[str, Tensor]]


def _case(images: int, classes: int) -> tuple[Tensor, Tensor, str]:
    """Random logits (N, O) in float64, class numbers (N,), and words for them."""
    z = 2 * torch.randn(images, classes, dtype=torch.float64)
    return z, torch.randint(classes, (images,)), f"logits of shape ({images}, {classes})"


def _cases() -> Iterator[tuple[Tensor, Tensor, str]]:
    """Batches first, in which the well-known mistakes can be told apart, then a single image."""
    for images, classes in ((7, 10), (12, 3), (4, 4), (1, 10)):
        yield _case(images, classes)


# What an exponential that overflows or underflows breaks: name, logits, and why.
_EXTREMES: list[tuple[str, list[list[float]], str]] = [
    (
        "logits of 1000",
        [[1000.0, 999.0, 0.0], [0.0, 1000.0, 998.0]],
        "exp(1000) overflows. Subtract the largest logit of each image first.",
    ),
    (
        "logits of -1000",
        [[-1000.0, -1001.0, -1002.0], [-999.0, -1003.0, -1000.0]],
        "every exp underflows to 0. Subtract the largest logit of each image first (not a "
        "constant, and not its absolute value).",
    ),
    (
        "one image with logits of 1000 and one with logits of -1000",
        [[1000.0, 999.0, 998.0], [-1000.0, -1001.0, -1002.0]],
        "you subtract the largest logit of the whole *batch*, which makes every exp of the other "
        "image underflow. Each image needs its own maximum: amax(dim=1, keepdim=True).",
    ),
    (
        "images with one logit of 1000 and the others of -1000",
        [[1000.0, -1000.0, -1000.0], [-1000.0, 1000.0, -1000.0]],
        "exp still overflows. Subtract the *largest* logit of each image, not their mean.",
    ),
]


def _extremes(function: Callable[[Tensor], Any], reference: Callable[[Tensor], Tensor]) -> Any:
    """The verdict on logits that break a naive exponential, or None if all survive."""
    for name, logits, why in _EXTREMES:
        z = torch.tensor(logits, dtype=torch.float64)
        answer = run(function, z.clone())
        if isinstance(answer, Tensor) and not torch.isfinite(answer).all():
            return wrong(f"Right for small logits, but with {name} the result is not finite: {why}")
        verdict = compare(answer, reference(z), name)
        if verdict is not None:
            return verdict
    return None


def softmax(function: Callable[[Tensor], Any]) -> Verdict:
    """Check ``function(z)``: probabilities ``(N, O)`` from logits ``(N, O)`` of any size."""
    for z, _, case in _cases():
        e, p = z.exp(), z.softmax(1)
        hints: Hints = [
            ("These are the exponentials: divide them by their sum over the classes.", e),
            (
                "The sum runs over the whole batch: right for one image, wrong for several. Each "
                "row must add up to one: sum(dim=1, keepdim=True).",
                e / e.sum(),
            ),
            (
                "Each *column* adds up to one: you summed over the images. Sum over the classes, "
                "dim=1.",
                z.softmax(0),
            ),
            ("These are the logarithms of the probabilities (log-softmax).", p.log()),
            (
                "You divided logits by their sum: the exponential is missing.",
                z / z.sum(1, True),
            ),
            ("The order is turned round: this is the softmax of -z.", (-z).softmax(1)),
        ]
        answer = run(function, z.clone())
        if isinstance(answer, Verdict) and "must match the size of tensor" in answer.message:
            return wrong(
                f"{answer.message} The sum or the largest of each row lost its axis: use "
                "keepdim=True for both."
            )
        verdict = compare(answer, p, case, hints=hints)
        if verdict is not None:
            return verdict
    verdict = _extremes(function, lambda z: z.softmax(1))
    if verdict is not None:
        return verdict
    return right("It equals torch.softmax, and no logits are too large for it.")


def logsumexp(function: Callable[[Tensor], Any]) -> Verdict:
    """Check ``function(z)``: log of the sum of exp over the classes, ``(N, O)`` to ``(N,)``."""
    for z, _, case in _cases():
        expected = z.logsumexp(1)
        m = z.amax(1)
        hints: Hints = [
            ("This is the sum of the exponentials: take its logarithm.", z.exp().sum(1)),
            (
                "The logarithm of each exp, added up, is just the sum of the logits: add first, "
                "then take the logarithm.",
                z.sum(1),
            ),
            ("The maximum was subtracted and never added again.", expected - m),
            ("The maximum is subtracted twice: add it at the end.", expected - 2 * m),
            (
                "You took the mean of the exponentials, not their sum.",
                expected - math.log(z.shape[1]),
            ),
            ("This is the maximum itself; log-sum-exp is a little more.", m),
            (
                "You summed over the whole batch: one number for each image, dim=1.",
                z.flatten().logsumexp(0),
            ),
            ("You summed over the images: sum over the classes, dim=1.", z.logsumexp(0)),
            (
                "The numbers are right; drop the axis of length 1 at the end (squeeze(1)).",
                expected[:, None],
            ),
        ]
        verdict = compare(run(function, z.clone()), expected, case, hints=hints)
        if verdict is not None:
            return verdict
    verdict = _extremes(function, lambda z: z.logsumexp(1))
    if verdict is not None:
        return verdict
    return right("It equals torch.logsumexp, for logits of any size.")


def _loss_hints(z: Tensor, labels: Tensor) -> Hints:
    """Well-known wrong answers to the mean cross-entropy."""
    loss, log_p = F.cross_entropy(z, labels), z.log_softmax(1)
    p, log_q = log_p.exp(), z.log_softmax(0)
    one_hot = F.one_hot(labels, z.shape[1])
    return [
        ("The sign is missing: the loss is *minus* the mean of the logarithms.", -loss),
        ("You added the losses of the images up: take their mean.", loss * len(z)),
        (
            "The mean is taken over images *and* classes, which divides once too often: add over "
            "the classes, and take the mean over the images.",
            loss / z.shape[1],
        ),
        (
            "There is one loss for each image: take their mean.",
            F.cross_entropy(z, labels, reduction="none"),
        ),
        (
            "log_p[:, labels] takes every label's column for *every* image: pick one entry of "
            "each row, with [torch.arange(len(z)), labels] or gather.",
            -log_p[:, labels].mean(),
        ),
        (
            "This is minus the mean *probability* of the right class: take the logarithm.",
            F.nll_loss(p, labels),
        ),
        ("This is the mean of the right logits: log-softmax is missing.", F.nll_loss(z, labels)),
        (
            "Softmax is applied twice: the logits go into one softmax only.",
            F.cross_entropy(p, labels),
        ),
        ("This is a logarithm to base 2; losses use the natural one.", loss / math.log(2)),
        ("This is a logarithm to base 10; losses use the natural one.", loss / math.log(10)),
        (
            "The probabilities add up to one over the images and not over the classes: dim=1.",
            -(one_hot * log_q).sum(1).mean(),
        ),
    ]


def cross_entropy(function: Callable[[Tensor, Tensor], Any]) -> Verdict:
    """Check ``function(z, labels)``: the mean cross-entropy of logits and class numbers."""
    for z, labels, case in _cases():
        answer = run(function, z.clone(), labels.clone())
        expected, hints = F.cross_entropy(z, labels), _loss_hints(z, labels)
        verdict = compare(answer, expected, case, hints=hints)
        if verdict is not None:
            return verdict
    z = torch.tensor([[1000.0, 0.0, -500.0], [0.0, 1000.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([1, 2])
    answer = run(function, z.clone(), labels.clone())
    if isinstance(answer, Tensor) and not torch.isfinite(answer).all():
        return wrong(
            f"Right for small logits, but with logits of 1000 the loss is {answer.tolist()}, "
            "expected 1000: an exp overflowed, or a probability became 0 before you took its "
            "logarithm. Use log p = z - logsumexp(z), with the largest logit of each image "
            "subtracted before the exp, and never the logarithm of a probability."
        )
    verdict = compare(answer, F.cross_entropy(z, labels), "logits of 1000")
    if verdict is not None:
        return verdict
    return right("It equals F.cross_entropy, and stays finite when the network is surely wrong.")


def gradient(function: Callable[[Tensor, Tensor], Any]) -> Verdict:
    """Check ``function(z, labels)``: the gradient ``(N, O)`` of the mean cross-entropy."""
    for z, labels, case in _cases():
        p, y = z.softmax(1), F.one_hot(labels, z.shape[1])
        expected = (p - y) / len(z)
        hints: Hints = [
            (
                "The sign is turned round: what the network said minus what was true, p - y.",
                -expected,
            ),
            ("These are the probabilities: subtract the one-hot labels.", p),
            ("The one-hot labels are missing: (p - y) / N.", p / len(z)),
            ("These are logits minus labels: the gradient has softmax(z) in it.", (z - y) / len(z)),
            (
                "You divided by the number of classes: the mean is over the N images.",
                (p - y) / z.shape[1],
            ),
            (
                "You divided by images × classes: the mean runs over the images only.",
                expected / z.shape[1],
            ),
            (
                "Softmax over the wrong axis: each image's probabilities add up to one, dim=1.",
                (z.softmax(0) - y) / len(z),
            ),
            (
                "p - y is right for one image. The loss is a *mean* over the batch, so its "
                "gradient is divided by N.",
                p - y,
            ),
            (
                "This is the gradient of the squared error, which has the slope of softmax in it.",
                2 * p * ((p - y) - (p * (p - y)).sum(1, True)) / len(z),
            ),
        ]
        answer = run(function, z.clone(), labels.clone())
        verdict = compare(answer, expected, case, hints=hints)
        if verdict is not None:
            return verdict
    return right("It equals what autograd computes, and each row adds up to zero.")


def mended_loss(function: Callable[[Tensor, Tensor], Any]) -> Verdict:
    """Check the repair of a cross-entropy with a wrong axis and a mean over too much."""
    images, classes = 100, 10
    labels = torch.arange(images) % classes
    answer = run(function, torch.zeros(images, classes, dtype=torch.float64), labels)
    verdict = compare(
        answer,
        torch.tensor(math.log(classes), dtype=torch.float64),
        "100 images whose ten logits are all equal",
        hints=[
            (
                "The first loss is still ln(100) / 10 = 0.4605: both bugs are there.",
                torch.tensor(math.log(images) / classes, dtype=torch.float64),
            ),
            (
                "The first loss is now ln(10) / 10 = 0.2303, so the axis is right. What is left: "
                "the mean is taken over 1000 numbers, and there are 100 images.",
                torch.tensor(math.log(classes) / classes, dtype=torch.float64),
            ),
            (
                "The first loss is now ln(100) = 4.6052, so the mean is right. What is left: it "
                "guesses among the 100 images of the batch, and not among ten classes.",
                torch.tensor(math.log(images), dtype=torch.float64),
            ),
            (
                "The first loss is now 100 × ln(10) = 230.26, so the axis is right. What is left: "
                "the losses of the 100 images are added up; take their mean.",
                torch.tensor(math.log(classes) * images, dtype=torch.float64),
            ),
        ],
    )
    if verdict is not None:
        return verdict
    verdict = cross_entropy(function)
    if not verdict:
        return wrong(f"The first loss is right now, but: {verdict.message}")
    return right("It begins at ln 10 and equals F.cross_entropy: both bugs are gone.")


def smooth_loss(function: Callable[[Tensor, Tensor, float], Any]) -> Verdict:
    """Check ``function(z, labels, epsilon)``: the mean cross-entropy with label smoothing."""
    for epsilon in (0.0, 0.1, 0.3):
        for z, labels, case in _cases():
            classes = z.shape[1]
            log_p, y = z.log_softmax(1), F.one_hot(labels, classes).to(z)
            expected = F.cross_entropy(z, labels, label_smoothing=epsilon)

            def loss(targets: Tensor, log_p: Tensor = log_p) -> Tensor:
                return -(targets * log_p).sum(1).mean()

            others = epsilon / (classes - 1)
            hints: Hints = [
                ("Without smoothing it is right: where is epsilon?", loss(y)),
                (
                    "The targets add up to less than one: the share epsilon / O is missing.",
                    loss((1 - epsilon) * y),
                ),
                (
                    "Every class gets epsilon, so targets add up to more than one: epsilon / O.",
                    loss((1 - epsilon) * y + epsilon),
                ),
                (
                    "You share epsilon among the *wrong* classes only; here all O classes get "
                    "epsilon / O, the right one as well.",
                    loss((1 - epsilon) * y + others * (1 - y)),
                ),
                ("The mean is taken over the classes, too: add over them.", expected / classes),
                ("The sign is missing.", -expected),
            ]
            answer = run(function, z.clone(), labels.clone(), epsilon)
            verdict = compare(answer, expected, f"{case} and epsilon = {epsilon}", hints=hints)
            if verdict is not None:
                return verdict
    return right("It equals F.cross_entropy with label_smoothing.")
