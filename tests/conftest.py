"""Fixtures that several test files share."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from filelock import FileLock
from playwright.sync_api import expect, sync_playwright

from tools import book
from tools.browser import FLAGS, executable

# The same examples in every run, however busy the machine: a red test stays red.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")

# A shell lets its background jobs ignore Ctrl-C, which some tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Every test starts from the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """A headless Chromium; tests that use it are skipped where there is none."""
    path = executable()
    if path is None:
        pytest.skip("no Chromium or Chrome on this machine: run python -m tools.browser")
    expect.set_options(timeout=20_000)  # milliseconds
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def site_folder() -> Path:
    """The built book; made, as ``make book`` makes it, unless it is there. A warning fails it."""
    book.BUILD.mkdir(exist_ok=True)
    with FileLock(book.BUILD / "lock"):  # tests run in several processes
        if not book.is_current():
            command = [sys.executable, "-m", "tools.book"]
            result = subprocess.run(command, cwd=book.ROOT, capture_output=True, text=True)
            assert result.returncode == 0, result.stdout + result.stderr
    return book.HTML
