"""Where a network computes, and with which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

CHOICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str | torch.device | None = "auto") -> torch.device:
    """The device to compute on.

    Args:
        name: ``"auto"`` (or ``None``) takes an NVIDIA GPU where there is one, else Apple's, else
            the processor; ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"`` takes what it names.

    Raises:
        ValueError: if PyTorch knows no such device, or this machine has none.
    """
    if name is None or name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    unknown = ValueError(f"unknown device {str(name)!r}; choose one of {', '.join(CHOICES)}")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise unknown from None
    if device.type not in CHOICES:
        raise unknown
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }[device.type]
    if (device.index or 0) >= count:
        raise ValueError(
            f"this machine has no device {str(device)!r} that PyTorch can use; "
            f'choose "auto", which takes {choose_device("auto").type!r} here'
        )
    return device


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` computes in bfloat16 faster than in float32, not merely correctly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # Not public yet; a PyTorch that does not answer gets float32, which is always right.
        questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, question, bool)() for question in questions)
    return False


@contextmanager
def placed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Move ``model`` to ``device``, its memory channels-last, and afterwards back as it was."""
    weights = list(model.parameters())
    home = weights[0].device if weights else torch.device("cpu")
    # Inside another `placed` it is channels-last already, and an optimiser relies on it to stay so.
    plain = all(w.is_contiguous() for w in weights)
    try:
        model.to(device).to(memory_format=torch.channels_last)
        yield
    finally:
        model.to(home)
        if plain:
            model.to(memory_format=torch.contiguous_format)
