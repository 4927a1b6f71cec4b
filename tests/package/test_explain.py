"""What a piece of a picture is worth to an answer."""

import pytest
import torch
from torch import nn

from mnist_course.explain import (
    activations,
    grad_cam,
    input_gradient,
    integrated_gradients,
    log_odds,
    occlusion,
)
from mnist_course.models import course_network
from tests.networks import shaken


def test_log_odds_are_those_of_the_softmax() -> None:
    logits = torch.randn(5, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = logits.softmax(1)[:, 3]
    assert torch.allclose(log_odds(logits, 3), (p / (1 - p)).log())


class Counts(nn.Module):
    """The logit of 1 is the ink in the upper left quarter, all others are 0."""

    def forward(self, x) -> torch.Tensor:
        logits = x.new_zeros(len(x), 10)
        logits[:, 1] = x[:, 0, :14, :14].sum((1, 2))
        return logits


def test_a_pixel_is_worth_what_the_windows_over_it_take_away() -> None:
    image = torch.zeros(1, 28, 28)
    image[0, 5, 6] = image[0, 20, 20] = 1.0  # one pixel that counts and one that does not
    worth = occlusion(Counts(), image, 1)
    # Each of the nine windows over a pixel covers the point, or not, and takes away 1.
    assert worth[5, 6] == pytest.approx(1)
    assert worth[5, 0] == 0 and worth[20, 20] == 0
    assert worth.sum() == pytest.approx(36)  # 36 pixels under each of nine windows, ninths


def test_blank_paper_is_worth_nothing_and_the_network_is_left_as_it_was() -> None:
    network = shaken(course_network()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert not occlusion(network, torch.zeros(1, 28, 28), 3).any()
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("image", "digit", "window", "message"),
    [
        (torch.zeros(28, 28), 3, 6, "shape"),
        (torch.zeros(1, 28, 28), 10, 6, "digit"),
        (torch.zeros(1, 28, 28), 1, 5, "multiple"),
    ],
)
def test_what_cannot_be_explained_is_refused(image, digit, window, message) -> None:
    with pytest.raises(ValueError, match=message):
        occlusion(Counts(), image, digit, window)


METHODS = {
    "activations": activations,
    "input_gradient": lambda model, image: input_gradient(model, image, 3),
    "integrated_gradients": lambda model, image: integrated_gradients(model, image, 3, 5),
    "grad_cam": lambda model, image: grad_cam(model, image, 3, "relu3"),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def a_picture() -> torch.Tensor:
    return torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))


@every_method
def test_the_network_is_left_as_it_was(method) -> None:
    network, image = shaken(course_network((3, 4, 5))).train(), a_picture()
    network.norm2.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    method(network, image)
    assert network.training and network.norm1.training and not network.norm2.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
    assert not any(layer._forward_hooks for layer in network.modules())
    assert not image.requires_grad


@every_method
def test_it_answers_in_eval_mode_whatever_the_mode_and_without_gradients_switched_on(
    method,
) -> None:
    network, image = shaken(course_network((3, 4, 5))), a_picture()
    expected = method(network, image)
    network.train().requires_grad_(False)
    with torch.no_grad():
        found = method(network, image)
    if isinstance(expected, dict):
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    else:
        assert torch.equal(expected, found) and not found.requires_grad


@every_method
def test_an_image_of_another_shape_is_refused(method) -> None:
    with pytest.raises(ValueError, match=r"expected an image of shape \(1, 28, 28\)"):
        method(course_network((3, 4, 5)), torch.zeros(28, 28))


@pytest.mark.parametrize(
    "method",
    [
        lambda model, image: input_gradient(model, image, 10),
        lambda model, image: integrated_gradients(model, image, -1),
        lambda model, image: grad_cam(model, image, 10, "relu3"),
    ],
)
def test_a_class_that_does_not_exist_is_refused(method) -> None:
    with pytest.raises(ValueError, match="expected a digit from 0 to 9"):
        method(course_network((3, 4, 5)), a_picture())


def in_place(network) -> nn.Module:
    for layer in network.modules():
        if isinstance(layer, nn.ReLU):
            layer.inplace = True
    return network


def test_activations_are_kept_as_they_were_before_an_in_place_layer() -> None:
    network, image = shaken(course_network((3, 4, 5))), a_picture()
    expected = activations(network, image)
    found = activations(in_place(network), image)
    assert found["norm1"].min() < 0
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert found["norm1"].shape == (3, 28, 28) and found["linear"].shape == (10,)


def test_grad_cam_of_a_layer_before_an_in_place_one() -> None:
    network, image = shaken(course_network((3, 4, 5))), a_picture()
    expected = grad_cam(network, image, 3, "norm2")
    assert torch.equal(grad_cam(in_place(network), image, 3, "norm2"), expected)


def test_grad_cam_needs_maps() -> None:
    with pytest.raises(ValueError, match="expected a layer with maps"):
        grad_cam(course_network((3, 4, 5)), a_picture(), 3, "flatten")


def test_integrated_gradients_add_up_to_the_rise_of_the_logit() -> None:
    network = shaken(course_network((3, 4, 5))).double()
    image, start = a_picture().double(), torch.full((1, 28, 28), 0.5, dtype=torch.float64)
    parts = integrated_gradients(network, image, 3, 400, start)
    with torch.no_grad():
        rise = (network(image[None]) - network(start[None]))[0, 3]
    assert parts.sum().item() == pytest.approx(rise.item(), rel=0.02)
    assert parts.dtype == torch.float64


def test_integrated_gradients_need_a_step() -> None:
    with pytest.raises(ValueError, match="at least one step, got 0"):
        integrated_gradients(course_network((3, 4, 5)), a_picture(), 3, 0)


def test_the_gradient_of_a_linear_score_is_its_weight() -> None:
    gradient = input_gradient(Counts(), a_picture(), 1)
    assert torch.equal(gradient[:14, :14], torch.ones(14, 14)) and gradient.sum() == 196
