"""The course's own trained network, ready to read digits.

How it was trained, and how well it reads, stands in ``weights/README.md``.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from mnist_course.checkpoints import load_network

WEIGHTS = Path(__file__).parent / "weights" / "pretrained.safetensors"
"""The weights that ship with the package."""


def load(path: str | Path | None = None) -> nn.Module:
    """A trained network, in eval mode on the CPU.

    Args:
        path: a ``.safetensors`` file written by :func:`mnist_course.train.fit`; the network that
            ships with the course if not given.

    Returns:
        A network from pixels ``(N, 1, 28, 28)`` in [0, 1] to logits ``(N, 10)``.

    Raises:
        CheckpointError: if the file is missing, damaged, or holds weights of an unknown network.
    """
    return load_network(WEIGHTS if path is None else path)
