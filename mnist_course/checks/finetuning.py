"""Checks of chapter 24, fine-tuning."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course import models
from mnist_course.checks import NotSolvedError, exercise, explaining, run, uniform
from mnist_course.checks._arguments import change, snapshot
from mnist_course.checks._networks import filled
from mnist_course.data import Digits
from mnist_course.evaluate import evaluate

__all__ = ["between", "frozen_copy", "learned_and_remembered", "load_what_fits", "new_head"]


def _network(*channels: int) -> nn.Sequential:
    return filled(lambda: models.course_network(channels))


def _numbered() -> nn.Sequential:
    """The name of a layer begins with that of another, as it does from the tenth on."""
    names = "conv1", "conv10", "conv"
    return nn.Sequential(OrderedDict((name, nn.Conv2d(2, 2, 3)) for name in names))


def _copied(function: Callable[..., Any], network: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The network that the function returns, which must be another than the one it is given."""
    before = snapshot(network, "network")
    answer = run(function, network, *args, may_change=[network], **kwargs)
    if not isinstance(answer, nn.Module):
        raise NotSolvedError(f"Return a network; got {type(answer).__name__}.")
    given = list(network.parameters())
    if answer is network or any(a is b for a in answer.parameters() for b in given):
        raise NotSolvedError(
            "You return the network itself, not a copy: try copy.deepcopy(network)."
        )
    changed = change(before, snapshot(network, "network"))
    for word, what in {
        "requires_grad": "is frozen now, or thawed; freeze",
        "mode": "is in another mode now; change",
        "": "has changed; train",
    }.items():
        if changed is not None and word in changed:
            raise NotSolvedError(f"The network that was given {what} the copy only.")
    return answer


def _different(network: nn.Module, given: dict[str, Tensor]) -> list[str]:
    """Names of the parameters and statistics that are not those given."""
    return [name for name, value in network.state_dict().items() if not given[name].equal(value)]


@exercise
def frozen_copy(function: Callable[[nn.Module, str], Any]) -> str:
    """Check ``function(network, head)``: a copy in which only the head may be trained."""
    for network, head in (
        (_network(3, 4, 5).train(), "linear"),
        (_network(2, 4), "conv2"),
        (filled(_numbered).train(), "conv1"),
        (filled(_numbered).train(), "conv"),
    ):
        answer = _copied(function, network, head)
        given = network.state_dict()
        if answer.state_dict().keys() != given.keys() or _different(answer, given):
            raise NotSolvedError(
                "The network that you return has other weights than the one given: copy it."
            )
        free = {name for name, w in answer.named_parameters() if w.requires_grad}
        wanted = {name for name, _ in network.named_parameters() if name.startswith(f"{head}.")}
        if free - wanted:
            raise NotSolvedError(f"For head={head!r} {min(free - wanted)} can still be trained.")
        if wanted - free:
            raise NotSolvedError(
                f"For head={head!r} {min(wanted - free)} is frozen, too: thaw the head after "
                "freezing everything."
            )
        if any(layer.training for layer in answer.modules()):
            raise NotSolvedError(
                "The copy is in train mode: its batch norms would change, frozen or not. "
                "Call eval()."
            )
    return "Only the head moves, and the original stays as it was."


