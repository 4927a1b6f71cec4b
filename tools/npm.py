"""Packages from npm: the pages and the tests use them, and the repository does not contain them."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path


def fetch(name: str, version: str, cache: Path) -> Path | None:
    """The unpacked package in ``cache``, fetched once; None if it cannot be fetched."""
    folder = cache / f"{name}-{version}"
    if folder.exists():  # it appears only when it is complete
        return folder
    npm = shutil.which("npm") or "npm"  # on Windows a script, which starts only by its full name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        try:
            packed = subprocess.run(
                [npm, "pack", "--silent", "--json", f"{name}@{version}"],
                cwd=scratch, check=True, capture_output=True, encoding="utf-8", timeout=120,
            )  # fmt: skip
            unpacked = Path(scratch, "unpacked")
            with tarfile.open(Path(scratch, json.loads(packed.stdout)[0]["filename"])) as package:
                package.extractall(unpacked, filter="data")
            (top,) = unpacked.iterdir()  # most packages call it "package", but not all
            top.replace(folder)
        except (OSError, subprocess.SubprocessError, ValueError, LookupError, tarfile.TarError):
            return folder if folder.exists() else None  # another process may have been first
    return folder
