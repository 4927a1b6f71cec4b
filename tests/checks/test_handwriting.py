"""The checks of *Your own handwriting* accept right answers and name each plausible mistake."""

import pytest
import torch
import torch.nn.functional as F

from mnist_course.checks import handwriting as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_wrong

CHAPTER = definitions("handwriting")


def axes(image):
    y, x = (torch.arange(n, dtype=torch.float64) + 0.5 for n in image.shape)
    return x[None, :], y[:, None]


def centre(image):
    x, y = axes(image)
    return (image * x).sum() / image.sum(), (image * y).sum() / image.sum()


def moments(image):
    (x, y), (mean_x, mean_y) = axes(image), centre(image)
    x, y = x - mean_x, y - mean_y
    return (image * x * y).sum(), (image * x * x).sum(), (image * y * y).sum()


def laid(ink, x, y):
    top, left = int(torch.ceil(14 - y)), int(torch.ceil(14 - x))
    field = torch.zeros(28, 28, dtype=torch.float64)
    field[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return field


def test_the_solutions_in_the_chapter_are_right():
    for name in ("slant", "place", "spring_gradient", "threshold"):
        verdict = getattr(check, name)(CHAPTER[f"solution_{name}"])
        assert verdict.ok, verdict


@pytest.mark.parametrize("name", ["slant", "spring_gradient", "threshold"])
def test_a_stub_is_not_written_yet(name):
    assert_not_begun(getattr(check, name)(CHAPTER[f"my_{name}"]))


def from_the_corner(image):
    x, y = axes(image)
    return (image * x * y).sum() / (image * y * y).sum()


def from_the_middle(image):
    x, y = axes(image)
    x, y = x - x.mean(), y - y.mean()
    return (image * x * y).sum() / (image * y * y).sum()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda i: -moments(i)[0] / moments(i)[2], "sign is wrong"),
        (lambda i: moments(i)[0] / moments(i)[1], "the spread of y belongs below"),
        (lambda i: moments(i)[2] / moments(i)[0], "slope of y against x"),
        (from_the_corner, "upper left corner"),
        (from_the_middle, "middle of the picture"),
        (lambda i: moments(i)[0], "not yet divided"),
        (lambda i: moments(i)[0] / i.sum(), "covariance"),
        (lambda i: moments(i)[0] / moments(i)[2] + 0.1, "the number is 1.1, expected 1"),
        (lambda i: "steep", "expected numbers"),
    ],
)
def test_slant_names_the_mistake(answer, message):
    assert_wrong(check.slant(answer), message)


def ink_of(crop):
    return crop.double() / 255


def box_in_the_middle(crop):
    h, w = crop.shape
    return laid(ink_of(crop), torch.tensor(w / 2), torch.tensor(h / 2))


def exchanged(crop):
    x, y = centre(ink_of(crop))
    return laid(ink_of(crop), y, x)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (CHAPTER["my_place"], "exchanged (and the picture is nearly black"),
        (exchanged, "x and y are exchanged: summing"),
        (lambda c: CHAPTER["solution_place"](c) / 255, "How often do you divide"),
        (lambda c: CHAPTER["solution_place"](c) * 255, "values go up to 255"),
        (lambda c: 1 - CHAPTER["solution_place"](c), "ink and paper"),
        (box_in_the_middle, "not the centre of mass"),
        (lambda c: CHAPTER["solution_place"](c).roll(1, 0).roll(1, 1), "a pixel off"),
        (lambda c: CHAPTER["solution_place"](c).roll(3, 0), "the centre of mass is at x"),
        (ink_of, "result has shape"),
    ],
)
def test_place_names_the_mistake(answer, message):
    assert_wrong(check.place(answer), message)


def test_a_place_in_single_precision_is_right_too():
    assert check.place(lambda crop: CHAPTER["solution_place"](crop).float()).ok


def parts(weights, features, labels):
    error = (features @ weights.T).softmax(1) - F.one_hot(labels, 10)
    return error.T @ features


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda w, s, x, y, k: parts(w, x, y) + k * (w - s), "divide by n"),
        (lambda w, s, x, y, k: -parts(w, x, y) / len(y) + k * (w - s), "wrong sign"),
        (lambda w, s, x, y, k: parts(w, x, y) / len(y) - k * (w - s), "pushes away"),
        (lambda w, s, x, y, k: parts(w, x, y) / len(y), "spring is missing"),
        (lambda w, s, x, y, k: parts(w, x, y) / len(y) + 2 * k * (w - s), "twice too strong"),
        (lambda w, s, x, y, k: parts(w, x, y) / len(y) + k * w, "pulls to zero"),
        (lambda w, s, x, y, k: parts(w, x, y) / len(y) + k.mean() * (w - s), "mean stiffness"),
        (lambda w, s, x, y, k: (parts(w, x, y) / len(y) + k * (w - s)).T, "has shape"),
    ],
)
def test_the_gradient_names_the_mistake(answer, message):
    assert_wrong(check.spring_gradient(answer), message)


def solved(digits, others, refuse):
    return CHAPTER["solution_threshold"](digits, others, refuse)


def changed(threshold=lambda t, digits: t, share=lambda s, others: s):
    """The right answer with one of its two numbers changed."""

    def answer(digits, others, refuse):
        t, s = solved(digits, others, refuse)
        return threshold(t, digits), share(s, others)

    return answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda d, o, r: solved(d, o, r)[0], "Return two numbers"),
        (changed(share=lambda s, o: 1 - s), "gets through"),
        (changed(share=lambda s, o: s * len(o)), "is a count"),
        (changed(share=lambda s, o: 100 * s), "per cent"),
        (changed(share=lambda s, o: s + 0.01), "lie below it"),
        (changed(threshold=lambda t, d: t - 0.01), "could be larger"),
        (changed(threshold=lambda t, d: t + 1e-3), "your threshold refuses 1."),
        (changed(threshold=lambda t, d: d.max()), "Low scores are refused"),
        (lambda d, o, r: solved(o, d, r), "taken from the others"),
    ],
)
def test_threshold_names_the_mistake(answer, message):
    assert_wrong(check.threshold(answer), message)
