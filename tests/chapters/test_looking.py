"""What chapter 22 derives is what the package and Captum compute."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course import explain
from mnist_course.models import course_network, fast_network
from tests.chapters.definitions import definitions
from tests.networks import shaken

chapter = definitions("looking")


def network(seed=0, build=course_network) -> nn.Module:
    """A small network in float64 whose batch norms are not trivial."""
    torch.manual_seed(seed)
    return shaken(build((3, 4, 5)), seed).double()


def picture(seed=0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 28, 28, dtype=torch.float64, generator=generator)


CASES = pytest.mark.parametrize(("seed", "digit"), [(0, 0), (1, 7), (2, 9)])


@CASES
def test_occlusion_is_that_of_the_package(seed, digit) -> None:
    model, image = network(seed), picture(seed)
    image[:, :9] = 0  # windows without ink
    mine = chapter["occlusion"](model, image[None], digit)
    assert torch.allclose(mine.float(), explain.occlusion(model, image, digit), atol=1e-5)


@CASES
def test_the_input_gradient_is_captums_and_the_packages(seed, digit) -> None:
    model, image = network(seed), picture(seed)
    mine = chapter["input_gradient"](model, image[None], digit)
    theirs = chapter["Saliency"](model).attribute(
        image[None].clone().requires_grad_(), target=digit, abs=False
    )
    assert torch.allclose(mine, theirs)
    assert torch.allclose(mine[0, 0], explain.input_gradient(model, image, digit))


@CASES
def test_integrated_gradients_are_captums_and_the_packages(seed, digit) -> None:
    model, image, start = network(seed), picture(seed), picture(seed + 10)
    mine = chapter["integrated_gradients"](model, image[None], digit, 7, start)
    theirs = chapter["IntegratedGradients"](model).attribute(
        image[None], start[None], target=digit, n_steps=7, method="riemann_middle"
    )
    assert torch.allclose(mine, theirs)
    packaged = explain.integrated_gradients(model, image, digit, 7, start)
    assert torch.allclose(mine[0, 0], packaged)


@CASES
@pytest.mark.parametrize(
    ("build", "layer"),
    [(course_network, "relu3"), (course_network, "pool1"), (fast_network, "gelu2")],
)
def test_grad_cam_is_captums_and_the_packages(seed, digit, build, layer) -> None:
    model, image = network(seed, build), picture(seed)
    module = model.get_submodule(layer)
    mine = chapter["grad_cam"](model, module, image[None], digit)
    theirs = chapter["LayerGradCam"](model, module).attribute(
        image[None], target=digit, relu_attributions=True
    )
    assert torch.allclose(mine, theirs[:, 0])
    assert torch.allclose(mine[0], explain.grad_cam(model, image, digit, layer))


def test_activations_are_those_of_the_package() -> None:
    model, image = network(), picture()
    mine, theirs = chapter["activations"](model, image), explain.activations(model, image)
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_log_odds_are_those_of_the_package() -> None:
    z = torch.randn(6, 10, dtype=torch.float64)
    assert torch.allclose(chapter["log_odds"](z, 4), explain.log_odds(z, 4))
    p = F.softmax(z, 1)[:, 4]
    assert torch.allclose(chapter["log_odds"](z, 4), (p / (1 - p)).log())
