"""Chapters get the numbers of their places, and everything that names them follows."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from tools import chapters, renumber

TOC = """\
format: jb-book
root: book/index
parts:
  - caption: Welcome   # the first
    chapters:
      - file: notebooks/01-draw-a-digit
      - file: book/train-here
  - caption: Part I
    chapters:
      - file: notebooks/07-reach
        title: How far
      - file: notebooks/02-data
      - file: notebooks/03-pooling
"""
POOLING = """\
# Pooling

After [](02-data.ipynb), see exercise 2.2, exercises 3.2 to 3.7 and chapter 2, chapters 2 and 3;
as chapter 2 of {cite:p}`somebody` has it. Version 2.3, 3.1 million, chapter 2.2, chapter 07.

### Exercise 3.2: pool
*Easy · 5 minutes*

```{code-cell}
# Solution 3.2
kernel = 3.2  # chapter 7
```

### Exercise 3.7: reach
[Again](07-reach.ipynb#exercise-7-1-reach), and {ref}`sec-02-data`.
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Four chapters, of which three have the wrong number, and what refers to them."""
    texts = {
        "_toc.yml": TOC,
        "README.md": "| 2 | [Data](notebooks/02-data.ipynb) | 2 |\n| 2 | chapter 3 | |\n"
        "| 7 | minutes | [Data](notebooks/02-data.ipynb) |\n",
        "book/01-draw-a-digit.md": "# Draw\n",
        "book/02-data.md": "# Data\n### Exercise 2.1: a\n### Exercise 2.2: b\n",
        "book/03-pooling.md": POOLING,
        "book/07-reach.md": "# Reach\n### Exercise 7.1: a\n",
        "book/teachers.md": "exercises of 2 and 3 in [](../notebooks/03-pooling.ipynb)\n",
        "tests/test_pooling.py": '"""What chapter 3 says: ``03-pooling``, not 1903-pooling."""\n',
        "benchmarks/results/processors.json": '{"02-data": {"chapter": 0.3}}',
    }
    see = "See chapter 2."
    cells = [
        nbformat.v4.new_markdown_cell(see, id="000-" + renumber._hash(see)),
        nbformat.v4.new_code_cell("# Solution 3.2", id="another"),
    ]
    cells[1].outputs = [
        nbformat.v4.new_output("stream", text="exercise 3.2: right\n"),
        nbformat.v4.new_output("display_data", {"text/html": "chapter 3", "image/png": "3.2"}),
    ]
    notebook = nbformat.writes(nbformat.v4.new_notebook(cells=cells))
    texts["notebooks/03-pooling.ipynb"] = notebook + "\n"
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def content(book: Path) -> dict[str, str]:
    files = (path for path in book.rglob("*") if path.is_file())
    return {str(path.relative_to(book)): path.read_text(encoding="utf-8") for path in files}


def test_the_order_of_the_contents_becomes_the_number(book: Path) -> None:
    assert renumber.main(["--write"], book) == 0
    names = {path.name for path in (book / "book").iterdir()}
    assert names == {
        "01-draw-a-digit.md", "02-reach.md", "03-data.md", "04-pooling.md", "teachers.md"
    }  # fmt: skip
    assert [path.name for path in (book / "notebooks").iterdir()] == ["04-pooling.ipynb"]
    toc = content(book)["_toc.yml"]
    assert renumber.entries(toc) == ["01-draw-a-digit", "02-reach", "03-data", "04-pooling"]
    assert "# the first" in toc and "title: How far" in toc


def test_what_names_a_chapter_or_an_exercise_follows(book: Path) -> None:
    renumber.main(["--write"], book)
    text = content(book)["book/04-pooling.md"]
    assert "[](03-data.ipynb), see exercise 3.2, exercises 4.1 to 4.2 and chapter 3," in text
    assert "chapters 3 and 4;" in text
    assert "### Exercise 4.1: pool" in text and "### Exercise 4.2: reach" in text
    assert "# Solution 4.1\nkernel = 3.2  # chapter 2\n" in text
    assert "[Again](02-reach.ipynb#exercise-2-1-reach)" in text
    assert content(book)["book/teachers.md"] == (
        "exercises of 3 and 4 in [](../notebooks/04-pooling.ipynb)\n"
    )
    assert "chapter 4 says: ``04-pooling``, not 1903-" in content(book)["tests/test_pooling.py"]
    assert content(book)["benchmarks/results/processors.json"].startswith('{"03-data"')
    assert content(book)["README.md"] == (
        "| 3 | [Data](notebooks/03-data.ipynb) | 2 |\n| 2 | chapter 4 | |\n"
        "| 7 | minutes | [Data](notebooks/03-data.ipynb) |\n"
    )


def test_what_is_no_number_of_a_chapter_stays(book: Path) -> None:
    renumber.main(["--write"], book)
    text = content(book)["book/04-pooling.md"]
    assert "as chapter 2 of {cite:p}`somebody` has it." in text
    assert "Version 2.3, 3.1 million, chapter 2.2, chapter 07." in text
    assert "*Easy · 5 minutes*" in text


def test_a_notebook_follows_in_its_cells_and_outputs(book: Path) -> None:
    renumber.main(["--write"], book)
    written = content(book)["notebooks/04-pooling.ipynb"]
    text, code = nbformat.reads(written, as_version=4).cells
    assert (text.source, code.source) == ("See chapter 3.", "# Solution 4.1")
    assert text.id == "000-" + renumber._hash("See chapter 3.")
    assert code.id == "another"
    assert code.outputs[0].text == "exercise 4.1: right\n"
    assert code.outputs[1].data == {"text/html": "chapter 4", "image/png": "3.2"}
    assert json.loads(written) and written.endswith("}\n")


def test_without_write_nothing_changes_and_twice_is_once(book: Path, capsys) -> None:
    before = content(book)
    renumber.main([], book)
    assert content(book) == before
    said = capsys.readouterr().out
    assert "book/07-reach.md → 02-reach.md" in said and "add --write" in said
    renumber.main(["--write"], book)
    after = content(book)
    capsys.readouterr()
    renumber.main(["--write"], book)
    assert content(book) == after
    assert "Every chapter and exercise has the number of its place." in capsys.readouterr().out


def test_what_only_a_person_can_decide_is_listed(book: Path, capsys) -> None:
    (book / "book" / "part.md").write_text(
        "Chapters 1 to 3.\nChapter 9, exercise 2.7.\nChapter 3 of [this](https://x.org).\n"
        "Chapters 2 to 3 and exercise 3.2.\n",
        encoding="utf-8",
    )
    renumber.main([], book)
    read = re.findall(r"^read book/part.md:(.*)", capsys.readouterr().out, re.MULTILINE)
    assert read == [
        '1: "Chapters 1 to 3": becomes "Chapters 1 to 4"; is that what is meant?',
        "2: there is no exercise 2.7",
        '2: "Chapter 9": there is no such chapter',
        '3: "Chapter 3": of this book? It stays as it is',
    ]


def test_a_chapter_can_be_moved_and_a_new_one_put(book: Path) -> None:
    text = "# Signal\n### Exercise 31.1: a\n"
    (book / "book" / "31-signal.md").write_text(text, encoding="utf-8")
    renumber.main(["--put", "signal", "--after", "draw", "--write"], book)
    order = renumber.entries(content(book)["_toc.yml"])
    assert order == ["01-draw-a-digit", "02-signal", "03-reach", "04-data", "05-pooling"]
    assert "Exercise 2.1" in content(book)["book/02-signal.md"]
    renumber.main(["--put", "03", "--after", "pooling", "--write"], book)
    toc = content(book)["_toc.yml"]
    order = renumber.entries(toc)
    assert order == ["01-draw-a-digit", "02-signal", "03-data", "04-pooling", "05-reach"]
    assert "05-reach\n        title: How far\n" in toc


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("08-new.md", "# New", r"book/08-new.md is not in _toc.yml: put the line .* --put new"),
        ("02-date.md", "# Date", "have the same number, 02: rename one"),
        ("08-data-again.md", "# D", "have the same first word, data: rename one"),
        ("07-reach.md", "### Exercise 6.1: a", "has an Exercise 6.1: call it 7.1"),
        ("07-reach.md", "### Exercise 7.1: a\n" * 2, "has 2 exercises 7.1: give each"),
    ],
)
def test_what_means_two_things_is_refused(book: Path, name, text, message) -> None:
    (book / "book" / name).write_text(text, encoding="utf-8")
    before = content(book)
    with pytest.raises(SystemExit, match=message):
        renumber.main(["--write"], book)
    assert content(book) == before


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (TOC + "      - file: notebooks/09-gone\n", "there is no book/09-gone.md: take it out"),
        (TOC + "      - file: notebooks/02-data\n", "lists notebooks/02-data 2 times: leave it"),
    ],
)
def test_contents_that_cannot_be_are_refused(book: Path, contents, message) -> None:
    (book / "_toc.yml").write_text(contents, encoding="utf-8")
    with pytest.raises(SystemExit, match=message):
        renumber.main(["--write"], book)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--put", "pool", "--after", "data"], "no chapter 'pool'; the chapters are: 01-draw"),
        (["--put", "data", "--after", "data"], "02-data cannot follow itself"),
    ],
)
def test_a_chapter_that_is_not_there_is_not_moved(book: Path, arguments, message) -> None:
    with pytest.raises(SystemExit, match=message):
        renumber.main(arguments, book)


def test_no_file_is_overwritten(book: Path) -> None:
    (book / "notebooks" / "02-reach.ipynb").write_text("{}", encoding="utf-8")
    (book / "notebooks" / "07-reach.ipynb").write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit, match="in the way, belonging to no chapter: notebooks/02-reach"):
        renumber.main(["--write"], book)


def test_a_file_that_is_no_notebook_is_named(book: Path) -> None:
    (book / "notebooks" / "03-pooling.ipynb").write_text("<<<<<<< HEAD", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"03-pooling.ipynb is no notebook: run its chapter"):
        renumber.main(["--write"], book)


def test_the_book_is_numbered_as_its_contents_say() -> None:
    """And every exercise and chapter that is named by a number is there."""
    contents = (chapters.ROOT / "_toc.yml").read_text(encoding="utf-8")
    plan = renumber.plan(chapters.ROOT, contents)
    assert [old for old, new in plan.stems.items() if old != new] == []
    assert [old for old, new in plan.exercises.items() if old != new] == []
    doubts = {
        f"{path.relative_to(chapters.ROOT)}:{line}": what
        for path in renumber.sources(chapters.ROOT)
        if path.suffix != ".ipynb"
        for line, what in renumber.to_read(path.read_text(encoding="utf-8"), plan)
    }
    assert doubts == {}


def test_the_readme_lists_the_chapters_as_they_are() -> None:
    readme = (chapters.ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| \[(.+?)\]\(notebooks/(\S+)\.ipynb\) \|", readme, re.MULTILINE)
    expected = [
        (str(int(source.stem[:2])), re.search("^# (.+)$", text, re.MULTILINE)[1], source.stem)
        for source in chapters.sources()
        if (text := source.read_text(encoding="utf-8"))
    ]
    assert rows == expected
