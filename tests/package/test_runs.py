"""Only the same training is resumed, from a whole state, and its files are what they say."""

from __future__ import annotations

import copy
import json
import math
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_course import checkpoints, train
from tests.made_up import digits

RECIPE = train.Recipe(
    network="fast_network", channels=(4, 4, 4), epochs=3, batch_size=16, learning_rate=0.01
)
DIGITS, HELD_OUT = digits(64), digits(32, seed=1)


def fit(model: nn.Module, folder: Path, **options: Any) -> train.History:
    options = {
        "training": DIGITS,
        "validation": HELD_OUT,
        "recipe": RECIPE,
        "device": "cpu",
        "progress": False,
        "checkpoint_folder": folder,
    } | options
    return train.fit(model, **options)


def begin(model: nn.Module, folder: Path, **options: Any) -> None:
    fit(model, folder, after_epoch=lambda *_: True, **options)


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(model.state_dict())


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


class Between(nn.Module):
    """A network whose layers do not tell what is between them."""

    def __init__(self, between: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Linear(784, 16), nn.Linear(16, 10), between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.between(self.first(x.flatten(1))))


def other_activation() -> nn.Module:
    model = RECIPE.build()
    model.gelu1 = nn.ReLU()
    return model


NOISY = replace(DIGITS, images=DIGITS.images.clone())
NOISY.images[5, 0, 3, 3] ^= 1
RELABELLED = replace(DIGITS, labels=DIGITS.labels.clone())
RELABELLED.labels[5] = (RELABELLED.labels[5] + 1) % 10
OTHERS: dict[str, tuple[dict[str, Any], Callable[[], nn.Module], str]] = {
    "another pixel": ({"training": NOISY}, RECIPE.build, "training digits was"),
    "another label": ({"training": RELABELLED}, RECIPE.build, "training digits was"),
    "other validation": ({"validation": digits(32, seed=7)}, RECIPE.build, "validation digits was"),
    "another rate": (
        {"recipe": replace(RECIPE, learning_rate=0.02)},
        RECIPE.build,
        r"training: learning_rate was 0.01 and is now 0.02; resume",
    ),
    "another seed": ({"seed": 1}, RECIPE.build, r"training: seed was 0 and is now 1; resume"),
    "another activation": ({}, other_activation, "holds another network"),
    "other shapes": ({}, replace(RECIPE, channels=(4, 4, 5)).build, "holds another network"),
    "another precision": ({}, lambda: RECIPE.build().double(), "holds another network"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_training_is_not_resumed(tmp_path, what) -> None:
    options, build, message = OTHERS[what]
    begin(RECIPE.build(), tmp_path)
    model = build()
    before = weights_of(model)
    with pytest.raises(checkpoints.CheckpointError, match=message) as error:
        fit(model, tmp_path, resume=True, **options)
    assert_same(before, weights_of(model))
    assert "optimizer was" not in str(error.value), "only what differs is said"


@pytest.mark.parametrize("other", [F.gelu, torch.tanh, lambda x: F.leaky_relu(x, 0.2)])
@pytest.mark.parametrize("validation", [HELD_OUT, None])
def test_a_network_that_computes_something_else_between_its_layers_is_not_resumed(
    tmp_path, other, validation
) -> None:
    begin(Between(F.relu), tmp_path, validation=validation)
    model = Between(other)
    before = weights_of(model)
    with pytest.raises(checkpoints.CheckpointError, match="holds another network"):
        fit(model, tmp_path, resume=True, validation=validation)
    assert_same(before, weights_of(model))
    fit(Between(F.relu), tmp_path, resume=True, validation=validation)


def test_a_network_that_fails_with_the_weights_of_another_keeps_its_own(tmp_path) -> None:
    begin(Between(F.relu), tmp_path)
    model = Between(lambda x: x.view(7, -1))
    before = weights_of(model)
    with pytest.raises(RuntimeError, match="shape"):
        fit(model, tmp_path, resume=True)
    assert_same(before, weights_of(model))


def test_a_network_that_never_answers_some_digit_is_resumed(tmp_path) -> None:
    never = torch.zeros(10).index_fill(0, torch.tensor([7]), -math.inf)
    without = DIGITS[DIGITS.labels != 7]
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), Adding(never))
    history = fit(model, tmp_path, training=without, validation=None)
    again = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), Adding(never))
    options = {"training": without, "validation": None, "resume": True}
    assert fit(again, tmp_path, **options).losses == history.losses


