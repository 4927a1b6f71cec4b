"""The checks of chapter 16 accept right answers and name each plausible mistake."""

import pytest
import torch
from torch import nn

from mnist_course import models
from mnist_course.checks import tutorials as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong

chapter = definitions("tutorials")
NAMES = ["grey_kernels", "fold", "network", "accuracy", "difference"]
block = chapter["block"]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        *((name, chapter[f"solution_{name}"]) for name in NAMES),
        ("network", models.tutorial_b),
        ("grey_kernels", lambda w: (w[:, 0] + w[:, 1] + w[:, 2])[:, None]),
    ],
)
def test_right_answers_are_accepted(name, answer):
    assert_right(getattr(check, name)(answer))


@pytest.mark.parametrize("name", NAMES)
def test_stubs_are_told_to_begin(name):
    assert_not_begun(getattr(check, name)(chapter[f"my_{name}"]))


def mended_b(
    *ending,
    flatten=None,
    features=1152,
    first=(nn.ReLU,),
    second=(nn.ReLU,),
    out=10,
    nonlinear=True,
):
    """Network B with one thing or another left wrong."""
    blocks = [*block(1, 32), *block(32, 64), *block(64, 128)]
    return nn.Sequential(
        *(layer for layer in blocks if nonlinear or not isinstance(layer, nn.ReLU)),
        flatten or nn.Flatten(),
        nn.Linear(features, 128), *(layer() for layer in first),
        nn.Linear(128, 64), *(layer() for layer in second), nn.Linear(64, out), *ending,
    )  # fmt: skip


def accuracy(eval_mode=True, restore=True, by_digit=True, total=130.0, factor=1.0, wrong=False):
    """An accuracy with one mistake or another."""

    def measure(model, batches):
        was_training = model.training
        if eval_mode:
            model.eval()
        hits = [(model(images).argmax(1) == labels).double() for images, labels in batches]
        if restore:
            model.train(was_training)
        if not by_digit:
            return factor * sum(hit.mean().item() for hit in hits) / len(hits)
        share = sum(hit.sum().item() for hit in hits) / total
        return factor * (1 - share if wrong else share)

    return measure


def spread(first, second, correction=1, root=True, paired=True, sign=1):
    """A difference with one mistake or another."""
    first, second = (torch.tensor(x, dtype=torch.float64) for x in (first, second))
    d = sign * (second - first)
    deviation = d.std(correction=correction) if paired else (first.var() + second.var()).sqrt()
    return d.mean().item(), (deviation / (len(d) ** 0.5 if root else 1)).item()


WRONG = {
    "grey_kernels": [
        (lambda w: w.mean(1, keepdim=True), "a third"),
        (lambda w: w.sum(1), "keepdim=True"),
        (lambda w: w[:, :1], "threw two away"),
        (lambda w: w.sum(0)[:, None], "over the filters"),
        (lambda w: w.sum(0, keepdim=True), "over the filters"),
        (lambda w: w, "has shape (4, 3, 3, 3)"),
        (lambda w: w.float().sum(1, keepdim=True), "float32"),
        (lambda w: None, "returned None"),
    ],
    "fold": [
        (lambda w1, b1, w2, b2: ((w2 @ w1).T, w2 @ b1 + b2), "transposed"),
        (lambda w1, b1, w2, b2: (w2 @ w1, b2), "first bias"),
        (lambda w1, b1, w2, b2: (w2 @ w1, w2 @ b1), "second bias is forgotten"),
        (lambda w1, b1, w2, b2: w2 @ w1, "Return two things"),
        (lambda w1, b1, w2, b2: (w1 @ w2, b2), "shapes cannot be multiplied"),
    ],
    "network": [
        (chapter["Suspicious"], "28 → 14 → 7 → 3"),
        (lambda: mended_b(features=6272), "28 → 14 → 7 → 3"),
        (lambda: mended_b(features=6272, flatten=chapter["View"](6272)), "other rows"),
        (lambda: mended_b(nn.Softmax(1)), "still a softmax"),
        (lambda: mended_b(nn.LogSoftmax(1)), "log-probabilities"),
        (lambda: mended_b(nn.ReLU()), "after the last linear layer"),
        (lambda: mended_b(nonlinear=False), "no ReLU stands before it"),
        (lambda: mended_b(first=()), "no ReLU stands before it"),
        (lambda: mended_b(second=()), "no ReLU stands before it"),
        (lambda: mended_b(out=11), "expected (49, 10)"),
        (models.tutorial_a, "has 1,199,882 parameters"),
        (lambda: mended_b, "an nn.Module"),
        (lambda: None, "returned None"),
    ],
    "accuracy": [
        (chapter["published_accuracy"], "dropout is still at work"),
        (accuracy(eval_mode=False), "dropout is still at work"),
        (accuracy(restore=False), "comes back in another mode"),
        (accuracy(by_digit=False), "mean of the batches"),
        (accuracy(by_digit=False, factor=100.0), "in per cent: add up"),
        (lambda m, b: int(accuracy(by_digit=False, factor=100.0)(m, b)), "in per cent and cut"),
        (accuracy(total=192.0), "batches × 64"),
        (accuracy(total=1.0), "number of right answers"),
        (accuracy(factor=100.0), "a percentage; return"),
        (lambda m, b: int(100 * accuracy()(m, b)), "cut to an integer"),
        (accuracy(wrong=True), "*wrong* answers"),
        (lambda m, b: accuracy(total=2.0)(m, b[-1:]), "last batch only"),
        (lambda m, b: "good", "expected a number"),
    ],
    "difference": [
        (lambda a, b: spread(a, b, sign=-1), "second minus first"),
        (lambda a, b: spread(a, b, root=False), "standard *deviation*"),
        (lambda a, b: spread(a, b, correction=0), "n - 1"),
        (lambda a, b: spread(a, b, paired=False), "take the differences first"),
        (lambda a, b: (spread(a, b)[0], spread(a, b)[1] / len(a) ** 0.5), "root of n"),
        (lambda a, b: spread(a, b)[0], "Return two numbers"),
    ],
}


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [(name, *case) for name, cases in WRONG.items() for case in cases],
)
def test_each_mistake_is_named(name, answer, message):
    assert_wrong(getattr(check, name)(answer), message)


def test_logits_that_are_all_positive_by_chance_are_accepted():
    """With these weights and these pixels they are; see ``torch.manual_seed`` above."""
    torch.manual_seed(557)
    assert_right(check.network(chapter["solution_network"]))


def test_a_square_fold_in_the_wrong_order_is_named():
    def turned(w1, b1, w2, b2):
        square = w1.shape[0] == w1.shape[1] == w2.shape[0]
        return (w1 @ w2 if square else w2 @ w1), w2 @ b1 + b2

    assert "w1 acts first" in check.fold(turned).message
