"""Checks of chapter 22, looking inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mnist_course.checks import NotSolvedError, compare, compared, exercise, normal, run, uniform
from mnist_course.checks._gradients import at, logit_slope, network, slope
from mnist_course.checks._networks import filled

__all__ = ["cam", "integrated", "outputs", "saliency"]


def _nested() -> nn.Module:
    """Layers in layers, in train mode, in which the first overwrites its own numbers."""
    body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True))
    head = nn.Sequential(nn.Flatten(), nn.Linear(72, 5))
    return nn.Sequential(body, head).double()


def _kept(model: nn.Module, names: list[str], x: Tensor) -> dict[str, Tensor]:
    kept: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda layer, inputs, output, name=name: kept.update({name: output.detach().clone()})
        )
        for name in names
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return kept


@exercise
def outputs(function: Callable[[nn.Module, list[str], Tensor], Any]) -> str:
    """Check ``function(model, names, x)``: the outputs of the named layers, by name."""
    x = uniform(3, 1, 6, 8)
    for model, names in (
        (network(6, 8), ["0", "1", "5"]),
        (filled(_nested).train(), ["1.1", "0.0", "0"]),
    ):
        answer = run(function, model, names, x)
        if not isinstance(answer, dict):
            raise NotSolvedError(
                f"I expected a dictionary from names to tensors, got {type(answer).__name__}."
            )
        if set(answer) != set(names):
            got = ", ".join(sorted(map(str, answer))) or "none"
            raise NotSolvedError(
                f"I asked for the layers {', '.join(names)}, and got: {got}. If only the last name "
                "is there, the hooks all read the loop's variable after its end: bind it with "
                "`name=name`."
            )
        for name, expected in _kept(model, names, x).items():
            mistakes = {
                "You keep only the first picture of the batch; all of them were asked for.": (
                    expected[0]
                ),
                f"The numbers of layer {name!r} have been overwritten by the in-place ReLU behind "
                "it: keep a clone().": expected.relu(),
            }
            compare(answer[name], expected, f"layer {name!r} and 3 pictures", mistakes=mistakes)
    return "Every layer is kept as it was, and no hook is left behind."


def _weighted(maps: Tensor, gradients: Tensor) -> Tensor:
    return gradients.mean((1, 2), keepdim=True) * maps


@compared(
    cases={
        f"maps of shape {C} × {H} × {W}": (
            uniform(C, H, W, seed=C), sign * normal(C, H, W, seed=C),
        )
        for C, H, W, sign in ((2, 3, 3, 1), (3, 4, 4, 1), (5, 3, 6, 1), (1, 2, 2, 1), (1, 2, 2, -1))
    },
    mistakes={
        "The ReLU is missing: what speaks against the digit is negative, and is to be 0.": (
            lambda m, g: _weighted(m, g).sum(0)
        ),
        "The weights are not averaged: each gradient multiplies its own cell. Take the mean over "
        "rows and columns first.": (
            lambda m, g: (g * m).sum(0).relu(), lambda m, g: (g * m).sum(0),
        ),
        "You took ReLU before adding, of the weights or of each weighted map: then maps that speak "
        "against the digit cannot take anything away. Add first.": (
            lambda m, g: _weighted(m, g).relu().sum(0)
        ),
        "You took the absolute value: what speaks against the digit must be 0.": (
            lambda m, g: _weighted(m, g).sum(0).abs()
        ),
        "The weights are sums over rows and columns; take the mean.": (
            lambda m, g: _weighted(m, g).sum(0).relu() * g[0].numel()
        ),
        "You took the mean over the channels; add them up.": (
            lambda m, g: _weighted(m, g).mean(0).relu()
        ),
        "The weight of a map is the largest of its gradients; take their mean.": (
            lambda m, g: (g.amax((1, 2), keepdim=True) * m).sum(0).relu()
        ),
        "The mean goes over the channels: each map needs its own, over rows and columns.": (
            lambda m, g: (g.mean(0) * m).sum(0).relu()
        ),
        "This is Grad-CAM divided by its largest value, as for a picture: return it as it is.": (
            lambda m, g: _weighted(m, g).sum(0).relu() / _weighted(m, g).sum(0).max()
        ),
    },
    right="Weights averaged over each map, maps added up, and only what speaks for it.",
)  # fmt: skip
def cam(maps: Tensor, gradients: Tensor) -> Tensor:
    """Check ``function(maps, gradients)``: Grad-CAM (H, W) from two tensors (C, H, W)."""
    return _weighted(maps, gradients).sum(0).relu()


def _unlikely(N: int, H: int, W: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A network, pictures, and classes that are never the likeliest, of each picture another."""
    model, x = network(H, W), uniform(N, 1, H, W, seed=N)
    with torch.no_grad():
        order = model(x).argsort(1)
    return model, x, order[torch.arange(N), torch.arange(N) % 3]