@exercise
def load_what_fits(function: Callable[[nn.Module, dict[str, Tensor]], Any]) -> str:
    """Check ``function(network, state)``: load the tensors that fit, name the others."""
    state = {name: 2 * value for name, value in _network(3, 4, 5).state_dict().items()}
    misnamed = {f"old.{name}" if "norm2" in name else name: v for name, v in state.items()}
    turned = state | {k: state[k].transpose(0, 1) for k in ("linear.weight", "conv2.weight")}
    reason = (
        "load_state_dict raises because of a tensor of another shape; strict=False does not "
        "forgive that. Leave it out of the state yourself."
    )
    for case, outputs, given in (
        ("a head of another size", 2, state),
        ("names that are not in the network", 10, misnamed),
        ("tensors of as many numbers in another shape", 10, turned),
        ("a state in which nothing fits", 10, {"weight": torch.ones(3)}),
    ):
        network = _network(3, 4, 5)
        network.linear = filled(partial(nn.Linear, 45, outputs))
        before = {name: value.clone() for name, value in network.state_dict().items()}
        fits = {k for k, v in before.items() if k in given and given[k].shape == v.shape}
        with explaining({"size mismatch": reason}):
            answer = run(function, network, given, may_change=[network])
        now = network.state_dict()
        for name in sorted(before):
            if name in fits and not now[name].equal(given[name]):
                raise NotSolvedError(f"With {case}, {name} fits and was not loaded.")
            if name not in fits and not now[name].equal(before[name]):
                raise NotSolvedError(f"With {case}, {name} does not fit, and yet it has changed.")
        _compare_names(answer, before.keys() - fits, given.keys() - fits, case)
    return "What fits is loaded, and you know what is not."


def _compare_names(answer: Any, wanted: set[str], unused: set[str], case: str) -> None:
    """Raise if these are not the names in the network that got nothing."""
    if not isinstance(answer, (list, tuple)) or not all(isinstance(name, str) for name in answer):
        raise NotSolvedError(f"Return a list of names; got {type(answer).__name__}.")

    def without_counters(names: Any) -> list[str]:
        """PyTorch does not call a batch norm's counter missing if the state is a plain dict."""
        return [name for name in names if not name.endswith("num_batches_tracked")]

    got, right, extra = map(without_counters, (answer, sorted(wanted), sorted(unused)))
    if got == right:
        return
    if sorted(got) == right:
        raise NotSolvedError("These are the right names; sort them.")
    if sorted(got) == extra:
        raise NotSolvedError(
            f"With {case} you return the names in the state that were left out; wanted are the "
            "names in the network that got nothing."
        )
    raise NotSolvedError(f"With {case} I expected the names {right}, got {got}.")


@exercise
def new_head(function: Callable[..., Any]) -> str:
    """Check ``function(network, images, labels, classes, steps)``: a new head, and nothing else."""
    for channels, features, classes in (((3, 4, 5), 45, 3), ((2, 3), 147, 4)):
        network = _network(*channels)
        images, labels = uniform(20, 1, 28, 28).float(), torch.arange(20) % classes
        images[:, :, :10] *= (labels / classes).view(-1, 1, 1, 1)
        answers = []
        for steps in (0, 1):
            torch.default_generator.manual_seed(0)  # the check's own, see `exercise`
            answers.append(_copied(function, network, images, labels, classes, steps=steps))
        start, end = (_head(answer, (classes, features)) for answer in answers)
        if start.equal(end):
            raise NotSolvedError(
                "The new head has exactly the weights it was made with: it was never trained. "
                "Which head does the optimiser hold?"
            )
        _rest_is_kept(network.state_dict(), answers[1].state_dict())
        if answers[1].training:
            raise NotSolvedError("The network comes back in train mode; end with eval().")
        loss = F.cross_entropy(answers[0](images), labels)
        (gradient,) = torch.autograd.grad(loss, start)
        if not ((end - start) * gradient).sum() < 0:
            raise NotSolvedError(
                "The head moves, but its loss does not fall: go against its slope."
            )
    return "The new head has learned, and nothing else has moved."


def _head(answer: nn.Module, shape: tuple[int, int]) -> Tensor:
    """The weights of the new head, whatever it is called."""
    weights = [weights for weights in answer.parameters() if weights.ndim == 2]
    if not weights or weights[-1].shape != shape:
        got = tuple(weights[-1].shape) if weights else "none"
        raise NotSolvedError(f"The new head has weights of shape {got}, expected {shape}.")
    return weights[-1].requires_grad_()


