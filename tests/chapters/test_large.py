"""What chapter 25 defines computes what PyTorch, the package and chapter 27 compute."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from mnist_course import finetune as package
from mnist_course import models
from tests.chapters.definitions import definitions

chapter = definitions("large")
layers = st.builds(
    lambda kernel, **options: nn.Conv2d(kernel_size=kernel, **options),
    in_channels=st.integers(1, 4),
    out_channels=st.integers(1, 5),
    kernel=st.sampled_from([1, 3, (3, 2)]),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    bias=st.booleans(),
) | st.builds(nn.Linear, st.integers(1, 9), st.integers(1, 9), bias=st.booleans())


def an_input(layer) -> torch.Tensor:
    linear = isinstance(layer, nn.Linear)
    channels = layer.in_features if linear else layer.in_channels
    return torch.randn(2, channels, *[6] * (2 - 2 * linear)).double()


@settings(deadline=None, max_examples=40)
@given(layer=layers, rank=st.integers(1, 3), seed=st.integers(0, 1000))
def test_an_adapter_is_the_layer_with_a_change_of_low_rank(layer, rank, seed) -> None:
    torch.manual_seed(seed)
    layer = layer.double()
    x, before, frozen = an_input(layer), copy.deepcopy(layer), layer.weight.detach().clone()
    adapter = chapter["adapt"](layer, rank, alpha=2 * rank)
    torch.testing.assert_close(layer(x), before(x))
    nn.init.normal_(adapter.b)
    change = (layer.weight - frozen).detach()
    assert torch.linalg.matrix_rank(change.flatten(1)) <= rank
    torch.testing.assert_close(change.flatten(1), (2 * adapter.b @ adapter.a).detach())
    free = {name for name, w in layer.named_parameters() if w.requires_grad}
    assert {name.rpartition(".")[2] for name in free} == {"a", "b"}
    answer, kind = layer(x), type(before)
    parametrize.remove_parametrizations(layer, "weight")
    torch.testing.assert_close(layer(x), answer)
    assert type(layer) is kind


@settings(deadline=None, max_examples=30)
@given(layer=layers, seed=st.integers(0, 1000))
def test_the_adapter_of_the_package_is_that_of_the_chapter(layer, seed) -> None:
    torch.manual_seed(seed)
    layer = layer.double()
    rank = min(2, len(layer.weight))
    there = package.LowRank(copy.deepcopy(layer), rank)
    here = chapter["adapt"](layer, rank, alpha=rank)
    nn.init.normal_(here.b)
    there.up.data, there.down.data = here.b.data, here.a.data
    x = an_input(layer)
    torch.testing.assert_close(there(x), layer(x))


def test_if_both_matrices_are_zero_an_adapter_learns_nothing() -> None:
    layer = nn.Linear(4, 3)
    adapter = chapter["adapt"](layer, 2, alpha=2)
    nn.init.zeros_(adapter.a)
    F.cross_entropy(layer(torch.randn(5, 4)), torch.tensor([0, 1, 2, 0, 1])).backward()
    assert not adapter.a.grad.any()
    assert not adapter.b.grad.any()


@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 3, 3)])
def test_the_quantiser_is_that_of_the_chapter_on_export(bits, shape) -> None:
    export = definitions("export")
    w = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(bits))
    s = export["scales"](w, bits)
    torch.testing.assert_close(chapter["rounded"](w, bits), s * export["quantise"](w, s, bits))


def test_a_network_in_few_bits_has_few_values_in_each_channel() -> None:
    torch.manual_seed(0)
    network = models.course_network((2, 3, 4))
    before = copy.deepcopy(network.state_dict())
    small = chapter["in_bits"](network, 3)
    for layer in (small.conv1, small.conv3, small.linear):
        assert max(len(row.unique()) for row in layer.weight.flatten(1)) <= 7
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_bytes_saved_are_those_of_a_chain_that_can_be_counted_by_hand() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 5), nn.Sigmoid())
    # Each sigmoid saves its own output, and the second linear layer its input, which is the first.
    assert chapter["bytes_saved"](network, torch.rand(2, 3)) == 4 * 2 * (4 + 5)
