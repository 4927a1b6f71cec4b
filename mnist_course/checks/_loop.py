"""A small training, always the same, for the exercises about the loop."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks._comparing import normal, uniform
from mnist_course.checks._reader import Batch


def classifier(*layers: nn.Module) -> nn.Sequential:
    """A small classifier of five numbers into three classes, in float64, always the same."""
    torch.default_generator.manual_seed(0)  # the check's own, see `exercise`
    return nn.Sequential(nn.Linear(5, 4), *layers, nn.Tanh(), nn.Linear(4, 3)).double()


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum at a bold rate."""
    return torch.optim.SGD(network.parameters(), lr=0.3, momentum=0.9)


def some_batches(*sizes: int) -> list[Batch]:
    """Batches of these sizes, always the same."""
    return [
        (normal(size, 5, seed=seed), (3 * uniform(size, seed=seed)).long())
        for seed, size in enumerate(sizes)
    ]


def state_of(network: nn.Module) -> list[Tensor]:
    """Copies of all weights and buffers."""
    return [value.clone() for value in network.state_dict().values()]


def equal(a: list[Tensor], b: list[Tensor]) -> bool:
    """Whether two states are the same to the last bit."""
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def train(
    network: nn.Module, optimizer: torch.optim.Optimizer, data: list[Batch], *, clear: bool = True
) -> list[float]:
    """A step for each batch; without ``clear``, gradients add up."""
    losses = []
    for images, labels in data:
        if clear:
            optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
