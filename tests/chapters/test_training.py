"""What chapter 11 defines does what the text says."""

import copy
import math
from itertools import pairwise

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mnist_course import data, train
from mnist_course.evaluate import evaluate
from tests.chapters.definitions import definitions
from tests.made_up import digits

chapter = definitions("training")

RECIPE = train.Recipe(
    epochs=2,
    batch_size=16,
    learning_rate=0.02,
    optimizer="sgd",
    betas=(0.9, 0.999),
    schedule="constant",
    warmup=0,
)


@pytest.mark.parametrize("count", [64, 70])
def test_the_loop_written_by_hand_is_fit_to_the_last_bit(count) -> None:
    some = digits(count)
    by_hand = chapter["new_network"]().to(memory_format=torch.channels_last)
    optimizer = chapter["sgd"](by_hand)
    losses = []
    for epoch in range(2):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(2 * epoch))
        losses += chapter["train_epoch"](by_hand, optimizer, some, order, batch_size=16)
    fitted = chapter["new_network"]()
    history = train.fit(fitted, some, None, RECIPE, device="cpu", progress=False)
    assert losses == history.losses
    assert chapter["same_weights"](by_hand, fitted)


def test_networks_of_other_seeds_have_other_weights() -> None:
    network = chapter["new_network"]
    assert chapter["same_weights"](network(3), network(3))
    assert not chapter["same_weights"](network(3), network(4))


@settings(deadline=None, max_examples=20)
@given(count=st.integers(1, 30), batch_size=st.integers(1, 12))
def test_an_epoch_makes_a_step_for_each_whole_batch(count, batch_size) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    order = torch.randperm(count)
    losses = chapter["train_epoch"](network, optimizer, digits(count), order, batch_size)
    assert len(losses) == count // batch_size
    assert all(isinstance(loss, float) for loss in losses)


@settings(deadline=None, max_examples=20)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_the_accuracy_does_not_depend_on_the_batches(count, batch_size) -> None:
    network, some = chapter["new_network"](), digits(count)
    expected = evaluate(network, some, "cpu").accuracy
    assert chapter["accuracy"](network, some, batch_size) == pytest.approx(expected)
    assert not network.training


def test_in_train_mode_the_answers_depend_on_the_batches_and_the_network_stays() -> None:
    network, some = chapter["new_network"](), digits(60)
    before = copy.deepcopy(network)
    scores = {chapter["accuracy_in_train_mode"](network, some, size) for size in (1, 2, 5, 60)}
    assert len(scores) > 1
    assert chapter["same_weights"](network, before)


@settings(deadline=None)
@given(
    losses=st.lists(st.floats(0, 10), min_size=1, max_size=30),
    beta=st.floats(0.05, 0.99),
)
def test_the_smoothed_curve_is_that_of_pandas(losses, beta) -> None:
    expected = pd.Series(losses).ewm(alpha=1 - beta).mean()
    torch.testing.assert_close(
        torch.tensor(chapter["smooth"](losses, beta), dtype=torch.float64),
        torch.tensor(expected.values),
        atol=1e-9,
        rtol=1e-7,
    )


@given(value=st.floats(0, 10), beta=st.floats(0.05, 0.99))
def test_a_constant_loss_stays_as_it_is(value, beta) -> None:
    assert chapter["smooth"]([value] * 10, beta) == pytest.approx([value] * 10)


def test_no_grad_keeps_nothing_and_a_layer_keeps_its_input() -> None:
    x = torch.rand(50, 784)
    layer = nn.Sequential(nn.Linear(784, 300), nn.ReLU())
    kept, _ = chapter["kept_bytes"](layer, x)
    assert kept >= x.nbytes + 50 * 300 * 4  # the input of the one, the output of the other
    with torch.no_grad():
        assert chapter["kept_bytes"](layer, x)[0] == 0


def test_a_sum_of_losses_remembers_every_step() -> None:
    layer, x, y = nn.Linear(4, 3), torch.rand(2, 4), torch.tensor([0, 2])
    sizes, total = [], 0
    for _ in range(4):
        total = total + F.cross_entropy(layer(x), y)
        sizes.append(chapter["graph_size"](total))
    steps = [b - a for a, b in pairwise(sizes)]
    assert min(steps) > 0 and len(set(steps[1:])) == 1
    assert chapter["graph_size"](total.detach()) == 0


def test_the_dataset_counts_and_gives_what_the_tensors_hold() -> None:
    some = digits(5)
    dataset = chapter["OneByOne"](some)
    image, label = dataset[3]
    assert dataset.asked == 1 and len(dataset) == 5
    assert torch.equal(image, data.to_float(some.images[3])) and label == int(some.labels[3])


def test_the_network_begins_at_the_loss_of_guessing() -> None:
    network, some = chapter["new_network"](), digits(100)
    loss = F.cross_entropy(network(data.to_float(some.images)), some.labels).item()
    assert loss == pytest.approx(math.log(10), abs=0.4)
