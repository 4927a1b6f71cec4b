"""What chapter 18 defines computes what PyTorch and the package compute."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from benchmarks import regularisation as benchmark
from mnist_course.train import History, Row
from tests.chapters.definitions import definitions

chapter = definitions("overfitting")
sizes = st.tuples(st.integers(2, 4), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("dropout", "batch_norm"), [(0.0, False), (0.5, False), (0.3, True)])
def test_the_chapter_and_the_script_train_the_same_network(
    dropout: float, batch_norm: bool
) -> None:
    networks = []
    for build in (chapter["small_network"], benchmark.small_network):
        torch.manual_seed(0)
        networks.append(build(dropout, batch_norm))
    here, there = networks
    assert str(here) == str(there)
    assert all(torch.equal(a, b) for a, b in zip(*(n.parameters() for n in networks), strict=True))


@settings(deadline=None)
@given(size=sizes, seed=st.integers(0, 1000))
def test_the_affine_formula_is_that_of_pytorch(size: tuple[int, ...], seed: int) -> None:
    x, theta = normal(*size, seed=seed), normal(size[0], 2, 3, seed=seed + 1)
    by_hand = chapter["affine_by_hand"](x, theta)
    torch.testing.assert_close(by_hand, chapter["affine"](x, theta))


def test_a_random_affine_of_no_amount_changes_nothing() -> None:
    x, generator = torch.rand(3, 1, 28, 28), torch.Generator().manual_seed(0)
    torch.testing.assert_close(chapter["random_affine"](x, 0, 0, 0, generator), x)


def test_a_random_affine_only_shifts_if_told_so() -> None:
    x = torch.zeros(50, 1, 9, 9)
    x[:, :, 4, 4] = 1
    moved = chapter["random_affine"](x, 0, 0, 2, torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved.sum((1, 2, 3)), torch.ones(50))
    assert not moved[:, :, :2].any()
    assert not moved[:, :, -2:].any()


@settings(deadline=None)
@given(p=st.floats(0.05, 0.95), seed=st.integers(0, 1000))
def test_dropout_is_that_of_pytorch_given_its_mask(p: float, seed: int) -> None:
    x = normal(7, 5, seed=seed)
    torch.manual_seed(seed)
    y = nn.Dropout(p)(x)
    torch.testing.assert_close(chapter["dropout"](x, (y != 0).double(), p), y)


@settings(deadline=None)
@given(epsilon=st.floats(0.01, 0.9), seed=st.integers(0, 1000))
def test_label_smoothing_is_that_of_pytorch_and_has_a_floor(epsilon: float, seed: int) -> None:
    logits, labels = 3 * normal(6, 10, seed=seed), torch.arange(6)
    loss = chapter["smooth_loss"](logits, labels, epsilon)
    expected = F.cross_entropy(logits, labels, label_smoothing=epsilon)
    torch.testing.assert_close(loss, expected)
    best = chapter["smoothed"](labels, epsilon).log()
    assert loss >= chapter["smooth_loss"](best, labels, epsilon) > 0


def test_early_stopping_stops_and_keeps_a_copy_of_the_best() -> None:
    model, history = nn.Linear(1, 1, bias=False), History()
    stopping = chapter["EarlyStopping"](patience=2)
    ended = []
    for epoch, loss in enumerate([3.0, 1.0, 2.0, 0.5, 0.7, 0.6], start=1):
        nn.init.constant_(model.weight, epoch)
        history.rows.append(Row(epoch, epoch, 0.1, math.nan, loss, 0.9, 0.0))
        ended.append(bool(stopping(model, history)))
    assert ended == [False, False, False, False, False, True]
    assert stopping.weights["weight"].item() == 4


def test_the_script_removes_one_cure_at_a_time() -> None:
    everything = benchmark.SETTINGS["all"]
    for cure, changes in benchmark.CURES.items():
        less = benchmark.SETTINGS[f"all - {cure}"]
        plus = benchmark.SETTINGS[f"+ {cure}"]
        for name in vars(everything):
            default = getattr(benchmark.Setting(), name)
            cured = changes.get(name, default)
            assert getattr(plus, name) == cured
            assert getattr(less, name) == (
                default if name in changes else getattr(everything, name)
            )
