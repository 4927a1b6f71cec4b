"""Print the book as one PDF: ``python -m tools.pdf``.

Chromium prints the pages once to learn on which page each chapter begins, and again with these
numbers in the table of contents, until they stay. Each time it opens them anew: what it prints a
second time it may lay out otherwise.
"""

from __future__ import annotations

import argparse
import base64
import html
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.ext.mathjax import MATHJAX_URL  # where it is published

from tools import book, cover, onefile
from tools.browser import FLAGS, executable
from tools.onefile import Book, Page

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from pypdf import PdfReader

TARGET = book.BUILD / "reading-digits.pdf"
STYLE = Path(__file__).with_suffix(".css")
WIDTH = 620  # of the text in CSS pixels: that of A4 without the margins of the style sheet

DOCUMENT = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
{style}
</style>
<script>
window.MathJax = {{
  loader: {{load: ["core", "input/tex", "output/chtml"]}},
  options: {{
    ignoreHtmlClass: "book", processHtmlClass: "math",
    menuOptions: {{settings: {{assistiveMml: false}}}}
  }}
}};
</script>
<script src="{mathjax}"></script>
</head>
<body class="book">
{body}
</body>
</html>
"""

# Waits for formulas and fonts; shrinks a formula that is wider than its line.
READY = """async () => {
  await MathJax.startup.promise;
  await document.fonts.ready;
  for (const formula of MathJax.startup.document.math) {
    formula.typesetRoot.setAttribute("role", "img");
    formula.typesetRoot.setAttribute("aria-label", formula.math.trim());
  }
  for (const formula of document.querySelectorAll("mjx-container[display]")) {
    const room = formula.parentElement.clientWidth;
    const width = formula.firstElementChild.getBoundingClientRect().width;
    if (width > room) formula.style.fontSize = `${Math.floor(98 * room / width)}%`;
  }
}"""
# What is wider than its sheet, and would be cut, or make Chromium shrink every sheet.
CUT = """() => {
  const edge = document.body.getBoundingClientRect().right + 1;
  const wide = [...document.querySelectorAll(".page *, .contents *")]
    .filter((each) => each.getBoundingClientRect().right > edge);
  return wide.slice(0, 3).map((each) => each.closest("[id]").id);
}"""
# Whether a Chinese character is as wide as it is high; the box for a missing one is narrower.
CHINESE = """() => {
  const drawing = document.createElement("canvas").getContext("2d");
  drawing.font = "30px serif";
  return drawing.measureText("\\u5377\\u79ef").width >= 54;
}"""
PRINTINGS = 4  # at most
NUMBER = """(numbers) => {
  for (const link of document.querySelectorAll(".contents a")) {
    link.querySelector(".at").textContent = numbers[link.hash.slice(1)] ?? "000";
  }
}"""


class PrintError(Exception):
    """The book cannot be printed here; the message says why, and what to do."""


def chromium() -> str:
    """The browser of this machine.

    Raises:
        PrintError: if there is none.
    """
    if (found := executable()) is None:
        raise PrintError(
            "no Chromium or Chrome on this machine; install one (sudo apt-get install chromium)"
        )
    return found


def write(site: Path, target: Path) -> bool:
    """Print the book.

    Args:
        site: the folder of the built pages.
        target: the file to write; it appears when it is whole.

    Returns:
        Whether this machine has a font for the Chinese terms of the glossary.

    Raises:
        PrintError: if there is no browser, no Playwright or no MathJax.
    """
    browser = chromium()
    try:
        from playwright.sync_api import Error, sync_playwright
        from pypdf import PdfReader
    except ImportError as error:
        raise PrintError(f"no {error.name} here; pip install --editable '.[pdf]'") from error
    of = onefile.about()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pdf-", dir=target.parent) as folder:
        source, printed = Path(folder, "book.html"), Path(folder, "book.pdf")
        source.write_text(document(of, site), encoding="utf-8")
        try:
            with sync_playwright() as playwright:
                running = playwright.chromium.launch(executable_path=browser, args=FLAGS)
                numbers: dict[str, int] = {}
                for _ in range(PRINTINGS):
                    has_chinese = _print(running, source, printed, numbers)
                    before, numbers = numbers, page_numbers(PdfReader(printed))
                    if numbers == before:
                        break
                running.close()
        except Error as error:
            raise PrintError(f"Chromium gave up: {error.message.splitlines()[0]}") from error
        printed.replace(target)
    return has_chinese


def _print(running: Browser, source: Path, target: Path, numbers: dict[str, int]) -> bool:
    """Open the document, number its contents, print it; returns whether it can show Chinese."""
    page = running.new_page(viewport={"width": WIDTH, "height": 900})
    page.emulate_media(media="print", color_scheme="light")
    page.goto(source.as_uri(), timeout=120_000)
    if not page.evaluate("'startup' in MathJax"):
        raise PrintError("no MathJax; install npm, which fetches it, or go online")
    page.evaluate(READY)
    if wide := page.evaluate(CUT):
        raise PrintError(f"wider than the sheet: what stands in {', '.join(wide)}")
    has_chinese = bool(page.evaluate(CHINESE))
    page.evaluate(NUMBER, numbers)
    page.pdf(
        path=target, prefer_css_page_size=True, print_background=True, outline=True, tagged=True
    )
    page.close()
    return has_chinese


def document(of: Book, site: Path) -> str:
    """The whole book as one page of HTML, to be printed."""
    folder = book.mathjax_package()
    pages = onefile.pages(site, lambda slug, identifier: f"#{identifier or slug}", of.address)
    front = [_cover(of), _title_page(of), _contents(pages)]
    for caption, opener, inside in onefile.parts(pages):
        if not caption:
            continue
        for page in inside:
            _lower_headings(page)
        if opener is None and inside:
            inside[0].content.insert(0, onefile.new("h1", caption, **{"class": "part"}))
    return DOCUMENT.format(
        language=of.language,
        title=html.escape(of.title),
        style="\n".join([onefile.style(), STYLE.read_text(encoding="utf-8"), *map(_sheet, pages)]),
        mathjax=folder.joinpath("es5", "startup.js").as_uri() if folder else MATHJAX_URL,
        body="\n".join([*front, *(page.html() for page in pages)]),
    )


def page_numbers(reader: PdfReader) -> dict[str, int]:
    """On which page each place is that something links to, by identifier, from 1."""
    return {
        name.removeprefix("/"): number + 1
        for name, place in reader.named_destinations.items()
        if (number := reader.get_destination_page_number(place)) is not None
    }


def _cover(of: Book) -> str:
    drawing = cover.cover(of.title, of.subtitle, of.author, "svg")
    data = base64.b64encode(drawing).decode()
    return (
        f'<section class="cover"><img alt="{html.escape(cover.ALT)}" '
        f'src="data:image/svg+xml;base64,{data}"></section>'
    )


def _title_page(of: Book) -> str:
    text = {name: html.escape(value) for name, value in vars(of).items()}
    address = text["address"]
    online = f'<p>For browsers, with live figures: <a href="{address}">{address}</a></p>'
    return (
        f'<section class="title-page"><p class="book-title">{text["title"]}</p>'
        f'<p class="subtitle">{text["subtitle"]}</p><p class="author">{text["author"]}</p>'
        f'<div class="imprint">{online if address else ""}'
        f"<p>Version {text['version']}. © {text['year']} {text['author']}.</p>"
        "<p>Text and figures: Creative Commons Attribution 4.0 International (CC BY 4.0). "
        "Code: MIT License.</p></div></section>"
    )


def _contents(pages: list[Page]) -> str:
    """The table of contents, with places for page numbers."""

    def line(kind: str, slug: str, title: str) -> str:
        return (
            f'<li class="{kind}"><a href="#{slug}">'
            f'<span class="name">{html.escape(title)}</span><span class="dots"></span>'
            f'<span class="at">000</span></a></li>'
        )

    lines = []
    for caption, opener, inside in onefile.parts(pages):
        if caption:
            head = opener or inside[0]
            lines.append(line("part", head.slug, opener.title if opener else caption))
        lines += [line("page", page.slug, page.title) for page in inside]
    return f'<nav class="contents"><h1>Contents</h1><ol>{"".join(lines)}</ol></nav>'


def _lower_headings(page: Page) -> None:
    """Make a chapter a section of its part, so that the outline nests."""
    for heading in page.content.find_all(re.compile("^h[1-5]$")):
        heading.name = f"h{int(heading.name[1]) + 1}"


def _sheet(page: Page) -> str:
    """What the sheets of a chapter say at the top, as CSS."""

    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    part = "" if page.title.startswith(page.part.split(" · ")[0]) else page.part
    return (
        f"#{page.slug} {{ page: {page.slug} }}\n"
        f"@page {page.slug} {{ @top-left {{ content: {quoted(part)} }} "
        f"@top-right {{ content: {quoted(page.title)} }} }}"
    )


def main() -> int:
    """Command line: build the book, then print it."""
    parser = argparse.ArgumentParser(prog="python -m tools.pdf", description=__doc__)
    parser.add_argument("--site", type=Path, help="pages that are built already (builds them)")
    parser.add_argument("--out", type=Path, default=TARGET, help=f"({TARGET})")
    options = parser.parse_args()
    try:
        chromium()
        if options.site is None and not book.is_current() and (code := book.build()):
            return code
        has_chinese = write(options.site or book.HTML, options.out)
    except (PrintError, OSError, ValueError) as error:
        print(f"The book could not be printed: {error}", file=sys.stderr)
        return 1
    if not has_chinese:
        print(
            "No font here has Chinese characters, so the glossary prints boxes for them; "
            "install one (sudo apt-get install fonts-noto-cjk) and print again."
        )
    print(f"The book on paper: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
