"""Checks for chapter 12, optimisers and the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mnist_course import models
from mnist_course.checks._returning import Verdict, compare, right, run, wrong
from mnist_course.recipes import Recipe

__all__ = [
    "adagrad_step",
    "adam",
    "descent",
    "largest_rate",
    "one_cycle",
    "parameter_groups",
]


def _random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _bowl(curvatures: Tensor, seed: int) -> Tensor:
    """A symmetric matrix with these eigenvalues, in random directions."""
    n = len(curvatures)
    directions = torch.linalg.qr(_random(n, n, seed=seed)).Q
    matrix = directions @ torch.diag(curvatures) @ directions.T
    return (matrix + matrix.T) / 2


def largest_rate(function: Callable[[Tensor], Any]) -> Verdict:
    """Check ``function(H)``: the bound of the rate for the loss ½ wᵀHw."""
    for case, matrix in (
        ("a valley along the axes", torch.diag(torch.tensor([1.0, 25.0, 4.0])).double()),
        ("a valley in any direction", _bowl(torch.tensor([0.5, 3, 8, 20]).double(), seed=1)),
    ):
        curvatures = torch.linalg.eigvalsh(matrix)
        low, high = curvatures[0], curvatures[-1]
        verdict = compare(
            run(function, matrix.clone()),
            2 / high,
            case,
            hints=[
                ("This is half of the bound: 1 - rate * h may go down to -1, not to 0.", 1 / high),
                ("The flattest direction does not limit the rate, the steepest does.", 2 / low),
                (
                    "This is the best rate for this valley; the question is for the largest that "
                    "does not explode.",
                    2 / (low + high),
                ),
                (
                    "The largest number on the diagonal is the largest curvature only if the "
                    "valley lies along the axes: take eigenvalues.",
                    2 / matrix.diagonal().max(),
                ),
                (
                    "The trace is the sum of all curvatures; the largest decides.",
                    2 / matrix.trace(),
                ),
            ],
        )
        if verdict is not None:
            return verdict
    return right("Two divided by the largest curvature, whatever the directions.")


def _adagrad(gradients: Tensor, rate: float, eps: float, **mistake: bool) -> Tensor:
    """Where Adagrad gets from zero with these gradients, or with a mistake; also its total."""
    w = torch.zeros_like(gradients[0])
    total = torch.zeros_like(w)
    for g in gradients:
        old = total
        total = g**2 if mistake.get("forget") else total + (g if mistake.get("plain") else g**2)
        size = old if mistake.get("late") else total
        if mistake.get("inside"):
            w = w - rate * g / (size + eps).sqrt()
        elif mistake.get("no_root"):
            w = w - rate * g / (size + eps)
        else:
            w = w - rate * g / (size.sqrt() + eps)
        if mistake.get("ascent"):
            w = 2 * (w + rate * g / (size.sqrt() + eps)) - w
    return torch.stack([w, total])


def adagrad_step(function: Callable[[Tensor, Tensor, Tensor, float, float], Any]) -> Verdict:
    """Check ``function(w, g, total, learning_rate, eps)``: a step of Adagrad, ``(w, total)``."""
    rate, eps = 0.5, 0.1  # a large eps, so that its place can be seen
    gradients = _random(6, 4, 3)
    for steps in (1, 6):
        case = "one step" if steps == 1 else f"{steps} steps, each with the total of the one before"
        weights = nn.Parameter(torch.zeros(4, 3, dtype=torch.float64))
        optimizer = torch.optim.Adagrad([weights], rate, eps=eps)
        w = torch.zeros(4, 3, dtype=torch.float64)
        total = torch.zeros_like(w)
        for g in gradients[:steps]:
            weights.grad = g.clone()
            optimizer.step()
            answer = run(function, w.clone(), g.clone(), total.clone(), rate, eps)
            if isinstance(answer, Verdict):
                return answer
            if not isinstance(answer, (tuple, list)) or len(answer) != 2:
                return wrong("Return two things: the new weights and the new total.")
            w, total = answer
            if not isinstance(w, Tensor) or not isinstance(total, Tensor):
                return wrong("Return two tensors: the new weights and the new total.")
            if w.shape != g.shape or total.shape != g.shape:
                return wrong(
                    f"For a gradient of shape {tuple(g.shape)} you return weights of shape "
                    f"{tuple(w.shape)} and a total of shape {tuple(total.shape)}: each weight has "
                    "a total of its own."
                )
        part = gradients[:steps]
        expected = torch.stack([weights.detach(), (part**2).sum(0)])
        verdict = compare(
            torch.stack([w, total]),
            expected,
            case,
            hints=[
                (
                    "The total holds the last square only: add the new square to the old total.",
                    _adagrad(part, rate, eps, forget=True),
                ),
                (
                    "The total adds up the gradients; it must add up their squares.",
                    _adagrad(part, rate, eps, plain=True),
                ),
                (
                    "You divide by the total of the step before; the new square belongs to it.",
                    _adagrad(part, rate, eps, late=True),
                ),
                (
                    "eps stands inside the root; PyTorch adds it outside.",
                    _adagrad(part, rate, eps, inside=True),
                ),
                (
                    "You divide by the total itself; its root has the unit of a gradient.",
                    _adagrad(part, rate, eps, no_root=True),
                ),
                ("You go up, not down.", _adagrad(part, rate, eps, ascent=True)),
            ],
        )
        if verdict is not None:
            return verdict
    return right("Equal to torch.optim.Adagrad, step by step.")


def _rates(steps: int, peak: float, warmup: float, **mistake: bool) -> Tensor:
    """The rates of the exercise's schedule, or of one with a mistake."""
    rates = []
    for step in range(steps):
        p = (step + (0 if mistake.get("start") else 0.5)) / steps
        if p < warmup:
            rates.append(peak * p / warmup)
        else:
            q = (p - warmup) / (1 - warmup)
            if mistake.get("whole"):
                q = p
            if mistake.get("stretch"):
                q = p - warmup
            rates.append(peak * (1 - q if mistake.get("line") else (1 + math.cos(math.pi * q)) / 2))
    return torch.tensor(rates, dtype=torch.float64)


