"""How good a network is: its answers on labelled digits, and numbers made from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from mnist_course.data import Digits, to_float
from mnist_course.devices import choose_device, placed


@dataclass(frozen=True)
class Result:
    """What a network answered on labelled digits.

    Attributes:
        logits: float32, ``(N, 10)``, on the processor.
        labels: int64, ``(N,)``.
        source: the data set, to be quoted beside any of these numbers.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    source: str

    @property
    def predictions(self) -> torch.Tensor:
        """The digit with the largest logit; int64, ``(N,)``."""
        return self.logits.argmax(1)

    @property
    def probabilities(self) -> torch.Tensor:
        """The softmax of the logits; float32, ``(N, 10)``."""
        return self.logits.softmax(1)

    @property
    def accuracy(self) -> float:
        """The share of right answers, 0 … 1."""
        return (self.predictions == self.labels).double().mean().item()

    @property
    def loss(self) -> float:
        """The mean cross-entropy in nats, without label smoothing."""
        return functional.cross_entropy(self.logits.double(), self.labels).item()

    @property
    def errors(self) -> torch.Tensor:
        """Positions of the digits read wrongly, int64; the most confident mistake comes first."""
        wrong = (self.predictions != self.labels).nonzero().squeeze(1)
        confidence = self.probabilities.amax(1)[wrong]
        return wrong[confidence.argsort(descending=True, stable=True)]

    @property
    def confusion(self) -> torch.Tensor:
        """How often a digit (row) was read as a digit (column); int64, ``(10, 10)``."""
        return torch.bincount(self.labels * 10 + self.predictions, minlength=100).view(10, 10)

    def __repr__(self) -> str:
        return (
            f"Result({self.source}, {len(self.labels):,} digits: "
            f"accuracy {self.accuracy:.2%}, loss {self.loss:.4f})"
        )


