"""The checks of chapter 21: answers in other styles, and mistakes beyond those of the tables."""

import statistics

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course import data
from mnist_course.checks import fast as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("fast")
NAMES = {name: name for name in ("multiply_adds", "seconds_per_step", "whole_gradient")}
test_the_chapter = of_the_chapter(check, chapter, NAMES | {"seconds_per_step": "seconds"})


class Knows(nn.Module):
    """Reads what it has seen, except for some errors; its weights are spare ones."""

    def __init__(self, weights: int, errors: float = 0) -> None:
        super().__init__()
        self.spare = nn.Parameter(torch.zeros(weights))
        _, seen = data.load("train").split()
        labels = seen.labels.clone()
        wrong = int(errors * len(labels))
        labels[:wrong] = (labels[:wrong] + 1) % 10
        pixels = data.to_float(seen.images).flatten(1)
        self.known = dict(zip(map(self.key, pixels), labels.tolist(), strict=True))

    @staticmethod
    def key(pixels: torch.Tensor) -> bytes:
        return pixels.numpy().tobytes()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        labels = torch.tensor([self.known[self.key(each)] for each in images.flatten(1)])
        return F.one_hot(labels, 10).float()


def weighted(gradients, counts):
    shares = torch.tensor(counts) / sum(counts)
    return torch.einsum("n...,n->...", torch.stack(gradients), shares)


def seconds(step, synchronize, clock, steps, warm=1, each=False, wait=True, by=lambda n: n):
    """The time of a step with one mistake or another."""
    for _ in range(warm):
        step()
    if wait:
        synchronize()
    start = clock()
    for _ in range(steps):
        step()
        if each:
            synchronize()
    synchronize()
    return (clock() - start) / by(steps)


def times(step, synchronize, clock, steps):
    """The time of each step, by itself."""
    found = []
    for _ in range(steps + 1):
        start = clock()
        step()
        synchronize()
        found.append(clock() - start)
    return found[1:]


RIGHT = {
    "multiply_adds": [
        lambda a, b, k, size: np.prod([a, b, k, k, size, size]),
        lambda a, b, k, size: torch.ones(b, a, k, k).numel() * size**2,
        lambda a, b, k, size: sum(b for _ in range(size * size) for _ in range(a * k * k)),
    ],
    "few_weights": [lambda: Knows(20_000), lambda: Knows(1, errors=0.01)],
    "whole_gradient": [
        weighted,
        lambda gradients, counts: sum(map(torch.mul, gradients, counts)) / sum(counts),
    ],
    "seconds_per_step": [
        lambda *a: seconds(*a, warm=5),
        lambda *a: seconds(*a, each=True),
        lambda *a: statistics.mean(times(*a)),
        lambda *a: torch.tensor(seconds(*a)),
        lambda *a: statistics.mean(times(*a[:3], a[3] - 1)),
    ],
}
WRONG = {
    "multiply_adds": [
        (lambda a, b, k, size: float(a * b * k * k * size**2), "not a whole number"),
        (lambda a, b, k, size: a * b * k * k * (size + k - 1) ** 2, "expected 9"),
    ],
    "few_weights": [
        (lambda: Knows(20_001), "20,001 weights and reads 100.00% of"),
        (lambda: Knows(1, errors=0.02), "which is less than 99%"),
        (lambda: nn.Linear(784, 10), "mat1 and mat2 shapes"),
        (lambda: "a network", "Return the trained network; I got str"),
        (lambda: None, "Your function returned None"),
    ],
    "whole_gradient": [
        (lambda gradients, counts: weighted(gradients, counts).mean(), "has shape"),
        (lambda gradients, counts: gradients[counts.index(max(counts))], "numbers are not"),
        (lambda gradients, counts: weighted(gradients, counts[::-1]), "numbers are not"),
    ],
    "seconds_per_step": [
        (chapter["suspicious_seconds"], "*launching*"),
        (lambda *a: seconds(*a, warm=0), "The first step is in it"),
        (lambda *a: seconds(*a, wait=False), "The first step is in it"),
        (lambda *a: seconds(*a, by=lambda n: 1), "Divide by"),
        (lambda *a: seconds(*a, by=lambda n: n - 1), "you measured 10.5"),
        (lambda *a: seconds(*a, by=lambda n: n + 1), "you measured 9.5"),
        (lambda *a: statistics.median(times(*a)), "you measured 9.1"),
        (lambda *a: min(times(*a)), "you measured 9.1"),
        (lambda *a: 1000 * seconds(*a), "milliseconds"),
        (lambda *_: 0.01, "Wait for all the work"),
        (lambda *_: float("nan"), "a finite number"),
        (lambda *_: 10**400, "too large for a float"),
        (lambda *_: "fast", "expected one number"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)


def test_the_machine_of_the_chapter_is_found_out():
    machine = check.Machine(work=0.010)
    found = chapter["suspicious_seconds"](machine.step, machine.synchronize, machine.clock, 20)
    assert found == pytest.approx(0.001)
