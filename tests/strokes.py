"""Ten digits drawn for the tests, as strokes of points ``(x, y)`` in a box of about 100 × 100."""

import math

Point = list[float]


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> list[Point]:
    """Points on an ellipse around ``(x, y)``; angles in degrees, clockwise from the right."""
    angles = [math.radians(start + (end - start) * step / 20) for step in range(21)]
    return [[x + rx * math.cos(angle), y + ry * math.sin(angle)] for angle in angles]


DIGITS: dict[int, list[list[Point]]] = {
    0: [arc(50, 50, 28, 45, -80, 290)],
    1: [[[35, 25], [52, 8], [52, 50], [52, 95]]],
    2: [[*arc(50, 32, 27, 25, -170, 30), [24, 94], [80, 94]]],
    3: [[*arc(46, 28, 26, 22, -150, 80), *arc(46, 72, 29, 23, -80, 150)]],
    4: [[[50, 6], [16, 64], [82, 64]], [[64, 40], [62, 97]]],
    5: [[[76, 8], [34, 8], [29, 44], *arc(48, 66, 28, 27, -110, 140)]],
    6: [[[62, 5], [34, 42], *arc(50, 70, 24, 25, -160, 210)]],
    7: [[[20, 10], [80, 10], [44, 96]]],
    8: [[*arc(50, 28, 20, 22, 90, 450), *arc(50, 73, 25, 23, -90, 270)]],
    9: [[*arc(52, 30, 22, 24, -10, -360), [73, 34], [66, 97]]],
}

SCRIBBLE = [
    [[40 * math.sin(2.3 * n) + 50, 45 * math.cos(3.7 * n) + 50] for n in range(40)],
]
