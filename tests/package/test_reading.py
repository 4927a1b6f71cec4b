"""What is said about the digits of a picture, and what is not sure."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from mnist_course import pretrained, reading
from mnist_course.photos import ImageError, Page, find_digits
from mnist_course.synthetic import FORMS

SIDE = 300


def drawn(digits: str, side: int = 120, pen: int = 10) -> Image.Image:
    """Light ink on black: the digits in a row."""
    sheet = Image.new("L", (side * len(digits) + 2 * side, SIDE))
    brush = ImageDraw.Draw(sheet)
    for n, digit in enumerate(digits):
        for stroke in FORMS[int(digit)][0]:
            points = [(side * (n + 1 + x / 125), 80 + side * y / 100) for x, y in stroke]
            brush.line(points, fill=255, width=pen, joint="curve")
    return sheet


def inked(digits: str, paper: float = 0.85, pen: float = 0.2) -> np.ndarray:
    """A page, ``(H, W)`` in [0, 1], with a camera's noise."""
    ink = np.asarray(drawn(digits), np.float32) / 255
    noise = np.random.default_rng(0).normal(0, 0.01, ink.shape)
    return (paper + ink * (pen - paper) + noise).clip(0, 1)


def on_a_desk(page: np.ndarray) -> np.ndarray:
    page = page.copy()
    page[:, -20:] = 0.2
    page[-12:] = 0.2
    return page


def with_a_strip(page: np.ndarray) -> np.ndarray:
    page = page.copy()
    page[:25] = 0.02
    return page


def in_a_window(page: np.ndarray) -> np.ndarray:
    framed = np.pad(np.pad(page, 3, constant_values=0.3), 15, constant_values=0.6)
    framed[15:40, 15:-15] = 0.3
    return framed


def light(page: np.ndarray, y: float, x: float, width: float) -> np.ndarray:
    """A bright spot; y, x and width in pixels."""
    rows, columns = np.mgrid[: page.shape[0], : page.shape[1]]
    spot = np.exp(-(((rows - y) ** 2 + (columns - x) ** 2) / width**2))
    return (0.6 * page + 0.6 * spot).clip(0, 1)


def in_shadow(page: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[: page.shape[0], : page.shape[1]]
    return page * np.where(columns + 0.5 * rows > 250, 0.5, 1)


def on_rules(page: np.ndarray, both: bool = False) -> np.ndarray:
    page = page.copy()
    rows, columns = np.mgrid[: page.shape[0], : page.shape[1]]
    for one, other in ((rows, columns), (columns, rows))[: 1 + both]:
        page[(one + 0.03 * other) % 24 < 2] *= 0.6
    return page


SCENES = {
    "a desk": on_a_desk,
    "a scanner's strip": with_a_strip,
    "a window": in_a_window,
    "glare": lambda page: light(page, 60, 60, 60),
    "a lamp's spot": lambda page: light(page, 40, 40, 14),
    "a hard shadow": in_shadow,
    "ruled paper": on_rules,
    "squared paper": lambda page: on_rules(page, both=True),
    "light on dark": lambda page: 1 - page,
    "red on green": lambda page: np.stack([1.05 - page, page, np.full_like(page, 0.3)], -1),
}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return pretrained.load()


@pytest.mark.parametrize("scene", SCENES)
def test_what_surrounds_the_digit_is_not_read(network: nn.Module, scene: str) -> None:
    for digit in "257":
        answers = reading.read(network, find_digits(SCENES[scene](inked(digit))))
        assert len(answers) == 1
        assert answers[0].best[0] == int(digit)
        assert not answers[0].doubt


def test_several_digits_are_read_from_left_to_right(network: nn.Module) -> None:
    page = find_digits(inked("2735"))
    assert page.lines == (4,)
    assert [answer.best[0] for answer in reading.read(network, page)] == [2, 7, 3, 5]


def test_a_turned_page_is_read_line_by_line(network: nn.Module) -> None:
    sheet = np.concatenate([np.asarray(drawn(row)) for row in ("2735", "5372")])
    for angle in (-6, 6):
        turned = Image.fromarray(255 - sheet).rotate(angle, fillcolor=255, expand=True)
        page = find_digits(turned)
        assert page.lines == (4, 4)
        digits = [answer.best[0] for answer in reading.read(network, page)]
        assert digits == [2, 7, 3, 5, 5, 3, 7, 2]


def test_a_digit_that_the_picture_cuts_is_not_sure(network: nn.Module) -> None:
    page = find_digits(inked("2")[:, :180])
    assert set(page.doubts) == {"it reaches the edge of the picture"}
    assert "not sure" in reading.told(reading.read(network, page), page.lines)


@pytest.mark.parametrize("scene", SCENES)
def test_a_page_without_digits_is_refused_or_not_sure(network: nn.Module, scene: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, (SIDE, SIDE))
    blank = (0.85 + noise).astype(np.float32)
    try:
        answers = reading.read(network, find_digits(SCENES[scene](blank.clip(0, 1)).clip(0, 1)))
    except ImageError as error:
        assert "no digit found" in str(error)
    else:
        assert all(answer.doubt for answer in answers)


def page_of(*doubts: str) -> Page:
    return Page(torch.zeros(len(doubts), 1, 28, 28), (len(doubts),), doubts)


class Always(nn.Module):
    """A network that gives 7 this share, and the rest to 1."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.logits = torch.full((10,), -30.0)
        self.logits[[7, 1]] = torch.tensor([share, 1 - share]).log()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), 10)


def test_an_answer_is_sure_from_the_threshold_on() -> None:
    for share, doubt in ((0.95, ""), (0.6, "it could be another digit")):
        assert reading.read(Always(share), page_of(""))[0].doubt == doubt


def test_what_is_told_names_the_doubt() -> None:
    sure, unsure = (reading.read(Always(share), page_of("")) for share in (0.95, 0.6))
    assert reading.told(sure, (1,)) == "7   7 95.0% 1 5.0% 0 0.0%"
    assert reading.told(unsure, (1,)).startswith("not sure, perhaps 7 or 1: it could be another")
    assert reading.told(sure + sure, (1, 1)) == "2 digits: 7 / 7"
    assert reading.told(sure + unsure, (2,)) == (
        "2 digits: 7 ?   not sure of digit 2, perhaps 7 or 1: it could be another digit"
    )
