"""The checks of chapter 16 accept right answers and name mistakes beyond those of its tables."""

import statistics

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course import models
from mnist_course.checks import tutorials as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong, cases

chapter = definitions("tutorials")
NAMES = ["grey_kernels", "fold", "network", "accuracy", "difference"]
block = chapter["block"]


@pytest.mark.parametrize("name", NAMES)
def test_the_stub_is_not_yet_and_the_solution_right(name):
    assert_not_begun(getattr(check, name)(chapter[f"my_{name}"]))
    assert_right(getattr(check, name)(chapter[f"solution_{name}"]))


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


class Functional(nn.Module):
    """Network B in the style of its descendant, and with what may stand in the place of a ReLU."""

    def __init__(self, activation=F.relu, pool=F.max_pool2d):
        super().__init__()
        self.activation, self.pool = activation, pool
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in ((1, 32), (32, 64), (64, 128))
        )
        self.fc1, self.fc2, self.fc3 = nn.Linear(1152, 128), nn.Linear(128, 64), nn.Linear(64, 10)

    def forward(self, x):
        for layer in self.convolutions:
            x = self.activation(self.pool(layer(x), 2))
        x = x.view(-1, 1152)
        return self.fc3(F.dropout(self.activation(self.fc2(self.activation(self.fc1(x)))), 0.0))


def with_positive_logits():
    model = chapter["solution_network"]()
    nn.init.constant_(model[-1].bias, 10.0)
    return model


def accuracy(eval_mode=True, restore=True, size=None):
    """An accuracy with one mistake or another."""

    @torch.no_grad()
    def measure(model, batches):
        mode, hits, total = model.training, 0, 0
        if eval_mode:
            model.eval()
        for images, labels in batches:
            hits += (model(images).argmax(1) == labels).sum()
            total += size or len(labels)
        if restore:
            model.train(mode)
        return hits / total

    return measure


def by_hand(first, second):
    d = [b - a for a, b in zip(first, second, strict=True)]
    return statistics.mean(d), statistics.stdev(d) / len(d) ** 0.5


def in_tensors(first, second):
    d = torch.tensor(second) - torch.tensor(first)
    return d.mean(), d.std() / len(d) ** 0.5


RIGHT = {
    "grey_kernels": [
        lambda w: (w[:, 0] + w[:, 1] + w[:, 2])[:, None],
        lambda w: torch.einsum("ochw->ohw", w).unsqueeze(1),
        lambda w: F.conv2d(w, torch.ones(1, 3, 1, 1)),
    ],
    "fold": [
        lambda w1, b1, w2, b2: [(w1.T @ w2.T).T, F.linear(b1, w2, b2)],
        lambda w1, b1, w2, b2: (torch.einsum("om,md->od", w2, w1), (w2 * b1).sum(1) + b2),
    ],
    "network": [models.tutorial_b, Functional, with_positive_logits,
                lambda: Functional(pool=F.avg_pool2d), lambda: mended_b(nn.Dropout(0.5))],
    "accuracy": [accuracy(), lambda model, batches: accuracy()(model, batches).item()],
    "difference": [
        by_hand,
        in_tensors,
        lambda a, b: tuple(x.float() for x in in_tensors(a, b)),
        lambda a, b: [np.subtract(b, a).mean(), np.subtract(b, a).std(ddof=1) / np.sqrt(len(a))],
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "answer"), [(n, a) for n, known in RIGHT.items() for a in known])
def test_right_answers_in_other_ways_are_accepted(name, answer):
    assert_right(getattr(check, name)(answer))


