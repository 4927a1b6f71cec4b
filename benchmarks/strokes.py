"""How well a network reads digits drawn with a pen: strokes in, one number out.

    python -m benchmarks.strokes                      # the network that ships
    python -m benchmarks.strokes mine.safetensors     # another network of the course
    python -m benchmarks.strokes mine.pt2             # a program of torch.export
    python -m benchmarks.strokes mine.onnx            # any network, from any framework

A network takes float32 pixels in [0, 1], ``(N, 1, 28, 28)``, and returns logits ``(N, 10)``. The
strokes are 7,494 digits of 30 people (UCI "Pen-Based Recognition of Handwritten Digits", Alpaydin
and Alimoglu, 1998), as JSON lines in ``$MNIST_COURSE_DATA/pendigits/train.jsonl``. *No network may
learn from them.* Whoever chooses between networks, styles or thresholds does so on the first half
of the lines, and reports the second. Each digit is drawn at a random place, in a random size, with
a slightly thicker or thinner pen.

The lines are shuffled and don't say who wrote them, so both halves are by the same thirty people,
and the interval takes digits for independent that are not. Expect a larger error on other people.
The numbers of the network that ships go to ``benchmarks/results/strokes.json``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_course import checkpoints, measurements, pretrained
from mnist_course.brush import draw_many, segments_of
from mnist_course.evaluate import Result, expected_calibration_error, wilson_interval

SEED, SURE = 0, 0.8
"""The pad says that it is sure from this probability on."""
Network = Callable[[Tensor], Tensor]
Drawn = dict[str, Any]


def pen_strokes() -> list[Drawn]:
    """The digits drawn with a pen: ``label`` and ``strokes``, in shuffled order."""
    path = Path(os.environ.get("MNIST_COURSE_DATA", "")) / "pendigits" / "train.jsonl"
    if not path.exists():
        raise SystemExit("this needs pen strokes: set MNIST_COURSE_DATA to a folder with pendigits")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def halves(digits: Sequence[Drawn]) -> dict[str, Sequence[Drawn]]:
    """The digits to choose by, and those to report."""
    middle = len(digits) // 2
    return {"choosing": digits[:middle], "reporting": digits[middle:]}


def read(network: Network, digits: Sequence[Drawn], seed: int = SEED) -> Result:
    """What the network says to digits at random places, in random sizes, drawn with random pens.

    Args:
        network: from pixels ``(N, 1, 28, 28)`` to logits ``(N, 10)``.
        digits: ``label`` and ``strokes`` each; see :func:`pen_strokes`.
        seed: decides places, sizes and pens.
    """
    rng, logits = np.random.default_rng(seed), []
    for first in range(0, len(digits), 100):
        segments = segments_of([digit["strokes"] for digit in digits[first : first + 100]])
        count = len(segments)
        size = torch.from_numpy(rng.uniform(0.15, 0.56, (count, 1, 1, 1))).float()
        place = torch.from_numpy(rng.uniform(0, 120, (count, 1, 1, 2))).float()
        pen = torch.from_numpy(rng.uniform(1.15, 1.55, count)).float()
        with torch.no_grad():
            logits.append(network(draw_many(segments * size + place, pen)))
    labels = torch.tensor([digit["label"] for digit in digits])
    return Result(torch.cat(logits), labels, "pen strokes")


def measure(result: Result) -> dict[str, Any]:
    """Accuracy with its interval, what the network is sure of, and what it confuses."""
    right, confidence = result.predictions == result.labels, result.probabilities.amax(1)
    sure, wrong = confidence >= SURE, result.confusion.fill_diagonal_(0).view(-1)
    interval = wilson_interval(int(right.sum()), len(right))
    most = wrong.argsort(descending=True, stable=True)[:10].tolist()
    return {
        "digits": len(right),
        "accuracy": round(result.accuracy, 4),
        "interval_if_independent": [round(end, 4) for end in interval],
        "share_sure": round(sure.double().mean().item(), 4),
        "accuracy_where_sure": round(right[sure].double().mean().item(), 4),
        "mean_confidence": round(confidence.double().mean().item(), 4),
        "calibration_error": round(
            expected_calibration_error(result.probabilities, result.labels), 4
        ),
        "most_confused": [[n // 10, n % 10, int(wrong[n])] for n in most if wrong[n]],
    }


def load(path: Path) -> Network:
    """A network from a file of weights of the course, a program of torch.export, or ONNX."""
    if path.suffix == ".pt2":
        program: Network = torch.export.load(path).module()
        return program
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        name = session.get_inputs()[0].name
        return lambda images: torch.from_numpy(session.run(None, {name: images.numpy()})[0])
    return checkpoints.load_network(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help=".safetensors, .pt2 or .onnx")
    file = parser.parse_args().file
    network = load(file) if file else pretrained.load()
    parts = halves(pen_strokes())
    numbers = {name: measure(read(network, digits)) for name, digits in parts.items()}
    if file is None:
        measurements.save("strokes", {"seed": SEED, "sure_from": SURE, **numbers})
    print(json.dumps(numbers, indent=2))
    print(f"reads {numbers['reporting']['accuracy']:.2%} of the pen strokes to report")


if __name__ == "__main__":
    main()
