"""The training loop: it learns, it can be repeated and resumed exactly, and it fails clearly."""

import copy
import errno
import itertools
import math
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mnist_course import checkpoints, data, devices, files, recipes, train
from mnist_course.augment import Affine, Sequence, Shift, Stroke
from mnist_course.evaluate import evaluate
from tests.made_up import digits

SMALL = train.Recipe(
    network="fast_network",
    channels=(8, 12, 16),
    epochs=3,
    batch_size=32,
    learning_rate=0.02,
    augmentation=Sequence((Shift(1), Affine(), Stroke())),
)


class WithDropout(nn.Sequential):
    """A network that draws random numbers of its own in every step."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10))


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def without_seconds(history: train.History) -> list[train.Row]:
    return [replace(row, seconds=0) for row in history.rows]


def fit(model: nn.Module, recipe: train.Recipe = SMALL, **options) -> train.History:
    options = {"progress": False, "device": "cpu"} | options
    return train.fit(model, digits(256), digits(64, seed=1), recipe, **options)


# --- learning ---------------------------------------------------------------------------------


def test_it_learns() -> None:
    recipe = replace(SMALL, augmentation=None, epochs=8)
    model = recipe.build()
    before = evaluate(model, digits(64, seed=1), "cpu").accuracy
    history = fit(model, recipe)
    assert before < 0.4
    assert history.rows[-1].validation_accuracy > 0.9
    assert history.losses[0] > history.losses[-1]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_every_optimizer_and_schedule_learns(optimizer) -> None:
    for schedule in recipes.SCHEDULES:
        recipe = replace(SMALL, augmentation=None, optimizer=optimizer, schedule=schedule)
        history = fit(recipe.build(), recipe)
        assert history.rows[-1].training_loss < history.rows[0].training_loss


def test_the_first_loss_is_that_of_guessing() -> None:
    recipe = replace(train.RECIPES["fast"], epochs=0.01)
    history = fit(recipe.build(), recipe)
    assert history.losses[0] == pytest.approx(math.log(10), abs=0.1)


def test_the_model_comes_back_in_eval_mode_and_where_it_was() -> None:
    model = SMALL.build()
    fit(model)
    assert not any(module.training for module in model.modules())
    assert next(model.parameters()).device == torch.device("cpu")
    assert model.conv2.weight.is_contiguous()


def test_frozen_weights_and_the_statistics_of_frozen_batch_norm_stay() -> None:
    model = SMALL.build()
    for name, weights in model.named_parameters():
        weights.requires_grad_(name.startswith("linear"))
    before = weights_of(model)
    fit(model)
    after = weights_of(model)
    assert not torch.equal(before.pop("linear.weight"), after.pop("linear.weight"))
    assert_same(before, after)


def test_the_learning_rate_rises_to_its_peak_and_falls() -> None:
    recipe = train.Recipe(learning_rate=1.0, schedule="triangular", warmup=0.25)
    rates = [recipe.learning_rate_at(step, 1000) for step in range(1000)]
    peak = rates.index(max(rates))
    assert peak in (249, 250)
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates[:250] == sorted(rates[:250])
    assert rates[250:] == sorted(rates[250:], reverse=True)
    assert 0 < rates[0] < 0.01
    assert 0 < rates[-1] < 0.01


@pytest.mark.parametrize("schedule", recipes.SCHEDULES)
def test_a_learning_rate_is_positive_in_a_training_of_any_length(schedule) -> None:
    recipe = train.Recipe(schedule=schedule, warmup=0.5)
    for steps in (1, 2, 3, 50):
        assert all(recipe.learning_rate_at(step, steps) > 0 for step in range(steps))


def test_a_fraction_of_an_epoch_is_a_number_of_steps() -> None:
    history = fit(SMALL.build(), replace(SMALL, epochs=1.5))
    assert [row.step for row in history.rows] == [8, 12]
    assert [row.epoch for row in history.rows] == [1.0, 1.5]


def test_every_digit_is_drawn_once_an_epoch() -> None:
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(784, 10)

        def forward(self, x):
            if self.training:
                seen.extend(x[:, 0, 0, 0].mul(255).round().int().tolist())
            return self.linear(x.flatten(1))

    own = digits(240)
    own.images[:, 0, 0, 0] = torch.arange(240).byte()
    recipe = train.Recipe(epochs=2, batch_size=24, learning_rate=1e-3)
    train.fit(Spy(), own, None, recipe, device="cpu", progress=False)
    assert sorted(seen[:240]) == sorted(seen[240:]) == list(range(240))
    assert seen[:240] != seen[240:]


def test_it_can_be_ended_after_an_epoch() -> None:
    seen = []

    def one_is_enough(model, history):
        seen.append(len(history.rows))
        return True

    history = fit(SMALL.build(), after_epoch=one_is_enough)
    assert seen == [1]
    assert len(history.rows) == 1
    assert "after_epoch" in history.stopped


def test_what_is_done_after_an_epoch_does_not_change_the_mode_of_training() -> None:
    expected, answering = SMALL.build(), SMALL.build()
    fit(expected)
    fit(answering, after_epoch=lambda model, history: model.eval() and None)
    assert_same(weights_of(answering), weights_of(expected))


def test_a_program_without_stderr_has_no_bar(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert fit(SMALL.build(), progress=True)


# --- the same again ---------------------------------------------------------------------------


@pytest.mark.parametrize("build", [SMALL.build, WithDropout])
def test_the_same_seed_gives_the_same_weights_to_the_last_bit(build) -> None:
    torch.manual_seed(0)
    first = build()
    second = build()
    second.load_state_dict(first.state_dict())
    one = fit(first)
    torch.manual_seed(12345)  # whatever the caller does with the global generator
    two = fit(second)
    assert_same(weights_of(first), weights_of(second))
    assert one.losses == two.losses


def test_another_seed_gives_other_weights() -> None:
    first, second = SMALL.build(), SMALL.build()
    fit(first, seed=0)
    fit(second, seed=1)
    assert not torch.equal(first.conv1.weight, second.conv1.weight)


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fit(SMALL.build())
    assert torch.equal(torch.rand(3), expected)


# --- stopping and going on --------------------------------------------------------------------


@pytest.mark.parametrize("build", [SMALL.build, WithDropout])
def test_resuming_continues_exactly(tmp_path, build) -> None:
    torch.manual_seed(0)
    whole = build()
    broken = build()
    broken.load_state_dict(whole.state_dict())
    expected = fit(whole)

    fit(broken, checkpoint_folder=tmp_path, after_epoch=lambda *_: True)
    again = build()  # other weights: they must come from the file
    history = fit(again, checkpoint_folder=tmp_path, resume=True)
    assert_same(weights_of(whole), weights_of(again))
    assert history.losses == expected.losses
    assert without_seconds(history) == without_seconds(expected)
    assert not history.stopped


def interrupt_at(step: int) -> nn.Module:
    """A network that presses Ctrl-C itself, in the middle of its n-th training step."""

    class Impatient(WithDropout):
        def forward(self, x):
            if self.training:
                self.calls = getattr(self, "calls", 0) + 1
                if self.calls == step:
                    signal.raise_signal(signal.SIGINT)
            return super().forward(x)

    return Impatient()


def test_ctrl_c_keeps_what_was_learned_and_resuming_from_it_is_exact(tmp_path) -> None:
    torch.manual_seed(0)
    whole, broken = WithDropout(), interrupt_at(step=13)
    broken.load_state_dict(whole.state_dict())
    before = weights_of(broken)
    expected = fit(whole)

    handler = signal.getsignal(signal.SIGINT)
    history = fit(broken, checkpoint_folder=tmp_path)
    assert signal.getsignal(signal.SIGINT) is handler
    assert history.stopped == "interrupted"
    assert len(history.losses) == 13
    assert [row.step for row in history.rows] == [8, 13]
    assert "interrupted" in repr(history)
    assert not torch.equal(before["2.weight"], broken[2].weight)

    again = WithDropout()
    history = fit(again, checkpoint_folder=tmp_path, resume=True)
    assert_same(weights_of(whole), weights_of(again))
    assert without_seconds(history) == without_seconds(expected)


def test_a_finished_training_resumes_to_nothing_left_to_do(tmp_path) -> None:
    model = SMALL.build()
    history = fit(model, checkpoint_folder=tmp_path)
    again = SMALL.build(seed=5)
    assert fit(again, checkpoint_folder=tmp_path, resume=True).losses == history.losses
    assert_same(weights_of(model), weights_of(again))


def test_best_and_last_are_what_they_say(tmp_path) -> None:
    kept = []
    model = SMALL.build()
    history = fit(
        model,
        replace(SMALL, epochs=5),
        checkpoint_folder=tmp_path,
        after_epoch=lambda model, history: kept.append(weights_of(model)),
    )
    scores = [row.validation_accuracy for row in history.rows]
    latest_best = max(range(len(scores)), key=lambda i: (scores[i], i))
    best, metadata = checkpoints.read_weights(tmp_path / "best.safetensors")
    assert_same(best, kept[latest_best])
    assert_same(checkpoints.read_weights(tmp_path / "last.safetensors")[0], weights_of(model))
    assert metadata == {"network": "fast_network", "channels": "8,12,16"}
    assert_same(weights_of(checkpoints.load_network(tmp_path / "last.safetensors")), kept[-1])


def test_resuming_something_else_is_refused(tmp_path) -> None:
    fit(SMALL.build(), checkpoint_folder=tmp_path)
    for change in ({"recipe": replace(SMALL, epochs=4)}, {"seed": 1}):
        with pytest.raises(checkpoints.CheckpointError, match="another training"):
            fit(SMALL.build(), checkpoint_folder=tmp_path, resume=True, **change)
    with pytest.raises(checkpoints.CheckpointError, match="another network"):
        fit(WithDropout(), checkpoint_folder=tmp_path, resume=True)


def test_what_is_refused_leaves_the_model_as_it_was(tmp_path) -> None:
    fit(SMALL.build(), checkpoint_folder=tmp_path)
    wider = replace(SMALL, channels=(8, 12, 20)).build(seed=1)
    frozen = SMALL.build(seed=1)
    frozen.conv1.requires_grad_(False)
    for model, reason in ((wider, "another network"), (frozen, "parameters were frozen")):
        before = weights_of(model)
        with pytest.raises(checkpoints.CheckpointError, match=reason):
            fit(model, checkpoint_folder=tmp_path, resume=True)
        assert_same(before, weights_of(model))


def test_files_that_a_kill_left_behind_are_written_when_it_is_resumed(tmp_path) -> None:
    model = SMALL.build()
    fit(model, checkpoint_folder=tmp_path)
    first = tmp_path / "last.safetensors", tmp_path / "best.safetensors"
    for path in first:
        path.unlink()
    fit(SMALL.build(), checkpoint_folder=tmp_path, resume=True)
    assert_same(checkpoints.read_weights(first[0])[0], weights_of(model))


class Noise:
    """An augmentation of the user's own, whose repr tells only where it lies in memory."""

    def __call__(self, images, generator):
        return images + 0.01 * torch.rand(images.shape, generator=generator)


