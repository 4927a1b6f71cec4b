"""The drawing pad in a browser, on a page that was opened as a file, with no kernel and no network.

The digits are drawn with mouse, finger, pen and keys, and read by the network that ships.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from playwright.sync_api import expect
from torch import nn

from mnist_course.digitpad import DigitPad
from mnist_course.export import page_weights as weights_of
from mnist_course.samples import read_samples, write_samples
from mnist_course.strokes import preprocess
from mnist_course.synthetic import handwriting
from tests.drawings import DIGITS, SCRIBBLE
from tests.pages import axe
from tools import page_script, page_weights

pytestmark = pytest.mark.browser

Open = Callable[..., Iterator]
READBACK = "Multiple readback operations using getImageData"  # these tests do that, not the pad
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts, and pages with one pad, two pads, or bad weights."""
    folder = tmp_path_factory.mktemp("site")
    page_script.write(folder)
    weights = page_weights.write(folder).read_text(encoding="utf-8")
    middle = len(weights) // 2
    (folder / "damaged.js").write_text(
        weights[:middle] + "ABCD" + weights[middle + 4 :], encoding="utf-8"
    )
    (folder / "foreign.js").write_text(
        "globalThis.MNIST_COURSE_WEIGHTS = '<img src=x>';", encoding="utf-8"
    )
    (folder / "none.js").write_text("", encoding="utf-8")
    pad = DigitPad().html()
    pages = {
        "one": ("course-weights.js", pad),
        "two": ("course-weights.js", pad * 2),
        **{name: (f"{name}.js", pad) for name in ("damaged", "foreign", "none")},
    }
    for name, (script, body) in pages.items():
        (folder / f"{name}.html").write_text(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Pad</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<script src="{script}"></script><script src="course.js"></script></head>'
            f"<body><main>{body}</main></body></html>",
            encoding="utf-8",
        )
    return folder


@pytest.fixture
def open_page(browser, site: Path) -> Open:
    """Open a page; at the end there was no error, and nothing was asked for outside the folder."""

    @contextmanager
    def opened(name: str = "one", width: int = 900, script: str = "", **options) -> Iterator:
        context = browser.new_context(viewport={"width": width, "height": 1000}, **options)
        context.set_default_timeout(20_000)
        context.add_init_script(script)
        page = context.new_page()
        problems: list[str] = []
        page.on(
            "console", lambda message: READBACK in message.text or problems.append(message.text)
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message) or dialog.dismiss())
        page.on(
            "request",
            lambda request: (
                request.url.startswith((site.as_uri(), "data:", "blob:"))
                or problems.append(request.url)
            ),
        )
        page.goto((site / f"{name}.html").as_uri())
        try:
            yield page
            assert not problems
        finally:
            context.close()

    return opened


def pad(page, number: int = 0):
    return page.locator(".cl-digitpad").nth(number)


def sheet(page, number: int = 0):
    return pad(page, number).get_by_role("application", name="Draw a digit here")


def button(page, name: str, number: int = 0):
    return pad(page, number).get_by_role("button", name=name, exact=True)


def on_sheet(page, strokes, number: int = 0, size: float = 0.6, at: float = 0.2) -> list[list]:
    """Strokes in a box of 100 x 100, as points of the screen on the sheet."""
    sheet(page, number).scroll_into_view_if_needed()
    box = sheet(page, number).bounding_box()
    return [
        [
            (
                box["x"] + box["width"] * (at + size * x / 100),
                box["y"] + box["height"] * (at + size * y / 100),
            )
            for x, y in stroke
        ]
        for stroke in strokes
    ]


def draw(page, strokes, number: int = 0, **place: float) -> None:
    """Draw with the mouse."""
    for stroke in on_sheet(page, strokes, number, **place):
        page.mouse.move(*stroke[0])
        page.mouse.down()
        for point in stroke[1:]:
            page.mouse.move(*point)
        page.mouse.up()


def answer(page, number: int = 0) -> str:
    return pad(page, number).get_attribute("data-answer")


def spoken(page, number: int = 0) -> str:
    """What the live region says."""
    return pad(page, number).get_by_role("status").first.inner_text()


def inked(page, number: int = 0) -> float:
    """The share of the sheet that is not empty."""
    return sheet(page, number).evaluate(
        """canvas => { const { width, height } = canvas;
          const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
          let ink = 0; for (let k = 3; k < data.length; k += 4) ink += data[k] > 127;
          return ink / width / height; }"""
    )


def seen(page) -> list[int]:
    """Which of the 784 pixels the pad shows to be dark, on a light page."""
    return page.locator(".dp-seen").evaluate(
        """canvas => [...new Uint32Array(canvas.getContext("2d").getImageData(0, 0, 28, 28)
          .data.buffer)].map(colour => Number((colour & 255) < 140))"""
    )


def open_part(page, name: str, number: int = 0) -> None:
    """Open one of the pad's folds, and wait until the pad has heard of it."""
    summary = pad(page, number).locator("summary", has_text=name)
    # A browser tells of it later than it opens it, and whoever listened first is told first.
    summary.evaluate(
        """summary => summary.parentElement.addEventListener("toggle",
          ({ target }) => { target.dataset.heard = ""; }, { once: true })"""
    )
    summary.click()
    expect(summary.locator("..")).to_have_attribute("data-heard", "")


# --- drawing -------------------------------------------------------------------------------------


def test_each_digit_drawn_with_the_mouse_is_read(open_page: Open):
    with open_page() as page:
        for digit, strokes in DIGITS.items():
            draw(page, strokes)
            assert answer(page) == str(digit)
            assert re.match(
                rf"{digit}, .*9\d.% sure|Perhaps an? {digit}|{digit}, 8\d", spoken(page)
            )
            button(page, "Clear").click()


def test_place_and_size_make_no_difference(open_page: Open):
    with open_page() as page:
        for size, at in ((0.25, 0.05), (0.25, 0.7), (0.95, 0.02)):
            draw(page, DIGITS[3], size=size, at=at)
            assert answer(page) == "3"
            button(page, "Clear").click()


def test_what_the_pad_shows_is_what_python_makes_of_the_strokes(open_page: Open):
    with open_page() as page:
        draw(page, DIGITS[5])
        open_part(page, "My digits")
        shown = seen(page)
        button(page, "Save the drawing as a 5").click()
        stored = page.evaluate("JSON.parse(localStorage['mnist-course-digits']).digits[0].strokes")
        expected = preprocess(stored).ravel() > 0.5
        assert sum(shown) > 50
        assert sum(a != b for a, b in zip(shown, expected, strict=True)) <= 3


def touch(client, kind: str, *points: tuple[float, float, int]) -> None:
    client.send(
        "Input.dispatchTouchEvent",
        {"type": kind, "touchPoints": [{"x": x, "y": y, "id": id_} for x, y, id_ in points]},
    )


def test_a_finger_draws_and_the_page_stays_where_it_is(open_page: Open):
    with open_page(width=390, has_touch=True, is_mobile=True, device_scale_factor=3) as page:
        client = page.context.new_cdp_session(page)
        for stroke in on_sheet(page, DIGITS[2]):
            scrolled = page.evaluate("scrollY")
            touch(client, "touchStart", (*stroke[0], 1))
            for point in stroke[1:]:
                touch(client, "touchMove", (*point, 1))
            touch(client, "touchEnd")
        assert answer(page) == "2"
        assert page.evaluate("scrollY") == scrolled
        assert page.evaluate(OVERFLOW) == 0
        assert sheet(page).evaluate("canvas => canvas.width / canvas.clientWidth") == 3


def test_on_a_phone_the_answer_stands_below_the_sheet_before_the_saving(open_page: Open) -> None:
    with open_page(width=390, has_touch=True, is_mobile=True) as page:
        draw(page, DIGITS[7])
        names = (".dp-sheet", ".dp-tools", ".dp-answer", ".dp-labels", ".dp-bars", ".dp-follow")
        boxes = [pad(page).locator(name).first.bounding_box() for name in names]
        for above, below in pairwise(boxes):
            assert above["y"] + above["height"] <= below["y"]


def test_a_second_finger_draws_nothing(open_page: Open):
    with open_page(width=390, has_touch=True, is_mobile=True) as page:
        client = page.context.new_cdp_session(page)
        (stroke,) = on_sheet(page, DIGITS[7])
        x, y = stroke[0][0], stroke[0][1] + 150
        touch(client, "touchStart", (*stroke[0], 1))
        touch(client, "touchMove", (*stroke[1], 1))
        page.wait_for_timeout(400)  # both at once would be a gesture
        touch(client, "touchStart", (*stroke[1], 1), (x, y, 2))
        for point in stroke[2:]:
            touch(client, "touchMove", (*point, 1), (x + 20, y + 9, 2))
        touch(client, "touchEnd", (x, y, 2))
        touch(client, "touchEnd")
        assert answer(page) == "7"
        button(page, "Undo").click()
        assert inked(page) < 0.02  # there was one stroke, and it is gone


def pen(client, kind: str, x: float, y: float) -> None:
    event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
    client.send("Input.dispatchMouseEvent", {**event, "pointerType": "pen"})


