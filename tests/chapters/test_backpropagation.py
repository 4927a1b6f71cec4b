"""What chapter 9 derives is what autograd computes, and what the package holds."""

import nbformat
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mnist_course import data
from mnist_course import operations as ops
from mnist_course.gluing import glued_values
from tests.chapters.definitions import definitions
from tools.chapters import notebook_path, sources

chapter = definitions("backpropagation")
random, by_autograd = chapter["random"], chapter["by_autograd"]

FEW = settings(max_examples=25, deadline=None)


@st.composite
def layers(draw) -> tuple:
    """Input, weights, upstream gradient, stride and padding of a convolution that fits."""
    N, C_in, C_out, K_h, K_w = (draw(st.integers(1, 3)) for _ in range(5))
    stride, padding = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    H = max(K_h - 2 * padding, 1) + draw(st.integers(0, 4))
    W = max(K_w - 2 * padding, 1) + draw(st.integers(0, 4))
    shapes = (N, C_in, H, W), (C_out, C_in, K_h, K_w), (C_out,)
    x, w, b = random(*shapes, seed=draw(st.integers(0, 1000)))
    (dy,) = random(F.conv2d(x, w, b, stride, padding).shape, seed=1)
    return x, w, b, dy, stride, padding


@FEW
@given(layers())
def test_loops_equal_autograd_and_the_package(layer) -> None:
    x, w, b, dy, stride, padding = layer
    loops = chapter["conv2d_backward_loops"](dy, x, w, stride, padding)
    theirs = by_autograd(lambda *t: F.conv2d(*t, stride, padding), (x, w, b), dy)
    _, cache = ops.conv2d_forward(x, w, b, stride, padding)
    for by_loops, by_torch, by_package in zip(
        loops, theirs, ops.conv2d_backward(dy, cache), strict=True
    ):
        torch.testing.assert_close(by_loops, by_torch)
        torch.testing.assert_close(by_loops, by_package)


@FEW
@given(layers())
def test_both_gradients_are_convolutions(layer) -> None:
    x, w, b, dy, stride, padding = layer
    dx, dw, _ = by_autograd(lambda *t: F.conv2d(*t, stride, padding), (x, w, b), dy)
    torch.testing.assert_close(chapter["weight_gradient"](dy, x, w, stride, padding), dw)
    torch.testing.assert_close(chapter["input_gradient"](dy, x, w, stride, padding), dx)


@FEW
@given(layers())
def test_without_the_flip_only_kernels_that_survive_half_a_turn_are_right(layer) -> None:
    x, w, *_ = layer
    if x.shape[2] < w.shape[2] or x.shape[3] < w.shape[3]:
        x = F.pad(x, (0, w.shape[3], 0, w.shape[2]))
    for kernel, symmetric in ((w, w.shape[2] * w.shape[3] == 1), (w + w.flip(2, 3), True)):
        (dy,) = random(F.conv2d(x, kernel).shape, seed=1)
        (dx,) = by_autograd(lambda x, kernel=kernel: F.conv2d(x, kernel), [x], dy)
        assert torch.allclose(chapter["without_flip"](dy, kernel), dx) == symmetric


@FEW
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_linear_and_relu_of_the_chapter_equal_the_package(N, K, C_out) -> None:
    x, w, b, dy = random((N, K), (C_out, K), (C_out,), (N, C_out))
    _, cache = ops.linear_forward(x, w, b)
    expected = ops.linear_backward(dy, cache)
    for got, wanted in zip(chapter["linear_backward"](dy, x, w), expected, strict=True):
        torch.testing.assert_close(got, wanted)
    (upstream,) = random((N, K), seed=1)
    _, cache = ops.relu_forward(x)
    assert torch.equal(chapter["relu_backward"](upstream, x), ops.relu_backward(upstream, cache))


@pytest.fixture(scope="module")
def network() -> tuple:
    """Weights with a last layer that is not zero, and five made-up pictures with labels."""
    weights = chapter["initial_weights"](dtype=torch.float64)
    weights["w3"] = random(weights["w3"].shape)[0] / 20
    (x,) = random((5, 1, 28, 28), seed=2)
    return weights, x, torch.tensor([3, 1, 4, 1, 5])


