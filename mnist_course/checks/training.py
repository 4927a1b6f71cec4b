"""Checks for the exercises on the training loop (chapter 11)."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks._returning import Verdict, compare, right, run, wrong

__all__ = ["accuracy", "batches", "checkpoint", "smooth", "step", "training"]

Batch = tuple[Tensor, Tensor]


def _network(*layers: nn.Module) -> nn.Sequential:
    """A small classifier of five numbers into three classes, in float64, from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 4), *layers, nn.Tanh(), nn.Linear(4, 3)).double()


def _sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=0.3, momentum=0.9)


def _some_batches(*sizes: int) -> list[Batch]:
    """Batches of these sizes, always the same."""
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, 5, dtype=torch.float64, generator=generator),
            torch.randint(3, (size,), generator=generator),
        )
        for size in sizes
    ]


def _state(network: nn.Module) -> list[Tensor]:
    return [value.clone() for value in network.state_dict().values()]


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def _close(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.allclose(x, y, atol=1e-9) for x, y in zip(a, b, strict=True))


def _train(
    network: nn.Module, optimizer: torch.optim.Optimizer, data: list[Batch], lines: str = "zbs"
) -> list[float]:
    """A step for each batch: ``lines`` are the order of zero_grad, backward and step."""
    losses = []
    for images, labels in data:
        loss = F.cross_entropy(network(images), labels)
        actions: dict[str, Callable[[], Any]] = {
            "z": optimizer.zero_grad,
            "b": loss.backward,
            "s": optimizer.step,
        }
        for line in lines:
            actions[line]()
        losses.append(loss.item())
    return losses


def step(function: Callable[..., Any]) -> Verdict:
    """Check ``function(network, optimizer, images, labels)``: one step, returns the loss."""
    data = _some_batches(6, 6, 6)
    mine, reference = _network(), _network()
    my_optimizer, expected = _sgd(mine), _train(reference, _sgd(reference), data)
    start, answers = _state(mine), []
    for images, labels in data:
        answer = run(function, mine, my_optimizer, images, labels)
        if isinstance(answer, Verdict):
            if "modified by an inplace operation" in answer.message:
                return wrong(
                    "optimizer.step() comes before loss.backward(): it changes the weights that "
                    "the backward pass still needs, and steps with the gradient of the step before."
                )
            return answer
        answers.append(answer)

    if _same(_state(mine), start):
        return wrong(
            "The weights have not changed. loss.backward() only computes the gradients, and "
            "optimizer.step() uses them: are both there, backward() first, and no zero_grad() "
            "between the two?"
        )
    if not _close(_state(mine), _state(reference)):
        forgetful = _network()
        _train(forgetful, _sgd(forgetful), data, "bs")
        if _close(_state(mine), _state(forgetful)):
            return wrong(
                "After three steps the weights are wrong: the gradients of the steps before are "
                "still there. Call optimizer.zero_grad() in each."
            )
        return wrong(
            "After three steps the weights are not those of F.cross_entropy with exactly one "
            "backward() and one step() a call."
        )
    if isinstance(answers[0], Tensor):
        graph = " with its whole graph" if answers[0].requires_grad else ""
        return wrong(
            f"The weights are right, but you return a tensor{graph}: a number is loss.item()."
        )
    after = _network()
    _train(after, _sgd(after), data[:1])
    with torch.no_grad():
        later = F.cross_entropy(after(data[0][0]), data[0][1])
    verdict = compare(
        answers[0],
        torch.tensor(expected[0], dtype=torch.float64),
        "the first step",
        hints=[
            ("This is the loss *after* the step; return the one that you minimised.", later),
            (
                "You return the sum over the batch; the loss is the mean.",
                torch.tensor(expected[0] * 6, dtype=torch.float64),
            ),
        ],
    )
    if verdict is not None:
        return verdict
    return right("Weights and losses of three steps are those of the loop in the text.")


def _as_lists(answer: Any) -> list[list[int]] | None:
    """Lists of positions, or None if the answer is something else."""
    try:
        return [[int(n) for n in batch] for batch in answer]
    except (TypeError, ValueError):
        return None


def _joined(lists: list[list[int]]) -> list[int]:
    return [position for batch in lists for position in batch]


