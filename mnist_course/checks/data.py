"""Checks of the chapter *What is in the data*."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mnist_course.checks._returning import Verdict, compare, right, run, wrong


def normalise(function: Callable[..., Any]) -> Verdict:
    """Check ``function(images, mean, std)``: bytes to normalised pixels."""
    generator = torch.Generator().manual_seed(0)
    for count in (1, 3):
        images = torch.randint(0, 256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
        pixels, mean, std = images.double() / 255, 0.1307, 0.3081
        hints = (
            (
                "The pixels are still bytes when you subtract the mean: divide by 255 first.",
                (images.double() - mean) / std,
            ),
            ("You divide by 255 twice.", (pixels / 255 - mean) / std),
            ("The mean is subtracted, but nothing is divided by the deviation.", pixels - mean),
            (
                "Divide the whole difference: (x - mean) / std, with the brackets.",
                pixels - mean / std,
            ),
            (
                "You use the mean and deviation of these images; use those you were given.",
                (pixels - pixels.mean()) / pixels.std(),
            ),
        )
        verdict = compare(
            run(function, images, mean, std),
            (pixels - mean) / std,
            f"{count} images of bytes",
            tolerance=1e-4,
            hints=hints,
        )
        if verdict is not None:
            return verdict
    return right("Bytes become pixels with the mean and deviation you were given.")


def one_hot(function: Callable[..., Any]) -> Verdict:
    """Check ``function(labels, classes)``: class indices to one-hot vectors."""
    for labels, classes in ((torch.tensor([3]), 10), (torch.tensor([0, 2, 1, 2]), 3)):
        expected = torch.nn.functional.one_hot(labels, classes).double()
        verdict = compare(
            run(function, labels, classes),
            expected,
            f"labels {labels.tolist()} and {classes} classes",
            hints=(
                ("The axes are exchanged: one row for each label.", expected.T),
                ("Ones and zeros are exchanged.", 1 - expected),
                ("Counting starts at 0: class 0 is the first column.", expected.roll(-1, dims=1)),
            ),
        )
        if verdict is not None:
            return verdict
    return right("One row for each label, with a single 1 at the class index.")


def split(function: Callable[..., Any]) -> Verdict:
    """Check ``function(images, labels, validation, seed)``: two parts of a data set.

    Each image carries its own label in a pixel, so that the check sees which belong together.
    """
    count, validation = 50, 8
    labels = torch.arange(count)
    images = labels[:, None, None, None].expand(count, 1, 2, 2).clone()
    parts = run(function, images, labels, validation, 0)
    if isinstance(parts, Verdict):
        return parts
    try:
        (train_x, train_y), (valid_x, valid_y) = parts
    except (TypeError, ValueError):
        return wrong("Return two pairs: (training images, labels), (validation images, labels).")
    if (len(train_x), len(valid_x)) != (count - validation, validation):
        return wrong(
            f"The parts have {len(train_x)} and {len(valid_x)} images, expected "
            f"{count - validation} and {validation}."
        )
    for name, x, y in (("training", train_x, train_y), ("validation", valid_x, valid_y)):
        if len(x) != len(y):
            return wrong(f"The {name} part has {len(x)} images and {len(y)} labels.")
        apart = int((x[:, 0, 0, 0] != y).sum())
        if apart:
            return wrong(
                f"{apart} of {len(y)} {name} images have another image's label: "
                "images and labels must be put into the same order."
            )
    if set(train_y.tolist()) & set(valid_y.tolist()):
        return wrong("Some images are in both parts.")
    if set(train_y.tolist()) | set(valid_y.tolist()) != set(range(count)):
        return wrong("Some images are in neither part.")
    if torch.equal(valid_y, labels[:validation]) or torch.equal(valid_y, labels[-validation:]):
        return wrong("Nothing is shuffled: the validation part is simply one end of the data.")
    again, other = (
        run(function, images, labels, validation, 0),
        run(function, images, labels, validation, 1),
    )
    if isinstance(again, Verdict) or not torch.equal(again[1][1], valid_y):
        return wrong("The same seed gives another split when called again: pass it to a Generator.")
    if isinstance(other, Verdict) or torch.equal(other[1][1], valid_y):
        return wrong("Another seed gives the same split: is the seed used?")
    return right("Each image keeps its label, no image is in both parts, and the seed decides.")


def nearest_mean(function: Callable[..., Any]) -> Verdict:
    """Check ``function(images, labels, queries)``: the digit with the nearest average image."""
    generator = torch.Generator().manual_seed(0)
    # Classes of unequal size around unequal centres: mistakes then change the answers.
    labels = torch.cat([torch.full((3 + 2 * digit,), digit) for digit in range(10)])
    centres = torch.randint(40, 216, (10, 1, 28, 28), generator=generator)
    noise = torch.randint(-40, 40, (len(labels), 1, 28, 28), generator=generator)
    images = (centres[labels] + noise).to(torch.uint8)
    mixed = torch.rand(40, 10, generator=generator).softmax(dim=1)
    queries = torch.einsum("qd,dchw->qchw", mixed, centres.float()).to(torch.uint8)

    x, q = images.double().flatten(1), queries.double().flatten(1)
    means = torch.stack([x[labels == digit].mean(dim=0) for digit in range(10)])
    sums = torch.stack([x[labels == digit].sum(dim=0) for digit in range(10)])
    bytes_means = means.to(torch.uint8)
    wrapped = (queries.flatten(1)[:, None] - bytes_means[None]).double().norm(dim=2).argmin(dim=1)
    verdict = compare(
        run(function, images, labels, queries),
        torch.cdist(q, means).argmin(dim=1).double(),
        "40 pictures between ten averages",
        hints=(
            (
                "You take the sum of each class where its average is meant.",
                torch.cdist(q, sums).argmin(dim=1).double(),
            ),
            (
                "You answer with the farthest average: argmin, not argmax.",
                torch.cdist(q, means).argmax(dim=1).double(),
            ),
            (
                "You answer with the nearest single image, not with the nearest average.",
                labels[torch.cdist(q, x).argmin(dim=1)].double(),
            ),
            (
                "You subtract bytes, which wrap around below 0: convert to floats first.",
                wrapped.double(),
            ),
        ),
    )
    return right("The nearest of ten averages answers.") if verdict is None else verdict
