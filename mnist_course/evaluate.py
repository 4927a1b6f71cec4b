"""How good a network is: its answers on labelled digits, and numbers computed from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.arguments import kind_of, real, tensor, whole
from mnist_course.data import Digits, check_digits, check_labels, check_pixels, to_float
from mnist_course.devices import Place, advice_on_memory, choose_device, placed
from mnist_course.modules import (
    answering,
    check_answers,
    check_finite,
    check_logits,
    check_network,
    dtype_of,
)


@dataclass(frozen=True)
class Result:
    """What a network answered on labelled digits.

    Attributes:
        logits: floats, ``(N, 10)``; those of :func:`evaluate` are float32, on the CPU.
        labels: int64, ``(N,)``, from 0 to 9.
        source: the data set, to quote beside any of these numbers.

    Arrays of NumPy and lists become tensors.

    Raises:
        TypeError: if logits or labels are not numbers.
        ValueError: if there is not one label for each row of logits, one is no digit, or a logit is
            nan or +inf.
    """

    logits: Tensor
    labels: Tensor
    source: str

    def __post_init__(self) -> None:
        logits, labels = tensor(self.logits, "logits"), tensor(self.labels, "labels")
        if logits.shape[1:] != (10,) or labels.shape != logits.shape[:1]:
            raise ValueError(
                "expected logits (N, 10) and a label for each row, (N,), got "
                f"{tuple(logits.shape)} and {tuple(labels.shape)}"
            )
        check_labels(labels, "labels")
        # A frozen dataclass has no other way to set its own fields.
        logits = logits if logits.is_floating_point() else logits.float()
        object.__setattr__(self, "logits", check_answers(logits))
        object.__setattr__(self, "labels", labels.long())

    @property
    def predictions(self) -> Tensor:
        """The digit with the largest logit; int64, ``(N,)``."""
        return self.logits.argmax(1)

    @property
    def probabilities(self) -> Tensor:
        """The softmax of the logits; float32, ``(N, 10)``."""
        return self.logits.softmax(1)

    @property
    def accuracy(self) -> float:
        """The share of correct answers, 0 … 1."""
        return (self.predictions == self.labels).double().mean().item()

    @property
    def loss(self) -> float:
        """The mean cross-entropy in nats, without label smoothing."""
        return F.cross_entropy(self.logits.double(), self.labels).item()

    @property
    def errors(self) -> Tensor:
        """Positions of the digits read incorrectly, int64; the most confident mistake is first."""
        wrong = (self.predictions != self.labels).nonzero().squeeze(1)
        confidence = self.probabilities.amax(1)[wrong]
        return wrong[confidence.argsort(descending=True, stable=True)]

    @property
    def confusion(self) -> Tensor:
        """How often a digit (row) was read as a digit (column); int64, ``(10, 10)``."""
        return torch.bincount(self.labels * 10 + self.predictions, minlength=100).view(10, 10)

    def __repr__(self) -> str:
        return (
            f"Result({self.source}, {len(self.labels):,} digits: "
            f"accuracy {self.accuracy:.2%}, loss {self.loss:.4f})"
        )


def evaluate(
    model: nn.Module,
    digits: Digits,
    device: str | torch.device | None = None,
    batch_size: int = 250,
) -> Result:
    """Let ``model`` read all ``digits``.

    The model answers in eval mode without gradients. Afterwards its mode, its device and its
    weights are as they were before.

    Args:
        model: a network from pixels in [0, 1], ``(N, 1, 28, 28)``, to logits ``(N, 10)``.
        digits: the labelled digits.
        device: where to compute; chosen by :func:`~mnist_course.devices.choose_device`.
        batch_size: how many digits are read at once; the answers do not depend on it. Small
            batches stay in a CPU's cache.

    Raises:
        TypeError: if an argument is of the wrong type, or the model does not return a tensor.
        ValueError: if there are no digits, or images, labels, weights or logits cannot be right;
            the message says which, and what to do.
        MemoryError: if a batch does not fit into memory; the message says which size to try.
    """
    check_network(model)
    check_finite(model, before="reading")
    digits = check_digits(digits, "images", "labels")
    if not len(digits):
        raise ValueError("there is nothing to evaluate: got 0 digits, expected at least one")
    batch_size = whole(batch_size, "batch_size", 1)
    device = choose_device(device)
    with placed(model, device) as place, answering(model), advice_on_memory(batch_size):
        parts = [
            _logits(model, images, place) for images, _ in digits.to(device).batches(batch_size)
        ]
        logits = torch.cat(parts).float().cpu()
    return Result(logits, digits.labels.cpu(), digits.source)


def _logits(model: nn.Module, images: Tensor, place: Place) -> Tensor:
    # Pixels of its own for every attempt, for the network may work in place.
    answers = place.compute(lambda: model(place.images(to_float(images))))
    return check_logits(answers, len(images))


def predict(model: nn.Module, images: Tensor, batch_size: int = 250) -> Tensor:
    """The probabilities that ``model`` gives to the ten digits.

    Args:
        model: a network from pixels in [0, 1] to logits; it runs in eval mode, on its own device.
        images: ``(N, 1, 28, 28)``, or one of ``(1, 28, 28)``: bytes 0 … 255, or floats in [0, 1];
            light ink on dark. A tensor, an array of NumPy, or a grey picture of Pillow.
        batch_size: how many are read at once; the answers do not depend on it.

    Returns:
        float32, ``(N, 10)``, on the device of the images; each row sums to 1.

    Raises:
        TypeError: if an argument is of the wrong type, or the model does not return a tensor.
        ValueError: if images, weights or logits cannot be right; the message says what to do.
        MemoryError: if a batch does not fit into memory; the message says which size to try.
    """
    check_network(model)
    check_finite(model, before="reading")
    images = check_pixels(images, "images")
    batch_size = whole(batch_size, "batch_size", 1)
    home = next((weights.device for weights in model.parameters()), images.device)
    dtype = dtype_of(model)
    with answering(model), advice_on_memory(batch_size):
        parts = [
            # A copy, for the network may work in place.
            check_logits(model(part.to(home, dtype, copy=True)), len(part))
            for part in images.split(min(batch_size, len(images)))
        ]
        logits = torch.cat(parts).float()
    return check_answers(logits).softmax(1).to(images.device)


def wilson_interval(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of accuracies that ``right`` answers of ``total`` leave plausible (chapter 19).

    Args:
        right: how many answers were right.
        total: how many there were.
        z: how many standard errors away an accuracy may be; 1.96 gives a 95 % interval.

    Returns:
        Its lower and its upper end, 0 … 1 (Wilson, 1927).

    Raises:
        TypeError: if an argument is not a number.
        ValueError: if the counts are not ``0 <= right <= total`` with at least one answer, or ``z``
            is negative.
    """
    right, total, z = whole(right, "right"), whole(total, "total"), real(z, "z")
    if z < 0:
        raise ValueError(f"z must not be negative, got {z}")
    if not (total > 0 and 0 <= right <= total):
        raise ValueError(f"expected 0 <= right <= total and total > 0, got {right} of {total}")
    share, weight = right / total, z**2 / total
    middle = share + weight / 2
    half = z * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    # With no right answer, or no wrong one, an end is exactly 0 or 1, whatever rounding does.
    low = (middle - half) / (1 + weight) if right else 0.0
    return low, (middle + half) / (1 + weight) if right < total else 1.0


