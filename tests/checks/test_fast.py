"""Each check of chapter 17 accepts what is right and names mistakes beyond those of its table."""

import statistics

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mnist_course.checks import fast as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong, cases

chapter = definitions("fast")
NAMES = {
    "multiply_adds": "multiply_adds",
    "shift": "shift",
    "whole_gradient": "whole_gradient",
    "seconds_per_step": "seconds",
}


@pytest.mark.parametrize(("name", "word"), NAMES.items())
def test_the_stub_is_not_yet_and_the_solution_right(name, word):
    assert_not_begun(getattr(check, name)(chapter[f"my_{word}"]))
    assert_right(getattr(check, name)(chapter[f"solution_{word}"]))


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


def seconds(step, synchronize, clock, steps, *, warm=1, each=False, wait=True, by=None):
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
    return (clock() - start) / (by or (lambda n: n))(steps)


def times(step, synchronize, clock, steps):
    """The time of each step, by itself."""
    found = []
    for _ in range(steps + 1):
        start = clock()
        step()
        synchronize()
        found.append(clock() - start)
    return found[1:]


def all_but_the_first(step, synchronize, clock, steps):
    return sum(times(step, synchronize, clock, steps - 1)) / (steps - 1)


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
        all_but_the_first,
    ],
}


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n, known in RIGHT.items() for a in known])
def test_right_answers_in_other_ways_are_accepted(name, answer):
    assert_right(getattr(check, name)(answer))


def multiplied_in_place(gradients, counts):
    return sum(g.mul_(n) for g, n in zip(gradients, counts, strict=True)) / sum(counts)


WRONG = {
    "multiply_adds": [
        (lambda a, b, k, size: a * b * k * size**2, "a kernel has 3 × 3 weights a channel"),
        (lambda a, b, k, size: a * b * k * k * size, "5×5 has 5 × 5 places"),
        (lambda a, b, k, size: b * k * k * size**2, "all 3 input channels"),
        (lambda a, b, k, size: float(a * b * k * k * size**2), "not a whole number"),
        (lambda a, b, k, size: a * b * k * k * (size + k - 1) ** 2, "expected 9"),
        (lambda a, b, k, size: a * b * 9 * size**2, "a 2×2 kernel and 5×5 outputs"),
    ],
    "shift": [
        (lambda x, dy, dx: shifted(x, dy, dx, x.shape[2])[..., : x.shape[2]], "has shape"),
        (lambda x, dy, dx: x.copy_(shifted(x, dy, dx)), "changes `x` in place"),
        (lambda x, dy, dx: shifted(x, dy, dx)[:, 0], "has shape"),
        (lambda x, dy, dx: shifted(x[:1], dy, dx).expand_as(x), "numbers are not"),
        (lambda x, dy, dx: shifted(x, dy, 0 * dx), "numbers are not"),
        (lambda x, dy, dx: shifted(x, dy, dx).tolist(), "asks for a tensor"),
    ],
    "whole_gradient": [
        (lambda gradients, counts: sum(gradients) / len(gradients), "[5, 3] images a plain mean"),
        (lambda gradients, counts: weighted(gradients, counts).mean(), "has shape"),
        (lambda gradients, counts: gradients[counts.index(max(counts))], "numbers are not"),
        (lambda gradients, counts: weighted(gradients, counts[::-1]), "numbers are not"),
        (multiplied_in_place, "in place"),
        (lambda gradients, counts: [weighted(gradients, counts)][0].tolist(), "asks for a tensor"),
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
        (lambda *_: 0.005, "Wait for all the work"),
        (lambda *_: float("nan"), "a finite number"),
        (lambda *_: 10**400, "too large for a float"),
        (lambda *_: "fast", "expected one number"),
    ],
}


@pytest.mark.parametrize(("name", "answer", "message"), cases(WRONG))
def test_a_wrong_answer_is_told_why(name, answer, message):
    assert_wrong(getattr(check, name)(answer), message)


def test_the_machine_of_the_chapter_is_found_out():
    machine = check.Machine(work=0.010)
    found = chapter["suspicious_seconds"](machine.step, machine.synchronize, machine.clock, 20)
    assert found == pytest.approx(0.001)
