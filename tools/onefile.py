"""The built book as plain pages, which the PDF and the EPUB share.

A page of the site loses what needs a browser. Folded parts lie open, an interactive figure becomes
its picture with a line that says where it is live, and links between pages become links inside one
file. ``tools.pdf`` prints the pages, ``tools.epub`` packs them.
"""

from __future__ import annotations

import base64
import itertools
import mimetypes
import posixpath
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from bs4 import BeautifulSoup, Tag
from pygments.formatters import HtmlFormatter

from tools import book

Address = Callable[[str, str], str]
"""From a page's slug and an identifier in it, perhaps empty, to the address in the one file."""

STYLE = Path(__file__).with_suffix(".css")
CODE = "a11y-high-contrast-light"  # of the package accessible_pygments, as on the pages

# These words of code lose their elements: names, operators, numbers, parts of strings. They are
# nine in ten, and the tags of a PDF would name each one.
_PLAIN = re.compile(r'<span(?: class="(?:n[bdne]?|bp|vm|o|p|w|mi|mf|si|se|sa)")?>([^<]*)</span>')
# The attributes that stay. All others are for scripts and screens.
ATTRIBUTES = {
    "alt", "class", "colspan", "href", "id", "lang", "rowspan", "src", "start", "style", "title",
    "width",
}  # fmt: skip
NEEDLESS = "a.headerlink, .toctree-wrapper, .sd-summary-state-marker, script, style, button, input"


@dataclass(frozen=True)
class Book:
    """What a title page says."""

    title: str
    subtitle: str
    author: str
    year: str
    version: str
    address: str  # of the published pages, or empty
    language: str = "en"


@dataclass(frozen=True)
class Page:
    """A page of the book.

    Attributes:
        name: its path in the site, without ending: ``notebooks/04-convolution-by-hand``.
        part: the caption of the part that it belongs to; empty for the first page.
        title: with the number, if it is a chapter.
        content: one ``section``, whose identifier is the page's slug; identifiers in it begin with
            the slug and a dot, so they differ from those of all other pages.
        code: the blocks of code and output as HTML; ``content`` has their numbers in their places,
            since most of a page's elements are coloured words, and nothing changes there.
    """

    name: str
    part: str
    title: str
    content: Tag
    code: tuple[str, ...]

    def html(self) -> str:
        """The page; it is well-formed XML too."""
        return self.with_code(self.content.decode())

    def with_code(self, text: str) -> str:
        """A part of the page with its code in the places of the numbers."""
        return re.sub(r"<pre>(\d+)</pre>", lambda n: f"<pre>{self.code[int(n[1])]}</pre>", text)

    @property
    def slug(self) -> str:
        """A name that works as an identifier and as a file name."""
        return slug(self.name)

    def sections(self) -> Iterator[tuple[str, str]]:
        """Identifier and title of each section of the first level."""
        for heading in self.content.find_all("h2"):
            if heading.parent is not None and heading.parent.get("id"):
                yield str(heading.parent["id"]), " ".join(heading.get_text().split())


@dataclass(frozen=True)
class Formula:
    """A formula on a page: the element that holds it, its TeX, and whether it has its own line."""

    tag: Tag
    tex: str
    display: bool


