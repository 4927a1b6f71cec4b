"""The figures are widgets like others: in a real JupyterLab, set, observed and linked."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.pages.test_pad_lab import PATIENCE, jupyter

pytestmark = pytest.mark.browser
pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")

CELLS = {
    "show": (
        "import ipywidgets\n"
        "from mnist_course import DigitPad, figures\n"
        "walker, seen = figures.valley_walk(), []\n"
        "walker.observe(lambda change: seen.append(change['new']), 'steps')\n"
        "slider = ipywidgets.FloatSlider(0.04, min=0.01, max=1, step=0.01)\n"
        "ipywidgets.jslink((slider, 'value'), (walker, 'rate'))\n"
        "ipywidgets.HBox([slider, walker])"
    ),
    "read": "print('read', seen, walker.rate, walker.rule, len(walker.path))",
    "set": "walker.rule, walker.start = 'adam', [4, 1]; print('set')",
    "train": (
        "training = figures.train_here({'network': 'clinic', 'steps': 20, 'digits': 500})\n"
        "training"
    ),
    "run": "training.rate = 0.05; training.running = True; print('begun')",
    "trained": "print('trained', training.step, 0 < training.loss < 3, 0 < training.accuracy < 1)",
    "pad": (
        "pad = DigitPad()\n"
        "pad.strokes = [[[60, 50], [200, 50], [110, 240]]]\n"
        "pad"
    ),
    "drawn": "print('drawn', sum(pad.probabilities) > 0.99, len(pad.strokes))",
}  # fmt: skip


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder: Path = tmp_path_factory.mktemp("lab")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    kernel = {"name": "python3", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "figures.ipynb")
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    with jupyter(folder) as address:
        page.goto(address("lab/tree").replace("pad.ipynb", "figures.ipynb"))
        page.locator(".jp-CodeCell").first.wait_for()
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        yield page
    context.close()


def run(page: Page, name: str) -> Locator:
    """Run a cell, and give its output."""
    cell = page.locator(".jp-CodeCell").nth(list(CELLS).index(name))
    cell.locator(".jp-InputArea-editor").click()
    page.keyboard.press("Control+Enter")
    return cell.locator(".jp-Cell-outputArea")


def test_a_figure_in_a_box_is_read_observed_set_and_follows_a_slider(page: Page) -> None:
    box = run(page, "show")
    figure = box.locator(".widget-hbox .cl-valley")
    expect(figure.get_by_role("status")).to_contain_text("After 40 steps")
    figure.get_by_role("button", name="Step").click()
    expect(run(page, "read")).to_contain_text("read [41] 0.04 descent 42")
    handle = box.locator(".widget-slider [role=slider]")
    handle.focus()
    handle.press("ArrowRight")
    expect(figure.get_by_role("slider", name="Rate")).to_have_attribute("aria-valuetext", "0.05")
    expect(run(page, "read")).to_contain_text("read [41] 0.05 descent 42")
    expect(run(page, "set")).to_contain_text("set")
    expect(figure.get_by_role("combobox", name="Rule")).to_have_value("adam")
    expect(figure.get_by_role("application", name="from w₀ = 4.00, w₁ = 1.00")).to_be_visible()


def test_a_training_is_steered_and_read_from_python(page: Page) -> None:
    figure = run(page, "train").locator(".cl-train-here")
    expect(figure.get_by_role("button", name="Train", exact=True)).to_be_visible()
    run(page, "run")
    expect(figure.locator(".cl-status")).to_contain_text("Done after 20 steps")
    expect(figure.locator("input[type=range]").first).to_have_attribute("aria-valuetext", "0.05")
    expect(run(page, "trained")).to_contain_text("trained 20 True True")


def test_the_pad_draws_what_python_says_and_tells_how_it_reads_it(page: Page) -> None:
    pad = run(page, "pad").locator(".cl-digitpad")
    expect(pad.locator(".dp-digit")).to_have_text("7")
    expect(run(page, "drawn")).to_contain_text("drawn True 1")
    pad.get_by_role("button", name="Clear").click()
    expect(run(page, "drawn")).to_contain_text("drawn False 0")
