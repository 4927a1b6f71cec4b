"""Checks of chapter 18, looking inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks import NotSolvedError, compare, compared, exercise, normal, run, uniform
from mnist_course.checks._networks import filled

__all__ = ["attack", "cam", "integrated", "outputs", "saliency", "towards"]


class _Network(nn.Sequential):
    """From (N, 1, H, W) to four logits. It notes the pictures that it is asked about."""

    def __init__(self, H: int, W: int) -> None:
        maps = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        head = nn.AvgPool2d(2), nn.Flatten(), nn.Linear(H // 2 * (W // 2) * 4, 4)
        super().__init__(*maps, *head)
        self.double()
        self.asked: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """The logits."""
        self.asked.append(x.detach().clone())
        logits: Tensor = super().forward(x)
        return logits


def _network(H: int, W: int) -> _Network:
    return filled(lambda: _Network(H, W))


def _slope(score: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(score(x).sum(), x)[0]


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
        (_network(6, 8), ["0", "1", "5"]),
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
    model, x = _network(H, W), uniform(N, 1, H, W, seed=N)
    with torch.no_grad():
        order = model(x).argsort(1)
    return model, x, order[torch.arange(N), torch.arange(N) % 3]


def _at(t: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda scores: scores[torch.arange(len(t)), t]


def _slope_of(score: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A mistake: the slope of another number than the logit of class ``t``."""
    return lambda model, x, t: _slope(lambda x: score(model(x), t), x)


