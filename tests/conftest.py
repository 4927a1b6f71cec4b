"""Fixtures that several test files share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

# Headless, and quiet: no look-ups of its own, no first-run pages.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"


def chromium() -> str | None:
    """The browser on this machine, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    return found or (MAC if Path(MAC).exists() else None)


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """A headless Chromium; tests that use it are skipped where there is none."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium or Chrome on this machine: see tools/browser.sh")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield running
        running.close()
