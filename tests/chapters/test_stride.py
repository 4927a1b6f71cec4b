"""What chapter 5 defines computes what PyTorch computes, for all sizes, strides and paddings."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.chapters.definitions import definitions

chapter = definitions("stride")
output_size = chapter["output_size"]

FEW = settings(max_examples=30, deadline=None)
MANY = settings(max_examples=300, deadline=None)

lengths, kernel_sizes, strides = st.integers(1, 40), st.integers(1, 7), st.integers(1, 5)
paddings = st.integers(0, 4)
geometry = st.tuples(lengths, kernel_sizes, strides, paddings)


@MANY
@given(geometry)
def test_the_formula_counts_the_places_and_equals_pytorch(case) -> None:
    expected = max(output_size(*case), 0)
    assert chapter["count_positions"](*case) == expected
    assert chapter["pytorch_size"](*case) == expected


@MANY
@given(geometry)
def test_visits_are_the_gradient_of_the_sum_of_all_outputs(case) -> None:
    n, k, s, p = case
    assume(output_size(*case) > 0)
    row = torch.zeros(1, 1, n, requires_grad=True)
    F.conv1d(row, torch.ones(1, 1, k), stride=s, padding=p).sum().backward()
    assert chapter["visits"](*case) == row.grad.long().flatten().tolist()


@MANY
@given(lengths, kernel_sizes, strides, paddings)
def test_the_remainder_is_the_number_of_padded_pixels_left_over_at_the_end(n, k, s, p) -> None:
    rows = output_size(n, k, s, p)
    assume(rows > 0)
    last_read = (rows - 1) * s + k - 1
    assert (n + 2 * p - 1) - last_read == (n + 2 * p - k) % s


@MANY
@given(geometry)
def test_the_plus_one_may_stand_inside_only_when_the_division_comes_out_even(case) -> None:
    assume(output_size(*case) > 0)
    n, k, s, p = case
    even = (n + 2 * p - k + 1) % s == 0
    assert (chapter["plus_one_inside"](*case) == output_size(*case)) == even


@st.composite
def layers(draw) -> tuple:
    """Input, weights, bias, stride and padding of a layer that fits."""
    N, K_h, K_w, stride, C_in, C_out = (draw(st.integers(1, 3)) for _ in range(6))
    padding = draw(st.integers(0, 2))
    H, W = (max(k - 2 * padding, 1) + draw(st.integers(0, 4)) for k in (K_h, K_w))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    shapes = (N, C_in, H, W), (C_out, C_in, K_h, K_w), (C_out,)
    x, w, bias = (torch.randn(s, dtype=torch.float64, generator=generator) for s in shapes)
    return x, w, bias, stride, padding


@FEW
@given(layers())
def test_the_convolution_with_options_equals_pytorch(layer) -> None:
    before = [part.clone() for part in layer[:3]]
    torch.testing.assert_close(chapter["conv2d"](*layer), F.conv2d(*layer))
    assert all(torch.equal(a, b) for a, b in zip(layer[:3], before, strict=True))


@MANY
@given(lengths, kernel_sizes, strides)
def test_tensorflows_padding_gives_as_many_outputs_as_it_promises(n, k, s) -> None:
    before, after = chapter["solution_same_padding"](n, k, s)
    assert output_size(n + before + after, k, s) == -(-n // s)
    assert after - before in (0, 1)
    assert before + after == 0 or output_size(n + before + after - 1, k, s) < -(-n // s)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
def test_blurring_keeps_the_size_and_an_even_kernel_moves_the_picture(kernel_size) -> None:
    picture = torch.zeros(1, 1, 41, 41)
    picture[..., 20, 20] = 1
    blurred = chapter["blur"](picture, kernel_size, times=4)
    assert blurred.shape == picture.shape
    drift = chapter["centre_row"](blurred[0, 0]) - 20
    assert drift == pytest.approx(0 if kernel_size % 2 else -2, abs=1e-4)
