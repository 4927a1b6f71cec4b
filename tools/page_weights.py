"""Write ``course-weights.js``: the course's trained network, for the pads in the book.

A page that was opened from a disk may load scripts but no other files, so the weights are a script:
one string of base64, which ``mnist_course/static/kernel.js`` reads when a page has a pad. They are
int8: a quarter of the bytes, and as many digits are read correctly (``benchmarks/pad.py``). Beside
them are a few digits by several writers, to try a network that was taught on the page.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from mnist_course import pretrained
from mnist_course.export import page_weights
from mnist_course.synthetic import handwriting

TRIAL_WRITERS = (1, 2, 4)


def script(weights: bytes) -> str:
    """The text of ``course-weights.js``."""
    return (
        "// Generated from mnist_course/weights by tools/page_weights.py.\n"
        f'globalThis.MNIST_COURSE_WEIGHTS = "{base64.b64encode(weights).decode()}";\n'
        f"globalThis.MNIST_COURSE_TRIAL = {json.dumps(trial_digits(), separators=(',', ':'))};\n"
    )


def trial_digits() -> list[dict[str, Any]]:
    """The digits to try a taught network on: ``{"label", "strokes"}``, in whole units."""
    return [
        {
            "label": digit["label"],
            "strokes": [[[round(x), round(y)] for x, y in stroke] for stroke in digit["strokes"]],
        }
        for writer in TRIAL_WRITERS
        for digit in handwriting(writer, 10)
    ]


def write(outdir: Path) -> Path:
    """Write ``course-weights.js`` into a folder, which is made if need be, and return its path."""
    outdir.mkdir(parents=True, exist_ok=True)
    path = outdir / "course-weights.js"
    path.write_text(script(page_weights(pretrained.load(), "int8")), encoding="ascii")
    return path
