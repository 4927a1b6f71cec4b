"""What a process can do against answers that want more than to be right."""

from __future__ import annotations

import builtins
import ctypes
import linecache
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_course.classroom.running import Limits

_FORBIDDEN = (
    "socket.", "subprocess.", "ctypes.", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn",
    "os.spawn", "os.system", "os.kill", "os.killpg", "pty.", "sys.addaudithook", "signal.pthread",
    "os.setxattr", "os.chflags", "os.lockf", "webbrowser.", "urllib.", "ftplib.", "smtplib.",
)  # fmt: skip
_CHANGING = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.link",
    "os.symlink", "os.truncate", "os.utime", "shutil.",
)  # fmt: skip
_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # of Linux's unshare


def remember_lines(filename: str, source: str) -> None:
    """Let messages quote the lines of a cell."""
    lines = source.splitlines(keepends=True)
    linecache.cache[filename] = (len(source), None, lines, filename)


def confine(folder: Path, private: Sequence[str], limits: Limits) -> Callable[[], None]:
    """Take from this process what an answer does not need; returns what gives it back to us.

    It becomes the leader of a group of processes, works in ``folder``, prints nowhere, has limits,
    and where Linux allows it no network; an audit hook of Python forbids the rest.
    """
    os.setsid()
    void = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(void, stream)
    os.closerange(3, 1024)
    os.chdir(folder)
    tempfile.tempdir = str(folder)
    os.environ.update(HOME=str(folder), TMPDIR=str(folder))
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NETWORK)
    _limit(limits)
    return _watch(folder, private)


def _limit(limits: Limits) -> None:
    import resource

    giga, mega = 1 << 30, 1 << 20
    wanted = {
        "RLIMIT_CPU": (limits.seconds, limits.seconds + 2),
        "RLIMIT_AS": (_address_space() + int(limits.memory * giga),) * 2,
        "RLIMIT_FSIZE": (limits.file * mega,) * 2,
        "RLIMIT_NPROC": (0, 0),
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_NOFILE": (256, 256),
    }
    for name, pair in wanted.items():
        with suppress(ValueError, OSError, AttributeError):  # macOS has not all of them
            resource.setrlimit(getattr(resource, name), pair)


def _address_space() -> int:
    """Bytes of memory that this process has reserved; a guess where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 8 << 30


def _watch(folder: Path, private: Sequence[str]) -> Callable[[], None]:
    free = False
    inside = f"{os.path.realpath(folder)}{os.sep}"
    secret = tuple(f"{os.path.realpath(each)}{os.sep}" for each in private)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if free:
            return
        if event == "open":
            path = _path(args[0])
            if path.startswith(secret):
                raise PermissionError("not while an answer is graded")
            if args[2] & _WRITE and not (path + os.sep).startswith(inside) and path != os.devnull:
                raise PermissionError("an answer may write in its own folder only")
        elif event.startswith(_FORBIDDEN):
            raise PermissionError(f"an answer may not do this: {event}")
        elif event.startswith(_CHANGING) and not all(
            (_path(each) + os.sep).startswith(inside) for each in args if isinstance(each, str)
        ):
            raise PermissionError("an answer may write in its own folder only")

    def release() -> None:
        nonlocal free
        free = True

    sys.addaudithook(hook)
    return release


def _path(value: Any) -> str:
    if isinstance(value, int):
        return os.devnull  # an open file, or a standard stream, which goes nowhere
    return os.path.realpath(os.fsdecode(value))


class Kept:
    """What Python, PyTorch and the course have at first, to be put back when it was replaced."""

    def __init__(self) -> None:
        import torch
        from torch.nn import functional

        names = "math random copy inspect functools itertools linecache json os sys importlib numpy"
        standard = [sys.modules[name] for name in (*names.split(), "torch.overrides", "torch.nn")]
        ours = [m for name, m in sys.modules.items() if name.partition(".")[0] == "mnist_course"]
        things: list[Any] = [
            builtins,
            torch,
            functional,
            torch.Tensor,
            torch.nn.Module,
            *standard,
            *ours,
        ]
        self.kept = [(thing, _functions(thing)) for thing in things]
        self.hooks = {
            name: list(getattr(sys, name)) for name in ("meta_path", "path_hooks", "path")
        }

    def put_back(self) -> list[str]:
        """Put everything back, and say what the learner's code had done."""
        found = []
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        sys.settrace(None)
        sys.setprofile(None)
        for name, value in self.hooks.items():
            getattr(sys, name)[:] = value
        for thing, functions in self.kept:
            for name, value in functions.items():
                if vars(thing).get(name) is not value:
                    setattr(thing, name, value)
                    found.append(f"replaced {thing.__name__}.{name}")
            if isinstance(thing, type):
                for name in _functions(thing).keys() - functions.keys():
                    delattr(thing, name)
                    found.append(f"replaced {thing.__name__}.{name}")
        if threading.active_count() > 1:
            found.append("left threads running")
        return found


def _functions(thing: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(thing).items() if callable(value)}
