"""Drawn digits: read from a file, and as the rest of the course takes digits."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from mnist_course.data import to_float
from mnist_course.evaluate import evaluate
from mnist_course.models import course_network
from mnist_course.samples import (
    MOST_BYTES,
    SamplesError,
    check_samples,
    read_samples,
    to_dataset,
    to_digits,
    write_samples,
)
from tests.drawings import DIGITS

SAMPLES = [{"label": label, "strokes": strokes, "time": 5} for label, strokes in DIGITS.items()]


# The same table is read in JavaScript, by tests/pages/js/samples.test.mjs.
CASES = json.loads((Path(__file__).parents[1] / "samples.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_file_is_read_by_the_same_rule_as_in_the_browser(tmp_path, case) -> None:
    path = tmp_path / "my-digits.json"
    path.write_bytes(bytes.fromhex(case["hex"]) if "hex" in case else case["text"].encode())
    if "refused" in case:
        with pytest.raises(SamplesError, match=case["refused"]):
            read_samples(path)
    else:
        # As text: a whole number has no ".0", so that what is written is what the browser writes.
        assert json.dumps(read_samples(path)) == json.dumps(case["digits"])


def test_numbers_of_numpy_become_numbers_of_python() -> None:
    strokes = [[[np.float32(0.5), np.int64(2)], [np.float64(3), 4]]]
    (sample,) = check_samples([{"label": np.int64(7), "strokes": strokes, "time": np.float64(5)}])
    assert json.dumps(sample) == '{"label": 7, "strokes": [[[0.5, 2], [3, 4]]], "time": 5}'


def test_drawn_digits_are_digits_like_those_of_mnist() -> None:
    digits = to_digits(SAMPLES, source="Ada's digits")
    assert digits.images.shape == (10, 1, 28, 28)
    assert digits.images.dtype == torch.uint8
    assert digits.labels.dtype == torch.int64
    assert digits.labels.tolist() == list(range(10))
    assert digits.source == "Ada's digits"
    assert to_digits(SAMPLES).source == "my digits"


def test_bytes_lose_less_than_half_a_level_of_grey() -> None:
    images = to_dataset(SAMPLES).tensors[0]
    assert (to_float(to_digits(SAMPLES).images) - images).abs().max() <= 0.501 / 255


def test_whatever_takes_digits_takes_drawn_ones() -> None:
    result = evaluate(course_network((2, 2, 2)).eval(), to_digits(SAMPLES), "cpu")
    assert len(result.labels) == 10


def test_what_is_written_can_be_read_again_or_is_not_written(tmp_path) -> None:
    stroke = [[0.125, 0.5]] * 2000
    most = MOST_BYTES // len(write_samples([{"label": 1, "strokes": [stroke] * 10, "time": 5}]))
    samples = [{"label": 1, "strokes": [stroke] * 10, "time": 5}] * (most + 1)
    path = tmp_path / "my-digits.json"
    path.write_text(write_samples(samples[1:]), encoding="utf-8")
    assert read_samples(path) == samples[1:]
    with pytest.raises(SamplesError, match="larger than 4 MB together"):
        write_samples(samples)


@pytest.mark.parametrize("use", [write_samples, to_dataset, to_digits])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 12}, "label of digit 1"),
        ({"strokes": [[[float("nan"), 2]]]}, "point of digit 1"),
        ({"strokes": None}, "strokes"),
    ],
)
def test_digits_that_are_none_are_found_wherever_they_are_used(use, change, message) -> None:
    with pytest.raises(SamplesError, match=message):
        use([SAMPLES[0] | change])


def test_no_digits_are_an_error() -> None:
    with pytest.raises(SamplesError, match="no digit is saved yet"):
        to_digits([])


@pytest.mark.parametrize("version", ['"1"', "true", "[1]"])
def test_a_version_of_another_type_is_quoted_as_it_is(tmp_path, version) -> None:
    path = tmp_path / "digits.json"
    path.write_text(f'{{"version": {version}, "digits": []}}', encoding="utf-8")
    with pytest.raises(SamplesError, match=re.escape(f"its version is {version}")):
        read_samples(path)
