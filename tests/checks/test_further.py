"""Each check of chapter 22 accepts the right answer and names each plausible mistake."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from mnist_course.checks import further as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_wrong

chapter = definitions("further")


@pytest.mark.parametrize("name", ["for_the_network", "residual", "score_maps", "patches"])
def test_the_stub_is_not_yet_and_the_solution_right(name: str) -> None:
    assert not getattr(check, name)(chapter[f"my_{name}"])
    verdict = getattr(check, name)(chapter[f"solution_{name}"])
    assert verdict, verdict


def reshaped(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(len(x), 3, x.shape[1], x.shape[2])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (chapter["for_the_network"], "Both bugs"),
        (lambda x: reshaped(x) / 255, "Use permute"),
        (lambda x: x.permute(0, 3, 1, 2), "divide by 255"),
        (lambda x: (x.permute(0, 3, 1, 2) / 255).byte(), "leaves 0 and 1"),
        (lambda x: x.permute(0, 3, 2, 1) / 255, "Rows and columns"),
        (lambda x: x.permute(0, 3, 1, 2).double() / 255, "not float32"),
        (lambda x: x / 255, "has shape"),
        (lambda x: None, "returned None"),
    ],
)
def test_for_the_network_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.for_the_network(answer), message)


def block(x, w1, w2, skip, stride, *, between=True, order="sum", way=True, identity=False):
    """A residual block with one mistake."""
    inner = F.conv2d(x, w1, stride=stride, padding=1)
    f = F.conv2d(inner.relu() if between else inner, w2, padding=1)
    g = x if identity else F.conv2d(x, skip, stride=stride)
    if not way:
        return f.relu()
    return {"sum": (f + g).relu(), "none": f + g, "before": f.relu() + g}[order]


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"way": False}, "way around is missing"),
        ({"order": "none"}, "at the end is missing"),
        ({"order": "before"}, "after the sum"),
        ({"between": False}, "between the two"),
        ({"identity": True}, "x itself is added"),
    ],
)
def test_residual_names_the_mistake(mistake: dict, message: str) -> None:
    assert check.residual(block)
    assert_wrong(check.residual(lambda *arguments: block(*arguments, **mistake)), message)


def test_residual_notices_a_stride_that_is_forgotten() -> None:
    verdict = check.residual(lambda x, w1, w2, skip, stride: block(x, w1, w2, skip, 1))
    assert not verdict
    assert "stride 2" in verdict.message


scores = chapter["solution_score_maps"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda m, w, b: torch.einsum("oc,nchw->nohw", w, m), "bias is missing"),
        (lambda m, w, b: scores(m, w, b / (m.shape[2] * m.shape[3])), "shared out"),
        (lambda m, w, b: scores(m, w, b).mean((2, 3)), "leave the mean out"),
        (lambda m, w, b: scores(m, w, b).permute(0, 2, 3, 1), "before the classes"),
        (lambda m, w, b: m @ w, "raised"),
    ],
)
def test_score_maps_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.score_maps(answer), message)


def by_columns(x: torch.Tensor, size: int) -> torch.Tensor:
    n, c, h, w = x.shape
    cut = x.reshape(n, c, h // size, size, w // size, size)
    return cut.permute(0, 4, 2, 1, 3, 5).reshape(n, -1, c * size * size)


def by_pixels(x: torch.Tensor, size: int) -> torch.Tensor:
    n, c, h, w = x.shape
    cut = x.reshape(n, c, h // size, size, w // size, size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, c * size * size)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, s: F.unfold(x, s, stride=s), "last two axes"),
        (lambda x, s: x.reshape(len(x), -1, x.shape[1] * s * s), "across the rows"),
        (by_columns, "column by column"),
        (by_pixels, "pixel by pixel"),
        (lambda x, s: F.unfold(x, s).mT, "has shape"),
    ],
)
def test_patches_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.patches(answer), message)
