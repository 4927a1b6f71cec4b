"""Measure the pages of the built book: what each loads, and how soon something is seen.

    python -m benchmarks.pages

Bytes are those of a first visit with nothing in the browser's cache: the page, and all that it
loads by itself. "gzipped" is what a static host that compresses text sends over the wire; fonts and
pictures are compressed already. The first contentful paint is Chromium's own number, without a
screen, from a server on the same machine: the median of a few visits, each with an empty cache.
Needs the built book (``make book SERVE=0``) and Chromium; a minute, on a machine that does nothing
else.
"""

from __future__ import annotations

import gzip
import statistics
import threading
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mnist_course import measurements
from tools import book, moved, serve
from tools.browser import executable

VISITS = 5
PAINTED = (
    "book/index.html", "book/notation.html", "notebooks/04-convolution-by-hand.html",
    "notebooks/17-diagnosis.html",
)  # fmt: skip
COMPRESSED = {".woff", ".woff2", ".png"}
# When the formulas are set and the fonts are there.
SET = "async () => { await globalThis.MathJax?.startup.promise; await document.fonts.ready; }"
PAINT = """() => new Promise((done) => {
  new PerformanceObserver((list) => done(list.getEntries()
    .find((each) => each.name === "first-contentful-paint")?.startTime))
    .observe({ type: "paint", buffered: true });
})"""


@cache
def gzipped(path: Path) -> int:
    """Bytes of a file as a host sends it that compresses text."""
    data = path.read_bytes()
    return len(data) if path.suffix in COMPRESSED else len(gzip.compress(data, 6))


def weigh(site: Path, addresses: Iterable[str], root: str) -> dict[str, int]:
    """What loading these addresses of a site costs.

    Args:
        site: the folder with the built pages.
        addresses: what a page asked for, the page itself among it; what is not under ``root`` is
            left out (pictures that are part of the page).
        root: the address at which ``site`` is served, with a slash at its end.
    """
    paths = {
        site / unquote(urlsplit(each.removeprefix(root)).path)
        for each in addresses
        if each.startswith(root)
    }
    return {
        "files": len(paths),
        "bytes": sum(path.stat().st_size for path in paths),
        "gzipped": sum(gzipped(path) for path in paths),
    }


def site_bytes(site: Path) -> int:
    """Bytes of all files of a built site."""
    return sum(path.stat().st_size for path in site.rglob("*") if path.is_file())


def names(site: Path) -> list[str]:
    """Every page of a built site; those that only send readers on are not among them."""
    paths = (path.relative_to(site) for path in site.rglob("*.html"))
    pages = {path.as_posix() for path in paths if path.parts[0] != "_static"}
    return sorted(pages - {"index.html", *moved.addresses()})


def measure(browser_path: str, site: Path, root: str) -> dict[str, Any]:
    """Open every page once for its bytes, and some a few times for their first paint."""
    from playwright.sync_api import sync_playwright

    pages: dict[str, dict[str, int]] = {}
    paints: dict[str, float] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in names(site):
            asked.clear()
            page.goto(root + name)
            page.evaluate(SET)
            pages[name] = weigh(site, asked, root)
        page.close()
        for name in PAINTED:
            times = []
            for _ in range(VISITS):
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.goto(root + name)
                times.append(page.evaluate(PAINT))
                page.context.close()
            paints[name] = round(statistics.median(times))
        browser.close()
    return {"pages": pages, "first_contentful_paint_ms": paints}


def main() -> None:
    """Measure, print and save."""
    found = executable()
    if found is None or not (book.HTML / "index.html").exists():
        raise SystemExit("This needs Chromium, and the built book: run  make book SERVE=0")
    with serve.server(0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        numbers = measure(found, book.HTML, f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
    for name, each in numbers["pages"].items():
        print(f"{name:50} {each['bytes'] / 1e6:5.2f} MB {each['gzipped'] / 1e3:6.0f} KB gzipped")
    for name, milliseconds in numbers["first_contentful_paint_ms"].items():
        print(f"{name:50} first contentful paint after {milliseconds} ms")
    total = site_bytes(book.HTML)
    print(f"the whole site: {total / 1e6:.1f} MB")
    print(measurements.save("pages", {"site_bytes": total, "visits": VISITS, **numbers}))


if __name__ == "__main__":
    main()