def one_cycle(function: Callable[[int, int, float, float], Any]) -> Verdict:
    """Check ``function(step, steps, peak, warmup)``: linear warm-up, then half a cosine."""
    for steps, peak, warmup in ((10, 1.0, 0.25), (40, 0.02, 0.3), (7, 0.5, 0.0)):
        answers = []
        for step in range(steps):
            answer = run(function, step, steps, peak, warmup)
            if isinstance(answer, Verdict):
                return answer
            try:
                answers.append(float(answer))
            except (TypeError, ValueError):
                return wrong(f"Return one number, the rate; got {type(answer).__name__}.")
        got = torch.tensor(answers, dtype=torch.float64)
        recipe = Recipe(learning_rate=peak, schedule="cosine", warmup=warmup)
        expected = torch.tensor(
            [recipe.learning_rate_at(step, steps) for step in range(steps)], dtype=torch.float64
        )
        case = f"{steps} steps, peak {peak}, warm-up {warmup}"
        verdict = compare(
            got,
            expected,
            case,
            hints=[
                (
                    "You take p = step / steps, so the first rate is zero; take the middle of the "
                    "step, (step + 1/2) / steps.",
                    _rates(steps, peak, warmup, start=True),
                ),
                (
                    "The cosine starts its fall at the beginning of training, so the rate jumps "
                    "where the warm-up ends. Count the share from there.",
                    _rates(steps, peak, warmup, whole=True),
                ),
                (
                    "The fall does not end at zero: the share after the warm-up must reach 1, so "
                    "divide it by 1 - warmup.",
                    _rates(steps, peak, warmup, stretch=True),
                ),
                ("The peak is missing, or is not 1 for peak = 1.", expected / peak),
                ("The fall is a straight line.", _rates(steps, peak, warmup, line=True)),
            ],
        )
        if verdict is not None:
            return verdict
    return right("Up in a straight line, down in half a cosine, and no step with the rate zero.")


