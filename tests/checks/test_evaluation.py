"""The checks of chapter 15 accept right answers and name each plausible mistake."""

import math

import pytest
import sklearn.metrics
import torch

from mnist_course.checks import evaluation as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong, cases

chapter = definitions("evaluation")
NAMES = ["confusion", "macro_f1", "largest_error_rate", "equal_number_ece", "accuracy"]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def confusion_by_loop(labels, predictions, classes):
    C = torch.zeros(classes, classes, dtype=torch.int64)
    for t, o in zip(labels, predictions, strict=True):
        C[t, o] += 1
    return C


def f1_of_every_class(C):
    """F1 by scikit-learn, from a matrix turned back into answers."""
    t, o = C.nonzero().repeat_interleave(C[C > 0], dim=0).T
    return sklearn.metrics.f1_score(t, o, labels=range(len(C)), average="macro", zero_division=0.0)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        *((name, chapter[f"solution_{name}"]) for name in NAMES),
        ("confusion", confusion_by_loop),
        (
            "confusion",
            lambda t, o, k: sklearn.metrics.confusion_matrix(t, o, labels=range(k)),
        ),
        ("macro_f1", f1_of_every_class),
        ("equal_number_ece", lambda c, r, n: bins(c, r.float(), n, dtype=torch.float32).mean()),
        ("largest_error_rate", lambda n: -math.expm1(math.log(0.05) / n)),
    ],
)
def test_right_answers_are_accepted(name, answer):
    assert_right(getattr(check, name)(answer))


@pytest.mark.parametrize("name", NAMES)
def test_stubs_are_told_to_begin(name):
    assert_not_begun(getattr(check, name)(chapter[f"my_{name}"]))


count = chapter["solution_confusion"]


def set_not_added(t, o, k):
    C = torch.zeros(k, k, dtype=torch.int64)
    C[t, o] += 1
    return C


def size_of_what_occurs(t, o, k):
    return count(t, o, int(t.max()) + 1) if int(o.max()) <= int(t.max()) else count(t, o, k)


def per_class(C):
    hits = C.diagonal().double()
    return hits / C.sum(0), hits / C.sum(1)  # precision, recall


def naive_f1(C):
    p, r = per_class(C)
    return (2 * p * r / (p + r)).mean()


def macro_skipping(C):
    p, r = per_class(C)
    return (2 * p * r / (p + r)).nanmean()


def f1_of_means(C):
    p, r = (values.mean() for values in per_class(C))
    return 2 * p * r / (p + r)


def bins(c, hits, n, sort=True, sort_hits=True, gap=torch.abs, dtype=torch.float64):
    order = c.argsort() if sort else torch.arange(len(c))
    shares = (hits[order] if sort_hits else hits).to(dtype).view(n, -1).mean(1)
    return gap(shares - c[order].view(n, -1).mean(1))


def by_width(c, hits, n):
    place = (c * n).long().clamp(max=n - 1)
    return torch.bincount(place, hits.double() - c, minlength=n).abs().sum() / len(c)


def measure(
    model, images, labels, size, *, switch=True, back=True, graphs=False, mean=False, last=True
):
    mode = model.training
    if switch:
        model.eval()
    scores, hits = [], 0
    with torch.set_grad_enabled(graphs):
        for x, t in zip(images.split(size), labels.split(size), strict=True):
            if not last and len(x) < size and hits:
                continue
            right = model(x).argmax(1) == t
            scores.append(right.double().mean())
            hits += int(right.sum())
    if back:
        model.train(mode)
    return torch.stack(scores).mean() if mean else hits / len(labels)


def whole(model, images, labels, size):
    return measure(model, images, labels, len(images))


def changing(model, images, labels, size):
    share = measure(model, images, labels, size)
    model.norm.running_mean.add_(1)
    return share


