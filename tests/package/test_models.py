"""The networks of the course: what goes in, what comes out, and what each costs."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mnist_course import checkpoints, models

TUTORIALS = [f"tutorial_{letter}" for letter in "abcde"]
NAMES = ["course_network", "fast_network", "accurate_network", *TUTORIALS]

# Layers with weights, as the tutorials give them: ("conv", in, out, kernel, side of the output)
# or ("linear", in, out).
Layer = tuple[str, int, int, int, int] | tuple[str, int, int]
AC: list[Layer] = [
    ("conv", 1, 32, 3, 26),
    ("conv", 32, 64, 3, 24),
    ("linear", 64 * 12 * 12, 128),
    ("linear", 128, 10),
]
B: list[Layer] = [
    ("conv", 1, 32, 3, 28),
    ("conv", 32, 64, 3, 14),
    ("conv", 64, 128, 3, 7),
    ("linear", 128 * 3 * 3, 128),
    ("linear", 128, 64),
    ("linear", 64, 10),
]
DE: list[Layer] = [
    ("conv", 1, 32, 3, 28),
    ("conv", 32, 64, 3, 14),
    ("linear", 64 * 7 * 7, 128),
    ("linear", 128, 10),
]
LAYERS = dict(zip(TUTORIALS, (AC, B, AC, DE, DE), strict=True))


def bills(layers: list[Layer]) -> Iterator[tuple[int, int]]:
    """Parameters and multiply-adds of each layer, by the formulas of chapter 5."""
    for kind, in_channels, out_channels, *rest in layers:
        kernel, side = rest if kind == "conv" else (1, 1)
        weights = out_channels * in_channels * kernel * kernel
        yield weights + out_channels, weights * side * side


@pytest.fixture(params=NAMES)
def network(request) -> nn.Module:
    torch.manual_seed(0)
    return models.build(request.param).eval()


def test_every_network_turns_digits_into_ten_logits(network) -> None:
    pixels = torch.rand(5, 1, 28, 28)
    logits = network(pixels)
    assert logits.shape == (5, 10) and logits.dtype == torch.float32
    assert not torch.allclose(logits.sum(1), torch.ones(5)), "these look like probabilities"
    assert not torch.allclose(logits.logsumexp(1), torch.zeros(5), atol=1e-3), "log-probabilities"


def test_an_answer_does_not_depend_on_the_other_digits_of_its_batch(network) -> None:
    pixels = torch.rand(49, 1, 28, 28)
    torch.testing.assert_close(network(pixels)[3:4], network(pixels[3:4]), rtol=1e-4, atol=1e-5)


def test_every_parameter_that_is_not_frozen_gets_a_gradient(network) -> None:
    loss = nn.functional.cross_entropy(network(torch.rand(8, 1, 28, 28)), torch.arange(8))
    loss.backward()
    for name, weights in network.named_parameters():
        assert (weights.grad is not None) == weights.requires_grad, name
        assert weights.grad is None or weights.grad.isfinite().all(), name


@pytest.mark.parametrize("name", TUTORIALS)
def test_the_tutorials_cost_what_the_formulas_say(name) -> None:
    network = models.build(name).eval()
    parameters, multiply_adds = (sum(numbers) for numbers in zip(*bills(LAYERS[name]), strict=True))
    assert sum(weights.numel() for weights in network.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 28, 28))
    assert counter.get_total_flops() == 2 * multiply_adds


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        ("tutorial_a", 1_199_882, 11_992_448),
        ("tutorial_b", 249_162, 7_607_424),
        ("tutorial_e", 421_642, 4_241_152),
    ],
)
def test_the_formulas_give_these_sums(name, parameters, multiply_adds) -> None:
    assert tuple(map(sum, zip(*bills(LAYERS[name]), strict=True))) == (parameters, multiply_adds)


@pytest.mark.parametrize("name", TUTORIALS)
def test_each_layer_of_a_tutorial_is_the_one_that_it_prescribes(name) -> None:
    layers = [m for m in models.build(name) if isinstance(m, (nn.Conv2d, nn.Linear))]
    for layer, (kind, in_channels, out_channels, *_) in zip(layers, LAYERS[name], strict=True):
        assert isinstance(layer, nn.Conv2d if kind == "conv" else nn.Linear)
        assert layer.weight.shape[:2] == (out_channels, in_channels)


@pytest.mark.parametrize(("first", "second"), [("a", "c"), ("d", "e")])
def test_repaired_the_five_are_three(first, second) -> None:
    first, second = (models.build(f"tutorial_{letter}") for letter in (first, second))
    assert repr(first) == repr(second) != repr(models.tutorial_b())


@pytest.mark.parametrize("name", TUTORIALS)
def test_there_is_a_non_linearity_between_any_two_layers_with_weights(name) -> None:
    linear = True  # since the last layer with weights; normalisation, pixels to pixels, is linear
    for layer in list(models.build(name))[2:]:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            assert not linear, "two linear layers in a row are one"
            linear = True
        linear = linear and not isinstance(layer, nn.ReLU)
    assert linear, "the logits must not be cut off at zero"


@pytest.mark.parametrize("name", TUTORIALS)
def test_tutorials_normalise_their_pixels_themselves(name) -> None:
    network = models.build(name).eval()
    pixels = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(network[1:]((pixels - models.MEAN) / models.STD), network(pixels))


@pytest.mark.parametrize(("name", "drops"), list(zip(TUTORIALS, (1, 0, 1, 0, 0), strict=True)))
def test_dropout_works_in_training_mode_only(name, drops) -> None:
    torch.manual_seed(0)
    network, pixels = models.build(name), torch.rand(2, 1, 28, 28)
    assert torch.equal(network.eval()(pixels), network(pixels))
    assert torch.equal(network.train()(pixels), network(pixels)) != bool(drops)


def test_whole_maps_are_dropped_where_there_are_maps_and_numbers_where_there_are_none() -> None:
    for name in ("tutorial_a", "tutorial_c"):
        network = models.build(name)
        assert type(network.dropout1) is nn.Dropout2d and network.dropout1.p == 0.25
        assert type(network.dropout2) is nn.Dropout and network.dropout2.p == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_names_the_network_is_enough_to_load_it(name, tmp_path) -> None:
    torch.manual_seed(0)
    network = models.build(name).eval()
    checkpoints.save_weights(network, tmp_path / "it.safetensors", network=name, channels="")
    pixels = torch.rand(2, 1, 28, 28)
    again = checkpoints.load_network(tmp_path / "it.safetensors")
    assert torch.equal(again(pixels), network(pixels))


@pytest.mark.parametrize("name", ["tutorial_f", "build", "_block", "Normalise", "nn", "__doc__"])
def test_what_is_no_network_is_not_built(name) -> None:
    with pytest.raises(ValueError, match="has no network"):
        models.build(name)