def test_an_augmentation_of_ones_own_can_be_resumed(tmp_path) -> None:
    recipe = replace(SMALL, augmentation=Noise())
    fit(recipe.build(), recipe, checkpoint_folder=tmp_path, after_epoch=lambda *_: True)
    again = replace(SMALL, augmentation=Noise())
    assert repr(again) != repr(recipe)
    history = fit(recipe.build(), again, checkpoint_folder=tmp_path, resume=True)
    assert len(history.losses) == 24


def test_a_step_that_is_resumed_keeps_the_settings_of_its_own_device(tmp_path, monkeypatch) -> None:
    """As with a step that is recorded: its rate is a tensor, which must stay one."""
    fit(SMALL.build(), checkpoint_folder=tmp_path, after_epoch=lambda *_: True)
    rates = []
    make = train.Recipe.optimizer_for

    def recordable(recipe, model, capturable=False):
        optimizer = make(recipe, model)
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(0.0)
        rates.append(optimizer)
        return optimizer

    monkeypatch.setattr(train.Recipe, "optimizer_for", recordable)
    fit(SMALL.build(), checkpoint_folder=tmp_path, resume=True)
    assert all(isinstance(group["lr"], torch.Tensor) for group in rates[0].param_groups)


def test_another_network_of_the_same_shapes_is_not_named_in_its_file(tmp_path) -> None:
    model = SMALL.build()
    model.gelu1 = nn.Sigmoid()
    fit(model, checkpoint_folder=tmp_path)
    assert "network" not in checkpoints.read_weights(tmp_path / "last.safetensors")[1]


