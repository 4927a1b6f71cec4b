"""Slides to show in class: ``python -m tools.slides 04 pooling``; without a chapter, all of them.

Each chapter becomes one HTML file in ``build/slides`` that needs no network. It has what the page
has in large: a slide for each figure, formula and table with the sentence that leads to it or says
what it shows, what the chapter teaches, its recap, its exercises, and each question before its
answer. Nothing is written for the slides alone, so they say what the chapter says.
"""

from __future__ import annotations

import argparse
import base64
import copy
import html
import math
import re
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bs4 import NavigableString, PageElement, Tag

from mnist_course.files import write as write_file
from tools import book, chapters, epub, onefile
from tools.onefile import Page, new

FOLDER = book.BUILD / "slides"
LONGEST = 330  # letters of text on a slide that has nothing else
POINTS = 850  # letters of a list on a slide
ROWS = 6  # of a table on a slide
LEVEL = re.compile(r"(?:Easy|Medium|Hard|Open) · \d+ minutes?")

DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: slides</title>
<style>
{style}
</style>
</head>
<body>
<main>
{slides}
</main>
<nav aria-label="Slides">
<button type="button" data-step="-1" aria-label="Previous slide">←</button>
<output></output>
<button type="button" data-step="1" aria-label="Next slide">→</button>
</nav>
<script>
{script}
</script>
</body>
</html>
"""


@dataclass(frozen=True)
class Slide:
    """A slide.

    Attributes:
        title: what stands above it.
        kind: ``title``, ``text``, ``figure``, ``tall figure``, ``formula``, ``table``, ``list`` or
            ``question``.
        parts: what stands on it.
        over: the section, if the title is not the section's own.
    """

    title: Tag
    kind: str
    parts: tuple[Tag, ...]
    over: str = ""

    def html(self, page: Page) -> str:
        """The slide, without links and identifiers, which lead nowhere here."""
        box = new("div", **{"class": "body"})
        box.extend([copy.copy(part) for part in self.parts])
        heading = _inside("h1" if self.kind == "title" else "h2", self.title)
        for link in [*box.find_all("a"), *heading.find_all("a")]:
            link.unwrap()
        for tag in box.find_all(id=True):
            del tag["id"]
        over = f'<p class="over">{html.escape(self.over)}</p>' if self.over else ""
        text = page.with_code(box.decode())
        return f'<section class="slide {self.kind}" tabindex="-1">{over}{heading}{text}</section>'


def slides(page: Page) -> list[Slide]:
    """The slides of a chapter, in the order of its page."""
    top = page.content.find("section")
    assert isinstance(top, Tag)
    title = top.find("h1")
    assert isinstance(title, Tag)
    first = top.find("p", recursive=False)
    opening = [Slide(title, "title", tuple(sentences(first, LONGEST)) if first else (), page.part)]
    opening += [Slide(title, _kind(each), (each,)) for each in _before_sections(top)]
    if box := top.select_one(".tip.admonition"):
        opening += _listed(new("h2", "In this chapter you learn to"), box.find_all("li"))
    found = list(opening)
    for section in top.find_all("section", recursive=False):
        heading = section.find("h2")
        assert isinstance(heading, Tag)
        name = heading.get_text(strip=True)
        if name == "Exercises":
            found += _exercises(heading, section)
        elif name == "Quiz":
            found += [each for box in section.select(".question") for each in _asked(box)]
        elif name == "Recap":
            found += _listed(heading, section.find_all("li"))
        elif name != "Where to go next":
            found += _section(section, heading)
    return found


def sentences(paragraph: Tag, longest: int, *, last: bool = False) -> list[Tag]:
    """The first sentences of a paragraph, each its own paragraph, or the last one.

    The texts have one sentence a line. A sentence longer than ``longest`` letters is left out, and
    so is what follows it.
    """
    lines: list[list[PageElement]] = [[]]
    for child in paragraph.children:
        pieces: list[str | PageElement] = [copy.copy(child)]
        if isinstance(child, NavigableString):
            pieces = [*child.split("\n")]
        for number, piece in enumerate(pieces):
            if number:
                lines.append([])
            lines[-1].append(NavigableString(piece) if isinstance(piece, str) else piece)
    made = []
    for line in lines:
        made.append(new("p"))
        made[-1].extend(line)
    made = [each for each in made if each.get_text(strip=True) or each.find("math")]
    kept: list[Tag] = []
    for each in made[-1:] if last else made:
        longest -= len(_plain(each))
        if longest < 0:
            break
        kept.append(each)
    return kept


def _plain(tag: Tag) -> str:
    """The text of an element, a formula counted by its letters."""
    return " ".join(tag.get_text().split())


def _inside(name: str, tag: Tag) -> Tag:
    """An element of another name with the same content."""
    made = copy.copy(tag)
    made.name, made.attrs = name, {}
    return made


def _classes(tag: Tag) -> list[str]:
    return tag.get_attribute_list("class")


def _kind(picture: Tag) -> str:
    """A figure that is not much wider than high stands beside its words, and not below them."""
    kind, _, data = str(picture.get("src", "")).partition(";base64,")
    start = base64.b64decode(data[:44])
    if kind == "data:image/png" and len(start) >= 24:
        width, height = struct.unpack(">II", start[16:24])
        if height > 0.75 * width:
            return "tall figure"
    return "figure"


def _pictures(block: Tag) -> list[Tag]:
    """The pictures that a cell or a figure shows."""
    shown = block.select(".cell_output img, figure img")
    return shown if "cell" in _classes(block) else [*block.find_all("img")]


def _before_sections(top: Tag) -> Iterator[Tag]:
    for block in top.find_all("div", recursive=False):
        if "admonition" not in _classes(block):
            yield from (copy.copy(each) for each in _pictures(block))


def _section(section: Tag, heading: Tag) -> Iterator[Slide]:
    """A slide for each figure, formula and table; for a section without one, its first words."""
    name = heading.get_text(strip=True)
    blocks = list(_blocks(section, heading))
    for title, group in _by_title(blocks):
        over = "" if title is heading else name
        found = list(_shown(title, group, over))
        words = [block for block in group if block.name == "p"]
        if not found and words and (text := sentences(words[0], LONGEST)):
            found = [Slide(title, "text", tuple(text), over)]
        yield from found


def _blocks(section: Tag, heading: Tag) -> Iterator[tuple[Tag, Tag]]:
    """The blocks of a section and of those inside it, each with the heading it stands under."""
    title = heading
    for block in section.find_all(recursive=False):
        if block.name == "section":
            inner = block.find(["h3", "h4"])
            yield from _blocks(block, inner if isinstance(inner, Tag) else heading)
        elif "warning" in _classes(block):
            inner = block.find(class_="admonition-title")
            title = inner if isinstance(inner, Tag) else title
            yield from ((title, each) for each in block.find_all(recursive=False)[1:])
        elif block.name not in ("h2", "h3", "h4"):
            yield title, block


def _by_title(blocks: Iterable[tuple[Tag, Tag]]) -> Iterator[tuple[Tag, list[Tag]]]:
    groups: list[tuple[Tag, list[Tag]]] = []
    for title, block in blocks:
        if not groups or groups[-1][0] is not title:
            groups.append((title, []))
        groups[-1][1].append(block)
    yield from groups


def _shown(title: Tag, blocks: list[Tag], over: str) -> Iterator[Slide]:
    for place, block in enumerate(blocks):
        classes = _classes(block)
        before = blocks[place - 1] if place and blocks[place - 1].name == "p" else None
        after = blocks[place + 1] if place + 1 < len(blocks) else None
        said = sentences(before, LONGEST, last=True) if before else []
        if "open" in classes or "admonition" in classes:
            continue  # a proof, a hint
        if "math" in classes:
            yield Slide(title, "formula", (*said, block), over)
        elif block.name == "table" or block.find("table"):
            table = block if block.name == "table" else block.find("table")
            if isinstance(table, Tag):
                for part in _parts(table):
                    yield Slide(title, "table", (*said, part), over)
        else:
            told = sentences(after, LONGEST // 2)[:1] if after and after.name == "p" else []
            for picture in _pictures(block):
                yield Slide(title, _kind(picture), (picture, *told), over)


def _parts(table: Tag) -> Iterator[Tag]:
    """A table in parts that a slide holds, each with the head of the table."""
    rows = [row for row in table.find_all("tr") if row.find("td")]
    for start in range(0, len(rows), ROWS):
        part = copy.copy(table)
        for place, row in enumerate(row for row in part.find_all("tr") if row.find("td")):
            if not start <= place < start + ROWS:
                row.decompose()
        yield part


def _listed(heading: Tag, items: list[Tag]) -> list[Slide]:
    """Points, as many on a slide as it holds."""
    whole = sum(len(_plain(item)) for item in items)
    share = whole / max(1, math.ceil(whole / POINTS))
    pages: list[list[Tag]] = [[]]
    letters = 0
    for item in items:
        letters += len(_plain(item))
        pages[-1].append(copy.copy(item))
        if letters >= share * len(pages) and item is not items[-1]:
            pages.append([])
    made = []
    for group in pages:
        points = new("ul")
        points.extend(group)
        made.append(Slide(heading, "list", (points,)))
    return made


def _exercises(heading: Tag, section: Tag) -> list[Slide]:
    items = []
    for each in section.find_all("h3"):
        item = _inside("li", each)
        level = each.find_next("p")
        if level is not None and LEVEL.fullmatch(said := _plain(level)):
            item.append(new("small", said))
        items.append(item)
    return _listed(heading, items)


def _asked(box: Tag) -> Iterator[Slide]:
    """A question, and on the next slide its answer."""
    title = box.find(class_="admonition-title")
    answer = box.select_one(".open.titled")
    assert isinstance(title, Tag) and answer is not None
    text = [each for each in box.find_all(recursive=False) if each not in (title, answer)]
    yield Slide(title, "question", tuple(text))
    replies = [each for each in answer.find_all("p") if "open-title" not in _classes(each)]
    right = [each for each in replies if "✓" in each.get_text()] or replies[:1]
    question = [each for each in text if each.name == "p"]
    yield Slide(title, "question", (*question[:1], *(_marked(each) for each in right)), "Answer")


def _marked(reply: Tag) -> Tag:
    made = copy.copy(reply)
    made["class"] = "right"
    return made


def write(pages: list[Page], folder: Path, mathjax: Path | None) -> list[Path]:
    """Write a file for each chapter.

    Args:
        pages: of the chapters, as :func:`tools.onefile.pages` gives them.
        folder: where; it is made if need be.
        mathjax: the folder of the npm package; without it formulas stay in TeX.
    """
    if mathjax:
        epub.convert(pages, mathjax)
    folder.mkdir(parents=True, exist_ok=True)
    style, script = (
        Path(__file__).with_suffix(ending).read_text(encoding="utf-8") for ending in (".css", ".js")
    )
    written = []
    for page in pages:
        text = DOCUMENT.format(
            title=html.escape(page.title),
            style=style,
            script=script,
            slides="\n".join(slide.html(page) for slide in slides(page)),
        )
        written.append(folder / f"{Path(page.name).name}.html")
        write_file(written[-1], text)
    return written


def main(arguments: list[str] | None = None) -> int:
    """Command line: build the book, then write the files."""
    parser = argparse.ArgumentParser(prog="python -m tools.slides", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NN", help="chapters by number or name")
    parser.add_argument("--site", type=Path, help="pages that are built already (builds them)")
    parser.add_argument("--out", type=Path, default=FOLDER, help=f"({FOLDER})")
    options = parser.parse_args(arguments)
    wanted = {f"notebooks/{source.stem}" for source in chapters.sources(options.names)}
    if options.site is None and not book.is_current() and (code := book.build()):
        return code
    try:
        pages = onefile.pages(options.site or book.HTML, lambda slug, name: f"#{name or slug}")
        written = write(
            [page for page in pages if page.name in wanted], options.out, epub.mathjax()
        )
    except (OSError, ValueError) as error:
        print(f"The slides could not be written: {error}", file=sys.stderr)
        return 1
    print("\n".join(map(str, written)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
