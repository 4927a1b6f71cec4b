"""The ways in which digits are written, and invented digits in all of them, to learn from.

MNIST was written in the United States. A one with a long upstroke, a barred seven or a four like a
flash of lightning is rare there and common elsewhere. So the network that ships also learned from
digits of this module. Each is a form below whose control points are moved at random: the forms are
what the author knows of handwriting, and nobody's strokes. The hands of
:mod:`mnist_course.synthetic` are others, which no network has learned from.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from mnist_course.brush import draw_many
from mnist_course.data import Digits

Array = npt.NDArray[np.float64]

STYLES: dict[int, list[str]] = {
    0: [
        "54,6 24,26 20,66 46,94 76,72 78,30 52,6",
        "62,12 30,18 18,56 40,94 74,80 80,36 58,8 40,14",
        "50,5 34,30 34,72 50,95 66,72 66,30 50,5",
        "40,8 72,20 80,56 56,94 24,78 20,34 44,6",
        "50,94 22,70 24,24 52,6 78,30 76,72 48,94",
        "54,6 24,26 20,66 46,94 76,72 78,30 52,6 / 84,8 16,94",
        "54,6 24,26 20,66 46,94 76,72 78,30 52,6 / 66,28 34,72",
        "40,10 20,40 26,80 52,95 78,70 76,30 60,8",
        "48,14 26,24 18,60 44,95 76,74 74,26 50,10 36,22 46,32",
        "60,10 26,20 18,60 44,95 76,74 72,26 56,10 82,4",
    ],
    1: [
        "50,5 50,95",
        "34,26 52,6! 52,95",
        "14,52 54,6! 52,96",
        "8,48 56,6! 46,96",
        "4,66 50,5! 42,96",
        "10,30 20,32 56,5! 46,96",
        "8,40 24,30 54,5! 50,96",
        "36,54 54,6! 46,96",
        "30,66 50,5! 48,96",
        "26,40 22,44 52,6! 44,96",
        "28,28 52,6! 52,94 / 26,94 80,94",
        "12,44 54,6! 50,94 / 26,94 78,94",
        "28,28 52,6! 52,94! 28,94! 78,94",
        "50,6 50,94 / 28,94 74,94",
        "44,18 50,6! 48,50 46,96",
        "20,46 40,26 60,6! 48,50 46,96",
        "30,30 52,6! 50,80 58,94 70,90",
        "2,40 60,4! 44,60 34,96",
    ],
    2: [
        "22,28 34,8 62,8 74,28 62,56 24,92! 82,92",
        "24,22 50,6 74,26 56,60 26,90! 50,88 84,94",
        "22,26 44,6 72,24 60,60 30,92 18,82 36,78 60,90 84,90",
        "22,26 46,6 72,24 56,64 26,94 14,80 30,70 50,84 86,94",
        "24,24 50,6 74,28 50,64 26,82 34,94 82,90",
        "36,34 22,24 40,6 70,16 68,46 26,92! 84,92",
        "34,30 24,30 22,16 46,5 72,20 66,50 22,92! 84,90",
        "26,18 50,5 66,24 50,60 24,92! 48,84 82,96",
        "20,28 42,6 72,20 58,58 26,88! 70,88 82,98",
        "22,10 76,10! 24,90! 80,90",
        "22,14 56,8 76,18 24,90! 80,90",
        "16,22 50,6 76,22 60,56 38,80! 64,96",
        "18,24 52,6 76,24 52,60 32,78 40,92 64,94",
        "26,30 40,8 64,8 68,34 46,70 12,94! 40,90 88,90",
    ],
    3: [
        "24,18 48,6 70,24 46,46! 74,66 52,94 20,84",
        "26,20 50,6 68,26 46,46 72,68 48,95 20,82",
        "24,18 50,6 70,22 52,44 38,46 48,40 74,64 52,95 20,84",
        "22,8 74,8! 44,42! 76,66 50,95 18,84",
        "22,8 72,8! 42,40! 66,48 74,76 40,95 18,84",
        "28,12 60,8 66,28 44,42! 70,56 68,84 36,96 10,88",
        "22,10 70,10! 46,40! 72,60 62,84 24,98",
        "34,18 52,6 66,20 48,34! 78,58 60,94 18,86",
        "20,20 48,5 76,28 46,56! 66,70 52,95 26,88",
        "34,28 24,22 40,6 70,18 48,44! 76,64 56,95 22,90 20,78",
        "18,14 60,10 70,24 50,44! 66,60 40,96",
        "20,14 62,10 66,26 50,42 62,56 56,78 36,96",
        "22,14 44,6 64,18 34,46! 64,54 66,82 10,94",
    ],
    4: [
        "26,8 20,54! 80,54 / 64,30 62,96",
        "30,6 20,40 30,54 80,50 / 66,24 60,96",
        "28,8 22,52! 78,52 / 72,8 68,96",
        "54,6 14,64! 84,64 / 62,36 60,96",
        "66,96 66,6! 14,66! 86,66",
        "62,6 16,64! 88,64 / 62,6 60,96",
        "30,8 20,54! 58,50 76,12! 62,96",
        "34,8 22,42 40,56 70,14! 60,96",
        "24,10 22,40 44,52 68,36 72,8! 68,96",
        "22,10 30,50 74,44 / 76,6 62,96",
        "40,4 22,70! 82,66 / 58,48 54,96",
        "46,4 28,36 22,64 40,70 80,60 / 62,44 54,96",
        "44,4 30,40 28,68 48,76 / 64,56 54,96",
        "48,4 26,40 18,70 40,76 76,66! 58,96",
        "40,4 30,50 30,78 50,70 62,56! 58,96",
        "30,4 26,60 28,80 46,66 50,76 52,96",
        "60,6 22,50 36,62 72,50 78,36 58,66 46,98",
        "58,8 22,50 40,60 80,44 / 74,18 34,98",
        "66,6 20,50! 76,46! 48,98",
        "62,6 24,44 30,54 72,44! 52,98",
        "34,6 18,54! 72,50! 68,26! 58,96",
        "56,6 30,40 36,52 58,42 70,14! 76,24! 40,98",
        "58,6 16,60 24,66 86,56 / 64,30 56,97",
        "54,6 18,60! 70,56 / 74,26 54,98",
    ],
    5: [
        "76,8 34,8! 30,44! 60,40 76,66 52,94 20,86",
        "34,10 30,46! 62,40 76,68 48,95 20,84 / 34,10 80,6",
        "34,10 30,46! 62,40 76,68 48,95 20,84 / 46,6 86,6",
        "36,8 30,46! 62,42 74,70 46,95 20,84 / 36,8 54,8",
        "36,8 30,46! 62,42 74,70 46,95 20,84",
        "72,8 40,8 30,30 44,44 68,56 68,84 36,95 20,84",
        "74,8 36,10 32,40 60,44 74,70 44,95 18,84",
        "74,8 30,8! 28,42! 74,46 72,84! 22,92",
        "82,6 40,8! 32,40! 66,46 70,74 36,95 12,92",
        "36,16 28,48! 60,44 72,70 44,96 14,92 / 34,14 86,4",
        "40,6 28,60! 52,50 66,72 48,94 24,90 / 40,6 86,10",
        "42,8 28,36 50,50 66,66 52,94 26,92 / 40,10 92,8",
        "30,8 40,50 58,60 58,82 40,95 24,88 / 24,8 76,6",
        "40,14 30,26 34,42 66,54 70,82 34,96 12,90 / 42,24 52,8 90,6",
    ],
    6: [
        "64,6 30,46 24,78 50,95 74,76 52,56 28,74",
        "70,8 38,30 24,70 48,95 74,78 56,58 28,72",
        "52,4 24,70 44,95 72,80 56,58 26,74",
        "66,4 36,40 26,80 46,95 60,82 46,70 28,82",
        "62,6 26,36 18,72 48,96 80,70 54,44 22,62",
        "62,6 28,48 26,84 56,94 72,74 52,62 40,72",
        "60,6 28,44 24,82 50,95 72,76 50,62 30,74 14,92",
        "70,16 58,6 32,34 24,72 48,95 72,74 52,58 28,72",
        "34,4 28,60 34,92 64,90 70,64 46,56 30,74",
        "60,5 30,50 26,70 44,56 72,66 62,92 34,92 24,70",
        "64,6 26,50 20,84 50,96 84,86 60,76 16,80",
        "56,8 30,40 24,76 40,95 60,80 56,60 42,66 40,84",
        "84,14 60,8 44,30 38,70 46,95 60,84 50,66 36,74",
    ],
    7: [
        "20,10 80,10! 42,96",
        "18,14 78,8! 60,44 46,96",
        "20,26 22,8! 80,10! 44,96",
        "18,18 34,8 56,14 80,8! 48,60 44,96",
        "18,14 60,8 78,18 64,50 44,96",
        "20,10 80,10! 54,50 46,80 50,96",
        "16,40 22,8! 80,8! 46,96",
        "14,30 30,8 60,12 82,8! 50,96",
        "20,10 80,10! 44,96 / 34,50 74,48",
        "18,14 78,8! 60,44 46,96 / 30,54 82,46",
        "20,26 22,8! 80,10! 44,96 / 32,54 78,50",
        "18,18 34,8 56,14 80,8! 48,60 44,96 / 28,56 84,50",
        "22,16 46,8 74,14 66,40 40,96 / 26,58 86,52",
        "26,22 40,8 66,10 70,30 56,64 48,96 / 22,54 74,60",
        "30,24 40,8 66,8 70,24 54,60 38,96 / 28,58 80,52",
        "20,10 74,10! 46,94 / 30,52 76,48 / 30,95 64,94",
        "20,10 82,10! 40,96 / 44,40 80,52",
    ],
    8: [
        "72,20 50,6 28,22 50,46 74,72 50,95 24,74 50,46 72,20",
        "74,16 46,6 28,24 52,48 74,74 48,95 24,74 50,46 78,14",
        "50,46 26,26 50,6 74,26 50,46 24,72 50,95 76,72 50,46",
        "50,6 30,20 34,42 62,44 70,22 50,6 / 50,46 24,68 40,95 70,86 68,54 48,46",
        "50,6 28,24 50,46 74,72 50,95 26,72 50,46 72,24 50,6",
        "50,6 74,24 50,46 26,72 50,95 74,72 50,46 28,24 50,6",
        "24,10 50,44 74,76 48,95 28,74 52,44 76,8 24,10",
        "18,14 48,46 66,72 50,95 38,74 56,44 86,10",
        "70,12 56,6 44,30 50,56 46,95 36,80 60,40 78,8",
        "30,70 52,50 72,22 50,6 28,22 46,46 70,70 50,95 28,76 36,56",
        "24,26 46,6 66,24 54,70 44,95 38,84 58,60 54,42 16,26",
        "22,50 36,14 60,6 64,36 40,92 24,90 44,66 62,50 40,14",
        "50,94 26,74 46,48 68,24 46,6 28,24 50,46 76,70 52,94",
        "66,14 40,6 30,28 62,56 70,84 40,96 28,78 56,50 72,28 62,12",
    ],
    9: [
        "72,26 48,6 26,28 46,50 72,28! 66,96",
        "72,26 48,6 26,30 48,50 74,28! 74,70 50,95 24,86",
        "70,14 42,8 28,34 52,48 72,24 70,60 62,96",
        "72,24 48,6 26,28 46,50 72,24 74,76 56,95 36,88",
        "68,28 46,8 26,30 46,52 68,34 / 68,6 68,96",
        "72,10 40,8 26,34 50,50 70,36! 66,96",
        "70,16 46,6 30,26 50,42 70,18! 76,66 60,92 14,90",
        "34,44 24,26 44,6 70,20 64,40 40,48! 68,30 64,60 50,96",
        "54,8 26,12 26,36 50,34 58,14! 66,44 74,76 56,94 20,90",
        "48,6 30,18 42,34 60,22 48,8 56,34 78,66 64,90 22,94",
        "36,16 54,6 60,22 40,34 30,18 56,24 76,60 60,90 24,94",
        "56,6 30,10 34,34 58,28 56,10! 58,34 72,60 62,88 24,96",
        "82,14 60,6 40,14 48,28 76,10! 70,60 60,88 14,88",
        "52,8 38,8 36,26 54,28 56,12 66,32 70,60 54,86 26,96",
        "62,24 40,6 22,28 42,46 66,20! 50,98",
        "74,14 46,6 26,18 40,36 72,26! 62,60 30,96",
        "66,16 44,6 30,30 46,46 74,14! 58,70 30,96",
        "72,28 48,6 26,28 46,50 72,28! 70,96 / 50,96 86,94",
    ],
}
"""The forms of each digit, as control points in a box of 100 × 100, y downwards. ``!`` marks a
corner; a stroke is smooth everywhere else. ``/`` lifts the pen."""

SPACING = 7.0
"""Units between the points of a stroke."""


@functools.cache
def _strokes(style: str) -> tuple[tuple[Array, Array, Array], ...]:
    """Each stroke's control points ``(K, 2)``, and what makes points of them: ``(S, K)`` twice.

    The first of the two keeps the corners sharp; the second knows none.
    """
    strokes = []
    for text in style.split("/"):
        words = text.split()
        points = np.array([word.rstrip("!").split(",") for word in words], float)
        corners = [n for n, word in enumerate(words) if word.endswith("!")]
        strokes.append((points, _spline(points, corners), _spline(points, [])))
    return tuple(strokes)


def _spline(points: Array, corners: list[int]) -> Array:
    """The matrix from control points to the points of a spline through them, ``(S, K)``.

    A cubic spline is linear in its control points, if the parameter stays the same.
    """
    count = len(points)
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    place = np.concatenate([[0], np.cumsum(np.sqrt(lengths))])
    samples = [
        np.linspace(a, b, math.ceil(length / SPACING), endpoint=False)
        for (a, b), length in zip(itertools.pairwise(place), lengths, strict=True)
    ]
    everywhere = np.append(np.concatenate(samples), place[-1])
    matrix = np.zeros((len(everywhere), count))
    bounds = [0, *corners, count - 1]
    for first, last in itertools.pairwise(bounds):
        inside = (everywhere >= place[first]) & (everywhere <= place[last])
        units = np.eye(last - first + 1)
        spline = CubicSpline(place[first : last + 1], units, bc_type="natural")
        matrix[inside, first : last + 1] = spline(everywhere[inside])
        matrix[inside, :first] = matrix[inside, last + 1 :] = 0
    return matrix


def write(style: str, count: int, rng: np.random.Generator) -> list[Array]:
    """Write one form several times, each time otherwise.

    Args:
        style: one of :data:`STYLES`.
        count: how often.
        rng: where the differences come from.

    Returns:
        Its strokes in turn, ``(count, points, 2)`` each, ``x`` to the right and ``y`` downwards,
        and between two strokes a stretch of two points: of no length, unless the pen stayed down.
    """
    unsteady = rng.uniform(0.5, 4, (count, 1, 1))
    sharp = np.minimum(rng.uniform(0, 1.5, (count, 1, 1)), 1)
    written: list[Array] = []
    for points, cornered, smooth in _strokes(style):
        loose = np.ones((len(points), 1))
        loose[[0, -1]] = 1.5
        moved = points + unsteady * loose * rng.normal(size=(count, *points.shape))
        moved = _placed(moved, rng)
        stroke = sharp * (cornered @ moved) + (1 - sharp) * (smooth @ moved)
        stroke = _with_hooks(stroke, rng)
        if written:
            stays = rng.random((count, 1)) < 0.06
            lifted = written[-1][:, -1]
            link = np.stack([lifted, np.where(stays, stroke[:, 0], lifted)], axis=1)
            written.append(link)
        written.append(stroke)
    return _warped(written, rng)


def _placed(strokes: Array, rng: np.random.Generator) -> Array:
    """Each stroke a little too large or small, turned and out of place."""
    count = len(strokes)
    middle = strokes.mean(axis=1, keepdims=True)
    turn = _turns(rng.normal(0, 0.06, count))
    size, move = rng.normal(1, 0.06, (count, 1, 2)), rng.normal(0, 2, (count, 1, 2))
    moved: Array = (strokes - middle) * size @ turn + middle + move
    return moved


def _with_hooks(strokes: Array, rng: np.random.Generator) -> Array:
    """Some pens touch the paper too early, or leave it too late."""
    count = len(strokes)
    ends = []
    for end in (strokes[:, :1], strokes[:, -1:]):
        hooked = rng.random((count, 1, 1)) < 0.08
        ends.append(end + hooked * rng.normal(0, 6, (count, 1, 2)))
    return np.concatenate([ends[0], strokes, ends[1]], axis=1)


def _turns(angles: Array) -> Array:
    """Matrices ``(N, 2, 2)`` that turn rows of points."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, sin], 1), np.stack([-sin, cos], 1)], 1)


