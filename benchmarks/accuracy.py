"""How well a small network reads digits after minutes of training, alone and in an ensemble.

    OMP_NUM_THREADS=1 python -m benchmarks.accuracy choose --jobs 2   # half an hour on two cores
    OMP_NUM_THREADS=1 python -m benchmarks.accuracy ladder --jobs 2   # half an hour
    … choose --jobs 2 --seeds 2 --only "as it was chosen" "Adam, no weight decay"   # 10 minutes
    OMP_NUM_THREADS=1 python -m benchmarks.accuracy test --jobs 2     # five seeds: 45 minutes
    … test --jobs 2 --only accurate --seeds 10                        # more seeds of one recipe

``choose`` trains the network of the recipe ``accurate`` with several augmentations and settings on
50,000 training digits and tries each on the other 10,000; the recipe was chosen by this. ``test``
trains with each recipe of the course on all 60,000 from several seeds, and reads the test digits
once for each network when it is done, and once for each five networks of a recipe together: the
mean of their probabilities is the answer of the ensemble. ``ladder`` asks how much a few weights
can do: on each rung, of some 2,000 to 60,000 weights, two networks of that size are tried on
held-out digits, and the better one is trained on all and reads the test digits once a seed;
``accurate`` is the top. All three save after each run, and resume where they ended; the weights
are in ``build/accuracy``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.watch import Watch
from mnist_course import checkpoints, data, evaluate, measurements, train
from mnist_course.augment import Affine, Cutout, Elastic, Sequence, Stroke

NAME = "accuracy"
WEIGHTS = Path(__file__).parents[1] / "build" / NAME
HELD_OUT = 10_000
MEMBERS = 5  # networks that answer together

SHORTER = replace(train.RECIPES["accurate"], epochs=10)
ADAM = replace(
    train.RECIPES["fast"],
    network=SHORTER.network,
    channels=SHORTER.channels,
    epochs=SHORTER.epochs,
    augmentation=SHORTER.augmentation,
)
AFFINE = SHORTER.augmentation
assert isinstance(AFFINE, Affine)
CANDIDATES: dict[str, train.Recipe] = {
    "as it was chosen": SHORTER,
    "Adam, no weight decay": ADAM,
    "half the rate": replace(SHORTER, learning_rate=SHORTER.learning_rate / 2),
    "half as much again of affine": replace(SHORTER, augmentation=Affine(15, 0.15, 0.15, 2.25)),
    "strokes besides, thicker and thinner": replace(
        SHORTER, augmentation=Sequence((AFFINE, Stroke(0.4, 0.4)))
    ),
    "cut-out besides, 8 × 8 pixels": replace(SHORTER, augmentation=Sequence((AFFINE, Cutout(8)))),
    "bends besides, by half a pixel": replace(
        SHORTER, augmentation=Elastic(**asdict(AFFINE), bend=0.5)
    ),
}
"""What was tried, each in the same number of steps."""

LADDER: dict[str, train.Recipe] = {
    f"{rung}, {network}": replace(SHORTER, network=network, channels=channels, augmentation=changes)
    for rung, changes, sizes in [
        ("2k", Affine(5, 0.05, 0.05, 1), [(6, 8, 14), (4, 6, 8, 8)]),
        ("8k", Affine(7, 0.07, 0.07, 1), [(12, 20, 30), (8, 12, 16, 24)]),
        ("20k", Affine(8, 0.08, 0.08, 1), [(20, 30, 50), (12, 16, 32, 36)]),
        ("60k", Affine(10, 0.1, 0.1, 1.5), [(28, 56, 88), (20, 28, 52, 72)]),
    ]
    for network, channels in zip(("fast_network", "accurate_network"), sizes, strict=True)
}
"""Two networks of each size; those of few weights get digits that are changed less."""


def fitted(
    recipe: train.Recipe, digits: data.Digits, seed: int
) -> tuple[torch.nn.Module, dict[str, float]]:
    """A network trained with ``recipe``, and the seconds that the training took."""
    network = recipe.build(seed)
    watch = Watch()
    train.fit(network, digits, None, recipe, device="cpu", seed=seed, progress=False)
    watch.pause()
    return network, {"wall": round(watch.wall, 1), "cpu": round(watch.cpu, 1)}


def train_and_try(name: str, seed: int) -> dict[str, Any]:
    """Train with a candidate, and try it on digits held out of the training set."""
    training, held_out = data.load("train").split(HELD_OUT)
    network, seconds = fitted((CANDIDATES | LADDER)[name], training, seed)
    result = evaluate.evaluate(network, held_out, "cpu")
    # Smoothed labels make networks underconfident: each gets the temperature that suits it best.
    losses = [
        F.cross_entropy(result.logits / temperature, result.labels).item()
        for temperature in torch.logspace(-1, 1, 201).tolist()
    ]
    return {"seed": seed, "errors": len(result.errors), "loss": round(min(losses), 5), **seconds}


def weights_of(name: str, seed: int) -> Path:
    """Where the network of a recipe and seed lies."""
    return WEIGHTS / f"{name}-{seed}.safetensors"


def train_and_test(name: str, seed: int) -> dict[str, Any]:
    """Train with a recipe on all training digits, keep the weights, and read the test digits."""
    recipe = (train.RECIPES | LADDER)[name]
    network, seconds = fitted(recipe, data.load("train"), seed)
    checkpoints.save_weights(network, weights_of(name, seed), **train.name_of(network, recipe))
    accuracy = evaluate.evaluate(network, data.load("test"), "cpu").accuracy
    return {"seed": seed, "accuracy": accuracy, **seconds}


def run(
    found: dict[str, Any],
    part: str,
    measure: Callable[[str, int], dict[str, Any]],
    recipes: dict[str, train.Recipe],
    seeds: int,
    jobs: int,
) -> None:
    """Measure what is missing of each recipe, and save after each run."""
    cases = found.setdefault(part, {})
    for name, recipe in recipes.items():
        if cases.get(name, {}).get("settings") != str(recipe):
            cases[name] = {"settings": str(recipe), "runs": []}
    missing = [
        (name, seed)
        for name in recipes
        for seed in sorted(set(range(seeds)) - {row["seed"] for row in cases[name]["runs"]})
    ]
    processor = measurements.describe_machine()["processor"]  # runs may come from several
    processes = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=processes) as pool:
        names = {pool.submit(measure, name, seed): name for name, seed in missing}
        for done in as_completed(names):
            name = names[done]
            cases[name]["runs"].append(done.result() | {"processor": processor})
            cases[name]["runs"].sort(key=itemgetter("seed"))
            measurements.save(NAME, found)
            print(name, done.result(), flush=True)


def together(found: dict[str, Any], names: list[str]) -> None:
    """What each five networks of a recipe read together, where that was not asked before."""
    tested = data.load("test")
    for name in names:
        case = found["test"][name]
        asked = case.setdefault("ensembles", [])
        while len(case["runs"]) >= MEMBERS * (len(asked) + 1):
            five = range(MEMBERS * len(asked), MEMBERS * (len(asked) + 1))
            networks = [checkpoints.load_network(weights_of(name, seed)) for seed in five]
            answers = [evaluate.evaluate(n, tested, "cpu").probabilities for n in networks]
            right = torch.stack(answers).mean(0).argmax(1) == tested.labels
            asked.append(right.double().mean().item())
            measurements.save(NAME, found)
        print(name, "together", asked)


def climb(found: dict[str, Any], seeds: int, jobs: int) -> None:
    """Choose a network for each rung of the ladder, and test it with several seeds."""
    run(found, "rungs", train_and_try, LADDER, 1, jobs)
    best: dict[str, str] = {}
    for name in LADDER:
        rung = name.split(",")[0]
        rival = best.setdefault(rung, name)
        if found["rungs"][name]["runs"][0]["loss"] < found["rungs"][rival]["runs"][0]["loss"]:
            best[rung] = name
    run(found, "ladder", train_and_test, {n: LADDER[n] for n in best.values()}, seeds, jobs)
    for name in best.values():
        free = [p.numel() for p in LADDER[name].build().parameters() if p.requires_grad]
        found["ladder"][name]["weights"] = sum(free)
    measurements.save(NAME, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["choose", "test", "ladder"])
    parser.add_argument("--only", nargs="+", default=[], help="these candidates or recipes")
    parser.add_argument("--seeds", type=int, help="seeds of each (default: one, tested five)")
    parser.add_argument("--jobs", type=int, default=1, help="networks trained at a time")
    options = parser.parse_args()
    if data.load("test").source != "MNIST":
        sys.exit("this needs the real MNIST: set MNIST_COURSE_DATA to a folder that has it")
    known = CANDIDATES if options.part == "choose" else train.RECIPES
    if unknown := set(options.only) - set(known):
        parser.error(f"unknown: {', '.join(unknown)}; choose from {', '.join(known)}")
    recipes = {name: known[name] for name in options.only or known}
    try:
        found = measurements.load(NAME)
    except FileNotFoundError:
        found = {}
    if options.part == "ladder":
        climb(found, options.seeds or 5, options.jobs)
    elif options.part == "choose":
        found["held_out"] = HELD_OUT
        run(found, "choice", train_and_try, recipes, options.seeds or 1, options.jobs)
    else:
        seeds = options.seeds or 5
        for name in recipes:  # those that have not yet read together need their weights
            case = found.get("test", {}).get(name, {"runs": []})
            alone = MEMBERS * len(case.get("ensembles", []))
            case["runs"][:] = [
                row
                for row in case["runs"]
                if row["seed"] < alone or weights_of(name, row["seed"]).exists()
            ]
        run(found, "test", train_and_test, recipes, seeds, options.jobs)
        together(found, list(recipes))


if __name__ == "__main__":
    main()
