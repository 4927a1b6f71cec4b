"""Build the book into ``build/_build/html``: ``python -m tools.book``.

Needs the network once, for MathJax from npm; without npm the pages take MathJax from its public
address, and formulas need the network to be read.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import yaml

from tools import address, lighten, moved, npm, page_card, page_digits, page_script, page_weights

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
HTML = BUILD / "_build" / "html"
STATIC = BUILD / "static"
DONE = BUILD / "done"  # as old as the last build without a warning

MATHJAX = "3.2.2"
# The parts of MathJax's package that read TeX and write HTML, and MathML for screen readers; not
# its menu, which is as large as all of these. `_config.yml` names the same parts.
MATHJAX_PARTS = (
    "es5/startup.js", "es5/core.js", "es5/input/tex.js", "es5/output/chtml.js",
    "es5/output/chtml/fonts/", "es5/a11y/assistive-mml.js", "LICENSE",
)  # fmt: skip


def mathjax_package() -> Path | None:
    """The folder of MathJax's npm package, or None if it cannot be fetched."""
    return npm.fetch("mathjax", MATHJAX, BUILD / "cache")


def fetch_mathjax() -> bool:
    """Put MathJax from npm beside the pages; returns whether it is there."""
    target = STATIC / "mathjax"
    if (target / MATHJAX_PARTS[0]).exists():
        return True
    shutil.rmtree(target, ignore_errors=True)  # of another version, or cut short
    if (package := mathjax_package()) is None:
        return False
    try:
        for path in package.rglob("*"):
            name = path.relative_to(package).as_posix()
            if path.is_file() and name.startswith(MATHJAX_PARTS):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / name)
    except OSError:
        shutil.rmtree(target, ignore_errors=True)
        return False
    return True


def configuration(has_mathjax: bool) -> Path:
    """Write the configuration of this build: the project's, and where it lives on the web.

    Without MathJax from npm it names none; without an address no page offers Binder or Colab.
    """
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    here = address.of(ROOT)
    settings["html"]["extra_footer"] = footer(here)
    if here and here.is_on_github:
        settings["repository"]["url"] = here.url
        settings["html"]["baseurl"] = here.pages
    else:
        del settings["launch_buttons"]
    # Paths in it count from the folder of the file.
    settings["sphinx"]["local_extensions"] = {"tools.pages": str(ROOT)}
    if not has_mathjax:
        del settings["sphinx"]["config"]["mathjax_path"]
        del settings["sphinx"]["config"]["mathjax3_config"]
    path = BUILD / "config.yml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def footer(here: address.Address | None) -> str:
    """What stands below every page, as HTML: the licences, and the project where it has a page."""
    licences = (
        'Text and figures: <a href="https://creativecommons.org/licenses/by/4.0/">CC BY 4.0</a>. '
        'Code: <a href="https://opensource.org/license/mit">MIT License</a>.'
    )
    return f'{licences} <a href="{here.url}">The project</a>.' if here else licences


def is_current() -> bool:
    """Whether the pages are there, built without a warning, and newer than their sources."""
    if not DONE.exists():
        return False
    made_from = [ROOT / "_config.yml", ROOT / "_toc.yml"]
    for folder in ("book", "notebooks", "mnist_course", "tools"):
        made_from += [path for path in (ROOT / folder).rglob("*.*") if path.suffix != ".pyc"]
    return DONE.stat().st_mtime > max(path.stat().st_mtime for path in made_from)


def _has_old_files() -> bool:
    """Whether pages have files of before: where no text has changed, Sphinx does not copy them."""
    pairs = (
        (path, HTML / "_static" / path.relative_to(folder))
        for folder in (ROOT / "book" / "_static", STATIC)
        for path in folder.rglob("*.*")
        if path.is_file()
    )
    return HTML.exists() and not all(
        copy.exists() and filecmp.cmp(path, copy, shallow=False) for path, copy in pairs
    )


def build() -> int:
    """Build the book; warnings are errors. Returns the exit code of the builder."""
    STATIC.mkdir(parents=True, exist_ok=True)
    DONE.unlink(missing_ok=True)
    has_mathjax = fetch_mathjax()
    if not has_mathjax:
        print("npm did not give MathJax: formulas on the pages will need the network.")
    page_script.write(STATIC)
    page_weights.write(STATIC)
    page_digits.write(STATIC)
    page_card.write(STATIC)
    command = [
        str(Path(sysconfig.get_path("scripts"), "jupyter-book")), "build", str(ROOT),
        "--path-output", str(BUILD), "--config", str(configuration(has_mathjax)),
        "-W", "-n", "--keep-going", "--quiet", *(["--all"] * _has_old_files()),
    ]  # fmt: skip
    result = subprocess.run(command, cwd=ROOT)
    if result.returncode == 0:
        lighten.lighten(HTML)
        moved.write(HTML)
        DONE.touch()
        print(f"The book: {HTML / 'index.html'}")
    return result.returncode


if __name__ == "__main__":
    sys.exit(build())
