"""The operations by hand are what PyTorch computes, forwards and backwards, for all shapes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mnist_course import operations as ops

FEW = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 1000)


def random(seed, *shapes) -> list[torch.Tensor]:
    """Random tensors in float64 that record what is done with them."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in shapes
    ]


def assert_same_both_ways(forward, backward, reference, *inputs) -> None:
    """Forward and backward by hand equal PyTorch and autograd, and change none of their inputs."""
    expected = reference(*inputs)
    (dy,) = random(7, tuple(expected.shape))
    dy = dy.detach()
    gradients = torch.autograd.grad(expected, inputs, dy)

    plain = [part.detach().clone() for part in inputs]
    dy_before = dy.clone()
    y, cache = forward(*plain)
    torch.testing.assert_close(y, expected.detach())
    answer = backward(dy, cache)
    answer = answer if isinstance(answer, tuple) else (answer,)
    for got, wanted in zip(answer, gradients, strict=True):
        torch.testing.assert_close(got, wanted)
    assert torch.equal(dy, dy_before)
    assert all(torch.equal(a, b) for a, b in zip(plain, inputs, strict=True))


@st.composite
def layers(draw) -> tuple:
    """Input, weights and bias of a convolution that fits, stride and padding."""
    N, C_in, C_out, K_h, K_w, stride = (draw(st.integers(1, 3)) for _ in range(6))
    padding = draw(st.integers(0, 3))
    H = max(K_h - 2 * padding, 1) + draw(st.integers(0, 5))
    W = max(K_w - 2 * padding, 1) + draw(st.integers(0, 5))
    shapes = (N, C_in, H, W), (C_out, C_in, K_h, K_w), (C_out,)
    return *random(draw(seeds), *shapes), stride, padding


@FEW
@given(layers())
def test_convolution(layer) -> None:
    *inputs, stride, padding = layer
    assert_same_both_ways(
        lambda x, w, b: ops.conv2d_forward(x, w, b, stride, padding),
        ops.conv2d_backward,
        lambda x, w, b: F.conv2d(x, w, b, stride, padding),
        *inputs,
    )


@FEW
@given(layers())
def test_im2col_is_unfold_and_col2im_is_fold(layer) -> None:
    x, w, _, stride, padding = layer
    size, kernel_size = tuple(x.shape[2:]), tuple(w.shape[2:])
    columns = ops.im2col(x, kernel_size, stride, padding)
    assert torch.equal(columns, F.unfold(x, kernel_size, padding=padding, stride=stride))
    (other,) = random(3, tuple(columns.shape))
    folded = ops.col2im(other, size, kernel_size, stride, padding)
    expected = F.fold(other, size, kernel_size, padding=padding, stride=stride)
    torch.testing.assert_close(folded, expected)
    # One is the transpose of the other: <im2col(x), other> = <x, col2im(other)>.
    torch.testing.assert_close((columns * other).sum(), (x * folded).sum())


@FEW
@given(
    st.tuples(*[st.integers(1, 3)] * 2), st.tuples(*[st.integers(0, 5)] * 2),
    st.integers(1, 4), st.integers(1, 4), seeds,
)  # fmt: skip
def test_max_pooling_with_and_without_overlap(outer, extra, kernel_size, stride, seed) -> None:
    (x,) = random(seed, (*outer, kernel_size + extra[0], kernel_size + extra[1]))
    assert_same_both_ways(
        lambda x: ops.max_pool2d_forward(x, kernel_size, stride),
        ops.max_pool2d_backward,
        lambda x: F.max_pool2d(x, kernel_size, stride),
        x,
    )


def test_the_stride_of_max_pooling_is_the_kernel_size_unless_given() -> None:
    (x,) = random(0, (2, 3, 7, 8))
    y, _ = ops.max_pool2d_forward(x, 3)
    assert torch.equal(y, F.max_pool2d(x, 3))


def test_of_equal_pixels_the_first_one_wins_as_in_pytorch() -> None:
    x = torch.zeros(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    F.max_pool2d(x, 2).sum().backward()
    y, cache = ops.max_pool2d_forward(x.detach(), 2)
    assert torch.equal(ops.max_pool2d_backward(torch.ones_like(y), cache), x.grad)


@FEW
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), seeds)
def test_relu(shape, seed) -> None:
    (x,) = random(seed, tuple(shape))
    assert_same_both_ways(ops.relu_forward, ops.relu_backward, torch.relu, x)


def test_relu_passes_no_gradient_at_zero() -> None:
    _, cache = ops.relu_forward(torch.tensor([-1.0, 0.0, 1.0]))
    assert ops.relu_backward(torch.ones(3), cache).tolist() == [0, 0, 1]


@FEW
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), seeds)
def test_linear(N, K, C_out, seed) -> None:
    inputs = random(seed, (N, K), (C_out, K), (C_out,))
    assert_same_both_ways(ops.linear_forward, ops.linear_backward, F.linear, *inputs)


@FEW
@given(st.integers(1, 6), st.integers(1, 12), seeds)
def test_softmax_with_cross_entropy(N, classes, seed) -> None:
    (logits,) = random(seed, (N, classes))
    labels = torch.randint(classes, (N,), generator=torch.Generator().manual_seed(seed))
    expected = F.cross_entropy(logits, labels)
    loss, dlogits = ops.softmax_cross_entropy(logits.detach(), labels)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(dlogits, torch.autograd.grad(expected, logits)[0])


def test_huge_logits_do_not_overflow() -> None:
    logits = torch.tensor([[1e4, 0.0], [0.0, 1e4]])
    loss, dlogits = ops.softmax_cross_entropy(logits, torch.tensor([0, 0]))
    assert loss.item() == pytest.approx(5e3)
    assert dlogits.tolist() == [[0, 0], [-0.5, 0.5]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_gradient_has_the_dtype_of_its_input(dtype) -> None:
    x, w, b = (part.detach().to(dtype) for part in random(0, (2, 3, 6, 6), (4, 3, 3, 3), (4,)))
    y, conv = ops.conv2d_forward(x, w, b, stride=2, padding=1)
    pooled, pool = ops.max_pool2d_forward(y, 2)
    active, relu = ops.relu_forward(pooled)
    loss, dlogits = ops.softmax_cross_entropy(active.flatten(1), torch.tensor([0, 3]))
    dpool = ops.relu_backward(dlogits.view_as(active), relu)
    gradients = ops.conv2d_backward(ops.max_pool2d_backward(dpool, pool), conv)
    for part in (y, pooled, active, loss, dlogits, dpool, *gradients):
        assert part.dtype == dtype


def test_a_window_that_does_not_fit_is_an_error_that_says_what_to_do() -> None:
    x, w, b = (part.detach() for part in random(0, (1, 1, 4, 4), (1, 1, 5, 5), (1,)))
    with pytest.raises(ValueError, match=r"does not fit into .* more padding"):
        ops.conv2d_forward(x, w, b)
    with pytest.raises(ValueError, match="does not fit"):
        ops.max_pool2d_forward(x, 5)
