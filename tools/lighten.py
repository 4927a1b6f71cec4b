"""Remove from the built pages what they load and do not use; called by ``python -m tools.book``.

The theme sends every page a script with all icons of Font Awesome, the same icons as a font, the
whole search index, and whatever scripts the book has. A page keeps the icons that the book shows,
gets the search index when you search (see ``book/_static/page.js``), and the interactive
figures and the styles of cards if it has any. Doing it twice changes nothing.
"""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

from tools.page_script import APART

STYLE = "_static/styles/pydata-sphinx-theme.css"
FONTS = "_static/vendor/fontawesome/webfonts"
ICON_RULE = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\[0-9a-f]+"\}')
ICON_FONTS = {"fa-solid-900": "icons", "fa-brands-400": "brands"}
MATHJAX_SETTINGS = re.compile(r"\s*<script>window\.MathJax = \{.*?\}</script>")
# What a page loads only if it has an element of such a class (the beginning of its name).
NEEDED_BY = {
    "math ": ("mathjax/",),
    "sd-": ("sphinx-design.min.css", "design-tabs.js"),  # cards, grids, drop-downs
    "highlight": ("pygments.css", "clipboard.min.js", "copybutton.js", "copybutton.css"),
    'cell[ _"]': ("mystnb.",),
    '(?:toggle[ "]|tag_hide|admonition[^"]*dropdown)': ("togglebutton.js", "togglebutton.css"),
}
# What the theme brings and no page asks for.
UNUSED = (
    "_static/scripts/fontawesome.js*",
    "_static/locales",
    f"{FONTS}/fa-regular-*.ttf",
    f"{FONTS}/fa-[sb]*.woff2",
)
# Characters of the private use area: written in a style sheet, or escaped in it.
ICON = re.compile(r"[\ue000-\uf8ff]|\\([ef][0-9a-f]{3})\b")


def lighten(site: Path) -> None:
    """Lighten a built site, in place."""
    pages = sorted(site.rglob("*.html"))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if (lighter := lighten_page(text, page.name)) != text:
            page.write_text(lighter, encoding="utf-8")
    for pattern in ("**/*.map", *UNUSED):
        for unused in list(site.glob(pattern)):
            shutil.rmtree(unused) if unused.is_dir() else unused.unlink()
    scripts = (site / "_static" / "scripts").glob("*-theme.js")
    lighten_icons(site, "".join(path.read_text(encoding="utf-8") for path in (*pages, *scripts)))


def lighten_page(text: str, name: str = "") -> str:
    """A page without the scripts and styles that it does not need."""
    needless = ["_static/scripts/fontawesome.js"]
    if name != "search.html":
        needless.append("searchindex.js")
    figures = set(re.findall(r'data-figure="([\w-]+)"', text))
    if not figures - set(APART.values()):
        needless.append("_static/course.js")
    needless += [f"_static/{script}.js" for script, each in APART.items() if each not in figures]
    if "digitpad" not in figures:
        needless.append("_static/course-weights.js")
    if not re.search(r'class="[^"]*\bquestion\b[^"]*"|data-questions=', text):
        needless.append("_static/course-quiz.js")
    if 'class="simple glossary"' not in text:
        needless.append("_static/glossary.js")
    for needed_by, files in NEEDED_BY.items():
        if not re.search(rf'class="(?:[^"]* )?{needed_by}', text):
            needless += [f"_static/{file}" for file in files]
    if "_static/mathjax/" in needless:
        text = MATHJAX_SETTINGS.sub("", text)
    path = rf'"(?:\.\./)*(?:{"|".join(map(re.escape, needless))})[^"]*"'
    return re.sub(rf"\s*(?:<script [^>]*src={path}></script>|<link [^>]*href={path} />)", "", text)


def lighten_icons(site: Path, text: str) -> None:
    """Keep only the icons that ``text`` names, in the font and in the theme's style sheet."""
    style = site / STYLE
    names = set(re.findall(r"fa-[a-z][\w-]*", text))
    css = ICON_RULE.sub(
        lambda rule: rule[0] if names & set(re.findall(r"fa-[\w-]+", rule[1])) else "",
        style.read_text(encoding="utf-8"),
    )
    sheets = [
        css,
        *(p.read_text(encoding="utf-8") for p in site.rglob("_static/**/*.css") if p != style),
    ]
    icons = {int(m[1], 16) if m[1] else ord(m[0]) for m in ICON.finditer("".join(sheets))}
    for font, name in ICON_FONTS.items():
        (site / FONTS / f"{name}.woff").write_bytes(subset(site / FONTS / f"{font}.ttf", icons))
        source = f'src:url(../vendor/fontawesome/webfonts/{name}.woff) format("woff")'
        css = re.sub(rf"src:url\([^)]*{font}\.\w+\)[^;}}]*", source, css)
    style.write_text(css, encoding="utf-8")


def subset(font: Path, characters: set[int]) -> bytes:
    """A font with some of its characters, as WOFF."""
    from fontTools import subset  # comes with Matplotlib

    options = subset.Options(flavor="woff", notdef_outline=True)
    loaded = subset.load_font(str(font), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=characters)
    subsetter.subset(loaded)
    written = io.BytesIO()
    subset.save_font(loaded, written, options)
    return written.getvalue()
