"""Networks written as files: ONNX, and for the pad. That the pad reads them right is tested in
test_pad_js."""

import json
import struct
import sys
import zlib
from collections import OrderedDict
from pathlib import Path

import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mnist_course import __main__ as cli
from mnist_course import checkpoints
from mnist_course.evaluate import answering
from mnist_course.export import (
    OPSET,
    UnsupportedLayerError,
    fold_batch_norm,
    int8_steps,
    page_weights,
    read_page_weights,
    to_onnx,
)
from mnist_course.models import Normalize, course_network
from tests.networks import every_layer, shaken


def header_of(content: bytes) -> dict:
    length, _ = struct.unpack("<II", content[8:16])
    return json.loads(content[16 : 16 + length])


def test_folding_batch_norm_changes_nothing_but_the_layers() -> None:
    model = shaken(course_network((4, 8, 16)))
    images = torch.rand(5, 1, 28, 28)
    folded = fold_batch_norm(model)
    torch.testing.assert_close(folded(images), model.eval()(images), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded)
    assert list(dict(folded.named_children())) == [
        "normalize", "conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "conv3", "relu3",
        "pool3", "flatten", "linear",
    ]  # fmt: skip


def test_batch_norm_behind_a_pool_stays_where_it_is() -> None:
    model = shaken(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.BatchNorm2d(2), nn.Flatten())
    )
    folded = fold_batch_norm(model)
    images = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(folded(images), model(images))
    assert [type(layer) for layer in folded] == [
        nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d, nn.Flatten,
    ]  # fmt: skip


def test_a_layer_that_is_used_twice_is_written_twice() -> None:
    relu, pool = nn.ReLU(), nn.MaxPool2d(2)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), relu, pool, nn.Conv2d(2, 3, 3), relu, pool, nn.Flatten(),
        nn.Linear(75, 10),
    )  # fmt: skip
    images = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(fold_batch_norm(model)(images), model(images))
    kinds = [layer["op"] for layer in header_of(page_weights(model))["layers"]]
    assert kinds.count("relu") == kinds.count("maxpool") == 2


def test_the_model_itself_is_not_changed() -> None:
    model = course_network((2, 2, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    page_weights(model)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_file_has_a_header_and_a_checksum_of_all_that_follows() -> None:
    content = page_weights(course_network((2, 3, 4)), name="small")
    assert content[:8] == b"MNISTNET"
    assert struct.unpack("<I", content[12:16])[0] == zlib.crc32(content[16:])
    header = header_of(content)
    assert (header["version"], header["name"], header["input"]) == (1, "small", [1, 28, 28])
    assert [layer["op"] for layer in header["layers"]][:4] == [
        "normalize", "conv", "relu", "maxpool",
    ]  # fmt: skip


# --- read again ---


def rewritten(content: bytes, change) -> bytes:
    """A file whose header was changed, with a checksum that fits."""
    length, _ = struct.unpack("<II", content[8:16])
    header = json.loads(content[16 : 16 + length])
    change(header)
    text = json.dumps(header).encode()
    rest = text + content[16 + length :]
    return content[:8] + struct.pack("<II", len(text), zlib.crc32(rest)) + rest


@pytest.mark.parametrize("build", [course_network, every_layer])
def test_a_file_is_read_as_the_network_that_was_written(build) -> None:
    model = shaken(build())
    images = torch.rand(3, 1, 28, 28)
    read = read_page_weights(page_weights(model, "float32"))
    torch.testing.assert_close(read(images), model.eval()(images), rtol=1e-4, atol=1e-4)
    assert not read.training
    assert page_weights(read, "float32") == page_weights(fold_batch_norm(model), "float32")
    small = read_page_weights(page_weights(model, "int8"))
    assert page_weights(small, "int8") == page_weights(model, "int8")
    for one, two in zip(read.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=one.abs().max().item() / 253)


def test_a_network_that_was_read_can_be_written_as_onnx() -> None:
    read = read_page_weights(page_weights(shaken(course_network((4, 8, 16)))))
    assert to_onnx(read)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.update(version=2), "expected version 1"),
        (lambda header: header.update(layers=None), "expected the layers of the file as a list"),
        (lambda header: header["layers"][0].update(op="magic"), "does not describe a network"),
        (lambda header: header["layers"].pop(), "logits"),
        (lambda header: header["layers"].pop(1), "does not fit|fits together"),
        (lambda header: header["layers"][1]["weight"].update(offset=10**9), "offset|buffer"),
        (lambda header: header["layers"][1]["weight"].update(shape=[10**9, 1, 3, 3]), "buffer"),
        (lambda header: header["layers"][1]["weight"].update(dtype="int4"), "int4"),
    ],
)
def test_a_file_that_does_not_fit_together_is_refused(change, message) -> None:
    content = page_weights(shaken(course_network((4, 8, 16))), "float32")
    with pytest.raises(ValueError, match=message):
        read_page_weights(rewritten(content, change))


