"""The checks of chapter 3: answers in other styles, and mistakes beyond those of the tables."""

import random

import numpy as np
import torch
from torch.nn import functional as F

from mnist_course.checks import locality as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_right, judged, of_the_chapter

chapter = definitions("locality")
test_the_chapter = of_the_chapter(check, chapter, {name: name for name in check.__all__})


def by_layers(C_in, C_out, H, W, K):
    weights = [(C_in * H * W, C_out * H * W), (C_out * H * W,)], [(C_out, C_in, K, K), (C_out,)]
    return [sum(np.prod(shape, dtype=np.int64) for shape in shapes) for shapes in weights]


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


def noise(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape or (2, 1, 8, 8), dtype=torch.float64, generator=generator)


def trial(*steps, x=noise, same=torch.allclose):
    """A test that tries these shifts (step, axis) on this picture."""

    def is_equivariant(f):
        return all(same(f(x().roll(step, axis)), f(x()).roll(step, axis)) for step, axis in steps)

    return is_equivariant


def close(a, b):
    return (a - b).abs().max() < 1e-9


BOTH, DIAGONAL = [(1, 2), (1, 3)], ((1, 1), (2, 3))
by_noise = trial(*BOTH)


def test_is_equivariant_accepts_a_right_test_in_float32():
    for seed in range(50):
        x = noise(3, 1, 9, 9).roll(seed, 3).float()
        assert_right(check.is_equivariant(trial(*BOTH, x=lambda x=x: x)))


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def shuffle(x, seed=0):
    return x.flatten(1)[:, torch.randperm(x[0].numel(), generator=drawn(seed))].view_as(x)


def by_numpy(x, seed=0, generator=np.random.default_rng):
    order = generator(seed).permutation(x[0].numel())
    return torch.from_numpy(x.numpy().reshape(len(x), -1)[:, order].reshape(x.shape))


def by_random(x, seed=0):
    order = random.Random(seed).sample(range(x[0].numel()), x[0].numel())
    return torch.stack([image.flatten()[order].view_as(image) for image in x])


def by_fork(x, seed=0):
    with torch.random.fork_rng():
        return by_global_seed(x, seed)


def anew(x, seed=0):
    return x.flatten(1)[:, torch.randperm(x[0].numel())].view_as(x)


def by_global_seed(x, seed=0):
    torch.manual_seed(seed)
    return anew(x)


def by_numpys_seed(x, seed=0):
    np.random.seed(seed)  # noqa: NPY002
    return by_numpy(x, generator=lambda seed: np.random)


def each_by_itself(x, seed=0):
    generator = drawn(seed)
    rows = [row[torch.randperm(len(row), generator=generator)] for row in x.flatten(1)]
    return torch.stack(rows).view_as(x)


def along_rows(x, seed=0):
    return x[..., torch.randperm(x.shape[3], generator=drawn(seed))]


def along_columns(x, seed=0):
    return along_rows(x.mT, seed).mT


def shift(x, down, right):
    H, W = x.shape[-2:]
    sheet = F.pad(x, (W, W, H, H))
    return sheet[..., H - down : 2 * H - down, W - right : 2 * W - right]


def moved(x, ways, move=shift):
    pairs = zip(x, ways.tolist(), strict=True)
    return torch.stack([move(image, int(down), int(right)) for image, (down, right) in pairs])


def shifter(low=lambda n: -n, high=lambda n: n + 1, move=shift, axes=2):
    def random_shift(x, limit, generator):
        if low(limit) >= high(limit):
            return x.clone()
        draw = torch.randint(low(limit), high(limit), (len(x), axes), generator=generator)
        return moved(x, draw.expand(-1, 2), move)

    return random_shift


each = shifter()


def by_index(x, limit, generator):
    """All images at once: where each pixel of the result comes from."""
    padded = F.pad(x, (limit,) * 4)
    corner = (torch.rand(len(x), 2, generator=generator) * (2 * limit + 1)).floor().long()
    rows = corner[:, :1] + torch.arange(x.shape[2])
    columns = corner[:, 1:] + torch.arange(x.shape[3])
    n = torch.arange(len(x))[:, None, None]
    return padded[n, 0, rows[:, :, None], columns[:, None, :]][:, None]


def all_alike(x, limit, generator):
    return shift(x, *torch.randint(-limit, limit + 1, (2,), generator=generator).tolist())


def of_real_numbers(convert):
    def random_shift(x, limit, generator):
        draw = (torch.rand(len(x), 2, generator=generator) * 2 - 1) * limit
        return moved(x, convert(draw))

    return random_shift


def mostly_unmoved(x, limit, generator):
    result = each(x, limit, generator)
    stay = torch.rand(len(x), generator=generator) < 0.4
    result[stay] = x[stay]
    return result


def never_nought(x, limit, generator):
    return moved(x, limit * (2 * torch.randint(0, 2, (len(x), 2), generator=generator) - 1))


