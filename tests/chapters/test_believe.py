"""What chapter 23 derives is what a second computation finds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mnist_course.models import course_network
from tests.chapters.definitions import definitions
from tests.networks import shaken

chapter = definitions("believe")


def network(seed=0) -> nn.Module:
    """A small network in float64 whose batch norms are not trivial."""
    torch.manual_seed(seed)
    return shaken(course_network((3, 4, 5)), seed).double()


def picture(seed=0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 28, 28, dtype=torch.float64, generator=generator)


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


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.05, 0.95))
def test_erasing_takes_at_most_the_share_and_the_largest_first(seed, share) -> None:
    generator = torch.Generator().manual_seed(seed)
    page = (2 * torch.rand(6, 7, generator=generator) - 1).clamp(min=0)
    worth = torch.randn(6, 7, generator=generator)
    left = chapter["erase"](page, worth, share)
    gone = (page > 0) & (left == 0)
    assert (page - left).sum() <= share * page.sum() + 1e-5
    assert torch.equal(left[~gone], page[~gone])
    stayed = (page > 0) & ~gone
    if gone.any() and stayed.any():
        assert worth[gone].min() >= worth[stayed].max()
        following = page[stayed][worth[stayed].argmax()]  # the next one would have been too much
        assert page[gone].sum() + following > share * page.sum() - 1e-5


def test_the_chapter_and_its_exercise_erase_the_same() -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        page = (2 * torch.rand(5, 5, generator=generator) - 1).clamp(min=0).double()
        worth = torch.randn(5, 5, generator=generator).double()
        erased = chapter["solution_erased"](page, worth, 0.37)
        assert torch.equal(chapter["erase"](page, worth, 0.37), erased)


def test_neighbours_kept_is_the_share_of_the_exercise() -> None:
    a = torch.randn(30, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    b = a[:, :2]
    mine = chapter["neighbours_kept"](a, b, 4)
    assert mine == pytest.approx(chapter["solution_kept_neighbours"](a, b, 4).item())
    assert chapter["neighbours_kept"](a, a, 4) == 1
    assert 0 < mine < 1


def test_moving_a_picture_and_back_loses_only_what_went_over_the_edge() -> None:
    x = torch.zeros(1, 1, 28, 28)
    x[..., 10, 20] = 1
    assert chapter["moved"](x, 3, -2)[0, 0, 13, 18] == 1
    assert torch.equal(chapter["moved"](chapter["moved"](x, 3, -2), -3, 2), x)
    assert not chapter["moved"](x, 0, 8).any()


def test_mistakes_are_counted_over_all_batches() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    x, t = torch.rand(600, 1, 28, 28), torch.arange(600) % 10
    with torch.no_grad():
        wrong = int((model(x).argmax(1) != t).sum())
    assert chapter["mistakes"](model, x, t) == wrong
