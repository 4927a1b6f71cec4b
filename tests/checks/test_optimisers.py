"""The checks of chapter 12 accept right answers and name each plausible mistake."""

import math

import pytest
import torch
from torch import nn

from mnist_course.checks import optimisers as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_wrong

chapter = definitions("optimisers")
CHECKS = ["largest_rate", "adagrad_step", "one_cycle", "parameter_groups", "descent"]


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_is_right_and_the_stub_is_told_to_begin(name):
    verdict = getattr(check, name)(chapter[f"solution_{name}"])
    assert verdict.ok, verdict.message
    verdict = getattr(check, name)(chapter[f"my_{name}"])
    assert not verdict.ok
    assert verdict.message.startswith("Nothing is written yet")


def curvatures(H):
    return torch.linalg.eigvalsh(H)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda H: 1 / curvatures(H).max(), "half of the bound"),
        (lambda H: 2 / curvatures(H).min(), "flattest direction"),
        (lambda H: 2 / (curvatures(H).max() + curvatures(H).min()), "the best rate"),
        (lambda H: 2 / H.diagonal().max(), "eigenvalues"),
        (lambda H: 2 / H.trace(), "sum of all curvatures"),
        (lambda H: 2 / H.norm(), "the number is"),
        (lambda H: None, "returned None"),
        (lambda H: H.largest, "raised AttributeError"),
    ],
)
def test_largest_rate(answer, message):
    assert_wrong(check.largest_rate(answer), message)


def adagrad(w, g, total, rate, eps, new=None, size=None, sign=-1):
    new = total + g**2 if new is None else new(total, g)
    size = new.sqrt() + eps if size is None else size(new, total, eps)
    return w + sign * rate * g / size, new


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *a: adagrad(*a, new=lambda t, g: g**2), "last square only"),
        (lambda *a: adagrad(*a, new=lambda t, g: t + g.abs()), "numbers are not"),
        (lambda *a: adagrad(*a, size=lambda n, t, e: t.sqrt() + e), "step before"),
        (lambda *a: adagrad(*a, size=lambda n, t, e: (n + e).sqrt()), "inside the root"),
        (lambda *a: adagrad(*a, size=lambda n, t, e: n + e), "the unit of a gradient"),
        (lambda *a: adagrad(*a, sign=1), "go up"),
        (lambda *a: adagrad(*a)[0], "Return two things"),
        (lambda w, *a: (w, 0.0), "Return two tensors"),
        (lambda w, g, t, r, e: (w, (g**2).sum()), "a total of its own"),
    ],
)
def test_adagrad_step(answer, message):
    assert_wrong(check.adagrad_step(answer), message)


def cycle(step, steps, peak, warmup, middle=0.5, share=None, shape=None):
    p = (step + middle) / steps
    if p < warmup:
        return peak * p / warmup
    q = (p - warmup) / (1 - warmup) if share is None else share(p, warmup)
    return peak * ((1 + math.cos(math.pi * q)) / 2 if shape is None else shape(q))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *a: cycle(*a, middle=0), "first rate is zero"),
        (lambda *a: cycle(*a, share=lambda p, w: p), "the rate jumps"),
        (lambda *a: cycle(*a, share=lambda p, w: p - w), "does not end at zero"),
        (lambda *a: cycle(*a, shape=lambda q: 1 - q), "straight line"),
        (lambda s, n, peak, w: cycle(s, n, 1.0, w), "The peak is missing"),
        (lambda s, n, peak, w: peak * (s + 0.5) / n / w, "numbers are not"),
        (lambda s, n, peak, w: [peak], "one number"),
    ],
)
def test_one_cycle(answer, message):
    assert_wrong(check.one_cycle(answer), message)


def test_one_cycle_without_a_warm_up():
    def divides(step, steps, peak, warmup):
        cycle(step, steps, peak, warmup)
        return cycle(step, steps, peak, warmup) + 0 / warmup

    assert_wrong(check.one_cycle(divides), "raised ZeroDivisionError")


Solution = chapter["SolutionAdam"]


def variant(change):
    """Adam with its step replaced by one that makes a mistake."""

    class Variant(Solution):
        @torch.no_grad()
        def step(self):
            change(self)

    return Variant


