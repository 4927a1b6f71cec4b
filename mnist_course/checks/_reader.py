"""A network to be measured, for the exercises that ask for an accuracy."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks._comparing import normal
from mnist_course.checks._verdicts import NotSolvedError


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


def labels_for(reader: Reader, images: Tensor, wrong: list[int]) -> Tensor:
    """Labels: what the network reads, except at the ``wrong`` places."""
    labels = reader.answers(images)
    labels[wrong] = (labels[wrong] + 1) % 10
    return labels
