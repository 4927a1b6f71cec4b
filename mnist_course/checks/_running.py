"""Running the learner's code."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from mnist_course.checks._arguments import change, snapshot
from mnist_course.checks._blame import blame, is_learners, is_stub
from mnist_course.checks._verdicts import (
    NotBegunError,
    NotSolvedError,
    ReturnedNoneError,
    StoppedError,
    TimeUpError,
)

P = ParamSpec("P")


def run(
    function: Callable[..., Any],
    *args: Any,
    may_change: Collection[Any] = (),
    double: bool | None = None,
    **kwargs: Any,
) -> Any:
    """What the learner's function returns for these arguments.

    Args:
        function: the learner's.
        args: what it is called with. It must leave them as they are.
        may_change: those of the arguments that it may change.
        double: whether new tensors are float64 if nothing else is said, so that
            ``torch.zeros(3)`` does not cost a right answer its precision. By default they are if
            a float64 tensor is among the arguments.
        kwargs: more arguments, by name.

    Raises:
        NotSolvedError: if it raised something, which is quoted, changed an argument, or returned
            ``None``.
    """
    result = call(function, *args, may_change=may_change, double=double, **kwargs)
    if result is None:
        raise ReturnedNoneError("Your function returned None: does it end with `return …`?")
    return result


def call(
    function: Callable[..., Any],
    *args: Any,
    may_change: Collection[Any] = (),
    double: bool | None = None,
    **kwargs: Any,
) -> Any:
    """As :func:`run`, for a function that need not return anything."""
    if not callable(function):
        raise NotSolvedError(
            f"The check calls your function itself, and got a {type(function).__name__}: write the "
            "name of the function, without brackets behind it."
        )
    given = dict(zip(_names(function, len(args)), args, strict=True)) | kwargs
    kept = {
        name: snapshot(value, name)
        for name, value in given.items()
        if not any(value is allowed for allowed in may_change)
    }
    watch = _watch.get()
    try:
        with _precision(given.values(), double), watch or nullcontext():
            result = function(*args, **kwargs)
    except NotImplementedError as error:
        if is_stub(error):
            raise NotBegunError(
                "Nothing is written yet: replace the line `raise NotImplementedError`."
            ) from None
        raise NotSolvedError(blame(error)) from error
    except (NotSolvedError, StoppedError, TimeUpError):
        raise
    except BaseException as error:  # SystemExit, too, or a KeyboardInterrupt of its own
        raise NotSolvedError(blame(error)) from error
    for name, before in kept.items():
        changed = change(before, snapshot(given[name], name))
        if changed is not None:
            raise NotSolvedError(f"Your function {changed}.")
    return result


def _names(function: Callable[..., Any], count: int) -> list[str]:
    """What the learner calls the arguments, or their numbers where that cannot be told."""
    if isinstance(function, nn.Module):
        function = function.forward
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some functions of C have none
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [names[i] if i < len(names) else f"argument {i + 1}" for i in range(count)]


@contextmanager
def _precision(values: Iterable[Any], double: bool | None) -> Iterator[None]:
    """Make new tensors float64 where the arguments are, as a learner's `torch.zeros(3)` expects."""
    if double is None:
        double = is_double(values)
    dtype = torch.get_default_dtype()
    if double:
        torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)


def is_double(values: Iterable[Any]) -> bool:
    """Whether a float64 tensor or array, or a network of such weights, is among the values."""
    for value in values:
        if isinstance(value, (list, tuple)) and is_double(value):
            return True
        if isinstance(value, nn.Module) and is_double(list(value.parameters())):
            return True
        if isinstance(value, (Tensor, np.ndarray)) and value.dtype in (torch.float64, np.float64):
            return True
    return False


_watch: ContextVar[_Watch | None] = ContextVar("_watch", default=None)


def without(*names: str) -> Callable[[Callable[P, str]], Callable[P, str]]:
    """Refuse a right answer that calls a function which the exercise asks to do without.

    A call is noticed in :func:`run` and :func:`call`, through a layer as well (``nn.Conv2d`` calls
    ``conv2d``). Only an answer that is right in all else is told so: of a wrong one there is
    something better to say.

    Args:
        names: of functions of PyTorch: ``"softmax"`` in all its spellings (``torch.softmax``,
            ``F.softmax``, ``x.softmax``), ``"F.unfold"`` this one only (and not ``x.unfold``); or
            of an argument that must keep its default, as ``"label_smoothing"``.
    """

    def decorate(check: Callable[P, str]) -> Callable[P, str]:
        @functools.wraps(check)
        def watched(*args: P.args, **kwargs: P.kwargs) -> str:
            watch = _Watch(names)
            token = _watch.set(watch)
            try:
                holds = check(*args, **kwargs)
            finally:
                _watch.reset(token)
            if watch.seen:
                raise NotSolvedError(
                    f"The answer is right, but your code calls {watch.seen[0]}: this exercise is "
                    "to be solved without it."
                )
            return holds

        return watched

    return decorate


class _Watch(TorchFunctionMode):
    """Notes the calls of forbidden functions that the learner's code makes."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self.names = names
        self.seen: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "").rstrip("_")
        full = _spelled(func)
        given = [known for known in self.names if (kwargs or {}).get(known)]
        if (given or name in self.names or full in self.names) and _by_the_learner():
            self.seen.append(" with ".join([full, *given]))
        return func(*args, **(kwargs or {}))


def _spelled(func: Any) -> str:
    """A function of PyTorch as learners write it: ``F.conv2d``, ``Tensor.softmax``."""
    name = getattr(func, "__name__", "")
    if getattr(torch.nn.functional, name, None) is func:
        return f"F.{name}"
    full = resolve_name(func) or f"{getattr(func, '__module__', 'torch')}.{name}"
    return full.replace("torch.nn.functional.", "F.").replace("torch.Tensor.", "Tensor.")


def _by_the_learner() -> bool:
    """Whether the call now running comes from the learner's code, directly or through a layer."""
    checks, frame = str(Path(__file__).parent), sys._getframe(2)
    while frame.f_back is not None:
        filename = frame.f_code.co_filename
        if is_learners(filename) or filename == __file__:  # or handed to `run` as it is
            return True
        if filename.startswith(checks):
            return False  # a function of the check, which the learner was given
        frame = frame.f_back
    return False
