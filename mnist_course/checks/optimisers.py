"""Checks of the chapter about optimisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mnist_course import models
from mnist_course.checks import (
    NotSolvedError,
    call,
    compare,
    compared,
    exercise,
    explaining,
    normal,
    run,
    saying,
    uniform,
)

__all__ = ["adagrad_step", "adam", "descent", "largest_rate", "parameter_groups"]


def _bowl(curvatures: Tensor, seed: int) -> Tensor:
    """A symmetric matrix with these eigenvalues, in random directions."""
    directions = torch.linalg.qr(normal(len(curvatures), len(curvatures), seed=seed)).Q
    matrix = directions @ torch.diag(curvatures) @ directions.T
    return (matrix + matrix.T) / 2


def _curvatures(H: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(H)


@compared(
    cases={
        "a valley along the axes": (torch.diag(torch.tensor([1.0, 25, 4])).double(),),
        "a valley in any direction": (_bowl(torch.tensor([0.5, 3, 8, 20]).double(), seed=1),),
        "a flat valley": (_bowl(torch.tensor([0.01, 0.3]).double(), seed=2),),
    },
    mistakes={
        "This is half of the bound: 1 - rate * h may go down to -1, not to 0.": (
            lambda H: 1 / _curvatures(H)[-1]
        ),
        "This is the best rate for this valley; the question is for the largest that does not "
        "explode.": lambda H: 2 / (_curvatures(H)[0] + _curvatures(H)[-1]),
        "The largest number on the diagonal is the largest curvature only if the valley lies along "
        "the axes: take eigenvalues.": lambda H: 2 / H.diagonal().max(),
    },
    right="Two divided by the largest curvature, whatever the directions.",
)
def largest_rate(H: Tensor) -> float:
    """Check ``function(H)``: the bound of the rate for the loss ½ wᵀHw."""
    return 2 / _curvatures(H)[-1].item()


def _adagrad(
    *,
    total: Callable[[Tensor, Tensor], Tensor] = lambda total, g: total + g**2,
    size: Callable[[Tensor, Tensor, float], Tensor] = lambda new, old, eps: new.sqrt() + eps,
    sign: int = -1,
) -> Callable[[Tensor, Tensor, Tensor, float, float], tuple[Tensor, Tensor]]:
    """A step of Adagrad with another total, another size to divide by, or up."""

    def step(
        w: Tensor, g: Tensor, old: Tensor, learning_rate: float, eps: float
    ) -> tuple[Tensor, Tensor]:
        new = total(old, g)
        return w + sign * learning_rate * g / size(new, old, eps), new

    return step


_ADAGRAD = _adagrad()


@compared(
    cases={
        # Where all gradients are positive, their sum has a root. A large eps shows its place.
        "the first step": (normal(4, 3), uniform(4, 3), torch.zeros(4, 3).double(), 0.5, 0.1),
        "a later step": (normal(4, 3), normal(4, 3, seed=1), 5 * uniform(4, 3), 0.5, 0.1),
        "a later step with another rate and eps": (
            normal(2, 1, 3, 2), normal(2, 1, 3, 2, seed=1), uniform(2, 1, 3, 2), 0.02, 0.3,
        ),
        "weights whose gradient has always been zero": (
            normal(3), torch.zeros(3).double(), torch.zeros(3).double(), 0.5, 0.1,
        ),
    },
    mistakes={
        "The total holds the last square only: add the new square to the old total.": _adagrad(
            total=lambda total, g: g**2
        ),
        "The total adds up the gradients; it must add up their squares.": (
            _adagrad(total=lambda total, g: total + g),
            _adagrad(total=lambda total, g: total + g.abs()),
        ),
        "You divide by the total of the step before; the new square belongs to it.": _adagrad(
            size=lambda new, old, eps: old.sqrt() + eps
        ),
        "eps stands inside the root; PyTorch adds it outside.": _adagrad(
            size=lambda new, old, eps: (new + eps).sqrt()
        ),
        "You divide by the total itself; its root has the unit of a gradient.": _adagrad(
            size=lambda new, old, eps: new + eps
        ),
        "Each weight has a total of its own: do not add up over the weights.": _adagrad(
            total=lambda total, g: total + (g**2).sum()
        ),
    },
    right="Equal to torch.optim.Adagrad, step by step.",
)  # fmt: skip
def adagrad_step(
    w: Tensor, g: Tensor, total: Tensor, learning_rate: float, eps: float
) -> tuple[Tensor, Tensor]:
    """Check ``function(w, g, total, learning_rate, eps)``: a step of Adagrad, ``(w, total)``."""
    return _ADAGRAD(w, g, total, learning_rate, eps)


Settings = tuple[float, tuple[float, float], float]  # learning rate, betas, eps


def _adam(gradients: list[list[Tensor]], settings: Settings, mistake: str) -> Tensor:
    """Where Adam with a mistake gets from zero, all tensors in one row."""
    rate, (beta1, beta2), eps = settings
    rows = []
    for i in range(len(gradients[0])):
        w = mean = square = torch.zeros_like(gradients[0][i])
        for step, of_step in enumerate(gradients):
            t = 1 + step * len(of_step) + i if mistake == "per tensor" else 1 + step
            correct = (1, 1) if mistake == "uncorrected" else (1 - beta1**t, 1 - beta2**t)
            mean = beta1 * mean + (1 - beta1) * of_step[i]
            square = beta2 * square + (1 - beta2) * of_step[i] ** 2
            m, s = mean / correct[0], square / correct[1]
            if mistake == "stored":
                mean, square = m, s
            w = w - rate * m / ((s + eps).sqrt() if mistake == "inside" else s.sqrt() + eps)
        rows.append(w)
    return _row(rows)


def _row(tensors: list[Any]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


@exercise
def adam(optimiser: Callable[..., Any]) -> str:
    """Check a class ``optimiser(parameters, learning_rate, betas, eps)`` with ``step()``."""
    settings, done = (0.1, (0.9, 0.99), 0.1), ""
    for case, shapes, steps in (
        ("one tensor, one step", ((3, 2),), 1),
        ("one tensor, ten steps", ((3, 2),), 10),
        ("three tensors, one step", ((3, 2), (4,), (2, 2)), 1),
        ("three tensors, ten steps", ((3, 2), (4,), (2, 2)), 10),
        ("another rate, other betas and eps", ((2,), ()), 5),
    ):
        if steps == 5:
            settings = (0.01, (0.7, 0.95), 0.03)
        gradients = [
            [normal(*shape, seed=100 * step + i) for i, shape in enumerate(shapes)]
            for step in range(steps)
        ]
        with saying(f"Right for {done}. " if done else ""):
            _compare_adam(optimiser, case, gradients, settings)
        done = case
    return "Equal to torch.optim.Adam for one tensor and for several."


def _compare_adam(
    optimiser: Callable[..., Any], case: str, gradients: list[list[Tensor]], settings: Settings
) -> None:
    rate, betas, eps = settings
    mine, theirs = ([nn.Parameter(torch.zeros_like(g)) for g in gradients[0]] for _ in range(2))
    reference = torch.optim.Adam(theirs, rate, betas, eps)
    candidate = run(optimiser, mine, learning_rate=rate, betas=betas, eps=eps)
    counted = "Do you divide by 1 - beta**0, which is zero? The steps are counted from 1."
    for of_step in gradients:
        for a, b, g in zip(mine, theirs, of_step, strict=True):
            a.grad, b.grad = g.clone(), g.clone()
        with explaining({"ZeroDivisionError": counted}):
            call(lambda: candidate.step(), double=True)
        reference.step()
        for a, g in zip(mine, of_step, strict=True):
            if a.grad is not None and not torch.equal(a.grad, g):
                raise NotSolvedError("step() changes the gradients in place: work on a copy.")
    expected = _row(theirs)
    compare(
        _row(mine),
        expected,
        case,
        mistakes={
            "The counter of steps grows with every tensor: only the first tensor of the first step "
            "gets the right correction. It belongs outside the loop over the tensors.": (
                _adam(gradients, settings, "per tensor")
            ),
            "The bias correction is missing.": _adam(gradients, settings, "uncorrected"),
            "The corrected mean is stored, and corrected again in the next step: keep the running "
            "means as they are, and correct copies.": _adam(gradients, settings, "stored"),
            "eps stands inside the root.": _adam(gradients, settings, "inside"),
            "The weights have not changed: does step() write to them?": torch.zeros_like(expected),
            "The step goes up, not down.": -expected,
        },
        not_finite=f"For {case} the weights are not finite. {counted}",
    )


class _Names(nn.Module):
    """Parameters whose names say nothing about their axes, and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 2), nn.PReLU(), nn.LayerNorm(2))
        self.bias = nn.Parameter(torch.ones(3, 1, 1))
        self.scale = nn.Parameter(torch.ones(()))
        self.weight = nn.Parameter(torch.ones(2, 2), requires_grad=False)


