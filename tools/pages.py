"""What the project adds to the pages: an extension of Sphinx, loaded by ``_config.yml``.

- the directive ``chapters`` and the role ``time`` say how long the chapters of a part take, from
  the chapters' own "About 35 minutes to read, 80 with the exercises", and how many of their
  questions have been answered here;
- folds are called what they are, and exercises say where they can be done (:mod:`tools.folds`);
- questions take an answer and have an address (:mod:`tools.questions`);
- code in a sentence that names something of the package leads to its entry in the reference,
  which autodoc makes from docstrings;
- a chapter gets back the roles of its text, for which its notebook has plain words;
- the download menu of a chapter has its text beside its notebook;
- every page says what it is about to search engines, and to places where people share it;
- the index stands in the table of contents;
- chapters have their numbers (:mod:`tools.wayfinding`), and the search finds sections
  (:mod:`tools.sections`).
"""

from __future__ import annotations

import ast
import html
import pkgutil
import re
import shutil
import textwrap
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import yaml
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import ObjectEntry
from sphinx.environment import BuildEnvironment
from sphinx.errors import NoUri
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import inspect
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import make_refnode
from traitlets import MetaHasTraits

from tools import folds, minutes, questions, sections, wayfinding
from tools.chapters import for_pages

PACKAGE = "mnist_course"

# --- the time that chapters take ------------------------------------------------------------------

_MINUTES = re.compile(r"\bAbout (\d+) minutes\b")
_WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")


@dataclass(frozen=True)
class Chapter:
    """A chapter as the table of contents names it.

    Attributes:
        page: its page: ``notebooks/04-convolution-by-hand``.
        source: the file of its text.
    """

    page: str
    source: Path

    @property
    def number(self) -> str:
        """Its number, with two digits."""
        return self.source.name[:2]

    @property
    def minutes(self) -> int:
        """How long it takes to read, as its text says.

        Raises:
            ValueError: if the text does not say it, or says it twice.
        """
        found = _MINUTES.findall(self.source.read_text(encoding="utf-8"))
        if len(found) != 1:
            raise ValueError(
                f'{self.source.name} says "About … minutes" {len(found)} times, expected once'
            )
        return int(found[0])

    @property
    def whole(self) -> int | None:
        """How long it takes with its exercises, as its text says; None if it does not."""
        said = minutes.printed(self.source)
        return said[1] if said else None


def part(name: str, root: Path) -> list[Chapter]:
    """The chapters of the part called ``name`` (``"Part I"``: its caption up to the dot).

    ``"the book"`` is all of them, and ``"chapters draw, pooling"`` those that are named.

    Raises:
        ValueError: if the table of contents has no such part, or no such chapter.
    """
    parts = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    files = {each["caption"].split(" · ")[0]: each["chapters"] for each in parts}
    files["the book"] = [entry for chapters in files.values() for entry in chapters]
    if name.startswith("chapters "):
        words = name.removeprefix("chapters ").split(", ")
        files[name] = [{"file": wayfinding.page_of(word, root)} for word in words]
    if name not in files:
        raise ValueError(f"there is no part {name!r} in _toc.yml; the parts are {', '.join(files)}")
    pages = [entry["file"] for entry in files[name]]
    return [Chapter(p, source) for p in pages if (source := text_of(p, root))]


def text_of(page: str, root: Path) -> Path | None:
    """The text in ``book/`` that the notebook of a page was made from; None for a plain page."""
    source = root / "book" / f"{Path(page).name}.md"
    return source if page.startswith("notebooks/") and source.exists() else None


def duration(minutes: int) -> str:
    """``"50 minutes"``, ``"5 h 20 min"``."""
    hours, rest = divmod(minutes, 60)
    if not hours:
        return f"{rest} minutes"
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def summary(chapters: list[Chapter]) -> str:
    """``"Seven chapters, about 5 h 20 min to read, 10 h with the exercises"``."""
    count = _WORDS[len(chapters)] if len(chapters) < len(_WORDS) else str(len(chapters))
    noun = "chapter" if len(chapters) == 1 else "chapters"
    said = f"{count} {noun}, about {duration(sum(c.minutes for c in chapters))}"
    whole = [chapter.whole for chapter in chapters]
    if None in whole:
        return said
    return f"{said} to read, {duration(sum(filter(None, whole)))} with the exercises"


