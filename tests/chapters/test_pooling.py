"""What chapter 7 defines computes what PyTorch computes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.chapters.definitions import definitions

chapter = definitions("pooling")


@st.composite
def cases(draw: st.DrawFn) -> tuple[torch.Tensor, int, int, int]:
    """Numbers of both signs (N, C, H, W) with a window, stride and padding that fit."""
    k = draw(st.integers(1, 4))
    s, p = draw(st.integers(1, 4)), draw(st.integers(0, k // 2))
    height, width = (k + draw(st.integers(0, 6)) for _ in range(2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), height, width)
    return torch.randn(shape, generator=generator, dtype=torch.float64) - 1, k, s, p


@settings(deadline=None)
@given(case=cases(), name=st.sampled_from(["max_pool2d", "max_pool2d_unfold"]))
def test_max_pooling_equals_pytorch(case: tuple[torch.Tensor, int, int, int], name: str) -> None:
    x, k, s, p = case
    assert torch.equal(chapter[name](x, k, s, p), F.max_pool2d(x, k, s, p))


@settings(deadline=None)
@given(case=cases(), include=st.booleans())
def test_average_pooling_equals_pytorch(
    case: tuple[torch.Tensor, int, int, int], include: bool
) -> None:
    x, k, s, p = case
    expected = F.avg_pool2d(x, k, s, p, count_include_pad=include)
    torch.testing.assert_close(chapter["avg_pool2d"](x, k, s, p, include), expected)


@settings(deadline=None)
@given(k=st.integers(1, 4), rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_max_pooling_by_reshape_equals_pytorch(k: int, rows: int, columns: int) -> None:
    x = torch.randn(2, 3, k * rows, k * columns, dtype=torch.float64)
    assert torch.equal(chapter["max_pool2d_reshape"](x, k), F.max_pool2d(x, k))


@settings(deadline=None)
@given(case=cases(), ties=st.booleans())
def test_the_gradient_of_the_maximum_equals_autograd(
    case: tuple[torch.Tensor, int, int, int], ties: bool
) -> None:
    x, k, s, _ = case
    x = (x.round() if ties else x).requires_grad_()
    y = F.max_pool2d(x, k, s)
    upstream = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, upstream)
    ours = chapter["max_pool2d_backward"](x.detach(), upstream, k, s)
    torch.testing.assert_close(ours, expected)


def test_the_winner_takes_all() -> None:
    x = torch.tensor([[[[1.0, 5], [3, 2]]]])
    ours = chapter["max_pool2d_backward"](x, torch.tensor([[[[7.0]]]]), 2, 2)
    assert ours[0, 0].tolist() == [[0, 7], [0, 0]]


@settings(deadline=None)
@given(places=st.integers(0, 6), rows=st.integers(1, 4), columns=st.integers(2, 4))
def test_pooled_maps_move_with_even_shifts(places: int, rows: int, columns: int) -> None:
    x = torch.randn(1, 2, 2 * rows, 2 * columns, dtype=torch.float64)
    shift = chapter["shift"]
    for pool in (chapter["max_pool"], chapter["every_second"], chapter["max_blur_pool"]):
        torch.testing.assert_close(pool(shift(x, 2 * places)), shift(pool(x), places))


def test_two_averages_are_the_binomial_blur() -> None:
    x = torch.randn(2, 3, 8, 10, dtype=torch.float64)
    wrapped = F.pad(x, (1, 2, 1, 2), mode="circular")
    torch.testing.assert_close(chapter["max_blur_pool"](x), chapter["solution_blur_pool"](wrapped))


@pytest.mark.parametrize("halve", ["max", "stride"])
def test_the_small_networks_halve_twice(halve: str) -> None:
    network = chapter["small_network"](halve)
    assert network[:-2](torch.zeros(1, 1, 28, 28)).shape == (1, 16, 7, 7)
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_control_halves_nothing() -> None:
    network = chapter["small_network"]("none")
    assert network[:-2](torch.zeros(1, 1, 28, 28)).shape == (1, 16, 28, 28)
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_global_network_halves_twice_and_takes_any_size() -> None:
    network = chapter["global_network"](8, 16, 16, 16).eval()
    assert network[:-3](torch.zeros(1, 1, 28, 28)).shape == (1, 16, 7, 7)
    assert network(torch.zeros(2, 1, 40, 36)).shape == (2, 10)


@pytest.mark.parametrize("pixels", range(7))
def test_a_digit_moved_to_the_right_leaves_paper_behind(pixels: int) -> None:
    x = torch.rand(2, 1, 28, 28)
    moved = chapter["to_the_right"](x, pixels)
    assert moved.shape == x.shape
    assert torch.equal(moved[..., pixels:], x[..., : 28 - pixels])
    assert not moved[..., :pixels].any()
