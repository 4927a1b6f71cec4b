"""Each check of chapter 14 accepts the right answer and names each plausible mistake."""

import copy
import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mnist_course.checks import overfitting as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_wrong

chapter = definitions("overfitting")


@pytest.mark.parametrize("name", ["shift", "dropout2d", "fold_forwards", "best_of", "augmentation"])
def test_the_stub_is_not_yet_and_the_solution_right(name: str) -> None:
    assert not getattr(check, name)(chapter[f"my_{name}"])
    verdict = getattr(check, name)(chapter[f"solution_{name}"])
    assert verdict, verdict


right_shift = chapter["solution_shift"]


def rolled(images: torch.Tensor, down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    moves = zip(images, down.tolist(), right.tolist(), strict=True)
    return torch.stack([image.roll((d, r), (1, 2)) for image, d, r in moves])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (rolled, "comes back on the other"),
        (lambda x, d, r: right_shift(x, -d, -r), "wrong way"),
        (lambda x, d, r: right_shift(x, r, d), "exchanged"),
        (lambda x, d, r: right_shift(x, d[:1].expand(3), r[:1].expand(3)), "like the first"),
        (lambda x, d, r: x[:, :, 1:], "has shape"),
        (lambda x, d, r: x, "largest difference"),
        (lambda x, d, r: x.shift(d, r), "raised"),
    ],
)
def test_shift_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.shift(answer), message)


def dropped(
    x: torch.Tensor,
    p: float,
    generator: torch.Generator | None,
    *,
    shape: tuple[int, ...] | None = None,
    share: float | None = None,
    factor: float | None = None,
) -> torch.Tensor:
    shape = (*x.shape[:2], 1, 1) if shape is None else shape
    kept = torch.rand(shape, generator=generator) >= (p if share is None else share)
    return x * kept * (1 / (1 - p) if factor is None else factor)


def seed_every_time(x: torch.Tensor, p: float, generator: torch.Generator) -> torch.Tensor:
    return dropped(x, p, torch.Generator().manual_seed(5))


def in_place(x: torch.Tensor, p: float, generator: torch.Generator) -> torch.Tensor:
    return x.copy_(dropped(x, p, generator))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, p, g: dropped(x, p, g, shape=tuple(x.shape)), "(N, C, 1, 1)"),
        (lambda x, p, g: dropped(x, p, g, shape=(1, x.shape[1], 1, 1)), "its own mask"),
        (lambda x, p, g: dropped(x, p, g, shape=(len(x), 1, 1, 1)), "one fate"),
        (lambda x, p, g: dropped(x, p, g, share=1 - p), "of dropping, not of keeping"),
        (lambda x, p, g: dropped(x, p, g, share=0.9), "smaller than p"),
        (lambda x, p, g: dropped(x, p, g, factor=1), "nothing is scaled"),
        (lambda x, p, g: dropped(x, p, g, factor=1 / p), "that is 1/p"),
        (lambda x, p, g: dropped(x, p, g, factor=1 - p), "in old papers"),
        (lambda x, p, g: dropped(x, p, g, factor=7), "look at the factor"),
        (seed_every_time, "Another seed gives the same mask"),
        (lambda x, p, g: dropped(x, p, None), "draw from `generator` only"),
        (in_place, "changed x itself"),
        (lambda x, p, g: x.flatten(1), "same shape"),
        (lambda x, p, g: None, "returned None"),
    ],
)
def test_dropout2d_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.dropout2d(answer), message)


def per_input(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None]


def folded(
    scale: torch.Tensor, shift: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return weight * per_input(scale), bias + (weight * per_input(shift)).sum((1, 2, 3))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda s, t, w, b: (w, folded(s, t, w, b)[1]), "weight is unchanged"),
        (lambda s, t, w, b: (w / per_input(s), b), "has to be multiplied"),
        (lambda s, t, w, b: (folded(s, t, w, b)[0], b), "bias is unchanged"),
        (
            lambda s, t, w, b: (
                w * per_input(s),
                b + (w * per_input(s) * per_input(t)).sum((1, 2, 3)),
            ),
            "*old* weight",
        ),
        (
            lambda s, t, w, b: (w * per_input(s), b + (w * per_input(t)).mean((2, 3)).sum(1)),
            "sum over c, u and v",
        ),
        (lambda s, t, w, b: (w * per_input(s), folded(s, t, w, b)[1] - b), "got lost"),
        (lambda s, t, w, b: w, "two tensors"),
        (lambda s, t, w, b: (w.scaled(s), b), "raised"),
    ],
)
def test_fold_forwards_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.fold_forwards(answer), message)


def train(
    model: Any,
    step: Callable,
    validation_loss: Callable,
    epochs: int,
    patience: int,
    *,
    copied: bool = True,
    reset: bool = True,
    extra: int = 0,
    stop: bool = True,
    load: bool = True,
    lower: Callable = operator.lt,
) -> Any:
    lowest, waited, best = float("inf"), 0, {}
    for _ in range(epochs):
        step(model)
        loss = validation_loss(model)
        if lower(loss, lowest):
            lowest = loss
            waited = 0 if reset else waited
            best = copy.deepcopy(model.state_dict()) if copied else dict(model.state_dict())
        else:
            waited += 1
        if stop and waited == patience + extra:
            break
    if load:
        model.load_state_dict(best)
    return model


def against_the_epoch_before(model, step, validation_loss, epochs, patience):
    lowest = before = float("inf")
    waited, best = 0, {}
    for _ in range(epochs):
        step(model)
        loss = validation_loss(model)
        waited = 0 if loss < before else waited + 1
        before = loss
        if loss < lowest:
            lowest, best = loss, copy.deepcopy(model.state_dict())
        if waited == patience:
            break
    model.load_state_dict(best)
    return model


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda *a: train(*a, copied=False), "is it a copy?"),
        (lambda *a: train(*a, load=False), "never loaded back"),
        (lambda *a: train(*a, lower=operator.le), "in a row"),
        (against_the_epoch_before, "in a row"),
        (lambda *a: train(*a, reset=False), "in a row"),
        (lambda *a: train(*a, extra=1), "epochs, expected"),
        (lambda *a: train(*a, stop=False), "epochs, expected"),
        (lambda *a: train(*a).state_dict(), "the model back"),
        (lambda *a: None, "returned None"),
    ],
)
def test_best_of_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.best_of(answer), message)


def noise(images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    return (images + 0.05 * torch.rand(images.shape, generator=generator)).clamp(0, 1)


def covered(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    mostly = torch.rand(images.shape, generator=generator) > 0.95
    return images * mostly


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, g: x.clone(), "are unchanged"),
        (lambda x, g: noise(x, g)[:, :, 1:], "I got"),
        (lambda x, g: x.copy_(noise(x, g)), "changed the images themselves"),
        (lambda x, g: noise(x, g).double(), "what came back"),
        (lambda x, g: x + 0.5 * torch.rand(x.shape, generator=g), "clamp(0, 1)"),
        (
            lambda x, g: (x * (0.5 + 0.4 * torch.rand(1, generator=g))).clamp(0, 1),
            "changed alike",
        ),
        (lambda x, g: noise(x, None), "draw from `generator` only"),
        (covered, "too strong"),
        (lambda x, g: F.pad(noise(x, g), (1, -1, 0, 0)).flip(2), "too strong"),
        (lambda x, g: None, "returned None"),
    ],
)
def test_augmentation_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.augmentation(answer), message)
