"""What chapter 12 assembles is what PyTorch assembles, and what the package holds."""

import math
import tempfile
from pathlib import Path

import nbformat
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from mnist_course import checkpoints, models, pretrained
from mnist_course.gluing import glued_values
from tests.chapters.definitions import definitions
from tools.chapters import notebook_path, sources

chapter = definitions("assembling")

FEW = settings(max_examples=25, deadline=None)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def test_class_and_functions_compute_the_same() -> None:
    net = chapter["Net"]().double()
    x = random(2, 1, 28, 28)
    torch.testing.assert_close(chapter["functional_net"](x, net.state_dict()), net(x))


@FEW
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.booleans())
def test_the_tiny_module_finds_what_nn_module_finds(widths, nested) -> None:
    def names(base):
        def layer(width):
            made = base()
            made.weight, made.constant = nn.Parameter(torch.zeros(width)), torch.zeros(width)
            return made

        network = base()
        network.hidden = [layer(width) for width in widths]
        for number, width in enumerate(widths):
            setattr(network, f"layer{number}", layer(width))
            if nested:
                getattr(network, f"layer{number}").inner = layer(width)
        if base is nn.Module:
            return [name for name, _ in network.named_parameters()]
        return chapter["names_of"](network)

    assert names(chapter["TinyModule"]) == names(nn.Module)


def test_the_hurried_network_hides_its_convolutions_and_the_registered_one_does_not() -> None:
    hurried, registered = chapter["Hurried"](), chapter["Registered"]()
    assert {name for name, _ in hurried.named_parameters()} == {"linear.weight", "linear.bias"}
    assert sum(p.numel() for p in registered.parameters()) == 29_066


def test_the_table_has_every_layer_and_leaves_no_hook() -> None:
    network = models.course_network()
    rows = chapter["table"](network, torch.zeros(2, 1, 28, 28))
    assert [name for name, *_ in rows] == [name for name, _ in network.named_children()]
    total = sum(chapter["count"](layer) for _, layer, _ in rows)
    assert total == sum(p.numel() for p in network.parameters())
    assert rows[-1][2] == (2, 10)
    assert not any(layer._forward_hooks for layer in network.modules())


@FEW
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 5))
def test_pytorch_draws_its_weights_from_one_over_the_root_of_the_fan_in(c_in, c_out, k) -> None:
    limit = 1 / math.sqrt(c_in * k * k)
    gain = nn.init.calculate_gain("leaky_relu", math.sqrt(5))
    assert math.isclose(math.sqrt(3) * gain * limit, limit)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Conv2d(c_in, c_out, k)
        torch.manual_seed(0)
        torch.testing.assert_close(
            layer.weight.detach(), torch.empty(c_out, c_in, k, k).uniform_(-limit, limit)
        )
    assert layer.bias.abs().max() <= limit


@FEW
@given(st.floats(0.01, 0.3), st.integers(0, 1000))
def test_the_first_loss_is_ln_10_and_half_the_variance(spread, seed) -> None:
    """For small logits and labels that know nothing of them: each label equally often."""
    z = spread * torch.randn(200, 10, generator=torch.Generator().manual_seed(seed)).double()
    loss = torch.stack([F.cross_entropy(z, torch.full((200,), t)) for t in range(10)]).mean()
    half = z.var(1, unbiased=False).mean() / 2
    assert abs(loss - math.log(10) - half) < 0.1 * half


@FEW
@given(*(st.integers(2, 4) for _ in range(4)), st.floats(0.01, 0.9))
def test_batch_norm_by_hand_is_pytorchs(N, C, H, W, m) -> None:
    norm = nn.BatchNorm2d(C, momentum=m).double()
    for seed, tensor in enumerate(norm.state_dict().values()):
        if tensor.is_floating_point():
            tensor.copy_(random(C, seed=seed) + 0.1)
    state = norm.running_mean.clone(), norm.running_var.clone()
    x = random(N, C, H, W, seed=9)
    y, mean, var = chapter["batch_norm"](x, norm.weight, norm.bias, *state, m=m)
    torch.testing.assert_close(y, norm(x))
    torch.testing.assert_close(mean, norm.running_mean)
    torch.testing.assert_close(var, norm.running_var)


@FEW
@given(st.dictionaries(st.text("abc.", min_size=1), st.lists(st.integers(1, 4), max_size=3)))
def test_safetensors_are_read_by_hand_as_the_library_writes_them(shapes) -> None:
    tensors = {name: random(*shape).float() for name, shape in shapes.items()}
    tensors["count"] = torch.tensor(7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        save_file(tensors, path, {"network": "course_network"})
        found = chapter["read_safetensors"](path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


@FEW
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_the_network_of_the_chapter_is_that_of_the_package(channels) -> None:
    mine, theirs = (
        build(tuple(channels)) for build in (chapter["my_course_network"], models.course_network)
    )
    own, expected = mine.state_dict(), theirs.state_dict()
    assert list(own) == list(expected)
    assert all(own[name].shape == expected[name].shape for name in own)
    mine.load_state_dict(expected)
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(mine(x), theirs(x))
    assert torch.equal(mine.eval()(x), theirs.eval()(x))


def test_the_shipped_weights_fit_the_network_of_the_chapter() -> None:
    weights, described = checkpoints.read_weights(pretrained.WEIGHTS)
    mine = chapter["my_course_network"](tuple(map(int, described["channels"].split(","))))
    mine.load_state_dict(weights)
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(mine.eval()(x), pretrained.load()(x))


def test_a_forgotten_pooling_passes_with_view_and_not_with_flatten() -> None:
    x = torch.zeros(5, 1, 28, 28)
    assert chapter["NoSecondPool"]()(x).shape == (20, 10)
    with pytest.raises(RuntimeError, match="5x12544 and 3136x10"):
        chapter["Flattened"]()(x)


def test_a_pickle_runs_what_it_says_unless_weights_only(tmp_path, capsys) -> None:
    torch.save({"epoch": chapter["Surprise"]()}, tmp_path / "x.pt")
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(tmp_path / "x.pt", weights_only=True)
    assert capsys.readouterr().out == ""
    torch.load(tmp_path / "x.pt", weights_only=False)
    assert "printed by a file of weights" in capsys.readouterr().out


@pytest.mark.mnist
def test_the_published_numbers_say_what_the_text_says() -> None:
    (source,) = sources(["assembling"])
    values = glued_values(nbformat.read(notebook_path(source), as_version=4).cells)
    number = {name: float(text.replace(",", "")) for name, text in values.items()}
    assert number["hurried"] < number["registered"]
    assert number["empty_handed"] < 30 < 97 < number["trained"]
