"""The checks of *What is in the data* accept right answers and name each plausible mistake."""

import pytest
import torch

from mnist_course.checks import data as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_right, assert_wrong

CHAPTER = definitions("data")


@pytest.mark.parametrize("name", ["normalise", "one_hot", "split", "nearest_mean"])
def test_the_solution_in_the_chapter_is_right(name: str) -> None:
    assert_right(getattr(check, name)(CHAPTER[f"solution_{name}"]))


@pytest.mark.parametrize("name", ["normalise", "one_hot", "nearest_mean"])
def test_an_unwritten_answer_is_not_an_error(name: str) -> None:
    assert "Nothing is written yet" in getattr(check, name)(CHAPTER[f"my_{name}"]).message


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, mean, std: (x.double() - mean) / std, "divide by 255 first"),
        (lambda x, mean, std: (x / 255 / 255 - mean) / std, "255 twice"),
        (lambda x, mean, std: x / 255 - mean, "nothing is divided by the deviation"),
        (lambda x, mean, std: x / 255 - mean / std, "brackets"),
        (lambda x, *_: (x / 255 - (x / 255).mean()) / (x / 255).std(), "those you were given"),
        (lambda x, mean, std: ((x / 255 - mean) / std).flatten(1), "shape (1, 784)"),
        (lambda x, mean, std: None, "returned None"),
        (lambda x, mean, std: x / undefined, "NameError"),  # type: ignore[name-defined]  # noqa: F821
    ],
)
def test_normalise_names_the_mistake(answer, message) -> None:
    assert_wrong(check.normalise(answer), message)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda y, k: (y[None] == torch.arange(k)[:, None]).double(), "axes are exchanged"),
        (lambda y, k: (y[:, None] != torch.arange(k)).double(), "exchanged"),
        (lambda y, k: (y[:, None] == torch.arange(1, k + 1)).double(), "starts at 0"),
        (lambda y, k: y.double(), "shape"),
    ],
)
def test_one_hot_names_the_mistake(answer, message) -> None:
    assert_wrong(check.one_hot(answer), message)


def ordered(x, y, n, seed):
    return (x[n:], y[n:]), (x[:n], y[:n])


def unseeded(x, y, n, seed):
    order = torch.randperm(len(x))
    return ordered(x[order], y[order], n, seed)


def constant_seed(x, y, n, seed):
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(3))
    return ordered(x[order], y[order], n, seed)


def overlapping(x, y, n, seed):
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    x, y = x[order], y[order]
    return (x[:-n], y[:-n]), (x[:n], y[:n])


def exchanged(x, y, n, seed):
    first, second = CHAPTER["solution_split"](x, y, n, seed)
    return second, first


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (CHAPTER["split"], "another image's label"),
        (ordered, "Nothing is shuffled"),
        (unseeded, "same seed"),
        (constant_seed, "Another seed"),
        (overlapping, "in both parts"),
        (exchanged, "expected 42 and 8"),
        (lambda x, y, n, seed: 1, "two pairs"),
    ],
)
def test_split_names_the_mistake(answer, message) -> None:
    assert_wrong(check.split(answer), message)


def by(function):
    def nearest(images, labels, queries):
        x, q = images.double().flatten(1), queries.double().flatten(1)
        return function(x, labels, q)

    return nearest


def centres(x, labels, reduce):
    return torch.stack([reduce(x[labels == digit]) for digit in range(10)])


def with_bytes(images, labels, queries):
    means = centres(images.double().flatten(1), labels, lambda part: part.mean(0)).to(torch.uint8)
    difference = queries.flatten(1)[:, None] - means[None]
    return difference.double().norm(dim=2).argmin(1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            by(lambda x, y, q: torch.cdist(q, centres(x, y, lambda p: p.sum(0))).argmin(1)),
            "the sum",
        ),
        (
            by(lambda x, y, q: torch.cdist(q, centres(x, y, lambda p: p.mean(0))).argmax(1)),
            "farthest",
        ),
        (by(lambda x, y, q: y[torch.cdist(q, x).argmin(1)]), "nearest single image"),
        (with_bytes, "wrap around"),
    ],
)
def test_nearest_mean_names_the_mistake(answer, message) -> None:
    assert_wrong(check.nearest_mean(answer), message)
