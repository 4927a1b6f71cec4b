"""Checks for the exercises of chapter 18, looking inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnist_course.checks._returning import Verdict, compare, right, run, wrong


def _network(in_place: bool = False) -> nn.Sequential:
    """A small random network from (N, 1, 8, 8) to four logits, in float64 and eval mode."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=in_place),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 4),
    )
    return network.double().eval()


def _pictures(count: int) -> Tensor:
    return torch.rand(count, 1, 8, 8, dtype=torch.float64)


def _slope(score: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(score(x).sum(), x)[0]


def _has_gradients(model: nn.Module) -> bool:
    return any(weight.grad is not None for weight in model.parameters())


def outputs(function: Callable[[nn.Module, list[str], Tensor], Any]) -> Verdict:
    """Check ``function(model, names, x)``: the outputs of the named layers, by name."""
    model, names, x = _network(in_place=True), ["0", "1", "5"], _pictures(3)
    with torch.no_grad():
        first = model[0](x)
        second = model[1](first)
        expected = {"0": first, "1": second.clone(), "5": model[2:](second)}
    answer = run(function, model, list(names), x.clone())
    left = sum(len(layer._forward_hooks) for layer in model.modules())
    if isinstance(answer, Verdict):
        return answer
    if not isinstance(answer, dict):
        return wrong(f"I expected a dictionary from names to tensors, got {type(answer).__name__}.")
    if set(answer) != set(names):
        extra = ", ".join(sorted(map(str, answer))) or "none"
        return wrong(
            f"I asked for the layers {', '.join(names)}, and got: {extra}. If only the last name "
            "is there, the hooks all read the loop's variable after its end: bind it with "
            "`name=name`."
        )
    for name in names:
        verdict = compare(
            answer[name],
            expected[name],
            f"layer {name!r} of a batch of three",
            hints=[
                (
                    "You keep only the first picture of the batch; all of them were asked for.",
                    expected[name][0],
                ),
                (
                    "The numbers of batch norm have been overwritten by the in-place ReLU behind "
                    "it: keep a clone().",
                    expected[name].relu(),
                ),
            ],
        )
        if verdict is not None:
            return verdict
    if left:
        return wrong(
            f"The outputs are right, but {left} hook{'s' * (left > 1)} stayed on the model: "
            "call remove() on each handle."
        )
    if model.training:
        return wrong("The outputs are right, but the model is now in training mode.")
    return right("Every layer is kept as it was, and no hook is left behind.")


def cam(function: Callable[[Tensor, Tensor], Any]) -> Verdict:
    """Check ``function(maps, gradients)``: Grad-CAM (H, W) from two tensors (C, H, W)."""
    for channels, height, width in ((1, 2, 2), (3, 4, 4), (5, 3, 6)):
        maps = torch.rand(channels, height, width, dtype=torch.float64)
        gradients = torch.randn(channels, height, width, dtype=torch.float64)
        # Some places must speak for the digit and some against it, or a missing ReLU is not seen.
        gradients[0] = gradients[0].abs() * (1 if channels > 1 else -1)
        if channels > 1:
            gradients[1:] = -gradients[1:].abs()
            maps[:, 0, 0], maps[:, 0, 1] = 0, 0
            maps[0, 0, 0] = maps[1, 0, 1] = 1
        alpha = gradients.mean((1, 2), keepdim=True)
        weighted = alpha * maps
        verdict = compare(
            run(function, maps.clone(), gradients.clone()),
            weighted.sum(0).relu(),
            f"maps of shape {channels} × {height} × {width}",
            hints=[
                (
                    "The ReLU is missing: what speaks against the digit is negative, and is to "
                    "be 0.",
                    weighted.sum(0),
                ),
                (
                    "The weights are not averaged: each gradient multiplies its own cell. Take "
                    "the mean over rows and columns first.",
                    (gradients * maps).sum(0).relu(),
                ),
                (
                    "The weights are not averaged, and the ReLU is missing.",
                    (gradients * maps).sum(0),
                ),
                (
                    "You took ReLU before adding, of the weights or of each weighted map: then "
                    "maps that speak against the digit cannot take anything away. Add first.",
                    weighted.relu().sum(0),
                ),
                (
                    "You took the absolute value: what speaks against the digit must be 0.",
                    weighted.sum(0).abs(),
                ),
                (
                    "The weights are sums over rows and columns; take the mean.",
                    weighted.sum(0).relu() * height * width,
                ),
                ("You took the mean over the channels; add them up.", weighted.mean(0).relu()),
            ],
        )
        if verdict is not None:
            return verdict
    return right("Weights averaged over each map, maps added up, and only what speaks for it.")


def saliency(function: Callable[[nn.Module, Tensor, Tensor], Any]) -> Verdict:
    """Check ``function(model, x, t)``: the slope of logit ``t[n]`` at picture n, (N, 1, H, W)."""
    for count in (1, 3):
        model, x = _network(), _pictures(count)
        rows = torch.arange(count)
        with torch.no_grad():
            # Never the largest logit, so that asking for it is seen.
            t = model(x).argmin(1)
        before = x.clone()
        expected = _slope(lambda x: model(x)[rows, t], x)  # noqa: B023
        largest = _slope(lambda x: model(x).amax(1), x)  # noqa: B023
        p_asked = _slope(lambda x: model(x).softmax(1)[rows, t], x)  # noqa: B023
        p_largest = _slope(lambda x: model(x).softmax(1).amax(1), x)  # noqa: B023
        log_p = _slope(lambda x: model(x).log_softmax(1)[rows, t], x)  # noqa: B023
        all_classes = _slope(lambda x: model(x)[:, t].sum(1), x)  # noqa: B023
        hints = [
            (
                "This is the slope of the probability, which saturates: take the logit itself.",
                p_asked,
            ),
            (
                "This is the slope of the log-probability, in which the other logits have a part.",
                log_p,
            ),
            ("You take the class with the largest logit, not the class asked for, `t`.", largest),
            (
                "You take the probability of the most probable class: take the logit of the class "
                "`t`.",
                p_largest,
            ),
            ("The signs are gone: return the slope itself.", expected.abs()),
            ("This is multiplied by the picture; I asked for the slope.", expected * x),
            (
                "`model(x)[:, t]` takes all classes in t for every picture: "
                "`model(x)[torch.arange(len(x)), t]` takes one each.",
                all_classes,
            ),
        ]
        if count > 1:
            names = ("slope", "probability's slope", "largest probability's slope")
            hints += [
                (
                    f"This is the {name} divided by {count}: the mean makes a map depend on how "
                    "many pictures are in the batch. Take the sum.",
                    slope / count,
                )
                for name, slope in zip(names, (expected, p_asked, p_largest), strict=True)
            ]
        given = x.clone()
        case = f"{count} picture{'s' * (count > 1)}"
        for time in ("", ", asked for the second time"):
            answer = run(function, model, given, t.clone())
            # The learner may return x.grad itself, which the next call changes.
            answer = answer.clone() if isinstance(answer, Tensor) else answer
            again = [
                (
                    "The second call gives twice the first: backward() has added to x.grad. "
                    "Work on a detached copy of x, or use torch.autograd.grad.",
                    2 * expected,
                )
            ]
            verdict = compare(answer, expected, case + time, hints=[*hints, *again])
            if verdict is not None:
                return verdict
        if not torch.equal(given.detach(), before) or given.requires_grad:
            return wrong(
                "The slope is right, but x is no longer as it was (or asks for gradients now): "
                "work on a detached copy."
            )
        if _has_gradients(model):
            return wrong(
                "The slope is right, but backward() left gradients in the weights as well, and the "
                "next training step would use them: torch.autograd.grad(…, x) does not."
            )
    return right("The slope of the logit that was asked for, and nothing is left behind.")


def integrated(
    function: Callable[[Callable[[Tensor], Tensor], Tensor, Tensor, int], Any],
) -> Verdict:
    """Check ``function(f, x, baseline, steps)``: integrated gradients with midpoints."""
    for shape, steps, zero in (((3,), 4, True), ((1, 4, 4), 1, True), ((1, 4, 4), 7, False)):
        size = torch.Size(shape).numel()
        weight = torch.randn(size, 5, dtype=torch.float64)

        def f(x: Tensor, weight: Tensor = weight) -> Tensor:
            return (x.flatten(1) @ weight).tanh().sum(1) + x.flatten(1).pow(3).sum(1)

        x = torch.rand(shape, dtype=torch.float64)
        baseline = torch.zeros_like(x) if zero else torch.rand(shape, dtype=torch.float64)
        way = x - baseline

        def mean(shares: Tensor, start: Tensor, to: Tensor, f: Any = f) -> Tensor:
            points = start + shares.view(-1, *[1] * to.ndim) * (to - start)
            return _slope(f, points).mean(0)

        count = torch.arange(steps, dtype=torch.float64)
        middles, ends = (count + 0.5) / steps, torch.linspace(0, 1, steps, dtype=torch.float64)
        average = mean(middles, baseline, x)
        hints = [
            ("The factor (x - baseline) is missing: this is the mean gradient only.", average),
            (
                "The places are the left ends of the pieces; take their middles, (m + 1/2) / M.",
                way * mean(count / steps, baseline, x),
            ),
            (
                "The places are the right ends of the pieces; take their middles, (m + 1/2) / M.",
                way * mean((count + 1) / steps, baseline, x),
            ),
            (
                "The places go from 0 to 1 with both ends; take the middles of M equal pieces.",
                way * mean(ends, baseline, x),
            ),
            ("The gradients are added up; take their mean.", way * average * steps),
            ("The sign is turned: the way leads from the baseline to x.", -way * average),
        ]
        if not zero:
            hints += [
                (
                    "The factor is x; it must be x - baseline, the way.",
                    x * average,
                ),
                (
                    "The way begins at zero; it must begin at the baseline.",
                    way * mean(middles, torch.zeros_like(x), x),
                ),
                (
                    "The baseline is ignored: both the way and the factor begin at zero.",
                    x * mean(middles, torch.zeros_like(x), x),
                ),
            ]
        if steps > 1:
            hints.append(
                (
                    "This is the gradient at x times the way: take the mean over the whole way.",
                    way * mean(torch.ones(1, dtype=torch.float64), baseline, x),
                )
            )
        verdict = compare(
            run(function, f, x.clone(), baseline.clone(), steps),
            way * average,
            f"a picture of shape {tuple(shape)}, {steps} step{'s' * (steps > 1)}"
            + ("" if zero else " and a baseline that is not zero"),
            # With a single step several mistakes are the right answer.
            hints=[hint for hint in hints if not torch.allclose(hint[1], way * average)],
        )
        if verdict is not None:
            return verdict
    return right("Middles of the pieces, their mean, times the way from the baseline.")


def _loss_slope(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    return _slope(lambda x: functional.cross_entropy(model(x), labels, reduction="none"), x)


def towards(function: Callable[[nn.Module, Tensor, Tensor, float], Any]) -> Verdict:
    """Check ``function(model, x, targets, epsilon)``: one signed step towards the targets."""
    for count, epsilon in ((1, 0.01), (4, 0.3)):
        model, x = _network(), _pictures(count)
        targets = torch.randint(4, (count,))
        slope = _loss_slope(model, x, targets)
        step = epsilon * slope.sign()
        answer = run(function, model, x.clone(), targets.clone(), epsilon)
        logit = _slope(lambda x: model(x).gather(1, targets[:, None]), x)  # noqa: B023
        verdict = compare(
            answer,
            (x - step).clamp(0, 1),
            f"{count} picture{'s' * (count > 1)} and epsilon {epsilon}",
            hints=[
                (
                    "This leads away from the targets: their loss must become smaller, so go "
                    "against its gradient.",
                    (x + step).clamp(0, 1),
                ),
                ("Some pixels have left [0, 1]: clamp.", x - step),
                (
                    "This leads away from the targets, and some pixels have left [0, 1].",
                    x + step,
                ),
                (
                    "You use the gradient itself; with the sign every pixel uses its epsilon.",
                    (x - epsilon * slope).clamp(0, 1),
                ),
                ("The sign is not multiplied by epsilon.", (x - slope.sign()).clamp(0, 1)),
                ("You return the change; return the changed pictures.", -step),
                (
                    "You follow the logit of the target alone. It may rise while another rises "
                    "faster: use the loss.",
                    (x + epsilon * logit.sign()).clamp(0, 1),
                ),
            ],
        )
        if verdict is not None:
            return verdict
        if _has_gradients(model):
            return wrong(
                "The pictures are right, but backward() left gradients in the weights as well: "
                "use torch.autograd.grad."
            )
    return right("A step of epsilon in every pixel, towards the target, within [0, 1].")


def attack(function: Callable[[nn.Module, Tensor, Tensor, float, int], Any]) -> Verdict:
    """Check ``function(model, x, labels, epsilon, steps)``: signed steps inside the limits."""
    model = _network()
    x, epsilon = _pictures(60), 0.3
    with torch.no_grad():
        labels = model(x).argmax(1)

    def loss(pictures: Tensor) -> Tensor:
        with torch.no_grad():
            return functional.cross_entropy(model(pictures), labels, reduction="none")

    one = (x + epsilon * _loss_slope(model, x, labels).sign()).clamp(0, 1)
    for steps in (1, 10):
        given = x.clone()
        answer = run(function, model, given, labels.clone(), epsilon, steps)
        if isinstance(answer, Verdict):
            return answer
        if not isinstance(answer, Tensor) or answer.shape != x.shape:
            got = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
            return wrong(f"I expected pictures of shape {tuple(x.shape)}, got {got}.")
        answer = answer.detach().double()
        if not torch.equal(given.detach(), x):
            return wrong("The pictures that you were given have been changed: work on a copy.")
        if not torch.isfinite(answer).all() or answer.min() < -1e-9 or answer.max() > 1 + 1e-9:
            return wrong("Some pixels have left [0, 1]: clamp after each step.")
        moved = (answer - x).abs().max().item()
        if moved > epsilon + 1e-9:
            return wrong(
                f"With {steps} step{'s' * (steps > 1)} a pixel has moved by {moved:.2f}, and "
                f"{epsilon} is allowed: after each step, clamp to x - epsilon … x + epsilon, with "
                "the original x."
            )
        if loss(answer).mean() < loss(x).mean():
            return wrong("The loss of the right answer has become smaller: go along its gradient.")
        if moved < 1e-6:
            return wrong("The pictures have not changed.")
    if loss(answer).mean() < loss(one).mean() - 1e-9:
        return wrong(
            f"After ten steps the mean loss is {loss(answer).mean():.3f}, after a single step of "
            f"FGSM {loss(one).mean():.3f}. Take the gradient anew at the place where each step "
            "begins, and steps large enough to get as far as epsilon."
        )
    if torch.allclose(answer, one, rtol=0, atol=1e-9):
        return wrong(
            "Ten steps end exactly where one does: take the gradient anew at the place where each "
            "step begins."
        )
    return right("Within the limits after every step, and at least as harmful as a single step.")
