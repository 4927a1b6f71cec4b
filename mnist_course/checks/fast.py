"""Checks of chapter 21, fast."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mnist_course import data, evaluate
from mnist_course.checks import NotSolvedError, compared, exercise, normal, number, run

__all__ = ["Machine", "few_weights", "multiply_adds", "seconds_per_step", "whole_gradient"]

MOST_WEIGHTS, LEAST_ACCURACY = 20_000, 0.99


@compared(
    cases={
        f"{a} to {b} channels, a {k}×{k} kernel and {size}×{size} outputs": (a, b, k, size)
        for a, b, k, size in [
            (1, 1, 3, 1), (1, 4, 3, 5), (3, 4, 2, 5), (24, 48, 3, 4), (1, 1, 1, 1), (6, 5, 7, 9),
        ]
    },
    mistakes={
        "You count the weights. Each of them is used once at every place.": (
            lambda a, b, k, size: b * a * k * k
        ),
        "For {case}: a kernel looks at all {in_channels} input channels.": (
            lambda a, b, k, size: b * size * size * k * k
        ),
        "For {case}: there are {out_channels} kernels, each at every place.": (
            lambda a, b, k, size: size * size * a * k * k
        ),
        "For {case}: a kernel has {kernel_size} × {kernel_size} weights a channel.": (
            lambda a, b, k, size: b * size * size * a * k
        ),
        "For {case}: a picture of {out_size}×{out_size} has {out_size} × {out_size} places.": (
            lambda a, b, k, size: b * size * a * k * k
        ),
        "You count the bias: it is added without a multiplication, so it is none.": (
            lambda a, b, k, size: b * size * size * (a * k * k + 1)
        ),
        "You count multiplications and additions apart: one multiply-add is one.": (
            lambda a, b, k, size: 2 * b * size * size * a * k * k
        ),
    },
    right="Outputs times the weights that each of them meets.",
)  # fmt: skip
def multiply_adds(in_channels: int, out_channels: int, kernel_size: int, out_size: int) -> int:
    """Check ``function(in_channels, out_channels, kernel_size, out_size)``: one image, forward."""
    return out_channels * out_size**2 * in_channels * kernel_size**2


def _sum(gradients: list[Tensor], weights: list[int]) -> Tensor:
    return sum((w * g for g, w in zip(gradients, weights, strict=True)), torch.zeros(()))


@compared(
    cases={
        f"shares of {counts} images": ([normal(*size, seed=n) for n in range(len(counts))], counts)
        for counts, size in [([4, 4], (3, 6)), ([5, 3], (3, 6)), ([1, 2, 9], (4, 1, 3, 3)),
                             ([7], (5,)), ([20, 1, 1, 2], (2,))]
    },
    mistakes={
        "With shares of {counts} images a plain mean counts the images of a small share more than "
        "those of a large one: weight each gradient by its count.": (
            lambda gradients, counts: torch.stack(gradients).mean(0)
        ),
        "The gradients are added up; the loss is a mean.": (
            lambda gradients, counts: torch.stack(gradients).sum(0)
        ),
        "These are the sums over the images; the loss is a mean: divide by the number of all "
        "images.": _sum,
        "The gradients are weighted by their counts; then divide by the number of all images, not "
        "of the shares.": lambda gradients, counts: _sum(gradients, counts) / len(counts),
    },
    right="Weighted by the number of images, the parts make the gradient of the whole.",
)  # fmt: skip
def whole_gradient(gradients: list[Tensor], counts: list[int]) -> Tensor:
    """Check ``function(gradients, counts)``: that of the mean loss over all images together."""
    return _sum(gradients, counts) / sum(counts)


class Machine:
    """A make-believe GPU, on which time passes as one says.

    ``step()`` only launches work, which takes ``work`` seconds of the GPU and much more the first
    time; ``synchronize()`` waits until all launched work is done; ``clock()`` is the time.
    """

    def __init__(self, launch: float = 0.001, work: float = 0.01, first: float = 2.0) -> None:
        self.launch, self.work, self.first = launch, work, first
        self.now = self.done = 0.0
        self.steps = 0

    def step(self) -> None:
        """Launch the work of a step; comes back at once."""
        self.now += self.launch
        work = self.work if self.steps else self.work + self.first
        self.done = max(self.done, self.now) + work
        self.steps += 1

    def synchronize(self) -> None:
        """Wait until all launched work is done."""
        self.now = max(self.now, self.done)

    def clock(self) -> float:
        """The time, in seconds."""
        return self.now


class _Uneven(Machine):
    """Every fourth step takes longer than the others: the mean is no median and no minimum."""

    def __init__(self, launch: float, work: float) -> None:
        super().__init__(launch)
        self.pattern, self.works = [0.9 * work, 0.9 * work, 0.9 * work, 1.3 * work], list[float]()

    def step(self) -> None:
        self.work = self.pattern[self.steps % 4]
        self.works.append(self.work)
        super().step()

    def mean(self, steps: int) -> float:
        """What a step took of late, the first one left out; nan if there was no other."""
        counted = self.works[1:][-steps:]
        return sum(counted) / len(counted) if counted else math.nan


@exercise
def seconds_per_step(function: Callable[..., Any]) -> str:
    """Check ``function(step, synchronize, clock, steps)`` on machines where the answer is known."""
    for launch, work, steps in ((0.0001, 0.01, 20), (0.001, 0.1, 48), (0.0001, 0.02, 4)):
        machine = _Uneven(launch, work)
        answer = run(function, machine.step, machine.synchronize, machine.clock, steps)
        seconds = number(answer, "The seconds of a step")
        got = f"A step takes this machine {work * 1000:.0f} ms; you measured {seconds * 1000:.1f}. "

        def fits(value: float, machine: _Uneven = machine, steps: int = steps) -> bool:
            """Whether it is the time of a step: with waiting after each, or once at the end."""
            least = machine.mean(steps)
            return 0.999 * least <= value <= 1.001 * (least + machine.launch)

        if fits(seconds):
            continue
        if fits(seconds / steps):
            raise NotSolvedError(got + "Divide by as many steps as you timed.")
        if fits(seconds / 1000):
            raise NotSolvedError("These are milliseconds: return seconds.")
        if abs(seconds - launch) < launch / 10:
            raise NotSolvedError(
                got + "That is how long *launching* a step takes: wait for the work, too."
            )
        if seconds > machine.first / steps / 2:
            raise NotSolvedError(
                got + "The first step is in it: make one, and wait for it, before the clock starts."
            )
        raise NotSolvedError(
            got + "Wait for all the work before you read the clock for the second time, and "
            "divide by as many steps as you timed."
        )
    return "Warmed up, waited before both readings of the clock, divided by the steps."


@exercise
def few_weights(function: Callable[[], Any]) -> str:
    """Check ``function()``: a trained network that reads the validation digits with few weights."""
    network = run(function)
    if not isinstance(network, nn.Module):
        raise NotSolvedError(f"Return the trained network; I got {type(network).__name__}.")
    weights = sum(each.numel() for each in network.parameters())
    _, validation = data.load("train").split()
    result = evaluate.evaluate(network, validation, "cpu")
    found = (
        f"It has {weights:,} weights and reads {result.accuracy:.2%} of "
        f"{len(validation):,} validation digits"
    )
    if weights > MOST_WEIGHTS:
        raise NotSolvedError(
            f"{found}: find one with {MOST_WEIGHTS:,} weights or fewer, for instance with fewer "
            "channels."
        )
    if result.accuracy < LEAST_ACCURACY:
        raise NotSolvedError(
            f"{found}, which is less than {LEAST_ACCURACY:.0%}: train it for more epochs, with "
            "digits that are moved a little."
        )
    return f"{found}. Can you do it with half as many weights?"
