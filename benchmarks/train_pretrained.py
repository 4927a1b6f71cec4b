"""Train the network that ships with the course, measure it, and write its card.

    python -m benchmarks.train_pretrained            # trains: ten minutes of one core
    python -m benchmarks.train_pretrained --mnist    # the same network on MNIST alone, two minutes
    python -m benchmarks.train_pretrained --tried    # short ones without and with invented digits
    python -m benchmarks.train_pretrained --card     # writes the card again from the numbers

It learns from MNIST and from digits that a program invented (:mod:`mnist_course.styles`), and from
no pen stroke of a person. Everything was chosen on 5,000 digits held out of the training set and on
the half of the pen strokes that is for choosing (:mod:`benchmarks.strokes`), nothing on the test
set and the other half. The numbers go to ``mnist_course/weights/card.json``, and the
card is made from them. What was tried goes to ``benchmarks/results/train_pretrained.json``.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from benchmarks import strokes
from mnist_course import checkpoints, data, evaluate, files, measurements, pretrained, train
from mnist_course.augment import Affine, Sequence, Stroke
from mnist_course.data import Digits
from mnist_course.styles import STYLES, invented

SEED = 0
INVENTED = 30_000
"""How many invented digits are mixed into MNIST's."""
RECIPE = train.Recipe(
    network="course_network",
    channels=(24, 48, 96),
    epochs=11,
    batch_size=128,
    learning_rate=0.2,
    optimizer="sgd",
    weight_decay=5e-4,
    warmup=0.2,
    # What a drawing pad does to a digit: other slants and sizes, a thicker or thinner pen.
    augmentation=Sequence((Affine(10, 0.12, 0.15, 1), Stroke(0.3, 0.6))),
)
FINISH = replace(
    RECIPE,
    epochs=4,
    learning_rate=0.002,
    optimizer="adam",
    weight_decay=0.0,
    warmup=0.1,
    augmentation=Sequence((Affine(7, 0.08, 0.1, 1), Stroke(0.2, 0.4))),
)
"""Then: smaller steps, smaller changes, and a larger share of MNIST."""
FINISHES = (FINISH, replace(FINISH, epochs=8, learning_rate=0.003))
"""Twice from the same start; the mean of the two networks reads better than either."""
FINISH_INVENTED = 10_000
ALONE = replace(
    RECIPE, epochs=5, learning_rate=0.01, optimizer="adam", weight_decay=0.0, label_smoothing=0.05
)
"""The network that learns from MNIST alone, for comparison and as a start for fine-tuning."""
NUMBERS = pretrained.WEIGHTS.with_name("card.json")
CARD = pretrained.WEIGHTS.with_name("README.md")

SEEN, SEEDS = 60_000, range(2)
TRIED: dict[str, int] = {
    "MNIST alone": 0,
    "and 10,000 invented digits": 10_000,
    "and 30,000 invented digits": 30_000,
}
"""How many digits are invented. All trainings see as many digits, from the same seeds."""


