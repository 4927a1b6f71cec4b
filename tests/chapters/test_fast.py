"""What the chapter "Fast" defines computes what it says."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mnist_course import models
from tests.chapters.definitions import definitions

chapter = definitions("fast")


@pytest.mark.parametrize(
    "build", [models.fast_network, models.course_network, models.tutorial_a, models.tutorial_e]
)
def test_the_work_of_a_network_is_what_pytorch_counts(build) -> None:
    network = build().eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 28, 28))
    assert sum(chapter["work_of"](network).values()) == counter.get_total_flops() / 2


def test_training_costs_three_forward_passes_less_the_gradient_of_the_pixels() -> None:
    network = models.fast_network()
    work = chapter["work_of"](network)
    network.train()
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(2, 1, 28, 28)).sum().backward()
    assert 3 * sum(work.values()) - work["conv1"] == counter.get_total_flops() / 2 / 2


def test_the_shortest_time_leaves_the_first_call_out() -> None:
    calls = []
    seconds = chapter["shortest"](lambda: calls.append(0), repeats=4)
    assert len(calls) == 5
    assert 0 <= seconds < 1


def test_the_gradient_is_that_of_every_parameter() -> None:
    network = nn.Linear(4, 3).double()
    x, t = torch.rand(6, 4, dtype=torch.float64), torch.arange(6) % 3
    gradient = chapter["gradient_of"](network, x, t)
    F.cross_entropy(network(x), t).backward()
    assert torch.equal(gradient, torch.cat([p.grad.flatten() for p in network.parameters()]))


def test_the_suspicious_stopwatch_is_wrong_and_the_solution_right() -> None:
    machine = chapter["check"].Machine(work=0.01)
    run = machine.step, machine.synchronize, machine.clock
    assert chapter["suspicious_seconds"](*run, 20) < 0.005
    assert chapter["solution_seconds"](*run, 20) == pytest.approx(0.01, rel=0.1)