def test_the_network_forwards_is_pytorchs(network) -> None:
    weights, x, _ = network
    w = weights
    y = F.conv2d((x - data.MEAN) / data.STD, w["w1"], w["b1"])
    y = F.conv2d(F.max_pool2d(y.relu(), 2), w["w2"], w["b2"])
    expected = F.linear(F.max_pool2d(y.relu(), 2).flatten(1), w["w3"], w["b3"])
    torch.testing.assert_close(chapter["forward"](x, weights)[0], expected)


def test_the_network_backwards_is_autograd(network) -> None:
    weights, x, labels = network
    logits, caches = chapter["forward"](x, weights)
    gradients = chapter["backward"](ops.softmax_cross_entropy(logits, labels)[1], caches)
    leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
    F.cross_entropy(chapter["forward"](x, leaves)[0], labels).backward()
    assert set(gradients) == set(weights)
    for name, leaf in leaves.items():
        torch.testing.assert_close(gradients[name], leaf.grad)


def test_a_gradient_check_passes_what_is_right_and_catches_one_wrong_entry() -> None:
    x, a = random((4, 5), (4, 5))

    def loss(x):
        return (a * x.sin()).sum()

    right = a * x.cos()
    wrong = right.clone()
    wrong[1, 2] += 0.01
    assert chapter["gradient_error"](loss, x, right) < 1e-8
    assert chapter["gradient_error"](loss, x, wrong) > 1e-4


def test_the_best_step_of_a_central_difference_is_about_the_cube_root_of_the_precision() -> None:
    chapter["logits"], chapter["targets"] = random((5, 10))[0], torch.tensor([3, 1, 4, 1, 5])
    steps = [1e-1, 1e-5, 1e-12]
    errors = chapter["slope_errors"](torch.float64, True, steps, directions=5)
    assert errors[1] < 1e-9 and errors[0] > 1e-5 and errors[2] > 1e-6


def test_untrained_weights_guess() -> None:
    weights = chapter["initial_weights"]()
    logits, _ = chapter["forward"](torch.rand(3, 1, 28, 28), weights)
    assert torch.equal(logits, torch.zeros(3, 10))


@pytest.mark.mnist
def test_training_by_hand_equals_training_by_autograd() -> None:
    """Ten steps with our own gradients, or with PyTorch's and its SGD, lead to the same weights."""
    digits = data.load("train")[:160]
    by_hand = chapter["initial_weights"]()
    losses = chapter["train"](by_hand, digits, learning_rate=0.01)
    leaves = {name: w.requires_grad_() for name, w in chapter["initial_weights"]().items()}
    optimizer = torch.optim.SGD(leaves.values(), lr=0.01, momentum=0.9)
    batches = digits.batches(16, torch.Generator().manual_seed(0))
    for step, (images, labels) in enumerate(batches):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 10)
        optimizer.zero_grad()
        loss = F.cross_entropy(chapter["forward"](data.to_float(images), leaves)[0], labels)
        loss.backward()
        optimizer.step()
        assert loss.item() == pytest.approx(losses[step], abs=1e-4)
    for name, leaf in leaves.items():
        torch.testing.assert_close(by_hand[name], leaf.detach(), atol=1e-4, rtol=1e-3)


@pytest.mark.mnist
def test_the_network_learns_without_autograd() -> None:
    digits = data.load("train")
    weights = chapter["initial_weights"]()
    losses = chapter["train"](weights, digits[:2000], learning_rate=0.01)
    assert losses[0] == pytest.approx(2.3026, abs=1e-3)
    assert chapter["accuracy"](weights, digits[2000:2500]) > 0.8
    assert not any(w.requires_grad for w in weights.values())


def test_the_published_network_reads_97_percent_of_the_test_digits() -> None:
    (source,) = sources(["09"])
    values = glued_values(nbformat.read(notebook_path(source), as_version=4).cells)
    assert float(values["test"]) >= 97
    assert values["autograd_used"] == "False"
