"""Whether a function left its arguments as they were."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Part = tuple[str, str]  # what it is, and how the learner would write it

_CHANGED = {
    "numbers": "changes `{0}` in place, and the caller still needs it: work on a copy",
    "requires_grad": (
        "changes `{0}.requires_grad` and leaves it so: work on `{0}.detach().clone()`"
    ),
    "frozen": (
        "changes `{0}.requires_grad` and leaves it so: freeze or thaw a copy of the network"
    ),
    "gradient": (
        "leaves a gradient in `{0}.grad`, to which the next backward() would add: "
        "torch.autograd.grad does not"
    ),
    "contents": "changes `{0}` itself, and the caller still needs it: work on a copy",
    "mode": (
        "does not leave `{0}` in the mode in which it came, train or eval: look at "
        "`training` first, and put it back"
    ),
    "hooks": "leaves hooks on `{0}`: call remove() on each handle",
}


def snapshot(value: Any, name: str) -> dict[Part, Any]:
    """What can be compared later of an argument: numbers, gradients, modes, contents."""
    return dict(_parts(value, name))


def change(before: dict[Part, Any], now: dict[Part, Any]) -> str | None:
    """Say what has changed of an argument, if anything, to go on after "Your function"."""
    for part in [*before, *now]:
        if part not in before or part not in now or not _same(before[part], now[part]):
            kind, name = part
            return _CHANGED[kind].format(name)
    return None


def _parts(value: Any, name: str) -> Iterator[tuple[Part, Any]]:
    if isinstance(value, Tensor):
        yield ("numbers", name), value.detach().clone()
        yield ("requires_grad", name), value.requires_grad
        if value.is_leaf:
            yield ("gradient", name), None if value.grad is None else value.grad.clone()
    elif isinstance(value, np.ndarray):
        yield ("numbers", name), torch.from_numpy(value.copy())
    elif isinstance(value, nn.Module):
        yield from _parts_of_module(value, name)
    elif isinstance(value, torch.optim.Optimizer):
        yield from _parts(value.state_dict(), name)
    elif isinstance(value, dict):
        yield ("contents", name), list(value)
        for key, item in value.items():
            yield from _parts(item, f"{name}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        yield ("contents", name), len(value)
        for index, item in enumerate(value):
            yield from _parts(item, f"{name}[{index}]")
    elif isinstance(value, set):
        yield ("contents", name), set(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _parts(getattr(value, field.name), f"{name}.{field.name}")
    else:
        yield ("contents", name), value


def _parts_of_module(module: nn.Module, name: str) -> Iterator[tuple[Part, Any]]:
    for path, layer in module.named_modules():
        full = f"{name}.{path}" if path else name
        yield ("mode", full), layer.training
        hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks)
        yield ("hooks", full), [len(kept) for kept in hooks]
    for path, tensor in (*module.named_parameters(), *module.named_buffers()):
        for (kind, part), value in _parts(tensor, f"{name}.{path}"):
            yield ("frozen" if kind == "requires_grad" else kind, part), value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        return bool(((a == b) | ((a != a) & (b != b))).all())  # nan is nan here
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return False
    return a is b or (type(a) is type(b) and a == b)
