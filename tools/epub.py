"""Write the book as one EPUB 3 file, for e-readers: ``python -m tools.epub``.

Formulas become MathML here, by MathJax in Node, since e-readers run no scripts. Without npm and
Node they stay in TeX.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bs4 import BeautifulSoup

from mnist_course.files import write as write_file
from tools import book, cover, onefile
from tools.onefile import Book, Page

TARGET = book.BUILD / "reading-digits.epub"
SCRIPT = Path(__file__).with_name("mathml.cjs")

CONTAINER = """<?xml version="1.0" encoding="utf-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles>
<rootfile full-path="book/package.opf" media-type="application/oebps-package+xml"/>
</rootfiles>
</container>
"""

PAGE = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"
 lang="{language}" xml:lang="{language}">
<head>
<title>{title}</title>
<link rel="stylesheet" type="text/css" href="style.css"/>
</head>
<body>
{body}
</body>
</html>
"""

PACKAGE = """<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id"
 xml:lang="{language}">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:uuid:{identifier}</dc:identifier>
<dc:title>{title}</dc:title>
<dc:creator>{author}</dc:creator>
<dc:language>{language}</dc:language>
<dc:description>{subtitle}</dc:description>
<dc:date>{year}</dc:date>
<dc:rights>Text and figures: CC BY 4.0. Code: MIT License.</dc:rights>
<meta property="dcterms:modified">{modified}</meta>
<meta property="schema:accessMode">textual</meta>
<meta property="schema:accessMode">visual</meta>
<meta property="schema:accessModeSufficient">textual</meta>
<meta property="schema:accessibilityFeature">alternativeText</meta>
<meta property="schema:accessibilityFeature">{formulas}</meta>
<meta property="schema:accessibilityFeature">tableOfContents</meta>
<meta property="schema:accessibilityFeature">structuralNavigation</meta>
<meta property="schema:accessibilityHazard">none</meta>
<meta name="cover" content="cover-picture"/>
</metadata>
<manifest>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="style" href="style.css" media-type="text/css"/>
<item id="cover-picture" href="cover.png" media-type="image/png" properties="cover-image"/>
<item id="cover" href="cover.xhtml" media-type="application/xhtml+xml"/>
{items}
</manifest>
<spine>
<itemref idref="cover"/>
<itemref idref="nav"/>
{spine}
</spine>
</package>
"""


def write(site: Path, target: Path, mathjax: Path | None) -> None:
    """Write the book.

    Args:
        site: the folder of the built pages.
        target: the file to write; it appears when it is whole.
        mathjax: the folder of the npm package; without it formulas stay in TeX.
    """
    of = onefile.about()
    pages = onefile.pages(site, _address, of.address)
    if mathjax:
        convert(pages, mathjax)
    files: dict[str, bytes] = {}
    for page in pages:
        files |= _take_pictures(page)
    picture = cover.cover(of.title, of.subtitle, of.author, "png")
    body = f'<section class="cover"><img src="cover.png" alt="{cover.ALT}"/></section>'
    texts = {
        "package.opf": _package(of, pages, sorted(files), bool(mathjax)),
        "nav.xhtml": _page(of, "Contents", _nav(pages)),
        "cover.xhtml": _page(of, of.title, body),
        "style.css": onefile.style(),
        **{f"{page.slug}.xhtml": _page(of, page.title, page.html()) for page in pages},
    }
    files |= {name: text.encode() for name, text in texts.items()} | {"cover.png": picture}
    _pack(files, target)


def mathml(formulas: list[tuple[str, bool]], mathjax: Path) -> list[str]:
    """MathML of formulas in TeX, with the TeX as their text for readers that know no MathML.

    Args:
        formulas: TeX, and whether it stands on a line of its own.
        mathjax: the folder of the npm package.

    Raises:
        ValueError: if MathJax cannot read a formula.
    """
    result = subprocess.run(
        ["node", str(SCRIPT), str(mathjax.resolve())],
        input=json.dumps(formulas), capture_output=True, encoding="utf-8",
    )  # fmt: skip
    if result.returncode:
        raise ValueError(result.stderr.strip())
    converted = []
    for (tex, _), text in zip(formulas, json.loads(result.stdout), strict=True):
        plain = re.sub(r' (?:data-mjx-[\w-]+|class)="[^"]*"', "", text)
        alternative = html.escape(" ".join(tex.split()), quote=True)
        converted.append(plain.replace("<math ", f'<math alttext="{alternative}" ', 1))
    return converted


def _address(slug: str, identifier: str) -> str:
    return f"{slug}.xhtml#{identifier}" if identifier else f"{slug}.xhtml"


def convert(pages: list[Page], mathjax: Path) -> None:
    """Put MathML in the place of TeX, in all pages at once."""
    found = [formula for page in pages for formula in onefile.formulas(page)]
    converted = mathml([(formula.tex, formula.display) for formula in found], mathjax)
    for formula, text in zip(found, converted, strict=True):
        for string in formula.tag.find_all(string=True, recursive=False):
            string.extract()
        formula.tag.append(BeautifulSoup(re.sub(r"\n\s*", "", text), "html.parser"))


