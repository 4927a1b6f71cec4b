"""What holds for the picture made of strokes, whatever was drawn."""

import json
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_course.strokes import BOX, CENTRE, SIZE, centre_of_mass, draw, preprocess
from tests.drawings import DIGITS

coordinates = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))
points = st.lists(coordinates, min_size=2, max_size=2)
drawings = st.lists(st.lists(points, min_size=1, max_size=6), min_size=1, max_size=4)
digits = pytest.mark.parametrize("strokes", DIGITS.values(), ids=DIGITS.keys())
quickly = settings(max_examples=50, deadline=None)


def moved(strokes, scale: float, x: float, y: float) -> list[np.ndarray]:
    return [np.array(stroke) * scale + (x, y) for stroke in strokes]


@pytest.mark.parametrize("nothing", [[], [[]], [[], []]])
def test_an_empty_drawing_is_an_empty_picture(nothing) -> None:
    assert not preprocess(nothing).any()


@quickly
@given(drawings)
def test_a_picture_is_28_by_28_floats_from_0_to_1_with_some_full_ink(strokes) -> None:
    image = preprocess(strokes)
    assert image.shape == (SIZE, SIZE)
    assert image.dtype == np.float32
    assert image.min() == 0
    assert image.max() == 1


@quickly
@given(drawings, st.floats(0.01, 100), coordinates, coordinates)
def test_place_and_size_of_a_drawing_make_no_difference(strokes, scale, x, y) -> None:
    sides = np.ptp(np.concatenate(strokes), axis=0)
    if 0 < max(sides) < 1:
        return  # so small that moving it rounds it away
    changed = draw(moved(strokes, scale, x, y))
    np.testing.assert_allclose(changed, draw(strokes), rtol=0, atol=1e-6)


any_coordinates = st.floats(-1e6, 1e6) | st.floats(-1e-300, 1e-300)
any_points = st.lists(any_coordinates, min_size=2, max_size=2)
any_drawings = st.lists(st.lists(any_points, min_size=1, max_size=3), min_size=1, max_size=2)


@settings(max_examples=300, deadline=None)
@given(any_drawings)
def test_whatever_numbers_a_drawing_has_its_picture_has_ink_and_no_nan(strokes) -> None:
    image = preprocess(strokes)
    assert np.isfinite(image).all()
    assert image.min() == 0 and image.max() == 1


@pytest.mark.parametrize("tiny", [5e-324, 1e-310, 1e-301])
def test_a_drawing_whose_shape_is_lost_in_rounding_is_a_dot(tiny) -> None:
    np.testing.assert_array_equal(draw([[[0, 0], [tiny, 0]]]), draw([[[3, 4]]]))


@digits
def test_a_digit_fills_the_box_and_its_mass_lies_where_that_of_mnist_does(strokes) -> None:
    image = draw(strokes)
    rows, columns = np.nonzero(image > 0.5)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (BOX - 2, BOX - 1, BOX)
    np.testing.assert_allclose(centre_of_mass(image), CENTRE, atol=0.1)


@digits
def test_the_pen_is_as_wide_on_a_large_drawing_as_on_a_small_one(strokes) -> None:
    small, large = draw(moved(strokes, 0.02, 0, 0)), draw(moved(strokes, 50, 0, 0))
    assert small.sum() == pytest.approx(large.sum())


def test_a_dot_is_a_round_spot_in_the_middle() -> None:
    image = draw([[[3.0, 4.0]]])
    np.testing.assert_allclose(image, image.T)
    assert np.count_nonzero(image) <= 16
    np.testing.assert_allclose(centre_of_mass(image), CENTRE)


def test_the_order_of_strokes_and_their_direction_make_no_difference() -> None:
    strokes = DIGITS[4]
    other = [stroke[::-1] for stroke in strokes[::-1]]
    np.testing.assert_allclose(draw(other), draw(strokes), atol=1e-12)


@pytest.mark.parametrize(
    ("stroke", "reason"),
    [
        ([[1, 2, 3]], r"shape \(points, 2\), got \(1, 3\)"),
        ([1, 2], r"shape \(points, 2\), got \(2,\)"),
        ([[1, 2], [3]], "sequence of points"),
        ([["a", "b"]], "sequence of points"),
        ([["1", "2"]], "sequence of points"),
        ([[True, False]], "sequence of points"),
        (np.array([[1 + 2j, 3]]), "sequence of points"),
        (np.array([[1, 2]], "m8[s]"), "sequence of points"),
        (np.array([["2026-01-01", "2026-01-02"]], "M8[D]"), "sequence of points"),
        (np.ma.masked_array([[1.0, 2.0]], [[True, False]]), "sequence of points"),
        ([[1, float("nan")]], "finite"),
        ([[1, float("inf")]], "finite"),
        ([[1, 2e6]], "finite and at most 1e"),
    ],
)
def test_what_is_not_a_stroke_is_refused_with_the_reason(stroke, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        preprocess([stroke])


@pytest.mark.mnist
def test_pen_strokes_look_like_mnist() -> None:
    """The share of ink, and where it lies, are those of MNIST's own digits."""
    folder = Path(os.environ.get("MNIST_COURSE_DATA", ""))
    pen = folder / "pendigits" / "train.jsonl"
    if not pen.exists():
        pytest.skip("no pen strokes: MNIST_COURSE_DATA has no pendigits/train.jsonl")
    from mnist_course import data

    with pen.open(encoding="utf-8") as lines:
        drawn = [preprocess(json.loads(line)["strokes"]) for line in islice(lines, 300)]
    mnist = data.to_float(data.load("test").images).numpy()
    assert np.mean(drawn) == pytest.approx(mnist.mean(), rel=0.15)
    for axis in (0, 1):  # where the ink lies, summed over the other axis
        ours, theirs = np.mean(drawn, axis=0).sum(axis), mnist.mean(axis=(0, 1)).sum(axis)
        assert np.corrcoef(ours, theirs)[0, 1] > 0.97