def test_resuming_without_a_file_or_with_a_damaged_one_says_what_to_do(tmp_path) -> None:
    with pytest.raises(checkpoints.CheckpointError, match="nothing to resume"):
        fit(SMALL.build(), checkpoint_folder=tmp_path, resume=True)
    with pytest.raises(ValueError, match="checkpoint_folder"):
        fit(SMALL.build(), resume=True)
    (tmp_path / "last.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(checkpoints.CheckpointError, match="delete it"):
        fit(SMALL.build(), checkpoint_folder=tmp_path, resume=True)


def test_a_checkpoint_runs_no_code(tmp_path) -> None:
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    torch.save({"run": Trap()}, tmp_path / "last.pt")
    with pytest.raises(checkpoints.CheckpointError):
        fit(SMALL.build(), checkpoint_folder=tmp_path, resume=True)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("name", ["last.safetensors", "last.pt"])
def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path, monkeypatch, name) -> None:
    model = SMALL.build()
    fit(model, checkpoint_folder=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    put = files._put

    def full(draft, target, content):
        if target.name == name:
            draft.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        put(draft, target, content)

    monkeypatch.setattr(files, "_put", full)
    with pytest.raises(OSError, match=r"cannot write .*No space left"):
        fit(SMALL.build(), checkpoint_folder=tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert after["last.safetensors"] == before["last.safetensors"]


# --- what goes wrong --------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_cause(tmp_path) -> None:
    recipe = replace(SMALL, optimizer="sgd", learning_rate=1e30, schedule="constant", warmup=0)
    model = recipe.build()
    with pytest.raises(train.DivergedError, match=r"at step \d+ of 24 .*learning rate was 1e\+30"):
        fit(model, recipe, checkpoint_folder=tmp_path)
    assert all(weights.isfinite().all() for weights in model.parameters())
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_from_the_start_is_not_blamed_on_the_rate() -> None:
    class Brittle(WithDropout):
        def forward(self, x):
            return super().forward(x).softmax(1).sub(1).log()

    with pytest.raises(train.DivergedError, match="the loss is nan before any weight") as caught:
        fit(Brittle())
    assert "rate" not in str(caught.value)


def test_divergence_late_in_training_keeps_the_last_good_state() -> None:
    class Brittle(WithDropout):
        calls = 0

        def forward(self, x):
            self.calls += self.training
            return super().forward(x) * (math.nan if self.calls > 30 else 1)

    model = Brittle()
    with pytest.raises(train.DivergedError, match="at step 31 of 80 the loss is nan"):
        fit(model, replace(SMALL, epochs=10))
    assert all(weights.isfinite().all() for weights in model.parameters())
    assert not torch.equal(model[2].weight, Brittle()[2].weight)


def test_an_infinite_weight_before_training_is_named() -> None:
    model = SMALL.build()
    model.conv1.weight.data[0, 0, 0, 0] = math.inf
    with pytest.raises(ValueError, match="not all finite before training"):
        fit(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.full((32,), 10)}, "reach from 10 to 10; expected the digits"),
        ({"labels": torch.full((32,), -1)}, "reach from -1"),
        ({"labels": torch.zeros(32)}, "expected training labels as int64"),
        ({"labels": torch.zeros(32, 1).long()}, "expected training labels as int64"),
        ({"labels": torch.zeros(31).long()}, "a label for each image"),
        ({"images": torch.zeros(32, 1, 28, 28)}, "expected training images as uint8"),
        ({"images": torch.zeros(32, 28, 28).byte()}, "expected training images as uint8"),
    ],
)
def test_wrong_data_is_named(change, message) -> None:
    model = SMALL.build()
    before = weights_of(model)
    with pytest.raises(ValueError, match=message):
        train.fit(model, replace(digits(32), **change), None, SMALL, device="cpu")
    assert_same(before, weights_of(model))


