"""All that the course wants to know of one GPU, in at most eight minutes.

    python -m benchmarks.gpu                       # on a machine with an NVIDIA GPU
    python -m benchmarks.gpu --rehearse            # a few steps on the CPU, nothing is saved

In this order, so that what matters most is there if the time runs out: whether GPU and CPU compute
the same; the race to 99 % of the test digits, the first run of a process apart; what a recorded
step (a CUDA graph), bfloat16 and larger batches gain; how much memory a training takes; and the
tests that need a GPU. Times lie between two CUDA events, around the whole training. The result is
saved after each part.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from mnist_course import data, evaluate, measurements, pretrained, train

NAME = "gpu"
SETTINGS: dict[str, dict[str, bool]] = {
    "float32": {"mixed_precision": False, "cuda_graph": False},
    "bfloat16": {"mixed_precision": True, "cuda_graph": False},
    "float32, recorded": {"mixed_precision": False, "cuda_graph": True},
    "bfloat16, recorded": {"mixed_precision": True, "cuda_graph": True},
}


def timed(
    recipe: train.Recipe, digits: data.Digits, device: str, seed: int, **settings: bool
) -> tuple[torch.nn.Module, float]:
    """A network trained by ``recipe``, and the seconds from the first batch to the last weight."""
    network = recipe.build(seed)
    if device == "cpu":
        start = time.perf_counter()
        train.fit(network, digits, None, recipe, device=device, seed=seed, progress=False)
        return network, time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    train.fit(network, digits, None, recipe, device=device, seed=seed, progress=False, **settings)
    end.record()
    torch.cuda.synchronize()
    return network, begin.elapsed_time(end) / 1000


def parity(digits: data.Digits, device: str) -> dict[str, float]:
    """How far logits, gradients and a short training differ from those of the CPU."""
    images, labels = data.to_float(digits.images[:256]), digits.labels[:256]
    logits, gradients = [], []
    for place in ("cpu", device):
        network = pretrained.load().to(place)
        answer = network(images.to(place))
        F.cross_entropy(answer, labels.to(place)).backward()
        logits.append(answer.detach().cpu())
        gradients.append(torch.cat([p.grad.flatten().cpu() for p in network.parameters()]))
    few = replace(train.RECIPES["sprint"], epochs=100 * 128 / len(digits))
    read = [
        evaluate.evaluate(timed(few, digits, place, 0)[0], digits[:5000], "cpu").accuracy
        for place in ("cpu", device)
    ]
    return {
        "largest_difference_of_logits": (logits[0] - logits[1]).abs().max().item(),
        "relative_difference_of_gradients": (
            (gradients[0] - gradients[1]).norm() / gradients[0].norm()
        ).item(),
        "accuracy_after_100_steps_cpu": read[0],
        "accuracy_after_100_steps_gpu": read[1],
    }


def race(
    names: list[str], digits: data.Digits, test: data.Digits, device: str, seeds: int
) -> dict[str, Any]:
    """Each recipe with each setting, from several seeds: seconds, and test accuracy at the end."""
    result: dict[str, Any] = {}
    for name in names:
        recipe = train.RECIPES[name]
        for setting, how in SETTINGS.items():
            runs = []
            for seed in range(seeds):
                network, seconds = timed(recipe, digits, device, seed, **how)
                accuracy = evaluate.evaluate(network, test, device).accuracy
                runs.append({"seed": seed, "seconds": round(seconds, 4), "accuracy": accuracy})
            warm = runs[1:] or runs
            result[f"{name}, {setting}"] = {
                "first_seconds": runs[0]["seconds"],
                "median_seconds": statistics.median(run["seconds"] for run in warm),
                "mean_accuracy": statistics.mean(run["accuracy"] for run in runs),
                "runs": runs,
            }
    return result


def batches(digits: data.Digits, device: str) -> list[dict[str, float]]:
    """Digits a second and memory, for several sizes of batch."""
    rows = []
    for size in (128, 512, 2048):
        recipe = replace(train.RECIPES["fast"], batch_size=size, epochs=1)
        timed(recipe, digits, device, 0, mixed_precision=True)
        if device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        _, seconds = timed(recipe, digits, device, 0, mixed_precision=True)
        peak = 0 if device == "cpu" else torch.cuda.max_memory_allocated()
        rows.append({
            "batch_size": size,
            "digits_per_second": round(len(digits) // size * size / seconds),
            "megabytes": round(peak / 1e6, 1),
        })  # fmt: skip
    return rows


def tests() -> str:
    """The last line of the tests that need a GPU."""
    if importlib.util.find_spec("pytest") is None:
        return "not run: pytest is not installed"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "gpu or cuda"]
    answer = subprocess.run(
        [*command, "tests/package/test_train.py"], capture_output=True, text=True, timeout=120
    )
    return answer.stdout.strip().splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, nothing is saved")
    options = parser.parse_args()
    if not (torch.cuda.is_available() or options.rehearse):
        sys.exit("this needs an NVIDIA GPU; --rehearse runs a little of it on the CPU")
    digits, test = data.load("train"), data.load("test")
    if digits.source != "MNIST":
        sys.exit("this needs the real MNIST: set MNIST_COURSE_DATA to a folder that has it")
    device, seeds = ("cpu", 1) if options.rehearse else ("cuda", options.seeds)
    if options.rehearse:
        digits, test = digits[:2048], test[:500]
    numbers: dict[str, Any] = {"seeds": seeds}
    parts = {
        "parity": lambda: parity(digits, device),
        "race": lambda: race(["sprint", "fast"], digits, test, device, seeds),
        "batches": lambda: batches(digits, device),
        "tests": tests,
    }
    begun = time.perf_counter()
    for name, part in parts.items():
        numbers[name] = part()
        numbers["seconds"] = round(time.perf_counter() - begun, 1)
        print(name, json.dumps(numbers[name], indent=2), flush=True)
        if not options.rehearse:
            measurements.save(NAME, numbers)


if __name__ == "__main__":
    main()
