"""What the chapter about the training loop defines does what the text says."""

import math

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


def test_the_network_begins_at_the_loss_of_guessing() -> None:
    network, some = chapter["new_network"](), digits(100)
    loss = F.cross_entropy(network(data.to_float(some.images)), some.labels).item()
    assert loss == pytest.approx(math.log(10), abs=0.4)


@given(count=st.integers(1, 200), batch_size=st.integers(1, 60))
def test_whole_batches_hold_what_the_rest_leaves(count, batch_size) -> None:
    batches = chapter["whole_batches"](torch.randperm(count), batch_size)
    positions = [n for batch in batches for n in batch.tolist()]
    assert {len(batch) for batch in batches} <= {batch_size}
    assert len(set(positions)) == len(positions) == count - count % batch_size


def test_a_running_mean_lags_as_the_text_says() -> None:
    line = [100.0 - t for t in range(2000)]
    for beta in (0.5, 0.9, 0.98):
        assert chapter["smooth"](line, beta)[-1] - line[-1] == pytest.approx(beta / (1 - beta))
