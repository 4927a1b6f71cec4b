"""The checks of chapter 15 accept right answers and name mistakes beyond those of its tables."""

import copy
import math

import numpy as np
import pytest
import sklearn.metrics
import torch
from sklearn.metrics import confusion_matrix as by_sklearn
from torch.nn import functional as F

from mnist_course.checks import evaluation as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong, cases

chapter = definitions("evaluation")
NAMES = ["confusion", "macro_f1", "largest_error_rate", "equal_number_ece", "accuracy"]


def confusion_by_loop(labels, predictions, classes):
    C = torch.zeros(classes, classes, dtype=torch.int64)
    for t, o in zip(labels, predictions, strict=True):
        C[t, o] += 1
    return C


def f1_of_every_class(C):
    """F1 by scikit-learn, from a matrix turned back into answers."""
    t, o = C.nonzero().repeat_interleave(C[C > 0], dim=0).T
    return sklearn.metrics.f1_score(t, o, labels=range(len(C)), average="macro", zero_division=0.0)


def macro_in_numpy(C):
    C = C.numpy().astype(float)
    scores = []
    for k in range(len(C)):
        sums = C[k].sum() + C[:, k].sum()
        scores.append(2 * C[k, k] / sums if sums else 0)
    return np.mean(scores)


def ece_in_chunks(confidence, right, bins):
    order, total = confidence.sort(descending=True).indices, 0.0
    for part in order.chunk(bins):
        total += abs(right[part].sum() - confidence[part].sum()).item()
    return total / len(order)


def by_quantiles(c, hits, n):
    place = torch.bucketize(c, c.quantile(torch.arange(1, n) / n))
    gaps = [(hits[place == k].double() - c[place == k]).mean() for k in range(n)]
    return torch.stack(gaps).abs().mean()


def by_halving(total):
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - middle) ** total > 0.05 else (low, middle)
    return low


@torch.inference_mode()
def one_by_one(model, images, labels, batch_size):
    mode = model.training
    model.eval()
    pairs = zip(images, labels, strict=True)
    hits = [model(x[None]).argmax().item() == t.item() for x, t in pairs]
    model.train(mode)
    return np.mean(hits)


@torch.no_grad()
def with_a_copy(model, images, labels, batch_size):
    reader = copy.deepcopy(model).eval()
    answers = torch.cat([reader(part).argmax(1) for part in images.split(batch_size)])
    return (answers == labels).float().mean()


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        *((name, chapter[f"solution_{name}"]) for name in NAMES),
        ("confusion", confusion_by_loop),
        ("confusion", lambda t, o, k: torch.tensor(by_sklearn(t, o, labels=range(k)))),
        ("confusion", lambda t, o, k: F.one_hot(t, k).T @ F.one_hot(o, k)),
        ("macro_f1", f1_of_every_class),
        ("macro_f1", macro_in_numpy),
        ("macro_f1", lambda C: (2 * C.diag() / (C.sum(0) + C.sum(1))).nan_to_num().mean()),
        ("equal_number_ece", lambda c, r, n: bins(c, r.float(), n, dtype=torch.float32).mean()),
        ("equal_number_ece", ece_in_chunks),
        ("equal_number_ece", by_quantiles),
        ("largest_error_rate", lambda n: -math.expm1(math.log(0.05) / n)),
        ("largest_error_rate", lambda n: 1 - torch.tensor(0.05) ** (1 / n)),
        ("largest_error_rate", lambda n: 1 - np.exp(np.log(0.05) / n)),
        ("largest_error_rate", by_halving),
        ("accuracy", one_by_one),
        ("accuracy", with_a_copy),
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


def per_class(C):
    hits = C.diagonal().double()
    return hits / C.sum(0), hits / C.sum(1)  # precision, recall


def naive_f1(C):
    p, r = per_class(C)
    return (2 * p * r / (p + r)).mean()


def macro_skipping(C):
    p, r = per_class(C)
    return (2 * p * r / (p + r)).nanmean()


def bins(c, hits, n, sort=True, sort_hits=True, gap=torch.abs, dtype=torch.float64):
    order = c.argsort() if sort else torch.arange(len(c))
    shares = (hits[order] if sort_hits else hits).to(dtype).view(n, -1).mean(1)
    return gap(shares - c[order].view(n, -1).mean(1))


def measure(model, images, labels, size, *, switch=True, back=True, graphs=False, last=True):
    mode, hits = model.training, 0
    if switch:
        model.eval()
    with torch.set_grad_enabled(graphs):
        for x, t in zip(images.split(size), labels.split(size), strict=True):
            if last or len(x) == size:
                hits += int((model(x).argmax(1) == t).sum())
    if back:
        model.train(mode)
    return hits / len(labels)


