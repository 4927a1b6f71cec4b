"""The checks of chapter 4 accept right answers and name each plausible mistake."""

import pytest
import torch
from torch.nn import functional as F

from mnist_course.checks import convolution as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_wrong, said

chapter = definitions("convolution")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


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
    verdict = getattr(check, check_name)(chapter[solution])
    assert verdict, verdict.message


@pytest.mark.parametrize(
    ("check_name", "stub"),
    [
        ("response", "my_response"),
        ("conv2d", "my_conv2d"),
        ("slide", "my_slide"),
        ("true_convolution", "my_true_convolution"),
        ("im2col", "my_im2col"),
        ("end_detector", "my_end_detector"),
    ],
)
def test_stubs_are_told_to_begin(check_name, stub):
    verdict = getattr(check, check_name)(chapter[stub])
    assert not verdict and "Nothing is written yet" in verdict.message


def patch_of(x, w, i, j):
    return x[:, i : i + w.shape[1], j : j + w.shape[2]]


WRONG_RESPONSES = {
    "bias is missing": lambda x, w, b, i, j: (w * patch_of(x, w, i, j)).sum(),
    "for every channel": lambda x, w, b, i, j: (w * patch_of(x, w, i, j)).sum((1, 2)) + b,
    "added to every product": lambda x, w, b, i, j: (w * patch_of(x, w, i, j) + b).sum(),
    "starts at the corner": lambda x, w, b, i, j: (w * patch_of(x, w, 0, 0)).sum() + b,
    "exchanged": lambda x, w, b, i, j: (w * patch_of(x, w, j, i)).sum() + b,
    "matrix product": lambda x, w, b, i, j: (patch_of(x, w, i, j) @ w).sum() + b,
    "returned None": lambda x, w, b, i, j: None,
    "raised": lambda x, w, b, i, j: (w * x).sum() + b,
}


@pytest.mark.parametrize("message", WRONG_RESPONSES)
def test_wrong_responses_are_explained(message):
    assert_wrong(check.response(WRONG_RESPONSES[message]), message)


def first_image_only(x, w, b):
    return F.conv2d(x[:1], w, b).expand(len(x), -1, -1, -1)


def bias_for_each_channel(x, w, b):
    return sum(F.conv2d(x[:, c : c + 1], w[:, c : c + 1], b) for c in range(x.shape[1]))


def last_channel_survives(x, w, b):
    for c in range(x.shape[1]):
        y = F.conv2d(x[:, c : c + 1], w[:, c : c + 1], b)
    return y


def sums_from_one(x, w, b):
    w = w.clone()
    w[:, :, 0] = 0
    w[:, :, :, 0] = 0
    return F.conv2d(x, w, b)


def transposed(x, w, b):
    return F.conv2d(x, w.transpose(2, 3), b)


def never_filled(x, w, b):
    y = torch.zeros_like(F.conv2d(x, w))
    y[..., :-1, :-1] = F.conv2d(x, w, b)[..., :-1, :-1]
    return y


WRONG_LAYERS = {
    "all zeros": lambda x, w, b: torch.zeros_like(F.conv2d(x, w)),
    "bias is missing": lambda x, w, b: F.conv2d(x, w),
    "once for every input channel": bias_for_each_channel,
    "Only input channel 0": lambda x, w, b: F.conv2d(x[:, :1], w[:, :1], b),
    "Only the last term": last_channel_survives,
    "flipped in both directions": lambda x, w, b: F.conv2d(x, w.flip(2, 3), b),
    "sums in Python start at 0": sums_from_one,
    "of the result are missing": lambda x, w, b: F.conv2d(x, w, b)[..., :-1, :-1],
    "were never filled": never_filled,
    "image 0 only": first_image_only,
    "Rows and columns of the kernel are exchanged": transposed,
    "has shape": lambda x, w, b: F.conv2d(x, w, b, padding=1),
    "nan": lambda x, w, b: F.conv2d(x, w, b) / 0 * 0,
    "single precision only": lambda x, w, b: F.conv2d(x.float(), w.float(), b.float()),
    "largest difference": lambda x, w, b: 1.001 * F.conv2d(x, w, b),
}


@pytest.mark.parametrize("message", WRONG_LAYERS)
def test_wrong_layers_are_explained(message):
    assert_wrong(check.conv2d(WRONG_LAYERS[message]), message)


def test_a_layer_that_fails_late_is_told_what_was_right_before():
    verdict = check.conv2d(first_image_only)
    assert verdict.message.startswith("Right for three input channels; but with a batch of two: ")


def test_a_layer_that_raises_is_quoted():
    def square_only(x, w, b):
        assert w.shape[2] == w.shape[3], "square kernels only"
        return F.conv2d(x, w, b)

    verdict = check.conv2d(square_only)
    assert not verdict and "AssertionError: square kernels only" in verdict.message


def test_the_buggy_function_is_not_taken_for_its_repair():
    verdict = check.slide(chapter["buggy_slide"])
    assert not verdict and "Rows and columns of the kernel are exchanged" in verdict.message


