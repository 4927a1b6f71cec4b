"""Checks of chapter 9, softmax and cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks import compared, normal, uniform

__all__ = ["cross_entropy", "gradient", "logsumexp", "mended_loss", "smooth_loss", "softmax"]

# Small logits and class numbers. A lost axis raises nothing in a square batch and can be named
# there, so it is the first; a single image is the last, because many mistakes are right for one.
_SMALL = {
    f"logits of shape ({images}, {classes})": (
        2 * normal(images, classes, seed=images),
        (classes * uniform(images, seed=images)).long(),
    )
    for images, classes in [(4, 4), (7, 10), (12, 3), (1, 10)]
}

# What an exponential that overflows or underflows breaks: logits, class numbers, and why. Some
# images survive, or a naive log-sum-exp would be infinite like the sum whose logarithm is missing.
_EXTREMES = {
    "logits of 1000": (
        [[1000, 999, -500], [0, 1000, 998], [600, 598, 599]], [2, 0, 1],
        "exp(1000) overflows. Subtract the largest logit of each image first.",
    ),
    "logits of -1000": (
        [[-1000, -1001, -1002], [-999, -1003, -1000]], [1, 2],
        "every exp underflows to 0. Subtract the largest logit of each image first (not a "
        "constant, and not its absolute value).",
    ),
    "one image with logits of 1000 and one with logits of -1000": (
        [[1000, 999, 998], [-1000, -1001, -1002]], [1, 2],
        "you subtract the largest logit of the whole *batch*, which makes every exp of the other "
        "image underflow. Each image needs its own maximum: amax(dim=1, keepdim=True).",
    ),
    "images with one logit of 1000 and the others of -1000": (
        [[1000, -1000, -1000], [-1000, 1000, -1000], [3, 1, 2]], [0, 2, 1],
        "exp still overflows. Subtract the *largest* logit of each image, not their mean.",
    ),
}  # fmt: skip
_LARGE = {
    name: (torch.tensor(logits).double(), torch.tensor(labels))
    for name, (logits, labels, _) in _EXTREMES.items()
}
_WHY = {
    name: f"Right for small logits, but with {name} the result is not finite: {why}"
    for name, (_, _, why) in _EXTREMES.items()
}
_WITH_LABELS = _SMALL | _LARGE
_LOGITS = {name: (z,) for name, (z, _) in _WITH_LABELS.items()}

_LOST_AXIS = "The sum or the largest of each row lost its axis: use keepdim=True for both."
# What people add to a number, or let it be at least, so that it is never 0.
_EPS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15, 1e-16, 1e-20, 1e-30)


def _softmax(z: Tensor, largest: Tensor, total: Callable[[Tensor], Tensor]) -> Tensor:
    e = (z - largest).exp()
    return e / total(e)


def _over_row(e: Tensor) -> Tensor:
    return e.sum(1, keepdim=True)


@compared(
    cases=_LOGITS,
    mistakes={
        _LOST_AXIS: (
            lambda z: z.exp() / z.exp().sum(1),
            lambda z: _softmax(z, z.amax(1, keepdim=True), lambda e: e.sum(1)),
            lambda z: _softmax(z, z.amax(1), lambda e: e.sum(1)),
            lambda z: _softmax(z, z.amax(1), _over_row),
        ),
        "These are the exponentials: divide them by their sum over the classes.": (
            torch.exp, lambda z: (z - z.amax(1, keepdim=True)).exp(),
        ),
        "The sum runs over the whole batch: right for one image, wrong for several. Each row must "
        "add up to one: sum(dim=1, keepdim=True).": (
            lambda z: _softmax(z, z.max(), torch.sum),
            lambda z: _softmax(z, z.amax(1, keepdim=True), torch.sum),
        ),
        "Each *column* adds up to one: you summed over the images. Sum over the classes, dim=1.": (
            lambda z: z.softmax(0),
            lambda z: _softmax(z, z.amax(1, keepdim=True), lambda e: e.sum(0)),
        ),
        "These are the logarithms of the probabilities (log-softmax).": (
            lambda z: z.log_softmax(1)
        ),
        "The probabilities are a little too small: add nothing to the sum. It is never 0, because "
        "the largest exp of each image is exp(0) = 1.": tuple(
            lambda z, eps=eps: _softmax(z, z.amax(1, keepdim=True), lambda e: _over_row(e) + eps)
            for eps in _EPS[:5]
        ),
    },
    right="It equals torch.softmax, and no logits are too large for it.",
    not_finite=_WHY,
    avoiding=("softmax", "softmin"),
)  # fmt: skip
def softmax(z: Tensor) -> Tensor:
    """Check ``function(z)``: probabilities ``(N, O)`` from logits ``(N, O)`` of any size."""
    return z.softmax(1)


@compared(
    cases=_LOGITS,
    mistakes={
        _LOST_AXIS: (
            lambda z: z.amax(1) + (z - z.amax(1)).exp().sum(1).log(),
            lambda z: z.amax(1, keepdim=True) + (z - z.amax(1, keepdim=True)).exp().sum(1).log(),
        ),
        "This is the sum of the exponentials: take its logarithm.": lambda z: z.exp().sum(1),
        "The logarithm of each exp, added up, is just the sum of the logits: add first, then take "
        "the logarithm.": lambda z: z.sum(1),
        "The maximum was subtracted and never added again.": (
            lambda z: z.logsumexp(1) - z.amax(1),
            lambda z: z.logsumexp(1) - z.max(),
        ),
        "You summed over the whole batch: one number for each image, dim=1.": (
            lambda z: z.flatten().logsumexp(0),
            lambda z: z.logsumexp((0, 1)).expand(len(z)),
        ),
        "The numbers are right; drop the axis of length 1 at the end (squeeze(1)).": (
            lambda z: z.logsumexp(1, keepdim=True)
        ),
    },
    right="It equals torch.logsumexp, for logits of any size.",
    not_finite=_WHY,
    avoiding=("logsumexp",),
)
def logsumexp(z: Tensor) -> Tensor:
    """Check ``function(z)``: log of the sum of exp over the classes, ``(N, O)`` to ``(N,)``."""
    return z.logsumexp(1)


def _one_hot(z: Tensor, labels: Tensor) -> Tensor:
    return F.one_hot(labels, z.shape[1]).to(z.dtype)


def _loss(z: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of logits and target probabilities, one row for each image."""
    return -(targets * z.log_softmax(1)).sum(1).mean()


