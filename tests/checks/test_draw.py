"""The checks of *Draw a digit* accept right answers and name each plausible mistake."""

import numpy as np
import pytest
import torch

from mnist_course.checks import draw as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong

CHAPTER = definitions("draw")
SEVEN = [[(10, 10), (70, 12), (35, 110)]]


@pytest.mark.parametrize(
    "strokes",
    [
        SEVEN,
        tuple(np.array(stroke) for stroke in SEVEN),
        [torch.tensor(stroke) for stroke in SEVEN],
        [[], *SEVEN],
        (stroke for stroke in SEVEN),
    ],
)
def test_a_drawn_seven_is_read(strokes) -> None:
    assert_right(check.drawn(strokes, 7))


@pytest.mark.parametrize(
    ("strokes", "message"),
    [
        ([], "empty"),
        ([[]], "empty"),
        ([[(0, 0), (0, 100)]], "The network reads a 1."),
        ([[(x, -y) for x, y in SEVEN[0]]], "Remember that y grows downwards"),
        ([[(-x, y) for x, y in SEVEN[0]]], "Remember that x grows to the right"),
        ([[(y, x) for x, y in SEVEN[0]]], "the column first"),
        ([[(10, 10), (70, 10), (50, 110), (20, 110)]], "is not sure of it: only"),
        ("seven", "not strokes"),
        (7, "not strokes"),
        ([[(1, 2, 3)]], "not strokes"),
        (SEVEN[0], "a list of strokes"),
        ([[(float("nan"), 1)]], "not strokes"),
        ([[(0, 0), (10**400, 1)]], "not strokes"),
        ([[(0, 0), (1e-310, 0), (5e-311, 2e-310)]], "The network reads a"),
    ],
)
def test_other_strokes_are_not_a_seven(strokes, message) -> None:
    assert_wrong(check.drawn(strokes, 7), message)


def test_a_drawing_that_no_turn_makes_right_is_not_told_of_the_axes() -> None:
    assert check.drawn([[(0, 0), (0, 100)]], 7).message == "The network reads a 1."


def test_the_solutions_in_the_chapter_are_right() -> None:
    assert_right(check.prepare(CHAPTER["solution_prepare"]))
    assert_right(check.accuracy(CHAPTER["solution_accuracy"]))


def in_numpy(image):
    picture = 255 - image.numpy().astype(np.float64)
    return torch.from_numpy(picture.reshape(1, 1, 28, 28) / 255)


def pixel_by_pixel(image):
    batch = torch.zeros(1, 1, 28, 28)
    for i in range(28):
        for j in range(28):
            batch[0, 0, i, j] = (255 - image[i, j].item()) / 255
    return batch


@pytest.mark.parametrize(
    "answer",
    [
        in_numpy,
        pixel_by_pixel,
        lambda x: (255 - x).div(255).view(1, 1, 28, 28),
        lambda x: torch.stack([1 - x / 255.0])[:, None].double(),
        lambda x: (~x)[None, None] / 255,
    ],
)
def test_a_picture_may_be_prepared_in_any_style(answer) -> None:
    assert_right(check.prepare(answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: (x.float() / 255)[None, None], "still dark"),
        (lambda x: (255 - x.float())[None, None], "divide by 255"),
        (lambda x: ((1 - x) / 255)[None, None], "wrap around"),
        (lambda x: (1 - x.float() / x.max())[None, None], "bytes from 40 to 200 you divide by"),
        (lambda x: (1 - x.float() / 255)[None, None].numpy(), "asks for a tensor"),
        (lambda x: (1 - x.float() / 255)[None, None].round(), "numbers are not"),
        (lambda x: (1 - x.float() / 255).T[None, None], "numbers are not"),
        (lambda x: (1 - x // 255)[None, None], "numbers are not"),
        (lambda x: (1 - x.float() / 255).expand(2, 1, 28, 28), "has shape (2, 1, 28, 28)"),
        (lambda x: x.neg_().add_(255)[None, None] / 255, "changes `x` in place"),
    ],
)
def test_prepare_names_the_mistake(answer, message) -> None:
    assert_not_begun(check.prepare(CHAPTER["my_prepare"]))
    assert_wrong(check.prepare(answer), message)


@pytest.mark.parametrize(
    "answer",
    [
        lambda p, y: (p.argmax(1) == y).float().mean(),
        lambda p, y: sum(int(a == b) for a, b in zip(p.argmax(1), y, strict=True)) / len(y),
        lambda p, y: np.mean(p.numpy().argmax(axis=1) == y.numpy()),
        lambda p, y: 1 - (p.topk(1).indices[:, 0] != y).double().mean(),
        lambda p, y: (p.gather(1, y[:, None])[:, 0] >= p.amax(1)).sum() / y.numel(),
    ],
)
def test_a_share_of_any_type_is_right(answer) -> None:
    assert_right(check.accuracy(answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (CHAPTER["share_of_right_answers"], "along dim=1"),
        (lambda p, y: (p.argmax(1)[:10] == y[:10]).double().mean(), "first ten images"),
        (lambda p, y: (p.argmax(1) == y).double().sum(), "number of right answers"),
        (lambda p, y: (p.argmax(1) == y).sum() / 10, "you divide by 10"),
        (lambda p, y: 100 * (p.argmax(1) == y).double().mean(), "per cent"),
        (lambda p, y: round((p.argmax(1) == y).double().mean().item(), 2), "the number is 0.86"),
        (lambda p, y: (p.argmax(1) == y).double(), "expected one number"),
        (lambda p, y: [(p.argmax(1) == y).double().mean()], "expected one number"),
        (lambda p, y: f"{(p.argmax(1) == y).double().mean():.1%}", "I expected numbers"),
    ],
)
def test_accuracy_names_the_mistake(answer, message) -> None:
    assert_wrong(check.accuracy(answer), message)


def test_the_rules_of_the_chapter_read_an_ideal_ring_and_bar() -> None:
    y, x = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
    distance = ((y - 14) ** 2 + (x - 14) ** 2).sqrt()
    assert CHAPTER["read_by_rules"](((distance > 5) & (distance < 8)).numpy()) == 0
    assert CHAPTER["read_by_rules"](((x - 14).abs() < 2).numpy()) == 1
