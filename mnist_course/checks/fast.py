"""Checks of the chapter "Fast"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from mnist_course.checks._returning import Verdict, compare, right, run, wrong


def multiply_adds(function: Callable[..., Any]) -> Verdict:
    """Check ``function(in_channels, out_channels, kernel_size, out_size)``: one image, forward."""
    for a, b, k, size in ((1, 1, 3, 1), (1, 4, 3, 5), (3, 4, 2, 5), (24, 48, 3, 4), (1, 1, 1, 1)):
        expected = b * size * size * a * k * k
        case = f"{a} to {b} channels, a {k}×{k} kernel and {size}×{size} outputs"
        hints = [
            ("You count the weights. Each of them is used once at every place.", b * a * k * k),
            (
                f"For {case}: a kernel looks at all {a} input channels.",
                b * size * size * k * k,
            ),
            (f"For {case}: there are {b} kernels, each at every place.", size * size * a * k * k),
            (f"For {case}: a {k}×{k} kernel has {k * k} weights a channel.", expected // k),
            (f"For {case}: a picture of {size}×{size} has {size * size} places.", expected // size),
            (
                "You count the bias: it is added without a multiplication, so it is none.",
                b * size * size * (a * k * k + 1),
            ),
            (
                "You count multiplications and additions apart: one multiply-add is one.",
                2 * expected,
            ),
        ]
        verdict = compare(
            run(function, a, b, k, size),
            torch.tensor(float(expected)).double(),
            case,
            hints=[(text, torch.tensor(float(n)).double()) for text, n in hints if n != expected],
        )
        if verdict is not None:
            return verdict
    return right("Outputs times the weights that each of them meets.")


def shift(function: Callable[..., Any]) -> Verdict:
    """Check ``function(images, dy, dx)``: every image moved by its own whole pixels."""
    generator = torch.Generator().manual_seed(0)
    for N, size in ((1, 3), (3, 5), (6, 8)):
        images = torch.rand(N, 1, size, size, generator=generator, dtype=torch.float64)
        moves = torch.randint(-1, 2, (2, N), generator=generator)
        moves[:, :2] = torch.tensor([[1, 0], [0, -1]])[:, :N]  # no two mistakes look alike
        dy, dx = moves
        before = images.clone()
        case = f"{N} images of {size}×{size}"
        verdict = compare(
            run(function, images, dy, dx),
            _shifted(before, dy, dx),
            case,
            hints=[
                (
                    "Each image moves the other way: the pixel at row i comes from row i - dy.",
                    _shifted(before, -dy, -dx),
                ),
                (
                    "Rows and columns are exchanged: dy moves down, dx right.",
                    _shifted(before, dx, dy),
                ),
                (
                    "What leaves on one side comes in on the other: the background should. "
                    "torch.roll goes round; pad with zeros first.",
                    _rolled(before, dy, dx),
                ),
                (
                    "All images move like the first: every one has its own dy and dx.",
                    _shifted(before, dy[:1].expand(N), dx[:1].expand(N)),
                ),
            ],
        )
        if verdict is not None:
            return verdict
        if not torch.equal(images, before):
            return wrong("The images that went in were changed: work on a copy.")
    return right("Every image has moved by itself, and the background moved in.")


def _shifted(images: torch.Tensor, dy: torch.Tensor, dx: torch.Tensor) -> torch.Tensor:
    H, W = images.shape[-2:]
    padded = functional.pad(images, (1, 1, 1, 1))
    moves = zip(dy.tolist(), dx.tolist(), strict=True)
    return torch.stack(
        [padded[n, :, 1 - y : 1 - y + H, 1 - x : 1 - x + W] for n, (y, x) in enumerate(moves)]
    )


def _rolled(images: torch.Tensor, dy: torch.Tensor, dx: torch.Tensor) -> torch.Tensor:
    moves = zip(dy.tolist(), dx.tolist(), strict=True)
    return torch.stack([images[n].roll(m, (-2, -1)) for n, m in enumerate(moves)])


def whole_gradient(function: Callable[..., Any]) -> Verdict:
    """Check ``function(gradients, counts)``: that of the mean loss over all images together."""
    generator = torch.Generator().manual_seed(0)
    for counts in ([4, 4], [5, 3], [1, 2, 9]):
        images = torch.rand(sum(counts), 6, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, 3, (sum(counts),), generator=generator)
        weights = torch.rand(3, 6, generator=generator, dtype=torch.float64, requires_grad=True)

        def gradient(x: torch.Tensor, t: torch.Tensor, w: torch.Tensor = weights) -> torch.Tensor:
            return torch.autograd.grad(functional.cross_entropy(x @ w.T, t), w)[0]

        shares = zip(images.split(counts), labels.split(counts), strict=True)
        parts = [gradient(x, t) for x, t in shares]
        together = torch.stack(parts)
        verdict = compare(
            run(function, parts, counts),
            gradient(images, labels),
            f"shares of {counts} images",
            hints=[
                (
                    f"With shares of {counts} images a plain mean counts the images of a small "
                    "share more than those of a large one: weight each gradient by its count.",
                    together.mean(0),
                ),
                ("The gradients are added up; the loss is a mean.", together.sum(0)),
            ],
        )
        if verdict is not None:
            return verdict
    return right("Weighted by the number of images, the parts make the gradient of the whole.")


class Machine:
    """A make-believe GPU, on which time passes as one says.

    ``step()`` only orders work, which takes ``work`` seconds of the GPU and much more the first
    time; ``synchronize()`` waits until all ordered work is done; ``clock()`` is the time.
    """

    def __init__(self, order: float = 0.001, work: float = 0.01, first: float = 2.0) -> None:
        self.order, self.work, self.first = order, work, first
        self.now = self.done = 0.0
        self.steps = 0

    def step(self) -> None:
        """Order the work of a step; comes back at once."""
        self.now += self.order
        work = self.work if self.steps else self.work + self.first
        self.done = max(self.done, self.now) + work
        self.steps += 1

    def synchronize(self) -> None:
        """Wait until all ordered work is done."""
        self.now = max(self.now, self.done)

    def clock(self) -> float:
        """The time, in seconds."""
        return self.now


def seconds_per_step(function: Callable[..., Any]) -> Verdict:
    """Check ``function(step, synchronize, clock, steps)`` on machines where the answer is known."""
    for order, work, steps in ((0.001, 0.01, 20), (0.002, 0.05, 50)):
        machine = Machine(order, work)
        answer = run(function, machine.step, machine.synchronize, machine.clock, steps)
        if isinstance(answer, Verdict):
            return answer
        try:
            seconds = float(answer)
        except (TypeError, ValueError):
            return wrong(f"I expected a number of seconds, got {type(answer).__name__}.")
        got = f"A step takes this machine {work * 1000:.0f} ms; you measured {seconds * 1000:.1f}. "
        # Waiting after every step, or once at the end: both are right.
        if work <= seconds <= (work + order) * 1.02:
            continue
        if work <= seconds / steps <= (work + order) * 1.02:
            return wrong(got + "Divide by as many steps as you timed.")
        if work <= seconds / 1000 <= (work + order) * 1.02:
            return wrong("These are milliseconds: return seconds.")
        if abs(seconds - order) < order / 10:
            return wrong(got + "That is how long *ordering* a step takes: wait for the work, too.")
        if seconds > machine.first / steps / 2:
            return wrong(
                got + "The first step is in it: make one, and wait for it, before the clock starts."
            )
        return wrong(
            got + "Wait for all the work before you read the clock for the second time, "
            "and divide by as many steps as you timed."
        )
    return right("Warmed up, waited before both readings of the clock, divided by the steps.")
