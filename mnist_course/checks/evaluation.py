"""Checks of chapter 15, evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mnist_course.checks import FLOAT32, compared, uniform
from mnist_course.checks._reader import Batch, Reader, exam, hits, share, wrong_shares

__all__ = ["accuracy", "confusion", "equal_number_ece", "largest_error_rate", "macro_f1"]


def _matrix(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    place = labels * classes + predictions
    return torch.bincount(place, minlength=classes**2).view(classes, classes)


def _of_those_that_occur(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    occurring, places = torch.stack([labels, predictions]).unique(return_inverse=True)
    return _matrix(places[0], places[1], len(occurring))


def _answers(total: int, classes: int) -> tuple[Tensor, Tensor]:
    """Labels and predictions; some answers are never given, and some labels may never occur."""
    labels = (classes * uniform(total, seed=total)).long()
    return labels, torch.where(uniform(total, seed=1) < 0.5, labels, labels // 2)


@compared(
    cases={
        f"{total} digits of {classes} classes": (*_answers(total, classes), classes)
        for total, classes in ((20, 3), (200, 10), (5, 10), (1, 4))
    } | {
        "30 digits of 7 classes of which the last ones never occur": (*_answers(30, 4), 7),
        "30 digits of 6 classes of which some are only answered": (
            _answers(30, 6)[0] // 2, _answers(30, 6)[0], 6,
        ),
    },
    mistakes={
        "The matrix is transposed: rows are the labels (the truth), columns the predictions.": (
            lambda *given: _matrix(*given).T
        ),
        "Each place is 0 or 1: you set it instead of adding to it. An assignment like "
        "C[labels, predictions] += 1 counts a repeated place only once.": (
            lambda *given: _matrix(*given).clamp(max=1)
        ),
        "These are shares of the row: return the counts themselves.": (
            lambda *given: _matrix(*given) / _matrix(*given).sum(1, keepdim=True).clamp(min=1)
        ),
        "For {case} the matrix has too few rows: a class that does not occur needs its row and its "
        "column too. Take the size from `classes`.": (
            _of_those_that_occur,
            lambda labels, answers, classes: _matrix(labels, answers, int(labels.max()) + 1),
            lambda labels, answers, classes: (
                _matrix(labels, answers, int(max(labels.max(), answers.max())) + 1)
            ),
        ),
    },
    right="Every digit is counted once, in the row of its label.",
)  # fmt: skip
def confusion(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """Check ``function(labels, predictions, classes)``: counts ``(classes, classes)``."""
    return _matrix(labels, predictions, classes)


def _recall(C: Tensor) -> Tensor:
    return C.diagonal() / C.sum(1).clamp(min=1)


def _f1(C: Tensor) -> Tensor:
    return 2 * C.diagonal().double() / (C.sum(0) + C.sum(1)).clamp(min=1)


def _harmonic(p: Tensor, r: Tensor) -> Tensor:
    return 2 * p * r / (p + r)


@compared(
    cases={
        "four classes": ((20 * uniform(4, 4)).long() + 60 * torch.eye(4, dtype=torch.int64),),
        "three classes, one far more frequent": (
            torch.tensor([[900, 10, 3], [4, 30, 2], [8, 1, 5]]),
        ),
        "a class that is never answered": (torch.tensor([[9, 2, 0], [3, 8, 0], [1, 0, 0]]),),
        "a class that never occurs": (torch.tensor([[9, 2, 1], [3, 8, 2], [0, 0, 0]]),),
        "a class that never occurs and is never answered": (
            torch.tensor([[9, 3, 0], [1, 8, 0], [0, 0, 0]]),
        ),
    },
    so_far=True,
    mistakes={
        "This is the F1 of each class: take their mean.": _f1,
        "This is the accuracy, which is also the micro F1: here every class counts the same.": (
            lambda C: C.diagonal().sum() / C.sum()
        ),
        "This is the mean recall alone.": lambda C: _recall(C).mean(),
        "This is the mean precision alone.": lambda C: _recall(C.T).mean(),
        "This is the F1 of the mean precision and the mean recall. Compute the F1 of each class "
        "first, then take the mean.": lambda C: _harmonic(_recall(C).mean(), _recall(C.T).mean()),
        "A class was left out: its F1 is 0, and it counts. Divide by the number of all classes.": (
            lambda C: _f1(C)[C.sum(0) + C.sum(1) > 0].mean(),
            lambda C: _f1(C)[C.sum(0) > 0].mean(),
            lambda C: _f1(C)[C.sum(1) > 0].mean(),
        ),
    },
    right="The mean of the F1 of all classes, and none of them is lost.",
    not_finite="For {case} the result is {answer}: do you divide 0 by 0? Simplify: "
    "F1 = 2·C[k, k] / (sum of row k + sum of column k), and count 0/0 as 0.",
)
def macro_f1(confusion: Tensor) -> float:
    """Check ``function(confusion)``: the mean of the classes' F1, a number."""
    return _f1(confusion).mean().item()


