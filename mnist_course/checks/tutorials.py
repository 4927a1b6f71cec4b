"""Checks for the exercises on repairing published networks (chapter 16)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks._returning import Verdict, compare, right, run, wrong

__all__ = ["accuracy", "difference", "fold", "grey_kernels", "network"]


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def grey_kernels(function: Callable[[Tensor], Any]) -> Verdict:
    """Check ``function(w)``: kernels ``(O, 1, K, K)`` that see in a grey image what ``w`` sees.

    ``w`` has shape ``(O, 3, K, K)`` and sees the grey image three times, as red, green and blue.
    """
    for filters, size in ((4, 3), (3, 5), (1, 1)):
        w = _normal(filters, 3, size, size)
        expected = w.sum(1, keepdim=True)
        case = f"weights of shape {tuple(w.shape)}"
        hints = [
            (
                "This is the mean over the three channels: the answers would be a third of what "
                "they were. All three channels see the same pixel, so their weights add up.",
                w.mean(1, keepdim=True),
            ),
            (
                "The sum is right, but the channel axis is gone: Conv2d wants (O, 1, K, K). "
                "Keep it with keepdim=True.",
                w.sum(1),
            ),
            (
                "You kept one channel and threw two away; their weights count as well.",
                w[:, :1],
            ),
            ("You summed over the filters (axis 0); the channels are axis 1.", w.sum(0)[:, None]),
            (
                "You summed over the filters (axis 0); the channels are axis 1.",
                w.sum(0, keepdim=True),
            ),
        ]
        verdict = compare(run(function, w.clone()), expected, case, hints=hints)
        if verdict is not None:
            return verdict
    return right("One channel with the summed weights sees the same as three equal channels.")


def fold(function: Callable[[Tensor, Tensor, Tensor, Tensor], Any]) -> Verdict:
    """Check ``function(w1, b1, w2, b2)``: weight and bias of the one layer that two make."""
    for inputs, hidden, outputs in ((5, 7, 3), (4, 4, 4), (6, 2, 1)):
        w1, b1, w2, b2 = (
            _normal(hidden, inputs), _normal(hidden), _normal(outputs, hidden), _normal(outputs)
        )  # fmt: skip
        case = f"Linear({inputs}, {hidden}) followed by Linear({hidden}, {outputs})"
        answer = run(function, w1.clone(), b1.clone(), w2.clone(), b2.clone())
        if isinstance(answer, Verdict):
            return answer
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            return wrong("Return two things: the weight and the bias of the one layer.")
        weight, bias = answer
        weight_hints = [
            (
                "This is the transposed weight: PyTorch stores (outputs, inputs).",
                (w2 @ w1).T,
            ),
            *(
                [("The order is turned round: w1 acts first.", w1 @ w2)]
                if inputs == outputs
                else []
            ),
        ]
        verdict = compare(weight, w2 @ w1, f"the weight of {case}", hints=weight_hints)
        if verdict is not None:
            return verdict
        bias_hints = [
            (
                "The weight is right, but the first bias goes through the second layer as well: "
                "it has to be multiplied by w2.",
                b1 + b2 if hidden == outputs else b2,
            ),
            ("The weight is right, but the first bias is forgotten.", b2),
            ("The weight is right, but the second bias is forgotten.", w2 @ b1),
        ]
        verdict = compare(bias, w2 @ b1 + b2, f"the bias of {case}", hints=bias_hints)
        if verdict is not None:
            return verdict
    return right("One layer does what the two did, for any input.")


def network(builder: Callable[[], Any]) -> Verdict:
    """Check ``builder()``: network B, mended: from pixels ``(N, 1, 28, 28)`` to logits."""
    model = run(builder)
    if isinstance(model, Verdict):
        return model
    if not isinstance(model, nn.Module):
        return wrong(f"Return the network, an nn.Module; this is a {type(model).__name__}.")
    given: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda layer, x, _: given.append((layer, x[0].detach())))
        for layer in model.modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
    ]
    try:
        verdict = _answers(model, given)
    finally:
        for hook in hooks:
            hook.remove()
    return verdict


def _answers(model: nn.Module, given: list[tuple[nn.Module, Tensor]]) -> Verdict:
    """The verdict on a network; ``given`` fills with what its layers with weights are given."""
    model.eval()
    pixels = torch.rand(49, 1, 28, 28)
    for images in (49, 7, 1):
        given.clear()
        with torch.no_grad():
            logits = run(model, pixels[:images])
        if isinstance(logits, Verdict):
            if "shapes cannot be multiplied" in logits.message:
                return wrong(
                    f"{images} digits do not fit into the first linear layer: {logits.message} "
                    "Three poolings make 28 → 14 → 7 → 3."
                )
            if "invalid for input of size" in logits.message:
                return wrong(
                    f"{images} digits cannot be cut into rows of that length. Three poolings make "
                    "28 → 14 → 7 → 3; and flatten(1) instead of view(-1, …) keeps images apart."
                )
            return logits
        if not isinstance(logits, Tensor) or tuple(logits.shape) != (images, 10):
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            return wrong(
                f"{images} digits give {shape}, expected ({images}, 10): has view(-1, …) made "
                "other rows than there are images?"
            )
        for layer, x in given:
            if len(x) != images:
                return wrong(
                    f"{images} digits have become {len(x)} rows before {layer}: view(-1, …) "
                    "mixes images. Flatten from axis 1 on."
                )
    total = logits.exp().sum(1)
    if torch.allclose(logits.sum(1), torch.ones(1), atol=1e-4) and bool((logits >= 0).all()):
        return wrong(
            "The ten numbers are positive and add up to one: there is still a softmax at the end, "
            "and cross_entropy has its own."
        )
    if torch.allclose(total, torch.ones(1), atol=1e-4):
        return wrong(
            "These are log-probabilities. That does no harm to cross_entropy, but the network "
            "should return logits: leave the log-softmax to the loss."
        )
    last, x = given[-1] if given else (None, pixels)
    if isinstance(last, nn.Linear) and not torch.allclose(logits, last(x), atol=1e-6):
        return wrong(
            "Something changes the numbers after the last linear layer. If it is a ReLU, it cuts "
            "off half of what the network can say, and the gradient with it."
        )
    for layer, x in given[1:]:
        if bool((x < 0).any()):
            return wrong(
                f"What arrives at {layer} has negative numbers: no ReLU stands before it, and two "
                "linear maps in a row are one."
            )
    parameters = sum(weights.numel() for weights in model.parameters())
    if parameters != 249_162:
        return wrong(
            f"It runs and answers with logits, but has {parameters:,} parameters, expected 249,162 "
            "= three convolutions (32, 64, 128) and linear layers 1152 → 128 → 64 → 10."
        )
    return right("Any number of digits, each by itself, and logits at the end.")


class _Sleepy(nn.Module):
    """Answers rightly in eval mode; in training mode its dropout makes it guess."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers = answers
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images, which hold their own numbers."""
        which = images.flatten(1)[:, 0].round().long()
        logits = F.one_hot(self.answers[which], 10).float() + 0.01 * torch.rand(len(which), 10)
        if self.training:  # dropout from uniform numbers, which are the same on every processor
            logits = 10 * logits * (torch.rand(len(which), 10) < 0.1)
        return self.scale * logits


# 130 digits in batches of 64, 64 and 2, of which 62, 63 and 1 are read rightly.
_ACCURACY = 126 / 130
_MEAN_OF_BATCHES = (62 / 64 + 63 / 64 + 1 / 2) / 3
_ACCURACY_MISTAKES = [
    (
        "This is the mean of the batches' accuracies: the two digits of the last batch count as "
        "much as 64 others. Add up right answers, and divide once, at the end.",
        _MEAN_OF_BATCHES,
    ),
    (
        "You divide by batches × 64, but the last batch is smaller: count the labels.",
        126 / 192,
    ),
    ("This is the number of right answers; divide it by the number of digits.", 126),
    ("This is a percentage cut to an integer; return the share itself, 0 … 1.", 96),
    ("This is a percentage; return the share, 0 … 1.", 100 * _ACCURACY),
    ("This is the share of *wrong* answers.", 4 / 130),
    (
        "This is the mean of the batches' accuracies, in per cent: add up right answers, divide "
        "once, at the end, and return the share itself, 0 … 1.",
        100 * _MEAN_OF_BATCHES,
    ),
    (
        "This is the mean of the batches' accuracies, in per cent and cut to an integer: add up "
        "right answers, divide once, at the end, and return the share itself, 0 … 1.",
        int(100 * _MEAN_OF_BATCHES),
    ),
    ("You count the last batch only.", 0.5),
]


def accuracy(function: Callable[..., Any]) -> Verdict:
    """Check ``function(model, batches)``: the share of right answers, 0 … 1, in eval mode.

    ``batches`` is a list of pairs of images and labels; the last batch is smaller.
    """
    labels = torch.randint(10, (130,))
    answers = labels.clone()
    misread = [3, 40, 99, 128]
    answers[misread] = (answers[misread] + 1) % 10
    images = torch.arange(130.0)[:, None, None, None].expand(130, 1, 28, 28)
    parts = [slice(0, 64), slice(64, 128), slice(128, 130)]
    batches = [(images[part], labels[part]) for part in parts]
    for training in (True, False):
        model = _Sleepy(answers).train(training)
        answer = run(function, model, batches)
        if isinstance(answer, Verdict):
            return answer
        try:
            got = float(answer)
        except (TypeError, ValueError):
            return wrong(f"I expected a number, got {type(answer).__name__}.")
        if math.isclose(got, _ACCURACY, abs_tol=1e-6):
            if model.training != training:
                return wrong(
                    "The number is right, but the network comes back in another mode than it came "
                    "in: training would go on without dropout. Note model.training, and restore it."
                )
            continue
        for explanation, mistake in _ACCURACY_MISTAKES:
            if math.isclose(got, mistake, abs_tol=1e-6):
                return wrong(explanation)
        if training:
            return wrong(
                f"On a network that comes in training mode you get {got:.4f}, expected "
                f"{_ACCURACY:.4f}: dropout is still at work. Call model.eval() first."
            )
        return wrong(f"You get {got:.4f}, expected {_ACCURACY:.4f} (126 of 130 are right).")
    return right("In eval mode, weighed by digits, unrounded, and the network is left as it was.")


def difference(function: Callable[[list[float], list[float]], Any]) -> Verdict:
    """Check ``function(first, second)``: mean of the paired differences, and its standard error."""
    for seeds in (3, 8, 2):
        common = 0.97 + 0.01 * _normal(seeds)
        first, second = common + 0.001 * _normal(seeds), common + 0.002 + 0.001 * _normal(seeds)
        case = f"{seeds} seeds"
        answer = run(function, first.tolist(), second.tolist())
        if isinstance(answer, Verdict):
            return answer
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            return wrong("Return two numbers: the mean difference and its standard error.")
        d = second - first
        root = seeds**0.5
        verdict = compare(
            answer[0],
            d.mean(),
            f"the mean difference of {case}",
            hints=[("The sign is turned round: second minus first.", -d.mean())],
        )
        if verdict is not None:
            return verdict
        both = ((first.var() + second.var()) / seeds).sqrt()
        hints = [
            (
                "This is the standard *deviation* of the differences: how far single seeds are "
                "apart. The mean of n of them is uncertain by that divided by the root of n.",
                d.std(),
            ),
            (
                "You divide by n in the variance; with so few seeds it must be n - 1 "
                "(torch.std does that).",
                d.std(correction=0) / root,
            ),
            (
                "You treat the two as unrelated and add their variances. But run k of both has "
                "the same seed: take the differences first, then their spread.",
                both,
            ),
            ("You divide by n; it is the root of n.", d.std() / seeds),
        ]
        verdict = compare(answer[1], d.std() / root, f"the standard error of {case}", hints=hints)
        if verdict is not None:
            return verdict
    return right("Differences first, then their mean and how sure it is.")
