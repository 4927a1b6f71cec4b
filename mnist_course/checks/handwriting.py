"""Checks of the chapter *Your own handwriting*."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from mnist_course.checks._returning import Verdict, compare, right, run, wrong


def _axes(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The centres of the pixels: x along the columns ``(1, W)``, y along the rows ``(H, 1)``."""
    y, x = (torch.arange(n, dtype=torch.float64) + 0.5 for n in image.shape)
    return x[None, :], y[:, None]


def slant(function: Callable[..., Any]) -> Verdict:
    """Check ``function(image)``: the slope of the ink of a picture ``(H, W)``, x against y."""
    generator = torch.Generator().manual_seed(0)
    bar = torch.zeros(6, 9, dtype=torch.float64)
    bar[torch.arange(6), torch.arange(6) + 2] = 1
    cases = [
        ("a bar from the upper left to the lower right", bar),
        ("a faint bar", bar / 3),
        ("a grey picture of 7×5", torch.rand(7, 5, generator=generator, dtype=torch.float64)),
        ("a grey picture of 4×8", torch.rand(4, 8, generator=generator, dtype=torch.float64) ** 3),
    ]
    for name, image in cases:
        x, y = _axes(image)
        mass = image.sum()
        dx, dy = x - (image * x).sum() / mass, y - (image * y).sum() / mass
        both, across, along = (image * dx * dy).sum(), (image * dx**2).sum(), (image * dy**2).sum()
        bare_x, bare_y = x - x.mean(), y - y.mean()
        verdict = compare(
            run(function, image),
            both / along,
            name,
            hints=(
                (
                    f"For {name} the sign is wrong: y grows downwards, and both factors are "
                    "place minus mean.",
                    -both / along,
                ),
                (
                    "You divide by the spread of x. The slant says how far x moves for each y, so "
                    "the spread of y belongs below.",
                    both / across,
                ),
                ("That is the slope of y against x; it is to be x against y.", along / both),
                (
                    "You measure from the upper left corner: subtract the centre of mass first.",
                    (image * x * y).sum() / (image * y**2).sum(),
                ),
                (
                    "You measure from the upper left corner: subtract the centre of mass first.",
                    (image * (x - 0.5) * (y - 0.5)).sum() / (image * (y - 0.5) ** 2).sum(),
                ),
                (
                    f"For {name} you measure from the middle of the picture; measure from the "
                    "centre of mass.",
                    (image * bare_x * bare_y).sum() / (image * bare_y**2).sum(),
                ),
                (
                    f"For {name}: that is the product alone, not yet divided by the spread of y.",
                    both,
                ),
                (
                    f"For {name}: that is the covariance, not yet divided by the spread of y.",
                    both / mass,
                ),
            ),
        )
        if verdict is not None:
            return verdict
    return right("The slope of the ink, measured from its centre of mass.")


