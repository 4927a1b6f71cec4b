"""Networks that are the same in every run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from mnist_course.checks._comparing import normal

Network = TypeVar("Network", bound=nn.Module)


def filled(make: Callable[[], Network]) -> Network:
    """A network in eval mode, with weights and statistics of its own, variances positive."""
    with torch.random.fork_rng(devices=[]):  # new layers draw weights from the learner's generator
        network = make()
    for seed, (name, value) in enumerate(network.state_dict().items()):
        if value.is_floating_point():
            numbers = normal(*value.shape, seed=seed)
            fan_in = max(1, value[0].numel()) if value.ndim else 1
            spread = name.endswith("running_var")
            value.copy_(numbers.abs() + 0.5 if spread else numbers / fan_in**0.5)
    return network.eval()
