"""A pytest plugin: which data the tests use, and how nbval compares a chapter's outputs.

On real MNIST a fresh output must equal the committed one: exactly, or, in a cell that carries
``:tolerance: t``, with the same words and every number within ``t``. Pictures are not compared
(they differ with the fonts of the machine), only their alternative text. Without MNIST the chapters
run on the stand-in and nothing is compared.
"""

import copy
import os
import re
import warnings
from typing import Any

import pytest
from nbval.plugin import IPyNbCell

from mnist_course import data

NUMBER = re.compile(r"(?<![\w.])[-−+]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")
PICTURE = re.compile(r"(data:image/\w+;base64,)[A-Za-z0-9+/=]+")


def as_float(text: str) -> float:
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


def _texts(output: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """The places in an output that hold text: the dictionary and the key."""
    places = [(output, "text")] if "text" in output else []
    return places + [(output["data"], key) for key in output.get("data", {})]


def comparable(outputs: list[Any], committed: list[Any], tolerance: float) -> list[Any]:
    """A copy of ``outputs`` without pictures and with numbers snapped to the committed ones."""
    outputs = copy.deepcopy(outputs)
    for output, reference in zip(outputs, committed, strict=False):
        wanted = {key: place[key] for place, key in _texts(reference)}
        for place, key in _texts(output):
            if isinstance(place[key], str):
                place[key] = PICTURE.sub(r"\1…", place[key])
                if isinstance(wanted.get(key), str):
                    reference_text = PICTURE.sub(r"\1…", wanted[key])
                    place[key] = snap(place[key], reference_text, tolerance)
    return outputs


_compare_outputs = IPyNbCell.compare_outputs


def compare_outputs(self: Any, test: list[Any], ref: list[Any], skip_compare: Any = None) -> bool:
    tolerance = float(self.cell.metadata.get("tolerance", 0))
    return _compare_outputs(
        self, comparable(test, ref, tolerance), comparable(ref, ref, 0), skip_compare
    )


IPyNbCell.compare_outputs = compare_outputs


def has_mnist() -> bool:
    """Whether real MNIST can be had; if not, every process from here on takes the stand-in."""
    if data.available() == "none":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", data.DataWarning)
            data.load("test")  # downloads all of MNIST where there is a network
    if data.available() in {"folder", "cache"}:
        return True
    os.environ[data.VARIABLE] = data.STAND_IN
    return False


REAL_MNIST = has_mnist()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.option.nbval and not REAL_MNIST:
        config.option.nbval, config.option.nbval_lax = False, True


def pytest_report_header() -> str:
    if REAL_MNIST:
        return "data: real MNIST; the chapters' outputs are compared with the committed ones"
    return "data: no MNIST here; chapters run on the stand-in and no training output is compared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("mnist") and not REAL_MNIST:
            item.add_marker(pytest.mark.skip(reason="needs MNIST: see README, Data"))
