"""Checks of chapter 19, evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mnist_course.checks import FLOAT32, compared, uniform

__all__ = ["auc", "confusion", "equal_number_ece", "largest_error_rate", "macro_f1"]


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


def _wins(scores: Tensor, positive: Tensor) -> Tensor:
    """For each pair of a positive and another picture: 1 if it scores higher, ½ if equally."""
    return ((scores[positive][:, None] - scores[~positive]).sign() + 1) / 2


def _scored(total: int, positives: int, levels: int) -> tuple[Tensor, Tensor]:
    """Scores of which many are equal if there are few levels; positives tend to score higher."""
    positive = torch.zeros(total, dtype=torch.bool)
    positive[torch.linspace(0, total - 1, positives).long()] = True
    scores = uniform(total, seed=total) + 0.3 * positive
    return (scores * levels).floor() / levels, positive


@compared(
    cases={
        "12 pictures, no two scores equal": _scored(12, 5, 1000),
        "40 pictures of which many score the same": _scored(40, 13, 4),
        "9 pictures, only one of them positive": _scored(9, 1, 1000),
        "6 pictures that all score the same": (
            torch.full((6,), 0.5, dtype=torch.float64), torch.arange(6) < 2,
        ),
    },
    so_far=True,
    mistakes={
        "A pair with equal scores counts one half; you count it as lost.": (
            lambda *given: _wins(*given).floor().mean()
        ),
        "A pair with equal scores counts one half; you count it as won.": (
            lambda *given: _wins(*given).ceil().mean()
        ),
        "This is the probability that the *other* picture has the higher score.": (
            lambda *given: 1 - _wins(*given).mean(),
            lambda *given: (1 - _wins(*given).ceil()).mean(),
        ),
        "This is the number of pairs: divide by how many there are.": (
            lambda *given: _wins(*given).sum()
        ),
        "Divide by the number of pairs, positive pictures times others.": (
            lambda scores, positive: _wins(scores, positive).sum() / len(scores) ** 2,
            lambda scores, positive: _wins(scores, positive).sum() / positive.sum() ** 2,
        ),
        "You compare with the mean of the others: compare with each of them.": (
            lambda scores, positive: (scores[positive] > scores[~positive].mean()).double().mean()
        ),
    },
    right="Every pair is counted, and equal scores as one half.",
    tolerance=FLOAT32,  # a float32 share is as good as any
)  # fmt: skip
def auc(scores: Tensor, positive: Tensor) -> float:
    """Check ``function(scores, positive)``: the area under the ROC curve, a number."""
    return _wins(scores, positive).mean().item()
