"""The search finds sections, terms and questions, not only pages: part of :mod:`tools.pages`.

Sphinx's index knows which words stand on a page. This adds, to the same file, which stand in each
section; ``book/_static/search.js`` looks there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish
from sphinx_design.shared import is_component


@dataclass(frozen=True)
class Place:
    """Something that the search can lead to.

    Attributes:
        page: its page.
        anchor: its id there; empty for the page itself.
        title: its heading, its term or its question.
        text: what stands under it, without what stands under further headings.
    """

    page: str
    anchor: str
    title: str
    text: str


def places(page: str, tree: nodes.document) -> Iterator[Place]:
    """The sections of a page, its terms, and what unfolds there under an address of its own."""
    for section in tree.findall(nodes.section):
        is_page = isinstance(section.parent, nodes.document)
        anchor = "" if is_page else section["ids"][0]
        yield Place(page, anchor, section[0].astext(), " ".join(_own(section)))
    for item in tree.findall(nodes.definition_list_item):
        if isinstance(item.parent.parent, addnodes.glossary):
            term = next(item.findall(nodes.term))
            yield Place(page, term["ids"][0], _said(term), " ".join(_own(item[-1])))
    for box in tree.findall(lambda node: is_component(node, "dropdown")):
        if box["has_title"] and box[0]["ids"]:
            text = " ".join(word for child in box[1:] for word in _own(child))
            yield Place(page, box[0]["ids"][0], box[0].astext(), text)


def _said(term: nodes.Element) -> str:
    """A term without what the index keeps beside it."""
    return "".join(each.astext() for each in term if not isinstance(each, addnodes.index))


def _own(node: nodes.Node) -> Iterator[str]:
    if isinstance(node, nodes.Text):
        yield node.astext()
    elif isinstance(node, nodes.Element):
        for child in node.children:
            if not _is_apart(child):
                yield from _own(child)


def _is_apart(node: nodes.Node) -> bool:
    """Whether a part of a section is found by itself, or says nothing that one looks for."""
    kinds = (nodes.section, nodes.title, nodes.comment, nodes.raw, nodes.math, nodes.math_block)
    if isinstance(node, (*kinds, addnodes.glossary, addnodes.desc)):
        return True
    classes = node.get("classes", []) if isinstance(node, nodes.Element) else []
    return "cell_output" in classes or (
        is_component(node, "dropdown") and node["has_title"] and bool(node[0]["ids"])
    )


def index(found: Iterable[Place], pages: list[str]) -> dict[str, Any]:
    """What the search needs: all places, and for each word where it stands.

    Args:
        found: the places.
        pages: all pages, in the order of Sphinx's own index.

    Returns:
        ``{"places": [[page, anchor, title], …], "titles": words, "texts": words}``, where a page is
        its number in ``pages``, and words are ``{stem: [numbers of places]}``.
    """
    language = SearchEnglish({})
    order = {page: n for n, page in enumerate(pages)}
    kept: list[list[Any]] = []
    words: dict[str, dict[str, list[int]]] = {
        "titles": defaultdict(list),
        "texts": defaultdict(list),
    }
    for place in found:
        if place.page not in order:
            continue
        for kind, said in (("titles", place.title), ("texts", place.text)):
            for stem in sorted(_stems(language, said)):
                words[kind][stem].append(len(kept))
        kept.append([order[place.page], place.anchor, place.title])
    return {"places": kept, **words}


def _stems(language: SearchEnglish, text: str) -> set[str]:
    words = {word.lower() for word in language.split(text)}
    stems = {language.stem(word).lower() for word in words if language.word_filter(word)}
    return {stem for stem in stems if not stem.isdecimal()}


def add_sections(app: Sphinx) -> list[Any]:
    """Let the index that Sphinx is about to write contain the sections."""
    indexer = getattr(app.builder, "indexer", None)
    if indexer is not None:
        freeze = indexer.freeze

        def with_sections() -> dict[str, Any]:
            frozen = freeze()
            trees = ((page, app.env.get_doctree(page)) for page in frozen["docnames"])
            found = [place for page, tree in trees for place in places(page, tree)]
            # Index entries are the terms and names of the reference, which are found as such.
            return frozen | {"indexentries": {}, "sections": index(found, frozen["docnames"])}

        indexer.freeze = with_sections
    return []


def setup(app: Sphinx) -> None:
    """Register this with Sphinx."""
    app.connect("html-collect-pages", add_sections)
