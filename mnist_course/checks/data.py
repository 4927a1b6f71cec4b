"""Checks of chapter 2, what is in the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks import (
    NotSolvedError,
    compare,
    compared,
    exercise,
    run,
    same,
    uniform,
    without,
)

__all__ = ["nearest_mean", "normalise", "one_hot", "split"]


def _bytes(*shape: int, low: int = 0, high: int = 255) -> Tensor:
    return (low + (high + 1 - low) * uniform(*shape)).byte()


@compared(
    cases={
        "1 image of bytes": (_bytes(1, 1, 28, 28), 0.1307, 0.3081),
        "3 images of bytes": (_bytes(3, 1, 28, 28), 0.286, 0.353),
        "2 images of 5×7 bytes from 20 to 200": (_bytes(2, 1, 5, 7, low=20, high=200), 0.5, 0.25),
    },
    case="{case} with mean {mean} and deviation {std}",
    mistakes={
        "The pixels are still bytes when you subtract the mean: divide by 255 first.": (
            lambda images, mean, std: (images - mean) / std
        ),
        "The mean is subtracted, but nothing is divided by the deviation.": (
            lambda images, mean, std: images / 255 - mean
        ),
        "Divide the whole difference: (x - mean) / std, with the brackets.": (
            lambda images, mean, std: images / 255 - mean / std
        ),
        "You use the mean and deviation of these images; use those you were given.": tuple(
            lambda images, mean, std, n=n: (
                (images / 255 - (images / 255).mean()) / (images / 255).std(correction=n)
            )
            for n in (0, 1)
        ),
        "For {case} you divide by the largest byte of these; divide by 255, whatever is in them.": (
            lambda images, mean, std: (images / images.max() - mean) / std
        ),
        "For {case} you use MNIST's 0.1307 or 0.3081; use those you were given.": (
            lambda images, mean, std: (images / 255 - 0.1307) / 0.3081,
            lambda images, mean, std: (images / 255 - 0.1307) / std,
            lambda images, mean, std: (images / 255 - mean) / 0.3081,
        ),
    },
    right="Bytes become pixels with the mean and deviation you were given.",
)
def normalise(images: Tensor, mean: float, std: float) -> Tensor:
    """Check ``function(images, mean, std)``: bytes (N, 1, H, W) to normalised pixels."""
    return (images / 255 - mean) / std


@exercise
@without("one_hot")
def one_hot(function: Callable[..., Any]) -> str:
    """Check ``function(labels, classes)``: class indices to one-hot vectors.

    They may be whole or floating-point numbers.
    """
    for labels, classes in (([3], 10), ([0, 2, 1, 2], 3), ([4, 0], 7)):
        answer = run(function, torch.tensor(labels), classes)
        expected = F.one_hot(torch.tensor(labels), classes).double()
        if isinstance(answer, Tensor) and answer.dtype != torch.bool:
            expected = expected.to(answer.dtype)
        compare(
            answer,
            expected,
            f"labels {labels} and {classes} classes",
            mistakes={
                "The axes are exchanged: one row for each label.": expected.T,
                "Ones and zeros are exchanged.": 1 - expected,
                "Counting starts at 0: class 0 is the first column.": expected.roll(-1, dims=1),
                "The class stands in its place; a one-hot vector has a 1 there.": (
                    expected * torch.tensor(labels)[:, None]
                ),
            },
        )
    return "One row for each label, with a single 1 at the class index."


_Parts = dict[str, tuple[Tensor, Tensor]]


@exercise
def split(function: Callable[..., Any]) -> str:
    """Check ``function(images, labels, validation, seed)``: two parts of a data set.

    Each image has its own label, so that the check sees which belong together.
    """
    for count, validation, seed in ((50, 8, 0), (30, 12, 5), (7, 1, 3)):
        _split(function, count, validation, seed)
    kept = _split(function, 50, 8, 0)
    if any(same(kept.sort().values, torch.arange(50)[end]) for end in (slice(8), slice(-8, None))):
        raise NotSolvedError(
            "Nothing is shuffled: the validation part is simply one end of the data."
        )
    if not same(_split(function, 50, 8, 0), kept):
        raise NotSolvedError(
            "The same seed gives another split when called again: pass it to a Generator."
        )
    if any(same(_split(function, 50, 8, seed), kept) for seed in (1, 2)):
        raise NotSolvedError("Another seed gives the same split: is the seed used?")
    return "Each image keeps its label, no image is in both parts, and the seed decides."


def _split(function: Callable[..., Any], count: int, validation: int, seed: int) -> Tensor:
    """The labels of the validation part, if all images and labels are where they should be."""
    images, labels = torch.arange(count * 6).view(count, 1, 2, 3), torch.arange(count)
    parts = _parts(run(function, images, labels, validation, seed))
    got, expected = [len(x) for x, _ in parts.values()], [count - validation, validation]
    if got != expected:
        raise NotSolvedError(
            "The parts have {} and {} images, expected {} and {}.".format(*got, *expected)
        )
    for name, (x, y) in parts.items():
        _keeps_labels(name, x, y, images)
    (_, train_y), (_, valid_y) = parts.values()
    if set(train_y.tolist()) & set(valid_y.tolist()):
        raise NotSolvedError("Some images are in both parts.")
    if len(set(train_y.tolist()) | set(valid_y.tolist())) < count:
        raise NotSolvedError("Some images are in neither part.")
    return valid_y


def _parts(answer: Any) -> _Parts:
    """Images and labels of both parts."""
    try:
        (train_x, train_y), (valid_x, valid_y) = answer
    except (TypeError, ValueError):
        raise NotSolvedError(
            "Return two pairs: (training images, labels), (validation images, labels)."
        ) from None
    parts = {"training": (train_x, train_y), "validation": (valid_x, valid_y)}
    for name, (x, y) in parts.items():
        if not (isinstance(x, Tensor) and isinstance(y, Tensor) and x.ndim and y.ndim == 1):
            raise NotSolvedError(
                f"The {name} part should be a tensor of images and a tensor of labels, with an "
                f"axis of images each; got {_kind(x)} and {_kind(y)}."
            )
        if len(x) != len(y):
            raise NotSolvedError(f"The {name} part has {len(x)} images, but {len(y)} labels.")
    return parts


def _kind(part: Any) -> str:
    return f"shape {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__


def _keeps_labels(name: str, x: Tensor, y: Tensor, images: Tensor) -> None:
    """Raise what is wrong if the rows of x are not images, or y not their labels."""
    if (x.shape[1:], x.dtype, y.dtype) != (images.shape[1:], images.dtype, torch.int64):
        raise NotSolvedError(
            f"The {name} part has images of shape {tuple(x.shape)} and {x.dtype} and labels of "
            f"{y.dtype}; expected {(len(x), *images.shape[1:])} of {images.dtype} and torch.int64, "
            "as they were given."
        )
    found = (x.flatten(1)[:, None] == images.flatten(1)).all(dim=2)
    if not found.any(dim=1).all():
        raise NotSolvedError(
            f"Some {name} images are none of those given: the pixels of an image stay together."
        )
    apart = int((found.int().argmax(dim=1) != y).sum())
    if apart:
        raise NotSolvedError(
            f"{apart} of {len(y)} {name} images have another image's label: "
            "images and labels must be put into the same order."
        )


def _digits(queries: int, *, mixed: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Bytes around ten centres, classes of unequal size, and pictures between two centres.

    Every second picture has spots, which count for more in squares than in absolute values.
    """
    labels = torch.cat([torch.full((3 + digit % 3,), digit) for digit in range(10)])
    if mixed:
        labels = labels[uniform(len(labels)).argsort()]
    centres = 40 + 176 * uniform(10, 1, 28, 28)
    images = centres[labels] + 80 * uniform(len(labels), 1, 28, 28, seed=1) - 40
    place = torch.arange(queries)
    one, other = centres[place // 2 % 10], centres[(3 * (place // 2) + 1) % 10]
    spots = torch.where(other > one, 255.0, 0.0)
    spotted = torch.where(uniform(*one.shape, seed=2) < 0.14, spots, 0.6 * one + 0.4 * other)
    between = torch.where(place[:, None, None, None] % 2 == 0, 0.502 * one + 0.498 * other, spotted)
    return images.byte(), labels, between.byte()


def _means(images: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([_flat(images)[labels == digit].mean(dim=0) for digit in range(10)])


def _flat(images: Tensor) -> Tensor:
    return images.double().flatten(1)


def _distances(images: Tensor, labels: Tensor, queries: Tensor, p: float = 2) -> Tensor:
    return torch.cdist(_flat(queries), _means(images, labels), p=p)


def _wrapped(images: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    difference = queries.flatten(1)[:, None] - _means(images, labels).byte()
    return difference.double().norm(dim=2).argmin(dim=1)


@compared(
    cases={
        "40 pictures between ten averages": _digits(40, mixed=False),
        "30 pictures, and training images in any order": _digits(30, mixed=True),
        "one picture": _digits(1, mixed=True),
    },
    mistakes={
        "You answer with the nearest single image, not with the nearest average.": (
            lambda images, labels, queries: labels[
                torch.cdist(_flat(queries), _flat(images)).argmin(dim=1)
            ]
        ),
        "You subtract bytes, which wrap around below 0: convert to floats first.": _wrapped,
        "You add up the absolute differences; Euclidean distance adds up their squares.": (
            lambda images, labels, queries: _distances(images, labels, queries, p=1).argmin(dim=1)
        ),
        "You answer with the largest product of picture and average, which a bright average wins; "
        "take the smallest distance.": lambda images, labels, queries: (
            _flat(queries) @ _means(images, labels).T
        ).argmax(dim=1),
    },
    right="The nearest of ten averages answers.",
    shape="one digit for each picture",
)
def nearest_mean(images: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """Check ``function(images, labels, queries)``: the digit with the nearest average image."""
    return _distances(images, labels, queries).argmin(dim=1)
