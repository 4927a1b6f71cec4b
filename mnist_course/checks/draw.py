"""Checks of the chapter *Draw a digit*."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from mnist_course import evaluate, pretrained
from mnist_course.checks._returning import Verdict, compare, right, run, wrong
from mnist_course.strokes import preprocess


def drawn(strokes: Sequence[Any], digit: int) -> Verdict:
    """Check that the course's network reads ``strokes`` as ``digit`` and is fairly sure of it."""
    try:
        picture = torch.from_numpy(preprocess(strokes))[None, None]
    except (TypeError, ValueError) as error:
        return wrong(
            f"These are not strokes: {error}. A drawing is a list of strokes, and a stroke "
            "a list of points (x, y)."
        )
    if not picture.any():
        return wrong("The drawing is empty: a stroke is a list of points (x, y).")
    share, answer = evaluate.predict(pretrained.load(), picture)[0].max(dim=0)
    if answer != digit:
        return wrong(f"The network reads a {int(answer)}. Remember that y grows downwards.")
    if share < 0.8:
        return wrong(f"The network reads a {digit}, but is not sure of it: only {share:.0%}.")
    return right(f"The network reads a {digit}.")


def prepare(function: Callable[..., Any]) -> Verdict:
    """Check ``function(image)``: one picture of bytes, dark on light, as a batch for a network."""
    image = torch.randint(0, 256, (28, 28), generator=torch.Generator().manual_seed(0)).byte()
    ink = 1 - image.double() / 255
    verdict = compare(
        run(function, image),
        ink[None, None],
        "one picture (28, 28) of bytes",
        tolerance=1e-6,
        hints=(
            ("The ink is still dark: turn the picture inside out.", (1 - ink)[None, None]),
            ("The pixels still go up to 255: divide by 255.", 255 * ink[None, None]),
            ("The values are right; the axes of batch and channel are missing.", ink),
            ("The values are right; one axis is still missing: batch and channel.", ink[None]),
            (
                "Bytes wrap around: `1 - image` on bytes is not what you want; convert first.",
                ((1 - image).double() / 255)[None, None],
            ),
        ),
    )
    return right("A batch of one, bright ink on black.") if verdict is None else verdict


def accuracy(function: Callable[..., Any]) -> Verdict:
    """Check ``function(probabilities, labels)``: the share of right answers, from 0 to 1."""
    generator = torch.Generator().manual_seed(0)
    for count in (10, 40):
        probabilities = torch.rand(count, 10, generator=generator).softmax(dim=1).double()
        labels = probabilities.argmax(dim=1)
        labels[::4] = (labels[::4] + 1) % 10
        right_answers = (probabilities.argmax(dim=1) == labels).double()
        expected = right_answers.mean()
        verdict = compare(
            run(function, probabilities, labels),
            expected,
            f"{count} images of which {int(right_answers.sum())} are read rightly",
            tolerance=1e-6,  # a share in float32 is as good
            hints=(
                (
                    "You look for the largest number down the batch: the classes are along dim=1.",
                    (probabilities.argmax(dim=0) == labels[:10]).double().mean(),
                ),
                ("Only the first ten images are counted.", right_answers[:10].mean()),
                ("That is the share of wrong answers.", 1 - expected),
                (
                    "That is the number of right answers; divide by how many there are.",
                    right_answers.sum(),
                ),
                ("That is per cent; the function is to give a share from 0 to 1.", 100 * expected),
            ),
        )
        if verdict is not None:
            return verdict
    return right("The share of images whose largest probability is at the label.")
