"""Fine-tuning: what it changes, what it leaves alone, and how it refuses."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mnist_course import finetune as module
from mnist_course import models, train
from mnist_course.data import Digits
from mnist_course.evaluate import evaluate
from mnist_course.finetune import (
    LowRank,
    finetune,
    freeze_batch_norm,
    head_of,
    merged,
    with_adapters,
)
from tests.made_up import digits
from tests.networks import shaken

OLD, HELD_OUT = digits(400), digits(200, seed=1)
QUICK = {"steps": 60, "batch_size": 20, "device": "cpu"}


def renamed(some: Digits) -> Digits:
    """The same pictures with each label moved on by one: another task, that contradicts the old."""
    return replace(some, labels=(some.labels + 1) % 10, source="renamed digits")


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """A small network that reads the made-up digits."""
    recipe = train.Recipe(network="course_network", channels=(4, 6, 8), epochs=6, batch_size=40)
    model = recipe.build()
    train.fit(model, OLD, None, recipe, device="cpu", progress=False)
    assert evaluate(model, HELD_OUT, "cpu").accuracy > 0.95
    return model


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(model: nn.Module, tuned: nn.Module) -> set[str]:
    after = tuned.state_dict()
    return {name for name, value in model.state_dict().items() if not after[name].equal(value)}


def test_a_copy_learns_and_the_model_stays_as_it_was(trained) -> None:
    before, mode = state(trained), trained.training
    tuned = finetune(trained, renamed(OLD[:100]), learning_rate=0.02, **QUICK)
    after = evaluate(tuned, renamed(HELD_OUT), "cpu").accuracy
    assert after > evaluate(trained, renamed(HELD_OUT), "cpu").accuracy + 0.4
    assert all(value.equal(before[name]) for name, value in trained.state_dict().items())
    assert trained.training == mode
    assert not any(layer.training for layer in tuned.modules())
    assert all(weights.grad is None for weights in tuned.parameters())


def test_all_weights_move_but_batch_norm_keeps_its_statistics(trained) -> None:
    tuned = finetune(trained, OLD[:50], **QUICK)
    kept = {name for name, _ in trained.named_buffers() if name in trained.state_dict()}
    assert changed(trained, tuned) == set(trained.state_dict()) - kept
    assert "norm1.running_mean" in kept


def test_only_the_head_moves_on_demand(trained) -> None:
    tuned = finetune(trained, OLD[:50], parts="head", **QUICK)
    assert changed(trained, tuned) == {"linear.weight", "linear.bias"}
    assert all(weights.requires_grad for weights in tuned.parameters())


def test_a_frozen_weight_stays(trained) -> None:
    trained.conv1.weight.requires_grad_(False)
    try:
        tuned = finetune(trained, OLD[:50], **QUICK)
    finally:
        trained.conv1.weight.requires_grad_(True)
    assert "conv1.weight" not in changed(trained, tuned)
    assert not tuned.conv1.weight.requires_grad


def test_replay_keeps_the_network_from_forgetting(trained) -> None:
    # Only digits below 5, all called 0: without the old digits, everything becomes a 0.
    low = OLD[OLD.labels < 5]
    zeros = replace(low, labels=torch.zeros_like(low.labels))
    high = HELD_OUT[HELD_OUT.labels >= 5]
    options = {"learning_rate": 0.02, **QUICK}
    forgot = finetune(trained, zeros, **options)
    kept = finetune(trained, zeros, replay=OLD[OLD.labels >= 5], **options)
    assert evaluate(kept, high, "cpu").accuracy > evaluate(forgot, high, "cpu").accuracy + 0.2
    assert evaluate(kept, high, "cpu").accuracy > 0.9


def test_half_of_each_batch_is_replayed(trained, monkeypatch) -> None:
    batches = []
    monkeypatch.setattr(module, "AUGMENTATION", lambda images, _: batches.append(images) or images)
    new, old = OLD[:30], OLD[30:60]
    new, old = (replace(d, images=torch.full_like(d.images, v)) for d, v in ((new, 51), (old, 255)))
    finetune(trained, new, replay=old, steps=2, batch_size=9, device="cpu")
    for images in batches:
        assert images.amax((1, 2, 3)).tolist() == pytest.approx([0.2] * 5 + [1.0] * 4)


def test_the_seed_decides_everything_and_nobody_else_notices(trained) -> None:
    model = nn.Sequential(trained, nn.Dropout(0.2))
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    a, b, c = (finetune(model, OLD[:50], seed=seed, parts="all", **QUICK) for seed in (3, 3, 4))
    assert torch.rand(1) == expected
    assert not changed(a, b)
    assert changed(a, c)


def test_the_rate_falls_and_a_small_one_moves_less(trained) -> None:
    def distance(rate: float) -> float:
        tuned = finetune(trained, renamed(OLD[:50]), learning_rate=rate, **QUICK)
        return sum(
            (a - b).square().sum().item()
            for a, b in zip(trained.parameters(), tuned.parameters(), strict=True)
        )

    assert distance(1e-4) < distance(1e-3) < distance(1e-2)


def test_the_head_is_the_last_linear_layer() -> None:
    model = models.tutorial_b()
    assert head_of(model) is model.linear3
    with pytest.raises(ValueError, match="no linear layer"):
        head_of(nn.Sequential(nn.Conv2d(1, 10, 28), nn.Flatten()))


def test_frozen_batch_norm_keeps_its_statistics_while_others_train() -> None:
    model = shaken(models.fast_network((4, 4, 4))).train()
    before = state(model)
    freeze_batch_norm(model)
    model(torch.rand(8, 1, 28, 28))
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert model.conv1.training


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"new": OLD[:0]}, "nothing to learn from: made-up digits has 0 digits"),
        ({"replay": OLD[:0]}, "nothing to learn from"),
        (
            {"new": replace(OLD, images=OLD.images / 255)},
            r"uint8 \(N, 1, 28, 28\), got torch.float",
        ),
        ({"new": replace(OLD, images=OLD.images[:, 0])}, r"got torch.uint8 \(400, 28, 28\)"),
        (
            {"new": replace(OLD, labels=OLD.labels + 1)},
            "labels of made-up digits reach from 1 to 10",
        ),
        ({"parts": "tail"}, 'parts must be "head" or "all", got \'tail\''),
        ({"steps": 0}, "at least 1 step"),
        ({"batch_size": 0}, "a batch of at least 1"),
        ({"batch_size": 1, "replay": OLD}, "a batch of at least 2"),
        ({"learning_rate": 0.0}, "learning rate above 0"),
        ({"device": "abacus"}, "unknown device"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(trained, options, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        finetune(trained, **{"new": OLD, "device": "cpu", **options})


def test_a_network_without_a_free_weight_is_refused() -> None:
    model = models.course_network((2, 2, 2)).requires_grad_(False)
    with pytest.raises(ValueError, match="every parameter is frozen"):
        finetune(model, OLD, device="cpu")


def test_a_rate_that_explodes_is_an_error(trained) -> None:
    with pytest.raises(train.DivergedError, match="try a tenth"):
        finetune(trained, OLD, learning_rate=1e30, steps=5, device="cpu")


def test_adapters_change_nothing_until_they_are_trained_and_then_nothing_else(trained) -> None:
    adapted = with_adapters(trained, rank=2).eval()
    x = HELD_OUT.images[:20].float() / 255
    torch.testing.assert_close(adapted(x), trained.eval()(x))
    tuned = finetune(adapted, renamed(OLD[:50]), learning_rate=0.01, **QUICK)
    assert {name.rpartition(".")[2] for name in changed(adapted, tuned)} == {"up", "down"}


def test_merged_adapters_are_plain_layers_with_the_same_answers(trained) -> None:
    tuned = finetune(with_adapters(trained, rank=3), renamed(OLD[:50]), **QUICK).double()
    plain = merged(tuned)
    assert list(plain.state_dict()) == list(trained.state_dict())
    assert not any(isinstance(layer, LowRank) for layer in plain.modules())
    x = HELD_OUT.images[:20].double() / 255
    torch.testing.assert_close(plain(x), tuned(x))
    assert (plain(x) - trained.double()(x)).abs().max() > 0.01
    trained.float()


def test_a_layer_that_is_used_twice_has_one_adapter() -> None:
    shared = nn.Conv2d(1, 1, 3, padding=1)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Flatten(), nn.Linear(784, 10))
    adapted = with_adapters(model, rank=1)
    assert adapted[0] is adapted[2]
    for adapter in (adapted[0], adapted[4]):
        nn.init.constant_(adapter.up, 0.5)
    x = torch.rand(3, 1, 28, 28)
    plain = merged(adapted)
    torch.testing.assert_close(plain(x), adapted(x))
    assert plain[0] is plain[2]
    assert (plain(x) - model(x)).abs().max() > 0.01


def test_an_adapter_has_a_rank_that_fits() -> None:
    model = models.course_network((4, 6, 8))
    adapted = with_adapters(model, rank=5)
    assert adapted.conv1.up.shape == (4, 4)
    assert adapted.conv1.down.shape == (4, 9)
    assert adapted.linear.up.shape == (10, 5)
    with pytest.raises(ValueError, match="rank from 1, got 0"):
        with_adapters(model, rank=0)
    with pytest.raises(ValueError, match="rank from 1 to 4, got 5"):
        LowRank(model.conv1, 5)
