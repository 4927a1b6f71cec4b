"""The checks of chapter 1: answers in other styles, and mistakes beyond those of the tables."""

import numpy as np
import torch

from mnist_course.checks import draw as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, judged

chapter = definitions("draw")
SEVEN = [[(10, 10), (70, 12), (35, 110)]]


def test_a_drawing_that_no_turn_makes_right_is_not_told_of_the_axes():
    assert check.drawn([[(0, 0), (0, 100)]], 7).message == "The network reads a 1."


def test_strokes_may_come_one_after_the_other():
    assert_right(check.drawn((stroke for stroke in SEVEN), 7))


def test_a_picture_that_is_not_prepared_yet():
    assert_not_begun(check.prepare(chapter["my_prepare"]))


def turned(turn):
    return [[turn(x, y) for x, y in SEVEN[0]]]


def in_numpy(image):
    picture = 255 - image.numpy().astype(np.float64)
    return torch.from_numpy(picture.reshape(1, 1, 28, 28) / 255)


def pixel_by_pixel(image):
    batch = torch.zeros(1, 1, 28, 28)
    for i in range(28):
        for j in range(28):
            batch[0, 0, i, j] = (255 - image[i, j].item()) / 255
    return batch


RIGHT = {
    "drawn": [
        (SEVEN, 7),
        (tuple(np.array(stroke) for stroke in SEVEN), 7),
        ([torch.tensor(stroke) for stroke in SEVEN], 7),
        ([[], *SEVEN], 7),
    ],
    "prepare": [
        chapter["solution_prepare"],
        in_numpy,
        pixel_by_pixel,
        lambda x: (255 - x).div(255).view(1, 1, 28, 28),
        lambda x: torch.stack([1 - x / 255.0])[:, None].double(),
        lambda x: (~x)[None, None] / 255,
    ],
    "accuracy": [
        chapter["solution_accuracy"],
        lambda p, y: (p.argmax(1) == y).float().mean(),
        lambda p, y: sum(int(a == b) for a, b in zip(p.argmax(1), y, strict=True)) / len(y),
        lambda p, y: np.mean(p.numpy().argmax(axis=1) == y.numpy()),
        lambda p, y: 1 - (p.topk(1).indices[:, 0] != y).double().mean(),
        lambda p, y: (p.gather(1, y[:, None])[:, 0] >= p.amax(1)).sum() / y.numel(),
    ],
}
WRONG = {
    "drawn": [
        (([], 7), "empty"),
        (([[]], 7), "empty"),
        ((turned(lambda x, y: (x, -y)), 7), "Remember that y grows downwards"),
        ((turned(lambda x, y: (-x, y)), 7), "Remember that x grows to the right"),
        ((turned(lambda x, y: (y, x)), 7), "the column first"),
        (([[(46, 10), (70, 10), (50, 110)]], 7), "is not sure of it: only"),
        (("seven", 7), "not strokes"),
        ((7, 7), "not strokes"),
        (([[(1, 2, 3)]], 7), "not strokes"),
        ((SEVEN[0], 7), "a list of strokes"),
        (([[(float("nan"), 1)]], 7), "not strokes"),
        (([[(0, 0), (10**400, 1)]], 7), "not strokes"),
        (([[(0, 0), (1e-310, 0), (5e-311, 2e-310)]], 7), "The network reads a"),
    ],
    "prepare": [
        (lambda x: (1 - x.float() / 255)[None, None].round(), "numbers are not"),
        (lambda x: (1 - x.float() / 255).T[None, None], "numbers are not"),
        (lambda x: (1 - x // 255)[None, None], "numbers are not"),
        (lambda x: (1 - x.float() / 255).expand(2, 1, 28, 28), "has shape (2, 1, 28, 28)"),
    ],
    "accuracy": [
        (chapter["share_of_right_answers"], "along dim=1"),
        (lambda p, y: (p.argmax(1)[:10] == y[:10]).double().mean(), "the number is 0.7, expected"),
        (lambda p, y: round((p.argmax(1) == y).double().mean().item(), 2), "the number is 0.86"),
        (lambda p, y: (p.argmax(1) == y).double(), "expected one number"),
        (lambda p, y: [(p.argmax(1) == y).double().mean()], "expected one number"),
        (lambda p, y: f"{(p.argmax(1) == y).double().mean():.1%}", "I expected numbers"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)


def test_the_rules_of_the_chapter_read_an_ideal_ring_and_bar():
    y, x = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
    distance = ((y - 14) ** 2 + (x - 14) ** 2).sqrt()
    assert chapter["read_by_rules"](((distance > 5) & (distance < 8)).numpy()) == 0
    assert chapter["read_by_rules"](((x - 14).abs() < 2).numpy()) == 1
