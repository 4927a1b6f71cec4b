"""Citations, references and links of a chapter as words, for notebooks.

The text of a chapter cites with ``{cite:p}``, refers with ``{ref}``, names entries of the glossary
with ``{term}``, and links another chapter by its file alone. Sphinx turns these into words on the
pages; JupyterLab, Colab and GitHub cannot. So the notebooks get the words, and the pages get back
what the text says (see ``chapters.for_pages``).
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

from pybtex.database import Entry, parse_file
from pybtex.richtext import Text

from tools.headings import headings, title_of

_CITE = re.compile(r"\{cite:([pt])\}`([^`]+)`")
_REF = re.compile(r"\{ref\}`(?:([^`<]+?)\s*<)?([\w-]+)>?`")
_TERM = re.compile(r"\{term\}`([^`<]+?)\s*(?:<[^`>]*>)?`")
_EMPTY_LINK = re.compile(r"\[\]\(([^)#\s]+)(#[^)\s]*)?\)")


@functools.cache
def references(file: Path) -> dict[str, Entry]:
    """The entries of a BibTeX file by key."""
    return dict(parse_file(str(file)).entries)


def authors(entry: Entry) -> str:
    """``"LeCun et al."``, ``"Glorot and Bengio"``, ``"Fukushima"``."""
    people = entry.persons.get("author") or entry.persons.get("editor", [])
    names = [
        " ".join(str(Text.from_latex(name)) for name in (*each.prelast_names, *each.last_names))
        for each in people
    ]
    if len(names) > 2:
        return f"{names[0]} et al."
    return " and ".join(names) or str(Text.from_latex(entry.fields["title"]))


def address(entry: Entry) -> str:
    """Where the work can be read; empty if the entry does not say."""
    fields = entry.fields
    if "doi" in fields:
        return f"https://doi.org/{fields['doi']}"
    if "eprint" in fields:
        return f"https://arxiv.org/abs/{fields['eprint']}"
    return fields.get("url", "")


def cited(kind: str, keys: str, file: Path) -> str:
    """A citation in words: in brackets (``"p"``), or as part of a sentence (``"t"``).

    Raises:
        KeyError: if there is no such entry.
    """
    words = []
    for key in (part.strip() for part in keys.split(",")):
        if key not in references(file):
            raise KeyError(f"the text cites {key!r}, which is not in {file.name}")
        entry = references(file)[key]
        name, year = authors(entry), entry.fields.get("year", "no year")
        said = f"{name}, {year}" if kind == "p" else f"{name} ({year})"
        words.append(f"[{said}]({url})" if (url := address(entry)) else said)
    return f"({'; '.join(words)})" if kind == "p" else ", ".join(words)


def in_words(text: str, source: Path) -> str:
    """A piece of the text of a chapter without roles that only Sphinx can resolve.

    Args:
        text: Markdown.
        source: the file that it is from; the other chapters lie beside it.

    Raises:
        KeyError: if it cites, refers to, or links what is not there.
    """
    text = _CITE.sub(lambda m: cited(m[1], m[2], source.with_name("references.bib")), text)
    text = _REF.sub(lambda m: _referred(m[1], m[2], source), text)
    text = _TERM.sub(lambda m: m[1], text)
    return _EMPTY_LINK.sub(lambda m: _linked(m[1], m[2] or "", source), text)


def _referred(words: str | None, label: str, source: Path) -> str:
    """A reference as a link under the heading that it means."""
    for path in sorted(source.parent.glob("[0-9][0-9]-*.md")):
        for heading in headings(path):
            if label == heading.label:
                if path == source:
                    return f"[{words or heading.title}](#{label})"
                return f"[{words or heading.title}]({path.stem}.ipynb#{heading.anchor})"
    raise KeyError(f"the text refers to {label!r}, and no chapter has that label")


def _linked(file: str, anchor: str, source: Path) -> str:
    """A link to a chapter under its title; of a plain page, which has no notebook, the title."""
    page = source.parent / f"{Path(file).stem}.md"
    if not page.exists():
        raise KeyError(f"the text links {file}, which does not exist")
    if not file.endswith(".ipynb"):
        return f"*{title_of(page)}*"
    return f"[{int(page.name[:2])} · {title_of(page)}]({file}{anchor})"
