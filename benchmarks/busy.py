"""What a busy core costs a training: ``sprint`` alone, and beside a program that keeps a core busy.

    python -m benchmarks.busy

With as many threads as cores, every operation waits for the one thread that shares its core with
the other program. Each case runs in a process of its own, because PyTorch reads the number of
threads when it starts; nothing else should run meanwhile. A run that takes longer than
``LIMIT`` is ended.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from mnist_course import measurements

SEEDS = 3
LIMIT = 120  # seconds for the trainings of one case
TRAINING = f"""
import time
from mnist_course import data, train
digits, recipe = data.load("train"), train.RECIPES["sprint"]
for seed in range({SEEDS}):
    network, start = recipe.build(seed), time.perf_counter()
    train.fit(network, digits, None, recipe, device="cpu", seed=seed, progress=False)
    print(time.perf_counter() - start, flush=True)
"""
CORES = os.cpu_count() or 1
CASES = {
    "as many threads as cores": {"OMP_NUM_THREADS": str(CORES)},
    "as many, which sleep while they wait": {
        "OMP_NUM_THREADS": str(CORES),
        "OMP_WAIT_POLICY": "passive",
    },
    "one thread fewer": {"OMP_NUM_THREADS": str(max(1, CORES - 1))},
}


def seconds(environment: dict[str, str]) -> list[float]:
    """How long each training took; those that the limit ended are missing."""
    command = [sys.executable, "-c", TRAINING]
    try:
        run = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=LIMIT
        )
        printed = run.stdout
    except subprocess.TimeoutExpired as late:
        printed = (late.stdout or b"").decode()
    return [float(line) for line in printed.split()]


def main() -> None:
    table: dict[str, dict[str, list[float]]] = {}
    for beside in ("alone", "beside a busy program"):
        busy = None
        if beside != "alone":
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            table[beside] = {name: seconds(environment) for name, environment in CASES.items()}
        finally:
            if busy:
                busy.kill()
        for name, runs in table[beside].items():
            median = f"{statistics.median(runs):.1f} s" if runs else f"more than {LIMIT} s"
            print(f"{beside:22} {name:38} {median}")
    measurements.save("busy", {"seeds": SEEDS, "limit": LIMIT, "seconds": table})


if __name__ == "__main__":
    main()