def write(client, strokes) -> None:
    """Draw with a pen."""
    for stroke in strokes:
        pen(client, "mousePressed", *stroke[0])
        for point in stroke[1:]:
            pen(client, "mouseMoved", *point)
        pen(client, "mouseReleased", *stroke[-1])


def test_a_pen_draws(open_page: Open):
    with open_page() as page:
        write(page.context.new_cdp_session(page), on_sheet(page, DIGITS[3]))
        assert answer(page) == "3"


@pytest.mark.parametrize("palm", ["rests", "is cancelled before", "is cancelled after", "brushes"])
def test_a_palm_beside_a_pen_draws_nothing(open_page: Open, palm: str):
    with open_page(has_touch=True) as page:
        client = page.context.new_cdp_session(page)
        strokes = on_sheet(page, DIGITS[4])
        box = sheet(page).bounding_box()
        corner = (box["x"] + 0.93 * box["width"], box["y"] + 0.93 * box["height"], 1)
        if palm != "brushes":
            touch(client, "touchStart", corner)
        if palm == "is cancelled before":
            touch(client, "touchCancel")
        write(client, strokes[:1])
        if palm == "is cancelled after":
            touch(client, "touchCancel")
        if palm == "brushes":
            touch(client, "touchStart", corner)
            touch(client, "touchEnd")
        write(client, strokes[1:])
        if palm == "rests":
            touch(client, "touchEnd")
        assert answer(page) == "4"
        for _ in strokes:
            button(page, "Undo").click()
        expect(button(page, "Undo")).to_be_disabled()


def test_two_fingers_that_pinch_draw_nothing(open_page: Open):
    with open_page(width=390, has_touch=True, is_mobile=True) as page:
        client = page.context.new_cdp_session(page)
        ((a, b),) = on_sheet(page, [[(40, 40), (60, 60)]])
        touch(client, "touchStart", (*a, 1))
        touch(client, "touchStart", (*a, 1), (*b, 2))
        touch(client, "touchMove", (a[0] - 30, a[1] - 30, 1), (b[0] + 30, b[1] + 30, 2))
        touch(client, "touchEnd")
        expect(pad(page)).to_have_attribute("data-kind", "empty")
        expect(button(page, "Undo")).to_be_disabled()


@pytest.mark.parametrize("across", [0.5, 0.99], ids=["over the sheet", "along its edge"])
def test_a_thumb_that_scrolls_draws_nothing_and_moves_the_page(open_page: Open, across: float):
    with open_page(width=390, has_touch=True, is_mobile=True) as page:
        page.set_viewport_size({"width": 390, "height": 600})
        draw(page, DIGITS[3])
        client = page.context.new_cdp_session(page)
        page.evaluate("scrollTo(0, 0)")
        box = sheet(page).bounding_box()
        x, y = box["x"] + across * box["width"], box["y"] + 0.6 * box["height"]
        touch(client, "touchStart", (x, y, 1))
        for step in range(1, 26):
            touch(client, "touchMove", (x + step / 2, y - 12 * step, 1))
        touch(client, "touchEnd")
        page.wait_for_function("scrollY > 40")
        assert answer(page) == "3"
        button(page, "Undo").click()
        expect(pad(page)).to_have_attribute("data-kind", "empty")


def test_a_stroke_whose_pointer_was_lost_ends_and_the_sheet_goes_on(open_page: Open):
    lose = """sheet => {
      const { left, top } = sheet.getBoundingClientRect();
      const at = (name, y) => sheet.dispatchEvent(new PointerEvent(name, { bubbles: true,
        pointerId: 77, pointerType: "mouse", clientX: left + 150, clientY: top + y, buttons: 1 }));
      at("pointerdown", 30);
      for (let y = 30; y < 250; y += 20) at("pointermove", y);
    }"""
    with open_page() as page:
        sheet(page).evaluate(lose)  # and it is never lifted
        draw(page, [[[80, 80], [80, 81]]])
        button(page, "Undo").click()
        assert answer(page) == "1"


def test_a_stroke_that_leaves_the_sheet_goes_on_at_its_edge(open_page: Open):
    with open_page() as page:
        box = sheet(page).bounding_box()
        page.mouse.move(box["x"] + 150, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + 150, box["y"] + box["height"] + 300, steps=10)
        page.mouse.up()
        assert answer(page) == "1"
        page.mouse.move(box["x"] + 250, box["y"] + 20)  # the pen is up
        assert answer(page) == "1"


def test_a_stroke_ends_with_the_left_button_though_the_right_one_is_still_down(open_page: Open):
    with open_page() as page:
        box = sheet(page).bounding_box()
        x, y = box["x"] + 150, box["y"] + 20
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x, y + 200, steps=5)
        page.mouse.down(button="right")
        page.mouse.move(x, y + 210)  # both are down
        page.mouse.up()
        page.mouse.move(x + 100, y + 100, steps=5)
        page.mouse.up(button="right")
        assert answer(page) == "1"


def test_a_pad_that_is_hidden_in_mid_stroke_goes_on_when_it_is_shown_again(open_page: Open):
    show = """shown => { document.querySelector("main").style.display = shown ? "" : "none"; }"""
    with open_page() as page:
        box = sheet(page).bounding_box()
        x, y = box["x"] + 150, box["y"] + 20
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x, y + 200, steps=5)
        page.evaluate(show, False)
        page.locator(".dp-sheet").evaluate(
            """sheet => { for (const clientX of [5, 50]) sheet.dispatchEvent(new PointerEvent(
                 "pointermove", { pointerId: 1, pointerType: "mouse", clientX, buttons: 1 })); }"""
        )
        page.mouse.move(x + 90, y + 90)
        page.mouse.up()
        page.evaluate(show, True)
        assert answer(page) == "1"
        button(page, "Undo").click()
        draw(page, DIGITS[3])
        assert answer(page) == "3"


def test_the_right_button_does_not_draw(open_page: Open):
    with open_page() as page:
        sheet(page).click(button="right")
        expect(pad(page)).to_have_attribute("data-kind", "empty")


def test_a_digit_is_drawn_and_saved_with_the_keyboard_alone(open_page: Open):
    with open_page() as page:
        page.keyboard.press("Tab")
        assert sheet(page).evaluate("canvas => canvas === document.activeElement")
        outline = sheet(page).evaluate("canvas => getComputedStyle(canvas).outlineStyle")
        assert outline == "solid"
        for key, times in (
            ("Shift+ArrowUp", 1),
            ("Shift+ArrowLeft", 3),
            ("Space", 1),
            ("Shift+ArrowRight", 5),
            ("ArrowDown", 4),
        ):
            for _ in range(times):
                page.keyboard.press(key)
        for _ in range(5):  # down to the left, in steps
            for key in ("Shift+ArrowDown", "ArrowLeft", "ArrowLeft"):
                page.keyboard.press(key)
        page.keyboard.press("Space")
        assert answer(page) == "7"
        assert "7" in spoken(page)
        page.keyboard.press("Control+z")
        assert answer(page) == ""
        page.keyboard.press("Control+Shift+z")
        assert answer(page) == "7"
        for _ in range(11):  # Undo, Clear, Pen, 0 ... 7
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(pad(page).get_by_text("1 saved in this browser")).to_be_visible()
        assert focused(page) == "Draw a digit here, ringed"


def test_a_digits_key_saves_the_drawing_as_that_digit(open_page: Open):
    with open_page() as page:
        page.evaluate(
            """() => { window.heard = [];
              addEventListener("keydown", ({ key, ctrlKey, altKey }) => {
                if (!ctrlKey && !altKey) window.heard.push(key); }); }"""
        )
        page.keyboard.press("7")
        sheet(page).focus()
        page.keyboard.press("7")  # there is nothing to save
        expect(pad(page).get_by_text("saved in this browser")).to_have_count(0)
        for digit in (4, 8):
            draw(page, DIGITS[digit])
            page.keyboard.press(str(digit))
            expect(pad(page).locator(".dp-told")).to_contain_text(f"{digit}. ")
            expect(pad(page)).to_have_attribute("data-kind", "empty")
        draw(page, DIGITS[3])
        for key in ("Control+3", "Alt+3", "a"):
            page.keyboard.press(key)
        pad(page).get_by_label("Pen").focus()
        page.keyboard.press("3")
        assert page.evaluate(LABELS) == [4, 8]
        button(page, "Undo").focus()  # wherever the focus is on the pad
        page.keyboard.press("3")
        assert page.evaluate(LABELS) == [4, 8, 3]
        assert page.evaluate("window.heard") == ["7"]  # JupyterLab would act on the others


def test_a_digit_that_was_saved_by_mistake_is_deleted_and_the_drawing_is_back(open_page: Open):
    with open_page() as page:
        save(page, 4)
        save(page, 8)
        button(page, "Not this digit").click()
        assert page.evaluate(LABELS) == [4]
        assert answer(page) == "8"
        expect(pad(page).get_by_text("Deleted an 8 again.")).to_be_visible()
        expect(button(page, "Not this digit")).to_have_count(0)


