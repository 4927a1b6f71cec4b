"""The checks of the optimisers: answers in other styles, and mistakes beyond the tables'."""

import math

import numpy as np
import torch
from torch import nn

from mnist_course.checks import optimisers as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_right, assert_wrong, judged, of_the_chapter

chapter = definitions("optimisers")
NAMES = {name: name for name in check.__all__ if name != "adam"}
test_the_chapter = of_the_chapter(check, chapter, NAMES)


def adagrad(w, g, total, rate, eps, new=lambda total, g: total + g**2):
    total = new(total, g)
    return w - rate * g / (total.sqrt() + eps), total


def adagrad_in_place(w, g, total, rate, eps):
    total.addcmul_(g, g)
    return w.addcdiv_(g, total.sqrt() + eps, value=-rate), total


def adagrad_by_pytorch(w, g, total, rate, eps):
    weights = nn.Parameter(w.clone())
    optimizer = torch.optim.Adagrad([weights], lr=rate, eps=eps)
    optimizer.state[weights]["sum"] = total.clone()
    weights.grad = g.clone()
    optimizer.step()
    return [weights.detach(), optimizer.state[weights]["sum"]]


def adam(change):
    """The solution with its step replaced."""
    return type("Adam", (chapter["SolutionAdam"],), {"step": torch.no_grad()(change)})


def walk(self, first=1, correct=True, store=False, inside=False, sign=-1):
    beta1, beta2 = self.betas
    self.t += 1
    t = self.t - 1 + first
    for w, mean, square in zip(self.parameters, self.means, self.squares, strict=True):
        mean += (1 - beta1) * (w.grad - mean)
        square += (1 - beta2) * (w.grad**2 - square)
        a, b = (1 - beta1**t, 1 - beta2**t) if correct else (1, 1)
        if store:
            mean /= a
            square /= b
            a = b = 1
        root = (square / b + self.eps).sqrt() if inside else (square / b).sqrt() + self.eps
        w += sign * self.learning_rate * (mean / a) / root


def fixed(self):
    self.learning_rate, self.betas, self.eps = 0.1, (0.9, 0.99), 0.1
    walk(self)


def grouped(network, decay, chosen=lambda w: w.ndim > 1, free=lambda w: w.requires_grad):
    weights = [w for w in network.parameters() if free(w)]
    return [
        {"params": [w for w in weights if chosen(w)], "weight_decay": decay},
        {"params": [w for w in weights if not chosen(w)], "weight_decay": 0.0},
    ]


def by_name(network, decay):
    kernels = {id(w) for n, w in network.named_parameters() if "weight" in n and w.ndim > 1}
    return grouped(network, decay, chosen=lambda w: id(w) in kernels)


def one_group_each(network, decay):
    free = [w for w in network.parameters() if w.requires_grad]
    return [{"params": w, "weight_decay": decay * (w.ndim > 1)} for w in free]


def without_its_decay(network, decay):
    first, second = grouped(network, decay)
    return [first, {"params": second["params"]}]


def downhill(gradient, start, rate=2 / 51, steps=50):
    w = start
    for _ in range(steps):
        w = w - rate * gradient(w)
    return w


def known_curvatures(gradient, start):
    for curvature in torch.linspace(1, 50, 12):
        start = start - gradient(start) / curvature
    return start


def chebyshev(gradient, start, steps=50):
    """Gradient descent whose rates are 1 over the zeros of a Chebyshev polynomial."""
    order = [2 * i + 1 for pair in zip(range(25), range(49, 24, -1), strict=True) for i in pair]
    for k in order:
        start = start - gradient(start) / (25.5 + 24.5 * math.cos(math.pi * k / (2 * steps)))
    return start


def conjugate(gradient, start):
    w, g = start, gradient(start)
    d = -g
    for _ in range(12):
        # The gradient is linear in w, so one more gives the curvature along d.
        change = gradient(w + d) - g
        share = (g @ g) / (d @ change)
        w, new = w + share * d, g + share * change
        d, g = -new + (new @ new) / (g @ g) * d, new
    return w


def test_conjugate_gradients_need_thirteen():
    verdict = check.descent(conjugate)
    assert_right(verdict)
    assert "with 13 gradients" in verdict.message


