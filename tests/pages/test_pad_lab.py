"""The drawing pad in JupyterLab: a real server, a real kernel, a real browser."""

import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

from tests.drawings import DIGITS

pytestmark = pytest.mark.browser
pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")

PATIENCE = 120_000  # ms; a kernel starts, and imports torch
# Errors that Notebook 7 makes itself: it misses a command that JupyterLab has, and on a busy
# machine it renews the connection to the kernel while a message is on its way.
ITS_OWN = re.compile("filebrowser:open-path|Canceled future for create_subshell_request")

CELLS = {
    "show": "import time, torch\nfrom mnist_course import DigitPad\npad = DigitPad()\npad",
    "samples": "print([digit['label'] for digit in pad.samples], pad.dataset()[0][0].shape)",
    "busy": "time.sleep(8); print('slept')",
    "swap": (
        "from torch import nn\n"
        "torch.manual_seed(0)\n"
        "pad.model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
        "print(sum(p.numel() for p in pad.model.parameters()))"
    ),
    "kernel only": (
        "class Odd(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return torch.eye(10)[[5]] * 9\n"
        "pad.model = Odd()\n"
        "print('odd')"
    ),
    "broken": (
        "class Broken(nn.Module):\n"
        "    def forward(self, x):\n"
        "        raise RuntimeError('too <b>tired</b>')\n"
        "pad.model = Broken()\n"
        "print('broken')"
    ),
}


@contextmanager
def jupyter(folder: Path) -> Iterator[Callable[[str], str]]:
    """A JupyterLab of its own, on this machine only, with ``pad.ipynb`` in ``folder``.

    Gives the address of the notebook in ``"lab/tree"`` or, in Notebook 7, ``"notebooks"``.
    """
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in CELLS.values()],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(notebook, folder / "pad.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex()
    home = {name: str(folder / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
            *(f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}"),
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.news_url=None",
        ],
        env=os.environ | home | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api?token={token}")
        yield lambda room: f"{address}/{room}/pad.ipynb?token={token}"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url: str) -> None:
    for _ in range(240):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.25)
    pytest.fail("JupyterLab did not start")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    with jupyter(tmp_path_factory.mktemp("lab")) as address:
        yield address


@pytest.fixture(scope="module")
def page(browser, server) -> Iterator:
    with opened(browser, server("lab/tree")) as page:
        yield page


@contextmanager
def opened(browser, address: str) -> Iterator:
    """The notebook, with the first cell run and the pad shown."""
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(address)
    page.locator(".jp-CodeCell").first.wait_for()
    # Connected, and not before: JupyterLab says so in its status bar; in Notebook 7, the signal
    # beside the kernel's name says "idle" even while there is no kernel.
    if "/lab/" in address:
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    else:
        page.locator(".jp-Toolbar-kernelName", has_text="Python 3 (ipykernel)").wait_for()
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    run(page, "show")
    sheet(page).wait_for()
    yield page
    context.close()


def cell(page, name: str):
    return page.locator(".jp-CodeCell").nth(list(CELLS).index(name))


def run(page, name: str) -> None:
    cell(page, name).locator(".jp-InputArea-editor").click()
    page.keyboard.press("Shift+Enter")


def printed(page, name: str) -> str:
    return cell(page, name).locator(".jp-OutputArea-output pre").first.inner_text().strip()


def pad(page):
    return page.locator(".cl-digitpad").first


def button(page, name: str):
    return pad(page).get_by_role("button", name=name)


def sheet(page):
    return page.get_by_role("application", name="Draw a digit here").first


