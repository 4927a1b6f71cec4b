"""The built book: no warning, whole without a network, readable at any width, nothing broken."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from tools import book, chapters, serve

SITE = book.HTML
PROBE = """() => ({
  formulas: document.querySelectorAll(".math").length,
  rendered: document.querySelectorAll("mjx-container").length,
  broken: document.querySelectorAll("mjx-merror").length,
  overflow: document.documentElement.scrollWidth - innerWidth,
  images: [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.alt),
  roles: document.querySelector("article").innerText.match(/{[a-z:]+}`/g) || [],
})"""


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """Build the book, as ``make book`` does; a warning fails it."""
    result = subprocess.run(
        [sys.executable, "-m", "tools.book"], cwd=book.ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def pages() -> list[str]:
    """Every page that has text of its own, from the table of contents."""
    named = re.findall(r"(?:root|file): (\S+)", (book.ROOT / "_toc.yml").read_text())
    return [f"{name}.html" for name in named]


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with serve.server(0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def visit(browser, address: str, width: int, scheme: str = "light"):
    """Open a page with every outside request blocked; return the page and what went wrong."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, device_scale_factor=1
    )
    faults: list[str] = []
    inside = urlsplit(address).netloc

    def route(request_route) -> None:
        url = request_route.request.url
        parts = urlsplit(url)
        if parts.scheme in {"data", "blob", "file"} or parts.netloc == inside:
            request_route.continue_()
        else:
            faults.append(f"asks for {url}")
            request_route.abort()

    context.route("**/*", route)
    page = context.new_page()
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("response", lambda r: faults.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.goto(address, wait_until="load")
    page.wait_for_function(
        "!document.querySelector('.math') || document.querySelector('mjx-container')"
    )
    page.wait_for_timeout(300)
    return page, faults


@pytest.mark.browser
@pytest.mark.parametrize("name", pages())
@pytest.mark.parametrize("width", [1280, 360])
def test_a_page_is_whole(browser, site, name: str, width: int) -> None:
    if not (book.STATIC / "mathjax").exists():
        pytest.skip("MathJax could not be had from npm, so formulas need the network")
    page, faults = visit(browser, site + name, width)
    seen = page.evaluate(PROBE)
    page.context.close()
    assert not faults
    assert seen["rendered"] >= seen["formulas"]
    assert seen["broken"] == 0
    assert seen["images"] == [], "pictures that do not load"
    assert seen["roles"] == [], "roles that nobody rendered"
    assert seen["overflow"] <= 0, f"the page is {seen['overflow']} px wider than the screen"


@pytest.mark.browser
def test_the_book_opens_from_a_disk(browser) -> None:
    if not (book.STATIC / "mathjax").exists():
        pytest.skip("MathJax could not be had from npm, so formulas need the network")
    for name in pages():
        page, faults = visit(browser, (SITE / name).as_uri(), 1280)
        page.context.close()
        assert not faults, name


@pytest.mark.browser
def test_search_finds_a_term(browser, site) -> None:
    page, faults = visit(browser, site + "search.html?q=softmax", 1280)
    page.wait_for_selector("#search-results li")
    page.context.close()
    assert not faults


def test_every_figure_says_what_it_shows() -> None:
    poor = []
    for source in chapters.sources():
        html = (SITE / "notebooks" / f"{source.stem}.html").read_text()
        article = html[html.index("<article") : html.index("</article")]
        for tag in re.findall(r"<img\b[^>]*>", article):
            alt = re.search(r'alt="([^"]*)"', tag)
            if not alt or len(alt[1].split()) < 4 or "/" in alt[1].split()[0]:
                poor.append(f"{source.stem}: {tag[:60]}… {alt and alt[1]!r}")
    assert not poor


def test_no_result_is_typed_into_the_text() -> None:
    """A percentage with decimals in a chapter's text must come from a cell."""
    typed = []
    for source in chapters.sources():
        for cell in chapters.read(source).cells:
            if cell.cell_type == "markdown":
                typed += [f"{source.stem}: {t}" for t in re.findall(r"\d+\.\d+ ?%", cell.source)]
    assert not typed


def test_all_internal_links_lead_somewhere() -> None:
    lost = []
    identifiers: dict[Path, set[str]] = {}
    for name in pages():
        path = SITE / name
        for link in re.findall(r'href="([^"]+)"', path.read_text()):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith(("mailto:", "javascript:")):
                continue
            target = (path.parent / parts.path).resolve() if parts.path else path
            if not target.exists():
                lost.append(f"{name}: {link}")
            elif parts.fragment and target.suffix == ".html":
                if target not in identifiers:
                    identifiers[target] = set(re.findall(r'\bid="([^"]+)"', target.read_text()))
                if parts.fragment not in identifiers[target]:
                    lost.append(f"{name}: {link}")
    assert not lost


def test_formulas_fall_back_to_the_network_without_npm(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(book, "STATIC", tmp_path / "static")
    monkeypatch.setattr(book, "BUILD", tmp_path)
    monkeypatch.setenv("PATH", "")
    assert book.fetch_mathjax() is False
    assert not (tmp_path / "static" / "mathjax").exists()
    assert "mathjax_path" not in book.configuration(has_mathjax=False).read_text()
    assert "mathjax_path" in book.configuration(has_mathjax=True).read_text()


def test_the_server_says_where_it_is_and_stops_on_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.serve", "--port", "0"],
        cwd=book.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        with urlopen(address[0]) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert process.stdout.read().split() == ["Stopped."]
    finally:
        process.kill()


def test_the_server_takes_the_next_port_when_one_is_taken() -> None:
    with serve.server(0) as first:
        port = first.server_port
        with serve.server(port) as second:
            assert second.server_port != port
