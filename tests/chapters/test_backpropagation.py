"""What chapter 10 derives is what autograd computes, and what the package holds."""

from collections.abc import Iterable
from typing import Any

import nbformat
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mnist_course import data
from mnist_course import operations as ops
from mnist_course.gluing import glued_values
from tests.chapters.definitions import definitions
from tools.chapters import notebook_path, sources

chapter = definitions("backpropagation")
random, by_autograd = chapter["random"], chapter["by_autograd"]

FEW = settings(max_examples=25, deadline=None)


NAMES = chapter["NAMES"]


@st.composite
def layers(draw) -> tuple:
    """Input, weights, upstream gradient and stride of a convolution that fits."""
    N, C_in, C_out, K_h, K_w = (draw(st.integers(1, 3)) for _ in range(5))
    H, W, stride = (draw(st.integers(*bounds)) for bounds in ((K_h, 6), (K_w, 6), (1, 4)))
    shapes = (N, C_in, H, W), (C_out, C_in, K_h, K_w), (C_out,)
    x, w, b = random(*shapes, seed=draw(st.integers(0, 1000)))
    (dy,) = random(F.conv2d(x, w, b, stride).shape, seed=1)
    return x, w, b, dy, stride


def all_close(ours: Iterable, theirs: Iterable) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@FEW
@given(layers())
def test_loops_equal_autograd_and_the_package(layer) -> None:
    x, w, b, dy, stride = layer
    loops = chapter["conv2d_backward_loops"](dy, x, w, stride)
    all_close(loops, by_autograd(lambda *t: F.conv2d(*t, stride), (x, w, b), dy))
    _, cache = ops.conv2d_forward(x, w, b, stride)
    all_close(loops, ops.conv2d_backward(dy, cache))


@FEW
@given(layers())
def test_both_gradients_are_convolutions(layer) -> None:
    x, w, b, dy, stride = layer
    dx, dw, _ = by_autograd(lambda *t: F.conv2d(*t, stride), (x, w, b), dy)
    torch.testing.assert_close(chapter["weight_gradient"](dy, x, w, stride), dw)
    torch.testing.assert_close(chapter["input_gradient"](dy, x, w, stride), dx)


@FEW
@given(layers(), st.integers(1, 2))
def test_what_padding_is_paid_is_thrown_away(layer, padding) -> None:
    x, w, b, _, stride = layer
    padded = F.pad(x, (padding,) * 4)
    (dy,) = random(F.conv2d(padded, w, b, stride).shape, seed=1)
    dx, dw, db = chapter["conv2d_backward_loops"](dy, padded, w, stride)
    cropped = dx[:, :, padding:-padding, padding:-padding]
    theirs = by_autograd(lambda *t: F.conv2d(*t, stride, padding), (x, w, b), dy)
    all_close((cropped, dw, db), theirs)


@FEW
@given(layers())
def test_with_columns_it_is_two_products_and_col2im(layer) -> None:
    x, w, b, *_ = layer
    (dy,) = random(F.conv2d(x, w, b).shape, seed=1)
    columns = ops.im2col(x, w.shape[2:])
    ours = chapter["conv2d_backward"](dy, columns, x.shape[2:], w)
    all_close(ours, by_autograd(F.conv2d, (x, w, b), dy))


@FEW
@given(layers())
def test_without_the_flip_only_kernels_that_survive_half_a_turn_are_right(layer) -> None:
    x, w, *_ = layer
    for kernel, symmetric in ((w, w.shape[2] * w.shape[3] == 1), (w + w.flip(2, 3), True)):
        (dy,) = random(F.conv2d(x, kernel).shape, seed=1)
        (dx,) = by_autograd(lambda x, kernel=kernel: F.conv2d(x, kernel), [x], dy)
        assert torch.allclose(chapter["without_flip"](dy, kernel), dx) == symmetric


@FEW
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_linear_of_the_chapter_equals_the_package(N, D, O) -> None:  # noqa: E741
    x, w, b, dy = random((N, D), (O, D), (O,), (N, O))
    _, cache = ops.linear_forward(x, w, b)
    all_close(chapter["linear_backward"](dy, x, w), ops.linear_backward(dy, cache))


# --- the tape -------------------------------------------------------------------------------------

number = st.floats(-3, 3).map(lambda value: torch.tensor(value, dtype=torch.float64))


def on_tape(tape: list, *inputs: object, name: str) -> Any:
    pair = chapter[name], chapter[f"{name}_backward"]
    return chapter["record"](tape, *pair, *inputs)


