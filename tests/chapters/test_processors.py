"""What a chapter prints depends on the processor no more than its tolerances say."""

from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from benchmarks import processors
from mnist_course import measurements
from tools import chapters
from tools.outputs import ANYTHING

MEASURED = measurements.load("processors")["chapters"]
ANOTHER = "SSE4.1, bfloat16"


def is_close(source: Path) -> bool:
    """Whether a number of the chapter was seen to use up half of its tolerance."""
    rows = MEASURED[source.stem].values()
    found = [(d, row["tolerance"]) for row in rows for d in row["differences"].values()]
    return any(d is None or 2 * d >= tolerance > 0 for d, tolerance in found)


def without_exercises(notebook: NotebookNode) -> NotebookNode:
    """The notebook up to its exercises, whose checks bring their own small tensors."""
    texts = [cell.source.splitlines() for cell in notebook.cells]
    end = next(n for n, lines in enumerate(texts) if "## Exercises" in lines)
    return NotebookNode(notebook | {"cells": notebook.cells[:end]})


@pytest.mark.parametrize("source", chapters.sources(), ids=lambda source: source.stem)
def test_a_tolerance_is_what_was_measured_or_more(source: Path) -> None:
    rows = MEASURED[source.stem]
    notebook = nbformat.read(chapters.notebook_path(source), as_version=4)
    for cell in notebook.cells:
        tolerance, key = float(cell.metadata.get("tolerance", 0)), processors.key_of(cell)
        if tolerance and ANYTHING not in cell.metadata.get("tags", []):
            assert key in rows, f"run: python -m benchmarks.processors {source.stem}  ({cell.id})"
        for processor, difference in rows.get(key, {"differences": {}})["differences"].items():
            assert difference is not None, f"{cell.id} prints other words on {processor}"
            assert difference <= tolerance, f"{cell.id} on {processor}"


@pytest.mark.slow
@pytest.mark.mnist
@pytest.mark.parametrize(
    "source", [*filter(is_close, chapters.sources())], ids=lambda source: source.stem
)
def test_a_chapter_close_to_a_limit_stays_within_it_on_another_processor(source: Path) -> None:
    notebook = nbformat.read(chapters.notebook_path(source), as_version=4)
    committed = without_exercises(notebook)
    allowed = {
        processors.key_of(cell): float(cell.metadata.get("tolerance", 0))
        for cell in committed.cells
    }
    run = processors.fresh(without_exercises(chapters.read(source)), ANOTHER)
    found = processors.differences(run, committed)
    assert {key: value for key, value in found.items() if value > allowed[key]} == {}
