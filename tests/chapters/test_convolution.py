"""What chapter 4 defines computes what PyTorch computes, for all shapes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from torch.nn import functional as F

from tests.chapters.definitions import definitions

chapter = definitions("convolution")

SMALL = st.integers(1, 3)
SETTINGS = settings(max_examples=25, deadline=None)


@st.composite
def layers(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Input, weights and bias of a layer; the kernel always fits into the image."""
    N, C_in, C_out, K_h, K_w = (draw(SMALL) for _ in range(5))
    H, W = K_h + draw(st.integers(0, 3)), K_w + draw(st.integers(0, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    shapes = (N, C_in, H, W), (C_out, C_in, K_h, K_w), (C_out,)
    x, w, b = (torch.randn(s, dtype=torch.float64, generator=generator) for s in shapes)
    return x, w, b


@pytest.mark.parametrize("name", ["conv2d_loops", "conv2d_shifts", "conv2d_im2col"])
@SETTINGS
@given(layer=layers())
def test_every_version_of_the_layer_equals_pytorch(name, layer) -> None:
    inputs = [part.clone() for part in layer]
    torch.testing.assert_close(chapter[name](*layer), F.conv2d(*inputs))
    for part, before in zip(layer, inputs, strict=True):
        assert torch.equal(part, before), f"{name} changed its input"


@SETTINGS
@given(layer=layers())
def test_im2col_equals_unfold(layer) -> None:
    x, w, _ = layer
    assert torch.equal(chapter["im2col"](x, w.shape[2:]), F.unfold(x, w.shape[2:]))


@SETTINGS
@given(layer=layers())
def test_slide_is_a_layer_with_one_channel_and_no_bias(layer) -> None:
    x, w, _ = layer
    expected = F.conv2d(x[:1, :1], w[:1, :1])[0, 0]
    torch.testing.assert_close(chapter["slide"](x[0, 0], w[0, 0]), expected)


def test_slide_of_whole_numbers_is_exact() -> None:
    image, kernel = torch.full((4, 5), 255), chapter["SOBEL_X"]
    assert chapter["slide"](image, kernel).dtype == torch.int64
    assert torch.equal(chapter["slide"](image, kernel.abs()), torch.full((2, 3), 8 * 255))


@SETTINGS
@given(layer=layers())
def test_flip_and_slide_is_the_convolution_of_mathematics(layer) -> None:
    x, w, _ = layer
    image, kernel = x[0, 0], w[0, 0]
    expected = torch.from_numpy(convolve2d(image, kernel, mode="valid"))
    torch.testing.assert_close(chapter["convolve"](image, kernel), expected)


@SETTINGS
@given(layer=layers())
def test_multiply_adds_counts_the_innermost_line(layer) -> None:
    x, w, b = layer
    ones = torch.ones_like(x), torch.ones_like(w), torch.zeros_like(b)
    # With ones everywhere and no bias, each round of the innermost line adds exactly one.
    assert chapter["multiply_adds"](x.shape, w.shape) == chapter["conv2d_loops"](*ones).sum()


@pytest.mark.parametrize(
    ("operation", "found"),
    [
        (F.conv2d, lambda kernel: kernel),
        (lambda x, w: F.conv2d(x, w.flip(2, 3)), lambda kernel: kernel.flip(0, 1)),
    ],
    ids=["correlation", "convolution"],
)
def test_a_kernel_is_found_from_examples(operation, found) -> None:
    true = torch.tensor([[0, 1, 2], [-1, 0, 3], [0.5, 0, -2]], dtype=torch.float64)
    x = torch.rand(8, 1, 10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = x - 0.5
    targets = F.conv2d(x, true[None, None])
    kernel, losses = chapter["learn_kernel"](x, targets, operation, steps=300)
    assert losses[-1] < 1e-6 * losses[0]
    torch.testing.assert_close(kernel, found(true), atol=1e-2, rtol=0)


@pytest.mark.parametrize("name", [name for name in chapter["KERNELS"] if name != "blur"])
def test_detectors_ignore_even_areas(name) -> None:
    assert chapter["KERNELS"][name].sum() == 0


def test_the_buggy_slide_of_exercise_3_is_right_for_symmetric_kernels_only() -> None:
    image = torch.randn(6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernel = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    buggy, slide = chapter["buggy_slide"], chapter["slide"]
    symmetric = kernel + kernel.T
    torch.testing.assert_close(buggy(image, symmetric), slide(image, symmetric))
    assert not torch.allclose(buggy(image, kernel), slide(image, kernel))