@FEW
@given(number, number, number, number)
def test_the_tape_differentiates_the_graph_of_two_layers(x, w1, b, w2) -> None:
    tape, nodes = [], [chapter["Node"](value) for value in (x, w1, b, w2, torch.tensor(5.0))]
    a = on_tape(tape, nodes[1], nodes[0], name="times")
    z = on_tape(tape, a, nodes[2], name="plus")
    h = chapter["record"](tape, ops.relu_forward, ops.relu_backward, z)
    loss = on_tape(tape, on_tape(tape, nodes[3], h, name="times"), nodes[4], name="distance")
    chapter["play_back"](tape, loss)
    leaves = [value.clone().requires_grad_() for value in (x, w1, b, w2)]
    theirs = (leaves[3] * (leaves[1] * leaves[0] + leaves[2]).relu() - 5) ** 2
    torch.testing.assert_close(loss.value, theirs.detach())
    all_close([node.grad for node in nodes[:4]], torch.autograd.grad(theirs, leaves))
    given = (value.item() for value in (x, w1, b, w2))
    all_close(chapter["solution_slopes"](*given, 5.0), [nodes[k].grad.item() for k in (1, 2, 3)])


@FEW
@given(number, st.integers(1, 4))
def test_paths_add_up(w, times) -> None:
    tape, node = [], chapter["Node"](w)
    power = node
    for _ in range(times):
        power = on_tape(tape, power, node, name="times")
    chapter["play_back"](tape, power)
    torch.testing.assert_close(node.grad, (times + 1) * w**times)


def test_what_does_not_lead_to_the_loss_is_paid_nothing() -> None:
    tape, (a, b) = [], [chapter["Node"](value) for value in random((3,), (3,))]
    aside = on_tape(tape, a, b, name="times")
    loss = on_tape(tape, a, a, name="plus")
    chapter["play_back"](tape, loss)
    assert torch.equal(a.grad, torch.full((3,), 2.0).double())
    assert not b.grad.any() and not aside.grad.any()


@pytest.fixture(scope="module")
def network() -> tuple:
    """Weights of random numbers by name, and five made-up pictures with labels."""
    shapes = (8, 1, 3, 3), (8,), (16, 8, 3, 3), (16,), (10, 400), (10,)
    weights = {n: w / 5 for n, w in zip(NAMES, random(*shapes), strict=True)}
    return weights, random((5, 1, 28, 28), seed=2)[0], torch.tensor([3, 1, 4, 1, 5])


def by_pytorch(x: torch.Tensor, weights: dict) -> torch.Tensor:
    w = weights
    y = F.max_pool2d(F.conv2d(x, w["w1"], w["b1"]).relu(), 2)
    y = F.max_pool2d(F.conv2d(y, w["w2"], w["b2"]).relu(), 2)
    return F.linear(y.flatten(1), w["w3"], w["b3"])


def test_the_network_on_the_tape_is_pytorchs_forward_and_back(network) -> None:
    weights, x, labels = network
    loss, gradients = chapter["loss_and_gradients"](x, labels, weights)
    leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
    theirs = F.cross_entropy(by_pytorch(x, leaves), labels)
    theirs.backward()
    torch.testing.assert_close(loss, theirs.detach())
    assert list(gradients) == list(NAMES)
    all_close(gradients.values(), [leaf.grad for leaf in leaves.values()])


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
    steps = [1e-1, 1e-5, 1e-12]
    errors = chapter["slope_errors"](torch.float64, True, steps, directions=5)
    assert errors[1] < 1e-9 and errors[0] > 1e-5 and errors[2] > 1e-6


def initial_weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3), nn.Linear(400, 10)
    tensors = [p.detach().clone() for layer in layers for p in layer.parameters()]
    return dict(zip(NAMES, tensors, strict=True))


@pytest.mark.mnist
def test_training_on_the_tape_equals_training_by_autograd() -> None:
    """Ten steps with our own gradients, or with PyTorch's and its SGD, lead to the same weights."""
    batches = list(data.load("train")[:160].batches(16))
    ours = initial_weights()
    losses = chapter["train"](ours, batches, learning_rate=0.1)
    leaves = {name: w.requires_grad_() for name, w in initial_weights().items()}
    optimizer = torch.optim.SGD(leaves.values(), lr=0.1)
    for step, (images, labels) in enumerate(batches):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 10)
        optimizer.zero_grad()
        loss = F.cross_entropy(by_pytorch(chapter["prepared"](images), leaves), labels)
        loss.backward()
        optimizer.step()
        assert loss.item() == pytest.approx(losses[step], abs=1e-4)
    for name, leaf in leaves.items():
        torch.testing.assert_close(ours[name], leaf.detach(), atol=1e-4, rtol=1e-3)


def test_the_published_network_reads_97_percent_of_the_test_digits() -> None:
    (source,) = sources(["backpropagation"])
    values = glued_values(nbformat.read(notebook_path(source), as_version=4).cells)
    assert float(values["test"]) >= 97
    assert values["autograd_used"] == "False"
