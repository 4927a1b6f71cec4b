"""Compare optimisers fairly: the same network, data, schedule and number of tries for each.

    nice python -m benchmarks.optimisers

Every optimiser trains the same network from the same weights, on the same batches, at every rate
of one grid. The rate that reads most of 5,000 held-out training digits is its best; with that rate
it trains from five more seeds, and is judged on 10,000 other held-out training digits. The test
digits are not used. Takes about six minutes on one thread that has a core for itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from statistics import mean, stdev
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from mnist_course import data, measurements
from mnist_course.evaluate import evaluate
from mnist_course.recipes import Recipe

Parameters = Iterable[nn.Parameter]

OPTIMISERS: dict[str, Callable[[Parameters, float], torch.optim.Optimizer]] = {
    "SGD": lambda weights, rate: torch.optim.SGD(weights, rate),
    "momentum": lambda weights, rate: torch.optim.SGD(weights, rate, momentum=0.9),
    "Nesterov": lambda weights, rate: torch.optim.SGD(weights, rate, momentum=0.9, nesterov=True),
    "RMSProp": lambda weights, rate: torch.optim.RMSprop(weights, rate),
    "Adam": lambda weights, rate: torch.optim.Adam(weights, rate),
    "AdamW": lambda weights, rate: torch.optim.AdamW(weights, rate),
}
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
RECIPE = Recipe(network="fast_network", epochs=2, batch_size=128, schedule="triangular", warmup=0.2)
TRAINING, CHOOSING, JUDGING = 12_000, 5_000, 10_000
SEEDS = (1, 2, 3, 4, 5)  # seed 0 chooses the rates


def train(optimiser: str, rate: float, seed: int, training: data.Digits) -> nn.Module:
    """A network trained from the weights and in the order of ``seed``; it may have diverged."""
    model = RECIPE.build(seed).to(memory_format=torch.channels_last)
    optimizer = OPTIMISERS[optimiser]((w for w in model.parameters() if w.requires_grad), rate)
    order = torch.Generator().manual_seed(seed)
    steps = int(RECIPE.epochs) * math.ceil(len(training) / RECIPE.batch_size)
    step = 0
    for _ in range(int(RECIPE.epochs)):
        for images, labels in training.batches(RECIPE.batch_size, order):
            share = RECIPE.learning_rate_at(step, steps) / RECIPE.learning_rate
            optimizer.param_groups[0]["lr"] = rate * share
            pixels = data.to_float(images).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(pixels), labels)
            if not loss.isfinite():
                return model
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return model


def score(model: nn.Module, digits: data.Digits) -> dict[str, Any]:
    """Accuracy and loss on ``digits``; a loss that is not finite is ``None``, as in JSON."""
    result = evaluate(model, digits, "cpu")
    loss = result.loss if math.isfinite(result.loss) else None
    return {"accuracy": result.accuracy, "loss": loss}


def main() -> None:
    """Measure, print and save."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    digits = data.load("train")
    rest, held = digits.split(CHOOSING + JUDGING)
    training, choosing, judging = rest[:TRAINING], held[:CHOOSING], held[CHOOSING:]

    found: dict[str, Any] = {}
    for name in OPTIMISERS:
        grid = [{"rate": r, **score(train(name, r, 0, training), choosing)} for r in RATES]
        best = max(grid, key=lambda row: row["accuracy"])["rate"]
        if best in (RATES[0], RATES[-1]):
            raise SystemExit(f"the best rate of {name} is at the edge of the grid: widen RATES")
        runs = [{"seed": s, **score(train(name, best, s, training), judging)} for s in SEEDS]
        found[name] = {"grid": grid, "best_rate": best, "runs": runs}
        accuracies = [100 * run["accuracy"] for run in runs]
        print(
            f"{name:9} best rate {best:<6} {mean(accuracies):.2f} % ± {stdev(accuracies):.2f}"
            f"   ({time.perf_counter() - started:.0f} s)",
            flush=True,
        )
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
            "optimisers": found,
            "seconds": round(time.perf_counter() - started),
        },
    )


if __name__ == "__main__":
    main()
