"""Questions and verdicts in a real JupyterLab."""

from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
import pytest
from playwright.sync_api import expect

from tests.pages.test_pad_lab import PATIENCE, jupyter
from tests.pages.test_tasks import CHAPTER
from tools import tasks

pytestmark = pytest.mark.browser
pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
pytest.importorskip("jupyterlab_myst", reason="JupyterLab does not read MyST here")


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    folder: Path = tmp_path_factory.mktemp("lab")
    notebook = jupytext.reads(CHAPTER, fmt="md:myst")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = tasks.marked(cell.source)
    kernel = {"name": "python3", "display_name": "Python 3"}
    notebook.metadata = nbformat.NotebookNode(kernelspec=kernel)
    nbformat.write(notebook, folder / "chapter.ipynb")
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    with jupyter(folder) as address:
        page.goto(address("lab/tree").replace("pad.ipynb", "chapter.ipynb"))
        page.locator(".jp-CodeCell").first.wait_for()
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        yield page
    context.close()


def test_a_choice_opens_and_says_whether_it_is_right(page) -> None:
    wrong = page.locator("details", has_text="That is the median.")
    wrong.scroll_into_view_if_needed()
    reply = wrong.get_by_text("That is the median.")
    expect(reply).to_be_hidden()
    wrong.locator("summary").click()
    expect(reply).to_be_visible()
    expect(wrong.get_by_text("✗ No.")).to_be_visible()


def test_a_verdict_is_a_coloured_box(page) -> None:
    for text in ("from mnist_course.checks import", "def my_one_hot", "check.one_hot(my_one_hot)"):
        cell = page.locator(".jp-CodeCell", has_text=text).first
        cell.locator(".jp-InputArea-editor").click()
        page.keyboard.press("Shift+Enter")
    box = page.locator(".course-verdict").first
    expect(box).to_contain_text("✗ Not yet.")
    assert "rgba(230, 159, 0" in box.evaluate("each => getComputedStyle(each).backgroundColor")
