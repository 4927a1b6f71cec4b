"""What chapter 19 defines computes what PyTorch and the package compute."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mnist_course import finetune as package
from mnist_course import models
from tests.chapters.definitions import definitions
from tests.made_up import digits

chapter = definitions("finetuning")
layers = st.builds(
    lambda kernel, **options: nn.Conv2d(kernel_size=kernel, **options),
    in_channels=st.integers(1, 4),
    out_channels=st.integers(1, 5),
    kernel=st.sampled_from([1, 3, (3, 2)]),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    bias=st.booleans(),
) | st.builds(nn.Linear, st.integers(1, 9), st.integers(1, 9), bias=st.booleans())


@settings(deadline=None, max_examples=40)
@given(layer=layers, rank=st.integers(1, 3), seed=st.integers(0, 1000))
def test_an_adapter_is_the_layer_with_a_change_of_low_rank(layer, rank, seed) -> None:
    torch.manual_seed(seed)
    layer = layer.double()
    linear = isinstance(layer, nn.Linear)
    x = torch.randn(2, layer.in_features if linear else layer.in_channels, *[6] * (2 - 2 * linear))
    x = x.double()
    adapter = chapter["Adapter"](layer, rank)
    torch.testing.assert_close(adapter(x), layer(x))
    nn.init.normal_(adapter.b)
    change = adapter.changed_weight() - layer.weight
    assert torch.linalg.matrix_rank(change.flatten(1).detach()) <= rank
    plain = chapter["merge"](adapter)
    torch.testing.assert_close(plain(x), adapter(x))
    assert type(plain) is type(layer)
    assert {name for name, w in adapter.named_parameters() if w.requires_grad} == {"a", "b"}


@settings(deadline=None, max_examples=30)
@given(layer=layers, seed=st.integers(0, 1000))
def test_the_adapter_of_the_package_is_that_of_the_chapter(layer, seed) -> None:
    torch.manual_seed(seed)
    layer = layer.double()
    rank = min(2, len(layer.weight))
    here, there = chapter["Adapter"](layer, rank), package.LowRank(layer, rank)
    nn.init.normal_(here.b)
    there.up.data, there.down.data = here.b.data, here.a.data[:, :]
    x = torch.randn(2, layer.weight.shape[1], *[6] * (layer.weight.ndim - 2)).double()
    torch.testing.assert_close(there(x), here(x))


def test_if_both_matrices_are_zero_an_adapter_learns_nothing() -> None:
    adapter = chapter["Adapter"](nn.Linear(4, 3), 2)
    nn.init.zeros_(adapter.a)
    F.cross_entropy(adapter(torch.randn(5, 4)), torch.tensor([0, 1, 2, 0, 1])).backward()
    assert not adapter.a.grad.any()
    assert not adapter.b.grad.any()


def test_every_layer_has_its_rate_and_none_is_forgotten() -> None:
    network = models.course_network((2, 3, 4))
    groups = chapter["layer_groups"](network, 0.1, factor=0.5)
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.05, 0.025, 0.0125])
    held = [w for group in groups for w in group["params"]]
    assert {id(w) for w in held} == {id(w) for w in network.parameters()}
    assert len(held) == len(list(network.parameters()))
    assert held[0] is network.linear.weight


def test_learn_lowers_the_loss_and_leaves_frozen_batch_norm_alone() -> None:
    torch.manual_seed(0)
    network, some = models.course_network((4, 4, 4)).eval(), digits(60)

    def loss() -> float:
        return F.cross_entropy(network(some.images.float() / 255), some.labels).item()

    before = loss()
    chapter["learn"](network, some, [{"params": network.parameters(), "lr": 0.01}])
    assert loss() < 0.5 * before
    assert not network.norm1.running_mean.any()
