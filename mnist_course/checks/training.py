"""Checks of chapter 11, the training loop."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks import (
    NotSolvedError,
    call,
    compare,
    compared,
    exercise,
    explaining,
    normal,
    run,
    same,
    saying,
    uniform,
)
from mnist_course.checks._reader import Batch, Reader, exam, hits, share, wrong_shares

__all__ = ["accuracy", "batches", "checkpoint", "smooth", "step", "training"]


def _network(*layers: nn.Module) -> nn.Sequential:
    """A small classifier of five numbers into three classes, in float64, always the same."""
    torch.default_generator.manual_seed(0)  # the check's own, see `exercise`
    return nn.Sequential(nn.Linear(5, 4), *layers, nn.Tanh(), nn.Linear(4, 3)).double()


def _sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=0.3, momentum=0.9)


def _some_batches(*sizes: int) -> list[Batch]:
    """Batches of these sizes, always the same."""
    return [
        (normal(size, 5, seed=seed), (3 * uniform(size, seed=seed)).long())
        for seed, size in enumerate(sizes)
    ]


def _state(network: nn.Module) -> list[Tensor]:
    return [value.clone() for value in network.state_dict().values()]


def _equal(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def _train(
    network: nn.Module, optimizer: torch.optim.Optimizer, data: list[Batch], *, clear: bool = True
) -> list[float]:
    """A step for each batch; without ``clear``, gradients add up."""
    losses = []
    for images, labels in data:
        if clear:
            optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@exercise
def step(function: Callable[..., Any]) -> str:
    """Check ``function(network, optimizer, images, labels)``: one step, returns the loss."""
    data = _some_batches(6, 6, 4)
    network, reference, forgetful = _network(), _network(), _network()
    optimizer, start, answers = _sgd(network), _state(network), []
    early = (
        "optimizer.step() comes before loss.backward(): it changes the weights that the backward "
        "pass still needs, and steps with the gradient of the step before."
    )
    for images, labels in data:
        with explaining({"modified by an inplace operation": early}):
            may_change = [network, optimizer]
            answers.append(run(function, network, optimizer, images, labels, may_change=may_change))
    expected = _train(reference, _sgd(reference), data)
    _train(forgetful, _sgd(forgetful), data, clear=False)
    if _equal(_state(network), start):
        raise NotSolvedError(
            "The weights have not changed. loss.backward() only computes the gradients, and "
            "optimizer.step() uses them: are both there, backward() first, and no zero_grad() "
            "between the two?"
        )
    if same(_state(network), _state(forgetful)):
        raise NotSolvedError(
            "After three steps the weights are wrong: the gradients of the steps before are still "
            "there. Call optimizer.zero_grad() in each."
        )
    if not same(_state(network), _state(reference)):
        raise NotSolvedError(
            "After three steps the weights are not those of F.cross_entropy with exactly one "
            "backward() and one step() a call."
        )
    if not network.training:
        raise NotSolvedError("The network was in the right mode: leave it in train mode.")
    _compare_losses(answers, expected, data)
    return "Weights and losses of three steps are those of the loop in the text."


def _compare_losses(answers: list[Any], expected: list[float], data: list[Batch]) -> None:
    """Compare the losses of some steps, whose weights are right."""
    network = _network()
    optimizer = _sgd(network)
    for number, (answer, loss, batch) in enumerate(zip(answers, expected, data, strict=True), 1):
        _train(network, optimizer, [batch])
        after = F.cross_entropy(network(batch[0]), batch[1])
        if isinstance(answer, Tensor):
            graph = " with its whole graph" if answer.requires_grad else ""
            raise NotSolvedError(
                f"The weights are right, but you return a tensor{graph}: a number is loss.item()."
            )
        compare(
            answer,
            loss,
            f"step {number}",
            mistakes={
                "This is the loss *after* the step; return the one that you minimised.": after,
                "You return the sum over the batch; the loss is the mean.": loss * len(batch[1]),
            },
        )


@exercise
def batches(function: Callable[..., Any]) -> str:
    """Check ``function(n, batch_size, generator, drop_last)``: batches of positions."""
    for n, size, drop_last in (
        (24, 8, False), (20, 8, False), (20, 8, True), (24, 8, True), (5, 8, False), (8, 8, True),
        (5, 8, True),
    ):  # fmt: skip
        case = f"n = {n}, batch_size = {size}, drop_last = {drop_last}"
        epochs, again, other = (
            _epochs(function, n, size, drop_last, seed, case) for seed in (0, 0, 1)
        )
        for epoch in (*epochs, *again, *other):
            _every_position_once(epoch, n, size, drop_last, case)
        if not epochs[0]:
            continue
        if all(_joined(epoch) == sorted(_joined(epoch)) for epoch in epochs):
            raise NotSolvedError(f"For {case} the positions come in their own order: shuffle them.")
        if epochs != again:
            raise NotSolvedError(
                "The order does not come from the generator: the same seed must give the same "
                "order. Hand it on: torch.randperm(n, generator=generator)."
            )
        if epochs == other or all(epoch == epochs[0] for epoch in epochs):
            raise NotSolvedError(
                "Every generator, or every call, gives the same order, so every epoch would be the "
                "same: use the generator as it is, without seeding it."
            )
        _well_mixed(epochs, n, case)
    return "Every digit has its turn, in an order that follows from the generator."


Epoch = list[list[int]]


def _joined(epoch: Epoch) -> list[int]:
    return [position for batch in epoch for position in batch]


def _epochs(
    function: Callable[..., Any], n: int, size: int, drop_last: bool, seed: int, case: str
) -> list[Epoch]:
    """Ten epochs in a row with one generator."""
    generator, epochs = torch.Generator().manual_seed(seed), []
    for _ in range(10):
        answer = run(function, n, size, generator, drop_last)
        if not isinstance(answer, (list, tuple)) or not all(
            isinstance(batch, Tensor)
            and batch.ndim == 1
            and batch.dtype in (torch.int64, torch.int32)
            for batch in answer
        ):
            raise NotSolvedError(
                f"For {case} I expected a list of tensors of positions, whole numbers (int64)."
            )
        epochs.append([batch.tolist() for batch in answer])
    return epochs


def _every_position_once(epoch: Epoch, n: int, size: int, drop_last: bool, case: str) -> None:
    sizes, positions = [len(batch) for batch in epoch], _joined(epoch)
    expected = [size] * (n // size) + ([n % size] if n % size and not drop_last else [])
    if len(set(positions)) < len(positions):
        raise NotSolvedError(f"For {case} some positions come more than once: draw torch.randperm.")
    if not set(positions) <= set(range(n)):
        raise NotSolvedError(f"For {case} there are positions outside of 0 … {n - 1}.")
    if sizes != expected:
        hint = "with drop_last the rest has to go, and an empty batch is none"
        if len(sizes) < len(expected):
            hint = "only a batch that is smaller is dropped, and only with drop_last"
        raise NotSolvedError(
            f"For {case} the batches have {sizes} digits, expected {expected}: {hint}."
        )


def _well_mixed(epochs: list[Epoch], n: int, case: str) -> None:
    """Raise what stays the same in ten epochs; by chance, nothing does."""
    orders = [_joined(epoch) for epoch in epochs]
    never = set(range(n)).difference(*orders)
    if never:
        raise NotSolvedError(
            f"For {case} positions {sorted(never)} are dropped in every epoch: shuffle first."
        )
    if n > 5 and any(len({(b - a) % n for a, b in pairwise(order)}) == 1 for order in orders):
        raise NotSolvedError(
            f"For {case} the positions come in their own order, begun elsewhere: shuffle them."
        )
    company = [[frozenset(batch) for batch in epoch] for epoch in epochs]
    columns = [*zip(*orders, strict=True), [frozenset(sets) for sets in company]]
    columns += zip(*company, strict=True)
    if any(len(set(column)) == 1 for column in columns) and len(epochs[0]) > 1:
        raise NotSolvedError(
            f"For {case} some digits form a batch, or stand in the same place, in every epoch: "
            "shuffle all positions, and only then cut them into batches."
        )


def _running_mean(
    losses: list[float], beta: float, mean: float = 0.0, *, carried: bool = False
) -> list[float]:
    """The running mean, uncorrected; or corrected, and the corrected value carried on."""
    curve = []
    for t, loss in enumerate(losses, 1):
        mean = beta * mean + (1 - beta) * loss
        mean /= 1 - beta**t if carried else 1
        curve.append(mean)
    return curve


def _corrected(curve: list[float], beta: float, first: int = 1) -> list[float]:
    return [m / (1 - beta**t) for t, m in enumerate(curve, first)]


@compared(
    cases={
        f"{count} losses and beta = {beta}": ((2 * uniform(count, seed=count)).tolist(), beta)
        for count, beta in [(8, 0.9), (5, 0.6), (1, 0.9), (40, 0.98), (6, 0.0)]
    },
    mistakes={
        "The beginning is not corrected: divide by 1 - beta ** (t + 1), or the curve starts near "
        "0.": _running_mean,
        "This curve starts from the first loss, which then weighs more than any other: start from "
        "0, and divide by 1 - beta ** (t + 1).": (
            lambda losses, beta: _running_mean(losses, beta, losses[0])
        ),
        "beta and 1 - beta have changed places: beta is the share of the past.": (
            lambda losses, beta: _corrected(_running_mean(losses, 1 - beta), 1 - beta),
            lambda losses, beta: _corrected(_running_mean(losses, 1 - beta), beta),
        ),
        "The corrected value is carried on, and corrected again in the next step: carry on m, and "
        "divide only what you show.": partial(_running_mean, carried=True),
        "The power is one too large: at t = 0 divide by 1 - beta.": (
            lambda losses, beta: _corrected(_running_mean(losses, beta), beta, 2)
        ),
    },
    right="It equals the formula, from the first loss on.",
    raised={"ZeroDivisionError": "At t = 0 you divide by 1 - beta ** 0 = 0: the power is t + 1."},
)
def smooth(losses: list[float], beta: float) -> list[float]:
    """Check ``function(losses, beta)``: the running mean, corrected for its beginning."""
    return _corrected(_running_mean(losses, beta), beta)


@compared(
    cases={
        f"batches of {sizes} in {'train' if training else 'eval'} mode": (
            exam(sizes, [1, 3, 4, 9, sum(sizes) - 1], (5,), training=training, graphs=True)
        )
        for sizes in ([8, 8, 3], [6, 4])
        for training in (True, False)
    },
    mistakes=wrong_shares(hits),
    right="It counts every digit once, and leaves the network as it was.",
    tolerance=1e-6,  # a float32 share is as good as any
)
def accuracy(network: Reader, batches: list[Batch]) -> float:
    """Check ``function(network, batches)``: the share of right answers, and nothing changed."""
    return share(network, batches)


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


def _epochs_as_meant(
    network: nn.Module, data: list[Batch], held_out: Batch, epochs: int
) -> tuple[list[float], list[float]]:
    """The losses and the held-out accuracies of a training without the two bugs."""
    optimizer, losses, scores = _sgd(network), [], []
    for _ in range(epochs):
        of_epoch = _train(network.train(), optimizer, data)
        losses.append(sum(of_epoch) / len(of_epoch))
        hits = network.eval()(held_out[0]).argmax(1) == held_out[1]
        scores.append(hits.double().mean().item())
    return losses, scores


@exercise
def training(function: Callable[..., Any]) -> str:
    """Check the repair of a loop that stays in eval mode and keeps the graph of every step."""
    data, (held_out,), epochs = _some_batches(7, 7, 7), _some_batches(9), 3
    spy, other = _Spy(), _network(nn.BatchNorm1d(4))
    network = nn.Sequential(_network(nn.BatchNorm1d(4)), spy)
    optimizer = _sgd(network)
    answer = run(
        function, network, optimizer, data, held_out, epochs, may_change=[network, optimizer]
    )
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise NotSolvedError("Return two lists, the losses and the accuracies of the epochs.")
    _modes_are_right([mode for mode, grad in spy.seen if grad], epochs, len(data))
    if any(mode for mode, grad in spy.seen if not grad):
        raise NotSolvedError(
            "The held-out digits are read in train mode: call network.eval() before."
        )
    losses = answer[0] if isinstance(answer[0], (list, tuple)) else [answer[0]]
    of_losses = any(isinstance(number, Tensor) and number.requires_grad for number in losses)
    # The graph of the step before lives as long as `loss` names it.
    if of_losses or spy.most_kept > 1:
        where = "The losses that you return" if of_losses else "Within an epoch the losses"
        raise NotSolvedError(
            f"The modes are right now. {where} still hold on to the graph of every step: add up "
            "numbers, loss.item()."
        )
    expected = _epochs_as_meant(other, data, held_out, epochs)
    for name, mine, theirs in zip(("loss", "accuracy"), answer, expected, strict=True):
        compare(mine, theirs, f"the {name} of each of {epochs} epochs")
    if not same(_state(network), _state(other)):
        raise NotSolvedError(
            "Losses and accuracies are right, but the network is another afterwards."
        )
    return "Every step is made in train mode, and nothing but numbers is kept."


def _modes_are_right(steps: list[bool], epochs: int, per_epoch: int) -> None:
    """Raise if the forward passes that recorded gradients are not all steps in train mode."""
    if len(steps) != epochs * per_epoch:
        raise NotSolvedError(
            f"{len(steps)} forward passes recorded gradients, expected {epochs * per_epoch}: one "
            "for each batch in each epoch, and none for the held-out digits (torch.no_grad())."
        )
    if not all(steps):
        raise NotSolvedError(
            "Some steps are made in eval mode, as from the second epoch on: eval() is called at "
            "the end of each epoch. Who switches back?"
        )


@exercise
def checkpoint(snapshot: Callable[..., Any], restore: Callable[..., Any]) -> str:
    """Check a pair of functions: ``snapshot(network, optimizer)`` and ``restore(snapshot, …)``."""
    data, network = _some_batches(6, 6, 6), _network(nn.BatchNorm1d(4))
    optimizer = _sgd(network)
    optimizer.param_groups[0]["lr"] = 0.2  # it may have fallen
    _train(network, optimizer, data)
    then, memory = _state(network), copy.deepcopy(optimizer.state_dict())
    with explaining({"Your function": "Taking a snapshot should only look."}):
        taken = run(snapshot, network, optimizer)
    _train(network, optimizer, data)  # the training goes on, and must not touch the snapshot
    goal = _state(network)
    for attempt in ("once", "twice"):
        fresh = _network(nn.BatchNorm1d(4))
        fresh_optimizer = _sgd(fresh)
        with torch.no_grad():
            for weights in fresh.parameters():
                weights.add_(1)  # a network from another seed
        call(restore, taken, fresh, fresh_optimizer, may_change=[fresh, fresh_optimizer])
        resumed = _state(fresh)
        if attempt == "once":
            _weights_are_back(fresh, then, goal)
            _optimizer_is_back(fresh_optimizer, memory)
        _train(fresh, fresh_optimizer, data)
        if _equal(resumed, then) and _equal(_state(fresh), goal):
            continue
        if attempt == "twice":
            raise NotSolvedError(
                "It can be restored once, and not a second time: the training that was resumed "
                "writes into the snapshot. Copy in restore, too."
            )
        raise NotSolvedError(
            "Weights and momentum are right when restored, but the training goes on differently: "
            "is the network still in train mode, and has the optimiser its very parameters?"
        )
    return "The training goes on as if there had been no break, to the last bit."


def _optimizer_is_back(optimizer: torch.optim.Optimizer, memory: dict[str, Any]) -> None:
    momentum, expected = (
        [list(of_one.values()) for of_one in state["state"].values()]
        for state in (optimizer.state_dict(), memory)
    )
    with saying("The weights are right, but "):
        if not momentum:
            raise NotSolvedError(
                "the optimiser has no momentum: save and load optimizer.state_dict(), too."
            )
        if optimizer.param_groups[0]["lr"] != memory["param_groups"][0]["lr"]:
            raise NotSolvedError(
                "the optimiser has not the learning rate of the snapshot: optimizer.state_dict() "
                "holds it, besides the momentum."
            )
        if not same(momentum, expected, 0, 0):
            raise NotSolvedError(
                "the optimiser has another momentum than at the snapshot: optimizer.state_dict() "
                "holds the very tensors that go on changing. Copy them when you save."
            )


def _weights_are_back(network: nn.Module, then: list[Tensor], goal: list[Tensor]) -> None:
    state = network.state_dict()
    wrong = {n for n, value in zip(state, then, strict=True) if not torch.equal(state[n], value)}
    if not wrong:
        return
    if _equal(_state(network), goal):
        raise NotSolvedError(
            "The snapshot holds the *last* weights: state_dict() returns the very tensors that go "
            "on being trained. Copy them, as with copy.deepcopy."
        )
    if wrong <= {name for name, _ in network.named_buffers()}:
        raise NotSolvedError(
            "The parameters are right, but not the running statistics of batch norm: "
            "network.state_dict() has both, network.parameters() has not."
        )
    raise NotSolvedError(
        "After restore, the network does not have the weights of the snapshot: is "
        "network.load_state_dict(…) there?"
    )