def _rest_is_kept(given: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Raise if what is below the head, whatever it is called now, is not as it was."""
    for name, value in given.items():
        if name.startswith("linear.") or any(value.equal(other) for other in state.values()):
            continue
        if name not in state:
            raise NotSolvedError(
                f"I do not find {name} in what you return: return the whole network."
            )
        if "running" in name or "num_batches" in name:
            raise NotSolvedError(
                f"The head learns, but {name} has changed: it belongs to a frozen layer, and is no "
                "parameter. In which mode is that layer?"
            )
        raise NotSolvedError(f"The head learns, but {name} has changed, too: it is not frozen.")


@exercise
def between(function: Callable[[nn.Module, nn.Module, float], Any]) -> str:
    """Check ``function(before, after, alpha)``: a network between two others."""
    before, after = _network(3, 4, 5), _network(3, 4, 5)
    for seed, (name, value) in enumerate(after.state_dict().items()):
        if value.is_floating_point():
            value.add_(uniform(*value.shape, seed=seed).float())
        else:
            value.add_(7)  # a counter of batches
        assert not value.equal(before.state_dict()[name])
    for alpha in (0.25, 0.5, 1.0, 0.0):
        answer = _copied(function, before, after, alpha)
        if any(a is b for a in answer.parameters() for b in after.parameters()):
            raise NotSolvedError("You return `after` itself, or its weights: make a new network.")
        mixed, case = answer.state_dict(), f"With alpha = {alpha}"
        for name, old in before.state_dict().items():
            new = after.state_dict()[name]
            if not old.is_floating_point():
                if not mixed[name].equal(new):
                    raise NotSolvedError(f"{case}, {name} is a counter: take it from `after`.")
            elif not torch.allclose(mixed[name], (1 - alpha) * old + alpha * new, atol=1e-6):
                raise NotSolvedError(f"{case}, {_mixed_wrong(name, mixed[name], old, new, alpha)}")
    return "Weights and statistics lie between those of the two."


def _mixed_wrong(name: str, got: Tensor, old: Tensor, new: Tensor, alpha: float) -> str:
    """What is wrong with a tensor that should lie between two others."""
    if torch.allclose(got, alpha * old + (1 - alpha) * new, atol=1e-6):
        return f"{name} has the weights of the two exchanged: alpha belongs to `after`."
    if torch.allclose(got, (old + new) / 2, atol=1e-6):
        return f"{name} is the plain mean: where is alpha used?"
    if "running" in name and (got.equal(old) or got.equal(new)):
        return f"{name} is a buffer and no parameter, and it was not mixed: use state_dict()."
    return f"{name} is not (1 - alpha) times that of `before` plus alpha times that of `after`."


@exercise
def learned_and_remembered(
    function: Callable[[nn.Module, Digits, Digits], Any],
    network: nn.Module,
    new: Digits,
    old: Digits,
    new_held_out: Digits,
    old_held_out: Digits,
) -> str:
    """Check ``function(network, new, old)``: fewer mistakes, nothing forgotten."""
    given = copy.deepcopy(network)
    held_out = new_held_out, old_held_out
    before = [len(evaluate(network, digits).errors) for digits in held_out]
    try:
        with explaining({"network that was given": "(I have undone it.)"}):
            tuned = _copied(function, network, new, old)
    finally:  # the rest of the chapter still needs it
        _restore(network, given)
    after = [len(evaluate(tuned, digits).errors) for digits in held_out]
    learned = f"{after[0]} mistakes on the new digits, {before[0]} before"
    kept = f"{after[1]} of {len(old_held_out)} old digits misread, {before[1]} before"
    if 2 * after[0] > before[0]:
        raise NotSolvedError(f"It has not learned enough: {learned}. ({kept}.)")
    if after[1] - before[1] > 0.005 * len(old_held_out):
        raise NotSolvedError(f"It has learned, and forgotten: {kept}. ({learned}.)")
    return "Learned, and not forgotten."


def _restore(network: nn.Module, given: nn.Module) -> None:
    """Give the network back what it had: weights and statistics, what is frozen, the modes."""
    network.load_state_dict(given.state_dict())
    for mine, its in zip(network.parameters(), given.parameters(), strict=True):
        mine.requires_grad_(its.requires_grad)
    for layer, other in zip(network.modules(), given.modules(), strict=True):
        layer.training = other.training
