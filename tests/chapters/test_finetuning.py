"""What chapter 24 defines computes what PyTorch and the package compute."""

import pytest
import torch
from torch.nn import functional as F

from mnist_course import models
from tests.chapters.definitions import definitions
from tests.made_up import digits

chapter = definitions("finetuning")


def test_every_layer_has_its_rate_and_none_is_forgotten() -> None:
    network = models.course_network((2, 3, 4))
    groups = chapter["layer_groups"](network, 0.1, factor=0.5)
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.05, 0.025, 0.0125])
    held = [w for group in groups for w in group["params"]]
    assert {id(w) for w in held} == {id(w) for w in network.parameters()}
    assert len(held) == len(list(network.parameters()))
    assert held[0] is network.linear.weight


def test_learn_lowers_the_loss_and_leaves_frozen_batch_norm_alone() -> None:
    torch.manual_seed(0)
    network, some = models.course_network((4, 4, 4)).eval(), digits(60)

    def loss() -> float:
        return F.cross_entropy(network(some.images.float() / 255), some.labels).item()

    before = loss()
    chapter["learn"](network, some, [{"params": network.parameters(), "lr": 0.01}])
    assert loss() < 0.5 * before
    assert not network.norm1.running_mean.any()


def test_the_mean_of_the_weights_is_that_of_the_exercise() -> None:
    torch.manual_seed(0)
    before, after = (models.course_network((2, 3, 4)) for _ in range(2))
    x = torch.rand(3, 1, 28, 28)
    mine, theirs = (
        network.eval()(x)
        for network in (
            chapter["mean_of_weights"](before, after),
            chapter["solution_between"](before, after, 0.5),
        )
    )
    torch.testing.assert_close(mine, theirs)
    assert not torch.allclose(mine, before.eval()(x))
