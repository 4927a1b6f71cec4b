"""The checks of chapter 5: answers in other styles, and mistakes beyond those of the tables."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import stride as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_right, assert_wrong, judged, of_the_chapter

chapter = definitions("stride")
NAMES = {name: name for name in check.__all__ if name != "strided_conv2d"}
test_the_chapter = of_the_chapter(check, chapter, NAMES)
size, general = chapter["output_size"], chapter["conv2d"]


def span(n, k, p):
    """How many pixels a window can move along a row; negative where it does not fit."""
    return n + 2 * p - k


def by_numpy(x, padding, mode):
    around = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    return torch.from_numpy(np.pad(x.numpy(), around, mode.replace("zeros", "constant")))


def mirrored(places):
    """Zeros made by joining, and a mirror of these places."""

    def pad(x, padding, mode):
        if mode == "reflect":
            rows, columns = (places(n, padding) for n in x.shape[-2:])
            return x[:, :, rows][..., columns]
        N, C, H, W = x.shape
        beside, above = torch.zeros(N, C, H, padding), torch.zeros(N, C, padding, W + 2 * padding)
        return torch.cat([above, torch.cat([beside, x, beside], 3), above], 2)

    return pad


def reflected(n, p):
    return [*range(p, 0, -1), *range(n), *range(n - 2, n - 2 - p, -1)]


def by_search(n, k, s):
    """The least padding with enough outputs, found by trying."""
    total = next(t for t in range(n + k + s) if size(n + t, k, s) >= math.ceil(n / s))
    return total // 2, -(-total // 2)


def strided(output=None, ends=None, starts=None, error=0.0):
    """A strided convolution with another size, bounds of the loops, or starts of the windows."""

    def conv2d(x, w, stride):
        K_h, K_w = w.shape[-2:]
        output_of = output or (lambda n, k, s: (n - k) // s + 1)
        rows, columns = output_of(x.shape[2], K_h, stride), output_of(x.shape[3], K_w, stride)
        y = x.new_zeros(len(x), len(w), rows, columns)
        x = F.pad(x, (0, 3, 0, 3))
        until = ends(rows, columns, stride) if ends else (rows, columns)
        for i in range(until[0]):
            for j in range(until[1]):
                top, left = starts(i, j, stride) if starts else (i * stride, j * stride)
                patch = x[:, :, top : top + K_h, left : left + K_w]
                y[:, :, i, j] = torch.einsum("ncuv,ocuv->no", patch, w + error)
        return y

    return conv2d


RIGHT = {
    "output_size": [
        chapter["count_positions"],
        lambda n, k, s, p: len(range(0, span(n, k, p) + 1, s)),
        lambda n, k, s, p: max(0, math.floor(span(n, k, p) / s + 1)),
        lambda *case: np.int64(max(size(*case), 0)),
        lambda *case: torch.tensor(size(*case)).clamp(min=0),
    ],
    "same_padding": [
        lambda *case: torch.tensor(by_search(*case)),
        by_search,
    ],
    "pad": [by_numpy, mirrored(reflected)],
    "strided_conv2d": [
        chapter["solution_strided_conv2d"],
        lambda x, w, s: general(x, w, w.new_zeros(len(w)), s),
    ],
}
WRONG = {
    "output_size": [
        (lambda n, k, s, p: size(n + p, k, s), "for n = 1, kernel_size = 1, stride = 1, "
         "padding = 1 you return 2, expected 3: the padding counts twice"),
        (lambda n, k, s, p: size(n, k, min(s, 2), p), "Right for padding 1 and 2; for n = 1"),
        (lambda n, k, s, p: span(n, k, p) / s + 1, "divide with //"),
        (lambda *case: float(size(*case)), "1.0 is not a whole number like 1"),
        (lambda n, *rest: size(min(n, 100), *rest), "for n = 224, kernel_size"),
        (lambda *case: max(size(*case), 0) or 0.0, "0.0 is not a whole number"),
        (lambda *case: math.nan, "I expected a finite number"),
        (lambda *case: [size(*case)], "I expected one number, got shape (1,)"),
        (size, "padding = 0 you return -1, expected 0."),
        (lambda n, k, s, p: int(span(n, k, p) / s) + 1, "Right wherever the window fits"),
        (lambda *case: abs(size(*case)), "fits nowhere"),
    ],
    "same_padding": [
        (lambda n, k, s: by_search(n, k, s)[::-1], "For n = 7, kernel_size = 4, stride = 1 you "
         "return (2, 1), expected (1, 2): an odd pixel goes to the end"),
        (lambda n, k, s: sum(by_search(n, k, s)), "return two numbers, before and after"),
        (lambda n, k, s: [half / 1 for half in by_search(n, k, s)], "not a whole number"),
        (lambda n, k, s: by_search(28, k, s), "You return (0, 1), expected (1, 1)."),
    ],
    "pad": [
        (lambda x, p, mode: F.pad(x, (2 * p,) * 4), "has shape (1, 1, 8, 8), expected"),
        (lambda x, p, mode: by_numpy(x, p, mode)[:, :, p or None :], "expected (1, 1, 6, 6)"),
        (lambda x, p, mode: by_numpy(x[:1, :1], p, mode), "expected (2, 3, 8, 10)"),
        (mirrored(lambda n, p: [abs(k) for k in range(-p, n + p)]), "raised IndexError"),
        (lambda x, p, mode: F.pad(x, (p,) * 4, mode.replace("zeros", "constant")), "F.pad"),
        (lambda x, p, mode: {"z": nn.ZeroPad2d, "r": nn.ReflectionPad2d}[mode[0]](p)(x), "F.pad"),
    ],
    "strided_conv2d": [
        (strided(lambda n, k, s: -(-n // s) - (k - 1 if s == 1 else 0)),
         "Right for stride 1; for stride 2 the output is 6×6, expected 5×5: look at the loop bou"),
        (strided(lambda n, k, s: (n - k) // s), "For stride 1 the output is 8×8, expected 9×9"),
        (strided(lambda n, k, s: (n - k + 1) // s), "for stride 2 the output is 4×4, expected 5×5"),
        (chapter["strided_conv2d"], "Right for stride 1; for stride 2 the last 3 of 5 rows of the "
         "output are all zero: the loop over i ends too early. Is its bound divided twice?"),
        (strided(ends=lambda rows, columns, s: (rows, columns // s)), "the last 3 of 5 columns"),
        (strided(starts=lambda i, j, s: (i * s, j)), "Right for stride 1; for stride 2 column j"),
        (strided(starts=lambda i, j, s: (i, j * s)), "for stride 2 row i of the output starts"),
        (strided(starts=lambda i, j, s: (i, j)), "for stride 2 place (i, j) of the output starts"),
        (strided(starts=lambda i, j, s: (i * min(s, 2), j * min(s, 2))),
         "Right for strides 1 to 2. For stride 3 the shape is right but the numbers are not: "),
        (strided(error=0.1), "For stride 1 the shape is right but the numbers are not: "),
        (lambda *given: strided()(*given).float(), "float64 became float32"),
        (lambda *given: strided()(*given).tolist(), "asks for a tensor"),
        (lambda *given: strided()(*given) / 0 * 0, "nan"),
        (lambda x, w, s: strided()(x[:1], w, s).expand(2, -1, -1, -1), "the numbers are not"),
        (lambda x, w, s: strided()(x[..., : x.shape[2]], w, s), "output is 6×4, expected 6×10"),
        (lambda x, w, s: F.conv2d(x, w) if s == 1 else 1 / 0,
         "Right for stride 1; for stride 2: Your code raised ZeroDivisionError"),
        (lambda x, w, s: F.conv2d(x, w)[0], "has shape (4, 9, 9), expected"),
    ],
}  # fmt: skip
test_verdicts = judged(check, RIGHT, WRONG)


@pytest.mark.parametrize("words", check._WRONG_SIZES)
def test_each_wrong_formula_is_named(words):
    assert_wrong(check.output_size(check._WRONG_SIZES[words]), words)


def test_repairing_one_bug_of_the_exercise_reveals_the_other():
    rows_repaired = strided(starts=lambda i, j, s: (i * s, j))
    columns_repaired = strided(ends=lambda rows, columns, s: (rows // s, columns))
    assert_wrong(check.strided_conv2d(rows_repaired), "column j")
    assert_wrong(check.strided_conv2d(columns_repaired), "the loop over i ends too early")
    assert_right(check.strided_conv2d(strided()))
