"""Checks of the chapter on keeping the signal alive."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks import NotSolvedError, compared, exercise, normal, run, same

__all__ = ["dead", "gain", "he_std", "initialization"]


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many numbers enter an output, and how many an input enters."""
    weight = torch.zeros(shape)
    return weight[0].numel(), weight[:, 0].numel()


@compared(
    cases={
        "a linear layer's weight of shape (64, 200)": ((64, 200),),
        "a convolution's weight of shape (32, 16, 3, 3)": ((32, 16, 3, 3),),
        "a convolution's weight of shape (8, 1, 5, 7)": ((8, 1, 5, 7),),
        "a linear layer's weight of shape (10, 3)": ((10, 3),),
    },
    mistakes={
        "This is the variance 2 / fan_in; take its square root.": lambda shape: 2 / _fans(shape)[0],
        "You counted what leaves a number, fan_out; He needs fan_in.": (
            lambda shape: (2 / _fans(shape)[1]) ** 0.5,
            lambda shape: (2 / shape[0]) ** 0.5,
        ),
        "The 2 is missing: ReLU throws half of the signal away.": (
            lambda shape: (1 / _fans(shape)[0]) ** 0.5
        ),
        "This is Xavier's rule, not He's.": lambda shape: (2 / sum(_fans(shape))) ** 0.5,
        "For {case}: you counted the channels only; an output sums over kernel positions, too.": (
            lambda shape: (2 / shape[1]) ** 0.5
        ),
    },
    right="It is the standard deviation of nn.init.kaiming_normal_ for linear and conv.",
)
def he_std(shape: tuple[int, ...]) -> float:
    """Check ``function(shape)``: He's standard deviation for a weight of a shape."""
    return (2 / _fans(shape)[0]) ** 0.5


