"""One training in a process group that ``torchrun`` started: each takes a share of each batch.

Every process holds the whole data set and the whole network, and draws the same batch with the
same augmentation; then each takes its own part of it. ``DistributedDataParallel`` averages the
gradients, and batch norm measures the whole batch. So all processes make the same step, and up to
rounding it is the step that one process alone would make with the whole batch. Only the numbers
that a network draws itself, in dropout, are different.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")


class TeamError(RuntimeError):
    """Another process of the team is gone, so this one cannot go on."""


@dataclass(frozen=True)
class Team:
    """The process group of a training, seen from one of its processes.

    Attributes:
        rank: the number of this one, from 0; the first one writes files and speaks.
        size: how many there are; 1 where nothing is shared.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def share(self, *whole: Tensor) -> tuple[Tensor, ...]:
        """This process's part of each of the tensors, along their first axis."""
        if self.size == 1:
            return whole
        # From here on random numbers are the network's own: other images, other numbers.
        torch.manual_seed(torch.initial_seed() + 2 * self.rank)
        return tuple(tensor.chunk(self.size)[self.rank] for tensor in whole)

    def mean(self, numbers: Tensor) -> Tensor:
        """The mean over the processes, for each of the numbers."""
        if self.size > 1:
            distributed.all_reduce(numbers)
        return numbers / self.size

    def from_first(self, function: Callable[[], T]) -> T:
        """Call ``function`` in the first process only; all get what it returned."""
        if self.size == 1:
            return function()
        answer = [function() if self.is_first else None]
        distributed.broadcast_object_list(answer)
        return answer[0]  # type: ignore[return-value]

    @contextmanager
    def joined(self, model: nn.Module) -> Iterator[nn.Module]:
        """``model`` as a network whose gradients are those of the whole batch."""
        if self.size == 1:
            yield model
            return
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        try:
            for norm in norms:
                # Looked up before the method of the class, until it is taken away again.
                norm.__dict__["forward"] = partial(_norm_of_whole_batch, norm, self)
            yield nn.parallel.DistributedDataParallel(model)
        finally:
            for norm in norms:
                norm.__dict__.pop("forward", None)


def team() -> Team:
    """The team that :func:`started` made; otherwise this process alone."""
    if distributed.is_available() and distributed.is_initialized():
        return Team(distributed.get_rank(), distributed.get_world_size())
    return Team()


def is_started_by_torchrun() -> bool:
    """Whether ``torchrun`` started this process, with others or alone."""
    return distributed.is_available() and distributed.is_torchelastic_launched()


@contextmanager
def started(device: torch.device) -> Iterator[Team]:
    """Join the process group that ``torchrun`` started, until the ``with`` block ends.

    Messages travel by NCCL between NVIDIA GPUs, one for each process of a machine, else by gloo.

    Raises:
        TeamError: if another process ended while this one waited for it.
    """
    if not is_started_by_torchrun():
        yield Team()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield team()
    except RuntimeError as error:
        if isinstance(error, distributed.DistError) or "gloo" in str(error):
            raise TeamError("stopped, because another process did; its message says why") from error
        raise
    finally:
        distributed.destroy_process_group()


class _Sum(torch.autograd.Function):
    """The sum over the processes: what changes in one of them changes the result in all."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


def _norm_of_whole_batch(norm: nn.modules.batchnorm._BatchNorm, team: Team, x: Tensor) -> Tensor:
    """Batch norm with mean and variance over the parts of all processes.

    ``nn.SyncBatchNorm`` does it on GPUs only; this needs nothing but sums over the processes.
    """
    if not norm.training:
        return type(norm).forward(norm, x)
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    count = team.size * x.numel() / x.shape[1]
    values = x if x.dtype == torch.float64 else x.float()
    mean = _Sum.apply(values.sum(axes)) / count
    centred = values - mean.view(shape)
    # Two passes: the mean of the squares less the square of the mean would lose digits.
    variance = _Sum.apply(centred.square().sum(axes)) / count
    if norm.running_mean is not None and norm.running_var is not None:
        with torch.no_grad():
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked += 1
            share = norm.momentum
            if share is None:
                share = 1 / float(norm.num_batches_tracked)  # type: ignore[arg-type]
            norm.running_mean.lerp_(mean, share)
            norm.running_var.lerp_(variance * count / (count - 1), share)
    y = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    return y.to(x.dtype)