def test_a_file_that_is_another_or_damaged_is_refused() -> None:
    content = page_weights(course_network((4, 8, 16)), "float32")
    with pytest.raises(ValueError, match="begins with MNISTNET"):
        read_page_weights(b"PK" + content)
    with pytest.raises(ValueError, match="damaged or cut short"):
        read_page_weights(content[:-1])
    with pytest.raises(ValueError, match="header of the file cannot be read"):
        rest = b"{]" + content[18:]
        read_page_weights(content[:8] + struct.pack("<II", 2, zlib.crc32(rest)) + rest)


def test_half_precision_takes_half_the_bytes() -> None:
    model = course_network()
    weights = sum(value.numel() for value in fold_batch_norm(model).parameters())
    sizes = [len(page_weights(model, dtype)) for dtype in ("float16", "float32")]
    assert sizes[1] - sizes[0] == 2 * weights


def test_whole_numbers_and_a_step_for_each_channel_take_a_quarter_of_the_bytes() -> None:
    model = course_network()
    folded = fold_batch_norm(model)
    weights = sum(value.numel() for value in folded.parameters() if value.dim() > 1)
    channels = sum(len(value) for value in folded.parameters() if value.dim() > 1)
    files = {dtype: page_weights(model, dtype) for dtype in ("int8", "float32")}
    blobs = [len(file) - 16 - len(json.dumps(header_of(file), separators=(",", ":")))
             for file in files.values()]  # fmt: skip
    assert blobs[1] - blobs[0] == 3 * weights - 4 * channels


@settings(max_examples=50)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(-45, 38), st.integers(0, 9999))
def test_stored_as_int8_no_weight_moves_by_more_than_half_a_step(
    rows, columns, power, seed
) -> None:
    values = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    weight = (values.double() * 10.0**power).float().nan_to_num(posinf=3e38, neginf=-3e38)
    weight[0] = 0
    steps = int8_steps(weight)
    assert steps.shape == (rows, 1)
    whole = (weight / steps).round()
    assert (steps > 0).all()
    assert whole.abs().max() <= 127 or power < -36  # below, float32 itself has no finer steps
    error = (weight.double() - whole.double() * steps.double()).abs()
    assert (error <= 0.5001 * steps.double()).all()


def test_a_channel_of_zeros_is_stored_as_int8() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    nn.init.zeros_(model[1].weight)
    assert header_of(page_weights(model, "int8"))["layers"][1]["weight"]["steps"]["shape"] == [10]


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
def test_a_layer_that_the_pad_cannot_run_is_named(layer, named) -> None:
    model = nn.Sequential(Normalize(), nn.Sequential())
    model.add_module("odd", layer)
    with pytest.raises(UnsupportedLayerError, match=named):
        page_weights(model)


def test_only_a_sequential_network_can_be_written() -> None:
    with pytest.raises(UnsupportedLayerError, match=r"expected a torch.nn.Sequential, got Resid"):
        page_weights(Residual())


@pytest.mark.parametrize(("value", "dtype"), [(1e6, "float16"), (float("nan"), "float32")])
def test_weights_that_cannot_be_stored_are_refused(value, dtype) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    nn.init.constant_(model[1].weight, value)
    with pytest.raises(ValueError, match=f"not a finite {dtype} number"):
        page_weights(model, dtype)


