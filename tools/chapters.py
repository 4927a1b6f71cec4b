"""From text to executed notebook, and the check that the two agree.

    python -m tools.chapters run            execute the chapters whose text or package changed
    python -m tools.chapters run --all      execute every chapter
    python -m tools.chapters run 04 09      execute these
    python -m tools.chapters check [04 …]   fail if a notebook is not what its text says

``book/NN-name.md`` is the source. ``notebooks/NN-name.ipynb`` is made from it here, by running it
from top to bottom in a fresh kernel, and nothing is ever written back.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from mnist_course import data, files
from mnist_course.gluing import ROLE, glued_values
from tools import colab, tasks

ROOT = Path(__file__).resolve().parents[1]
BOOK, NOTEBOOKS = ROOT / "book", ROOT / "notebooks"

LIVE_WIDGET = "application/vnd.jupyter.widget-view+json"
# What must never be in a committed output, because it would differ on another machine.
UNWANTED = {
    "an address": re.compile(r"\b0x[0-9a-f]{6,}\b"),
    "a path": re.compile(r"(?<![\w/.])/(?:home|root|tmp|work|Users|usr|opt|private|var)/[\w.-]"),
}


def sources(names: Iterable[str] = ()) -> list[Path]:
    """The texts of all chapters, or of those named by number, by word or by file name.

    Raises:
        SystemExit: if a name fits no chapter; the message lists the chapters.
    """
    chapters = sorted(BOOK.glob("[0-9][0-9]-*.md"))
    chosen = []
    for name in names:
        stem = Path(name).stem
        found = [c for c in chapters if stem in (c.stem, c.stem[:2], word(c))]
        if not found:
            known = ", ".join(c.stem for c in chapters) or "none yet"
            raise SystemExit(f"no chapter {name!r}; the chapters are: {known}")
        chosen += found
    return chosen if names else chapters


def word(source: Path) -> str:
    """The name of a chapter in ``checks/`` and ``tests/``: the first word of its file's name."""
    return source.stem.split("-")[1]


def notebook_path(source: Path) -> Path:
    """Where the notebook of a text lives."""
    return NOTEBOOKS / f"{source.stem}.ipynb"


def read(source: Path) -> NotebookNode:
    """The unexecuted notebook of a text, with stable cell ids and no pairing metadata.

    Before its first code cell stands one more, :func:`tools.colab.cell`, and the replies to the
    choices of a question say whether they are right.
    """
    notebook = jupytext.read(source)
    code = [n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    if code:
        notebook.cells.insert(code[0], colab.cell())
    kernel = notebook.metadata.get("kernelspec")
    notebook.metadata = NotebookNode({"kernelspec": kernel} if kernel else {})
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            cell.source = tasks.marked(cell.source)
        cell.id = f"{number:03d}-{hashlib.sha1(cell.source.encode()).hexdigest()[:8]}"
    return notebook


def with_values(notebook: NotebookNode) -> NotebookNode:
    """Replace each glue role in the text by the value in the notebook's own outputs.

    Raises:
        KeyError: if the text quotes a value that no cell glued.
    """
    values = glued_values(notebook.cells)

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            known = ", ".join(sorted(values)) or "none"
            raise KeyError(f"the text quotes {match[1]!r}, which no cell glues; glued: {known}")
        return values[match[1]]

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = ROLE.sub(value, cell.source)
    return notebook


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Drop what differs from run to run: live widgets, timing, versions."""
    notebook.metadata.pop("language_info", None)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for key in ("execution", "trusted"):
            cell.metadata.pop(key, None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(LIVE_WIDGET, None)
    return notebook


def run(source: Path) -> None:
    """Execute a chapter and write its notebook.

    Raises:
        CellExecutionError: if a cell raises; the notebook is then left as it was.
        KeyError: if the text quotes a number that no cell glued.
    """
    notebook = read(source)
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )
    client.execute()
    finished = tidy(with_values(notebook))
    files.write(notebook_path(source), nbformat.writes(finished).rstrip("\n") + "\n")


def _written(cell: NotebookNode) -> tuple[str, str, dict[str, object]]:
    return cell.cell_type, cell.source, dict(cell.metadata)


def problems(source: Path) -> Iterator[str]:
    """What is wrong with the pair of a text and its notebook, a line each."""
    target = notebook_path(source)
    again = f"run: python -m tools.chapters run {source.stem}"
    if not target.exists():
        yield f"{target.name}: missing; {again}"
        return
    text, notebook = read(source), nbformat.read(target, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]

    # The roles in the text are filled from the notebook's outputs before the two are compared.
    quoted = NotebookNode(cells=text.cells + code)
    try:
        with_values(quoted)
    except (KeyError, ValueError) as error:
        yield f"{source.name}: {error.args[0]}"
        return
    if [_written(cell) for cell in text.cells] != [_written(cell) for cell in notebook.cells]:
        yield f"{target.name}: differs from {source.name}; {again}"
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield f"{target.name}: was not run from top to bottom; {again}"
    for number, cell in enumerate(code, start=1):
        where = f"{target.name}: code cell {number}"
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"{where} ends in an error: {output.ename}"
            if LIVE_WIDGET in output.get("data", {}):
                yield f"{where} holds a live widget, which shows nothing when reopened"
            shown = output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
            for what, pattern in UNWANTED.items():
                if found := pattern.search(shown):
                    yield f"{where} shows {what}: {found[0]!r}"


def orphans() -> Iterator[str]:
    """Notebooks that have no text."""
    known = {notebook_path(source) for source in sources()}
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        if notebook not in known:
            yield f"{notebook.name}: has no text in book/; write one, or delete the notebook"


def changed() -> list[Path]:
    """The chapters whose notebook is missing or is not what the text says."""
    return [source for source in sources() if any(problems(source))]


def main(arguments: list[str] | None = None) -> int:
    """Command line: see the module's description."""
    parser = argparse.ArgumentParser(prog="python -m tools.chapters", description=__doc__)
    parser.add_argument("command", choices=("run", "check"))
    parser.add_argument("names", nargs="*", metavar="NN", help="chapters by number or name")
    parser.add_argument("--all", action="store_true", help="run every chapter")
    options = parser.parse_args(arguments)

    if options.command == "check":
        found = [line for source in sources(options.names) for line in problems(source)]
        found += [] if options.names else orphans()
        print("\n".join(found) or "Every notebook is what its text says.")
        return bool(found)

    if (found_data := data.load("test").source) != "MNIST":
        print(f"the notebooks show real MNIST, and here is {found_data}: see README, Data")
        return 1
    todo = sources(options.names) if options.names or options.all else changed()
    failed = 0
    for source in todo:
        print(f"{source.stem} …", end=" ", flush=True)
        start = time.perf_counter()
        try:
            run(source)
        except (CellExecutionError, KeyError, ValueError) as error:
            failed += 1
            print(f"failed\n{error}", file=sys.stderr)
        else:
            print(f"{time.perf_counter() - start:.1f} s")
    if not todo:
        print("Nothing to do: every notebook is what its text says.")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
