"""The checks of training that you can trust: answers in other styles, and named mistakes."""

import copy

import torch

from mnist_course.checks import trust as check
from tests.chapters.definitions import definitions
from tests.checks.test_training import step
from tests.checks.verdicts import judged, of_the_chapter

chapter = definitions("trust")
NAMES = {name: name for name in check.__all__} | {"checkpoint": "snapshot restore"}
test_the_chapter = of_the_chapter(check, chapter, NAMES)
share_of = chapter["solution_accuracy"]


@torch.no_grad()
def measured(network, batches, mode="eval", after=None):
    """Right answers as a tensor over digits; ``after`` is the mode that the network is left in."""
    before = network.training
    network.train(mode == "train")
    right = sum((network(x).argmax(1) == y).sum() for x, y in batches)
    network.train(before if after is None else after)
    return right / sum(len(y) for _, y in batches)


def loop(number=torch.Tensor.item, train="each epoch", read="eval", grad=False, lines="zbs"):
    """A training whose parts can be spoilt."""

    def answer(network, optimizer, batches, held_out, epochs):
        losses, scores = [], []
        network.train()
        for _ in range(epochs):
            if train == "each epoch":
                network.train()
            made = [step(lines, number)(network, optimizer, x, y) for x, y in batches]
            losses.append(sum(made) / len(batches))
            network.train(read != "eval")
            with torch.set_grad_enabled(grad):
                hits = network(held_out[0]).argmax(1) == held_out[1]
            scores.append(hits.double().mean().item())
        return losses, scores

    return answer


def keeps_graphs(*given):
    losses, scores = loop(number=lambda loss: loss)(*given)
    return [loss.item() for loss in losses], scores


def both(network, optimizer):
    return copy.deepcopy((network.state_dict(), optimizer.state_dict()))


def load(snapshot, network, optimizer, copied=copy.deepcopy):
    network.load_state_dict(snapshot[0])
    optimizer.load_state_dict(copied(snapshot[1]))


@torch.no_grad()
def load_parameters(snapshot, network, optimizer):
    for name, weights in network.named_parameters():
        weights.copy_(snapshot[0][name])
    optimizer.load_state_dict(copy.deepcopy(snapshot[1]))


def load_another_rate(snapshot, network, optimizer):
    load(snapshot, network, optimizer)
    optimizer.param_groups[0]["lr"] = 0.3


RIGHT = {
    "accuracy": [
        measured,
        lambda network, data: measured(copy.deepcopy(network), data, after=True),
    ],
    "training": [loop()],
    "checkpoint": [(both, load)],
    "balanced": [
        lambda labels: [7 / (labels == label).sum().item() for label in labels],
        lambda labels: len(labels) / labels.bincount()[labels].float(),
    ],
}
WRONG = {
    "accuracy": [
        (lambda network, data: measured(network, data, "train"), "in train mode"),
        (lambda network, data: measured(network, data, after=False), "`network` in the mode"),
        (lambda network, data: measured(network, data, after=True), "`network` in the mode"),
        (lambda network, data: share_of(network, [data.pop(), *data]), "changes `data` itself"),
        (lambda network, data: share_of(network, data[:1]), "the number is 0.625"),
    ],
    "training": [
        (chapter["suspicious_training"], "Who switches back?"),
        (loop(train="once"), "Who switches back?"),
        (loop(number=lambda loss: loss), "The losses that you return still hold on"),
        (keeps_graphs, "Within an epoch the losses still hold on"),
        (loop(read="train"), "held-out digits are read in train mode"),
        (loop(grad=True), "none for the held-out digits"),
        (loop(lines="bs"), "the numbers are not"),
        (loop(number=lambda loss: 2 * loss.item()), "the loss of each"),
        (lambda *given: loop()(*given)[0], "Return two lists"),
    ],
    "checkpoint": [
        ((lambda n, o: (n.state_dict(), o.state_dict()), load), "holds the *last* weights"),
        ((lambda n, o: (both(n, o)[0], o.state_dict()), load), "Copy them when you save"),
        ((both, lambda kept, n, o: n.load_state_dict(kept[0])), "has no momentum"),
        ((both, load_another_rate), "not the learning rate"),
        ((both, lambda kept, n, o: load(kept, n.eval(), o)), "is the network still in train mode"),
        ((both, lambda kept, n, o: o.load_state_dict(kept[1])), "does not have the weights"),
        ((both, load_parameters), "running statistics"),
        ((both, lambda *given: load(*given, copied=lambda kept: kept)), "not a second time"),
        ((lambda n, o: o.step() or 1, load), "only look"),
        ((lambda n, o: 1, load), "raised TypeError"),
    ],
    "balanced": [
        (lambda labels: labels.bincount()[labels].double(), "as weights: divide by them"),
        (lambda labels: 1 / labels.bincount().clamp(min=1).double(), "one for each *example*"),
        (lambda labels: torch.ones(len(labels)), "That is how often they occur"),
        (lambda labels: 1 / labels.bincount()[labels].sqrt(), "should have equal ones"),
        (lambda labels: torch.zeros(len(labels)), "not positive, finite numbers"),
        (lambda labels: 1 / (labels.bincount()[labels] - 1), "not positive, finite numbers"),
    ],
}
test_verdicts = judged(check, RIGHT, WRONG)
