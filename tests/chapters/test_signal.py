"""What the chapter on keeping the signal alive defines does what it says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.chapters.definitions import definitions

chapter = definitions("signal")


@settings(deadline=None)
@given(fan_in=st.integers(1, 500), fan_out=st.integers(1, 500))
def test_the_rules_for_initial_weights_are_those_of_pytorch(fan_in: int, fan_out: int) -> None:
    gain = nn.init.calculate_gain("relu")
    assert chapter["he_std"](fan_in, fan_out) == pytest.approx(gain / fan_in**0.5)
    torch.manual_seed(0)
    weight = nn.init.xavier_normal_(torch.empty(fan_out, fan_in))
    if weight.numel() > 2000:
        assert weight.std().item() == pytest.approx(chapter["xavier_std"](fan_in, fan_out), rel=0.1)


def test_a_deep_network_has_the_promised_layers() -> None:
    network = chapter["deep_network"](nn.Tanh, std=chapter["xavier_std"], depth=3, width=7)
    shapes = [tuple(p.shape) for p in network.parameters() if p.ndim == 2]
    assert shapes == [(7, 784), (7, 7), (7, 7), (10, 7)]
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_weights_are_drawn_by_the_rule_and_by_pytorch_where_there_is_none() -> None:
    torch.manual_seed(0)
    by_rule = chapter["linear"](400, 300, lambda fan_in, fan_out: 0.25)
    assert by_rule.weight.std().item() == pytest.approx(0.25, rel=0.02)
    assert not by_rule.bias.any()
    default = chapter["linear"](400, 300, None)
    assert default.weight.abs().max() <= 1 / 20
    assert default.bias.any()


@settings(deadline=None)
@given(factor=st.floats(0.1, 9), fan_in=st.integers(1, 99), fan_out=st.integers(1, 99))
def test_a_rule_can_be_scaled(factor: float, fan_in: int, fan_out: int) -> None:
    rule = chapter["times"](factor, chapter["xavier_std"])
    assert rule(fan_in, fan_out) == pytest.approx(factor * chapter["xavier_std"](fan_in, fan_out))


def test_a_sigmoid_minus_a_half_is_half_a_tanh() -> None:
    z = torch.linspace(-20, 20, 401, dtype=torch.float64)
    torch.testing.assert_close(chapter["CentredSigmoid"]()(z), torch.tanh(z / 2) / 2)


def test_the_summary_separates_size_what_differs_and_the_error() -> None:
    z = torch.tensor([[3.0, 1], [5, 1]], requires_grad=True)
    (z * torch.tensor([[3.0, 0], [0, 4]])).sum().backward()
    square, differs, error = chapter["summary"](z).tolist()
    assert (square, differs, error) == (9.0, 1.0, 5.0)


def test_a_unit_is_dead_only_if_no_image_wakes_it() -> None:
    network = chapter["hidden_layer"](nn.ReLU(), units=3)
    chapter["images"] = torch.rand(5, 1, 28, 28)
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].bias.copy_(torch.tensor([1.0, 0, -1]))
        network[1].weight[2, 0] = 10 / chapter["images"][:, 0, 0, 0].max()  # one image is enough
    assert chapter["dead"](network).tolist() == [False, True, False]
    assert network.training


def test_redrawing_the_living_leaves_the_dead_as_they_are() -> None:
    network = chapter["hidden_layer"](nn.ReLU(), units=4)
    is_dead = torch.tensor([True, False, True, False])
    before = [p.detach().clone() for p in network[1].parameters()]
    chapter["redraw_the_living"](network, is_dead)
    for old, new in zip(before, network[1].parameters(), strict=True):
        assert torch.equal(old[is_dead], new[is_dead])
        assert (old[~is_dead] != new[~is_dead]).any()
