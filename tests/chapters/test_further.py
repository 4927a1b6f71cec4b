"""What chapter 28 defines does what it says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd.functional import jacobian
from torch.nn import functional as F

from mnist_course import data
from tests.chapters.definitions import definitions

chapter = definitions("further")


def some_digits(count: int = 20) -> data.Digits:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 1, 28, 28), generator=generator).byte()
    return data.Digits(images, torch.arange(count) % 10, "noise")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(28, 28), (32, 32), (45, 61)])
def test_the_network_takes_any_size(channels: int, size: tuple[int, int]) -> None:
    network = chapter["network"](channels).eval()
    assert network(torch.rand(2, channels, *size)).shape == (2, 10)


def test_ink_and_paper_have_their_colours() -> None:
    digits = some_digits(2)
    digits.images[:, :, 0, 0], digits.images[:, :, 0, 1] = 255, 0
    ink, paper = torch.tensor([[1.0, 0, 0.2]] * 2), torch.tensor([[0, 0.6, 1.0]] * 2)
    pictures = chapter["coloured"](digits, ink, paper)
    assert pictures.images.shape == (2, 3, 28, 28)
    assert pictures.images[0, :, 0, 0].tolist() == [255, 0, 51]
    assert pictures.images[0, :, 0, 1].tolist() == [0, 153, 255]
    assert torch.equal(pictures.labels, digits.labels)


def test_the_grey_of_equally_bright_colours_is_blank() -> None:
    red, blue = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).T
    grey = chapter["GREY"]
    green = (115 / 255 - grey[0] * red - grey[2] * blue) / grey[1]
    chapter["palette"] = torch.stack([red, green, blue], dim=1)
    pictures = chapter["in_two_colours"](some_digits(), 0)
    assert pictures.images.unique().numel() > 100
    values = chapter["in_grey"](pictures).images
    assert values.shape == (20, 1, 28, 28)
    assert values.max() - values.min() <= 1


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_pens_go_with_the_digits_only_as_often_as_asked(share: float) -> None:
    digits = some_digits(200)
    digits.images.fill_(255)
    pictures = chapter["with_pens"](digits, share, seed=0)
    pens = (chapter["PENS"] * 255).round().byte()[digits.labels]
    same = (pictures.images[:, :, 0, 0] == pens).all(1).double().mean()
    assert same == 1 if share else same < 0.3


@settings(deadline=None, max_examples=20)
@given(channels=st.integers(1, 3), size=st.integers(2, 4), count=st.integers(1, 3))
def test_the_jacobian_of_residual_blocks_is_a_product_of_sums(
    channels: int, size: int, count: int
) -> None:
    torch.manual_seed(0)
    blocks = [chapter["Block"](channels, skip=True).double() for _ in range(count)]
    plain = [chapter["Block"](channels, skip=False).double() for _ in range(count)]
    x = torch.randn(channels, size, size, dtype=torch.float64)
    n = x.numel()
    whole = jacobian(nn.Sequential(*blocks), x).reshape(n, n)
    product = torch.eye(n, dtype=torch.float64)
    for block, bare in zip(blocks, plain, strict=True):
        bare.load_state_dict(block.state_dict())
        torch.testing.assert_close(block(x), x + bare(x))
        inner = jacobian(bare, x).reshape(n, n)
        product = (torch.eye(n, dtype=torch.float64) + inner) @ product
        x = block(x).detach()
    torch.testing.assert_close(whole, product)


def test_the_deep_networks_differ_in_the_way_around_only() -> None:
    plain, residual = (chapter["deep_network"](skip, blocks=3) for skip in (False, True))
    assert plain.state_dict().keys() == residual.state_dict().keys()
    for name, weights in plain.state_dict().items():
        assert torch.equal(weights, residual.state_dict()[name])
    convolutions = [m for m in plain.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 1 + 2 * 3


@settings(deadline=None)
@given(
    channels=st.integers(1, 3), size=st.integers(1, 4), rows=st.integers(1, 3),
    columns=st.integers(1, 3), filters=st.integers(1, 4),
)  # fmt: skip
def test_patches_times_a_matrix_are_a_convolution(
    channels: int, size: int, rows: int, columns: int, filters: int
) -> None:
    x = torch.randn(2, channels, rows * size, columns * size, dtype=torch.float64)
    weight = torch.randn(filters, channels, size, size, dtype=torch.float64)
    product = chapter["solution_patches"](x, size) @ weight.flatten(1).T
    torch.testing.assert_close(product.mT, F.conv2d(x, weight, stride=size).flatten(2))


def test_training_lowers_the_loss() -> None:
    digits = some_digits(200)
    digits.images[:, 0, :, :14] = (digits.labels * 25)[:, None, None].byte()
    network = chapter["network"](1)
    before = chapter["accuracy"](network.eval(), digits)
    chapter["fit"](network, digits, epochs=15)
    assert chapter["accuracy"](network, digits) > before + 30


def test_self_attention_is_that_of_pytorch_and_knows_no_order() -> None:
    x, *w = (torch.randn(*shape).double() for shape in ((2, 5, 4), (4, 4), (4, 4), (4, 4)))
    ours = chapter["self_attention"](x, *w)
    torch.testing.assert_close(ours, F.scaled_dot_product_attention(*(x @ each for each in w)))
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(chapter["self_attention"](x[:, order], *w), ours[:, order])


def test_a_transformer_without_places_does_not_see_where_a_patch_lies() -> None:
    network = chapter["VisionTransformer"]().double().eval()
    x = torch.rand(2, 1, 28, 28).double()
    moved = x.roll(7, dims=3)  # by a whole patch
    assert not torch.allclose(network(x), network(moved))
    network.place.data.zero_()
    torch.testing.assert_close(network(x), network(moved))


def test_a_probe_finds_what_is_linear_and_nothing_in_noise() -> None:
    features = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    assert chapter["probe"](features, features[:, 2].sign(), labels=50) > 85
    coins = torch.randn(400, generator=torch.Generator().manual_seed(1)).sign()
    assert 40 < chapter["probe"](features, coins, labels=50) < 60


def test_half_of_the_sevens_have_a_bar() -> None:
    pictures, bars = chapter["sevens"](np.random.default_rng(0), each=2)
    assert pictures.shape == (32, 1, 28, 28)
    assert bars.sum() == 0
    assert pictures[bars > 0].mean() > pictures[bars < 0].mean()  # a bar is ink
