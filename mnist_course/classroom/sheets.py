"""Checks of the numbers on a learner's own sheet; see :mod:`mnist_course.classroom.variants`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mnist_course.checks import NotSolvedError, exercise, run

__all__ = ["sizes", "steps"]


@exercise
def sizes(function: Callable[..., Any], layer: nn.Module, shape: tuple[int, int, int]) -> str:
    """Check ``function()``: channels, rows and columns of what a layer returns, and its weights.

    Args:
        function: the learner's; it returns four numbers.
        layer: a layer of PyTorch.
        shape: of one image that it gets, ``(C, H, W)``.
    """
    answer = _whole_numbers(run(function), 4)
    with torch.no_grad():
        expected = tuple(layer(torch.zeros(1, *shape)).shape[1:])
    for name, said, right in zip(("channels", "rows", "columns"), answer, expected, strict=False):
        if said != right:
            raise NotSolvedError(f"{said} {name} do not come out. How often does the window fit?")
    weights = [parameter.numel() for parameter in layer.parameters()]
    if len(weights) > 1 and answer[3] == weights[0]:
        raise NotSolvedError("The biases are missing: they are counted, too.")
    if answer[3] != sum(weights):
        raise NotSolvedError(f"It has not {answer[3]} weights: look at the shape of `weight`.")
    return "Sizes and weights are those of PyTorch's layer."


@exercise
def steps(function: Callable[..., Any], digits: int, batch_size: int, epochs: int) -> str:
    """Check ``function()``: how many steps a training has, and the digits in its last batch.

    Args:
        function: the learner's; it returns two numbers.
        digits: of the training set.
        batch_size: of all batches but the last of an epoch, which has the rest.
        epochs: how often it sees every digit.
    """
    count, last = _whole_numbers(run(function), 2)
    per_epoch = math.ceil(digits / batch_size)
    if count == digits // batch_size * epochs and count != per_epoch * epochs:
        raise NotSolvedError("The rest makes a batch of its own, once in each epoch.")
    if count == math.ceil(digits * epochs / batch_size) != per_epoch * epochs:
        raise NotSolvedError("A batch does not reach into the next epoch: round up in each.")
    if count != per_epoch * epochs:
        raise NotSolvedError(f"It does not take {count} steps. How many batches has one epoch?")
    if last != digits - (per_epoch - 1) * batch_size:
        raise NotSolvedError(f"The last batch of an epoch does not have {last} digits.")
    return "Each step is one batch."


def _whole_numbers(answer: Any, count: int) -> list[int]:
    good = isinstance(answer, (tuple, list)) and len(answer) == count
    if not good or not all(type(number) is int for number in answer):
        raise NotSolvedError(
            f"Return {count} whole numbers, as in `return {', '.join('0' * count)}`."
        )
    return list(answer)