RIGHT = {
    "parameters": [by_layers, lambda *sizes: torch.tensor(by_layers(*sizes))],
    "matrix": [in_loops, unfolded],
    "is_equivariant": [
        by_noise,
        trial((-1, -2), (3, -1), x=lambda: noise(1, 1, 5, 7)),
        trial(DIAGONAL, x=lambda: noise(1, 1, 7, 8)),  # seven and eight make up all
        trial(*BOTH, same=close),
        trial(*BOTH, x=lambda: noise(1, 1, 6, 6).abs().float()),
        lambda f: torch.tensor(by_noise(f)),
        lambda f: np.bool_(by_noise(f)),
    ],
    "shuffle": [shuffle, by_numpy, by_random, by_fork],
    "random_shift": [each, by_index],
}
WRONG = {
    "parameters": [
        (lambda *sizes: by_layers(*sizes)[0], "return two numbers, dense and"),
        (lambda *sizes: [float(n) for n in by_layers(*sizes)], "is not a whole number"),
        (lambda i, o, H, W, K: by_layers(i, o, H, H, K), "index (0,) is 3825, expected 2460"),
        (lambda i, o, H, W, K: by_layers(o, i, H, W, K), "2 of 2 are wrong"),
        (lambda *sizes: dict(zip("dc", by_layers(*sizes), strict=True)), "expected numbers"),
    ],
    "matrix": [
        (lambda kernel, H, W: in_loops(kernel, H, W, H - len(kernel) + 1), "raised IndexError"),
        (lambda kernel, H, W: in_loops(kernel, H, H), "has shape (4, 4), expected (6, 6)"),
        (lambda *given: in_loops(*given).to_sparse(), "sparse"),
        (lambda *given: in_loops(*given).abs(), "numbers are not"),
        (lambda *given: in_loops(*given)[:, None], "has shape (6, 1, 6)"),
    ],
    "is_equivariant": [
        (trial((1, 2)), "shifts of rows only"),
        (trial((1, 3)), "shifts of columns only"),
        (trial(DIAGONAL), "move one of them at a time"),
        (trial((2, 2), (2, 3)), "even number of pixels"),
        (trial(*BOTH, x=lambda: 0 * noise()), "image of zeros"),
        (trial(*BOTH, x=lambda: 0 * noise() + 1), "Symmetric images"),
        (trial(*BOTH, same=torch.equal), "torch.equal does not"),
        (lambda f: f(noise()).shape == noise().shape, "not only the shapes"),
        (lambda f: close(f(noise().roll(1, 2)), f(noise())).item(), "You say False for the identi"),
        (lambda f: f(noise()).std() > 0 and by_noise(f), "for a constant"),
        (lambda f: "yes", "Return True or False; for the identity I got str"),
        (lambda f: 1, "got int"),
        (lambda f: f(noise()) == noise(), "got Tensor"),
        (lambda f: True, "You say True for a bias"),
    ],
    "shuffle": [
        (chapter["buggy_shuffle"], "two different orders"),
        (anew, "two different orders"),
        (lambda x, seed=0: shuffle(x, seed + len(x)), "two different orders"),
        (lambda x, seed=0: shuffle(x, seed + int(x[0, 0, 0, 0] != 0)), "different orders"),
        (by_global_seed, "of the whole program"),
        (by_numpys_seed, "of the whole program"),
        (lambda x, seed=0: random.seed(seed) or shuffle(x, seed), "of the whole program"),
        (each_by_itself, "in the same order"),
        (lambda x, seed=0: x[torch.randperm(3, generator=drawn(seed + 2))], "keep its own pixels"),
        (lambda x, seed=0: shuffle(x[:1], seed).expand_as(x), "keep its own pixels"),
        (along_rows, "Whole rows or columns stay together"),
        (along_columns, "Whole rows or columns stay together"),
        (
            lambda x, seed=0: along_rows(along_columns(x, seed), seed),
            "Whole rows or columns stay together",
        ),
        (lambda x, seed=0: x.flatten(1).roll(1 + seed, 1).view_as(x), "at random"),
        (lambda x, seed=0: x.mT.reshape(x.shape).roll(seed, 3), "at random"),
        (lambda x, seed=0: x.copy_(shuffle(x, seed)), "changes `x` in place"),
        (lambda x, seed=0: x if seed else shuffle(x), "where they were"),
        (lambda x, seed=0: shuffle(x, 0), "use the seed"),
        (lambda x, seed=0: shuffle(x, seed % 2), "seed=0 and seed=2 give the same"),
        (lambda x, seed=0: shuffle(x, seed).flatten(1), "expected the same, got (3, 42)"),
        (lambda x, seed=0: shuffle(x, seed).numpy(), "expected the same, got ndarray"),
        (lambda x, seed=0: shuffle(x, seed).float(), "keep their type"),
        (lambda x, seed=0: shuffle(x, seed) / 0 * 0, "keep its own pixels"),
        (lambda x: shuffle(x), "raised TypeError"),
    ],
    "random_shift": [
        (shifter(move=lambda image, d, r: image.roll((d, r), (1, 2))), "enters on the other"),
        (shifter(high=lambda n: n + 2), "farther than the limit"),
        (shifter(high=lambda n: n), "leaves out the upper end"),
        (shifter(axes=1), "one for each direction"),
        (never_nought, "no image of 400 moved by (-1, 0)"),
        (shifter(low=lambda n: 0), "all ways should be equally likely"),
        (all_alike, "all moved the same way"),
        (lambda x, *rest: x.clone(), "For limit=1, no image of 400 moved by"),
        (of_real_numbers(torch.trunc), "all moved the same way, or not at all"),
        (of_real_numbers(torch.round), "too many images moved by"),
        (lambda x, limit, g: each(x, limit, None), "draw from `generator` only"),
        (lambda x, limit, g: each(x, limit, drawn(0)), "Another generator gave the same"),
        (lambda x, *rest: x.copy_(each(x, *rest)), "changes `x` in place"),
        (mostly_unmoved, "too many images moved by (0, 0)"),
        (lambda x, limit, g: x + limit, "not the image moved"),
        (lambda x, *rest: each(x[:1].expand_as(x), *rest), "not the image moved"),
        (lambda x, *rest: x * (each(x, *rest) > 0), "not the image moved"),
        (lambda x, *rest: list(each(x, *rest)), "expected the same, got list"),
        (lambda x, *rest: each(x, *rest).float(), "keep their type"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)
