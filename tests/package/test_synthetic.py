"""Invented writers: the same each time, each in a hand of their own, and fit to be saved."""

import itertools
import json

import numpy as np
import pytest

from mnist_course.samples import check_samples, read_samples, write_samples
from mnist_course.strokes import preprocess
from mnist_course.synthetic import FORMS, handwriting

writers = pytest.mark.parametrize("writer", [0, 4, 28, 1000])


@writers
def test_the_same_writer_writes_the_same(writer) -> None:
    assert handwriting(writer, 20) == handwriting(writer, 20)


@writers
def test_to_write_more_leaves_the_first_digits_as_they_were(writer) -> None:
    assert handwriting(writer, 25)[:12] == handwriting(writer, 12)


@writers
def test_the_ten_digits_come_in_turn(writer) -> None:
    assert [digit["label"] for digit in handwriting(writer, 23)] == [n % 10 for n in range(23)]


def test_as_many_are_written_as_were_asked_for() -> None:
    assert [len(handwriting(0, count)) for count in (0, 1, 10)] == [0, 1, 10]
    assert len(handwriting(0)) == 30


@writers
def test_what_is_written_can_be_saved_and_read_again(writer, tmp_path) -> None:
    digits = handwriting(writer, 20)
    assert check_samples(digits) == digits
    path = tmp_path / "my-digits.json"
    path.write_text(write_samples(digits), encoding="utf-8")
    assert read_samples(path) == digits
    assert json.loads(path.read_text(encoding="utf-8"))["digits"][3]["label"] == 3


@writers
def test_a_digit_is_about_a_hundred_units_high_in_whole_tenths(writer) -> None:
    for digit in handwriting(writer, 30):
        points = np.concatenate([np.array(stroke) for stroke in digit["strokes"]])
        assert 50 < np.ptp(points[:, 1]) < 170
        np.testing.assert_array_equal(points, points.round(1))


@writers
def test_no_two_digits_of_a_writer_are_equal(writer) -> None:
    strokes = [json.dumps(digit["strokes"]) for digit in handwriting(writer, 60)]
    assert len(set(strokes)) == 60


def shape(digit) -> tuple[int, ...]:
    """How many strokes with how many points: the same form has the same."""
    return tuple(len(stroke) for stroke in digit["strokes"])


@pytest.mark.parametrize("label", range(10))
def test_a_writer_keeps_to_one_form_and_the_writers_have_all_of_them(label) -> None:
    found = set()
    for writer in range(40):
        shapes = {shape(digit) for digit in handwriting(writer, 20) if digit["label"] == label}
        assert len(shapes) == 1
        found |= shapes
    assert found == {tuple(len(stroke) for stroke in form) for form in FORMS[label]}


@pytest.mark.parametrize("label", FORMS)
def test_the_forms_of_a_digit_are_different_pictures(label) -> None:
    for one, other in itertools.combinations([preprocess(form) for form in FORMS[label]], 2):
        assert np.abs(one - other).sum() > 10  # of about a hundred pixels of ink


def test_two_writers_differ_more_than_two_digits_of_one() -> None:
    """In the mean over digits: hands are told apart by slant, width and forms."""
    pages = [
        np.stack([preprocess(digit["strokes"]) for digit in handwriting(writer, 20)])
        for writer in (1, 2, 8, 30)
    ]
    within = np.mean([np.abs(page[:10] - page[10:]).sum((1, 2)).mean() for page in pages])
    between = np.mean(
        [np.abs(a[:10] - b[10:]).sum((1, 2)).mean() for a, b in itertools.permutations(pages, 2)]
    )
    assert between > 1.1 * within
