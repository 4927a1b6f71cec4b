"""Checks for the exercises on fine-tuning (chapter 19)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course import models
from mnist_course.checks._returning import Verdict, compare, right, run, wrong
from mnist_course.data import Digits
from mnist_course.evaluate import evaluate

__all__ = ["frozen_copy", "learned_and_remembered", "load_what_fits", "new_head", "two_kernels"]


def _network() -> nn.Sequential:
    """A small network in eval mode, whose batch norms have seen something."""
    network = models.course_network((3, 4, 5))
    network(torch.rand(20, 1, 28, 28))
    return network.eval()


def _changed(network: nn.Module, before: dict[str, Tensor]) -> list[str]:
    """Names of the parameters and statistics that are no longer what they were."""
    return [name for name, value in network.state_dict().items() if not before[name].equal(value)]


def frozen_copy(function: Callable[[nn.Module, str], Any]) -> Verdict:
    """Check ``function(network, head)``: a copy in which only the head may be trained."""
    for head in ("linear", "conv3"):
        network = _network().train()
        answer = run(function, network, head)
        if isinstance(answer, Verdict):
            return answer
        if not isinstance(answer, nn.Module):
            return wrong(f"Return a network; got {type(answer).__name__}.")
        if answer is network or any(
            a is b for a in answer.parameters() for b in network.parameters()
        ):
            return wrong("You return the network itself, not a copy: try copy.deepcopy(network).")
        if not all(weights.requires_grad for weights in network.parameters()):
            return wrong("The network that was given is frozen now; freeze the copy only.")
        if not network.training:
            return wrong("The network that was given is in eval mode now; change the copy only.")
        given = network.state_dict()
        if answer.state_dict().keys() != given.keys() or _changed(answer, given):
            return wrong(
                "The network that you return has other weights than the one given: copy it."
            )
        free = {name for name, w in answer.named_parameters() if w.requires_grad}
        wanted = {name for name, _ in network.named_parameters() if name.startswith(f"{head}.")}
        if free - wanted:
            return wrong(f"For head={head!r} {sorted(free - wanted)[0]} can still be trained.")
        if wanted - free:
            return wrong(
                f"For head={head!r} {sorted(wanted - free)[0]} is frozen, too: thaw the head after "
                "freezing everything."
            )
        if answer.training:
            return wrong(
                "The copy is in train mode: its batch norms would change, frozen or not. "
                "Call eval()."
            )
    return right("Only the head moves, and the original stays as it was.")


def load_what_fits(function: Callable[[nn.Module, dict[str, Tensor]], Any]) -> Verdict:
    """Check ``function(network, state)``: load the tensors that fit, name the others."""
    other = _network()
    state = {name: value.clone() for name, value in other.state_dict().items()}
    misnamed = {f"old.{name}" if "norm2" in name else name: v for name, v in state.items()}
    for case, outputs, given in (
        ("a head of another size", 2, state),
        ("names that are not in the network", 10, misnamed),
    ):
        network = models.course_network((3, 4, 5))
        network.linear = nn.Linear(5 * 3 * 3, outputs)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        fits = {k for k, v in before.items() if k in given and given[k].shape == v.shape}
        answer = run(function, network, dict(given))
        if isinstance(answer, Verdict):
            if "size mismatch" in answer.message:
                return wrong(
                    "load_state_dict raises because of a tensor of another shape; strict=False "
                    "does not forgive that. Leave it out of the state yourself."
                )
            return answer
        after = network.state_dict()
        for name in sorted(fits):
            if not after[name].equal(given[name]):
                return wrong(f"With {case}, {name} fits and was not loaded.")
        for name in sorted(before.keys() - fits):
            if not after[name].equal(before[name]):
                return wrong(f"With {case}, {name} does not fit, and yet it has changed.")
        if not isinstance(answer, (list, tuple)):
            return wrong(f"Return a list of names; got {type(answer).__name__}.")
        # PyTorch does not call the counter of a batch norm missing if the state is a plain dict.
        answer = [name for name in answer if not str(name).endswith("num_batches_tracked")]
        wanted = sorted(n for n in before.keys() - fits if not n.endswith("num_batches_tracked"))
        extra = sorted(n for n in set(given) - fits if not n.endswith("num_batches_tracked"))
        if sorted(answer) == extra != wanted:
            return wrong(
                f"With {case} you return the names in the state that were left out; wanted are "
                "the names in the network that got nothing."
            )
        if sorted(answer) != wanted:
            return wrong(f"With {case} I expected the names {wanted}, got {list(answer)}.")
        if list(answer) != wanted:
            return wrong("These are the right names; sort them.")
    return right("What fits is loaded, and you know what is not.")


def new_head(function: Callable[..., Any]) -> Verdict:
    """Check ``function(network, images, labels, classes, steps)``: a new head, and nothing else."""
    network = _network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images, labels = torch.rand(30, 1, 28, 28), torch.arange(30) % 3
    images[:, :, :10] *= (labels / 2).view(-1, 1, 1, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        answer = run(function, network, images, labels, 3, steps=20)
        torch.manual_seed(0)
        start = run(function, network, images, labels, 3, steps=0)
    if isinstance(answer, Verdict):
        return answer
    if not isinstance(answer, nn.Module):
        return wrong(f"Return the network; got {type(answer).__name__}.")
    if network.get_parameter("linear.weight").shape != (10, 45) or _changed(network, before):
        return wrong("The network that was given has changed: work on a copy of it.")
    weight = answer.get_parameter("linear.weight")
    if weight.shape != (3, 45):
        return wrong(f"The new head has weights of shape {tuple(weight.shape)}, expected (3, 45).")
    if isinstance(start, nn.Module) and weight.equal(start.get_parameter("linear.weight")):
        return wrong(
            "The new head has exactly the weights it was made with: it was never trained. "
            "Which head does the optimiser hold?"
        )
    moved = [
        name
        for name, value in answer.state_dict().items()
        if not name.startswith("linear.") and not value.equal(before[name])
    ]
    if any("running" in name or "num_batches" in name for name in moved):
        return wrong(
            f"The head learns, but {moved[0]} has changed: it belongs to a frozen layer, and is "
            "no parameter. In which mode is that layer?"
        )
    if moved:
        return wrong(f"The head learns, but {moved[0]} has changed, too: it is not frozen.")
    if answer.training:
        return wrong("The network comes back in train mode; end with eval().")
    return right("The new head has learned, and nothing else has moved.")


def two_kernels(function: Callable[[Tensor, Tensor, int, int], Any]) -> Verdict:
    """Check ``function(b, a, in_channels, kernel_size)``: the change as two convolutions."""
    for rank, c_in, c_out, size in ((1, 1, 2, 3), (2, 3, 5, 3), (3, 3, 3, 5)):
        a = torch.randn(rank, c_in * size * size, dtype=torch.float64)
        b = torch.randn(c_out, rank, dtype=torch.float64)
        x = torch.randn(2, c_in, 8, 9, dtype=torch.float64)
        expected = F.conv2d(x, (b @ a).view(c_out, c_in, size, size), padding=size // 2)
        case = f"rank {rank}, {c_in} → {c_out} channels and {size}×{size} kernels"
        answer = run(function, b.clone(), a.clone(), c_in, size)
        if isinstance(answer, Verdict):
            return answer
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            return wrong("Return two tensors: the kernels of the first and of the second layer.")
        first, second = answer
        shapes = [tuple(getattr(each, "shape", ())) for each in answer]
        wanted = [(rank, c_in, size, size), (c_out, rank, 1, 1)]
        if shapes == wanted[::-1] and shapes != wanted:
            return wrong("These are the right kernels in the wrong order: a sees the input first.")
        if shapes != wanted:
            return wrong(
                f"For {case} the two shapes are {shapes[0]} and {shapes[1]}, "
                f"expected {wanted[0]} and {wanted[1]}."
            )
        got = F.conv2d(F.conv2d(x, first, padding=size // 2), second)
        if all(torch.equal(kernel, kernel.float().double()) for kernel in (first, second)):
            got = got.float()  # what kernels in float32 make is no more exact than they
        verdict = compare(got, expected, case)
        if verdict is not None:
            return verdict
    return right("A thin convolution and one of 1×1 do what the whole change does.")


def learned_and_remembered(
    function: Callable[[nn.Module, Digits, Digits], Any],
    network: nn.Module,
    new: Digits,
    old: Digits,
    new_held_out: Digits,
    old_held_out: Digits,
) -> Verdict:
    """Check ``function(network, new, old)``: fewer mistakes, nothing forgotten."""
    given = copy.deepcopy(network.state_dict())
    tuned = run(function, network, new, old)
    if isinstance(tuned, Verdict):
        return tuned
    if not isinstance(tuned, nn.Module):
        return wrong(f"Return a network; got {type(tuned).__name__}.")
    if _changed(network, given):
        network.load_state_dict(given)
        return wrong("The network that was given has changed (I have undone it): train a copy.")
    before, after = (
        [evaluate(each, held_out) for held_out in (new_held_out, old_held_out)]
        for each in (network, tuned)
    )
    mistakes = [len(result.errors) for result in (*before, *after)]
    learned = f"{mistakes[2]} mistakes on the new digits, {mistakes[0]} before"
    kept = f"{mistakes[3]} of {len(old_held_out)} old digits misread, {mistakes[1]} before"
    if 2 * mistakes[2] > mistakes[0]:
        return wrong(f"It has not learned enough: {learned}. ({kept}.)")
    if mistakes[3] - mistakes[1] > 0.005 * len(old_held_out):
        return wrong(f"It has learned, and forgotten: {kept}. ({learned}.)")
    return right("Learned, and not forgotten.")
