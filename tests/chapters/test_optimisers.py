"""What the chapter about optimisers derives is what ``torch.optim`` computes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.chapters.definitions import definitions

chapter = definitions("optimisers")
GradientDescent, Momentum = chapter["GradientDescent"], chapter["Momentum"]
RMSProp, Adam, WithDecay = chapter["RMSProp"], chapter["Adam"], chapter["WithDecay"]
optim = torch.optim

FEW = settings(max_examples=25, deadline=None)
rates = st.floats(1e-4, 0.5)
shares = st.floats(0, 0.99)
decays = st.floats(0, 0.5)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def assert_same_walk(mine, theirs, shape, seed, steps=12) -> None:
    """Ours and PyTorch's get the same random gradients, and are at the same place after each."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(shape, generator=generator, dtype=torch.float64)
    weights = nn.Parameter(w.clone())
    optimizer = theirs([weights])
    for _ in range(steps):
        g = torch.randn(shape, generator=generator, dtype=torch.float64)
        weights.grad = g.clone()
        optimizer.step()
        w = mine.step(w, g)
        torch.testing.assert_close(w, weights.detach(), rtol=1e-10, atol=1e-12)


@FEW
@given(rates, shapes, st.integers(0, 1000))
def test_gradient_descent_is_sgd(rate, shape, seed) -> None:
    assert_same_walk(GradientDescent(rate), lambda w: optim.SGD(w, rate), shape, seed)


@FEW
@given(rates, st.floats(0.01, 0.99), st.booleans(), shapes, st.integers(0, 1000))
def test_momentum_is_sgds(rate, momentum, nesterov, shape, seed) -> None:
    def theirs(w):
        return optim.SGD(w, rate, momentum=momentum, nesterov=nesterov)

    assert_same_walk(Momentum(rate, momentum, nesterov), theirs, shape, seed)


@FEW
@given(rates, shares, shapes, st.integers(0, 1000))
def test_rmsprop(rate, beta, shape, seed) -> None:
    def theirs(w):
        return optim.RMSprop(w, rate, alpha=beta)

    assert_same_walk(RMSProp(rate, beta), theirs, shape, seed)


@FEW
@given(rates, shares, shares, decays, st.booleans(), shapes, st.integers(0, 1000))
def test_adam_and_adamw(rate, beta1, beta2, decay, decoupled, shape, seed) -> None:
    def theirs(w):
        kind = optim.AdamW if decoupled else optim.Adam
        return kind(w, rate, betas=(beta1, beta2), weight_decay=decay)

    mine = WithDecay(Adam(rate, (beta1, beta2)), decay, decoupled)
    assert_same_walk(mine, theirs, shape, seed)


def test_the_chapters_comparison_can_fail() -> None:
    same = chapter["same_as_torch"]
    assert same(Momentum(0.05), lambda w: optim.SGD(w, 0.05, momentum=0.9))
    assert not same(Momentum(0.05), lambda w: optim.SGD(w, 0.05, momentum=0.9, nesterov=True))
    with_penalty = WithDecay(Adam(0.02), 0.1, decoupled=False)
    assert not same(with_penalty, lambda w: optim.AdamW(w, 0.02, weight_decay=0.1))
    assert not same(Adam(0.02, eps=1e-3), lambda w: optim.Adam(w, 0.02))


def end(rule, steps=3000) -> float:
    return chapter["walk"](rule, steps)[-1].norm().item()


def test_the_bounds_of_the_rate() -> None:
    """2 / h for gradient descent, 2 (1 + mu) / h with momentum; h is 25."""
    assert end(GradientDescent(0.99 * 2 / 25)) < 1e-6
    assert end(GradientDescent(1.01 * 2 / 25)) > 1e6
    assert end(Momentum(0.99 * 3.8 / 25)) < 1e-6
    assert end(Momentum(1.01 * 3.8 / 25)) > 1e6


def test_the_best_rates_shrink_as_derived() -> None:
    """By 24/26 a step without momentum, and by 4/6, the root of mu, with it."""
    plain = chapter["walk"](GradientDescent(2 / 26), 60).norm(dim=1)
    assert (plain[60] / plain[50]).item() == pytest.approx((24 / 26) ** 10)
    heavy = chapter["walk"](Momentum(1 / 9, 4 / 9), 80).norm(dim=1)
    # At the ends of the range the two roots are equal: t times a power, not a pure one.
    assert (heavy[80] / heavy[60]).item() == pytest.approx((4 / 6) ** 20 * 80 / 60, rel=0.1)


def test_momentum_of_nine_tenths_suits_the_condition_number_that_the_text_says() -> None:
    root = (1 + math.sqrt(0.9)) / (1 - math.sqrt(0.9))
    assert 1400 <= root**2 < 1500


def test_arrival_counts_from_when_the_walk_stays() -> None:
    path = torch.tensor([[1.0, 0], [0, 0], [1, 0], [0, 0.001], [0, 0]])
    assert chapter["arrival"](path) == 3
    assert chapter["arrival"](path[:3]) is None


@FEW
@given(st.integers(2, 5), st.integers(0, 3), st.integers(0, 1000))
def test_muons_step_is_pytorchs_but_for_its_bfloat16(height, more, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    w, g = torch.randn(2, height, height + more, generator=generator, dtype=torch.float64)
    weights = nn.Parameter(w.clone())
    weights.grad = g.clone()
    optim.Muon([weights], lr=1.0, weight_decay=0.0).step()
    torch.testing.assert_close(chapter["Muon"](1.0).step(w, g), weights.detach(), rtol=0, atol=0.05)


def test_the_largest_curvature_is_that_of_the_whole_matrix() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2)).double()
    x, targets = torch.randn(20, 3).double(), torch.randn(20, 2).double()
    names = [name for name, _ in network.named_parameters()]
    sizes = [w.numel() for w in network.parameters()]
    shapes = [w.shape for w in network.parameters()]

    def loss(flat):
        parts = [p.view(s) for p, s in zip(flat.split(sizes), shapes, strict=True)]
        outputs = torch.func.functional_call(network, dict(zip(names, parts, strict=True)), x)
        return (outputs - targets).square().sum(1).mean() / 2

    flat = torch.cat([w.detach().flatten() for w in network.parameters()])
    values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))
    found = chapter["largest_curvature"](network.float(), x.float(), targets.float(), steps=300)
    assert found == pytest.approx(max(values, key=abs).item(), rel=0.01)
