"""Where a network computes, and with which precision."""

from __future__ import annotations

import ctypes
import functools
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor, nn

from mnist_course.arguments import kind_of
from mnist_course.modules import dtype_of, numbers_of

T = TypeVar("T")

CHOICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str | torch.device | None = "auto") -> torch.device:
    """The device to compute on.

    Args:
        name: ``"auto"`` (or ``None``) takes an NVIDIA GPU where there is one, else Apple's, else
            the CPU; ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"`` takes what it names.

    Raises:
        TypeError: if ``name`` is neither a text nor a ``torch.device``.
        ValueError: if PyTorch knows no such device, or this machine has none.
    """
    if name is None:
        name = "auto"
    if not isinstance(name, (str, torch.device)):
        raise TypeError(f'a device is named by a text like "cpu", got {kind_of(name)}')
    if name == "auto":
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
    """Whether ``device`` is faster in bfloat16 than in float32, and does not merely support it."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # Not public yet. If PyTorch does not answer, it is float32, which is always right.
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
    users = Counter(weights.untyped_storage().data_ptr() for weights in model.parameters())
    for weights in model.parameters():
        alone = users[weights.untyped_storage().data_ptr()] == 1 and not weights.is_inference()
        if weights.ndim == 4 and weights.is_contiguous() and alone:
            weights.data = weights.data.to(memory_format=torch.channels_last)
    return model


class Place:
    """Where a network computes for a while: its device, its dtype, its layout in memory."""

    # Networks that were seen to fail in the channels-last layout.
    _plain: ClassVar[WeakSet[nn.Module]] = WeakSet()

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.model, self.device, self.dtype = model, device, dtype_of(model)

    def images(self, images: Tensor) -> Tensor:
        """Images as the network computes with them."""
        images = images.to(self.device, self.dtype)
        if self.model in self._plain:
            return images.to(memory_format=torch.contiguous_format)
        return images.contiguous(memory_format=torch.channels_last)

    def compute(self, function: Callable[[], T], undo: Callable[[], None] = lambda: None) -> T:
        """What ``function`` returns; if it fails because of the layout, once more in the plain one.

        ``x.view(len(x), -1)`` needs numbers that lie in the order of the axes, which after a
        pooling they do not if they are channels-last. ``x.flatten(1)`` takes both.

        Args:
            function: something that lets the network compute.
            undo: puts back what a failed call may have changed.
        """
        try:
            return function()
        except RuntimeError as error:
            if self.model in self._plain or not re.search("stride|channels_last", str(error)):
                raise
        self._plain.add(self.model)
        # `contiguous()` would leave weights of one input channel as they are: for it they are both.
        self.model.to(memory_format=torch.contiguous_format)
        undo()
        return function()


@contextmanager
def placed(model: nn.Module, device: torch.device) -> Iterator[Place]:
    """Move ``model`` to ``device``, its memory channels-last, and afterwards back as it was.

    Raises:
        ValueError: if the parts of the model lie on several devices.
    """
    homes = {values.device for values in numbers_of(model).values()} or {torch.device("cpu")}
    if len(homes) > 1:
        raise ValueError(
            f"the model lies on several devices ({', '.join(sorted(map(str, homes)))}); "
            "move it to one, with model.to(device)"
        )
    # The same memory comes back, with its strides, so other views of it see the new weights.
    before = [(weights, weights.data) for weights in model.parameters()]
    place = Place(model, device)
    try:
        model.to(device)
        # Inside another `placed` it is channels-last already, and stays where it is.
        if model not in place._plain:
            channels_last(model)
        yield place
    finally:
        model.to(homes.pop())
        for weights, data in before:
            if weights.data_ptr() != data.data_ptr():
                with torch.inference_mode(data.is_inference()):
                    data.copy_(weights.data)
                weights.data = data


def lay_state(optimizer: torch.optim.Optimizer) -> None:
    """Lay the state of an optimiser out in memory as its weights are, as fused steps expect it."""
    for weights, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weights.shape:
                state[name] = torch.empty_like(weights, dtype=value.dtype).copy_(value)


@contextmanager
def advice_on_memory(batch_size: int) -> Iterator[None]:
    """Say which batch size to try when a batch does not fit into memory.

    Raises:
        MemoryError: instead of what PyTorch raises.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # Without an NVIDIA GPU, running out of memory has no type of its own.
        known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not known and not re.search("allocate memory|out of memory", str(error)):
            raise
        if batch_size == 1:
            raise MemoryError(
                "a batch of a single digit does not fit into memory; take a smaller network"
            ) from error
        raise MemoryError(
            f"a batch of {batch_size} digits does not fit into memory; "
            f"try a batch_size of {batch_size // 2} (in training with a lower learning rate), "
            "or a smaller network"
        ) from error


@functools.cache
def keep_memory() -> bool:
    """Let this process keep the memory that it frees, to use it again, where that is possible.

    The C library of Linux gives every buffer of a megabyte or so back to the system as soon as it
    is freed. The next step of a training fetches it anew, page by page and filled with zeros.
    Returns whether that was stopped; other C libraries are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    trim_threshold, mmap_threshold = -1, -3  # their names in malloc.h: M_TRIM…, M_MMAP_THRESHOLD
    return bool(mallopt(mmap_threshold, 32 << 20) and mallopt(trim_threshold, 512 << 20))


Update = Callable[[Tensor, Tensor], Tensor]

_USUAL_CALLS = 3  # of a step, before one is recorded


def recorded(update: Update, device: torch.device) -> Update:
    """Record a training step as a CUDA graph, so that one call starts all its kernels at once.

    A step of a small network is some hundred kernels of a few microseconds each; starting them
    one by one takes the CPU longer than running them takes the GPU.

    Args:
        update: a function of tensors of one shape, which waits for nothing and does not branch on
            the value of a tensor. What it changes (weights, the optimiser's state, gradients) must
            stay where it is in memory, and its optimiser be ``capturable``.
        device: a CUDA device.

    Returns:
        A function that does the same. Every call is one step; the first three run as usual, to
        warm up, before one is recorded.

    Raises:
        ValueError: if the device is not a CUDA device.
    """
    if device.type != "cuda":
        raise ValueError(f"only an NVIDIA GPU records CUDA graphs, got {str(device)!r}")
    side, graph = torch.cuda.Stream(device), torch.cuda.CUDAGraph()
    inputs: list[Tensor] = []
    output: list[Tensor] = []
    calls = 0

    def step(*tensors: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls <= _USUAL_CALLS:
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
