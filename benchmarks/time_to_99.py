"""How long it takes to read 99 % of the test digits, for this course and for what others do.

    python -m benchmarks.time_to_99                       # all: about half an hour on two cores
    python -m benchmarks.time_to_99 --slow-runs 0         # without the two slow ones: minutes
    python -m benchmarks.time_to_99 --only sprint --runs 3 --slow-runs 0
    python -m benchmarks.time_to_99 --results time_to_99_bfloat16    # another machine, beside it

Each contender is trained with the settings that its authors published, written anew here, all in
one process, in turns, so that a busy minute of the machine hits all of them. The clock runs from
the first batch to the last weight: loading the data is measured apart, testing is not counted.
Contenders of many epochs are tested after each one and stop when they have reached 99 %: that is
more than they may ask for, as it chooses the end by the test set. The recipes of the course, and
train_mnist_fast's, have a fixed length and see the test set once.

Every run is saved when it ends; started again, the script goes on with the runs that are missing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from benchmarks.watch import Watch
from mnist_course import data, devices, measurements, train
from mnist_course.evaluate import evaluate

GOAL = 0.99
NAME = "time_to_99"


# --- The contenders: each yields the network after every part of its training ------------------

Training = Iterator[nn.Module]


class PerSample(Dataset):
    """Digits one at a time, as torchvision's data set gives them: a PIL image, then transforms."""

    def __init__(self, digits: data.Digits) -> None:
        self.images, self.labels = digits.images[:, 0], digits.labels
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((data.MEAN,), (data.STD,))]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self.images[index].numpy())
        return self.transform(image), int(self.labels[index])


def tutorial_e() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def examples_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.25), nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(128, 10),
    )  # fmt: skip


def mnist_fast_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 24, 5), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(24, 32, 3), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(800, 256), nn.ReLU(), nn.Linear(256, 10),
    )  # fmt: skip


def train_tutorial_e(digits: PerSample, seed: int) -> Training:
    """SGD 0.01 with momentum 0.9, batches of 64 from a shuffling DataLoader, 10 epochs."""
    network = tutorial_e()
    loader = DataLoader(digits, batch_size=64, shuffle=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for _ in range(10):
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
        yield network


def train_examples(digits: PerSample, seed: int) -> Training:
    """pytorch/examples: Adadelta 1.0, times 0.7 an epoch, batches of 64, dropout, 14 epochs.

    Without a GPU its DataLoader does not shuffle.
    """
    network = examples_network()
    loader = DataLoader(digits, batch_size=64)
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    for _ in range(14):
        network.train()
        for images, labels in loader:
            optimizer.zero_grad()
            F.nll_loss(network(images).log_softmax(1), labels).backward()
            optimizer.step()
        schedule.step()
        yield network


def train_mnist_fast(digits: tuple[torch.Tensor, torch.Tensor], seed: int) -> Training:
    """train_mnist_fast's last notebook: one epoch, batches of 256, Adam 0.01, one cycle."""
    network = mnist_fast_network()
    images, labels = digits
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.7, 0.9))
    steps = -(-len(labels) // 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.01, total_steps=steps, cycle_momentum=False
    )
    for x, y in zip(images.split(256), labels.split(256), strict=True):
        optimizer.zero_grad()
        F.nll_loss(network(x).log_softmax(1), y).backward()
        optimizer.step()
        schedule.step()
    yield network


