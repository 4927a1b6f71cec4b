"""Weights in files: written whole or not at all, and read with an answer to what went wrong."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from mnist_course import models


class CheckpointError(ValueError):
    """A file of weights that cannot be used; the message says why, and what to do."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file beside ``path``, then put it in its place in one step.

    Whatever happens while it is written (no space left, Ctrl-C, a crash), ``path`` is the old
    file or the new one, never half of one, and nothing is left lying beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o644)  # mkstemp hides its files from everybody else
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _write(path: Path, write: Callable[[Path], None]) -> None:
    try:
        with replacing(path) as draft:
            write(draft)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise OSError(f"cannot write {path}: {error}") from error


def save_weights(model: nn.Module, path: str | Path, **metadata: str) -> None:
    """Write the weights of ``model`` to a ``.safetensors`` file.

    Args:
        model: any module; its parameters and persistent buffers are saved.
        path: the file; it is replaced if it exists.
        metadata: short texts kept in the file's header. ``network`` and ``channels`` name the
            builder in :mod:`mnist_course.models`, so that :func:`load_network` needs only the file.

    Raises:
        OSError: if the file cannot be written; an older file of that name is then untouched.
    """
    # Copies: the format refuses tensors that share their memory.
    tensors = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    _write(Path(path), lambda draft: save_file(tensors, draft, metadata))


def read_weights(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read tensors and metadata of a ``.safetensors`` file.

    Raises:
        CheckpointError: if the file is missing, or is no such file.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"there is no file of weights at {path}; check the path")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a complete .safetensors file ({error}); copy or train it again"
        ) from error


def load_weights(model: nn.Module, path: str | Path) -> dict[str, str]:
    """Load weights from a ``.safetensors`` file into ``model`` and return the file's metadata.

    Raises:
        CheckpointError: if the file cannot be read or belongs to another network; ``model`` is
            then unchanged.
    """
    tensors, metadata = read_weights(path)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{path} holds the weights of another network: {name} is "
                f"{found.get(name, 'missing')} in the file, "
                f"{expected.get(name, 'missing')} in the model; build the network it was saved from"
            )
    model.load_state_dict(tensors)
    return metadata


def load_network(path: str | Path) -> nn.Module:
    """Build the network that a file names and load its weights; eval mode, on the processor.

    Raises:
        CheckpointError: if the file cannot be read, names no network of the course, or holds
            weights of another one.
    """
    _, metadata = read_weights(path)
    if "network" not in metadata:
        raise CheckpointError(
            f"{path} does not name its network; "
            "build it yourself and use checkpoints.load_weights(model, path)"
        )
    try:
        channels = tuple(int(c) for c in metadata.get("channels", "").split(",") if c)
        model = models.build(metadata["network"], channels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} names a network that cannot be built ({error}); train it again"
        ) from error
    load_weights(model, path)
    return model.eval()


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write what resuming needs (tensors, numbers, texts, lists and dicts of them).

    Raises:
        OSError: if the file cannot be written; an older file of that name is then untouched.
    """
    _write(path, lambda draft: torch.save(state, draft))


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote; runs no code from the file.

    Raises:
        CheckpointError: if the file is missing or is no such file.
    """
    if not path.is_file():
        raise CheckpointError(f"nothing to resume: there is no {path}; start without resume first")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises anything from EOFError to KeyError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read ({reason}); delete it and train again"
        ) from error
