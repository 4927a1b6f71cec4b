"""Numbers, pictures and labels of any type mean one thing, or are refused with their type."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import astuple, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset

from mnist_course import augment, data, devices, explain, finetune, models, samples, train
from mnist_course.data import Digits
from mnist_course.evaluate import (
    Result,
    evaluate,
    expected_calibration_error,
    mcnemar,
    predict,
    wilson_interval,
)
from mnist_course.export import page_weights
from mnist_course.recipes import get_recipe
from tests.made_up import digits

DIGITS = digits(24)
IMAGE = data.to_float(DIGITS.images[0])
RECIPE = train.Recipe(epochs=1, batch_size=8)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def fit(recipe: train.Recipe = RECIPE, **options: Any) -> list[float]:
    options = {"training": DIGITS, "device": "cpu", "progress": False} | options
    return train.fit(network(), recipe=recipe, **options).losses


# --- numbers ----------------------------------------------------------------------------------

Use = Callable[[Any], Any]


def recipe_with(name: str) -> Use:
    return lambda value: astuple(replace(RECIPE, **{name: value}))


def tuned(**options: Any) -> list[torch.Tensor]:
    options = {"new": DIGITS, "steps": 2, "batch_size": 4, "device": "cpu"} | options
    model = finetune.finetune(network(), **options)
    return [x.detach() for x in model.parameters()]


PROBABILITIES, LABELS = torch.eye(10)[:4], torch.arange(4)
NUMBERS: dict[str, tuple[Use, Any]] = {
    "epochs": (recipe_with("epochs"), 2),
    "batch_size": (recipe_with("batch_size"), 4),
    "learning_rate": (recipe_with("learning_rate"), 0.25),
    "weight_decay": (recipe_with("weight_decay"), 0.25),
    "warmup": (recipe_with("warmup"), 0.25),
    "label_smoothing": (recipe_with("label_smoothing"), 0.25),
    "betas": (lambda value: astuple(replace(RECIPE, betas=(value, 0.5))), 0.25),
    "channels": (lambda value: astuple(replace(RECIPE, channels=(8, value))), 4),
    "fit: learning_rate": (lambda value: fit(replace(RECIPE, learning_rate=value)), 0.25),
    "fit: seed": (lambda value: fit(seed=value), 200),
    "build: seed": (lambda value: next(RECIPE.build(value).parameters()).tolist(), 3),
    "course_network": (lambda value: str(models.course_network((2, value))), 4),
    "fast_network": (lambda value: str(models.fast_network((2, value, 2))), 4),
    "Normalize": (lambda value: models.Normalize(0, value)(torch.ones(2)).tolist(), 0.25),
    "split": (lambda value: [len(part) for part in DIGITS.split(value)], 5),
    "split: seed": (lambda value: DIGITS.split(5, seed=value)[0].labels.tolist(), 3),
    "batches": (lambda value: [len(labels) for _, labels in DIGITS.batches(value)], 5),
    "evaluate": (lambda value: evaluate(network(), DIGITS, "cpu", value).logits.tolist(), 5),
    "predict": (lambda value: predict(network(), DIGITS.images, value).tolist(), 5),
    "finetune: steps": (lambda value: tuned(steps=value), 2),
    "finetune: batch_size": (lambda value: tuned(batch_size=value), 2),
    "finetune: learning_rate": (lambda value: tuned(learning_rate=value), 0.25),
    "finetune: seed": (lambda value: tuned(seed=value), 2),
    "adapters: rank": (lambda value: str(finetune.with_adapters(network(), value)[1].up.shape), 2),
    "adapters: seed": (
        lambda value: finetune.with_adapters(network(), 2, value)[1].down.tolist(),
        2,
    ),
    "occlusion: digit": (lambda value: explain.occlusion(network(), IMAGE, value), 3),
    "occlusion: window": (lambda value: explain.occlusion(network(), IMAGE, 3, value), 28),
    "gradient": (lambda value: explain.input_gradient(network(), IMAGE, value), 3),
    "integrated": (lambda value: explain.integrated_gradients(network(), IMAGE, 3, value), 2),
    "log_odds": (lambda value: explain.log_odds(PROBABILITIES, value), 3),
    "wilson: right": (lambda value: wilson_interval(value, 9), 4),
    "wilson: total": (lambda value: wilson_interval(3, value), 4),
    "wilson: z": (lambda value: wilson_interval(3, 9, value), 0.25),
    "calibration": (lambda value: expected_calibration_error(PROBABILITIES, LABELS, value), 4),
    "Shift": (lambda value: augment.Shift(value), 2),
    "Affine": (lambda value: augment.Affine(shift=value), 0.25),
    "Elastic": (lambda value: augment.Elastic(bend=value), 0.25),
    "Elastic: cells": (lambda value: augment.Elastic(cells=value), 4),
    "Stroke": (lambda value: augment.Stroke(value), 0.25),
    "Cutout": (lambda value: augment.Cutout(value), 4),
}
"""What takes a number, and a number that it takes."""

KINDS: dict[str, Callable[[Any], Any]] = {
    "a float": float,
    "a tensor": torch.tensor,
    "a tensor of one axis": lambda value: torch.tensor([value]),
    "a weight": lambda value: nn.Parameter(torch.tensor(float(value))),
    "a tensor in float64": lambda value: torch.tensor(value, dtype=torch.float64),
    "np.float32": np.float32,
    "np.float64": np.float64,
    "an array": np.array,
    "an array of one axis": lambda value: np.array([value]),
    "a column": lambda value: pd.Series([value]),
    "a fraction": Fraction,
    "a decimal": Decimal,
}
WHOLE_KINDS = {"np.int64": np.int64, "np.uint8": np.uint8}


def plain(found: Any) -> Any:
    """The numbers in what a function returned."""
    if isinstance(found, torch.Tensor):
        return found.tolist()
    return [plain(part) for part in found] if isinstance(found, list) else found


@pytest.mark.parametrize("use", NUMBERS)
def test_a_number_of_any_type_is_the_number(use) -> None:
    call, value = NUMBERS[use]
    expected = plain(call(value))
    for name, kind in (KINDS | (WHOLE_KINDS if isinstance(value, int) else {})).items():
        assert plain(call(kind(value))) == expected, name


@pytest.mark.parametrize("use", NUMBERS)
@pytest.mark.parametrize(
    ("value", "named"),
    [
        (True, "bool"),
        (np.bool_(True), "bool"),
        (torch.tensor(True), r"Tensor of torch\.bool"),
        ("0.25", "str"),
        (None, "NoneType"),
        ([4], "list"),
        (torch.ones(3), r"Tensor of torch.float32 \(3,\)"),
        (torch.ones(0), r"Tensor of torch.float32 \(0,\)"),
        (np.ones((2, 2)), r"ndarray of float64 \(2, 2\)"),
        (1j, "complex"),
        (torch.tensor(1j), r"Tensor of torch.complex64"),
    ],
    ids=repr,
)
def test_what_is_no_number_is_refused_with_its_type(use, value, named) -> None:
    if use == "split" and value is None:
        return  # a twelfth of them
    with pytest.raises(TypeError, match=f"must be a number, got .*{named}"):
        NUMBERS[use][0](value)


@pytest.mark.parametrize("use", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.5, -4], ids=repr)
def test_a_number_that_cannot_be_is_refused(use, value) -> None:
    taken = isinstance(NUMBERS[use][1], float) or use == "epochs"
    if (value == 1.5 and taken) or (value == -4 and use in SIGNED):
        return
    with pytest.raises(ValueError):
        NUMBERS[use][0](value)


SIGNED = {name for name in NUMBERS if "seed" in name} | {"wilson: z"}


@pytest.mark.parametrize("use", NUMBERS)
@pytest.mark.parametrize(
    "value",
    [
        10**400,
        10**5000,
        Fraction(10**400, 3),
        Decimal("sNaN"),
        np.timedelta64(4, "ns"),
        np.datetime64(4, "ns"),
        np.ma.masked,
        torch.tensor(4.0, device="meta"),
        pd.NA,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_only_looks_like_a_number_is_refused(use, value) -> None:
    with pytest.raises((TypeError, ValueError), match="must be"):
        NUMBERS[use][0](value)


SIZES = {
    "predict", "evaluate", "split", "batches", "adapters: rank", "finetune: batch_size",
    "occlusion: window", "integrated", "calibration", "Elastic: cells", "wilson: total",
}  # fmt: skip


@pytest.mark.parametrize("use", sorted(SIZES))
def test_a_size_beyond_what_can_be_counted_is_refused(use) -> None:
    with pytest.raises((ValueError, MemoryError), match=r"must be|does not fit"):
        NUMBERS[use][0](10**25)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: replace(RECIPE, epochs=1e308), "epochs must be at most 1,000,000"),
        (lambda: explain.occlusion(network(), IMAGE, 3, 30), "window must be at most 28"),
        (lambda: wilson_interval(3, 9, -2), "z must not be negative"),
        (lambda: augment.Elastic(cells=0), "cells must be 1 to 100"),
        (lambda: augment.Shift(99)(FLOATS, torch.Generator()), "leaves nothing of 28 × 28"),
        (lambda: augment.Cutout(29)(FLOATS, torch.Generator()), "does not fit into 28 × 28"),
        (lambda: fit(after_epoch=3), "after_epoch must be a function, got int"),
        (lambda: mcnemar(network(), None), "two results of evaluate.*, got Sequential"),
        (lambda: explain.log_odds(PROBABILITIES[0], 3), r"\(N, 10\), got \(10,\)"),
    ],
)
def test_a_setting_beyond_its_limits_is_named(act, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        act()


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1, 10**30])
def test_a_seed_has_64_bits(seed) -> None:
    for use in (name for name in NUMBERS if "seed" in name):
        with pytest.raises(ValueError, match="seed must be from"):
            NUMBERS[use][0](seed)


def test_a_rate_that_is_a_tensor_neither_falls_nor_is_changed() -> None:
    rates = torch.logspace(-2.5, -1.5, 3)
    before = rates.clone()
    for rate in rates:
        recipe = replace(RECIPE, learning_rate=rate, epochs=3)
        assert type(recipe.learning_rate) is float
        assert fit(recipe) == fit(replace(recipe, learning_rate=float(rate)))
    assert torch.equal(rates, before)


def test_a_recipe_holds_numbers_of_python_alone(tmp_path) -> None:
    recipe = train.Recipe(
        epochs=np.float64(1),
        batch_size=np.int64(8),
        learning_rate=np.logspace(-2, -1, 2)[0],
        betas=np.array([0.9, 0.99]),
        weight_decay=np.float32(0.5),
        channels=torch.tensor([4, 4, 4]),
    )
    for value in itertools.chain(astuple(recipe), recipe.betas, recipe.channels):
        assert type(value) in (int, float, str, tuple, type(None))
    train.fit(
        network(), DIGITS, None, recipe, device="cpu", progress=False, checkpoint_folder=tmp_path
    )
    options = {"checkpoint_folder": tmp_path, "resume": True}
    assert fit(recipe, **options)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"betas": (0.9,)}, "betas must be two numbers"),
        ({"betas": (0.9, 1.0)}, "betas must be from 0 to below 1"),
        ({"betas": 0.9}, "betas must be several numbers, like .*, got float"),
        ({"channels": 32}, "channels must be several numbers, like .*, got int"),
        ({"channels": "32"}, "got str"),
        ({"weight_decay": -1}, "weight_decay must not be negative"),
        ({"warmup": 1.5}, "warmup must be 0 to 1"),
        ({"augmentation": "Affine"}, "augmentation must be a function .*, got str"),
    ],
)
def test_a_setting_that_cannot_be_is_named(wrong, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        train.Recipe(**wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "fast"}, "expected a Recipe, got str; those with a name are in train.RECIPES"),
        ({"mixed_precision": "yes"}, "mixed_precision must be True, False or .*, got 'yes'"),
        ({"device": 3.5}, "a device is named by a text like .*, got float"),
        ({"device": torch.ones(2)}, "got Tensor"),
        ({"training": (DIGITS.images, DIGITS.labels)}, "expected Digits, got tuple of length 2"),
        ({"training": None}, "expected Digits, got NoneType"),
        ({"validation": TensorDataset(DIGITS.images)}, "expected Digits, got TensorDataset"),
    ],
)
def test_an_argument_of_another_type_is_named(options, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        fit(**options)


def test_a_device_is_one() -> None:
    assert devices.choose_device(torch.device("cpu")) == devices.choose_device("cpu")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: models.course_network((1,) * 5), "one to four numbers"),
        (lambda: models.fast_network((8, 8)), "channels must be 3 numbers"),
        (lambda: models.accurate_network((8, 0, 8, 8)), "channels must be at least 1"),
        (lambda: models.Normalize(0, 0), "std must be positive"),
        (lambda: models.build(7), "no network 7"),
        (lambda: augment.Affine(scale=1), "scale must be below 1"),
    ],
)
def test_a_size_that_cannot_be_is_named(build, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        build()


# --- pictures and labels ----------------------------------------------------------------------

BYTES, CLASSES = DIGITS.images, DIGITS.labels
SAME_IMAGES: dict[str, Any] = {
    "a tensor": BYTES,
    "an array": BYTES.numpy(),
    "an array that may not be written to": np.broadcast_to(BYTES.numpy(), BYTES.shape),
    "an array laid the other way": np.asfortranarray(BYTES.numpy()),
    "an array read backwards": BYTES.numpy()[::-1][::-1],
    "int64": BYTES.long(),
    "uint16": BYTES.numpy().astype(np.uint16),
    "big-endian": BYTES.numpy().astype(">i4"),
    "channels-last": BYTES.contiguous(memory_format=torch.channels_last),
}
SAME_LABELS: dict[str, Any] = {
    "a tensor": CLASSES,
    "uint8": CLASSES.byte(),
    "int32": CLASSES.int(),
    "an array": CLASSES.numpy(),
    "uint16": CLASSES.numpy().astype(np.uint16),
    "a column": pd.Series(CLASSES.numpy()),
    "a column with another index": pd.Series(CLASSES.numpy(), index=range(100, 124)),
    "categories": pd.Series(CLASSES.numpy()).astype("category"),
    "a list": CLASSES.tolist(),
}
USES: dict[str, Callable[[Digits], Any]] = {
    "fit": lambda some: fit(training=some),
    "fit, validation": lambda some: fit(validation=some),
    "evaluate": lambda some: evaluate(network(), some, "cpu").logits,
    "finetune": lambda some: tuned(new=some),
    "finetune, replay": lambda some: tuned(replay=some),
}


@pytest.mark.parametrize("use", USES)
def test_the_same_digits_in_another_type_are_the_same(use) -> None:
    expected = plain(USES[use](DIGITS))
    for name, images in SAME_IMAGES.items():
        assert plain(USES[use](Digits(images, CLASSES, "x"))) == expected, name
    for name, labels in SAME_LABELS.items():
        assert plain(USES[use](Digits(BYTES, labels, "x"))) == expected, name


FLOATS = data.to_float(BYTES)


@pytest.mark.parametrize("use", ["fit", "evaluate", "finetune"])
def test_tensors_of_any_layout_hold_the_same_digits(use) -> None:
    expected = plain(USES[use](DIGITS))
    for same in (
        Digits(BYTES.to_sparse(), CLASSES.to_sparse(), "x"),
        Digits(np.ma.masked_array(BYTES.numpy()), pd.Series(CLASSES, dtype="Int64"), "x"),
        Digits(list(BYTES), list(CLASSES), "x"),
    ):
        assert plain(USES[use](same)) == expected


WRONG_IMAGES: dict[str, tuple[Any, str]] = {
    "floats": (FLOATS, r"uint8 .*torch.float32 .*\(images \* 255\).round\(\).byte\(\)"),
    "float64": (FLOATS.double(), r"torch.float64 .*\* 255"),
    "floats to 255": (BYTES.float(), r"from 0 to 254; use images.round\(\).byte\(\)"),
    "normalised": ((FLOATS - 0.13) / 0.31, "leave normalisation to the network"),
    "divided twice": (FLOATS / 255, "divided by 255 twice"),
    "cut off": (FLOATS.floor().byte().clamp(max=1) + (BYTES > 99), "0 and 1 are no bytes"),
    "nan": (FLOATS * math.nan, "some are not numbers"),
    "bool": (BYTES > 99, "torch.bool"),
    "beyond bytes": (BYTES.long() + 255, "from"),
    "negative": (BYTES.long() - 300, "from"),
    "no channel": (BYTES[:, 0], r"\(24, 28, 28\).*images\[:, None\]"),
    "the channel last": (BYTES.permute(0, 2, 3, 1), r"images.permute\(0, 3, 1, 2\)"),
    "flat": (BYTES.flatten(1), r"images.reshape\(-1, 1, 28, 28\)"),
    "colour": (BYTES.expand(-1, 3, -1, -1), "grey"),
    "another size": (BYTES[..., :20], "28 × 28"),
    "a picture for each row of labels": (BYTES[0], "a slice"),
}
WRONG_LABELS: dict[str, tuple[Any, str]] = {
    "floats": (CLASSES.float(), r"int64 \(24,\), got torch.float32 \(24,\); use labels.long"),
    "a column of one": (CLASSES[:, None], r"\(24, 1\); use labels.squeeze\(1\)"),
    "one-hot": (torch.eye(10)[CLASSES].long(), r"\(24, 10\); use labels.argmax\(1\)"),
    "too few": (CLASSES[:20], "got 24 images and 20 labels"),
    "too many": (CLASSES.repeat(2), "got 24 images and 48 labels"),
    "one": (CLASSES[0], r"got torch.int64 \(\)"),
    "1 to 10": (torch.arange(24) % 10 + 1, "reach from 1 to 10; .*labels % 10"),
    "10": (CLASSES + 10, "expected the digits 0 ... 9"),
    "negative": (-1 - CLASSES, "reach from -"),
    "bool": (CLASSES > 4, "torch.bool"),
}


@pytest.mark.parametrize("use", USES)
def test_digits_that_could_mean_something_else_are_refused(use) -> None:
    for name, (images, message) in WRONG_IMAGES.items():
        with pytest.raises(ValueError, match=message):
            USES[use](Digits(images, CLASSES, name))
        if isinstance(images, torch.Tensor):  # and so are they as arrays
            with pytest.raises(ValueError, match=message):
                USES[use](Digits(images.numpy(), CLASSES, name))
    for name, (labels, message) in WRONG_LABELS.items():
        with pytest.raises(ValueError, match=message):
            USES[use](Digits(BYTES, labels, name))
    for empty in (DIGITS[:0], replace(DIGITS, images=BYTES[:0, 0], labels=CLASSES[:0])):
        with pytest.raises(ValueError, match=r"0 digits|are empty|no pictures"):
            USES[use](empty)


@pytest.mark.parametrize(
    ("images", "labels", "named"),
    [
        ("pictures", CLASSES, "images as numbers, got str"),
        (BYTES, ["5", "7"], "labels as numbers, got list of length 2; .*astype"),
        (BYTES, pd.Series(["5", "7"]), r"labels as numbers, got Series of .* \(2,\)"),
        (BYTES, None, "labels as numbers, got NoneType"),
        (torch.quantize_per_tensor(FLOATS, 0.1, 0, torch.quint8), CLASSES, "use .dequantize"),
        (torch.nested.nested_tensor(list(FLOATS)), CLASSES, "nested Tensor .*; torch.stack"),
        (np.ma.masked_greater(BYTES.numpy(), 99), CLASSES, "some are masked; .*filled"),
        (BYTES, np.ma.masked_greater(CLASSES.numpy(), 7), "labels .*some are masked"),
        (BYTES, CLASSES.numpy().astype("m8[s]"), "labels as numbers"),
        (torch.tensor([1j]), CLASSES, "images as real numbers, got Tensor of torch.complex64"),
    ],
)
def test_what_is_no_number_makes_no_digits(images, labels, named) -> None:
    with pytest.raises(TypeError, match=named):
        Digits(images, labels, "x")


PICTURE = Image.fromarray(BYTES[0, 0].numpy())
SINGLE: dict[str, Any] = {
    "bytes": BYTES[0],
    "a batch of one": BYTES[:1],
    "floats": FLOATS[0],
    "an array": BYTES[0].numpy(),
    "an array of floats": FLOATS[0].numpy(),
    "float64": FLOATS[0].double(),
    "big-endian": FLOATS[0].numpy().astype(">f4"),
    "a picture of Pillow": PICTURE,
    "a list": BYTES[0].tolist(),
}
LOOKS: dict[str, Callable[[Any], torch.Tensor]] = {
    "predict": lambda image: predict(network(), image),
    "occlusion": lambda image: explain.occlusion(network(), image, 3, 28),
    "activations": lambda image: explain.activations(network(), image)["1"],
    "input_gradient": lambda image: explain.input_gradient(network(), image, 3),
    "integrated": lambda image: explain.integrated_gradients(network(), image, 3, 2),
    "baseline": lambda image: explain.integrated_gradients(network(), FLOATS[1], 3, 2, image),
}


@pytest.mark.parametrize("look", LOOKS)
def test_the_same_picture_in_another_type_is_the_same(look) -> None:
    expected = LOOKS[look](FLOATS[0])
    for name, image in SINGLE.items():
        found = LOOKS[look](image)
        assert found.dtype == torch.float32 or "64" in name
        torch.testing.assert_close(found.float(), expected, msg=name)


@pytest.mark.parametrize("look", LOOKS)
def test_a_picture_that_could_mean_something_else_is_refused(look) -> None:
    for image, message in (
        (BYTES[0].float(), r"pixels in \[0, 1\], .*divide bytes by 255"),
        (FLOATS[0] / 255, "divided by 255 twice"),
        ((FLOATS[0] - 0.13) / 0.31, "leave normalisation"),
        (FLOATS[0] * math.nan, "some are not numbers"),
        (BYTES[0] > 99, "torch.bool"),
        (BYTES[0].long() + 255, "0 … 255"),
        (FLOATS[0, 0], r"image\[None, None\]"),
        (FLOATS[:0], "no pictures"),
        (FLOATS.permute(0, 2, 3, 1), "channel"),
        (PICTURE.resize((20, 20)), "28 × 28"),
        (PICTURE.convert("RGB"), r"mode 'RGB'; use image\.convert"),
        (PICTURE.convert("P"), "mode 'P'"),
        ("seven.png", "got str"),
        (FLOATS[0, 0, 0, 0], r"got \(\)"),
        (FLOATS[0].to("meta"), "'meta'"),
        ((FLOATS[0] * 99).to(torch.float8_e4m3fn), "divide bytes by 255"),
        (None, "got NoneType" if look != "baseline" else ""),
        ({"image": 1}, "got dict"),
    ):
        if look == "baseline" and image is None:
            continue
        with pytest.raises((TypeError, ValueError), match=message):
            LOOKS[look](image)


def test_bytes_are_divided_once() -> None:
    for images in (BYTES, BYTES.numpy(), BYTES.long()):
        assert torch.equal(data.to_float(images), FLOATS)
    for images in (FLOATS, FLOATS.double(), FLOATS.numpy(), BYTES > 99):
        with pytest.raises(TypeError, match="expected bytes 0 … 255, got"):
            data.to_float(images)


def test_a_result_has_a_label_for_each_row() -> None:
    with pytest.raises(ValueError, match=r"got \(4, 10\) and \(4, 1\)"):
        Result(PROBABILITIES, LABELS[:, None], "x")


def test_a_result_may_come_from_anywhere() -> None:
    expected = Result(PROBABILITIES, LABELS, "x")
    for logits, labels in (
        (PROBABILITIES.numpy(), LABELS.numpy()),
        (PROBABILITIES.tolist(), LABELS.tolist()),
        (PROBABILITIES, LABELS.byte()),
    ):
        found = Result(logits, labels, "x")
        assert (found.loss, found.accuracy) == (expected.loss, expected.accuracy)
        assert torch.equal(found.confusion, expected.confusion)
    for labels in (LABELS + 10, LABELS - 10, LABELS.float(), LABELS > 1, None, list("3125")):
        with pytest.raises((TypeError, ValueError), match="labels"):
            Result(PROBABILITIES, labels, "x")
    with pytest.raises(ValueError, match=r"expected logits \(N, 10\)"):
        Result(PROBABILITIES[:, :7], LABELS, "x")


def test_a_network_that_answers_nan_has_no_accuracy() -> None:
    class Overflowing(nn.Sequential):
        def forward(self, x):
            return super().forward(x) * 1e38 * 1e38

    model = Overflowing(*network())
    for read in (lambda: evaluate(model, DIGITS, "cpu"), lambda: predict(model, BYTES)):
        with pytest.raises(ValueError, match="answered nan or inf to 24 of 24 images"):
            read()


def test_logits_are_no_probabilities() -> None:
    with pytest.raises(ValueError, match=r"from 0 to 1, got .*softmax"):
        expected_calibration_error(PROBABILITIES * 9, LABELS)


# --- what comes in through another door ---------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Digits(BYTES, CLASSES[:20], "short"),
        lambda: Digits(BYTES[:20], CLASSES, "long"),
    ],
)
def test_digits_of_another_number_than_their_labels_are_none(make) -> None:
    with pytest.raises(ValueError, match=r"a label for each image, got \d+ images and \d+ labels"):
        make().split(4)


@pytest.mark.parametrize("strange", [[-1, 5], [0, 300], [2**62]])
def test_what_is_no_byte_is_not_divided_as_one(strange) -> None:
    with pytest.raises(ValueError, match=r"expected bytes 0 … 255, got torch.int64 from"):
        data.to_float(torch.tensor(strange))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: data.load(["train"]), "split must be"),
        (lambda: get_recipe(["fast"]), "unknown recipe"),
        (lambda: replace(RECIPE, schedule=["cosine"]), "unknown schedule"),
        (lambda: replace(RECIPE, optimizer=["sgd"]), "unknown optimizer"),
        (lambda: page_weights(network(), ["int8"]), "dtype must be one of"),
        (lambda: tuned(parts=["all"]), "parts must be"),
    ],
)
def test_a_name_is_a_text(act, message) -> None:
    with pytest.raises(ValueError, match=message):
        act()


@pytest.mark.parametrize("wrong", [7, np.random.default_rng(0), "0"])
def test_a_generator_is_one_of_pytorch(wrong) -> None:
    with pytest.raises(TypeError, match=r"generator must be a torch.Generator, got"):
        DIGITS.batches(8, wrong)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ((n for n in range(24)), "got generator; collect them in a list first"),
        (None, "got NoneType; make an array of numbers"),
        (CLASSES.numpy().astype(str), r"become numbers with .astype\(int\)"),
    ],
)
def test_advice_fits_what_came(value, advice) -> None:
    with pytest.raises(TypeError, match=advice):
        Digits(BYTES, value, "made up")


def test_a_missing_label_is_called_missing() -> None:
    labels = pd.Series([pd.NA, *CLASSES[1:].tolist()], dtype="Int64")
    with pytest.raises(ValueError, match="some are missing"):
        evaluate(network(), Digits(BYTES, labels, "made up"), "cpu")


@pytest.mark.parametrize(("low", "high"), [(0, 1.0000002), (-1e-6, 1), (-0.05, 1.04)])
def test_pixels_a_little_beyond_are_told_what_cuts_them(low, high) -> None:
    images = torch.linspace(low, high, 784).view(1, 1, 28, 28)
    with pytest.raises(ValueError, match=r"images.clamp\(0, 1\)"):
        predict(network(), images)


def test_a_result_computes_with_floats_that_are_numbers() -> None:
    logits = torch.eye(10)[:4]
    expected = Result(logits, LABELS, "floats").loss
    assert Result(logits.long(), LABELS, "whole").loss == pytest.approx(expected)
    assert Result(logits.long(), LABELS, "whole").probabilities.sum() == pytest.approx(4)
    with pytest.raises(ValueError, match="nan or inf to 4 of 4"):
        Result(logits * math.nan, LABELS, "nan")


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (torch.full((4, 10), 0.9), LABELS, "add up to 1, got sums from 9 to 9"),
        (PROBABILITIES, torch.tensor([0, 1, 2, 17]), "reach from 0 to 17"),
        (PROBABILITIES, torch.tensor([0, 1, 2, 3.5]), "as whole numbers"),
        (torch.zeros(4, 0), LABELS, r"of shape \(N, O\)"),
    ],
)
def test_what_cannot_be_calibrated_is_named(probabilities, labels, message) -> None:
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(probabilities, labels)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda images, _: (images, images), TypeError, "from the augmentation, got tuple"),
        (lambda images, _: None, TypeError, "got NoneType"),
        (lambda images, _: images.numpy(), TypeError, "got ndarray"),
        (lambda images, _: (images * 255).byte(), TypeError, r"got Tensor of torch.uint8"),
        (lambda images, _: images[:3], ValueError, r"got the shape \(3, 1, 28, 28\)"),
        (lambda images, _: images[..., :20], ValueError, "got the shape"),
    ],
)
def test_what_an_augmentation_returns_is_a_batch_of_pixels(change, error, message) -> None:
    with pytest.raises(error, match=message):
        fit(replace(RECIPE, augmentation=change))


@pytest.mark.parametrize("change", [lambda images: images, augment.Shift, lambda: None])
def test_an_augmentation_takes_images_and_a_generator(change) -> None:
    with pytest.raises(TypeError, match="augmentation is called with images and a generator"):
        replace(RECIPE, augmentation=change)


def test_after_epoch_takes_the_model_and_the_history() -> None:
    with pytest.raises(TypeError, match="after_epoch is called with the model and the history"):
        fit(after_epoch=lambda model: None)


def test_strokes_may_be_tuples_and_arrays() -> None:
    points = [[1, 2], [3, 40]]
    expected = samples.check_samples([{"label": 1, "strokes": [points]}])
    for strokes in ([np.array(points)], ((tuple(points[0]), points[1]),), torch.tensor([points])):
        assert samples.check_samples([{"label": 1, "strokes": strokes}]) == expected
    for wrong in (None, expected[0], "1"):
        with pytest.raises(samples.SamplesError, match="expected a list of digits, got"):
            samples.to_digits(wrong)