def shuffled(digits: data.Digits) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalised tensors that train_mnist_fast keeps, in an order drawn once."""
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    images = (data.to_float(digits.images) - data.MEAN) / data.STD
    return images[order], digits.labels[order]


def course(recipe: train.Recipe) -> Callable[[data.Digits, int], Training]:
    def run(digits: data.Digits, seed: int) -> Training:
        network = recipe.build(seed)
        train.fit(
            network,
            digits,
            None,
            recipe,
            device="cpu",
            seed=seed,
            progress=False,
            mixed_precision="auto",
        )
        yield network

    return run


@dataclass(frozen=True)
class Contender:
    """What is measured: how its data are prepared, how it trains, and its settings in a line."""

    prepare: Callable[[data.Digits], Any]
    train: Callable[[Any, int], Training]
    settings: str
    slow: bool = False


def of_the_course(name: str) -> Contender:
    recipe = train.RECIPES[name]
    return Contender(lambda digits: digits, course(recipe), str(recipe))


CONTENDERS = {
    "sprint": of_the_course("sprint"),
    "fast": of_the_course("fast"),
    "train_mnist_fast": Contender(shuffled, train_mnist_fast, str(train_mnist_fast.__doc__)),
    "tutorial E": Contender(PerSample, train_tutorial_e, str(train_tutorial_e.__doc__), slow=True),
    "pytorch/examples": Contender(
        PerSample, train_examples, str(train_examples.__doc__), slow=True
    ),
}


class Normalizing(nn.Module):
    """A network that wants normalised pixels, for digits in [0, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of pixels in [0, 1]."""
        return self.network((x - data.MEAN) / data.STD)


def measure(name: str, digits: data.Digits, test: data.Digits, seed: int, epochs: int) -> dict:
    """One training: seconds and test accuracy after each part, up to the goal or ``epochs``."""
    contender = CONTENDERS[name]
    own = name in train.RECIPES
    prepared = contender.prepare(digits)
    torch.manual_seed(seed)
    parts, watch = [], Watch()
    for network in contender.train(prepared, seed):
        watch.pause()
        tested = evaluate(network if own else Normalizing(network), test, "cpu")
        part = {"wall": watch.wall, "cpu": watch.cpu, "accuracy": tested.accuracy}
        parts.append({key: round(value, 4) for key, value in part.items()})
        if tested.accuracy >= GOAL or len(parts) == epochs:
            break
        network.train()
        watch.resume()
    return {"seed": seed, **parts[-1], "epochs": parts}


# --- What the hardware could do -----------------------------------------------------------------


def one_step(
    recipe: train.Recipe, change: Callable[[nn.Module], Any] = lambda network: network
) -> Callable[[], None]:
    """Forward and backward pass of one batch, as the recipe makes them; ``change`` may compile."""
    network = change(devices.channels_last(recipe.build().train()))
    images = torch.rand(recipe.batch_size, 1, 28, 28)
    labels = torch.randint(10, (recipe.batch_size,))

    def step() -> None:
        F.cross_entropy(network(images), labels).backward()

    return step


def floor(name: str) -> dict[str, float]:
    """The least seconds for the multiplications of a recipe, at the speed of a matrix product."""
    recipe = train.RECIPES[name]
    with FlopCounterMode(display=False) as counter:
        one_step(recipe)()
    steps = max(1, round(recipe.epochs * (60_000 // recipe.batch_size)))
    a = torch.rand(1536, 1536)
    best = min(_seconds(lambda: a @ a) for _ in range(30))
    peak = 2 * len(a) ** 3 / best
    operations = counter.get_total_flops() * steps
    return {
        "images": steps * recipe.batch_size,
        "multiply_adds_per_image": counter.get_total_flops() / 2 / recipe.batch_size,
        "gflop": round(operations / 1e9, 2),
        "peak_gflops": round(peak / 1e9, 1),
        "seconds": round(operations / peak, 4),
    }


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def breakdown(name: str, digits: data.Digits, steps: int = 60) -> list[dict[str, Any]]:
    """Which operations of a recipe take CPU time, the longest first."""
    recipe = train.RECIPES[name]
    few = replace(recipe, epochs=steps / (len(digits) // recipe.batch_size))

    def run() -> None:
        train.fit(
            recipe.build(),
            digits,
            None,
            few,
            device="cpu",
            progress=False,
            mixed_precision="auto",
        )

    run()  # warm up
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    events = [e for e in profiler.key_averages() if e.self_cpu_time_total > 0]
    total = sum(event.self_cpu_time_total for event in events)
    events.sort(key=lambda event: -event.self_cpu_time_total)
    return [
        {"operation": event.key, "share": round(event.self_cpu_time_total / total, 4)}
        for event in events[:15]
    ]


def compiled(name: str, steps: int = 50) -> dict[str, float]:
    """What ``torch.compile`` takes before the first step, and what each later step gains by it."""
    recipe = train.RECIPES[name]
    plain = one_step(recipe)
    torch.compiler.reset()
    torch.compiler.config.force_disable_caches = True  # a second measurement would find the first
    quick = one_step(recipe, torch.compile)
    before = _seconds(quick)
    plain()
    times = [(_seconds(plain), _seconds(quick)) for _ in range(steps)]  # in turns
    each = [statistics.median(column) for column in zip(*times, strict=True)]
    return {"seconds_before": round(before, 1), "speedup": round(each[0] / each[1], 3)}


def cold_run() -> dict[str, float]:
    """The first run of a new process: from the import of PyTorch's parts to the last weight."""
    code = (
        "import time; import torch; start = time.perf_counter()\n"
        "from mnist_course import data, train\n"
        "digits, loaded = data.load('train'), time.perf_counter()\n"
        "recipe = train.RECIPES['sprint']; network = recipe.build()\n"
        "train.fit(network, digits, None, recipe, device='cpu', progress=False, "
        "mixed_precision='auto')\n"
        "print(loaded - start, time.perf_counter() - loaded)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if answer.returncode:
        sys.exit(answer.stderr)
    loading, training = map(float, answer.stdout.split())
    return {"loading": round(loading, 3), "wall": round(training, 3)}


# --- All together -------------------------------------------------------------------------------


def summary(runs: list[dict]) -> dict[str, Any]:
    """What a table says of the runs of one contender."""
    accuracies = [run["accuracy"] for run in runs]
    return {
        "runs": len(runs),
        "reached": sum(accuracy >= GOAL for accuracy in accuracies),
        "wall": round(statistics.median(run["wall"] for run in runs), 3),
        "cpu": round(statistics.median(run["cpu"] for run in runs), 3),
        "mean_accuracy": round(statistics.mean(accuracies), 6),
        "worst_accuracy": min(accuracies),
        "share_from_98.9": round(sum(a >= 0.989 for a in accuracies) / len(runs), 4),
    }


def earlier(results: str) -> dict[str, Any]:
    """What an earlier call measured on this machine, with the settings of today."""
    empty: dict[str, Any] = {"runs": {}, "settings": {}}
    try:
        found = measurements.load(results)
    except FileNotFoundError:
        return empty
    here = measurements.describe_machine()
    if any(found["machine"][key] != here[key] for key in ("processor", "threads", "torch")):
        return empty
    for name in list(found["runs"]):
        if name not in CONTENDERS or found["settings"].get(name) != CONTENDERS[name].settings:
            del found["runs"][name]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="seeds of the recipes of the course")
    parser.add_argument("--peer-runs", type=int, default=10, help="seeds of train_mnist_fast")
    parser.add_argument("--slow-runs", type=int, default=2, help="seeds of the slow contenders")
    parser.add_argument("--slow-epochs", type=int, default=14, help="epochs of these at most")
    parser.add_argument("--cold-runs", type=int, default=3, help="first runs of a new process")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--results", default=NAME, help="the name of the file with the results")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    wanted = {
        name: options.slow_runs
        if CONTENDERS[name].slow
        else options.peer_runs
        if name not in train.RECIPES
        else options.runs
        for name in options.only
    }

    numbers = {"runs": {}, "settings": {}} if options.fresh else earlier(options.results)
    digits, test = data.load("train"), data.load("test")
    if digits.source != "MNIST":
        sys.exit("this needs the real MNIST: set MNIST_COURSE_DATA to a folder that has it")
    numbers["loading"] = {"bytes": round(min(_seconds(data.load) for _ in range(5)), 4)} | {
        name: round(min(_seconds(partial(c.prepare, digits)) for _ in range(3)), 4)
        for name, c in CONTENDERS.items()
    }
    for name in options.only:  # warm up: each operation chooses its algorithm at its first call
        if not CONTENDERS[name].slow:
            measure(name, digits[:2048], test[:500], 0, 1)

    numbers["runs"] = {name: numbers["runs"].get(name, []) for name in CONTENDERS}
    for seed in range(max(wanted.values())):
        for name, count in wanted.items():
            done = numbers["runs"][name]
            if seed >= count or any(run["seed"] == seed for run in done):
                continue
            run = measure(name, digits, test, seed, options.slow_epochs)
            done.append(run)
            numbers["settings"][name] = CONTENDERS[name].settings
            numbers["summary"] = {n: summary(r) for n, r in numbers["runs"].items() if r}
            measurements.save(options.results, numbers)
            line = {key: run[key] for key in ("seed", "wall", "cpu", "accuracy")}
            print(f"{name:18}", json.dumps(line), flush=True)

    numbers["floor"] = {name: floor(name) for name in ("sprint", "fast")}
    numbers["profile"] = breakdown("sprint", digits)
    numbers["compiled"] = {name: compiled(name) for name in ("sprint", "fast")}
    numbers["cold"] = [cold_run() for _ in range(options.cold_runs)]
    measurements.save(options.results, numbers)
    for name, row in numbers.get("summary", {}).items():
        print(f"{name:18}", json.dumps(row))
    print("floor", json.dumps(numbers["floor"]), "cold", json.dumps(numbers["cold"]))


if __name__ == "__main__":
    main()
