"""Where you are, and where you can go: part of :mod:`tools.pages`.

- A chapter has its number, from the name of its file, wherever its title stands: above the page,
  in the contents, in links, in the search. ``{chapter}`pooling` `` is the number alone, as a link.
- The name of the book stands once in the title of every page.
- ``{get-project}`` says how to get the project: from its address, if it has one.
- Questions that unfold have an address of their own, and Chinese terms say that they are Chinese.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx_design.shared import is_component

from tools import address

_PAGE = re.compile(r"notebooks/(\d\d)-(\w+)[\w-]*")


def number(page: str) -> int | None:
    """The number of a chapter, from its page ``notebooks/04-convolution-by-hand``; else None."""
    found = _PAGE.fullmatch(page)
    return int(found[1]) if found else None


def page_of(word: str, root: Path) -> str:
    """The page of the chapter that has this word: ``notebooks/08-pooling`` for ``pooling``.

    Raises:
        ValueError: if there is no such chapter.
    """
    texts = sorted((root / "book").glob("[0-9][0-9]-*.md"))
    words = {path.stem.split("-")[1]: f"notebooks/{path.stem}" for path in texts}
    if word not in words:
        raise ValueError(f"there is no chapter {word!r}; the chapters are {', '.join(words)}")
    return words[word]


def by_number(lines: Iterable[str], pages: Iterable[str]) -> dict[str, str]:
    """What is said about each of some chapters, by their numbers with two digits.

    Args:
        lines: each begins with the word of a chapter: ``pooling What is invariant.``
        pages: of the chapters, in order.

    Raises:
        ValueError: if the lines are about other chapters, or in another order.
    """
    expected = {found[2]: found[1] for page in pages if (found := _PAGE.fullmatch(page))}
    said = dict(line.split(maxsplit=1) for line in lines if " " in line)
    if list(said) != list(expected):
        raise ValueError(f"expected a line for each of the chapters {', '.join(expected)}")
    return {expected[word]: text for word, text in said.items()}


class NumberTitle(SphinxTransform):
    """Put the number of a chapter before its title."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Number the first title of a chapter; other pages keep theirs."""
        here, title = number(self.env.docname), next(self.document.findall(nodes.title), None)
        if here is not None and title is not None:
            title.insert(0, nodes.Text(" · "))
            title.insert(0, nodes.inline("", str(here), classes=["chapter-number"]))


class NameQuestions(SphinxTransform):
    """Give each drop-down of a plain page an address, made from its title."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Name those that have no name."""
        if number(self.env.docname) is not None:
            return
        for box in self.document.findall(lambda node: is_component(node, "dropdown")):
            if box["has_title"] and not box[0]["ids"]:
                title = box[0]
                title["names"].append(nodes.fully_normalize_name(title.astext()))
                self.document.note_implicit_target(title, title)


_CHINESE = re.compile(r"\s*\(([^()]*[\u4e00-\u9fff][^()]*)\)\s*$")


class MarkChinese(SphinxTransform):
    """Say of the Chinese terms at the ends of the glossary's entries which language they are."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Put each into an element of its own, without its brackets."""
        for glossary in self.document.findall(addnodes.glossary):
            for text in list(glossary.findall(nodes.Text)):
                if found := _CHINESE.search(text.astext()):
                    before = nodes.Text(text.astext()[: found.start()] + " ")
                    term = nodes.inline("", found[1], classes=["chinese", "language-zh"])
                    text.parent.replace(text, [before, term])


class ChapterRole(SphinxRole):
    """``{chapter}`pooling` ``: the number of a chapter, with a link to it."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The link; an error of the build if there is no such chapter."""
        root = Path(self.env.srcdir)
        self.env.note_dependency(str(root / "_toc.yml"))
        try:
            page = page_of(self.text, root)
        except ValueError as error:
            return [], [self.inliner.reporter.error(str(error), line=self.lineno)]
        link = addnodes.pending_xref(
            refdomain="std", reftype="doc", reftarget=f"/{page}", refexplicit=True, refwarn=True
        )
        link += nodes.inline(text=str(number(page)))
        return [link], []


class GetProject(SphinxDirective):
    """The command that fetches the project, or where else it is."""

    def run(self) -> list[nodes.Node]:
        """A block of code if the project has an address, a sentence otherwise."""
        if here := address.of(Path(self.env.srcdir)):
            command = f"git clone {here.url}\ncd {here.name}"
            return [nodes.literal_block(command, command, language="none")]
        return [
            nodes.paragraph(
                text="These pages were built in the project's folder. If you have that folder, "
                "open a terminal in it. If not, ask the person who gave you the pages."
            )
        ]


def name_once(
    app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _tree: nodes.document
) -> None:
    """On the first page the title is the book's, which would otherwise stand there twice."""
    if pagename == app.config.root_doc:
        context["docstitle"] = ""


def setup(app: Sphinx) -> None:
    """Register all this with Sphinx."""
    app.add_transform(NumberTitle)
    app.add_transform(NameQuestions)
    app.add_transform(MarkChinese)
    app.add_role("chapter", ChapterRole())
    app.add_directive("get-project", GetProject)
    app.connect("html-page-context", name_once)