@exercise
def parameter_groups(function: Callable[[nn.Module, float], Any]) -> str:
    """Check ``function(network, weight_decay)``: groups that spare biases and batch norm."""
    for name, network, weight_decay in (
        ("models.course_network()", models.course_network((4, 4, 8)), 0.1),
        ("models.fast_network()", models.fast_network((4, 4, 8)), 0.1),
        ("a network with odd names", _Names(), 0.03),
    ):
        answer = run(function, network, weight_decay)
        try:
            optimizer = torch.optim.AdamW(answer, lr=0.01, weight_decay=0.7)
        except Exception as error:
            raise NotSolvedError(
                f"torch.optim.AdamW does not take what you return: {error}."
            ) from error
        decay = {id(w): group["weight_decay"] for group in optimizer.param_groups
                 for w in group["params"]}  # fmt: skip
        if decay.keys() - {id(w) for w in network.parameters()}:
            raise NotSolvedError(
                f"For {name} a tensor is among the groups that is no parameter of the network: "
                "pass the parameters themselves, not copies."
            )
        for path, w in network.named_parameters():
            with saying(f"{path} of {name}, shape {tuple(w.shape)}, "):
                _look_at_decay(w, decay.get(id(w)), weight_decay if w.ndim > 1 else 0.0)
    return "Kernels and matrices are decayed, biases and batch norm are not."