def _take_pictures(page: Page) -> dict[str, bytes]:
    """The pictures of a page, by the name under which it now refers to them."""
    files: dict[str, bytes] = {}
    for picture in page.content.find_all("img"):
        kind, data = str(picture["src"]).removeprefix("data:image/").split(";base64,")
        content = base64.b64decode(data)
        ending = {"svg+xml": "svg", "jpeg": "jpg"}.get(kind, kind)
        name = f"images/{hashlib.sha256(content).hexdigest()[:16]}.{ending}"
        files[name] = content
        picture["src"] = name
    return files


def _page(of: Book, title: str, body: str) -> str:
    return PAGE.format(language=of.language, title=html.escape(title), body=body)


def _nav(pages: list[Page]) -> str:
    """The table of contents: parts, pages, sections."""

    def link(address: str, text: str) -> str:
        return f'<a href="{address}">{html.escape(text)}</a>'

    def sections(page: Page) -> str:
        lines = [f"<li>{link(_address(page.slug, i), text)}</li>" for i, text in page.sections()]
        return f"<ol>{''.join(lines)}</ol>" if lines else ""

    def entries(group: list[Page]) -> Iterator[str]:
        for page in group:
            yield f"<li>{link(_address(page.slug, ''), page.title)}{sections(page)}</li>"

    lines: list[str] = []
    for caption, opener, inside in onefile.parts(pages):
        if not caption:
            lines += entries(inside)
            continue
        head = link(_address(opener.slug, ""), opener.title) if opener else html.escape(caption)
        head = head if opener else f"<span>{head}</span>"
        lines.append(f"<li>{head}<ol>{''.join(entries(inside))}</ol></li>")
    return (
        f'<nav epub:type="toc" id="toc"><h1>Contents</h1>\n<ol>{"".join(lines)}</ol></nav>\n'
        f'<nav epub:type="landmarks" hidden="hidden"><h2>Landmarks</h2><ol>'
        f'<li><a epub:type="cover" href="cover.xhtml">Cover</a></li>'
        f'<li><a epub:type="toc" href="nav.xhtml">Contents</a></li>'
        f'<li><a epub:type="bodymatter" href="{pages[0].slug}.xhtml">Start</a></li></ol></nav>'
    )


def _package(of: Book, pages: list[Page], pictures: list[str], has_mathml: bool) -> str:
    kinds = {
        ".png": "image/png",
        ".jpg": "image/jpeg",
        ".svg": "image/svg+xml",
        ".gif": "image/gif",
    }
    items = []
    for page in pages:
        mark = ' properties="mathml"' if page.content.find("math") else ""
        items.append(
            f'<item id="{page.slug}" href="{page.slug}.xhtml" '
            f'media-type="application/xhtml+xml"{mark}/>'
        )
    for number, name in enumerate(pictures):
        kind = kinds[Path(name).suffix]
        items.append(f'<item id="picture-{number}" href="{name}" media-type="{kind}"/>')
    stamp = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.fromtimestamp(int(stamp), UTC) if stamp else datetime.now(UTC)
    text = {name: html.escape(value) for name, value in vars(of).items()}
    return PACKAGE.format(
        **text,
        identifier=uuid.uuid5(uuid.NAMESPACE_URL, f"{of.address} {of.title}"),
        modified=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        formulas="MathML" if has_mathml else "latex",
        items="\n".join(items),
        spine="\n".join(f'<itemref idref="{page.slug}"/>' for page in pages),
    )


def _pack(files: dict[str, bytes], target: Path) -> None:
    """Zip the files as EPUB wants it: its type first, and not compressed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("mimetype"), "application/epub+zip")
        entries = {"META-INF/container.xml": CONTAINER.encode()}
        entries |= {f"book/{name}": content for name, content in sorted(files.items())}
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    write_file(target, packed.getvalue())


def mathjax() -> Path | None:
    """The folder of the npm package that makes MathML of TeX; without it, that is said."""
    folder = book.mathjax_package() if shutil.which("node") else None
    if folder is None:
        print("Formulas stay in TeX: for MathML install Node.js, which brings npm, and go online.")
    return folder


def main() -> int:
    """Command line: build the book, then write the file."""
    parser = argparse.ArgumentParser(prog="python -m tools.epub", description=__doc__)
    parser.add_argument("--site", type=Path, help="pages that are built already (builds them)")
    parser.add_argument("--out", type=Path, default=TARGET, help=f"({TARGET})")
    options = parser.parse_args()
    if options.site is None and not book.is_current() and (code := book.build()):
        return code
    try:
        write(options.site or book.HTML, options.out, mathjax())
    except (OSError, ValueError) as error:
        print(f"The e-book could not be written: {error}", file=sys.stderr)
        return 1
    print(f"The book for e-readers: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