Shapes = tuple[tuple[int, ...], ...]


def _gradients(shapes: Shapes, step: int) -> list[Tensor]:
    return [_random(*shape, seed=100 * step + i) for i, shape in enumerate(shapes)]


def _adam(shapes: Shapes, steps: int, mistake: str) -> Tensor:
    """Where Adam with a mistake gets from zero, all tensors in one row."""
    rate, beta1, beta2, eps = 0.1, 0.9, 0.99, 0.1
    weights = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
    means = [torch.zeros_like(w) for w in weights]
    squares = [torch.zeros_like(w) for w in weights]
    t = 0
    for step in range(steps):
        for i, g in enumerate(_gradients(shapes, step)):
            t = t + 1 if mistake == "per tensor" else step + 1
            means[i] = beta1 * means[i] + (1 - beta1) * g
            squares[i] = beta2 * squares[i] + (1 - beta2) * g**2
            mean, square = means[i] / (1 - beta1**t), squares[i] / (1 - beta2**t)
            if mistake == "uncorrected":
                mean, square = means[i], squares[i]
            if mistake == "stored":
                means[i], squares[i] = mean, square
            size = (square + eps).sqrt() if mistake == "inside" else square.sqrt() + eps
            weights[i] = weights[i] - rate * mean / size
    return torch.cat([w.flatten() for w in weights])


def adam(optimiser: Callable[..., Any]) -> Verdict:
    """Check a class ``optimiser(parameters, learning_rate, betas, eps)`` with ``step()``."""
    rate, betas, eps = 0.1, (0.9, 0.99), 0.1
    done = ""
    for case, shapes, steps in (
        ("one tensor, one step", ((3, 2),), 1),
        ("one tensor, ten steps", ((3, 2),), 10),
        ("three tensors, one step", ((3, 2), (4,), (2, 2)), 1),
        ("three tensors, ten steps", ((3, 2), (4,), (2, 2)), 10),
    ):
        mine = [nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in shapes]
        theirs = [nn.Parameter(w.detach().clone()) for w in mine]
        reference = torch.optim.Adam(theirs, rate, betas, eps)
        candidate = run(optimiser, mine, learning_rate=rate, betas=betas, eps=eps)
        if isinstance(candidate, Verdict):
            return candidate
        for step in range(steps):
            for a, b, g in zip(mine, theirs, _gradients(shapes, step), strict=True):
                a.grad, b.grad = g.clone(), g.clone()
            verdict = run(lambda candidate=candidate: (candidate.step(), True)[1])
            if isinstance(verdict, Verdict):
                if "ZeroDivisionError" in verdict.message:
                    return wrong(
                        "In the first step you divide by 1 - beta**0, which is zero: the steps "
                        "are counted from 1."
                    )
                return verdict
            reference.step()
        expected = torch.cat([w.detach().flatten() for w in theirs])
        got = torch.cat([w.detach().flatten() for w in mine])
        if not got.isfinite().all():
            return wrong(
                f"For {case} the weights are nan: is something divided by 1 - beta**0, which is "
                "zero? The steps are counted from 1."
            )
        hints = [
            (
                "The counter of steps grows with every tensor: only the first tensor of the first "
                "step is corrected rightly. It belongs outside of the loop over the tensors.",
                _adam(shapes, steps, "per tensor"),
            ),
            ("The bias correction is missing.", _adam(shapes, steps, "uncorrected")),
            (
                "The corrected mean is stored, and corrected again in the next step: keep the "
                "running means as they are, and correct copies.",
                _adam(shapes, steps, "stored"),
            ),
            ("eps stands inside the root.", _adam(shapes, steps, "inside")),
            ("The weights have not changed: does step() write to them?", torch.zeros_like(got)),
            ("The step goes up, not down.", -expected),
        ]
        verdict = compare(got, expected, case, hints=hints)
        if verdict is not None:
            return wrong(f"Right for {done}. {verdict.message}") if done else verdict
        done = case
    return right("Equal to torch.optim.Adam for one tensor and for several.")


