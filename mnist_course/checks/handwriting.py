"""Checks of chapter 26, your own handwriting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks import NotSolvedError, compared, exercise, normal, number, run, uniform

__all__ = ["place", "slant", "spring_gradient", "threshold"]


def _axes(image: Tensor) -> tuple[Tensor, Tensor]:
    """The centres of the pixels: x along the columns ``(1, W)``, y along the rows ``(H, 1)``."""
    y, x = (torch.arange(n).double() + 0.5 for n in image.shape)
    return x[None, :], y[:, None]


def _centre(image: Tensor) -> tuple[Tensor, Tensor]:
    x, y = _axes(image)
    return (image * x).sum() / image.sum(), (image * y).sum() / image.sum()


def _moments(image: Tensor, x: Any, y: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The sums over x · y, x · x and y · y, measured from this place."""
    columns, rows = _axes(image)
    dx, dy = columns - x, rows - y
    return (image * dx * dy).sum(), (image * dx**2).sum(), (image * dy**2).sum()


def _from(x: Callable[[Tensor], Any], y: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    """A mistake: the slope, measured from another place than the centre of mass."""

    def slope(image: Tensor) -> Tensor:
        both, _, along = _moments(image, x(image), y(image))
        return both / along

    return slope


def _from_the_centre(
    combined: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Callable[[Tensor], Tensor]:
    return lambda image: combined(*_moments(image, *_centre(image)))


@compared(
    cases={
        "a bar from the upper left to the lower right": (F.pad(torch.eye(6).double(), (2, 1)),),
        "a faint bar": (F.pad(torch.eye(6).double(), (2, 1)) / 3,),
        "a grey picture of 7×5": (uniform(7, 5),),
        "a grey picture of 4×8": (uniform(4, 8) ** 3,),
        "a bar from the upper right to the lower left": (torch.eye(5).double().flip(1),),
    },
    mistakes={
        "For {case} the sign is wrong: y grows downwards, and both factors are place minus mean.": (
            _from_the_centre(lambda both, across, along: -both / along)
        ),
        "You divide by the spread of x. The slant says how far x moves for each y, so the spread "
        "of y belongs below.": _from_the_centre(lambda both, across, along: both / across),
        "That is the slope of y against x; it is to be x against y.": (
            _from_the_centre(lambda both, across, along: along / both)
        ),
        "You measure from the upper left corner: subtract the centre of mass first.": (
            _from(lambda image: 0, lambda image: 0),
            _from(lambda image: 0.5, lambda image: 0.5),
        ),
        "For {case} you measure from the middle of the picture; measure from the centre of mass.": (
            _from(lambda image: image.shape[1] / 2, lambda image: image.shape[0] / 2)
        ),
        "For {case}: that is the product alone, not yet divided by the spread of y.": (
            _from_the_centre(lambda both, across, along: both)
        ),
        "For {case}: that is the covariance, not yet divided by the spread of y.": (
            lambda image: _from_the_centre(lambda both, *_: both)(image) / image.sum()
        ),
    },
    right="The slope of the ink, measured from its centre of mass.",
)
def slant(image: Tensor) -> float:
    """Check ``function(image)``: the slope of the ink of a picture ``(H, W)``, x against y."""
    return _from_the_centre(lambda both, across, along: both / along)(image).item()


def _crop(h: int, w: int) -> tuple[Tensor]:
    """Bytes with more ink at the lower left: neither the box nor swapped axes give its place."""
    weight = torch.linspace(0.2, 1, h)[:, None] ** 2 * torch.linspace(1, 0.4, w)
    return ((255 * weight * uniform(h, w, seed=h)).byte(),)


def _laid(ink: Tensor, x: Any, y: Any) -> Tensor:
    """The ink in a field of 28 × 28, so that its place ``(x, y)`` comes into [14, 15)."""
    top, left = int(torch.ceil(14 - torch.as_tensor(y))), int(torch.ceil(14 - torch.as_tensor(x)))
    field = F.pad(ink, (28, 28, 28, 28))[28 - top : 56 - top, 28 - left : 56 - left]
    return field


def _placed(
    where: Callable[[Tensor], tuple[Any, Any]] = _centre, scale: float = 1
) -> Callable[[Tensor], Tensor]:
    """A crop laid by another place than its centre of mass, or with other numbers."""
    return lambda crop: scale * _laid(crop.double() / 255, *where(crop.double()))


def _moved(dx: float, dy: float) -> Callable[[Tensor], tuple[Any, Any]]:
    return lambda ink: (_centre(ink)[0] + dx, _centre(ink)[1] + dy)


def _where_it_lies(field: Tensor) -> str:
    x, y = _centre(field)
    return (
        f"Its centre of mass is at x = {x:.2f}, y = {y:.2f}, expected within [14, 15), and its "
        f"largest value {field.max():.4f}, expected that of the crop divided by 255."
    )


@compared(
    cases={f"a crop of {h}×{w}": _crop(h, w) for h, w in ((20, 20), (20, 11), (9, 20), (5, 3))},
    mistakes={
        "For {case} the place is right, but the picture is nearly black: its numbers are 255 times "
        "too small. How often do you divide by 255?": _placed(scale=1 / 255),
        "The place is right, but the values go up to 255: divide by 255.": _placed(scale=255),
        "For {case} x and y are exchanged: summing over dim=1 leaves one number for each row, and "
        "rows are y.": _placed(lambda ink: _centre(ink)[::-1]),
        "For {case} x and y are exchanged (and the picture is nearly black, too): summing over "
        "dim=1 leaves one number for each row, and rows are y.": (
            _placed(lambda ink: _centre(ink)[::-1], 1 / 255)
        ),
        "For {case} the middle of the box is in the middle, not the centre of mass.": (
            _placed(lambda ink: (ink.shape[1] / 2, ink.shape[0] / 2)),
            _placed(lambda ink: ((ink.shape[1] + 1) / 2, (ink.shape[0] + 1) / 2)),
        ),
        "For {case} the centre of mass is a pixel off: pixel j has its centre at j + 0.5, and it "
        "must come into [14, 15).": tuple(
            _placed(_moved(dx, dy)) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy
        ),
        "For {case} ink and paper are exchanged.": lambda crop: 1 - _placed()(crop),
    },
    right="By whole pixels, centre of mass in pixel 14 of both axes, values in [0, 1].",
    otherwise=_where_it_lies,
)
def place(crop: Tensor) -> Tensor:
    """Check ``function(crop)``: bytes ``(h, w)`` laid into ``(28, 28)`` by their centre of mass."""
    return _placed()(crop)


def _data(weights: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the mean cross-entropy."""
    error = (features @ weights.T).softmax(1) - F.one_hot(labels, 10)
    return error.T @ features / len(labels)


def _springs(n: int, inputs: int, stiff: float) -> tuple[Tensor, ...]:
    weights, start, features = (normal(size, inputs, seed=size) for size in (10, 11, n))
    labels = (10 * uniform(n, seed=inputs)).long()
    return weights, start[:10], features, labels, stiff * uniform(10, inputs)


@compared(
    cases={
        f"{n} digit{'s' * (n > 1)} of {inputs} features, {'springs' if stiff else 'no springs'}": (
            _springs(n, inputs, stiff)
        )
        for n, inputs, stiff in ((1, 3, 0.0), (6, 4, 0.0), (6, 4, 1.0), (5, 7, 0.3))
    },
    mistakes={
        "You add up over the digits; the loss is their mean: divide by n.": (
            lambda w, w0, x, t, k: len(t) * _data(w, x, t) + k * (w - w0)
        ),
        "The error has the wrong sign: it is probability minus one-hot.": (
            lambda w, w0, x, t, k: -_data(w, x, t) + k * (w - w0)
        ),
        "The spring pushes away: its gradient is stiffness times (weights - start); descent takes "
        "it off again.": lambda w, w0, x, t, k: _data(w, x, t) - k * (w - w0),
        "The spring is missing.": lambda w, w0, x, t, k: _data(w, x, t),
        "The spring is twice too strong: the energy has a factor of one half.": (
            lambda w, w0, x, t, k: _data(w, x, t) + 2 * k * (w - w0)
        ),
        "The spring pulls to zero; it is to pull to `start`.": (
            lambda w, w0, x, t, k: _data(w, x, t) + k * w
        ),
        "You use the mean stiffness; every weight has its own.": (
            lambda w, w0, x, t, k: _data(w, x, t) + k.mean() * (w - w0)
        ),
    },
    right="Equal to autograd, with and without springs.",
    avoiding=("grad", "backward"),
)
def spring_gradient(
    weights: Tensor, start: Tensor, features: Tensor, labels: Tensor, stiffness: Tensor
) -> Tensor:
    """Check ``function(weights, start, features, labels, stiffness)`` without autograd."""
    return _data(weights, features, labels) + stiffness * (weights - start)


@exercise
def threshold(function: Callable[..., Any]) -> str:
    """Check ``function(digits, others, refuse)``: the threshold, and the share it keeps out."""
    for n, m, refuse in ((10, 5, 0.0), (20, 8, 0.25), (100, 30, 0.05), (33, 12, 0.1)):
        # Rounded: some scores are equal, and some of the others equal to the threshold.
        digits, others = (normal(n) + 1).round(decimals=1), normal(m, seed=1).round(decimals=1)
        lost = int(refuse * n + 1e-9)
        limit = digits.sort().values[lost].item()
        others[-1] = limit
        answer = run(function, digits, others, refuse)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise NotSolvedError(
                "Return two numbers: the threshold, and the share of the others below it."
            )
        got, share = (
            number(part, f"For {n} digits, result {i}") for i, part in enumerate(answer, 1)
        )
        if abs(got - limit) > 1e-6:
            case = f"For {n} digits of which {lost} may be refused, your threshold"
            raise NotSolvedError(_of_the_threshold(got, limit, digits, others, lost, case))
        wanted = (others < limit).double().mean().item()
        if abs(share - wanted) > 1e-6:
            raise NotSolvedError(_of_the_share(share, wanted, others, limit))
    return "No larger threshold would do, and the share kept out is counted rightly."


def _of_the_threshold(
    got: float, limit: float, digits: Tensor, others: Tensor, lost: int, case: str
) -> str:
    """What is wrong with a threshold."""
    quantile = lost * len(others) // len(digits)
    if abs(got - others.sort().values[quantile].item()) < 1e-9:
        return "The threshold is taken from the others; it must be taken from the digits."
    refused = int((digits < got - 1e-9).sum())
    if refused > lost:
        low = " Low scores are refused, not high ones." if refused > len(digits) / 2 else ""
        return f"{case} refuses {refused}.{low}"
    return (
        f"{case} of {got:.3f} refuses {refused} of them, but it could be larger, up to "
        f"{limit:.3f}: a score equal to the threshold still passes."
    )


def _of_the_share(share: float, wanted: float, others: Tensor, limit: float) -> str:
    """What is wrong with the share that a right threshold keeps out."""
    known = {
        "The second number is the share that gets through: what is kept out?": 1 - wanted,
        "The second number is a count; divide by how many others there are.": len(others) * wanted,
        "The second number is in per cent; give a share from 0 to 1.": 100 * wanted,
        "The threshold is right; but a score equal to it passes, so count those *below* it.": (
            (others <= limit).double().mean().item()
        ),
    }
    for words, wrong in known.items():
        if abs(share - wrong) < 1e-6:
            return words
    return f"The threshold is right; of the others {wanted:.2f} lie below it, not {share:.2f}."
