"""The checks of chapter 3 accept right answers, and say of each wrong one what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mnist_course.checks import Verdict
from mnist_course.checks import locality as check
from tests.checks.verdicts import assert_wrong


def unwritten(*_: Any, **__: Any) -> Any:
    raise NotImplementedError


def nothing(*_: Any, **__: Any) -> None:
    return None


def broken(*_: Any, **__: Any) -> Any:
    raise IndexError("too many indices")


@pytest.mark.parametrize("name", check.__all__)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (unwritten, "Nothing is written yet"),
        (nothing, "returned None"),
        (broken, "raised IndexError: too many indices"),
        (lambda *_, **__: "seven", ""),
    ],
)
def test_every_check_survives_what_is_no_answer(
    name: str, answer: Callable[..., Any], message: str
) -> None:
    verdict = getattr(check, name)(answer)
    assert isinstance(verdict, Verdict)
    assert_wrong(verdict, message)


# --- parameters ---


def right_parameters(C_in, C_out, H, W, K):
    return C_out * H * W * (C_in * H * W + 1), C_out * (C_in * K * K + 1)


def dense(C_in, C_out, H, W, K):
    return right_parameters(C_in, C_out, H, W, K)[0]


WRONG_PARAMETERS = {
    "exchanged": lambda *a: right_parameters(*a)[::-1],
    "Both biases are missing": lambda i, o, H, W, K: (i * o * (H * W) ** 2, o * i * K * K),
    "dense layer's bias is missing": lambda i, o, H, W, K: (
        i * o * (H * W) ** 2,
        o * (i * K * K + 1),
    ),
    "bias for each output pixel": lambda i, o, H, W, K: (
        i * o * (H * W) ** 2 + o,
        o * (i * K * K + 1),
    ),
    "convolution's bias is missing": lambda i, o, H, W, K: (dense(i, o, H, W, K), o * i * K * K),
    "as deep as its input": lambda i, o, H, W, K: (dense(i, o, H, W, K), o * (K * K + 1)),
    "H and W do not count": lambda i, o, H, W, K: (
        dense(i, o, H, W, K),
        o * H * W * (i * K * K + 1),
    ),
    "one bias for each output map, shared": lambda i, o, H, W, K: (
        dense(i, o, H, W, K),
        o * i * K * K + o * H * W,
    ),
    "not for each slice": lambda i, o, H, W, K: (dense(i, o, H, W, K), o * i * (K * K + 1)),
    "not one for the whole layer": lambda i, o, H, W, K: (dense(i, o, H, W, K), i * o * K * K + 1),
    "1 of 2 are wrong, index (0,) is 651, expected 650": lambda i, o, H, W, K: (
        dense(i, o, H, W, K) + 1,
        o * (i * K * K + 1),
    ),
    "shape": lambda *a: right_parameters(*a)[0],
}


def test_parameters_accepts_the_right_counts() -> None:
    assert check.parameters(right_parameters)


@pytest.mark.parametrize("message", WRONG_PARAMETERS)
def test_parameters_names_the_mistake(message: str) -> None:
    assert_wrong(check.parameters(WRONG_PARAMETERS[message]), message)


# --- matrix ---


def right_matrix(kernel, H, W):
    pixels = torch.eye(H * W, dtype=kernel.dtype).view(H * W, 1, H, W)
    return F.conv2d(pixels, kernel[None, None]).flatten(1).T


def padded_matrix(kernel, H, W):
    K_h, K_w = kernel.shape
    if not (K_h % 2 and K_w % 2):
        return right_matrix(kernel, H, W)
    pixels = torch.eye(H * W, dtype=kernel.dtype).view(H * W, 1, H, W)
    return F.conv2d(pixels, kernel[None, None], padding=(K_h // 2, K_w // 2)).flatten(1).T


def matrix_with_a_fixed_width(kernel, H, W):
    matrix = right_matrix(kernel, H, W)
    return matrix if kernel.shape[0] == kernel.shape[1] else matrix + 1


WRONG_MATRICES = {
    "transposed": lambda *a: right_matrix(*a).T,
    "flipped": lambda kernel, H, W: right_matrix(kernel.flip(0, 1), H, W),
    "all zeros": lambda *a: 0 * right_matrix(*a),
    "four axes": lambda kernel, H, W: right_matrix(kernel, H, W).view(
        H - kernel.shape[0] + 1, W - kernel.shape[1] + 1, H, W
    ),
    "padding": padded_matrix,
    "numbers are not": matrix_with_a_fixed_width,
    "float64 became": lambda *a: right_matrix(*a).float(),
}


def test_matrix_accepts_the_right_one() -> None:
    assert check.matrix(right_matrix)


@pytest.mark.parametrize("message", WRONG_MATRICES)
def test_matrix_names_the_mistake(message: str) -> None:
    torch.manual_seed(0)
    assert_wrong(check.matrix(WRONG_MATRICES[message]), message)


def test_matrix_names_exchanged_rows_and_columns() -> None:
    def exchanged(kernel, H, W):
        square = kernel.shape[0] == kernel.shape[1]
        return right_matrix(kernel.T if square else kernel, H, W)

    verdict = check.matrix(exchanged)
    assert not verdict
    assert "Rows and columns of the kernel are exchanged" in verdict.message


# --- is_equivariant ---


def trial(*steps: tuple[int, int], x: Callable[[], torch.Tensor]) -> Callable[..., bool]:
    """A test that tries these shifts (step, axis) on this picture."""

    def is_equivariant(f):
        return all(
            torch.allclose(f(x().roll(step, axis)), f(x()).roll(step, axis)) for step, axis in steps
        )

    return is_equivariant


def noise() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=generator)


WRONG_TESTS = {
    "rows only": trial((1, 2), x=noise),
    "columns only": trial((1, 3), x=noise),
    "even number of pixels": trial((2, 2), (2, 3), x=noise),
    "image of zeros": trial((1, 2), (1, 3), x=lambda: 0 * noise()),
    "not only the shapes": lambda f: f(noise()).shape == noise().shape,
    "You say False for the identity": lambda f: torch.equal(f(noise().roll(1, 2)), f(noise())),
    "for a constant, which is equivariant": lambda f: (
        f(noise()).std() > 0 and trial((1, 2), (1, 3), x=noise)(f)
    ),
    "Return True or False; for the identity I got str": lambda f: "yes",
}


def test_is_equivariant_accepts_a_right_test() -> None:
    assert check.is_equivariant(trial((1, 2), (1, 3), x=noise))
    assert check.is_equivariant(lambda f: torch.tensor(trial((1, 2), (1, 3), x=noise)(f)))
    assert check.is_equivariant(lambda f: np.bool_(trial((1, 2), (1, 3), x=noise)(f)))


def test_is_equivariant_accepts_a_right_test_in_float32() -> None:
    for seed in range(50):
        torch.manual_seed(seed)
        x = torch.rand(3, 1, 9, 9)
        verdict = check.is_equivariant(trial((1, 2), (1, 3), x=lambda x=x: x))
        assert verdict, verdict.message


@pytest.mark.parametrize("message", WRONG_TESTS)
def test_is_equivariant_says_where_a_test_fails(message: str) -> None:
    assert_wrong(check.is_equivariant(WRONG_TESTS[message]), message)


# --- shuffle ---


def right_shuffle(x, seed=0):
    order = torch.randperm(x[0].numel(), generator=torch.Generator().manual_seed(seed))
    return x.flatten(1)[:, order].view_as(x)


def shuffle_anew(x, seed=0):
    return x.flatten(1)[:, torch.randperm(x[0].numel())].view_as(x)


def shuffle_by_global_seed(x, seed=0):
    torch.manual_seed(seed)
    return shuffle_anew(x)


def shuffle_each(x, seed=0):
    generator = torch.Generator().manual_seed(seed)
    flat = x.flatten(1)
    rows = [row[torch.randperm(len(row), generator=generator)] for row in flat]
    return torch.stack(rows).view_as(x)


def shuffle_images(x, seed=0):
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed + 2))]


def shuffle_rows(x, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return x[..., torch.randperm(x.shape[3], generator=generator)]


def shuffle_columns(x, seed=0):
    return shuffle_rows(x.mT, seed).mT


def shuffle_whole_rows(x, seed=0):
    return shuffle_rows(shuffle_columns(x, seed), seed)


def shuffle_in_place(x, seed=0):
    x.copy_(right_shuffle(x, seed))
    return x


def shuffle_by_size(x, seed=0):
    return right_shuffle(x, seed + len(x))


WRONG_SHUFFLES = {
    "two different orders": shuffle_anew,
    "two different orders, ": shuffle_by_size,
    "of the whole program": shuffle_by_global_seed,
    "in the same order": shuffle_each,
    "keep its own pixels": shuffle_images,
    "within a row": shuffle_rows,
    "within a column": shuffle_columns,
    "Whole rows stay": shuffle_whole_rows,
    "have changed": shuffle_in_place,
    "where they were": lambda x, seed=0: x,
    "use the seed": lambda x, seed=0: right_shuffle(x, 0),
    "expected the same, got (3, 42)": lambda x, seed=0: right_shuffle(x, seed).flatten(1),
    "raised TypeError": lambda x: right_shuffle(x),
}


def test_shuffle_accepts_the_right_one() -> None:
    assert check.shuffle(right_shuffle)


@pytest.mark.parametrize("message", WRONG_SHUFFLES)
def test_shuffle_names_the_mistake(message: str) -> None:
    assert_wrong(check.shuffle(WRONG_SHUFFLES[message]), message.strip(" ,"))


# --- random_shift ---


def shift(x, down, right):
    H, W = x.shape[-2:]
    sheet = F.pad(x, (W, W, H, H))
    return sheet[..., H - down : 2 * H - down, W - right : 2 * W - right]


def shifter(low=lambda n: -n, high=lambda n: n + 1, move=shift, axes=2):
    def random_shift(x, limit, generator):
        if low(limit) >= high(limit):
            return x.clone()
        draw = torch.randint(low(limit), high(limit), (len(x), axes), generator=generator)
        ways = draw.expand(-1, 2).tolist()
        return torch.stack([move(image, *way) for image, way in zip(x, ways, strict=True)])

    return random_shift


def all_alike(x, limit, generator):
    return shift(x, *torch.randint(-limit, limit + 1, (2,), generator=generator).tolist())


def without_generator(x, limit, generator):
    return shifter()(x, limit, None)


def always_the_same(x, limit, generator):
    return shifter()(x, limit, torch.Generator().manual_seed(0))


def rounded(x, limit, generator):
    """The outermost ways are drawn half as often as the others."""
    draw = ((torch.rand(len(x), 2, generator=generator) * 2 - 1) * limit).round().int().tolist()
    return torch.stack([shift(image, *way) for image, way in zip(x, draw, strict=True)])


def in_place(x, limit, generator):
    x.copy_(shifter()(x, limit, generator))
    return x


def mostly_unmoved(x, limit, generator):
    moved = shifter()(x, limit, generator)
    stay = torch.rand(len(x), generator=generator) < 0.4
    moved[stay] = x[stay]
    return moved


WRONG_SHIFTS = {
    "enters on the other": shifter(move=lambda image, d, r: image.roll((d, r), (1, 2))),
    "farther than the limit": shifter(high=lambda n: n + 2),
    "leaves out the upper end": shifter(high=lambda n: n),
    "one for each direction": shifter(axes=1),
    "all ways should be equally likely": shifter(low=lambda n: 0),
    "All images moved the same way": all_alike,
    "draw from `generator` only": without_generator,
    "Another generator gave the same": always_the_same,
    "have changed": in_place,
    "too many images moved by (0, 0)": mostly_unmoved,
    "too many images moved by": rounded,
    "not the image moved": lambda x, limit, generator: x + limit,
    "expected the same, got (400, 7, 9)": lambda x, limit, generator: x[:, 0],
}


def test_random_shift_accepts_the_right_one() -> None:
    assert check.random_shift(shifter())


@pytest.mark.parametrize("message", WRONG_SHIFTS)
def test_random_shift_names_the_mistake(message: str) -> None:
    assert_wrong(check.random_shift(WRONG_SHIFTS[message]), message)
