"""A book of one part with one chapter, built as the book is: for tests of what a page does."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import nbformat
import yaml
from nbclient import NotebookClient

from tools import book, chapters, lighten, page_script

PROJECT = "https://github.com/somebody/their-course"
HEADER = """\
---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
---
"""
START = """\
# A small book

Of one part.

*{time}`Part I`*
"""
PART = """\
# Part I: Means

A part with one chapter.

```{chapters} Part I
means How numbers are averaged.
```
"""


def make(folder: Path, chapter: str, project: str = PROJECT) -> Path:
    """Write, run and build it; returns the folder of the pages.

    Args:
        folder: an empty one.
        chapter: the text of the chapter ``01-means``, without the header.
        project: the address of the project; empty for none.
    """
    for name in ("book/_static", "build/static", "notebooks"):
        (folder / name).mkdir(parents=True)
    for name in ("_static", "_templates"):
        shutil.copytree(book.ROOT / "book" / name, folder / "book" / name, dirs_exist_ok=True)
    page_script.write(folder / "build" / "static")
    texts = {"book/index.md": START, "book/part-1.md": PART, "book/01-means.md": HEADER + chapter}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    notebook = chapters.read(folder / "book" / "01-means.md")
    NotebookClient(notebook, kernel_name="python3").execute()
    nbformat.write(notebook, folder / "notebooks" / "01-means.ipynb")
    files = ("book/part-1", "notebooks/01-means")
    part = {"caption": "Part I · Means", "chapters": [{"file": file} for file in files]}
    contents = {"format": "jb-book", "root": "book/index", "parts": [part]}
    (folder / "_toc.yml").write_text(yaml.safe_dump(contents), encoding="utf-8")
    (folder / "_config.yml").write_text(yaml.safe_dump(_settings(project)), encoding="utf-8")
    command = [
        str(Path(sysconfig.get_path("scripts"), "jupyter-book")), "build", str(folder),
        "-W", "-n", "--keep-going", "--quiet",
    ]  # fmt: skip
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    site = folder / "_build" / "html"
    lighten.lighten(site)
    return site


def _settings(project: str) -> dict:
    """Those of the book, without what this one lacks; formulas stay in TeX."""
    settings = yaml.safe_load((book.ROOT / "_config.yml").read_text(encoding="utf-8"))
    settings["sphinx"]["local_extensions"] = {"tools.pages": str(book.ROOT)}
    for name in ("mathjax_path", "mathjax3_config"):
        del settings["sphinx"]["config"][name]
    del settings["bibtex_bibfiles"]
    settings["sphinx"]["config"]["bibtex_bibfiles"] = []
    settings["repository"]["url"] = project
    return settings