@pytest.mark.parametrize("meanwhile", ["a stroke is drawn", "undo", "clear", "two digits' strokes"])
def test_not_so_brings_back_what_was_saved_whatever_was_drawn_since(
    open_page: Open, meanwhile: str
):
    with open_page() as page:
        save(page, 4)  # two strokes
        if meanwhile == "undo":
            button(page, "Undo").click()
        else:
            draw(page, DIGITS[1])
        if meanwhile == "clear":
            button(page, "Clear").click()
        if meanwhile == "two digits' strokes":
            draw(page, DIGITS[0])
        button(page, "Not this digit").click()
        assert answer(page) == "4"
        assert page.evaluate("localStorage['mnist-course-digits']") is None
        button(page, "Save the drawing as a 4").click()
        strokes = page.evaluate("JSON.parse(localStorage['mnist-course-digits']).digits[0].strokes")
        assert len(strokes) == 2


LABELS = "JSON.parse(localStorage['mnist-course-digits']).digits.map(({ label }) => label)"


def focused(page) -> str:
    """The name of what has the focus, with a ring around it or without."""
    return page.evaluate(
        """() => { const has = document.activeElement;
          const name = has.getAttribute("aria-label") ?? has.textContent;
          return name + (has.matches(":focus-visible") ? ", ringed" : ""); }"""
    )


def test_a_key_that_is_held_down_sets_the_pen_down_once(open_page: Open):
    with open_page() as page:
        sheet(page).focus()
        for key in ("Space", "Enter"):
            for _ in range(4):  # a key that is down already repeats
                page.keyboard.down(key)
            page.keyboard.up(key)
            page.keyboard.press("Shift+ArrowDown")
            page.keyboard.press("Shift+ArrowDown")
            page.keyboard.press(key)
            expect(pad(page)).to_have_attribute("data-kind", re.compile("sure|leaning|unsure"))
            button(page, "Undo").click()
            expect(pad(page)).to_have_attribute("data-kind", "empty")  # it was one stroke
            sheet(page).focus()
        assert page.evaluate("scrollY") == 0


def test_a_button_that_becomes_useless_hands_the_focus_to_the_sheet(open_page: Open):
    with open_page() as page:
        open_part(page, "My digits")
        draw(page, DIGITS[2])
        for name in ("Undo", "Redo", "Clear", "Save the drawing as a 2"):
            if name.startswith("Save"):
                page.keyboard.press("Control+z")
            button(page, name).focus()
            page.keyboard.press("Enter")
            expect(button(page, name)).to_be_disabled()
            assert focused(page) == "Draw a digit here, ringed"
        expect(pad(page)).to_have_attribute("data-kind", "empty")
        draw(page, DIGITS[4])  # two strokes
        button(page, "Undo").focus()
        page.keyboard.press("Enter")
        assert focused(page) == "Undo, ringed"  # there is more to undo
        button(page, "Clear").click()
        assert focused(page) == "Draw a digit here"


def test_the_focus_stays_where_the_reader_has_it(open_page: Open):
    with open_page("two") as page:
        sheet(page, 1).focus()
        draw(page, DIGITS[2], 0)
        button(page, "Clear", 1).evaluate("button => button.disabled || button.click()")
        page.locator("summary").first.focus()
        button(page, "Clear", 0).evaluate("button => button.click()")  # with nothing focused on it
        expect(pad(page, 0)).to_have_attribute("data-kind", "empty")
        assert focused(page).startswith("Inside the network")


def test_on_a_phone_a_digit_is_saved_without_the_page_moving(open_page: Open):
    with open_page(width=390, has_touch=True, is_mobile=True) as page:
        page.set_viewport_size({"width": 390, "height": 500})
        open_part(page, "My digits")
        draw(page, DIGITS[2])
        place = button(page, "Save the drawing as a 2")
        place.scroll_into_view_if_needed()
        before = page.evaluate("[scrollY, visualViewport.scale]")
        assert before[0] > 0
        place.tap()
        expect(pad(page).get_by_text("1 saved in this browser")).to_be_visible()
        assert page.evaluate("[scrollY, visualViewport.scale]") == before


def test_on_a_phone_many_digits_are_drawn_and_saved_without_scrolling(open_page: Open):
    with open_page(width=390, has_touch=True, is_mobile=True) as page:
        page.set_viewport_size({"width": 390, "height": 700})
        sheet(page).evaluate("sheet => sheet.scrollIntoView({ block: 'start' })")
        before = page.evaluate("scrollY")
        client = page.context.new_cdp_session(page)
        for digit, strokes in DIGITS.items():
            for stroke in on_sheet(page, strokes):
                touch(client, "touchStart", (*stroke[0], 1))
                for point in stroke[1:]:
                    touch(client, "touchMove", (*point, 1))
                touch(client, "touchEnd")
            expect(pad(page)).to_have_attribute("data-answer", str(digit))
            assert pad(page).locator(".dp-said").bounding_box()["y"] < 690  # it is seen, too
            button(page, f"Save the drawing as {'an' if digit == 8 else 'a'} {digit}").tap()
            expect(pad(page).get_by_text(f"{digit + 1} digit")).to_be_visible()
        assert page.evaluate("scrollY") == before
        assert page.evaluate(LABELS) == list(DIGITS)


def test_undo_redo_and_clear(open_page: Open):
    with open_page() as page:
        for name in ("Undo", "Redo", "Clear"):
            expect(button(page, name)).to_be_disabled()
        draw(page, DIGITS[4])
        both = inked(page)
        button(page, "Undo").click()
        assert 0.01 < inked(page) < both
        button(page, "Redo").click()
        assert inked(page) == pytest.approx(both, rel=0.02)
        expect(button(page, "Redo")).to_be_disabled()
        button(page, "Clear").click()
        expect(pad(page)).to_have_attribute("data-kind", "empty")
        button(page, "Undo").click()
        assert inked(page) == pytest.approx(both, rel=0.02)
        assert answer(page) == "4"


# --- honesty -------------------------------------------------------------------------------------


def test_an_empty_pad_a_dot_a_line_and_a_scribble_are_not_called_digits(open_page: Open):
    with open_page() as page:
        expect(pad(page).get_by_text("Nothing drawn yet").first).to_be_visible()
        sheet(page).click(position={"x": 90, "y": 90})
        expect(pad(page)).to_have_attribute("data-kind", "small")
        assert spoken(page) == "Only a dot so far"
        button(page, "Clear").click()
        draw(page, [[[0, 50], [100, 55]]])
        expect(pad(page)).to_have_attribute("data-kind", "unsure")
        button(page, "Clear").click()
        draw(page, SCRIBBLE)
        expect(pad(page)).to_have_attribute("data-kind", "unsure")
        assert spoken(page) == "Not sure. Is it a digit?"
        assert answer(page) == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "no network beside this page"),
        ("damaged", "the file is damaged or cut short"),
        ("foreign", "not one that the course exported"),
    ],
)
def test_without_good_weights_the_pad_says_why_and_still_draws(open_page: Open, name, reason):
    with open_page(name) as page:
        draw(page, DIGITS[3])
        assert reason in pad(page).locator(".dp-said").inner_text()
        assert inked(page) > 0.03
        assert answer(page) == ""


# --- inside the network --------------------------------------------------------------------------


def test_every_layer_is_shown_while_drawing(open_page: Open):
    with open_page() as page:
        open_part(page, "Inside the network")
        draw(page, DIGITS[8])
        layers = page.locator(".dp-layer canvas")
        expect(layers).to_have_count(13)
        expect(layers.nth(2)).to_have_attribute(
            "aria-label", re.compile("^conv1: 24 maps of 28 \u00d7 28")
        )
        colours = """canvases => canvases.map(canvas => new Set(new Uint32Array(canvas
            .getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size)"""
        assert min(layers.evaluate_all(colours)) > 5
        before = layers.nth(2).evaluate("canvas => canvas.toDataURL()")
        draw(page, [[[50, 95], [90, 95]]])
        assert layers.nth(2).evaluate("canvas => canvas.toDataURL()") != before
        button(page, "Clear").click()
        assert max(layers.evaluate_all(colours)) <= 2  # nothing drawn, nothing to see


def walked(page) -> str:
    """What the panel with the arithmetic says."""
    return page.locator(".dp-walk").inner_text()


def layer(page, name: str):
    return (
        page.locator(".dp-layer").filter(has=page.get_by_text(name, exact=True)).locator("canvas")
    )


def test_pointing_at_a_number_shows_the_arithmetic_behind_it(open_page: Open):
    with open_page() as page:
        open_part(page, "Inside the network")
        draw(page, DIGITS[5])
        layer(page, "conv2").click(position={"x": 40, "y": 60})
        text = walked(page)
        assert "216 numbers of pool1, 3 \u00d7 3 in each of 24 maps" in text
        value = float(text.split(" = ")[1].split()[0].replace("\u2212", "-"))
        line = next(line for line in text.splitlines() if " bias = " in line)
        numbers = re.findall(r"[+\u2212]? ?\d+\.\d{3}", line)
        *terms, total = (float(each.replace("\u2212", "-").replace(" ", "")) for each in numbers)
        assert sum(terms) == pytest.approx(total, abs=0.004)
        assert total == pytest.approx(value, abs=0.001)
        # One window in each of the 24 maps before, and the number itself.
        expect(page.locator(".dp-marks i")).to_have_count(25)
        button(page, "Go back to pool1").click()
        assert walked(page).startswith("pool1, map")
        assert "The largest of" in walked(page)


