"""The checks of chapter 4 accept right answers and name each plausible mistake."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import convolution as check
from mnist_course.checks import normal
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong

chapter = definitions("convolution")


@pytest.mark.parametrize(
    ("check_name", "solution"),
    [
        ("response", "solution_response"),
        ("conv2d", "solution_conv2d"),
        ("conv2d", "conv2d_loops"),
        ("conv2d", "conv2d_shifts"),
        ("conv2d", "conv2d_im2col"),
        ("slide", "solution_slide"),
        ("slide", "slide"),
        ("true_convolution", "solution_true_convolution"),
        ("im2col", "solution_im2col"),
        ("im2col", "im2col"),
        ("end_detector", "solution_end_detector"),
    ],
)
def test_right_answers_are_accepted(check_name, solution):
    assert_right(getattr(check, check_name)(chapter[solution]))


@pytest.mark.parametrize("name", [*check.__all__])
def test_stubs_are_told_to_begin(name):
    suspect = (chapter["buggy_slide"],) if name == "counterexample" else ()
    assert_not_begun(getattr(check, name)(chapter[f"my_{name}"], *suspect))


# --- one number


def response(x, w, b, i, j):
    """In plain loops, over floats of Python."""
    C, K_h, K_w = w.shape
    total = b
    for c in range(C):
        for u in range(K_h):
            for v in range(K_w):
                total += w[c, u, v].item() * x[c, i + u, j + v].item()
    return total


@pytest.mark.parametrize(
    "answer",
    [
        response,
        lambda x, w, b, i, j: F.conv2d(x[None], w[None], torch.tensor([b]))[0, 0, i, j],
        lambda *given: np.float64(response(*given)),
        lambda x, w, b, i, j: (
            torch.tensordot(w, x[:, i : i + w.shape[1], j : j + w.shape[2]], 3) + b
        ),
    ],
)
def test_one_number_of_any_type_is_right(answer):
    assert_right(check.response(answer))


def patch_of(x, w, i, j):
    return x[:, i : i + w.shape[1], j : j + w.shape[2]]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, w, b, i, j: (w * patch_of(x, w, i, j)).sum((1, 2)) + b, "for every channel"),
        (lambda *given: torch.tensor([response(*given)]), "expected one number, got shape (1,)"),
        (lambda x, w, b, i, j: (patch_of(x, w, i, j) @ w).sum() + b, "matrix product"),
        (lambda x, w, b, i, j: (w[0] * patch_of(x, w, i, j)[0]).sum() + b, "Only channel 0"),
        (lambda x, w, b, i, j: response(x, w, b, i + 1, j), "the number is"),
        (lambda x, w, b, i, j: response(x, w[:, :3, :3], b, i, j), "a 2×4 kernel and the place"),
        (lambda x, w, b, i, j: (w * patch_of(x, w, i, j)).float().sum() + b, "became float32"),
        (lambda x, w, b, i, j: w.mul_(patch_of(x, w, i, j)).sum() + b, "changes `w` in place"),
        (lambda x, w, b, i, j: None, "returned None"),
        (lambda x, w, b, i, j: (w * x).sum() + b, "raised"),
    ],
)
def test_wrong_responses_are_explained(answer, message):
    assert_wrong(check.response(answer), message)


# --- a layer


def first_image_only(x, w, b):
    return F.conv2d(x[:1], w, b).expand(len(x), -1, -1, -1)


def places(x, w, b, term=lambda patch, w: torch.einsum("ncuv,ocuv->no", patch, w)):
    """The two loops of the exercise, into a tensor of the default type."""
    (N, _, H, W), (C_out, _, K_h, K_w) = x.shape, w.shape
    y = torch.zeros(N, C_out, H - K_h + 1, W - K_w + 1)
    for i in range(H - K_h + 1):
        for j in range(W - K_w + 1):
            y[:, :, i, j] = term(x[:, :, i : i + K_h, j : j + K_w], w) + b
    return y


@pytest.mark.parametrize(
    "term",
    [
        lambda patch, w: patch.flatten(1) @ w.flatten(1).T,
        lambda patch, w: (patch[:, None] * w).sum((2, 3, 4)),
        lambda patch, w: torch.tensordot(patch, w, ([1, 2, 3], [1, 2, 3])),
    ],
)
def test_two_loops_in_any_style_are_right(term):
    assert_right(check.conv2d(lambda x, w, b: places(x, w, b, term)))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, w, b: places(x, w, b, lambda patch, w: (patch * w).sum()),
         "Right for a kernel with K_h ≠ K_w. With two filters, the filters are added up, too"),
        (lambda x, w, b: places(x, w, 0), "the bias is missing"),
        (first_image_only,
         "Right for three input channels. With a batch of two, the result is right for image 0"),
        (lambda x, w, b: F.conv2d(x, w, b, padding=1), "has shape"),
        (lambda x, w, b: places(x, w, b) / 0 * 0, "nan"),
        (lambda x, w, b: F.conv2d(x.float(), w.float(), b.float()), "float64 became float32"),
        (lambda x, w, b: 1.001 * F.conv2d(x, w, b), "largest difference"),
        (lambda x, w, b: places(x, w.mT, b), "rows and columns of the kernel are exchanged"),
        (lambda x, w, b: places(x, w[..., :3, :3], b), "a kernel as large as the image"),
        (lambda x, w, b: places(x, w, b).tolist(), "asks for a tensor"),
        (lambda x, w, b: places(x, w.mul_(1.5), b) , "changes `w` in place"),
        (F.conv2d, "calls F.conv2d"),
        (lambda x, w, b: torch.conv2d(x, w) + b[:, None, None], "calls"),
        (lambda x, w, b: assigned(nn.Conv2d(1, 1, 1), w, b)(x), "calls F.conv2d"),
    ],
)  # fmt: skip
def test_wrong_layers_are_explained(answer, message):
    assert_wrong(check.conv2d(answer), message)


def assigned(layer, w, b):
    layer.weight, layer.bias = nn.Parameter(w), nn.Parameter(b)
    return layer


def test_a_layer_that_raises_is_quoted():
    def square_only(x, w, b):
        assert w.shape[2] == w.shape[3], "square kernels only"
        return F.conv2d(x, w, b)

    assert_wrong(check.conv2d(square_only), "AssertionError: square kernels only")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (chapter["buggy_slide"], "rows and columns of the kernel are exchanged"),
        (lambda image, kernel: chapter["slide"](image, kernel[:, : len(kernel)]), "has shape"),
        (lambda image, kernel: chapter["slide"](image, kernel.flip(0, 1)), "kernel is flipped"),
        (lambda image, kernel: chapter["slide"](image.abs(), kernel), "the numbers are not"),
        (lambda image, kernel: chapter["slide"](image, kernel)[None], "has shape (1, 3, 3)"),
        (lambda image, kernel: chapter["slide"](image, kernel).numpy(), "asks for a tensor"),
    ],
)
def test_repairs_that_are_wrong_are_refused(answer, message):
    assert_wrong(check.slide(answer), message)


# --- an image and a kernel that catch the bug

ARANGE = torch.arange(16.0).view(4, 4)
CORNER = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
# Equal along the anti-diagonals, so that exchanging rows and columns changes nothing.
HANKEL = torch.arange(4.0)[:, None] + torch.arange(4.0)


@pytest.mark.parametrize(
    "case",
    [
        (ARANGE, CORNER),
        [ARANGE.tolist(), CORNER.tolist()],
        (ARANGE.numpy(), CORNER.int().numpy()),
        (1e-12 * ARANGE, CORNER),
        (1e12 * ARANGE, 1e12 * CORNER),
    ],
)
def test_a_counterexample_may_be_of_any_type_and_size(case):
    verdict = check.counterexample(lambda: case, chapter["buggy_slide"])
    assert_right(verdict)
    assert verdict.message == "Here the function is wrong, and your test sees it."


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ((torch.zeros(4, 4), CORNER), "With zeros"),
        ((torch.ones(4, 4), chapter["SOBEL_X"]), "All pixels of your image are equal"),
        ((ARANGE, torch.ones(3, 3)), "symmetric"),
        ((1e15 * normal(9, 9), chapter["KERNELS"]["Laplacian"]), "symmetric"),
        ((ARANGE, torch.ones(2, 3)), "anybody would notice"),
        ((ARANGE, torch.ones(5, 5)), "does not fit"),
        ((ARANGE[None], torch.ones(3, 3)), "two axes each"),
        ("a picture and a kernel", "Return two tensors"),
        (("a picture", "a kernel"), "must be a tensor of numbers, got str"),
        ((ARANGE, None), "must be a tensor of numbers, got NoneType"),
        ((HANKEL, chapter["SOBEL_X"]), "gives the right answer here"),
        ((NAN * ARANGE, torch.ones(3, 3)), "The image contains nan or infinity"),
        ((HANKEL, INF * chapter["SOBEL_X"]), "The kernel contains nan or infinity"),
        ((1e300 * HANKEL.double(), 1e300 * torch.ones(3, 3).double()), "The right answer for your"),
    ],
)
def test_no_counterexample_is_told_why(case, message):
    assert_wrong(check.counterexample(lambda: case, chapter["buggy_slide"]), message)


# --- convolution as mathematics has it


def by_scipys_rule(x, w):
    """The full convolution, cut down to where the kernel fits."""
    rows, columns = (slice(k - 1, n) for n, k in zip(x.shape[2:], w.shape[2:], strict=True))
    return F.conv_transpose2d(x, w.transpose(0, 1))[:, :, rows, columns]


@pytest.mark.parametrize(
    "answer", [by_scipys_rule, lambda x, w: F.conv2d(x.flip(2, 3), w).flip(2, 3)]
)
def test_true_convolution_in_another_style_is_right(answer):
    assert_right(check.true_convolution(answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, w: F.conv2d(x, w.flip(0, 1, 2, 3)), "Everything is reversed"),
        (lambda x, w: F.conv2d(x, w.rot90(1, (2, 3))), "quarter"),
        (lambda x, w: F.conv_transpose2d(x, w.transpose(0, 1)), "has shape (1, 1, 8, 8)"),
        (lambda x, w: -F.conv2d(x, w), "numbers are not"),
        (lambda x, w: F.conv2d(x[:1], w.flip(2, 3)).expand(len(x), -1, -1, -1), "x of shape (2,"),
        (lambda x, w: F.conv2d(x, w.copy_(w.flip(2, 3))), "changes `w` in place"),
    ],
)
def test_wrong_convolutions_are_explained(answer, message):
    assert_wrong(check.true_convolution(answer), message)


# --- columns


def columns_from(x, size, order=(0, 1, 2, 3), transpose_places=False, axis=2):
    """im2col by cutting patches, with the patch (N, C, K_h, K_w) reordered before flattening."""
    rows, cols = range(x.shape[2] - size[0] + 1), range(x.shape[3] - size[1] + 1)
    places = [(i, j) for i in rows for j in cols]
    if transpose_places:
        places = [(i, j) for j in cols for i in rows]
    patches = [x[:, :, i : i + size[0], j : j + size[1]] for i, j in places]
    return torch.stack([p.permute(order).flatten(1) for p in patches], dim=axis)


def strided_view(x, size):
    return x.unfold(2, size[0], 1).unfold(3, size[1], 1).permute(0, 1, 4, 5, 2, 3).reshape(
        len(x), x.shape[1] * size[0] * size[1], -1
    )  # fmt: skip


@pytest.mark.parametrize("answer", [columns_from, strided_view])
def test_columns_in_any_style_are_right(answer):
    assert_right(check.im2col(answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, size: columns_from(x, size, axis=1), "Patches are rows"),
        (lambda x, size: columns_from(x, size, (0, 2, 3, 1)), "the channel comes first"),
        (lambda x, size: columns_from(x, size, (0, 1, 3, 2)), "read column by column"),
        (lambda x, size: columns_from(x, size, (0, 1, 2, 3), True), "let i be the outer loop"),
        (lambda x, size: F.unfold(x[..., :-1, :-1], size), "last places are missing"),
        (lambda x, size: F.unfold(x, size)[0], "has shape"),
        (lambda x, size: columns_from(x, (size[0], size[0])), "has shape"),
        (lambda x, size: columns_from(x, size).numpy(), "asks for a tensor"),
        (lambda x, size: F.unfold(x, size), "calls F.unfold"),
        (lambda x, size: nn.Unfold(size)(x), "calls F.unfold"),
    ],
)
def test_wrong_columns_are_explained(answer, message):
    assert_wrong(check.im2col(answer), message)


# --- ends of strokes

RING = -torch.ones(3, 3)
RING[1, 1] = 8
ONE_SIDED = torch.tensor([[0.0, 0, 0], [0, 2, -1], [0, 0, 0]])
# It forgives a corner whose strokes come from above and from the left.
LENIENT = RING.clone()
LENIENT[0, 1] = LENIENT[1, 0] = -0.7


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((RING, -7.5), "finds neither end"),
        ((RING, -5.5), "along the stroke"),
        ((torch.zeros(3, 3), 1.0), "beside the stroke, on paper"),
        ((ONE_SIDED, -1.5), "finds one end and misses the other"),
        ((LENIENT, -6.5), "a stroke with a corner, turned or mirrored, it also answers at 1"),
        ((torch.ones(4, 4), 0.0), "square and odd"),
        ((RING, [1.0, 2.0]), "bias is one number"),
        ((RING * NAN, -6.5), "The kernel contains nan"),
        ((RING, NAN), "The bias contains nan"),
        ((1e308 * RING.double(), -6.5e307), "kernel contains nan or infinity"),
        (RING[0, 0], "Return a table"),
        (("a ring", -6.5), "The kernel must be a table of numbers, got str"),
        ((torch.zeros(3, 3), 0.0), "neither end"),
    ],
)
def test_wrong_detectors_are_explained(answer, message):
    assert_wrong(check.end_detector(lambda: answer), message)


def test_other_kernels_than_the_solution_find_ends():
    larger = torch.zeros(5, 5)
    larger[1:4, 1:4] = RING
    assert_right(check.end_detector(lambda: (larger, -6.9)))
    assert_right(check.end_detector(lambda: (RING.tolist(), torch.tensor([-6.1]))))
    assert_right(check.end_detector(lambda: [RING.int().numpy(), np.float32(-6.5)]))
