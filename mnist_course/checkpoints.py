"""Weights in files: written whole or not at all, and read with a message that says what is wrong.

A file of weights is a ``.safetensors`` file. Its names are those of the bare network, without the
``_orig_mod.`` and ``module.`` that ``torch.compile`` and ``nn.DataParallel`` put before them, and
weights that several layers share are in it once. The same weights make the same bytes.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from mnist_course import models
from mnist_course.arguments import kind_of
from mnist_course.files import PYTORCH, SAFETENSORS, kind_of_file, printable, write
from mnist_course.modules import check_module, is_plain

_LARGEST = 1e300  # of the numbers in a history
_LONGEST_HEADER = 1 << 22  # bytes; thousands of layers fit into it


class CheckpointError(ValueError):
    """A file of weights that cannot be used; the message says why, and what to do."""


def save_weights(model: nn.Module, path: str | Path, **metadata: str) -> None:
    """Write the weights of ``model`` to a ``.safetensors`` file.

    Args:
        model: any module; its parameters and persistent buffers are saved.
        path: the file; it is replaced if it exists.
        metadata: short texts kept in the file's header. ``network`` and ``channels`` name the
            builder in :mod:`mnist_course.models`, so that :func:`load_network` needs only the file.

    Raises:
        TypeError: if ``model`` is not a network, or metadata are no texts.
        ValueError: if the model saves something else than plain tensors.
        OSError: if the file cannot be written; an older file of that name is then untouched.
    """
    check_storable(model)
    for name, text in metadata.items():
        if not isinstance(text, str):  # such a file could not be read again
            raise TypeError(f"metadata are texts, got {kind_of(text)} as {name}")
    state = model.state_dict()
    shared: dict[Any, str] = {}
    tensors = {
        name: value.contiguous().clone()
        for name, value in zip(_bare(state), state.values(), strict=True)
        if shared.setdefault(_memory(name, value), name) == name
    }
    write(path, _with_metadata(save(tensors), metadata))


def check_storable(model: nn.Module) -> None:
    """Raise a ``ValueError`` if a network saves what a file of weights cannot hold."""
    check_module(model)
    for name, value in model.state_dict().items():
        if not is_plain(value):
            raise ValueError(
                f"{name} in the network's state_dict is a {type(value).__name__}; a file of "
                "weights holds plain tensors only, so leave it out, or save it yourself"
            )


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors, in the order of their names, and metadata of a ``.safetensors`` file.

    Raises:
        CheckpointError: if the file is missing, or is not a ``.safetensors`` file.
    """
    shapes, metadata = _read_header(path)
    try:
        tensors = load(Path(path).read_bytes())  # in another order every time
        return {name: tensors[name] for name in sorted(shapes)}, metadata
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise _incomplete(path, error) from error


def load_weights(model: nn.Module, path: str | Path) -> dict[str, str]:
    """Load weights from a ``.safetensors`` file into ``model`` and return the file's metadata.

    Floats of another precision become those of the model; whole numbers in place of floats, as in
    a quantised network, are refused.

    Raises:
        TypeError: if ``model`` is not a network.
        CheckpointError: if the file cannot be read, belongs to another network, or holds weights
            that are not finite; ``model`` is then unchanged.
    """
    check_module(model)
    shapes, metadata = _read_header(path)
    _compare(shapes, model, path)  # before more is read than the header
    tensors, _ = read_weights(path)
    # Weights that share their memory with another one are not among them.
    model.load_state_dict(weights_for(model, tensors, path), strict=False)
    return metadata


def weights_for(
    model: nn.Module, tensors: Mapping[str, Tensor], path: str | Path
) -> dict[str, Tensor]:
    """Tensors that were read from ``path``, with the names and the types that ``model`` has.

    Raises:
        CheckpointError: if they belong to another network, or are not finite.
    """
    _compare({name: tuple(value.shape) for name, value in tensors.items()}, model, path)
    found = dict(zip(_bare(tensors), tensors.values(), strict=True))
    state = model.state_dict()
    new: dict[str, Tensor] = {}
    shared: dict[Any, str] = {}
    for name, (own, target) in zip(_bare(state), state.items(), strict=True):
        if name in found:
            new[own] = _like(target, found[name], f"{name} in {path}")
            first = shared.setdefault(_memory(name, target), own)
            if own != first and not torch.equal(new[own], new[first]):
                raise CheckpointError(
                    f"{path} holds the weights of another network: "
                    f"{first} and {own} share their weights in the model, but not in the file"
                )
    return new