def _noted(name: str, env: BuildEnvironment) -> list[Chapter]:
    """The chapters of a part; the page that asks is made again when their texts change."""
    found = part(name, Path(env.srcdir))
    for path in (Path(env.srcdir, "_toc.yml"), *(chapter.source for chapter in found)):
        env.note_dependency(str(path))
    return found


class TimeRole(SphinxRole):
    """``{time}`Part I` ``: how many chapters a part has, and how long they take."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The text; an error of the build if there is no such part."""
        try:
            chapters = _noted(self.text, self.env)
            sources = [chapter.source for chapter in chapters]
            return [nodes.Text(summary(chapters)), *questions.progress(sources)], []
        except ValueError as error:
            return [], [self.inliner.reporter.error(str(error), line=self.lineno)]


class ChaptersDirective(SphinxDirective):
    """A table of the chapters of a part: link, minutes, and a line that stands in the directive.

    The part is its argument; each line begins with the word of the chapter that it is about.
    """

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The table; an error of the build if its lines are not the chapters of the part."""
        try:
            chapters = _noted(self.arguments[0], self.env)
            rows = [(c, str(c.minutes), str(c.whole or "–")) for c in chapters]
        except ValueError as error:
            raise self.error(str(error)) from error
        try:
            lines = wayfinding.by_number(self.content, (chapter.page for chapter in chapters))
        except ValueError as error:
            raise self.error(str(error)) from error
        body = nodes.tbody()
        for chapter, *times in rows:
            about, _ = self.state.inline_text(lines[chapter.number], self.lineno)
            link = [_link(chapter.page), *questions.progress([chapter.source])]
            body += _row(link, *([nodes.Text(time)] for time in times), about)
        group = nodes.tgroup(cols=4)
        group += [nodes.colspec(colwidth=width) for width in (4, 1, 1, 6)]
        head = nodes.thead()
        titles = ("chapter", "minutes", "with exercises", "what it is about")
        head += _row(*([nodes.Text(title)] for title in titles))
        group += [head, body]
        table = nodes.table(classes=["chapters"])
        table += group
        return [table]


def _row(*cells: list[nodes.Node]) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        row += nodes.entry("", nodes.paragraph("", "", *cell))
    return row


def _link(page: str) -> nodes.Node:
    """A link to a page, under its title."""
    link = addnodes.pending_xref(
        refdomain="std", reftype="doc", reftarget=f"/{page}", refexplicit=False, refwarn=True
    )
    link += nodes.inline()
    return link


# --- names of the package in sentences ------------------------------------------------------------

_NAME = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*)(?:\(.*\))?", re.DOTALL)
# A word may mean anything; a name of several words, fold_batch_norm or DigitPad, hardly.
_LONG = re.compile(r"[a-z]\w*_[a-z]\w*|(?:[A-Z][a-z]+){2,}")


class Scope:
    """What names mean in the code of a page, as far as it has been read.

    Attributes:
        taken: the full names of what it takes from the package, by the name used for it: imported,
            or reached through a module.
        modules: the full names of the package's modules, by the name used for each.
        own: the names that it defines, assigns, or imports from elsewhere.
        attributes: the names that it reaches through anything else: ``load`` in ``torch.load``.
    """

    def __init__(self, *cells: str) -> None:
        self.taken: dict[str, set[str]] = {}
        self.modules: dict[str, str] = {}
        self.own: set[str] = set()
        self.attributes: set[str] = set()
        for cell in cells:
            self.read(cell)

    def read(self, cell: str) -> None:
        """Read one more cell; one that is not Python says nothing."""
        try:
            tree = ast.parse(cell)
        except SyntaxError:
            return
        for node in ast.walk(tree):
            match node:
                case ast.ImportFrom(module=str(home), names=names):
                    for name in names:
                        self._import(home, name.name, name.asname or name.name)
                case ast.Import(names=names):
                    aliases = {name.asname or name.name.split(".")[0] for name in names}
                    self.own |= aliases - {PACKAGE}
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    self.own.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    self.own.add(name)
                case ast.Attribute(attr=name, value=ast.Name(id=module)) if module in self.modules:
                    self.taken.setdefault(name, set()).add(f"{self.modules[module]}.{name}")
                case ast.Attribute(attr=name):
                    self.attributes.add(name)

    def _import(self, home: str, name: str, alias: str) -> None:
        if home.split(".")[0] != PACKAGE:
            self.own.add(alias)
        elif _is_module(full := f"{home}.{name}"):
            self.modules[alias] = full
        else:
            self.taken.setdefault(alias, set()).add(full)


def meaning(code: str, above: Scope, page: Scope, known: Collection[str]) -> str | None:
    """The full name of what a piece of code in a sentence names, if it can be nothing else.

    Args:
        code: ``train.fit(model, digits)``, ``data.load``, ``DigitPad``.
        above: what the code before the sentence says. A bare name must have been taken from the
            package there, unless it is a long one.
        page: what the code of the whole page says. A name that it gives another meaning has none.
        known: the full names of all that the reference describes.
    """
    if not (match := _NAME.fullmatch(code)):
        return None
    head, dot, rest = match[1].partition(".")
    if head in page.own or (not dot and head in page.attributes):
        return None
    if dot and head in above.modules:
        names = {f"{above.modules[head]}.{rest}"}
    elif head in above.taken:
        names = {name + dot + rest for name in above.taken[head]}
    elif dot:
        names = {match[1] if head == PACKAGE else f"{PACKAGE}.{match[1]}"}
    elif _LONG.fullmatch(head):
        names = {name for name in known if re.fullmatch(rf"{PACKAGE}\.\w+\.{head}", name)}
    else:
        return None
    homes = {name if name in known else _home(name) for name in names}
    return homes.pop() if len(homes) == 1 and homes <= set(known) else None


def _resolved(name: str) -> Any:
    """The object of that name in the package, or ``None``."""
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        return None


def _is_module(name: str) -> bool:
    return isinstance(_resolved(name), ModuleType)


def _home(name: str) -> str:
    """The full name of an object where it was defined, not where it is used."""
    value = _resolved(name)
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


class LinkNames(SphinxPostTransform):
    """Link code in sentences to the reference; titles and existing links stay as they are."""

    default_priority = 20  # links have been made
    stays = (nodes.reference, nodes.title, nodes.rubric, addnodes.desc)  # a fold has a rubric

    def run(self, **kwargs: Any) -> None:
        """Link each name that has only one meaning."""
        known = self.env.domains["py"].objects
        page = Scope(*(cell.astext() for cell in self.document.findall(_is_code)))
        above = Scope()
        for node in list(self.document.findall()):
            if _is_code(node):
                above.read(node.astext())
            if not isinstance(node, nodes.literal) or _is_inside(node, *self.stays):
                continue
            if name := meaning(node.astext(), above, page, known):
                self.link(node, known[name])

    def link(self, literal: nodes.literal, entry: ObjectEntry) -> None:
        """Put a link to an entry of the reference in place of a piece of code."""
        builder, page, code = self.app.builder, self.env.docname, literal.deepcopy()
        with suppress(NoUri):  # a builder may leave the reference out
            literal.replace_self(make_refnode(builder, page, entry.docname, entry.node_id, code))


def _is_code(node: nodes.Node) -> bool:
    return isinstance(node, nodes.container) and "cell_input" in node["classes"]


def _is_inside(node: nodes.Node, *kinds: type[nodes.Node]) -> bool:
    while node := node.parent:
        if isinstance(node, kinds):
            return True
    return False


# --- what a notebook says in words ----------------------------------------------------------------


def give_roles_back(app: Sphinx, page: str, content: list[str]) -> None:
    """Let a page cite, refer and link as its text does, and not in the notebook's words."""
    if source := text_of(page, Path(app.srcdir)):
        app.env.note_dependency(str(source))
        notebook = nbformat.reads(content[0], as_version=4)
        content[0] = nbformat.writes(for_pages(source, notebook))


