"""What a network trained on MNIST is worth for other digits.

    python -m benchmarks.finetuning     # about six minutes of CPU time

The UCI digits of scikit-learn were written by other people and read by another scanner. A network
from scratch is compared with five ways to start from the network that learned from MNIST alone.
Each setting is run from five seeds; a seed decides which examples are learned from, and the order.
The learning rates are chosen by another seed on digits that measure nothing. What fine-tuning makes
the network forget is measured by :mod:`benchmarks.forgetting`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from mnist_course import data, measurements, pretrained, train
from mnist_course.checkpoints import load_network
from mnist_course.data import Digits, to_float
from mnist_course.evaluate import evaluate
from mnist_course.finetune import freeze_batch_norm, with_adapters

SEEDS, CHOOSING_SEED = range(5), 100
STEPS, BATCH = 60, 32
SCRATCH_STEPS = 4 * STEPS  # from random weights it has further to go
COUNTS = (10, 50, 500, 1197)
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
SCRATCH_RATES = (0.002, 0.005, 0.01, 0.02)
BLOCKS = ("linear", "conv3", "conv2", "conv1")  # from the last to the first


def take(pool: Digits, count: int, seed: int) -> Digits:
    """``count`` digits of the pool, as many of each kind as long as there are enough."""
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    kinds = F.one_hot(pool.labels[order], 10)
    # Whether a digit is the first, the second, … of its kind.
    rank = ((kinds.cumsum(0) - 1) * kinds).sum(1)
    return pool[order[rank.argsort(stable=True)[:count]]]


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
        self.base = load_network(pretrained.MNIST_ONLY)
        self.runs: dict[str, dict[str, list[float]]] = {name: {} for name in UCI}
        self.rates: dict[str, float] = {}
        self.losses: dict[str, dict[float, float]] = {}
        few = take(self.pool, 50, CHOOSING_SEED)
        for name, method in UCI.items():
            losses = {
                rate: evaluate(method(self.base, few, rate, CHOOSING_SEED), choosing, "cpu").loss
                for rate in (SCRATCH_RATES if method is scratch else RATES)
            }
            self.rates[name] = min(losses, key=lambda rate: losses[rate])
            print(name, losses, flush=True)
            self.losses[name] = losses

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
            "losses_by_rate": self.losses,
            "steps": STEPS,
            "scratch_steps": SCRATCH_STEPS,
            "batch_size": BATCH,
            "counts": COUNTS,
            "runs": self.runs,
        }


def main() -> None:
    torch.set_num_threads(1)
    start = time.process_time()
    uci = Uci()
    for seed in SEEDS:
        numbers = {"uci": uci.measure(seed)}
        seconds = round(time.process_time() - start)
        seeds = list(SEEDS)[: seed + 1]
        measurements.save("finetuning", {"seeds": seeds, "seconds": seconds, **numbers})
        print(f"seed {seed}: {seconds} s", flush=True)


if __name__ == "__main__":
    main()
