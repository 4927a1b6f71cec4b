"""The checks of chapter 13: answers in other styles, and mistakes beyond those of the tables."""

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import BatchSampler, RandomSampler

from mnist_course.checks import training as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("training")
NAMES = {name: name for name in check.__all__}
test_the_chapter = of_the_chapter(check, chapter, NAMES)


def step(lines, result=lambda loss: loss.item(), reduction="mean"):
    """A training step with these lines (zero_grad, backward, step) in this order."""

    def answer(network, optimizer, x, y):
        loss = F.cross_entropy(network(x), y, reduction=reduction)
        actions = {"z": optimizer.zero_grad, "b": loss.backward, "s": optimizer.step}
        for line in lines:
            actions[line]()
        return result(loss)

    return answer


def loss_after(network, optimizer, x, y):
    step("zbs")(network, optimizer, x, y)
    return F.cross_entropy(network(x), y).item()


def permuted(n, generator):
    return torch.randperm(n, generator=generator)


def sliced(n, size, generator, drop_last=False, order=permuted):
    positions, end = order(n, generator), n - n % size if drop_last else n
    return [positions[start : start + size] for start in range(0, end, size)]


def sampled(n, size, generator, drop_last=False):
    sampler = RandomSampler(range(n), generator=generator)
    return [torch.tensor(batch) for batch in BatchSampler(sampler, size, drop_last)]


def with_an_empty_one(n, size, generator, drop_last=False):
    order = permuted(n, generator)
    parts = [order[k * size : (k + 1) * size] for k in range(n // size + 1)]
    return parts[:-1] if drop_last else parts


def always_drops_the_last(n, size, generator, drop_last=False):
    parts = list(permuted(n, generator).split(size))
    return parts[:-1] if drop_last else parts


def cut_first(n, size, generator, drop_last=False, within=True):
    """Batches of neighbours, shuffled among themselves, or within each."""
    parts = [part for part in torch.arange(n).split(size) if len(part) == size or not drop_last]
    if within:
        return [part[permuted(len(part), generator)] for part in parts]
    return [parts[i] for i in permuted(len(parts), generator)]


def rest_as_it_is(n, size, generator, drop_last=False):
    whole = n - n % size
    parts = [*permuted(whole, generator).split(size), torch.arange(whole, n)]
    return [part for part in parts if len(part) == size or (len(part) and not drop_last)]


def turned(n, generator):
    return torch.arange(n).roll(int(torch.randint(n, (1,), generator=generator)))


def reseeded(n, generator):
    return permuted(n, torch.Generator().manual_seed(generator.initial_seed()))


def in_order_of(order):
    return lambda n, size, generator, drop_last: sliced(n, size, generator, drop_last, order)


def weighted(losses, beta):
    weights = [beta**age for age in range(len(losses))]
    return [np.average(losses[: t + 1], weights=weights[t::-1]).item() for t in range(len(losses))]


RIGHT = {
    "step": [lambda n, o, *data: (step("bs")(n, o, *data), o.zero_grad())[0]],
    "batches": [sliced, sampled],
    "smooth": [chapter["smooth"], weighted],
    "epoch_loss": [
        lambda means, sizes: np.average(means, weights=sizes),
        lambda means, sizes: (
            (torch.tensor(means).double() @ torch.tensor(sizes).double()).item() / sum(sizes)
        ),
    ],
}
WRONG = {
    "step": [
        (step("bs"), "Call optimizer.zero_grad()"),
        (step("szb"), "before loss.backward()"),
        (step("zb"), "weights have not changed"),
        (step("bzs"), "weights have not changed"),
        (step("zsb"), "backward() first"),
        (step("zbss"), "exactly one backward() and one step()"),
        (step("zbs", lambda loss: loss), "with its whole graph"),
        (step("zbs", lambda loss: loss.detach()), "you return a tensor:"),
        (step("zbs", lambda loss: 6 * loss.item()), "sum over the batch"),
        (step("zbs", reduction="sum"), "weights are not those"),
        (step("zbs", lambda loss: str(loss.item())), "got str"),
        (lambda n, *rest: step("zbs")(n, *rest) + 0 * n.eval().training, "right mode"),
        (loss_after, "*after* the step"),
    ],
    "batches": [
        (in_order_of(lambda n, g: torch.arange(n)), "in their own order"),
        (in_order_of(lambda n, g: torch.randint(n, (n,), generator=g)), "more than once"),
        (in_order_of(lambda n, g: permuted(n, g) + 1), "outside of 0"),
        (in_order_of(lambda n, g: torch.randperm(n)), "the same seed must give"),
        (in_order_of(lambda n, g: permuted(n, torch.Generator())), "gives the same order"),
        (in_order_of(lambda n, g: permuted(n, g.manual_seed(0))), "gives the same order"),
        (in_order_of(reseeded), "every call, gives the same order"),
        (in_order_of(turned), "own order, begun elsewhere"),
        (cut_first, "some digits form a batch"),
        (lambda *given: cut_first(*given, within=False), "own order, begun elsewhere"),
        (rest_as_it_is, "stand in the same place, in every epoch"),
        (lambda *given: [batch.tolist() for batch in sliced(*given)], "list of tensors"),
        (lambda *given: [batch.double() for batch in sliced(*given)], "whole numbers"),
        (lambda n, size, g, drop: sliced(n, size, g), "with drop_last the rest has to go"),
        (lambda n, size, g, drop: sliced(n, size, g, True), "only with drop_last"),
        (with_an_empty_one, "an empty batch is none"),
        (always_drops_the_last, "only a batch that is smaller is dropped"),
        (lambda n, *rest: n, "list of tensors of positions"),
    ],
    "smooth": [
        (lambda losses, beta: [loss / (1 - beta**0) for loss in losses], "At t = 0 you divide by"),
        (lambda losses, beta: weighted(losses, beta)[-1], "has shape"),
    ],
    "epoch_loss": [
        (lambda means, sizes: 0.0, "the number is 0"),
        (lambda means, sizes: means[0] / 0, "ZeroDivisionError"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)
