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
    normal,
    run,
    same,
    uniform,
    without,
)

__all__ = ["nearest_mean", "normalise", "one_hot", "split"]


def _bytes(*shape: int) -> Tensor:
    return (256 * uniform(*shape)).byte()


@compared(
    cases={
        "1 images of bytes": (_bytes(1, 1, 28, 28), 0.1307, 0.3081),
        "3 images of bytes": (_bytes(3, 1, 28, 28), 0.286, 0.353),
        "2 images of 5×7 bytes": (_bytes(2, 1, 5, 7), 0.5, 0.25),
    },
    case="{case} with mean {mean} and deviation {std}",
    mistakes={
        "The pixels are still bytes when you subtract the mean: divide by 255 first.": (
            lambda images, mean, std: (images - mean) / std
        ),
        "You divide by 255 twice.": lambda images, mean, std: (images / 255 / 255 - mean) / std,
        "The mean is subtracted, but nothing is divided by the deviation.": (
            lambda images, mean, std: images / 255 - mean
        ),
        "Divide the whole difference: (x - mean) / std, with the brackets.": (
            lambda images, mean, std: images / 255 - mean / std
        ),
        "You divide by the deviation first; the mean is subtracted first.": (
            lambda images, mean, std: images / 255 / std - mean
        ),
        "You multiply by the deviation; divide by it.": (
            lambda images, mean, std: (images / 255 - mean) * std
        ),
        "The bytes go from 0 to 255: divide by 255, not by 256.": (
            lambda images, mean, std: (images / 256 - mean) / std
        ),
        "You use the mean and deviation of these images; use those you were given.": tuple(
            lambda images, mean, std, axes=axes, n=n: (
                (images / 255 - (images / 255).mean(axes, keepdim=True))
                / (images / 255).std(axes, correction=n, keepdim=True)
            )
            for axes in ((0, 1, 2, 3), (1, 2, 3))
            for n in (0, 1)
        ),
        "For {case} you use MNIST's 0.1307 and 0.3081; use those you were given.": (
            lambda images, mean, std: (images / 255 - 0.1307) / 0.3081
        ),
        "For {case} you use MNIST's mean, 0.1307; use the one you were given.": (
            lambda images, mean, std: (images / 255 - 0.1307) / std
        ),
        "For {case} you use MNIST's deviation, 0.3081; use the one you were given.": (
            lambda images, mean, std: (images / 255 - mean) / 0.3081
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


_Part = tuple[Tensor, Tensor]


@exercise
def split(function: Callable[..., Any]) -> str:
    """Check ``function(images, labels, validation, seed)``: two parts of a data set.

    Each image has its own label, so that the check sees which belong together.
    """
    for count, validation, seed in ((50, 8, 0), (30, 12, 5), (7, 1, 3)):
        _split(function, count, validation, seed)
    _, (_, valid_y) = _split(function, 50, 8, 0)
    ends = torch.arange(50)[:8], torch.arange(50)[-8:]
    if any(same(valid_y.sort().values, end) for end in ends):
        raise NotSolvedError(
            "Nothing is shuffled: the validation part is simply one end of the data."
        )
    if not same(_split(function, 50, 8, 0)[1][1], valid_y):
        raise NotSolvedError(
            "The same seed gives another split when called again: pass it to a Generator."
        )
    if any(same(_split(function, 50, 8, seed)[1][1], valid_y) for seed in (1, 2)):
        raise NotSolvedError("Another seed gives the same split: is the seed used?")
    return "Each image keeps its label, no image is in both parts, and the seed decides."


def _split(function: Callable[..., Any], count: int, validation: int, seed: int) -> list[_Part]:
    """The learner's training and validation part, if images and labels are all there."""
    labels = torch.arange(count)
    images = torch.arange(count * 6).view(count, 1, 2, 3)
    parts = run(function, images, labels, validation, seed)
    try:
        training, held_out = parts
        pairs = {"training": tuple(training), "validation": tuple(held_out)}
    except (TypeError, ValueError):
        pairs = {}
    if {len(pair) for pair in pairs.values()} != {2}:
        raise NotSolvedError(
            "Return two pairs: (training images, labels), (validation images, labels)."
        )
    sizes = {"training": count - validation, "validation": validation}
    for name, (x, y) in pairs.items():
        if not (isinstance(x, Tensor) and isinstance(y, Tensor) and x.ndim and y.ndim):
            raise NotSolvedError(
                f"The {name} part is a pair of {type(x).__name__} and {type(y).__name__}; return "
                "a tensor of images and a tensor of labels."
            )
        if len(x) != len(y):
            raise NotSolvedError(f"The {name} part has {len(x)} images and {len(y)} labels.")
    lengths = {name: len(x) for name, (x, _) in pairs.items()}
    if lengths != sizes:
        raise NotSolvedError(
            f"For validation={validation} the parts have {lengths['training']} and "
            f"{lengths['validation']} images, expected {sizes['training']} and {validation}."
        )
    for name, (x, y) in pairs.items():
        _keeps_labels(name, x, y, images, labels)
    _, (_, train_y), (_, valid_y) = None, *pairs.values()
    if set(train_y.tolist()) & set(valid_y.tolist()):
        raise NotSolvedError("Some images are in both parts.")
    if len(set(train_y.tolist() + valid_y.tolist())) < count:
        raise NotSolvedError("Some images are in neither part.")
    return list(pairs.values())
