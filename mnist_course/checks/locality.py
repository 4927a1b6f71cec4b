"""Checks of chapter 3: locality, weight sharing and equivariance."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_course.checks import NotSolvedError, compared, exercise, normal, run, same

__all__ = ["is_equivariant", "matrix", "parameters", "random_shift", "shuffle"]


def _dense(C_in: int, C_out: int, H: int, W: int, K: int) -> int:
    return C_out * H * W * (C_in * H * W + 1)


def _convolution(C_in: int, C_out: int, H: int, W: int, K: int) -> int:
    return C_out * (C_in * K * K + 1)


_Count = Callable[[int, int, int, int, int], int]

_WRONG_DENSE: dict[str, _Count] = {
    "The dense layer's bias is missing: one for each output.": (
        lambda C_in, C_out, H, W, K: C_out * C_in * (H * W) ** 2
    ),
    "The dense layer makes C_out maps of H × W pixels, each of them an output with weights of its "
    "own; you count C_out outputs.": lambda C_in, C_out, H, W, K: C_out * (C_in * H * W + 1),
}
_WRONG_CONVOLUTION: dict[str, _Count] = {
    "The convolution's bias is missing: one for each output map.": (
        lambda C_in, C_out, H, W, K: C_out * C_in * K * K
    ),
    "The convolution's kernel must be as deep as its input: C_in slices of K × K.": (
        lambda C_in, C_out, H, W, K: C_out * (K * K + 1)
    ),
    "The convolution's weights are shared by all places: H and W do not count.": (
        lambda C_in, C_out, H, W, K: C_out * H * W * (C_in * K * K + 1)
    ),
    "The convolution has one bias for each output map, shared by all places.": (
        lambda C_in, C_out, H, W, K: C_out * C_in * K * K + C_out * H * W
    ),
}


@compared(
    cases={
        f"C_in={C_in}, C_out={C_out}, H={H}, W={W}, K={K}": (C_in, C_out, H, W, K)
        for C_in, C_out, H, W, K in ((2, 3, 5, 4, 3), (1, 32, 28, 28, 3), (3, 16, 10, 12, 5))
    },
    mistakes={
        "The two numbers are exchanged: return dense, convolution.": (
            lambda *sizes: (_convolution(*sizes), _dense(*sizes))
        ),
        **{
            words: lambda *sizes, wrong=wrong: (wrong(*sizes), ...)
            for words, wrong in _WRONG_DENSE.items()
        },
        **{
            words: lambda *sizes, wrong=wrong: (..., wrong(*sizes))
            for words, wrong in _WRONG_CONVOLUTION.items()
        },
    },
    right="The dense layer pays for every pair of pixels, the convolution for one window.",
    shape="return two numbers, dense and convolution",
)
def parameters(C_in: int, C_out: int, H: int, W: int, K: int) -> tuple[int, int]:
    """Check ``function(C_in, C_out, H, W, K)``: parameters of a dense layer and a convolution."""
    return _dense(C_in, C_out, H, W, K), _convolution(C_in, C_out, H, W, K)


def _matrix(kernel: Tensor, H: int, W: int, padding: tuple[int, int] = (0, 0)) -> Tensor:
    """The matrix of the convolution: its columns are the answers to one pixel."""
    pixels = torch.eye(H * W, dtype=kernel.dtype).view(H * W, 1, H, W)
    return F.conv2d(pixels, kernel[None, None], padding=padding).flatten(1).T


def _with_four_axes(kernel: Tensor, H: int, W: int) -> Tensor:
    K_h, K_w = kernel.shape
    return _matrix(kernel, H, W).view(H - K_h + 1, W - K_w + 1, H, W)


@compared(
    cases={
        f"a {K_h}×{K_w} kernel on a picture of {H}×{W}": (normal(K_h, K_w), H, W)
        for K_h, K_w, H, W in (
            (1, 1, 2, 3), (2, 2, 3, 4), (3, 3, 5, 5), (3, 2, 5, 7), (1, 4, 4, 6), (3, 2, 3, 2),
        )
    },
    mistakes={
        "The matrix is transposed: a row for each output pixel.": lambda *given: _matrix(*given).T,
        "The kernel is flipped: kernel[u, v] meets the pixel (i + u, j + v).": (
            lambda kernel, H, W: _matrix(kernel.flip(0, 1), H, W)
        ),
        "It still has four axes: flatten the output's two, and the input's two.": _with_four_axes,
        "Rows and columns of the kernel are exchanged.": (
            lambda kernel, H, W: _matrix(kernel.T, H, W)
        ),
        "This is the matrix with padding: without it, there are only "
        "(H - K_h + 1) × (W - K_w + 1) output pixels.": lambda kernel, H, W: _matrix(
            kernel, H, W, (kernel.shape[0] // 2, kernel.shape[1] // 2)
        ),
        "The pixels are numbered column by column; flatten() goes row by row.": (
            lambda kernel, H, W: (
                _with_four_axes(kernel, H, W)
                .permute(1, 0, 3, 2)
                .reshape_as(_matrix(kernel, H, W))
            )
        ),
    },
    right="Matrix times picture is the convolution, for square and oblong kernels.",
)  # fmt: skip
def matrix(kernel: Tensor, H: int, W: int) -> Tensor:
    """Check ``function(kernel, H, W)``: the matrix of a convolution without padding."""
    return _matrix(kernel, H, W)


def _numbers(x: Tensor, axis: int) -> Tensor:
    """The numbers of the rows (axis 2) or columns (axis 3) of the pixels, from 1 on."""
    numbers = torch.arange(1, x.shape[axis] + 1, dtype=x.dtype)
    return numbers[:, None] if axis == 2 else numbers


def _centred(x: Tensor) -> Tensor:
    return x - x.double().mean((2, 3), keepdim=True).to(x.dtype)


def _ramp(x: Tensor) -> Tensor:
    return torch.linspace(0, 1, x[0].numel(), dtype=x.dtype).view_as(x[0])


def _circular(x: Tensor) -> Tensor:
    # In float64, so that rounding does not tell one place of a float32 picture from another.
    kernel = torch.tensor([[1.0, 2, 0], [0, -3, 1], [5, 0, 2]], dtype=torch.float64)
    sheet = F.pad(x.double(), (1, 1, 1, 1), mode="circular")
    return F.conv2d(sheet, kernel[None, None]).to(x.dtype)


# Name, function, whether it is equivariant, and what to say if a test is wrong about it.
_MAPS: list[tuple[str, Callable[[Tensor], Tensor], bool, str]] = [
    ("the identity", lambda x: x, True, ""),
    ("a circular convolution", _circular, True, "Move the answer as far as the picture."),
    ("ReLU", torch.relu, True, ""),
    ("`x - x.mean()` of each image", _centred, True,
     "The mean is the same wherever the picture lies, up to rounding: torch.allclose allows for "
     "it, torch.equal does not."),
    ("a bias that differs from pixel to pixel", lambda x: x + _ramp(x), False,
     "Compare the values, not only the shapes."),
    ("a product with a mask", lambda x: x * _ramp(x), False,
     "On an image of zeros every linear map is equivariant: test with random numbers."),
    ("a map that differs from column to column", lambda x: x * _numbers(x, 3), False,
     "You test shifts of rows only: test shifts of columns as well."),
    ("a map that differs from row to row", lambda x: x * _numbers(x, 2), False,
     "You test shifts of columns only: test shifts of rows as well."),
    ("a map that differs from diagonal to diagonal",
     lambda x: x * ((_numbers(x, 2) - _numbers(x, 3)) % x.shape[3]), False,
     "You move rows and columns together: move one of them at a time."),
    ("a map that tells even columns from odd ones", lambda x: x * (_numbers(x, 3) % 2), False,
     "Shifts by an even number of pixels do not show it: shift by one."),
    ("a picture turned upside down", lambda x: x.flip(2), False,
     "Symmetric images, or shifts by half of the picture, do not show it."),
    ("a convolution with zeros around the picture",
     lambda x: F.conv2d(x, torch.ones(1, 1, 3, 3, dtype=x.dtype), padding=1), False,
     "With circular shifts the border counts: compare all pixels."),
    ("a constant", torch.ones_like, True,
     "A constant picture, moved, is the same constant picture: it is equivariant too."),
    ("the largest value, everywhere", lambda x: x.amax((2, 3), True).expand_as(x), True, ""),
]  # fmt: skip


@exercise
def is_equivariant(function: Callable[..., Any]) -> str:
    """Check ``function(f)``: whether ``f`` commutes with circular translations."""
    for name, f, expected, why in _MAPS:
        answer = run(function, f)
        if isinstance(answer, Tensor) and answer.numel() == 1 and answer.dtype == torch.bool:
            answer = answer.item()
        if not isinstance(answer, (bool, np.bool_)):
            raise NotSolvedError(f"Return True or False; for {name} I got {type(answer).__name__}.")
        if answer != expected:
            truth = "is equivariant" if expected else "is not equivariant"
            raise NotSolvedError(f"You say {answer} for {name}, which {truth}. {why}".rstrip())
    return f"Your test judges all {len(_MAPS)} functions as it should."


def _like(answer: Any, x: Tensor) -> Tensor:
    """The answer, if it is images as they were given: as many, as large, of the same type."""
    if not isinstance(answer, Tensor) or answer.shape != x.shape:
        found = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise NotSolvedError(
            f"For images of shape {tuple(x.shape)} I expected the same, got {found}."
        )
    if answer.dtype != x.dtype:
        raise NotSolvedError(
            f"The images are of {x.dtype}, and your result is of {answer.dtype}: keep their type."
        )
    return answer


def _generators() -> list[Any]:
    """The random numbers of the whole program, before they are drawn."""
    state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    numpys = [state["pos"], *state["key"].tolist()]
    return [torch.get_rng_state().tolist(), numpys, random.getstate()]


@exercise
def shuffle(function: Callable[..., Any]) -> str:
    """Check ``function(x, seed=0)``: the same shuffle of pixels for every call with a seed."""
    x = torch.arange(3 * 42, dtype=torch.float64).view(3, 1, 6, 7)
    for draw in (torch.rand, np.random.rand, lambda n: random.random()):
        draw(1)  # so that a seed of 0 is a reset
    state = _generators()
    order = _order(run(function, x), x)
    untouched = state == _generators()
    for images in (x, torch.cat([x, x]), normal(4, 1, 6, 7)):
        if not same(run(function, images), images.flatten(1)[:, order].view_as(images)):
            raise NotSolvedError(
                "Two calls shuffled in two different orders, and so would training and test: "
                "the order must follow from the seed alone."
            )
    for seed in (1, 2):
        if same(_order(run(function, x, seed=seed), x), order):
            raise NotSolvedError(f"seed=0 and seed={seed} give the same order: use the seed.")
    if not untouched:
        raise NotSolvedError(
            "The order is right, but your function also draws from, or resets, the random numbers "
            "of the whole program: use a torch.Generator of its own."
        )
    return "One order for each seed, for training and test alike."


def _order(answer: Any, x: Tensor) -> Tensor:
    """Where each pixel came from, if all images were shuffled, and in the same way.

    ``x`` counts its pixels, from 0 on.
    """
    answer = _like(answer, x)
    if same(answer, x):
        raise NotSolvedError("Nothing was shuffled: the pixels are where they were.")
    if not same(answer.flatten(1).sort(dim=1).values, x.flatten(1)):
        raise NotSolvedError(
            "Each image must keep its own pixels, each once: shuffle places, not images or values."
        )
    order = answer[0].flatten().long()
    if not same(answer.flatten(1), x.flatten(1)[:, order]):
        raise NotSolvedError("Every image must be shuffled in the same order.")
    came_from = order.view(x.shape[2:]) // x.shape[3]
    steps = order.diff() % len(order)
    if (
        same(answer.sort(dim=3).values, x)
        or same(answer.sort(dim=2).values, x)
        or same(came_from, came_from[:, :1].expand_as(came_from))
        or steps.bincount().max() > len(order) / 4  # by chance there are hardly more than four
    ):
        raise NotSolvedError(
            "Whole rows or columns stay together, or pixels stay in theirs, or most have moved as "
            "their neighbours have: shuffle all places at random, as torch.randperm does."
        )
    return order


_Way = tuple[int, int]


@exercise
def random_shift(function: Callable[..., Any]) -> str:
    """Check ``function(x, limit, generator)``: each image moved by its own random number."""
    x = 1 + torch.arange(400 * 63, dtype=torch.float64).view(400, 1, 7, 9)
    for limit in (0, 1, 2):

        def shifted(seed: int, limit: int = limit) -> Tensor:
            return _like(run(function, x, limit, torch.Generator().manual_seed(seed)), x)

        answer = shifted(0)
        _moved_by_at_most(limit, answer, x)
        _equally_likely(limit, answer, x)
        if not same(shifted(0), answer):
            raise NotSolvedError(
                "The same generator gave other shifts: draw from `generator` only."
            )
        if limit and same(shifted(1), answer):
            raise NotSolvedError("Another generator gave the same shifts: draw from `generator`.")
    return "Every image goes its own way, and all ways are equally likely."


def _ways(limit: int) -> list[_Way]:
    steps = range(-limit, limit + 1)
    return [(down, right) for down in steps for right in steps]


def _shifted(x: Tensor, way: _Way) -> Tensor:
    down, right = way
    H, W = x.shape[-2:]
    sheet = F.pad(x, (W, W, H, H))
    return sheet[..., H - down : 2 * H - down, W - right : 2 * W - right]


def _which(answer: Tensor, candidates: list[Tensor]) -> Tensor:
    """For each image a row that says which of the candidates it is."""
    return torch.stack([(answer == images).flatten(1).all(1) for images in candidates], dim=1)


def _moved_by_at_most(limit: int, answer: Tensor, x: Tensor) -> None:
    """Raise what happened if some images are not the right ones, moved."""
    ways = _ways(limit)
    if _which(answer, [_shifted(x, way) for way in ways]).any(1).all():
        return
    if _which(answer, [x.roll(way, (2, 3)) for way in ways]).any(1).all():
        raise NotSolvedError(
            f"For limit={limit}, what leaves on one side enters on the other: "
            "the rest should be paper (0)."
        )
    if _which(answer, [_shifted(x, way) for way in _ways(limit + 2)]).any(1).all():
        raise NotSolvedError(f"For limit={limit}, some images moved farther than the limit.")
    raise NotSolvedError(
        f"For limit={limit}, some results are not the image moved by at most the limit, "
        "with zeros where it came from."
    )


def _equally_likely(limit: int, answer: Tensor, x: Tensor) -> None:
    """Raise which ways are rarer or more common than chance makes them."""
    ways = _ways(limit)
    counts = _which(answer, [_shifted(x, way) for way in ways]).sum(0).tolist()
    seen = {way for way, count in zip(ways, counts, strict=True) if count}
    missing = [way for way in ways if way not in seen]
    case = f"For limit={limit},"
    if missing:
        why = "all ways should be equally likely"
        if len(seen) == 1:
            why = "all moved the same way, or not at all. Draw two numbers for each image"
        elif missing == [way for way in ways if limit in way]:
            why = "torch.randint leaves out the upper end, so add 1"
        elif all(down == right for down, right in seen):
            why = "down and right always move by the same number. Draw one for each direction"
        raise NotSolvedError(
            f"{case} no image of {len(x)} moved by {missing[0]} (down, right): {why}."
        )
    even = len(x) / len(ways)  # and Pearson's chi-squared, far beyond what chance makes of it
    if sum((count - even) ** 2 / even for count in counts) > 30 + 4 * len(ways):
        way = ways[counts.index(max(counts))]
        raise NotSolvedError(f"{case} too many images moved by {way}: all ways equally likely.")
