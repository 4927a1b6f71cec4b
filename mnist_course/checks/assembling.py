"""Checks of chapter 12, assembling a network."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course.checks import NotSolvedError, compare, exercise, explaining, normal, run, saying

__all__ = ["features", "load_matching", "registered", "residual", "safetensors"]


def _build(make: Callable[..., Any], *args: Any) -> nn.Module:
    """A module from a learner's class."""
    if isinstance(make, nn.Module):
        raise NotSolvedError("This is a network already: give me its class, without brackets.")
    module = run(make, *args)
    if not isinstance(module, nn.Module):
        raise NotSolvedError(f"I expected an nn.Module, got {type(module).__name__}.")
    return module


def _fill(module: nn.Module) -> None:
    """Give every parameter and every running statistic random values, variances positive."""
    for seed, (name, value) in enumerate(module.state_dict().items()):
        if value.is_floating_point():
            numbers = normal(*value.shape, seed=seed)
            value.copy_(numbers.abs() + 0.5 if name.endswith("running_var") else numbers)


@exercise
def residual(make: Callable[[int], Any]) -> str:
    """Check ``make(channels)``: a residual block of two convolutions, each with batch norm."""
    for channels in (4, 3):
        block = _build(make, channels)
        convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
        norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
        if len(convolutions) != 2 or len(norms) != 2:
            raise NotSolvedError(
                f"I find {len(convolutions)} convolutions and {len(norms)} batch norms registered "
                "in the block, expected 2 and 2: make each once in __init__, as attributes or "
                "inside an nn.Sequential, and use none twice."
            )
        if any(c.bias is not None for c in convolutions):
            raise NotSolvedError(
                "A convolution has a bias; batch norm subtracts it again: bias=False."
            )
        block.double()
        _fill(block)
        x = normal(2, channels, 5, 6, seed=99)
        for mode in ("eval", "training"):
            block.train(mode == "training")
            answer = _note_order(block, x, convolutions, norms)
            block.train(mode == "training")  # even if forward has changed it
            _compare_residual(answer, x, convolutions, norms, f"random maps in {mode} mode")
        if any(c.kernel_size != (3, 3) for c in convolutions):
            raise NotSolvedError("The shape is right, but the kernels should be 3 × 3.")
        if any(c.groups != 1 for c in convolutions):
            raise NotSolvedError(
                "The shape is right, but each filter should see all channels: groups=1."
            )
    return "The layers only have to say what should be added to the input."


def _note_order(block: nn.Module, x: Tensor, *kinds: list[Any]) -> Any:
    """The block's answer; sorts the layers of each kind as they are called, not as made."""
    called: list[nn.Module] = []
    hooks = [
        layer.register_forward_pre_hook(lambda layer, _: called.append(layer))
        for layers in kinds
        for layer in layers
    ]
    try:
        answer = run(block, x, may_change=[block])
    finally:
        for hook in hooks:
            hook.remove()
    for layers in kinds:
        layers.sort(key=lambda layer: called.index(layer) if layer in called else len(called))
    return answer


def _compare_residual(
    answer: Any, x: Tensor, convolutions: list[nn.Conv2d], norms: list[nn.BatchNorm2d], case: str
) -> None:
    (c1, c2), (n1, n2) = convolutions, norms
    f = n2(c2(n1(c1(x)).relu()))
    if f.shape != x.shape:
        raise NotSolvedError(
            f"The layers turn maps of {tuple(x.shape)} into {tuple(f.shape)}; x can be added only "
            "if the shape stays: 3 × 3 with padding=1, as many channels out as in."
        )
    compare(
        answer,
        (x + f).relu(),
        case,
        mistakes={
            "The input is not added: y = ReLU(x + f(x)).": f.relu(),
            "The input is added after the last ReLU, not before it.": x + f.relu(),
            "The ReLU after the addition is missing.": x + f,
            "The ReLU between the two convolutions is missing.": (x + n2(c2(n1(c1(x))))).relu(),
            "There is a ReLU at the end of f, before x is added.": (x + f.relu()).relu(),
        },
    )


_PARTS: dict[str, list[tuple[int, ...]]] = {
    "the first convolution": [(16, 1, 3, 3), (16,)],
    "the second convolution": [(32, 16, 3, 3), (32,)],
    "the linear layer": [(10, 1568), (10,)],
    "the scale": [(1,)],
}


