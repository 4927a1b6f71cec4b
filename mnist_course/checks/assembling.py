"""Checks for the exercises on assembling a network (chapter 10)."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from mnist_course.checks._returning import Verdict, compare, right, run, wrong

__all__ = ["features", "load_matching", "registered", "residual", "safetensors"]


def _random(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers that are the same in every run, and leave the global generator alone."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _build(make: Callable[..., Any], *args: Any) -> Any:
    """A module from a learner's class, or the verdict that says why there is none."""
    module = run(make, *args)
    if isinstance(module, (Verdict, nn.Module)):
        return module
    return wrong(f"I expected an nn.Module, got {type(module).__name__}.")


def _fill(module: nn.Module) -> None:
    """Give every parameter and every running statistic random values, variances positive."""
    for number, (name, value) in enumerate(module.state_dict().items()):
        if value.is_floating_point():
            numbers = _random(*value.shape, seed=number).to(value.dtype)
            value.copy_(numbers.abs() + 0.5 if name.endswith("running_var") else numbers)


def residual(make: Callable[[int], Any]) -> Verdict:
    """Check ``make(channels)``: a residual block of two convolutions, each with batch norm."""
    channels = 4
    block = _build(make, channels)
    if isinstance(block, Verdict):
        return block
    convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    if len(convolutions) != 2 or len(norms) != 2:
        return wrong(
            f"I find {len(convolutions)} convolutions and {len(norms)} batch norms registered in "
            "the block, expected 2 and 2: make each once in __init__, as attributes or inside an "
            "nn.Sequential, and use none twice."
        )
    if any(c.bias is not None for c in convolutions):
        return wrong("A convolution has a bias; batch norm subtracts it again: bias=False.")

    block.double().eval()
    _fill(block)
    x = _random(2, channels, 5, 6, seed=99)
    called: list[nn.Module] = []  # __init__ may make the layers in any order
    hooks = [
        m.register_forward_pre_hook(lambda m, _: called.append(m)) for m in convolutions + norms
    ]
    with torch.no_grad():
        answer = run(block, x.clone())
        for hook in hooks:
            hook.remove()
        for layers in (convolutions, norms):
            layers.sort(key=lambda m: called.index(m) if m in called else len(called))
        (c1, c2), (n1, n2) = convolutions, norms
        try:
            inner = n1(c1(x))
            f = n2(c2(inner.relu()))
        except RuntimeError as error:
            return wrong(f"The layers do not fit each other: {error}.")
        if f.shape != x.shape:
            return wrong(
                f"The layers turn maps of {tuple(x.shape)} into {tuple(f.shape)}; x can be added "
                "only if the shape stays: 3 × 3 with padding=1, as many channels out as in."
            )
        plain = n2(c2(inner))
    verdict = compare(
        answer,
        (x + f).relu(),
        "random maps in eval mode",
        hints=[
            ("The input is not added: y = ReLU(x + f(x)).", f.relu()),
            ("The input is added after the last ReLU, not before it.", x + f.relu()),
            ("The ReLU after the addition is missing.", x + f),
            ("The ReLU between the two convolutions is missing.", (x + plain).relu()),
            ("There is a ReLU at the end of f, before x is added.", (x + f.relu()).relu()),
        ],
    )
    if verdict is not None:
        return verdict
    if any(c.kernel_size != (3, 3) for c in convolutions):
        return wrong("The shape is right, but the kernels should be 3 × 3.")
    return right("The layers only have to say what should be added to the input.")


def registered(make: Callable[[], Any]) -> Verdict:
    """Check ``make()``: two convolutions, a linear layer and a scale, all of them registered."""
    network = _build(make)
    if isinstance(network, Verdict):
        return network
    x = _random(3, 1, 28, 28).float()
    with torch.no_grad():
        answers = [run(network, x.clone()) for _ in range(2)]
    for answer in answers:
        if isinstance(answer, Verdict):
            return answer
    if not isinstance(answers[0], Tensor) or answers[0].shape != (3, 10):
        got = getattr(answers[0], "shape", None)
        shape = type(answers[0]).__name__ if got is None else tuple(got)
        return wrong(f"For 3 digits I expected logits of shape (3, 10), got {shape}.")
    if not torch.equal(*answers):
        return wrong(
            "The same digits get other logits in a second call: a layer is made in forward, with "
            "new weights each time. Make it once, in __init__."
        )

    parts: dict[str, list[tuple[int, ...]]] = {
        "the first convolution": [(16, 1, 3, 3), (16,)],
        "the second convolution": [(32, 16, 3, 3), (32,)],
        "the linear layer": [(10, 1568), (10,)],
        "the scale": [(1,)],
    }
    found = Counter(tuple(p.shape) for p in network.parameters())
    missing = [part for part, shapes in parts.items() if any(not found[s] for s in shapes)]
    if missing == ["the scale"]:
        if () in found:
            return wrong("Nearly: the scale has the shape (), expected (1,), as torch.ones(1).")
        if any(tuple(b.shape) == (1,) for b in network.buffers()):
            return wrong("The scale is a buffer: it is saved, but not learned. Use nn.Parameter.")
        return wrong(
            "The convolutions and the linear layer are registered, the scale is not: a bare tensor "
            "is neither a parameter nor a buffer."
        )
    if missing:
        return wrong(
            f"parameters() does not find {', '.join(missing)}. A plain list or dictionary hides "
            "what is in it: nn.ModuleList, nn.ModuleDict, or an attribute for each."
        )
    wanted = Counter(shape for shapes in parts.values() for shape in shapes)
    if found != wanted:
        return wrong(
            f"There are more parameters than needed, of shapes {sorted(found - wanted)}; is "
            "something made twice?"
        )

    network(x).square().sum().backward()
    unused = [name for name, p in network.named_parameters() if p.grad is None]
    if unused:
        return wrong(f"No gradient reaches {', '.join(unused)}: forward does not use it.")
    with torch.no_grad():
        before = network(x)
        scale = next(p for p in network.parameters() if tuple(p.shape) == (1,))
        scale.mul_(3)
        if not torch.allclose(network(x), 3 * before, rtol=1e-3, atol=1e-4):
            return wrong(
                "Three times the scale should make all logits three times as large, and does not: "
                "multiply at the very end."
            )
    return right(f"All {sum(p.numel() for p in network.parameters()):,} parameters are found.")