def load_network(path: str | Path) -> nn.Module:
    """Build the network that a file names and load its weights; eval mode, on the CPU.

    Raises:
        CheckpointError: if the file cannot be read, names no network of the course, or holds
            weights of another one.
    """
    shapes, metadata = _read_header(path)
    if "network" not in metadata:
        raise CheckpointError(
            f"{path} does not name its network; "
            "build it yourself and use checkpoints.load_weights(model, path)"
        )
    try:
        channels = tuple(int(c) for c in metadata.get("channels", "").split(",") if c)
        if len(channels) > len(shapes) or min(channels, default=1) < 1:
            raise ValueError(f"{len(shapes)} tensors cannot be those of {len(channels)} layers")
        with torch.device("meta"):  # without memory: the file may ask for any size
            _compare(shapes, models.build(metadata["network"], channels), path)
        with torch.device("cpu"):  # whatever the default is
            model = models.build(metadata["network"], channels)
    except CheckpointError:
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise CheckpointError(
            f"{path} names a network that cannot be built ({printable(error)[:200]}); "
            "train it again"
        ) from error
    load_weights(model, path)
    return model.eval()


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write what resuming needs (tensors, numbers, texts, lists and dicts of them).

    Raises:
        OSError: if the file cannot be written; an older file of that name is then untouched.
    """
    content = io.BytesIO()  # PyTorch's own writer of files does not say why it fails
    torch.save(state, content)
    write(path, content.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote for a training; runs no code from the file.

    Returns:
        ``run`` (text), ``model`` (tensors by name), ``optimizer`` (its ``state_dict``), ``rows`` (a
        dict of numbers each) and ``losses`` (a finite float for every step).

    Raises:
        CheckpointError: if the file is missing, is not a checkpoint, or holds something else.
    """
    kind = _kind(path)
    if kind is None:
        raise CheckpointError(f"nothing to resume: there is no {path}; start without resume first")
    if kind and kind != PYTORCH:
        raise CheckpointError(
            f"{path} is {kind}, not the last.pt of a training: to start afresh, move it away or "
            "delete it"
        )
    try:
        _check_archive(path)
        with path.open("rb") as file:  # by its name PyTorch would take it for something else
            state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is a PyTorch checkpoint, but not of a training of this course: it holds more "
            "than numbers, texts and tensors, and so could run code; move it away to start afresh"
        ) from error
    except Exception as error:  # torch.load raises anything from EOFError to KeyError
        raise CheckpointError(
            f"{path} cannot be read: it is cut short, or damaged; copy it again, or delete it and "
            "train again"
        ) from error
    if problem := _problem_of_state(state):
        raise CheckpointError(
            f"{path} is not of a training of this course: {problem}; move it away to start afresh"
        )
    return state


# --- Names ---


def _bare(names: Iterable[str]) -> list[str]:
    """The names without what wrappers put before them, in the same order."""
    bare = [re.sub(r"(^|\.)_orig_mod\.", r"\1", name) for name in names]
    while bare and all(name.startswith("module.") for name in bare):
        bare = [name.removeprefix("module.") for name in bare]
    return bare


def _memory(name: str, value: Tensor) -> Any:
    """Equal for two tensors of a network if they are the same numbers in the same memory."""
    in_memory = value.numel() and not value.is_meta
    return (value.data_ptr(), value.shape, value.stride()) if in_memory else name


def _compare(shapes: Mapping[str, tuple[int, ...]], model: nn.Module, path: str | Path) -> None:
    """Raise a CheckpointError unless a file has just the tensors that ``model`` has."""
    found = dict(zip(_bare(shapes), shapes.values(), strict=True))
    state = model.state_dict()
    state = dict(zip(_bare(state), state.values(), strict=True))
    given = {_memory(name, state[name]) for name in found.keys() & state.keys()}
    expected = {
        name: tuple(value.shape)
        for name, value in state.items()
        if name in found or _memory(name, value) not in given
    }
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{path} holds the weights of another network: {printable(name)[:200]} is "
                f"{found.get(name, 'missing')} in the file, "
                f"{expected.get(name, 'missing')} in the model; build the network it was saved from"
            )


