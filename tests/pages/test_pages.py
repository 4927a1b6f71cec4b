"""The book is findable and whole: names lead to the reference, pages to their sources and peers."""

import ast
import html
import importlib
import json
import pkgutil
import re
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
import yaml
from docutils import nodes
from PIL import Image

import mnist_course
from tools import address, book, chapters, page_card, pages

ROOT, SITE = book.ROOT, book.HTML
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PARTS = {part["caption"].split(" · ")[0]: part["chapters"] for part in CONTENTS["parts"]}
FILES = [CONTENTS["root"], *(entry["file"] for part in PARTS.values() for entry in part)]

# --- the time that chapters take ------------------------------------------------------------------


def test_every_chapter_says_once_how_long_it_takes() -> None:
    parts = [chapter for name in PARTS for chapter in pages.part(name, ROOT)]
    assert [chapter.source for chapter in parts] == chapters.sources()
    assert all(10 <= chapter.minutes <= 90 for chapter in parts)


@pytest.mark.parametrize(
    ("minutes", "said"),
    [
        ([50], "One chapter, about 50 minutes"),
        ([20, 40], "Two chapters, about 1 h"),
        ([60, 60, 15], "Three chapters, about 2 h 15 min"),
        ([10] * 13, "13 chapters, about 2 h 10 min"),
    ],
)
def test_a_sum_of_minutes_reads_well(tmp_path, minutes: list[int], said: str) -> None:
    written = []
    for number, each in enumerate(minutes):
        path = tmp_path / f"{number:02}-x.md"
        path.write_text(f"*About {each} minutes.* You need nothing.\n", encoding="utf-8")
        written.append(pages.Chapter(f"notebooks/{path.stem}", path))
    assert pages.summary(written) == said


def test_both_sums_are_said_where_all_chapters_say_both(tmp_path) -> None:
    boxes = ["About 30 minutes to read, 50 with the exercises.", "About 40 minutes."]
    for number, box in enumerate(boxes):
        (tmp_path / f"0{number}-x.md").write_text(box, encoding="utf-8")
    both, one = (pages.Chapter("", tmp_path / f"0{n}-x.md") for n in (0, 1))
    assert (both.minutes, both.whole, one.whole) == (30, 50, None)
    said = "Two chapters, about 1 h to read, 1 h 40 min with the exercises"
    assert pages.summary([both, both]) == said
    assert pages.summary([both, one]) == "Two chapters, about 1 h 10 min"


def test_a_chapter_without_minutes_and_a_part_that_is_none_are_errors(tmp_path) -> None:
    silent = tmp_path / "07-x.md"
    silent.write_text("# A chapter\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r'07-x.md says "About … minutes" 0 times'):
        _ = pages.Chapter("notebooks/07-x", silent).minutes
    with pytest.raises(ValueError, match=r"no part 'Part IX' in _toc.yml; the parts are Welcome"):
        pages.part("Part IX", ROOT)


# --- names in sentences ---------------------------------------------------------------------------

CODE = """
import torch
from mnist_course import DigitPad, data, evaluate, train as training
from mnist_course.augment import Affine, Stroke
from torchvision.transforms import Normalize

def im2col(x): ...
class Stroke: ...
test = data.load("test")
torch.load("x.pt"), torch.channels_last
training.fit(None, test)
"""
KNOWN = [
    f"mnist_course.{name}"
    for name in (
        "data", "data.load", "data.Digits", "data.Digits.split", "train", "train.fit",
        "train.Recipe", "evaluate", "evaluate.evaluate", "augment.Affine", "augment.Stroke",
        "models.Normalize", "operations.im2col", "digitpad.DigitPad", "devices.choose_device",
        "devices.channels_last", "export.page_weights", "results.load", "pretrained.load",
    )
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("mnist_course.data", "data"),
        ("mnist_course.evaluate.evaluate", "evaluate.evaluate"),
        ("data.load", "data.load"),
        ('data.load("test")', "data.load"),
        ("training.fit()", "train.fit"),
        ("train.fit", "train.fit"),
        ("data.Digits.split", "data.Digits.split"),
        ("results.load", "results.load"),
        ("Affine(10)", "augment.Affine"),
        ("fit", "train.fit"),  # what the code calls training.fit
        ("DigitPad", "digitpad.DigitPad"),  # imported from the package, described in a module
        ("training.choose_device", "devices.choose_device"),  # used where it was imported
        ("page_weights", "export.page_weights"),  # nothing else has so long a name
        # What may mean something else, or nothing here, is left alone.
        ("load", None),
        ("evaluate", None),
        ("training", None),
        ("mnist_course", None),
        ("Normalize", None),
        ("Stroke", None),
        ("im2col", None),
        ("channels_last", None),
        ("test.split()", None),
        ("torch.load", None),
        ("data.loader", None),
        ("x = data.load()", None),
        ("", None),
    ],
)
def test_a_name_means_what_it_means_on_its_page(code: str, name: str | None) -> None:
    page = pages.Scope(CODE, "%%bash")
    assert pages.meaning(code, page, page, KNOWN) == (name and f"mnist_course.{name}")


