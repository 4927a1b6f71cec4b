"""Compare optimisers fairly: the same network, data, schedule and number of tries for each.

    nice python -m benchmarks.optimisers

Every optimiser trains the same network from the same weights, on the same batches, at every rate
of one grid. The rate that reads most of 5,000 held-out training digits is its best; if it lies at
an edge of the grid, the script stops. With its best rate each trains from twelve more seeds, and is
judged on 10,000 other held-out training digits. The first four seeds name the favourite; the other
eight, which had no say in that, compare it with the rest. The test digits are not used.
Takes about a quarter of an hour on one thread that has a core for itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course import data, measurements
from mnist_course.evaluate import evaluate
from mnist_course.recipes import Recipe

RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
RECIPE = Recipe(network="fast_network", epochs=2, batch_size=128, schedule="triangular", warmup=0.2)
TRAINING, CHOOSING, JUDGING = 12_000, 5_000, 10_000
NAMING, TESTING = (1, 2, 3, 4), (5, 6, 7, 8, 9, 10, 11, 12)  # seed 0 chooses the rates

Weights = Iterable[nn.Parameter]
Optimisers = Callable[[Weights, float], torch.optim.Optimizer]


class Muon(torch.optim.Optimizer):
    """Muon for the kernels, one row of a matrix for each filter; Adam for all other parameters.

    ``torch.optim.Muon`` takes matrices only. As there, a tall matrix moves by the root of its
    height over its width farther.
    """

    def __init__(self, weights: Weights, rate: float, other_rate: float) -> None:
        weights = list(weights)
        kernels = [w for w in weights if w.ndim == 4]
        super().__init__(kernels, {"lr": rate})
        others = torch.optim.Adam([w for w in weights if w.ndim != 4], other_rate)
        self.others = others
        self.param_groups += others.param_groups

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step; nobody passes a ``closure``."""
        group = self.param_groups[0]
        for w in group["params"]:
            sums = self.state[w].setdefault("momentum", torch.zeros_like(w)).mul_(0.95).add_(w.grad)
            matrix = (w.grad + 0.95 * sums).flatten(1)
            height, width = matrix.shape
            turned = orthogonal(matrix) * max(1, height / width) ** 0.5
            w.sub_(group["lr"] * turned.view(w.shape))
        self.others.step()


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """A matrix with the same directions, whose singular values are all near 1 (Newton–Schulz)."""
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide if len(matrix) <= matrix.shape[1] else wide.T


OPTIMISERS: dict[str, Optimisers] = {
    "SGD": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "Nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "RMSProp": torch.optim.RMSprop,
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
}


def train(make: Optimisers, rate: float, seed: int, training: data.Digits) -> nn.Module:
    """A network trained from the weights and in the order of ``seed``; it may have diverged."""
    model = RECIPE.build(seed).to(memory_format=torch.channels_last)
    optimizer = make((w for w in model.parameters() if w.requires_grad), rate)
    peaks = [group["lr"] for group in optimizer.param_groups]
    order = torch.Generator().manual_seed(seed)
    steps = int(RECIPE.epochs) * math.ceil(len(training) / RECIPE.batch_size)
    step = 0
    for _ in range(int(RECIPE.epochs)):
        for images, labels in training.batches(RECIPE.batch_size, order):
            share = RECIPE.learning_rate_at(step, steps) / RECIPE.learning_rate
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * share
            pixels = data.to_float(images).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(pixels), labels)
            if not loss.isfinite():
                return model
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return model


def best_rate(name: str, make: Optimisers, training: data.Digits, choosing: data.Digits) -> Any:
    """The accuracy at each rate of the grid, and the best rate, which must lie inside."""
    grid = []
    for rate in RATES:
        result = evaluate(train(make, rate, 0, training), choosing, "cpu")
        grid.append({"rate": rate, "accuracy": result.accuracy})
    best = max(grid, key=lambda row: row["accuracy"])["rate"]
    if best in (RATES[0], RATES[-1]):
        raise SystemExit(f"the best rate of {name} is at the edge of the grid: widen RATES")
    return grid, best


def digits_error(first: Tensor, second: Tensor) -> float:
    """The standard error, in points, of a mean difference that other digits would have changed."""
    of_digit = (first.double() - second.double()).mean(0)  # over seeds; one number for each digit
    return 100 * (of_digit.std() / len(of_digit) ** 0.5).item()


def race(training: data.Digits, choosing: data.Digits, judging: data.Digits) -> dict[str, Any]:
    """Grid, best rate and runs of every optimiser; and how far each is behind the favourite."""
    found: dict[str, Any] = {}
    right: dict[str, Tensor] = {}
    started = time.perf_counter()
    for name in [*OPTIMISERS, "Muon"]:
        make = OPTIMISERS.get(name) or partial(Muon, other_rate=found["Adam"]["best_rate"])
        grid, best = best_rate(name, make, training, choosing)
        results = [
            evaluate(train(make, best, s, training), judging, "cpu") for s in NAMING + TESTING
        ]
        right[name] = torch.stack([r.predictions == judging.labels for r in results])
        runs = [
            {"seed": s, "accuracy": r.accuracy}
            for s, r in zip(NAMING + TESTING, results, strict=True)
        ]
        found[name] = {"grid": grid, "best_rate": best, "runs": runs}
        points = [100 * r.accuracy for r in results]
        print(
            f"{name:9} best rate {best:<6} {mean(points):.2f} % ± {stdev(points):.2f}"
            f"   ({time.perf_counter() - started:.0f} s)",
            flush=True,
        )
    named = {name: mask[: len(NAMING)].double().mean() for name, mask in right.items()}
    favourite = max(named, key=lambda name: named[name])
    for name, mask in right.items():
        test = slice(len(NAMING), None)
        found[name]["digits_error"] = digits_error(right[favourite][test], mask[test])
    return {"favourite": favourite, "optimisers": found}


def main() -> None:
    """Measure, print and save."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    digits = data.load("train")
    rest, held = digits.split(CHOOSING + JUDGING)
    found = race(rest[:TRAINING], held[:CHOOSING], held[CHOOSING:])
    measurements.save(
        "optimisers",
        {
            "source": digits.source,
            "recipe": repr(RECIPE),
            "training": TRAINING,
            "choosing": CHOOSING,
            "judging": JUDGING,
            "rates": RATES,
            "choosing_seed": 0,
            "naming_seeds": NAMING,
            "testing_seeds": TESTING,
            **found,
            "seconds": round(time.perf_counter() - started),
        },
    )


if __name__ == "__main__":
    main()
