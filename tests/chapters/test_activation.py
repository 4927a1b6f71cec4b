"""What the chapter on activation defines computes what PyTorch computes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.chapters.definitions import definitions

chapter = definitions("activation")
REFERENCES = {
    "step": lambda x: torch.heaviside(x, torch.zeros_like(x)),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "ReLU": F.relu,
    "leaky ReLU": F.leaky_relu,
    "ELU": F.elu,
    "SiLU": F.silu,
    "GELU": F.gelu,
}
numbers = st.lists(st.floats(-30, 30, allow_subnormal=False), min_size=1, max_size=20)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_the_chapter_teaches_these_functions() -> None:
    assert set(chapter["ACTIVATIONS"]) == set(REFERENCES)


@pytest.mark.parametrize("name", REFERENCES)
@settings(deadline=None)
@given(values=numbers)
def test_functions_and_derivatives_equal_those_of_pytorch(name: str, values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    function, derivative, _ = chapter["ACTIVATIONS"][name]
    y = REFERENCES[name](x)
    torch.testing.assert_close(function(x.detach()), y.detach())
    if name == "step":
        assert not derivative(x.detach()).any()
    else:
        (slope,) = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(derivative(x.detach()), slope)


@settings(deadline=None)
@given(values=numbers)
def test_the_slope_of_the_sigmoid_never_exceeds_a_quarter(values: list[float]) -> None:
    slope = chapter["ACTIVATIONS"]["sigmoid"][1](torch.tensor(values, dtype=torch.float64))
    assert (slope <= 0.25).all()


@settings(deadline=None)
@given(
    k1=st.integers(1, 4),
    k2=st.integers(1, 4),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3)),
    extra=st.integers(0, 4),
    seed=st.integers(0, 100),
)
def test_two_convolutions_are_one(
    k1: int, k2: int, channels: tuple[int, int, int], extra: int, seed: int
) -> None:
    c, m, o = channels
    size = k1 + k2 - 1 + extra
    x = normal(2, c, size, size, seed=seed)
    w1, b1 = normal(m, c, k1, k1, seed=seed + 1), normal(m, seed=seed + 2)
    w2, b2 = normal(o, m, k2, k2, seed=seed + 3), normal(o, seed=seed + 4)
    weight, bias = chapter["compose"](w1, b1, w2, b2)
    assert weight.shape == (o, c, k1 + k2 - 1, k1 + k2 - 1)
    torch.testing.assert_close(F.conv2d(x, weight, bias), F.conv2d(F.conv2d(x, w1, b1), w2, b2))


@settings(deadline=None)
@given(n=st.integers(1, 4), d=st.integers(1, 5), h=st.integers(1, 5), seed=st.integers(0, 100))
def test_a_gated_unit_with_a_sigmoid_is_glu(n: int, d: int, h: int, seed: int) -> None:
    x, gate, value = normal(n, d, seed=seed), normal(h, d, seed=seed + 1), normal(h, d)
    halves = torch.cat([x @ value.T, x @ gate.T], dim=1)
    gated = chapter["gated"](x, gate, value, torch.sigmoid)
    torch.testing.assert_close(gated, F.glu(halves))


@pytest.mark.parametrize("activation", [(), (torch.nn.ReLU(),)])
def test_the_two_networks_of_the_opening_start_with_the_same_weights(activation: tuple) -> None:
    first, second = chapter["two_convolutions"](), chapter["two_convolutions"](*activation)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