def test_empty_data_is_named() -> None:
    with pytest.raises(ValueError, match="training data are empty"):
        train.fit(SMALL.build(), digits(0), None, SMALL, device="cpu")
    with pytest.raises(ValueError, match="validation data are empty"):
        train.fit(SMALL.build(), digits(32), digits(0), SMALL, device="cpu")


def test_a_batch_of_one_with_batch_norm_is_named() -> None:
    with pytest.raises(ValueError, match="batch norm"):
        fit(SMALL.build(), replace(SMALL, batch_size=1))
    with pytest.raises(ValueError, match="batch norm"):
        train.fit(SMALL.build(), digits(1), None, SMALL, device="cpu")
    fit(WithDropout(), replace(SMALL, batch_size=1, epochs=0.1))  # without batch norm it is fine


@pytest.mark.parametrize("outputs", [5, 12])
def test_a_network_without_ten_outputs_is_named_before_anything_has_changed(outputs) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, outputs), nn.BatchNorm1d(outputs))
    before = weights_of(model)
    with pytest.raises(ValueError, match=rf"expected logits of shape \(32, 10\).*{outputs}"):
        fit(model)
    assert_same(before, weights_of(model))


def test_without_validation_a_network_needs_no_more_outputs_than_there_are_labels() -> None:
    pool = digits(256)
    parity = data.Digits(pool.images, pool.labels % 2, pool.source)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    history = train.fit(model, parity, None, SMALL, progress=False, device="cpu")
    assert history.losses[-1] < history.losses[0]
    with pytest.raises(ValueError, match="must have ten outputs"):
        train.fit(model, pool, None, SMALL, progress=False, device="cpu")


