"""The Chromium or Chrome of this machine, for the tests, the PDF and the measurements.

``python -m tools.browser`` installs one where it may do so without asking, or else says how.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# On macOS and Windows, browsers are not on the PATH. Edge comes with Windows, and is a Chromium.
PLACES = (
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
    Path(r"C:\Program Files\Google\Chrome\Application\chrome.exe"),
    Path(r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe"),
)
# Headless, and quiet: no look-ups of its own, no first-run pages.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip

APT = (
    ["apt-get", "update", "-qq"],
    ["apt-get", "install", "-y", "-qq", "chromium"],
)
ADVICE = """\
There is no Chromium here: the browser tests are skipped, and there is no PDF. For both,
install Google Chrome, or on Debian and Ubuntu: sudo apt-get install chromium"""


def executable() -> str | None:
    """The path of the browser, or None."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    return found or next((str(path) for path in PLACES if path.exists()), None)


def install() -> None:
    """Install Chromium, where ``apt-get`` may do so without asking."""
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    print("Installing Chromium, for the browser tests and the PDF (apt-get, as root) …", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in APT:
        if subprocess.run(command, env=environment, capture_output=True).returncode:
            return


if __name__ == "__main__":
    if not executable():
        install()
    if not executable():
        print(ADVICE)  # this is not a failure: everything else works without a browser
