"""A small network that notes what it is asked, and slopes of its answers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mnist_course.checks._networks import filled


class AskedNetwork(nn.Sequential):
    """From (N, 1, H, W) to four logits. It notes the pictures that it is asked about."""

    def __init__(self, H: int, W: int) -> None:
        maps = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        head = nn.AvgPool2d(2), nn.Flatten(), nn.Linear(H // 2 * (W // 2) * 4, 4)
        super().__init__(*maps, *head)
        self.double()
        self.asked: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        self.asked.append(x.detach().clone())
        logits: Tensor = super().forward(x)
        return logits


def network(H: int, W: int) -> AskedNetwork:
    """It is the same in every run, and in eval mode."""
    return filled(lambda: AskedNetwork(H, W))


def slope(score: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of the sum of these scores of ``x``."""
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(score(x).sum(), x)[0]


def at(t: Tensor) -> Callable[[Tensor], Tensor]:
    """Takes of each row of scores the one of its own class."""
    return lambda scores: scores[torch.arange(len(t)), t]


def logit_slope(model: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    """The slope of the logit ``t[n]`` at picture n."""
    return slope(lambda x: at(t)(model(x)), x)
