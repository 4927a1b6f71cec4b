"""How the outputs of two runs of a chapter are compared.

A fresh output must equal the committed one: exactly, or, in a cell that carries ``:tolerance: t``,
with the same words and every number within ``t``. Pictures are not compared (they differ with the
fonts of the machine), only their alternative text; of a verdict only the words.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

NUMBER = re.compile(r"(?<![\w.])[-−+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")
PICTURE = re.compile(r"(data:image/\w+;base64,)[A-Za-z0-9+/=]+")
VERDICT = '<div class="course-verdict"'  # how the box of a check's verdict begins
ANYTHING = "nbval-ignore-output"  # the tag of a cell that may print what it likes


def as_float(text: str) -> float:
    """The number that ``NUMBER`` found, with its commas and its typographic minus."""
    return float(text.replace(",", "").replace("−", "-"))


def snap(fresh: str, committed: str, tolerance: float) -> str:
    """Replace each number of ``fresh`` that is within ``tolerance`` by the committed one."""
    expected = NUMBER.findall(committed)
    if not tolerance or len(NUMBER.findall(fresh)) != len(expected):
        return fresh
    remaining = iter(expected)

    def nearest(match: re.Match[str]) -> str:
        wanted = next(remaining)
        return wanted if abs(as_float(match[0]) - as_float(wanted)) <= tolerance else match[0]

    snapped = NUMBER.sub(nearest, fresh)
    # Where two numbers have different widths a table's columns move: white space is not compared.
    return committed if snapped.split() == committed.split() else snapped


def deviation(fresh: str, committed: str) -> float:
    """The largest difference of two numbers in the same place; infinity if the words differ."""
    one, two = NUMBER.findall(fresh), NUMBER.findall(committed)
    if NUMBER.sub("#", fresh).split() != NUMBER.sub("#", committed).split():
        return float("inf")
    pairs = zip(one, two, strict=True)
    # A hair less than the difference of two rounded numbers: 0.3 - 0.1 is 0.19999999999999998.
    return max((round(abs(as_float(a) - as_float(b)), 12) for a, b in pairs), default=0.0)


def _texts(output: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """The places in an output that hold text: the dictionary and the key."""
    places = [(output, "text")] if "text" in output else []
    # A kernel sends text before HTML; a file holds them in the order of their names.
    return places + [(output["data"], key) for key in sorted(output.get("data", {}))]


def without_pictures(outputs: list[Any]) -> Iterator[str]:
    """Every text of a cell's outputs in turn, its pictures cut out."""
    for output in outputs:
        for place, key in _texts(output):
            if isinstance(place[key], str) and not key.startswith("image/"):
                yield PICTURE.sub(r"\1…", place[key])


def _without_box(output: dict[str, Any]) -> dict[str, Any]:
    """An output; a verdict without its box, which says the same as its text."""
    if output.get("data", {}).get("text/html", "").startswith(VERDICT):
        output["data"] = {key: text for key, text in output["data"].items() if key != "text/html"}
    return output


def comparable(outputs: list[Any], committed: list[Any], tolerance: float) -> list[Any]:
    """A copy of ``outputs`` without pictures and with numbers snapped to the committed ones."""
    outputs = [_without_box(output) for output in copy.deepcopy(outputs)]
    for output, reference in zip(outputs, committed, strict=False):
        wanted = {key: place[key] for place, key in _texts(reference)}
        for place, key in _texts(output):
            if isinstance(place[key], str):
                place[key] = PICTURE.sub(r"\1…", place[key])
                if isinstance(wanted.get(key), str):
                    reference_text = PICTURE.sub(r"\1…", wanted[key])
                    place[key] = snap(place[key], reference_text, tolerance)
    return outputs
