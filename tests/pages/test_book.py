"""The built book: no warning, whole without a network, readable by everybody, light.

Every page is opened once: a visit notes what goes wrong, in both widths and both themes, and the
tests after it each state one thing about all pages.
"""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

from benchmarks import pages as weights
from tests.pages import axe
from tools import book, chapters, lighten, moved, serve

SITE = book.HTML
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 800}

# What axe finds and we leave as it is, by rule and a part of the element, with the reason. Each of
# them must still be there: see test_no_barrier.
LEFT: dict[tuple[str, str], str] = {}


@pytest.fixture(scope="module", autouse=True)
def built(site_folder: Path) -> None:
    """All tests here are about the built book."""


def names() -> list[str]:
    return weights.names(SITE)


@pytest.fixture(scope="module")
def site(built: None) -> Iterator[str]:
    with serve.server(0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


# --- a visit of every page ------------------------------------------------------------------------

# What stands on a page once it is there.
SEEN = r"""async () => {
  await globalThis.MathJax?.startup.promise;
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const main = document.querySelector("main");
  const shown = all("h1, h2, h3, h4, h5, h6", main).filter((each) => each.checkVisibility());
  const levels = shown.map((each) => Number(each.tagName[1]));
  const words = main.cloneNode(true);
  const other = "pre, code, script, style, mjx-container, .sig, .course-live";
  for (const each of all(other, words)) each.remove();
  return {
    formulas: all(".math:not(:has(mjx-container))").map((each) => each.textContent),
    errors: all("mjx-merror").map((each) => each.textContent),
    silent: all("mjx-container:not(:has(mjx-assistive-mml > math))").length,
    pictures: all("img").filter((each) => each.complete && !each.naturalWidth)
      .map((each) => each.src),
    roles: words.textContent.match(/\{[a-z:-]+\}`|:{3,}|\]\(|\$\$|\*\*\S/g) ?? [],
    titles: levels.filter((level) => level === 1).length,
    leaps: shown.filter((_, i) => i && levels[i] > levels[i - 1] + 1)
      .map((each) => each.textContent),
    still: all("[data-figure]:not(:has(.course-live))").map((each) => each.dataset.figure),
  };
}"""

# With everything unfolded on a phone: what is wider than the screen, and what scrolls out of reach
# of the keyboard.
UNFOLD = """() => {
  const folded = [...document.querySelectorAll("main details")];
  for (const each of folded) if (!each.closest(".course-live")) each.open = true;
}"""
WIDER = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const boxes = [...document.querySelectorAll("main *")];
  return boxes.filter((each) => each.getBoundingClientRect().right > width + 1)
    .map((each) => `${each.tagName}.${each.className}`).slice(0, 5).concat("the page");
}"""
UNREACHED = """async () => {
  await new Promise((laidOut) => requestAnimationFrame(() => setTimeout(laidOut)));
  return [...document.querySelectorAll("main *")].filter((each) => {
    if (each.scrollWidth <= each.clientWidth + 1 || !each.clientWidth) return false;
    if (each.tabIndex >= 0 || !/auto|scroll/.test(getComputedStyle(each).overflowX)) return false;
    return !each.querySelector("a[href], button, input, select, [tabindex='0']");
  }).map((each) => `${each.tagName}.${each.className}`);
}"""

# axe is slow where much is alike. Of the words in code and of formulas it gets one of each kind.
# It does not know that MathML is text: where a formula names something, it gets the letters.
THIN = """() => {
  const met = new Set();
  for (const each of document.querySelectorAll("pre span, .sig span, mjx-container")) {
    const kind = `${each.className} ${each.closest("[class*=cell_], .admonition")?.className}`;
    if (each.matches("summary *, th *")) each.replaceWith(each.textContent); // it may be the name
    else if (met.has(kind)) each.remove();
    met.add(kind);
  }
}"""
# For colours it gets one of each kind of everything: the last that stands in the same elements.
THINNER = """() => {
  const kinds = new Map(), met = new Set();
  const all = [...document.querySelectorAll("body *")];
  for (const each of all) {
    kinds.set(each, `${kinds.get(each.parentElement)}>${each.tagName}.${each.className}`);
  }
  for (const each of all.reverse()) {
    if (each.childElementCount || each.closest("svg, canvas, script, style")) continue;
    if (met.has(kinds.get(each))) each.remove();
    met.add(kinds.get(each));
  }
}"""
COLOURS = ("color-contrast",)
DARK = "document.documentElement.dataset.theme === 'dark'"


@dataclass
class Visit:
    """What was seen on a page."""

    faults: list[str] = field(default_factory=list)
    requests: set[str] = field(default_factory=set)
    seen: dict[str, Any] = field(default_factory=dict)
    wider: list[str] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    barriers: list[dict[str, str]] = field(default_factory=list)


def opened(browser, inside: str, **options) -> tuple:
    """A tab for which there is no network but ``inside``, and the visit that it writes on."""
    # A proxy that does not answer, rather than a route for every request: that would turn off the
    # browser's cache, and each page would compile MathJax again.
    context = browser.new_context(
        viewport=WIDE, proxy={"server": "http://127.0.0.1:9", "bypass": "127.0.0.1"}, **options
    )
    page = context.new_page()
    log = {"visit": Visit()}
    note = lambda text: log["visit"].faults.append(text)  # noqa: E731

    def request(asked) -> None:
        log["visit"].requests.add(asked.url)
        if not asked.url.startswith((inside, "data:", "blob:")):
            note(f"asks for {asked.url}")

    def failed(asked) -> None:
        # The tab's icon is of the type "other"; it is given up when its page is left before.
        if (asked.failure, asked.resource_type) != ("net::ERR_ABORTED", "other"):
            note(f"cannot get {asked.url}: {asked.failure}")

    page.on("request", request)
    page.on("requestfailed", failed)
    page.on("response", lambda got: note(f"{got.status} {got.url}") if got.status >= 400 else None)
    page.on("console", lambda said: note(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: note(str(error)))
    return page, log


@pytest.fixture(scope="module")
def visits(browser, site: str) -> dict[str, Visit]:
    """Every page, opened once: wide, then on a phone with all unfolded; axe in light, and dark."""
    if not (book.STATIC / "mathjax").exists():
        pytest.skip("MathJax could not be had from npm, so formulas need the network")
    found: dict[str, Visit] = {}
    page, log = opened(browser, site, color_scheme="light", reduced_motion="reduce")
    for name in names():
        log["visit"] = visit = found[name] = Visit()
        page.set_viewport_size(WIDE)
        page.emulate_media(color_scheme="light")
        page.goto(site + name)
        visit.seen = page.evaluate(SEEN)
        page.set_viewport_size(PHONE)
        page.evaluate(UNFOLD)
        visit.wider = page.evaluate(WIDER)
        visit.unreached = page.evaluate(UNREACHED)
        if axe.script():
            page.evaluate(THIN)
            page.set_viewport_size(WIDE)
            visit.barriers = axe.violations(page, but=COLOURS)
            page.evaluate(THINNER)
            visit.barriers += axe.violations(page, only=COLOURS)
            page.emulate_media(color_scheme="dark")
            page.wait_for_function(DARK)
            visit.barriers += axe.violations(page, only=COLOURS)
    page.context.close()
    return found


def told(visits: dict[str, Visit], part: str) -> dict[str, Any]:
    """What the visits saw of one kind, by page; the pages where they saw nothing are left out."""
    return {name: visit.seen[part] for name, visit in visits.items() if visit.seen[part]}


@pytest.mark.browser
def test_every_page_of_the_book_was_visited(visits) -> None:
    listed = set(
        re.findall(r"(?:root|file): (\S+)", (book.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    )
    assert {f"{name}.html" for name in listed} | {"search.html", "genindex.html"} <= set(visits)


@pytest.mark.browser
def test_no_page_needs_a_network_or_makes_an_error(visits) -> None:
    assert {name: visit.faults for name, visit in visits.items() if visit.faults} == {}


@pytest.mark.browser
def test_every_formula_is_set_and_spoken(visits) -> None:
    assert told(visits, "formulas") == {}, "formulas that nobody rendered"
    assert told(visits, "errors") == {}, "formulas that MathJax does not understand"
    assert told(visits, "silent") == {}, "formulas that a screen reader does not find"


@pytest.mark.browser
def test_every_picture_and_figure_is_there(visits) -> None:
    assert told(visits, "pictures") == {}
    assert told(visits, "still") == {}, "interactive figures that did not start"


@pytest.mark.browser
def test_no_markup_is_left_in_the_text(visits) -> None:
    assert told(visits, "roles") == {}


@pytest.mark.browser
def test_headings_form_an_outline(visits) -> None:
    assert {name: visit.seen["titles"] for name, visit in visits.items()} == dict.fromkeys(
        visits, 1
    )
    assert told(visits, "leaps") == {}, "headings more than one level below the one before"


@pytest.mark.browser
def test_every_page_fits_a_phone_with_everything_unfolded(visits) -> None:
    assert {name: visit.wider for name, visit in visits.items() if visit.wider} == {}


@pytest.mark.browser
def test_what_scrolls_can_be_scrolled_by_keyboard(visits) -> None:
    assert {name: visit.unreached for name, visit in visits.items() if visit.unreached} == {}


@pytest.mark.browser
def test_no_barrier(visits) -> None:
    """What axe says of every page in both themes, but for what is LEFT, which must be there."""
    axe.needed()
    met: set[tuple[str, str]] = set()
    new: dict[str, list[str]] = {}
    for name, visit in visits.items():
        for barrier in visit.barriers:
            known = {(rule, part) for rule, part in LEFT if rule == barrier["id"]}
            known = {each for each in known if each[1] in barrier["html"]}
            met |= known
            if not known:
                what = f"{barrier['id']}: {barrier['html']}: {barrier['why']}"
                new.setdefault(what, []).append(name)
    assert new == {}
    assert met == set(LEFT), "mended, it seems: take it off the list"


@pytest.mark.browser
def test_the_book_opens_from_a_disk(browser) -> None:
    """A sample of every kind of page; test_all_links_stay_in_the_book holds for all."""
    if not (book.STATIC / "mathjax").exists():
        pytest.skip("MathJax could not be had from npm, so formulas need the network")
    page, log = opened(browser, "file://")
    for name in ("book/index", "notebooks/05-stride-padding", "book/glossary"):
        page.goto((SITE / f"{name}.html").as_uri())
        seen = page.evaluate(SEEN)
        assert (seen["formulas"], seen["still"], seen["pictures"]) == ([], [], []), name
    page.keyboard.press("Control+k")
    page.keyboard.type("softmax")
    page.wait_for_selector("#search-results li")
    page.context.close()
    assert log["visit"].faults == []


SEARCHED = {
    "softmax twice": "notebooks/09-classes.html#once-not-twice",
    "should the network end with softmax": "book/questions.html#should-the-network-end-with-",
    "exercise 8.1": "notebooks/08-pooling.html#exercise-8-1-",
    "stride": "book/glossary.html#term-stride",
}


@pytest.mark.browser
def test_search_finds_sections_terms_questions_and_exercises(browser, site) -> None:
    page, log = opened(browser, site)
    for asked, place in SEARCHED.items():
        page.goto(f"{site}search.html?q={asked}")
        expect(page.locator("#search-results li a").first).to_have_attribute(
            "href", re.compile(re.escape(place))
        )
        page.wait_for_load_state("networkidle")  # the sentences around what was found
    said = page.locator("#search-results .context").first
    expect(said).to_contain_text("How far a window moves")
    assert "Contents" not in said.inner_text(), "what is printed above a page is no part of it"
    page.goto(f"{site}search.html?q=zzzz")
    expect(page.locator("#search-results")).to_contain_text("did not match any documents")
    page.context.close()
    assert log["visit"].faults == []


@pytest.mark.browser
def test_the_glossary_can_be_filtered(browser, site) -> None:
    page, log = opened(browser, site)
    page.goto(site + "book/glossary.html")
    terms, said = page.locator("dl.glossary > dt:visible"), page.locator(".glossary-bar output")
    everything = terms.count()
    expect(said).to_have_text(f"{everything} terms")
    field = page.get_by_label("Find")
    field.fill("stride")
    expect(terms).to_have_text(re.compile("stride", re.IGNORECASE))
    field.fill("池化")  # in Chinese, which stands in what explains the terms
    expect(said).to_have_text(re.compile(rf"^[2-9] of {everything} terms$"))
    field.fill("zzzz")
    expect(said).to_have_text(f"0 of {everything} terms")
    field.fill("")
    expect(said).to_have_text(f"{everything} terms")
    letters = page.get_by_role("navigation", name="Letters").get_by_role("link")
    letters.get_by_text("K", exact=True).click()
    expect(page.locator("dt:target")).to_have_text(re.compile("^k", re.IGNORECASE))
    expect(page.locator("dt:target")).to_be_in_viewport()
    page.context.close()
    assert log["visit"].faults == []


@pytest.mark.browser
def test_contents_follow_the_reading(browser, site) -> None:
    page, log = opened(browser, site)
    page.goto(site + "notebooks/04-convolution-by-hand.html")
    page.evaluate("async () => { await globalThis.MathJax?.startup?.promise; }")
    here = page.locator("#pst-page-toc-nav [aria-current]")
    for name in ("Exercises", "Kernels that people designed", "Quiz"):
        page.get_by_role("heading", name=name).evaluate("heading => heading.scrollIntoView()")
        expect(here).to_have_text(name)
        expect(here).to_be_in_viewport()
    page.context.close()
    assert log["visit"].faults == []


@pytest.mark.browser
def test_a_link_to_a_folded_answer_unfolds_it(browser, site) -> None:
    page, _ = opened(browser, site)
    page.goto(site + "book/questions.html#why-0-1307-and-0-3081-and-must-i-use-them")
    expect(page.locator("details:target")).to_have_attribute("open", "")
    expect(page.locator("details:target")).to_be_in_viewport()
    page.context.close()


@pytest.mark.browser
def test_text_code_and_figures_have_one_measure(browser, site) -> None:
    page, _ = opened(browser, site)
    page.goto(site + "notebooks/04-convolution-by-hand.html")
    kinds = "p, div.admonition, .cell_input, .cell_output:not(:has(.course-live)), details.hide"
    boxes = page.evaluate(
        """kinds => [...document.querySelectorAll(`article section > :is(${kinds}), article section
          > .cell > :is(${kinds})`)].map((each) => each.getBoundingClientRect())
          .filter((box) => box.width).map((box) => [box.left, box.right].map(Math.round).join())""",
        kinds,
    )
    assert len(boxes) > 50 and len(set(boxes)) == 1
    page.set_viewport_size(PHONE)
    code = page.locator(".cell_input pre").filter(has_text=re.compile(".{70}")).first
    expect(code).to_have_class(re.compile("goes-on"))
    code.evaluate("box => box.scrollTo(1e4, 0)")
    expect(code).not_to_have_class(re.compile("goes-on"))
    page.context.close()


# --- by keyboard ----------------------------------------------------------------------------------

FOCUSED = """() => {
  const each = document.activeElement, style = getComputedStyle(each);
  const box = each.getBoundingClientRect();
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  return {
    name: `${each.tagName} ${each.className} ${each.textContent.trim().slice(0, 30)}`,
    seen: (ring || style.boxShadow !== "none") && box.width > 0 && box.height > 0,
    kind: each.matches("main summary") ? "fold" : each.closest(".course-live") ? "figure"
      : each.closest("main, footer") ? "page" : "frame",
  };
}"""


@pytest.mark.browser
def test_a_page_is_read_and_used_by_keyboard(browser, site) -> None:
    page, log = opened(browser, site)
    page.goto(site + "notebooks/05-stride-padding.html")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to main content")
    assert skip.evaluate("link => link === document.activeElement")
    expect(skip, "it is focused, so it is seen").to_be_in_viewport(ratio=1)  # it slides in
    page.keyboard.press("Enter")
    kinds: set[str] = set()
    hidden: set[str] = set()
    for _ in range(300):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused["name"].startswith("BODY"):
            break  # past the last one
        kinds.add(focused["kind"])
        if not focused["seen"]:
            hidden.add(focused["name"])
    assert {"fold", "figure", "page"} <= kinds
    assert hidden == set(), "focused, and nobody sees it"
    fold = page.locator("main details:not(.course-live *) > summary").first
    fold.focus()
    page.keyboard.press("Enter")
    expect(fold.locator("..")).to_have_attribute("open", "")
    page.context.close()
    assert log["visit"].faults == []


@pytest.mark.browser
def test_escape_closes_what_a_key_opened(browser, site) -> None:
    page, log = opened(browser, site)
    page.goto(site + "notebooks/02-data.html")
    page.keyboard.press("Control+k")
    expect(page.locator("#pst-search-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#pst-search-dialog").wait_for(state="hidden")
    menu = page.locator(".dropdown-download-buttons")
    menu.get_by_role("button").first.focus()
    page.keyboard.press("Enter")
    menu.locator(".dropdown-menu").wait_for(state="visible")
    page.keyboard.press("Escape")
    menu.locator(".dropdown-menu").wait_for(state="hidden")
    page.set_viewport_size(PHONE)
    page.locator(".primary-toggle").first.focus()
    page.keyboard.press("Enter")
    contents = page.locator("#pst-primary-sidebar-modal")
    contents.wait_for(state="visible")
    page.keyboard.press("Escape")
    contents.wait_for(state="hidden")
    page.context.close()
    assert log["visit"].faults == []


@pytest.mark.browser
def test_nothing_moves_for_people_who_asked_for_that(browser, site) -> None:
    page, _ = opened(browser, site, reduced_motion="reduce")
    page.goto(site + "notebooks/01-draw-a-digit.html")
    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((each) => {
          const style = getComputedStyle(each);
          const times = `${style.transitionDuration}, ${style.animationDuration}`.split(", ");
          return style.scrollBehavior === "smooth" || times.some((time) => parseFloat(time) > 0);
        }).map((each) => `${each.tagName}.${each.className}`).slice(0, 5)"""
    )
    page.context.close()
    assert moving == []


