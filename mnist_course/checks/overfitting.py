"""Checks of the chapter on overfitting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mnist_course import data, evaluate, pretrained
from mnist_course.checks._returning import Verdict, compare, right, run, wrong

__all__ = ["augmentation", "best_of", "dropout2d", "fold_forwards", "shift"]


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _moved(images: torch.Tensor, down: torch.Tensor, right_: torch.Tensor) -> torch.Tensor:
    """Each image moved by its own whole pixels; zeros move in."""
    height, width = images.shape[2:]
    rows = torch.arange(height)[:, None] - down[:, None, None]  # where each pixel comes from
    columns = torch.arange(width)[None, :] - right_[:, None, None]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    number = torch.arange(len(images))[:, None, None]
    fetched = images[:, 0][number, rows.clamp(0, height - 1), columns.clamp(0, width - 1)]
    return (fetched * inside)[:, None]


def shift(function: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Any]) -> Verdict:
    """Check ``function(images, down, right)``: each image moved by its own whole pixels."""
    for case, down, across in [
        ("images that stay where they are", [0, 0, 0], [0, 0, 0]),
        ("images that move down and to the right", [1, 2, 0], [0, 1, 3]),
        ("images that move up and to the left", [-1, -2, 0], [0, -1, -3]),
        ("an image that moves out of the picture", [1, 5, -9], [2, 0, 12]),
    ]:
        images = _normal(3, 1, 5, 6)
        d, r = torch.tensor(down), torch.tensor(across)
        rolled = torch.stack(
            [image.roll((int(i), int(j)), (1, 2)) for image, i, j in zip(images, d, r, strict=True)]
        )
        verdict = compare(
            run(function, images.clone(), d, r),
            _moved(images, d, r),
            case,
            hints=[
                ("What moves out on one side comes back on the other; 0 should move in.", rolled),
                (
                    "The images move the wrong way: positive is down and right.",
                    _moved(images, -d, -r),
                ),
                ("Rows and columns are exchanged: `down` is along axis 2.", _moved(images, r, d)),
                (
                    "All images move like the first one; each has a move of its own.",
                    _moved(images, d[:1].expand(3), r[:1].expand(3)),
                ),
            ],
        )
        if verdict is not None:
            return verdict
    return right("Each image moves by its own pixels, and zeros move in.")


def dropout2d(function: Callable[[torch.Tensor, float, torch.Generator], Any]) -> Verdict:
    """Check ``function(x, p, generator)``: whole maps are dropped, the others scaled."""
    for p in (0.5, 0.2):
        x = 1 + _normal(200, 30, 2, 3).abs()
        before = x.clone()
        y = run(function, x, p, torch.Generator().manual_seed(0))
        if isinstance(y, Verdict):
            return y
        if not isinstance(y, torch.Tensor) or y.shape != x.shape:
            shape = tuple(getattr(y, "shape", ())) or type(y).__name__
            return wrong(f"For x of shape (200, 30, 2, 3) I expected the same shape, got {shape}.")
        if not torch.equal(x, before):
            return wrong("Your function changed x itself; return a new tensor.")
        dropped = y == 0
        if not (dropped == dropped[:, :, :1, :1]).all():
            return wrong(
                "Single pixels are dropped: a map must be dropped or kept as a whole, so the mask "
                "has the shape (N, C, 1, 1)."
            )
        maps = dropped[:, :, 0, 0].double()
        if (maps == maps[:1]).all() and 0 < maps.mean() < 1:
            return wrong("In every image the same maps are dropped: each image needs its own mask.")
        if (maps == maps[:, :1]).all() and 0 < maps.mean() < 1:
            return wrong("All maps of an image share one fate; each map needs its own number.")
        share = float(maps.mean())
        if abs(share - p) > 0.03:
            swapped = abs(share - (1 - p)) < 0.03
            why = (
                "p is the probability of dropping, not of keeping"
                if swapped
                else "a map is dropped where a random number in [0, 1) is smaller than p"
            )
            return wrong(f"With p = {p} you drop {share:.0%} of the maps: {why}.")
        factor = (y / x)[~dropped]
        if not torch.allclose(factor, torch.full_like(factor, 1 / (1 - p)), rtol=1e-6):
            value = float(factor.mean())
            why = (
                "nothing is scaled, so the sums of the next layer become smaller"
                if abs(value - 1) < 1e-6
                else "that is 1/p" if abs(value * p - 1) < 1e-6
                else "that is 1 - p, the scaling when one answers, in old papers"
                if abs(value - (1 - p)) < 1e-6
                else "look at the factor"
            )  # fmt: skip
            return wrong(
                f"With p = {p} the maps that stay are multiplied by {value:.3g}, expected "
                f"1 / (1 - p) = {1 / (1 - p):.3g}: {why}."
            )
        again = run(function, x, p, torch.Generator().manual_seed(1))
        if isinstance(again, torch.Tensor) and torch.equal(again, y):
            return wrong("Another seed gives the same mask: draw from `generator`.")
        same = run(function, x, p, torch.Generator().manual_seed(0))
        if isinstance(same, torch.Tensor) and not torch.equal(same, y):
            return wrong("The same seed gives another mask: draw from `generator` only.")
    return right("Whole maps are dropped with probability p, and the others make up for them.")


def fold_forwards(function: Callable[..., Any]) -> Verdict:
    """Check ``function(scale, shift, weight, bias)``: a batch norm folded into the next layer."""
    for channels, filters, kernel in [(1, 1, 1), (3, 1, 1), (3, 4, 3)]:
        scale, move = _normal(channels, seed=1), _normal(channels, seed=2)
        weight, bias = _normal(filters, channels, kernel, kernel, seed=3), _normal(filters, seed=4)
        answer = run(function, scale, move, weight.clone(), bias.clone())
        if isinstance(answer, Verdict):
            return answer
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            return wrong("I expected two tensors, weight and bias, as in `return weight, bias`.")
        case = f"{channels} channels, {filters} filters of {kernel}×{kernel}"
        folded = weight * scale[:, None, None]
        verdict = compare(
            answer[0],
            folded,
            f"the weight for {case}",
            hints=[
                ("The weight is unchanged: scaling x is the same as scaling its weights.", weight),
                ("Divided by the scale; it has to be multiplied.", weight / scale[:, None, None]),
            ],
        )
        if verdict is not None:
            return verdict
        inner = weight * move[:, None, None]
        verdict = compare(
            answer[1],
            bias + inner.sum((1, 2, 3)),
            f"the bias for {case}",
            hints=[
                ("The bias is unchanged, but the shift of every channel reaches the sum.", bias),
                (
                    "The shift does not pass through the scale: sum the *old* weight times shift.",
                    bias + (folded * move[:, None, None]).sum((1, 2, 3)),
                ),
                (
                    "The shift meets every weight of the kernel: sum over c, u and v, not only c.",
                    bias + inner.mean((2, 3)).sum(1),
                ),
                (
                    "The bias of the convolution itself got lost.",
                    inner.sum((1, 2, 3)),
                ),
            ],
        )
        if verdict is not None:
            return verdict
    return right("One convolution does the work of batch norm and convolution.")


class _Training:
    """A training whose validation losses are known: in epoch e the weight is e + 1."""

    def __init__(self, losses: list[float]) -> None:
        self.losses, self.epochs = losses, 0
        self.model = nn.Linear(1, 1, bias=False).double()

    def step(self, model: nn.Module) -> None:
        """Train for an epoch, changing the weights in place as an optimiser does."""
        self.epochs += 1
        with torch.no_grad():
            for weights in model.parameters():
                weights.fill_(self.epochs)

    def validation_loss(self, model: nn.Module) -> float:
        """The loss that belongs to the model's weight."""
        return self.losses[int(next(model.parameters())) - 1]


