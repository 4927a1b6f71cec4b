"""The checks of chapter 4: answers in other styles, and mistakes beyond those of the tables."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import convolution as check
from mnist_course.checks import normal
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, judged, of_the_chapter

chapter = definitions("convolution")
NAMES = {name: name for name in check.__all__ if name != "counterexample"}
test_the_chapter = of_the_chapter(check, chapter, NAMES)
slide, buggy_slide = chapter["slide"], chapter["buggy_slide"]


def test_a_counterexample_that_is_not_begun():
    assert_not_begun(check.counterexample(chapter["my_counterexample"], buggy_slide))


def response(x, w, b, i, j):
    """In plain loops, over floats of Python."""
    C, K_h, K_w = w.shape
    total = b
    for c in range(C):
        for u in range(K_h):
            for v in range(K_w):
                total += w[c, u, v].item() * x[c, i + u, j + v].item()
    return total


def patch(x, w, i, j):
    return x[:, i : i + w.shape[1], j : j + w.shape[2]]


def places(x, w, b, term=lambda patch, w: torch.einsum("ncuv,ocuv->no", patch, w)):
    """The two loops of the exercise, into a tensor of the default type."""
    (N, _, H, W), (C_out, _, K_h, K_w) = x.shape, w.shape
    y = torch.zeros(N, C_out, H - K_h + 1, W - K_w + 1)
    for i in range(H - K_h + 1):
        for j in range(W - K_w + 1):
            y[:, :, i, j] = term(x[:, :, i : i + K_h, j : j + K_w], w) + b
    return y


def in_places(term):
    return lambda x, w, b: places(x, w, b, term)


def assigned(x, w, b):
    layer = nn.Conv2d(1, 1, 1)
    layer.weight, layer.bias = nn.Parameter(w), nn.Parameter(b)
    return layer(x)


def square_only(x, w, b):
    assert w.shape[2] == w.shape[3], "square kernels only"
    return places(x, w, b)


def by_scipys_rule(x, w):
    """The full convolution, cut down to where the kernel fits."""
    rows, columns = (slice(k - 1, n) for n, k in zip(x.shape[2:], w.shape[2:], strict=True))
    return F.conv_transpose2d(x, w.transpose(0, 1))[:, :, rows, columns]


ARANGE = torch.arange(16.0).view(4, 4)
CORNER = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
# Equal along the anti-diagonals, so that exchanging rows and columns changes nothing.
HANKEL = torch.arange(4.0)[:, None] + torch.arange(4.0)
SOBEL, LAPLACIAN = chapter["SOBEL_X"], chapter["KERNELS"]["Laplacian"]
NAN, INF = float("nan"), float("inf")


def example(*case):
    return lambda: case, buggy_slide


RING = -torch.ones(3, 3)
RING[1, 1] = 8
LARGER = F.pad(RING, (1, 1, 1, 1))
ONE_SIDED = torch.tensor([[0.0, 0, 0], [0, 2, -1], [0, 0, 0]])
# It forgives a corner whose strokes come from above and from the left.
LENIENT = RING.clone()
LENIENT[0, 1] = LENIENT[1, 0] = -0.7


def detector(*answer):
    return lambda: answer


RIGHT = {
    "response": [
        response,
        lambda x, w, b, i, j: F.conv2d(x[None], w[None], torch.tensor([b]))[0, 0, i, j],
        lambda *given: np.float64(response(*given)),
        lambda x, w, b, i, j: torch.tensordot(w, patch(x, w, i, j), 3) + b,
    ],
    "conv2d": [
        *(chapter[f"conv2d_{name}"] for name in ("loops", "shifts", "im2col")),
        in_places(lambda patch, w: patch.flatten(1) @ w.flatten(1).T),
        in_places(lambda patch, w: (patch[:, None] * w).sum((2, 3, 4))),
        in_places(lambda patch, w: torch.tensordot(patch, w, ([1, 2, 3], [1, 2, 3]))),
    ],
    "slide": [slide],
    "true_convolution": [by_scipys_rule, lambda x, w: F.conv2d(x.flip(2, 3), w).flip(2, 3)],
    "counterexample": [
        example(ARANGE, CORNER),
        (lambda: [ARANGE.tolist(), CORNER.tolist()], buggy_slide),
        example(ARANGE.numpy(), CORNER.int().numpy()),
        example(1e-12 * ARANGE, CORNER),
        example(1e12 * ARANGE, 1e12 * CORNER),
    ],
    "end_detector": [
        detector(LARGER, -6.9),
        detector(RING.tolist(), torch.tensor([-6.1])),
        lambda: [RING.int().numpy(), np.float32(-6.5)],
    ],
}
WRONG = {
    "response": [
        (lambda x, w, b, i, j: (w * patch(x, w, i, j)).sum((1, 2)) + b, "for every channel"),
        (lambda *given: torch.tensor([response(*given)]), "expected one number, got shape (1,)"),
        (lambda x, w, b, i, j: response(x, w, b, i + 1, j), "the number is"),
        (lambda x, w, b, i, j: response(x, w[:, :3, :3], b, i, j), "a 2×4 kernel and the place"),
        (lambda x, w, b, i, j: (w * patch(x, w, i, j)).float().sum() + b, "became float32"),
        (lambda x, w, b, i, j: (w * x).sum() + b, "raised"),
    ],
    "conv2d": [
        (in_places(lambda patch, w: (patch * w).sum()),
         "Right for a kernel with K_h ≠ K_w. With two filters, the filters are added up, too"),
        (lambda x, w, b: F.conv2d(x, w, b, padding=1), "has shape"),
        (lambda x, w, b: places(x, w, b) / 0 * 0, "nan"),
        (lambda x, w, b: 1.001 * F.conv2d(x, w, b), "largest difference"),
        (lambda x, w, b: places(x, w[..., :3, :3], b), "a kernel as large as the image"),
        (square_only, "AssertionError: square kernels only"),
        (F.conv2d, "calls F.conv2d"),
        (lambda x, w, b: torch.conv2d(x, w) + b[:, None, None], "calls"),
        (assigned, "calls F.conv2d"),
    ],
    "slide": [
        (buggy_slide, "rows and columns of the kernel are exchanged"),
        (lambda image, kernel: slide(image, kernel[:, : len(kernel)]), "has shape"),
        (lambda image, kernel: slide(image.abs(), kernel), "the numbers are not"),
        (lambda image, kernel: slide(image, kernel)[None], "has shape (1, 3, 3)"),
    ],
    "counterexample": [
        (example(torch.zeros(4, 4), CORNER), "all pixels of your image are equal"),
        (example(torch.ones(4, 4), SOBEL), "all pixels of your image are equal"),
        (example(ARANGE, torch.ones(3, 3)), "symmetric"),
        (example(1e15 * normal(9, 9), LAPLACIAN), "symmetric"),
        (example(HANKEL, SOBEL), "gives the right answer here"),
        (example(ARANGE, torch.ones(2, 3)), "anybody would notice"),
        (example(ARANGE, torch.ones(5, 5)), "does not fit"),
        (example(ARANGE[None], torch.ones(3, 3)), "two axes each"),
        ((lambda: "a picture and a kernel", buggy_slide), "two tensors: `return image, kernel`"),
        (example("a picture", "a kernel"), "The image must be made of numbers, got str"),
        (example(ARANGE, None), "The kernel must be made of numbers, got NoneType"),
        (example(NAN * ARANGE, torch.ones(3, 3)), "The image contains nan or infinity"),
        (example(HANKEL, INF * SOBEL), "The kernel contains nan or infinity"),
        (example(1e300 * HANKEL.double(), 1e300 * SOBEL.double().abs()), "The right answer for"),
    ],
    "true_convolution": [
        (lambda x, w: F.conv_transpose2d(x, w.transpose(0, 1)), "has shape (1, 1, 8, 8)"),
        (lambda x, w: -F.conv2d(x, w), "numbers are not"),
    ],
    "end_detector": [
        (detector(RING, -7.5), "finds neither end"),
        (detector(torch.zeros(3, 3), 0.0), "finds neither end"),
        (detector(RING, -5.5), "along the stroke"),
        (detector(torch.zeros(3, 3), 1.0), "beside the stroke, on paper"),
        (detector(ONE_SIDED, -1.5), "finds one end and misses the other"),
        (detector(LENIENT, -6.5), "a corner, turned or mirrored, it also answers at 1"),
        (detector(torch.ones(4, 4), 0.0), "square and odd"),
        (detector(RING, [1.0, 2.0]), "bias is one number"),
        (detector(RING * NAN, -6.5), "The kernel contains nan"),
        (detector(RING, NAN), "The bias contains nan"),
        (detector(1e308 * RING.double(), -6.5e307), "kernel contains nan or infinity"),
        (lambda: RING[0, 0], "a table of weights and a number"),
        (detector("a ring", -6.5), "The kernel must be made of numbers, got str"),
    ],
}  # fmt: skip
test_verdicts = judged(check, RIGHT, WRONG)
