"""The checks of *What is in the data* accept right answers and name each plausible mistake."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mnist_course.checks import data as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong

CHAPTER = definitions("data")


@pytest.mark.parametrize("name", ["normalise", "one_hot", "split", "nearest_mean"])
def test_the_solution_in_the_chapter_is_right(name: str) -> None:
    assert_right(getattr(check, name)(CHAPTER[f"solution_{name}"]))


@pytest.mark.parametrize("name", ["normalise", "one_hot", "nearest_mean"])
def test_an_unwritten_answer_is_not_an_error(name: str) -> None:
    assert_not_begun(getattr(check, name)(CHAPTER[f"my_{name}"]))


@pytest.mark.parametrize(
    "answer",
    [
        lambda x, mean, std: x.float().sub(255 * mean).div(255 * std),
        lambda x, mean, std: torch.from_numpy((x.numpy() / 255.0 - mean) / std),
        lambda x, mean, std: torch.stack([(image / 255 - mean) / std for image in x]),
        lambda x, mean, std: torch.tensor([(v / 255 - mean) / std for v in range(256)])[x.long()],
    ],
)
def test_normalising_in_any_style_is_right(answer) -> None:
    assert_right(check.normalise(answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, mean, std: (x.float() / 255 - 0.1307) / 0.3081, "use MNIST's 0.1307 and"),
        (lambda x, mean, std: (x / 255 - mean) / 0.3081, "use MNIST's deviation"),
        (lambda x, mean, std: ((x / 255 - mean) / std).view(-1, 1, 28, 28), "raised RuntimeError"),
        (lambda x, *_: (x / 255 - (x / 255).mean()) / (x / 255).std(), "those you were given"),
        (lambda x, mean, std: ((x / 255 - mean) / std).flatten(1), "shape (1, 784)"),
        (lambda x, mean, std: ((x[:1] / 255 - mean) / std).expand_as(x), "3 images of bytes"),
        (lambda x, mean, std: ((x / 255 - mean) / std).tolist(), "asks for a tensor"),
        (lambda x, mean, std: (x.float() / x.max() - mean) / std, "divide by the largest byte"),
        (lambda x, mean, std: ((x / 255 - mean) / std).half(), "numbers are not"),
        (lambda x, mean, std: (x // 255 - mean) / std, "numbers are not"),
        (lambda x, mean, std: None, "returned None"),
        (lambda x, mean, std: x / undefined, "NameError"),  # type: ignore[name-defined]  # noqa: F821
    ],
)
def test_normalise_names_the_mistake(answer, message) -> None:
    assert_wrong(check.normalise(answer), message)


def in_loops(labels, classes):
    rows = torch.zeros(len(labels), classes, dtype=torch.uint8)
    for n, label in enumerate(labels):
        rows[n, label] = 1
    return rows


@pytest.mark.parametrize(
    "answer",
    [
        in_loops,
        lambda y, k: torch.eye(k)[y],
        lambda y, k: torch.zeros(len(y), k).scatter_(1, y[:, None], 1.0),
        lambda y, k: (y[:, None] == torch.arange(k)).long(),
    ],
)
def test_one_hot_vectors_may_be_of_any_numbers(answer) -> None:
    assert_right(check.one_hot(answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda y, k: y[:, None] == torch.arange(k), "torch.bool; the exercise asks for floating"),
        (lambda y, k: F.one_hot(y, k), "calls F.one_hot"),
        (lambda y, k: torch.eye(k)[y].tolist(), "asks for a tensor"),
        (lambda y, k: (y[None] == torch.arange(k)[:, None]).double(), "axes are exchanged"),
        (lambda y, k: (y[:, None] != torch.arange(k)).double(), "exchanged"),
        (lambda y, k: (y[:, None] == torch.arange(1, k + 1)).double(), "starts at 0"),
        (lambda y, k: torch.eye(k)[y] * y[:, None], "has a 1 there"),
        (lambda y, k: torch.eye(10)[y], "has shape (4, 10)"),
        (lambda y, k: torch.eye(k)[y[:1]].expand(len(y), k), "numbers are not"),
        (lambda y, k: torch.eye(k), "shape"),
        (lambda y, k: torch.zeros(len(y), k), "largest difference is 1"),
        (lambda y, k: y.double(), "shape"),
    ],
)
def test_one_hot_names_the_mistake(answer, message) -> None:
    assert_wrong(check.one_hot(answer), message)


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


@pytest.mark.parametrize("answer", [shuffled, by_numpy, by_mask])
def test_a_split_in_any_style_is_right(answer) -> None:
    assert_right(check.split(answer))


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


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (CHAPTER["split"], "41 of 42 training images have another image's label"),
        (lambda x, y, n, seed: cut(x, y, n), "Nothing is shuffled"),
        (of_one_end, "simply one end of the data"),
        (in_place, "changes `x` in place"),
        (unseeded, "same seed"),
        (lambda x, y, n, seed: shuffled(x, y, n, 3), "Another seed"),
        (
            lambda *given: shuffled(*given, lambda x, y, n: ((x[:-n], y[:-n]), (x[:n], y[:n]))),
            "in both parts",
        ),
        (of(lambda a, b, c, d: ((a, b), (c[:1].expand_as(c), d[:1].expand_as(d)))), "in neither"),
        (lambda x, y, n, seed: shuffled(x, y, 8, seed), "have 22 and 8 images, expected 18 and 12"),
        (of(lambda a, b, c, d: ((c, d), (a, b))), "expected 42 and 8"),
        (of(lambda a, b, c, d: ((a, b[1:]), (c, d))), "as many labels as images"),
        (
            of(lambda a, b, c, d: ((list(a), list(b)), (c, d))),
            "labels, got list and list",
        ),
        (of(lambda a, b, c, d: ((a.numpy(), b.numpy()), (c, d))), "got ndarray and ndarray"),
        (of(lambda a, b, c, d: ((a, c), (b, d))), "labels of shape (8, 1, 2, 3); there"),
        (of(lambda a, b, c, d: ((b, a), (d, c))), "has images of shape (42,)"),
        (of(lambda a, b, c, d: ((a / 255, b), (c / 255, d))), "as they were given"),
        (of(lambda a, b, c, d: (a, b, c, d)), "two pairs"),
        (of(lambda a, b, c, d: (torch.tensor(1), torch.tensor(2))), "two pairs"),
        (of(lambda a, b, c, d: {"train": (a, b), "valid": (c, d)}), "two pairs"),
        (of(lambda a, b, c, d: torch.zeros(2, 2)), "images of shape () and labels of shape ()"),
        (with_pixels_mixed, "none of those given"),
        (lambda x, y, n, seed: 1, "two pairs"),
    ],
)
def test_split_names_the_mistake(answer, message) -> None:
    assert_wrong(check.split(answer), message)


def by(function):
    def nearest(images, labels, queries):
        x, q = images.float().flatten(1), queries.float().flatten(1)
        return function(x, labels, q)

    return nearest


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


@pytest.mark.parametrize("answer", [one_by_one, by_matrices])
def test_the_nearest_mean_in_single_precision_is_right(answer) -> None:
    assert_right(check.nearest_mean(by(answer)))


def of_classes_in_order(x, labels, q):
    """Right only where the training images come class after class."""
    ends = labels.bincount().tolist()
    means = torch.stack([part.mean(0) for part in x.split(ends)])
    return torch.cdist(q, means).argmin(1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (by(lambda x, y, q: (q[:, None] - centres(x, y)).abs().sum(2).argmin(1)), "their squares"),
        (by(of_classes_in_order), "training images in any order"),
        (by(lambda x, y, q: torch.cdist(q, centres(x, y)).min(1).values), "wrong"),
        (by(lambda x, y, q: torch.cdist(q, centres(x, y))), "one digit for each picture"),
        (by(lambda x, y, q: torch.cdist(q, centres(x, y)).argmin(1).float()), "torch.int64"),
        (by(lambda x, y, q: torch.cdist(q, centres(x, y)).argmin(1).tolist()), "asks for a tensor"),
        (by(lambda x, y, q: torch.cdist(q, centres(x, y)).argmin(0)), "shape (10,)"),
        (lambda x, y, q: x.flatten(1).mean(0), "raised RuntimeError"),
    ],
)
def test_nearest_mean_names_the_mistake(answer, message) -> None:
    assert_wrong(check.nearest_mean(answer), message)
