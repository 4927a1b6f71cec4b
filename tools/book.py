"""Build the book into ``build/_build/html``: ``python -m tools.book``.

Needs the network once, for MathJax from npm; without npm the pages take MathJax from its public
address, and formulas need the network to be read.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import yaml

from tools import page_script, page_weights

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
HTML = BUILD / "_build" / "html"
STATIC = BUILD / "static"

MATHJAX = "3.2.2"
# Of MathJax's package a page uses the one script that reads TeX and writes HTML, and its fonts.
MATHJAX_PARTS = ("es5/tex-mml-chtml.js", "es5/output/chtml/fonts/", "LICENSE")


def fetch_mathjax() -> bool:
    """Put MathJax beside the pages, from npm; return whether it is there."""
    target = STATIC / "mathjax"
    if (target / MATHJAX_PARTS[0]).exists():
        return True
    cache = BUILD / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    try:
        packed = subprocess.run(
            ["npm", "pack", "--silent", "--json", f"mathjax@{MATHJAX}"],
            cwd=cache, check=True, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        archive = cache / json.loads(packed.stdout)[0]["filename"]
        with tarfile.open(archive) as package:
            for member in package.getmembers():
                member.name = member.name.removeprefix("package/")
                if member.isfile() and member.name.startswith(MATHJAX_PARTS):
                    package.extract(member, target, filter="data")
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, tarfile.TarError):
        shutil.rmtree(target, ignore_errors=True)
        return False
    return True


def configuration(has_mathjax: bool) -> Path:
    """Write the configuration of this build: the project's, less what could not be fetched."""
    settings = yaml.safe_load((ROOT / "_config.yml").read_text())
    if not has_mathjax:
        del settings["sphinx"]["config"]["mathjax_path"]
    path = BUILD / "config.yml"
    path.write_text(yaml.safe_dump(settings))
    return path


def build() -> int:
    """Build the book; warnings are errors. Returns the exit code of the builder."""
    STATIC.mkdir(parents=True, exist_ok=True)
    has_mathjax = fetch_mathjax()
    if not has_mathjax:
        print("MathJax could not be had from npm: formulas on the pages will need the network.")
    page_script.write(STATIC)
    page_weights.write(STATIC)
    command = [
        str(Path(sysconfig.get_path("scripts"), "jupyter-book")), "build", str(ROOT),
        "--path-output", str(BUILD), "--config", str(configuration(has_mathjax)),
        "-W", "-n", "--keep-going", "--quiet",
    ]  # fmt: skip
    result = subprocess.run(command, cwd=ROOT)
    if result.returncode == 0:
        print(f"The book: {HTML / 'index.html'}")
    return result.returncode


if __name__ == "__main__":
    sys.exit(build())
