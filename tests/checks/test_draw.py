"""The checks of *Draw a digit* accept right answers and name each plausible mistake."""

import pytest
import torch

from mnist_course.checks import draw as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_wrong

CHAPTER = definitions("draw")
SEVEN = [[(10, 10), (70, 12), (35, 110)]]


def test_a_drawn_seven_is_read() -> None:
    assert check.drawn(SEVEN, 7).ok


@pytest.mark.parametrize(
    ("strokes", "message"),
    [
        ([], "empty"),
        ([[(0, 0), (0, 100)]], "reads a 1"),
        ("seven", "not strokes"),
        ([[(1, 2, 3)]], "not strokes"),
        (SEVEN[0], "a list of strokes"),
        ([[(float("nan"), 1)]], "not strokes"),
    ],
)
def test_other_strokes_are_not_a_seven(strokes, message) -> None:
    assert_wrong(check.drawn(strokes, 7), message)


def test_the_solutions_in_the_chapter_are_right() -> None:
    assert check.prepare(CHAPTER["solution_prepare"]).ok
    assert check.accuracy(CHAPTER["solution_accuracy"]).ok


def test_a_share_in_single_precision_is_right_too() -> None:
    assert check.accuracy(lambda p, y: (p.argmax(1) == y).float().mean()).ok


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (CHAPTER["my_prepare"], "Nothing is written yet"),
        (lambda x: (x.float() / 255)[None, None], "still dark"),
        (lambda x: (255 - x.float())[None, None], "divide by 255"),
        (lambda x: 1 - x.float() / 255, "batch and channel are missing"),
        (lambda x: (1 - x.float() / 255)[None], "one axis is still missing"),
        (lambda x: ((1 - x) / 255)[None, None], "wrap around"),
    ],
)
def test_prepare_names_the_mistake(answer, message) -> None:
    assert_wrong(check.prepare(answer), message)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (CHAPTER["share_of_right_answers"], "along dim=1"),
        (lambda p, y: (p.argmax(1)[:10] == y[:10]).double().mean(), "first ten images"),
        (lambda p, y: (p.argmax(1) != y).double().mean(), "wrong answers"),
        (lambda p, y: (p.argmax(1) == y).double().sum(), "number of right answers"),
        (lambda p, y: 100 * (p.argmax(1) == y).double().mean(), "per cent"),
        (lambda p, y: (p.argmax(0) == y).double().mean(), "along dim=1"),
    ],
)
def test_accuracy_names_the_mistake(answer, message) -> None:
    assert_wrong(check.accuracy(answer), message)


def test_the_rules_of_the_chapter_read_an_ideal_ring_and_bar() -> None:
    y, x = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
    distance = ((y - 14) ** 2 + (x - 14) ** 2).sqrt()
    assert CHAPTER["read_by_rules"](((distance > 5) & (distance < 8)).numpy()) == 0
    assert CHAPTER["read_by_rules"](((x - 14).abs() < 2).numpy()) == 1
