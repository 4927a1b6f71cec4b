"""The checks of chapter 17: answers in other styles, and mistakes beyond those of the tables."""

import statistics

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mnist_course.checks import fast as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("fast")
NAMES = {name: name for name in check.__all__ if name != "Machine"}
test_the_chapter = of_the_chapter(check, chapter, NAMES | {"seconds_per_step": "seconds"})


def shifted(images, dy, dx, width=None):
    """In loops over images; with a width, of another number of columns."""
    N, _, H, W = images.shape
    result = torch.zeros(N, 1, H, width or W)
    for n in range(N):
        padded = F.pad(images[n, 0], (1, 1, 1, 1))
        top, left = 1 - int(dy[n]), 1 - int(dx[n])
        result[n, 0] = padded[top : top + H, left : left + result.shape[3]]
    return result


def sampled(images, dy, dx):
    """By an affine grid, which interpolates between pixels."""
    _, _, H, W = images.shape
    theta = torch.eye(2, 3).repeat(len(images), 1, 1)
    theta[:, 0, 2], theta[:, 1, 2] = -2 * dx / W, -2 * dy / H
    grid = F.affine_grid(theta, images.shape, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


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
    "shift": [shifted, sampled],
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
    "shift": [
        (lambda x, dy, dx: shifted(x, dy, dx, x.shape[2])[..., : x.shape[2]], "has shape"),
        (lambda x, dy, dx: shifted(x, dy, dx)[:, 0], "has shape"),
        (lambda x, dy, dx: shifted(x, dy, 0 * dx), "numbers are not"),
    ],
    "whole_gradient": [
        (lambda gradients, counts: weighted(gradients, counts).mean(), "has shape"),
        (lambda gradients, counts: gradients[counts.index(max(counts))], "numbers are not"),
        (lambda gradients, counts: weighted(gradients, counts[::-1]), "numbers are not"),
    ],
    "seconds_per_step": [
        (chapter["suspicious_seconds"], "*ordering*"),
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