WRONG = {
    "confusion": [
        (lambda t, o, k: count(o, t, k), "transposed"),
        (set_not_added, "counts a repeated place only once"),
        (lambda t, o, k: count(t, o, k) / len(t), "shares of all digits"),
        (
            lambda t, o, k: count(t, o, k) / count(t, o, k).sum(1, keepdim=True).clamp(min=1),
            "shares of the row",
        ),
        (lambda t, o, k: torch.diag(count(t, o, k).diagonal()), "Only the right answers"),
        (size_of_what_occurs, "Take the size from `classes`"),
        (lambda t, o, k: count(t, o, k).double(), "make them whole numbers"),
    ],
    "macro_f1": [
        (lambda C: C.diagonal().sum() / C.sum(), "micro F1"),
        (lambda C: 2 * C.diagonal().double() / (C.sum(0) + C.sum(1)), "take their mean"),
        (lambda C: per_class(C)[1].mean(), "mean recall alone"),
        (lambda C: per_class(C)[0].mean(), "mean precision alone"),
        (f1_of_means, "F1 of the mean precision"),
        (lambda C: sum(per_class(C)).mean() / 2, "harmonic mean"),
        (lambda C: chapter["solution_macro_f1"](C) / 2, "factor 2 is missing"),
        (
            lambda C: (
                (2 * C.diagonal() / (C.sum(0) + C.sum(1)) * C.sum(1)).double().sum() / C.sum()
            ),
            "weighted by how often",
        ),
        (naive_f1, "you divide 0 by 0"),
        (macro_skipping, "left out"),
        (
            lambda C: (2 * C.diagonal().double() / (C.sum(0) + C.sum(1))).nanmean(),
            "without any F1 was left out",
        ),
    ],
    "largest_error_rate": [
        (lambda n: 0.05 ** (1 / n), "the error rate, 1 minus it"),
        (lambda n: 3 / n, "rule of three"),
        (lambda n: -math.log(0.05) / n, "for many digits only"),
        (lambda n: 1 - 0.95 ** (1 / n), "Put 0.05"),
        (lambda n: 1 - 0.025 ** (1 / n), "only one side"),
        (lambda n: 1 - chapter["wilson"](n, n)[0], "Wilson's upper end"),
    ],
    "equal_number_ece": [
        (by_width, "equal width"),
        (lambda c, r, n: bins(c, r, n, sort=False).mean(), "not sorted"),
        (lambda c, r, n: bins(c, r, n, sort_hits=False).mean(), "same order"),
        (lambda c, r, n: bins(c, r, n, gap=torch.Tensor.clone).mean(), "cancel"),
        (lambda c, r, n: bins(c, r, n, gap=torch.Tensor.clone).mean().abs(), "cancel"),
        (lambda c, r, n: bins(c, r, n).sum(), "take their mean"),
        (lambda c, r, n: bins(c, r, n).max(), "largest gap"),
        (lambda c, r, n: bins(c, r, n, gap=torch.square).mean(), "squared the gaps"),
    ],
    "accuracy": [
        (lambda m, x, t, n: measure(m, x, t, n) * len(t) / (-(-len(t) // n) * n), "as if the last"),
        (lambda m, x, t, n: measure(m, x, t, n) * len(t) / (len(t) // n * n), "last one counts"),
        (chapter["suspicious_accuracy"], "autograd recorded"),
        (lambda *a: measure(*a, mean=True), "mean of the batches"),
        (lambda *a: measure(*a, switch=False), "training mode"),
        (lambda *a: measure(*a, back=False), "came in training mode"),
        (lambda *a: measure(*a, graphs=True), "autograd recorded"),
        (lambda *a: measure(*a, last=False), "left out, but the division"),
        (lambda *a: 100 * measure(*a), "percentage"),
        (lambda m, x, t, n: measure(m, x, t, n) * len(t), "divide by the number"),
        (whole, "24 digits were read at once"),
        (changing, "running statistics"),
    ],
}


@pytest.mark.parametrize(("name", "answer", "message"), cases(WRONG))
def test_mistakes_are_named(name, answer, message):
    assert_wrong(getattr(check, name)(answer), message)
