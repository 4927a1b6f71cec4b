"""The checks of the chapter on activation: answers in other styles, and further mistakes."""

import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import activation as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("activation")
NAMES = {name: name for name in check.__all__}
test_the_chapter = of_the_chapter(check, chapter, NAMES)


def by_single_pixels(first, second, stride):
    """The composed kernel, asked of the two convolutions with images of a single 1."""
    C, size = first.shape[1], first.shape[-1] + (second.shape[-1] - 1) * stride
    single = torch.eye(C * size * size, dtype=first.dtype).reshape(-1, C, size, size)
    both = F.conv2d(F.conv2d(single, first, stride=stride), second)
    return both.flatten(1).T.reshape(-1, C, size, size)


def bends_one_by_one(heights):
    """Each weight makes up for what the units before it have built."""
    weights = torch.zeros_like(heights)
    for k, height in enumerate(heights):
        weights[k] = height - sum(weights[j] * (k + 1 - j) for j in range(k))
    return weights


def by_linear(x, w_gate, w_value, w_out):
    return F.linear(F.silu(F.linear(x, w_gate)).mul(F.linear(x, w_value)), w_out)


RIGHT = {
    "bends": [bends_one_by_one],
    "softplus": [lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))],
    "swiglu": [by_linear],
    "compose": [by_single_pixels],
}
WRONG = {
    "bends": [
        (lambda heights: heights, "the heights themselves"),
        (lambda heights: torch.diff(heights), "the first weight is missing"),
        (lambda heights: bends_one_by_one(heights).tolist(), "asks for a tensor"),
        (lambda heights: bends_one_by_one(heights) / 2, "numbers are not"),
    ],
    "softplus": [
        (lambda x: torch.log(1 + torch.exp(x)), "exp only ever meets negative numbers"),
        (lambda x: x.exp_().add_(1).log_(), "changes `x` in place"),
        (lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs())).float(), "largest difference"),
        (lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()) + 1e-7), "numbers are not"),
        (nn.Softplus(), "calls F.softplus"),
        (lambda x: F.softplus(x).mean(), "has shape"),
    ],
    "swiglu": [
        (lambda x, g, v, o: by_linear(x, v, g, o), "changed places"),
        (lambda x, g, v, o: F.silu(x @ g.T) * (x @ v.T), "w_out"),
        (lambda x, g, v, o: F.silu(x @ g) * (x @ v) @ o, "raised"),
        (lambda x, g, v, o: by_linear(x, g, v, o) + 1, "numbers are not"),
    ],
    "compose": [
        (lambda a, b, s: by_single_pixels(a, b, s)[..., :-1, :-1], "the last entry"),
        (lambda a, b, s: by_single_pixels(a, b, s) * 2, "numbers are not"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)