def _look_at_decay(w: nn.Parameter, decay: float | None, wanted: float) -> None:
    if not w.requires_grad:
        if decay is not None:
            raise NotSolvedError(
                "is frozen (requires_grad is False); leave it out, for decay would matter to it "
                "as soon as it had a gradient."
            )
    elif decay is None:
        raise NotSolvedError("is in no group: it would never be trained.")
    elif decay == 0.7:
        raise NotSolvedError(
            f'takes the optimiser\'s own decay: write "weight_decay": {wanted} into its group.'
        )
    elif decay != wanted:
        raise NotSolvedError(f"has weight decay {decay!r}, expected {wanted}.")


@exercise
def descent(function: Callable[[Callable[[Tensor], Tensor], Tensor], Any]) -> str:
    """Check ``function(gradient, start)``: down a valley of curvatures 1 to 50, in 50 gradients."""
    allowed, most = 50, 0
    between = torch.linspace(1, 50, 12).double()
    for seed in range(3):
        matrix, lowest = _bowl(between, seed=seed), normal(12, seed=seed + 10)
        start, calls = normal(12, seed=seed + 20), 0

        def gradient(w: Tensor, matrix: Tensor = matrix, lowest: Tensor = lowest) -> Tensor:
            nonlocal calls
            calls += 1
            return matrix @ (w.detach() - lowest)

        answer = run(function, gradient, start)
        if not isinstance(answer, Tensor) or answer.shape != start.shape:
            raise NotSolvedError("Return the weights that you have reached, of the shape of start.")
        if calls > allowed:
            raise NotSolvedError(f"You asked for {calls} gradients; {allowed} are allowed.")
        share = ((answer.detach() - lowest).norm() / (start - lowest).norm()).item()
        if not share < 1e-3:
            hint = "which momentum and rate suit curvatures from 1 to 50?"
            if torch.equal(answer, start):
                hint = "you return the start itself."
            elif not share < 1:
                hint = "it has exploded: the largest curvature is 50."
            raise NotSolvedError(
                f"After {calls} gradients {share:.2g} of the way is left, and a thousandth is "
                f"allowed; {hint}"
            )
        most = max(most, calls)
        between = 1 + 49 * uniform(12, seed=seed)
        between[:2] = torch.tensor([1, 50])
    return f"Within a thousandth of the way, with {most} gradients at most."
