"""Evaluation counts right, and leaves the network as it found it."""

import math
import time
from dataclasses import replace

import pytest
import torch
from scipy.stats import binomtest, norm
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss
from torch import nn

from mnist_course import data, models
from mnist_course.evaluate import (
    Result,
    evaluate,
    expected_calibration_error,
    mcnemar,
    predict,
    wilson_interval,
)
from tests.made_up import digits


@pytest.fixture
def result() -> Result:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (200,), generator=generator)
    logits = torch.randn(200, 10, generator=generator)
    logits[torch.arange(150), labels[:150]] += 3
    return Result(logits, labels, "made-up digits")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return models.course_network((4, 6, 8))


def test_the_numbers_are_those_of_scikit_learn(result) -> None:
    labels, predictions = result.labels.numpy(), result.predictions.numpy()
    assert result.accuracy == pytest.approx(accuracy_score(labels, predictions))
    expected = confusion_matrix(labels, predictions, labels=range(10))
    assert (result.confusion.numpy() == expected).all()
    probabilities = result.logits.double().softmax(1).numpy()
    assert result.loss == pytest.approx(log_loss(labels, probabilities))


def test_errors_come_with_the_most_confident_first(result) -> None:
    errors = result.errors
    wrong = (result.predictions != result.labels).nonzero().squeeze(1)
    assert sorted(errors.tolist()) == wrong.tolist()
    confidence = result.probabilities.amax(1)[errors]
    assert (confidence.diff() <= 0).all()
    assert len(errors) == round((1 - result.accuracy) * 200)


def test_a_result_says_what_it_is_about(result) -> None:
    assert "made-up digits, 200 digits" in repr(result)
    assert f"{result.accuracy:.2%}" in repr(result)


def test_logits_are_those_of_the_network_in_eval_mode_whatever_the_batch_size() -> None:
    model, own = network().eval(), digits(37)
    with torch.no_grad():
        expected = model(data.to_float(own.images))
    for batch_size in (1, 10, 37, 1000):
        logits = evaluate(model, own, "cpu", batch_size).logits
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("call", [evaluate, lambda model, own: predict(model, own.images)])
def test_the_network_is_left_as_it_was(call) -> None:
    model = network().train()
    model.norm2.eval()  # as a frozen layer is
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    call(model, digits(20))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert model.conv2.weight.is_contiguous()


def test_the_network_is_left_as_it_was_even_when_it_fails() -> None:
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    model = nn.Sequential(network(), Broken()).train()
    with pytest.raises(RuntimeError, match="broken"):
        evaluate(model, digits(3), "cpu")
    assert all(module.training for module in model.modules())


def test_a_channels_last_network_stays_so() -> None:
    model = network().to(memory_format=torch.channels_last)
    evaluate(model, digits(5), "cpu")
    assert model.conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_answers_can_take_part_in_a_gradient() -> None:
    scale = torch.ones((), requires_grad=True)
    (evaluate(network(), digits(5), "cpu").logits * scale).sum().backward()
    assert scale.grad is not None
    (predict(network(), digits(5).images) * scale).sum().backward()


def test_probabilities_are_the_same_for_bytes_and_floats() -> None:
    model, own = network(), digits(7)
    probabilities = predict(model, own.images)
    assert probabilities.shape == (7, 10)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(7))
    torch.testing.assert_close(probabilities, predict(model, data.to_float(own.images)))
    torch.testing.assert_close(probabilities, evaluate(model, own, "cpu").probabilities)
    torch.testing.assert_close(probabilities, predict(model, own.images, batch_size=2))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(28, 28), r"got \(28, 28\).*image\[None, None\]"),
        (torch.zeros(1, 3, 28, 28), r"got \(1, 3, 28, 28\)"),
        (torch.zeros(0, 1, 28, 28), r"got \(0, 1, 28, 28\)"),
        (torch.full((1, 1, 28, 28), 255.0), "divide bytes by 255"),
        (torch.full((1, 1, 28, 28), -0.42), r"pixels in \[0, 1\]"),
        (torch.full((1, 1, 28, 28), math.nan), r"pixels in \[0, 1\]"),
    ],
)
def test_images_that_the_network_was_not_made_for_are_refused(images, message) -> None:
    with pytest.raises(ValueError, match=message):
        predict(network(), images)