def _like(target: Tensor, value: Tensor, name: str) -> Tensor:
    """``value`` in the type of ``target``, if it can be a weight of it."""
    if not is_plain(value):
        raise CheckpointError(f"{name} is not a plain tensor; save the weights as plain tensors")
    if value.is_floating_point() != target.is_floating_point() or value.is_complex():
        raise CheckpointError(
            f"{name} is {value.dtype}, expected {target.dtype}: these are not the weights of a "
            "trained network but, perhaps, of a quantised one; save them before they are quantised"
        )
    value = value.to(target.dtype)
    strange = ~value.isfinite()
    if strange.any() and not value[strange].equal(target[strange].to(value.device)):
        raise CheckpointError(
            f"{name} is not finite (NaN or infinite), so the training that wrote it had failed; "
            "take weights from before that, or train again with a lower learning rate"
        )
    return value


# --- What a file holds ---


def _kind(path: Path) -> str | None:
    """What a file is, in the words of ``kind_of_file``; None if there is no file."""
    try:
        return kind_of_file(path) if path.is_file() else None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error


def _incomplete(path: str | Path, why: object) -> CheckpointError:
    return CheckpointError(
        f"{path} is not a complete .safetensors file ({printable(why)[:200]}); "
        "copy or train it again"
    )


def _read_header(path: str | Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shapes by name, and the metadata, of a ``.safetensors`` file; nothing else is read.

    The format: the length of the header (8 bytes, little-endian), the header as JSON, the tensors.
    """
    path = Path(path)
    kind = _kind(path)
    if kind is None:
        raise CheckpointError(f"there is no file of weights at {path}; check the path")
    if kind == "a text":
        raise _incomplete(path, "it holds text")
    if kind and kind != SAFETENSORS:
        raise CheckpointError(f"{path} is {kind}, not a .safetensors file; {_advice(path, kind)}")
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > _LONGEST_HEADER:
                raise ValueError(f"its header would have {size:,} bytes")
            header = json.loads(file.read(size))
        metadata = header.pop("__metadata__", {})
        shapes = {name: tuple(map(int, entry["shape"])) for name, entry in header.items()}
        if not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its metadata are not texts")
    except (
        *(OSError, ValueError, TypeError, KeyError),
        *(AttributeError, RecursionError, OverflowError),
    ) as error:
        raise _incomplete(path, error) from error
    return shapes, metadata


def _advice(path: Path, kind: str) -> str:
    if "Git LFS" in kind:
        return "fetch the file itself with git lfs pull"
    if "PyTorch" in kind:
        beside = path.with_name("last.safetensors")
        if beside.is_file():
            return f"the weights are in {beside}"
        return "load it with torch.load, and write its weights with checkpoints.save_weights"
    return "give a file that train, finetune or checkpoints.save_weights wrote"


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """Put metadata into the header of a ``.safetensors`` file, in the order of their names.

    The library writes them in another order every time, so that no two files are equal.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    if metadata:
        header = {"__metadata__": dict(sorted(metadata.items())), **header}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors start at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[end:]


def _check_archive(path: Path) -> None:
    """Raise an OSError if a checkpoint of PyTorch is damaged, or larger when it is unpacked."""
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > path.stat().st_size or archive.testzip():
            raise OSError("a part of it is damaged")


def _problem_of_state(state: Any) -> str:
    """What is wrong with the form of a training's state; empty if nothing is."""
    if not isinstance(state, dict):
        return f"expected a dict, got a {type(state).__name__}"
    forms = {"run": str, "model": dict, "optimizer": dict, "rows": list, "losses": list}
    for name, form in forms.items():
        if not isinstance(state.get(name), form):
            got = type(state[name]).__name__ if name in state else "nothing"
            return f"expected {name!r} as {form.__name__}, got {got}"
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state["model"].items()):
        return "expected 'model' to hold tensors by name"
    memory, groups = state["optimizer"].get("state"), state["optimizer"].get("param_groups")
    if not isinstance(memory, dict) or not isinstance(groups, list):
        return "expected 'state' and 'param_groups' of the optimizer"
    if not all(isinstance(g, dict) and isinstance(g.get("params"), list) for g in groups):
        return "expected 'params' in each group of the optimizer"
    if not all(type(loss) is float and math.isfinite(loss) for loss in state["losses"]):
        return "expected the losses to be finite numbers"
    rows = state["rows"]
    steps: list[Any] = [row.get("step") if isinstance(row, dict) else None for row in rows]
    if not steps or not all(type(step) is int and step > 0 for step in steps):
        return "expected rows with a step each, from 1"
    numbers = [number for row in rows for number in row.values()]
    if not all(type(x) in (int, float) and (x != x or abs(x) < _LARGEST) for x in numbers):
        return "expected rows of numbers"
    if steps != sorted(set(steps)) or steps[-1] != len(state["losses"]):
        return f"expected a loss for each of {steps[-1]} steps, got {len(state['losses'])}"
    return ""