def test_a_weight_that_is_not_finite_is_not_stored_as_int8_either() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    model[1].weight.data[3, 5] = float("inf")
    with pytest.raises(ValueError, match="not a finite float32 number"):
        page_weights(model, "int8")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A network of the course, left in training mode as training leaves it."""
    return shaken(course_network((4, 6, 8))).train()


@pytest.fixture(scope="module")
def exported(network) -> bytes:
    return to_onnx(network)


@pytest.mark.parametrize("images", [1, 2, 3, 64])
def test_onnx_runtime_computes_what_pytorch_computes_for_every_batch_size(
    network, exported, images
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    pixels = torch.rand(images, 1, 28, 28, generator=torch.Generator().manual_seed(images))
    (logits,) = session.run(["logits"], {"pixels": pixels.numpy()})
    with answering(network):
        expected = network(pixels)
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-5, atol=1e-5)


def test_the_onnx_file_says_what_it_takes_and_nothing_of_the_machine(network, exported) -> None:
    file = onnx.load_from_string(exported)
    assert [(entry.domain, entry.version) for entry in file.opset_import] == [("", OPSET)]
    shapes = [
        (
            value.name,
            [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim],
        )
        for value in (*file.graph.input, *file.graph.output)
    ]
    assert shapes == [("pixels", ["n", 1, 28, 28]), ("logits", ["n", 10])]
    assert b".py" not in exported and b"torch.nn" not in exported
    assert network.training, "the network itself is not changed"


def test_the_onnx_file_has_no_batch_norm_and_no_dropout_left() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(784, 10)).train()
    kinds = {node.op_type for node in onnx.load_from_string(to_onnx(model)).graph.node}
    assert kinds <= {"Reshape", "Flatten", "Gemm"}


def test_the_command_line_writes_the_network_as_onnx(tmp_path, capsys) -> None:
    small = course_network((2, 3, 4))
    weights = tmp_path / "weights.safetensors"
    checkpoints.save_weights(small, weights, network="course_network", channels="2,3,4")
    path = tmp_path / "new folder" / "digits.onnx"
    assert cli.main(["export", "--out", str(path), "--weights", str(weights)]) == 0
    assert capsys.readouterr().out == f"{path}: {path.stat().st_size:,} bytes\n"
    onnx.checker.check_model(path, full_check=True)

    (tmp_path / "file").touch()
    assert (
        cli.main(["export", "--out", str(tmp_path / "file" / "x"), "--weights", str(weights)]) == 1
    )
    error = capsys.readouterr().err
    assert "file" in error and error.count("\n") == 1


def test_without_the_package_onnx_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RuntimeError, match="pip install onnx onnxscript"):
        to_onnx(course_network((2, 2, 2)))


def test_layers_whose_names_differ_in_a_dot_are_all_written() -> None:
    torch.manual_seed(0)
    one, two = (nn.Conv2d(1, 1, 3, padding=1) for _ in range(2))
    network = nn.Sequential(OrderedDict(a=nn.Sequential(OrderedDict(b=one)), a_b=two))
    network.add_module("flatten", nn.Flatten())
    network.add_module("linear", nn.Linear(784, 10))
    images = torch.rand(1, 1, 28, 28)
    read = read_page_weights(page_weights(network, "float32"))
    assert torch.allclose(read(images), network(images), atol=1e-5)


@pytest.mark.parametrize("content", ["net.mnistnet", Path("net.mnistnet"), None])
def test_the_name_of_a_file_is_not_its_content(content) -> None:
    with pytest.raises(TypeError, match=r"got .*; read it with Path\(name\).read_bytes"):
        read_page_weights(content)


def test_a_header_that_is_nested_too_deeply_is_refused() -> None:
    header = b"[" * 200_000
    content = struct.pack("<II", len(header), zlib.crc32(header)) + header
    with pytest.raises(ValueError, match="header of the file cannot be read"):
        read_page_weights(b"MNISTNET" + content)
