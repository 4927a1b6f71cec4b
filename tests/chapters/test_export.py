"""What chapter 27 defines computes what the libraries compute."""

import subprocess
import sys

import numpy as np
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.nn import functional as F

from mnist_course import export, pretrained
from mnist_course.models import course_network
from tests.chapters.definitions import definitions
from tests.networks import shaken

chapter = definitions("export")

sizes = st.integers(1, 5)
seeds = st.integers(0, 1000)
shapes = st.lists(st.integers(0, 4), max_size=4)


def normal(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@given(st.lists(shapes, min_size=1, max_size=4), st.sampled_from(["float32", "float16"]), seeds)
@settings(max_examples=40, deadline=None)
def test_files_of_the_library_are_read_and_files_written_by_hand_are_read_by_it(
    lot, dtype, seed
) -> None:
    tensors = {
        f"t{number}": normal(*shape, seed=seed).to(getattr(torch, dtype))
        for number, shape in enumerate(lot)
    }
    read, notes = chapter["read_safetensors"](safetensors.torch.save(tensors, {"by": "a test"}))
    assert notes == {"by": "a test"} and read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)

    tensors = {name: tensor.float() for name, tensor in tensors.items()}
    back = safetensors.torch.load(chapter["solution_safetensors"](tensors))
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


@given(sizes, sizes, st.integers(1, 3), st.integers(1, 2), st.integers(0, 2), seeds)
@settings(max_examples=40, deadline=None)
def test_a_folded_convolution_does_what_the_two_layers_do(
    c, o, kernel, stride, padding, seed
) -> None:
    x, w = normal(2, c, 6, 6, seed=seed), normal(o, c, kernel, kernel, seed=seed + 1)
    b, gamma, beta, mean = normal(4, o, seed=seed + 2)
    variance = normal(o, seed=seed + 3).square()
    two = F.batch_norm(F.conv2d(x, w, b, stride, padding), mean, variance, gamma, beta, eps=1e-3)
    folded = chapter["fold"](w, b, gamma, beta, mean, variance, 1e-3)
    torch.testing.assert_close(F.conv2d(x, *folded, stride, padding), two)


@given(sizes, sizes, st.integers(2, 8), st.booleans(), seeds)
@settings(max_examples=40, deadline=None)
def test_no_weight_moves_by_more_than_half_a_step(o, c, bits, per_channel, seed) -> None:
    w = normal(o, c, 3, 3, seed=seed)
    s = chapter["scales"](w, bits, per_channel)
    q = chapter["quantise"](w, s, bits)
    assert s.shape == ((o, 1, 1, 1) if per_channel else (1, 1, 1, 1))
    assert q.dtype == torch.int8 and q.abs().max() == 2 ** (bits - 1) - 1
    assert ((w - s * q).abs() <= s / 2 + 1e-12).all()


@given(st.floats(-10, 10), st.floats(0.01, 20), seeds)
@settings(max_examples=60, deadline=None)
def test_zero_is_on_the_grid_and_what_lies_inside_moves_by_half_a_step_at_most(
    low, width, seed
) -> None:
    s, z = chapter["grid"](low, low + width)
    assert 0 <= z <= 255
    x = low + width * torch.rand(100, generator=torch.Generator().manual_seed(seed)).double()
    q = chapter["quantise_map"](x, s, z)
    assert q.dtype == torch.uint8
    # The zero point is rounded, so that the ends of the range may lie half a step outside.
    assert ((x - s * (q.double() - z)).abs() <= s * 1.001).all()
    torch.testing.assert_close(chapter["Grid"](s, z)(x), s * (q.double() - z))
    assert chapter["Grid"](s, z)(torch.zeros(1)).item() == 0


def test_a_quantised_network_is_close_to_the_network_and_leaves_it_as_it_is() -> None:
    folded = export.fold_batch_norm(shaken(course_network((4, 6, 8))))
    before = {name: value.clone() for name, value in folded.state_dict().items()}
    images = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    rounded = chapter["fully_quantised"](folded, images)
    assert sum(isinstance(layer, chapter["Grid"]) for layer in rounded) == 4
    with torch.no_grad():
        exact, close = folded(images), rounded(images)
    assert 0 < (exact - close).abs().max() < 0.05 * exact.abs().max()
    assert all(torch.equal(value, before[name]) for name, value in folded.state_dict().items())


def test_weights_are_changed_in_a_copy_and_biases_are_not_changed() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    changed = chapter["with_weights"](network, lambda w: 2 * w)
    for old, new in ((network[0], changed[0]), (network[2], changed[2])):
        assert torch.equal(new.weight, 2 * old.weight) and torch.equal(new.bias, old.bias)


def test_the_warm_up_does_not_count() -> None:
    calls = []
    times = chapter["latency"](lambda: calls.append(1), repeats=7, warm_up=3)
    assert len(times) == 7 and len(calls) == 10 and (times >= 0).all()


def test_the_program_reads_a_one_wherever_it_stands_and_in_either_shape(tmp_path) -> None:
    (tmp_path / "read_digit.py").write_text(chapter["PROGRAM"], encoding="utf-8")
    (tmp_path / "digits.onnx").write_bytes(export.to_onnx(pretrained.load()))
    places = {"tall.png": (10, 90), "corner.png": (0, 0), "large.png": (100, 250)}
    for name, (top, left) in places.items():
        sheet = np.full((240, 320), 250, np.uint8)
        sheet[top : top + 120, left : left + 14] = 20
        Image.fromarray(sheet).save(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-I", "read_digit.py", "digits.onnx", *places],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n")[:3] == [f"{name} is a 1" for name in places]


def test_the_program_imports_neither_the_course_nor_pytorch() -> None:
    assert "torch" not in chapter["PROGRAM"] and "mnist_course" not in chapter["PROGRAM"]
    lines = [line for line in chapter["PROGRAM"].splitlines() if line]
    assert len(lines) == 16  # as the text says
