"""The checks of chapter 11 accept right answers and name each plausible mistake."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import BatchSampler, RandomSampler

from mnist_course.checks import training as check
from tests.chapters.definitions import definitions
from tests.checks.verdicts import assert_not_begun, assert_right, assert_wrong, cases

chapter = definitions("training")
EXERCISES = {
    "step": ["step"],
    "batches": ["batches"],
    "smooth": ["smooth"],
    "accuracy": ["accuracy"],
    "training": ["training"],
    "checkpoint": ["snapshot", "restore"],
}


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solutions_are_accepted(name):
    assert_right(getattr(check, name)(*(chapter[f"solution_{part}"] for part in EXERCISES[name])))


@pytest.mark.parametrize("name", EXERCISES)
def test_stubs_are_told_to_begin(name):
    assert_not_begun(getattr(check, name)(*(chapter[f"my_{part}"] for part in EXERCISES[name])))


def zero_at_the_end(network, optimizer, x, y):
    loss = F.cross_entropy(network(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def slices(n, batch_size, generator, drop_last=False):
    order = torch.randperm(n, generator=generator)
    end = n - n % batch_size if drop_last else n
    return [order[start : start + batch_size] for start in range(0, end, batch_size)]


def sampled(n, batch_size, generator, drop_last=False):
    sampler = RandomSampler(range(n), generator=generator)
    return [torch.tensor(batch) for batch in BatchSampler(sampler, batch_size, drop_last)]


def weighted(losses, beta):
    weights = [beta**age for age in range(len(losses))]
    return [np.average(losses[: t + 1], weights=weights[t::-1]).item() for t in range(len(losses))]


def of_a_copy(network, batches):
    network = copy.deepcopy(network).eval()
    hits = [network(x).argmax(1) == y for x, y in batches]
    return torch.cat(hits).float().mean()


@torch.no_grad()
def counted_in_tensors(network, batches):
    was_training = network.training
    network.eval()
    right = sum((network(x).argmax(1) == y).sum() for x, y in batches)
    network.train(was_training)
    return right / sum(len(y) for _, y in batches)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("step", zero_at_the_end),
        ("batches", slices),
        ("batches", sampled),
        ("smooth", chapter["smooth"]),
        ("smooth", weighted),
        ("accuracy", of_a_copy),
        ("accuracy", counted_in_tensors),
    ],
)
def test_other_right_answers_are_accepted(name, answer):
    assert_right(getattr(check, name)(answer))


# --- step -------------------------------------------------------------------------------------


def step(lines, result=lambda loss: loss.item(), reduction="mean"):
    """A training step with these lines in this order, which returns this."""

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


# --- batches ----------------------------------------------------------------------------------


def permuted(n, generator):
    return torch.randperm(n, generator=generator)


def whole_only(n, size, generator, drop_last=False):
    return list(permuted(n, generator)[: n - n % size].split(size))


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


def turned(n, size, generator, drop_last=False):
    start = int(torch.randint(n, (1,), generator=generator))
    return list(torch.arange(n).roll(start).split(size))


def reseeded(n, size, generator, drop_last=False):
    generator = torch.Generator().manual_seed(generator.initial_seed())
    return slices(n, size, generator, drop_last)


# --- accuracy ---------------------------------------------------------------------------------


def counted(result, mode="eval", batches=lambda data: data):
    """An accuracy that returns ``result(right answers, sizes)`` and ends in some mode."""

    @torch.no_grad()
    def answer(network, data):
        before = network.training
        network.eval()
        hits = [int((network(x).argmax(1) == y).sum()) for x, y in batches(data)]
        network.train(before if mode == "as before" else mode == "train")
        return result(hits, [len(y) for _, y in batches(data)])

    return answer


def as_before(result, **options):
    return counted(result, "as before", **options)


share_of = chapter["solution_accuracy"]


@torch.no_grad()
def in_train_mode(network, data):
    before = network.training
    network.train()
    hits = sum(int((network(x).argmax(1) == y).sum()) for x, y in data)
    network.train(before)
    return hits / sum(len(y) for _, y in data)


def share(hits, sizes):
    return sum(hits) / sum(sizes)


# --- training ---------------------------------------------------------------------------------


def item(loss):
    return loss.item()


def numbers(losses, scores):
    return [loss.item() for loss in losses], scores


def loop(number=item, train="each epoch", read="eval", grad=False, lines="zbs", result=None):
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
        return result(losses, scores) if result else (losses, scores)

    return answer


# --- checkpoint -------------------------------------------------------------------------------


def both(network, optimizer):
    return copy.deepcopy((network.state_dict(), optimizer.state_dict()))


def not_copied(network, optimizer):
    return network.state_dict(), optimizer.state_dict()


def memory_not_copied(network, optimizer):
    return copy.deepcopy(network.state_dict()), optimizer.state_dict()


def load(snapshot, network, optimizer):
    network.load_state_dict(snapshot[0])
    optimizer.load_state_dict(copy.deepcopy(snapshot[1]))


def load_weights_only(snapshot, network, optimizer):
    network.load_state_dict(snapshot[0])


def load_without_copy(snapshot, network, optimizer):
    network.load_state_dict(snapshot[0])
    optimizer.load_state_dict(snapshot[1])


def parameters_only(network, optimizer):
    return [p.detach().clone() for p in network.parameters()], both(network, optimizer)[1]


@torch.no_grad()
def load_parameters(snapshot, network, optimizer):
    for weights, saved in zip(network.parameters(), snapshot[0], strict=True):
        weights.copy_(saved)
    optimizer.load_state_dict(copy.deepcopy(snapshot[1]))


def load_memory_only(snapshot, network, optimizer):
    optimizer.load_state_dict(copy.deepcopy(snapshot[1]))


def load_learning_rate_not(snapshot, network, optimizer):
    load(snapshot, network, optimizer)
    optimizer.param_groups[0]["lr"] = 0.3


def load_and_evaluate(snapshot, network, optimizer):
    load(snapshot, network, optimizer)
    network.eval()


def divides_by_zero(losses, beta):
    return [loss / (1 - beta**t) for t, loss in enumerate(losses)]


WRONG = {
    "step": [
        ([step("bs")], "Call optimizer.zero_grad()"),
        ([step("szb")], "before loss.backward()"),
        ([step("zb")], "weights have not changed"),
        ([step("bzs")], "weights have not changed"),
        ([step("zsb")], "backward() first"),
        ([step("zbss")], "exactly one backward() and one step()"),
        ([step("zbs", lambda loss: loss)], "with its whole graph"),
        ([step("zbs", lambda loss: loss.detach())], "you return a tensor:"),
        ([step("zbs", lambda loss: 6 * loss.item())], "sum over the batch"),
        ([step("zbs", reduction="sum")], "weights are not those"),
        ([step("zbs", lambda loss: str(loss.item()))], "a Python number, got str"),
        (
            [lambda network, *a: step("zbs")(network, *a) + 0 * network.eval().training],
            "right mode",
        ),
        ([loss_after], "*after* the step"),
        ([step("zbs", lambda loss: None)], "returned None"),
    ],
    "batches": [
        ([lambda n, b, g, d: list(torch.arange(n).split(b))], "in their own order"),
        ([lambda n, b, g, d: list(torch.randint(n, (n,), generator=g).split(b))], "more than once"),
        ([lambda n, b, g, d: list((permuted(n, g) + 1).split(b))], "outside of 0"),
        ([lambda n, b, g, d: list(torch.randperm(n).split(b))], "the same seed must give"),
        ([lambda n, b, g, d: slices(n, b, torch.Generator(), d)], "Another generator gives"),
        ([lambda n, b, g, d: torch.from_numpy(np.random.permutation(n)).split(b)], "the same seed"),  # noqa: NPY002
        ([reseeded], "A second call with a generator gives the same order"),
        ([cut_first], "some digits form a batch"),
        ([lambda *a: cut_first(*a, within=False)], "own order, begun elsewhere"),
        ([turned], "own order, begun elsewhere"),
        ([rest_as_it_is], "stand in the same place, in every epoch"),
        ([lambda n, b, g, d: [batch.tolist() for batch in slices(n, b, g, d)]], "list of tensors"),
        ([lambda n, b, g, d: [batch.double() for batch in slices(n, b, g, d)]], "torch.float64"),
        (
            [lambda n, b, g, d: whole_only(n, b, g.manual_seed(0))],
            "same order, so every epoch",
        ),
        ([lambda n, b, g, d: list(permuted(n, g).split(b))], "so the rest has to go"),
        ([whole_only], "The rest is missing"),
        ([with_an_empty_one], "an empty batch is none"),
        ([always_drops_the_last], "drop it only if it is smaller"),
        ([lambda n, b, g, d: n], "list of tensors of positions"),
    ],
    "smooth": [
        ([lambda losses, beta: chapter["smooth"](losses, 1 - beta)], "changed places"),
        ([lambda losses, beta: chapter["smooth"](losses, 0.9)], "For 5 losses and beta = 0.6"),
        ([divides_by_zero], "At t = 0 you divide by 1 - beta ** 0"),
        ([lambda losses, beta: chapter["smooth"](losses, beta)[-1]], "has shape"),
    ],
    "accuracy": [
        (
            [as_before(lambda h, s: sum(a / b for a, b in zip(h, s, strict=True)) / len(s))],
            "mean of the batches",
        ),
        ([in_train_mode], "in train mode"),
        ([lambda network, data: share_of(network, [data.pop(), *data])], "changes `data` itself"),
        ([lambda network, data: share_of(network, data[:1])], "the number is 0.625"),
        ([lambda network, data: in_train_mode(copy.deepcopy(network), data)], "in train mode"),
        ([counted(share)], "does not leave `network` in the mode"),
        ([counted(share, "train")], "put it back with network.train(…)"),
        ([as_before(lambda h, s: sum(h))], "divide it"),
        ([as_before(lambda h, s: 100 * share(h, s))], "in percent"),
        ([as_before(lambda h, s: sum(h) / len(s))], "number of batches"),
        ([as_before(lambda h, s: sum(h) / (len(s) * s[0]))], "the last is smaller"),
        ([as_before(share, batches=lambda data: data[:-1])], "smaller batch is missing"),
        ([as_before(lambda h, s: 1 - share(h, s))], "*wrong* answers"),
    ],
    "training": [
        ([chapter["suspicious_training"]], "Who switches back?"),
        ([loop(train="once")], "Who switches back?"),
        ([loop(number=lambda loss: loss)], "The modes are right now"),
        ([loop(number=lambda loss: loss, result=numbers)], "graphs of all its steps"),
        ([loop(read="train")], "held-out digits are read in train mode"),
        ([loop(grad=True)], "none for the held-out digits"),
        ([loop(lines="bs")], "the numbers are not"),
        ([loop(number=lambda loss: 2 * loss.item())], "the loss of each"),
        ([loop(result=lambda losses, scores: losses)], "Return two lists"),
    ],
    "checkpoint": [
        ([not_copied, load], "holds the *last* weights"),
        ([memory_not_copied, load], "copy them when you save"),
        ([both, load_weights_only], "without its momentum"),
        ([both, load_learning_rate_not], "not the learning rate"),
        ([both, load_and_evaluate], "is the network still in train mode"),
        ([both, load_memory_only], "does not have the weights"),
        ([parameters_only, load_parameters], "running statistics"),
        ([both, load_without_copy], "not a second time"),
        ([lambda network, optimizer: None, load], "returned None"),
        ([lambda network, optimizer: optimizer.step() or 1, load], "only look"),
        ([lambda network, optimizer: 1, load], "raised TypeError"),
    ],
}


@pytest.mark.parametrize(("name", "answers", "message"), cases(WRONG))
def test_wrong_answers_are_explained(name, answers, message):
    assert_wrong(getattr(check, name)(*answers), message)
