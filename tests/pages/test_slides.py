"""Slides of a chapter: what it shows in large, offline, by keyboard, a slide on each sheet."""

import base64
import io
import re
import shutil
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import expect

from tools import book, chapters, onefile, slides
from tools.onefile import Page


def picture(width: int, height: int, alt: str) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "png")
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<div class="output text_html"><img alt="{alt}" src="data:image/png;base64,{data}"></div>'
    )


def cell(inside: str) -> str:
    return (
        '<div class="cell"><div class="cell_input"><pre>0</pre></div>'
        f'<div class="cell_output">{inside}</div></div>'
    )


ROWS = "".join(f"<tr><td>{n}</td></tr>" for n in range(8))
CHAPTER = f"""
<section class="page" id="x"><section id="x.pooling">
<h1><span>8</span> · Pooling</h1>
<p>How much is <a href="#term">enough</a>?
Ask a digit.</p>
<div class="tip admonition"><p class="admonition-title">In this chapter</p>
<ul><li><p>pool;</p></li><li><p>say why.</p></li></ul></div>
<section id="x.a"><h2>Windows</h2>
<p>Not this one.
The maximum is</p>
<div class="math">y = max x</div>
<p>In between.</p>
{cell(picture(300, 100, "wide"))}
<p>Half the size.
And more.</p>
{cell(picture(100, 100, "tall"))}
<div class="open titled"><p class="open-title">Proof</p><div class="math">hidden</div></div>
<section id="x.b"><h3>Only words</h3><p>First.
Second.</p><p>Another paragraph.</p></section>
<section id="x.c"><h3>A table</h3><p>Look here.</p>
<table><thead><tr><th>n</th></tr></thead><tbody>{ROWS}</tbody></table></section>
</section>
<section><h2>Recap</h2><ul><li><p>One point.</p></li></ul></section>
<section><h2>Exercises</h2><section><h3>Exercise 8.1: pool</h3><p><em>Easy · 5 minutes</em></p>
{cell(picture(10, 10, "of an exercise"))}</section></section>
<section><h2>Quiz</h2><div class="question admonition"><p class="admonition-title">Question 1</p>
<p>What comes out?</p><pre>0</pre>
<div class="choices"><p><b>A</b> 7</p><p><b>B</b> 6</p></div>
<div class="open titled"><p class="open-title">Answer</p>
<p>A <strong>✗ No.</strong> Too large.</p><p>B <strong>✓ Right.</strong> Half.</p></div></div>
</section>
<section><h2>Where to go next</h2><p>On.</p></section>
</section></section>
"""


def page() -> Page:
    content = BeautifulSoup(CHAPTER, "html.parser").find("section")
    return Page("notebooks/08-pooling", "Part I", "8 · Pooling", content, ("code <b>x</b>",))


@pytest.fixture
def made() -> list[slides.Slide]:
    return slides.slides(page())


def words(slide: slides.Slide) -> str:
    text = BeautifulSoup(slide.html(page()), "html.parser").get_text(" ")
    return " ".join(text.split())


def test_a_deck_has_what_the_chapter_shows_in_its_order(made) -> None:
    assert [slide.kind for slide in made] == [
        "title", "list", "formula", "figure", "tall figure", "text", "table", "table", "list",
        "list", "question", "question",
    ]  # fmt: skip
    assert words(made[0]) == "Part I 8 · Pooling How much is enough? Ask a digit."
    assert words(made[2]) == "Windows The maximum is y = max x"
    assert words(made[3]) == "Windows Half the size."
    assert words(made[5]) == "Windows Only words First. Second."
    assert words(made[9]) == "Exercises Exercise 8.1: pool Easy · 5 minutes"


def test_nothing_is_given_away_and_no_question_answered_too_early(made) -> None:
    said = " ".join(map(words, made))
    assert "hidden" not in said and "Proof" not in said
    question, answer = made[-2:]
    assert words(question) == "Question 1 What comes out? code x A 7 B 6"
    assert words(answer) == "Answer Question 1 What comes out? B ✓ Right. Half."