def test_nothing_to_evaluate_and_wrong_outputs_are_named() -> None:
    with pytest.raises(ValueError, match="0 digits"):
        evaluate(network(), digits(0), "cpu")
    with pytest.raises(ValueError, match=r"expected logits of shape \(4, 10\).*\(4, 5\)"):
        evaluate(nn.Sequential(nn.Flatten(), nn.Linear(784, 5)), digits(4), "cpu")


def test_the_confusion_of_a_single_digit() -> None:
    own = digits(30)
    own = replace(own, labels=torch.full_like(own.labels, 3))
    confusion = evaluate(network(), own, "cpu").confusion
    assert confusion.shape == (10, 10)
    assert confusion[3].sum() == confusion.sum() == 30


def test_ten_thousand_digits_take_seconds_at_most() -> None:
    model, own = models.course_network(), digits(1000)
    evaluate(model, own, "cpu")
    started = time.process_time()
    evaluate(model, own, "cpu")
    # On an idle machine it is a tenth of this; the bound catches a pipeline that works digit by
    # digit, not a slow machine.
    assert time.process_time() - started < 2.5


@pytest.mark.parametrize(("right", "total"), [(0, 7), (3, 7), (7, 7), (9950, 10000), (1, 1)])
def test_the_interval_is_that_of_scipy(right, total) -> None:
    theirs = binomtest(right, total).proportion_ci(0.95, method="wilson")
    low, high = wilson_interval(right, total, norm.ppf(0.975))
    assert (low, high) == pytest.approx(tuple(theirs), abs=1e-12)
    assert 0 <= low <= right / total <= high <= 1


@pytest.mark.parametrize(("right", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(right, total) -> None:
    with pytest.raises(ValueError, match=f"got {right} of {total}"):
        wilson_interval(right, total)


def answering(right: list[bool]) -> Result:
    """A result on as many zeros, each read as a zero or as a one."""
    logits = torch.zeros(len(right), 10)
    logits[torch.arange(len(right)), [0 if r else 1 for r in right]] = 1
    return Result(logits, torch.zeros(len(right), dtype=torch.int64), "made-up digits")


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (9, 3), (3, 9), (5, 5), (1500, 1400)])
def test_the_paired_test_is_that_of_fair_coins(b, c) -> None:
    first = answering([True] * b + [False] * c + [True, False] * 10)
    second = answering([False] * b + [True] * c + [True, False] * 10)
    expected = binomtest(b, b + c).pvalue if b + c else 1
    assert mcnemar(first, second) == pytest.approx(expected)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_results_on_other_digits_are_not_compared(result) -> None:
    other = replace(result, labels=result.labels.flip(0))
    with pytest.raises(ValueError, match="same digits"):
        mcnemar(result, other)


def test_calibration_by_hand() -> None:
    # Two bins: 0.4 and 0.4 (one of two right), 0.9 and 1 (one of two right).
    p = torch.tensor([[0.3, 0.3, 0.4], [0.4, 0.3, 0.3], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0]])
    labels = torch.tensor([2, 1, 0, 2])
    expected = (2 * abs(0.5 - 0.4) + 2 * abs(0.5 - 0.95)) / 4
    assert expected_calibration_error(p, labels, bins=2) == pytest.approx(expected)
    sure = torch.eye(3)
    assert expected_calibration_error(sure, torch.arange(3)) == 0
    assert expected_calibration_error(sure, torch.tensor([1, 2, 0])) == 1


@pytest.mark.parametrize(
    ("p", "labels"), [((0, 10), (0,)), ((3,), (3,)), ((3, 10), (2,)), ((3, 10), (3, 1))]
)
def test_calibration_needs_a_row_for_each_label(p, labels) -> None:
    with pytest.raises(ValueError, match="N labels"):
        expected_calibration_error(torch.ones(p), torch.zeros(labels, dtype=torch.int64))
