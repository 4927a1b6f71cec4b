"""How much the chapters' numbers depend on the processor: notebooks on processors that it imitates.

    python -m benchmarks.processors                           every chapter on every processor
    python -m benchmarks.processors 12 fast --on SSE4.1       these, on that one

What is not measured again keeps what was measured before. PyTorch and its library of convolutions,
oneDNN, choose their code by what the processor can do, and sum in another order with another number
of threads. Both can be told to take less than there is. So one machine can play several, and the
outputs of a chapter be compared with the committed ones.

The result is a table of cells × processors: the largest difference of two numbers in the same place
(``null`` where the words differ). Cells that print the same everywhere are left out. A tolerance in
the text follows from it: it must not be smaller than the largest difference of its row.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
from typing import Any

import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

from mnist_course import data, measurements
from tools import chapters
from tools.outputs import ANYTHING, deviation, without_pictures

# A name, and what the environment of its kernel says. Where it says BFLOAT16, the kernel claims
# that the processor is fast at it: what takes bfloat16 where it is fast takes it then.
PROCESSORS: dict[str, dict[str, str]] = {
    "own, 1 thread": {"OMP_NUM_THREADS": "1"},
    "own, 2 threads": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
    "own, 4 threads": {"OMP_NUM_THREADS": "4", "OMP_WAIT_POLICY": "passive"},
    "SSE4.1": {
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OMP_NUM_THREADS": "1",
    },
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1",
    },
    "bfloat16": {"OMP_NUM_THREADS": "1", "BFLOAT16": "1"},
    "SSE4.1, bfloat16": {
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OMP_NUM_THREADS": "1",
        "BFLOAT16": "1",
    },
}  # fmt: skip
CLAIM = "import torch; torch.cpu._is_avx512_bf16_supported = lambda: True"


def fresh(notebook: nbformat.NotebookNode, processor: str) -> nbformat.NotebookNode:
    """The notebook, executed on an imitated processor."""
    environment = PROCESSORS[processor]
    client = NotebookClient(
        notebook,
        timeout=3600,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(chapters.NOTEBOOKS)}},
        extra_arguments=[f"--IPKernelApp.exec_lines={CLAIM}"] if "BFLOAT16" in environment else [],
    )
    return chapters.tidy(client.execute(env=os.environ | environment))


def differences(run: nbformat.NotebookNode, committed: nbformat.NotebookNode) -> dict[str, float]:
    """The largest difference in each cell that is compared, by the hash in the cell's id."""
    found = {}
    for one, two in zip(run.cells, committed.cells, strict=True):
        if one.cell_type == "code" and ANYTHING not in one.metadata.get("tags", []):
            texts = [list(without_pictures(cell.outputs)) for cell in (one, two)]
            largest = max(map(deviation, *texts), default=0.0)
            found[key_of(one)] = largest if len(texts[0]) == len(texts[1]) else math.inf
    return found


def key_of(cell: nbformat.NotebookNode) -> str:
    """The hash in a cell's id, which stays when cells are put before it."""
    return cell.id.split("-")[1]


def table(
    committed: nbformat.NotebookNode, columns: dict[str, dict[str, float]]
) -> dict[str, dict[str, Any]]:
    """The rows of a chapter: its cells whose numbers differ somewhere, or are allowed to.

    A cell that a processor has not run yet has no number for it.
    """
    rows = {}
    for cell in committed.cells:
        key = key_of(cell)
        row = {name: column[key] for name, column in columns.items() if key in column}
        tolerance = float(cell.metadata.get("tolerance", 0))
        if tolerance or any(row.values()):
            finite = {name: value if value < math.inf else None for name, value in row.items()}
            rows[key_of(cell)] = {"cell": int(cell.id.split("-")[0]), "tolerance": tolerance}
            rows[key_of(cell)]["differences"] = finite
    return rows


def columns_of(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What an earlier table holds, by processor: the way back from :func:`table`."""
    columns: dict[str, dict[str, float]] = {}
    for key, row in rows.items():
        for name, value in row["differences"].items():
            columns.setdefault(name, {})[key] = math.inf if value is None else value
    return columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="by number or name; all if none is named")
    parser.add_argument("--on", action="append", choices=PROCESSORS, help="a processor; or all")
    options = parser.parse_args()
    if data.load("test").source != "MNIST":
        raise SystemExit("the committed outputs are those of real MNIST: see README, Data")
    try:
        measured = measurements.load("processors")["chapters"]
    except FileNotFoundError:
        measured = {}
    pairs = itertools.product(options.on or PROCESSORS, chapters.sources(options.chapters))
    for processor, source in tqdm(list(pairs)):
        committed = nbformat.read(chapters.notebook_path(source), as_version=4)
        columns = columns_of(measured.get(source.stem, {}))
        columns[processor] = differences(fresh(chapters.read(source), processor), committed)
        measured[source.stem] = table(committed, columns)
        known = {s.stem: measured[s.stem] for s in chapters.sources() if s.stem in measured}
        measurements.save("processors", {"processors": PROCESSORS, "chapters": known})


if __name__ == "__main__":
    main()
