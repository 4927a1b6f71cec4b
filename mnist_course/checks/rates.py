"""Checks of the chapter about rates, schedules and a fair race."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mnist_course.checks import (
    NotSolvedError,
    compared,
    exercise,
    run,
    same,
)
from mnist_course.checks._loop import classifier, some_batches, state_of
from mnist_course.recipes import Recipe

__all__ = ["best_rate", "one_cycle", "scheduled"]


def _rate(
    *,
    middle: float = 0.5,
    share: Callable[[float, float], float] = lambda p, warmup: (p - warmup) / (1 - warmup),
    fall: Callable[[float], float] = lambda q: (1 + math.cos(math.pi * q)) / 2,
) -> Callable[[int, int, float, float], float]:
    """A schedule with another place in the step, share after the warm-up, or fall."""

    def rate(step: int, steps: int, peak: float, warmup: float) -> float:
        p = (step + middle) / steps
        return peak * (p / warmup if p < warmup else fall(share(p, warmup)))

    return rate


@compared(
    cases={
        f"step {step} of {steps}, peak {peak}, warm-up {warmup}": (step, steps, peak, warmup)
        for steps, peak, warmup in [(10, 1.0, 0.25), (40, 0.02, 0.3), (7, 0.5, 0.0), (1, 0.1, 0.6)]
        for step in range(steps)
    },
    mistakes={
        "You take p = step / steps, so the first rate is zero; take the middle of the step, "
        "(step + 1/2) / steps.": _rate(middle=0),
        "You take the end of the step, (step + 1) / steps; take its middle.": _rate(middle=1),
        "The cosine starts its fall at the beginning of training, so the rate jumps where the "
        "warm-up ends. Count the share from there.": _rate(share=lambda p, warmup: p),
        "The fall does not end at zero: the share after the warm-up must reach 1, so divide it by "
        "1 - warmup.": _rate(share=lambda p, warmup: p - warmup),
        "The peak is missing, or is not 1 for peak = 1.": (
            lambda step, steps, peak, warmup: _rate()(step, steps, 1, warmup)
        ),
    },
    right="Up in a straight line, down in half a cosine, and no step with the rate zero.",
    tolerance=1e-7,
    raised={"ZeroDivisionError": "`warmup` may be 0: then nothing rises, and nothing is divided."},
)
def one_cycle(step: int, steps: int, peak: float, warmup: float) -> float:
    """Check ``function(step, steps, peak, warmup)``: linear warm-up, then half a cosine."""
    recipe = Recipe(learning_rate=peak, schedule="cosine", warmup=warmup)
    return recipe.learning_rate_at(step, steps)


def _chosen(
    rates: list[float], scores: list[float], *, edges: bool = True, worst: bool = False
) -> float:
    """The best or worst rate, nan left out; 0 at an edge of the grid, if edges matter."""
    finished = [(score, rate) for rate, score in zip(rates, scores, strict=True) if score == score]
    best = (min if worst else max)(finished)[1]
    return 0.0 if edges and best in (min(rates), max(rates)) else best


def _without_lost(rates: list[float], scores: list[float]) -> float:
    """The mistake of taking exploded runs for no part of the grid."""
    kept = [(r, s) for r, s in zip(rates, scores, strict=True) if s == s]
    return _chosen([r for r, _ in kept], [s for _, s in kept])


@compared(
    cases={
        "a grid in order": ([0.01, 0.03, 0.1, 0.3], [0.91, 0.97, 0.96, 0.6]),
        "a best rate at the lower edge": ([0.01, 0.03, 0.1], [0.97, 0.93, 0.9]),
        "a best rate at the upper edge": ([0.2, 0.5, 1.0], [0.1, 0.2, 0.9]),
        "a grid in any order": ([0.3, 0.001, 0.1, 0.03], [0.5, 0.4, 0.98, 0.99]),
        "a run that was lost in the middle": ([0.01, 0.03, 0.1, 0.3], [0.9, 0.95, math.nan, 0.7]),
        "a run that exploded": ([0.01, 0.1, 1.0], [0.9, 0.95, math.nan]),
    },
    mistakes={
        "For {case} you return the best rate although it lies at the edge of the grid: the best of "
        "all may lie outside.": lambda rates, scores: _chosen(rates, scores, edges=False),
        "For {case} this is the rate with the *lowest* score.": (
            lambda rates, scores: _chosen(rates, scores, edges=False, worst=True)
        ),
        "For {case} an exploded run is not part of your grid; but it is: it shows that the best "
        "lies below it.": _without_lost,
        "For {case} the edges are the smallest and the largest rate, not the first and the last in "
        "the list.": lambda rates, scores: (
            0.0
            if _chosen(rates, scores, edges=False) in (rates[0], rates[-1])
            else _chosen(rates, scores, edges=False)
        ),
        "For {case} a score of nan wins, as every comparison with it is false: leave it out.": (
            lambda rates, scores: _chosen(rates, [1e9 if s != s else s for s in scores])
        ),
        "For {case} you return the score; wanted is its rate.": (
            lambda rates, scores: max(s for s in scores if s == s)
        ),
    },
    right="The best rate, and a warning where the grid does not cover it.",
)
def best_rate(rates: list[float], scores: list[float]) -> float:
    """Check ``function(rates, scores)``: the best rate inside the grid, or 0."""
    return _chosen(rates, scores)


class _Noting(torch.optim.SGD):
    """SGD that notes with which rates it was stepped."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network.parameters(), lr=0.4)
        self.rates: list[float] = []

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """A step, noted."""
        self.rates.append(self.param_groups[0]["lr"])
        super().step(closure)


@exercise
def scheduled(function: Callable[..., Any]) -> str:
    """Check ``function(network, optimizer, scheduler, batches)``: an epoch with a schedule."""
    data = some_batches(5, 5, 5, 3)
    network, start = classifier(), state_of(classifier())
    optimizer = _Noting(network)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    may_change = [network, optimizer, scheduler]
    answer = run(function, network, optimizer, scheduler, data, may_change=may_change)
    wanted = [0.4, 0.2, 0.1, 0.05]
    if len(optimizer.rates) != len(data):
        raise NotSolvedError(
            f"The optimiser was stepped {len(optimizer.rates)} times, expected {len(data)}: once "
            "for each batch."
        )
    if not same(optimizer.rates, wanted):
        raise NotSolvedError(_about(optimizer.rates))
    if all(torch.equal(a, b) for a, b in zip(state_of(network), start, strict=True)):
        raise NotSolvedError("The weights have not changed: is loss.backward() there?")
    if not same(answer, wanted):
        raise NotSolvedError(
            f"The steps are right, but the list of rates that you return is {answer!r}, expected "
            f"{wanted}: read optimizer.param_groups[0]['lr'] right before optimizer.step()."
        )
    return "Each step is made with the rate that the schedule means for it."


def _about(rates: list[float]) -> str:
    """What is wrong with the rates that were used, which should halve from 0.4 on."""
    listed = ", ".join(f"{rate:g}" for rate in rates)
    words = f"The optimiser was stepped with the rates {listed}, expected 0.4, 0.2, 0.1, 0.05: "
    if same(rates, [0.4] * 4):
        return words + "the scheduler is never stepped, or only after the epoch."
    if same(rates, [0.2, 0.1, 0.05, 0.025]):
        return words + "the first rate is never used. Step the optimiser first, then the scheduler."
    return words + "step the scheduler once for each batch, after the optimiser."
