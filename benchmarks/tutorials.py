"""Train the networks of five published tutorials side by side, for chapter 20.

    OMP_NUM_THREADS=1 python -m benchmarks.tutorials            # every run that is not there yet
    OMP_NUM_THREADS=1 python -m benchmarks.tutorials --fresh    # forgets those that are
    OMP_NUM_THREADS=1 python -m benchmarks.tutorials --seeds 1  # of each case the first seed only

Five studies, each with the networks as repaired:

- ``taught``: ten epochs as the tutorial trains, batches of 64, a constant rate, no augmentation.
- ``course``: one epoch of the recipe ``fast`` of the course.
- ``softmax``: network B with the softmax that it published, ten epochs.
- ``own``: network E with one thing changed, on 10,000 digits for two epochs, at each of three
  rates: kernel size, depth, pooling, dropout, a missing ReLU, a softmax at the end.
- ``few``: the same with 1,000 digits, other ones for each seed, for twenty epochs, to see what
  pooling does against overfitting, at two of the rates.

The first three learn from 55,000 digits and read the test set once, when they have ended; the
others never do, because their numbers invite a choice. Each run notes the validation accuracy
(5,000 digits), CPU seconds of the training alone, parameters, and multiply-adds for one digit; a
training that diverges has no accuracy. Results are saved after each run, and an interrupted script
resumes where it was. On one core a seed takes about 40 minutes for ``taught``, 4 for ``course`` and
6 for ``own`` and ``few``. The runs of 2026-11-21 were made in bfloat16 where the CPU is fast at it,
the others in float32.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.watch import Watch
from mnist_course import data, evaluate, measurements, models, train

NAME = "tutorials"
SOME, FEW = 10_000, 1000
Builder = Callable[[], nn.Module]


@dataclass(frozen=True)
class Plain(train.Recipe):
    """Training as the tutorials write it: SGD with classical momentum ``betas[0]``, no schedule."""

    epochs: float = 10
    batch_size: int = 64
    learning_rate: float = 0.01
    betas: tuple[float, float] = (0.0, 0.999)
    schedule: str = "constant"
    warmup: float = 0.0

    def optimizer_for(self, model: nn.Module, capturable: bool = False) -> torch.optim.Optimizer:
        """The optimiser for all parameters of ``model``."""
        return torch.optim.SGD(model.parameters(), self.learning_rate, momentum=self.betas[0])


MOMENTUM = {"a": 0.5, "b": 0.0, "c": 0.9, "d": 0.0, "e": 0.9}
"""What each tutorial asks for; all with rate 0.01 except B, which only names SGD."""

RATES = (0.01, 0.03, 0.1)
FEW_RATES = RATES[:2]


def taught(letter: str) -> Plain:
    """The training of a tutorial."""
    return Plain(network=f"tutorial_{letter}", betas=(MOMENTUM[letter], 0.999))


def network(
    kernel_size: int = 3,
    channels: tuple[int, ...] = (32, 64),
    down: str = "max",
    halved: int = 9,
    dropout: bool = False,
    relu: bool = True,
    softmax: bool = False,
) -> nn.Sequential:
    """Network E with something changed.

    Args:
        kernel_size: of every convolution, padded so that it keeps the size.
        channels: the feature maps of each block of convolution, ReLU and pooling.
        down: what halves the picture: ``"max"`` or ``"average"`` pooling, or ``"stride"`` 2.
        halved: after how many blocks that is done; the others keep the size.
        dropout: as in network A, a quarter of the maps and half of the 128 hidden numbers.
        relu: whether there is one between the two linear layers.
        softmax: whether one follows the logits, as in network B.
    """
    pools = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
    layers: OrderedDict[str, nn.Module] = OrderedDict(normalize=models.Normalize())
    in_channels, size = 1, 28
    for number, out_channels in enumerate(channels, start=1):
        factor = 2 if number <= halved else 1
        stride = factor if down == "stride" else 1
        layers[f"conv{number}"] = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2
        )
        layers[f"relu{number}"] = nn.ReLU()
        if down in pools and factor == 2:
            layers[f"pool{number}"] = pools[down](2)
        in_channels, size = out_channels, size // factor
    if dropout:
        layers["dropout1"] = nn.Dropout2d(0.25)
    layers["flatten"] = nn.Flatten()
    layers["linear1"] = nn.Linear(in_channels * size * size, 128)
    if relu:
        layers["relu"] = nn.ReLU()
    if dropout:
        layers["dropout2"] = nn.Dropout(0.5)
    layers["linear2"] = nn.Linear(128, 10)
    if softmax:
        layers["softmax"] = nn.Softmax(dim=1)
    return nn.Sequential(layers)


PARTS: dict[str, dict[str, Any]] = {
    "as E": {},
    "5 × 5 kernels": {"kernel_size": 5},
    "one block": {"channels": (32,)},
    "three blocks": {"channels": (32, 64, 128)},
    "average pooling": {"down": "average"},
    "stride 2, no pooling": {"down": "stride"},
    "dropout": {"dropout": True},
    "no inner ReLU": {"relu": False},
    "softmax at the end": {"softmax": True},
}
FEW_PARTS: dict[str, dict[str, Any]] = {
    "as E": {},
    "second pooling left out": {"halved": 1},
    "stride 2, no pooling": {"down": "stride"},
    "average pooling": {"down": "average"},
}


@dataclass(frozen=True)
class Run:
    """One training: which study and case, from which seed, how, and on how many digits."""

    study: str
    case: str
    seed: int
    build: Builder
    recipe: train.Recipe
    digits: int | None = None
    test: bool = True

    @property
    def name(self) -> dict[str, Any]:
        """What tells it from all others."""
        rate = self.recipe.learning_rate
        return {"study": self.study, "case": self.case, "rate": rate, "seed": self.seed}

    def part_of(self, training: data.Digits) -> data.Digits:
        """The digits that it learns from; those of ``few`` depend on the seed."""
        if self.digits is None:
            return training
        first = self.seed * self.digits if self.study == "few" else 0
        return training[first : first + self.digits]


def runs(seeds: int) -> Iterator[Run]:
    """Every run, those of the first seed first; ``softmax`` has only that one."""
    for seed in range(seeds):
        yield from _short(seed)
        for letter in "edbac":
            recipe = taught(letter)
            yield Run("taught", letter.upper(), seed, _builder(recipe.network), recipe)
        if seed == 0:
            yield Run("softmax", "B with softmax", seed, _with_softmax, taught("b"))


def _short(seed: int) -> Iterator[Run]:
    fast = train.RECIPES["fast"]
    for letters, letter in (("A, C", "a"), ("B", "b"), ("D, E", "e")):
        recipe = replace(fast, network=f"tutorial_{letter}", channels=())
        yield Run("course", letters, seed, _builder(recipe.network), recipe)
    yield Run("course", "course", seed, lambda: models.build(fast.network, fast.channels), fast)
    for rate in RATES:
        recipe = replace(taught("e"), epochs=2, learning_rate=rate)
        for case, changes in PARTS.items():
            yield Run("own", case, seed, partial(network, **changes), recipe, SOME, test=False)
        recipe = replace(recipe, epochs=20)
        for case, changes in FEW_PARTS.items() if rate in FEW_RATES else ():
            yield Run("few", case, seed, partial(network, **changes), recipe, FEW, test=False)


def _builder(name: str) -> Builder:
    return lambda: models.build(name)


def _with_softmax() -> nn.Module:
    return nn.Sequential(models.tutorial_b(), nn.Softmax(dim=1))


def build(run: Run) -> nn.Module:
    """The network of a run, its weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(run.seed)
        return run.build()


