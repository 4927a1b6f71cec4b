"""The checks of chapter 19: answers in other styles, and mistakes beyond those of the tables."""

import math

import numpy as np
import scipy.stats
import sklearn.metrics
import torch
from sklearn.metrics import confusion_matrix as by_sklearn
from torch.nn import functional as F

from mnist_course.checks import evaluation as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("evaluation")
test_the_chapter = of_the_chapter(check, chapter, {name: name for name in check.__all__})
count = chapter["solution_confusion"]


def confusion_by_loop(labels, predictions, classes):
    C = torch.zeros(classes, classes, dtype=torch.int64)
    for t, o in zip(labels, predictions, strict=True):
        C[t, o] += 1
    return C


def f1_by_sklearn(C):
    """F1 from a matrix turned back into answers."""
    t, o = C.nonzero().repeat_interleave(C[C > 0], dim=0).T
    return sklearn.metrics.f1_score(t, o, labels=range(len(C)), average="macro", zero_division=0.0)


def macro_in_numpy(C):
    C = C.numpy().astype(float)
    scores = []
    for k in range(len(C)):
        sums = C[k].sum() + C[:, k].sum()
        scores.append(2 * C[k, k] / sums if sums else 0)
    return np.mean(scores)


def naive_f1(C, mean=torch.mean):
    hits = C.diagonal().double()
    p, r = hits / C.sum(0), hits / C.sum(1)
    return mean(2 * p * r / (p + r))


def ece_in_chunks(confidence, right, bins):
    order, total = confidence.sort(descending=True).indices, 0.0
    for part in order.chunk(bins):
        total += abs(right[part].sum() - confidence[part].sum()).item()
    return total / len(order)


def by_quantiles(c, hits, n):
    place = torch.bucketize(c, c.quantile(torch.arange(1, n) / n))
    gaps = [(hits[place == k].double() - c[place == k]).mean() for k in range(n)]
    return torch.stack(gaps).abs().mean()


def gaps(c, hits, n, dtype=torch.float64):
    order = c.argsort()
    return (hits[order].to(dtype).view(n, -1).mean(1) - c[order].view(n, -1).mean(1)).abs()


def by_halving(total):
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - middle) ** total > 0.05 else (low, middle)
    return low


def auc_by_loop(scores, positive):
    won = 0.0
    for high in scores[positive]:
        for low in scores[~positive]:
            won += 1 if high > low else 0.5 if high == low else 0
    return won / (positive.sum() * (~positive).sum())


def auc_by_ranks(scores, positive):
    ranks = scipy.stats.rankdata(scores.numpy())
    n, m = int(positive.sum()), int((~positive).sum())
    return (ranks[positive.numpy()].sum() - n * (n + 1) / 2) / (n * m)


RIGHT = {
    "confusion": [
        confusion_by_loop,
        lambda t, o, k: torch.tensor(by_sklearn(t, o, labels=range(k))),
        lambda t, o, k: F.one_hot(t, k).T @ F.one_hot(o, k),
    ],
    "macro_f1": [
        f1_by_sklearn,
        macro_in_numpy,
        lambda C: (2 * C.diag() / (C.sum(0) + C.sum(1))).nan_to_num().mean(),
    ],
    "equal_number_ece": [
        lambda c, r, n: gaps(c, r.float(), n, torch.float32).mean(),
        ece_in_chunks,
        by_quantiles,
    ],
    "largest_error_rate": [
        lambda n: -math.expm1(math.log(0.05) / n),
        lambda n: 1 - torch.tensor(0.05) ** (1 / n),
        lambda n: 1 - np.exp(np.log(0.05) / n),
        by_halving,
    ],
    "auc": [
        auc_by_loop,
        auc_by_ranks,
        lambda s, y: sklearn.metrics.roc_auc_score(y, s),
        lambda s, y: chapter["solution_auc"](s.float(), y).float(),
    ],
}
WRONG = {
    "confusion": [
        (lambda t, o, k: torch.tensor(by_sklearn(t, o)), "Take the size from `classes`"),
        (lambda t, o, k: count(t, o, k).double(), "the exercise asks for torch.int64"),
        (lambda t, o, k: count(t, o, k).int(), "the exercise asks for torch.int64"),
        (lambda t, o, k: by_sklearn(t, o, labels=range(k)), "a NumPy array"),
        (lambda t, o, k: count(t, o, k).diagonal(), "has shape"),
        (lambda t, o, k: count(t[1:], o[1:], k), "of 9 are wrong"),
        (lambda t, o, k: count(t.sort().values, o.sort().values, k), "are wrong, index"),
    ],
    "macro_f1": [
        (naive_f1, "more frequent. For a class that is never answered the result is nan: do you"),
        (lambda C: naive_f1(C, torch.nanmean), "left out"),
        (lambda C: (C.diagonal() / C.sum(1)).nanmean(), "mean recall alone"),
        (lambda C: macro_in_numpy(C[:3, :3]), "the number is"),
        (lambda C: sklearn.metrics.f1_score(C.flatten() > 9, C.flatten() > 3), "the number is"),
        (lambda C: round(macro_in_numpy(C), 3), "the number is"),
        (lambda C: C.fill_diagonal_(9).diag().sum() / C.sum(), "changes `C` in place"),
        (lambda C: torch.full((4,), macro_in_numpy(C)), "one number, got shape (4,)"),
    ],
    "largest_error_rate": [
        (lambda n: 1 - chapter["wilson"](n, n)[0], "Wilson's upper end"),
        (lambda n: round(1 - 0.05 ** (1 / n), 3), "the number is"),
        (lambda n: 1 - 0.05 ** (1 / (n + 1)), "the number is"),
        (lambda n: 1 - 0.05**n, "the number is"),
        (lambda n: 0.05 / n, "the number is"),
    ],
    "equal_number_ece": [
        (lambda c, r, n: (gaps(c, r, n) ** 2).mean() ** 0.5, "the number is"),
        (lambda c, r, n: gaps(c, r, n).median(), "the number is"),
        (lambda c, r, n: gaps(c.copy_(c.sort().values), r, n).mean(), "changes `c` in place"),
        (lambda c, r, n: gaps(c, r, n), "one number, got shape (5,)"),
    ],
    "auc": [
        (lambda s, y: (s[y][:, None] > s[~y]).double().mean(), "you count it as lost"),
        (lambda s, y: (s[y][:, None] >= s[~y]).double().mean(), "you count it as won"),
        (lambda s, y: sklearn.metrics.average_precision_score(y, s), "the number is"),
        (lambda s, y: ((s > 0.5) == y).double().mean(), "the number is"),
        (lambda s, y: (s[y][:, None] - s[~y]).mean(), "the number is"),
        (lambda s, y: s.sort().values.mean(), "the number is"),
        (lambda s, y: (s[y][:, None] > s[~y]).double(), "one number, got shape"),
        (lambda s, y: chapter["solution_auc"](s.sub_(s.min()), y), "changes `s` in place"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)