@compared(
    cases={f"{total} right answers of {total}": (total,) for total in (10, 100, 5000, 1)},
    mistakes={
        "This is the accuracy; the question is for the error rate, 1 minus it.": (
            lambda total: 0.05 ** (1 / total)
        ),
        "This is the rule of three, close for many digits, but not exact: solve (1 - e)^N = 0.05 "
        "for e.": lambda total: 3 / total,
        "You used ln(1 - e) ≈ -e, which is close for many digits only: solve (1 - e)^N = 0.05 "
        "itself.": lambda total: -math.log(0.05) / total,
        "This is the rate for 95 %: with it, N right answers are quite likely. Put 0.05.": (
            lambda total: 1 - 0.95 ** (1 / total)
        ),
        "This is Wilson's upper end; here solve (1 - e)^N = 0.05 exactly.": (
            lambda total: 1.96**2 / (total + 1.96**2)
        ),
    },
    right="With that error rate, N right answers in a row have a chance of exactly 5 %.",
)
def largest_error_rate(total: int) -> float:
    """Check ``function(total)``: the largest error rate that ``total`` right answers leave."""
    return 1 - 0.05 ** (1 / total)


def _gaps(confidence: Tensor, right: Tensor, bins: int) -> Tensor:
    order = confidence.argsort()
    return (right[order].double() - confidence[order]).view(bins, -1).mean(1)


def _from(summary: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda *given: summary(_gaps(*given))


def _by_width(confidence: Tensor, right: Tensor, bins: int) -> Tensor:
    place = (confidence * bins).long().clamp(max=bins - 1)
    gaps = torch.bincount(place, right.double() - confidence, minlength=bins)
    return gaps.abs().sum() / len(confidence)


def _apart(confidence: Tensor, right: Tensor, bins: int) -> Tensor:
    hits, sure = right.double().view(bins, -1), confidence.sort().values.view(bins, -1)
    return (hits.mean(1) - sure.mean(1)).abs().mean()


def _confidences(bins: int, each: int) -> tuple[Tensor, Tensor, int]:
    confidence = 0.4 + 0.6 * uniform(bins * each, seed=bins)
    # Right mostly where it is unsure: gaps of one sign only would add up to the same number,
    # however the digits are cut.
    return confidence, uniform(bins * each, seed=each) < 1.4 - confidence, bins


@compared(
    cases={
        f"{bins * each} digits in {bins} bin{'s' * (bins > 1)}": _confidences(bins, each)
        for bins, each in ((5, 20), (4, 12), (3, 7), (6, 1), (1, 12))
    },
    mistakes={
        "These are bins of equal width; here each bin has the same number of digits.": _by_width,
        "The digits are not sorted by confidence before they are cut.": (
            lambda confidence, right, bins: (
                (right.double() - confidence).view(bins, -1).mean(1).abs().mean()
            )
        ),
        "The confidences are sorted, but `right` is not: both need the same order.": _apart,
        "The gaps cancel one another: take the absolute value of each *before* the mean.": (
            _from(torch.mean), _from(lambda gaps: gaps.mean().abs()),
        ),
        "These are the gaps of single digits: first take the means of a bin, and then their gap.": (
            lambda confidence, right, bins: (right.double() - confidence).abs().mean()
        ),
    },
    right="Every bin has the same number of digits, and the same weight.",
    tolerance=FLOAT32,  # a float32 share is as good as any
)  # fmt: skip
def equal_number_ece(confidence: Tensor, right: Tensor, bins: int) -> float:
    """Check ``function(confidence, right, bins)``: the ECE with equally many digits in each bin."""
    return _gaps(confidence, right, bins).abs().mean().item()


def _measured(
    sizes: list[int], batch_size: int, training: bool
) -> tuple[Reader, Tensor, Tensor, int]:
    """Digits of which the last, small batch is all right: its weight shows, and its absence too."""
    wrong = [n for n in (0, 1, 2, 5, 9, 17) if n < sum(sizes[:-1])] or [0]
    model, batches = exam(sizes, wrong, (6,), training=training, most=batch_size)
    images, labels = map(torch.cat, zip(*batches, strict=True))
    return model, images, labels, batch_size


def _batches(images: Tensor, labels: Tensor, batch_size: int) -> list[Batch]:
    return list(zip(images.split(batch_size), labels.split(batch_size), strict=True))


@compared(
    cases={
        f"{sum(sizes)} digits in batches of {batch_size}": _measured(sizes, batch_size, training)
        for sizes, batch_size, training in (
            ([8, 8, 8], 8, False), ([8, 8, 8, 2], 8, True), ([5], 50, True),
        )
    },
    mistakes=wrong_shares(lambda model, *digits: hits(model, _batches(*digits))),
    right="Counted digit by digit, in eval mode, without graphs, and nothing is changed.",
    tolerance=FLOAT32,  # a float32 share is as good as any
)  # fmt: skip
def accuracy(model: Reader, images: Tensor, labels: Tensor, batch_size: int) -> float:
    """Check ``function(model, images, labels, batch_size)``: the share of right answers."""
    return share(model, [(images, labels)])