@exercise
def registered(make: Callable[[], Any]) -> str:
    """Check ``make()``: two convolutions, a linear layer and a scale, all of them registered."""
    network = _build(make)
    x = normal(3, 1, 28, 28).float()
    first, second = (run(network, x, may_change=[network]) for _ in range(2))
    if not isinstance(first, Tensor) or first.shape != (3, 10):
        got = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
        raise NotSolvedError(f"For 3 digits I expected logits of shape (3, 10), got {got}.")
    wanted = Counter(shape for shapes in _PARTS.values() for shape in shapes)
    # One number is one number: a scale of shape () is as good as one of shape (1,).
    shapes = [(1,) if p.numel() == 1 else tuple(p.shape) for p in network.parameters()]
    found = Counter(shapes)
    if not torch.equal(first, second):
        why = "a layer is made in forward, with new weights each time. Make it once, in __init__."
        raise NotSolvedError(
            "The same digits get other logits in a second call: "
            f"{why if wanted - found else 'is something in forward random?'}"
        )
    _every_part_is_found(network, found, wanted)
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    if frozen:
        raise NotSolvedError(
            f"{', '.join(frozen)} is registered, but frozen (requires_grad=False), never learned."
        )
    if first.requires_grad:
        first.square().sum().backward()
    unused = [name for name, p in network.named_parameters() if p.grad is None]
    if unused:
        raise NotSolvedError(
            f"No gradient reaches {', '.join(unused)}: forward does not use it, or not as it is "
            "(detach, data or item cut it off)."
        )
    _computes_what_it_is_meant_to(network, dict(zip(shapes, network.parameters(), strict=True)), x)
    return f"All {sum(p.numel() for p in network.parameters()):,} parameters are found."


def _every_part_is_found(
    network: nn.Module, found: Counter[tuple[int, ...]], wanted: Counter[tuple[int, ...]]
) -> None:
    missing = [part for part, shapes in _PARTS.items() if any(not found[s] for s in shapes)]
    if missing == ["the scale"]:
        why = "a bare tensor is neither a parameter nor a buffer"
        if any(b.numel() == 1 for b in network.buffers()):
            why = "it is a buffer, which is saved, but not learned. Use nn.Parameter"
        elif found - wanted:
            why = (
                f"there is a parameter of shape {next(iter(found - wanted))} instead of one "
                "number, as torch.ones(1)"
            )
        raise NotSolvedError(
            f"The convolutions and the linear layer are registered, the scale is not: {why}."
        )
    if missing:
        raise NotSolvedError(
            f"parameters() does not find {', '.join(missing)}. A plain list or dictionary hides "
            "what is in it: nn.ModuleList, nn.ModuleDict, or an attribute for each. Or was it made "
            "with other arguments?"
        )
    if found != wanted:
        raise NotSolvedError(
            f"There are too many parameters, of shapes {sorted(found - wanted)}: made twice?"
        )


@torch.no_grad()
def _computes_what_it_is_meant_to(
    network: nn.Module, weights: dict[tuple[int, ...], Tensor], x: Tensor
) -> None:
    if weights[1,].item() != 1:
        raise NotSolvedError(f"The scale starts at {weights[1,].item():g}, expected 1, as it was.")
    scale = weights[1,].mul_(-3)

    def maps(x: Tensor, end: Callable[[Tensor], Tensor]) -> Tensor:
        for w, b in ((weights[16, 1, 3, 3], weights[16,]), (weights[32, 16, 3, 3], weights[32,])):
            x = end(F.conv2d(x, w, b, padding=1))
        return x.flatten(1)

    def linear(x: Tensor) -> Tensor:
        return F.linear(x, weights[10, 1568], weights[10,])

    last = maps(x, lambda x: F.max_pool2d(x.relu(), 2))
    logits = linear(last)
    compare(
        run(network, x, may_change=[network]),
        scale * logits,
        "three digits and a scale of -3",
        mistakes={
            "Three times the scale should make all logits three times as large, and does not: "
            "multiply at the very end.": logits,
            "The scale multiplies what goes into the linear layer, so its bias is not scaled: "
            "multiply at the very end.": linear(scale * last),
            "These are probabilities: a network ends with logits, there must be no softmax.": (
                scale * logits.softmax(1)
            ),
            "The ReLU after the convolutions is gone: put it back.": (
                scale * linear(maps(x, lambda x: F.max_pool2d(x, 2)))
            ),
        },
        tolerance=2e-5,
        otherwise="Leave forward as it was: convolution, ReLU and pooling, twice, then flatten, "
        "the linear layer and the scale.",
    )