def batches(function: Callable[..., Any]) -> Verdict:
    """Check ``function(n, batch_size, generator, drop_last)``: batches of positions."""
    for n, size, drop_last in ((12, 4, False), (10, 4, False), (10, 4, True), (12, 4, True)):
        case = f"n = {n}, batch_size = {size}, drop_last = {drop_last}"
        random_state = torch.get_rng_state()

        def ask(seed: int, n: int = n, size: int = size, drop_last: bool = drop_last) -> Any:
            generator = torch.Generator().manual_seed(seed)
            answer = run(function, n, size, generator, drop_last)
            return answer if isinstance(answer, Verdict) else _as_lists(answer)

        answer, again, other = ask(0), ask(0), ask(1)
        if isinstance(answer, Verdict):
            return answer
        if answer is None:
            return wrong(f"For {case} I expected a list of tensors of positions.")
        sizes, positions = [len(batch) for batch in answer], _joined(answer)
        expected = [size] * (n // size) + ([n % size] if n % size and not drop_last else [])
        if len(set(positions)) < len(positions):
            return wrong(
                f"For {case} some positions come more than once: draw a permutation "
                "(torch.randperm), not random numbers."
            )
        if not set(positions) <= set(range(n)):
            return wrong(f"For {case} there are positions outside of 0 … {n - 1}.")
        if sizes != expected:
            hint = ""
            if expected[-1] < size and sizes == expected[:-1]:
                hint = " The rest is missing: without drop_last, every digit has its turn."
            elif sizes == [*expected, 0]:
                hint = " There is no rest here; an empty batch is none."
            elif sizes == [*expected, n % size]:
                hint = " drop_last is true, so the rest has to go."
            elif drop_last and sizes == expected[:-1]:
                hint = " The last batch is a whole one here: drop it only if it is smaller."
            return wrong(f"For {case} the batches have {sizes} digits, expected {expected}.{hint}")
        if positions == sorted(positions):
            return wrong(f"For {case} the positions come in their own order: shuffle them.")
        if positions != _joined(again) or not torch.equal(random_state, torch.get_rng_state()):
            return wrong(
                "The order does not come from the generator: the same seed must give the same "
                "order. Hand it on: torch.randperm(n, generator=generator)."
            )
        if positions == _joined(other):
            return wrong(
                "Another generator gives the same order, so every epoch would be the same: use "
                "the generator as it is, without seeding it."
            )
    return right("Every digit has its turn, in an order that follows from the generator.")


def _running_mean(losses: list[float], beta: float, mean: float = 0.0) -> list[float]:
    curve = []
    for loss in losses:
        mean = beta * mean + (1 - beta) * loss
        curve.append(mean)
    return curve


def smooth(function: Callable[[list[float], float], Any]) -> Verdict:
    """Check ``function(losses, beta)``: the running mean, corrected for its beginning."""
    generator = torch.Generator().manual_seed(2)
    for count, beta in ((8, 0.9), (5, 0.6), (1, 0.9)):
        losses = (2 * torch.rand(count, generator=generator, dtype=torch.float64)).tolist()

        def tensor(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64)

        def corrected(curve: list[float], beta: float, first: int = 1) -> Tensor:
            return tensor([m / (1 - beta ** (t + first)) for t, m in enumerate(curve)])

        plain = _running_mean(losses, beta)
        again, carried = [], 0.0
        for t, loss in enumerate(losses):
            carried = (beta * carried + (1 - beta) * loss) / (1 - beta ** (t + 1))
            again.append(carried)
        hints = [
            (
                "The beginning is not corrected: divide by 1 - beta ** (t + 1), or the curve "
                "starts near 0.",
                tensor(plain),
            ),
            (
                "This curve starts from the first loss, which then weighs more than any other: "
                "start from 0, and divide by 1 - beta ** (t + 1).",
                tensor(_running_mean(losses, beta, losses[0])),
            ),
            (
                "beta and 1 - beta have changed places: beta is the share of the past.",
                corrected(_running_mean(losses, 1 - beta), 1 - beta),
            ),
            (
                "The corrected value is carried on, and corrected again in the next step: carry "
                "on m, and divide only what you show.",
                tensor(again),
            ),
            (
                "This is the mean of all losses so far, in which nothing fades away.",
                tensor([sum(losses[: t + 1]) / (t + 1) for t in range(count)]),
            ),
        ]
        if count > 1:
            hints.append(
                (
                    "The power is one too large: at t = 0 divide by 1 - beta.",
                    corrected(plain, beta, 2),
                )
            )
        verdict = compare(
            run(function, list(losses), beta),
            corrected(plain, beta),
            f"{count} losses and beta = {beta}",
            hints=hints,
        )
        if verdict is not None:
            if "ZeroDivisionError" in verdict.message:
                return wrong("At t = 0 you divide by 1 - beta ** 0 = 0: the power is t + 1.")
            return verdict
    return right("It equals the formula, from the first loss on.")


def accuracy(function: Callable[[nn.Module, list[Batch]], Any]) -> Verdict:
    """Check ``function(network, batches)``: the share of right answers, and nothing changed."""
    data = _some_batches(8, 8, 3)
    network = _network(nn.BatchNorm1d(4), nn.Dropout(0.5))
    for images, _ in _some_batches(40) * 30:  # running statistics that are worth something
        network(images)
    total = sum(len(labels) for _, labels in data)
    with torch.no_grad():
        network.eval()
        hits = [int((network(x).argmax(1) == y).sum()) for x, y in data]
    expected = torch.tensor(sum(hits) / total, dtype=torch.float64)
    means = [hit / len(y) for hit, (_, y) in zip(hits, data, strict=True)]

    for was_training in (True, False):
        network.train(was_training)
        before, random_state = _state(network), torch.get_rng_state()
        answer = run(function, network, list(data))
        mode, after = network.training, _state(network)
        if isinstance(answer, Verdict):
            return answer
        if isinstance(answer, Tensor) and answer.requires_grad:
            return wrong("The result still has a graph: count inside torch.no_grad().")
        if not _same(before, after) or not torch.equal(random_state, torch.get_rng_state()):
            return wrong(
                "The network answered in train mode: dropout was on, and the running statistics "
                "of batch norm have changed. Call network.eval() first."
            )
        verdict = compare(
            answer,
            expected,
            "batches of 8, 8 and 3",
            hints=[
                (
                    "This is the mean of the batches' accuracies, in which the small last batch "
                    "counts as much as a whole one: add up right answers, and divide once by the "
                    "number of digits.",
                    torch.tensor(sum(means) / len(means), dtype=torch.float64),
                ),
                ("This is the number of right answers: divide it.", expected * total),
                ("A share is between 0 and 1, and this is in percent.", expected * 100),
                (
                    "You divided by the number of batches: divide by the number of digits.",
                    expected * total / len(data),
                ),
                (
                    "You divided by batches × size of the first batch, but the last is smaller.",
                    expected * total / (len(data) * 8),
                ),
                (
                    "The last, smaller batch is missing.",
                    torch.tensor(sum(hits[:2]) / 16, dtype=torch.float64),
                ),
                ("This is the share of *wrong* answers.", 1 - expected),
            ],
        )
        if verdict is not None:
            return verdict
        if mode != was_training:
            was, now = ("train", "eval") if was_training else ("eval", "train")
            return wrong(
                f"The number is right, but the network came in {was} mode and leaves in {now} "
                "mode. Remember network.training, and put it back with network.train(…)."
            )
    return right("It counts every digit once, and leaves the network as it was.")


class _Mark(torch.autograd.Function):
    """The identity; holds a token, which lives as long as the graph that it is part of."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, token: Tensor) -> Tensor:
        ctx.token = token
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return slopes[0], None


class _Spy(nn.Module):
    """Notes the mode of every forward pass, whether gradients are recorded, and graphs kept."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, bool]] = []
        self.graphs: list[weakref.ref[Tensor]] = []
        self.most_kept = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((self.training, torch.is_grad_enabled()))
        self.most_kept = max(self.most_kept, sum(graph() is not None for graph in self.graphs))
        if not x.requires_grad:
            return x
        token = torch.empty(0)
        self.graphs.append(weakref.ref(token))
        return _Mark.apply(x, token)


def training(function: Callable[..., Any]) -> Verdict:
    """Check the repair of a loop that stays in eval mode and keeps the graph of every step."""
    data, (held_out,) = _some_batches(7, 7, 7), _some_batches(9)
    epochs = 3

    def reference(network: nn.Module) -> tuple[list[float], list[float]]:
        optimizer, losses, scores = _sgd(network), [], []
        for _ in range(epochs):
            network.train()
            of_epoch = _train(network, optimizer, data)
            losses.append(sum(of_epoch) / len(of_epoch))
            network.eval()
            with torch.no_grad():
                hits = network(held_out[0]).argmax(1) == held_out[1]
                scores.append(hits.double().mean().item())
        return losses, scores

    spy, other = _Spy(), _network(nn.BatchNorm1d(4))
    network = nn.Sequential(_network(nn.BatchNorm1d(4)), spy)
    answer = run(function, network, _sgd(network), data, held_out, epochs)
    if isinstance(answer, Verdict):
        return answer
    try:
        losses, scores = answer
        numbers = list(losses), list(scores)
    except (TypeError, ValueError):
        return wrong("Return two lists, the losses and the accuracies of the epochs.")

    steps = [mode for mode, grad in spy.seen if grad]
    if len(steps) == epochs * len(data) and all(steps[: len(data)]) and not any(steps[len(data) :]):
        return wrong(
            "From the second epoch on the steps are made in eval mode: eval() is called at the "
            "end of each epoch. Who switches back?"
        )
    if len(steps) != epochs * len(data):
        return wrong(
            f"{len(steps)} forward passes recorded gradients, expected {epochs * len(data)}: one "
            "for each batch in each epoch, and none for the held-out digits (torch.no_grad())."
        )
    if not all(steps):
        return wrong("Some steps are made in eval mode: call network.train() before them.")
    if any(mode for mode, grad in spy.seen if not grad):
        return wrong("The held-out digits are read in train mode: call network.eval() before.")
    if any(isinstance(number, Tensor) and number.requires_grad for number in numbers[0]):
        return wrong(
            "The modes are right now. The losses that you return still hold on to the graph of "
            "every step: add up numbers, loss.item()."
        )
    if spy.most_kept > 1:  # the graph of the step before lives as long as `loss` names it
        return wrong(
            "The modes are right now, and you return numbers. But within an epoch the graphs of "
            "all its steps are still kept: add up numbers, loss.item()."
        )
    expected = reference(other)
    for name, mine, theirs in zip(("loss", "accuracy"), numbers, expected, strict=True):
        verdict = compare(
            [float(value) for value in mine],
            torch.tensor(theirs, dtype=torch.float64),
            f"the {name} of each of {epochs} epochs",
        )
        if verdict is not None:
            return verdict
    return right("Every step is made in train mode, and nothing but numbers is kept.")


def checkpoint(snapshot: Callable[..., Any], restore: Callable[..., Any]) -> Verdict:
    """Check a pair of functions: ``snapshot(network, optimizer)`` and ``restore(snapshot, …)``."""
    data = _some_batches(6, 6, 6)

    def new() -> tuple[nn.Module, torch.optim.Optimizer]:
        network = _network(nn.BatchNorm1d(4))
        return network, _sgd(network)

    network, optimizer = new()
    _train(network, optimizer, data)
    at_half = _state(network)
    taken = run(snapshot, network, optimizer)
    if isinstance(taken, Verdict):
        return taken
    if not _same(_state(network), at_half):
        return wrong("Taking the snapshot changed the network: it should only look.")
    _train(network, optimizer, data)  # the training goes on, and must not touch the snapshot
    goal = _state(network)

    for attempt in ("once", "twice"):
        fresh, fresh_optimizer = new()
        with torch.no_grad():
            for weights in fresh.parameters():
                weights.add_(1)  # a network from another seed
        verdict = run(restore, taken, fresh, fresh_optimizer)
        if isinstance(verdict, Verdict) and "returned None" not in verdict.message:
            return verdict
        restored = _state(fresh)
        if not _same(restored, at_half):
            if attempt == "twice":
                return wrong(
                    "It can be restored once, and not a second time: the training that was "
                    "resumed writes into the snapshot. Copy in restore, too."
                )
            if _same(restored, goal):
                return wrong(
                    "The snapshot holds the *last* weights: state_dict() returns the very tensors "
                    "that go on being trained. Copy them, as with copy.deepcopy."
                )
            statistics = [name for name, _ in fresh.named_buffers()]
            names = list(fresh.state_dict())
            pairs = zip(names, restored, at_half, strict=True)
            if all(torch.equal(a, b) for name, a, b in pairs if name not in statistics):
                return wrong(
                    "The parameters are right, but not the running statistics of batch norm: "
                    "network.state_dict() has both, network.parameters() has not."
                )
            return wrong(
                "After restore, the network does not have the weights of the snapshot: is "
                "network.load_state_dict(…) there?"
            )
        if not fresh_optimizer.state_dict()["state"]:
            return wrong(
                "The weights are right, but the optimiser begins without its momentum: save and "
                "load optimizer.state_dict() as well."
            )
        _train(fresh, fresh_optimizer, data)
        if not _same(_state(fresh), goal):
            if attempt == "twice":
                return wrong(
                    "It can be restored once, and not a second time: the training that was "
                    "resumed writes into the snapshot. Copy in restore, too."
                )
            return wrong(
                "The weights are right when restored, but the training goes on differently: the "
                "optimiser has another momentum than at the snapshot. optimizer.state_dict() "
                "holds the very tensors that go on changing: copy them when you save."
            )
    return right("The training goes on as if there had been no break, to the last bit.")
