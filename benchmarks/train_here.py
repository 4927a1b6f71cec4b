"""How long the training in the page takes, and how well its network reads MNIST's test digits.

    python -m benchmarks.train_here                 # ten seeds: some minutes
    python -m benchmarks.train_here --seeds 2

Headless Chromium opens a page from a file, with the book's own scripts and digits, on one core. The
clock runs from pressing *Train* (so it counts loading and unpacking the digits, the start of the
worker, what is measured and drawn on the way) until the page says that it is done. There are three
trainings, of 30, 60 and 192 steps, each with a schedule of that length. The digits that are held
out are then replaced by MNIST's 10,000 test digits, and the same training, with the same seed and
so with the same weights, is measured on all of them at its end; a sample of 256 drawn on the way
decides nothing.

In turns with it, PyTorch makes the 192 steps on one thread, on the same core. Besides the clock's
seconds there are those of the processor, which a busy machine disturbs less. Layer by layer the
time is measured in Node.js: see ``train_here.mjs``. So is what pages did before: network and
settings of ConvNetJS's demo, in plain loops, over as many digits (``train_here_plain.mjs``).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from playwright.sync_api import Browser, sync_playwright
from torch.nn import functional as F

from mnist_course import data, figures, measurements
from mnist_course.recipes import get_recipe
from tools import page_digits, page_script
from tools.browser import FLAGS, executable

NAME = "train_here"
LENGTHS = (30, 60, 192)
BATCH = 128
LEARNED = 24_000  # digits, as in the book
TRAIN = """() => new Promise((done) => {
  const status = document.querySelector(".cl-train-here .cl-status");
  const begun = performance.now();
  new MutationObserver(() => {
    if (/^(Done|The )/.test(status.textContent)) {
      done({ seconds: (performance.now() - begun) / 1000, said: status.textContent,
        frames: Number(status.parentElement.dataset.frames),
        way: status.parentElement.dataset.way });
    }
  }).observe(status, { childList: true, characterData: true, subtree: true });
  document.querySelector(".th-main").click();
})"""


def site(folder: Path) -> dict[str, Path]:
    """Two pages: with the book's digits, and with MNIST's test digits as those held out."""
    test = data.load("test")
    if test.source != "MNIST":
        raise SystemExit("this needs MNIST: set MNIST_COURSE_DATA to a folder that holds it")
    book = figures.training_digits()
    packed = {"book": book, "test": figures.pack_digits(to_learn_and_test(), held_out=len(test))}
    pages = {}
    for name, content in packed.items():
        page_script.write(folder / name)
        script = page_digits.script(content)
        (folder / name / "course-digits.js").write_text(script, encoding="ascii")
        pages[name] = folder / name / "page.html"
        pages[name].write_text(
            '<!doctype html><meta charset="utf-8"><script src="course-train.js"></script>'
            '<div data-figure="train-here"></div>',
            encoding="utf-8",
        )
    return pages


def to_learn_and_test() -> data.Digits:
    """The digits that are learned, and after them the test digits."""
    training, test = data.load("train"), data.load("test")
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(0))[:LEARNED]
    return data.Digits(
        torch.cat([training.images[order], test.images]),
        torch.cat([training.labels[order], test.labels]),
        training.source,
    )


def ticks(process: int) -> float:
    """Seconds of the processor that a process and all its children have used (Linux)."""
    clock = os.sysconf("SC_CLK_TCK")
    rows = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        except OSError:
            continue  # it has ended
        rows[int(path.parent.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / clock)
    family, total = {process}, 0.0
    while grown := {each for each, (parent, _) in rows.items() if parent in family} - family:
        family |= grown
    for each in family - {process}:
        total += rows[each][1]
    return total


def in_page(browser: Browser, page: Path, steps: int, seed: int) -> dict[str, Any]:
    """One training, from pressing Train to its last word."""
    context = browser.new_context(viewport={"width": 800, "height": 900})
    try:
        opened = context.new_page()
        opened.set_default_timeout(600_000)
        opened.goto(f"{page.as_uri()}#train-here?pace=full&steps={steps}&seed={seed}")
        before = ticks(os.getpid())
        found: dict[str, Any] = opened.evaluate(TRAIN)
        found["processor"] = ticks(os.getpid()) - before
    finally:
        context.close()
    if not found["said"].startswith("Done"):
        raise RuntimeError(f"the page did not finish: {found['said']}")
    words = found.pop("said").split()
    found["loss"] = float(words[words.index("loss") + 1].rstrip(","))
    found["held_out"] = float(words[words.index("loss") + 2])
    return found


def in_pytorch(digits: data.Digits, seed: int) -> dict[str, float]:
    """The 192 steps of the recipe ``sprint`` on one thread, without any measurement on the way."""
    recipe = get_recipe("sprint")
    steps = LENGTHS[-1]
    network = recipe.build(seed)
    optimizer = recipe.optimizer_for(network)
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(seed))
    clock, processor = time.perf_counter(), time.process_time()
    for step in range(steps):
        batch = order[step * BATCH : (step + 1) * BATCH]
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(step, steps)
        logits = network(data.to_float(digits.images[batch]))
        loss = F.cross_entropy(logits, digits.labels[batch], label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {
        "seconds": time.perf_counter() - clock,
        "processor": time.process_time() - processor,
    }


def in_node(name: str, *arguments: object) -> dict[str, Any] | None:
    """What a script beside this one finds out; none without Node.js."""
    command = ["node", str(Path(__file__).with_name(name)), *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, check=True, encoding="utf-8")
    except FileNotFoundError:
        return None
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def in_plain_loops(folder: Path, seeds: int) -> list[dict[str, Any]]:
    """As many digits by the network and the settings of ConvNetJS; nothing without Node.js."""
    digits, file = to_learn_and_test(), folder / "digits"
    parts = (digits.images, digits.labels)
    file.write_bytes(b"".join(part.to(torch.uint8).numpy().tobytes() for part in parts))
    runs = []
    for seed in range(1, seeds + 1):
        if run := in_node("train_here_plain.mjs", file, LEARNED, seed):
            runs.append({"seed": seed, **run})
            print(f"seed {seed}, plain loops: {run}", flush=True)
    return runs


def medians(runs: Sequence[dict[str, float]], *names: str) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in names}


def measure(seeds: int) -> dict[str, Any]:
    """All trainings, in turns; after them two in plain loops."""
    digits = data.load("train")
    pages: dict[int, list[dict[str, Any]]] = {steps: [] for steps in LENGTHS}
    torches: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        places = site(Path(scratch))
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        for seed in range(1, seeds + 1):
            for steps, runs in pages.items():
                timed = in_page(browser, places["book"], steps, seed)
                tested = in_page(browser, places["test"], steps, seed)
                if timed["loss"] != tested["loss"]:
                    raise RuntimeError("the two trainings of a seed differ: they must not")
                runs.append({"seed": seed, **timed, "test": tested["held_out"]})
                print(f"seed {seed}, {steps} steps: {runs[-1]}", flush=True)
            torches.append({"seed": seed, **in_pytorch(digits, seed)})
            print(f"seed {seed}, PyTorch: {torches[-1]}", flush=True)
        browser.close()
        plain = in_plain_loops(Path(scratch), seeds=min(2, seeds))
    whole, others = (medians(runs, "seconds", "processor") for runs in (pages[192], torches))
    return {
        "settings": {"batch_size": BATCH, "digits": LEARNED, "seeds": seeds, "cores": 1},
        "page": {str(steps): runs for steps, runs in pages.items()},
        "medians": {
            str(steps): medians(runs, "seconds", "processor", "test")
            for steps, runs in pages.items()
        },
        "pytorch": torches,
        "pytorch_medians": others,
        "ratio": {name: whole[name] / others[name] for name in whole},
        "plain": plain,
        "ratio_of_plain": plain and medians(plain, "processor")["processor"] / whole["processor"],
        "layers": in_node("train_here.mjs", figures.STATIC.as_uri()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{NAME}")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--dry", action="store_true", help="save nothing")
    options = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):  # children inherit it: the browser, too
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    numbers = measure(options.seeds)
    if not options.dry:
        print(measurements.save(NAME, numbers))
    print(json.dumps({"medians": numbers["medians"], "ratio": numbers["ratio"]}, indent=2))
    print("plain loops:", numbers["plain"], "ratio", numbers["ratio_of_plain"])


if __name__ == "__main__":
    main()
