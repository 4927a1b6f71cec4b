"""The checks of chapter 18: answers in other styles, and mistakes beyond those of the tables."""

import copy
import operator
from itertools import product

import torch
from torch.nn import functional as F

from mnist_course.checks import overfitting as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("overfitting")
NAMES = {name: name for name in check.__all__}
test_the_chapter = of_the_chapter(check, chapter, NAMES, begun="best_of")


def pixel_by_pixel(images, down, right):
    result = torch.zeros(images.shape)
    N, _, H, W = images.shape
    for n, i, j in product(range(N), range(H), range(W)):
        a, b = i + int(down[n]), j + int(right[n])
        if 0 <= a < H and 0 <= b < W:
            result[n, 0, a, b] = images[n, 0, i, j]
    return result


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def dropped(x, p, generator, shape=None, share=None, factor=None):
    shape = (*x.shape[:2], 1, 1) if shape is None else shape
    kept = torch.rand(shape, generator=generator) >= (p if share is None else share)
    return x * kept * (1 / (1 - p) if factor is None else factor)


def exactly_half(x, p, generator):
    drawn = torch.rand(x.shape[:2], generator=generator)
    kept = drawn.argsort(1).argsort(1) >= p * x.shape[1]
    return x * kept[:, :, None, None] / (1 - p)


def one_by_one(x, p, generator):
    result = x.clone()
    for maps in result:
        for one in maps:
            one *= 0 if torch.rand(1, generator=generator) < p else 1 / (1 - p)
    return result


def bernoulli(x, p, generator):
    mask = torch.bernoulli(torch.full(x.shape[:2], 1 - p), generator=generator) / (1 - p)
    return torch.einsum("nchw,nc->nchw", x, mask)


def folded(scale, shift, weight, bias):
    """By asking the two layers, of which the second sees the first."""
    normed = scale[:, None, None] * torch.zeros(weight.shape[1:]) + shift[:, None, None]
    at_zero = F.conv2d(normed[None], weight, bias)[0, :, 0, 0]
    return [torch.einsum("oiuv,i->oiuv", weight, scale), at_zero]


def train(
    model, step, validation_loss, epochs, patience, copied=True, reset=True, extra=0, stop=True,
    load=True, lower=operator.lt, before=False,
):  # fmt: skip
    """The solution, with each part to be spoilt."""
    lowest = last = float("inf")
    waited, best = 0, {}
    for _ in range(epochs):
        step(model)
        loss = validation_loss(model)
        waited = 0 if lower(loss, last if before else lowest) and reset else waited + 1
        last = loss
        if lower(loss, lowest):
            lowest = loss
            best = copy.deepcopy(model.state_dict()) if copied else dict(model.state_dict())
        if stop and waited == patience + extra:
            break
    if load:
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


def noise(images, generator):
    return (images + 0.05 * torch.rand(images.shape, generator=generator)).clamp(0, 1)