class Adding(nn.Module):
    def __init__(self, offset: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("offset", offset)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.offset


def test_numbers_of_another_type_are_the_same_training(tmp_path) -> None:
    begin(RECIPE.build(), tmp_path)
    same = replace(RECIPE, epochs=3.0, batch_size=torch.tensor(16), channels=[4, 4, 4])
    assert len(fit(RECIPE.build(), tmp_path, recipe=same, resume=True).losses) == 12


# --- a state that is not whole ----------------------------------------------------------------

State = dict[str, Any]


def change_momenta(change: Callable[[dict[str, Any]], Any]) -> Callable[[State], None]:
    def damage(state: State) -> None:
        change(state["optimizer"]["state"][0])

    return damage


def replaced(**parts: Any) -> Callable[[State], None]:
    return lambda state: state.update(parts)


def row_with(**parts: Any) -> Callable[[State], None]:
    return lambda state: state["rows"][0].update(parts)


DAMAGED: dict[str, Callable[[State], Any]] = {
    "short momentum": change_momenta(lambda m: m.update(exp_avg=torch.zeros(2))),
    "long momentum": change_momenta(lambda m: m.update(exp_avg_sq=torch.zeros(10**4))),
    "double momentum": change_momenta(lambda m: m.update(exp_avg=m["exp_avg"].double())),
    "text for momentum": change_momenta(lambda m: m.update(exp_avg="0")),
    "no momentum": change_momenta(lambda m: m.pop("exp_avg")),
    "more momenta": change_momenta(lambda m: m.update(max_exp_avg=m["exp_avg"])),
    "momentum that is nan": change_momenta(lambda m: m["exp_avg"].fill_(math.nan)),
    "step of another shape": change_momenta(lambda m: m.update(step=torch.zeros(3))),
    "no state": lambda state: state["optimizer"].update(state={}),
    "state of a parameter too many": lambda s: s["optimizer"]["state"].update({99: {}}),
    "a list of states": lambda state: state["optimizer"].update(state=[1]),
    "no optimizer": lambda state: state.pop("optimizer"),
    "no groups": lambda state: state["optimizer"].pop("param_groups"),
    "no model": lambda state: state.pop("model"),
    "a list of weights": replaced(model=[1, 2]),
    "a weight of another shape": lambda s: s["model"].update({"conv1.weight": torch.zeros(2)}),
    "a weight of another dtype": lambda s: s["model"].update(
        {"conv1.weight": s["model"]["conv1.weight"].to(torch.int8)}
    ),
    "a weight too few": lambda state: state["model"].popitem(),
    "no rows": lambda state: state.pop("rows"),
    "empty rows": replaced(rows=[]),
    "rows that are a number": replaced(rows=5),
    "rows of something else": replaced(rows=[{"epoch": 1}]),
    "a row with a text": row_with(validation_accuracy="high"),
    "a row too far": row_with(step=400),
    "a row before the first": row_with(step=-4),
    "no losses": lambda state: state.pop("losses"),
    "losses that are a text": replaced(losses="abcd"),
    "a loss that is nan": lambda state: state["losses"].__setitem__(0, math.nan),
    "a loss too many": lambda state: state["losses"].append(0.5),
    "10,000 losses": replaced(losses=[1.0] * 10_000),
    "an accuracy of 7": row_with(validation_accuracy=7.0),
    "an infinite accuracy": row_with(validation_accuracy=math.inf),
    "seconds beyond floats": row_with(seconds=10**400),
    "momenta of no step": change_momenta(lambda m: m["step"].fill_(0)),
    "momenta of too many steps": change_momenta(lambda m: m["step"].fill_(1e9)),
    "negative squares": change_momenta(lambda m: m["exp_avg_sq"].fill_(-1)),
    "sparse momentum": change_momenta(lambda m: m.update(exp_avg=m["exp_avg"].to_sparse())),
    "momentum on meta": change_momenta(lambda m: m.update(exp_avg=m["exp_avg"].to("meta"))),
    "answers that are a text": replaced(answers="7"),
    "answers that are none": replaced(answers=None),
    "answers that are complex": lambda s: s.update(answers=s["answers"] + 0j),
    "answers that are truth values": lambda s: s.update(answers=s["answers"] > 0),
    "sparse answers": lambda s: s.update(answers=s["answers"].to_sparse()),
    "answers on meta": lambda s: s.update(answers=s["answers"].to("meta")),
    "infinite answers": lambda s: s["answers"].fill_(math.inf),
    "answers that are nan": lambda s: s["answers"].fill_(math.nan),
    "steps that are several": replaced(steps=torch.ones(3)),
    "a run without end": replaced(run="[" * 100_000),
    "no answers": lambda state: state.pop("answers"),
    "answers of another shape": replaced(answers=torch.zeros(3)),
    "no run": lambda state: state.pop("run"),
    "a run that is a text": replaced(run="Recipe(), seed 0"),
    "a run that is a number": replaced(run=7),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_state_is_refused_before_anything_is_changed(tmp_path, what) -> None:
    begin(RECIPE.build(), tmp_path)
    path = tmp_path / "last.pt"
    state = torch.load(path, weights_only=True)
    DAMAGED[what](state)
    torch.save(state, path)
    model = RECIPE.build(seed=3)
    before = weights_of(model)
    with pytest.raises(checkpoints.CheckpointError, match=re.escape(str(path))) as error:
        fit(model, tmp_path, resume=True)
    assert_same(before, weights_of(model))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("state", [[1], torch.zeros(3), 7, "text", {}])
def test_a_file_of_something_else_is_refused(tmp_path, state) -> None:
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(checkpoints.CheckpointError, match=r"last\.pt"):
        fit(RECIPE.build(), tmp_path, resume=True)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5)])