def mcnemar(first: Result, second: Result) -> float:
    """How likely fair coins are to fall at least as unevenly as two results differ (chapter 19).

    Only digits that one of the two reads correctly and the other does not count: McNemar's test
    (1947), exact and two-sided.

    Returns:
        The p-value, 0 … 1; small if one of the two is better by more than luck.

    Raises:
        TypeError: if one is not a :class:`Result`.
        ValueError: if the results are not on the same digits.
    """
    for each in (first, second):
        if not isinstance(each, Result):
            raise TypeError(f"expected two results of evaluate(), got {kind_of(each)}")
    if not torch.equal(first.labels, second.labels):
        raise ValueError("expected two results on the same digits, got different labels")
    a, b = first.predictions == first.labels, second.predictions == second.labels
    only_first, only_second = int((a & ~b).sum()), int((~a & b).sum())
    differ = only_first + only_second
    tail = sum(math.comb(differ, i) for i in range(min(only_first, only_second) + 1))
    # Whole numbers as long as possible: 2**2000 does not fit a float.
    return min(1.0, 2 * tail / 2**differ)


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """The mean gap between confidence and the share of correct answers (chapter 19).

    The digits are sorted into ``bins`` of equal width by their largest probability; the gap
    of a bin counts by how many digits are in it (Guo and others, 2017).

    Args:
        probabilities: ``(N, O)``, each row adding up to 1.
        labels: int64, ``(N,)``.
        bins: the number of bins. Even perfect probabilities have an error above 0, which grows with
            it.

    Returns:
        The error, 0 … 1.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if there are no digits, not one label for each, or the numbers are not
            probabilities.
    """
    bins = whole(bins, "bins", 1, 1_000_000)
    probabilities, labels = tensor(probabilities, "probabilities"), tensor(labels, "labels")
    if (
        probabilities.ndim != 2
        or labels.shape != probabilities.shape[:1]
        or not probabilities.numel()
    ):
        raise ValueError(
            "expected probabilities of shape (N, O) and N labels, got "
            f"{tuple(probabilities.shape)} and {tuple(labels.shape)}"
        )
    if not (probabilities.min() >= 0 and probabilities.max() <= 1 + 1e-6):
        raise ValueError(
            f"expected probabilities from 0 to 1, got {probabilities.min():.3g} … "
            f"{probabilities.max():.3g}; logits become probabilities with logits.softmax(1)"
        )
    sums = probabilities.double().sum(1)
    if not ((sums - 1).abs() < 0.01).all():  # of half precision, too
        raise ValueError(
            "expected rows of probabilities that add up to 1, got sums from "
            f"{sums.min():.3g} to {sums.max():.3g}"
        )
    check_labels(labels, "labels", probabilities.shape[1])
    confidence, answers = probabilities.double().max(1)
    place = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.bincount(place, (answers == labels).double() - confidence, minlength=bins)
    return (gap.abs().sum() / len(labels)).item()