def draw(page, digit: int) -> None:
    """Draw a digit with the mouse on an empty sheet."""
    clear = pad(page).get_by_role("button", name="Clear")
    if clear.is_enabled():
        clear.click()
    sheet(page).scroll_into_view_if_needed()
    box = sheet(page).bounding_box()
    for stroke in DIGITS[digit]:
        points = [(box["x"] + 1.6 * x + 50, box["y"] + 1.6 * y + 60) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def until(page, selector: str) -> None:
    """Wait until the pad is in a state."""
    page.locator(f".cl-digitpad{selector}").first.wait_for()


def confirmed(page) -> None:
    """Wait until the kernel has answered to the drawing as it is."""
    page.wait_for_function(
        "() => { const { number, kernel } = document.querySelector('.cl-digitpad').dataset;"
        " return number === kernel; }"
    )


def test_a_drawn_digit_is_read_and_confirmed_by_the_kernel(page):
    draw(page, 3)
    until(page, "[data-answer='3']")
    confirmed(page)
    expect(pad(page).get_by_text("confirmed by PyTorch")).to_be_visible()


def test_what_the_network_sees_and_every_layer_is_painted(page):
    pad(page).get_by_text("Inside the network").click()
    linear = pad(page).get_by_role("application", name="linear: 10 numbers")
    linear.wait_for()
    colours = """canvases => canvases.map(canvas => new Set(new Uint32Array(canvas.getContext("2d")
        .getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size)"""
    counts = pad(page).locator(".dp-seen, .dp-layer canvas").evaluate_all(colours)
    assert len(counts) == 2 + 12  # what the network sees, twice, and its layers
    assert min(counts) > 5
    linear.click()
    assert "864 numbers of pool3" in pad(page).locator(".dp-walk").inner_text()
    pad(page).get_by_text("Inside the network").click()


def test_keys_on_the_sheet_draw_and_do_not_move_the_notebook(page):
    selected = page.locator(".jp-CodeCell.jp-mod-selected .jp-InputPrompt").first.inner_text()
    pad(page).get_by_role("button", name="Clear").click()
    sheet(page).focus()
    page.keyboard.press("Space")
    for _ in range(6):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Space")
    until(page, "[data-answer='1']")
    for key in ("1", "0", "0"):  # JupyterLab would make a heading, and restart the kernel
        page.keyboard.press(key)
    expect(pad(page).get_by_text("Saved as a 1. 1 digit so far.")).to_be_visible()
    assert page.locator(".jp-mod-selected .jp-InputPrompt").first.inner_text() == selected
    expect(page.locator(".jp-CodeCell")).to_have_count(len(CELLS))
    expect(page.locator(".jp-Dialog")).to_have_count(0)
    button(page, "Not this digit").click()
    expect(pad(page).get_by_text("saved in the kernel")).to_have_count(0)


def test_saved_digits_are_the_kernels_samples(page):
    draw(page, 2)
    pad(page).get_by_text("My digits").click()
    pad(page).get_by_role("button", name="Save the drawing as a 2").click()
    expect(pad(page).get_by_text("1 saved in the kernel")).to_be_visible()
    run(page, "samples")
    assert printed(page, "samples") == "[2] torch.Size([1, 28, 28])"


def test_the_pad_answers_at_once_while_a_cell_runs(page):
    run(page, "busy")
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=busy]").wait_for()
    begin = time.monotonic()
    draw(page, 7)
    until(page, "[data-answer='7']")
    assert time.monotonic() - begin < 8
    expect(cell(page, "busy").locator("pre").filter(has_text="slept")).to_have_count(0)
    cell(page, "busy").get_by_text("slept", exact=True).wait_for()
    confirmed(page)


def test_another_network_reads_when_it_is_assigned(page):
    draw(page, 8)
    until(page, "[data-answer='8']")
    run(page, "swap")
    assert printed(page, "swap") == "7850"
    pad(page).get_by_text("Inside the network").click()
    pad(page).get_by_text("1 \u00b7 10 numbers").wait_for()
    confirmed(page)


def test_a_network_that_the_page_cannot_run_is_read_by_the_kernel(page):
    run(page, "kernel only")
    draw(page, 4)
    until(page, "[data-answer='5']")
    expect(pad(page).get_by_text("read by PyTorch")).to_be_visible()


def test_a_network_that_fails_says_so(page):
    run(page, "broken")
    draw(page, 4)
    pad(page).get_by_text("RuntimeError: too <b>tired</b>").first.wait_for()


def test_the_pad_works_in_notebook_7_too(browser, server):
    pytest.importorskip("notebook", reason="Notebook 7 is not installed")
    with opened(browser, server("notebooks")) as page:
        draw(page, 7)
        until(page, "[data-answer='7']")
        confirmed(page)
        expect(pad(page).get_by_text("confirmed by PyTorch")).to_be_visible()
        assert [error for error in page.errors if not ITS_OWN.search(error)] == []


def test_there_was_no_error_in_the_page(page):
    assert page.errors == []
