"""Checks of chapter 1, draw a digit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_course import evaluate, pretrained
from mnist_course.checks import NotSolvedError, compared, exercise, uniform
from mnist_course.checks._reader import wrong_shares
from mnist_course.strokes import preprocess

__all__ = ["accuracy", "drawn", "prepare"]

# What may have happened to a drawing that the network takes for another digit.
_TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Remember that y grows downwards.": lambda points: points * [1, -1],
    "Remember that x grows to the right.": lambda points: points * [-1, 1],
    "Remember that a point is (x, y), the column first and then the row.": (
        lambda points: points[:, ::-1]
    ),
}


@exercise
def drawn(strokes: Sequence[Any], digit: int) -> str:
    """Check that the course's network reads ``strokes`` as ``digit`` and is fairly sure of it."""
    try:
        strokes = list(strokes)
        picture = _picture(strokes)
    except (TypeError, ValueError, OverflowError) as error:
        raise NotSolvedError(
            f"These are not strokes: {error}. A drawing is a list of strokes, and a stroke "
            "a list of points (x, y)."
        ) from error
    if not picture.any():
        raise NotSolvedError("The drawing is empty: a stroke is a list of points (x, y).")
    share, answer = _read(picture)
    if answer != digit:
        points = [np.asarray(stroke, dtype=np.float64).reshape(-1, 2) for stroke in strokes]
        turned = {
            words: _read(_picture([turn(stroke) for stroke in points]))
            for words, turn in _TURNS.items()
        }
        # Two turns may both make it the digit: tell of the one that makes it the surer.
        right = {words: share for words, (share, read) in turned.items() if read == digit}
        why = f" {max(right, key=lambda words: right[words])}" if right else ""
        raise NotSolvedError(f"The network reads a {answer}.{why}")
    if share < 0.8:
        raise NotSolvedError(
            f"The network reads a {digit}, but is not sure of it: only {share:.0%}."
        )
    return f"The network reads a {digit}."


def _picture(strokes: Sequence[Any]) -> Tensor:
    return torch.from_numpy(preprocess(strokes))[None, None]


def _read(picture: Tensor) -> tuple[float, int]:
    """How sure the course's network is, and of what."""
    share, answer = evaluate.predict(pretrained.load(), picture)[0].max(dim=0)
    return share.item(), int(answer)


def _bytes(low: int, high: int) -> Tensor:
    return (low + (high + 1 - low) * uniform(28, 28)).byte()


def _batch(image: Tensor) -> Tensor:
    return image.float()[None, None]


@compared(
    cases={
        "one picture (28, 28) of bytes": (_bytes(0, 255),),
        "one picture (28, 28) of bytes from 40 to 200": (_bytes(40, 200),),
        "an empty sheet, all 28 × 28 bytes 230": (_bytes(230, 230),),
    },
    mistakes={
        "The ink is still dark: turn the picture inside out.": lambda image: _batch(image / 255),
        "The pixels still go up to 255: divide by 255.": lambda image: _batch(255 - image),
        "The values are right; an axis is missing, batch or channel or both.": (
            lambda image: 1 - image / 255,
            lambda image: (1 - image / 255)[None],
        ),
        "Bytes wrap around: `1 - image` on bytes is not what you want; convert first.": (
            lambda image: _batch((1 - image) / 255),
            lambda image: _batch(1 - image),
            lambda image: _batch(1 + -image / 255),
        ),
        "For {case} you divide by the largest byte of this one; divide by 255, whatever is in it.":
            lambda image: _batch(1 - image / image.max()),
    },
    right="A batch of one, bright ink on black.",
)  # fmt: skip
def prepare(image: Tensor) -> Tensor:
    """Check ``function(image)``: one picture of bytes, dark on light, as a batch for a network."""
    return _batch(1 - image / 255)


def _share_case(count: int, wrong: int) -> tuple[Tensor, Tensor]:
    """Probabilities of ``count`` images and labels of which ``wrong`` are not the likeliest."""
    probabilities = (4 * uniform(count, 10, seed=count)).softmax(dim=1).float()
    labels = probabilities.argmax(dim=1)
    labels[torch.arange(count) % (count // wrong) == 0] += 1
    return probabilities, labels % 10


@compared(
    cases={
        f"{count} images of which {count - wrong} are read correctly": _share_case(count, wrong)
        for count, wrong in ((10, 2), (40, 10), (7, 1), (3, 3))
    },
    mistakes={
        "You look for the largest number down the batch: the classes are along dim=1.": (
            lambda probabilities, labels: (
                (probabilities.argmax(dim=0) == labels[:10]).double().mean()
            )
        ),
        "For {case} you divide by 10; divide by how many images there are.": (
            lambda probabilities, labels: _hits(probabilities, labels).sum() / 10
        ),
        **wrong_shares(lambda *given: [_hits(*given)], batches=False),
    },
    right="The share of images whose largest probability is at the label.",
)
def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Check ``function(probabilities, labels)``: the share of right answers, from 0 to 1."""
    return _hits(probabilities, labels).mean().item()


def _hits(probabilities: Tensor, labels: Tensor) -> Tensor:
    return (probabilities.argmax(dim=1) == labels).double()
