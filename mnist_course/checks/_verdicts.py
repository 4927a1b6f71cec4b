"""The verdict of a check, and the door at which it is made."""

from __future__ import annotations

import functools
import html
import inspect
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import FrameType
from typing import ParamSpec

import numpy as np
import torch

from mnist_course.checks._blame import blame_answer, learners_line

P = ParamSpec("P")

SECONDS = 60
"""How long a check may work, the learner's code included, before it is stopped."""

PATIENCE = 5
"""How many times as long it may take on a busy machine."""

# A translucent green or amber suits a light page and a dark one. Written into the element, because
# a notebook has no style sheet of ours.
BOX = """\
<div class="course-verdict" role="status" style="background: rgba({colour}, 0.13); \
border-left: 4px solid rgb({colour}); border-radius: 4px; padding: 0.5em 0.9em; \
max-width: 46rem; font-family: inherit; line-height: 1.45; white-space: pre-wrap; \
overflow-wrap: anywhere"><strong>{mark}</strong> {message}</div>"""
GREEN, AMBER = "0, 158, 115", "230, 159, 0"


@dataclass(frozen=True)
class Verdict:
    """The answer of a check. A verdict is false when the exercise is not solved.

    Attributes:
        ok: whether the exercise is solved.
        message: one or two sentences for the learner: what holds, or what is wrong and where to
            look.
        progress: how much of the chapter is done on the learner's desk; empty away from one.
    """

    ok: bool
    message: str
    progress: str = ""

    def __bool__(self) -> bool:
        return self.ok

    @property
    def mark(self) -> str:
        """What it begins with."""
        return "✓ Right." if self.ok else "✗ Not yet."

    def __repr__(self) -> str:
        return f"{self.mark} {self.message}"

    def _repr_html_(self) -> str:
        """A box that wraps: green when the exercise is solved, amber when it is not."""
        text = f"{self.message} {self.progress}".rstrip()
        message = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", html.escape(text))
        return BOX.format(colour=GREEN if self.ok else AMBER, mark=self.mark, message=message)


class NotSolvedError(Exception):
    """What is not right yet, in one or two sentences for the learner."""


class NotBegunError(NotSolvedError):
    """The learner's function is a stub: what goes wrong in it, and where, says nothing."""


class ReturnedNoneError(NotSolvedError):
    """The learner's function returned nothing."""


class StoppedError(KeyboardInterrupt):
    """The learner interrupted the kernel, or pressed Ctrl-C, while a check was running."""


class TimeUpError(BaseException):
    """The check has taken too long. Not an ``Exception``, so that few handlers swallow it."""


@contextmanager
def saying(words: str) -> Iterator[None]:
    """Put these words before the message of whatever is not right in here."""
    try:
        yield
    except NotBegunError:
        raise
    except NotSolvedError as error:
        raise type(error)(words + str(error)) from error


@contextmanager
def explaining(words: Mapping[str, str]) -> Iterator[None]:
    """Add to the message of whatever is not right in here what one of these words in it means."""
    try:
        yield
    except NotSolvedError as error:
        meanings = (meaning for word, meaning in words.items() if word in str(error))
        raise type(error)(" ".join([str(error), *meanings][:2])) from error


CHECKS: list[Callable[..., Verdict]] = []
"""Every check that :func:`exercise` has made, for the tests."""


def exercise(check: Callable[P, str]) -> Callable[P, Verdict]:
    """Make a check of a function that returns what holds, or raises :class:`NotSolvedError`.

    The check returns a :class:`Verdict`, whatever the learner's code does. It gives the same one
    every time, because it draws the same random numbers; the learner's own generators, gradient
    mode and default dtype are afterwards as they were. It stops after ``SECONDS`` of work.
    Only a learner who interrupts it gets an exception, ``KeyboardInterrupt``.
    """
    signature = inspect.signature(check)
    asked = f"check.{check.__name__}({', '.join(_required(signature))})"

    @functools.wraps(check)
    def judged(*args: P.args, **kwargs: P.kwargs) -> Verdict:
        try:
            signature.bind(*args, **kwargs)
        except TypeError:
            return Verdict(False, f"The check is called in another way: `{asked}`.")
        try:
            with _own_state(), _interruptible(), _limited():
                verdict = Verdict(True, check(*args, **kwargs))
        except NotBegunError as error:
            return Verdict(False, str(error))  # nothing to remember
        except NotSolvedError as error:
            verdict = Verdict(False, str(error))
        except StoppedError as error:  # without the frames of the check, which say nothing
            where = learners_line(error)
            raise StoppedError("You stopped the check" + f", in {where}" * bool(where)) from None
        except TimeUpError:
            verdict = Verdict(False, time_is_up())
        except BaseException as error:  # from the learner's code, or from what it returned
            verdict = Verdict(False, blame_answer(error))
        name = f"{check.__module__.rpartition('.')[2]}.{check.__name__}"
        return replace(verdict, progress=_remember(name, verdict.ok))

    # For the reference: a check returns a verdict, although inside it returns a string.
    judged.__annotations__ = check.__annotations__ | {"return": Verdict}
    CHECKS.append(judged)
    return judged


def _required(signature: inspect.Signature) -> Iterator[str]:
    """What a check cannot do without, as its call names it."""
    for each in signature.parameters.values():
        if each.default is each.empty and each.kind in (
            each.POSITIONAL_ONLY,
            each.POSITIONAL_OR_KEYWORD,
        ):
            yield f"my_{each.name}"


def _remember(check: str, right: bool) -> str:
    """Write on the learner's desk, where there is one, how an exercise went.

    Args:
        check: word of the chapter and name of the check, ``"pooling.blur_pool"``: this stays when
            chapters get other numbers.
        right: whether it is solved.

    Returns:
        How much of the chapter is done, if that has changed now; otherwise nothing.
    """
    from mnist_course import desk

    with suppress(Exception):  # no desk, a full disk: a verdict never fails for that
        desk.record(check, right)
        return desk.told(check) if right else ""
    return ""


def time_is_up() -> str:
    """What a learner is told whose code took too long."""
    return (
        f"The check was still running after {SECONDS} seconds, so I stopped it. Is there a loop in "
        "your code that never ends?"
    )


@contextmanager
def _own_state() -> Iterator[None]:
    """Draw the same random numbers every time, and leave everything global as it was."""
    generators = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    dtype = torch.get_default_dtype()
    torch.default_generator.manual_seed(0)  # torch.manual_seed would reach the GPU as well
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_rng_state(generators[0])
        np.random.set_state(generators[1])  # noqa: NPY002
        random.setstate(generators[2])


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C raise :class:`StoppedError`: then a bare KeyboardInterrupt is the code's own."""
    if not _in_main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedError

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _limited() -> Iterator[None]:
    """Raise :class:`TimeUpError` after ``SECONDS`` of work, where the system can.

    Work is time of the CPU, because other programs may keep it busy; code that only waits is
    stopped after ``PATIENCE`` times as long. Windows has no such alarm, only the main thread may
    set it, and one that somebody else has set stays: there the check runs without a limit, until
    the learner interrupts it.
    """
    free = hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    if not free or not _in_main_thread():
        yield
        return

    start, work = time.monotonic(), time.process_time()

    def ring(number: int, frame: FrameType | None) -> None:
        waited, worked = time.monotonic() - start, time.process_time() - work
        if worked >= SECONDS or waited >= PATIENCE * SECONDS:
            raise TimeUpError

    signal.signal(signal.SIGALRM, ring)
    # Again and again: a loop around a bare `except:` would swallow the first.
    signal.setitimer(signal.ITIMER_REAL, SECONDS, min(1, SECONDS))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
