"""The instruments of chapter 17 measure what they say, and its patients have their illness."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mnist_course import data
from tests.chapters.definitions import definitions
from tests.checks.test_diagnosis import pictures

chapter: dict[str, Any] = definitions("diagnosis")
images, labels = pictures(750)
chapter["seen"] = images[:600], labels[:600]
chapter["unseen"] = images[600:], labels[600:]


@pytest.fixture(scope="module")
def healthy() -> Any:
    network = chapter["small_network"]()
    return chapter["train"](network, chapter["sgd"](network))


def accuracies(chart: Any) -> tuple[float, float]:
    """Of the last examination: on training and on validation images, in per cent."""
    return chart.accuracies[-1][1:]


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(-3, 3), seed=st.integers(0, 100))
def test_the_update_ratio_is_the_share_by_which_weights_move(scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    before = torch.randn(4, 3, 5, 5, generator=generator, dtype=torch.float64)
    ratio = chapter["update_ratio"](before, before * (1 + scale))
    assert ratio == pytest.approx(abs(scale), abs=1e-12)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 100), momentum=st.floats(0, 0.95))
def test_the_update_ratio_of_a_first_step_of_sgd_is_rate_times_gradient_by_weight(
    seed: int, momentum: float
) -> None:
    torch.manual_seed(seed)
    layer = nn.Linear(5, 4).double()
    before = layer.weight.detach().clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01, momentum=momentum)
    layer(torch.randn(8, 5, dtype=torch.float64)).pow(2).sum().backward()
    norm = chapter["gradient_norms"](nn.Sequential(layer))["0"]
    optimizer.step()
    ratio = chapter["update_ratio"](before, layer.weight.detach())
    assert ratio == pytest.approx(0.01 * norm / before.norm().item())


def test_gradient_norms_tell_no_gradient_from_a_gradient_of_zero() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    nn.init.zeros_(network[0].weight)
    nn.init.constant_(network[0].bias, -1)
    network(torch.ones(2, 3)).sum().backward()
    assert chapter["gradient_norms"](network) == {"0": None, "2": 0}


@settings(deadline=None, max_examples=20)
@given(numbers=st.lists(st.floats(-5, 5, allow_subnormal=False, width=32), min_size=1))
def test_the_share_of_zeros_counts_what_a_relu_cuts(numbers: list[float]) -> None:
    network = nn.Sequential(nn.Identity(), nn.ReLU())
    shares = chapter["share_of_zeros"](network, torch.tensor([numbers]))
    assert shares == {"1": pytest.approx(sum(x <= 0 for x in numbers) / len(numbers), abs=1e-6)}
    assert not network[1]._forward_hooks


def test_the_three_checks_find_what_does_not_move(capsys: pytest.CaptureFixture) -> None:
    network = chapter["small_network"]()
    network[2].requires_grad_(False)
    chapter["three_checks"](network, chapter["sgd"](network), images[:20], labels[:20])
    text = capsys.readouterr().out
    assert "first loss: 2." in text
    assert "did not move: 2.weight, 2.bias" in text


def test_the_healthy_network_learns(healthy: Any) -> None:
    assert min(accuracies(healthy)) > 90
    assert healthy.losses[0] == pytest.approx(math.log(10), abs=0.3)
    assert all(min(values) > 0 for values in healthy.ratios.values())


def test_patient_1_has_gradients_and_no_updates() -> None:
    chart = chapter["patient_1"]()
    assert all(norm > 0 for norm in chapter["gradient_norms"](chart.network).values())
    assert {value for values in chart.ratios.values() for value in values} == {0}
    assert len({row[1:] for row in chart.accuracies}) == 1


def test_patient_2_has_other_labels_and_learns_nothing_that_carries_over() -> None:
    chart = chapter["patient_2"]()
    assert torch.equal(chart.seen[1].bincount(), chapter["seen"][1].bincount())
    assert accuracies(chart)[1] < 40
    assert all(min(values) > 0 for values in chart.ratios.values())


def test_patient_3_is_dead() -> None:
    chart = chapter["patient_3"]()
    assert chart.last_accuracy < 30
    assert chapter["share_of_zeros"](chart.network, images)["3"] > 0.99


def test_patient_4_gets_numbers_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    inked = (images.clamp(0.1, 2) * 100).byte()
    inked[:, :, 0, 0] = 0
    part = data.Digits(inked, labels, "patterns")
    monkeypatch.setitem(chapter, "training", part[:600])
    monkeypatch.setitem(chapter, "validation", part[600:])
    chart = chapter["patient_4"]()
    assert all(math.isnan(loss) for loss in chart.losses)
    assert chart.seen[0].isnan().flatten(1).sum(1).tolist() == [1] * 600
    first_bad = chapter["solution_first_bad_layer"]
    assert first_bad(chapter["small_network"](), chart.seen[0]) == "0"


def test_patient_5_stays_above_the_floor(healthy: Any) -> None:
    chart = chapter["patient_5"]()
    floor = math.log(math.e + 9) - 1
    assert floor < min(chart.losses)
    assert healthy.last_loss < floor
    right = F.one_hot(torch.arange(10), 10).double()
    assert F.cross_entropy(right, torch.arange(10)).item() == pytest.approx(floor)


def test_patient_6_rolls_with_momentum_1() -> None:
    chart = chapter["patient_6"]()
    network = chapter["small_network"]()
    rolling = torch.optim.SGD(network.parameters(), lr=0.05, momentum=1)
    losses = []
    for x, y in chapter["batches"](*chapter["seen"]):
        loss = F.cross_entropy(network(x), y)
        rolling.zero_grad()
        loss.backward()
        rolling.step()
        losses.append(loss.item())
    assert chart.losses[:10] == pytest.approx(losses[:10], abs=1e-3)


def test_patient_7_hides_its_convolutions() -> None:
    chart = chapter["patient_7"]()
    assert list(chart.ratios) == ["head"]
    network = chapter["Network7"]()
    assert chapter["count"](network) == 2570
    network.convolutions = nn.ModuleList(network.convolutions)
    assert chapter["count"](network) == chapter["count"](chapter["small_network"]())


def test_patient_8_is_healthy_and_measured_wrongly(healthy: Any) -> None:
    chart = chapter["patient_8"]()
    assert chart.losses == pytest.approx(healthy.losses, abs=1e-3)
    assert chart.last_accuracy == pytest.approx(10, abs=2)
    assert chapter["accuracy"](chart.network, *chapter["unseen"]) > 90


def test_patient_9_changes_its_mind_until_it_is_evaluated() -> None:
    chart = chapter["patient_9"]()
    assert chart.network.training
    asked = [chart.network(images[:50]).detach() for _ in range(2)]
    assert not torch.equal(*asked)
    chart.network.eval()
    assert torch.equal(chart.network(images[:50]), chart.network(images[:50]))


def test_patient_10_reads_upright_digits_only() -> None:
    chart = chapter["patient_10"]()
    on_seen, on_unseen = accuracies(chart)
    assert on_seen > 90 > 60 > on_unseen
    assert chapter["accuracy"](chart.network, *chapter["unseen"]) > 90
