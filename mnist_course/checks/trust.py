"""Checks of the chapter about training that you can trust."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mnist_course.checks import (
    NotSolvedError,
    call,
    compare,
    compared,
    exercise,
    explaining,
    numbers,
    run,
    same,
    saying,
)
from mnist_course.checks._loop import classifier, equal, sgd, some_batches, state_of, train
from mnist_course.checks._reader import Batch, Reader, exam, hits, share, wrong_shares

__all__ = ["accuracy", "balanced", "checkpoint", "training"]


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
    optimizer, losses, scores = sgd(network), [], []
    for _ in range(epochs):
        of_epoch = train(network.train(), optimizer, data)
        losses.append(sum(of_epoch) / len(of_epoch))
        hits = network.eval()(held_out[0]).argmax(1) == held_out[1]
        scores.append(hits.double().mean().item())
    return losses, scores


@exercise
def training(function: Callable[..., Any]) -> str:
    """Check the repair of a loop that stays in eval mode and keeps the graph of every step."""
    data, (held_out,), epochs = some_batches(7, 7, 7), some_batches(9), 3
    spy, other = _Spy(), classifier(nn.BatchNorm1d(4))
    network = nn.Sequential(classifier(nn.BatchNorm1d(4)), spy)
    optimizer = sgd(network)
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
    if not same(state_of(network), state_of(other)):
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
    data, network = some_batches(6, 6, 6), classifier(nn.BatchNorm1d(4))
    optimizer = sgd(network)
    optimizer.param_groups[0]["lr"] = 0.2  # it may have fallen
    train(network, optimizer, data)
    then, memory = state_of(network), copy.deepcopy(optimizer.state_dict())
    with explaining({"Your function": "Taking a snapshot should only look."}):
        taken = run(snapshot, network, optimizer)
    train(network, optimizer, data)  # the training goes on, and must not touch the snapshot
    goal = state_of(network)
    for attempt in ("once", "twice"):
        fresh = classifier(nn.BatchNorm1d(4))
        fresh_optimizer = sgd(fresh)
        with torch.no_grad():
            for weights in fresh.parameters():
                weights.add_(1)  # a network from another seed
        call(restore, taken, fresh, fresh_optimizer, may_change=[fresh, fresh_optimizer])
        resumed = state_of(fresh)
        if attempt == "once":
            _weights_are_back(fresh, then, goal)
            _optimizer_is_back(fresh_optimizer, memory)
        train(fresh, fresh_optimizer, data)
        if equal(resumed, then) and equal(state_of(fresh), goal):
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
    if equal(state_of(network), goal):
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


@exercise
def balanced(function: Callable[[Tensor], Any]) -> str:
    """Check ``function(labels)``: a weight for each example, so that classes are drawn alike."""
    for case, classes in {
        "two classes, 1 : 3": [0, 1, 1, 1],
        "three classes": [2, 0, 2, 1, 2, 2, 0, 2],
        "a class that does not occur": [3, 3, 0, 3, 3, 3, 3],
    }.items():
        labels = torch.tensor(classes)
        weights = numbers(run(function, labels), f"For {case} I expected numbers")
        if weights.shape != labels.shape:
            raise NotSolvedError(
                f"For {case} I expected {len(labels)} weights, one for each *example*, got shape "
                f"{tuple(weights.shape)}: index the weights of the classes with the labels."
            )
        if not (weights > 0).all() or not weights.isfinite().all():
            raise NotSolvedError(f"For {case} some weights are not positive, finite numbers.")
        _look_at_shares(case, labels, weights)
    return "Every class that occurs is drawn as often as any other."


def _look_at_shares(case: str, labels: Tensor, weights: Tensor) -> None:
    counts = labels.bincount()
    shares = torch.zeros(len(counts)).double().index_add(0, labels, weights) / weights.sum()
    wanted = (counts > 0).double() / (counts > 0).sum()
    if torch.allclose(shares, wanted, atol=1e-5):  # float32 weights are as good as any
        return
    natural = counts.double() / len(labels)
    hint = ""
    if torch.allclose(shares, natural, atol=1e-5):
        hint = " That is how often they occur: give rare classes larger weights."
    elif torch.allclose(shares, natural**2 / (natural**2).sum(), atol=1e-5):
        hint = " Those are the counts themselves as weights: divide by them."
    listed = ", ".join(f"{share:.2f}" for share in shares.tolist())
    raise NotSolvedError(
        f"For {case} the classes are drawn with the shares {listed}, and those that occur should "
        f"have equal ones.{hint}"
    )