def test_a_finger_that_scrolls_over_the_maps_chooses_nothing_and_one_that_taps_does(
    open_page: Open,
):
    with open_page(width=390, has_touch=True, is_mobile=True) as page:
        draw(page, DIGITS[5])
        open_part(page, "Inside the network")
        client = page.context.new_cdp_session(page)
        layer(page, "conv1").evaluate("canvas => canvas.scrollIntoView({ block: 'center' })")
        box, scrolled = layer(page, "conv1").bounding_box(), page.evaluate("scrollY")
        x, y = box["x"] + 40, box["y"] + 40
        touch(client, "touchStart", (x, y, 1))
        expect(page.locator(".dp-walk")).to_have_count(0)
        for step in range(1, 9):
            touch(client, "touchMove", (x, y - 10 * step, 1))
        touch(client, "touchEnd")
        page.wait_for_function(f"scrollY > {scrolled + 20}")
        expect(page.locator(".dp-walk")).to_have_count(0)
        layer(page, "conv1").tap(position={"x": 40, "y": 60})
        expect(page.locator(".dp-walk")).to_contain_text("conv1, map")


def test_the_walk_goes_from_number_to_number_with_the_keyboard(open_page: Open):
    with open_page(width=390) as page:
        draw(page, DIGITS[5])
        open_part(page, "Inside the network")
        layer(page, "relu1").focus()
        page.keyboard.press("Enter")
        assert walked(page).startswith("relu1, map 0, row 0, column 0")
        for key in ("ArrowRight", "Shift+ArrowDown", "ArrowDown", "ArrowLeft", "ArrowLeft"):
            page.keyboard.press(key)  # the last one would leave the picture
        assert walked(page).startswith("relu1, map 0, row 6, column 0")
        for _ in range(6):
            page.keyboard.press("Shift+ArrowRight")
        assert walked(page).startswith("relu1, map 1, row 6, column 2")
        assert "max(0, " in walked(page)
        assert page.evaluate(OVERFLOW) == 0
        draw(page, [[[10, 90], [90, 90]]])  # the walk stays, and follows the drawing
        assert walked(page).startswith("relu1, map 1, row 6, column 2")
        layer(page, "relu1").focus()
        page.keyboard.press("Escape")
        expect(page.locator(".dp-walk")).to_have_count(0)


def test_the_last_layer_is_walked_map_by_map(open_page: Open):
    with open_page() as page:
        draw(page, DIGITS[5])
        open_part(page, "Inside the network")
        layer(page, "linear").click(position={"x": 110, "y": 10})
        assert walked(page).startswith("linear, number 5")
        assert "the logit of a 5" in walked(page)
        assert "864 numbers of pool3, 3 \u00d7 3 in each of 96 maps" in walked(page)


def why(page):
    return pad(page).get_by_role("img", name=re.compile("The drawing, coloured"))


def test_why_says_which_piece_decides_and_against_what(open_page: Open):
    with open_page() as page:
        open_part(page, "Why?")
        expect(pad(page).get_by_text("Draw a digit first.")).to_be_visible()
        draw(page, DIGITS[7])
        page.wait_for_function(
            "document.querySelector('.dp-why').parentElement.dataset.read === '7'"
        )
        expect(why(page)).to_have_attribute("aria-label", re.compile("speaks most for a 7"))
        seven = why(page).evaluate("canvas => canvas.toDataURL()")
        pad(page).get_by_label("What speaks for a").select_option("1")
        page.wait_for_function(
            "document.querySelector('.dp-why').parentElement.dataset.read === '1'"
        )
        assert why(page).evaluate("canvas => canvas.toDataURL()") != seven
        button(page, "Clear").click()
        expect(pad(page).get_by_text("Draw a digit first.")).to_be_visible()


def test_why_says_an_8(open_page: Open):
    with open_page() as page:
        open_part(page, "Why?")
        draw(page, DIGITS[8])
        expect(why(page)).to_have_attribute("aria-label", re.compile("speaks most for an 8"))
        expect(pad(page).get_by_label("What speaks for an")).to_have_value("8")


def test_the_pen_changes_what_is_drawn_and_not_what_is_read(open_page: Open):
    with open_page() as page:
        draw(page, DIGITS[3])
        medium = inked(page)
        seen = page.locator(".dp-seen")
        before = seen.evaluate("canvas => canvas.toDataURL()")
        for name, less in (("Thin", True), ("Broad", False)):
            pad(page).get_by_label("Pen").select_option(name.lower())
            assert (inked(page) < 0.7 * medium) is less
            assert (inked(page) > 1.2 * medium) is not less
        assert seen.evaluate("canvas => canvas.toDataURL()") == before


