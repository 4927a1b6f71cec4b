"""Old addresses of pages lead to where the chapters are now."""

import re
from pathlib import Path

import pytest

from tools import chapters, moved, renumber

TABLE = "# Before.\nreach: [31-reach, 02-reach]\npooling: [01-pooling]\ngone: []\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A book of two chapters that had other numbers once."""
    (tmp_path / "book").mkdir()
    (tmp_path / moved.TABLE).write_text(TABLE.replace("gone: []\n", ""), encoding="utf-8")
    for stem, title in (("01-reach", "How <far>"), ("02-pooling", "Pooling")):
        (tmp_path / "book" / f"{stem}.md").write_text(f"# {title}\n", encoding="utf-8")
    return tmp_path


def test_each_old_address_sends_on_and_says_where(root: Path) -> None:
    site = root / "site"
    (site / "notebooks").mkdir(parents=True)
    moved.write(site, root)
    pages = {p.name: p.read_text(encoding="utf-8") for p in (site / "notebooks").iterdir()}
    assert sorted(pages) == ["01-pooling.html", "02-reach.html", "31-reach.html"]
    page = pages["31-reach.html"]
    assert '<meta http-equiv="refresh" content="0; url=01-reach.html">' in page
    assert '<a href="01-reach.html">1 · How &lt;far&gt;</a>' in page
    assert 'location.replace("01-reach.html" + location.search + location.hash)' in page
    assert "://" not in page


def test_a_name_that_a_chapter_has_today_is_left_to_it(root: Path) -> None:
    (root / moved.TABLE).write_text(
        "reach: [02-pooling, 31-reach]\npooling: []\n", encoding="utf-8"
    )
    assert moved.addresses(root) == {"notebooks/31-reach.html": "notebooks/01-reach.html"}


def test_a_table_that_names_no_chapter_is_an_error(root: Path) -> None:
    (root / moved.TABLE).write_text("nobody: [01-nobody]\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no chapter 'nobody'"):
        moved.addresses(root)


def test_new_numbers_go_into_the_table_and_back_again_out_of_it() -> None:
    later = moved.extended(TABLE, {"01-reach": "02-reach", "02-pooling": "01-pooling"})
    assert later == "# Before.\nreach: [31-reach, 01-reach]\npooling: [02-pooling]\n"
    stems = {"02-reach": "02-reach", "01-pooling": "01-pooling"}
    assert moved.extended(later, stems) == later


def test_renumbering_writes_them_down(root: Path) -> None:
    lines = "".join(f"      - file: notebooks/{s}\n" for s in ("02-pooling", "01-reach"))
    toc = f"format: jb-book\nroot: book/index\nparts:\n  - caption: I\n    chapters:\n{lines}"
    (root / "_toc.yml").write_text(toc, encoding="utf-8")
    (root / "notebooks").mkdir()
    assert renumber.main(["--write"], root) == 0
    assert moved.table(root) == {"pooling": ["02-pooling"], "reach": ["31-reach", "01-reach"]}
    assert moved.addresses(root)["notebooks/01-reach.html"] == "notebooks/02-reach.html"


def test_the_books_own_table_leads_to_chapters_that_there_are() -> None:
    found = moved.addresses()
    assert len(found) == sum(map(len, moved.table().values())), "a name twice, or one of today"
    assert set(found.values()) <= {f"notebooks/{s.stem}.html" for s in chapters.sources()}
    assert found["notebooks/07-pooling.html"].endswith("-pooling.html")
    assert all(re.fullmatch(r"notebooks/\d\d-[a-z-]+\.html", old) for old in found)


@pytest.mark.browser
@pytest.mark.parametrize("script", [True, False])
def test_a_browser_is_sent_on_from_a_disk(browser, root: Path, script: bool) -> None:
    folder = root / "notebooks"
    folder.mkdir()
    moved.write(root, root)
    (folder / "01-reach.html").write_text("<h1 id='here'>Reach</h1>", encoding="utf-8")
    context = browser.new_context(java_script_enabled=script)
    page = context.new_page()
    page.goto((folder / "31-reach.html").as_uri() + "#here")
    page.get_by_role("heading", name="Reach").wait_for()
    assert page.url.endswith("/01-reach.html#here" if script else "/01-reach.html")
    context.close()
