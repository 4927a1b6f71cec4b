"""Measure the drawing pad: how well it reads pen strokes, how fast, and how large it is.

    python -m benchmarks.pad

It reads the pen strokes that :mod:`benchmarks.strokes` reports, with the weights of the page. The
times are measured in Chromium, on a page with the scripts and weights of the book that is opened
from a file, and in JupyterLab with a kernel. A few minutes, on a machine that does nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.strokes import Drawn, halves, measure, pen_strokes, read
from mnist_course import data, measurements, pretrained
from mnist_course.digitpad import DigitPad
from mnist_course.evaluate import evaluate
from mnist_course.export import page_weights, read_page_weights
from mnist_course.figures import bundle
from tools import page_script
from tools import page_weights as page_weights_script

# Runs in the page before anything else: notes when the first digit is named, how long an answer
# takes after the pen was lifted, and how long each animation frame's work takes.
WATCH = """
globalThis.times = { load: 0, first: 0, up: [], frame: [] };
const ask = requestAnimationFrame;
globalThis.requestAnimationFrame = (work) => ask((now) => {
  const begun = performance.now();
  work(now);
  times.frame.push(performance.now() - begun);
});
let up = 0;
addEventListener("pointerup", () => { up = performance.now(); }, true);
addEventListener("load", () => {
  times.load = performance.now();
  const root = document.querySelector(".cl-digitpad"), sheet = root.querySelector(".dp-sheet");
  new MutationObserver(() => {
    const now = performance.now();
    if (root.dataset.answer) times.first ||= now;
    if (up) times.up.push(now - up);
    up = 0;
  }).observe(root, { attributeFilter: ["data-number"] });
  const box = sheet.getBoundingClientRect();
  const send = (type, x, y) => sheet.dispatchEvent(new PointerEvent(type, {
    pointerId: 1, button: 0, buttons: Number(type !== "pointerup"),
    clientX: box.left + x * box.width, clientY: box.top + y * box.height,
  }));
  send("pointerdown", 0.3, 0.2);
  send("pointermove", 0.7, 0.2);
  send("pointermove", 0.45, 0.8);
  send("pointerup", 0.45, 0.8);
});
"""


def accuracy(digits: Sequence[Drawn]) -> dict[str, float]:
    """How well the shipped network, as the page has it, reads pen strokes and MNIST."""
    network = read_page_weights(page_weights(pretrained.load(), "int8"))
    pen = measure(read(network, digits))
    test = evaluate(network, data.load("test"), "cpu")
    return {
        "pen_digits": pen["digits"],
        "pen_accuracy": pen["accuracy"],
        "pen_share_sure": pen["share_sure"],
        "pen_accuracy_where_sure": pen["accuracy_where_sure"],
        "pen_calibration_error": pen["calibration_error"],
        "mnist_test_accuracy": round(test.accuracy, 4),
    }


def in_browser(digits: Sequence[Drawn]) -> dict[str, float]:
    """Times in milliseconds, and sizes in bytes, of a page with a pad."""
    from playwright.sync_api import sync_playwright

    from tools.browser import FLAGS, executable

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        scripts = [page_script.write(folder), page_weights_script.write(folder)]
        tags = "".join(f'<script src="{script.name}"></script>' for script in scripts)
        page_path = folder / "pad.html"
        page_path.write_text(
            f"<!doctype html><html><head>{tags}</head><body>{DigitPad().html()}</body></html>",
            encoding="utf-8",
        )
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        opened, loaded = [], []  # milliseconds to the first answer
        for _ in range(5):
            page = browser.new_page()
            page.add_init_script(WATCH)
            page.goto(page_path.as_uri())
            page.wait_for_function("times.first > 0")
            opened.append(page.evaluate("times.first"))
            loaded.append(page.evaluate("times.first - times.load"))
        page.locator("summary", has_text="Inside the network").click()
        clear = page.get_by_role("button", name="Clear")
        box = page.locator(".dp-sheet").bounding_box()
        assert box is not None
        for digit in digits:
            clear.click()
            for stroke in digit["strokes"]:
                points = [
                    (box["x"] + box["width"] * x / 500, box["y"] + box["height"] * y / 500)
                    for x, y in stroke
                ]
                page.mouse.move(*points[0])
                page.mouse.down()
                for point in points[1:]:
                    page.mouse.move(*point)
                page.mouse.up()
        times = page.evaluate("times")
        sizes = [script.stat().st_size for script in scripts]
        browser.close()
    return {
        "first_prediction_after_load_ms_median": round(float(np.median(loaded)), 1),
        "first_prediction_after_opening_ms_median": round(float(np.median(opened)), 1),
        "pen_up_to_answer_ms_median": round(float(np.median(times["up"])), 2),
        "pen_up_to_answer_ms_p95": round(float(np.quantile(times["up"], 0.95)), 2),
        "frame_ms_median_all_layers": round(float(np.median(times["frame"])), 2),
        "frame_ms_p95_all_layers": round(float(np.quantile(times["frame"], 0.95)), 2),
        "pad_script_bytes": len(bundle("digitpad").encode()),
        "all_figures_script_bytes": sizes[0],
        "weights_bytes": sizes[1],
    }


def in_lab() -> dict[str, float]:
    """Milliseconds from lifting the pen to the kernel's answer, in JupyterLab."""
    from playwright.sync_api import sync_playwright

    from tests.pages import test_pad_lab as lab
    from tools.browser import FLAGS, executable

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        with lab.jupyter(Path(name)) as address, lab.opened(browser, address("lab/tree")) as page:
            page.evaluate(
                """() => { const root = document.querySelector(".cl-digitpad"); window.taken = [];
                  let up = 0;
                  addEventListener("pointerup", () => { up = performance.now(); }, true);
                  new MutationObserver(() => up && taken.push(performance.now() - up) && (up = 0))
                    .observe(root, { attributeFilter: ["data-kernel"] }); }"""
            )
            for digit in [1, 2, 3, 5, 6, 7, 8, 9, 0] * 3:
                lab.draw(page, digit)
                lab.confirmed(page)
            taken = page.evaluate("taken")
        browser.close()
    return {"pen_up_to_kernel_ms_median": round(float(np.median(taken)), 1)}


def main() -> None:
    digits = halves(pen_strokes())["reporting"]
    path = measurements.save("pad", {**accuracy(digits), **in_browser(digits[:60]), **in_lab()})
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
