"""Each check of chapter 28 accepts what is right and names mistakes beyond those of its table."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import further as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("further")
NAMES = {name: name for name in ("for_the_network", "residual", "score_maps", "patches")}
test_the_chapter = of_the_chapter(check, chapter, NAMES)


def block(x, w1, w2, skip, stride, second=1, around=None, padding=0):
    """A residual block of layers, with the stride in the wrong places."""
    conv = nn.Conv2d(w1.shape[1], w1.shape[0], 3, stride, 1, bias=False)
    conv.weight.data = w1
    f = F.conv2d(F.relu(conv(x)), w2, stride=second, padding="same" if second == 1 else 1)
    return F.relu(f + F.conv2d(x, skip, stride=around or stride, padding=padding))


def scores(maps, weight, bias):
    return F.conv2d(maps, weight[:, :, None, None], bias)


def in_loops(x, size):
    """Patches one after the other."""
    rows = range(0, x.shape[2], size)
    columns = range(0, x.shape[3], size)
    parts = [x[:, :, i : i + size, j : j + size].flatten(1) for i in rows for j in columns]
    return torch.stack(parts, dim=1)


RIGHT = {
    "for_the_network": [
        lambda p: torch.from_numpy(p.numpy().transpose(0, 3, 1, 2).astype(np.float32) / 255),
        lambda p: torch.stack([p[..., c] for c in range(3)], dim=1).float().div(255),
        lambda p: p.movedim(-1, 1).mul(1 / 255),
    ],
    "residual": [block],
    "score_maps": [
        scores,
        lambda m, w, b: F.linear(m.permute(0, 2, 3, 1), w, b).permute(0, 3, 1, 2),
        lambda m, w, b: torch.stack(
            [sum(m[:, c] * w[o, c] for c in range(m.shape[1])) + b[o] for o in range(len(w))], 1
        ),
    ],
    "patches": [
        in_loops,
        lambda x, s: F.unfold(x, s, stride=s).mT,
        lambda x, s: (
            x.unfold(2, s, s).unfold(3, s, s).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        ),
    ],
}

WRONG = {
    "for_the_network": [
        (chapter["for_the_network"], "Both bugs"),
        (lambda p: p.transpose(1, 3) / 255, "Rows and columns"),
        (lambda p: p.movedim(-1, 1) / 255.0 / p.max() * 255, "divide by the largest byte"),
        (lambda p: p.movedim(-1, 1).double() / 255, "of torch.float64; the exercise asks for"),
        (lambda p: (p.movedim(-1, 1) / 255).half(), "numbers are not"),
        (lambda p: (p.movedim(-1, 1) / 255).numpy(), "asks for a tensor"),
        (lambda p: p / 255, "has shape (1, 2, 3, 3), expected (1, 3, 2, 3)"),
        (lambda p: p[:1].movedim(-1, 1).expand(len(p), -1, -1, -1) / 255, "2 pictures of 5×5"),
    ],
    "residual": [
        (lambda *a: block(*a, second=a[4]), "not to the second convolution"),
        (lambda *a: block(*a[:4], 1), "6×6 the result has shape (2, 4, 6, 6), expected"),
        (lambda *a: block(*a[:4], 1, around=a[4]), "The two ways differ in size"),
        (lambda *a: block(*a, padding=1), "padding 1 to the 3 × 3 convolutions only"),
        (lambda x, w1, *rest: block(x, w1.relu_(), *rest), "changes `w1` in place"),
        (lambda x, w1, w2, *rest: block(x, w1, w2.mT, *rest), "numbers are not"),
    ],
    "score_maps": [
        (lambda m, w, b: scores(m, w, b) / m[0, 0].numel(), "numbers are not"),
        (lambda m, w, b: scores(m, w, b).permute(0, 2, 3, 1), "before the classes"),
        (lambda m, w, b: m @ w, "raised"),
        (lambda m, w, b: scores(m, w, b).softmax(1), "numbers are not"),
        (
            lambda m, w, b: scores(m[:, :, :2], w, b),
            "has shape (2, 5, 2, 3), expected (2, 5, 4, 3)",
        ),
    ],
    "patches": [
        (lambda x, s: F.unfold(x, s).mT, "has shape"),
        (lambda x, s: in_loops(x.mT, s), "numbers are not"),
        (lambda x, s: in_loops(x[:, :, :, : x.shape[2]], s), "2 pictures of 3×4×6"),
        (lambda x, s: in_loops(x.flip(1), s), "numbers are not"),
        (lambda x, s: F.unfold(x, s, stride=2).mT, "patches of 3×3 the result has shape"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)
