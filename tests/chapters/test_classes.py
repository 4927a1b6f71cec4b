"""What chapter 9 defines computes what PyTorch computes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.chapters.definitions import definitions

chapter = definitions("classes")

sizes = st.integers(1, 6)
seeds = st.integers(0, 1000)
scales = st.sampled_from([0.1, 1.0, 10.0, 1000.0])


def normal(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def random_labels(images: int, classes: int, seed: int) -> torch.Tensor:
    return torch.randint(classes, (images,), generator=torch.Generator().manual_seed(seed))


def autograd(loss, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(z, labels), z)[0]


@settings(deadline=None)
@given(images=sizes, features=sizes, classes=sizes, seed=seeds)
def test_the_loops_are_a_linear_layer(images, features, classes, seed) -> None:
    x, w = normal(images, features, seed=seed), normal(classes, features, seed=seed + 1)
    b = normal(classes, seed=seed + 2)
    torch.testing.assert_close(chapter["linear_loops"](x, w, b), F.linear(x, w, b))


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
@settings(deadline=None)
@given(images=sizes, classes=sizes, scale=scales, seed=seeds)
def test_the_stable_forms_equal_pytorch_for_logits_of_any_size(
    name, images, classes, scale, seed
) -> None:
    z = scale * normal(images, classes, seed=seed)
    torch.testing.assert_close(chapter[name](z), getattr(torch, name)(z, 1))


@settings(deadline=None)
@given(images=sizes, classes=sizes, seed=seeds)
def test_the_naive_softmax_is_right_for_small_logits(images, classes, seed) -> None:
    z = normal(images, classes, seed=seed)
    torch.testing.assert_close(chapter["naive_softmax"](z), z.softmax(1))


def test_the_naive_softmax_overflows_and_the_stable_one_does_not() -> None:
    z = torch.tensor([[1000.0, 999.0, 0.0]])
    assert chapter["naive_softmax"](z).isnan().any()
    torch.testing.assert_close(chapter["softmax"](z), z.softmax(1))


@settings(deadline=None)
@given(images=sizes, classes=sizes, scale=scales, seed=seeds)
def test_cross_entropy_and_its_gradient_equal_pytorch(images, classes, scale, seed) -> None:
    z, labels = scale * normal(images, classes, seed=seed), random_labels(images, classes, seed)
    torch.testing.assert_close(chapter["cross_entropy"](z, labels), F.cross_entropy(z, labels))
    torch.testing.assert_close(
        chapter["cross_entropy_gradient"](z, labels), autograd(F.cross_entropy, z, labels)
    )


@settings(deadline=None)
@given(images=sizes, classes=sizes, scale=scales, seed=seeds)
def test_log_softmax_twice_is_log_softmax_once(images, classes, scale, seed) -> None:
    once = chapter["log_softmax"](scale * normal(images, classes, seed=seed))
    torch.testing.assert_close(chapter["log_softmax"](once), once)


@settings(deadline=None)
@given(images=sizes, scale=scales, seed=seeds)
def test_softmax_twice_keeps_the_loss_between_its_bounds(images, scale, seed) -> None:
    z, labels = scale * normal(images, 10, seed=seed), random_labels(images, 10, seed)
    loss = chapter["softmax_twice"](z, labels).item()
    ceiling = math.log(math.e + 9)
    assert ceiling - 1 - 1e-12 <= loss <= ceiling + 1e-12


@settings(deadline=None)
@given(classes=st.integers(2, 6), seed=seeds)
def test_the_gradient_of_the_squared_error_is_the_formula_of_the_text(classes, seed) -> None:
    z, labels = normal(1, classes, seed=seed), random_labels(1, classes, seed)
    p, y = z.softmax(1)[0], F.one_hot(labels, classes)[0]
    formula = torch.stack(
        [
            sum(2 * (p[k] - y[k]) * p[k] * (int(k == o) - p[o]) for k in range(classes))
            for o in range(classes)
        ]
    )
    slope = chapter["slope"](chapter["squared_error"], z, labels)
    torch.testing.assert_close(slope[0], formula)


def test_a_confident_mistake_hardly_moves_the_squared_error() -> None:
    z, labels = torch.tensor([[10.0, -10.0]], dtype=torch.float64), torch.tensor([1])
    strong = chapter["slope"](F.cross_entropy, z, labels).abs().max()
    weak = chapter["slope"](chapter["squared_error"], z, labels).abs().max()
    assert strong > 0.999 and 1e-9 < weak < 1e-8


def test_the_squared_error_does_not_turn_a_confident_mistake_at_any_usual_rate() -> None:
    chapter["pair"] = torch.tensor([[10.0, -10.0]], dtype=torch.float64)
    chapter["right_one"] = torch.tensor([1])
    for rate in (1, 100, 10_000):
        assert chapter["steps_to_turn"](F.cross_entropy, rate) <= 20
        assert chapter["steps_to_turn"](chapter["squared_error"], rate) == "not in 1000"


@given(place=st.floats(-3, 3))
def test_a_measured_slope_is_the_slope(place) -> None:
    a = torch.tensor(place, dtype=torch.float64)
    for function, derivative in ((torch.exp, torch.exp), (torch.square, lambda a: 2 * a)):
        measured = chapter["measured_slope"](function, a)
        torch.testing.assert_close(measured, derivative(a), atol=1e-6, rtol=1e-6)


@settings(deadline=None)
@given(images=sizes, classes=sizes, epsilon=st.floats(0, 1), seed=seeds)
def test_smooth_labels_equal_pytorch(images, classes, epsilon, seed) -> None:
    z, labels = normal(images, classes, seed=seed), random_labels(images, classes, seed)
    torch.testing.assert_close(
        chapter["solution_smooth_loss"](z, labels, epsilon),
        F.cross_entropy(z, labels, label_smoothing=epsilon),
    )


def test_the_suspicious_loss_of_exercise_5_has_the_first_loss_that_the_text_explains() -> None:
    z, labels = torch.zeros(100, 10, dtype=torch.float64), torch.arange(100) % 10
    assert chapter["suspicious_loss"](z, labels).item() == pytest.approx(math.log(100) / 10)
