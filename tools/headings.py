"""The headings of a text of the book, with their labels."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1`*\s*$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^(?:\(([\w-]+)\)=\n\s*)?(#{1,6}) +(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Heading:
    """A heading.

    Attributes:
        title: its words.
        level: 1 for the title of the page.
        label: the name that references use; empty if it has none.
    """

    title: str
    level: int
    label: str

    @property
    def anchor(self) -> str:
        """How JupyterLab names its place in a notebook, as part of an address."""
        return quote(self.title.replace(" ", "-"))


@functools.cache
def headings(path: Path) -> tuple[Heading, ...]:
    """The headings of a text in their order; what is code is none."""
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    return tuple(Heading(m[3], len(m[2]), m[1] or "") for m in _HEADING.finditer(text))


def title_of(path: Path) -> str:
    """The title of a page: its first heading.

    Raises:
        ValueError: if it has none.
    """
    if not (found := headings(path)):
        raise ValueError(f"{path.name} has no title")
    return found[0].title
