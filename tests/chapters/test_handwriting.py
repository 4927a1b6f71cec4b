"""What chapter 26 defines computes what the package, the page and the libraries compute."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mnist_course import pretrained
from mnist_course.export import page_weights
from mnist_course.strokes import preprocess
from mnist_course.synthetic import handwriting
from tests.chapters.definitions import definitions
from tests.drawings import DIGITS, SCRIBBLE

chapter = definitions("handwriting")
NODE = shutil.which("node")
STATIC = Path(__file__).parents[2] / "mnist_course" / "static"
quickly = settings(max_examples=40, deadline=None)

coordinates = st.floats(-100, 100).map(lambda value: round(value, 2))
points = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=5)
drawings = st.lists(points, min_size=1, max_size=3)


@quickly
@given(drawings)
def test_a_drawing_is_prepared_as_by_the_package_to_the_last_bit(strokes) -> None:
    np.testing.assert_array_equal(chapter["prepare"](strokes), preprocess(strokes))


@pytest.mark.parametrize("strokes", [*DIGITS.values(), SCRIBBLE, [], [[]], [[(3, 4)]]])
def test_digits_dots_and_nothing_are_prepared_as_by_the_package(strokes) -> None:
    np.testing.assert_array_equal(chapter["prepare"](strokes), preprocess(strokes))


@quickly
@given(drawings, st.floats(0.3, 4))
def test_a_pixel_is_as_dark_as_the_nearest_of_many_points_is_near(strokes, radius) -> None:
    strokes = [np.array(stroke) / 10 + 14 for stroke in strokes]
    t = np.linspace(0, 1, 400)[:, None]
    lines = [pair for s in strokes for pair in zip(s, s[1:] if len(s) > 1 else s, strict=False)]
    many = np.concatenate([a + t * (b - a) for a, b in lines])
    centre = np.arange(28) + 0.5
    far = np.hypot(
        many[:, 0, None, None] - centre[None, :], many[:, 1, None, None] - centre[:, None]
    )
    expected = np.clip(radius + 0.5 - far.min(0), 0, 1)
    np.testing.assert_allclose(chapter["draw"](strokes, radius), expected, atol=0.05)


@quickly
@given(drawings, st.floats(1, 30), coordinates, coordinates)
def test_a_boxed_drawing_has_its_longer_side_and_its_middle_where_they_should_be(
    strokes, side, x, y
) -> None:
    boxed = np.concatenate(chapter["boxed"](strokes, side, (x, y)))
    sides = np.ptp(np.concatenate([np.array(stroke) for stroke in strokes]), axis=0)
    np.testing.assert_allclose((boxed.min(0) + boxed.max(0)) / 2, (x, y), atol=1e-6)
    if max(sides) > 0:
        assert max(np.ptp(boxed, axis=0)) == pytest.approx(side)
        np.testing.assert_allclose(np.ptp(boxed, axis=0) / side, sides / max(sides), atol=1e-6)


@quickly
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 100))
def test_the_centre_of_mass_is_that_of_scipy(height, width, seed) -> None:
    from scipy import ndimage

    image = np.random.default_rng(seed).random((height, width)) + 0.01
    y, x = ndimage.center_of_mass(image)
    np.testing.assert_allclose(chapter["centre_of_mass"](image), (x + 0.5, y + 0.5))


def test_a_crop_keeps_its_proportions_and_lies_in_the_middle() -> None:
    canvas = chapter["canvas"](DIGITS[7], np.random.default_rng(0))
    image = chapter["cropped"](canvas)
    rows, columns = image.any(1).nonzero()[0], image.any(0).nonzero()[0]
    left, top, right, bottom = canvas.getbbox()
    assert np.ptp(rows) + 1 == 20
    proportions = (right - left) / (bottom - top)
    assert (np.ptp(columns) + 1) / 20 == pytest.approx(proportions, abs=0.05)
    for places in (rows, columns):
        assert abs((places[0] + places[-1] + 1) / 2 - 14) <= 0.5
    assert 0.9 < image.max() <= 1
    stretched = chapter["cropped"](canvas, keep_proportions=False)
    assert np.ptp(stretched.any(0).nonzero()[0]) + 1 == 20


def test_every_third_of_a_label_is_kept_back() -> None:
    learn, keep = chapter["kept_back"](handwriting(3, 60))
    assert [len(learn), len(keep)] == [40, 20]
    assert sorted(d["label"] for d in keep) == sorted([*range(10)] * 2)
    assert not {d["time"] for d in learn} & {d["time"] for d in keep}


@pytest.mark.parametrize("count", [2, 4, 10])
def test_one_of_a_few_digits_is_kept_back(count) -> None:
    learn, keep = chapter["kept_back"](handwriting(3, count))
    assert [len(learn), len(keep)] == [count - 1, 1]


@quickly
@given(st.integers(1, 6), st.integers(1, 8), st.floats(0, 3), st.integers(0, 1000))
def test_the_gradient_with_springs_equals_autograd(n, inputs, stiffness, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights, start, x = (
        torch.randn(rows, inputs, generator=generator, dtype=torch.float64) for rows in (10, 10, n)
    )
    y = torch.randint(10, (n,), generator=generator)
    weights.requires_grad_()
    loss = F.cross_entropy(x @ weights.T, y) + 0.5 * stiffness * (weights - start).square().sum()
    (expected,) = torch.autograd.grad(loss, weights)
    ours = chapter["spring_gradient"](weights.detach(), start, x, y, stiffness)
    torch.testing.assert_close(ours, expected)
    each = torch.full_like(start, stiffness)
    torch.testing.assert_close(
        chapter["solution_spring_gradient"](weights.detach(), start, x, y, each), expected
    )


def test_teaching_lowers_the_loss_and_comes_to_rest_where_data_and_springs_balance() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(8, 5, generator=generator).double(), torch.arange(8)
    start = torch.randn(10, 5, generator=generator).double()
    taught = [chapter["teach"](start, x, y, spring=1, steps=steps) for steps in (0, 5, 20, 600)]
    losses = [F.cross_entropy(x @ weights.T, y).item() for weights in taught]
    assert torch.equal(taught[0], start)
    assert max(losses[1:]) < losses[0]
    curvature = 0.5 * x.square().sum(1).max()
    rest = chapter["spring_gradient"](taught[-1], start, x, y, curvature / 8)
    assert rest.abs().max() < 1e-8


SCRIPT = """
import { readFileSync } from "node:fs";
import { parseModel } from "%(static)s/weights.js";
import { teach } from "%(static)s/teach.js";
const { model, digits } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const network = parseModel(new Uint8Array(Buffer.from(model, "base64")));
const lesson = teach(network, digits, { copies: 1, steps: 40, spring: 0.1 });
let step;
while (!(step = lesson.next()).done);
const { weight, bias } = step.value.layers.at(-1);
console.log(JSON.stringify({ weight: [...weight], bias: [...bias] }));
"""


@pytest.mark.skipif(NODE is None, reason="needs Node")
def test_the_page_teaches_the_same(tmp_path) -> None:
    network = pretrained.load()
    lesson = handwriting(28, 20)
    model = base64.b64encode(page_weights(network, "float32")).decode()
    script, given_to_it = tmp_path / "teach.mjs", tmp_path / "lesson.json"
    script.write_text(SCRIPT % {"static": STATIC.as_uri()}, encoding="utf-8")
    given_to_it.write_text(json.dumps({"model": model, "digits": lesson}), encoding="utf-8")
    answer = subprocess.run(
        [NODE, script, given_to_it], capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert answer.returncode == 0, answer.stderr
    page = json.loads(answer.stdout)
    head = network[-1]
    start = torch.cat([head.weight, head.bias[:, None]], dim=1).detach().double()
    pictures = np.stack([preprocess(digit["strokes"]) for digit in lesson])
    with torch.no_grad():
        x = F.pad(network[:-1](torch.from_numpy(pictures)[:, None]).double(), (0, 1), value=1.0)
    labels = torch.tensor([digit["label"] for digit in lesson])
    ours = chapter["teach"](start, x, labels)
    assert (ours - start).abs().max() > 0.01
    torch.testing.assert_close(
        ours[:, :-1], torch.tensor(page["weight"]).double().view(10, -1), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(ours[:, -1], torch.tensor(page["bias"]).double(), atol=1e-4, rtol=0)


@quickly
@given(st.lists(st.floats(0, 1), min_size=2, max_size=60).filter(lambda v: max(v) - min(v) > 0.05))
def test_otsus_threshold_leaves_the_least_variance_within_the_two_classes(values) -> None:
    values = (np.array(values) * 63).round() / 64 + 1 / 128  # in the middle of bins

    def within(threshold):
        parts = values[values < threshold], values[values >= threshold]
        return sum(len(part) * part.var() for part in parts if len(part))

    best = min(within(k / 64) for k in range(1, 64))
    assert within(chapter["otsu"](values, bins=64)) == pytest.approx(best, abs=1e-9)


def test_pieces_come_in_reading_order_without_specks() -> None:
    ink = np.zeros((120, 200), bool)
    for top, left in ((72, 20), (10, 150), (4, 90), (70, 110), (12, 15)):
        ink[top : top + 30, left : left + 12] = True
    ink[60, 190] = True  # a speck
    ink[20:30, 164:174] = True  # a bar, three pixels from its digit
    boxes = chapter["pieces"](ink)
    assert [(top // 60, left // 60) for top, left, _, _ in boxes] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
    ]
    assert boxes[2][3] >= 174


def test_light_and_shadow_fall_on_the_photographed_page() -> None:
    ink = chapter["write_page"](handwriting(0, 12))
    photo = chapter["photograph"](ink)
    assert photo.shape == ink.shape == (200, 600)
    assert photo.min() >= 0
    assert photo.max() <= 1
    paper = photo[ink == 0]
    assert np.quantile(paper, 0.95) > 2 * np.quantile(paper, 0.05)


def test_a_redrawn_letter_is_turned_slanted_and_stretched_but_not_torn() -> None:
    letter = chapter["LETTERS"]["A"]
    drawn = chapter["redrawn"](letter, np.random.default_rng(0))
    assert [len(stroke) for stroke in drawn] == [len(stroke) for stroke in letter]
    all_points, all_drawn = np.concatenate([np.array(s) for s in letter]), np.concatenate(drawn)
    design = np.c_[all_points, np.ones(len(all_points))]
    residual = np.linalg.lstsq(design, all_drawn, rcond=None)[1]
    assert residual.max() < 1e-9  # an affine map of the points
    assert not np.allclose(all_drawn, all_points, atol=1)
