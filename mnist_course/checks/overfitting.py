"""Checks of chapter 18, overfitting."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course import data, evaluate, pretrained
from mnist_course.checks import (
    NotSolvedError,
    compared,
    exercise,
    finite,
    normal,
    run,
    same,
    saying,
)

__all__ = ["augmentation", "best_of", "dropout2d", "fold_forwards", "shift"]


def moved(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Each image of (N, 1, H, W) moved by its own whole pixels; zeros move in."""
    height, width = images.shape[2:]
    rows = torch.arange(height)[:, None] - down[:, None, None]  # where each pixel comes from
    columns = torch.arange(width)[None, :] - right[:, None, None]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    n = torch.arange(len(images))[:, None, None]
    fetched = images[:, 0][n, rows.clamp(0, height - 1), columns.clamp(0, width - 1)]
    return (fetched * inside)[:, None]


def rolled(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """The same, but what leaves on one side comes in on the other."""
    moves = zip(images, down.tolist(), right.tolist(), strict=True)
    return torch.stack([image.roll(move, (1, 2)) for image, *move in moves])


WRONG_MOVES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "What moves out on one side comes back on the other, as with torch.roll; 0 should move in.": (
        rolled
    ),
    "The images move the wrong way: positive is down and right.": (
        lambda images, down, right: moved(images, -down, -right)
    ),
    "Rows and columns are exchanged: down is along axis 2, right along axis 3.": (
        lambda images, down, right: moved(images, right, down)
    ),
    "All images move like the first one; each has a move of its own.": (
        lambda images, down, right: moved(
            images, down[:1].expand_as(down), right[:1].expand_as(right)
        )
    ),
}
"""What goes wrong where images are moved by whole pixels."""