def test_after_an_error_the_model_is_in_eval_mode_and_the_step_is_one_of_the_training() -> None:
    class Loud(WithDropout):
        def forward(self, x):
            return 1000 * super().forward(x)

    model = Loud()
    recipe = replace(SMALL, optimizer="sgd", learning_rate=1e38, epochs=1 / 8, augmentation=None)
    with pytest.raises(train.DivergedError, match="at step 1 of 1 a weight"):
        fit(model, recipe)
    assert not model.training


def test_a_training_that_is_ended_after_its_last_step_was_not_stopped() -> None:
    assert not fit(WithDropout(), after_epoch=lambda _, history: len(history.rows) == 3).stopped


def test_a_seed_may_be_the_time_in_nanoseconds() -> None:
    one, two = WithDropout(), WithDropout()
    two.load_state_dict(one.state_dict())
    for model in (one, two):
        fit(model, seed=1_763_767_000_000_000_000)
    assert_same(weights_of(one), weights_of(two))


def test_evaluating_leaves_the_weights_of_a_training_where_they_are() -> None:
    """Also where only one channel comes in, so that both layouts are contiguous."""
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5408, 10))
    places = []

    def note(*_):
        if model.training:
            places.append(model[0].weight.data_ptr())

    model.register_forward_hook(note)
    fit(model)
    assert len(places) == 24
    assert len(set(places)) == 1


def test_less_data_than_a_batch_is_one_batch() -> None:
    history = train.fit(SMALL.build(), digits(10), None, SMALL, device="cpu", progress=False)
    assert len(history.losses) == 3
    assert math.isnan(history.rows[-1].validation_accuracy)


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'slow'; .*sprint, fast, standard"):
        recipes.get_recipe("slow")


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "step"},
        {"optimizer": "muon"},
        {"epochs": 0},
        {"epochs": math.nan},
        {"learning_rate": -1},
        {"batch_size": 0},
        {"label_smoothing": 1.5},
    ],
)
def test_a_recipe_that_cannot_work_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"unknown|must be positive|must be 0 to 1"):
        train.Recipe(**wrong)


def test_a_recipe_of_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="no network 'resnet'"):
        train.Recipe(network="resnet").build()


# --- devices ----------------------------------------------------------------------------------


