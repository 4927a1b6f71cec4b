"""The checks of chapter 20: answers in other styles, and mistakes beyond those of the tables."""

import statistics

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course import models
from mnist_course.checks import tutorials as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("tutorials")
test_the_chapter = of_the_chapter(check, chapter, {name: name for name in check.__all__})
block = chapter["block"]


def mended_b(*ending, flatten=None, features=1152, first=(nn.ReLU,), second=(nn.ReLU,), out=10):
    """Network B with one thing or another left wrong."""
    return nn.Sequential(
        *block(1, 32), *block(32, 64), *block(64, 128),
        flatten or nn.Flatten(),
        nn.Linear(features, 128), *(layer() for layer in first),
        nn.Linear(128, 64), *(layer() for layer in second), nn.Linear(64, out), *ending,
    )  # fmt: skip


def only_linear():
    return nn.Sequential(*(layer for layer in mended_b() if not isinstance(layer, nn.ReLU)))


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


@torch.no_grad()
def measure(model, batches, eval_mode=True, restore=True, size=None):
    """An accuracy with one mistake or another."""
    mode, hits, total = model.training, 0, 0
    if eval_mode:
        model.eval()
    for images, labels in batches:
        hits += (model(images).argmax(1) == labels).sum()
        total += size or len(labels)
    if restore:
        model.train(mode)
    return hits / total


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
    "accuracy": [measure, lambda model, batches: measure(model, batches).item()],
    "difference": [
        by_hand,
        in_tensors,
        lambda a, b: [np.subtract(b, a).mean(), np.subtract(b, a).std(ddof=1) / np.sqrt(len(a))],
    ],
}  # fmt: skip
WRONG = {
    "grey_kernels": [
        (lambda w: w, "has shape (4, 3, 3, 3)"),
        (lambda w: w.amax(1, keepdim=True), "numbers are not"),
        (lambda w: w.sum((1, 2, 3), keepdim=True), "has shape (4, 1, 1, 1)"),
    ],
    "fold": [
        (lambda w1, b1, w2, b2: (w1 @ w2, b2), "w1 acts first"),
        (lambda w1, b1, w2, b2: (w1.T @ w2.T, w2 @ b1 + b2), "transposed"),
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
        (only_linear, "no ReLU stands before it"),
        (lambda: mended_b(first=()), "no ReLU stands before it"),
        (lambda: mended_b(second=()), "no ReLU stands before it"),
        (lambda: Functional(torch.tanh), "no ReLU stands before it"),
        (lambda: Functional(torch.sigmoid), "is not once 0"),
        (lambda: Functional(F.softplus), "is not once 0"),
        (lambda: mended_b(out=11), "expected (49, 10)"),
        (models.tutorial_a, "has 1,199,882 parameters"),
        (lambda: mended_b, "an nn.Module"),
    ],
    "accuracy": [
        (chapter["published_accuracy"], "reads in train mode"),
        (lambda *given: measure(*given, eval_mode=False), "reads in train mode"),
        (lambda *given: measure(*given, restore=False), "does not leave `argument 1` in the mode"),
        (lambda *given: measure(*given, size=64), "were full: count the labels"),
        (lambda *given: round(100 * measure(*given).item()), "expected 0.969231"),
        (lambda *given: round(measure(*given).item(), 2), "number is 0.97, expected 0.969231"),
        (lambda model, batches: measure(model, batches[-1:]), "last batch only"),
        (lambda model, batches: measure(model, [batches.pop()]), "changes `batches` itself"),
        (lambda *given: "good", "expected numbers, got str"),
    ],
    "difference": [
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
test_verdicts = judged(check, RIGHT, WRONG)


def test_the_differences_of_every_case_have_both_signs():
    for seeds in (3, 8, 2, 5):
        d = check._differences(*check._scores(seeds))
        assert d.min() < 0 < d.max()