@pytest.mark.browser
def test_the_first_screen_says_what_this_is_and_where_to_begin(browser, site) -> None:
    """What one must know, how long it takes, a live pad and a button, without scrolling."""
    page, _ = opened(browser, site)
    page.goto(site + "book/index.html")
    main = page.locator("main")
    sheet = page.get_by_role("application", name="Draw a digit here").bounding_box()
    assert sheet["y"] + sheet["height"] < WIDE["height"]
    for text in ("You need some Python", "chapters, about", "Start with", "Two hours", "Six weeks"):
        box = main.get_by_text(text).first.bounding_box()
        assert box["y"] + box["height"] < WIDE["height"], text
    main.get_by_role("link", name="Start with chapter 1").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("1 · Draw a digit")
    page.context.close()


# --- light ----------------------------------------------------------------------------------------


def test_the_site_is_small() -> None:
    """But for the digits that a page trains on, which nobody loads without asking."""
    digits = (SITE / "_static" / "course-digits.js").stat().st_size
    assert digits < 2.5e6
    assert weights.site_bytes(SITE) - digits < 30e6


@pytest.mark.browser
def test_pages_are_light(visits, site) -> None:
    """With all that a first visit loads: a plain page, and every other, pictures included."""
    weighed = {name: weights.weigh(SITE, visit.requests, site) for name, visit in visits.items()}
    plain = weighed["book/notation.html"]  # as many formulas as a chapter, no figure
    assert plain["bytes"] <= 1.5e6
    assert plain["gzipped"] <= 600e3
    heavy = {name: each for name, each in weighed.items() if each["gzipped"] > 1.6e6}
    assert heavy == {}


