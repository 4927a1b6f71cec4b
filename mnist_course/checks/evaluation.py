"""Checks for the exercises on evaluation (chapter 15)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mnist_course.checks._returning import Verdict, compare, right, run, wrong

__all__ = ["accuracy", "confusion", "equal_number_ece", "largest_error_rate", "macro_f1"]


def _matrix(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    place = labels * classes + predictions
    return torch.bincount(place, minlength=classes**2).view(classes, classes)


def confusion(function: Callable[[Tensor, Tensor, int], Any]) -> Verdict:
    """Check ``function(labels, predictions, classes)``: counts ``(classes, classes)``."""
    for classes, total in ((3, 20), (10, 200), (10, 5), (4, 1)):
        labels = torch.randint(classes, (total,))
        # Some answers are never given, and some labels never occur.
        predictions = torch.where(torch.rand(total) < 0.5, labels, labels // 2)
        C = _matrix(labels, predictions, classes)
        rows = C / C.sum(1, keepdim=True).clamp(min=1)
        hints = [
            (
                "The matrix is transposed: rows are the labels (the truth), columns the "
                "predictions.",
                C.T,
            ),
            (
                "Each place is 0 or 1: you set it instead of adding to it. An assignment like "
                "C[labels, predictions] += 1 counts a repeated place only once.",
                C.clamp(max=1),
            ),
            ("These are shares of the row: return the counts themselves.", rows),
            ("These are shares of all digits: return the counts themselves.", C / total),
            ("Only the right answers are counted.", torch.diag(C.diagonal())),
        ]
        answer = run(function, labels.clone(), predictions.clone(), classes)
        case = f"{total} digits of {classes} classes"
        verdict = compare(answer, C, case, hints=hints)
        if verdict is not None:
            if isinstance(answer, Tensor) and answer.ndim == 2 and len(answer) < classes:
                return wrong(
                    f"For {case} the matrix has only {len(answer)} rows: a class that does not "
                    "occur needs its row and its column too. Take the size from `classes`."
                )
            return verdict
        if isinstance(answer, Tensor) and answer.is_floating_point():
            return wrong("The numbers are right, but they are counts: make them whole numbers.")
    return right("Every digit is counted once, in the row of its label.")


def _mean_f1(precision: Tensor, recall: Tensor) -> Tensor:
    return (2 * precision * recall / (precision + recall)).nan_to_num().mean()


def macro_f1(function: Callable[[Tensor], Any]) -> Verdict:
    """Check ``function(confusion)``: the mean of the classes' F1, a number."""
    cases = [
        (torch.randint(0, 20, (4, 4)) + 60 * torch.eye(4, dtype=torch.int64), "four classes"),
        (
            torch.tensor([[900, 10, 3], [4, 30, 2], [8, 1, 5]]),
            "three classes, one far more frequent",
        ),
        (
            torch.tensor([[9, 2, 0], [3, 8, 0], [1, 0, 0]]),
            "a class that is never answered",
        ),
        (
            torch.tensor([[9, 3, 0], [1, 8, 0], [0, 0, 0]]),
            "a class that never occurs and is never answered",
        ),
    ]
    for number, (C, case) in enumerate(cases):
        hits = C.diagonal().double()
        sums = C.sum(0) + C.sum(1)
        f1 = 2 * hits / sums.clamp(min=1)
        recall, precision = hits / C.sum(1).clamp(min=1), hits / C.sum(0).clamp(min=1)
        p, r = precision.mean(), recall.mean()
        hints = [
            ("This is the F1 of each class: take their mean.", f1),
            (
                "This is the accuracy, which is also the micro F1: here every class counts the "
                "same.",
                hits.sum() / C.sum(),
            ),
            ("This is the mean recall alone.", r),
            ("This is the mean precision alone.", p),
            (
                "This is the F1 of the mean precision and the mean recall. Compute the F1 of each "
                "class first, then take the mean.",
                2 * p * r / (p + r),
            ),
            (
                "You took the plain mean of precision and recall; F1 is their harmonic mean.",
                ((precision + recall) / 2).mean(),
            ),
            (
                "Each class is weighted by how often it occurs; the macro average counts all "
                "classes the same.",
                (f1 * C.sum(1)).sum() / C.sum(),
            ),
            (
                "The factor 2 is missing: F1 = 2 · precision · recall / (precision + recall).",
                f1.mean() / 2,
            ),
            (
                "The class without any F1 was left out; count it as 0, and divide by the number "
                "of all classes.",
                f1[sums > 0].mean(),
            ),
            (
                "The class that is never answered was left out; its F1 is 0, and it counts.",
                f1[C.sum(0) > 0].mean(),
            ),
        ]
        answer = run(function, C.clone())
        # A quotient of whole numbers is a float32: no mistake.
        verdict = compare(answer, f1.mean(), case, tolerance=1e-6, hints=hints)
        if verdict is None:
            continue
        if not isinstance(answer, Verdict) and number >= 2 and "nan" in verdict.message:
            return wrong(
                f"Right while every class occurs and is answered; for {case} you divide 0 by 0. "
                "Simplify: F1 = 2·C[k, k] / (sum of row k + sum of column k), and count 0/0 as 0."
            )
        return verdict
    return right("The mean of the F1 of all classes, and none of them is lost.")


