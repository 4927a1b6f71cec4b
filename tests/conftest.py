"""Fixtures that several test files share."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import expect, sync_playwright

from tools import book
from tools.browser import FLAGS, executable


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