def test_icons_and_scripts_that_a_page_needs_stay(tmp_path: Path) -> None:
    scripts = (
        "_static/scripts/fontawesome.js?digest=1", "searchindex.js",
        "_static/course-weights.js?v=1", "_static/course.js?v=1", "_static/course-train.js?v=1",
        "_static/course-valley.js?v=1", "_static/course-quiz.js?v=1", "_static/page.js?v=1",
        "_static/glossary.js?v=1",
        "_static/mathjax/es5/startup.js?v=1",
    )  # fmt: skip
    head = "".join(f'\n<script src="../{each}"></script>' for each in scripts)

    def left(body: str, name: str = "") -> list[str]:
        return re.findall(r"(\w[\w-]*)\.js", lighten.lighten_page(head + body, name))

    assert left("") == ["page"]
    assert left("", "search.html") == ["searchindex", "page"]
    style = '<link rel="stylesheet" href="../_static/sphinx-design.min.css?v=6" />'
    assert lighten.lighten_page(style) == ""
    assert style in lighten.lighten_page(style + '<div class="sd-card">')
    assert left('<span class="math notranslate nohighlight">') == ["page", "startup"]
    settings = '<script>window.MathJax = {"loader": {}}</script>'
    assert lighten.lighten_page(settings) == ""
    assert settings in lighten.lighten_page(settings + '<div class="math notranslate">')
    assert left('<dl class="simple glossary">') == ["page", "glossary"]
    assert left('<div data-figure="kernel-playground">') == ["course", "page"]
    assert left('<div data-figure="digitpad">') == ["course-weights", "course", "page"]
    assert left('<div data-figure="train-here">') == ["course-train", "page"]
    assert left('<div data-figure="valley">') == ["course-valley", "page"]
    assert left('<div class="question admonition">') == ["course-quiz", "page"]
    assert left('<span data-questions="ask-a">') == ["course-quiz", "page"]


