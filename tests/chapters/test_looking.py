"""What chapter 18 derives is what the package and Captum compute."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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


@settings(max_examples=25, deadline=None)
@given(n=st.integers(3, 12), d=st.integers(2, 9), seed=st.integers(0, 1000))
def test_pca_finds_the_directions_of_largest_variance(n, d, seed) -> None:
    X = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    points, shares = chapter["pca"](X, 2)
    # The eigenvalues of the covariance, found another way.
    variances = torch.linalg.eigvalsh(X.T.cov(correction=0)).flip(0)
    assert torch.allclose(points.square().mean(0), variances[:2], atol=1e-9)
    assert torch.allclose(shares, variances[:2] / variances.sum())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), epsilon=st.floats(0.001, 0.5))
def test_no_change_within_epsilon_raises_the_linearised_loss_more_than_fgsm(seed, epsilon) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 4)).double()
    x = torch.rand(2, 1, 3, 3, dtype=torch.float64, generator=generator)
    t = torch.randint(4, (2,), generator=generator)
    g = chapter["loss_gradient"](model, x, t)
    changed = chapter["fgsm"](model, x, t, epsilon)
    assert changed.min() >= 0 and changed.max() <= 1
    assert (changed - x).abs().max() <= epsilon + 1e-12
    best = (g * (changed - x)).sum((1, 2, 3))
    for _ in range(20):
        other = epsilon * (2 * torch.rand(x.shape, dtype=x.dtype, generator=generator) - 1)
        other = (x + other).clamp(0, 1) - x
        assert ((g * other).sum((1, 2, 3)) <= best + 1e-12).all()


def test_the_loss_gradient_of_a_picture_does_not_depend_on_its_batch() -> None:
    model, x = network(), torch.stack([picture(seed) for seed in range(3)])
    t = torch.tensor([1, 2, 3])
    together = chapter["loss_gradient"](model, x, t)
    alone = torch.cat(
        [chapter["loss_gradient"](model, x[n : n + 1], t[n : n + 1]) for n in range(3)]
    )
    assert torch.allclose(together, alone)
    assert all(weight.grad is None for weight in model.parameters())


def test_a_shuffled_network_has_the_same_weights_in_another_order() -> None:
    model = network()
    other = chapter["shuffled"](model, ["conv2"])
    before, after = model.conv2.weight.flatten(), other.conv2.weight.flatten()
    assert torch.equal(before.sort().values, after.sort().values)
    assert not torch.equal(before, after)
    assert torch.equal(model.conv1.weight, other.conv1.weight)


def test_the_edge_detector_is_blind_to_what_does_not_change() -> None:
    flat = torch.full((1, 1, 9, 9), 0.7)
    assert not chapter["edges"](flat)[..., 1:-1, 1:-1].round(decimals=5).any()
    ramp = torch.arange(9.0).expand(1, 1, 9, 9)  # one more with every column: Sobel answers 8
    assert torch.allclose(chapter["edges"](ramp)[..., 1:-1, 1:-1], torch.tensor(8.0))


def test_correlation_is_one_up_to_brightness_and_contrast() -> None:
    maps = torch.rand(4, 5, 5)
    assert chapter["correlation"](maps, 3 * maps + 1) == pytest.approx(1, abs=1e-5)
    assert chapter["correlation"](maps, -maps) == pytest.approx(-1, abs=1e-5)


def test_log_odds_are_those_of_the_package() -> None:
    z = torch.randn(6, 10, dtype=torch.float64)
    assert torch.allclose(chapter["log_odds"](z, 4), explain.log_odds(z, 4))
    p = F.softmax(z, 1)[:, 4]
    assert torch.allclose(chapter["log_odds"](z, 4), (p / (1 - p)).log())
