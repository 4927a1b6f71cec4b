"""What the chapter on pooling defines computes what PyTorch computes."""

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
@given(case=cases())
def test_max_pooling_equals_pytorch(case: tuple[torch.Tensor, int, int, int]) -> None:
    x, k, s, p = case
    assert torch.equal(chapter["max_pool2d"](x, k, s, p), F.max_pool2d(x, k, s, p))


@settings(deadline=None)
@given(case=cases(), include=st.booleans())
def test_average_pooling_equals_pytorch(
    case: tuple[torch.Tensor, int, int, int], include: bool
) -> None:
    x, k, s, p = case
    expected = F.avg_pool2d(x, k, s, p, count_include_pad=include)
    torch.testing.assert_close(chapter["avg_pool2d"](x, k, s, p, include), expected)


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


@settings(deadline=None)
@given(places=st.integers(0, 3), rows=st.integers(1, 3), columns=st.integers(2, 3))
def test_maps_pooled_twice_move_with_multiples_of_four(
    places: int, rows: int, columns: int
) -> None:
    x = torch.randn(1, 2, 4 * rows, 4 * columns, dtype=torch.float64)
    shift, pool = chapter["shift"], chapter["max_pool"]
    torch.testing.assert_close(pool(pool(shift(x, 4 * places))), shift(pool(pool(x)), places))


@pytest.mark.parametrize("halve", sorted(set(chapter["HALVES"]) - {"none"}))
def test_the_small_networks_halve_twice(halve: str) -> None:
    network = chapter["small_network"](halve)
    assert network[:-2](torch.zeros(1, 1, 28, 28)).shape == (1, 16, 7, 7)
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_control_halves_nothing() -> None:
    network = chapter["small_network"]("none")
    assert network[:-2](torch.zeros(1, 1, 28, 28)).shape == (1, 16, 28, 28)
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def seen_by_a_middle_unit(network: torch.nn.Sequential) -> int:
    """How many pixels across can change the numbers in the middle of the last maps."""
    x = torch.rand(1, 1, 60, 60, dtype=torch.float64, requires_grad=True)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):  # so that no ReLU hides a pixel
            torch.nn.init.uniform_(layer.weight, 0.1, 1)
    network = torch.nn.Sequential(
        *[
            torch.nn.AvgPool2d(layer.kernel_size, layer.stride)  # where all of a window count
            if isinstance(layer, torch.nn.MaxPool2d)
            else layer
            for layer in network
            if not isinstance(layer, torch.nn.BatchNorm2d)
        ]
    ).double()
    maps = network(x)
    maps[0, :, maps.shape[2] // 2, maps.shape[3] // 2].sum().backward()
    assert x.grad is not None
    return int(x.grad[0, 0].any(0).sum())


@pytest.mark.parametrize(
    ("halve", "pixels"),
    [("none", 5), ("every second", 7), ("stride", 7), ("convolution", 10), ("average", 10),
     ("max", 10)],
)  # fmt: skip
def test_the_units_see_as_far_as_the_text_says(halve: str, pixels: int) -> None:
    assert seen_by_a_middle_unit(chapter["small_network"](halve)[:-2]) == pixels


@pytest.mark.parametrize(("kernel_sizes", "pixels"), [((), 10), ((1, 1), 10), ((3, 3), 26)])
def test_the_global_network_takes_any_size(kernel_sizes: tuple[int, ...], pixels: int) -> None:
    network = chapter["global_network"](*kernel_sizes).eval()
    assert network[:-3](torch.zeros(1, 1, 28, 28)).shape == (1, 16, 7, 7)
    assert network(torch.zeros(2, 1, 40, 36)).shape == (2, 10)
    assert seen_by_a_middle_unit(network[:-3]) == pixels


@settings(deadline=None)
@given(layers=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), max_size=4))
def test_the_receptive_field_is_the_input_of_one_output(layers: list[tuple[int, int]]) -> None:
    reach = chapter["receptive_field"](*layers)
    x = torch.zeros(1, 1, 1, reach)
    for window, stride in layers:
        x = F.avg_pool2d(x, (1, window), (1, stride))
    assert x.shape[-1] == 1


@pytest.mark.parametrize("pixels", range(7))
def test_a_digit_moved_to_the_right_leaves_paper_behind(pixels: int) -> None:
    x = torch.rand(2, 1, 28, 28)
    moved = chapter["to_the_right"](x, pixels)
    assert moved.shape == x.shape
    assert torch.equal(moved[..., pixels:], x[..., : 28 - pixels])
    assert not moved[..., :pixels].any()