def _stacks() -> Iterator[tuple[str, nn.Sequential, tuple[int, int, int]]]:
    """Layers to ask, with the shape of their pictures, from the simplest to the hardest."""
    yield "a convolution and a pooling", nn.Sequential(nn.Conv2d(1, 6, 3), nn.MaxPool2d(2)), (
        1, 12, 10,
    )  # fmt: skip
    layers = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.BatchNorm2d(4), nn.ReLU())
    yield "a stack with batch norm, in training mode", layers, (3, 15, 20)
    mixed = nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
    )
    mixed[1].eval()  # a frozen batch norm inside a network that is being trained
    yield "a stack in training mode whose batch norm is in eval mode", mixed, (2, 9, 11)
    yield "a stack in eval mode", copy.deepcopy(layers).eval(), (3, 15, 20)


@exercise
def features(function: Callable[[nn.Sequential, tuple[int, int, int]], Any]) -> str:
    """Check ``function(layers, shape)``: how many numbers leave for each picture (C, H, W)."""
    learns = (
        "Your picture has left a trace: in training mode batch norm learns from every picture it "
        "sees, even without gradients."
    )
    hints = {
        "running_": learns,
        "num_batches": learns,
        "mode in which": "Ask a copy, or put every module back into its own mode.",
    }
    for case, layers, shape in _stacks():
        with torch.no_grad():
            out = copy.deepcopy(layers).eval()(torch.zeros(1, *shape))
        with saying(f"For {case}: "), explaining(hints):
            answer = run(function, layers, shape)
        mistakes: dict[str, Any] = {
            "Two pictures went in, and you counted the numbers of both.": 2 * out.numel(),
            "This counts the numbers of the picture; wanted are those that leave the layers.": (
                torch.Size(shape).numel()
            ),
            "This is a shape; a linear layer wants one number for a picture, the product.": (
                out.shape[1:]
            ),
            "This is a shape, with the batch; a linear layer wants one number for a picture.": (
                out.shape
            ),
        }
        if out.ndim == 4:
            mistakes["This is the number of channels only: times rows, times columns."] = len(
                out[0]
            )
        compare(answer, out.numel(), f"{case} and pictures of shape {shape}", mistakes=mistakes)
    return "The right number, and nobody can tell that you asked."


def _states() -> Iterator[tuple[str, nn.Module, dict[str, Tensor]]]:
    """Networks and states for them, from a full fit to a poor one."""

    def network(classes: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, classes)
        )

    trained = network(10)
    _fill(trained)
    full = trained.state_dict()
    part = {name: value for name, value in full.items() if not name.startswith("0")}
    bare = {name: value for name, value in full.items() if not name.startswith("1")}
    odd = full | {"3.weight": full["3.weight"].T, "3.bias": full["3.bias"][:1]}
    yield "a network of the same shapes", network(10), full
    yield "a network with another last layer", network(26), full
    yield "a state without the first layer", network(26), part
    yield "a state without batch norm", network(26), bare
    yield (
        "a state with an entry that the network has not",
        network(26),
        {"head.weight": torch.zeros(3), **full},
    )
    yield "a state with a matrix that lies on its side", network(10), odd


@exercise
def load_matching(function: Callable[[nn.Module, dict[str, Tensor]], Any]) -> str:
    """Check ``function(network, state)``: loads what fits by name and shape, names the rest."""
    for case, network, state in _states():
        before = {name: value.clone() for name, value in network.state_dict().items()}
        fits = {n for n, v in before.items() if n in state and state[n].shape == v.shape}
        with (
            saying(f"For {case}: "),
            explaining({"mismatch": "strict=False never forgives shapes."}),
        ):
            answer = run(function, network, state, may_change=[network])
            for name, value in network.state_dict().items():
                right = state[name] if name in fits else before[name]
                if name in fits and not torch.equal(value, right):
                    raise NotSolvedError(f"{name} fits and was not loaded.")
                if not torch.equal(value, right):
                    raise NotSolvedError(f"{name} does not fit, and has changed all the same.")
                if name in fits and value.data_ptr() == right.data_ptr():
                    raise NotSolvedError(
                        f"network and `state` now share the very numbers of {name}, so training "
                        "would change `state`, which belongs to somebody else: copy them."
                    )
            _compare_names(answer, before.keys() - fits, fits)
    return "What fits is loaded, and the rest is told."