@contextmanager
def answering(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; afterwards every layer is back in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.inference_mode():
            model.eval()
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def evaluate(
    model: nn.Module,
    digits: Digits,
    device: str | torch.device | None = None,
    batch_size: int = 250,
) -> Result:
    """Let ``model`` read all ``digits``.

    The model answers in eval mode without gradients, and is afterwards as it was before: its mode,
    its device, its weights.

    Args:
        model: a network from pixels in [0, 1], ``(N, 1, 28, 28)``, to logits ``(N, 10)``.
        digits: the labelled digits.
        device: where to compute; chosen by :func:`~mnist_course.devices.choose_device`.
        batch_size: how many digits are read at once; the answers do not depend on it. Small
            batches stay in a processor's cache.

    Raises:
        ValueError: if there are no digits, the device does not exist, or the logits have the
            wrong shape.
    """
    if not len(digits):
        raise ValueError("there is nothing to evaluate: got 0 digits, expected at least one")
    device = choose_device(device)
    with placed(model, device), answering(model):
        parts = [
            model(to_float(images).contiguous(memory_format=torch.channels_last))
            for images, _ in digits.to(device).batches(batch_size)
        ]
        logits = torch.cat(parts).float().cpu()
    if logits.shape != (len(digits), 10):
        raise ValueError(
            f"expected logits of shape ({len(digits)}, 10) from the model, "
            f"got {tuple(logits.shape)}; its last layer must have ten outputs"
        )
    # A normal tensor again: an inference tensor could not take part in a later gradient.
    return Result(logits.clone(), digits.labels.cpu(), digits.source)


def predict(model: nn.Module, images: torch.Tensor, batch_size: int = 250) -> torch.Tensor:
    """The probabilities that ``model`` gives to the ten digits.

    Args:
        model: a network from pixels in [0, 1] to logits; it answers in eval mode, where it is.
        images: ``(N, 1, 28, 28)``: bytes 0 … 255, or floats in [0, 1]; light ink on dark.
        batch_size: how many are read at once; the answers do not depend on it.

    Returns:
        float32, ``(N, 10)``, on the device of the images; each row sums to 1.

    Raises:
        ValueError: if the images have another shape or range, or there are none.
    """
    if images.ndim != 4 or images.shape[1:] != (1, 28, 28) or not len(images):
        raise ValueError(
            f"expected images of shape (N, 1, 28, 28), got {tuple(images.shape)}; "
            "a single image gets its two missing axes with image[None, None]"
        )
    if images.dtype != torch.uint8 and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(
            f"expected pixels in [0, 1], got {images.min():.3g} … {images.max():.3g}; "
            "divide bytes by 255, and leave normalisation to the network"
        )
    home = next((tensor.device for tensor in model.parameters()), images.device)
    with answering(model):
        parts = [
            model((to_float(part) if part.dtype == torch.uint8 else part.float()).to(home))
            for part in images.split(batch_size)
        ]
        probabilities = torch.cat(parts).float().softmax(1).to(images.device)
    # A normal tensor again: an inference tensor could not take part in a later gradient.
    return probabilities.clone()


def wilson_interval(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of accuracies that ``right`` answers of ``total`` leave plausible (chapter 15).

    Args:
        right: how many answers were right.
        total: how many there were.
        z: how many standard errors away an accuracy may be; 1.96 gives a 95 % interval.

    Returns:
        Its lower and its upper end, 0 … 1 (Wilson, 1927).

    Raises:
        ValueError: if the counts are not ``0 <= right <= total`` with at least one answer.
    """
    if not (total > 0 and 0 <= right <= total):
        raise ValueError(f"expected 0 <= right <= total and total > 0, got {right} of {total}")
    share, weight = right / total, z**2 / total
    middle = share + weight / 2
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    # With no right answer, or no wrong one, an end is exactly 0 or 1, whatever rounding does.
    low = (middle - half) / (1 + weight) if right else 0.0
    return low, (middle + half) / (1 + weight) if right < total else 1.0


def mcnemar(first: Result, second: Result) -> float:
    """How likely fair coins fall at least as unevenly as two results differ (chapter 15).

    Only digits that one of the two reads rightly and the other does not count: McNemar's test
    (1947), exact and two-sided.

    Returns:
        The p-value, 0 … 1; small if one of the two is better by more than luck.

    Raises:
        ValueError: if the results are not on the same digits.
    """
    if not torch.equal(first.labels, second.labels):
        raise ValueError("expected two results on the same digits, got different labels")
    a, b = first.predictions == first.labels, second.predictions == second.labels
    only_first, only_second = int((a & ~b).sum()), int((~a & b).sum())
    differ = only_first + only_second
    tail = sum(math.comb(differ, i) for i in range(min(only_first, only_second) + 1))
    # Whole numbers as long as possible: two to the power of 2000 is no float.
    return min(1.0, 2 * tail / 2**differ)


def expected_calibration_error(
    probabilities: torch.Tensor, labels: torch.Tensor, bins: int = 15
) -> float:
    """How far confidence and the share of right answers are apart, on average (chapter 15).

    The digits are sorted into ``bins`` of equal width by their largest probability; the gaps of the
    bins count by how many digits are in them (Guo and others, 2017).

    Args:
        probabilities: ``(N, O)``, each row adding up to 1.
        labels: int64, ``(N,)``.
        bins: into how many bins; perfect probabilities have an error above 0, too, that grows with
            their number.

    Returns:
        The error, 0 … 1.

    Raises:
        ValueError: if there are no digits, or as many labels are not given.
    """
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(
            "expected probabilities of shape (N, O) and N labels, got "
            f"{tuple(probabilities.shape)} and {tuple(labels.shape)}"
        )
    confidence, answers = probabilities.double().max(1)
    place = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.bincount(place, (answers == labels).double() - confidence, minlength=bins)
    return (gap.abs().sum() / len(labels)).item()
