"""Checks of chapter 20, the tutorials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mnist_course.checks import FLOAT32, NotSolvedError, compared, exercise, normal, run, same
from mnist_course.checks._reader import Reader, exam, hits, share, wrong_shares

__all__ = ["accuracy", "difference", "fold", "grey_kernels", "network"]


@compared(
    cases={
        f"weights of shape {shape}": (normal(*shape),)
        for shape in [(4, 3, 3, 3), (3, 3, 5, 5), (1, 3, 1, 1), (5, 3, 2, 4)]
    },
    mistakes={
        "This is the mean over the three channels: the answers would be a third of what they were. "
        "All three channels see the same pixel, so their weights add up.": (
            lambda w: w.mean(1, keepdim=True)
        ),
        "The sum is right, but the channel axis is gone: Conv2d wants (O, 1, K, K). Keep it with "
        "keepdim=True.": lambda w: w.sum(1),
        "You kept one channel and threw two away; their weights count as well.": tuple(
            lambda w, c=c: w[:, c : c + 1] for c in range(3)
        ),
    },
    right="One channel with the summed weights sees the same as three equal channels.",
)
def grey_kernels(w: Tensor) -> Tensor:
    """Check ``function(w)``: kernels ``(O, 1, K, K)`` that see in a grey image what ``w`` sees.

    ``w`` has shape ``(O, 3, K, K)`` and sees the grey image three times, as red, green and blue.
    """
    return w.sum(1, keepdim=True)


@compared(
    cases={
        f"Linear({D}, {M}) followed by Linear({M}, {O})": (
            normal(M, D, seed=1), normal(M, seed=2), normal(O, M, seed=3), normal(O, seed=4),
        )
        # Squares first: there a wrong order gives a wrong answer, and not an error.
        for D, M, O in [(4, 4, 4), (5, 7, 3), (6, 2, 1)]  # noqa: E741
    },
    mistakes={  # in the weight, whatever became of the bias, and then in the bias
        "This is the transposed weight: PyTorch stores (outputs, inputs).": (
            lambda w1, b1, w2, b2: ((w2 @ w1).T, ...)
        ),
        "The order is turned round: w1 acts first.": lambda w1, b1, w2, b2: (w1 @ w2, ...),
        "The weight is right, but the first bias goes through the second layer as well: it has to "
        "be multiplied by w2.": lambda w1, b1, w2, b2: (w2 @ w1, b1 + b2),
        "The weight is right, but the first bias is forgotten.": (
            lambda w1, b1, w2, b2: (w2 @ w1, b2)
        ),
        "The weight is right, but the second bias is forgotten.": (
            lambda w1, b1, w2, b2: (w2 @ w1, w2 @ b1)
        ),
    },
    right="One layer does what the two did, for any input.",
)  # fmt: skip
def fold(w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> tuple[Tensor, Tensor]:
    """Check ``function(w1, b1, w2, b2)``: weight and bias of the one layer that two make."""
    return w2 @ w1, w2 @ b1 + b2


@exercise
def network(builder: Callable[[], Any]) -> str:
    """Check ``builder()``: network B, mended: from pixels ``(N, 1, 28, 28)`` to logits."""
    if isinstance(builder, nn.Module):
        raise NotSolvedError(
            "This is a network: hand over the function that returns it, without calling it."
        )
    model = run(builder)
    if not isinstance(model, nn.Module):
        raise NotSolvedError(f"Return the network, an nn.Module; this is a {type(model).__name__}.")
    given: list[tuple[nn.Module, Tensor]] = []  # to each layer with weights
    hooks = [
        layer.register_forward_hook(lambda layer, x, _: given.append((layer, x[0].detach())))
        for layer in model.modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    try:
        model.eval()
        for images in (49, 7, 1):
            given.clear()
            logits = _logits(model, torch.rand(images, 1, 28, 28))
            for layer, x in given:
                if len(x) != images:
                    raise NotSolvedError(
                        f"{images} digits have become {len(x)} rows before {layer}: view(-1, …) "
                        "mixes images. Flatten from axis 1 on."
                    )
        _no_more_than_logits(logits, given)
        _every_relu(given)
    finally:
        for hook in hooks:
            hook.remove()
    parameters = sum(weights.numel() for weights in model.parameters())
    if parameters != 249_162:
        raise NotSolvedError(
            f"It runs and answers with logits, but has {parameters:,} parameters, expected 249,162 "
            "= three convolutions (32, 64, 128) and linear layers 1152 → 128 → 64 → 10."
        )
    return "Any number of digits, each by itself, and logits at the end."


def _logits(model: nn.Module, pixels: Tensor) -> Tensor:
    images = len(pixels)
    try:
        with torch.no_grad():
            logits = run(model, pixels)
    except NotSolvedError as error:
        if "shapes cannot be multiplied" in str(error):
            raise NotSolvedError(
                f"{images} digits do not fit into the first linear layer: {error} Three poolings "
                "make 28 → 14 → 7 → 3."
            ) from error
        if "invalid for input of size" in str(error):
            raise NotSolvedError(
                f"{images} digits cannot be cut into rows of that length. Three poolings make "
                "28 → 14 → 7 → 3; and flatten(1) instead of view(-1, …) keeps images apart."
            ) from error
        raise
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (images, 10):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise NotSolvedError(
            f"{images} digits give {shape}, expected ({images}, 10): has view(-1, …) made other "
            "rows than there are images?"
        )
    return logits


def _no_more_than_logits(logits: Tensor, given: list[tuple[nn.Module, Tensor]]) -> None:
    """Raise what comes after the last linear layer, if anything does."""
    if same(logits.sum(1), torch.ones(1), 1e-4) and bool((logits >= 0).all()):
        raise NotSolvedError(
            "The ten numbers are positive and add up to one: there is still a softmax at the end, "
            "and cross_entropy has its own."
        )
    if same(logits.exp().sum(1), torch.ones(1), 1e-4):
        raise NotSolvedError(
            "These are log-probabilities. That does no harm to cross_entropy, but the network "
            "should return logits: leave the log-softmax to the loss."
        )
    last, x = given[-1] if given else (None, logits)
    if isinstance(last, nn.Linear) and not same(logits, last(x), 1e-6):
        raise NotSolvedError(
            "Something changes the numbers after the last linear layer. If it is a ReLU, it cuts "
            "off half of what the network can say, and the gradient with it."
        )


def _every_relu(given: list[tuple[nn.Module, Tensor]]) -> None:
    """Raise where a ReLU is missing before a layer with weights."""
    for layer, x in given[1:]:
        if bool((x < 0).any()):
            raise NotSolvedError(
                f"What arrives at {layer} has negative numbers: no ReLU stands before it. (With "
                "nothing between them, two linear maps in a row are one.)"
            )
        if bool((x != 0).all()):
            raise NotSolvedError(
                f"What arrives at {layer} is not once 0, so it does not come from a ReLU."
            )


@compared(
    cases={
        f"{sum(sizes)} digits in batches of {sizes}": (
            exam(sizes, [3, 40, 99, sum(sizes) - 2], (1, 28, 28), training=training, graphs=True)
        )
        for sizes, training in (([64, 64, 2], True), ([64, 40], False))
    },
    mistakes={
        "You count the last batch only.": lambda *given: hits(*given)[-1].mean(),
        "This is the mean of the batches' accuracies, and in per cent: add up right answers, and "
        "divide once, at the end.": (
            lambda *given: sum(100 * part.mean() for part in hits(*given)) / len(given[1]),
            lambda *given: int(sum(100 * part.mean() for part in hits(*given)) / len(given[1])),
        ),
        **wrong_shares(hits),
    },
    right="In eval mode, weighed by digits, unrounded, and the network is left as it was.",
    tolerance=FLOAT32,  # a float32 share is as good as any
)
def accuracy(model: Reader, batches: list[tuple[Tensor, Tensor]]) -> float:
    """Check ``function(model, batches)``: the share of right answers, 0 … 1, in eval mode.

    ``batches`` is a list of pairs of images and labels; the last batch is smaller.
    """
    return share(model, batches)


def _scores(seeds: int) -> tuple[list[float], list[float]]:
    """Scores of two settings; the second is better on average, and worse with some seeds."""
    first, noise = 0.97 + 0.01 * normal(seeds), normal(seeds, seed=1)
    second = first + 0.001 * seeds * (0.4 + (noise - noise.mean()) / noise.std())
    return first.tolist(), second.tolist()


def _differences(first: list[float], second: list[float]) -> Tensor:
    return torch.tensor(second).double() - torch.tensor(first).double()


def _error(d: Tensor) -> Tensor:
    return d.std() / len(d) ** 0.5


@compared(
    cases={f"{seeds} seeds": _scores(seeds) for seeds in (3, 8, 2, 5)},
    mistakes={
        "The sign is turned round: second minus first.": (
            lambda *given: (-_differences(*given).mean(), ...)
        ),
        "The signs are lost: a difference may well be negative, and counts as such in the mean.": (
            lambda *given: (_differences(*given).abs().mean(), ...)
        ),
        "This is the standard *deviation* of the differences: how far single seeds are apart. The "
        "mean of n of them is uncertain by that divided by the root of n.": (
            lambda *given: (..., _differences(*given).std())
        ),
        "You divide by n in the variance; with so few seeds it must be n - 1 (torch.std does "
        "that).": lambda *given: (
            ..., _error(_differences(*given)) * (1 - 1 / len(given[0])) ** 0.5,
        ),
        "You treat the two as unrelated and add their variances. But run k of both has the same "
        "seed: take the differences first, then their spread.": lambda first, second: (
            ..., ((torch.tensor(first).var() + torch.tensor(second).var()) / len(first)).sqrt(),
        ),
    },
    right="Differences first, then their mean and how sure it is.",
    tolerance=FLOAT32,
    typed=False,
)  # fmt: skip
def difference(first: list[float], second: list[float]) -> tuple[Tensor, Tensor]:
    """Check ``function(first, second)``: mean of the paired differences, and its standard error."""
    d = _differences(first, second)
    return d.mean(), _error(d)