@compared(
    cases={
        case: (normal(len(down), 1, *size), torch.tensor(down), torch.tensor(right))
        for case, size, down, right in [
            ("images that stay where they are", (5, 6), [0, 0, 0], [0, 0, 0]),
            ("images that move down and to the right", (5, 6), [1, 2, 0], [0, 1, 3]),
            ("images that move up and to the left", (5, 6), [-1, -2, 0], [0, -1, -3]),
            ("an image that is higher than wide", (7, 4), [-4], [2]),
            ("images that move out of the picture", (5, 6), [1, 5, -9, 0], [2, 0, 12, -6]),
        ]
    },
    mistakes=WRONG_MOVES,
    right="Each image moves by its own pixels, and zeros move in.",
)
def shift(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Check ``function(images, down, right)``: each image moved by its own whole pixels."""
    return moved(images, down, right)


@exercise
def dropout2d(function: Callable[[Tensor, float, torch.Generator], Any]) -> str:
    """Check ``function(x, p, generator)``: whole maps are dropped, the others scaled."""
    x = normal(200, 30, 2, 3)
    for p in (0.5, 0.2):
        generator = torch.Generator().manual_seed(0)
        y = finite(_like(x, run(function, x, p, generator)), "The result")
        _whole_maps_are_dropped(y == 0, p)
        _others_are_scaled((y / x)[y != 0], p)
        drop = partial(run, function, x, p)
        if torch.equal(drop(torch.Generator().manual_seed(1)), y):
            raise NotSolvedError("Another seed gives the same mask: draw from `generator`.")
        _draws_from(generator, drop, y)
    return "Whole maps are dropped with probability p, and the others make up for them."


def _like(x: Tensor, answer: Any) -> Tensor:
    """The answer, if it has the shape and type of what was given."""
    if not isinstance(answer, Tensor) or (answer.shape, answer.dtype) != (x.shape, x.dtype):
        got = type(answer).__name__
        if isinstance(answer, Tensor):
            got = f"{tuple(answer.shape)} of {answer.dtype}"
        raise NotSolvedError(f"I expected {tuple(x.shape)} of {x.dtype}, as given, got {got}.")
    return answer


def _draws_from(
    used: torch.Generator, function: Callable[[torch.Generator], Any], answer: Tensor
) -> None:
    """Raise where random numbers come from, if not from a generator; ``used`` began with seed 0."""
    if not torch.equal(function(torch.Generator().manual_seed(0)), answer):
        raise NotSolvedError("The same seed gives another result: draw from `generator` only.")
    if torch.equal(function(used), answer):
        raise NotSolvedError(
            "A second call with the same generator gives the same result: draw from `generator` "
            "itself, so that it moves on."
        )


def _whole_maps_are_dropped(dropped: Tensor, p: float) -> None:
    """Raise what is wrong with the mask (N, C, H, W), if anything is."""
    if not (dropped == dropped[:, :, :1, :1]).all():
        raise NotSolvedError(
            "Single pixels are dropped: a map must be dropped or kept as a whole, so the mask "
            "has the shape (N, C, 1, 1)."
        )
    maps = dropped[:, :, 0, 0].double()
    share = maps.mean().item()
    if 0 < share < 1 and ((maps == maps[:1]).all() or (maps == maps[:, :1]).all()):
        raise NotSolvedError(
            "The same maps are dropped in every image, or all maps of an image share one fate: "
            "each map of each image needs its own number."
        )
    if 0 < share < 1 and (maps.sum(1) == maps[0].sum()).all():
        raise NotSolvedError(
            f"Every image loses exactly {maps[0].sum():.0f} maps: let chance decide for each map."
        )
    if abs(share - p) > 0.03:
        raise NotSolvedError(
            f"With p = {p} you drop {share:.0%} of the maps: p is the probability of dropping, not "
            "of keeping, so drop where a random number in [0, 1) is smaller than p."
        )


def _others_are_scaled(factor: Tensor, p: float) -> None:
    """Raise what is wrong with the factor of the pixels that stay, if anything is."""
    if same(factor, torch.full_like(factor, 1 / (1 - p)), tolerance=1e-6):
        return
    known = {
        "nothing is scaled, so the sums of the next layer become smaller": 1,
        "that is 1/p": 1 / p,
        "that is 1 - p, the scaling when one answers, in old papers": 1 - p,
    }
    why = [f": {w}" for w, v in known.items() if same(factor, torch.full_like(factor, v), 1e-6)]
    raise NotSolvedError(
        f"With p = {p} the maps that stay are multiplied by {factor.mean():.3g}, expected "
        f"1 / (1 - p) = {1 / (1 - p):.3g}{''.join(why)}."
    )


def _folded(scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    shifts = (weight * shift[:, None, None]).sum((1, 2, 3))
    return weight * scale[:, None, None], bias + shifts


@compared(
    cases={
        f"{channels} channels and {filters} filters of {rows}×{columns}": (
            normal(channels, seed=1), normal(channels, seed=2),
            normal(filters, channels, rows, columns, seed=3), normal(filters, seed=4),
        )
        for channels, filters, rows, columns in [
            (3, 3, 3, 3), (1, 1, 1, 1), (3, 1, 1, 1), (3, 4, 3, 3), (2, 5, 2, 3),
        ]
    },
    mistakes={  # in the weight, whatever became of the bias, and then in the bias
        "The weight is unchanged: scaling x is the same as scaling its weights.": (
            lambda scale, shift, weight, bias: (weight, ...)
        ),
        "The scale belongs to the input channels, axis 1 of the weight; you multiply along another "
        "axis.": (
            lambda scale, shift, weight, bias: (weight * scale[:, None, None, None], ...),
            lambda scale, shift, weight, bias: (weight * scale[:, None], ...),
            lambda scale, shift, weight, bias: (weight * scale, ...),
        ),
        "The bias is unchanged, but the shift of every channel reaches the sum.": (
            lambda scale, shift, weight, bias: _folded(scale, 0 * shift, weight, bias)
        ),
        "The shift meets every weight of the kernel: sum over c, u and v, not only c.": (
            lambda scale, shift, weight, bias: (
                _folded(scale, shift / weight[0, 0].numel(), weight, bias)
            )
        ),
        "The shift is added to the bias as it is; but it meets the weights first: sum weight × "
        "shift over c, u and v.": (
            lambda scale, shift, weight, bias: _folded(scale, 0 * shift, weight, bias + shift)
        ),
    },
    right="One convolution does the work of batch norm and convolution.",
)  # fmt: skip
def fold_forwards(
    scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Check ``function(scale, shift, weight, bias)``: a batch norm folded into the next layer."""
    return _folded(scale, shift, weight, bias)


class _Training:
    """A training whose validation losses are known: in epoch e the weight is e."""

    def __init__(self, losses: list[float]) -> None:
        self.losses, self.epochs = losses, 0
        self.model = nn.Linear(1, 1, bias=False).double()
        nn.init.zeros_(self.model.weight)

    def step(self, model: nn.Module) -> None:
        """Train for an epoch, changing the weights in place as an optimiser does."""
        self.epochs += 1
        with torch.no_grad():
            for weights in model.parameters():
                weights.fill_(self.epochs)

    def validation_loss(self, model: nn.Module) -> float:
        """The loss that belongs to the model's weight; infinite before and after all epochs."""
        epoch = int(next(model.parameters()))
        return self.losses[epoch - 1] if 1 <= epoch <= len(self.losses) else math.inf


@exercise
def best_of(function: Callable[..., Any]) -> str:
    """Check ``function(model, step, validation_loss, epochs, patience)``: early stopping."""
    cases: list[tuple[list[float], int, int, int]] = [
        # the losses, the patience, epochs that should be trained, the best epoch
        ([3, 2, 1], 5, 3, 3),
        ([3, 1, 2, 2, 2], 9, 5, 2),
        ([3, 1, 2, 2, 0.5, 4, 4, 0], 3, 8, 8),
        ([3, 1, 2, 2, 2, 0, 0], 3, 5, 2),
        ([2, 3, 1, 3, 3, 0], 2, 5, 3),
        ([3, 1, 2, 1.5, 2, 0], 3, 5, 2),  # lower than the epoch before is not lower than the best
        ([2, 1, 1, 1, 0], 2, 4, 2),  # as low is not lower
        ([1, 2, 0], 1, 2, 1),
    ]
    for losses, patience, epochs, best in cases:
        training = _Training(losses)
        given = training.model, training.step, training.validation_loss, len(losses), patience
        model = run(function, *given, may_change=[training.model])
        if not isinstance(model, nn.Module):
            raise NotSolvedError(f"I expected the model back, got {type(model).__name__}.")
        with saying(f"With losses {losses} and patience {patience} "):
            _ends_with_the_best(training, model, epochs, best)
    return "The best weights come back, and no epoch is trained too many."


def _ends_with_the_best(training: _Training, model: nn.Module, epochs: int, best: int) -> None:
    if training.epochs != epochs:
        raise NotSolvedError(
            f"you train for {training.epochs} epochs, expected {epochs}: the epochs without a "
            "lower loss are counted in a row, from the last best one."
        )
    found = int(next(model.parameters()))
    if found == epochs != best:
        raise NotSolvedError(
            f"the weights are those of the last epoch, {found}, expected epoch {best}: what you "
            "kept went on changing (is it a copy?), or was never loaded back."
        )
    if found != best:
        raise NotSolvedError(f"the weights are of epoch {found}, expected epoch {best}.")
    if model is not training.model:
        raise NotSolvedError(
            "you return another network with the right weights, and the one that was trained "
            "keeps others: load what you kept into `model`, and return that."
        )


@exercise
def augmentation(function: Callable[[Tensor, torch.Generator], Any]) -> str:
    """Check ``function(images, generator)``: changed digits that are still the same digits."""
    digits = data.load("train")[:500]
    images = data.to_float(digits.images)
    generator = torch.Generator().manual_seed(0)
    changed = finite(_like(images, run(function, images, generator)), "What came back")
    low, high = changed.min().item(), changed.max().item()
    if low < -1e-4 or high > 1 + 1e-4:
        raise NotSolvedError(
            f"The pixels reach from {low:.2f} to {high:.2f}; keep them in [0, 1], with clamp(0, 1)."
        )
    still = int(((changed - images).abs().flatten(1).amax(1) < 1e-3).sum())
    if still > len(images) // 10:
        raise NotSolvedError(f"{still} of {len(images)} images are unchanged.")
    twins = run(function, images[:1].repeat(20, 1, 1, 1), torch.Generator().manual_seed(1))
    if (twins == twins[:1]).all():
        raise NotSolvedError(
            "Twenty copies of an image in a batch are all changed alike: draw random numbers for "
            "each image, not one for the batch."
        )
    _draws_from(generator, partial(run, function, images), changed)
    reader = pretrained.load()

    def read(pixels: Tensor) -> float:
        return (evaluate.predict(reader, pixels).argmax(1) == digits.labels).double().mean().item()

    pixels = changed.clamp(0, 1)
    before, now = read(images), read(pixels)
    if now < before - 0.1:
        raise NotSolvedError(
            f"The pretrained network reads {now:.0%} of your digits correctly, and {before:.0%} of "
            "those you were given: the change is too strong, or it does not keep the label true."
        )
    amount = (F.l1_loss(pixels, images) / images.mean()).item()
    return (
        f"Every image is changed in its own way (by {amount:.0%} of its ink), and {now:.0%} of "
        "them are still read correctly."
    )