def _laid(crop: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The crop in a field of 28 × 28, so that its place ``(x, y)`` comes into [14, 15)."""
    top, left = int(torch.ceil(14 - y)), int(torch.ceil(14 - x))
    field = torch.zeros(28, 28, dtype=torch.float64)
    source = crop[max(0, -top) : 28 - top, max(0, -left) : 28 - left]
    top, left = max(0, top), max(0, left)
    field[top : top + source.shape[0], left : left + source.shape[1]] = source
    return field


def place(function: Callable[..., Any]) -> Verdict:
    """Check ``function(crop)``: bytes ``(h, w)`` laid into ``(28, 28)`` by their centre of mass."""
    generator = torch.Generator().manual_seed(0)
    for h, w in ((20, 20), (20, 11), (9, 20)):
        # More ink at the lower left, so that neither the box nor swapped axes give the same place.
        weight = torch.linspace(0.2, 1, h)[:, None] ** 2 * torch.linspace(1, 0.4, w)
        crop = (255 * weight * torch.rand(h, w, generator=generator)).byte()
        ink = crop.double() / 255
        columns, rows = _axes(ink)
        x, y = (ink * columns).sum() / ink.sum(), (ink * rows).sum() / ink.sum()
        expected = _laid(ink, x, y)
        box = _laid(ink, torch.tensor(w / 2), torch.tensor(h / 2))
        case = f"a crop of {h}×{w}"
        # The place is looked at in pictures of full strength, the strength by itself.
        answer = run(function, crop)
        if isinstance(answer, Verdict):
            return answer
        faint = compare(
            answer,
            expected,
            case,
            tolerance=1e-6,
            hints=(
                (
                    f"For {case} the place is right, but the picture is nearly black: its largest "
                    f"value is {expected.max() / 255:.4f}. How often do you divide by 255?",
                    expected / 255,
                ),
                ("The place is right, but the values go up to 255: divide by 255.", 255 * expected),
                (
                    f"For {case} x and y are exchanged: summing over dim=1 leaves one number for "
                    "each row, and rows are y.",
                    _laid(ink, y, x),
                ),
                (
                    f"For {case} x and y are exchanged (and the picture is nearly black, too): "
                    "summing over dim=1 leaves one number for each row, and rows are y.",
                    _laid(ink, y, x) / 255,
                ),
                (
                    f"For {case} the middle of the box is in the middle, not the centre of mass.",
                    box,
                ),
                (
                    f"For {case} the middle of the box is in the middle, not the centre of mass.",
                    _laid(ink, torch.tensor(w / 2 + 0.5), torch.tensor(h / 2 + 0.5)),
                ),
                (
                    f"For {case} the centre of mass is a pixel off: pixel j has its centre at "
                    "j + 0.5, and it must come into [14, 15).",
                    _laid(ink, x - 1, y - 1),
                ),
                (
                    f"For {case} the centre of mass is a pixel off: pixel j has its centre at "
                    "j + 0.5, and it must come into [14, 15).",
                    _laid(ink, x + 1, y + 1),
                ),
                (f"For {case} ink and paper are exchanged.", 1 - expected),
            ),
        )
        if faint is None:
            continue
        if "shape is right" not in faint.message:
            return faint
        try:
            got = torch.as_tensor(answer).double()
            x_got, y_got = ((got * axis).sum() / got.sum() for axis in _axes(got))
        except Exception:
            return faint
        return wrong(
            f"For {case} the centre of mass is at x = {x_got:.2f}, y = {y_got:.2f} and the largest "
            f"value {got.max():.4f}; expected x and y within [14, 15), and {expected.max():.4f}."
        )
    return right("By whole pixels, centre of mass in pixel 14 of both axes, values in [0, 1].")


def spring_gradient(function: Callable[..., Any]) -> Verdict:
    """Check ``function(weights, start, features, labels, stiffness)`` against autograd."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    for n, inputs, stiff in ((1, 3, 0.0), (6, 4, 0.0), (6, 4, 1.0), (5, 7, 0.3)):
        weights, start, features = normal(10, inputs), normal(10, inputs), normal(n, inputs)
        labels = torch.randint(10, (n,), generator=generator)
        stiffness = stiff * torch.rand(10, inputs, generator=generator, dtype=torch.float64)
        moving = weights.clone().requires_grad_()
        loss = functional.cross_entropy(features @ moving.T, labels)
        (data,) = torch.autograd.grad(loss, moving)
        spring = stiffness * (weights - start)
        case = f"{n} digits of {inputs} features, " + ("springs" if stiff else "no springs")
        hints = [
            ("You add up over the digits; the loss is their mean: divide by n.", n * data + spring),
            (
                "The error has the wrong sign: it is probability minus one-hot.",
                -data + spring,
            ),
            (
                "The spring pushes away: its gradient is stiffness times (weights - start); "
                "descent takes it off again.",
                data - spring,
            ),
            ("The spring is missing.", data),
            (
                "The spring is twice too strong: the energy has a factor of one half.",
                data + 2 * spring,
            ),
            (
                "The spring pulls to zero; it is to pull to `start`.",
                data + stiffness * weights,
            ),
            (
                "You use the mean stiffness; every weight has its own.",
                data + stiffness.mean() * (weights - start),
            ),
        ]
        if not stiff:
            hints = hints[:2]
        if n == 1:
            hints = hints[1:]
        verdict = compare(
            run(
                function,
                weights.clone(),
                start.clone(),
                features.clone(),
                labels.clone(),
                stiffness.clone(),
            ),
            data + spring,
            case,
            hints=hints,
        )
        if verdict is not None:
            return verdict
    return right("Equal to autograd, with and without springs.")


def threshold(function: Callable[..., Any]) -> Verdict:
    """Check ``function(digits, others, refuse)``: the threshold, and the share it keeps out."""
    generator = torch.Generator().manual_seed(0)
    for n, m, refuse in ((10, 5, 0.0), (20, 8, 0.25), (100, 30, 0.05), (33, 12, 0.1)):
        digits = torch.randn(n, generator=generator, dtype=torch.float64) + 1
        others = torch.randn(m, generator=generator, dtype=torch.float64)
        lost = int(refuse * n + 1e-9)
        ordered = digits.sort().values
        limit = ordered[lost]
        out = (others < limit).double().mean()
        case = f"{n} digits of which {lost} may be refused"
        answer = run(function, digits.clone(), others.clone(), refuse)
        if isinstance(answer, Verdict):
            return answer
        try:
            got, kept_out = (float(part) for part in answer)
        except (TypeError, ValueError):
            return wrong("Return two numbers: the threshold, and the share of the others below it.")
        refused = int((digits < got).sum())
        if abs(got - limit) > 1e-9:
            if abs(got - others.sort().values[min(m - 1, int(refuse * m + 1e-9))]) < 1e-9:
                return wrong(
                    "The threshold is taken from the others; it must be taken from the digits."
                )
            if refused > lost:
                side = " Low scores are refused, not high ones." if refused > n / 2 else ""
                return wrong(f"For {case}, your threshold refuses {refused}.{side}")
            return wrong(
                f"For {case}, your threshold of {got:.3f} refuses {refused} of them, but it could "
                f"be larger, up to {limit:.3f}: a score equal to the threshold still passes."
            )
        if abs(kept_out - out) > 1e-6:
            if abs(kept_out - (1 - out)) < 1e-6:
                return wrong("The second number is the share that gets through: what is kept out?")
            if abs(kept_out - m * out) < 1e-6:
                return wrong("The second number is a count; divide by how many others there are.")
            if abs(kept_out - 100 * out) < 1e-6:
                return wrong("The second number is in per cent; give a share from 0 to 1.")
            return wrong(
                f"The threshold is right; of the others {out:.2f} lie below it, not {kept_out:.2f}."
            )
    return right("No larger threshold would do, and the share kept out is counted rightly.")