def bill(model: nn.Module) -> dict[str, int]:
    """How many parameters a network has, and how many multiply-adds one digit takes."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 1, 28, 28))
    return {
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "multiply_adds": counter.get_total_flops() // 2,
    }


def accuracy_in_training_mode(model: nn.Module, digits: data.Digits, seed: int) -> float:
    """The accuracy without ``model.eval()``: dropout is still active."""
    right = 0
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model.train()
        for images, labels in digits.batches(250):
            right += int((model(data.to_float(images)).argmax(1) == labels).sum())
        model.eval()
    return right / len(digits)


def measure(run: Run, training: data.Digits, validation: data.Digits) -> dict[str, Any]:
    """Train, and note everything about it."""
    digits, model = run.part_of(training), build(run)
    curve: list[dict[str, float]] = []

    def look(model: nn.Module, history: train.History) -> None:
        watch.pause()
        curve.append(_point(model, history, validation))
        watch.resume()

    numbers = {**run.name, **bill(model), "digits": len(digits), "epochs": run.recipe.epochs}
    machine = measurements.describe_machine()
    numbers |= {"precision": "float32"} | {key: machine[key] for key in ("processor", "date")}
    watch = Watch()
    try:
        train.fit(
            model, digits, None, run.recipe, device="cpu", seed=run.seed, progress=False,
            after_epoch=look if run.test else None,
        )  # fmt: skip
    except train.DivergedError:
        return numbers | {"validation": None}
    watch.pause()
    numbers |= {"processor_seconds": round(watch.cpu, 1), "seconds": round(watch.wall, 1)}
    numbers["validation"] = evaluate.evaluate(model, validation, "cpu").accuracy
    return numbers | ({"curve": curve} if curve else {}) | _more(run, model, digits, validation)


def _point(model: nn.Module, history: train.History, validation: data.Digits) -> dict[str, float]:
    result = evaluate.evaluate(model, validation, "cpu")
    return {
        "epoch": history.rows[-1].epoch,
        "training_loss": round(history.rows[-1].training_loss, 5),
        "validation_loss": round(result.loss, 5),
        "validation": result.accuracy,
    }


def _more(
    run: Run, model: nn.Module, digits: data.Digits, validation: data.Digits
) -> dict[str, float]:
    """What only some runs note: test set, training set, and an evaluation without ``eval()``."""
    numbers = {}
    if run.test:
        test = data.load("test")
        numbers["test"] = evaluate.evaluate(model, test, "cpu").accuracy
        if run.study == "taught" and run.case in "AC":
            numbers["test_without_eval"] = accuracy_in_training_mode(model, test, run.seed)
    if run.study == "few":
        numbers["training"] = evaluate.evaluate(model, digits, "cpu").accuracy
    if run.study == "own" and run.case == "dropout":
        asleep = accuracy_in_training_mode(model, validation, run.seed)
        numbers["validation_without_eval"] = asleep
    return numbers


def summary(done: list[dict[str, Any]]) -> str:
    """Mean validation accuracy of each case, to print."""
    cases: dict[tuple[str, str, float], list[float]] = {}
    for numbers in done:
        key = numbers["study"], numbers["case"], numbers["rate"]
        cases.setdefault(key, []).append(numbers["validation"] or math.nan)
    return "\n".join(
        f"{study:8} {case:32} {rate:<6g} {statistics.mean(values):.2%} ({len(values)} seeds)"
        for (study, case, rate), values in cases.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", action="store_true", help="measure everything anew")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each case")
    arguments = parser.parse_args()

    training, validation = data.load("train").split()
    if training.source != "MNIST":
        sys.exit("this needs the real MNIST: set MNIST_COURSE_DATA to a folder that has it")
    path = measurements.FOLDER / f"{NAME}.json"
    done = [] if arguments.fresh or not path.exists() else measurements.load(NAME)["runs"]
    for run in runs(arguments.seeds):
        if any(run.name.items() <= numbers.items() for numbers in done):
            continue
        numbers = measure(run, training, validation)
        done.append(numbers)
        measurements.save(
            NAME,
            {"training_digits": len(training), "validation_digits": len(validation), "runs": done},
        )
        print(run.name, numbers["validation"], flush=True)
    print(summary(done))


if __name__ == "__main__":
    main()
