"""The checks of chapter 25 accept right answers and name mistakes beyond those of their tables."""

import torch
from torch.nn import functional as F

from mnist_course.checks import large as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("large")
NAMES = {name: name for name in ("adapted", "two_kernels", "adapter_size", "in_blocks")}
kernels = chapter["solution_two_kernels"]
test_the_chapter = of_the_chapter(check, chapter, NAMES)


def by_unflatten(b, a, in_channels, kernel_size):
    first = a.unflatten(1, (in_channels, kernel_size, kernel_size))
    return [2 * first, b.reshape(*b.shape, 1, 1) / 2]


def row_by_row(w, block, bits):
    rounded = torch.zeros_like(w)
    for row, out in zip(w, rounded, strict=True):
        for start in range(0, len(row), block):
            part = row[start : start + block]
            s = part.abs().max() / (2 ** (bits - 1) - 1)
            if s > 0:
                out[start : start + block] = s * torch.round(part / s)
    return rounded


RIGHT = {
    "adapted": [
        lambda x, w, a, b, alpha: F.linear(x, w + alpha / len(a) * b @ a),
        lambda x, w, a, b, alpha: F.linear(x, w) + F.linear(F.linear(x, a), b) * alpha / b.shape[1],
    ],
    "adapter_size": [lambda shapes, r: sum(r * (s[0] + torch.Size(s[1:]).numel()) for s in shapes)],
    "in_blocks": [row_by_row],
    "two_kernels": [by_unflatten],
}

WRONG = {
    "adapted": [
        (lambda x, w, a, b, alpha: x @ w.T + (x @ a.T) @ b.T, "Alpha is missing"),
        (lambda x, w, a, b, alpha: w + alpha / len(a) * b @ a, "expected"),
    ],
    "adapter_size": [(lambda shapes, r: 0, "expected"), (lambda shapes, r: 4.5, "")],
    "in_blocks": [
        (
            lambda w, block, bits: chapter["rounded"](w.view(-1, block), bits).view_as(w),
            "0 / 0 is not a number",
        ),
        (lambda w, block, bits: w.mul_(0), "`w` in place"),
    ],
    "two_kernels": [
        (lambda *a: kernels(*a)[::-1], "in the wrong order"),
        (lambda b, a, c, k: (a, b), "expected (1, 1, 3, 3) and (2, 1, 1, 1)"),
        (lambda *a: kernels(*a)[0], "Return two tensors"),
        (lambda *a: [k.numpy() for k in kernels(*a)], "Return two tensors"),
        (lambda b, a, c, k: (a.view(-1, c, k, k).mT, b[:, :, None, None]), "order channel, row"),
        (lambda b, a, c, k: (a.view(-1, k, k, c).permute(0, 3, 1, 2), b[..., None, None]), "row"),
        (lambda b, a, c, k: (a.view(-1, c, k, k), 2 * b[..., None, None]), "what b does"),
        (lambda *a: tuple(k.float() for k in kernels(*a)), "float64 became float32"),
        (lambda *a: [k * float("nan") for k in kernels(*a)], "by up to nan"),
    ],
}  # fmt: skip
test_verdicts = judged(check, RIGHT, WRONG)