# --- the reference --------------------------------------------------------------------------------


def signature_of(
    _app: Sphinx, kind: str, _name: str, value: Any, _options: Any, signature: str, returned: str
) -> tuple[str, str] | None:
    """The signature to print where the one that Sphinx found says too little.

    Widgets hide theirs, and a field of a dataclass that is made anew has no default to print.
    """
    if kind == "class" and isinstance(value, MetaHasTraits):
        if "__init__" not in vars(value):
            return "", ""
        own = inspect.signature(vars(value)["__init__"], bound_method=True)
        printed = inspect.stringify_signature(
            own, show_return_annotation=False, unqualified_typehints=True
        )
        return printed, ""
    if signature and "<factory>" in signature:
        return signature.replace("<factory>", "..."), returned
    return None


# --- what surrounds a page ------------------------------------------------------------------------


class IndexInContents(SphinxTransform):
    """Put the index, which Sphinx makes, at the end of the table of contents."""

    default_priority = 101  # sphinx_external_toc has made the tree

    def apply(self, **kwargs: Any) -> None:
        """Add it to the last part."""
        if self.env.docname == self.config.root_doc:
            *_, last = self.document.findall(addnodes.toctree)
            last["entries"].append((None, "genindex"))


def add_downloads(
    app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _tree: nodes.document
) -> None:
    """Complete the download menu: the text of a chapter, and names that say what you get."""
    menus = [b for b in context["header_buttons"] if b.get("label") == "download-buttons"]
    for menu in menus:
        first, *_, last = menu["buttons"]
        last.update(text="Print", tooltip="Print this page", icon="fas fa-print")
        if source := text_of(pagename, Path(app.srcdir)):
            first.update(tooltip="Notebook, with its outputs", icon="fas fa-code")
            text = {
                "type": "link",
                "url": context["pathto"](f"_sources/book/{source.name}", 1),
                "text": ".md",
                "icon": "fas fa-file",
                "tooltip": "Text of the notebook (MyST)",
                "label": "download-text-button",
            }
            menu["buttons"].insert(1, text)