def _compare_names(answer: Any, rest: set[str], fits: set[str]) -> None:
    if not isinstance(answer, (Sequence, Set)) or isinstance(answer, str):
        raise NotSolvedError(f"Return a list of names, got {type(answer).__name__}.")
    names = sorted(answer)
    if names == sorted(rest):
        return
    if names == sorted(fits):
        raise NotSolvedError("You return the names that were loaded; wanted are the others.")
    if rest - set(names) == {"1.num_batches_tracked"}:
        raise NotSolvedError(
            "num_batches_tracked was not loaded either: PyTorch's missing_keys passes over it."
        )
    raise NotSolvedError(f"you return {names}, expected {sorted(rest)}.")


def _by_hand(*args: Any, **kwargs: Any) -> Any:
    raise NotSolvedError("Here the safetensors library writes the file: write its bytes yourself.")


@exercise
def safetensors(function: Callable[[dict[str, Tensor]], Any]) -> str:
    """Check ``function(tensors)``: the bytes of a safetensors file of float32 tensors."""
    for case, tensors in {
        "one tensor": {"w": normal(2, 3).float()},
        "two tensors": {"b": normal(5).float(), "w": normal(2, 1, 3, 3).float()},
        "a single number, shape ()": {"scale": torch.tensor(0.5)},
        "a transposed tensor": {"w": normal(4, 3).float().T, "b": normal(2).float()},
        "a name that is not ASCII": {"größe": normal(3).float()},
    }.items():
        with mock.patch.multiple("safetensors.torch", serialize=_by_hand, serialize_file=_by_hand):
            raw = run(function, tensors)
        _look_at_header(raw, case)
        try:
            got = load(bytes(raw))
        except Exception as error:  # anything that the library has to say
            raise NotSolvedError(
                f"For {case} the safetensors library refuses the file: {error}. The header is an "
                'object for each tensor, {"w": {"dtype": …, "shape": …, "data_offsets": [begin, '
                "end]}}; offsets count bytes, begin at 0 after the header, and end with the file."
            ) from error
        if got.keys() != tensors.keys():
            raise NotSolvedError(
                f"For {case} the names are {sorted(got)}, expected {sorted(tensors)}."
            )
        for name, value in tensors.items():
            if got[name].dtype != torch.float32:
                raise NotSolvedError(
                    f"For {case}, entry {name}, the numbers are {got[name].dtype}, expected F32."
                )
            in_memory = value.T.contiguous().view(value.shape) if value.ndim == 2 else value
            compare(
                got[name],
                value,
                f"{case}, entry {name},",
                mistakes={
                    f"For {case}: the numbers stand in the order in which they lie in memory, not "
                    "row by row; use contiguous().": in_memory
                },
            )
    return "The safetensors library reads your file."


def _look_at_header(raw: Any, case: str) -> None:
    """Raise what is wrong with the first bytes of a file, if anything."""
    if not isinstance(raw, (bytes, bytearray)):
        raise NotSolvedError(f"For {case} I expected bytes, got {type(raw).__name__}.")
    length = int.from_bytes(raw[:8], "little")
    if length > len(raw) - 8:
        if int.from_bytes(raw[:8], "big") <= len(raw) - 8:
            raise NotSolvedError(
                "The length is big-endian: its lowest byte must come first, 'little'."
            )
        if raw[4:5] == b"{" and int.from_bytes(raw[:4], "little") <= len(raw) - 4:
            raise NotSolvedError("The length of the header takes eight bytes, here it has four.")
        raise NotSolvedError(
            f"For {case} the first eight bytes say that the header has {length:,} bytes, but only "
            f"{max(len(raw) - 8, 0)} follow: does the file begin with the length, in 8 bytes?"
        )
    try:
        json.loads(bytes(raw[8 : 8 + length]))
    except ValueError as error:
        raise NotSolvedError(
            f"For {case} the {length} bytes after the length are no JSON ({error}). The length is "
            "that of the encoded header alone, and text becomes JSON with json.dumps."
        ) from error
