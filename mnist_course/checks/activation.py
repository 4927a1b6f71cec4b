"""Checks of the chapter on activation functions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks import compared, normal

__all__ = ["bends", "compose", "softplus", "swiglu"]


def _bends(heights: Tensor) -> Tensor:
    zero = heights.new_zeros(1)
    return torch.diff(torch.diff(heights, prepend=zero), prepend=zero)


@compared(
    cases={
        "one height, 3": (torch.tensor([3.0]).double(),),
        "the heights 1, 2, 3": (torch.tensor([1.0, 2, 3]).double(),),
        "the heights 1, 0, 1, 0": (torch.tensor([1.0, 0, 1, 0]).double(),),
        "seven random heights": (normal(7),),
    },
    mistakes={
        "For {case} these are the heights themselves. A unit goes on rising to the right of its "
        "bend: take into account what the earlier units have built by then.": lambda heights: (
            heights.clone()
        ),
        "For {case} these are the slopes of the pieces. The earlier units' slopes go on, so a unit "
        "adds only the *change* of slope at its bend.": (
            lambda heights: torch.diff(heights, prepend=heights.new_zeros(1))
        ),
        "For {case} the first weight is missing: f starts at 0, so its first piece has the slope "
        "heights[0].": (
            lambda heights: torch.diff(torch.diff(heights, prepend=heights.new_zeros(1)))
        ),
        "For {case} the sign is the wrong way round: take each slope minus the one before it.": (
            lambda heights: -_bends(heights)
        ),
    },
    right="The bends lead the line through every height.",
)
def bends(heights: Tensor) -> Tensor:
    """Check ``function(heights)``: weights of ReLU(x - k) that reach height k at x = k + 1."""
    return _bends(heights)


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


def _block(x: Tensor, gate: Tensor, value: Tensor, out: Tensor) -> Tensor:
    return (F.silu(x @ gate.T) * (x @ value.T)) @ out.T


@compared(
    cases={
        f"x of shape ({n}, {d}) and a hidden width of {h}": (
            normal(n, d), normal(h, d, seed=1), normal(h, d, seed=2), normal(d, h, seed=3),
        )
        for n, d, h in [(2, 3, 4), (5, 4, 4), (1, 6, 2)]
    },
    mistakes={
        "Value and gate have changed places: the SiLU belongs to x times w_gate.": (
            lambda x, gate, value, out: _block(x, value, gate, out)
        ),
        "The gate is a sigmoid here, which makes a GLU. SwiGLU takes SiLU.": (
            lambda x, gate, value, out: (torch.sigmoid(x @ gate.T) * (x @ value.T)) @ out.T
        ),
        "There is no activation in this: apply SiLU to x times w_gate.": (
            lambda x, gate, value, out: ((x @ gate.T) * (x @ value.T)) @ out.T
        ),
        "You apply SiLU to the product; it belongs to the gate alone.": (
            lambda x, gate, value, out: F.silu((x @ gate.T) * (x @ value.T)) @ out.T
        ),
        "You add gate and value; multiply them.": (
            lambda x, gate, value, out: (F.silu(x @ gate.T) + x @ value.T) @ out.T
        ),
        "This is the hidden layer of the block: w_out still has to lead back to width D.": (
            lambda x, gate, value, out: F.silu(x @ gate.T) * (x @ value.T)
        ),
    },
    right="It is the block of a language model, without its biases, as they are built.",
)  # fmt: skip
def swiglu(x: Tensor, w_gate: Tensor, w_value: Tensor, w_out: Tensor) -> Tensor:
    """Check ``function(x, w_gate, w_value, w_out)``: a SwiGLU block from (N, D) to (N, D)."""
    return _block(x, w_gate, w_value, w_out)


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