def measure(result: evaluate.Result) -> dict[str, Any]:
    """The numbers of the card on one set of digits."""
    wrong = result.confusion.clone().fill_diagonal_(0)
    gap = evaluate.expected_calibration_error(result.probabilities, result.labels)
    return {
        "digits": len(result.labels),
        "errors": len(result.errors),
        "accuracy": round(result.accuracy, 6),
        "loss": round(result.loss, 5),
        "calibration_error": round(gap, 5),
        "most_confused": [
            [place // 10, place % 10, int(wrong.view(-1)[place])]
            for place in wrong.view(-1).argsort(descending=True, stable=True)[:3].tolist()
        ],
    }


def card(numbers: dict[str, Any]) -> str:
    """The model card, as Markdown."""
    recipe, test = numbers["recipe"], numbers["test"]
    alone = "\n".join(_row(words, numbers["mnist_only"][name]) for name, words in SETS.items())
    rows = "\n".join(_row(words, numbers[name]) for name, words in SETS.items())
    confused = ", ".join(f"{a} read as {b} ({n} times)" for a, b, n in test["most_confused"])
    first, then = numbers["invented_digits"]
    one, other = numbers["finishes"]
    changed = {
        name: one[name] if one[name] == other[name] else f"{one[name]} and {other[name]}"
        for name in recipe
        if one[name] != recipe[name]
    }
    recipe_lines, finish_lines = (
        "\n".join(f"- {name}: `{value}`" for name, value in each.items())
        for each in (recipe, changed)
    )
    return f"""<!-- Made from card.json by benchmarks/train_pretrained.py: change the script. -->
# The network of the course

`pretrained.safetensors`: {numbers["parameters"]:,} parameters, {numbers["bytes"]:,} bytes.
`mnist_course.pretrained.load()` builds it: `{recipe["network"]}({tuple(recipe["channels"])})`,
from pixels in [0, 1], `(N, 1, 28, 28)`, light ink on dark, to ten logits.

## How well it reads

| digits | number | wrong | accuracy | loss | calibration error |
|---|---|---|---|---|---|
{rows}

The calibration error is the mean gap between how sure the network is and how often it is right.
An accuracy on {test["digits"]:,} digits is uncertain by about {numbers["standard_error"]:.2%} \
(one standard error).
The pen strokes are by thirty people, and both halves are by all of them, so theirs is more
uncertain than their number says. Some of the invented styles were added after a look at digits
misread in the half to choose by: on other people expect more errors.
The test set was read twice; before the mean was taken, one of the two networks had read 99.35%.
The test digits it confuses most: {confused}.

## How it was trained

On {numbers["training_digits"]:,} digits of {numbers["source"]}, and digits that a program invented
in {numbers["styles"]} styles (`mnist_course.styles`): first {first:,} of them, then, in smaller
steps, {then:,}. The last part was done twice from the same start, and the mean of the two is kept.
It took {numbers["steps"]:,} steps, from seed {numbers["seed"]}, with PyTorch {numbers["torch"]}.
It learned from no pen stroke of a person.
Each batch is changed at random (slant, turn, size, place, width of the stroke), so that it reads
more pens than MNIST's.

{recipe_lines}

And for the last part, where it differs:

{finish_lines}

`python -m benchmarks.train_pretrained` trains it again. On another CPU, or with another
number of threads, rounding differs, and so do the weights and a few of the answers.
What the invented digits are worth in a short training, from several seeds:
`benchmarks/results/train_pretrained.json`.

## The same network, from MNIST alone

`mnist_only.safetensors` holds the weights that the same network learns from MNIST without any
invented digit. Fine-tuning begins with it, and it shows what a population means.

| digits | number | wrong | accuracy | loss | calibration error |
|---|---|---|---|---|---|
{alone}

## What it cannot do

- It reads one upright digit, centred and brought to size as MNIST's are: `mnist_course.strokes`
  does that for strokes, `mnist_course.photos` for pictures. It was not trained to read a digit that
  is far from the centre, upside down or part of a number.
- It always answers with a digit: a letter or a scribble gets one too, perhaps with confidence.
- MNIST was written in the United States. The invented digits add the styles of other schools that
  their author knows; the digits of other scripts are not among them.
- It is made for learning. Do not let anything important depend on its answer.

MNIST: LeCun, Cortes and Burges, from NIST's Special Databases 1 and 3.
"""


SETS = {
    "validation": "MNIST, validation: held out of the training set, to choose by",
    "pen_choosing": "pen strokes, one half: to choose by",
    "test": "MNIST, test: nothing was chosen by it",
    "pen_reporting": "pen strokes, the other half: nothing was chosen by it",
}


def _row(words: str, part: dict[str, Any]) -> str:
    return (
        f"| {words} | {part['digits']:,} | {part['errors']} | {part['accuracy']:.2%} "
        f"| {part['loss']:.4f} | {part['calibration_error']:.2%} |"
    )


def mixed(digits: Digits, count: int) -> Digits:
    """The digits, and ``count`` invented ones."""
    if not count:
        return digits
    more = invented(count, SEED)
    return Digits(
        torch.cat([digits.images, more.images]),
        torch.cat([digits.labels, more.labels]),
        f"{digits.source} and {count:,} invented digits",
    )


def real_digits() -> tuple[Digits, Digits]:
    """MNIST's digits to learn from and to validate with."""
    training, validation = data.load("train").split()
    if training.source != "MNIST":
        sys.exit("this needs the real MNIST: set MNIST_COURSE_DATA to a folder that has it")
    return training, validation


def run() -> int:
    """Train, and save the weights; returns how many steps it took."""
    training, validation = real_digits()
    first, then = mixed(training, INVENTED), mixed(training, FINISH_INVENTED)
    start = RECIPE.build(SEED)
    steps = fitted(start, first, validation, RECIPE)
    finished = [copy.deepcopy(start) for _ in FINISHES]
    for model, recipe in zip(finished, FINISHES, strict=True):
        steps += fitted(model, then, validation, recipe)
    model = averaged(finished, training[:5000])
    checkpoints.save_weights(model, pretrained.WEIGHTS, **train.name_of(model, RECIPE))
    return steps


def fitted(model: nn.Module, digits: Digits, validation: Digits, recipe: train.Recipe) -> int:
    """Train a network in place; returns how many steps it took."""
    history = train.fit(
        model,
        digits,
        validation,
        recipe,
        seed=SEED,
        progress=sys.stderr.isatty(),
        mixed_precision="auto",
        after_epoch=lambda _, history: print(history.rows[-1], flush=True),
    )
    if history.stopped:
        sys.exit(f"nothing is written: training {history.stopped}")
    return history.steps


def averaged(models: list[nn.Module], digits: Digits) -> nn.Module:
    """The mean of networks that began alike, with statistics for batch norm from ``digits``."""
    mean, states = copy.deepcopy(models[0]), [model.state_dict() for model in models]
    mean.load_state_dict(
        {
            name: sum(state[name] for state in states) / len(states)
            if value.is_floating_point()
            else value
            for name, value in states[0].items()
        }
    )
    norms = [layer for layer in mean.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches
    mean.train()
    with torch.no_grad():
        for images, _ in digits.batches(250):
            mean(data.to_float(images))
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    return mean.eval()


def settings(recipe: train.Recipe) -> dict[str, Any]:
    """A recipe as JSON can hold it."""
    return asdict(replace(recipe, augmentation=None)) | {"augmentation": str(recipe.augmentation)}


def alone() -> None:
    """Train the network that learns from MNIST alone, and save its weights."""
    training, validation = real_digits()
    model = ALONE.build(SEED)
    fitted(model, training, validation, ALONE)
    checkpoints.save_weights(model, pretrained.MNIST_ONLY, **train.name_of(model, ALONE))


def results_of(model: nn.Module) -> dict[str, evaluate.Result]:
    """What a network makes of every set of digits that the card names."""
    _, validation = real_digits()
    pens = strokes.halves(strokes.pen_strokes())
    return {
        "validation": evaluate.evaluate(model, validation, "cpu"),
        "test": evaluate.evaluate(model, data.load("test"), "cpu"),
    } | {f"pen_{half}": strokes.read(model, digits) for half, digits in pens.items()}


def numbers_of(steps: int) -> dict[str, Any]:
    """The numbers of the card, measured on the weights that are saved."""
    model = pretrained.load()
    training, _ = real_digits()
    results, other = results_of(model), results_of(checkpoints.load_network(pretrained.MNIST_ONLY))
    test = results["test"]
    return {
        "source": training.source,
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "bytes": pretrained.WEIGHTS.stat().st_size,
        "training_digits": len(training),
        "invented_digits": [INVENTED, FINISH_INVENTED],
        "styles": sum(map(len, STYLES.values())),
        "steps": steps,
        "seed": SEED,
        "torch": torch.__version__,
        "recipe": settings(RECIPE),
        "finishes": [settings(recipe) for recipe in FINISHES],
        **{name: measure(result) for name, result in results.items()},
        "mnist_only": {name: measure(result) for name, result in other.items()},
        "standard_error": round((test.accuracy * (1 - test.accuracy) / len(test.labels)) ** 0.5, 6),
    }


def tried() -> dict[str, Any]:
    """Shorter trainings from several seeds, measured on what one chooses by."""
    training, validation = real_digits()
    pens = strokes.halves(strokes.pen_strokes())["choosing"]
    rows: dict[str, dict[str, list[float]]] = {}
    for name, count in TRIED.items():
        digits = mixed(training, count)
        recipe = replace(RECIPE, epochs=SEEN / len(digits))
        row = rows[name] = {"mnist": [], "pen": [], "mnist_gap": [], "pen_gap": []}
        for seed in SEEDS:
            model = recipe.build(seed)
            train.fit(
                model, digits, recipe=recipe, seed=seed, progress=False, mixed_precision="auto"
            )
            for key, result in (
                ("mnist", measure(evaluate.evaluate(model, validation, "cpu"))),
                ("pen", measure(strokes.read(model, pens))),
            ):
                row[key].append(round(100 * result["accuracy"], 2))
                row[f"{key}_gap"].append(round(100 * result["calibration_error"], 2))
        means = {key: round(statistics.mean(values), 2) for key, values in row.items()}
        print(f"{name:30}", means, flush=True)
    return {"digits_seen": SEEN, "seeds": list(SEEDS), "per_cent": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--card", action="store_true", help="only write the card again")
    parser.add_argument("--mnist", action="store_true", help="only the network of MNIST alone")
    parser.add_argument("--tried", action="store_true", help="only the shorter trainings")
    arguments = parser.parse_args()
    if arguments.tried:
        print(measurements.save("train_pretrained", tried()))
        return
    if arguments.mnist:
        alone()
    elif not arguments.card:
        files.write(NUMBERS, json.dumps(numbers_of(run()), indent=2) + "\n")
    files.write(CARD, card(json.loads(NUMBERS.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