def test_pen_up_to_answer_is_quick(open_page: Open):
    """On a busy machine, too; what it takes on a quiet one is measured elsewhere."""
    with open_page() as page:
        page.evaluate(
            """() => { const root = document.querySelector(".cl-digitpad"); window.taken = [];
              let up = 0;
              addEventListener("pointerup", () => { up = performance.now(); }, true);
              new MutationObserver(() => up && taken.push(performance.now() - up) && (up = 0))
                .observe(root, { attributeFilter: ["data-number"] }); }"""
        )
        for strokes in DIGITS.values():
            draw(page, strokes)
            button(page, "Clear").click()
        taken = sorted(page.evaluate("taken"))
        assert len(taken) >= len(DIGITS)
        assert taken[len(taken) // 2] < 50


# --- digits of one's own -------------------------------------------------------------------------


def save(page, digit: int) -> None:
    draw(page, DIGITS[digit])
    button(page, f"Save the drawing as {'an' if digit == 8 else 'a'} {digit}").click()


def test_saved_digits_survive_and_download_as_python_reads_them(open_page: Open, tmp_path: Path):
    with open_page() as page:
        open_part(page, "My digits")
        save(page, 4)
        save(page, 8)
        expect(pad(page).locator(".dp-told")).to_contain_text("Saved as an 8")
        page.reload()
        expect(pad(page).get_by_text("2 saved in this browser")).to_be_visible()
        open_part(page, "My digits")
        with page.expect_download() as download:
            button(page, "Download").click()
        assert download.value.suggested_filename == "my-digits.json"
        path = tmp_path / "my-digits.json"
        download.value.save_as(path)
        samples = read_samples(path)
        assert [sample["label"] for sample in samples] == [4, 8]
        assert [len(sample["strokes"]) for sample in samples] == [2, 1]
        button(page, "Delete a 4").click()
        expect(pad(page).get_by_text("1 saved in this browser")).to_be_visible()
        button(page, "Delete all").click()
        expect(pad(page).get_by_text("1 saved in this browser")).to_be_visible()  # asked first
        button(page, "Really delete all?").click()
        expect(pad(page).get_by_text("All saved digits are deleted.")).to_be_visible()
        assert page.evaluate("Object.keys(localStorage)") == []
        page.reload()
        expect(pad(page).get_by_text("saved in this browser")).to_have_count(0)
        open_part(page, "My digits")
        page.locator("input[accept*=json]").set_input_files(path)
        pad(page).get_by_text("2 new digits imported.").wait_for()


HOSTILE = {
    "html.json": "<html><script>alert(1)</script>",
    "label.json": json.dumps(
        {
            "version": 1,
            "digits": [{"label": "<img src=x onerror=alert(1)>", "strokes": [[[1, 2]]], "time": 0}],
        }
    ),
    "nan.json": '{"version":1,"digits":[{"label":1,"strokes":[[[NaN,2]]],"time":0}]}',
    "long.json": json.dumps(
        {"version": 1, "digits": [{"label": 1, "strokes": [[[1, 2]] * 100_000], "time": 0}]}
    ),
    "huge.json": " " * (5 << 20),
    "other.json": "[1, 2, 3]",
}


def test_hostile_files_are_refused_and_harm_nothing(open_page: Open):
    with open_page() as page:
        open_part(page, "My digits")
        save(page, 6)
        for name, text in HOSTILE.items():
            page.locator("input[accept*=json]").set_input_files(
                {"name": name, "mimeType": "application/json", "buffer": text.encode()}
            )
            pad(page).get_by_text("The file was not imported: ").wait_for()
            expect(pad(page).get_by_text("1 saved in this browser")).to_be_visible()
            page.evaluate("document.querySelectorAll('.dp-note').forEach(n => n.textContent = '')")
        expect(page.locator(".cl-digitpad img, .cl-digitpad script")).to_have_count(0)


def test_a_file_that_is_gone_before_it_is_read_is_named_so(open_page: Open):
    gone = """Object.defineProperty(File.prototype, "arrayBuffer", {
      value: () => Promise.reject(new DOMException("gone", "NotFoundError")) })"""
    with open_page(script=gone) as page:
        open_part(page, "My digits")
        page.locator("input[accept*=json]").set_input_files(
            {"name": "my-digits.json", "mimeType": "application/json", "buffer": b"{}"}
        )
        pad(page).get_by_text("The file was not imported: it cannot be opened.").wait_for()


@pytest.mark.parametrize("stored", ['{"version":1,"digits":[{"label":"7"}]}', "<b>", "null"])
def test_what_is_not_ours_in_the_storage_is_left_alone(open_page: Open, stored: str):
    script = f"localStorage.setItem('mnist-course-digits', {json.dumps(stored)})"
    with open_page(script=script) as page:
        expect(pad(page).get_by_text("save what you draw")).to_be_visible()
        draw(page, DIGITS[3])
        assert answer(page) == "3"
        assert page.evaluate("localStorage['mnist-course-digits']") == stored


def test_what_cannot_be_read_is_kept_aside_and_offered_as_a_file(open_page: Open):
    good = [{"label": digit, "strokes": DIGITS[digit], "time": digit} for digit in (3, 5)]
    damaged = {"label": "<img src=x onerror=alert(1)>", "strokes": [[[1, 2]]]}
    text = json.dumps({"version": 1, "digits": [good[0], damaged, good[1]]})
    with open_page() as page:
        # Not by a script of each visit: what that writes as a page begins may be lost on a reload.
        page.evaluate(f"localStorage['mnist-course-digits'] = {json.dumps(text)}")
        page.reload()
        expect(
            pad(page).get_by_text("2 saved in this browser; something cannot be read")
        ).to_be_visible()
        assert page.evaluate("localStorage['mnist-course-digits']") == text
        save(page, 4)
        expect(pad(page).locator(".dp-told")).to_contain_text("Saved as a 4")
        page.reload()
        expect(pad(page).get_by_text("3 saved in this browser")).to_be_visible()
        open_part(page, "My digits")
        expect(pad(page).get_by_text("One thing that this browser has kept")).to_be_visible()
        with page.expect_download() as download:
            button(page, "Download them as they are").click()
        assert json.loads(download.value.path().read_text(encoding="utf-8")) == [damaged]
        button(page, "Delete them").click()
        button(page, "Really delete them?").click()
        expect(pad(page).get_by_text("One thing that this browser has kept")).to_be_hidden()
        page.reload()
        expect(pad(page).get_by_text("3 saved in this browser")).to_be_visible()
        expect(pad(page).get_by_text("something cannot be read")).to_have_count(0)
        expect(page.locator(".cl-digitpad img")).to_have_count(0)


def test_what_a_newer_edition_has_saved_is_left_alone(open_page: Open):
    text = json.dumps({"version": 2, "drawings": [1, 2, 3]})
    with open_page(script=f"localStorage['mnist-course-digits'] = {json.dumps(text)}") as page:
        expect(pad(page).get_by_text("a newer edition's are left alone")).to_be_visible()
        save(page, 4)
        expect(pad(page).locator(".dp-told")).to_contain_text(
            "Saved as a 4. 1 digit so far. It lives only as long as this page"
        )
        assert page.evaluate("localStorage['mnist-course-digits']") == text
        open_part(page, "My digits")
        with page.expect_download() as download:
            button(page, "Download").click()
        assert [sample["label"] for sample in read_samples(download.value.path())] == [4]


def test_what_another_page_has_saved_or_deleted_stays_so(open_page: Open):
    """In Firefox and Safari a page that was left hears nothing of it until it is shown again."""
    digits = [{"label": digit, "strokes": DIGITS[digit], "time": digit} for digit in (1, 7, 5)]
    elsewhere = "text => localStorage.setItem('mnist-course-digits', text)"
    with open_page(script=f"localStorage['mnist-course-digits'] ??= {stored_text(digits)}") as page:
        page.evaluate(elsewhere, write_samples([digits[1], {**digits[1], "time": 9}]))
        save(page, 4)
        assert page.evaluate(LABELS) == [7, 7, 4]
        page.evaluate(elsewhere, write_samples(digits[:1]))
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
        expect(pad(page).get_by_text("1 saved in this browser")).to_be_visible()
        open_part(page, "My digits")
        page.evaluate(elsewhere, write_samples(digits[:2]))
        button(page, "Delete a 1").click()
        assert page.evaluate(LABELS) == [7]
        button(page, "Take it back").click()
        assert page.evaluate(LABELS) == [1, 7]


FULL = """Storage.prototype.setItem = () => { throw new DOMException("", "QuotaExceededError"); }"""
SHUT = """Object.defineProperty(window, "localStorage", { get() { throw new DOMException(); } })"""


@pytest.mark.parametrize("script", [FULL, SHUT], ids=["full", "shut"])
def test_where_nothing_can_be_stored_the_pad_says_so_and_goes_on(open_page: Open, script: str):
    with open_page(script=script) as page:
        open_part(page, "My digits")
        save(page, 3)
        expect(pad(page).get_by_text("This browser does not keep them")).to_be_visible()
        with page.expect_download() as download:
            button(page, "Download").click()
        assert [sample["label"] for sample in read_samples(download.value.path())] == [3]


def large(digits: int, points: int) -> list[dict]:
    """Digits that are a megabyte for each 70,000 points or so."""
    stroke = [[k % 100 + 0.125, k % 97 + 0.25] for k in range(points // 40)]
    return [{"label": 1, "strokes": [stroke] * 40, "time": time} for time in range(digits)]


def test_no_more_is_saved_than_can_be_read_again(open_page: Open):
    digits = large(6, 44_000)
    points = ((4 << 20) - len(write_samples(digits)) - 250) // 6
    lines = [[[5, 5]] * min(2000, points - k) for k in range(0, points, 2000)]
    digits.append({"label": 2, "strokes": lines, "time": 6})
    assert 0 < (4 << 20) - len(write_samples(digits)) < 250
    with open_page(script=stored(digits)) as page:
        open_part(page, "My digits")
        before = page.evaluate("localStorage['mnist-course-digits'].length")
        save(page, 3)
        expect(pad(page).locator(".dp-told")).to_contain_text(
            "The drawing was not saved: all together would be larger than 4 MB; download them"
        )
        assert answer(page) == "3"  # the drawing is still there
        assert page.evaluate("localStorage['mnist-course-digits'].length") == before
        with page.expect_download() as download:
            button(page, "Download").click()
        assert read_samples(download.value.path()) == digits
        button(page, "Delete a 1").first.click()
        button(page, "Save the drawing as a 3").click()
        expect(pad(page).get_by_text("Saved as a 3.")).to_be_visible()


def test_digits_that_are_too_many_already_are_shown_and_not_overwritten(open_page: Open):
    digits = large(7, 44_000)
    text = json.dumps({"version": 1, "digits": digits}, separators=(",", ":"))
    assert len(text) > 4 << 20
    store = f"localStorage['mnist-course-digits'] ??= {json.dumps(text)}"
    with open_page(script=store) as page:
        open_part(page, "My digits")
        expect(pad(page).get_by_text("7 saved in this browser")).to_be_visible()
        save(page, 3)
        expect(pad(page).get_by_text("larger than 4 MB; download them")).to_be_visible()
        button(page, "Download").click()
        expect(pad(page).get_by_text("is not read again, though")).to_be_visible()
        button(page, "Delete a 1").first.click()
        expect(pad(page).get_by_text("6 saved in this browser")).to_be_visible()
        assert page.evaluate(LABELS) == [1] * 6


@pytest.mark.parametrize("phone", [False, True])
def test_a_deleted_digit_can_be_taken_back(open_page: Open, phone: bool):
    digits = [{"label": digit, "strokes": DIGITS[digit], "time": digit} for digit in (3, 8, 5)]
    with open_page(script=stored(digits), width=390, has_touch=phone, is_mobile=phone) as page:
        open_part(page, "My digits")
        tile = button(page, "Delete an 8")
        mark = tile.evaluate("tile => getComputedStyle(tile, '::after').content")
        assert mark == ('"\u00d7"' if phone else "none")  # a mouse sees it where it points
        expect(button(page, "Take it back")).to_have_count(0)
        (tile.tap if phone else tile.click)()
        assert page.evaluate(LABELS) == [3, 5]
        button(page, "Take it back").click()
        expect(pad(page).get_by_text("Took back an 8.")).to_be_visible()
        assert page.evaluate(LABELS) == [3, 8, 5]
        expect(button(page, "Take it back")).to_have_count(0)
        button(page, "Delete a 3").click()
        save(page, 2)
        expect(button(page, "Take it back")).to_have_count(0)  # it has gone with its note


def test_whoever_deletes_with_the_keyboard_goes_on_at_the_neighbour(open_page: Open):
    digits = [{"label": digit, "strokes": DIGITS[digit], "time": digit} for digit in (3, 8, 5)]
    with open_page(script=stored(digits)) as page:
        open_part(page, "My digits")
        button(page, "Delete an 8").focus()
        page.keyboard.press("Enter")
        assert focused(page) == "Delete a 5, ringed"
        page.keyboard.press("Enter")
        assert focused(page) == "Delete a 3, ringed"
        button(page, "Take it back").focus()
        page.keyboard.press("Enter")
        assert focused(page) == "Delete a 5, ringed"
        for _ in range(2):
            page.keyboard.press("Enter")
        assert focused(page) == "Import \u2026, ringed"
        save(page, 2)
        for name in ("Delete all", "Really delete all?"):
            button(page, name).focus()
            page.keyboard.press("Enter")
        assert focused(page) == "Import \u2026, ringed"


def test_the_newest_digits_are_shown_and_all_of_them_on_demand(open_page: Open):
    digits = handwriting(4, 70)
    with open_page(script=stored(digits)) as page:
        open_part(page, "My digits")
        tiles = pad(page).get_by_role("list", name="Saved digits").get_by_role("button")
        expect(tiles).to_have_count(60)
        expect(pad(page).get_by_text("The newest 60 of 70.")).to_be_visible()
        button(page, "Show all").focus()
        page.keyboard.press("Enter")
        expect(tiles).to_have_count(70)
        expect(pad(page).get_by_text("The newest 60")).to_be_hidden()
        assert tiles.first.evaluate("tile => tile === document.activeElement")
        save(page, 3)
        expect(tiles).to_have_count(71)


def test_digits_are_imported_once(open_page: Open):
    samples = [{"label": digit, "strokes": strokes, "time": 5} for digit, strokes in DIGITS.items()]
    file = {"name": "my-digits.json", "mimeType": "application/json"}
    with open_page() as page:
        open_part(page, "My digits")
        for new in (10, 0):
            page.locator("input[accept*=json]").set_input_files(
                {**file, "buffer": write_samples(samples).encode()}
            )
            pad(page).get_by_text(f"{new} new digits imported.").wait_for()
        expect(pad(page).get_by_text("10 saved in this browser")).to_be_visible()


# --- pages ---------------------------------------------------------------------------------------


def stored_text(digits: list) -> str:
    """The text that the browser stores for digits, as a string of JavaScript."""
    return json.dumps(write_samples(digits))


def stored(digits: list) -> str:
    """A script that puts digits into the browser's storage, as if they had been saved before."""
    return f"localStorage.setItem('mnist-course-digits', {stored_text(digits)})"


def test_the_page_is_taught_and_forgets_again(open_page: Open):
    digits = handwriting(4, 30)
    with open_page(script=stored(digits)) as page:
        open_part(page, "My digits")
        button(page, "Teach the network").click()
        table = pad(page).locator(".dp-teach table")
        table.wait_for()
        rows = [
            [int(number) for number in re.findall(r"(\d+) of (\d+)", row)[0]]
            + [int(re.findall(r"(\d+) of", row)[1])]
            for row in table.locator("tbody tr").all_inner_texts()
        ]
        (before, taught_with, after), (held_before, held_back, held_after), (_, trial, kept) = rows
        assert (taught_with, held_back, trial) == (20, 10, 30)
        assert before < after and after >= taught_with - 1
        assert held_after >= held_before
        assert kept >= 24
        draw(page, DIGITS[3])
        expect(pad(page).get_by_text("as you taught it")).to_be_visible()
        assert answer(page) == "3"
        button(page, "Undo the teaching").click()
        expect(pad(page).get_by_text("as you taught it")).to_have_count(0)
        expect(table).to_have_count(0)


def test_a_lesson_that_is_under_way_stops_when_the_teaching_is_undone(open_page: Open):
    with open_page(script=stored(handwriting(4, 30))) as page:
        open_part(page, "My digits")
        button(page, "Teach the network").click()
        pad(page).locator(".dp-teach table").wait_for()
        draw(page, DIGITS[3])
        expect(pad(page).get_by_text("as you taught it")).to_be_visible()
        button(page, "Teach the network").focus()
        page.keyboard.press("Enter")
        expect(button(page, "Teach the network")).to_be_disabled()
        assert focused(page) == "Teach the network, ringed"
        # Undone, and begun anew at once: the first lesson must not end the second's.
        button(page, "Undo the teaching").evaluate("button => button.click()")
        expect(pad(page).get_by_text("The network is again as it came.")).to_be_visible()
        expect(button(page, "Teach the network")).to_be_enabled()
        page.wait_for_timeout(1500)  # longer than a lesson takes
        expect(pad(page).get_by_text("The network is again as it came.")).to_be_visible()
        expect(pad(page).get_by_text("as you taught it")).to_have_count(0)
        expect(pad(page).locator(".dp-teach table")).to_have_count(0)
        page.evaluate(
            """() => { const [learn, undo] = document.querySelectorAll(".dp-teach button");
              learn.click(); undo.click(); learn.click(); }"""
        )
        pad(page).locator(".dp-teach table").wait_for()
        expect(pad(page).get_by_text("as you taught it")).to_be_visible()


def test_a_few_digits_are_not_enough_to_teach(open_page: Open):
    with open_page(script=stored(handwriting(4, 4))) as page:
        open_part(page, "My digits")
        expect(button(page, "Teach the network")).to_be_disabled()
        save(page, 4)
        expect(button(page, "Teach the network")).to_be_enabled()


# --- a tour ---

CARDS = ["Your drawing", "The first maps", "Pooling", "The last features", "The bars"]
LIT = [".dp-sheet, .dp-seen", "relu1", "pool1", "pool3", ".dp-columns"]
FOLLOW = "Follow your drawing through the network"


def tour(page):
    """The card that is shown."""
    return pad(page).get_by_role("group", name="A tour of the network")


def inside(page):
    """The fold with the layers."""
    return pad(page).locator("details", has_text="Inside the network")


def assert_shown(page, number: int) -> None:
    """One card is there, and what it speaks of is lit, seen, and not covered by the card."""
    expect(tour(page)).to_be_in_viewport(ratio=1)
    expect(tour(page)).to_contain_text(CARDS[number])
    expect(tour(page)).to_contain_text(f"{number + 1} of 5")
    what = LIT[number]
    lit = page.locator(what) if what.startswith(".") else page.locator(".dp-layer", has_text=what)
    expect(pad(page).locator(".dp-lit")).to_have_count(lit.count())
    for each in lit.all():
        expect(each).to_have_class(re.compile("dp-lit"))
    expect(lit.first).to_be_in_viewport(ratio=0.99)
    page.wait_for_function(  # it may still be scrolling
        """([lit, card]) => { const a = lit.getBoundingClientRect();
          return a.top >= 0 && a.bottom <= card.getBoundingClientRect().top; }""",
        arg=[lit.first.element_handle(), tour(page).element_handle()],
    )


@pytest.mark.parametrize("width", [390, 900])
@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_a_tour_follows_the_drawing_from_the_sheet_to_the_bars(
    open_page: Open, width: int, motion: str
):
    with open_page(width=width, reduced_motion=motion) as page:
        draw(page, DIGITS[5])
        before = page.locator(".dp-seen").evaluate("canvas => canvas.toDataURL()")
        expect(tour(page)).to_be_hidden()
        expect(inside(page)).not_to_have_attribute("open", "")
        button(page, FOLLOW).click()
        for number in range(5):
            assert_shown(page, number)
            assert page.evaluate(OVERFLOW) == 0
            if number < 4:
                button(page, "Next").click()
        for number in (3, 2, 1, 0):
            button(page, "Back").click()
            assert_shown(page, number)
        assert focused(page) == "Next"  # there is no way back from the first
        for _ in range(4):
            button(page, "Next").click()
        button(page, "Done").click()
        expect(tour(page)).to_be_hidden()
        expect(inside(page)).not_to_have_attribute("open", "")
        expect(pad(page).locator(".dp-lit")).to_have_count(0)
        assert focused(page) == FOLLOW
        assert page.locator(".dp-seen").evaluate("canvas => canvas.toDataURL()") == before


def test_a_tour_is_walked_and_left_with_the_keyboard(open_page: Open):
    with open_page(reduced_motion="reduce") as page:
        draw(page, DIGITS[5])
        open_part(page, "Inside the network")
        expect(page.locator(".dp-layer")).to_have_count(13)
        button(page, FOLLOW).focus()
        page.keyboard.press("Enter")
        assert_shown(page, 0)
        page.keyboard.press("ArrowLeft")
        assert_shown(page, 0)
        for number in (1, 2, 3, 4, 4):
            page.keyboard.press("ArrowRight")
            assert_shown(page, number)
        page.keyboard.press("ArrowLeft")
        assert_shown(page, 3)
        assert answer(page) == "5"  # the arrow keys moved no pen
        page.keyboard.press("Escape")
        expect(tour(page)).to_be_hidden()
        assert focused(page) == f"{FOLLOW}, ringed"
        expect(inside(page)).to_have_attribute("open", "")  # as it was
        expect(page.locator(".dp-layer").nth(5)).to_be_visible()


def test_who_has_drawn_nothing_is_shown_a_three_and_may_take_it_back(open_page: Open):
    with open_page() as page:
        button(page, FOLLOW).click()
        expect(tour(page)).to_contain_text("Nothing was drawn yet, so here is a three")
        assert answer(page) == "3"
        button(page, "Undo").click()
        expect(pad(page)).to_have_attribute("data-kind", "empty")
        draw(page, DIGITS[7])  # the tour goes on with what is drawn
        assert answer(page) == "7"
        button(page, "Next").click()
        assert_shown(page, 1)
        button(page, "Close the tour").click()
        button(page, FOLLOW).click()
        assert_shown(page, 0)
        assert "Nothing was drawn" not in tour(page).inner_text()
        assert answer(page) == "7"


def test_the_card_is_seen_while_the_pad_is_whatever_scrolls_around_it(open_page: Open):
    with open_page(reduced_motion="reduce") as page:
        page.add_style_tag(  # as in a cell's output, in JupyterLab and on a page
            content="main {overflow:auto} main::after { content:''; display:block; height:3000px }"
        )
        button(page, FOLLOW).click()
        assert_shown(page, 0)
        page.set_viewport_size({"width": 600, "height": 900})
        page.wait_for_function(
            """() => { const [a, b] = [".cl-digitpad", ".dp-tour"].map(name =>
              document.querySelector(name).getBoundingClientRect());
              return b.left >= a.left && b.right <= a.right; }"""
        )
        page.mouse.wheel(0, 3000)
        expect(tour(page)).to_be_hidden()
        page.mouse.wheel(0, -3000)
        expect(tour(page)).to_be_visible()


def test_on_a_phone_on_its_side_the_card_lies_beside_what_it_speaks_of(open_page: Open):
    with open_page(width=860, has_touch=True, is_mobile=True, reduced_motion="reduce") as page:
        page.set_viewport_size({"width": 860, "height": 360})
        button(page, "Follow your drawing through the network").click()
        lit = pad(page).locator(".dp-lit").first
        for number, side in enumerate("<<<<>"):
            expect(tour(page)).to_contain_text(f"{number + 1} of 5")
            expect(lit).to_be_in_viewport(ratio=0.9)
            card, shown = tour(page).bounding_box(), lit.bounding_box()
            assert (shown["x"] < card["x"]) == (side == "<")
            button(page, "Next" if number < 4 else "Back").click()
        page.set_viewport_size({"width": 390, "height": 800})  # upright again
        expect(lit).to_be_in_viewport(ratio=1)
        assert tour(page).bounding_box()["width"] > 300


def test_on_a_tour_any_number_shows_its_arithmetic(open_page: Open):
    with open_page(reduced_motion="reduce") as page:
        draw(page, DIGITS[5])
        button(page, FOLLOW).click()
        button(page, "Next").click()
        expect(page.locator(".dp-layer:visible")).to_have_count(3)
        layer(page, "relu1").click(position={"x": 30, "y": 30})
        assert walked(page).startswith("relu1, map 0")
        button(page, "Go back to conv1").click()
        expect(page.locator(".dp-layer:visible")).to_have_count(4)
        assert walked(page).startswith("conv1, map 0")
        expect(tour(page)).to_be_visible()


def test_the_tour_is_offered_where_the_pad_is_seen_and_only_with_a_network(open_page: Open):
    for width in (900, 1280):
        with open_page(width=width) as page:
            expect(button(page, FOLLOW)).to_be_in_viewport(ratio=1)
    with open_page("damaged") as page:
        expect(sheet(page)).to_be_visible()
        expect(pad(page).locator(".dp-follow")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier_on_a_tour(open_page: Open, scheme: str):
    axe.needed()
    with open_page(color_scheme=scheme, reduced_motion="reduce") as page:
        draw(page, DIGITS[3])
        button(page, FOLLOW).click()
        for _ in CARDS:
            assert axe.violations(page, but=["page-has-heading-one"]) == []
            page.keyboard.press("ArrowRight")


# --- a network that the reader brings ---


def says(digit: int) -> nn.Module:
    """A network that takes everything for one digit, by far."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    nn.init.zeros_(network[1].weight)
    network[1].bias.data = 5.0 * torch.eye(10)[digit]
    return network


def guest_file(digit: int = 4, **changes) -> dict:
    """A file with a network that says a digit, as Playwright hands it to a page."""
    content = weights_of(says(digit), "float32")
    file = {"name": "my-network.mnistnet", "mimeType": "", "buffer": content}
    return {**file, **changes}


def bring(page, file: dict, number: int = 0) -> None:
    """Choose a file for the pad's "Your own network"."""
    pad(page, number).locator("input[accept='.mnistnet']").set_input_files(file)


def guest_answer(page, number: int = 0) -> str | None:
    """What the guest says; empty for no digit, None where there is no guest."""
    return pad(page, number).get_attribute("data-guest")


def note(page):
    """What "Your own network" says of a file."""
    return pad(page).locator("details", has_text="Your own network").locator(".dp-note")


def shares(page, label: str) -> list[float]:
    """The ten shares in a list of bars."""
    bars = pad(page).get_by_role("list", name=label, exact=True)
    return [float(text.rstrip(" %")) for text in bars.locator("li > :last-child").all_inner_texts()]


BARS = "Probability of each digit"


def test_two_networks_read_one_drawing_until_one_is_taken_away(open_page: Open):
    with open_page() as page:
        draw(page, DIGITS[3])
        open_part(page, "Your own network")
        bring(page, guest_file(4))
        expect(note(page)).to_have_text("my-network.mnistnet reads along: 2 layers, 7,850 weights.")
        assert (answer(page), guest_answer(page)) == ("3", "4")
        for name, digit in (("The book's network", 3), ("my-network.mnistnet", 4)):
            each = shares(page, f"{BARS}: {name}")
            assert each.index(max(each)) == digit
            expect(pad(page).locator("bdi", has_text=name).first).to_be_visible()
        aloud = page.get_by_role("status").filter(has_text="Your own network: 4, 94\u00a0% sure")
        expect(aloud).to_have_count(1)
        assert not aloud.evaluate("each => each.closest('details')")  # heard where it is closed
        draw(page, [[[10, 90], [90, 90]]])
        button(page, "Clear").click()
        draw(page, DIGITS[7])
        assert (answer(page), guest_answer(page)) == ("7", "4")
        bring(page, guest_file(9, name="another.mnistnet"))
        expect(note(page)).to_contain_text("another.mnistnet reads along")
        assert (answer(page), guest_answer(page)) == ("7", "9")
        button(page, "Take it away").click()
        assert guest_answer(page) is None
        assert focused(page) == "Choose a file \u2026"
        expect(note(page)).to_have_text("another.mnistnet is gone. The pad is as it was.")
        expect(pad(page).locator(".dp-bars")).to_have_count(1)
        assert shares(page, BARS).index(max(shares(page, BARS))) == 7
        draw(page, DIGITS[3])
        assert guest_answer(page) is None
        assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
        page.reload()
        expect(sheet(page)).to_be_visible()
        assert guest_answer(page) is None


def drop(page, *files: dict) -> None:
    """Drop files on the sheet, as from the desktop."""
    sheet(page).evaluate(
        """(sheet, files) => {
          const dataTransfer = new DataTransfer();
          for (const { name, bytes } of files)
            dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
          for (const type of ["dragover", "drop"]) {
            const event = new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true });
            sheet.dispatchEvent(event);
            if (!event.defaultPrevented) throw new Error(`the page would open the file: ${type}`);
            const over = sheet.closest(".cl-digitpad").dataset.drop;
            if ((over === undefined) !== (type === "drop")) throw new Error(`${type}: ${over}`);
          } }""",
        [{"name": file["name"], "bytes": list(file["buffer"])} for file in files],
    )


def test_a_network_is_dropped_on_the_pad_where_its_part_is_closed(open_page: Open):
    with open_page() as page:
        draw(page, DIGITS[3])
        drop(page, guest_file(6))
        expect(pad(page)).to_have_attribute("data-guest", "6")
        expect(note(page)).to_be_hidden()
        drop(page, guest_file(1), guest_file(2))
        expect(note(page)).to_have_text(
            "my-network.mnistnet was not taken: it did not come alone. Drop one file at a time."
        )
        expect(note(page)).to_be_in_viewport()
        assert guest_answer(page) == "6"  # the one that was there stays
        button(page, "Take it away").focus()
        page.keyboard.press("Enter")
        assert guest_answer(page) is None


def test_what_is_dropped_and_is_no_file_is_left_to_the_page(open_page: Open):
    with open_page() as page:
        taken = sheet(page).evaluate(
            """sheet => { const dataTransfer = new DataTransfer();
              dataTransfer.setData("text/plain", "MNISTNET");
              return ["dragover", "drop"].map(type => !sheet.dispatchEvent(
                new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }))); }"""
        )
        assert taken == [False, False]


GUEST = weights_of(says(4), "float32")
NAUGHTY = "<img src=x onerror=alert(1)>.mnistnet"
HOSTILE_GUESTS = {
    "empty.mnistnet": (b"", "it is empty"),
    "digits.json": (b'{"version":1,"digits":[]}', "it is JSON"),
    "list.json": (b"[]", "it is JSON"),
    "cat.png": (b"\x89PNG\r\n\x1a\n" + bytes(50), "it is a picture"),
    "large.mnistnet": (GUEST + bytes(4 << 20), "it is larger than 4 MB"),
    "cut.mnistnet": (GUEST[:-9], "the file is damaged or cut short"),
    "flipped.mnistnet": (GUEST[:-1] + b"\x17", "the file is damaged or cut short"),
    NAUGHTY: (b"<script>alert(1)</script>", "it is not a network of this course"),
}


def test_hostile_networks_are_refused_in_a_line_and_the_pad_goes_on(open_page: Open):
    with open_page() as page:
        draw(page, DIGITS[3])
        open_part(page, "Your own network")
        for name, (content, reason) in HOSTILE_GUESTS.items():
            bring(page, guest_file(name=name, buffer=content))
            expect(note(page)).to_contain_text(f"{name} was not taken: {reason}")
            expect(note(page)).to_have_text(re.compile(r"\. [A-Z].*\.$"))  # and what to do
            assert (answer(page), guest_answer(page)) == ("3", None)
        bring(page, guest_file(name=NAUGHTY))
        expect(note(page)).to_contain_text(f"{NAUGHTY} reads along")
        bring(page, guest_file(buffer=GUEST[:-9]))
        expect(note(page)).to_contain_text("was not taken")
        button(page, "Clear").click()
        draw(page, DIGITS[7])
        assert (answer(page), guest_answer(page)) == ("7", "4")
        expect(page.locator(".cl-digitpad img, .cl-digitpad script")).to_have_count(0)


def test_a_network_whose_numbers_grow_too_large_has_no_answer_and_no_bars(open_page: Open):
    network = says(4)
    network[1].weight.data += 3e38
    with open_page() as page:
        bring(page, guest_file(buffer=weights_of(network, "float32")))
        expect(pad(page)).to_have_attribute("data-guest", "")
        draw(page, DIGITS[3])
        assert (answer(page), guest_answer(page)) == ("3", "")
        expect(pad(page).get_by_text("No answer: its numbers grow too large").first).to_be_visible()
        bars = pad(page).get_by_role("list", name=f"{BARS}: my-network.mnistnet")
        assert "NaN" not in bars.inner_text() and "%" not in bars.inner_text()


def test_a_file_that_is_gone_and_one_that_comes_late_are_met(open_page: Open):
    late = """const arrayBuffer = File.prototype.arrayBuffer;
      File.prototype.arrayBuffer = async function () {
        if (this.name.startsWith("gone")) throw new DOMException("gone", "NotFoundError");
        if (this.name.startsWith("slow")) await new Promise((done) => (globalThis.go = done));
        return arrayBuffer.call(this);
      };"""
    with open_page(script=late) as page:
        draw(page, DIGITS[3])
        open_part(page, "Your own network")
        bring(page, guest_file(name="gone.mnistnet"))
        expect(note(page)).to_contain_text("gone.mnistnet was not taken: it cannot be opened.")
        bring(page, guest_file(5, name="slow.mnistnet"))
        bring(page, guest_file(6, name="quick.mnistnet"))
        expect(pad(page)).to_have_attribute("data-guest", "6")
        page.evaluate("go()")
        page.wait_for_timeout(100)
        assert guest_answer(page) == "6"  # what was chosen last


def test_a_large_network_reads_when_the_pen_is_up(open_page: Open):
    wide = [nn.Conv2d(64, 64, 5, padding=2) for _ in range(3)]
    network = nn.Sequential(nn.Conv2d(1, 64, 1), *wide, nn.AdaptiveAvgPool2d(1), *says_ten(64))
    with open_page() as page:
        bring(page, guest_file(buffer=weights_of(network)))
        expect(pad(page)).to_have_attribute("data-guest", "")
        [stroke] = on_sheet(page, [DIGITS[1][0]])
        page.mouse.move(*stroke[0])
        page.mouse.down()
        page.mouse.move(*stroke[-1], steps=5)
        waiting = pad(page).get_by_text("Reads when the pen is up")
        expect(waiting).to_be_visible()
        page.mouse.up()
        expect(waiting).to_be_hidden()
        expect(pad(page).get_by_role("list").nth(1)).to_contain_text("%")


def says_ten(channels: int) -> list[nn.Module]:
    """The end of a network: ten logits from the means of its maps."""
    return [nn.Flatten(), nn.Linear(channels, 10)]


@pytest.mark.parametrize("width", [390, 900, 1280])
def test_two_answers_fit_on_every_screen(open_page: Open, width: int):
    with open_page(width=width) as page:
        draw(page, DIGITS[3])
        bring(page, guest_file(name="a-name-without-any-place-to-break-it-" * 3 + ".mnistnet"))
        expect(pad(page)).to_have_attribute("data-guest", "4")
        assert page.evaluate(OVERFLOW) == 0
        inside = pad(page).evaluate(
            """pad => { const { right } = pad.getBoundingClientRect();
              return [...pad.querySelectorAll(".dp-answer *, .dp-columns *")].every(
                each => each.getBoundingClientRect().right <= right); }"""
        )
        assert inside


def test_two_pads_draw_each_their_own_and_share_what_is_saved(open_page: Open):
    with open_page("two") as page:
        draw(page, DIGITS[3], 0)
        draw(page, DIGITS[7], 1)
        assert (answer(page, 0), answer(page, 1)) == ("3", "7")
        open_part(page, "My digits", 1)
        button(page, "Save the drawing as a 7", 1).click()
        assert (answer(page, 0), answer(page, 1)) == ("3", "")
        expect(pad(page, 0).get_by_text("1 saved in this browser")).to_be_visible()
        ids = page.locator("[id]").evaluate_all("elements => elements.map(each => each.id)")
        assert len(set(ids)) == len(ids)


def test_a_drawing_survives_another_width_of_the_window(open_page: Open):
    with open_page(width=900) as page:
        draw(page, DIGITS[2])
        before = inked(page)
        for width in (390, 320, 1200):
            page.set_viewport_size({"width": width, "height": 800})
            page.wait_for_function(
                "() => { const sheet = document.querySelector('.dp-sheet');"
                " return sheet.width === sheet.clientWidth; }"
            )
            assert inked(page) == pytest.approx(before, rel=0.05)
            assert page.evaluate(OVERFLOW) <= 0
        assert answer(page) == "2"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pad_has_its_own_background_and_ink_that_is_seen_on_it(open_page: Open, scheme: str):
    with open_page(color_scheme=scheme) as page:
        draw(page, DIGITS[3])
        paper = sheet(page).evaluate("canvas => getComputedStyle(canvas).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 30)"}[scheme]
        ink = sheet(page).evaluate(
            """canvas => { const { data } = canvas.getContext("2d")
              .getImageData(0, 0, canvas.width, canvas.height);
              for (let k = 0; k < data.length; k += 4) if (data[k + 3] === 255) return data[k]; }"""
        )
        assert (ink < 60) if scheme == "light" else (ink > 200)
        page.emulate_media(color_scheme={"light": "dark", "dark": "light"}[scheme])
        assert (
            sheet(page).evaluate("canvas => getComputedStyle(canvas).backgroundColor")
            == {"dark": "rgb(255, 255, 255)", "light": "rgb(20, 24, 30)"}[scheme]
        )
        assert answer(page) == "3"


def test_every_control_has_a_name_and_can_be_reached(open_page: Open):
    with open_page() as page:
        draw(page, DIGITS[3])
        open_part(page, "My digits")
        open_part(page, "Inside the network")
        names = pad(page).evaluate(
            """root => [...root.querySelectorAll("button, summary, [role=img], [role=application]")]
              .map(each => each.getAttribute("aria-label") ?? each.textContent.trim())"""
        )
        assert len(names) > 20
        assert all(names)
        small = pad(page).evaluate(
            """root => [...root.querySelectorAll("button")].filter(each => each.offsetParent &&
              Math.min(each.offsetWidth, each.offsetHeight) < 24).map(each => each.textContent)"""
        )
        assert small == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier_with_all_parts_open(open_page: Open, scheme: str):
    axe.needed()
    with open_page(color_scheme=scheme, reduced_motion="reduce") as page:
        draw(page, DIGITS[3])
        for part in pad(page).locator("summary").all():
            part.click()
        bring(page, guest_file())
        save(page, 3)
        draw(page, DIGITS[2])
        # The heading is a matter of the page that a pad stands on.
        assert axe.violations(page, but=["page-has-heading-one"]) == []


PRINT = Path(__file__).parents[2] / "book" / "_static" / "print.css"


def test_on_paper_open_folds_are_as_they_were_and_closed_ones_are_not_there(open_page: Open):
    with open_page(script=stored(handwriting(4, 6))) as page:
        page.add_style_tag(path=PRINT)
        page.evaluate(
            """document.querySelector("main").insertAdjacentHTML("beforeend",
              "<details><summary>Solution</summary><pre>x = 1</pre></details>")"""
        )
        open_part(page, "My digits")
        page.emulate_media(media="print")
        expect(page.get_by_text("x = 1")).to_be_visible()  # the book's own are opened
        expect(pad(page).locator("summary")).to_have_text(
            [re.compile(f"^{each}") for each in ("Inside", "Why", "Your own network", "My digits")]
        )
        shown = [each.is_visible() for each in pad(page).locator("summary").all()]
        assert shown == [False, False, False, True]
        display = "each => getComputedStyle(each).display"
        for part in (".dp-labels", ".dp-digits", "details[open] > .cl-row"):
            assert pad(page).locator(part).first.evaluate(display) == "flex"
        expect(pad(page).locator(".dp-more")).to_be_hidden()


def test_without_scripts_a_picture_with_words_stands_there(open_page: Open):
    with open_page(java_script_enabled=False) as page:
        picture = page.get_by_role("img")
        expect(picture).to_have_attribute("alt", re.compile("28 by 28"))
        assert picture.bounding_box()["width"] > 300
