"""The checks of chapter 5 accept right answers and name each plausible mistake."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import stride as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_wrong

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
    verdict = getattr(check, check_name)(chapter[solution])
    assert verdict, verdict.message


def test_the_general_convolution_passes_as_strided_and_as_depthwise():
    general = chapter["conv2d_general"]
    assert check.strided_conv2d(lambda x, w, stride: general(x, w, w.new_zeros(len(w)), stride))
    assert check.depthwise_conv2d(
        lambda x, w: general(x, w, w.new_zeros(len(w)), groups=x.shape[1])
    )


@pytest.mark.parametrize(
    ("check_name", "stub"),
    [
        ("output_size", "my_output_size"),
        ("pad", "my_pad"),
        ("field_rows", "my_field_rows"),
        ("cost", "my_cost"),
        ("depthwise_conv2d", "my_depthwise_conv2d"),
    ],
)
def test_an_empty_stub_is_told_so(check_name, stub):
    verdict = getattr(check, check_name)(chapter[stub])
    assert not verdict
    assert "Nothing is written yet" in verdict.message


@pytest.mark.parametrize(
    "check_name",
    ["output_size", "pad", "field_rows", "cost", "strided_conv2d", "depthwise_conv2d"],
)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *_, **__: None, "returned None"),
        (lambda *_, **__: 1 / 0, "ZeroDivisionError"),
        (lambda *_, **__: "twelve", ""),
    ],
)
def test_nonsense_is_a_verdict_and_not_an_exception(check_name, answer, message):
    assert_wrong(getattr(check, check_name)(answer), message)


def test_checks_leave_the_random_numbers_of_the_notebook_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert check.strided_conv2d(chapter["solution_strided_conv2d"])
    assert torch.equal(torch.rand(1), expected)


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


# --- padding


def _pad_with(mode):
    def pad(x, padding, asked):
        kind = mode if asked == "reflect" else "constant"
        return F.pad(x, (padding,) * 4, mode=kind)

    return pad


def _symmetric(x, padding, mode):
    if mode == "zeros":
        return F.pad(x, (padding,) * 4)
    rows, columns = (
        [*reversed(range(padding)), *range(n), *reversed(range(n - padding, n))]
        for n in x.shape[-2:]
    )
    return x[:, :, rows][..., columns]


def _unflipped(x, padding, mode):
    if mode == "zeros":
        return F.pad(x, (padding,) * 4)
    rows, columns = (
        [*range(1, padding + 1), *range(n), *range(n - 1 - padding, n - 1)] for n in x.shape[-2:]
    )
    return x[:, :, rows][..., columns]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, p, mode: x, "the picture comes back as it was"),
        (lambda x, p, mode: F.pad(x, (p, p)), "only columns are added"),
        (lambda x, p, mode: F.pad(x, (0, 0, p, p)), "only rows are added"),
        (lambda x, p, mode: F.pad(x, (0, 2 * p, 0, 2 * p)), "on the right only"),
        (lambda x, p, mode: F.pad(x, (2 * p,) * 4), "has shape (1, 1, 8, 8), expected"),
        (_pad_with("constant"), "is the mode used?"),
        (_pad_with("replicate"), "that is mode 'replicate'"),
        (_pad_with("circular"), "that is mode 'circular'"),
        (_symmetric, "repeats the outermost pixel"),
        (_unflipped, "wrong order"),
        (
            lambda x, p, mode: F.pad(x, (p,) * 4, mode="reflect"),
            "For mode 'zeros', padding 1 and x of shape (1, 1, 4, 4) the shape is right",
        ),
        (
            lambda x, p, mode: chapter["solution_pad"](x, p, mode)[:, :, p or None :],
            "has shape (1, 1, 5, 6), expected (1, 1, 6, 6)",
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
    ("answer", "message"),
    [
        (lambda layers, i: _walk(layers, i), "`reversed(layers)`"),
        (
            lambda layers, i: _walk(layers, i),
            "Right for stride; for a stride below another layer (layers = [(2, 2, 0, 1), "
            "(3, 1, 0, 1)], i = 0) you return (0, 3), expected (0, 5)",
        ),
        (
            lambda layers, i: _walk([(k, s, 0, d) for k, s, _, d in reversed(layers)], i),
            "Right for two layers, kernels 3 and 5; for padding",
        ),
        (
            lambda layers, i: _walk([(k, s, 0, d) for k, s, _, d in reversed(layers)], i),
            "the padding is not used",
        ),
        (
            lambda layers, i: _walk([(k, s, p, 1) for k, s, p, _ in reversed(layers)], i),
            "the dilation is not used",
        ),
        (
            lambda layers, i: _walk([(k, 1, p, d) for k, _, p, d in reversed(layers)], i),
            "the stride is not used",
        ),
        (
            lambda layers, i: _walk(reversed(layers), i, end=lambda k, d: d * k),
            "For one layer, kernel 3 (layers = [(3, 1, 0, 1)], i = 0) you return (0, 3), "
            "expected (0, 2): a window of k rows ends d * (k - 1) rows after its first",
        ),
        (lambda layers, i: _walk(reversed(layers), 0), "you return (0, 2), expected (1, 3)."),
        (lambda layers, i: i, "you return 0, expected (0, 2)"),
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
        (_bill(lambda c: c["weights"] + c["bias"]), "bias per output channel"),
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
    ],
)
def test_mistakes_in_the_bill(answer, message):
    assert_wrong(check.cost(answer), message)


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
            "Right for strides 1 to 2; for stride 3 the shape is right but the numbers are not.",
        ),
        (_strided(kernel_error=0.1), "For stride 1 the shape is right but the numbers are not."),
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
    assert "column j" in check.strided_conv2d(rows_repaired).message
    assert "the loop over i ends too early" in check.strided_conv2d(columns_repaired).message


# --- the depthwise convolution


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda x, w: F.conv2d(x, w.expand(-1, x.shape[1], -1, -1)),
            "With three channels: you add up over the input channels",
        ),
        (
            lambda x, w: F.conv2d(x, w[:1].expand(len(w), -1, -1, -1), groups=x.shape[1]),
            "the kernel of output 0 is used for all",
        ),
        (lambda x, w: F.conv2d(x[:, :1], w), "all outputs read channel 0"),
        (
            lambda x, w: torch.stack(
                [
                    F.conv2d(x[:, o % x.shape[1]][:, None], w[o : o + 1])[:, 0]
                    for o in range(len(w))
                ],
                dim=1,
            ),
            "With the channel multiplier m = 2: output o reads channel o // m",
        ),
        (
            lambda x, w: F.pad(
                F.conv2d(x, w[: x.shape[1]], groups=x.shape[1]),
                (0, 0, 0, 0, 0, len(w) - x.shape[1]),
            ),
            "only the outputs 0 to C - 1 are filled",
        ),
        (
            lambda x, w: F.conv2d(x, w[: x.shape[1]], groups=x.shape[1]),
            "For the channel multiplier m = 2 the result has shape (2, 3, 4, 5), expected "
            "(2, 6, 4, 5).",
        ),
        (lambda x, w: F.conv2d(x, w.flip(2, 3), groups=x.shape[1]), "the numbers are not"),
    ],
)
def test_mistakes_in_the_depthwise_convolution(answer, message):
    assert_wrong(check.depthwise_conv2d(answer), message)


def test_what_the_checks_call_right_is_what_pytorch_does():
    """The bill of a layer as PyTorch's own counter of operations has it."""
    from torch.utils.flop_counter import FlopCounterMode

    layer = nn.Conv2d(6, 12, 3, stride=2, padding=1, dilation=2, groups=3)
    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(1, 6, 11, 8))
    parameters, multiply_adds = solution_cost(6, 12, 3, 11, 8, 2, 1, 2, 3)
    assert parameters == sum(p.numel() for p in layer.parameters())
    assert 2 * multiply_adds == counter.get_total_flops()