def _silent(z: Tensor) -> Tensor:
    """Four units: asleep for one image, awake for one, asleep, and never above exactly zero."""
    z = z.clone()
    z[:, 0] = z[:, 0].abs() + 0.5
    z[0, 0] = -0.5
    z[:, 1:] = -z[:, 1:].abs() - 0.5
    z[len(z) // 2, 1] = 0.5
    z[:, 3] = torch.where(z[:, 3] < -1, z[:, 3], 0.0)
    return z


@compared(
    cases={
        "five images and four units": (_silent(normal(5, 4)),),
        "200 images and four units": (_silent(normal(200, 4)),),
        "units of which none is dead": (normal(50, 3),),
    },
    mistakes={
        "For {case} you answer for each image. A unit is a column: go through all images of it.": (
            lambda z: (z <= 0).all(1)
        ),
        "For {case} you call a unit dead that is asleep for *one* image. Dead is asleep for all.": (
            lambda z: (z <= 0).any(0)
        ),
        "For {case} you call a unit dead whose mean is negative. One image that wakes it is enough "
        "to keep it alive.": lambda z: z.mean(0) <= 0,
        "For {case} a unit with z = 0 counts as alive. ReLU's slope is 0 there, too.": (
            lambda z: (z < 0).all(0)
        ),
        "For {case} you mark the living; the question was for the dead.": (
            lambda z: (z > 0).any(0)
        ),
        "You counted the dead. Say for each unit whether it is.": lambda z: (z <= 0).all(0).sum(),
    },
    right="Dead is silent for every image, and one image is enough to live.",
)
def dead(z: Tensor) -> Tensor:
    """Check ``function(z)``: for z (images, units), which units ReLU silences for all images."""
    return (z <= 0).all(0)


@exercise
def initialization(function: Callable[[], Any]) -> str:
    """Check ``function()``: a small network whose every weight can learn from the first step."""
    network = run(function)
    if not isinstance(network, nn.Module):
        raise NotSolvedError(f"I expected a network (nn.Module), got {type(network).__name__}.")
    images = normal(64, 1, 28, 28).float()
    logits = run(network, images, may_change=[network])
    if not isinstance(logits, Tensor) or logits.shape != (64, 10):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise NotSolvedError(f"For 64 images the logits have shape {got}, not (64, 10).")
    network = copy.deepcopy(network).double()  # where a gradient of 0 is more than rounding
    _computes_what_it_did(network, images.double())
    _filters_differ(network)
    logits = run(network, images.double(), may_change=[network])
    F.cross_entropy(logits, torch.arange(64) % 10).backward()
    _every_gradient(network)
    spread = logits.std().item()
    if not 0.01 < spread < 10:
        raise NotSolvedError(
            f"Every weight learns, but the first logits have a standard deviation of {spread:.3g}: "
            "scale the weights with their fan_in, as in He's rule."
        )
    return "Every parameter receives a gradient, no two filters are equal."


def _computes_what_it_did(network: nn.Module, images: Tensor) -> None:
    """Raise what became of the network, if it is not a convolution, ReLU and a linear layer."""

    def ask(x: Tensor) -> Tensor:
        return run(network, x, may_change=[network]).detach()

    weights = {tuple(weight.shape): weight.detach() for weight in network.parameters()}
    logits, wanted = ask(images), torch.zeros(0).double()
    if set(weights) == {(8, 1, 5, 5), (8,), (10, 1152), (10,)}:
        maps = F.conv2d(images, weights[8, 1, 5, 5], weights[8,], stride=2)
        wanted = F.linear(maps.relu().flatten(1), weights[10, 1152], weights[10,])
    if same(logits, wanted):
        return
    half, other = images[:32], images[32:]
    if same(ask(half + other), ask(half) + ask(other) - ask(0 * half)):
        raise NotSolvedError(
            "The ReLU is gone: this is a linear classifier now. Mend the weights instead."
        )
    if same(logits, wanted.relu()) or same(logits, wanted.softmax(-1)):
        raise NotSolvedError(
            "There must be nothing after the last layer, no ReLU and no softmax: a network ends "
            "with logits, which may be negative."
        )
    raise NotSolvedError(
        "Leave the layers as they were, a convolution, a ReLU and a linear layer of these sizes, "
        "and mend the weights: with your weights these layers give other logits than your network."
    )


def _filters_differ(network: nn.Module) -> None:
    filters = next(p.detach() for p in network.parameters() if p.ndim == 4)
    for first, second in combinations(range(len(filters)), 2):
        if filters.any() and torch.equal(filters[first], filters[second]):
            raise NotSolvedError(
                f"Filters {first} and {second} are equal. Filters that start equal, with equal "
                "weights after them, stay equal for ever: start them at random."
            )


def _every_gradient(network: nn.Module) -> None:
    sizes = {
        name: 0.0 if parameter.grad is None else parameter.grad.abs().max().item()
        for name, parameter in network.named_parameters()
    }
    idle = [name for name, size in sizes.items() if not size > 1e-9 * max(sizes.values())]
    if idle:
        raise NotSolvedError(
            f"At the first step the gradient of {', '.join(idle)} is exactly zero. "
            + (
                "A weight's gradient is (what comes in) × (what comes back): which zeros make one "
                "of them zero?"
                if any(not weight.any() for weight in network.parameters() if weight.ndim > 1)
                else "Parts of it cancel: the errors of an image's ten scores add up to 0, so "
                "weights that are the same for all ten send nothing back."
            )
        )


def _moments(activation: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """Mean and mean square of f(z) for standard normal z, by an integral."""
    z = torch.linspace(-8, 8, 200_001, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2)
    density /= density.sum()
    y = activation(z)
    return (density * y).sum().item(), (density * y**2).sum().item()


@compared(
    cases={
        "the identity": (lambda x: x,),
        "ReLU": (torch.relu,),
        "tanh": (torch.tanh,),
        "SiLU": (F.silu,),
        "a wave, sin(2z),": (lambda x: torch.sin(2 * x),),
    },
    mistakes={
        f"For {{case}} the gain is {{answer:.3f}}, expected {{expected:.3f}}: {words}": wrong
        for words, wrong in {
            "you divided by the standard deviation of f(z), which subtracts the mean; the next "
            "layer's sum feels E[f(z)²], mean included.": (
                lambda f: (_moments(f)[1] - _moments(f)[0] ** 2) ** -0.5
            ),
            "this is 1 / E[f(z)²]; the gain belongs to a standard deviation: take the root.": (
                lambda f: 1 / _moments(f)[1]
            ),
            "this is the root of E[f(z)²]; the gain has to undo it: take 1 over it.": (
                lambda f: _moments(f)[1] ** 0.5
            ),
        }.items()
    },
    right="The gains agree with the integrals: for ReLU it is the square root of two.",
    relative=0.02,
    otherwise="If it changes from call to call, draw more z.",
)
def gain(activation: Callable[[Tensor], Tensor]) -> float:
    """Check ``function(activation)``: 1 / sqrt(E[activation(z)²]) for standard normal z."""
    return _moments(activation)[1] ** -0.5
