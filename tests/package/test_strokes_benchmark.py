"""The benchmark of pen strokes, on strokes that are made up."""

import json

import pytest
import torch

from benchmarks import strokes as benchmark
from mnist_course import pretrained
from mnist_course.export import to_onnx
from mnist_course.synthetic import FORMS, handwriting

DIGITS = [{"label": d, "strokes": form} for d, forms in FORMS.items() for form in forms]


def always(digit: int) -> benchmark.Network:
    """A network that says the same to everything, and is 90 % sure of it."""
    logits = torch.full((10,), 0.1 / 9).log()
    logits[digit] = torch.tensor(0.9).log()
    return lambda images: logits.expand(len(images), 10)


def test_a_network_that_always_says_one_is_right_about_the_ones() -> None:
    ones = sum(digit["label"] == 1 for digit in DIGITS)
    numbers = benchmark.measure(benchmark.read(always(1), DIGITS))
    share = ones / len(DIGITS)
    assert numbers["digits"] == len(DIGITS)
    assert numbers["accuracy"] == pytest.approx(share, abs=1e-4)
    assert numbers["share_sure"] == 1
    assert numbers["mean_confidence"] == pytest.approx(0.9, abs=1e-4)
    assert numbers["calibration_error"] == pytest.approx(0.9 - share, abs=1e-3)
    low, high = numbers["interval_if_independent"]
    assert low < share < high
    assert all(read == 1 and written != 1 for written, read, _ in numbers["most_confused"])


def test_place_size_and_pen_are_random_and_the_same_seed_repeats_them() -> None:
    seen: list[torch.Tensor] = []

    def watch(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return torch.zeros(len(images), 10)

    for seed in (0, 0, 1):
        benchmark.read(watch, DIGITS, seed)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    ink = seen[0].sum((1, 2, 3))
    assert ink.min() > 15 and seen[0].max() <= 1


def test_the_halves_are_all_digits_and_share_none() -> None:
    parts = benchmark.halves(DIGITS)
    assert [*parts["choosing"], *parts["reporting"]] == DIGITS


def test_a_file_is_read_whatever_its_kind(tmp_path) -> None:
    model = pretrained.load()
    expected = benchmark.read(model, DIGITS).logits
    exported = torch.export.export(
        model, (torch.zeros(2, 1, 28, 28),), dynamic_shapes=[{0: torch.export.Dim("n")}]
    )
    torch.export.save(exported, tmp_path / "network.pt2")
    (tmp_path / "network.onnx").write_bytes(to_onnx(model))
    for path in (pretrained.WEIGHTS, tmp_path / "network.pt2", tmp_path / "network.onnx"):
        found = benchmark.read(benchmark.load(path), DIGITS).logits
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_pen_strokes_are_asked_for_where_there_are_none(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MNIST_COURSE_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match="set MNIST_COURSE_DATA"):
        benchmark.pen_strokes()
    (tmp_path / "pendigits").mkdir()
    lines = [json.dumps({"label": d["label"], "strokes": d["strokes"]}) for d in handwriting(1, 3)]
    (tmp_path / "pendigits" / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert [digit["label"] for digit in benchmark.pen_strokes()] == [0, 1, 2]
