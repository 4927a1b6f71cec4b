"""The course's own trained network, ready to read digits.

How it was trained, and how well it reads, is in ``weights/README.md``.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from mnist_course.checkpoints import load_network

WEIGHTS = Path(__file__).parent / "weights" / "pretrained.safetensors"
"""The weights that ship with the package."""
MNIST_ONLY = WEIGHTS.with_name("mnist_only.safetensors")
"""Weights that the same network learned from MNIST alone. It reads fewer hands, and is where
fine-tuning and the question of populations begin. ``load_network(MNIST_ONLY)`` builds it."""


def load() -> nn.Module:
    """The network that ships with the course, in eval mode on the CPU.

    :func:`mnist_course.checkpoints.load_network` loads one from a file of your own.

    Returns:
        A network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits ``(N, 10)``.

    Raises:
        CheckpointError: if the file of the package is missing or damaged.
    """
    return load_network(WEIGHTS)
