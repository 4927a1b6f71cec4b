"""Train the networks of five published tutorials side by side, for chapter 16.

    OMP_NUM_THREADS=1 python -m benchmarks.tutorials            # every run that is not there yet
    OMP_NUM_THREADS=1 python -m benchmarks.tutorials --fresh    # forgets those that are
    OMP_NUM_THREADS=1 python -m benchmarks.tutorials --seeds 1  # of each case the first seed only

Four studies, each with the networks as repaired, on 55,000 training digits of MNIST:

- ``taught``: ten epochs as the tutorial trains, batches of 64, a constant rate, no augmentation.
- ``course``: one epoch of the recipe ``fast`` of the course.
- ``parts``: the network and training of tutorial E with one thing changed, on 10,000 digits for two
  epochs: kernel size, depth, pooling, dropout, a missing ReLU, the optimiser and its rate.
- ``softmax``: network B with and without the softmax that it published, ten epochs.

Each run notes the validation accuracy (5,000 digits) and the loss after every epoch, CPU and
wall-clock seconds of the training alone, parameters, and multiply-adds for one digit. The runs of
``taught``, ``course`` and ``softmax`` read the test set once, when they have ended; ``parts`` never
does, because its numbers invite a choice. Results are saved after each run, and an interrupted
script resumes where it was. On one core a seed takes about 40 minutes for ``taught`` and 6 for
``course`` and ``parts`` together, and there are three.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.watch import Watch
from mnist_course import data, evaluate, measurements, models, train

NAME = "tutorials"
FEW = 10_000
Builder = Callable[[], nn.Module]


@dataclass(frozen=True)
class Plain(train.Recipe):
    """Training as the tutorials write it: no schedule, and the optimiser of ``rule`` as it comes.

    Attributes:
        rule: ``"sgd"`` (with classical momentum ``betas[0]``, not Nesterov's), ``"rmsprop"`` or
            ``"adam"``, each with PyTorch's own settings except the rate.
    """

    rule: str = "sgd"
    epochs: float = 10
    batch_size: int = 64
    learning_rate: float = 0.01
    betas: tuple[float, float] = (0.0, 0.999)
    schedule: str = "constant"
    warmup: float = 0.0

    def optimizer_for(self, model: nn.Module, capturable: bool = False) -> torch.optim.Optimizer:
        """The optimiser for all parameters of ``model``; always an uncaptured, plain one."""
        if self.rule == "sgd":
            return torch.optim.SGD(model.parameters(), self.learning_rate, momentum=self.betas[0])
        rules = {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam}
        return rules[self.rule](model.parameters(), self.learning_rate)


MOMENTUM = {"a": 0.5, "b": 0.0, "c": 0.9, "d": 0.0, "e": 0.9}
"""What each tutorial asks for; all with rate 0.01 except B, which only names SGD."""

RATES = {
    "sgd": (0.01, 0.03, 0.1),
    "momentum": (0.003, 0.03),  # 0.01 is "as E"
    "rmsprop": (0.0003, 0.001, 0.003),
    "adam": (0.0003, 0.001, 0.003),
}


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
    "7 × 7 kernels": {"kernel_size": 7},
    "one block": {"channels": (32,)},
    "three blocks": {"channels": (32, 64, 128)},
    "average pooling": {"down": "average"},
    "stride 2, no pooling": {"down": "stride"},
    "dropout": {"dropout": True},
    "no ReLU between linear layers": {"relu": False},
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
    """One training: which study and case, from which seed, and how."""

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
        return {"study": self.study, "case": self.case, "seed": self.seed}


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
    short = replace(taught("e"), epochs=2)
    for case, changes in PARTS.items():
        yield Run("parts", case, seed, lambda c=changes: network(**c), short, FEW, test=False)
    for rule, rates in RATES.items():
        for rate in rates:
            recipe = replace(
                short,
                rule=rule.replace("momentum", "sgd"),
                betas=(0.9 if rule == "momentum" else 0.0, 0.999),
                learning_rate=rate,
            )
            yield Run("parts", f"{rule}, rate {rate:g}", seed, network, recipe, FEW, test=False)


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
    digits = training if run.digits is None else training[: run.digits]
    model = build(run)
    curve: list[dict[str, float]] = []

    def look(model: nn.Module, history: train.History) -> None:
        watch.pause()
        result = evaluate.evaluate(model, validation, "cpu")
        curve.append(
            {
                "epoch": history.rows[-1].epoch,
                "training_loss": round(history.rows[-1].training_loss, 5),
                "validation_loss": round(result.loss, 5),
                "validation": result.accuracy,
            }
        )
        print(f"    epoch {len(curve)}: {result.accuracy:.2%}", flush=True)
        watch.resume()

    watch = Watch()
    train.fit(
        model, digits, None, run.recipe, device="cpu", seed=run.seed, progress=False,
        after_epoch=look,
    )  # fmt: skip
    watch.pause()
    numbers = {
        **run.name,
        **bill(model),
        "digits": len(digits),
        "epochs": run.recipe.epochs,
        "processor_seconds": round(watch.cpu, 1),
        "seconds": round(watch.wall, 1),
        "curve": curve,
        "validation": curve[-1]["validation"],
    }
    if run.test:
        test = data.load("test")
        numbers["test"] = evaluate.evaluate(model, test, "cpu").accuracy
        if run.study == "taught" and run.case in "AC":
            numbers["test_without_eval"] = accuracy_in_training_mode(model, test, run.seed)
    return numbers


def summary(done: list[dict[str, Any]]) -> str:
    """Mean validation accuracy of each case, to print."""
    cases: dict[tuple[str, str], list[float]] = {}
    for numbers in done:
        cases.setdefault((numbers["study"], numbers["case"]), []).append(numbers["validation"])
    return "\n".join(
        f"{study:8} {case:32} {statistics.mean(values):.2%} ({len(values)} seeds)"
        for (study, case), values in cases.items()
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
        print(
            f"{run.study:8} {run.case:32} seed {run.seed}: validation {numbers['validation']:.2%}, "
            f"{numbers['processor_seconds']:.0f} s of CPU, {numbers['seconds']:.0f} s",
            flush=True,
        )
    print(summary(done))


if __name__ == "__main__":
    main()