_logit_slope = _slope_of(lambda z, t: _at(t)(z))
_of_the_probability = _slope_of(lambda z, t: _at(t)(z.softmax(1)))
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
            _slope_of(lambda z, t: _at(t)(z.log_softmax(1)))
        ),
        "You take the class with the largest logit, not the class asked for, `t`.": (
            _slope_of(lambda z, t: z.amax(1))
        ),
        "You take the probability of the most probable class: take the logit of the class `t`.": (
            _of_the_largest_probability
        ),
        "The signs are gone: return the slope itself.": lambda *given: _logit_slope(*given).abs(),
        "This is multiplied by the picture; I asked for the slope.": (
            lambda model, x, t: x * _logit_slope(model, x, t)
        ),
        "`model(x)[:, t]` takes all classes in t for every picture: "
        "`model(x)[torch.arange(len(x)), t]` takes one each.": _slope_of(
            lambda z, t: z[:, t].sum(1)
        ),
        "For {case} this is the slope divided by the number of pictures: the mean makes a map "
        "depend on how many pictures are in the batch. Take the sum.": (
            lambda model, x, t: _logit_slope(model, x, t) / len(x),
            lambda model, x, t: _of_the_probability(model, x, t) / len(x),
            lambda model, x, t: _of_the_largest_probability(model, x, t) / len(x),
        ),
    },
    right="The slope of the logit that was asked for, and nothing is left behind.",
)
def saliency(model: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    """Check ``function(model, x, t)``: the slope of logit ``t[n]`` at picture n, (N, 1, H, W)."""
    return _logit_slope(model, x, t)


def _mean_slope(f: Any, x: Tensor, baseline: Tensor, shares: Tensor) -> Tensor:
    """The mean gradient at these shares of the way from the baseline to ``x``."""
    return _slope(f, baseline + shares.view(-1, *[1] * x.ndim) * (x - baseline)).mean(0)


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


def _loss_slope(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    return _slope(lambda x: F.cross_entropy(model(x), labels, reduction="none"), x)


def _step(factor: float) -> Callable[..., Tensor]:
    """Pictures after a signed step along the gradient of the loss, not clamped."""
    return lambda model, x, targets, epsilon: (
        x + factor * epsilon * _loss_slope(model, x, targets).sign()
    )


def _clamped(mistake: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *given: mistake(*given).clamp(0, 1)


@compared(
    cases={
        f"{N} picture{'s' * (N > 1)} of {H}×{W} and epsilon {epsilon}": (
            _network(H, W), uniform(N, 1, H, W), (4 * uniform(N, seed=N)).long(), epsilon,
        )
        for N, H, W, epsilon in ((1, 8, 8, 0.01), (4, 6, 8, 0.3), (3, 8, 6, 0.1))
    },
    mistakes={
        "This leads away from the targets: their loss must become smaller, so go against its "
        "gradient.": (_clamped(_step(1)), _step(1)),
        "Some pixels have left [0, 1]: clamp.": _step(-1),
        "You use the gradient itself; with the sign every pixel uses its epsilon.": _clamped(
            lambda model, x, targets, epsilon: x - epsilon * _loss_slope(model, x, targets)
        ),
        "The sign is not multiplied by epsilon.": _clamped(
            lambda *given: _step(-1)(*given[:3], 1.0)
        ),
        "You return the change; return the changed pictures.": (
            lambda *given: _step(-1)(*given) - given[1]
        ),
        "You follow the logit of the target alone. It may rise while another rises faster: use "
        "the loss.": _clamped(
            lambda model, x, targets, epsilon: (
                x + epsilon * _logit_slope(model, x, targets).sign()
            )
        ),
    },
    right="A step of epsilon in every pixel, towards the target, within [0, 1].",
)  # fmt: skip
def towards(model: nn.Module, x: Tensor, targets: Tensor, epsilon: float) -> Tensor:
    """Check ``function(model, x, targets, epsilon)``: one signed step towards the targets."""
    return _clamped(_step(-1))(model, x, targets, epsilon)


@exercise
def attack(function: Callable[[nn.Module, Tensor, Tensor, float, int], Any]) -> str:
    """Check ``function(model, x, labels, epsilon, steps)``: signed steps inside the limits."""
    for steps, epsilon, (H, W) in ((1, 0.3, (8, 8)), (10, 0.1, (6, 8)), (4, 0.05, (8, 6))):
        model, x = _network(H, W), uniform(60, 1, H, W)
        with torch.no_grad():
            labels = model(x).argmax(1)
        one = _clamped(_step(1))(model, x, labels, epsilon)
        model.asked.clear()
        answer = run(function, model, x, labels, epsilon, steps)
        if not isinstance(answer, Tensor) or answer.shape != x.shape:
            got = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
            raise NotSolvedError(f"I expected pictures of shape {tuple(x.shape)}, got {got}.")
        answer = answer.detach().double()
        case = f"With {steps} step{'s' * (steps > 1)} of epsilon {epsilon}"
        for pictures in (*model.asked, answer):
            _within(pictures, x, epsilon, case)
        if (answer - x).abs().max() < 1e-6:
            raise NotSolvedError("The pictures have not changed.")
        asked = model.asked[:]
        _harmful(model, answer, x, one, labels, steps)
        _asked(asked, steps, len(x), case)
    return "Within the limits after every step, and at least as harmful as a single step."


def _within(pictures: Tensor, x: Tensor, epsilon: float, case: str) -> None:
    """Raise if some pictures, of a step or of the end, are further from ``x`` than allowed."""
    if not pictures.isfinite().all() or pictures.min() < -1e-9 or pictures.max() > 1 + 1e-9:
        raise NotSolvedError("Some pixels have left [0, 1]: clamp after each step.")
    # The learner may ask about the pictures one by one, so each is compared with the nearest.
    moved = torch.cdist(pictures.flatten(1), x.flatten(1), p=torch.inf).amin(1).max().item()
    if moved > epsilon + 1e-9:
        raise NotSolvedError(
            f"{case} a pixel has moved by {moved:.2f}, and {epsilon} is allowed: after each step, "
            "clamp to x - epsilon … x + epsilon, with the original x."
        )


def _asked(asked: list[Tensor], steps: int, count: int, case: str) -> None:
    """Raise if the network was asked about more or fewer places than there are steps."""
    places = len(torch.cat(asked).flatten(1).unique(dim=0)) if asked else 0
    if len(asked) < steps or places > (steps + 1) * count:
        raise NotSolvedError(
            f"{case} the network was asked {len(asked)} time{'s' * (len(asked) != 1)}: take "
            "exactly as many steps as asked for, each with the gradient at the place where it "
            "begins."
        )


def _harmful(
    model: nn.Module, answer: Tensor, x: Tensor, one: Tensor, labels: Tensor, steps: int
) -> None:
    """Raise if the steps do less harm than they should."""
    with torch.no_grad():
        losses = [F.cross_entropy(model(pictures), labels).item() for pictures in (x, one, answer)]
    before, single, after = losses
    if after < before:
        raise NotSolvedError(
            "The loss of the right answer has become smaller: go along its gradient."
        )
    # A random start may cost a single step a little.
    if after < single - (0.05 * (single - before) if steps == 1 else 1e-9):
        raise NotSolvedError(
            f"After {steps} step{'s' * (steps > 1)} the mean loss is {after:.3f}, after a single "
            f"step of FGSM {single:.3f}. Take the gradient anew at the place where each step "
            "begins, and steps large enough to get as far as epsilon."
        )
    if steps > 1 and torch.allclose(answer, one, rtol=0, atol=1e-9):
        raise NotSolvedError(
            f"{steps} steps end exactly where one does: take the gradient anew at the place where "
            "each step begins."
        )
