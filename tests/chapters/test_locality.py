"""What chapter 3 defines is what it says: general maps, shared weights, and the convolution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.chapters.definitions import definitions

chapter = definitions("locality")

SIDE = st.integers(1, 6)
SETTINGS = settings(max_examples=25, deadline=None)


def random(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


@SETTINGS
@given(n=SIDE, seed=st.integers(0, 99))
def test_a_shared_table_is_a_convolution_and_moves_along(n, seed) -> None:
    x, w = random(seed, n), random(seed + 1, 2 * n - 1)
    table = chapter["shared_table"](w)
    expected = F.conv1d(x[None, None], w[None, None], padding=n - 1)[0, 0]
    torch.testing.assert_close(table @ x, expected)
    x[-1] = 0
    torch.testing.assert_close((table @ x.roll(1))[1:], (table @ x)[:-1])


@SETTINGS
@given(n=st.integers(2, 6), seed=st.integers(0, 99))
def test_any_other_table_does_not_move_along(n, seed) -> None:
    table, x = random(seed, n, n), random(seed + 1, n)
    x[-1] = 0
    assert not torch.allclose((table @ x.roll(1))[1:], (table @ x)[:-1])
    w = torch.cat([table[:, 0].flip(0), table[0, 1:]])
    assert not torch.equal(chapter["shared_table"](w), table)
    assert torch.equal(chapter["shared_table"](w)[:, 0], table[:, 0])
    assert torch.equal(chapter["shared_table"](w)[0], table[0])


@SETTINGS
@given(H=SIDE, W=SIDE, K_h=st.sampled_from([1, 3, 5]), K_w=st.sampled_from([1, 3, 5]))
def test_the_matrix_of_a_convolution_is_conv2d(H, W, K_h, K_w) -> None:
    kernel, x = random(0, K_h, K_w), random(1, H, W)
    matrix = chapter["dense_matrix"](kernel, H, W)
    padding = (K_h // 2, K_w // 2)
    expected = F.conv2d(x[None, None], kernel[None, None], padding=padding)[0, 0]
    torch.testing.assert_close((matrix @ x.flatten()).view(H, W), expected)


@SETTINGS
@given(down=st.integers(-5, 5), right=st.integers(-6, 6))
def test_shift_moves_every_pixel_and_brings_in_zeros(down, right) -> None:
    x = random(0, 2, 5, 6)
    moved = chapter["shift"](x, down, right)
    for i in range(5):
        for j in range(6):
            k, l = i - down, j - right  # noqa: E741
            inside = 0 <= k < 5 and 0 <= l < 6
            assert torch.equal(
                moved[:, i, j], x[:, k, l] if inside else torch.zeros_like(x[:, 0, 0])
            )


def test_shuffle_keeps_every_pixel_and_can_be_undone() -> None:
    x, order = random(0, 3, 1, 28, 28), chapter["ORDER"]
    shuffled = chapter["shuffle"](x)
    assert not torch.equal(shuffled, x)
    assert torch.equal(chapter["shuffle"](shuffled, order.argsort()), x)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (784, 10), (5, 7)])
def test_dense_parameters_are_those_of_pytorch(inputs, outputs) -> None:
    layer = nn.Linear(inputs, outputs)
    expected = sum(p.numel() for p in layer.parameters())
    assert chapter["dense_parameters"](inputs, outputs) == expected


@pytest.mark.parametrize("name", ["plain_network", "convolutional_network"])
def test_a_network_learns_a_few_images_by_heart(name) -> None:
    x = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    y = torch.arange(40) % 10
    network = chapter[name](seed=1)
    assert network(x).shape == (40, 10)
    chapter["train"](network, x, y, epochs=150)
    assert chapter["accuracy"](network, x, y) == 100


def test_the_same_seed_trains_the_same_network() -> None:
    x = torch.rand(60, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    y = torch.arange(60) % 10
    one, other = (chapter["train"](chapter["plain_network"](3), x, y, 2, seed=4) for _ in range(2))
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)


def test_the_buggy_shuffle_of_exercise_4_draws_a_new_order_each_time() -> None:
    x = torch.arange(2 * 784.0).view(2, 1, 28, 28)
    buggy = chapter["buggy_shuffle"]
    assert not torch.equal(buggy(x), buggy(x))
    assert torch.equal(buggy(x).flatten(1).sort(dim=1).values, x.flatten(1))