def largest_error_rate(function: Callable[[int], Any]) -> Verdict:
    """Check ``function(total)``: the largest error rate that ``total`` right answers leave."""
    for total in (10, 100, 5000, 1):
        expected = 1 - 0.05 ** (1 / total)
        hints = [
            (
                "This is the accuracy; the question is for the error rate, 1 minus it.",
                1 - expected,
            ),
            (
                "This is the rule of three, close for many digits, but not exact: solve "
                "(1 - e)^N = 0.05 for e.",
                3 / total,
            ),
            (
                "You used ln(1 - e) ≈ -e, which is close for many digits only: solve "
                "(1 - e)^N = 0.05 itself.",
                -math.log(0.05) / total,
            ),
            (
                "This is the rate for 95 %: with it, N right answers are quite likely. Put 0.05.",
                1 - 0.95 ** (1 / total),
            ),
            (
                "You took 2.5 % for each side; here there is only one side, so 5 %.",
                1 - 0.025 ** (1 / total),
            ),
            (
                "This is Wilson's upper end; here solve (1 - e)^N = 0.05 exactly.",
                1.96**2 / (total + 1.96**2),
            ),
        ]
        verdict = compare(
            run(function, total),
            torch.tensor(expected, dtype=torch.float64),
            f"{total} right answers of {total}",
            hints=[(why, torch.tensor(value, dtype=torch.float64)) for why, value in hints],
        )
        if verdict is not None:
            return verdict
    return right("With that error rate, N right answers in a row have a chance of exactly 5 %.")


def equal_number_ece(function: Callable[[Tensor, Tensor, int], Any]) -> Verdict:
    """Check ``function(confidence, right, bins)``: the ECE with equally many digits in each bin."""
    for bins, each in ((5, 20), (4, 12), (6, 1), (1, 12)):
        total = bins * each
        confidence = 0.4 + 0.6 * torch.rand(total, dtype=torch.float64)
        # Right mostly where it is unsure: gaps of one sign only would add up to the same number,
        # however the digits are cut.
        hits = torch.rand(total, dtype=torch.float64) < 1.4 - confidence
        order = confidence.argsort()
        gaps = hits[order].double().view(bins, -1).mean(1) - confidence[order].view(bins, -1).mean(
            1
        )
        place = (confidence * bins).long().clamp(max=bins - 1)
        by_width = torch.bincount(place, hits.double() - confidence, minlength=bins)
        unsorted = hits.double().view(bins, -1).mean(1) - confidence.view(bins, -1).mean(1)
        mixed = hits.double().view(bins, -1).mean(1) - confidence[order].view(bins, -1).mean(1)
        hints = [
            (
                "These are bins of equal width; here each bin has the same number of digits.",
                by_width.abs().sum() / total,
            ),
            ("The digits are not sorted by confidence before they are cut.", unsorted.abs().mean()),
            (
                "The confidences are sorted, but `right` is not: both need the same order.",
                mixed.abs().mean(),
            ),
            (
                "The gaps cancel one another: take the absolute value of each before the mean.",
                gaps.mean(),
            ),
            (
                "The gaps cancel one another: take the absolute value of each *before* the mean.",
                gaps.mean().abs(),
            ),
            ("You added the gaps up; take their mean.", gaps.abs().sum()),
            ("You took the largest gap; take the mean.", gaps.abs().max()),
            ("You squared the gaps; take their absolute values.", gaps.square().mean()),
        ]
        verdict = compare(
            run(function, confidence.clone(), hits.clone(), bins),
            gaps.abs().mean(),
            f"{total} digits in {bins} bin{'s' * (bins > 1)}",
            # A float32 share is as good as any.
            tolerance=1e-6,
            # With one bin many mistakes give the same number, and some of them the right one.
            hints=hints if bins > 1 else (),
        )
        if verdict is not None:
            return verdict
    return right("Every bin has the same number of digits, and the same weight.")


