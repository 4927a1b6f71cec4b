"""A network to be measured, for the exercises that ask for an accuracy."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks._comparing import normal
from mnist_course.checks._verdicts import NotSolvedError

Batch = tuple[Tensor, Tensor]


class Reader(nn.Module):
    """Ten logits of images of any shape. It objects when it is not asked as it should be.

    Args:
        pixels: how many numbers an image has.
        training: whether it starts in train mode.
        graphs: whether it may be asked with gradients.
        most: how many images it takes at once, if there is a limit.
    """

    def __init__(
        self, pixels: int, *, training: bool, graphs: bool = False, most: int | None = None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal(10, pixels, seed=5))
        self.norm = nn.BatchNorm1d(10, dtype=torch.float64)
        self.drop = nn.Dropout(0.3)
        self.graphs, self.most = graphs, most
        self.train(training)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, or what is wrong with the way in which they are asked for."""
        if self.norm.training or self.drop.training:
            raise NotSolvedError(
                "The network reads in train mode: batch norm uses the other images of the batch "
                "and takes them into its running statistics, and dropout drops. Call eval() first."
            )
        if self.most is not None and len(images) > self.most:
            raise NotSolvedError(
                f"{len(images)} digits were read at once, and the batch size was {self.most}."
            )
        logits: Tensor = self.drop(self.norm(F.linear(images.flatten(1), self.weight)))
        if logits.requires_grad and not self.graphs:
            raise NotSolvedError(
                "The network is asked with gradients, so that autograd records every step of the "
                "way, which costs memory and time: let it answer in `with torch.no_grad():`."
            )
        return logits

    def answers(self, images: Tensor) -> Tensor:
        """The digits that it reads, as it should be asked."""
        reader = copy.deepcopy(self).eval()
        reader.most = None
        with torch.no_grad():
            answers: Tensor = reader(images).argmax(1)
        return answers


def exam(
    sizes: list[int],
    wrong: list[int],
    shape: tuple[int, ...],
    *,
    training: bool,
    graphs: bool = False,
    most: int | None = None,
) -> tuple[Reader, list[Batch]]:
    """A network and images of a shape in batches of these sizes; it misreads the ``wrong`` ones."""
    reader = Reader(math.prod(shape), training=training, graphs=graphs, most=most)
    images = normal(sum(sizes), *shape, seed=sum(sizes))
    labels = reader.answers(images)
    labels[wrong] = (labels[wrong] + 1) % 10
    return reader, list(zip(images.split(sizes), labels.split(sizes), strict=True))


def hits(model: Reader, batches: Sequence[Batch]) -> list[Tensor]:
    """What it reads correctly, batch by batch: 1 or 0 for each image."""
    return [(model.answers(images) == labels.flatten()).double() for images, labels in batches]


def share(model: Reader, batches: Sequence[Batch]) -> float:
    """Its accuracy."""
    return torch.cat(hits(model, batches)).mean().item()


Wrong = dict[str, Callable[..., Tensor] | tuple[Callable[..., Tensor], ...]]


def wrong_shares(hits: Callable[..., list[Tensor]], *, batches: bool = True) -> Wrong:
    """Well-known wrong accuracies.

    Args:
        hits: what is right of the arguments of the exercise, batch by batch.
        batches: whether there is more than one, the last of them smaller.
    """

    def of(summary: Callable[[list[Tensor]], Tensor]) -> Callable[..., Tensor]:
        return lambda *given: summary(hits(*given))

    def mean_of_batches(parts: list[Tensor]) -> Tensor:
        return torch.stack([part.mean() for part in parts]).mean()

    of_one: Wrong = {
        "This is the number of right answers: divide by how many there are.": (
            of(lambda parts: torch.cat(parts).sum())
        ),
        "This is a percentage: return a share from 0 to 1.": (
            of(lambda parts: 100 * torch.cat(parts).mean()),
            of(lambda parts: (100 * torch.cat(parts).mean()).floor()),
        ),
        "This is the share of *wrong* answers.": of(lambda parts: 1 - torch.cat(parts).mean()),
    }
    of_several: Wrong = {
        "This is the mean of the batches' accuracies, in which the small last batch counts as much "
        "as a whole one: add up right answers, and divide once, at the end.": of(mean_of_batches),
        "You divide by the number of batches: divide by the number of digits.": (
            of(lambda parts: torch.cat(parts).sum() / len(parts))
        ),
        "You divide as if the last, smaller batch were full: count the labels.": (
            of(lambda parts: torch.cat(parts).sum() / (len(parts) * len(parts[0])))
        ),
        "The last, smaller batch is missing.": (
            of(lambda parts: torch.cat(parts[:-1]).mean()),
            of(lambda parts: torch.cat(parts[:-1]).sum() / len(torch.cat(parts))),
        ),
    }
    return of_one | (of_several if batches else {})