def parameter_groups(function: Callable[[nn.Module, float], Any]) -> Verdict:
    """Check ``function(network, weight_decay)``: groups that spare biases and batch norm."""
    for build in (models.course_network, models.fast_network):
        network = build((4, 4, 8))
        name = f"models.{build.__name__}()"
        names = {id(w): n for n, w in network.named_parameters()}
        answer = run(function, network, 0.1)
        if isinstance(answer, Verdict):
            return answer
        try:
            optimizer = torch.optim.AdamW(answer, lr=0.01, weight_decay=0.7)
        except Exception as error:
            return wrong(f"torch.optim.AdamW does not take what you return: {error}.")
        decay: dict[int, float] = {}
        for group in optimizer.param_groups:
            for w in group["params"]:
                if id(w) not in names:
                    return wrong(
                        f"For {name} a tensor is among the groups that is no parameter of the "
                        "network: pass the parameters themselves, not copies."
                    )
                decay[id(w)] = group["weight_decay"]
        for w in network.parameters():
            label = f"{names[id(w)]} of {name}, shape {tuple(w.shape)},"
            if not w.requires_grad:
                if id(w) in decay:
                    return wrong(
                        f"{label} is frozen (requires_grad is False); leave it out, for decay "
                        "would matter to it as soon as it had a gradient."
                    )
                continue
            if id(w) not in decay:
                return wrong(f"{label} is in no group: it would never be trained.")
            wanted = 0.1 if w.ndim > 1 else 0.0
            if decay[id(w)] == 0.7:
                return wrong(
                    f'{label} takes the optimiser\'s own decay: write "weight_decay": {wanted} '
                    "into its group."
                )
            if decay[id(w)] != wanted:
                return wrong(f"{label} has weight decay {decay[id(w)]}, expected {wanted}.")
    return right("Kernels and matrices are decayed, biases and batch norm are not.")


def descent(function: Callable[[Callable[[Tensor], Tensor], Tensor], Any]) -> Verdict:
    """Check ``function(gradient, start)``: down a valley of curvatures 1 to 50, in 50 gradients."""
    allowed, most = 50, 0
    for seed in range(3):
        between = torch.linspace(1, 50, 12, dtype=torch.float64)
        matrix, lowest = _bowl(between, seed=seed), _random(12, seed=seed + 10)
        start = _random(12, seed=seed + 20)
        calls = 0

        def gradient(w: Tensor, matrix: Tensor = matrix, lowest: Tensor = lowest) -> Tensor:
            nonlocal calls
            calls += 1
            return matrix @ (w.detach() - lowest)

        answer = run(function, gradient, start.clone())
        if isinstance(answer, Verdict):
            return answer
        if not isinstance(answer, Tensor) or answer.shape != start.shape:
            return wrong("Return the weights that you have reached, of the shape of start.")
        if calls > allowed:
            return wrong(f"You asked for {calls} gradients; {allowed} are allowed.")
        share = ((answer.detach() - lowest).norm() / (start - lowest).norm()).item()
        if not share < 1e-3:
            hint = (
                "it has exploded: the largest curvature is 50"
                if not share < 1
                else "which momentum and rate suit curvatures from 1 to 50?"
            )
            return wrong(
                f"After {calls} gradients {share:.2g} of the way is left, and a thousandth is "
                f"allowed; {hint}"
            )
        most = max(most, calls)
    return right(f"Within a thousandth of the way, with {most} gradients at most.")