def _stacks() -> list[tuple[str, nn.Sequential, tuple[int, int, int]]]:
    """Layers to ask, with the shape of their pictures, from the simplest to the hardest."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        frozen = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.BatchNorm2d(4), nn.ReLU())
        mixed = nn.Sequential(
            nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        mixed[1].eval()  # a frozen batch norm inside a network that is being trained
        return [
            ("a convolution and a pooling", nn.Sequential(nn.Conv2d(1, 6, 3), nn.MaxPool2d(2)),
             (1, 12, 10)),
            ("a stack with batch norm, in training mode", frozen, (3, 15, 20)),
            ("a stack in training mode whose batch norm is in eval mode", mixed, (2, 9, 11)),
            ("a stack in eval mode", copy.deepcopy(frozen).eval(), (3, 15, 20)),
        ]  # fmt: skip


def features(function: Callable[[nn.Sequential, tuple[int, int, int]], Any]) -> Verdict:
    """Check ``function(layers, shape)``: how many numbers leave for each picture (C, H, W)."""
    for case, layers, shape in _stacks():
        with torch.no_grad():
            out = copy.deepcopy(layers).eval()(torch.zeros(1, *shape))
        state = {name: value.clone() for name, value in layers.state_dict().items()}
        modes = [m.training for m in layers.modules()]
        answer = run(function, layers, shape)
        if isinstance(answer, Verdict):
            return answer
        for name, value in layers.state_dict().items():
            if not torch.equal(value, state[name]):
                return wrong(
                    f"For {case}: your picture has left a trace, {name} has changed. In training "
                    "mode batch norm learns from every picture it sees, even without gradients."
                )
        if [m.training for m in layers.modules()] != modes:
            return wrong(
                f"For {case}: afterwards the layers are not in the mode they were in. Ask a copy, "
                "or put every module back into its own mode."
            )
        hints = [
            (
                "Two pictures went in, and you counted the numbers of both.",
                torch.tensor(2.0 * out.numel()),
            ),
            (
                "This counts the numbers of the picture; wanted are those that leave the layers.",
                torch.tensor(float(torch.Size(shape).numel())),
            ),
        ]
        if out.ndim == 4:
            _, channels, rows, columns = out.shape
            hints += [
                (
                    "This is a shape; a linear layer wants one number, the product.",
                    torch.tensor([channels, rows, columns]),
                ),
                (
                    "This is a shape, with the batch; wanted is how many numbers each picture has.",
                    torch.tensor(out.shape),
                ),
                (
                    "This is the number of channels only: times rows, times columns.",
                    torch.tensor(float(channels)),
                ),
                (
                    "The channels are left out: channels × rows × columns.",
                    torch.tensor(float(rows * columns)),
                ),
            ]
        verdict = compare(
            answer,
            torch.tensor(float(out.numel())),
            f"{case} and pictures of shape {shape}",
            hints=hints,
        )
        if verdict is not None:
            return verdict
    return right("The right number, and nobody can tell that you asked.")


def _network(classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, classes))


def load_matching(function: Callable[[nn.Module, dict[str, Tensor]], Any]) -> Verdict:
    """Check ``function(network, state)``: loads what fits by name and shape, names the rest."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        trained, same, other = (_network(c) for c in (10, 10, 26))
    _fill(trained)
    full = trained.state_dict()
    part = {name: value for name, value in full.items() if not name.startswith("0")}
    bare = {name: value for name, value in full.items() if not name.startswith("1")}
    extra = {"head.weight": torch.zeros(3), **full}
    for case, network, state in (
        ("a network of the same shapes", same, full),
        ("a network with another last layer", copy.deepcopy(other), full),
        ("a state without the first layer", copy.deepcopy(other), part),
        ("a state without batch norm", copy.deepcopy(other), bare),
        ("a state with an entry that the network has not", copy.deepcopy(other), extra),
    ):
        before = {name: value.clone() for name, value in network.state_dict().items()}
        theirs = {name: value.clone() for name, value in state.items()}
        fits = {n for n, v in before.items() if n in state and state[n].shape == v.shape}
        answer = run(function, network, state)
        if isinstance(answer, Verdict):
            if "mismatch" in answer.message:
                return wrong(f"For {case}: {answer.message} strict=False never forgives shapes.")
            return answer
        if state.keys() != theirs.keys():
            return wrong(f"For {case}: you changed `state`, which belongs to somebody else.")
        for name, value in network.state_dict().items():
            if name in fits and not torch.equal(value, theirs[name]):
                return wrong(f"For {case}: {name} fits and was not loaded.")
            if name not in fits and not (
                value.shape == before[name].shape and torch.equal(value, before[name])
            ):
                return wrong(f"For {case}: {name} does not fit, and has changed all the same.")
        try:
            names = sorted(answer)
        except TypeError:
            return wrong(f"Return a list of names, got {type(answer).__name__}.")
        rest = sorted(before.keys() - fits)
        if names != rest:
            if names == sorted(fits):
                return wrong("You return the names that were loaded; wanted are the others.")
            if set(rest) - set(names) == {"1.num_batches_tracked"}:
                return wrong(
                    f"For {case}: num_batches_tracked was not loaded either, though PyTorch's own "
                    "missing_keys passes over it."
                )
            return wrong(f"For {case}: you return {names}, expected {rest}.")
    return right("What fits is loaded, and the rest is told.")