def copy_texts(app: Sphinx, problem: Exception | None) -> None:
    """Put the texts of the chapters where the download menus look for them."""
    if problem or app.builder.format != "html":
        return
    folder = Path(app.outdir, "_sources", "book")
    folder.mkdir(parents=True, exist_ok=True)
    for page in app.env.found_docs:
        if source := text_of(page, Path(app.srcdir)):
            shutil.copyfile(source, folder / source.name)


def describe(tree: nodes.document | None) -> str:
    """The first paragraph of a page, in at most 200 characters; empty if there is none."""
    for paragraph in tree.findall(nodes.paragraph) if tree else ():
        if isinstance(paragraph.parent, nodes.section):
            return textwrap.shorten(paragraph.astext(), 200, placeholder=" …")
    return ""


def metadata(title: str, description: str, book: str, address: str, image: str) -> str:
    """What a page says about itself in its head: for search engines, and where it is shared.

    Args:
        title: of the page.
        description: a sentence or two.
        book: the title of the book.
        address: of the published page; empty if it is published nowhere.
        image: the address of a picture, 1200 × 630; empty likewise.
    """
    shared = {
        "og:type": "article",
        "og:site_name": book,
        "og:title": title,
        "og:description": description,
        "og:url": address,
        "og:image": image,
        "og:image:alt": f"{book}, and ten handwritten digits" if image else "",
    }
    named = {"description": description, "twitter:card": "summary_large_image"}
    lines = [
        f'<meta {kind}="{name}" content="{html.escape(text)}">'
        for kind, pairs in (("name", named), ("property", shared))
        for name, text in pairs.items()
        if text
    ]
    return "\n".join(lines) + "\n"


def add_metadata(
    app: Sphinx, pagename: str, _template: str, context: dict[str, Any], tree: nodes.document
) -> None:
    """Let the page describe itself, by its own first paragraph or else the book's title."""
    book, base = app.config.html_title, app.config.html_baseurl
    titles = app.env.titles
    title = titles[pagename].astext() if pagename in titles else context.get("title") or book
    address = f"{base}{app.builder.get_target_uri(pagename)}" if base else ""
    text = describe(tree) or book
    context["metatags"] = context.get("metatags", "") + metadata(
        title, text, book, address, f"{base}_static/card.png" if base else ""
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all this with Sphinx."""
    app.add_role("time", TimeRole())
    app.add_directive("chapters", ChaptersDirective)
    app.add_transform(IndexInContents)
    app.add_post_transform(LinkNames)
    folds.setup(app)
    questions.setup(app)
    app.connect("source-read", give_roles_back)
    app.connect("autodoc-process-signature", signature_of)
    app.connect("html-page-context", add_downloads, priority=502)  # the theme makes the menu at 501
    app.connect("html-page-context", add_metadata, priority=502)
    app.connect("build-finished", copy_texts)
    wayfinding.setup(app)
    sections.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
