"""Where a network computes, and with which precision."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Iterator
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


def channels_last(model: nn.Module) -> nn.Module:
    """Lay the weights of convolutions out channels-last, in place, and return ``model``.

    PyTorch picks the layout of a convolution's output by the strides of its input and weights, and
    pooling is many times faster on channels-last numbers. Images with a single channel are the same
    memory in both layouts, so for the first convolution it is the weights that decide. No number
    changes.
    """
    return model.to(memory_format=torch.channels_last)


@contextmanager
def placed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Move ``model`` to ``device``, its memory channels-last, and afterwards back as it was."""
    weights = list(model.parameters())
    home = weights[0].device if weights else torch.device("cpu")
    # Inside another `placed` it is channels-last already, and an optimiser relies on it to stay so.
    # Strides tell; where there is one input channel, `is_contiguous` says yes to both layouts.
    plain = all(
        w.stride() == torch.empty_like(w, memory_format=torch.contiguous_format).stride()
        for w in weights
    )
    try:
        channels_last(model.to(device))
        yield
    finally:
        model.to(home)
        if plain:
            model.to(memory_format=torch.contiguous_format)


@functools.cache
def keep_memory() -> bool:
    """Let this process keep memory that it has freed, to use it again; once, where that can be.

    The C library of Linux gives every buffer of a megabyte or so back to the system as soon as it
    is freed, and fetches it anew, page by page and filled with zeros, in the next step of a
    training. Returns whether that was stopped: other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    trim_threshold, mmap_threshold = -1, -3  # their names in malloc.h: M_TRIM…, M_MMAP_THRESHOLD
    return bool(mallopt(mmap_threshold, 32 << 20) and mallopt(trim_threshold, 512 << 20))


Update = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def recorded(update: Update, device: torch.device, warmup: int = 3) -> Update:
    """Record a training step as a CUDA graph, so that one call starts all its kernels at once.

    A step of a small network is some hundred kernels of a few microseconds each; starting them
    one by one takes the processor longer than the GPU needs to run them.

    Args:
        update: a function of tensors of one shape, which waits for nothing and decides nothing by
            the value of a tensor. What it changes (weights, the optimiser's state, gradients) must
            stay where it is in memory, and its optimiser be ``capturable``.
        device: a CUDA device.
        warmup: how many of the first calls run as usual, before one is recorded.

    Returns:
        A function that does the same. Every call is one step, those of the warm-up too.

    Raises:
        ValueError: if the device is not a CUDA device.
    """
    if device.type != "cuda":
        raise ValueError(f"only an NVIDIA GPU records CUDA graphs, got {str(device)!r}")
    side, graph = torch.cuda.Stream(device), torch.cuda.CUDAGraph()
    inputs: list[torch.Tensor] = []
    output: list[torch.Tensor] = []
    calls = 0

    def step(*tensors: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls <= warmup:
            side.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(side):
                result = update(*tensors)
            torch.cuda.current_stream(device).wait_stream(side)
            return result
        if not inputs:
            inputs.extend(tensor.clone() for tensor in tensors)
            with torch.cuda.graph(graph):
                output.append(update(*inputs).detach())
        for place, tensor in zip(inputs, tensors, strict=True):
            place.copy_(tensor)
        graph.replay()
        return output[0].clone()

    return step
