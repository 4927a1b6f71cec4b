"""Outputs are compared as the house rules say: exactly, or within a cell's own tolerance."""

import pytest

from mnist_course.checks import Verdict
from tools.outputs import comparable, deviation, snap


@pytest.mark.parametrize(
    ("fresh", "committed", "tolerance", "equal"),
    [
        ("accuracy 98.9 %", "accuracy 99.1 %", 0.5, True),
        ("accuracy 98.9 %", "accuracy 99.1 %", 0.1, False),
        ("accuracy 98.9 %", "accuracy 99.1 %", 0, False),
        ("accuracy 98.9 %", "loss 98.9 %", 5, False),
        ("1 2 3", "1 2", 5, False),
        ("60,000 images", "60000 images", 0, False),
        ("lost 1.2e-3", "lost 1.3e-3", 1e-3, True),
        ("  9.9  10.1\n", " 10.0  10.1\n", 0.2, True),
        ("conv2d of 3", "conv3d of 3", 5, False),
    ],
)
def test_snap(fresh: str, committed: str, tolerance: float, equal: bool) -> None:
    assert (snap(fresh, committed, tolerance) == committed) is equal


def test_of_a_verdict_the_words_are_compared_and_not_the_box() -> None:
    def shown(message: str, box: bool = True) -> list[dict]:
        verdict = Verdict(True, message)
        html = {"text/html": verdict._repr_html_()} if box else {}
        return [{"output_type": "execute_result", "data": {"text/plain": repr(verdict)} | html}]

    committed = shown("It is 3.", box=False)
    assert comparable(shown("It is 3."), committed, 0) == committed
    assert comparable(shown("It is 4."), committed, 0) != committed


def test_pictures_are_not_compared_but_their_alternative_text_is() -> None:
    def shown(picture: str, alt: str) -> list[dict]:
        html = f'<img src="data:image/png;base64,{picture}" alt="{alt}">'
        return [{"output_type": "display_data", "data": {"text/html": html}}]

    committed = comparable(shown("AAAA", "a seven"), shown("AAAA", "a seven"), 0)
    assert comparable(shown("BBBB", "a seven"), committed, 0) == committed
    assert comparable(shown("AAAA", "an eight"), committed, 0) != committed


@pytest.mark.parametrize(
    ("fresh", "committed", "expected"),
    [
        ("accuracy 98.9 %", "accuracy 99.1 %", 0.2),
        ("1 2 3", "1 2 3", 0),
        ("  9.9  10.1\n", " 10.0  10.1\n", 0.1),
        ("accuracy 98.9 %", "loss 98.9 %", float("inf")),
        ("1 2 3", "1 2", float("inf")),
        ("60,000 images", "59,998 images", 2),
    ],
)
def test_deviation(fresh: str, committed: str, expected: float) -> None:
    assert deviation(fresh, committed) == expected
