"""The checks of reach and cost: answers in other styles, and mistakes beyond the tables."""

import math
from itertools import permutations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import reach as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_wrong, judged, of_the_chapter

chapter = definitions("reach")
test_the_chapter = of_the_chapter(check, chapter, {name: name for name in check.__all__})
bill = chapter["solution_cost"]


def walk(layers, i):
    first = last = i
    for k, s, p, d in layers:
        first, last = first * s - p, last * s - p + d * (k - 1)
    return first, last


def recursive(layers, first, last):
    if not layers:
        return first, last
    *below, (k, s, p, d) = layers
    return recursive(below, first * s - p, last * s - p + d * (k - 1))


def by_a_layer(a, b, k, H, W, **settings):
    layer = nn.Conv2d(a, b, k, **settings)
    pixels = layer(torch.zeros(1, a, H, W)).numel()
    return sum(p.numel() for p in layer.parameters()), pixels * layer.weight[0].numel()


def by_einsum(x, w, channel=lambda o, m, C: o // m):
    C, m = x.shape[1], len(w) // x.shape[1]
    windows = x.unfold(2, w.shape[2], 1).unfold(3, w.shape[3], 1)
    chosen = windows[:, [channel(o, m, C) for o in range(len(w))]]
    return torch.einsum("noijuv,ouv->noij", chosen, w[:, 0])


def by_columns(x, w):
    C, m = x.shape[1], len(w) // x.shape[1]
    columns = F.unfold(x, w.shape[2:]).unflatten(1, (C, 1, -1))
    y = (w.view(C, m, -1, 1) * columns).sum(3)
    return y.reshape(len(x), C * m, x.shape[2] - w.shape[2] + 1, -1)


def answer(*dilations):
    return lambda: dilations


RIGHT = {
    "dilations": [
        *(answer(*order) for order in permutations((1, 3, 9))),
        lambda: torch.tensor([9, 3, 1]),
    ],
    "field_rows": [
        lambda layers, i: list(walk(layers[::-1], i)),
        lambda layers, i: torch.tensor(walk(reversed(layers), i)),
        lambda layers, i: recursive(layers, i, i),
    ],
    "cost": [by_a_layer, lambda *given, **settings: torch.tensor(by_a_layer(*given, **settings))],
    "depthwise_conv2d": [
        by_einsum,
        by_columns,
    ],
}
WRONG = {
    "dilations": [
        (answer(1, 2, 4), "side 15 and no holes, but it can be wider"),
        (answer(1, 1, 1), "side 7 and no holes"),
        (answer(2, 2, 2), "no path leads to 6 of its rows; the first of them is row 1"),
        (answer(1, 3, 10), "side 29"),
        (answer(1, 10**15, 1), "no path leads to"),
        (answer(0, 1, 3), "A dilation is 1 or more; the first is 0."),
        (answer(1, 3), "Return three whole numbers"),
        (lambda: 9, "Return three whole numbers; got 9."),
        (answer(1, 3.0, 9), "not a whole number"),
        (answer(1, math.nan, 9), "I expected a finite number"),
    ],
    "field_rows": [
        (walk, "Right for stride, i = 4. For a stride below another layer, i = 0 (layers = "
         "[(2, 2, 0, 1), (3, 1, 0, 1)]) you return (0, 3), expected (0, 5): the layers are taken"),
        (lambda layers, i: i, "has shape (), expected (2,): return two numbers, first and last"),
        (lambda layers, i: walk(layers[::-1], i)[::-1], "You return (2, 0), expected (0, 2)"),
        (lambda layers, i: [max(row, 0) for row in walk(layers[::-1], i)], "expected (-3, 3)."),
        (lambda layers, i: [r / 1 for r in walk(layers[::-1], i)], "not a whole number like 0"),
    ],
    "cost": [
        (lambda *a, **k: bill(*a, **k | {"padding": 0}), "For padding (Conv2d(3, 8, 5, padding=2)"),
        (lambda *a, **k: bill(*a, **k | {"dilation": min(k.get("dilation", 1), 2)}), "all at once"),
        (lambda a, b, k, H, W, **settings: bill(a, b, k, H, H, **settings), "three input channels"),
        (lambda *_, **__: (12345, 144), "you count 12345 parameters, expected 9."),
        (lambda *_, **__: 9, "Return a pair"),
        (lambda *_, **__: (torch.ones(2), torch.ones(3)), "I expected one number, got shape (2,)"),
        (lambda *_, **__: (10**400, 144), "too large for a float"),
        (lambda *_, **__: (math.nan, 144), "I expected a finite number"),
        (lambda *_, **__: (9.0, 144), "parameters: 9.0 is not a whole"),
        (lambda *_, **__: (9, torch.tensor(144.0)), "multiply-adds: tensor(144.) is not a whole"),
    ],
    "depthwise_conv2d": [
        (lambda x, w: by_einsum(x, w, lambda o, m, C: o % m), "all outputs read channel 0"),
        (lambda x, w: by_einsum(x, w[: x.shape[1]]), "has shape (2, 3, 4, 5), expected"),
        (lambda x, w: by_einsum(x, w[..., : w.shape[3], :]), "has shape (2, 3, 5, 6), expected"),
        (lambda x, w: F.conv2d(x, w, groups=x.shape[1]), "calls F.conv2d"),
    ],
}  # fmt: skip
test_verdicts = judged(check, RIGHT, WRONG)


@pytest.mark.parametrize("which", [0, 1])
def test_each_wrong_count_is_named(which):
    for words, wrong in (check._WRONG_PARAMETERS, check._WRONG_MULTIPLY_ADDS)[which].items():

        def answer(*sizes, words=words, wrong=wrong, **settings):
            counts = list(bill(*sizes, **settings))
            if settings.get("bias", True) or "no bias here" in words:
                counts[which] = wrong(check._Convolution(*sizes, **settings))
            return counts

        assert_wrong(check.cost(answer), words)


def test_the_bill_is_that_of_pytorchs_own_counter():
    from torch.utils.flop_counter import FlopCounterMode

    layer = nn.Conv2d(6, 12, 3, stride=2, padding=1, dilation=2, groups=3)
    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(1, 6, 11, 8))
    parameters, multiply_adds = bill(6, 12, 3, 11, 8, 2, 1, 2, 3)
    assert parameters == sum(p.numel() for p in layer.parameters())
    assert 2 * multiply_adds == counter.get_total_flops()
