"""Checks of the chapter on activation functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mnist_course.checks import Verdict, compare, right, run, wrong

__all__ = ["compose", "gain", "he_std", "initialization", "relu_backward", "softplus"]


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def softplus(function: Callable[[torch.Tensor], Any]) -> Verdict:
    """Check ``function(x)``: log(1 + exp(x)) of every element, for small and for huge x."""
    x = 3 * _normal(4, 5)
    verdict = compare(
        run(function, x),
        F.softplus(x),
        "values between about -9 and 9",
        hints=[
            ("This is exp(x) inside the logarithm without the 1, so just x again.", x),
            ("You returned 1 + exp(x): the logarithm is missing.", 1 + x.exp()),
            ("This is log(1 + exp(-x)): the sign of x is turned round.", F.softplus(-x)),
            ("This is the derivative of the softplus, the sigmoid.", torch.sigmoid(x)),
            ("This is the ReLU: the softplus has no corner.", x.relu()),
        ],
    )
    if verdict is not None:
        return verdict
    large = torch.tensor([-1000.0, 1000.0], dtype=torch.float64)
    answer = run(function, large)
    if isinstance(answer, torch.Tensor) and not torch.isfinite(answer).all():
        return wrong(
            f"Right for small x, but softplus(-1000), softplus(1000) came out as "
            f"{answer.tolist()}, expected [0, 1000]: exp(1000) is too large for a float. "
            "Write it so that exp only ever meets negative numbers."
        )
    verdict = compare(answer, torch.tensor([0.0, 1000.0], dtype=torch.float64), "x = ±1000")
    return (
        verdict
        if verdict is not None
        else right("It equals F.softplus, and no exponential overflows.")
    )


def relu_backward(function: Callable[[torch.Tensor, torch.Tensor], Any]) -> Verdict:
    """Check ``function(x, upstream)``: the gradient that ReLU passes back to its input x."""
    x, upstream = _normal(3, 4), _normal(3, 4, seed=1)
    mask = (x > 0).double()
    verdict = compare(
        run(function, x, upstream),
        mask * upstream,
        "random x and upstream gradients",
        hints=[
            ("This is the slope of ReLU; multiply it by the upstream gradient.", mask),
            (
                "You applied ReLU to the gradient. What decides is the sign of the *input* x; a "
                "gradient may well be negative.",
                upstream.relu(),
            ),
            ("You let the gradient through where x is negative.", (1 - mask) * upstream),
            ("You multiplied by ReLU(x); its *derivative* is 0 or 1.", x.relu() * upstream),
            ("Nothing is stopped: where x is negative the slope is 0.", upstream),
        ],
    )
    if verdict is not None:
        return verdict
    zero = torch.zeros(2, dtype=torch.float64)
    verdict = compare(
        run(function, zero, torch.ones_like(zero)),
        zero,
        "x = 0",
        hints=[
            (
                "Right except at the corner: at x = 0 you take the slope 1, PyTorch takes 0 "
                "(use x > 0, not x >= 0).",
                torch.ones_like(zero),
            )
        ],
    )
    return (
        verdict
        if verdict is not None
        else right("It is the gradient that autograd computes, at the corner too.")
    )


def he_std(function: Callable[[tuple[int, ...]], Any]) -> Verdict:
    """Check ``function(shape)``: He's standard deviation for a weight of a shape."""
    cases = {
        "a linear layer's weight of shape (64, 200)": (64, 200),
        "a convolution's weight of shape (32, 16, 3, 3)": (32, 16, 3, 3),
        "a convolution's weight of shape (8, 1, 5, 7)": (8, 1, 5, 7),
    }
    for case, shape in cases.items():
        weight = torch.zeros(shape, dtype=torch.float64)
        fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()

        def root(value: float) -> torch.Tensor:
            return torch.tensor(value, dtype=torch.float64).sqrt()

        answer = run(function, shape)
        if isinstance(answer, float):
            answer = torch.tensor(answer, dtype=torch.float64)
        verdict = compare(
            answer,
            root(2 / fan_in),
            case,
            tolerance=1e-6,  # the learner may have computed in float32
            hints=[
                ("This is the variance 2 / fan_in; take its square root.", root(2 / fan_in) ** 2),
                ("You counted what leaves a number, fan_out; He needs fan_in.", root(2 / fan_out)),
                ("The 2 is missing: ReLU throws half of the signal away.", root(1 / fan_in)),
                ("This is Xavier's rule, not He's.", root(2 / (fan_in + fan_out))),
                (
                    f"For {case}: each output sums over all input channels *and* all kernel "
                    "positions; you counted the channels only.",
                    root(2 / shape[1]),
                ),
                (
                    f"For {case}: you counted the whole weight; one output meets only one filter, "
                    "weight[0].",
                    root(2 / weight.numel()),
                ),
            ],
        )
        if verdict is not None:
            return verdict
    return right("It is the standard deviation of nn.init.kaiming_normal_ for linear and conv.")


def _overwritten(first: torch.Tensor, second: torch.Tensor, stride: int) -> torch.Tensor:
    """The composed kernel with ``=`` in place of ``+=``."""
    k1, k2 = first.shape[-1], second.shape[-1]
    size = k1 + (k2 - 1) * stride
    kernel = second.new_zeros(len(second), first.shape[1], size, size)
    for u in range(k2):
        for v in range(k2):
            rows, columns = slice(u * stride, u * stride + k1), slice(v * stride, v * stride + k1)
            kernel[:, :, rows, columns] = torch.einsum("om,mcab->ocab", second[:, :, u, v], first)
    return kernel


