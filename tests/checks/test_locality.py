"""The checks of chapter 3 accept right answers, and say of each wrong one what is wrong."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mnist_course.checks import locality as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong

chapter = definitions("locality")


@pytest.mark.parametrize("name", check.__all__)
def test_the_stub_is_not_begun_and_the_solution_right(name: str) -> None:
    assert_not_begun(getattr(check, name)(chapter[f"my_{name}"]))
    assert_right(getattr(check, name)(chapter[f"solution_{name}"]))


# --- parameters ---


def by_layers(C_in, C_out, H, W, K):
    weights = [(C_in * H * W, C_out * H * W), (C_out * H * W,)], [(C_out, C_in, K, K), (C_out,)]
    return [sum(np.prod(shape, dtype=np.int64) for shape in shapes) for shapes in weights]


def test_parameters_accepts_the_right_counts() -> None:
    assert_right(check.parameters(by_layers))
    assert_right(check.parameters(lambda *sizes: torch.tensor(by_layers(*sizes))))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *sizes: by_layers(*sizes)[0], "has shape (), expected (2,): return two numbers"),
        (lambda *sizes: [float(n) for n in by_layers(*sizes)], "is not a whole number"),
        (lambda i, o, H, W, K: (o * (i * H * W + 1), o * (K * K + 1)), "you count C_out outputs"),
        (
            lambda i, o, H, W, K: by_layers(i, o, H, H, K),
            "(0,) is 3825, expected 2460",
        ),
        (lambda i, o, H, W, K: by_layers(i, o, H, W, 3), "K=5 the shape is right"),
        (lambda i, o, H, W, K: by_layers(o, i, H, W, K), "the numbers are not"),
        (lambda *sizes: dict(zip("dc", by_layers(*sizes), strict=True)), "expected numbers"),
    ],
)
def test_parameters_names_the_mistake(answer, message: str) -> None:
    assert_wrong(check.parameters(answer), message)


# --- matrix ---


def in_loops(kernel, H, W, width=None):
    K_h, K_w = kernel.shape
    matrix = torch.zeros((H - K_h + 1) * (W - K_w + 1), H * W)
    for row in range(len(matrix)):
        i, j = divmod(row, width or W - K_w + 1)
        for u in range(K_h):
            for v in range(K_w):
                matrix[row, (i + u) * W + j + v] = kernel[u, v]
    return matrix


def unfolded(kernel, H, W):
    places = torch.arange(H * W).view(H, W).unfold(0, kernel.shape[0], 1)
    places = places.unfold(1, kernel.shape[1], 1).flatten(2).flatten(0, 1)
    return kernel.new_zeros(len(places), H * W).scatter(
        1, places, kernel.flatten().repeat(len(places), 1)
    )


@pytest.mark.parametrize("answer", [in_loops, unfolded])
def test_matrix_accepts_the_right_one(answer) -> None:
    assert_right(check.matrix(answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda kernel, H, W: in_loops(kernel.T, H, W), "Rows and columns of the kernel are"),
        (lambda kernel, H, W: in_loops(kernel, H, W, H - len(kernel) + 1), "raised IndexError"),
        (lambda kernel, H, W: in_loops(kernel, H, H), "has shape (4, 4), expected (6, 6)"),
        (lambda *given: in_loops(*given).float(), "float64 became"),
        (lambda *given: in_loops(*given).to_sparse(), "sparse"),
        (lambda *given: in_loops(*given).tolist(), "asks for a tensor"),
        (lambda *given: in_loops(*given).abs(), "numbers are not"),
        (lambda *given: in_loops(*given)[:, None], "has shape (6, 1, 6)"),
        (lambda kernel, H, W: in_loops(kernel.div_(2), H, W), "changes `kernel` in place"),
    ],
)
def test_matrix_names_the_mistake(answer, message: str) -> None:
    assert_wrong(check.matrix(answer), message)


# --- is_equivariant ---


def trial(*steps, x: Callable[[], torch.Tensor], same=torch.allclose) -> Callable[..., bool]:
    """A test that tries these shifts (step, axis) on this picture."""

    def is_equivariant(f):
        return all(same(f(x().roll(step, axis)), f(x()).roll(step, axis)) for step, axis in steps)

    return is_equivariant


def noise(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape or (2, 1, 8, 8), dtype=torch.float64, generator=generator)


def close(a, b):
    return (a - b).abs().max() < 1e-9


@pytest.mark.parametrize(
    "answer",
    [
        trial((1, 2), (1, 3), x=noise),
        trial((-1, -2), (3, -1), x=lambda: noise(1, 1, 5, 7)),
        trial(((1, 1), (2, 3)), x=lambda: noise(1, 1, 7, 8)),  # seven and eight make up all
        trial((1, 2), (1, 3), x=noise, same=close),
        trial((1, 2), (1, 3), x=lambda: noise(1, 1, 6, 6).abs().float()),
        lambda f: torch.tensor(trial((1, 2), (1, 3), x=noise)(f)),
        lambda f: np.bool_(trial((1, 2), (1, 3), x=noise)(f)),
    ],
)
def test_is_equivariant_accepts_a_right_test(answer) -> None:
    assert_right(check.is_equivariant(answer))


def test_is_equivariant_accepts_a_right_test_in_float32() -> None:
    for seed in range(50):
        x = noise(3, 1, 9, 9).roll(seed, 3).float()
        assert_right(check.is_equivariant(trial((1, 2), (1, 3), x=lambda x=x: x)))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (trial((1, 2), x=noise), "shifts of rows only"),
        (trial((1, 3), x=noise), "shifts of columns only"),
        (trial(((1, 1), (2, 3)), x=noise), "move one of them at a time"),
        (trial((2, 2), (2, 3), x=noise), "even number of pixels"),
        (trial((1, 2), (1, 3), x=lambda: 0 * noise()), "image of zeros"),
        (trial((1, 2), (1, 3), x=noise, same=torch.equal), "torch.equal does not"),
        (lambda f: f(noise()).shape == noise().shape, "not only the shapes"),
        (trial((1, 2), (1, 3), x=lambda: 0 * noise() + 1), "Symmetric images"),
        (lambda f: close(f(noise().roll(1, 2)), f(noise())).item(), "You say False for the identi"),
        (lambda f: f(noise()).std() > 0 and trial((1, 2), (1, 3), x=noise)(f), "for a constant"),
        (lambda f: "yes", "Return True or False; for the identity I got str"),
        (lambda f: 1.0, "got float"),
        (lambda f: 1, "got int"),
        (lambda f: f(noise()) == noise(), "got Tensor"),
        (lambda f: True, "You say True for a bias"),
        (lambda f: False, "You say False for the identity"),
    ],
)
def test_is_equivariant_says_where_a_test_fails(answer, message: str) -> None:
    assert_wrong(check.is_equivariant(answer), message)


# --- shuffle ---


def right_shuffle(x, seed=0):
    order = torch.randperm(x[0].numel(), generator=torch.Generator().manual_seed(seed))
    return x.flatten(1)[:, order].view_as(x)


def by_numpy(x, seed=0):
    order = np.random.default_rng(seed).permutation(x[0].numel())
    return torch.from_numpy(x.numpy().reshape(len(x), -1)[:, order].reshape(x.shape))


def by_random(x, seed=0):
    order = random.Random(seed).sample(range(x[0].numel()), x[0].numel())
    return torch.stack([image.flatten()[order].view_as(image) for image in x])


def by_fork(x, seed=0):
    with torch.random.fork_rng():
        return shuffle_by_global_seed(x, seed)


@pytest.mark.parametrize("answer", [right_shuffle, by_numpy, by_random, by_fork])
def test_shuffle_accepts_the_right_one(answer) -> None:
    assert_right(check.shuffle(answer))


def shuffle_anew(x, seed=0):
    return x.flatten(1)[:, torch.randperm(x[0].numel())].view_as(x)


def shuffle_by_global_seed(x, seed=0):
    torch.manual_seed(seed)
    return shuffle_anew(x)


def shuffle_by_numpys_seed(x, seed=0):
    np.random.seed(seed)  # noqa: NPY002
    return x.flatten(1)[:, np.random.permutation(x[0].numel())].view_as(x)  # noqa: NPY002


def shuffle_each(x, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = [row[torch.randperm(len(row), generator=generator)] for row in x.flatten(1)]
    return torch.stack(rows).view_as(x)


def shuffle_images(x, seed=0):
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed + 2))]


def shuffle_rows(x, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return x[..., torch.randperm(x.shape[3], generator=generator)]


def shuffle_columns(x, seed=0):
    return shuffle_rows(x.mT, seed).mT


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (chapter["buggy_shuffle"], "two different orders"),
        (shuffle_anew, "two different orders"),
        (lambda x, seed=0: right_shuffle(x, seed + len(x)), "two different orders"),
        (lambda x, seed=0: right_shuffle(x, seed + int(x[0, 0, 0, 0] != 0)), "different orders"),
        (shuffle_by_global_seed, "of the whole program"),
        (shuffle_by_numpys_seed, "of the whole program"),
        (lambda x, seed=0: random.seed(seed) or right_shuffle(x, seed), "of the whole program"),
        (shuffle_each, "in the same order"),
        (shuffle_images, "keep its own pixels"),
        (lambda x, seed=0: right_shuffle(x[:1], seed).expand_as(x), "keep its own pixels"),
        (shuffle_rows, "within a row"),
        (shuffle_columns, "within a column"),
        (lambda x, seed=0: shuffle_rows(shuffle_columns(x, seed), seed), "Whole rows stay"),
        (lambda x, seed=0: x.flatten(1).roll(1 + seed, 1).view_as(x), "at random"),
        (lambda x, seed=0: x.mT.reshape(x.shape).roll(seed, 3), "at random"),
        (lambda x, seed=0: x.copy_(right_shuffle(x, seed)), "changes `x` in place"),
        (lambda x, seed=0: x, "where they were"),
        (lambda x, seed=0: x if seed else right_shuffle(x), "where they were"),
        (lambda x, seed=0: right_shuffle(x, 0), "use the seed"),
        (lambda x, seed=0: right_shuffle(x, seed % 2), "seed=0 and seed=2 give the same"),
        (lambda x, seed=0: right_shuffle(x, seed).flatten(1), "expected the same, got (3, 42)"),
        (lambda x, seed=0: right_shuffle(x, seed).numpy(), "expected the same, got ndarray"),
        (lambda x, seed=0: right_shuffle(x, seed).float(), "keep their type"),
        (lambda x, seed=0: right_shuffle(x, seed) / 0 * 0, "keep its own pixels"),
        (lambda x: right_shuffle(x), "raised TypeError"),
    ],
)
def test_shuffle_names_the_mistake(answer, message: str) -> None:
    assert_wrong(check.shuffle(answer), message)


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
        return moved(x, draw.expand(-1, 2), move)

    return random_shift


def moved(x, ways, move=shift):
    pairs = zip(x, ways.tolist(), strict=True)
    return torch.stack([move(image, int(down), int(right)) for image, (down, right) in pairs])


def by_index(x, limit, generator):
    """All images at once: where each pixel of the result comes from."""
    padded = F.pad(x, (limit,) * 4)
    corner = (torch.rand(len(x), 2, generator=generator) * (2 * limit + 1)).floor().long()
    rows = corner[:, :1] + torch.arange(x.shape[2])
    columns = corner[:, 1:] + torch.arange(x.shape[3])
    n = torch.arange(len(x))[:, None, None]
    return padded[n, 0, rows[:, :, None], columns[:, None, :]][:, None]


@pytest.mark.parametrize("answer", [shifter(), by_index])
def test_random_shift_accepts_the_right_one(answer) -> None:
    assert_right(check.random_shift(answer))


def all_alike(x, limit, generator):
    return shift(x, *torch.randint(-limit, limit + 1, (2,), generator=generator).tolist())


def of_real_numbers(convert):
    def random_shift(x, limit, generator):
        draw = (torch.rand(len(x), 2, generator=generator) * 2 - 1) * limit
        return moved(x, convert(draw))

    return random_shift


def mostly_unmoved(x, limit, generator):
    result = shifter()(x, limit, generator)
    stay = torch.rand(len(x), generator=generator) < 0.4
    result[stay] = x[stay]
    return result


def never_nought(x, limit, generator):
    signs = 2 * torch.randint(0, 2, (len(x), 2), generator=generator) - 1
    return moved(x, limit * signs)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (shifter(move=lambda image, d, r: image.roll((d, r), (1, 2))), "enters on the other"),
        (shifter(high=lambda n: n + 2), "farther than the limit"),
        (shifter(high=lambda n: n), "leaves out the upper end"),
        (shifter(axes=1), "one for each direction"),
        (never_nought, "no image of 400 moved by (-1, 0)"),
        (shifter(low=lambda n: 0), "all ways should be equally likely"),
        (all_alike, "All images moved the same way"),
        (lambda x, limit, generator: x.clone(), "For limit=1, no image moved at all"),
        (of_real_numbers(torch.trunc), "For limit=1, no image moved at all"),
        (of_real_numbers(torch.round), "too many images moved by"),
        (lambda x, limit, generator: shifter()(x, limit, None), "draw from `generator` only"),
        (
            lambda x, limit, generator: shifter()(x, limit, torch.Generator().manual_seed(0)),
            "Another generator gave the same",
        ),
        (lambda x, *rest: x.copy_(shifter()(x, *rest)), "changes `x` in place"),
        (mostly_unmoved, "too many images moved by (0, 0)"),
        (lambda x, limit, generator: x + limit, "not the image moved"),
        (lambda x, *rest: shifter()(x[:1].expand_as(x), *rest), "not the image moved"),
        (lambda x, *rest: x * (shifter()(x, *rest) > 0), "not the image moved"),
        (lambda x, limit, generator: x[:, 0], "expected the same, got (400, 7, 9)"),
        (lambda x, *rest: list(shifter()(x, *rest)), "expected the same, got list"),
        (lambda x, *rest: shifter()(x, *rest).float(), "keep their type"),
    ],
)
def test_random_shift_names_the_mistake(answer, message: str) -> None:
    assert_wrong(check.random_shift(answer), message)