# The mean or the sum is taken over too much or too little.
_WRONG_MEANS: dict[str, Any] = {
    "You added the losses of the images up: take their mean.": (
        lambda z, labels: F.cross_entropy(z, labels, reduction="sum")
    ),
    "The mean is taken over images *and* classes, which divides once too often: add over the "
    "classes, and take the mean over the images.": (
        lambda z, labels: F.cross_entropy(z, labels) / z.shape[1]
    ),
    "The probabilities add up to one over the images and not over the classes: dim=1.": (
        lambda z, labels: F.nll_loss(z.log_softmax(0), labels)
    ),
}
_WRONG_LOSSES: dict[str, Any] = {
    "The sign is missing: the loss is *minus* the mean of the logarithms.": (
        lambda z, labels: -F.cross_entropy(z, labels)
    ),
    "There is one loss for each image: take their mean.": (
        lambda z, labels: F.cross_entropy(z, labels, reduction="none"),
        lambda z, labels: F.cross_entropy(z, labels, reduction="none")[:, None],
    ),
    "log_p[:, labels] takes every label's column for *every* image: pick one entry of each row, "
    "with [torch.arange(len(z)), labels] or gather.": (
        lambda z, labels: -z.log_softmax(1)[:, labels].mean()
    ),
    "This is minus the mean *probability* of the right class: take the logarithm.": (
        lambda z, labels: F.nll_loss(z.softmax(1), labels)
    ),
    "This is the mean of the right logits: log-softmax is missing.": F.nll_loss,
    "Softmax is applied twice: the logits go into one softmax only.": (
        lambda z, labels: F.cross_entropy(z.softmax(1), labels)
    ),
    "This is a logarithm to base 2; losses use the natural one.": (
        lambda z, labels: F.cross_entropy(z, labels) / math.log(2)
    ),
    "You add a small number inside the logarithm, or clamp there, and for {case} the loss is "
    "{answer:.10g}, expected {expected:.10g}: a network that is surely wrong is told too little. "
    "Use log p = z - logsumexp(z), which never takes the logarithm of 0.": tuple(
        lambda z, labels, safe=safe, eps=eps: F.nll_loss(safe(z.softmax(1), eps).log(), labels)
        for safe in (torch.add, torch.clamp, lambda p, eps: p.clamp(eps, 1 - eps))
        for eps in _EPS
    ),
}
_OVERFLOW = (
    "with {case} the loss is {answer}, expected {expected}: an exp overflowed, or a probability "
    "became 0 before you took its logarithm. Use log p = z - logsumexp(z), with the largest logit "
    "of each image subtracted before the exp, and never the logarithm of a probability."
)


@compared(
    cases=_WITH_LABELS,
    mistakes=_WRONG_MEANS | _WRONG_LOSSES,
    right="It equals F.cross_entropy, and stays finite when the network is surely wrong.",
    not_finite=f"Right for small logits, but {_OVERFLOW}",
    avoiding=("cross_entropy", "nll_loss", "kl_div"),
)
def cross_entropy(z: Tensor, labels: Tensor) -> Tensor:
    """Check ``function(z, labels)``: the mean cross-entropy of logits and class numbers."""
    return F.cross_entropy(z, labels)


