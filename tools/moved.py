"""Pages at the addresses that chapters had before: each sends its visitors on.

``book/moved.yml`` says which addresses these are, by the word of the chapter, which stays. They are
written when the book has been built, so that neither its search nor its contents know of them.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

import yaml

from tools.wayfinding import number, page_of

ROOT = Path(__file__).resolve().parents[1]
TABLE = Path("book") / "moved.yml"

_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} has moved</title>
<script>location.replace("{target}" + location.search + location.hash);</script>
<meta http-equiv="refresh" content="0; url={target}">
<link rel="canonical" href="{target}">
</head>
<body>
<main><h1>This page has moved</h1><p>It is now <a href="{target}">{title}</a>.</p></main>
</body>
</html>
"""


def table(root: Path = ROOT) -> dict[str, list[str]]:
    """The names that files of chapters had before, without suffix, by the word of the chapter."""
    content = yaml.safe_load((root / TABLE).read_text(encoding="utf-8")) or {}
    return {word: list(names) for word, names in content.items()}


def addresses(root: Path = ROOT) -> dict[str, str]:
    """Old pages and the pages that stand for them, ``notebooks/31-reach.html`` and so on.

    Raises:
        ValueError: if the table names a chapter that there is not.
    """
    before = table(root)
    now = {word: page_of(word, root) for word in before}
    return {
        f"notebooks/{name}.html": f"{now[word]}.html"
        for word, names in before.items()
        for name in names
        if f"notebooks/{name}" not in now.values()  # another chapter may have the name today
    }


def write(site: Path, root: Path = ROOT) -> None:
    """Put a page at each old address of a built site.

    Raises:
        ValueError: if the table names a chapter that there is not.
    """
    for old, new in addresses(root).items():
        page = new.removesuffix(".html")
        text = (root / "book" / f"{Path(page).name}.md").read_text(encoding="utf-8")
        found = _TITLE.search(text)
        title = f"{number(page)} · {found[1] if found else page}"
        target = Path(new).name
        (site / old).write_text(
            PAGE.format(title=html.escape(title), target=target), encoding="utf-8"
        )


def extended(text: str, stems: dict[str, str]) -> str:
    """The text of the table when chapters get other names, old to new."""
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    names = {word: list(each) for word, each in (yaml.safe_load(text) or {}).items()}
    for old, new in stems.items():
        word = new.split("-")[1]
        before = [name for name in names.get(word, []) if name != new]
        names[word] = [*before, old] if old != new and old not in before else before
    order = [stem.split("-")[1] for stem in stems.values()]
    order += [word for word in names if word not in order]
    lines = [f"{word}: [{', '.join(names[word])}]\n" for word in order if names[word]]
    return head + "".join(lines)