def walk(self, first=1, correct=True, store=False, inside=False, sign=-1):
    beta1, beta2 = self.betas
    self.t += 1
    t = self.t - 1 + first
    for w, mean, square in zip(self.parameters, self.means, self.squares, strict=True):
        mean += (1 - beta1) * (w.grad - mean)
        square += (1 - beta2) * (w.grad**2 - square)
        a, b = (1 - beta1**t, 1 - beta2**t) if correct else (1, 1)
        if store:
            mean /= a
            square /= b
            a = b = 1
        root = (square / b + self.eps).sqrt() if inside else (square / b).sqrt() + self.eps
        w += sign * self.learning_rate * (mean / a) / root


def test_mended_adam_is_right_and_the_bug_is_found():
    assert check.adam(Solution).ok
    verdict = check.adam(chapter["MyAdam"])
    assert_wrong(verdict, "Right for one tensor, ten steps")
    assert_wrong(verdict, "counter of steps grows with every tensor")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda self: walk(self, first=0), "counted from 1"),
        (lambda self: walk(self, correct=False), "bias correction is missing"),
        (lambda self: walk(self, store=True), "Right for one tensor, one step. The corrected mean"),
        (lambda self: walk(self, inside=True), "inside the root"),
        (lambda self: walk(self, sign=1), "goes up"),
        (lambda self: None, "have not changed"),
        (lambda self: walk(self, first=2), "numbers are not"),
        (lambda self: 1 / 0.0, "counted from 1"),
        (lambda self: self.velocity, "raised AttributeError"),
    ],
)
def test_adam(change, message):
    assert_wrong(check.adam(variant(change)), message)


def grouped(network, decay, chosen=lambda w: w.ndim > 1, free=lambda w: w.requires_grad, rest=None):
    weights = [w for w in network.parameters() if free(w)]
    other: dict = {"params": [w for w in weights if not chosen(w)], "weight_decay": 0.0}
    if rest is not None:
        other = rest(other)
    return [{"params": [w for w in weights if chosen(w)], "weight_decay": decay}, other]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n, d: grouped(n, d, chosen=lambda w: True), "has weight decay 0.1, expected 0.0"),
        (lambda n, d: grouped(n, d, chosen=lambda w: w.ndim > 2), "linear.weight"),
        (lambda n, d: grouped(n, d, free=lambda w: True), "is frozen"),
        (lambda n, d: grouped(n, d)[:1], "in no group"),
        (lambda n, d: list(n.parameters()), "the optimiser's own decay"),
        (lambda n, d: grouped(n, d, rest=lambda g: {"params": g["params"]}), '"weight_decay": 0.0'),
        (lambda n, d: grouped(n, d) + grouped(n, d), "does not take"),
        (
            lambda n, d: [{"params": [nn.Parameter(w.detach()) for w in n.parameters()]}],
            "not copies",
        ),
    ],
)
def test_parameter_groups(answer, message):
    assert_wrong(check.parameter_groups(answer), message)


def downhill(gradient, start, rate=2 / 51, steps=50):
    w = start
    for _ in range(steps):
        w = w - rate * gradient(w)
    return w


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (downhill, "of the way is left"),
        (lambda g, s: downhill(g, s, steps=200), "200 gradients; 50 are allowed"),
        (lambda g, s: downhill(g, s, rate=0.05), "exploded"),
        (lambda g, s: s[:3], "of the shape of start"),
        (lambda g, s: s, "After 0 gradients"),
    ],
)
def test_descent(answer, message):
    assert_wrong(check.descent(answer), message)


def test_conjugate_gradients_need_thirteen():
    def conjugate(gradient, start):
        w, g = start, gradient(start)
        d = -g
        for _ in range(12):
            # The gradient is linear in w, so one more gives the curvature along d.
            change = gradient(w + d) - g
            share = (g @ g) / (d @ change)
            w, new = w + share * d, g + share * change
            d, g = -new + (new @ new) / (g @ g) * d, new
        return w

    verdict = check.descent(conjugate)
    assert verdict.ok
    assert "with 13 gradients" in verdict.message
