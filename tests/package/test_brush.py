"""Many drawings at once: the same pictures as one at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_course.brush import THICKEST, draw_many, segments_of
from mnist_course.strokes import preprocess
from mnist_course.synthetic import handwriting

points = st.tuples(st.floats(-500, 500), st.floats(-500, 500))
drawings = st.lists(
    st.lists(st.lists(points, min_size=1, max_size=8), min_size=1, max_size=3),
    min_size=1,
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(drawings)
def test_any_drawings_together_are_those_one_at_a_time(drawn) -> None:
    # Whole units: what is smaller than single precision can tell apart is a dot to one of the two.
    drawn = [[np.round(stroke) for stroke in strokes] for strokes in drawn]
    alone = np.stack([preprocess(strokes) for strokes in drawn])
    together = draw_many(segments_of(drawn))
    assert together.shape == (len(drawn), 1, 28, 28)
    np.testing.assert_allclose(together[:, 0], alone, atol=2e-3)


def test_invented_hands_are_drawn_alike() -> None:
    strokes = [digit["strokes"] for digit in handwriting(5, 50)]
    alone = np.stack([preprocess(each) for each in strokes])
    np.testing.assert_allclose(draw_many(segments_of(strokes))[:, 0], alone, atol=5e-5)


def test_place_and_size_make_no_difference() -> None:
    segments = segments_of([digit["strokes"] for digit in handwriting(3, 10)])
    torch.testing.assert_close(draw_many(segments * 3 + 40), draw_many(segments), atol=1e-3, rtol=0)


def test_a_thicker_brush_leaves_more_ink_in_the_same_box() -> None:
    segments = segments_of([digit["strokes"] for digit in handwriting(3, 10)])
    thin, thick = (draw_many(segments, torch.full((10,), radius)) for radius in (0.9, 1.8))
    assert (thick.sum((1, 2, 3)) > 1.3 * thin.sum((1, 2, 3))).all()
    for images in (thin, thick):
        rows, columns = ((images > 0.5).any(axis)[:, 0].sum(1) for axis in (3, 2))
        assert (torch.maximum(rows, columns) - 19).abs().max() <= 1


@pytest.mark.parametrize("radius", [0, -1, THICKEST + 0.1, float("nan")])
def test_a_brush_that_cannot_be_used_is_refused(radius) -> None:
    with pytest.raises(ValueError, match="expected radii"):
        draw_many(torch.zeros(2, 3, 2, 2), radius)


def test_what_are_no_segments_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected segments \(N, P, 2, 2\), got \(2, 3, 2\)"):
        draw_many(torch.zeros(2, 3, 2))