def test_a_bare_name_means_what_the_code_above_it_took_from_the_package() -> None:
    page = pages.Scope("from mnist_course.models import Normalize")
    assert pages.meaning("Normalize", page, page, KNOWN) == "mnist_course.models.Normalize"
    assert pages.meaning("Normalize", pages.Scope(), page, KNOWN) is None
    assert pages.meaning("data.load", pages.Scope(), page, KNOWN) == "mnist_course.data.load"


# --- what surrounds a page ------------------------------------------------------------------------


def test_a_page_is_described_by_its_first_paragraph() -> None:
    section = nodes.section("", nodes.title(text="A title"))
    section += nodes.admonition("", nodes.paragraph(text="A box."))
    section += nodes.paragraph(text="A sentence\nof words. " + "And more words. " * 30)
    tree = nodes.document(None, None)
    tree += section
    said = pages.describe(tree)
    assert said.startswith("A sentence of words. And more") and said.endswith(" …")
    assert len(said) <= 200
    assert pages.describe(None) == ""


def test_what_a_page_says_about_itself_is_escaped() -> None:
    head = pages.metadata('"1 < 2"', "a & b", "The book", "https://a.b/c.html", "https://a.b/d.png")
    assert '<meta property="og:title" content="&quot;1 &lt; 2&quot;">' in head
    assert '<meta name="description" content="a &amp; b">' in head
    assert head.count("<meta ") == head.count('">\n')


def test_the_card_has_the_size_that_cards_have(tmp_path) -> None:
    with Image.open(page_card.write(tmp_path)) as card:
        assert card.size == (1200, 630)
        assert card.format == "PNG"


# --- one home for each thing ----------------------------------------------------------------------


def test_the_reference_describes_every_module() -> None:
    text = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("reference*.md")
    )
    described = re.findall(r"^\.\. automodule:: (\S+)$", text, re.MULTILINE)
    modules = pkgutil.walk_packages(mnist_course.__path__, "mnist_course.")
    assert sorted(described) == sorted(m.name for m in modules if "._" not in m.name)


def test_everything_public_says_what_it_does() -> None:
    silent = []
    for found in pkgutil.walk_packages(mnist_course.__path__, "mnist_course."):
        tree = ast.parse(
            Path(importlib.util.find_spec(found.name).origin).read_text(encoding="utf-8")
        )
        silent += [
            f"{found.name}.{node.name}"
            for node in tree.body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    assert not silent


def test_the_workflow_does_what_make_does() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text(encoding="utf-8"))
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [line for step in steps for line in step.get("run", "").splitlines()]
    assert {"make test", "make book SERVE=0"} <= set(commands)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipes = re.findall(r"^\t\$\(PY\) (.*)", makefile.replace("$*", "test"), re.MULTILINE)
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for command in commands:
        program, target, *settings = command.split()
        if program == "python":  # where there is no make
            assert command.removeprefix("python ") in recipes
            continue
        assert program == "make" and target in targets
        assert all(re.fullmatch(r"[A-Z]+=\S+", setting) for setting in settings)
    assert all(step["uses"].startswith("actions/") for step in steps if "uses" in step)
    (upload,) = [s for s in steps if "upload-pages-artifact" in s.get("uses", "")]
    assert upload["with"]["path"] == "build/_build/html"


# --- the built pages ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(site_folder: Path) -> Path:
    return site_folder


def read(site: Path, name: str) -> str:
    return (site / f"{name}.html").read_text(encoding="utf-8")


def article(page: str) -> str:
    return page[page.index("<article") : page.index("</article")]


@pytest.mark.parametrize("source", chapters.sources(), ids=lambda source: source.stem)
def test_a_chapter_can_be_taken_home_and_opened_elsewhere(site, source: Path) -> None:
    page = read(site, f"notebooks/{source.stem}")
    links = re.findall(r'<a href="([^"]+)" target="_blank"\s+class="btn', page)
    assert f"../_sources/notebooks/{source.stem}.ipynb" in links
    assert f"../_sources/book/{source.name}" in links
    taken = nbformat.read(site / "_sources/notebooks" / f"{source.stem}.ipynb", as_version=4)
    assert taken == nbformat.read(chapters.notebook_path(source), as_version=4)
    assert (site / "_sources/book" / source.name).read_bytes() == source.read_bytes()
    away = [link for link in links if link.startswith("https:")]
    if (here := address.of(ROOT)) and here.is_on_github:
        place = urlsplit(here.url).path
        opened = f"{place}/blob/main/notebooks/{source.stem}.ipynb"
        assert f"https://colab.research.google.com/github{opened}" in away
        (binder,) = [
            link for link in away if link.startswith(f"https://mybinder.org/v2/gh{place}/")
        ]
        assert binder.endswith(f"/main?urlpath=lab/tree/notebooks/{source.stem}.ipynb")
    else:
        assert away == []
    assert "window.print()" in page
    assert "google.colab" not in article(page)