def safetensors(function: Callable[[dict[str, Tensor]], Any]) -> Verdict:
    """Check ``function(tensors)``: the bytes of a safetensors file of float32 tensors."""
    for case, tensors in {
        "one tensor": {"w": _random(2, 3).float()},
        "two tensors": {"b": _random(5).float(), "w": _random(2, 1, 3, 3).float()},
        "a single number, shape ()": {"scale": torch.tensor(0.5)},
        "a transposed tensor": {"w": _random(4, 3).float().T, "b": _random(2).float()},
    }.items():
        raw = run(function, tensors)
        if isinstance(raw, Verdict):
            return raw
        verdict = _header(raw, case)
        if verdict is not None:
            return verdict
        try:
            got = load(bytes(raw))
        except (SafetensorError, KeyError, TypeError) as error:
            return wrong(
                f"For {case} the safetensors library refuses the file: {error}. "
                "Offsets begin at 0 after the header, and the last one is the end of the file."
            )
        if got.keys() != tensors.keys():
            return wrong(f"For {case} the names are {sorted(got)}, expected {sorted(tensors)}.")
        for name, value in tensors.items():
            verdict = compare(
                got[name],
                value.double(),
                f"{case}, entry {name},",
                hints=[
                    (
                        f"For {case}: the numbers stand in the order in which they lie in memory, "
                        "not row by row; use contiguous().",
                        value.T.contiguous().view(value.shape) if value.ndim == 2 else value,
                    )
                ],
            )
            if verdict is not None:
                return verdict
    return right("The safetensors library reads your file.")


def _header(raw: Any, case: str) -> Verdict | None:
    """What is wrong with the first bytes of a file, if anything."""
    if not isinstance(raw, (bytes, bytearray)):
        return wrong(f"For {case} I expected bytes, got {type(raw).__name__}.")
    length = int.from_bytes(raw[:8], "little")
    if length > len(raw) - 8:
        if int.from_bytes(raw[:8], "big") <= len(raw) - 8:
            return wrong("The length is big-endian: its lowest byte must come first, 'little'.")
        return wrong(
            f"For {case} the first eight bytes say that the header has {length:,} bytes, but only "
            f"{max(len(raw) - 8, 0)} follow: does the file begin with the length, in 8 bytes?"
        )
    try:
        header = json.loads(bytes(raw[8 : 8 + length]))
    except ValueError as error:
        return wrong(
            f"For {case} the {length} bytes after the length are no JSON ({error}). The length is "
            "that of the encoded header alone, and text becomes JSON with json.dumps."
        )
    if not isinstance(header, dict) or not all(isinstance(e, dict) for e in header.values()):
        return wrong(
            f"For {case} the header should be one JSON object with an object for each tensor: "
            '{"w": {"dtype": …, "shape": …, "data_offsets": …}}.'
        )
    pairs = [entry["data_offsets"] for entry in header.values() if "data_offsets" in entry]
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        return wrong(f"For {case} data_offsets should be a list of two numbers, [begin, end].")
    offsets = [begin for begin, _ in pairs]
    if offsets and min(offsets) != 0:
        return wrong(
            f"For {case} the first tensor begins at {min(offsets)}: offsets count from the first "
            "byte after the header, so the first is 0."
        )
    return None
