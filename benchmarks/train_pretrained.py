"""Train the network that ships with the course, measure it, and write its card.

    python -m benchmarks.train_pretrained            # trains: minutes
    python -m benchmarks.train_pretrained --resume   # resumes an interrupted training
    python -m benchmarks.train_pretrained --card     # writes the card again from the numbers

Everything was chosen on 5,000 digits held out of the training set; the test set is read once, at
the end. The numbers go to ``mnist_course/weights/card.json``, and the card is made from them.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from mnist_course import checkpoints, data, evaluate, files, pretrained, train
from mnist_course.augment import Affine, Sequence, Stroke

SEED = 0
RECIPE = train.Recipe(
    network="course_network",
    channels=(24, 48, 96),
    epochs=5,
    batch_size=128,
    learning_rate=0.01,
    warmup=0.2,
    label_smoothing=0.05,
    # What a drawing pad does to a digit: other slants and sizes, a thicker or thinner pen.
    augmentation=Sequence((Affine(10, 0.12, 0.15, 1), Stroke(0.3, 0.6))),
)
FOLDER = Path("runs/pretrained")
NUMBERS = pretrained.WEIGHTS.with_name("card.json")
CARD = pretrained.WEIGHTS.with_name("README.md")


def measure(result: evaluate.Result) -> dict[str, Any]:
    """The numbers of the card on one set of digits."""
    wrong = result.confusion.clone().fill_diagonal_(0)
    return {
        "digits": len(result.labels),
        "errors": len(result.errors),
        "accuracy": round(result.accuracy, 6),
        "loss": round(result.loss, 5),
        "most_confused": [
            [place // 10, place % 10, int(wrong.view(-1)[place])]
            for place in wrong.view(-1).argsort(descending=True, stable=True)[:3].tolist()
        ],
    }


def card(numbers: dict[str, Any]) -> str:
    """The model card, as Markdown."""
    recipe, validation, test = numbers["recipe"], numbers["validation"], numbers["test"]
    confused = ", ".join(f"{a} read as {b} ({n} times)" for a, b, n in test["most_confused"])
    recipe_lines = "\n".join(f"- {name}: `{value}`" for name, value in recipe.items())
    return f"""<!-- Made from card.json by benchmarks/train_pretrained.py: change the script. -->
# The network of the course

`pretrained.safetensors`: {numbers["parameters"]:,} parameters, {numbers["bytes"]:,} bytes.
`mnist_course.pretrained.load()` builds it: `{recipe["network"]}({tuple(recipe["channels"])})`,
from pixels in [0, 1], `(N, 1, 28, 28)`, light ink on dark, to ten logits.

## How well it reads

| digits of {numbers["source"]} | number | wrong | accuracy | loss |
|---|---|---|---|---|
| validation: held out of the training set | {validation["digits"]:,} | {validation["errors"]} \
| {validation["accuracy"]:.2%} | {validation["loss"]:.4f} |
| test: read once, at the end | {test["digits"]:,} | {test["errors"]} \
| {test["accuracy"]:.2%} | {test["loss"]:.4f} |

An accuracy on {test["digits"]:,} digits is uncertain by about {numbers["standard_error"]:.2%} \
(one standard error).
The test digits it confuses most: {confused}.

## How it was trained

On {numbers["training_digits"]:,} digits, {numbers["steps"]:,} steps, seed {numbers["seed"]},
PyTorch {numbers["torch"]}. Each batch is changed at random (slant, turn, size, place, width of the
stroke), so that it reads more than the pens of MNIST.

{recipe_lines}

`python -m benchmarks.train_pretrained` trains it again. On another CPU, or with another
number of threads, rounding differs, and so do the weights and a few of the answers.

## What it cannot do

- It reads one upright digit, centred and brought to size as MNIST's are: `mnist_course.strokes`
  does that for strokes, `mnist_course.photos` for pictures. It was not trained to read a digit that
  is far from the centre, upside down or part of a number.
- It always answers with a digit: a letter or a scribble gets one too, perhaps with confidence.
- MNIST was written in the United States; a seven with a bar, or a one with a long upstroke, is
  rarer in it than elsewhere.
- It is made for learning. Do not let anything important depend on its answer.

MNIST: LeCun, Cortes and Burges, from NIST's Special Databases 1 and 3.
"""


def run(resume: bool) -> dict[str, Any]:
    """Train or go on, save, measure; returns the numbers of the card."""
    training, validation = data.load("train").split()
    if training.source != "MNIST":
        sys.exit("this needs the real MNIST: set MNIST_COURSE_DATA to a folder that has it")
    model = RECIPE.build(SEED)
    history = train.fit(
        model,
        training,
        validation,
        RECIPE,
        seed=SEED,
        checkpoint_folder=FOLDER,
        resume=resume,
        progress=sys.stderr.isatty(),
        after_epoch=lambda _, history: print(history.rows[-1], flush=True),
    )
    if history.stopped:
        sys.exit(f"nothing is written: training {history.stopped}")
    checkpoints.save_weights(model, pretrained.WEIGHTS, **train.name_of(model, RECIPE))
    model = pretrained.load()
    test = evaluate.evaluate(model, data.load("test"), "cpu")
    recipe = asdict(replace(RECIPE, augmentation=None)) | {"augmentation": str(RECIPE.augmentation)}
    return {
        "source": training.source,
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "bytes": pretrained.WEIGHTS.stat().st_size,
        "training_digits": len(training),
        "steps": history.steps,
        "seed": SEED,
        "torch": torch.__version__,
        "recipe": recipe,
        "validation": measure(evaluate.evaluate(model, validation, "cpu")),
        "test": measure(test),
        "standard_error": round((test.accuracy * (1 - test.accuracy) / len(test.labels)) ** 0.5, 6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--card", action="store_true", help="only write the card again")
    parser.add_argument("--resume", action="store_true", help="resume an interrupted training")
    arguments = parser.parse_args()
    if not arguments.card:
        files.write(NUMBERS, json.dumps(run(arguments.resume), indent=2) + "\n")
    files.write(CARD, card(json.loads(NUMBERS.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
