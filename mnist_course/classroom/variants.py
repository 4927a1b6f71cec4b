"""A sheet of its own for each learner: other sizes and numbers, and another planted bug.

The teacher's key has the same sheets with solutions, so that ``grade --notebooks KEY`` can mark
them, and a table with everybody's numbers and bug.
"""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_course import files
from mnist_course.classroom import notebooks
from mnist_course.classroom.notebooks import ClassroomError

IMPORTS = """\
import math

import torch
from torch import nn
from torch.nn import functional as F

from mnist_course.checks import {chapter} as check
from mnist_course.classroom import sheets"""

CONV2D = """\
def suspicious_conv2d(x, w, b):
    (N, C_in, H, W), (C_out, _, K_h, K_w) = x.shape, w.shape
    y = x.new_zeros(N, C_out, H - K_h + 1, W - K_w + 1)
    for i in range(H - K_h + 1):
        for j in range(W - K_w + 1):
            for c in range(C_in):
                for u in range(K_h):
                    for v in range(K_w):
                        y[:, :, i, j] += x[:, c, i + u, j + v, None] * w[:, c, u, v]
    return y + b[:, None, None]
"""

MAX_POOL = """\
def suspicious_max_pool(x, k, s, p):
    N, C, H, W = x.shape
    x = F.pad(x, (p, p, p, p), value=-math.inf)
    size = (N, C, (H + 2 * p - k) // s + 1, (W + 2 * p - k) // s + 1)
    y = torch.full(size, -math.inf, dtype=x.dtype)
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            for u in range(k):
                for v in range(k):
                    y[:, :, i, j] = torch.maximum(y[:, :, i, j], x[:, :, i * s + u, j * s + v])
    return y
"""

STEP = """\
def suspicious_step(network, optimizer, images, labels):
    logits = network(images)
    loss = F.cross_entropy(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
"""


@dataclass(frozen=True)
class Bug:
    """A bug: what it is, and the line of the right function that it replaces, by what."""

    name: str
    right: str
    wrong: str

    def planted(self, source: str) -> str:
        """The function with the bug in it."""
        if source.count(self.right) != 1:
            raise ValueError(f"{self.right!r} must be in the function once")
        return source.replace(self.right, self.wrong)


@dataclass(frozen=True)
class Numbers:
    """A question about numbers: its text, the call of its check, and the answer."""

    text: str
    check: str
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Sheet:
    """What the sheets on a chapter are made of.

    Attributes:
        task: what the function should do.
        source: the right function.
        check: which check judges it.
        bugs: what may be planted.
        numbers: makes a question about numbers.
    """

    task: str
    source: str
    check: str
    bugs: tuple[Bug, ...]
    numbers: Callable[[random.Random], Numbers]


def _convolution(draw: random.Random) -> Numbers:
    channels, filters = draw.randint(2, 6), draw.choice((8, 12, 16, 20, 24))
    kernel, rows, columns = draw.choice((2, 3, 4, 5)), draw.randint(14, 30), draw.randint(31, 48)
    layer = f"nn.Conv2d({channels}, {filters}, {kernel})"
    return Numbers(
        f"A layer `{layer}` gets images of {channels} × {rows} × {columns}. How many channels, "
        "rows and columns come out, and how many weights has it, the biases counted?",
        f"sheets.sizes({{}}, {layer}, ({channels}, {rows}, {columns}))",
        (filters, rows - kernel + 1, columns - kernel + 1, filters * (channels * kernel**2 + 1)),
    )


def _pooling(draw: random.Random) -> Numbers:
    channels, (kernel, stride) = draw.randint(3, 32), draw.choice(((2, 2), (3, 2), (3, 3), (4, 3)))
    padding, rows, columns = draw.randint(0, 1), draw.randint(14, 30), draw.randint(31, 48)
    layer = f"nn.MaxPool2d({kernel}, stride={stride}, padding={padding})"
    rows_out, columns_out = (
        (size + 2 * padding - kernel) // stride + 1 for size in (rows, columns)
    )
    return Numbers(
        f"A layer `{layer}` gets maps of {channels} × {rows} × {columns}. How many channels, rows "
        "and columns come out, and how many weights has it?",
        f"sheets.sizes({{}}, {layer}, ({channels}, {rows}, {columns}))",
        (channels, rows_out, columns_out, 0),
    )


