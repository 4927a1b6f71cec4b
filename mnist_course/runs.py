"""What identifies a training: only the same one is resumed, and only from an undamaged state."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from mnist_course.data import Digits, to_float
from mnist_course.devices import Place
from mnist_course.modules import answering, is_plain, unwrapped
from mnist_course.recipes import Recipe


def describe(
    model: nn.Module, recipe: Recipe, seed: int, training: Digits, validation: Digits | None
) -> str:
    """The settings of a training, as JSON: recipe, seed, and digests of digits and layers.

    Layers are described by what they print. Its answers tell what a network does between them
    (:func:`answers_of`).
    """
    text = "".join(
        f"{name} {type(layer).__name__ if list(layer.children()) else layer}\n"
        for name, layer in unwrapped(model).named_modules()
        if name
    )
    shapes = str(shapes_of(unwrapped(model).state_dict()))
    settings = {
        **{each.name: getattr(recipe, each.name) for each in fields(recipe)},
        "seed": seed,
        "training digits": _digest(training),
        "validation digits": None if validation is None else _digest(validation),
        "layers": _hash((_without_addresses(text) + shapes).encode()),
    }
    # An object, like an augmentation, is described by what it prints.
    return json.dumps(settings, default=lambda setting: _without_addresses(repr(setting)))


def differences(theirs: str, ours: str) -> dict[str, str]:
    """What differs between two descriptions, by the name of the setting."""
    try:
        before, now = json.loads(theirs), json.loads(ours)
        names = {**now, **before}
    except (ValueError, TypeError, RecursionError):
        return {"version": "it was written by another version of the course"}
    return {
        name: f"{name} was {before.get(name)} and is now {now.get(name)}"
        for name in names
        if before.get(name) != now.get(name)
    }


def shapes_of(state: dict[str, Any]) -> dict[str, Any]:
    """Shape and dtype of all that a network saves, by name."""
    return {
        name: (tuple(getattr(x, "shape", ())), str(getattr(x, "dtype", type(x))))
        for name, x in state.items()
    }


@torch.no_grad()
def answers_of(model: nn.Module, digits: Digits, place: Place) -> Tensor:
    """The logits for a few digits, on the CPU, with the same random numbers at every call."""
    torch.manual_seed(0)
    images = digits.images.to(place.device)
    with answering(model):
        answers = place.compute(lambda: model(place.images(to_float(images))))
    return answers.as_subclass(Tensor).float().cpu()


def same_answers(found: Any, expected: Any) -> bool:
    """Whether two networks answered alike; on another device one rounds a little differently."""
    if not (is_plain(found) and is_plain(expected)):
        return False
    if (found.shape, found.dtype) != (expected.shape, expected.dtype) or expected.isnan().any():
        return False
    largest = expected.where(expected.isfinite(), 0).abs().max()
    close = (found - expected).abs() <= 0.01 * largest.clamp(min=1e-6)
    return bool((close | (found == expected)).all())  # a network may answer -inf


def is_state_of(momenta: Any, recipe: Recipe, model: nn.Module, steps: int) -> bool:
    """Whether this is what an optimiser of the recipe remembers of these weights after ``steps``.

    A fused step writes to these tensors without checking their sizes.
    """
    expected = _state_after_a_step(recipe, model)
    # A weight that never had a gradient has no state, but at least one of them had a gradient.
    return bool(momenta) == bool(expected) and all(
        momenta[number].keys() == expected[number].keys()
        and all(_alike(value, expected[number][key]) for key, value in momenta[number].items())
        and _can_be(momenta[number], steps)
        for number in momenta
    )


def _state_after_a_step(recipe: Recipe, model: nn.Module) -> dict[int, dict[str, Any]]:
    twin = nn.ParameterList(
        nn.Parameter(torch.zeros_like(weights, device="cpu"), weights.requires_grad)
        for weights in model.parameters()
    )
    optimizer = recipe.optimizer_for(twin)
    for weights in twin.parameters():
        weights.grad = torch.zeros_like(weights) if weights.requires_grad else None
    optimizer.step()
    return optimizer.state_dict()["state"]


def _can_be(momenta: dict[str, Any], steps: int) -> bool:
    """Whether steps are counted from 1, and a mean of squares is not negative."""
    if "step" in momenta and not 1 <= float(momenta["step"]) <= steps:
        return False
    return "exp_avg_sq" not in momenta or bool((momenta["exp_avg_sq"] >= 0).all())


def _alike(found: Any, expected: Any) -> bool:
    if not isinstance(found, Tensor) or not isinstance(expected, Tensor):
        return type(found) is type(expected)
    if not is_plain(found):
        return False
    same = (found.shape, found.dtype) == (expected.shape, expected.dtype)
    return same and bool(found.isfinite().all())


def _digest(digits: Digits) -> str:
    content = b"".join(
        x.cpu().contiguous().numpy().tobytes() for x in (digits.images, digits.labels)
    )
    return f"{len(digits)} of {digits.source} ({_hash(content)})"


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=6).hexdigest()


def _without_addresses(text: str) -> str:
    """The text without memory addresses, which differ in every process."""
    return re.sub(" at 0x[0-9a-fA-F]+", "", text)