class _Network(nn.Module):
    """A network with batch norm and dropout that records how it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4).double()
        self.norm = nn.BatchNorm1d(4).double()
        self.norm.running_mean = torch.tensor([0.5, -0.5, 0.2, 0.0], dtype=torch.float64)
        self.drop = nn.Dropout(0.3)
        self.modes: set[bool] = set()
        self.graphs = False
        self.largest = 0

    def forward(self, x: Tensor) -> Tensor:
        self.modes.add(self.training)
        self.largest = max(self.largest, len(x))
        y: Tensor = self.drop(self.norm(self.linear(x)))
        self.graphs |= y.requires_grad
        return y


def accuracy(function: Callable[[nn.Module, Tensor, Tensor, int], Any]) -> Verdict:
    """Check ``function(model, images, labels, batch_size)``: the share of right answers."""
    for total, batch_size, training in ((24, 8, False), (26, 8, True), (5, 50, True)):
        model = _Network()
        images = torch.randn(total, 6, dtype=torch.float64)
        model.eval()
        with torch.no_grad():
            answers = model(images).argmax(1)
        labels = torch.where(torch.rand(total) < 0.5, answers, torch.randint(4, (total,)))
        # The last, small batch is all right, so that its weight shows, and its absence too.
        tail = total % batch_size
        if tail:
            labels[-tail:] = answers[-tail:]
        hits = answers == labels
        parts = [part.double().mean() for part in hits.split(batch_size)]
        full = hits[: total - tail]
        model.train(training)
        model.modes, model.graphs, model.largest = set(), False, 0
        before = {name: value.clone() for name, value in model.state_dict().items()}
        answer = run(function, model, images.clone(), labels.clone(), batch_size)
        if isinstance(answer, Verdict):
            return answer
        if True in model.modes:
            return wrong(
                "The model reads in training mode: batch norm uses the other digits of the batch, "
                "and dropout drops. Call model.eval() first."
            )
        if any(not torch.equal(value, before[name]) for name, value in model.state_dict().items()):
            return wrong("The weights or running statistics of the model have changed.")
        hints = [
            (
                f"The mean of the batches' accuracies is not the accuracy: the last batch has "
                f"{tail or batch_size} digits and counts like one of {batch_size}. Count right "
                "answers, and divide by the number of digits at the end.",
                torch.stack(parts).mean(),
            ),
            ("The last, smaller batch is left out.", full.double().mean()),
            (
                "The last, smaller batch is left out, but the division is by all digits.",
                full.double().sum() / total,
            ),
            ("This is the number of right answers: divide by the number of digits.", hits.sum()),
            ("This is a percentage: return a share between 0 and 1.", 100 * hits.double().mean()),
            (
                "You divide by the number of batches times the batch size, as if the last one "
                "were full: divide by the number of digits.",
                hits.sum() / (len(parts) * batch_size),
            ),
            (
                "You divide by the number of digits in full batches: the last one counts, too.",
                hits.sum() / max(1, total - tail),
            ),
        ]
        verdict = compare(
            answer,
            hits.double().mean(),
            f"{total} digits in batches of {batch_size}",
            # A float32 share is as good as any.
            tolerance=1e-6,
            hints=hints,
        )
        if verdict is not None:
            return verdict
        if model.graphs:
            return wrong(
                "The number is right, but autograd recorded every step of the way: put the loop "
                "into torch.no_grad() (or torch.inference_mode())."
            )
        if model.largest > batch_size:
            return wrong(
                f"The number is right, but {model.largest} digits were read at once, and the "
                f"batch size was {batch_size}."
            )
        if model.training != training:
            mode = "training" if training else "eval"
            return wrong(
                f"The number is right, but the model came in {mode} mode and leaves in the other: "
                "remember model.training, and put it back."
            )
    return right("Counted digit by digit, in eval mode, without graphs, and nothing is changed.")
