"""The book as one file, on paper and for e-readers: whole, in order, readable."""

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
import yaml

from tools import book, epub, onefile, pdf
from tools import browser as browsers

XHTML = "{http://www.w3.org/1999/xhtml}"
MATH = "{http://www.w3.org/1998/Math/MathML}"
OPF = "{http://www.idpf.org/2007/opf}"


def listed() -> list[tuple[str, str]]:
    toc = yaml.safe_load((book.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return list(onefile.contents(toc))


@pytest.fixture(scope="module")
def site(site_folder: Path) -> Path:
    return site_folder


@pytest.fixture(scope="module")
def titles(site: Path) -> list[str]:
    """The titles of all pages in the order of the book, from the built pages."""
    found = []
    for _, name in listed():
        heading = re.search(
            r"<h1>(.*?)<a class=\"headerlink", (site / f"{name}.html").read_text(encoding="utf-8")
        )
        assert heading, name
        found.append(re.sub(r"<[^>]+>", "", heading[1]).replace("&amp;", "&"))
    return found


@pytest.fixture(scope="module")
def formula_count(site: Path) -> int:
    texts = [(site / f"{name}.html").read_text(encoding="utf-8") for _, name in listed()]
    return sum(len(re.findall(r'<(?:span|div) class="[^"]*\bmath\b', text)) for text in texts)


# --- for e-readers --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    mathjax = book.mathjax_package() if shutil.which("node") else None
    if mathjax is None:
        pytest.skip("no Node.js, or MathJax could not be had from npm: formulas stay in TeX")
    target = tmp_path_factory.mktemp("epub") / "book.epub"
    epub.write(site, target, mathjax)
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    with zipfile.ZipFile(target) as archive:
        yield archive


@pytest.fixture(scope="module")
def documents(packed: zipfile.ZipFile) -> dict[str, ElementTree.Element]:
    """Every document of the e-book, parsed as XML."""
    names = [name for name in packed.namelist() if name.endswith((".xhtml", ".opf", ".xml"))]
    return {name: ElementTree.fromstring(packed.read(name)) for name in names}


def test_an_e_book_says_first_what_it_is(packed) -> None:
    first = packed.infolist()[0]
    assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
    assert packed.read("mimetype") == b"application/epub+zip"
    assert packed.testzip() is None
    assert sum(info.compress_size for info in packed.infolist()) <= 25e6


def test_an_e_book_lists_all_its_files_and_reads_in_order(packed, documents, titles) -> None:
    package = documents["book/package.opf"]
    items = {item.get("id"): item for item in package.iter(f"{OPF}item")}
    files = {f"book/{item.get('href')}" for item in items.values()}
    assert files | {"mimetype", "META-INF/container.xml", "book/package.opf"} == set(
        packed.namelist()
    )
    spine = [items[ref.get("idref")].get("href") for ref in package.iter(f"{OPF}itemref")]
    assert spine == ["cover.xhtml", "nav.xhtml", *(f"{onefile.slug(n)}.xhtml" for _, n in listed())]
    headings = [documents[f"book/{name}"].find(f".//{XHTML}h1") for name in spine[2:]]
    found = ["".join(heading.itertext()) for heading in headings]
    assert found == titles
    with_formulas = {
        f"book/{i.get('href')}" for i in items.values() if i.get("properties") == "mathml"
    }
    assert with_formulas == {
        n for n, d in documents.items() if d.find(f".//{MATH}math") is not None
    }


def test_every_formula_of_an_e_book_is_mathml(documents, formula_count) -> None:
    formulas = [math for tree in documents.values() for math in tree.iter(f"{MATH}math")]
    assert len(formulas) == formula_count > 500
    assert all(math.get("alttext") for math in formulas)
    assert not [math.get("alttext") for math in formulas if not len(math)]
    for name, tree in documents.items():
        for code in [e for e in tree.iter() if e.tag in {f"{XHTML}pre", f"{XHTML}code"}]:
            code[:], code.text = [], ""
        assert not re.findall(r"\\[(\[].{0,30}", "".join(tree.itertext())), name


def test_every_picture_of_an_e_book_is_in_it_and_says_what_it_shows(packed, documents) -> None:
    pictures = [i for tree in documents.values() for i in tree.iter(f"{XHTML}img")]
    assert len(pictures) > 100
    for picture in pictures:
        assert len(picture.get("alt", "").split()) >= 4, picture.get("src")
        assert packed.read(f"book/{picture.get('src')}")[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")


def test_links_of_an_e_book_lead_somewhere_in_it(documents) -> None:
    identifiers = {n: {e.get("id") for e in tree.iter()} for n, tree in documents.items()}
    lost = []
    for name, tree in documents.items():
        assert not [e for e in tree.iter() if e.tag in {f"{XHTML}script", f"{XHTML}iframe"}]
        for link in (e.get("href") for e in tree.iter(f"{XHTML}a")):
            parts = urlsplit(link)
            target = f"book/{parts.path}" if parts.path else name
            if not parts.scheme and (
                target not in documents
                or (parts.fragment and unquote(parts.fragment) not in identifiers[target])
            ):
                lost.append(f"{name}: {link}")
    assert not lost


# --- on paper -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def printed(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The PDF, read; printing refuses what is wider than a sheet."""
    pypdf = pytest.importorskip("pypdf")
    if browsers.executable() is None:
        pytest.skip("no Chromium or Chrome on this machine: run python -m tools.browser")
    if book.mathjax_package() is None:
        pytest.skip("MathJax could not be had from npm, so formulas need the network")
    target = tmp_path_factory.mktemp("pdf") / "book.pdf"
    command = [sys.executable, "-m", "tools.pdf", "--site", str(site), "--out", str(target)]
    result = subprocess.run(command, cwd=book.ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert target.stat().st_size <= 25e6
    return pypdf.PdfReader(target)


@pytest.fixture(scope="module")
def starts(printed) -> dict[str, int]:
    """On which sheet each page of the book begins, from 0."""
    where = pdf.page_numbers(printed)
    return {name: where[onefile.slug(name)] - 1 for _, name in listed()}


@pytest.mark.browser
def test_paper_has_every_chapter_in_order(printed, starts, titles) -> None:
    assert list(starts.values()) == sorted(set(starts.values()))
    for sheet, title in zip(starts.values(), titles, strict=True):
        text = printed.pages[sheet].extract_text()
        assert title in " ".join(text.split()), f"sheet {sheet + 1}"


@pytest.mark.browser
def test_paper_has_an_outline_with_every_chapter(printed, titles) -> None:
    def flat(entries) -> Iterator[str]:
        for entry in entries:
            if isinstance(entry, list):
                yield from flat(entry)
            else:
                yield " ".join(entry.title.split())

    found = [title for title in flat(printed.outline) if title in titles]
    assert sorted(set(found), key=found.index) == titles


@pytest.mark.browser
def test_paper_has_the_right_page_numbers(printed, starts, titles) -> None:
    first = next(iter(starts.values()))
    contents = " ".join("".join(p.extract_text() for p in printed.pages[2:first]).split())
    for (name, sheet), title in zip(starts.items(), titles, strict=True):
        assert re.search(rf"{re.escape(title)}\W*{sheet + 1}(?!\d)", contents), name
    for sheet in (first, len(printed.pages) // 2, len(printed.pages) - 1):
        assert str(sheet + 1) in printed.pages[sheet].extract_text().splitlines()
    sizes = {tuple(round(float(x)) for x in page.mediabox[2:]) for page in printed.pages}
    assert sizes == {(595, 842)}


@pytest.mark.browser
def test_paper_has_formulas_and_open_answers(printed, starts) -> None:
    sheets = range(starts["notebooks/04-convolution-by-hand"], starts["notebooks/07-activation"])
    text = "".join(printed.pages[sheet].extract_text() for sheet in sheets)
    assert text.count("\u2211") >= 10, "sums of convolution"
    assert "def solution_response" in text
    assert text.count("Hint") >= 10
    assert "Interactive in the book for browsers" in text
    assert "Show code cell" not in text
    assert "\\(" not in text


PRINTED = """() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const style = (each) => getComputedStyle(each);
  return {
    chrome: all(".bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, .bd-footer, "
      + ".prev-next-footer, .copybtn, .headerlink").filter((each) => each.checkVisibility()).length,
    closed: all("details > :not(summary)").filter((each) => !each.offsetHeight).length,
    open: all("details > :not(summary)").length,
    paper: style(document.body).backgroundColor,
    ink: [...new Set(all("pre span:not(:empty), article p").map((each) => style(each).color))],
    cut: document.documentElement.scrollWidth - innerWidth,
  };
}"""


@pytest.mark.browser
def test_a_page_that_a_reader_prints_is_light_open_and_whole(browser, site) -> None:
    context = browser.new_context(viewport={"width": 643, "height": 900}, color_scheme="dark")
    context.route(re.compile("^https?:"), lambda route: route.abort())
    page = context.new_page()
    page.goto((site / "notebooks/05-stride-padding.html").as_uri())
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.emulate_media(media="print")
    seen = page.evaluate(PRINTED)
    context.close()
    assert seen.pop("open") > 15
    inks = [[int(part) for part in re.findall(r"\d+", ink)] for ink in seen.pop("ink")]
    assert inks and all(0.3 * r + 0.6 * g + 0.1 * b < 110 for r, g, b in inks), inks
    assert seen == {"chrome": 0, "closed": 0, "paper": "rgb(255, 255, 255)", "cut": 0}


# --- a book of two pages --------------------------------------------------------------------------

CHAPTER = """<html><nav>menu</nav><article class="bd-article"><section id="one">
<h1>One<a class="headerlink" href="#one">#</a></h1>
<p>A formula <span class="math notranslate">\\(a < b\\)</span> &amp; a
<a href="../book/index.html#here">link</a>,
one <a href="../genindex.html">elsewhere</a>, one <a href="https://example.org/">outside</a>.</p>
<div class="math">\\[{tex}\\]</div>
<div data-figure="pad" data-options="{{}}"><figure>
<img alt="A pad with a digit" src="data:image/png;base64,AAAA"></figure></div>
<section id="exercise-1-1"><h3>Exercise 1.1</h3>
<details class="hide"><summary><p class="collapsed">Show the output</p>
<p class="expanded">Hide the output</p></summary><pre>3</pre></details>
<details class="hide"><summary><p class="collapsed">Solution</p><p class="expanded">Solution</p>
</summary><div class="cell_input"><pre><span></span>\
<span class="k">if</span> <span class="n">a</span>:</pre></div></details></section>
<details class="sd-dropdown"><summary><span class="sd-summary-text">Answer</span></summary>
<p>Yes.</p></details>{more}</section></article></html>"""
HOME = """<article><section id="home"><h1>Home</h1><p id="here">Here.</p>
<div data-figure="pad"><p>Needs a script.</p></div></section></article>"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of a first page and a chapter; the folder of its built pages."""
    for name in ("_config.yml", "pyproject.toml"):
        shutil.copy(book.ROOT / name, tmp_path)
    toc = {
        "root": "book/index",
        "parts": [{"caption": "P", "chapters": [{"file": "notebooks/01-one"}]}],
    }
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc), encoding="utf-8")
    write_page(tmp_path, "book/index", HOME)
    write_page(tmp_path, "notebooks/01-one", CHAPTER.format(tex="c", more=""))
    monkeypatch.setattr(book, "ROOT", tmp_path)
    return tmp_path


def write_page(site: Path, name: str, text: str) -> None:
    path = site / f"{name}.html"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def read(site: Path) -> list[onefile.Page]:
    return onefile.pages(site, lambda slug, place: f"#{place or slug}", "https://home/")


def test_what_folds_lies_open(small) -> None:
    _, chapter = read(small)
    text = chapter.html()
    assert "<details" not in text and "<summary" not in text and "Show" not in text
    assert re.findall(r'class="open-title">(\w+)<', text) == ["Solution", "Answer"]
    assert '<pre><span class="k">if</span> a:</pre>' in text


def test_a_figure_leaves_its_picture_and_says_where_it_lives(small) -> None:
    home, chapter = read(small)
    for page in (home, chapter):
        assert page.content.img["alt"] == "A pad with a digit"
        assert f"https://home/{page.name}.html" in page.content.find(class_="live").get_text()
    assert "data-" not in chapter.html().replace('src="data:', "")


def test_links_between_pages_become_links_in_the_file(small) -> None:
    _, chapter = read(small)
    links = [link["href"] for link in chapter.content.find_all("a")]
    assert links[:3] == ["#index.here", "https://home/genindex.html", "https://example.org/"]
    assert chapter.content.find(id="chapter-01-one.exercise-1-1")
    assert (chapter.title, chapter.part) == ("One", "P")


def test_without_npm_formulas_stay_in_tex_and_the_command_says_so(
    small, monkeypatch, capsys
) -> None:
    target = small / "out" / "book.epub"
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["epub", "--site", str(small), "--out", str(target)])
    assert epub.main() == 0
    assert "Formulas stay in TeX" in capsys.readouterr().out
    with zipfile.ZipFile(target) as archive:
        assert r"\(a &lt; b\)" in archive.read("book/chapter-01-one.xhtml").decode()


def test_a_formula_that_cannot_be_read_is_an_error_and_leaves_no_file(
    small, monkeypatch, capsys
) -> None:
    if not shutil.which("node") or book.mathjax_package() is None:
        pytest.skip("no Node.js, or MathJax could not be had from npm")
    write_page(small, "notebooks/01-one", CHAPTER.format(tex=r"\nosuchthing", more=""))
    target = small / "out" / "book.epub"
    monkeypatch.setattr(sys, "argv", ["epub", "--site", str(small), "--out", str(target)])
    assert epub.main() == 1
    error = capsys.readouterr().err
    assert "nosuchthing" in error and len(error.splitlines()) == 1
    assert not target.exists()


def test_a_browser_that_is_missing_is_one_line_and_an_error(small, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(browsers, "PLACES", ())
    monkeypatch.setattr(sys, "argv", ["pdf", "--site", str(small)])
    assert pdf.main() == 1
    error = capsys.readouterr().err
    assert "apt-get install chromium" in error and len(error.splitlines()) == 1


@pytest.mark.browser
def test_printing_refuses_what_is_wider_than_the_sheet(browser, small) -> None:
    wide = '<p id="wide" style="width: 2000px">wide</p>'
    for more, found in (("", []), (wide, ["chapter-01-one.wide"])):
        write_page(small, "notebooks/01-one", CHAPTER.format(tex="c", more=more))
        page = browser.new_page(viewport={"width": pdf.WIDTH, "height": 900})
        page.emulate_media(media="print")
        source = small / "book.html"
        source.write_text(pdf.document(onefile.about(), small), encoding="utf-8")
        page.goto(source.as_uri())
        wider = page.evaluate(pdf.CUT)
        page.close()
        assert sorted(set(wider)) == found
