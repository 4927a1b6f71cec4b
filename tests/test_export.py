"""Networks written for the drawing pad. That the pad reads them right is tested in test_pad_js."""

import json
import struct
import zlib

import pytest
import torch
from torch import nn

from mnist_course.export import UnsupportedLayerError, fold_batch_norm, page_weights
from mnist_course.models import Normalize, course_network
from tests.networks import shaken


def header_of(content: bytes) -> dict:
    length, _ = struct.unpack("<II", content[8:16])
    return json.loads(content[16 : 16 + length])


def test_folding_batch_norm_changes_nothing_but_the_layers():
    model = shaken(course_network((4, 8, 16)))
    images = torch.rand(5, 1, 28, 28)
    folded = fold_batch_norm(model)
    torch.testing.assert_close(folded(images), model.eval()(images), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded)
    assert list(dict(folded.named_children())) == [
        "normalize", "conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "conv3", "relu3",
        "pool3", "flatten", "linear",
    ]  # fmt: skip


def test_batch_norm_behind_a_pool_stays_where_it_is():
    model = shaken(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.BatchNorm2d(2), nn.Flatten())
    )
    folded = fold_batch_norm(model)
    images = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(folded(images), model(images))
    assert [type(layer) for layer in folded] == [
        nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d, nn.Flatten,
    ]  # fmt: skip


def test_the_model_itself_is_not_changed():
    model = course_network((2, 2, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    page_weights(model)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_file_has_a_header_and_a_checksum_of_all_that_follows():
    content = page_weights(course_network((2, 3, 4)), name="small")
    assert content[:8] == b"MNISTNET"
    assert struct.unpack("<I", content[12:16])[0] == zlib.crc32(content[16:])
    header = header_of(content)
    assert (header["version"], header["name"], header["input"]) == (1, "small", [1, 28, 28])
    assert [layer["op"] for layer in header["layers"]][:4] == [
        "normalize", "conv", "relu", "maxpool",
    ]  # fmt: skip


def test_half_precision_takes_half_the_bytes():
    model = course_network()
    weights = sum(value.numel() for value in fold_batch_norm(model).parameters())
    sizes = [len(page_weights(model, dtype)) for dtype in ("float16", "float32")]
    assert sizes[1] - sizes[0] == 2 * weights


class Residual(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.Sigmoid(), r"'odd': Sigmoid\(\)"),
        (Residual(), r"'odd': Residual\(\)"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "padding_mode=reflect"),
        (nn.Conv2d(1, 1, 2, padding="same"), "padding=same"),
        (nn.MaxPool2d(2, ceil_mode=True), "ceil_mode=True"),
        (nn.MaxPool2d(2, dilation=2), "dilation=2"),
        (nn.AvgPool2d(2, count_include_pad=False), "AvgPool2d"),
        (nn.AdaptiveAvgPool2d(2), "AdaptiveAvgPool2d"),
    ],
)
def test_a_layer_that_the_pad_cannot_run_is_named(layer, named):
    model = nn.Sequential(Normalize(), nn.Sequential())
    model.add_module("odd", layer)
    with pytest.raises(UnsupportedLayerError, match=named):
        page_weights(model)


def test_only_a_sequential_network_can_be_written():
    with pytest.raises(UnsupportedLayerError, match=r"expected a torch.nn.Sequential, got Resid"):
        page_weights(Residual())


@pytest.mark.parametrize(("value", "dtype"), [(1e6, "float16"), (float("nan"), "float32")])
def test_weights_that_cannot_be_stored_are_refused(value, dtype):
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    nn.init.constant_(model[1].weight, value)
    with pytest.raises(ValueError, match=f"not a finite {dtype} number"):
        page_weights(model, dtype)