def _training(draw: random.Random) -> Numbers:
    digits, batch_size = draw.randint(50_000, 59_999), draw.choice((48, 64, 96, 128, 200, 256))
    epochs = draw.randint(3, 12)
    per_epoch = -(-digits // batch_size)
    return Numbers(
        f"A training set has {digits:,} digits. You train for {epochs} epochs with batches of "
        f"{batch_size}; the last batch of an epoch has the rest. How many steps are that, and how "
        "many digits has the last batch?",
        f"sheets.steps({{}}, {digits}, {batch_size}, {epochs})",
        (per_epoch * epochs, digits - (per_epoch - 1) * batch_size),
    )


SHEETS = {
    "convolution": Sheet(
        "This function should return what `F.conv2d(x, w, b)` returns.",
        CONV2D,
        "conv2d",
        (
            Bug("the kernel is flipped", "w[:, c, u, v]", "w[:, c, -1 - u, -1 - v]"),
            Bug("the first row of the kernel is left out", "range(K_h):", "range(1, K_h):"),
            Bug("the last row stays empty", "i in range(H - K_h + 1)", "i in range(H - K_h)"),
            Bug("the last column stays empty", "j in range(W - K_w + 1)", "j in range(W - K_w)"),
            Bug("only input channel 0 is used", "x[:, c, i", "x[:, 0, i"),
            Bug("only the last product survives", "j] += x", "j] = x"),
            Bug("the bias is counted per input channel", "y + b[", "y + C_in * b["),
            Bug("all filters have the mean bias", "b[:, None, None]", "b.mean()"),
            Bug("u and v are exchanged in the image", "i + u, j + v", "i + v, j + u"),
        ),
        _convolution,
    ),
    "pooling": Sheet(
        "This function should return what `F.max_pool2d(x, k, s, p)` returns.",
        MAX_POOL,
        "fixed_max_pool",
        (
            Bug("the search starts at 0", "size, -math.inf", "size, 0.0"),
            Bug("the padding is 0", "value=-math.inf", "value=0.0"),
            Bug("rows do not move by the stride", "i * s + u", "i + u"),
            Bug("columns do not move by the stride", "j * s + v", "j + v"),
            Bug("the last row of a window is left out", "u in range(k)", "u in range(k - 1)"),
            Bug("the first column of a window is left out", "v in range(k)", "v in range(1, k)"),
            Bug("it takes the minimum of each step", "torch.maximum", "torch.minimum"),
            Bug("one padding is forgotten in the rows", "(H + 2 * p - k)", "(H + p - k)"),
        ),
        _pooling,
    ),
    "training": Sheet(
        "This function should make one step of training and return the loss before it, a number.",
        STEP,
        "step",
        (
            Bug("gradients add up", "    optimizer.zero_grad()\n", ""),
            Bug("nothing is learnt: no step", "    optimizer.step()\n", ""),
            Bug("no backward pass", "    loss.backward()\n", ""),
            Bug(
                "gradients are cleared before the step",
                "    optimizer.zero_grad()\n    loss.backward()\n",
                "    loss.backward()\n    optimizer.zero_grad()\n",
            ),
            Bug("softmax twice", "network(images)", "network(images).softmax(1)"),
            Bug("a tensor is returned", "loss.item()", "loss"),
            Bug("two steps", "optimizer.step()\n", "optimizer.step()\n    optimizer.step()\n"),
            Bug("the sum of the losses", "logits, labels)", 'logits, labels, reduction="sum")'),
        ),
        _training,
    ),
}


def hand_out(chapter: str, learners: Sequence[str], seed: int, folder: Path) -> list[Path]:
    """Write ``sheets/NAME.ipynb`` for each learner, and the key beside: not to be handed out.

    Bugs are dealt like cards: learners who follow one another on the list have different ones, and
    each is as frequent as the others. The same seed and list make the same sheets.

    Raises:
        ClassroomError: if a name is there twice, cannot be a file's, or the sheets exist already.
        OSError: if a file cannot be written.
    """
    names = [name.strip() for name in learners if name.strip()]
    _check_names(names)
    if (folder / "sheets").exists() or (folder / "key").exists():
        raise ClassroomError(f"There are sheets in {folder} already. Choose another folder.")
    sheet, made = SHEETS[chapter], []
    bugs = random.Random(f"{seed} {chapter}").sample(sheet.bugs, len(sheet.bugs))
    key = io.StringIO()
    table = csv.writer(key)
    table.writerow(["learner", "numbers", "bug", "right", "wrong"])
    for place, name in enumerate(names):
        bug = bugs[place % len(bugs)]
        numbers = sheet.numbers(random.Random(f"{seed} {chapter} {name}"))
        told = (name, numbers.answer, bug.name, bug.right.strip(), bug.wrong.strip())
        table.writerow([files.harmless(each) for each in told])
        for part, solved in (("sheets", False), ("key", True)):
            content = notebook(chapter, name, numbers, bug, solved=solved)
            files.write(folder / part / f"{name}.ipynb", notebooks.written(content))
        made.append(folder / "sheets" / f"{name}.ipynb")
    files.write(folder / "key" / "key.csv", files.MARK + key.getvalue())
    return made


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise ClassroomError("The list of learners is empty: write a name in each line.")
    seen: set[str] = set()
    for name in names:
        if re.search(r'[/\\:*?"<>|\x00-\x1f]|^\.', name):
            raise ClassroomError(f"{name!r} cannot be the name of a file: change it in the list.")
        if name.casefold() in seen:
            raise ClassroomError(f"{name} is on the list twice: tell them apart.")
        seen.add(name.casefold())


def notebook(
    chapter: str, learner: str, numbers: Numbers, bug: Bug, *, solved: bool
) -> dict[str, Any]:
    """A learner's sheet, or with ``solved`` the key to it."""
    cells = _cells(chapter, learner, numbers, bug)
    return {
        "cells": [
            cell | {"id": f"sheet-{place}"}
            for place, cell in enumerate(cells)
            if solved or not notebooks.hidden(cell)
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "mnist_course": {"chapter": f"{chapter}-{learner}"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cells(chapter: str, learner: str, numbers: Numbers, bug: Bug) -> list[dict[str, Any]]:
    sheet = SHEETS[chapter]
    name = sheet.source.removeprefix("def ").partition("(")[0]
    solution = name.replace("suspicious", "solution")
    zeros = ", ".join("0" * len(numbers.answer))
    answer = ", ".join(map(str, numbers.answer))
    return [
        _cell(f"# {learner}: a sheet on {chapter}\n\nEverybody has other numbers."),
        _cell(IMPORTS.format(chapter=chapter), code=True),
        _cell(f"### Exercise 1.1: numbers\n\n{numbers.text} Work it out on paper."),
        _cell(f"def my_numbers():\n    return {zeros}  # your numbers here", code=True),
        _cell(numbers.check.format("my_numbers"), code=True),
        _solution(
            "1.1",
            f"def solution_numbers():\n    return {answer}",
            numbers.check.format("solution_numbers"),
        ),
        _cell(f"### Exercise 1.2: find the bug\n\n{sheet.task} It has one bug. Mend it."),
        _cell(bug.planted(sheet.source).rstrip(), code=True),
        _cell(f"check.{sheet.check}({name})", code=True),
        _solution(
            "1.2",
            sheet.source.replace(name, solution).rstrip(),
            f"check.{sheet.check}({solution})",
        ),
    ]


def _cell(source: str, code: bool = False) -> dict[str, Any]:
    cell = {"cell_type": "markdown", "metadata": {}, "source": source}
    return cell | {"cell_type": "code", "outputs": [], "execution_count": None} if code else cell


def _solution(number: str, source: str, check: str) -> dict[str, Any]:
    cell = _cell(f"# Solution {number}\n{source}\n\n\n{check}", code=True)
    return cell | {"metadata": {"tags": ["hide-input"]}}
