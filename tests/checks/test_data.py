"""The checks of chapter 2: answers in other styles, and mistakes beyond those of the tables."""

import numpy as np
import torch
from torch.nn import functional as F

from mnist_course.checks import data as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("data")
NAMES = {name: name for name in check.__all__ if name != "split"}
test_the_chapter = of_the_chapter(check, chapter, NAMES)


def one_hot_in_loops(labels, classes):
    rows = torch.zeros(len(labels), classes, dtype=torch.uint8)
    for n, label in enumerate(labels):
        rows[n, label] = 1
    return rows


def cut(x, y, n):
    return (x[n:], y[n:]), (x[:n], y[:n])


def shuffled(x, y, n, seed, rows=cut):
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return rows(x[order], y[order], n)


def by_numpy(x, y, n, seed):
    order = np.random.default_rng(seed).permutation(len(x))
    return [[part[order[n:]] for part in (x, y)], [part[order[:n]] for part in (x, y)]]


def by_mask(x, y, n, seed):
    torch.manual_seed(seed)
    chosen = torch.zeros(len(x), dtype=torch.bool)
    chosen[torch.randperm(len(x))[-n:]] = True
    return (x[~chosen], y[~chosen]), (x[chosen], y[chosen])


def unseeded(x, y, n, seed):
    order = torch.randperm(len(x))
    return cut(x[order], y[order], n)