# --- without a browser ----------------------------------------------------------------------------


def article(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return text[text.index("<article") : text.index("</article")]


def test_every_figure_says_what_it_shows() -> None:
    poor = []
    for name in names():
        html = (SITE / name).read_text(encoding="utf-8")
        if "<article" not in html:
            continue
        for tag in re.findall(r'<img\b(?! src="_static/minus)[^>]*>', article(SITE / name)):
            alt = re.search(r'alt="([^"]*)"', tag)
            if not alt or len(alt[1].split()) < 4 or "/" in alt[1].split()[0]:
                poor.append(f"{name}: {tag[:60]}… {alt and alt[1]!r}")
    assert not poor


def test_no_result_is_typed_into_the_text() -> None:
    """A percentage with decimals in a chapter's text must come from a cell."""
    typed = []
    for source in chapters.sources():
        for cell in chapters.read(source).cells:
            if cell.cell_type == "markdown":
                typed += [f"{source.stem}: {t}" for t in re.findall(r"\d+\.\d+ ?%", cell.source)]
    assert not typed


def test_all_links_stay_in_the_book_and_lead_somewhere() -> None:
    """So they do from a disk, and wherever else the pages are put."""
    lost = []
    identifiers: dict[Path, set[str]] = {}
    for name in [*names(), "index.html", *moved.addresses()]:
        path = SITE / name
        text = re.sub(
            r"<(script|style)\b[^>]*>.+?</\1>",
            "",
            path.read_text(encoding="utf-8"),
            flags=re.DOTALL,
        )
        for link in re.findall(r'\b(?:href|src)="([^"]+)"|url=([^"]+)"', text):
            parts = urlsplit("".join(link))
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file() or SITE.resolve() not in target.resolve().parents:
                lost.append(f"{name}: {link}")
            elif parts.fragment and target.suffix == ".html":
                if target not in identifiers:
                    identifiers[target] = set(
                        re.findall(r'\bid="([^"]+)"', target.read_text(encoding="utf-8"))
                    )
                if parts.fragment not in identifiers[target]:
                    lost.append(f"{name}: {link}")
    assert not lost


def test_formulas_fall_back_to_the_network_without_npm(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(book, "STATIC", tmp_path / "static")
    monkeypatch.setattr(book, "BUILD", tmp_path)
    monkeypatch.setenv("PATH", "")
    assert book.fetch_mathjax() is False
    assert not (tmp_path / "static" / "mathjax").exists()
    assert "mathjax_path" not in book.configuration(has_mathjax=False).read_text(encoding="utf-8")
    assert "mathjax_path" in book.configuration(has_mathjax=True).read_text(encoding="utf-8")


def test_the_server_says_where_it_is_and_stops_on_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.serve", "--port", "0"],
        cwd=book.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # What a shell starts in the background ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        with urlopen(address[0]) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert process.stdout.read().split() == ["Stopped."]
    finally:
        process.kill()


def test_the_server_takes_the_next_port_when_one_is_taken() -> None:
    with serve.server(0) as first:
        port = first.server_port
        with serve.server(port) as second:
            assert second.server_port != port
