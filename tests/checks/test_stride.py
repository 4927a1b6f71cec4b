"""The checks of chapter 5 accept right answers and name each plausible mistake."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import stride as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong

chapter = definitions("stride")
output_size = chapter["output_size"]
solution_cost = chapter["solution_cost"]


@pytest.mark.parametrize(
    ("check_name", "solution"),
    [
        ("output_size", "solution_output_size"),
        ("output_size", "count_positions"),
        ("pad", "solution_pad"),
        ("field_rows", "solution_field_rows"),
        ("cost", "solution_cost"),
        ("strided_conv2d", "solution_strided_conv2d"),
        ("depthwise_conv2d", "solution_depthwise_conv2d"),
    ],
)
def test_right_answers_are_accepted(check_name, solution):
    assert_right(getattr(check, check_name)(chapter[solution]))


def test_the_general_convolution_passes_as_strided_and_as_depthwise():
    general = chapter["conv2d_general"]
    answers = {
        check.strided_conv2d: lambda x, w, s: general(x, w, w.new_zeros(len(w)), s),
        check.depthwise_conv2d: (
            lambda x, w: general(x, w, w.new_zeros(len(w)), groups=x.shape[1])
        ),
    }
    for checking, answer in answers.items():
        assert_right(checking(answer))


@pytest.mark.parametrize("name", ["output_size", "pad", "field_rows", "cost", "depthwise_conv2d"])
def test_an_empty_stub_is_told_so(name):
    assert_not_begun(getattr(check, name)(chapter[f"my_{name}"]))


# --- the size of the output


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda n, k, s, p, d: max((n + 2 * p - d * (k - 1)) // s, 0),
            "Right for padding 1 and 2; for n = 1, kernel_size = 1, stride = 2",
        ),
        (lambda n, k, s, p, d: max((n + 2 * p - d * (k - 1)) // s, 0), "+1 belongs outside"),
        (lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) // s, "+1 is missing"),
        (
            lambda n, k, s, p, d: output_size(n + p, k, s, 0, d),
            "Right for stride 1 without padding; for n = 1, kernel_size = 1, stride = 1, "
            "padding = 1, dilation = 1 you return 2, expected 3: the padding counts twice",
        ),
        (lambda n, k, s, p, d: output_size(n, k, s, 0, d), "the padding is not used"),
        (lambda n, k, s, p, d: output_size(n, k, 1, p, d), "the stride is not used"),
        (lambda n, k, s, p, d: output_size(n, k, s, p), "the dilation is not used"),
        (
            lambda n, k, s, p, d: output_size(n, d * k - d + 1, s, p) - (d - 1),
            "Right for stride 2 and 3; for",
        ),
        (lambda n, k, s, p, d: max((n + 2 * p - d * k) // s + 1, 0), "not over d * k"),
        (
            lambda n, k, s, p, d: math.ceil((n + 2 * p - d * (k - 1) - 1) / s) + 1,
            "you round up",
        ),
        (lambda n, k, s, p, d: (n + 2 * p - d * (k - 1) - 1) / s + 1, "divide with //"),
        (lambda *case: float(output_size(*case)), "1.0 is not a whole number like 1"),
        (
            lambda n, k, s, p, d: output_size(min(n, 100), k, s, p, d),
            "for n = 224, kernel_size",
        ),
        (lambda *case: max(output_size(*case), 0) or 0.0, "0.0 is not a whole number"),
        (lambda *case: math.nan, "I expected a finite number"),
        (lambda *case: [output_size(*case)] * 2, "I expected one number"),
        (lambda *case: [output_size(*case)], "I expected one number, got shape (1,)"),
        (lambda *case: str(output_size(*case)), "I expected one number, got str"),
        (output_size, "it fits nowhere, so 0 is expected; you return -"),
        (
            lambda n, k, s, p, d: int((n + 2 * p - d * (k - 1) - 1) / s) + 1,
            "Right wherever the window fits.",
        ),
        (lambda n, k, s, p, d: abs(output_size(n, k, s, p, d)), "fits nowhere"),
        (lambda n, k, s, p, d: n + 1, "For n = 1, kernel_size = 1"),
    ],
)
def test_mistakes_in_the_output_size(answer, message):
    assert_wrong(check.output_size(answer), message)


@pytest.mark.parametrize(
    "answer",
    [
        lambda n, k, s, p, d: len(range(0, n + 2 * p - d * (k - 1), s)),
        lambda n, k, s, p, d: max(0, math.floor((n + 2 * p - d * (k - 1) - 1) / s + 1)),
        lambda *case: np.int64(max(output_size(*case), 0)),
        lambda *case: torch.tensor(output_size(*case)).clamp(min=0),
    ],
)
def test_the_output_size_in_any_style_is_right(answer):
    assert_right(check.output_size(answer))


# --- padding


def _at(x, places):
    """The rows and columns at these places of x; a place outside is a KeyError."""
    rows, columns = (places(n) for n in x.shape[-2:])
    return x[:, :, rows][..., columns]


def _mirror(places):
    """Zeros made by joining, and a mirror of these places."""

    def pad(x, padding, mode):
        if mode == "reflect":
            return _at(x, lambda n: places(n, padding))
        N, C, H, W = x.shape
        beside, above = torch.zeros(N, C, H, padding), torch.zeros(N, C, padding, W + 2 * padding)
        return torch.cat([above, torch.cat([beside, x, beside], 3), above], 2)

    return pad


def by_numpy(x, padding, mode):
    around = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    return torch.from_numpy(
        np.pad(x.numpy(), around, "reflect" if mode == "reflect" else "constant")
    )


def reflected(n, p):
    return [*range(p, 0, -1), *range(n), *range(n - 2, n - 2 - p, -1)]


@pytest.mark.parametrize("answer", [by_numpy, _mirror(reflected)])
def test_padding_in_any_style_is_right(answer):
    assert_right(check.pad(answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, p, mode: F.pad(x, (p, p)), "only columns are added"),
        (lambda x, p, mode: F.pad(x, (0, 0, p, p)), "only rows are added"),
        (lambda x, p, mode: F.pad(x, (2 * p,) * 4), "has shape (1, 1, 8, 8), expected"),
        (lambda x, p, mode: by_numpy(x, p, "zeros"), "is the mode used?"),
        (
            lambda x, p, mode: by_numpy(x, p, "reflect"),
            "For mode 'zeros', padding 1 and x of shape (1, 1, 4, 4) the shape is right",
        ),
        (
            lambda x, p, mode: chapter["solution_pad"](x, p, mode)[:, :, p or None :],
            "has shape (1, 1, 5, 6), expected (1, 1, 6, 6)",
        ),
        (lambda x, p, mode: by_numpy(x[:1, :1], p, mode), "expected (2, 3, 8, 10)"),
        (lambda x, p, mode: by_numpy(x, p, mode).numpy(), "asks for a tensor"),
        (lambda x, p, mode: by_numpy(x, p, mode).float(), "became float32"),
        (_mirror(lambda n, p: [abs(k) for k in range(-p, n + p)]), "raised IndexError"),
        (lambda x, p, mode: F.pad(x, (p,) * 4, {"zeros": "constant"}.get(mode, mode)), "F.pad"),
        (
            lambda x, p, mode: (nn.ZeroPad2d if mode == "zeros" else nn.ReflectionPad2d)(p)(x),
            "calls F.pad",
        ),
    ],
)
def test_mistakes_in_padding(answer, message):
    assert_wrong(check.pad(answer), message)


# --- the place of the receptive field


def _walk(layers, i, end=lambda k, d: d * (k - 1)):
    first = last = i
    for k, s, p, d in layers:
        first, last = first * s - p, last * s - p + end(k, d)
    return first, last


@pytest.mark.parametrize(
    "answer",
    [
        lambda layers, i: list(_walk(layers[::-1], i)),
        lambda layers, i: torch.tensor(_walk(reversed(layers), i)),
        lambda layers, i: recursive(layers, i, i),
    ],
)
def test_the_rows_of_the_field_in_any_style_are_right(answer):
    assert_right(check.field_rows(answer))


def recursive(layers, first, last):
    if not layers:
        return first, last
    *below, (k, s, p, d) = layers
    return recursive(below, first * s - p, last * s - p + d * (k - 1))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda layers, i: _walk(layers, i),
            "Right for stride, i = 4. For a stride below another layer, i = 0 (layers = "
            "[(2, 2, 0, 1), (3, 1, 0, 1)]) you return (0, 3), expected (0, 5): the layers are "
            "taken from the picture upwards: start at the output, with `reversed(layers)`.",
        ),
        (
            lambda layers, i: _walk([(k, s, 0, d) for k, s, _, d in reversed(layers)], i),
            "Right for two layers, kernels 3 and 5, i = 4. For padding, i = 0 (layers = "
            "[(3, 1, 1, 1), (5, 1, 2, 1)]) you return (0, 6), expected (-3, 3): the padding",
        ),
        (lambda layers, i: _walk(reversed(layers), 0), "You return (0, 2), expected (1, 3)."),
        (lambda layers, i: i, "has shape (), expected (2,): return two numbers, first and last"),
        (lambda layers, i: _walk(reversed(layers), i)[::-1], "You return (2, 0), expected (0, 2)"),
        (
            lambda layers, i: tuple(max(row, 0) for row in _walk(reversed(layers), i)),
            "You return (0, 3), expected (-3, 3).",
        ),
        (lambda layers, i: [r / 1 for r in _walk(layers[::-1], i)], "not a whole number like 0"),
        (lambda layers, i: _walk([layers.pop() for _ in layers[:]], i), "changes `layers`"),
    ],
)
def test_mistakes_in_the_rows_of_the_field(answer, message):
    assert_wrong(check.field_rows(answer), message)


# --- parameters and multiply-adds


def _bill(parameters=None, multiply_adds=None):
    """A right answer with one of its two numbers replaced."""

    def cost(a, b, k, H, W, stride=1, padding=0, dilation=1, groups=1, bias=True):
        right = solution_cost(a, b, k, H, W, stride, padding, dilation, groups, bias)
        weights = b * (a // groups) * k * k
        places = right[1] // weights
        case = {
            "a": a, "b": b, "k": k, "H": H, "W": W, "s": stride, "p": padding, "g": groups,
            "bias": bias, "weights": weights, "places": places,
        }  # fmt: skip
        return (
            parameters(case) if parameters else right[0],
            multiply_adds(case) if multiply_adds else right[1],
        )

    return cost


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (_bill(lambda c: c["weights"]), "For a bias (Conv2d(1, 4, 3) on 6×6) you count 36"),
        (_bill(lambda c: c["weights"]), "expected 40: the biases are missing"),
        (_bill(lambda c: c["weights"] + c["b"]), "expected 9: there is no bias here"),
        (_bill(lambda c: c["weights"] + c["a"] * c["bias"]), "nor one per input"),
        (_bill(lambda c: c["weights"] + c["bias"]), "neither one for all"),
        (
            _bill(lambda c: c["weights"] * c["g"] + c["b"] * c["bias"]),
            "For groups (Conv2d(6, 12, 3, groups=3) on 7×7) you count 660 parameters, "
            "expected 228: with groups a kernel has only in_channels / groups slices",
        ),
        (_bill(lambda c: c["weights"] // c["k"] + c["b"] * c["bias"]), "k × k weights"),
        (_bill(lambda c: c["weights"] * c["places"]), "do not depend on the size"),
        (_bill(lambda c: 12345), "you count 12345 parameters, expected 9."),
        (_bill(None, lambda c: c["weights"] * c["H"] * c["W"]), "of the output, not of the input"),
        (_bill(None, lambda c: c["weights"]), "once for every place"),
        (
            _bill(None, lambda c: c["weights"] * c["g"] * c["places"]),
            "in_channels / groups slices",
        ),
        (
            _bill(None, lambda c: (c["weights"] + c["b"] * c["bias"]) * c["places"]),
            "a bias is an addition only",
        ),
        (_bill(None, lambda c: 2 * c["weights"] * c["places"]), "do not count it twice"),
        (
            _bill(
                None,
                lambda c: (
                    c["weights"]
                    * output_size(c["H"], c["k"], c["s"])
                    * output_size(c["W"], c["k"], c["s"])
                ),
            ),
            "with the padding",
        ),
        (
            _bill(
                None,
                lambda c: (
                    c["weights"]
                    * output_size(c["H"], c["k"], c["s"], c["p"])
                    * output_size(c["W"], c["k"], c["s"], c["p"])
                ),
            ),
            "For dilation 2 (Conv2d(2, 4, 3, dilation=2) on 9×8) you count 3024 multiply-adds, "
            "expected 1440: count the places again, with the dilation",
        ),
        (lambda *_, **__: 9, "Return a pair"),
        (lambda *_, **__: (torch.ones(2), torch.ones(3)), "I expected one number, got shape (2,)"),
        (
            lambda *_, **__: {"parameters": 9, "multiply_adds": 144},
            "I expected one number, got str",
        ),
        (lambda *_, **__: (10**400, 144), "too large for a float"),
        (lambda *_, **__: (math.nan, 144), "I expected a finite number"),
        (
            lambda *a, **k: (float(_bill()(*a, **k)[0]), 144),
            "parameters: 9.0 is not a whole",
        ),
        (lambda *a, **k: (9, torch.tensor(144.0)), "multiply-adds: tensor(144.) is not a whole"),
        (lambda i, o, k, H, W, **kw: _bill()(i, o, k, H, H, **kw), "For three input channels"),
        (
            lambda *a, **k: _bill()(*a, **k | {"dilation": min(k.get("dilation", 1), 2)}),
            "all at once",
        ),
    ],
)
def test_mistakes_in_the_bill(answer, message):
    assert_wrong(check.cost(answer), message)


def by_a_layer(a, b, k, H, W, **settings):
    layer = nn.Conv2d(a, b, k, **settings)
    pixels = layer(torch.zeros(1, a, H, W)).numel()
    return sum(p.numel() for p in layer.parameters()), pixels * layer.weight[0].numel()


def test_a_bill_counted_on_a_layer_is_right():
    assert_right(check.cost(by_a_layer))
    assert_right(check.cost(lambda *given, **k: torch.tensor(by_a_layer(*given, **k))))


# --- the strided convolution


def _strided(size=None, bounds=None, starts=None, kernel_error=0.0):
    """A strided convolution with something replaced.

    ``size(n, k, s)`` of the output, ``bounds(rows, columns, s)`` of the loops, and
    ``starts(i, j, s)`` of the window.
    """

    def conv2d(x, w, stride):
        K_h, K_w = w.shape[-2:]
        size_of = size or (lambda n, k, s: (n - k) // s + 1)
        rows, columns = size_of(x.shape[2], K_h, stride), size_of(x.shape[3], K_w, stride)
        y = x.new_zeros(len(x), len(w), rows, columns)
        x = F.pad(x, (0, 3, 0, 3))
        until = bounds(rows, columns, stride) if bounds else (rows, columns)
        for i in range(until[0]):
            for j in range(until[1]):
                top, left = starts(i, j, stride) if starts else (i * stride, j * stride)
                patch = x[:, :, top : top + K_h, left : left + K_w]
                y[:, :, i, j] = torch.einsum("ncuv,ocuv->no", patch, w + kernel_error)
        return y

    return conv2d


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            _strided(size=lambda n, k, s: -(-n // s) - (k - 1 if s == 1 else 0)),
            "Right for stride 1; for stride 2 the output is 6×6, expected 5×5: "
            "look at the loop bound.",
        ),
        (
            _strided(size=lambda n, k, s: (n - k) // s),
            "For stride 1 the output is 8×8, expected 9×9: look at the loop bound.",
        ),
        (
            _strided(size=lambda n, k, s: (n - k + 1) // s),
            "Right for stride 1; for stride 2 the output is 4×4, expected 5×5",
        ),
        (
            chapter["strided_conv2d"],
            "Right for stride 1; for stride 2 the last 3 of 5 rows of the output are all zero: "
            "the loop over i ends too early. Is its bound divided twice?",
        ),
        (
            _strided(bounds=lambda rows, columns, s: (rows, columns // s)),
            "for stride 2 the last 3 of 5 columns of the output are all zero",
        ),
        (
            _strided(starts=lambda i, j, s: (i * s, j)),
            "Right for stride 1; for stride 2 column j of the output starts at column j * stride",
        ),
        (
            _strided(starts=lambda i, j, s: (i, j * s)),
            "Right for stride 1; for stride 2 row i of the output starts at row i * stride",
        ),
        (
            _strided(starts=lambda i, j, s: (i, j)),
            "for stride 2 place (i, j) of the output starts at (i * stride, j * stride)",
        ),
        (
            _strided(starts=lambda i, j, s: (2 * i, 2 * j) if s > 1 else (i, j)),
            "Right for strides 1 to 2. For stride 3 the shape is right but the numbers are not: ",
        ),
        (_strided(kernel_error=0.1), "For stride 1 the shape is right but the numbers are not: "),
        (lambda *given: F.conv2d(*given[:2], stride=given[2]).float(), "float64 became float32"),
        (lambda *given: _strided()(*given).tolist(), "asks for a tensor"),
        (lambda *given: _strided()(*given) / 0 * 0, "nan"),
        (lambda x, w, s: _strided()(x[:1], w, s).expand(2, -1, -1, -1), "the numbers are not"),
        (
            lambda x, w, s: _strided()(x[..., : x.shape[2]], w, s),
            "output is 6×4, expected 6×10",
        ),
        (
            lambda x, w, stride: F.conv2d(x, w, stride=stride) if stride == 1 else 1 / 0,
            "Right for stride 1; for stride 2: Your code raised ZeroDivisionError",
        ),
        (lambda x, w, stride: F.conv2d(x, w), "for stride 2 the output is 9×9, expected 5×5"),
        (lambda x, w, stride: F.conv2d(x, w, stride=stride)[0], "has shape (4, 9, 9), expected"),
    ],
)
def test_mistakes_in_the_strided_convolution(answer, message):
    assert_wrong(check.strided_conv2d(answer), message)


def test_repairing_one_bug_of_the_exercise_reveals_the_other():
    rows_repaired = _strided(starts=lambda i, j, s: (i * s, j))
    columns_repaired = _strided(bounds=lambda rows, columns, s: (rows // s, columns))
    assert_wrong(check.strided_conv2d(rows_repaired), "column j")
    assert_wrong(check.strided_conv2d(columns_repaired), "the loop over i ends too early")


# --- the depthwise convolution


def by_einsum(x, w, channel=lambda o, m, C: o // m):
    C, m = x.shape[1], len(w) // x.shape[1]
    windows = x.unfold(2, w.shape[2], 1).unfold(3, w.shape[3], 1)
    chosen = windows[:, [channel(o, m, C) for o in range(len(w))]]
    return torch.einsum("noijuv,ouv->noij", chosen, w[:, 0])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda x, w: by_einsum(x, w, lambda o, m, C: o % C),
            "With the channel multiplier m = 2: output o reads channel o // m",
        ),
        (
            lambda x, w: by_einsum(x, w, lambda o, m, C: o % m),
            "With three channels: all outputs read channel 0",
        ),
        (
            lambda x, w: by_einsum(x, w[: x.shape[1]]),
            "For the channel multiplier m = 2 the result has shape (2, 3, 4, 5), expected "
            "(2, 6, 4, 5).",
        ),
        (lambda x, w: by_einsum(x, w[..., : w.shape[3], :]), "has shape (2, 3, 5, 6), expected"),
        (lambda x, w: by_einsum(x[:1], w).expand(len(x), -1, -1, -1), "the numbers are not"),
        (lambda x, w: by_einsum(x, w.neg_()), "changes `w` in place"),
        (lambda x, w: by_einsum(x, w).numpy(), "asks for a tensor"),
        (lambda x, w: F.conv2d(x, w, groups=x.shape[1]), "calls F.conv2d"),
    ],
)
def test_mistakes_in_the_depthwise_convolution(answer, message):
    assert_wrong(check.depthwise_conv2d(answer), message)


def test_the_depthwise_convolution_in_another_style_is_right():
    assert_right(check.depthwise_conv2d(by_einsum))


def test_what_the_checks_call_right_is_what_pytorch_does():
    """The bill of a layer as PyTorch's own counter of operations has it."""
    from torch.utils.flop_counter import FlopCounterMode

    layer = nn.Conv2d(6, 12, 3, stride=2, padding=1, dilation=2, groups=3)
    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(1, 6, 11, 8))
    parameters, multiply_adds = solution_cost(6, 12, 3, 11, 8, 2, 1, 2, 3)
    assert parameters == sum(p.numel() for p in layer.parameters())
    assert 2 * multiply_adds == counter.get_total_flops()