def of_one_end(x, y, n, seed):
    train, valid = cut(x, y, n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    return train, (valid[0][order], valid[1][order])


def in_place(x, y, n, seed):
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    x[:], y[:] = x[order], y[order]
    return cut(x, y, n)


def with_pixels_mixed(x, y, n, seed):
    return shuffled(x.flatten()[torch.arange(x.numel()) // 2].view_as(x), y, n, seed)


def of(change):
    """The right parts, changed: ``change(train_x, train_y, valid_x, valid_y)``."""
    return lambda *given: change(*(tensor for part in shuffled(*given) for tensor in part))


def by(function):
    """The nearest mean, in single precision."""
    return lambda images, labels, queries: function(
        images.float().flatten(1), labels, queries.float().flatten(1)
    )


def centres(x, labels):
    return torch.stack([x[labels == digit].mean(0) for digit in range(10)])


def one_by_one(x, labels, q):
    answers = []
    for query in q:
        distances = [((query - centre) ** 2).sum().item() for centre in centres(x, labels)]
        answers.append(distances.index(min(distances)))
    return torch.tensor(answers)


def by_matrices(x, labels, q):
    member = torch.eye(10)[labels]
    means = (member.T @ x) / member.sum(0)[:, None]
    return ((means**2).sum(1) - 2 * q @ means.T).min(1).indices


def of_classes_in_order(x, labels, q):
    """Right only where the training images come class after class."""
    means = torch.stack([part.mean(0) for part in x.split(labels.bincount().tolist())])
    return torch.cdist(q, means).argmin(1)


RIGHT = {
    "normalise": [
        lambda x, mean, std: x.float().sub(255 * mean).div(255 * std),
        lambda x, mean, std: torch.from_numpy((x.numpy() / 255.0 - mean) / std),
        lambda x, mean, std: torch.stack([(image / 255 - mean) / std for image in x]),
        lambda x, mean, std: torch.tensor([(v / 255 - mean) / std for v in range(256)])[x.long()],
    ],
    "one_hot": [
        one_hot_in_loops,
        lambda y, k: torch.eye(k)[y],
        lambda y, k: torch.zeros(len(y), k).scatter_(1, y[:, None], 1.0),
        lambda y, k: (y[:, None] == torch.arange(k)).long(),
    ],
    "split": [chapter["solution_split"], shuffled, by_numpy, by_mask],
    "nearest_mean": [by(one_by_one), by(by_matrices)],
}
WRONG = {
    "normalise": [
        (lambda x, mean, std: ((x / 255 - mean) / std).view(-1, 1, 28, 28), "raised RuntimeError"),
        (lambda x, *_: (x / 255 - (x / 255).mean()) / (x / 255).std(), "those you were given"),
        (lambda x, mean, std: ((x / 255 - mean) / std).flatten(1), "shape (1, 784)"),
        (lambda x, mean, std: ((x / 255 - mean) / std).half(), "numbers are not"),
        (lambda x, mean, std: (x // 255 - mean) / std, "numbers are not"),
    ],
    "one_hot": [
        (lambda y, k: y[:, None] == torch.arange(k), "torch.bool; the exercise asks for floating"),
        (lambda y, k: F.one_hot(y, k), "calls F.one_hot"),
        (lambda y, k: torch.eye(k)[y].tolist(), "asks for a tensor"),
        (lambda y, k: (y[None] == torch.arange(k)[:, None]).double(), "axes are exchanged"),
        (lambda y, k: (y[:, None] != torch.arange(k)).double(), "exchanged"),
        (lambda y, k: (y[:, None] == torch.arange(1, k + 1)).double(), "starts at 0"),
        (lambda y, k: torch.eye(k)[y] * y[:, None], "has a 1 there"),
        (lambda y, k: torch.eye(10)[y], "has shape (4, 10)"),
        (lambda y, k: torch.eye(k)[y[:1]].expand(len(y), k), "numbers are not"),
        (lambda y, k: torch.zeros(len(y), k), "largest difference is 1"),
        (lambda y, k: y.double(), "shape"),
    ],
    "split": [
        (chapter["split"], "41 of 42 training images have another image's label"),
        (lambda x, y, n, seed: cut(x, y, n), "Nothing is shuffled"),
        (of_one_end, "simply one end of the data"),
        (in_place, "changes `x` in place"),
        (unseeded, "same seed"),
        (lambda x, y, n, seed: shuffled(x, y, n, 3), "Another seed"),
        (lambda x, y, n, seed: ((x[:-n], y[:-n]), (x[:n], y[:n])), "in both parts"),
        (of(lambda a, b, c, d: ((a, b), (c[:1].expand_as(c), d[:1].expand_as(d)))), "in neither"),
        (lambda x, y, n, seed: shuffled(x, y, 8, seed), "have 22 and 8 images, expected 18 and 12"),
        (of(lambda a, b, c, d: ((c, d), (a, b))), "expected 42 and 8"),
        (of(lambda a, b, c, d: ((a, b[1:]), (c, d))), "has 42 images, but 41 labels"),
        (of(lambda a, b, c, d: ((list(a), list(b)), (c, d))), "got list and list"),
        (of(lambda a, b, c, d: ((a.numpy(), b.numpy()), (c, d))), "got ndarray and ndarray"),
        (of(lambda a, b, c, d: ((a, c), (b, d))), "got shape (42, 1, 2, 3) and shape (8, 1, 2, 3)"),
        (of(lambda a, b, c, d: ((b, a), (d, c))), "got shape (42,) and shape (42, 1, 2, 3)"),
        (of(lambda a, b, c, d: ((a / 255, b), (c / 255, d))), "as they were given"),
        (of(lambda a, b, c, d: (a, b, c, d)), "two pairs"),
        (of(lambda a, b, c, d: {"train": (a, b), "valid": (c, d)}), "two pairs"),
        (of(lambda a, b, c, d: torch.zeros(2, 2)), "got shape () and shape ()"),
        (with_pixels_mixed, "none of those given"),
        (lambda *given: 1, "two pairs"),
    ],
    "nearest_mean": [
        (by(lambda x, y, q: (q[:, None] - centres(x, y)).abs().sum(2).argmin(1)), "their squares"),
        (by(of_classes_in_order), "training images in any order"),
        (by(lambda x, y, q: torch.cdist(q, centres(x, y)).min(1).values), "wrong"),
        (by(lambda x, y, q: torch.cdist(q, centres(x, y))), "one digit for each picture"),
        (by(lambda x, y, q: torch.cdist(q, centres(x, y)).argmin(1).float()), "torch.int64"),
        (by(lambda x, y, q: torch.cdist(q, centres(x, y)).argmin(0)), "shape (10,)"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)