@compared(
    cases=_WITH_LABELS,
    mistakes={
        "The sign is turned round: what the network said minus what was true, p - y.": (
            lambda z, labels: (_one_hot(z, labels) - z.softmax(1)) / len(z)
        ),
        "These are the probabilities: subtract the one-hot labels.": (
            lambda z, labels: z.softmax(1)
        ),
        "p - y is right for one image. The loss is a *mean* over the batch, so its gradient is "
        "divided by N.": lambda z, labels: z.softmax(1) - _one_hot(z, labels),
        "You divided by the number of classes: the mean is over the N images.": (
            lambda z, labels: (z.softmax(1) - _one_hot(z, labels)) / z.shape[1]
        ),
        "Softmax over the wrong axis: each image's probabilities add up to one, dim=1.": (
            lambda z, labels: (z.softmax(0) - _one_hot(z, labels)) / len(z)
        ),
        "This is the gradient of the squared error, which has the slope of softmax in it.": (
            lambda z, labels: torch.func.grad(
                lambda z: (z.softmax(1) - _one_hot(z, labels)).square().sum(1).mean()
            )(z)
        ),
    },
    right="It equals what autograd computes, and each row adds up to zero.",
    not_finite=_WHY,
    avoiding=("grad", "backward"),
)
def gradient(z: Tensor, labels: Tensor) -> Tensor:
    """Check ``function(z, labels)``: the gradient ``(N, O)`` of the mean cross-entropy."""
    return (z.softmax(1) - _one_hot(z, labels)) / len(z)


@compared(
    cases={
        "100 images whose ten logits are all equal": (
            torch.zeros(100, 10).double(), torch.arange(100) % 10,
        ),
        **_WITH_LABELS,
    },
    mistakes={
        "The first loss is still ln(100) / 10 = 0.4605: both bugs are there.": (
            lambda z, labels: F.nll_loss(z.log_softmax(0), labels) / z.shape[1]
        ),
        "The first loss is now ln(10) / 10 = 0.2303, so the axis is right. What is left: the mean "
        "is taken over 1000 numbers, and there are 100 images.": (
            lambda z, labels: F.cross_entropy(z, labels) / z.shape[1]
        ),
        "The first loss is now ln(100) = 4.6052, so the mean is right. What is left: it guesses "
        "among the 100 images of the batch, and not among ten classes.": (
            lambda z, labels: F.nll_loss(z.log_softmax(0), labels)
        ),
        "The first loss is now 100 × ln(10) = 230.26, so the axis is right. What is left: the "
        "losses of the 100 images are added up; take their mean.": (
            lambda z, labels: F.cross_entropy(z, labels, reduction="sum")
        ),
        **_WRONG_LOSSES,
    },
    so_far=True,
    right="It begins at ln 10 and equals F.cross_entropy: both bugs are gone.",
    not_finite=f"W{_OVERFLOW[1:]}",
)  # fmt: skip
def mended_loss(z: Tensor, labels: Tensor) -> Tensor:
    """Check ``function(z, labels)``: a cross-entropy without its two bugs, axis and mean."""
    return F.cross_entropy(z, labels)


@compared(
    cases={
        f"{name} and epsilon = {epsilon}": (z, labels, epsilon)
        for epsilon, given in ((0.0, _SMALL), (0.1, _SMALL), (0.3, _WITH_LABELS))
        for name, (z, labels) in given.items()
    },
    mistakes={
        "Without smoothing it is right: where is epsilon?": (
            lambda z, labels, epsilon: F.cross_entropy(z, labels)
        ),
        "The targets add up to less than one: the share epsilon / O is missing.": (
            lambda z, labels, epsilon: (1 - epsilon) * F.cross_entropy(z, labels)
        ),
        "Every class gets epsilon, so targets add up to more than one: epsilon / O.": (
            lambda z, labels, epsilon: _loss(z, (1 - epsilon) * _one_hot(z, labels) + epsilon)
        ),
        "You share epsilon among the *wrong* classes only; here all O classes get epsilon / O, the "
        "right one as well.": (
            lambda z, labels, epsilon: F.cross_entropy(
                z, labels, label_smoothing=epsilon * z.shape[1] / (z.shape[1] - 1)
            )
        ),
    },
    right="It equals F.cross_entropy with label_smoothing.",
    not_finite=f"Right for small logits, but {_OVERFLOW}",
    avoiding=("label_smoothing",),
)
def smooth_loss(z: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Check ``function(z, labels, epsilon)``: the mean cross-entropy with label smoothing."""
    return F.cross_entropy(z, labels, label_smoothing=epsilon)
