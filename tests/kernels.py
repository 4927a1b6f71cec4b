"""Kernels that start at once: forked from a process that has imported what every chapter imports.

A kernel spends some seconds importing PyTorch, matplotlib and the package before its first cell
runs, and the imports are the same for every chapter. So each process of the tests keeps one process
that has made them, and every notebook gets a copy of it: as new as a fresh kernel, without the
wait. There figures are drawn coarsely, because no test compares them. Where the system cannot fork,
kernels start as usual.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jupyter_client.launcher import launch_kernel

IMPORTS = "matplotlib.pyplot matplotlib_inline.backend_inline pandas scipy.ndimage scipy.stats \
sklearn.neighbors torch torchvision ipykernel.kernelapp mnist_course.train mnist_course.plots"
BACKEND = "module://matplotlib_inline.backend_inline"
# What PyTorch reads once, when it starts: a process for each of their values.
READ_ONCE = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS")


class Kernel:
    """A forked kernel, with the part of ``subprocess.Popen`` that a kernel's manager uses."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid, self.returncode = pid, None

    def poll(self) -> int | None:
        """``None`` while it runs. Its parent, which reaps it, is the nursery."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            self.returncode = 0
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end."""
        limit = time.monotonic() + (float("inf") if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > limit:
                raise subprocess.TimeoutExpired("a forked kernel", timeout or 0)
            time.sleep(0.02)
        return self.returncode

    def send_signal(self, signum: int) -> None:
        """Send a signal; nothing happens if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that kernels are forked from, with what it is to read once."""

    def __init__(self, settings: dict[str, str]) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in READ_ONCE}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kernels"],
            cwd=Path(__file__).parents[1],
            env=environment | settings | {"MPLBACKEND": BACKEND},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def fork(self, command: Sequence[str], cwd: str | None, environment: dict[str, str]) -> Kernel:
        """A kernel that was started with ``command``, which names its file of connections."""
        assert self.process.stdin and self.process.stdout
        order = {"arguments": list(command[3:]), "cwd": cwd, "environment": environment}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return Kernel(int(self.process.stdout.readline()))


@functools.cache
def nursery(settings: frozenset[tuple[str, str]]) -> Nursery:
    """The nursery of this process for such kernels, made when the first of them is asked for."""
    return Nursery(dict(settings))


def launch(command: Sequence[str], **options: Any) -> Kernel | subprocess.Popen[bytes]:
    """Start a kernel as ``launch_kernel`` of Jupyter does; forked, where that can be."""
    if hasattr(os, "fork") and list(command[:3]) == [sys.executable, "-m", "ipykernel_launcher"]:
        environment = options.get("env") or dict(os.environ)
        settings = frozenset((k, environment[k]) for k in READ_ONCE if k in environment)
        return nursery(settings).fork(command, options.get("cwd"), environment)
    return launch_kernel(list(command), **options)


def become_kernel(order: dict[str, Any]) -> None:
    """Turn this copy of the nursery into the kernel that was ordered."""
    from ipykernel import kernelapp

    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(order["environment"])
    if order["cwd"]:
        os.chdir(order["cwd"])
    sys.argv = ["ipykernel_launcher", *order["arguments"]]
    kernelapp.launch_new_instance()


def main() -> None:
    """The nursery: import, then fork a kernel for each line that comes in."""
    for module in IMPORTS.split():
        __import__(module)
    sys.modules["mnist_course.plots"].SHARPNESS = 0.3  # type: ignore[attr-defined]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps kernels that have ended
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            become_kernel(json.loads(line))
            os._exit(0)
        os.setpgid(pid, pid)  # signals to the kernel's group reach it alone
        print(pid, flush=True)


if __name__ == "__main__":
    main()
