"""The checks of the chapter "Fast" know right from wrong, and say why."""

import pytest
import torch
from torch.nn import functional

from mnist_course.checks import fast as check
from tests.checks.verdicts import assert_wrong


def right_shift(images, dy, dx):
    H, W = images.shape[-2:]
    padded = functional.pad(images, (1, 1, 1, 1))[:, 0]
    rows = 1 + torch.arange(H) - dy[:, None]
    columns = 1 + torch.arange(W) - dx[:, None]
    n = torch.arange(len(images))[:, None, None]
    return padded[n, rows[:, :, None], columns[:, None, :]][:, None]


def spoil(images, dy, dx):
    result = right_shift(images, dy, dx)
    images.zero_()
    return result


def rolled(images, dy, dx):
    moves = zip(dy.tolist(), dx.tolist(), strict=True)
    return torch.stack([images[n].roll(m, (-2, -1)) for n, m in enumerate(moves)])


def right_time(step, synchronize, clock, steps):
    step()
    synchronize()
    start = clock()
    for _ in range(steps):
        step()
    synchronize()
    return (clock() - start) / steps


def waits_for_each(step, synchronize, clock, steps):
    step()
    synchronize()
    start = clock()
    for _ in range(steps):
        step()
        synchronize()
    return (clock() - start) / steps


def never_waits(step, synchronize, clock, steps):
    start = clock()
    for _ in range(steps):
        step()
    return (clock() - start) / steps


def no_warm_up(step, synchronize, clock, steps):
    start = clock()
    for _ in range(steps):
        step()
    synchronize()
    return (clock() - start) / steps


def warm_up_not_waited_for(step, synchronize, clock, steps):
    step()
    start = clock()
    for _ in range(steps):
        step()
    synchronize()
    return (clock() - start) / steps


def not_divided(step, synchronize, clock, steps):
    return right_time(step, synchronize, clock, steps) * steps


def weighted(parts, counts):
    return sum(g * n for g, n in zip(parts, counts, strict=True)) / sum(counts)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("multiply_adds", lambda a, b, k, size: a * b * k * k * size * size),
        ("shift", right_shift),
        ("whole_gradient", weighted),
        ("seconds_per_step", right_time),
        ("seconds_per_step", waits_for_each),
    ],
)
def test_the_right_answer_is_right(name, answer):
    verdict = getattr(check, name)(answer)
    assert verdict, verdict.message


def nothing(*_):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [
        ("multiply_adds", lambda a, b, k, size: a * b * k * k, "You count the weights"),
        ("multiply_adds", lambda a, b, k, size: b * k * k * size**2, "all 3 input channels"),
        ("multiply_adds", lambda a, b, k, size: a * k * k * size**2, "4 kernels"),
        ("multiply_adds", lambda a, b, k, size: a * b * k * size**2, "9 weights"),
        ("multiply_adds", lambda a, b, k, size: a * b * k * k * size, "25 places"),
        ("multiply_adds", lambda a, b, k, size: 2 * a * b * k * k * size**2, "one multiply-add"),
        (
            "multiply_adds",
            lambda a, b, k, size: b * (a * k * k + 1) * size**2,
            "You count the bias",
        ),
        ("shift", lambda x, dy, dx: right_shift(x, -dy, -dx), "the other way"),
        ("shift", lambda x, dy, dx: right_shift(x, dx, dy), "exchanged"),
        ("shift", rolled, "comes in on the other"),
        (
            "shift",
            lambda x, dy, dx: right_shift(x, dy[0].expand_as(dy), dx[0].expand_as(dx)),
            "All",
        ),
        ("shift", spoil, "work on a copy"),
        ("whole_gradient", lambda parts, counts: sum(parts) / len(parts), "[5, 3] images a plain"),
        ("whole_gradient", lambda parts, counts: sum(parts), "the loss is a mean"),
        ("seconds_per_step", never_waits, "*ordering*"),
        ("seconds_per_step", no_warm_up, "The first step is in it"),
        ("seconds_per_step", warm_up_not_waited_for, "The first step is in it"),
        ("seconds_per_step", not_divided, "Divide by"),
        ("seconds_per_step", lambda *a: 1000 * right_time(*a), "milliseconds"),
        ("seconds_per_step", lambda *_: 0.005, "Wait for all the work"),
        ("seconds_per_step", lambda *_: "fast", "expected a number"),
        ("seconds_per_step", nothing, "Nothing is written yet"),
    ],
)
def test_a_wrong_answer_is_told_why(name, answer, message):
    assert_wrong(getattr(check, name)(answer), message)
