"""Digits that people drew and labelled: read from ``my-digits.json``, checked, made into tensors.

A digit is ``{"label": 3, "strokes": [[[x, y], …], …], "time": 1763700000000}``: the strokes and not
a picture, so that it can be prepared again, and the time in milliseconds since 1970. The pad writes
and reads them (``static/samples.js``), and here they are read by the same rule: a number is a whole
number however it is written, ``7``, ``7.0`` or ``7e0``. A file may come from anywhere: nothing
in it is trusted before it has been checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NoReturn, TypedDict

import numpy as np
import torch
from torch.utils.data import TensorDataset

from mnist_course.arguments import kind_of
from mnist_course.data import Digits
from mnist_course.strokes import LIMIT, preprocess

VERSION = 1
MOST_BYTES, MOST_DIGITS, MOST_STROKES, MOST_POINTS = 4 << 20, 2000, 50, 2000


class Sample(TypedDict):
    """One drawn digit.

    Attributes:
        label: which digit it is, 0 … 9.
        strokes: each a list of points ``[x, y]`` in any unit; y grows downwards.
        time: when it was saved, in milliseconds since 1970.
    """

    label: int
    strokes: list[list[list[float]]]
    time: int


class SamplesError(ValueError):
    """Something that should hold drawn digits does not; the message says why."""


def check_samples(digits: Any) -> list[Sample]:
    """Copies of ``digits`` with nothing in them but what a digit has.

    Raises:
        SamplesError: if one is not a digit; the message names the first such, and why.
    """
    digits = _listed(digits)
    if len(digits) > MOST_DIGITS:
        raise SamplesError(f"expected at most {MOST_DIGITS} digits, got {len(digits)}")
    return _check_each(digits)


def read_samples(path: str | Path) -> list[Sample]:
    """The digits in a ``my-digits.json``.

    Raises:
        SamplesError: if the file is not one, or too large.
        OSError: if it cannot be read.
    """
    with Path(path).open("rb") as file:
        text = file.read(MOST_BYTES + 1)  # a device or a pipe does not say how much there is
    if len(text) > MOST_BYTES:
        raise SamplesError(f"{path} is larger than {MOST_BYTES >> 20} MB")
    try:
        content = json.loads(text.decode("utf-8-sig"), parse_int=_integer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise SamplesError(f"{path} is not JSON") from None
    if not isinstance(content, dict) or "version" not in content:
        raise SamplesError(f"{path} is not a file of digits from this course")
    if _whole(content["version"], VERSION) != VERSION:
        raise SamplesError(
            f"{path} is not a file of digits that this course can read: its version is "
            f"{json.dumps(content['version'])[:20]}, expected {VERSION}"
        )
    return check_samples(content.get("digits"))


def write_samples(digits: Iterable[Sample]) -> str:
    """The text of a ``my-digits.json``.

    Raises:
        SamplesError: if it could not be read again: one is not a digit, or they are too many.
    """
    content = {"version": VERSION, "digits": check_samples(list(digits))}
    text = json.dumps(content, separators=(",", ":"))
    if len(text) > MOST_BYTES:
        raise SamplesError(
            f"the digits are larger than {MOST_BYTES >> 20} MB together: write several files"
        )
    return text


def to_dataset(digits: Sequence[Sample]) -> TensorDataset:
    """Drawn digits as a data set of images, float32 ``(N, 1, 28, 28)`` in [0, 1], and labels.

    Raises:
        SamplesError: if there are none, or one is not a digit.
    """
    digits = _check_each(_listed(digits))
    if not digits:
        raise SamplesError("no digit is saved yet: draw one, and press its number under the sheet")
    images = np.stack([preprocess(digit["strokes"]) for digit in digits])
    labels = torch.tensor([digit["label"] for digit in digits], device="cpu")
    return TensorDataset(torch.from_numpy(images)[:, None], labels)


def to_digits(samples: Sequence[Sample], source: str = "my digits") -> Digits:
    """Drawn digits in the form of MNIST, images uint8 ``(N, 1, 28, 28)``.

    Args:
        samples: as the pad saves them.
        source: whose digits they are, to quote beside any number computed from them.

    Raises:
        SamplesError: if there are none, or one is not a digit.
    """
    images, labels = to_dataset(samples).tensors
    return Digits((images * 255).round().byte(), labels, source)


def _listed(digits: Any) -> Sequence[Any]:
    if not isinstance(digits, Sequence) or isinstance(digits, (str, bytes)):
        raise SamplesError(f"expected a list of digits, got {kind_of(digits)}")
    return digits


def _plain(values: Any) -> Any:
    """A list, of a tuple, an array or a tensor of points as well."""
    if isinstance(values, (np.ndarray, torch.Tensor)):
        return values.tolist()
    return list(values) if isinstance(values, tuple) else values


def _integer(text: str) -> int | float:
    """A whole number of JSON; one that is too large for a float is infinite, as in the browser."""
    return int(text) if len(text) < 20 else float(text)


def _refuse(word: str) -> NoReturn:
    """JSON has no NaN and no infinity, though Python would read them."""
    raise ValueError(f"{word} is not a number in JSON")


def _check_each(digits: Iterable[Any]) -> list[Sample]:
    return [_check_sample(digit, f"digit {number}") for number, digit in enumerate(digits, 1)]


def _check_sample(digit: Any, name: str) -> Sample:
    if not isinstance(digit, dict):
        raise SamplesError(f"{name} is not an object")
    label, time = _whole(digit.get("label"), 9), _whole(digit.get("time", 0), (1 << 53) - 1)
    strokes = _plain(digit.get("strokes"))
    if label is None:
        raise SamplesError(f"the label of {name} is not a whole number from 0 to 9")
    if not isinstance(strokes, list) or not 1 <= len(strokes) <= MOST_STROKES:
        raise SamplesError(f"{name} does not have 1 to {MOST_STROKES} strokes")
    if time is None:
        raise SamplesError(f"the time of {name} is not in milliseconds")
    return {
        "label": label,
        "strokes": [_check_stroke(each, name) for each in strokes],
        "time": time,
    }


def _check_stroke(stroke: Any, name: str) -> list[list[float]]:
    stroke = _plain(stroke)
    if not isinstance(stroke, list) or not 1 <= len(stroke) <= MOST_POINTS:
        raise SamplesError(f"a stroke of {name} does not have 1 to {MOST_POINTS} points")
    return [_check_point(point, name) for point in stroke]


def _check_point(point: Any, name: str) -> list[float]:
    point = _plain(point)
    if isinstance(point, list) and len(point) == 2:
        x, y = _number(point[0], LIMIT), _number(point[1], LIMIT)
        if x is not None and y is not None:
            return [x, y]
    raise SamplesError(f"a point of {name} is not a pair of numbers")


def _number(value: Any, most: float) -> float | None:
    """A number of Python or NumPy as one of Python, whole ones as int; None for anything else."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not abs(value) <= most:  # before float(): some whole numbers are too large
        return None
    number = float(value)
    return int(number) if number.is_integer() else number


def _whole(value: Any, most: int) -> int | None:
    """A whole number from 0 to ``most``, however it is written; None for anything else."""
    number = _number(value, most)
    return number if isinstance(number, int) and number >= 0 else None
