"""Checks of chapter 6, activation functions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks import NotSolvedError, compared, exercise, normal, run, same

__all__ = ["compose", "gain", "he_std", "initialization", "relu_backward", "softplus"]


@compared(
    cases={
        "values between about -9 and 9": (3 * normal(4, 5),),
        "x = ±1000": (torch.tensor([-1000.0, 1000]).double(),),
        "x = ±40 and 0": (torch.tensor([[-40.0, 0, 40]]).double(),),
    },
    mistakes={
        "This is exp(x) inside the logarithm without the 1, so just x again.": lambda x: x,
        "You returned 1 + exp(x): the logarithm is missing.": lambda x: 1 + x.exp(),
        "This is log(1 + exp(-x)): the sign of x is the wrong way round.": (
            lambda x: F.softplus(-x)
        ),
        "This is log(1 + exp(-|x|)), what remains of the softplus when max(x, 0) is taken away: "
        "add max(x, 0) again.": lambda x: F.softplus(-x.abs()),
    },
    right="It equals F.softplus, and no exponential overflows.",
    not_finite="Right for small x, but for {case} the result is {answer}, expected {expected}: "
    "exp(1000) is too large for a float. Write it so that exp only ever meets negative numbers.",
    avoiding=("softplus",),
)
def softplus(x: Tensor) -> Tensor:
    """Check ``function(x)``: log(1 + exp(x)) of every element, for small and for huge x."""
    return torch.logaddexp(x, torch.zeros_like(x))


@compared(
    cases={
        "random x and upstream gradients": (normal(3, 4), normal(3, 4, seed=1)),
        "x = 0": (torch.zeros(2).double(), torch.ones(2).double()),
        "x of shape (2, 3, 4, 5)": (normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)),
    },
    mistakes={
        "Right except at the corner: at x = 0 you take the slope 1, PyTorch takes 0 (use x > 0, "
        "not x >= 0).": lambda x, upstream: (x >= 0) * upstream,
        "This is the slope of ReLU; multiply it by the upstream gradient.": (
            lambda x, upstream: (x > 0).double()
        ),
        "You applied ReLU to the gradient. What decides is the sign of the *input* x; a gradient "
        "may well be negative.": lambda x, upstream: upstream.relu(),
        "You let the gradient through where x is negative.": (
            lambda x, upstream: (x <= 0) * upstream
        ),
    },
    right="It is the gradient that autograd computes, at the corner too.",
)
def relu_backward(x: Tensor, upstream: Tensor) -> Tensor:
    """Check ``function(x, upstream)``: the gradient that ReLU passes back to its input x."""
    return (x > 0) * upstream


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


def _composed(first: Tensor, second: Tensor, stride: int, *, add: bool = True) -> Tensor:
    """The composed kernel; without ``add``, the last contribution overwrites the others."""
    k1, k2 = first.shape[-1], second.shape[-1]
    size = k1 + (k2 - 1) * stride
    kernel = second.new_zeros(len(second), first.shape[1], size, size)
    for u in range(k2):
        for v in range(k2):
            place = kernel[:, :, u * stride :, v * stride :][:, :, :k1, :k1]
            part = torch.einsum("om,mcab->ocab", second[:, :, u, v], first)
            place.copy_(place + part if add else part)
    return kernel


@compared(
    cases={
        f"a {k1}×{k1} kernel of stride {stride} and then a {k2}×{k2} one": (
            normal(3, 2, k1, k1), normal(4, 3, k2, k2, seed=1), stride,
        )
        for stride, k1, k2 in [(1, 3, 3), (1, 3, 2), (2, 3, 3), (3, 4, 2), (2, 2, 5)]
    },
    mistakes={
        "Your composed kernel is the wrong way round, end to end.": (
            lambda *given: _composed(*given).flip(2, 3)
        ),
        "Some contributions were lost: where the shifted kernels overlap they add up (+=, not =).":
            lambda *given: _composed(*given, add=False),
        "For {case} the kernel is too small: the windows of the second layer lie `stride` pixels "
        "apart in the image.": lambda first, second, stride: _composed(first, second, 1),
    },
    right="One convolution does the work of two, for every stride of the first.",
    shape="the last entry is at (k1 - 1) + (k2 - 1) * stride, as the windows of the second layer "
    "lie `stride` pixels apart in the image",
)  # fmt: skip
def compose(first: Tensor, second: Tensor, stride: int) -> Tensor:
    """Check ``function(first, second, stride)``: one kernel for two convolutions in a row.

    The first convolution takes steps of ``stride``, the second of one; neither has a bias.
    """
    return _composed(first, second, stride)


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
