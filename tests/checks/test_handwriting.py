"""The checks of chapter 26 accept right answers and name mistakes beyond those of their tables."""

import numpy as np
import torch
import torch.nn.functional as F

from mnist_course.checks import handwriting as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_wrong, judged, of_the_chapter

chapter = definitions("handwriting")
NAMES = {name: name for name in ("slant", "place", "spring_gradient", "threshold")}
slant, place, gradient, threshold = (chapter[f"solution_{name}"] for name in NAMES)
test_the_chapter = of_the_chapter(check, chapter, NAMES, begun="place")


def test_the_place_of_the_chapter_has_its_axes_exchanged():
    assert_wrong(check.place(chapter["my_place"]), "exchanged (and the picture is nearly black")


def slant_by_covariance(image):
    points = image.nonzero().double()
    c = np.cov(points.T.numpy(), aweights=image[image > 0].numpy())
    return c[0, 1] / c[0, 0]


def slant_in_loops(image, rows=None):
    total = image.sum().item()
    pixels = [(i, j, image[i, j]) for i in range(rows or len(image)) for j in range(image.shape[1])]
    x, y = (sum(pixel[axis] * pixel[2] for pixel in pixels) / total for axis in (1, 0))
    across = sum(ink * (j - x) * (i - y) for i, j, ink in pixels)
    return across / sum(ink * (i - y) ** 2 for i, j, ink in pixels)


def place_in_numpy(crop, half=0.5, divisor=255.0):
    ink = crop.numpy() / divisor
    rows, columns = np.indices(ink.shape) + half
    top, left = (14 - int((ink * axis).sum() / ink.sum()) for axis in (rows, columns))
    field = np.zeros((28, 28), dtype=np.float32)
    field[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return torch.from_numpy(field)


def in_a_fixed_size(crop):
    field = torch.zeros(28, 28)
    field[4:24, 4:24] = F.pad(crop, (0, 20 - crop.shape[1], 0, 20 - crop.shape[0])) / 255
    return field


def gradient_in_loops(weights, start, features, labels, stiffness, over=None):
    total = torch.zeros_like(weights)
    for x, label in zip(features, labels, strict=True):
        scores = torch.exp(weights @ x)
        scores /= scores.sum()
        scores[label] -= 1
        total += torch.outer(scores, x) / (over or len(features))
    return total + stiffness * (weights - start)


def gradient_by_autograd(weights, start, features, labels, stiffness):
    w = weights.clone().requires_grad_()
    loss = F.cross_entropy(features @ w.T, labels) + (stiffness * (w - start) ** 2).sum() / 2
    return torch.autograd.grad(loss, w)[0]


def threshold_by_search(digits, others, refuse):
    for t in sorted(digits.tolist(), reverse=True):
        if sum(d < t for d in digits.tolist()) <= refuse * len(digits):
            return t, sum(o < t for o in others.tolist()) / len(others)
    raise AssertionError


def changed(threshold=lambda t, d: t, share=lambda s, o: s):
    """The right answer with one of its two numbers changed."""

    def answer(digits, others, refuse):
        t, s = chapter["solution_threshold"](digits, others, refuse)
        return threshold(t, digits), share(s, others)

    return answer


RIGHT = {
    "slant": [slant_by_covariance, slant_in_loops],
    "place": [place_in_numpy, lambda c: place(c).float()],
    "spring_gradient": [gradient_in_loops],
    "threshold": [
        threshold_by_search,
        lambda *a: torch.stack([part.double() for part in threshold(*a)]).tolist(),
        lambda d, o, r: (t := d.kthvalue(int(r * len(d)) + 1)[0], (o < t).sum().item() / len(o)),
    ],
}

WRONG = {
    "slant": [
        (lambda i: slant(i) + 0.1, "the number is 1.1, expected 1"),
        (lambda i: slant_in_loops(i, rows=5), "a bar from the upper left"),
        (lambda i: slant(i.T), "You divide by the spread of x"),
        (lambda i: abs(slant(i)), "a grey picture of 7×5 the sign is wrong"),
        (lambda i: slant((i > 0).double()), "a grey picture"),
        (lambda i: slant(i / i.sum()) / i.sum(), "a bar from"),
        (lambda i: [slant(i)], "one number"),
        (lambda i: slant(i.div_(i.max())), "changes `i` in place"),
        (lambda i: "steep", "expected numbers"),
    ],
    "place": [
        (lambda c: place(c) * 255 / c.max(), "largest value 1.0000, expected that of the crop"),
        (lambda c: place(c).roll(3, 0), "Its centre of mass is at x = 14"),
        (lambda c: place(c).roll(-1, 1), "a pixel off"),
        (lambda c: place_in_numpy(c, half=0), "a pixel off"),
        (lambda c: place_in_numpy(c, half=0, divisor=65025), "numbers are not"),
        (lambda c: place(c).round(), "numbers are not"),
        (lambda c: (place(c) * 255).byte(), "values go up to 255"),
        (in_a_fixed_size, "the middle, not the centre of mass"),
        (lambda c: place(c).numpy(), "asks for a tensor"),
        (lambda c: place(c)[None], "result has shape (1, 28, 28)"),
        (lambda c: c / 255, "result has shape"),
        (lambda c: place(c) / 0, "nan or infinity"),
    ],
    "spring_gradient": [
        (lambda *a: gradient(*a).T, "has shape"),
        (lambda *a: gradient_in_loops(*a, over=10), "numbers are not"),
        (lambda w, *a: gradient(w, *a[:3], a[3].mean(1, keepdim=True)), "numbers are not"),
        (lambda w, w0, *a: gradient(w0, w0, *a), "numbers are not"),
        (lambda w, w0, *a: gradient(w.sub_(w0) + w0, w0, *a), "changes `w` in place"),
        (gradient_by_autograd, "calls torch.autograd.grad: this exercise is to be solved"),
    ],
    "threshold": [
        (lambda d, o, r: threshold(d, o, r)[0], "Return two numbers"),
        (changed(share=lambda s, o: 1 - s), "gets through"),
        (changed(share=lambda s, o: s * len(o)), "is a count"),
        (changed(share=lambda s, o: 100 * s), "per cent"),
        (changed(share=lambda s, o: s + 0.01), "lie below it"),
        (changed(share=lambda s, o: float("nan")), "result 2: I expected a finite number, got nan"),
        (changed(threshold=lambda t, d: t - 0.01), "could be larger"),
        (changed(threshold=lambda t, d: t + 1e-3), "your threshold refuses 1."),
        (changed(threshold=lambda t, d: d.max()), "Low scores are refused"),
        (
            lambda d, o, r: (t := threshold(d, o, r)[0], (o <= t).double().mean()),
            "those *below* it",
        ),
        (lambda d, o, r: threshold(d, o, 0.05), "For 20 digits of which 5 may be refused"),
        (lambda d, o, r: threshold(o, d, r), "taken from the others"),
        (lambda d, o, r: threshold(d.sort().values, *[o.sub_(1)], r), "changes `o` in place"),
        (lambda d, o, r: ("high", 1), "result 1: I expected one number, got str"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)
