"""Checks of chapter 23, can we believe such pictures?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks import NotSolvedError, compared, exercise, normal, run, uniform
from mnist_course.checks._gradients import logit_slope, network, slope

__all__ = ["attack", "erased", "kept_neighbours", "towards"]


def _inky(H: int, W: int, seed: int = 0) -> Tensor:
    """A picture of which about half is paper."""
    return (2 * uniform(H, W, seed=seed) - 1).clamp(min=0)


def _order(picture: Tensor, worth: Tensor) -> Tensor:
    """Pixels with ink, those of the largest worth first."""
    ink = (picture > 0).flatten()
    order = worth.flatten().argsort(descending=True)
    return order[ink[order]]


def _without(picture: Tensor, gone: Tensor) -> Tensor:
    left = picture.flatten().clone()
    left[gone] = 0
    return left.view_as(picture)


def _share(picture: Tensor, order: Tensor, share: float) -> Tensor:
    """The first pixels of the order, as long as their ink is within the share."""
    ink = picture.flatten()[order].cumsum(0)
    return order[ink <= share * picture.sum() + 1e-12]


def _by(order: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Erasing along another order."""
    return lambda picture, worth, share: _without(
        picture, _share(picture, order(picture, worth), share)
    )


@compared(
    cases={
        f"a picture of {H}×{W} and a share of {share}": (
            _inky(H, W, seed), normal(H, W, seed=seed), share,
        )
        for H, W, share, seed in ((5, 6, 0.4, 2), (6, 5, 0.35, 3), (3, 4, 0.5, 1), (7, 7, 1.0, 4))
    },
    mistakes={
        "You erase where the map is smallest: sort in descending order.": (
            _by(lambda p, w: _order(p, -w))
        ),
        "You sort by the size of the map. What speaks against the digit is negative, and comes "
        "last.": _by(lambda p, w: _order(p, w.abs())),
        "You erase this share of all *pixels*, paper included. Count only ink.": (
            lambda p, w, share: _without(
                p, w.flatten().argsort(descending=True)[: round(share * w.numel())]
            )
        ),
        "You erase this share of the pixels that have ink. Add up the ink itself, because a pale "
        "pixel holds less of it.": (
            lambda p, w, share: _without(p, _order(p, w)[: round(share * (p > 0).sum().item())]),
            lambda p, w, share: _without(p, _order(p, w)[: int(share * (p > 0).sum().item())]),
        ),
        "You erase the pixel that goes beyond the share as well: stop before it.": (
            lambda p, w, share: _without(
                p, _order(p, w)[: len(_share(p, _order(p, w), share)) + 1]
            )
        ),
        "You keep this share and erase the rest.": (
            lambda p, w, share: p - _by(_order)(p, w, share)
        ),
    },
    right="As much ink as asked for, where the map is largest.",
)  # fmt: skip
def erased(picture: Tensor, worth: Tensor, share: float) -> Tensor:
    """Check ``function(picture, worth, share)``: a picture (H, W) without a share of its ink."""
    return _by(_order)(picture, worth, share)


def _nearest(points: Tensor, k: int, itself: bool = False, far: bool = False) -> Tensor:
    distances = torch.cdist(points, points)
    if not itself:
        distances.fill_diagonal_(-torch.inf if far else torch.inf)
    near = distances.topk(k, largest=far).indices
    return torch.zeros_like(distances).scatter(1, near, 1.0)


def _kept(a: Tensor, b: Tensor, k: int, **options: bool) -> Tensor:
    both = _nearest(a, k, **options) * _nearest(b, k, **options)
    return both.sum(1).mean() / k


@compared(
    cases={
        f"{N} points in {D} and {E} dimensions, k = {k}": (
            normal(N, D, seed=N), normal(N, E, seed=N + 1) + 0.5 * normal(N, D, seed=N)[:, :E], k,
        )
        for N, D, E, k in ((6, 3, 2, 2), (12, 4, 2, 3), (20, 6, 2, 1))
    },
    mistakes={
        "Each point is its own nearest neighbour here: leave it out.": (
            lambda a, b, k: _kept(a, b, k, itself=True),
            lambda a, b, k: _kept(a, b, k + 1, itself=True),
        ),
        "These are the farthest points, not the nearest.": lambda a, b, k: _kept(a, b, k, far=True),
        "You count the neighbours; divide by k for a share.": lambda a, b, k: k * _kept(a, b, k),
        "You compare the neighbours in their order. Only which points they are counts.": (
            lambda a, b, k: (_listed(a, k) == _listed(b, k)).double().mean()
        ),
    },
    right="The share of neighbours that are neighbours in both.",
)  # fmt: skip
def kept_neighbours(a: Tensor, b: Tensor, k: int) -> Tensor:
    """Check ``function(a, b, k)``: the share of nearest neighbours that are kept."""
    return _kept(a, b, k)


def _listed(points: Tensor, k: int) -> Tensor:
    distances = torch.cdist(points, points).fill_diagonal_(torch.inf)
    return distances.topk(k, largest=False).indices


def _loss_slope(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    return slope(lambda x: F.cross_entropy(model(x), labels, reduction="none"), x)


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
            network(H, W), uniform(N, 1, H, W), (4 * uniform(N, seed=N)).long(), epsilon,
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
                x + epsilon * logit_slope(model, x, targets).sign()
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
        model, x = network(H, W), uniform(60, 1, H, W)
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
