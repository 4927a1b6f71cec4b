"""A small book, built: chapters have their numbers, and the search knows sections."""

import json
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from tools import address, pages, wayfinding

CONF = """
extensions = ["myst_nb", "sphinx_design"]
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"
root_doc = "index"
exclude_patterns = ["book/[0-9]*"]
html_theme = "basic"
html_title = "Reading digits"
def setup(app):
    from tools import sections, wayfinding
    wayfinding.setup(app)
    sections.setup(app)
"""
INDEX = """\
# Reading digits

Chapters {chapter}`draw` and {chapter}`pooling`, or [](notebooks/12-pooling).

```{get-project}
```

```{toctree}
notebooks/01-draw-a-digit
notebooks/12-pooling
glossary
questions
```
"""
POOLING = """\
# Pooling of maps

Windows over maps.

## Once, not twice

A softmax applied twice learns slowly.

### Deeper

Underneath.
"""
GLOSSARY = """\
# Glossary

```{glossary}
pooling
  Summarising a window. (池化（汇聚）)

stride
  How far a window moves (in pixels).
```
"""
QUESTIONS = """\
# Questions

:::{dropdown} Why 0.1307?
It is the mean. See $x$.
:::

:::{dropdown} Named
:name: my-own-name
Text.
:::
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> dict[str, Tag | dict]:
    """The pages of a small book, by name, and its search index as ``"searchindex"``."""
    root = tmp_path_factory.mktemp("small")
    texts = {
        "conf.py": CONF,
        "_toc.yml": "",
        "index.md": INDEX,
        "glossary.md": GLOSSARY,
        "questions.md": QUESTIONS,
        "book/01-draw-a-digit.md": "# Draw a digit\n",
        "book/12-pooling.md": POOLING,
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "notebooks").mkdir()
    for source in (root / "book").glob("*.md"):
        cells = [nbformat.v4.new_markdown_cell(source.read_text(encoding="utf-8"))]
        notebook = nbformat.v4.new_notebook(cells=cells)
        nbformat.write(notebook, root / "notebooks" / f"{source.stem}.ipynb")
    out = root / "html"
    with pytest.MonkeyPatch.context() as patch, docutils_namespace():
        patch.setenv(address.VARIABLE, "https://github.com/ada/fork")
        app = Sphinx(root, root, out, root / "doctrees", "html", status=None, warningiserror=True)
        app.build()
    found: dict[str, Tag | dict] = {
        path.relative_to(out).with_suffix("").as_posix(): BeautifulSoup(
            path.read_text(encoding="utf-8"), "html.parser"
        )
        for path in out.rglob("*.html")
    }
    index = (out / "searchindex.js").read_text(encoding="utf-8")
    found["searchindex"] = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))
    return found


def test_a_chapter_has_its_number_wherever_its_title_stands(small) -> None:
    page, index = small["notebooks/12-pooling"], small["index"]
    assert page.h1.get_text().startswith("12 · Pooling of maps")
    assert page.title.get_text() == "12 · Pooling of maps — Reading digits"
    assert page.find("section")["id"] == "pooling-of-maps", "addresses have no number"
    entries = [link.get_text() for link in index.select(".toctree-wrapper a")]
    assert {"1 · Draw a digit", "12 · Pooling of maps", "Glossary"} <= set(entries)
    paragraph = index.find("section").p
    assert paragraph.get_text() == "Chapters 1 and 12, or 12 · Pooling of maps."
    assert [a["href"] for a in paragraph.find_all("a")] == [
        "notebooks/01-draw-a-digit.html", "notebooks/12-pooling.html", "notebooks/12-pooling.html"
    ]  # fmt: skip


def test_a_plain_page_has_no_number_and_the_book_is_named_once(small) -> None:
    assert small["glossary"].h1.get_text().startswith("Glossary")
    assert small["glossary"].title.get_text() == "Glossary — Reading digits"
    assert small["index"].title.get_text() == "Reading digits"


def test_the_first_page_says_how_to_get_the_project(small) -> None:
    assert small["index"].pre.get_text() == "git clone https://github.com/ada/fork\ncd fork\n"


def test_chinese_terms_say_that_they_are_chinese(small) -> None:
    pooling, stride = small["glossary"].select("dl.glossary dd p")
    assert pooling.get_text() == "Summarising a window. 池化（汇聚）"
    assert pooling.find(lang="zh").get_text() == "池化（汇聚）"
    assert stride.get_text() == "How far a window moves (in pixels)."


def test_every_question_has_an_address(small) -> None:
    found = [box["id"] for box in small["questions"].find_all("details")]
    assert found == ["why-0-1307", "my-own-name"]


def test_the_search_knows_sections_terms_and_questions(small) -> None:
    index = small["searchindex"]
    places, texts = index["sections"]["places"], index["sections"]["texts"]
    names = {
        f"{index['docnames'][page]}#{anchor}": (number, title)
        for number, (page, anchor, title) in enumerate(places)
    }
    once, title = names["notebooks/12-pooling#once-not-twice"]
    assert title == "Once, not twice"
    assert texts["softmax"] == [once] and once in texts["twice"]
    deeper, _ = names["notebooks/12-pooling#deeper"]
    assert texts["underneath"] == [deeper], "found under its own heading"
    assert names["glossary#term-pooling"][1] == "pooling"
    assert names["questions#why-0-1307"][1] == "Why 0.1307?"
    assert names["notebooks/12-pooling#"][1] == "12 · Pooling of maps"
    titled = [places[number][2] for number in index["sections"]["titles"]["pool"]]
    assert sorted(titled) == ["12 · Pooling of maps", "pooling"]


def test_a_page_that_names_no_address_offers_none(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(address.VARIABLE, "")
    (tmp_path / "conf.py").write_text(CONF, encoding="utf-8")
    (tmp_path / "index.md").write_text("# Book\n\n```{get-project}\n```\n", encoding="utf-8")
    with docutils_namespace():
        app = Sphinx(tmp_path, tmp_path, tmp_path / "html", tmp_path / "d", "html", status=None)
        app.build()
    html = (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
    assert "git clone" not in html and "ask the person who gave you the pages" in html


# --- parts ----------------------------------------------------------------------------------------

PAGES = ["notebooks/03-locality", "notebooks/04-convolution-by-hand"]


def test_the_lines_of_a_part_are_about_its_chapters() -> None:
    said = wayfinding.by_number(["locality Why.", "", "convolution How, by hand."], PAGES)
    assert said == {"03": "Why.", "04": "How, by hand."}


@pytest.mark.parametrize(
    "lines", [["locality Why."], ["convolution How.", "locality Why."], ["03 Why.", "04 How."]]
)
def test_lines_about_other_chapters_are_an_error(lines: list[str]) -> None:
    with pytest.raises(ValueError, match="a line for each of the chapters locality, convolution"):
        wayfinding.by_number(lines, PAGES)


def test_a_word_that_no_chapter_has_is_an_error(tmp_path) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "08-pooling.md").write_text("# Pooling", encoding="utf-8")
    assert wayfinding.page_of("pooling", tmp_path) == "notebooks/08-pooling"
    with pytest.raises(ValueError, match="no chapter 'pool'; the chapters are pooling"):
        wayfinding.page_of("pool", tmp_path)


def test_the_minutes_of_all_chapters_or_some_can_be_added() -> None:
    root = Path(wayfinding.__file__).parents[1]
    everything = pages.part("the book", root)
    assert [c.source for c in everything] == sorted((root / "book").glob("[0-9][0-9]-*.md"))
    some = pages.part("chapters draw, pooling", root)
    assert [wayfinding.number(chapter.page) for chapter in some] == sorted(
        wayfinding.number(wayfinding.page_of(word, root)) for word in ("draw", "pooling")
    )
