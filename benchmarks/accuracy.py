"""How well a single small network can read digits, given minutes, and how well a few of them do.

    OMP_NUM_THREADS=1 python -m benchmarks.accuracy choose   # some seven minutes each, on one core
    OMP_NUM_THREADS=1 python -m benchmarks.accuracy test     # five seeds: an hour on one core,
                                                             # half of it with --jobs 2 on two

``choose`` trains the network of the recipe ``accurate`` with several augmentations and settings on
50,000 training digits and counts its errors on the other 10,000: by these numbers the recipe was
chosen. ``test`` trains with each recipe of the course on all 60,000 from several seeds, and reads
the test digits once for each network when it is done, and once for all networks of a recipe
together: the mean of their probabilities is the answer of the ensemble. Both save after each run,
and go on where they were; the weights lie in ``build/accuracy``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from benchmarks.watch import Watch
from mnist_course import augment, checkpoints, data, evaluate, results, train

NAME = "accuracy"
WEIGHTS = Path(__file__).parents[1] / "build" / NAME
HELD_OUT = 10_000

AFFINE = replace(train.RECIPES["accurate"], epochs=10)
CANDIDATES: dict[str, train.Recipe] = {
    "affine": AFFINE,
    "elastic, by 1 pixel": replace(AFFINE, augmentation=augment.Elastic(10, 0.1, 0.1, 1.5, bend=1)),
    "elastic, by half a pixel": replace(
        AFFINE, augmentation=augment.Elastic(10, 0.1, 0.1, 1.5, bend=0.5)
    ),
    "affine, a little less": replace(AFFINE, augmentation=augment.Affine(8, 0.08, 0.08, 1)),
    "affine, rate 0.01 and slower means": replace(AFFINE, learning_rate=0.01, betas=(0.9, 0.99)),
}
"""What was tried, each in the same number of steps."""


def fitted(
    recipe: train.Recipe, digits: data.Digits, seed: int
) -> tuple[torch.nn.Module, dict[str, float]]:
    """A network trained with ``recipe``, and the seconds that the training took."""
    network = recipe.build(seed)
    watch = Watch()
    train.fit(network, digits, None, recipe, device="cpu", seed=seed, progress=False)
    watch.pause()
    return network, {"wall": round(watch.wall, 1), "cpu": round(watch.cpu, 1)}


def choose(found: dict[str, Any], only: list[str]) -> None:
    """Errors of each candidate on digits held out of the training set."""
    training, held_out = data.load("train").split(HELD_OUT)
    rows = found.setdefault("choice", {"digits": HELD_OUT, "runs": []})["runs"]
    for name in only or CANDIDATES:
        if any(row["case"] == name for row in rows):
            continue
        network, seconds = fitted(CANDIDATES[name], training, 0)
        result = evaluate.evaluate(network, held_out, "cpu")
        rows.append({"case": name, "seed": 0, "errors": len(result.errors), **seconds})
        results.save(NAME, found)
        print(rows[-1], flush=True)


def weights_of(name: str, seed: int) -> Path:
    """Where the network of a recipe and seed lies."""
    return WEIGHTS / f"{name}-{seed}.safetensors"


def train_and_test(name: str, seed: int) -> dict[str, Any]:
    """Train with a recipe on all training digits, keep the weights, and read the test digits."""
    recipe = train.RECIPES[name]
    network, seconds = fitted(recipe, data.load("train"), seed)
    checkpoints.save_weights(network, weights_of(name, seed), **train.name_of(network, recipe))
    accuracy = evaluate.evaluate(network, data.load("test"), "cpu").accuracy
    return {"seed": seed, "accuracy": accuracy, **seconds}


def test(found: dict[str, Any], name: str, seeds: int, jobs: int) -> None:
    """Errors of a recipe on the test digits: each network alone, and all together."""
    case = found.setdefault("test", {}).setdefault(name, {})
    if case.get("settings") != str(train.RECIPES[name]):
        case.clear()
        case.update(settings=str(train.RECIPES[name]), runs=[])
    missing = set(range(seeds)) - {run["seed"] for run in case["runs"]}
    processes = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=processes) as pool:
        for done in as_completed([pool.submit(train_and_test, name, s) for s in sorted(missing)]):
            case["runs"].append(done.result())
            case["runs"].sort(key=itemgetter("seed"))
            results.save(NAME, found)
            print(name, done.result(), flush=True)
    files = [weights_of(name, seed) for seed in range(seeds)]
    if all(file.exists() for file in files):
        tested = data.load("test")
        networks = [checkpoints.load_network(file) for file in files]
        answers = [evaluate.evaluate(n, tested, "cpu").probabilities for n in networks]
        together = torch.stack(answers).mean(0).argmax(1)
        case["ensemble"] = (together == tested.labels).double().mean().item()
        results.save(NAME, found)
        print(name, "together", case["ensemble"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["choose", "test"])
    parser.add_argument("--only", nargs="+", default=[], help="these candidates or recipes")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each recipe")
    parser.add_argument("--jobs", type=int, default=1, help="networks trained at a time")
    options = parser.parse_args()
    if data.load("test").source != "MNIST":
        sys.exit("this needs the real MNIST: set MNIST_COURSE_DATA to a folder that has it")
    try:
        found = results.load(NAME)
    except FileNotFoundError:
        found = {}
    if options.part == "choose":
        choose(found, options.only)
    else:
        for name in options.only or train.RECIPES:
            test(found, name, options.seeds, options.jobs)


if __name__ == "__main__":
    main()
