"""Checks of chapter 13, the training loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks import (
    NotSolvedError,
    compare,
    compared,
    exercise,
    explaining,
    run,
    same,
    uniform,
)
from mnist_course.checks._loop import classifier, equal, sgd, some_batches, state_of, train
from mnist_course.checks._reader import Batch

__all__ = ["batches", "epoch_loss", "smooth", "step"]


@exercise
def step(function: Callable[..., Any]) -> str:
    """Check ``function(network, optimizer, images, labels)``: one step, returns the loss."""
    data = some_batches(6, 6, 4)
    network, reference, forgetful = classifier(), classifier(), classifier()
    optimizer, start, answers = sgd(network), state_of(network), []
    early = (
        "optimizer.step() comes before loss.backward(): it changes the weights that the backward "
        "pass still needs, and steps with the gradient of the step before."
    )
    for images, labels in data:
        with explaining({"modified by an inplace operation": early}):
            may_change = [network, optimizer]
            answers.append(run(function, network, optimizer, images, labels, may_change=may_change))
    expected = train(reference, sgd(reference), data)
    train(forgetful, sgd(forgetful), data, clear=False)
    if equal(state_of(network), start):
        raise NotSolvedError(
            "The weights have not changed. loss.backward() only computes the gradients, and "
            "optimizer.step() uses them: are both there, backward() first, and no zero_grad() "
            "between the two?"
        )
    if same(state_of(network), state_of(forgetful)):
        raise NotSolvedError(
            "After three steps the weights are wrong: the gradients of the steps before are still "
            "there. Call optimizer.zero_grad() in each."
        )
    if not same(state_of(network), state_of(reference)):
        raise NotSolvedError(
            "After three steps the weights are not those of F.cross_entropy with exactly one "
            "backward() and one step() a call."
        )
    if not network.training:
        raise NotSolvedError("The network was in the right mode: leave it in train mode.")
    _compare_losses(answers, expected, data)
    return "Weights and losses of three steps are those of the loop in the text."


def _compare_losses(answers: list[Any], expected: list[float], data: list[Batch]) -> None:
    """Compare the losses of some steps, whose weights are right."""
    network = classifier()
    optimizer = sgd(network)
    for number, (answer, loss, batch) in enumerate(zip(answers, expected, data, strict=True), 1):
        train(network, optimizer, [batch])
        after = F.cross_entropy(network(batch[0]), batch[1])
        if isinstance(answer, Tensor):
            graph = " with its whole graph" if answer.requires_grad else ""
            raise NotSolvedError(
                f"The weights are right, but you return a tensor{graph}: a number is loss.item()."
            )
        compare(
            answer,
            loss,
            f"step {number}",
            mistakes={
                "This is the loss *after* the step; return the one that you minimised.": after,
                "You return the sum over the batch; the loss is the mean.": loss * len(batch[1]),
            },
        )


@exercise
def batches(function: Callable[..., Any]) -> str:
    """Check ``function(n, batch_size, generator, drop_last)``: batches of positions."""
    for n, size, drop_last in (
        (24, 8, False), (20, 8, False), (20, 8, True), (24, 8, True), (5, 8, False), (8, 8, True),
        (5, 8, True),
    ):  # fmt: skip
        case = f"n = {n}, batch_size = {size}, drop_last = {drop_last}"
        epochs, again, other = (
            _epochs(function, n, size, drop_last, seed, case) for seed in (0, 0, 1)
        )
        for epoch in (*epochs, *again, *other):
            _every_position_once(epoch, n, size, drop_last, case)
        if not epochs[0]:
            continue
        if all(_joined(epoch) == sorted(_joined(epoch)) for epoch in epochs):
            raise NotSolvedError(f"For {case} the positions come in their own order: shuffle them.")
        if epochs != again:
            raise NotSolvedError(
                "The order does not come from the generator: the same seed must give the same "
                "order. Hand it on: torch.randperm(n, generator=generator)."
            )
        if epochs == other or all(epoch == epochs[0] for epoch in epochs):
            raise NotSolvedError(
                "Every generator, or every call, gives the same order, so every epoch would be the "
                "same: use the generator as it is, without seeding it."
            )
        _well_mixed(epochs, n, case)
    return "Every digit has its turn, in an order that follows from the generator."


Epoch = list[list[int]]


def _joined(epoch: Epoch) -> list[int]:
    return [position for batch in epoch for position in batch]


def _epochs(
    function: Callable[..., Any], n: int, size: int, drop_last: bool, seed: int, case: str
) -> list[Epoch]:
    """Ten epochs in a row with one generator."""
    generator, epochs = torch.Generator().manual_seed(seed), []
    for _ in range(10):
        answer = run(function, n, size, generator, drop_last)
        if not isinstance(answer, (list, tuple)) or not all(
            isinstance(batch, Tensor)
            and batch.ndim == 1
            and batch.dtype in (torch.int64, torch.int32)
            for batch in answer
        ):
            raise NotSolvedError(
                f"For {case} I expected a list of tensors of positions, whole numbers (int64)."
            )
        epochs.append([batch.tolist() for batch in answer])
    return epochs


def _every_position_once(epoch: Epoch, n: int, size: int, drop_last: bool, case: str) -> None:
    sizes, positions = [len(batch) for batch in epoch], _joined(epoch)
    expected = [size] * (n // size) + ([n % size] if n % size and not drop_last else [])
    if len(set(positions)) < len(positions):
        raise NotSolvedError(f"For {case} some positions come more than once: draw torch.randperm.")
    if not set(positions) <= set(range(n)):
        raise NotSolvedError(f"For {case} there are positions outside of 0 … {n - 1}.")
    if sizes != expected:
        hint = "with drop_last the rest has to go, and an empty batch is none"
        if len(sizes) < len(expected):
            hint = "only a batch that is smaller is dropped, and only with drop_last"
        raise NotSolvedError(
            f"For {case} the batches have {sizes} digits, expected {expected}: {hint}."
        )


def _well_mixed(epochs: list[Epoch], n: int, case: str) -> None:
    """Raise what stays the same in ten epochs; by chance, nothing does."""
    orders = [_joined(epoch) for epoch in epochs]
    never = set(range(n)).difference(*orders)
    if never:
        raise NotSolvedError(
            f"For {case} positions {sorted(never)} are dropped in every epoch: shuffle first."
        )
    if n > 5 and any(len({(b - a) % n for a, b in pairwise(order)}) == 1 for order in orders):
        raise NotSolvedError(
            f"For {case} the positions come in their own order, begun elsewhere: shuffle them."
        )
    company = [[frozenset(batch) for batch in epoch] for epoch in epochs]
    columns = [*zip(*orders, strict=True), [frozenset(sets) for sets in company]]
    columns += zip(*company, strict=True)
    if any(len(set(column)) == 1 for column in columns) and len(epochs[0]) > 1:
        raise NotSolvedError(
            f"For {case} some digits form a batch, or stand in the same place, in every epoch: "
            "shuffle all positions, and only then cut them into batches."
        )


def _running_mean(
    losses: list[float], beta: float, mean: float = 0.0, *, carried: bool = False
) -> list[float]:
    """The running mean, uncorrected; or corrected, and the corrected value carried on."""
    curve = []
    for t, loss in enumerate(losses, 1):
        mean = beta * mean + (1 - beta) * loss
        mean /= 1 - beta**t if carried else 1
        curve.append(mean)
    return curve


def _corrected(curve: list[float], beta: float, first: int = 1) -> list[float]:
    return [m / (1 - beta**t) for t, m in enumerate(curve, first)]


@compared(
    cases={
        f"{count} losses and beta = {beta}": ((2 * uniform(count, seed=count)).tolist(), beta)
        for count, beta in [(8, 0.9), (5, 0.6), (1, 0.9), (40, 0.98), (6, 0.0)]
    },
    mistakes={
        "The beginning is not corrected: divide by 1 - beta ** (t + 1), or the curve starts near "
        "0.": _running_mean,
        "This curve starts from the first loss, which then weighs more than any other: start from "
        "0, and divide by 1 - beta ** (t + 1).": (
            lambda losses, beta: _running_mean(losses, beta, losses[0])
        ),
        "beta and 1 - beta have changed places: beta is the share of the past.": (
            lambda losses, beta: _corrected(_running_mean(losses, 1 - beta), 1 - beta),
            lambda losses, beta: _corrected(_running_mean(losses, 1 - beta), beta),
        ),
        "The corrected value is carried on, and corrected again in the next step: carry on m, and "
        "divide only what you show.": partial(_running_mean, carried=True),
        "The power is one too large: at t = 0 divide by 1 - beta.": (
            lambda losses, beta: _corrected(_running_mean(losses, beta), beta, 2)
        ),
    },
    right="It equals the formula, from the first loss on.",
    raised={"ZeroDivisionError": "At t = 0 you divide by 1 - beta ** 0 = 0: the power is t + 1."},
)
def smooth(losses: list[float], beta: float) -> list[float]:
    """Check ``function(losses, beta)``: the running mean, corrected for its beginning."""
    return _corrected(_running_mean(losses, beta), beta)


def _all_digits(means: list[float], sizes: list[int]) -> float:
    return sum(mean * size for mean, size in zip(means, sizes, strict=True)) / sum(sizes)


@compared(
    cases={
        f"batches of {sizes}": ((3 * uniform(len(sizes), seed=len(sizes))).tolist(), sizes)
        for sizes in ([64, 64], [64, 64, 32], [5], [500, 500, 500, 500, 1], [3, 1, 4, 1, 5])
    },
    mistakes={
        "This is the mean of the means: a small batch counts as much as a large one.": (
            lambda means, sizes: sum(means) / len(means)
        ),
        "You divide a sum of *means* by the number of digits: multiply each mean by its size "
        "first.": lambda means, sizes: sum(means) / sum(sizes),
        "This is the sum over all digits; divide by their number.": (
            lambda means, sizes: _all_digits(means, sizes) * sum(sizes)
        ),
        "You multiply by the sizes, and divide by the number of batches: divide by that of the "
        "digits.": lambda means, sizes: _all_digits(means, sizes) * sum(sizes) / len(sizes),
    },
    right="Every digit counts once.",
)
def epoch_loss(means: list[float], sizes: list[int]) -> float:
    """Check ``function(means, sizes)``: the mean loss of all digits."""
    return _all_digits(means, sizes)
