"""From text to executed notebook, and the check that the two agree.

    python -m tools.chapters run            execute the chapters whose text or package changed
    python -m tools.chapters run --all      execute every chapter
    python -m tools.chapters run 04 09      execute these
    python -m tools.chapters refresh [04 …] take over new words, where no code has changed
    python -m tools.chapters check [04 …]   fail if a notebook is not what its text says

``book/NN-name.md`` is the source. ``notebooks/NN-name.ipynb`` is made from it here, by running it
from top to bottom in a fresh kernel, and nothing is ever written back. A notebook in which
somebody has written is not replaced without ``--force``.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from mnist_course import data, files
from mnist_course.gluing import ROLE, glued_values
from tools import colab, tasks
from tools.words import in_words

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


def opened(path: Path) -> NotebookNode:
    """A notebook that was written before.

    Raises:
        ValueError: if the file is no notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, AttributeError, KeyError) as error:
        raise ValueError(f"{path.name} is no notebook ({type(error).__name__})") from None


# JupyterLab knows nothing of tags: what the page folds is folded there by these.
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
SILENT = {"hide-cell", "remove-output", "remove-cell"}
FOR_RUFF = re.compile(r"[ \t]*# fmt: (?:skip|on|off)[ \t]*$", re.MULTILINE)


def cells_of(source: Path) -> NotebookNode:
    """The text of a chapter as cells, with the roles that pages need.

    Before its first code cell stands one more, :func:`tools.colab.cell`. What a cell glues that
    shows something else stands in a hidden cell after it, and the replies to the choices of a
    question say whether they are right.
    """
    notebook = jupytext.read(source)
    code = [n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    if code:
        notebook.cells.insert(code[0], colab.cell())
    kernel = notebook.metadata.get("kernelspec")
    notebook.metadata = NotebookNode({"kernelspec": kernel} if kernel else {})
    notebook.cells = [part for cell in notebook.cells for part in without_glue(cell)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = FOR_RUFF.sub("", cell.source)
            fold(cell)
        elif cell.cell_type == "markdown":
            cell.source = tasks.marked(cell.source)
    return notebook


def without_glue(cell: NotebookNode) -> Iterator[NotebookNode]:
    """A cell; the lines at its end that only glue numbers come after it, in a cell nobody sees.

    Where a cell shows nothing else, the glued numbers are what it shows, and it stays as it is.
    """
    tags = cell.metadata.get("tags", [])
    start = _glue_at_the_end(cell.source) if cell.cell_type == "code" else None
    if start is None or set(tags) & FOLDED:
        yield cell
        return
    lines = cell.source.split("\n")
    numbers = "\n".join(["# Numbers for the text", *lines[start:]])  # all that JupyterLab shows
    hidden = nbformat.v4.new_code_cell(numbers, metadata=dict(cell.metadata))
    hidden.metadata["tags"] = [*tags, "remove-cell"]
    cell.source = "\n".join(lines[:start]).rstrip()
    yield cell
    yield hidden


def _glue_at_the_end(code: str) -> int | None:
    """The line on which they begin, if code before it shows something, and nothing by its value."""
    if "glue(" not in code:
        return None
    body = ast.parse(code).body
    rest = list(body)
    while rest and re.match(r"glue\(", ast.unparse(rest[-1])):
        rest.pop()
    shown = any(re.search(r"\b(print|plots\.show)\(", ast.unparse(each)) for each in rest)
    called = [ast.unparse(each) for each in rest[-1:] if isinstance(each, ast.Expr)]
    by_value = not all(re.match(r"(print|plots\.show)\(", each) for each in called)
    if len(rest) == len(body) or not shown or by_value:
        return None
    return body[len(rest)].lineno - 1


def fold(cell: NotebookNode) -> None:
    """Hide in JupyterLab what the page hides; what a check says to a learner stays in sight."""
    tags = set(cell.metadata.get("tags", []))
    hidden = {"source_hidden": bool(tags & FOLDED), "outputs_hidden": bool(tags & SILENT)}
    if any(hidden.values()):
        cell.metadata["jupyter"] = NotebookNode({name: True for name in hidden if hidden[name]})


def read(source: Path) -> NotebookNode:
    """The unexecuted notebook of a text, with stable cell ids and no pairing metadata.

    Raises:
        KeyError: if the text cites, refers to, or links what is not there.
    """
    notebook = cells_of(source)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = in_words(cell.source, source)
    return named(notebook)


def named(notebook: NotebookNode) -> NotebookNode:
    """Give each cell an id that says where it stands and what is written in it."""
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{number:03d}-{digest(cell)}"
    return notebook


def digest(cell: NotebookNode) -> str:
    """Eight letters that change when what is written in a cell does."""
    return hashlib.sha1(cell.source.encode()).hexdigest()[:8]


def for_pages(source: Path, notebook: NotebookNode) -> NotebookNode:
    """A notebook with the roles of its text, which Sphinx turns into words, links and a list."""
    text = with_values(NotebookNode(cells=cells_of(source).cells + notebook.cells)).cells
    if [cell.cell_type for cell in text[: len(notebook.cells)]] == [
        cell.cell_type for cell in notebook.cells
    ]:
        for cell, written in zip(notebook.cells, text, strict=False):
            if cell.cell_type == "markdown":
                cell.source = written.source
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
    save(source, notebook)


def save(source: Path, executed: NotebookNode) -> None:
    """Write the notebook of a text, with the values that its cells computed."""
    finished = named(tidy(with_values(executed)))
    files.write(notebook_path(source), nbformat.writes(finished).rstrip("\n") + "\n")


def refresh(source: Path) -> None:
    """Take new words and metadata of a text over into its notebook, whose outputs stay.

    Raises:
        ValueError: if the code has changed: then the chapter has to be run.
        KeyError: if the text quotes a number that no cell glued.
    """
    fresh, old = read(source), opened(notebook_path(source))
    codes = [[c for c in each.cells if c.cell_type == "code"] for each in (fresh, old)]
    if [cell.source for cell in codes[0]] != [FOR_RUFF.sub("", c.source) for c in codes[1]]:
        raise ValueError(f"its code has changed; run: python -m tools.chapters run {source.stem}")
    for cell, executed in zip(*codes, strict=True):
        cell.update(outputs=executed.outputs, execution_count=executed.execution_count)
    save(source, fresh)


def strangers(source: Path) -> list[int]:
    """Which cells of a notebook, counted from 1, hold what neither a run nor the text wrote."""
    target = notebook_path(source)
    if not target.exists():
        return []
    notebook = opened(target)
    known = set()
    for text in (cells_of(source), read(source)):
        with suppress(KeyError, ValueError):  # its numbers are no longer glued
            with_values(_joined(text, notebook))
            known |= {cell.source for cell in text.cells}
    return [
        number
        for number, cell in enumerate(notebook.cells, start=1)
        if not cell.get("id", "").endswith(f"-{digest(cell)}") and cell.source not in known
    ]


def _joined(text: NotebookNode, notebook: NotebookNode) -> NotebookNode:
    """The cells of a text, and the code of a notebook, which has the numbers that it quotes."""
    return NotebookNode(cells=text.cells + [c for c in notebook.cells if c.cell_type == "code"])


def _written(cell: NotebookNode) -> tuple[str, str, dict[str, object]]:
    return cell.cell_type, cell.source, dict(cell.metadata)


def problems(source: Path) -> Iterator[str]:
    """What is wrong with the pair of a text and its notebook, a line each."""
    target = notebook_path(source)
    again = f"run: python -m tools.chapters run {source.stem}"
    if not target.exists():
        yield f"{target.name}: missing; {again}"
        return
    try:
        notebook = opened(target)
    except ValueError as error:
        yield f"{error}; delete it, and {again}"
        return
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]

    # The roles in the text are filled from the notebook's outputs before the two are compared.
    try:
        text = read(source)
        with_values(_joined(text, notebook))
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


def rewrite(todo: Iterable[Path], work: Callable[[Path], None], force: bool) -> int:
    """Run or refresh chapters; returns for how many that failed."""
    failed = 0
    for source in todo:
        print(f"{source.stem} …", end=" ", flush=True)
        start = time.perf_counter()
        try:
            if not force and (cells := strangers(source)):
                raise ValueError(_refusal(source, cells))
            work(source)
        except (CellExecutionError, KeyError, ValueError, OSError) as error:
            failed += 1
            print(f"failed\n{error}", file=sys.stderr)
        else:
            print(f"{time.perf_counter() - start:.1f} s")
    return failed


def _refusal(source: Path, cells: list[int]) -> str:
    where = ("cell " if len(cells) == 1 else "cells ") + ", ".join(map(str, cells))
    return (
        f"{notebook_path(source).name} is left as it is: somebody has written in {where}. "
        "Learners work on copies, which make lab opens. Copy what you want to keep, then "
        "say --force."
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line: see the module's description."""
    parser = argparse.ArgumentParser(prog="python -m tools.chapters", description=__doc__)
    parser.add_argument("command", choices=("run", "refresh", "check"))
    parser.add_argument("names", nargs="*", metavar="NN", help="chapters by number or name")
    parser.add_argument("--all", action="store_true", help="run every chapter")
    parser.add_argument(
        "--force", action="store_true", help="replace notebooks in which somebody has written"
    )
    options = parser.parse_args(arguments)

    if options.command == "check":
        found = [line for source in sources(options.names) for line in problems(source)]
        found += [] if options.names else orphans()
        print("\n".join(found) or "Every notebook is what its text says.")
        return bool(found)
    if options.command == "refresh":
        return bool(rewrite(sources(options.names), refresh, options.force))

    if (found_data := data.load("test").source) != "MNIST":
        print(f"the notebooks show real MNIST, and here is {found_data}: see README, Data")
        return 1
    todo = sources(options.names) if options.names or options.all else changed()
    if not todo:
        print("Nothing to do: every notebook is what its text says.")
    return bool(rewrite(todo, run, options.force))


if __name__ == "__main__":
    sys.exit(main())
