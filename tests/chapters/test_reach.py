"""What the chapter on reach and cost defines computes what PyTorch computes and measures."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mnist_course.models import course_network
from tests.chapters.definitions import definitions

chapter = definitions("reach")
output_size = chapter["output_size"]

FEW = settings(max_examples=30, deadline=None)


@st.composite
def layers(draw) -> tuple:
    """Input, weights, bias, stride, padding, dilation and groups of a layer that fits."""
    N, K_h, K_w, stride, dilation, groups, a, b = (draw(st.integers(1, 3)) for _ in range(8))
    padding = draw(st.integers(0, 2))
    H = max(dilation * (K_h - 1) + 1 - 2 * padding, 1) + draw(st.integers(0, 4))
    W = max(dilation * (K_w - 1) + 1 - 2 * padding, 1) + draw(st.integers(0, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    shapes = (N, a * groups, H, W), (b * groups, a, K_h, K_w), (b * groups,)
    x, w, bias = (torch.randn(s, dtype=torch.float64, generator=generator) for s in shapes)
    return x, w, bias, stride, padding, dilation, groups


@FEW
@given(layers())
def test_gaps_and_blocks_of_channels_are_dilation_and_groups(layer) -> None:
    x, w, bias, stride, padding, dilation, groups = layer
    wide, options = chapter["with_gaps"](w, dilation), {"stride": stride, "padding": padding}
    y = chapter["grouped_conv2d"](x, wide, bias, groups, **options)
    torch.testing.assert_close(y, F.conv2d(*layer))
    sizes = zip(x.shape[2:], w.shape[2:], strict=True)
    assert y.shape[2:] == tuple(output_size(n, k, stride, padding, dilation) for n, k in sizes)


@FEW
@given(layers())
def test_the_cost_of_a_layer_by_formula_and_by_its_output(layer) -> None:
    x, w, _, stride, padding, dilation, groups = layer
    k = w.shape[-1]
    assume(min(output_size(n, k, stride, padding, dilation) for n in x.shape[2:]) > 0)
    conv = nn.Conv2d(x.shape[1], len(w), k, stride, padding, dilation, groups).double()
    ((shape, *costs),) = chapter["layer_costs"](nn.Sequential(conv), x).values()
    assert shape == tuple(conv(x).shape[1:])
    assert tuple(costs) == chapter["solution_cost"](
        x.shape[1], len(w), k, *x.shape[2:], stride, padding, dilation, groups
    )


def test_the_costs_of_a_network_are_all_of_its_parameters() -> None:
    network = course_network().eval()
    costs = chapter["layer_costs"](network, torch.zeros(3, 1, 28, 28))
    assert sum(parameters for _, parameters, _ in costs.values()) == sum(
        p.numel() for p in network.parameters()
    )


plain_layers = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 2)), min_size=1, max_size=4
)


@FEW
@given(plain_layers)
def test_the_receptive_field_is_the_extent_of_the_gradient(case) -> None:
    side, jump = chapter["receptive_field"](case)[-1]
    touched = chapter["influence"](chapter["stack"](case), side + 2 * jump).ne(0)
    for axis in (0, 1):
        places = touched.any(axis).nonzero().flatten()
        assert int(places.max() - places.min()) + 1 == side


@FEW
@given(plain_layers, st.integers(0, 3))
def test_the_field_lies_where_the_exercise_says(case, i) -> None:
    padded = [(k, s, (k - 1) // 2, d) for k, s, d in case]
    first, last = chapter["solution_field_rows"](padded, i)
    x = torch.ones(1, 1, 150, dtype=torch.float64, requires_grad=True)
    y = x
    for k, s, p, d in padded:
        y = F.conv1d(y, torch.ones(1, 1, k, dtype=torch.float64), stride=s, padding=p, dilation=d)
    assume(i < y.shape[-1] and last < 150)
    y[0, 0, i].backward()
    seen = x.grad.flatten().nonzero().flatten()
    assert int(seen.max()) == last
    if first >= 0:
        assert int(seen.min()) == first


def test_random_weights_reach_the_same_pixels_as_ones() -> None:
    torch.manual_seed(0)
    course = chapter["COURSE"]
    ones = chapter["influence"](chapter["stack"](course), 40)
    random = chapter["influence"](chapter["stack"](course, nn.init.normal_), 40)
    assert torch.equal(ones != 0, random != 0)


def test_the_list_of_layers_is_the_course_network() -> None:
    def number(setting):
        return setting[0] if isinstance(setting, tuple) else setting

    assert chapter["COURSE"] == [
        tuple(number(setting) for setting in (layer.kernel_size, layer.stride, layer.dilation))
        for layer in course_network()
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d))
    ]


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_connections_are_blocks_on_the_diagonal(groups) -> None:
    block = torch.ones(12 // groups, 6 // groups, dtype=torch.bool)
    expected = torch.block_diag(*[block] * groups).bool()
    assert torch.equal(chapter["connections"](nn.Conv2d(6, 12, 3, groups=groups)), expected)


@pytest.mark.parametrize("depth", [1, 3])
def test_average_influence_is_a_share(depth) -> None:
    shares = chapter["average_influence"](depth, networks=3)
    assert shares.shape == (2 * depth + 1,) * 2
    assert shares.sum().item() == pytest.approx(1)
    assert (shares > 0).all()


def test_the_dilations_of_the_exercise_reach_every_pixel_of_a_field_of_27() -> None:
    layers = [(3, 1, d) for d in chapter["solution_dilations"]()]
    assert chapter["receptive_field"](layers)[-1] == (27, 1)
    assert chapter["influence"](chapter["stack"](layers), 27).ne(0).all()