def about() -> Book:
    """What the title page says, from the files that say it for the site and the package."""
    config = yaml.safe_load((book.ROOT / "_config.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((book.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return Book(
        title=config["title"],
        subtitle=project["description"].split(":")[0],
        author=config["author"],
        year=str(config["copyright"]),
        version=project["version"],
        address=config.get("html", {}).get("baseurl", ""),
    )


def slug(name: str) -> str:
    """``chapter-04-convolution-by-hand`` for ``notebooks/04-convolution-by-hand``."""
    stem = posixpath.basename(name)
    return f"chapter-{stem}" if stem[0].isdigit() else stem


def contents(toc: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Caption of the part, and name, of every page in the order of the book."""

    def within(entry: Mapping[str, Any], part: str) -> Iterator[tuple[str, str]]:
        if "file" in entry:
            yield part, entry["file"]
        for inner in (*entry.get("chapters", ()), *entry.get("sections", ())):
            yield from within(inner, part)

    yield "", toc["root"]
    for part in toc["parts"]:
        yield from within(part, part["caption"])


def pages(site: Path, address: Address, home: str = "") -> list[Page]:
    """Read the pages of a built site.

    Args:
        site: the folder of the built pages.
        address: where a place of the book is in the one file.
        home: the address of the published pages, to which links to other files of the site lead.

    Raises:
        FileNotFoundError: if a page of the table of contents was not built.
    """
    toc = yaml.safe_load((book.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    found = [_read(site, name, part) for part, name in contents(toc)]
    pictures = {str(p["data-figure"]): p.img for page in found for p in _live(page) if p.img}
    for page in found:
        for place in _live(page):
            _still(place, pictures, f"{home}{page.name}.html" if home else "")
        _list_choices(page.content)
        _unfold(page.content)
        _card_links(page.content)
        for tag in page.content.select("dt dl, dt dd"):  # a long signature; XHTML wants no dd there
            tag.name = "div"
        _identify(page.content, page.slug)
        _link(page, {p.name for p in found}, address, home)
        _embed(page.content, site / f"{page.name}.html")
        for tag in (page.content, *page.content.find_all(True)):
            tag.attrs = {k: v for k, v in tag.attrs.items() if k in ATTRIBUTES}
    return found


def parts(found: Iterable[Page]) -> Iterator[tuple[str, Page | None, list[Page]]]:
    """Caption of each part, the page that opens it if it has such a page, and its other pages."""
    for caption, group in itertools.groupby(found, lambda page: page.part):
        inside = list(group)
        opens = bool(caption) and inside[0].title.startswith(caption.split(" · ")[0])
        yield caption, inside[0] if opens else None, inside[opens:]


def formulas(page: Page) -> Iterator[Formula]:
    """The formulas of a page, in order."""
    for tag in page.content.select(".math"):
        tex = "".join(tag.find_all(string=True, recursive=False)).strip()
        if delimited := re.fullmatch(r"\\([(\[])(.*)\\[)\]]", tex, re.DOTALL):
            yield Formula(tag, delimited[2].strip(), delimited[1] == "[")
        else:
            yield Formula(tag, tex, display=True)


def style() -> str:
    """The style sheet: of the text, and of the colours of code."""
    return STYLE.read_text(encoding="utf-8") + HtmlFormatter(style=CODE).get_style_defs(
        ".highlight"
    )


def _read(site: Path, name: str, part: str) -> Page:
    """A page, its article as one section, without what only a screen needs."""
    path = site / f"{name}.html"
    text = path.read_text(encoding="utf-8")
    if (start := text.find("<article")) < 0:
        raise ValueError(f"{path} holds no article: was it made with the book's theme?")
    code: list[str] = []

    def take(block: re.Match[str]) -> str:
        code.append(_PLAIN.sub(r"\1", block[1]))
        return f"<pre>{len(code) - 1}</pre>"

    text = re.sub(r"<pre>(.*?)</pre>", take, text[start : text.index("</article>")], flags=re.S)
    article = BeautifulSoup(text, "html.parser").find("article")
    assert isinstance(article, Tag)
    for tag in article.select(NEEDLESS):
        tag.decompose()
    article.name = "section"
    article["class"] = "page"
    heading = article.find("h1")
    title = " ".join(heading.get_text().split()) if heading else posixpath.basename(name)
    return Page(name, part, title, article.extract(), tuple(code))


def _live(page: Page) -> list[Tag]:
    return page.content.select("[data-figure]")


def new(name: str, text: str = "", **attributes: str) -> Tag:
    """An element with a text."""
    tag = BeautifulSoup("", "html.parser").new_tag(name, attrs=attributes)
    tag.string = text
    return tag


def _still(place: Tag, pictures: Mapping[str, Tag], address: str) -> None:
    """Replace an interactive figure by its picture, and say where it is live."""
    if not place.img and (picture := pictures.get(str(place["data-figure"]))):
        place.clear()
        place.append(BeautifulSoup(str(picture), "html.parser"))
    line = new("p", "Interactive in the book for browsers: ", **{"class": "live"})
    line.append(new("a", address, href=address) if address else new("code", "make book"))
    place.append(line)


def _list_choices(content: Tag) -> None:
    """List the choices of a question, each with its letter, and the replies after all of them."""
    for question in content.select(".question"):
        folds = question.select("details.choice")
        if not folds:
            continue
        choices = new("div", **{"class": "choices"})
        replies = new("div", **{"class": "open titled"})
        replies.append(new("p", "Answer", **{"class": "open-title"}))
        for letter, fold in zip("ABCDEFGH", folds, strict=False):
            text, reply = fold.select_one(".choice-text"), fold.select_one(".choice-reply")
            assert text is not None and reply is not None
            choice = new("p")
            choice.extend([new("b", letter), " ", *list(text.children)])
            choices.append(choice)
            first = reply.find("p")
            assert isinstance(first, Tag)
            first.insert(0, f"{letter} ")
            replies.extend(list(reply.children))
        folds[0].insert_before(choices)
        folds[-1].insert_after(replies)
        for fold in folds:
            fold.decompose()


def _unfold(content: Tag) -> None:
    """Open everything that folds; what is more than code says what it is."""
    for fold in content.find_all("details"):
        summary = fold.find("summary", recursive=False)
        title = ""
        if summary is not None:
            text = summary.find(class_=["sd-summary-text", "collapsed"])
            title = text.get_text(strip=True) if text else ""
            summary.decompose()
        fold.name, fold.attrs = "div", {"class": "open"}
        if title and not title.startswith("Show "):
            fold.attrs = {"class": "open titled"}
            fold.insert(0, new("p", title, **{"class": "open-title"}))


def _card_links(content: Tag) -> None:
    """A card that is a link as a whole carries the link on its title."""
    for link in content.select("a.sd-stretched-link"):
        card = link.find_parent(class_="sd-card")
        title = card.find(class_="sd-card-title") if card else None
        if title is None:
            continue
        link.string = title.get_text(strip=True)
        link["class"] = "card-link"
        title.clear()
        title.append(link.extract())


def _embed(content: Tag, path: Path) -> None:
    """Put pictures that lie beside the page into it."""
    for picture in content.find_all("img", src=True):
        source = str(picture["src"])
        if not urlsplit(source).scheme:
            kind = mimetypes.guess_type(source)[0] or "image/png"
            data = base64.b64encode((path.parent / source).read_bytes()).decode()
            picture["src"] = f"data:{kind};base64,{data}"


def _identify(content: Tag, name: str) -> None:
    for tag in content.find_all(id=True):
        tag["id"] = f"{name}.{tag['id']}"
    content["id"] = name


def _link(page: Page, names: set[str], address: Address, home: str) -> None:
    """Lead every link to its place in the file, or out of it."""
    for link in page.content.find_all("a"):
        parts = urlsplit(str(link.get("href", "")))
        if parts.scheme or parts.netloc:
            continue
        target = page.name
        if parts.path:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(page.name), parts.path))
            target = path.removesuffix(".html")
        if target in names:
            there = slug(target)
            link["href"] = address(there, f"{there}.{parts.fragment}" if parts.fragment else "")
        elif home and parts.path:
            link["href"] = f"{home}{path}" + (f"#{parts.fragment}" if parts.fragment else "")
        else:
            link.unwrap()
