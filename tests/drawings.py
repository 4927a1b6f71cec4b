"""Digits drawn for the tests, as strokes of points ``(x, y)`` in a box of about 100 × 100."""

import math

from mnist_course.synthetic import FORMS

DIGITS = {digit: forms[0] for digit, forms in FORMS.items()}

SCRIBBLE = [
    [[40 * math.sin(2.3 * n) + 50, 45 * math.cos(3.7 * n) + 50] for n in range(40)],
]