def whole(model, images, labels, size):
    return measure(model, images, labels, len(images))


def changing(model, images, labels, size):
    share = measure(model, images, labels, size)
    model.norm.running_mean.add_(1)
    return share


def half_restored(model, images, labels, size):
    mode = model.training
    share = measure(model, images, labels, size, back=False)
    model.training = mode  # its layers stay as they are
    return share


def frozen(model, images, labels, size):
    model.requires_grad_(False)
    return measure(model, images, labels, size, graphs=True)


WRONG = {
    "confusion": [
        (set_not_added, "counts a repeated place only once"),
        (lambda t, o, k: torch.tensor(by_sklearn(t, o)), "Take the size from `classes`"),
        (lambda t, o, k: count(t, o, k).double(), "the exercise asks for torch.int64"),
        (lambda t, o, k: count(t, o, k).int(), "the exercise asks for torch.int64"),
        (lambda t, o, k: by_sklearn(t, o, labels=range(k)), "a NumPy array"),
        (lambda t, o, k: count(t, o, k).tolist(), "a list; the exercise asks for a tensor"),
        (lambda t, o, k: count(t, o, k).diagonal(), "has shape"),
        (lambda t, o, k: count(t[1:], o[1:], k), "of 9 are wrong"),
        (lambda t, o, k: count(t, o, 10), "has shape (10, 10), expected (3, 3)"),
        (lambda t, o, k: count(t.sort().values, o.sort().values, k), "are wrong, index"),
    ],
    "macro_f1": [
        (naive_f1, "more frequent. For a class that is never answered the result is nan"),
        (naive_f1, "do you divide 0 by 0?"),
        (macro_skipping, "left out"),
        (lambda C: per_class(C)[1].nanmean(), "mean recall alone"),
        (lambda C: macro_in_numpy(C[:3, :3]), "the number is"),
        (lambda C: sklearn.metrics.f1_score(C.flatten() > 9, C.flatten() > 3), "the number is"),
        (lambda C: round(macro_in_numpy(C), 3), "the number is"),
        (lambda C: C.fill_diagonal_(9).diag().sum() / C.sum(), "changes `C` in place"),
        (lambda C: torch.full((4,), macro_in_numpy(C)), "one number, got shape (4,)"),
    ],
    "largest_error_rate": [
        (lambda n: 1 - chapter["wilson"](n, n)[0], "Wilson's upper end"),
        (lambda n: round(1 - 0.05 ** (1 / n), 3), "the number is"),
        (lambda n: 1 - 0.05 ** (1 / 100), "the number is"),
        (lambda n: 1 - 0.05 ** (1 / (n + 1)), "the number is"),
        (lambda n: 1 - 0.05**n, "the number is"),
        (lambda n: 0.05 / n, "the number is"),
    ],
    "equal_number_ece": [
        (lambda c, r, n: bins(c, r, n, sort=False).mean(), "not sorted"),
        (lambda c, r, n: bins(c, r, n, sort_hits=False).mean(), "same order"),
        (lambda c, r, n: bins(c, r, n, gap=torch.Tensor.clone).mean(), "cancel"),
        (lambda c, r, n: bins(c, r, n, gap=torch.square).mean() ** 0.5, "the number is"),
        (lambda c, r, n: bins(c, r, n).median(), "the number is"),
        (lambda c, r, n: bins(c, r, 5).mean(), "raised"),
        (lambda c, r, n: bins(c.copy_(c.sort().values), r, n).mean(), "changes `c` in place"),
        (lambda c, r, n: bins(c, r, n), "one number, got shape (5,)"),
    ],
    "accuracy": [
        (chapter["suspicious_accuracy"], "autograd records every step"),
        (lambda *a: measure(*a, switch=False, back=False), "reads in train mode"),
        (lambda *a: measure(*a, back=False), "does not leave `argument 1` in the mode"),
        (half_restored, "does not leave `model.norm` in the mode"),
        (lambda *a: measure(*a, graphs=True), "autograd records every step"),
        (frozen, "changes `model.weight.requires_grad`"),
        (lambda *a: measure(*a, last=False), "left out, but the division"),
        (lambda *a: int(100 * measure(*a)) / 100, "the number is 0.76, expected 0.769231"),
        (lambda m, x, t, n: measure(m, x[:n], t[:n], n), "the number is"),
        (whole, "24 digits were read at once"),
        (changing, "changes `model.norm.running_mean`"),
        (lambda *a: str(measure(*a)), "expected numbers, got str"),
    ],
}


@pytest.mark.parametrize(("name", "answer", "message"), cases(WRONG))
def test_mistakes_are_named(name, answer, message):
    assert_wrong(getattr(check, name)(answer), message)
