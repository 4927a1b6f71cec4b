"""What a network trained on MNIST is worth for other digits, and what it forgets.

    python -m benchmarks.finetuning     # about eight minutes of CPU time

First, digits drawn with a pen (see :mod:`benchmarks.strokes`): the network of the course is
fine-tuned on a few of them in several ways, and measured on others, and on MNIST's validation
digits, which it must not forget. Then the UCI digits of scikit-learn (other people, another
scanner): training from scratch against five ways to start from the network of the course. Each
setting is run from five seeds; a seed decides which examples are learned from, and the order. The
learning rates for the UCI digits are chosen by another seed on digits that measure nothing.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.strokes import pen_strokes
from mnist_course import data, measurements, pretrained, train
from mnist_course.data import Digits, to_float
from mnist_course.evaluate import evaluate
from mnist_course.finetune import finetune, freeze_batch_norm, with_adapters
from mnist_course.samples import to_digits

SEEDS, CHOOSING_SEED = range(5), 100
PEN_POOL, PEN_HELD_OUT = 1000, 2000
STEPS, BATCH = 60, 32
SCRATCH_STEPS = 4 * STEPS  # from random weights it has further to go
PEN_STEPS = 100
COUNTS = (10, 50, 500, 1197)
RATES = (0.0003, 0.001, 0.003)
SCRATCH_RATES = (0.002, 0.005, 0.01)
BLOCKS = ("linear", "conv3", "conv2", "conv1")  # from the last to the first


def take(pool: Digits, count: int, seed: int) -> Digits:
    """``count`` digits of the pool, as many of each kind as long as there are enough."""
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    kinds = F.one_hot(pool.labels[order], 10)
    # Whether a digit is the first, the second, … of its kind.
    rank = ((kinds.cumsum(0) - 1) * kinds).sum(1)
    return pool[order[rank.argsort(stable=True)[:count]]]


# --- Digits drawn with a pen ---


def pen_digits() -> tuple[Digits, Digits]:
    """Digits to learn from, and digits to measure with, drawn by the same thirty people."""
    strokes = pen_strokes()
    random.Random(0).shuffle(strokes)
    chosen = to_digits([{"time": 0, **each} for each in strokes[: PEN_POOL + PEN_HELD_OUT]], "pen")
    return chosen[:PEN_POOL], chosen[PEN_POOL:]


PEN: dict[str, tuple[int, Callable[[nn.Module, Digits, Digits, int], nn.Module]]] = {
    # With replay half of each batch is old, so the batches are twice as large. Of the rates tried
    # with it, which read pen digits alike, 0.0003 forgot least.
    "replay": (50, lambda m, new, old, s: tuned(m, new, s, **with_old(old))),
    "replay, smaller rate": (
        50,
        lambda m, new, old, s: tuned(m, new, s, learning_rate=0.0003, **with_old(old)),
    ),
    "everything": (50, lambda m, new, old, s: tuned(m, new, s)),
    "smaller rate": (50, lambda m, new, old, s: tuned(m, new, s, learning_rate=0.0001)),
    "head only": (50, lambda m, new, old, s: tuned(m, new, s, parts="head")),
    "adapters": (50, lambda m, new, old, s: tuned(with_adapters(m, 4, s), new, s)),
    "replay, 500 digits": (
        500,
        lambda m, new, old, s: tuned(m, new, s, learning_rate=0.0003, **with_old(old)),
    ),
}


def with_old(old: Digits) -> dict[str, Any]:
    return {"replay": old, "batch_size": 2 * BATCH}


def tuned(model: nn.Module, new: Digits, seed: int, **options: Any) -> nn.Module:
    options = {"batch_size": BATCH, **options}
    return finetune(model, new, steps=PEN_STEPS, seed=seed, device="cpu", **options)


class Pen:
    """Accuracy on pen digits and on MNIST after fine-tuning, in several ways."""

    def __init__(self) -> None:
        self.pool, self.held_out = pen_digits()
        self.old, self.validation = data.load("train").split()
        self.base = pretrained.load()
        self.runs: dict[str, dict[str, list[float]]] = {}
        self.note("before", self.base)

    def note(self, name: str, model: nn.Module) -> None:
        """Measure a network and keep its two accuracies."""
        row = self.runs.setdefault(name, {"pen": [], "mnist": []})
        for key, digits in (("pen", self.held_out), ("mnist", self.validation)):
            row[key].append(evaluate(model, digits, "cpu").accuracy)
        print(f"{name:20} pen {row['pen'][-1]:.4f}  MNIST {row['mnist'][-1]:.4f}", flush=True)

    def measure(self, seed: int) -> dict[str, Any]:
        """Every way once; returns all that was measured so far."""
        for name, (count, method) in PEN.items():
            new = take(self.pool, count, seed)
            self.note(name, method(self.base, new, self.old, seed))
        return {
            "held_out": len(self.held_out),
            "mnist_validation": len(self.validation),
            "examples": {name: count for name, (count, _) in PEN.items()},
            "steps": PEN_STEPS,
            "runs": self.runs,
        }


# --- UCI digits ---


def learn(
    network: nn.Module, digits: Digits, rates: dict[str, float], steps: int, seed: int
) -> None:
    """Train the parts of a network in place, each with its own rate, batch norm frozen."""
    parts = [(network.get_submodule(name), rate) for name, rate in rates.items()]
    groups = [
        {"params": [w for w in part.parameters() if w.requires_grad], "lr": rate, "peak": rate}
        for part, rate in parts
    ]
    optimizer = torch.optim.Adam(groups, fused=True)
    generator = torch.Generator().manual_seed(seed)
    network.train()
    freeze_batch_norm(network)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * (1 - step / steps)
        pick = digits[torch.randint(len(digits), (BATCH,), generator=generator)]
        loss = F.cross_entropy(network(to_float(pick.images)), pick.labels)
        network.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()


def scratch(base: nn.Module, digits: Digits, rate: float, seed: int) -> nn.Module:
    batch = min(BATCH, len(digits))
    recipe = train.Recipe(
        epochs=SCRATCH_STEPS / (len(digits) // batch), batch_size=batch, learning_rate=rate
    )
    network = recipe.build(seed)
    train.fit(network, digits, None, recipe, device="cpu", seed=seed, progress=False)
    return network


def head_only(base: nn.Module, digits: Digits, rate: float, seed: int) -> nn.Module:
    network = copy.deepcopy(base).requires_grad_(False)
    network.get_submodule("linear").requires_grad_(True)
    learn(network, digits, {"linear": rate}, STEPS, seed)
    return network


def discriminative(base: nn.Module, digits: Digits, rate: float, seed: int) -> nn.Module:
    network = copy.deepcopy(base)
    learn(network, digits, {n: rate * 0.3**i for i, n in enumerate(BLOCKS)}, STEPS, seed)
    return network


def gradual(base: nn.Module, digits: Digits, rate: float, seed: int) -> nn.Module:
    network = copy.deepcopy(base).requires_grad_(False)
    for count in range(1, len(BLOCKS) + 1):
        network.get_submodule(BLOCKS[count - 1]).requires_grad_(True)
        rates = dict.fromkeys(BLOCKS[:count], rate)
        learn(network, digits, rates, STEPS // len(BLOCKS), seed * 10 + count)
    return network


def everything(base: nn.Module, digits: Digits, rate: float, seed: int) -> nn.Module:
    network = copy.deepcopy(base)
    learn(network, digits, {"": rate}, STEPS, seed)
    return network


def adapters(base: nn.Module, digits: Digits, rate: float, seed: int) -> nn.Module:
    network = with_adapters(base, 4, seed)
    learn(network, digits, {"": rate}, STEPS, seed)
    return network


UCI: dict[str, Callable[[nn.Module, Digits, float, int], nn.Module]] = {
    "from scratch": scratch,
    "head only": head_only,
    "discriminative rates": discriminative,
    "gradual unfreezing": gradual,
    "everything": everything,
    "adapters": adapters,
}


class Uci:
    """Accuracy on UCI digits after learning from few to all of them, in several ways."""

    def __init__(self) -> None:
        self.pool, choosing = data.uci_digits("train").split(300)
        self.held_out = data.uci_digits("test")
        self.base = pretrained.load()
        self.runs: dict[str, dict[str, list[float]]] = {name: {} for name in UCI}
        self.rates: dict[str, float] = {}
        few = take(self.pool, 50, CHOOSING_SEED)
        for name, method in UCI.items():
            losses = {
                rate: evaluate(method(self.base, few, rate, CHOOSING_SEED), choosing, "cpu").loss
                for rate in (SCRATCH_RATES if method is scratch else RATES)
            }
            self.rates[name] = min(losses, key=lambda rate: losses[rate])

    def measure(self, seed: int) -> dict[str, Any]:
        """Every way with every number of examples once; returns all that was measured so far."""
        for name, method in UCI.items():
            for count in COUNTS:
                network = method(self.base, take(self.pool, count, seed), self.rates[name], seed)
                accuracy = evaluate(network, self.held_out, "cpu").accuracy
                self.runs[name].setdefault(str(count), []).append(accuracy)
        return {
            "held_out": len(self.held_out),
            "before": evaluate(self.base, self.held_out, "cpu").accuracy,
            "rates": self.rates,
            "steps": STEPS,
            "scratch_steps": SCRATCH_STEPS,
            "batch_size": BATCH,
            "counts": COUNTS,
            "runs": self.runs,
        }


def main() -> None:
    torch.set_num_threads(1)
    start = time.process_time()
    pen, uci = Pen(), Uci()
    for seed in SEEDS:
        numbers = {"pen": pen.measure(seed), "uci": uci.measure(seed)}
        seconds = round(time.process_time() - start)
        seeds = list(SEEDS)[: seed + 1]
        measurements.save("finetuning", {"seeds": seeds, "seconds": seconds, **numbers})
        print(f"seed {seed}: {seconds} s", flush=True)


if __name__ == "__main__":
    main()
