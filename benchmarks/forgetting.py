"""What fifty digits of a pen teach a network of MNIST, and what it forgets, over learning rates.

    python -m benchmarks.forgetting     # about two minutes of CPU time for each seed

The network that learned from MNIST alone is fine-tuned on fifty digits drawn with a pen (see
:mod:`benchmarks.strokes`), in four ways and with four learning rates each. Counted are the mistakes
on other pen digits of the same thirty people, and on MNIST digits of the validation split. A fifth
way trains nothing: the mean of the weights before and after "everything". A seed draws the fifty
digits, their order, and the adapters' first weights.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable

from torch import nn

from benchmarks.finetuning import take
from benchmarks.strokes import pen_strokes
from mnist_course import data, measurements, pretrained
from mnist_course.checkpoints import load_network
from mnist_course.data import Digits
from mnist_course.evaluate import evaluate
from mnist_course.finetune import finetune, with_adapters
from mnist_course.samples import to_digits

SEEDS = range(5)
POOL, HELD_OUT, MNIST_HELD_OUT = 1000, 1000, 2000
COUNT, STEPS, BATCH, RANK = 50, 100, 32, 4
RATES = {
    "everything": (0.0001, 0.0003, 0.001, 0.003),
    "replay": (0.0001, 0.0003, 0.001, 0.003),
    "head only": (0.0003, 0.001, 0.003, 0.01),
    "adapters": (0.001, 0.003, 0.01, 0.03),
}


def pen_digits() -> tuple[Digits, Digits]:
    """Digits to learn from, and digits to measure with, drawn by the same thirty people."""
    strokes = pen_strokes()
    random.Random(0).shuffle(strokes)
    chosen = to_digits([{"time": 0, **each} for each in strokes[: POOL + HELD_OUT]], "pen")
    return chosen[:POOL], chosen[POOL:]


def tuned(way: str, base: nn.Module, new: Digits, old: Digits, rate: float, seed: int) -> nn.Module:
    """A copy of the network after ``STEPS`` steps, in one of the ways of ``RATES``."""
    start = with_adapters(base, RANK, seed) if way == "adapters" else base
    return finetune(
        start, new, parts="head" if way == "head only" else "all",
        replay=old if way == "replay" else None, batch_size=BATCH * (1 + (way == "replay")),
        steps=STEPS, learning_rate=rate, seed=seed, device="cpu",
    )  # fmt: skip


def mean(before: nn.Module, after: nn.Module) -> nn.Module:
    """A network whose weights are half before and half after (Wortsman and others, 2022)."""
    middle = copy.deepcopy(before)
    old, new = before.state_dict(), after.state_dict()
    middle.load_state_dict(
        {k: (old[k] + new[k]) / 2 for k in old if old[k].is_floating_point()}, strict=False
    )
    return middle


def measure(
    seed: int, base: nn.Module, pool: Digits, old: Digits, note: Callable[..., None]
) -> None:
    """Each way at each rate, once; ``note`` counts the mistakes."""
    new = take(pool, COUNT, seed)
    for way, rates in RATES.items():
        for rate in rates:
            network = tuned(way, base, new, old, rate, seed)
            note(way, rate, network)
            if way == "everything":
                note("mean of before and after", rate, mean(base, network))


def main() -> None:
    start = time.process_time()
    pool, held_out = pen_digits()
    old, validation = data.load("train").split()
    judged = {"pen": held_out, "mnist": validation[:MNIST_HELD_OUT]}
    base = load_network(pretrained.MNIST_ONLY)

    def mistakes(network: nn.Module) -> dict[str, int]:
        return {name: len(evaluate(network, each, "cpu").errors) for name, each in judged.items()}

    before, runs = mistakes(base), {}

    def note(way: str, rate: float, network: nn.Module) -> None:
        row = runs.setdefault(way, {}).setdefault(str(rate), {"pen": [], "mnist": []})
        for name, wrong in mistakes(network).items():
            row[name].append(wrong)
        print(way, rate, row["pen"][-1], row["mnist"][-1], flush=True)

    for seed in SEEDS:
        measure(seed, base, pool, old, note)
        found = {
            "seeds": list(SEEDS)[: seed + 1], "seconds": round(time.process_time() - start),
            "learned_from": COUNT, "held_out": len(held_out), "mnist_held_out": MNIST_HELD_OUT,
            "steps": STEPS, "batch_size": BATCH, "rank": RANK, "before": before, "runs": runs,
        }  # fmt: skip
        measurements.save("forgetting", found)
        print(f"seed {seed}: {found['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
