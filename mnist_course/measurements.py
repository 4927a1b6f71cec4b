"""Results that take too long for a chapter: scripts measure them, chapters read them.

A script in ``benchmarks/`` ends with :func:`save`, which adds where and when it ran. A chapter
starts with :func:`load`, so no number in the book is older than the file it comes from.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

from mnist_course.files import write

FOLDER = Path(__file__).parents[1] / "benchmarks" / "results"


def describe_machine() -> dict[str, Any]:
    """What a number depends on besides the code: CPU, cores, threads, GPU, versions, date."""
    import torch

    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), name)
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def save(name: str, numbers: dict[str, Any]) -> Path:
    """Write ``benchmarks/results/<name>.json``: the numbers, and the machine that made them.

    Args:
        name: the name of the script that measured.
        numbers: anything that JSON can hold, with the seeds and settings. The machine is added, and
            replaces any that is already there.

    Raises:
        OSError: if the file cannot be written; an older one is then untouched.
    """
    path = FOLDER / f"{name}.json"
    here = {"machine": describe_machine()}
    write(path, json.dumps(here | numbers | here, indent=2) + "\n")
    return path


def load(name: str) -> dict[str, Any]:
    """What the script ``benchmarks/<name>.py`` measured when it last ran.

    Raises:
        FileNotFoundError: if there are no such results; the message says how to make them.
    """
    path = FOLDER / f"{name}.json"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.json"))) or "none"
        raise FileNotFoundError(
            f"there are no results called {name!r} (known: {known}); "
            f"make them with python -m benchmarks.{name}, in a checkout of the course"
        )
    numbers: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return numbers