def _slope_of(score: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A mistake: the slope of another number than the logit of class ``t``."""
    return lambda model, x, t: slope(lambda x: score(model(x), t), x)


_of_the_probability = _slope_of(lambda z, t: at(t)(z.softmax(1)))
_of_the_largest_probability = _slope_of(lambda z, t: z.softmax(1).amax(1))


@compared(
    cases={
        f"{N} picture{'s' * (N > 1)} of {H}×{W}": _unlikely(N, H, W)
        for N, H, W in ((3, 6, 8), (1, 8, 8), (4, 8, 6))
    },
    mistakes={
        "This is the slope of the probability, which saturates: take the logit itself.": (
            _of_the_probability
        ),
        "This is the slope of the log-probability, in which the other logits have a part.": (
            _slope_of(lambda z, t: at(t)(z.log_softmax(1)))
        ),
        "You take the class with the largest logit, not the class asked for, `t`.": (
            _slope_of(lambda z, t: z.amax(1))
        ),
        "You take the probability of the most probable class: take the logit of the class `t`.": (
            _of_the_largest_probability
        ),
        "The signs are gone: return the slope itself.": lambda *given: logit_slope(*given).abs(),
        "This is multiplied by the picture; I asked for the slope.": (
            lambda model, x, t: x * logit_slope(model, x, t)
        ),
        "`model(x)[:, t]` takes all classes in t for every picture: "
        "`model(x)[torch.arange(len(x)), t]` takes one each.": _slope_of(
            lambda z, t: z[:, t].sum(1)
        ),
        "For {case} this is the slope divided by the number of pictures: the mean makes a map "
        "depend on how many pictures are in the batch. Take the sum.": (
            lambda model, x, t: logit_slope(model, x, t) / len(x),
            lambda model, x, t: _of_the_probability(model, x, t) / len(x),
            lambda model, x, t: _of_the_largest_probability(model, x, t) / len(x),
        ),
    },
    right="The slope of the logit that was asked for, and nothing is left behind.",
)
def saliency(model: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    """Check ``function(model, x, t)``: the slope of logit ``t[n]`` at picture n, (N, 1, H, W)."""
    return logit_slope(model, x, t)


def _mean_slope(f: Any, x: Tensor, baseline: Tensor, shares: Tensor) -> Tensor:
    """The mean gradient at these shares of the way from the baseline to ``x``."""
    return slope(f, baseline + shares.view(-1, *[1] * x.ndim) * (x - baseline)).mean(0)


def _integrated(shares: Callable[[int], Tensor]) -> Callable[..., Tensor]:
    """Integrated gradients, with the gradients at these shares of the way."""
    return lambda f, x, b, steps: (x - b) * _mean_slope(f, x, b, shares(steps))


def _middles(steps: int) -> Tensor:
    return (torch.arange(steps).double() + 0.5) / steps


_by_middles = _integrated(_middles)


def _curved(x: Tensor) -> Tensor:
    """A function of pictures (M, …) whose gradient is another everywhere."""
    x = x.flatten(1)
    return (x @ normal(x.shape[1], 5, seed=1)).tanh().sum(1) + x.pow(3).sum(1)


@compared(
    cases={
        f"a picture of shape {shape}, {steps} step{'s' * (steps > 1)}"
        + f" and a baseline of {'zero' if zero else 'its own'}": (
            _curved, uniform(*shape), (0 if zero else 1) * uniform(*shape, seed=1), steps,
        )
        for shape, steps, zero in (
            ((3,), 4, True), ((1, 4, 4), 1, True), ((1, 4, 5), 7, False), ((2, 3, 2), 50, False),
        )
    },
    mistakes={
        "The factor (x - baseline) is missing: this is the mean gradient only.": (
            lambda f, x, b, steps: _mean_slope(f, x, b, _middles(steps))
        ),
        "The places are the left ends of the pieces; take their middles, (m + 1/2) / M.": (
            _integrated(lambda steps: torch.arange(steps).double() / steps)
        ),
        "The places are the right ends of the pieces; take their middles, (m + 1/2) / M.": (
            _integrated(lambda steps: (torch.arange(steps).double() + 1) / steps)
        ),
        "The places go from 0 to 1 with both ends; take the middles of M equal pieces.": (
            _integrated(lambda steps: torch.linspace(0, 1, steps, dtype=torch.float64)),
            _integrated(lambda steps: torch.linspace(0, 1, steps + 1, dtype=torch.float64)),
        ),
        "This is the gradient at x times the way: take the mean over the whole way.": (
            _integrated(lambda steps: torch.ones(1).double())
        ),
        "The gradients are added up; take their mean.": (
            lambda *given: _by_middles(*given) * given[3]
        ),
        "You divide by the number of steps twice: f(…).mean() has divided each gradient already.": (
            lambda *given: _by_middles(*given) / given[3]
        ),
        "The sign is turned: the way leads from the baseline to x.": (
            lambda *given: -_by_middles(*given)
        ),
        "The factor is x; it must be x - baseline, the way.": (
            lambda f, x, b, steps: x * _mean_slope(f, x, b, _middles(steps))
        ),
        "The way begins at zero; it must begin at the baseline.": (
            lambda f, x, b, steps: (x - b) * _mean_slope(f, x, 0 * x, _middles(steps))
        ),
        "The baseline is ignored: both the way and the factor begin at zero.": (
            lambda f, x, b, steps: _by_middles(f, x, 0 * x, steps)
        ),
    },
    right="Middles of the pieces, their mean, times the way from the baseline.",
)  # fmt: skip
def integrated(f: Any, x: Tensor, baseline: Tensor, steps: int) -> Tensor:
    """Check ``function(f, x, baseline, steps)``: integrated gradients with midpoints."""
    return _by_middles(f, x, baseline, steps)
