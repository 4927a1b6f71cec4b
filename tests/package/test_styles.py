"""Digits in many styles, to learn from: every form is what it says, and no two are equal."""

import numpy as np
import pytest
import torch

from mnist_course import pretrained
from mnist_course.evaluate import evaluate
from mnist_course.styles import STYLES, invented, write

ALL = [(label, style) for label, styles in STYLES.items() for style in styles]


def test_there_are_ten_digits_with_ten_styles_each_or_more() -> None:
    assert list(STYLES) == list(range(10))
    assert min(len(styles) for styles in STYLES.values()) >= 10
    assert len({style for _, style in ALL}) == len(ALL)


@pytest.mark.parametrize(("label", "style"), ALL)
def test_a_style_is_strokes_in_a_box_of_a_hundred_units(label, style) -> None:
    for stroke in style.split("/"):
        points = np.array([word.rstrip("!").split(",") for word in stroke.split()], float)
        assert len(points) >= 2
        assert points.min() >= 0 and points.max() <= 100


def test_what_is_written_has_a_stretch_between_two_strokes() -> None:
    barred = next(style for style in STYLES[7] if "/" in style)
    top, link, bar = write(barred, 200, np.random.default_rng(0))
    assert len(top) == len(link) == len(bar) == 200
    length = np.linalg.norm(link[:, 1] - link[:, 0], axis=1)
    assert 0 < (length > 0).sum() < 40  # most lift the pen
    down = length > 0
    np.testing.assert_allclose(link[down, 1], bar[down, 0])


def test_a_corner_is_sharper_than_what_is_smooth() -> None:
    def turn(style: str) -> float:
        (stroke,) = write(style, 300, np.random.default_rng(0))
        ways = np.diff(stroke[:, 1:-1], axis=1)
        angles = np.unwrap(np.arctan2(ways[..., 1], ways[..., 0]), axis=1)
        return float(np.median(np.abs(np.diff(angles, axis=1)).max(1)))

    assert turn("10,10 80,10! 40,90") > 1.5 * turn("10,10 80,10 40,90")


def test_the_same_seed_writes_the_same_and_another_does_not() -> None:
    one, same, other = invented(300, 1), invented(300, 1), invented(300, 2)
    assert torch.equal(one.images, same.images)
    assert not torch.equal(one.images, other.images)
    assert len(torch.unique(one.images.flatten(1), dim=0)) == 300


@pytest.mark.parametrize("count", [10, 333, 1000])
def test_every_digit_is_as_frequent_as_the_others(count) -> None:
    digits = invented(count)
    assert len(digits) == count
    assert digits.images.dtype == torch.uint8
    frequent = digits.labels.bincount(minlength=10)
    assert frequent.max() - frequent.min() <= 1


def test_the_network_that_ships_reads_every_digit_of_them() -> None:
    result = evaluate(pretrained.load(), invented(3000, seed=1), "cpu")
    right = result.confusion.diag() / result.confusion.sum(1)
    assert right.min() > 0.9