def best_of(function: Callable[..., Any]) -> Verdict:
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
    ]
    for losses, patience, epochs, best in cases:
        training = _Training(losses)
        model = run(
            function,
            training.model,
            training.step,
            training.validation_loss,
            len(losses),
            patience,
        )
        if isinstance(model, Verdict):
            return model
        if not isinstance(model, nn.Module):
            return wrong(f"I expected the model back, got {type(model).__name__}.")
        case = f"With losses {losses} and patience {patience}"
        if training.epochs != epochs:
            return wrong(
                f"{case} you train for {training.epochs} epochs, expected {epochs}: the epochs "
                "without a lower loss are counted in a row, from the last best one."
            )
        found = int(next(model.parameters()))
        if found == epochs != best:
            return wrong(
                f"{case} the weights are those of the last epoch, {found}, expected epoch {best}: "
                "what you kept went on changing (is it a copy?), or was never loaded back."
            )
        if found != best:
            return wrong(f"{case} the weights are of epoch {found}, expected epoch {best}.")
    return right("The best weights come back, and no epoch is trained too many.")


def augmentation(function: Callable[[torch.Tensor, torch.Generator], Any]) -> Verdict:
    """Check ``function(images, generator)``: changed digits that are still the same digits."""
    digits = data.load("train")[:500]
    images = data.to_float(digits.images)
    before = images.clone()
    changed = run(function, images, torch.Generator().manual_seed(0))
    if isinstance(changed, Verdict):
        return changed
    if not isinstance(changed, torch.Tensor) or changed.shape != images.shape:
        shape = tuple(getattr(changed, "shape", ())) or type(changed).__name__
        return wrong(f"For images of shape {tuple(images.shape)} I got {shape}.")
    if not torch.equal(images, before):
        return wrong("Your function changed the images themselves; return new ones.")
    if changed.dtype != images.dtype:
        return wrong(f"The images were {images.dtype}, what came back is {changed.dtype}.")
    low, high = float(changed.min()), float(changed.max())
    if not (low >= -1e-4 and high <= 1 + 1e-4):
        return wrong(
            f"The pixels reach from {low:.2f} to {high:.2f}; keep them in [0, 1], with clamp(0, 1)."
        )
    still = int(((changed - images).abs().flatten(1).amax(1) < 1e-3).sum())
    if still > len(images) // 10:
        return wrong(f"{still} of {len(images)} images are unchanged.")
    twins = run(function, images[:1].repeat(20, 1, 1, 1), torch.Generator().manual_seed(1))
    if isinstance(twins, Verdict):
        return twins
    if (twins == twins[:1]).all():
        return wrong(
            "Twenty copies of an image in a batch are all changed alike: draw random numbers for "
            "each image, not one for the batch."
        )
    repeated = run(function, images, torch.Generator().manual_seed(0))
    if isinstance(repeated, Verdict):
        return repeated
    if not torch.equal(repeated, changed):
        return wrong("The same seed gives other images: draw from `generator` only.")
    reader = pretrained.load()
    plain = float((evaluate.predict(reader, images).argmax(1) == digits.labels).double().mean())
    pixels = changed.clamp(0, 1)
    read = float((evaluate.predict(reader, pixels).argmax(1) == digits.labels).double().mean())
    if read < plain - 0.1:
        return wrong(
            f"The pretrained network reads {read:.0%} of your digits rightly, and {plain:.0%} of "
            "those you were given: the change is too strong, or it does not keep the label true."
        )
    amount = float(F.l1_loss(pixels, images) / images.mean())
    return right(
        f"Every image is changed in its own way (by {amount:.0%} of its ink), and {read:.0%} of "
        "them are still read rightly."
    )
