"""Each check of chapter 14 accepts the right answer and names each plausible mistake."""

import copy
import operator
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mnist_course.checks import overfitting as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong

chapter = definitions("overfitting")


@pytest.mark.parametrize("name", ["shift", "dropout2d", "fold_forwards", "best_of", "augmentation"])
def test_the_stub_is_not_yet_and_the_solution_right(name: str) -> None:
    verdict = getattr(check, name)(chapter[f"my_{name}"])
    if name == "best_of":  # whose stub is the code with the bug
        assert_wrong(verdict, "is it a copy?")
    else:
        assert_not_begun(verdict)
    assert_right(getattr(check, name)(chapter[f"solution_{name}"]))


def moved(images: torch.Tensor, down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Pixel by pixel."""
    result = torch.zeros(images.shape)
    N, _, H, W = images.shape
    for n, i, j in product(range(N), range(H), range(W)):
        a, b = i + int(down[n]), j + int(right[n])
        if 0 <= a < H and 0 <= b < W:
            result[n, 0, a, b] = images[n, 0, i, j]
    return result


def test_shift_pixel_by_pixel_is_right() -> None:
    assert_right(check.shift(moved))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x, d, r: x[:, :, 1:], "has shape"),
        (lambda x, d, r: x, "largest difference"),
        (lambda x, d, r: x.shift(d, r), "raised"),
        (lambda x, d, r: x.copy_(moved(x, d, r)), "changes `x` in place"),
        (lambda x, d, r: moved(x, d, 0 * r), "largest difference"),
        (lambda x, d, r: moved(x, d.clamp(-2, 2), r.clamp(-3, 3)), "largest difference"),
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


def seed_of_the_generator(x: torch.Tensor, p: float, generator: torch.Generator) -> torch.Tensor:
    return dropped(x, p, torch.Generator().manual_seed(generator.initial_seed()))


def exactly_half(x: torch.Tensor, p: float, generator: torch.Generator) -> torch.Tensor:
    drawn = torch.rand(x.shape[:2], generator=generator)
    kept = drawn.argsort(1).argsort(1) >= p * x.shape[1]
    return x * kept[:, :, None, None] / (1 - p)


def one_by_one(x: torch.Tensor, p: float, generator: torch.Generator) -> torch.Tensor:
    result = x.clone()
    for maps in result:
        for one in maps:
            one *= 0 if torch.rand(1, generator=generator) < p else 1 / (1 - p)
    return result


def bernoulli(x: torch.Tensor, p: float, generator: torch.Generator) -> torch.Tensor:
    mask = torch.bernoulli(torch.full(x.shape[:2], 1 - p), generator=generator) / (1 - p)
    return torch.einsum("nchw,nc->nchw", x, mask)


@pytest.mark.parametrize("answer", [one_by_one, bernoulli])
def test_dropout2d_in_other_ways_is_right(answer: Callable) -> None:
    assert_right(check.dropout2d(answer))


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
        (in_place, "changes `x` in place"),
        (exactly_half, "Every image loses exactly 15 of its maps"),
        (seed_of_the_generator, "A second call with the same generator"),
        (lambda x, p, g: dropped(x, p, g) * torch.nan, "contains nan"),
        (lambda x, p, g: dropped(x.abs(), p, g), "are multiplied by"),
        (lambda x, p, g: x.flatten(1), "same shape"),
        (lambda x, p, g: None, "returned None"),
    ],
)
def test_dropout2d_names_the_mistake(answer: Callable, message: str) -> None:
    assert_wrong(check.dropout2d(answer), message)


def folded(
    scale: torch.Tensor, shift: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> list[torch.Tensor]:
    """By asking the two layers, of which the second sees the first."""
    normed = scale[:, None, None] * torch.zeros(weight.shape[1:]) + shift[:, None, None]
    at_zero = F.conv2d(normed[None], weight, bias)[0, :, 0, 0]
    return [torch.einsum("oiuv,i->oiuv", weight, scale), at_zero]


def test_fold_forwards_in_another_way_is_right() -> None:
    assert_right(check.fold_forwards(folded))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda s, t, w, b: (w / s[:, None, None], b), "has to be multiplied"),
        (lambda s, t, w, b: (w, b), "weight is unchanged"),
        (lambda s, t, w, b: (w * s[:, None, None, None], b), "along another axis"),
        (lambda s, t, w, b: (folded(s, t, w, b)[0], b + t), "meets the weights first"),
        (lambda s, t, w, b: (folded(s, t, w, b)[0], b - w.sum((1, 2, 3))), "result 2, the shape"),
        (lambda s, t, w, b: folded(s, t, w, b)[::-1], "result 1, the result has shape (3,)"),
        (lambda s, t, w, b: (*folded(s, t, w, b), t), "return 2 things, got 3"),
        (lambda s, t, w, b: w, "return 2 things, got Tensor"),
        (lambda s, t, w, b: (folded(s, t, w, b)[0].numpy(), folded(s, t, w, b)[1]), "NumPy"),
        (lambda s, t, w, b: (w.mul_(s[:, None, None]), b), "changes `w` in place"),
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


def a_copy_of_the_best(model, step, validation_loss, epochs, patience):
    losses, copies = [], []
    for _ in range(epochs):
        step(model)
        losses.append(validation_loss(model))
        copies.append(copy.deepcopy(model))
        if len(losses) - 1 - losses.index(min(losses)) == patience:
            break
    return copies[losses.index(min(losses))]


def from_a_list(model, *given):
    best = a_copy_of_the_best(model, *given)
    for weights, kept in zip(model.parameters(), best.parameters(), strict=True):
        weights.data = kept.data
    return model


def measures_first(model, step, validation_loss, epochs, patience):
    lowest, best, waited = validation_loss(model), model.state_dict(), 0
    while epochs and waited < patience:
        step(model)
        epochs -= 1
        waited += 1
        if validation_loss(model) < lowest:
            lowest, waited = validation_loss(model), 0
            best = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(best)
    return model


@pytest.mark.parametrize("answer", [from_a_list, measures_first])
def test_best_of_in_other_ways_is_right(answer: Callable) -> None:
    assert_right(check.best_of(answer))


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
        (a_copy_of_the_best, "you return another network"),
        (lambda m, *a: train(m, *a[:3], 3), "epochs, expected"),
        (
            lambda m, step, loss, n, patience: train(m, step, loss, 5, patience),
            "train for 5 epochs",
        ),
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
        (lambda x, g: x.copy_(noise(x, g)), "changes `x` in place"),
        (lambda x, g: noise(x, g) * torch.nan, "contains nan"),
        (lambda x, g: noise(x, torch.Generator().manual_seed(4)), "A second call"),
        (lambda x, g: noise(x, g).numpy(), "I got"),
        (lambda x, g: (noise(x, g), None), "I got tuple"),
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