def compose(function: Callable[[torch.Tensor, torch.Tensor, int], Any]) -> Verdict:
    """Check ``function(first, second, stride)``: one kernel for two convolutions in a row.

    The first convolution takes steps of ``stride``, the second of one; neither has a bias.
    """
    for stride, kernel1, kernel2 in [(1, 3, 3), (1, 3, 2), (2, 3, 3), (3, 4, 2)]:
        first, second = _normal(3, 2, kernel1, kernel1), _normal(4, 3, kernel2, kernel2, seed=1)
        size = kernel1 + (kernel2 - 1) * stride
        # The answers to images with a single 1 are the entries of the composed kernel.
        single = torch.eye(2 * size * size, dtype=torch.float64).reshape(-1, 2, size, size)
        both = F.conv2d(F.conv2d(single, first, stride=stride), second)
        expected = both.reshape(-1, 4).T.reshape(4, 2, size, size)
        case = f"a {kernel1}×{kernel1} kernel of stride {stride} and then a {kernel2}×{kernel2} one"
        answer = run(function, first, second, stride)
        if isinstance(answer, torch.Tensor) and answer.shape[2:] != expected.shape[2:]:
            look = (
                "the windows of the second layer lie `stride` pixels apart in the image"
                if stride > 1
                else "the last entry is at (k1 - 1) + (k2 - 1)"
            )
            return wrong(
                f"For {case} the kernel has shape {tuple(answer.shape)}, expected "
                f"(4, 2, {size}, {size}): {look}."
            )
        verdict = compare(
            answer,
            expected,
            case,
            hints=[
                ("Your composed kernel is turned round, end to end.", expected.flip(2, 3)),
                (
                    "Some contributions were lost: where the shifted kernels overlap they add up "
                    "(+=, not =).",
                    _overwritten(first, second, stride),
                ),
            ],
        )
        if verdict is not None:
            return verdict
    return right("One convolution does the work of two, for every stride of the first.")


def initialization(function: Callable[[], Any]) -> Verdict:
    """Check ``function()``: a small network whose every weight can learn from the first step."""
    torch.manual_seed(0)
    network = run(function)
    if isinstance(network, Verdict):
        return network
    if not isinstance(network, nn.Module):
        return wrong(f"I expected a network (nn.Module), got {type(network).__name__}.")
    images = _normal(64, 1, 28, 28).float()
    labels = torch.arange(64) % 10
    logits = run(network, images)
    if isinstance(logits, Verdict):
        return logits
    if tuple(logits.shape) != (64, 10):
        return wrong(f"For 64 images the logits have shape {tuple(logits.shape)}, not (64, 10).")
    if not any(isinstance(layer, nn.ReLU) for layer in network.modules()):
        return wrong("The ReLU is gone: this is a linear classifier now. Mend the weights instead.")
    F.cross_entropy(logits, labels).backward()
    idle = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    if idle:
        return wrong(
            f"At the first step the gradient of {', '.join(idle)} is exactly zero. A weight's "
            "gradient is (what comes in) × (what comes back): which zeros make one of them zero?"
        )
    for name, parameter in network.named_parameters():
        if parameter.ndim == 4 and (parameter == parameter[:1]).all():
            return wrong(
                f"All {len(parameter)} filters of {name} are equal, so they get equal gradients "
                "and stay equal for ever: start them at random."
            )
    if (logits >= 0).all() and (logits == 0).any():
        return wrong("No score is negative: there must be no ReLU after the last layer.")
    spread = float(logits.detach().std())
    if not 0.01 < spread < 10:
        return wrong(
            f"Every weight learns, but the first logits have a standard deviation of {spread:.3g}: "
            "scale the weights with their fan_in, as in He's rule."
        )
    return right("Every parameter receives a gradient, no two filters are equal.")


def gain(function: Callable[[Callable[[torch.Tensor], torch.Tensor]], Any]) -> Verdict:
    """Check ``function(activation)``: 1 / sqrt(E[activation(z)²]) for standard normal z."""
    z = torch.linspace(-8, 8, 200_001, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2) / torch.exp(-(z**2) / 2).sum()
    activations: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "the identity": lambda x: x,
        "ReLU": torch.relu,
        "tanh": torch.tanh,
        "SiLU": F.silu,
    }
    for name, activation in activations.items():
        mean = float((density * activation(z)).sum())
        square = float((density * activation(z) ** 2).sum())
        answer = run(function, activation)
        if isinstance(answer, Verdict):
            return answer
        try:
            value = float(answer)
        except (TypeError, ValueError, RuntimeError):
            return wrong(f"For {name} I expected one number, got {type(answer).__name__}.")
        expected = square**-0.5
        if abs(value / expected - 1) < 0.02:
            continue
        mistakes = {
            "you divided by the standard deviation of f(z), which subtracts the mean; the next "
            "layer's sum feels E[f(z)²], mean included": (square - mean**2) ** -0.5,
            "this is 1 / E[f(z)²]; the gain belongs to a standard deviation: take the root": 1
            / square,
            "this is the root of E[f(z)²]; the gain has to undo it: take 1 over it": square**0.5,
        }
        for explanation, mistake in mistakes.items():
            if abs(value / mistake - 1) < 0.02:
                return wrong(
                    f"For {name} the gain is {value:.3f}, expected {expected:.3f}: {explanation}."
                )
        return wrong(
            f"For {name} the gain is {value:.3f}, expected {expected:.3f} (within 2 %). If it "
            "changes from call to call, draw more z."
        )
    return right("The gains agree with the integrals: for ReLU it is the square root of two.")