def test_a_long_table_goes_on_under_the_same_head(made) -> None:
    tables = [slide for slide in made if slide.kind == "table"]
    rows = [re.findall(r"<t[dh]>(\w)<", slide.html(page())) for slide in tables]
    assert rows == [["n", *"012345"], ["n", *"67"]]


def test_links_and_identifiers_stay_on_the_page(made) -> None:
    text = "".join(slide.html(page()) for slide in made)
    assert "<a " not in text and " id=" not in text
    assert '<a href="#term">' in page().content.decode()


def test_a_sentence_that_is_too_long_is_left_out_with_what_follows() -> None:
    paragraph = BeautifulSoup("<p>Short.\nMuch too <b>long</b>.\nTiny.</p>", "html.parser").p
    kept = [each.get_text() for each in slides.sentences(paragraph, 12)]
    assert kept == ["Short."]
    (last,) = slides.sentences(paragraph, 12, last=True)
    assert last.get_text() == "Tiny."


@pytest.fixture
def deck(tmp_path: Path) -> Path:
    (path,) = slides.write([page()], tmp_path, None)
    return path


@pytest.mark.browser
def test_keys_and_buttons_step_and_the_address_keeps_the_place(browser, deck: Path) -> None:
    tab = browser.new_page(viewport={"width": 960, "height": 540})
    tab.goto(deck.as_uri())
    said, count = tab.locator("output"), len(slides.slides(page()))
    for key, place in (
        ("ArrowRight", 2), ("Space", 3), ("PageDown", 4), ("ArrowLeft", 3), ("Shift+Space", 2),
        ("End", count), ("ArrowRight", count), ("Home", 1), ("PageUp", 1),
    ):  # fmt: skip
        tab.keyboard.press(key)
        expect(said).to_have_text(f"{place} of {count}")
    tab.get_by_role("button", name="Next slide").click()
    expect(tab.locator(".slide:visible")).to_have_count(1)
    expect(tab.locator(".slide:visible h2")).to_have_text("In this chapter you learn to")
    tab.reload()
    expect(said).to_have_text(f"2 of {count}")
    tab.close()


@pytest.mark.browser
def test_it_prints_one_slide_a_sheet(browser, deck: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    tab = browser.new_page()
    tab.goto(deck.as_uri())
    printed = pypdf.PdfReader(io.BytesIO(tab.pdf(prefer_css_page_size=True)))
    found = slides.slides(page())
    assert len(printed.pages) == len(found)
    assert "Only words" in printed.pages[5].extract_text()
    tab.close()


@pytest.mark.browser
def test_without_a_script_the_slides_stand_below_each_other(browser, deck: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(deck.as_uri())
    expect(tab.locator(".slide:visible")).to_have_count(len(slides.slides(page())))
    context.close()


# What does not fit on its slide, when the letters have become as small as they may.
CUT = """() => [...document.querySelectorAll(".slide")].flatMap((slide, place) => {
  slide.classList.add("now");
  const body = slide.querySelector(".body");
  const cut = body.scrollHeight > body.clientHeight + 2 || body.scrollWidth > body.clientWidth + 2;
  const small = Number(body.style.getPropertyValue("--fit") || 1) < 0.6;
  slide.classList.remove("now");
  return cut || small ? [`${place + 1}: ${slide.querySelector("h1, h2").textContent}`] : [];
})"""


@pytest.mark.browser
@pytest.mark.slow
def test_every_chapter_makes_a_deck_that_fits_and_asks_for_nothing(
    browser, site_folder: Path, tmp_path: Path
) -> None:
    found = onefile.pages(site_folder, lambda slug, name: f"#{name or slug}")
    wanted = {f"notebooks/{source.stem}" for source in chapters.sources()}
    mathjax = book.mathjax_package() if shutil.which("node") else None
    decks = slides.write([each for each in found if each.name in wanted], tmp_path, mathjax)
    assert len(decks) == len(wanted)
    tab = browser.new_page(viewport={"width": 1280, "height": 720})
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    cut = {}
    for path in decks:
        tab.goto(path.as_uri())
        if faults := tab.evaluate(CUT):
            cut[path.name] = faults
    tab.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert cut == {}
