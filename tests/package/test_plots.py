"""Figures: what a page gets of them."""

import base64
import io
import re
from collections.abc import Callable

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from mnist_course import plots

ALT = 'Two lines that cross at "zero": one rises, one falls'


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[Figure], str]:
    """Shows a figure, and returns the HTML that its cell puts on the page."""
    displayed: list = []
    monkeypatch.setattr("IPython.display.display", displayed.append)

    def show(figure: Figure) -> str:
        plots.show(figure, ALT)
        return displayed.pop()._repr_mimebundle_()["text/html"]

    return show


def picture(html: str) -> Image.Image:
    data = re.search(r'src="data:image/png;base64,([^"]+)"', html)[1]
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_picture_is_as_fine_as_a_fine_screen_and_as_light_as_a_palette(shown) -> None:
    figure, axes = plt.subplots(figsize=(4, 2))
    axes.plot([0, 1], [0, 1], axes.get_xlim(), (1, 0))
    html = shown(figure)
    width = int(re.search(r'width="(\d+)"', html)[1])
    assert picture(html).width == pytest.approx(2 * width, abs=1)
    assert picture(html).mode == "P"
    assert not plt.fignum_exists(figure.number)


def test_digits_lose_nothing(shown) -> None:
    """Sixteen greys stay sixteen: a palette is chosen for the picture, none is forced on it."""
    ramp = torch.arange(0, 256, 17, dtype=torch.uint8).reshape(1, 4, 4)
    html = shown(plots.digit(ramp).figure)
    assert len(picture(html).convert("RGB").getcolors()) == 16


def test_what_a_figure_shows_is_said_in_words(shown) -> None:
    figure, _ = plt.subplots()
    assert 'alt="Two lines that cross at &quot;zero&quot;: one rises, one falls"' in shown(figure)
    with pytest.raises(ValueError, match="say what the figure shows"):
        plots.show(figure, "A plot")