def test_names_in_sentences_lead_to_the_reference(site) -> None:
    linked = {}
    for name in FILES:
        text = article(read(site, name))
        for heading in re.findall(r"<h\d>.*?</h\d>", text, re.DOTALL):
            assert "reference.html" not in heading, name
        found = re.findall(r'<a [^>]*href="[^"]*reference\.html#([^"]+)"[^>]*><code', text)
        linked[name] = set(found)
    anchors = set(re.findall(r'\bid="([^"]+)"', read(site, "book/reference")))
    assert set().union(*linked.values()) <= anchors
    assert "mnist_course.train.fit" in linked["notebooks/13-training-loop"]
    assert sum(map(len, linked.values())) > 30


def test_the_reference_shows_signatures_and_nothing_of_this_machine(site) -> None:
    for name in ("book/reference", "book/reference-checks"):
        text = html.unescape(re.sub(r"<[^>]+>", "", article(read(site, name))))
        assert not re.search(r"PosixPath| object at 0x|<factory>|\*args: t\.Any", text)
        assert str(ROOT) not in text
    text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", read(site, "book/reference"))))
    assert re.search(r"DigitPad\( ?model: Module \| None = None, engine: ", text)


def test_every_page_says_what_it_is_about(site) -> None:
    said = {}
    for name in [*FILES, "genindex", "search"]:
        page = read(site, name)
        head = dict(re.findall(r'<meta (?:name|property)="([\w:]+)" content="([^"]*)"', page))
        assert head["og:title"] and head["description"] == head["og:description"]
        if "og:url" in head:  # only where the project has an address
            assert head["og:url"].endswith(f"{name}.html")
            assert head["og:image"].endswith("_static/card.png")
        said[name] = head["description"]
    assert (site / "_static/card.png").exists()
    texts = [said[name] for name in FILES]
    assert all(len(text) > 40 for text in texts)
    assert len(set(texts)) == len(texts)


def test_a_part_begins_with_its_chapters_and_their_minutes(site) -> None:
    for name, entries in list(PARTS.items())[1:-1]:
        text = article(read(site, entries[0]["file"]))
        rows = re.findall(r"<tr.*?</tr>", text, re.DOTALL)[1:]
        assert len(rows) == len(entries) - 1 == len(pages.part(name, ROOT))
        for row, chapter in zip(rows, pages.part(name, ROOT), strict=True):
            assert f"{chapter.page.split('/')[1]}.html" in row
            assert f">{chapter.minutes}<" in row
            assert f">{chapter.whole or '–'}<" in row
    front = html.unescape(article(read(site, "book/index")))
    assert all(pages.summary(pages.part(name, ROOT)) in front for name in list(PARTS)[:-1])


def test_the_index_is_in_the_contents_and_holds_terms_and_names(site) -> None:
    assert 'href="genindex.html"' in read(site, "genindex") or 'href="#"' in read(site, "genindex")
    assert all('href="../genindex.html"' in read(site, name) for name in FILES)
    index = read(site, "genindex")
    assert "book/glossary.html#term-" in index
    assert "book/reference.html#mnist_course.train.fit" in index


def test_search_finds_words_of_text_code_and_glossary(site) -> None:
    script = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(script.removeprefix("Search.setIndex(").removesuffix(")"))

    def found(word: str) -> set[str]:
        places = [index[where].get(word, []) for where in ("terms", "titleterms")]
        numbers = [n for each in places for n in (each if isinstance(each, list) else [each])]
        return {index["docnames"][n] for n in numbers}

    assert "notebooks/13-training-loop" in found("zero_grad")  # code
    assert "notebooks/04-convolution-by-hand" in found("kernel")  # text
    assert "book/glossary" in found("backpropag")  # stemmed, as the page does it
    assert "mnist_course.train" in index["objects"]


def test_outside_links_are_well_formed(site) -> None:
    """And lists them in ``build/links.txt``, with the pages that have them."""
    found: dict[str, set[str]] = {}
    for name in FILES:
        for link in re.findall(r'(?:href|src)="([a-z]+:[^"]*)"', read(site, name)):
            if not link.startswith(("data:", "mailto:")):
                found.setdefault(html.unescape(link), set()).add(name)
    lines = [f"{link}  {' '.join(sorted(names))}\n" for link, names in sorted(found.items())]
    (book.BUILD / "links.txt").write_text("".join(lines), encoding="utf-8")
    poor = []
    for link, names in found.items():
        parts = urlsplit(link)
        if (
            parts.scheme != "https"
            or not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc)
            or re.search(r'[\s<>"`{}|\\^]', link)
            or re.search(r"[.,;:!?'…)\]]$", link)
        ):
            poor.append(f"{link} on {', '.join(sorted(names))}")
    assert found and not poor