def _warped(strokes: list[Array], rng: np.random.Generator) -> list[Array]:
    """Slanted, stretched and turned, on paper that a few slow waves have warped."""
    count = len(strokes[0])
    waves = rng.uniform(0.4, 1.4, (count, 2, 3)) * 2 * math.pi / 100
    waves *= rng.choice([-1, 1], (count, 2, 3))
    phases = rng.uniform(0, 2 * math.pi, (count, 1, 3))
    pushes = rng.normal(0, 1, (count, 3, 2)) * rng.uniform(0, 3.5, (count, 1, 1))
    slant = rng.normal(0.2, 0.25, (count, 1))
    width = np.exp(rng.normal(-0.1, 0.25, (count, 1)))
    turn = _turns(rng.normal(0, 0.06, count))

    def warp(points: Array) -> Array:
        points = points + np.sin(points @ waves + phases) @ pushes - 50
        x = points[..., 0] * width - slant * points[..., 1]
        warped: Array = np.stack([x, points[..., 1]], axis=2) @ turn
        return warped

    return [warp(points) for points in strokes]


def invented(count: int, seed: int = 0) -> Digits:
    """Digits in all styles, drawn as MNIST would have them, with pens of several widths.

    Every digit is as frequent as the others, and so is every style of a digit.

    Args:
        count: how many.
        seed: the same seed gives the same digits.

    Returns:
        Images uint8 ``(count, 1, 28, 28)`` and labels, in order of label and style.
    """
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for label, style, number in _shares(count):
        while number:
            batch = min(number, 250)
            number -= batch
            segments = _segments(write(style, batch, rng))
            radii = torch.from_numpy(rng.uniform(0.95, 1.75, batch)).float()
            images.append((draw_many(segments, radii) * 255).round().byte())
            labels += [label] * batch
    return Digits(torch.cat(images), torch.tensor(labels), "invented digits")


def _shares(count: int) -> Iterator[tuple[int, str, int]]:
    """How many digits to write in each style."""
    for label, styles in STYLES.items():
        of_label = count * (label + 1) // 10 - count * label // 10
        for n, style in enumerate(styles):
            few = of_label * (n + 1) // len(styles) - of_label * n // len(styles)
            yield label, style, few


def _segments(strokes: list[Array]) -> Tensor:
    ends = [np.stack([points[:, :-1], points[:, 1:]], axis=2) for points in strokes]
    return torch.from_numpy(np.concatenate(ends, axis=1)).float()
