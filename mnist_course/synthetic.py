"""Pen strokes made by a program: digits by writers who do not exist.

Real handwriting belongs to the people who wrote it. These strokes belong to the course, and stand
in until you have drawn some digits yourself. Each digit has a few forms, as taught at school: a 7
with or without a bar, an open or a closed 4. A writer has a favourite form of each, a slant, a
width and an unsteady hand, and no two digits of a writer are equal. The network that ships was
never trained on any of them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from mnist_course.samples import Sample

Stroke = list[list[float]]
Array = npt.NDArray[np.float64]


def _arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> Stroke:
    """Points on an ellipse around ``(x, y)``; angles in degrees, clockwise from the right."""
    angles = [math.radians(start + (end - start) * step / 20) for step in range(21)]
    return [[x + rx * math.cos(angle), y + ry * math.sin(angle)] for angle in angles]


FORMS: dict[int, list[list[Stroke]]] = {
    0: [[_arc(50, 50, 28, 45, -80, 290)], [_arc(50, 50, 38, 42, -120, 235)]],
    1: [
        [[[35, 25], [52, 8], [52, 50], [52, 95]]],
        [[[50, 5], [50, 50], [50, 95]]],
        [[[22, 46], [54, 5], [54, 50], [54, 96]]],
    ],
    2: [
        [[*_arc(50, 32, 27, 25, -170, 30), [24, 94], [80, 94]]],
        [[*_arc(48, 30, 26, 24, -160, 50), *_arc(36, 86, 12, 9, 20, -240), [84, 92]]],
    ],
    3: [
        [[*_arc(46, 28, 26, 22, -150, 80), *_arc(46, 72, 29, 23, -80, 150)]],
        [[[22, 8], [74, 8], [44, 42], *_arc(46, 68, 28, 27, -80, 150)]],
    ],
    4: [
        [[[50, 6], [16, 64], [82, 64]], [[64, 40], [62, 97]]],
        [[[26, 8], [22, 52], [78, 52]], [[72, 8], [70, 50], [68, 96]]],
        [[[66, 96], [66, 6], [16, 66], [86, 66]]],
    ],
    5: [
        [[[76, 8], [34, 8], [29, 44], *_arc(48, 66, 28, 27, -110, 140)]],
        [[[34, 10], [30, 46], *_arc(50, 68, 27, 26, -120, 150)], [[34, 10], [78, 8]]],
    ],
    6: [
        [[[62, 5], [34, 42], *_arc(50, 70, 24, 25, -160, 210)]],
        [[*_arc(84, 52, 58, 50, -120, -190), *_arc(52, 72, 27, 23, 170, 520)]],
    ],
    7: [
        [[[20, 10], [80, 10], [44, 96]]],
        [[[20, 12], [80, 10], [46, 96]], [[36, 52], [72, 50]]],
        [[[18, 22], [22, 8], [80, 10], [58, 48], [48, 96]]],
    ],
    8: [
        [[*_arc(50, 28, 20, 22, 90, 450), *_arc(50, 73, 25, 23, -90, 270)]],
        [[[74, 20], *_arc(50, 27, 22, 20, -30, -250), *_arc(50, 73, 26, 23, -60, 225), [72, 22]]],
    ],
    9: [
        [[*_arc(52, 30, 22, 24, -10, -360), [73, 34], [66, 97]]],
        [[*_arc(50, 28, 24, 23, 0, -350), [74, 30], *_arc(42, 60, 32, 36, -20, 110)]],
    ],
}
"""The forms of each digit, as strokes of points ``(x, y)`` in a box of about 100 × 100."""


def handwriting(writer: int, count: int = 30) -> list[Sample]:
    """Digits in the hand of one writer, as the drawing pad saves them.

    Args:
        writer: which writer; the same number gives the same digits.
        count: how many digits: 0, 1, … 9, 0, 1, … in turn.

    Returns:
        ``{"label", "strokes", "time"}`` each; a digit is about 100 units high, in whole tenths.
    """
    taste = np.random.default_rng([writer, 0])
    slant, width, unsteady = taste.uniform(-0.2, 0.7), taste.uniform(0.5, 1.2), taste.uniform(4, 12)
    favourite = {digit: int(taste.integers(len(forms))) for digit, forms in FORMS.items()}
    return [
        {
            "label": number % 10,
            "strokes": _written(
                FORMS[number % 10][favourite[number % 10]],
                np.random.default_rng([writer, 1, number]),
                slant,
                width,
                unsteady,
            ),
            "time": number,
        }
        for number in range(count)
    ]


def _written(
    form: list[Stroke], rng: np.random.Generator, slant: float, width: float, unsteady: float
) -> list[Stroke]:
    """One form with the writer's slant and width, drawn with an unsteady hand."""
    angle, slant, width = rng.normal(0, 0.06), rng.normal(slant, 0.06), rng.normal(width, 0.06)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    # The paper is warped by a few slow waves: neighbouring points go astray together.
    waves = rng.uniform(0.5, 1.5, (4, 2)) * 2 * math.pi / 100 * rng.choice([-1, 1], (4, 2))
    phases, pushes = rng.uniform(0, 2 * math.pi, 4), rng.normal(0, unsteady / 2, (4, 2))

    def write(stroke: Stroke) -> Stroke:
        points: Array = np.array(stroke)
        points = points + np.sin(points @ waves.T + phases) @ pushes
        points = (points - 50) * [width, 1]
        points[:, 0] -= slant * points[:, 1]
        written: Stroke = (points @ turn + 50).round(1).tolist()
        return written

    return [write(stroke) for stroke in form]