def test_the_adam_of_the_chapter_is_found_out_after_ten_steps():
    verdict = check.adam(chapter["MyAdam"])
    assert_wrong(verdict, "Right for one tensor, ten steps. The counter of steps grows with every")


RIGHT = {
    "largest_rate": [
        lambda H: 2 / np.linalg.eigvalsh(H.numpy())[-1],
        lambda H: 2 / torch.linalg.eigvals(H).real.max(),
        lambda H: 2 / torch.linalg.matrix_norm(H, 2).item(),
    ],
    "adagrad_step": [adagrad, adagrad_by_pytorch],
    "adam": [chapter["SolutionAdam"], adam(walk)],
    "parameter_groups": [grouped, one_group_each],
    "descent": [chebyshev],
}
WRONG = {
    "largest_rate": [
        (lambda H: 2 / H.norm(), "the number is"),
        (lambda H: 2 / H.abs().sum(1).max(), "For a valley in any direction the number is"),
        (lambda H: 2 / torch.linalg.eigvalsh(H.float())[-1], "float64 became float32"),
        (lambda H: 2 / torch.linalg.eigvalsh(H)[-1:], "I expected one number, got shape (1,)"),
    ],
    "adagrad_step": [
        (adagrad_in_place, "changes `w` in place"),
        (lambda *given: adagrad(*given, new=lambda t, g: t + g.norm() ** 2), "a total of its own"),
        (lambda *given: adagrad(*given[:4], 0), "the largest difference"),
        (lambda *given: adagrad(*given)[0], "return 2 things"),
        (lambda *given: [part.numpy() for part in adagrad(*given)], "exercise asks for a tensor"),
    ],
    "adam": [
        (adam(lambda self: walk(self, first=0)), "counted from 1"),
        (adam(lambda self: walk(self, correct=False)), "bias correction is missing"),
        (adam(lambda self: walk(self, store=True)), "tensor, one step. The corrected mean"),
        (adam(lambda self: walk(self, inside=True)), "inside the root"),
        (adam(lambda self: walk(self, sign=1)), "goes up"),
        (adam(lambda self: None), "have not changed"),
        (adam(lambda self: walk(self, first=2)), "numbers are not"),
        (adam(lambda self: 1 / 0.0), "ZeroDivisionError"),
        (adam(lambda self: [walk(self), self.parameters[0].grad.mul_(2)]), "the gradients"),
        (adam(fixed), "three tensors, ten steps. For another rate, other betas and eps"),
        (adam(lambda self: self.velocity), "raised AttributeError"),
    ],
    "parameter_groups": [
        (lambda n, d: grouped(n, d, chosen=lambda w: True), "weight decay 0.1, expected 0.0"),
        (lambda n, d: grouped(n, d, chosen=lambda w: w.ndim > 2), "linear.weight"),
        (lambda n, d: grouped(n, d, free=lambda w: True), "is frozen"),
        (lambda n, d: grouped(n, 0.1), "shape (3, 1, 1), has weight decay 0.1, expected"),
        (by_name, "bias of a network with odd names, shape (3, 1, 1), has weight decay 0"),
        (lambda n, d: grouped(n.requires_grad_(False), d), "`n.conv1.weight.requires_grad`"),
        (lambda n, d: grouped(n, d)[:1], "in no group"),
        (lambda n, d: list(n.parameters()), "the optimiser's own decay"),
        (without_its_decay, '"weight_decay": 0.0'),
        (lambda n, d: grouped(n, d) + grouped(n, d), "does not take"),
        (lambda n, d: [nn.Parameter(w.detach()) for w in n.parameters()], "not copies"),
    ],
    "descent": [
        (downhill, "of the way is left"),
        (lambda g, start: downhill(g, start, steps=200), "200 gradients; 50 are allowed"),
        (lambda g, start: downhill(g, start, rate=0.05), "exploded"),
        (lambda g, start: start[:3], "of the shape of start"),
        (lambda g, start: start, "a thousandth is allowed; you return the start itself"),
        (lambda g, start: downhill(g, start) * torch.nan, "After 50 gradients nan of the way"),
        (lambda g, start: downhill(g, start).tolist(), "of the shape of start"),
        (known_curvatures, "After 12 gradients"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)