def test_a_state_that_is_whole_is_taken(tmp_path, optimizer, betas) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, betas=betas)
    whole = recipe.build()
    expected = fit(whole, tmp_path / "whole", recipe=recipe).losses
    begin(recipe.build(), tmp_path, recipe=recipe)
    again = recipe.build(seed=9)
    assert fit(again, tmp_path, recipe=recipe, resume=True).losses == expected
    assert_same(weights_of(whole), weights_of(again))


def test_a_weight_that_takes_no_part_has_no_state_and_does_not_matter(tmp_path) -> None:
    class Idle(Between):
        def __init__(self):
            super().__init__(F.relu)
            self.idle = nn.Linear(3, 3)

    whole = Idle()
    start = weights_of(whole)
    expected = fit(whole, tmp_path / "whole").losses
    first = Idle()
    first.load_state_dict(start)
    begin(first, tmp_path)
    assert fit(Idle(), tmp_path, resume=True).losses == expected


def test_momenta_lie_in_memory_as_their_weights_do(tmp_path) -> None:
    """A fused step walks through both in the order of memory, and not of their axes."""
    begin(RECIPE.build(), tmp_path)
    path = tmp_path / "last.pt"
    state = torch.load(path, weights_only=True)
    for momenta in state["optimizer"]["state"].values():
        for name, value in momenta.items():
            momenta[name] = torch.empty(value.shape).copy_(value)
    torch.save(state, path)
    again, whole = RECIPE.build(seed=1), RECIPE.build()
    fit(again, tmp_path, resume=True)
    fit(whole, tmp_path / "whole")
    assert_same(weights_of(whole), weights_of(again))


# --- files ------------------------------------------------------------------------------------


class Interrupted(nn.Sequential):
    """Presses Ctrl-C in a step of its own."""

    def __init__(self, step: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 10))
        self.step, self.calls = step, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        if self.training and self.calls == self.step:
            signal.raise_signal(signal.SIGINT)
        return super().forward(x)


@pytest.mark.parametrize("step", [6, 7, 10])
def test_best_is_never_the_state_of_an_interruption(tmp_path, step, monkeypatch) -> None:
    # The later a row, the better: so the interrupted state is the best of all until then.
    row = train._Watch.row
    monkeypatch.setattr(
        train._Watch,
        "row",
        lambda *a: replace(row(*a), validation_accuracy=row(*a).step / 100),
    )
    whole, model = Interrupted(0), Interrupted(step)
    model.load_state_dict(whole.state_dict())
    kept = []
    fit(model, tmp_path, after_epoch=lambda m, _: kept.append(weights_of(m)) and False)
    best, _ = checkpoints.read_weights(tmp_path / "best.safetensors")
    assert_same(best, kept[step // 4 - 1])
    fit(Interrupted(0), tmp_path, resume=True)
    fit(whole, tmp_path / "whole")
    for name in ("best.safetensors", "last.safetensors"):
        one, other = (checkpoints.read_weights(f / name)[0] for f in (tmp_path, tmp_path / "whole"))
        assert_same(one, other)


def test_the_best_of_a_training_that_was_there_before_goes(tmp_path) -> None:
    fit(Interrupted(0), tmp_path)
    assert (tmp_path / "best.safetensors").exists()
    fit(Interrupted(2), tmp_path)
    assert not (tmp_path / "best.safetensors").exists()


@pytest.mark.parametrize("what", ["a file", "below a file", "without permission"])
def test_a_folder_that_cannot_be_written_is_noticed_before_the_first_step(tmp_path, what) -> None:
    if what == "without permission" and os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "closed").mkdir(mode=0o500)
    folder = {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "run",
        "without permission": tmp_path / "closed",
    }[what]
    model = RECIPE.build()
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(OSError, match="cannot write"):
        fit(model, folder)
    assert not calls


def test_the_settings_in_a_file_can_be_read(tmp_path) -> None:
    begin(RECIPE.build(), tmp_path)
    run = json.loads(torch.load(tmp_path / "last.pt", weights_only=True)["run"])
    assert run["learning_rate"] == 0.01
    assert run["training digits"].startswith("64 of made-up digits (")
