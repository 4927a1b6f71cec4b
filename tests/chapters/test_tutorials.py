"""What chapter 20 defines: formulas with something missing, and networks with something wrong."""

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mnist_course import models
from tests.chapters.definitions import definitions

chapter = definitions("tutorials")

small = st.integers(1, 4)
sides = st.integers(3, 9)
seeds = st.integers(0, 1000)


def normal(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@settings(deadline=None)
@given(
    images=small, channels=small, filters=small, height=sides, width=sides,
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)), stride=st.integers(1, 3),
    padding=st.integers(0, 2), seed=seeds,
)  # fmt: skip
def test_the_whole_formula_is_pytorchs_layer(
    images, channels, filters, height, width, kernel, stride, padding, seed
) -> None:
    x = normal(images, channels, height, width, seed=seed)
    w, b = normal(filters, channels, *kernel, seed=seed + 1), normal(filters, seed=seed + 2)
    torch.testing.assert_close(
        chapter["convolution"](x, w, b, stride, padding), F.conv2d(x, w, b, stride, padding)
    )


@settings(deadline=None)
@given(filters=small, kernel=st.integers(1, 3), seed=seeds)
def test_formula_a_is_one_place_of_one_channel(filters, kernel, seed) -> None:
    x, w = normal(1, 1, 7, 7, seed=seed), normal(filters, 1, kernel, kernel, seed=seed + 1)
    b = normal(filters, seed=seed + 2)
    patch = x[0, 0, :kernel, :kernel]
    torch.testing.assert_close(
        chapter["formula_a"](patch, w[:, 0], b), F.conv2d(x, w, b)[0, :, 0, 0]
    )


@settings(deadline=None)
@given(channels=small, height=sides, width=sides, kernel=st.integers(1, 3), seed=seeds)
def test_formula_b_is_a_depthwise_convolution(channels, height, width, kernel, seed) -> None:
    x = normal(1, channels, height, width, seed=seed)
    w = normal(channels, 1, kernel, kernel, seed=seed + 1)
    y = chapter["formula_b"](x[0].permute(1, 2, 0), w[:, 0].permute(1, 2, 0))
    torch.testing.assert_close(y.permute(2, 0, 1), F.conv2d(x, w, groups=channels)[0])


@settings(deadline=None)
@given(length=st.integers(1, 9), kernel=st.integers(1, 4), place=st.integers(0, 8), seed=seeds)
def test_in_formula_c_a_pixel_reaches_its_own_place_only(length, kernel, place, seed) -> None:
    x, w = normal(length, seed=seed), normal(kernel, seed=seed + 1)
    moved = x.clone()
    moved[place % length] += 1
    changed = (chapter["formula_c"](x, w) != chapter["formula_c"](moved, w)).nonzero().flatten()
    assert set(changed.tolist()) <= {place % length}


@settings(deadline=None)
@given(height=sides, width=sides, kernel=st.integers(1, 3), seed=seeds)
def test_formula_d_is_right_for_one_channel_and_one_filter(height, width, kernel, seed) -> None:
    x, w = normal(1, 1, height, width, seed=seed), normal(1, 1, kernel, kernel, seed=seed + 1)
    b = normal(1, seed=seed + 2)
    torch.testing.assert_close(
        chapter["formula_d"](x[0, 0], w[0, 0], b[0]), F.conv2d(x, w, b)[0, 0]
    )


def test_formula_e_sums_everything_above_and_to_the_left() -> None:
    x, w = torch.ones(5, 6), torch.ones(5, 6, 4, 4)
    y = chapter["formula_e"](x, w, 0.5)
    assert torch.equal(y, 0.5 + torch.arange(4.0)[:, None] * torch.arange(4.0))


@pytest.mark.filterwarnings("ignore:dropout2d")
def test_as_published_two_networks_stop_and_three_run() -> None:
    pixels = torch.zeros(64, 1, 28, 28)
    messages = {}
    for letter, network in chapter["published"]().items():
        try:
            messages[letter] = tuple(network.eval()(pixels).shape)
        except RuntimeError as error:
            messages[letter] = str(error)
    assert messages["A"] == messages["C"] == messages["E"] == (64, 10)
    assert "invalid for input of size 73728" in messages["B"]
    assert "to have 3 channels, but got 1" in messages["D"]


@pytest.mark.filterwarnings("ignore:dropout2d")
@pytest.mark.parametrize("letter", "ACE")
def test_the_course_builds_the_published_network_but_for_its_ending(letter) -> None:
    published = chapter["published"]()[letter]
    repaired = models.build(f"tutorial_{letter.lower()}").eval()
    for theirs, ours in zip(published.parameters(), repaired.parameters(), strict=True):
        theirs.data.copy_(ours)
    pixels = torch.rand(3, 1, 28, 28)
    answers = published.eval()(models.Normalize()(pixels))
    torch.testing.assert_close(answers.log_softmax(1), repaired(pixels).log_softmax(1))


@settings(deadline=None)
@given(images=st.integers(1, 9), seed=seeds)
def test_softmax_makes_the_gradient_of_a_guessing_network_ten_times_smaller(images, seed) -> None:
    labels = torch.randint(10, (images,), generator=torch.Generator().manual_seed(seed))
    z = torch.zeros(images, 10, dtype=torch.float64, requires_grad=True)
    plain, twice = (
        torch.autograd.grad(F.cross_entropy(end(z), labels), z)[0]
        for end in (nn.Identity(), nn.Softmax(dim=1))
    )
    torch.testing.assert_close(plain, 10 * twice)


def test_the_bill_adds_up() -> None:
    rows = chapter["bill"](models.tutorial_a())
    assert sum(parameters for _, _, parameters, _ in rows) == 1_199_882
    assert sum(work for *_, work in rows) == 11_992_448
    assert [shape for name, shape, *_ in rows if name == "flatten"] == [(9216,)]


def test_the_spread_of_the_seeds_stands_beside_their_mean() -> None:
    group = pd.DataFrame({"test": [0.98, 0.99, 1.0]})
    assert chapter["scores_of"](group) == "99.00 ± 1.00   98.00 99.00 100.00"
