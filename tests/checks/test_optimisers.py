"""The checks of chapter 12 accept right answers and name each plausible mistake."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mnist_course.checks import optimisers as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_right, assert_wrong

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
        (lambda H: 2 / H.norm(), "the number is"),
        (lambda H: 2 / H.abs().sum(1).max(), "For a valley in any direction the number is"),
        (lambda H: 2 / curvatures(H.float()).max(), "float64 became float32"),
        (lambda H: 2 / curvatures(H)[-1:], "I expected one number, got shape (1,)"),
        (lambda H: 2 / curvatures(H.fill_diagonal_(1)).max(), "changes `H` in place"),
        (lambda H: None, "returned None"),
        (lambda H: H.largest, "raised AttributeError"),
    ],
)
def test_largest_rate(answer, message):
    assert_wrong(check.largest_rate(answer), message)


@pytest.mark.parametrize(
    "answer",
    [
        lambda H: 2 / np.linalg.eigvalsh(H.numpy())[-1],
        lambda H: 2 / torch.linalg.eigvals(H).real.max(),
        lambda H: 2 / torch.linalg.matrix_norm(H, 2).item(),
    ],
)
def test_largest_rate_in_other_ways(answer):
    assert_right(check.largest_rate(answer))


def adagrad(w, g, total, rate, eps, new=None):
    total = total + g**2 if new is None else new(total, g)
    return w - rate * g / (total.sqrt() + eps), total


def adagrad_in_place(w, g, total, rate, eps):
    total.addcmul_(g, g)
    return w.addcdiv_(g, total.sqrt() + eps, value=-rate), total


def adagrad_by_pytorch(w, g, total, rate, eps):
    weights = nn.Parameter(w.clone())
    optimizer = torch.optim.Adagrad([weights], lr=rate, eps=eps)
    optimizer.state[weights]["sum"] = total.clone()
    weights.grad = g.clone()
    optimizer.step()
    return [weights.detach(), optimizer.state[weights]["sum"]]


@pytest.mark.parametrize("answer", [adagrad, adagrad_by_pytorch])
def test_adagrad_step_in_other_ways(answer):
    assert_right(check.adagrad_step(answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (adagrad_in_place, "changes `w` in place"),
        (lambda *a: adagrad(*a, new=lambda t, g: t + g.norm() ** 2), "a total of its own"),
        (lambda w, g, t, *a: adagrad(w, g, t, 0.5, 0.1), "another rate and eps, result 1,"),
        (lambda w, g, t, r, e: adagrad(w, g, t, r, 0), "the largest difference"),
        (lambda *a: adagrad(*a)[0], "Return two things"),
        (lambda *a: (*adagrad(*a), 0), "return 2 things, got 3"),
        (lambda *a: tuple(part.numpy() for part in adagrad(*a)), "the exercise asks for a tensor"),
        (lambda w, *a: (w, 0.0), "result 1, the shape is right but the numbers are not"),
    ],
)
def test_adagrad_step(answer, message):
    assert_wrong(check.adagrad_step(answer), message)


def cycle(step, steps, peak, warmup, middle=0.5):
    p = (step + middle) / steps
    rise = p / warmup if warmup else 1
    fall = math.cos(math.pi / 2 * max(0, p - warmup) / (1 - warmup)) ** 2
    return torch.tensor(peak * min(rise, fall if p >= warmup else 1))


def test_one_cycle_in_another_way():
    assert_right(check.one_cycle(cycle))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *a: cycle(*a, middle=0), "first rate is zero"),
        (lambda s, n, peak, w: cycle(s, n, 1.0, w), "The peak is missing"),
        (lambda s, n, peak, w: cycle(s, n, peak, 0.25), "For step 0 of 40"),
        (lambda s, n, peak, w: peak * (s + 0.5) / n / w, "the number is 1.4, expected 0.956773"),
        (lambda s, n, peak, w: [peak], "one number"),
        (lambda *a: cycle(*a) + 0 / a[3], "`warmup` may be 0"),
    ],
)
def test_one_cycle(answer, message):
    assert_wrong(check.one_cycle(answer), message)


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


def fixed(self):
    self.learning_rate, self.betas, self.eps = 0.1, (0.9, 0.99), 0.1
    walk(self)


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
        (lambda self: 1 / 0.0, "ZeroDivisionError"),
        (lambda self: [walk(self), [w.grad.mul_(2) for w in self.parameters]], "the gradients"),
        (fixed, "Right for three tensors, ten steps. For another rate, other betas and eps"),
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


def by_name(network, decay):
    free = [(name, w) for name, w in network.named_parameters() if w.requires_grad]
    kernels = [w for name, w in free if "weight" in name and w.ndim > 1]
    others = [w for name, w in free if not any(w is kernel for kernel in kernels)]
    return [
        {"params": kernels, "weight_decay": decay},
        {"params": others, "weight_decay": 0},
    ]


def one_group_each(network, decay):
    return [
        {"params": w, "weight_decay": decay * (w.ndim > 1)}
        for w in network.parameters()
        if w.requires_grad
    ]


def test_parameter_groups_may_be_many():
    assert_right(check.parameter_groups(one_group_each))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n, d: grouped(n, d, chosen=lambda w: True), "has weight decay 0.1, expected 0.0"),
        (lambda n, d: grouped(n, d, chosen=lambda w: w.ndim > 2), "linear.weight"),
        (lambda n, d: grouped(n, d, free=lambda w: True), "is frozen"),
        (
            lambda n, d: grouped(n, 0.1),
            "shape (3, 1, 1), has weight decay 0.1, expected",
        ),
        (by_name, "bias of a network with odd names, shape (3, 1, 1), has weight decay 0"),
        (lambda n, d: grouped(n.requires_grad_(False), d), "`n.conv1.weight.requires_grad`"),
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


def known_curvatures(gradient, start):
    for curvature in torch.linspace(1, 50, 12):
        start = start - gradient(start) / curvature
    return start


def chebyshev(gradient, start, steps=50):
    """Gradient descent whose rates are 1 over the zeros of a Chebyshev polynomial."""
    order = [2 * i + 1 for pair in zip(range(25), range(49, 24, -1), strict=True) for i in pair]
    for k in order:
        start = start - gradient(start) / (25.5 + 24.5 * math.cos(math.pi * k / (2 * steps)))
    return start


def test_chebyshev_needs_less_than_fifty():
    assert_right(check.descent(chebyshev))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (downhill, "of the way is left"),
        (lambda g, s: downhill(g, s, steps=200), "200 gradients; 50 are allowed"),
        (lambda g, s: downhill(g, s, rate=0.05), "exploded"),
        (lambda g, s: s[:3], "of the shape of start"),
        (
            lambda g, s: s,
            "a thousandth is allowed; you return the start itself",
        ),
        (lambda g, s: downhill(g, s) * torch.nan, "After 50 gradients nan of the way"),
        (lambda g, s: downhill(g, s).tolist(), "of the shape of start"),
        (known_curvatures, "After 12 gradients"),
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
    assert_right(verdict)
    assert "with 13 gradients" in verdict.message