WRONG = {
    "grey_kernels": [
        (lambda w: w, "has shape (4, 3, 3, 3)"),
        (lambda w: w[:, :1].add_(w[:, 1:].sum(1, keepdim=True)), "changes `w` in place"),
        (lambda w: w.float().sum(1, keepdim=True), "float32"),
        (lambda w: w.sum(1, keepdim=True).tolist(), "asks for a tensor"),
        (lambda w: w.amax(1, keepdim=True), "numbers are not"),
        (lambda w: w.sum((1, 2, 3), keepdim=True), "has shape (4, 1, 1, 1)"),
        (lambda w: None, "returned None"),
    ],
    "fold": [
        (lambda w1, b1, w2, b2: (w1 @ w2, b2), "w1 acts first"),
        (lambda w1, b1, w2, b2: (w1.T @ w2.T, w2 @ b1 + b2), "transposed"),
        (lambda w1, b1, w2, b2: (w2 @ w1, b1 + b2), "first bias goes through the second layer"),
        (lambda w1, b1, w2, b2: (w2 @ w1, b1.add_(b2)), "changes `b1` in place"),
        (lambda w1, b1, w2, b2: (w2 * w1, w2 @ b1 + b2), "result 1, the shape is right"),
        (lambda w1, b1, w2, b2: (w2 @ w1, (w2 @ b1 + b2)[None]), "result 2, the result has shape"),
        (lambda w1, b1, w2, b2: w2 @ w1, "return 2 things, got Tensor"),
    ],
    "network": [
        (chapter["Suspicious"], "28 → 14 → 7 → 3"),
        (Functional(), "the function that returns it"),
        (lambda: mended_b(features=6272), "28 → 14 → 7 → 3"),
        (lambda: mended_b(features=6272, flatten=chapter["View"](6272)), "other rows"),
        (lambda: mended_b(nn.Softmax(1)), "still a softmax"),
        (lambda: mended_b(nn.LogSoftmax(1)), "log-probabilities"),
        (lambda: mended_b(nn.ReLU()), "after the last linear layer"),
        (lambda: mended_b(nonlinear=False), "no ReLU stands before it"),
        (lambda: mended_b(first=()), "no ReLU stands before it"),
        (lambda: mended_b(second=()), "no ReLU stands before it"),
        (lambda: Functional(torch.tanh), "no ReLU stands before it"),
        (lambda: Functional(torch.sigmoid), "is not once 0"),
        (lambda: Functional(F.softplus), "is not once 0"),
        (lambda: mended_b(out=11), "expected (49, 10)"),
        (models.tutorial_a, "has 1,199,882 parameters"),
        (lambda: mended_b, "an nn.Module"),
        (lambda: None, "returned None"),
    ],
    "accuracy": [
        (chapter["published_accuracy"], "reads in train mode"),
        (accuracy(eval_mode=False), "reads in train mode"),
        (accuracy(restore=False), "does not leave `model` in the mode"),
        (accuracy(size=64), "batches × 64"),
        (lambda m, b: round(100 * accuracy()(m, b).item()), "expected 0.969231"),
        (lambda m, b: round(accuracy()(m, b).item(), 2), "number is 0.97, expected 0.969231"),
        (lambda m, b: accuracy()(m, b[:-1]), "the number is 0.976562"),
        (lambda m, b: accuracy()(m, b[-1:]), "last batch only"),
        (lambda m, b: accuracy()(m, [b.pop()]), "changes `b` itself"),
        (lambda m, b: "good", "expected numbers, got str"),
    ],
    "difference": [
        (lambda a, b: by_hand(b, a), "second minus first"),
        (lambda a, b: by_hand([0] * len(a), np.abs(np.subtract(b, a)).tolist()), "signs are lost"),
        (lambda a, b: by_hand(a, b)[0], "return 2 things, got float"),
        (lambda a, b: by_hand(a, b)[::-1], "result 1, the number is"),
        (lambda a, b: (by_hand(a, b)[0], 1.96 * by_hand(a, b)[1]), "result 2, the number is"),
        (lambda a, b: (by_hand(a, b)[0], float("nan")), "nan or infinity"),
        (lambda a, b: (round(by_hand(a, b)[0], 3), by_hand(a, b)[1]), "result 1, the number is"),
        (lambda a, b: by_hand(sorted(a), sorted(b)), "result 2, the number is"),
        (lambda a, b: by_hand(a[1:], b[1:]), "result 1, the number is"),
    ],
}


@pytest.mark.parametrize(("name", "answer", "message"), cases(WRONG))
def test_each_mistake_is_named(name, answer, message):
    assert_wrong(getattr(check, name)(answer), message)


def test_the_differences_of_every_case_have_both_signs():
    for seeds in (3, 8, 2, 5):
        d = check._differences(*check._scores(seeds))
        assert d.min() < 0 < d.max()
