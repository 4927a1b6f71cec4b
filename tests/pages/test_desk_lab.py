"""The learner's desk in JupyterLab, as ``make lab`` opens it: a real server, kernel and browser."""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect

from mnist_course.desk import PROGRESS
from mnist_course.drawings import NAME
from mnist_course.samples import read_samples
from tests.pages.test_pad_lab import PATIENCE, draw, sheet, wait_for
from tools import desk
from tools.tasks import questions

pytestmark = [pytest.mark.browser, pytest.mark.slow]
pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")

MINE = [
    "import torch\n"
    "from mnist_course.figures import kernel_playground\n"
    "kernel_playground(torch.eye(28))",
    "from mnist_course import desk\ndesk.record('convolution.response', True)\ndesk.overview()",
    "from mnist_course import DigitPad\npad = DigitPad()\npad",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A desk under a path with spaces and other letters, with a notebook of the learner's own."""
    folder = tmp_path_factory.mktemp("lab") / "mein Schreibtisch ä 桌"
    assert desk.renew(folder) == []
    cells = [new_code_cell(source) for source in MINE]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / "mine.ipynb")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[Callable[[str], str]]:
    """The address of a notebook in the JupyterLab that the command opens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex()
    home = {
        name: str(folder.with_name("home") / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    command = [
        *(sys.executable, "-m", "tools.desk", "--folder", str(folder), "--", "--no-browser"),
        *("--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"),
        *("--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"),
    ]
    process = subprocess.Popen(
        command,
        cwd=desk.ROOT,
        env=os.environ | home | {"PYTHONPATH": str(desk.ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={token}")
        yield lambda name: f"http://127.0.0.1:{port}/lab/tree/{name}?token={token}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture
def show(browser, address) -> Iterator[Callable[[str], Any]]:
    """Open a notebook, and wait for its kernel."""
    contexts = []

    def opened(name: str) -> Any:
        context = browser.new_context(viewport={"width": 1200, "height": 1000})
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(f"{address(name)}&reset")  # without the tabs of the test before
        page.locator(".jp-Notebook:visible .jp-Cell").first.wait_for()
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        return page

    yield opened
    for context in contexts:
        context.close()


def run(page, number: int) -> Any:
    """Run a code cell, counted from 0, and give it back when it has been run."""
    cell = page.locator(".jp-Notebook:visible .jp-CodeCell").nth(number)
    cell.locator(".jp-InputArea-editor").click()
    page.keyboard.press("Shift+Enter")
    cell.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")).wait_for()
    return cell


# Roles, links and citations that nobody rendered.
RAW = re.compile(r"\{\w+(?::\w+)?\}`|ⓘ|\(\d\d-[\w-]+\.ipynb\)|et al\.\]")


def seen(page) -> list[dict[str, Any]]:
    """Each cell of the notebook in turn: what of it can be seen when one scrolls past it."""
    return page.evaluate(
        """async () => {
          const cells = [...document.querySelectorAll(".jp-Notebook .jp-Cell")];
          const found = [];
          for (const cell of cells) {
            cell.scrollIntoView({block: "center"});
            for (let n = 0; n < 20 && !cell.querySelector(".jp-InputArea, .jp-Placeholder"); n++)
              await new Promise((done) => setTimeout(done, 50));
            const has = (name) => [...cell.querySelectorAll(name)].some((e) => e.checkVisibility());
            found.push({
              text: cell.innerText,
              code: cell.classList.contains("jp-CodeCell"),
              folded: has(".jp-InputPlaceholder, .jp-Cell-inputWrapper .jp-Placeholder"),
              editor: has(".jp-InputArea-editor"),
              output: has(".jp-OutputArea-output"),
            });
          }
          return found;
        }"""
    )


def test_the_desk_opens_on_its_start_page_without_pop_ups(show, folder: Path) -> None:
    page = show(desk.START)
    page.get_by_role("heading", name="Start here").wait_for()
    page.locator("td", has_text="of 5").or_(page.locator("td", has_text="of 6")).first.wait_for()
    said = run(page, 0).locator(".jp-OutputArea-output").last.inner_text()
    assert f"Your desk is the folder {folder.name}." in said
    assert page.locator(".Toastify__toast").count() == 0  # news, or a question about them
    page.locator(".jp-OutputArea-output a", has_text="4 · Convolution by hand").click()
    page.locator(".jp-Notebook:visible h1", has_text="Convolution by hand").wait_for()


@pytest.mark.parametrize("word", ["convolution", "diagnosis"])
def test_a_chapter_is_folded_and_reads_in_words(show, folder: Path, word: str) -> None:
    path = next(folder.glob(f"*-{word}*.ipynb"))
    cells = nbformat.read(path, as_version=4).cells
    page = show(path.name)
    drawn = page.locator(".jp-Notebook:visible .jp-Cell")
    expect(drawn).to_have_count(len(cells), timeout=PATIENCE)
    shown = seen(page)
    for cell, look in zip(cells, shown, strict=True):
        hidden = cell.metadata.get("jupyter", {})
        if look["code"]:
            assert look["folded"] == (not look["editor"]) == ("source_hidden" in hidden), (
                cell.source
            )
            if cell.outputs and "outputs_hidden" not in hidden:
                assert look["output"], cell.source
            if "outputs_hidden" in hidden:
                assert not look["output"], cell.source
    for _ in range(10):  # a text is shown as it was written until it has been rendered
        if not (raw := RAW.findall("\n".join(x["text"] for x in shown if not x["code"]))):
            break
        page.wait_for_timeout(1000)
        shown = seen(page)
    assert raw == []
    assert "fmt: skip" not in "\n".join(look["text"] for look in shown)


def test_a_saved_figure_is_a_picture_tomorrow_and_progress_is_kept(show, folder: Path) -> None:
    page = show("mine.ipynb")
    run(page, 0).locator("[class*=cl-]").first.wait_for()
    assert "1 of 5" in run(page, 1).locator(".jp-OutputArea-output").inner_text()
    progress = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
    assert list(progress["checks"]) == ["convolution.response"]
    page.keyboard.press("Control+s")
    page.wait_for_function("() => !document.querySelector('.lm-TabBar-tab.jp-mod-dirty')")
    saved = nbformat.read(folder / "mine.ipynb", as_version=4)
    assert [sorted(output.data) for output in saved.cells[0].outputs] == [
        ["text/html", "text/plain"]
    ]
    again = show("mine.ipynb")
    again.locator(".jp-CodeCell").first.locator("img").wait_for()
    assert again.get_by_text("model not found").count() == 0


def test_a_choice_in_a_quiz_is_remembered_on_the_desk(show, folder: Path) -> None:
    path = next(folder.glob("*-data.ipynb"))
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    place = next(n for n, cell in enumerate(cells) if "Quiz(" in cell.source)
    page = show(path.name)
    seen(page)  # all cells are there
    boxes = page.locator("aside.question")
    boxes.first.locator("details.choice:not(.right) summary").first.click()  # not yet heard
    line = run(page, place).locator(".cl-quiz .cl-status")
    expect(line).to_have_text("6 questions. Click the answer that you believe.")
    boxes.nth(1).locator("details.right summary").click()
    expect(line).to_have_text("1 of 1 right at first try, 5 questions to go.")
    wrong = boxes.nth(2).locator("details.choice:not(.right)").first
    wrong.locator("summary").click()
    expect(wrong.get_by_text("✗")).to_be_visible()
    boxes.nth(2).locator("details.right summary").click()
    expect(line).to_have_text("1 of 2 right at first try, 4 questions to go.")
    kept = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))["answers"]
    asked = [q for q in questions(desk.ROOT / "book" / f"{path.stem}.md") if q.choices]
    assert list(kept) == [asked[1].name, asked[2].name]
    right = next(choice.text for choice in asked[1].choices if choice.right)
    tried = [text.replace("’", "'") for text in kept[asked[1].name]["tried"]]  # as MyST sets it
    assert tried == [right]
    page.get_by_role("button", name="Start again").click()
    expect(line).to_have_text("6 questions. Click the answer that you believe.")
    expect(page.locator("details.choice[open]")).to_have_count(0)


def test_what_is_drawn_is_kept_on_the_desk(show, folder: Path) -> None:
    page = show("mine.ipynb")
    run(page, 2)
    sheet(page).wait_for()
    draw(page, 7)
    page.get_by_role("button", name="Save the drawing as a 7").click()
    expect(page.get_by_text("1 saved in my-digits.json")).to_be_visible()
    assert [digit["label"] for digit in read_samples(folder / NAME)] == [7]
    again = show("mine.ipynb")
    run(again, 2)
    expect(again.get_by_text("1 saved in my-digits.json")).to_be_visible()


def test_what_is_drawn_while_the_kernel_is_another_is_kept_by_the_next_pad(show, folder) -> None:
    page = show("mine.ipynb")
    run(page, 2)
    sheet(page).wait_for()
    before = len(read_samples(folder / NAME)) if (folder / NAME).exists() else 0
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator(".lm-Menu-item", has_text="Restart Kernel…").first.click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    page.locator(".jp-Dialog").wait_for(state="detached")
    page.wait_for_timeout(2000)  # the old kernel has gone
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    draw(page, 7)
    page.get_by_role("button", name="Save the drawing as a 7").click()
    expect(page.get_by_text("Not kept yet")).to_be_visible()
    run(page, 2)
    expect(page.get_by_text(f"{before + 1} saved in my-digits.json")).to_be_visible()
    assert [digit["label"] for digit in read_samples(folder / NAME)][before:] == [7]


def test_a_copy_is_as_it_was_when_it_is_only_opened(show) -> None:
    page = show(desk.START)
    page.wait_for_timeout(2000)  # in which JupyterLab writes down which Python runs
    assert page.locator(".lm-TabBar-tab.jp-mod-dirty").count() == 0


def test_the_desk_is_only_opened_once(folder: Path, address, monkeypatch, capsys) -> None:
    opened: list[str] = []
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder.with_name("home") / "JUPYTER_RUNTIME_DIR"))
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert desk.main(["--folder", str(folder)]) == 0
    assert opened == [address(desk.START)]
