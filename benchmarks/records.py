"""What choosing on the test set adds to a published accuracy, from published logs.

    python -m benchmarks.records LOGS        # LOGS holds log000.out, log001.out, …

The logs belong to arXiv:2008.10400 and lie in the history of its authors' repository
(github.com/ansh941/MnistSimpleCNN, commit 07c981f, folder ``logs/modelM3``). There is a file for
each seed and a line for each epoch; the fifth column is the accuracy on MNIST's test digits after
that epoch, in per cent. Nothing of them is kept here but three means.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mnist_course import measurements

NAME = "records"
TEST = 10_000  # digits


def errors_by_epoch(log: Path) -> list[int]:
    """Test errors after each epoch.

    Raises:
        ValueError: if a line does not have six columns.
    """
    found = []
    for number, line in enumerate(log.read_text(encoding="utf-8").splitlines(), 1):
        columns = line.split()
        if len(columns) != 6:
            raise ValueError(f"{log}, line {number}: six columns, please, not {len(columns)}")
        found.append(round(TEST * (1 - float(columns[4]) / 100)))
    return found


def summary(runs: list[list[int]]) -> dict[str, Any]:
    """Errors by three ways to name one number for many runs of many epochs."""
    return {
        "seeds": len(runs),
        "epochs": min(map(len, runs)),
        "mean of the last epochs": sum(run[-1] for run in runs) / len(runs),
        "mean of each run's best epoch": sum(map(min, runs)) / len(runs),
        "best epoch of the best run": min(map(min, runs)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", type=Path, help="the folder of the logs")
    options = parser.parse_args()
    logs = sorted(options.logs.glob("log*.out"))
    if not logs:
        parser.error(f"no log*.out in {options.logs}")
    source = "arXiv:2008.10400, github.com/ansh941/MnistSimpleCNN at 07c981f, logs/modelM3"
    found = {"source": source, **summary([errors_by_epoch(log) for log in logs])}
    print(found, measurements.save(NAME, found), sep="\n")


if __name__ == "__main__":
    main()