def test_a_device_that_is_not_there_is_named(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert devices.choose_device("auto") == devices.choose_device(None) == torch.device("cpu")
    for name in ("cuda", "cuda:1", "mps"):
        with pytest.raises(ValueError, match=f"no device '{name}'.*'cpu'"):
            devices.choose_device(name)
    for name in ("gpu", "tpu", "meta", ""):
        with pytest.raises(ValueError, match="choose one of auto, cpu, cuda, mps"):
            devices.choose_device(name)


@pytest.mark.parametrize("fast", [True, False])
def test_training_is_in_float32_on_any_cpu_unless_mixed_precision_is_asked_for(
    fast, monkeypatch
) -> None:
    plain, auto = SMALL.build(), SMALL.build()
    fit(plain)
    monkeypatch.setattr("mnist_course.train.has_fast_bfloat16", lambda device: fast)
    again = SMALL.build()
    fit(again)
    assert_same(weights_of(plain), weights_of(again))
    fit(auto, mixed_precision="auto")
    assert same(weights_of(plain), weights_of(auto)) is not fast


def test_mixed_precision_on_a_slow_machine_is_done_with_a_warning(monkeypatch) -> None:
    monkeypatch.setattr("mnist_course.train.has_fast_bfloat16", lambda device: False)
    plain, wished = SMALL.build(), SMALL.build()
    fit(plain)
    with pytest.warns(UserWarning, match="no fast bfloat16"):
        fit(wished, mixed_precision=True)
    assert not same(weights_of(plain), weights_of(wished))


def test_mixed_precision_trains_float32_weights(monkeypatch) -> None:
    monkeypatch.setattr("mnist_course.train.has_fast_bfloat16", lambda device: True)
    recipe = replace(SMALL, augmentation=None, epochs=8)
    model = recipe.build()
    history = fit(model, recipe, mixed_precision=True)
    assert {weights.dtype for weights in model.parameters()} == {torch.float32}
    assert history.rows[-1].validation_accuracy > 0.9


def test_a_cuda_graph_falls_back_and_says_so() -> None:
    plain, wished = SMALL.build(), SMALL.build()
    fit(plain)
    with pytest.warns(UserWarning, match="CUDA graphs are for NVIDIA GPUs"):
        fit(wished, cuda_graph=True)
    assert_same(weights_of(plain), weights_of(wished))
    with pytest.raises(ValueError, match="only an NVIDIA GPU records"):
        devices.recorded(lambda images, labels: images, torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_recorded_step_does_what_a_step_does() -> None:
    plain, recorded = SMALL.build(), SMALL.build()
    one = fit(plain, device="cuda", mixed_precision=False)
    two = fit(recorded, device="cuda", mixed_precision=False, cuda_graph=True)
    assert two.losses == pytest.approx(one.losses, abs=1e-2)
    assert two.losses[-1] < two.losses[0]


def test_too_little_memory_says_which_batch_size_to_try() -> None:
    class Hungry(WithDropout):
        def forward(self, x):
            torch.empty(1 << 60)  # more than any machine has
            return super().forward(x)

    with pytest.raises(MemoryError, match=r"a batch of 32 .* try a batch_size of 16"):
        fit(Hungry())


def test_other_errors_of_a_network_stay_what_they_are() -> None:
    class Broken(WithDropout):
        def forward(self, x):
            return super().forward(x[:, :, :5])

    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fit(Broken())


def test_channels_last_moves_no_number_and_reaches_the_pooling() -> None:
    model = SMALL.build()
    images = torch.rand(4, 1, 28, 28)
    before = model.eval()(images)
    seen = []
    model.pool1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with devices.placed(model, torch.device("cpu")):
        assert torch.allclose(model(images), before, atol=1e-5)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert not seen[0].is_contiguous()
    assert model.conv1.weight.stride() == (36, 36, 6, 1)
    assert torch.equal(model(images), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_learns_too_and_the_model_comes_back() -> None:
    recipe = replace(SMALL, augmentation=None, epochs=8)
    model = recipe.build()
    history = fit(model, recipe, device="cuda")
    assert history.device.startswith("cuda")
    assert history.rows[-1].validation_accuracy > 0.9
    assert next(model.parameters()).device.type == "cpu"


# --- the history ------------------------------------------------------------------------------


def test_the_history_is_a_table() -> None:
    history = fit(SMALL.build())
    table = history.table()
    assert list(table.index) == [1, 2, 3]
    assert table.index.name == "epoch"
    assert list(table["validation_accuracy"]) == [r.validation_accuracy for r in history.rows]
    assert len(repr(history).splitlines()) == 2 + 3
    assert "made-up digits" in repr(history)
    assert "<table" in history._repr_html_()
    first, second = history.rows[:2]
    assert first.training_loss == pytest.approx(sum(history.losses[:8]) / 8)
    assert second.training_loss == pytest.approx(sum(history.losses[8:16]) / 8)
    assert first.seconds < second.seconds


def test_a_first_training_loads_no_more_than_it_needs() -> None:
    code = """if True:
        import sys, torch
        from mnist_course import data, train
        digits = data.Digits(torch.zeros(8, 1, 28, 28, dtype=torch.uint8), torch.arange(8), "none")
        for optimizer in ("adam", "adamw", "sgd"):
            recipe = train.Recipe(epochs=1, batch_size=4, optimizer=optimizer)
            train.fit(recipe.build(), digits, None, recipe, device="cpu", progress=False)
        heavy = "pandas", "tqdm.auto", "matplotlib", "sklearn", "torch._dynamo", "sympy"
        print([name for name in heavy if name in sys.modules])"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("adam", partial(torch.optim.Adam, betas=(0.8, 0.9), fused=True)),
        ("adamw", partial(torch.optim.AdamW, betas=(0.8, 0.9), weight_decay=0.1, fused=True)),
        ("sgd", partial(torch.optim.SGD, momentum=0.8, weight_decay=0.1, nesterov=True)),
    ],
)
def test_the_optimisers_are_those_of_pytorch(name, build) -> None:
    recipe = train.Recipe(
        optimizer=name, betas=(0.8, 0.9), weight_decay=0.0 if name == "adam" else 0.1
    )
    ours, theirs = nn.Linear(4, 3, bias=False), nn.Linear(4, 3, bias=False)
    theirs.load_state_dict(ours.state_dict())
    for network, optimizer in (
        (ours, recipe.optimizer_for(ours)),
        (theirs, build(theirs.parameters(), recipe.learning_rate)),
    ):
        for step in range(5):
            optimizer.zero_grad()
            (network(torch.full((2, 4), step - 1.5)) ** 3).sum().backward()
            optimizer.step()
    assert torch.equal(ours.weight, theirs.weight)


@pytest.mark.parametrize("name", train.RECIPES)
def test_every_recipe_trains_the_network_that_it_names(name) -> None:
    recipe = replace(train.RECIPES[name], epochs=3, batch_size=50)
    model = recipe.build(seed=1)
    history = train.fit(model, digits(100), None, recipe, device="cpu", progress=False)
    assert len(history.losses) == 6
    assert history.losses[-1] < history.losses[0]
    expected = {"network": recipe.network, "channels": ",".join(map(str, recipe.channels))}
    assert train.name_of(model, recipe) == expected


# --- on the real digits -----------------------------------------------------------------------


@pytest.mark.mnist
@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("sprint", 0.987), ("fast", 0.99)])
def test_the_quick_recipes_read_99_percent(name, least) -> None:
    recipe = train.RECIPES[name]  # a single seed may lie a little below the mean
    training, _ = data.load("train").split()
    model = recipe.build(seed=0)
    train.fit(model, training, None, recipe, progress=False)
    assert evaluate(model, data.load("test")).accuracy >= least


@pytest.mark.parametrize(("threads", "warnings_wanted"), [(2, 1), (1, 0)])
def test_steps_that_become_much_slower_are_named_once(
    threads, warnings_wanted, monkeypatch
) -> None:
    steps, clock = itertools.count(), itertools.count()

    def counted(images, generator):
        next(steps)
        return images

    def seconds() -> float:
        """A clock by which every step after the fortieth takes twenty times as long."""
        return next(clock) * (1 if next(copy.copy(steps)) < 40 else 20)

    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=seconds))
    recipe = replace(SMALL, augmentation=counted, epochs=12)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(recipe.build(), recipe)
    told = [str(each.message) for each in caught if "times as long" in str(each.message)]
    assert len(told) == warnings_wanted
    assert all("torch.set_num_threads(1)" in words for words in told)


def test_epochs_of_one_step_may_have_several_threads(monkeypatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    recipe = replace(SMALL, batch_size=20, epochs=3)
    history = train.fit(recipe.build(), digits(20), None, recipe, progress=False)
    assert len(history.rows) == 3