def test_a_repair_for_square_kernels_only_is_refused():
    def repaired(image, kernel):
        return chapter["slide"](image, kernel[:, : len(kernel)])

    assert not check.slide(repaired)


ARANGE = torch.arange(16.0).view(4, 4)
# Equal along the anti-diagonals, so that exchanging rows and columns changes nothing.
HANKEL = torch.arange(4.0)[:, None] + torch.arange(4.0)
CASES = {
    "Here the function is wrong": (ARANGE, torch.tensor([[0.0, 1.0], [0.0, 0.0]])),
    "With zeros": (torch.zeros(4, 4), torch.tensor([[0.0, 1.0], [0.0, 0.0]])),
    "All pixels of your image are equal": (torch.ones(4, 4), chapter["SOBEL_X"]),
    "symmetric": (ARANGE, torch.ones(3, 3)),
    "anybody would notice": (ARANGE, torch.ones(2, 3)),
    "does not fit": (ARANGE, torch.ones(5, 5)),
    "two axes each": (ARANGE[None], torch.ones(3, 3)),
    "Return two tensors": "a picture and a kernel",
    "gives the right answer here": (HANKEL, chapter["SOBEL_X"]),
}


@pytest.mark.parametrize("message", CASES)
def test_counterexamples_are_judged(message):
    verdict = check.counterexample(lambda: CASES[message], chapter["buggy_slide"])
    assert message in said(verdict)
    assert bool(verdict) == (message == "Here the function is wrong")


WRONG_CONVOLUTIONS = {
    "cross-correlation": lambda x, w: F.conv2d(x, w),
    "Only the rows are flipped": lambda x, w: F.conv2d(x, w.flip(2)),
    "Only the columns are flipped": lambda x, w: F.conv2d(x, w.flip(3)),
    "transposed": lambda x, w: F.conv2d(x, w.transpose(2, 3)),
    "input channels is reversed": lambda x, w: F.conv2d(x, w.flip(1, 2, 3)),
    "Everything is reversed": lambda x, w: F.conv2d(x, w.flip(0, 1, 2, 3)),
    "flipped the image": lambda x, w: F.conv2d(x.flip(2, 3), w),
}


@pytest.mark.parametrize("message", WRONG_CONVOLUTIONS)
def test_wrong_convolutions_are_explained(message):
    assert_wrong(check.true_convolution(WRONG_CONVOLUTIONS[message]), message)


def columns_from(x, size, order, transpose_places=False, axis=2):
    """im2col by cutting patches, with the patch (N, C, K_h, K_w) reordered before flattening."""
    rows, cols = range(x.shape[2] - size[0] + 1), range(x.shape[3] - size[1] + 1)
    places = [(i, j) for i in rows for j in cols]
    if transpose_places:
        places = [(i, j) for j in cols for i in rows]
    patches = [x[:, :, i : i + size[0], j : j + size[1]] for i, j in places]
    return torch.stack([p.permute(order).flatten(1) for p in patches], dim=axis)


def too_few_places(x, size):
    return F.unfold(x[..., :-1, :-1], size)


WRONG_COLUMNS = {
    "Patches are rows": lambda x, size: columns_from(x, size, (0, 1, 2, 3), axis=1),
    "the channel comes first": lambda x, size: columns_from(x, size, (0, 2, 3, 1)),
    "read column by column": lambda x, size: columns_from(x, size, (0, 1, 3, 2)),
    "let i be the outer loop": lambda x, size: columns_from(x, size, (0, 1, 2, 3), True),
    "last places are missing": too_few_places,
    "has shape": lambda x, size: F.unfold(x, size)[0],
}


@pytest.mark.parametrize("message", WRONG_COLUMNS)
def test_wrong_columns_are_explained(message):
    assert_wrong(check.im2col(WRONG_COLUMNS[message]), message)


RING = -torch.ones(3, 3)
RING[1, 1] = 8
ONE_SIDED = torch.tensor([[0.0, 0, 0], [0, 2, -1], [0, 0, 0]])
WRONG_DETECTORS = {
    "finds neither end": lambda: (RING, -7.5),
    "along the stroke": lambda: (RING, -5.5),
    "beside the stroke, on paper": lambda: (torch.zeros(3, 3), 1.0),
    "finds one end and misses the other": lambda: (ONE_SIDED, -1.5),
    "square and odd": lambda: (torch.ones(4, 4), 0.0),
    "bias is one number": lambda: (RING, [1.0, 2.0]),
    "Return a table": lambda: RING[0, 0],
    "neither end": lambda: (torch.zeros(3, 3), 0.0),
}


@pytest.mark.parametrize("message", WRONG_DETECTORS)
def test_wrong_detectors_are_explained(message):
    assert_wrong(check.end_detector(WRONG_DETECTORS[message]), message)


def test_other_kernels_than_the_solution_find_ends():
    larger = torch.zeros(5, 5)
    larger[1:4, 1:4] = RING
    assert check.end_detector(lambda: (larger, -6.9))
    assert check.end_detector(lambda: (RING.tolist(), torch.tensor([-6.1])))