RIGHT = {
    "shift": [pixel_by_pixel],
    "dropout2d": [dropped, one_by_one, bernoulli],
    "fold_forwards": [folded],
    "best_of": [train, from_a_list, measures_first],
    "augmentation": [noise],
}
WRONG = {
    "shift": [
        (lambda x, d, r: x[:, :, 1:], "has shape"),
        (lambda x, d, r: pixel_by_pixel(x, d, 0 * r), "largest difference"),
        (lambda x, d, r: pixel_by_pixel(x, d.clamp(-2, 2), r.clamp(-3, 3)), "largest difference"),
    ],
    "dropout2d": [
        (lambda x, p, g: dropped(x, p, g, x.shape), "(N, C, 1, 1)"),
        (lambda x, p, g: dropped(x, p, g, (1, x.shape[1], 1, 1)), "The same maps are dropped"),
        (lambda x, p, g: dropped(x, p, g, (len(x), 1, 1, 1)), "share one fate"),
        (lambda x, p, g: dropped(x, p, g, share=1 - p), "of dropping, not of keeping"),
        (lambda x, p, g: dropped(x, p, g, share=0.9), "smaller than p"),
        (lambda x, p, g: dropped(x, p, g, factor=1), "nothing is scaled"),
        (lambda x, p, g: dropped(x, p, g, factor=1 / p), "that is 1/p"),
        (lambda x, p, g: dropped(x, p, g, factor=1 - p), "in old papers"),
        (lambda x, p, g: dropped(x, p, g, factor=7), "are multiplied by 7"),
        (lambda x, p, g: dropped(x, p, seeded(5)), "Another seed gives the same mask"),
        (lambda x, p, g: dropped(x, p, None), "draw from `generator` only"),
        (lambda x, p, g: dropped(x, p, seeded(g.initial_seed())), "A second call with the same"),
        (lambda x, p, g: x.copy_(dropped(x, p, g)), "changes `x` in place"),
        (exactly_half, "Every image loses exactly 15 maps"),
        (lambda x, p, g: dropped(x, p, g) * torch.nan, "contains nan"),
        (lambda x, p, g: dropped(x.abs(), p, g), "are multiplied by"),
        (lambda x, p, g: x.flatten(1), "as given, got (200, 180)"),
    ],
    "fold_forwards": [
        (lambda s, t, w, b: (w * s[:, None, None, None], b), "along another axis"),
        (lambda s, t, w, b: (folded(s, t, w, b)[0], b + t), "meets the weights first"),
        (lambda s, t, w, b: (folded(s, t, w, b)[0], b - w.sum((1, 2, 3))), "result 2, the shape"),
        (lambda *given: folded(*given)[::-1], "result 1, the result has shape (3,)"),
        (lambda s, t, w, b: w, "return 2 things, got Tensor"),
        (lambda *given: [part.numpy() for part in folded(*given)], "NumPy"),
    ],
    "best_of": [
        (chapter["my_best_of"], "is it a copy?"),
        (lambda *given: train(*given, copied=False), "is it a copy?"),
        (lambda *given: train(*given, load=False), "never loaded back"),
        (lambda *given: train(*given, lower=operator.le), "in a row"),
        (lambda *given: train(*given, before=True), "in a row"),
        (lambda *given: train(*given, reset=False), "in a row"),
        (lambda *given: train(*given, extra=1), "epochs, expected"),
        (lambda *given: train(*given, stop=False), "epochs, expected"),
        (lambda *given: train(*given[:4], 3), "epochs, expected"),
        (lambda *given: train(*given[:3], 5, given[4]), "train for 5 epochs"),
        (lambda *given: train(*given).state_dict(), "the model back"),
        (a_copy_of_the_best, "you return another network"),
    ],
    "augmentation": [
        (lambda x, g: x.clone(), "are unchanged"),
        (lambda x, g: noise(x, g)[:, :, 1:], "as given, got (500, 1, 27, 28)"),
        (lambda x, g: noise(x, g).numpy(), "got ndarray"),
        (lambda x, g: (noise(x, g), None), "got tuple"),
        (lambda x, g: noise(x, g).double(), "of torch.float64"),
        (lambda x, g: x.copy_(noise(x, g)), "changes `x` in place"),
        (lambda x, g: noise(x, g) * torch.nan, "contains nan"),
        (lambda x, g: noise(x, seeded(4)), "A second call with the same"),
        (lambda x, g: noise(x, None), "draw from `generator` only"),
        (lambda x, g: x + 0.5 * torch.rand(x.shape, generator=g), "clamp(0, 1)"),
        (lambda x, g: x * (0.5 + 0.4 * torch.rand(1, generator=g)), "changed alike"),
        (lambda x, g: x * (torch.rand(x.shape, generator=g) > 0.95), "too strong"),
        (lambda x, g: F.pad(noise(x, g), (1, -1, 0, 0)).flip(2), "too strong"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)
