"""The interactive figures in a browser, on a page that was opened as a file."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Locator, expect
from torch.nn import functional as F

from mnist_course import figures
from tests.pages import axe
from tools import page_script

pytestmark = pytest.mark.browser

IMAGE = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))
IMAGE = (IMAGE * 255).to(torch.uint8)  # what the figure shows is exactly what is computed here
MAKERS: dict[str, Callable[[], figures.LiveFigure]] = {
    "kernel-playground": lambda: figures.kernel_playground(IMAGE),
    "output-size": figures.output_size_explorer,
    "graph": figures.computational_graph,
    "receptive-field": figures.receptive_field,
    "pooling": lambda: figures.pooling_shift(DIGIT),
    "logits": lambda: figures.logit_sliders([0, 0, 0, 0, 4, 0, 0, 1, 0, 3], 4),
    "valley": figures.valley_walk,
}
FIGURES = tuple(MAKERS)
SCRIPTS = "".join(
    f'<script src="{name}.js"></script>'
    for name, figure in {"course": "", **page_script.APART}.items()
    if figure != "train-here"
)
DIGIT = torch.zeros(28, 28, dtype=torch.uint8)
DIGIT[8:20, 8:20] = IMAGE[0, 8:20, 8:20]
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

Open = Callable[..., Iterator]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page for each figure, the playground twice, and one page with all."""
    folder = tmp_path_factory.mktemp("site")
    page_script.write(folder)
    doubling = figures.kernel_playground(IMAGE, [[0, 0, 0], [0, 2, 0], [0, 0, 0]]).html()
    pages = {name: [make().html()] for name, make in MAKERS.items()}
    pages["kernel-playground"].append(doubling)
    pages["page"] = [element for elements in pages.values() for element in elements]
    for name, elements in pages.items():
        (folder / f"{name}.html").write_text(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Figures</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"{SCRIPTS}</head>"
            f"<body>{''.join(elements)}</body></html>",
            encoding="utf-8",
        )
    return folder


@pytest.fixture
def open_page(browser, site: Path) -> Open:
    """Open a page; at the end there was no error, and nothing was asked for outside the folder."""

    @contextmanager
    def opened(name: str = "page", width: int = 800, address: str = "", **options) -> Iterator:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(10_000)
        page = context.new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith((site.as_uri(), "data:", "blob:"))
                or problems.append(request.url)
            ),
        )
        page.goto((site / f"{name}.html").as_uri() + address)
        try:
            yield page
            assert not problems
        finally:
            context.close()

    return opened


def output_of(page, number: int = 0) -> Locator:
    """The output picture of a playground, where the pixel is chosen."""
    return page.locator(".cl-kernel-playground").nth(number).get_by_role("application")


def status_of(page, name: str, last: bool = True) -> str:
    lines = page.locator(f".cl-{name}").first.get_by_role("status")
    return (lines.last if last else lines.first).inner_text()


def sentence(row: int, column: int, kernel=figures.EDGE, relu: bool = False) -> str:
    """What the playground should say about an output pixel."""
    weights = torch.tensor(kernel, dtype=torch.float64)
    value = float(F.conv2d(IMAGE[None].double() / 255, weights[None, None])[0, 0, row, column])
    text = f"Row {row}, column {column}: the nine products add up to {value:.3f}"
    if relu:
        text += f", which ReLU turns into {max(value, 0):.3f}"
    return f"{text}.".replace("-", "\u2212")


# --- the page -------------------------------------------------------------------------------------


def test_every_picture_is_replaced_by_its_figure(open_page: Open) -> None:
    with open_page() as page:
        for name in FIGURES:
            expect(page.locator(f'[data-figure="{name}"] .cl-{name}').first).to_be_visible()
        expect(page.locator("img")).to_have_count(0)
        expect(page.locator(".cl-kernel-playground")).to_have_count(2)


def test_without_scripts_the_picture_stands_there(open_page: Open) -> None:
    with open_page(java_script_enabled=False) as page:
        expect(page.locator("figure img")).to_have_count(len(FIGURES) + 1)
        expect(page.locator("figcaption").first).to_be_visible()


def test_a_figure_that_fails_leaves_its_picture(browser, site: Path) -> None:
    (site / "broken.html").write_text(
        f"<!doctype html>{SCRIPTS}"
        '<div data-figure="kernel-playground" data-options="{">first picture</div>'
        '<div data-figure="kernel-playground" data-options="{}">second picture</div>'
        '<div data-figure="no-such-figure">third picture</div>'
        '<div data-figure="output-size">fourth picture</div>',
        encoding="utf-8",
    )
    page = browser.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
    page.goto((site / "broken.html").as_uri())
    text = page.inner_text("body")
    assert all(f"{word} picture" in text for word in ("first", "second", "third"))
    assert "fourth picture" not in text
    assert sum(message.startswith("error: figure") for message in messages) == 3
    page.close()


@pytest.mark.parametrize("width", [360, 800])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out(open_page: Open, width: int, scheme: str) -> None:
    with open_page(width=width, color_scheme=scheme) as page:
        assert page.evaluate(OVERFLOW) == 0
        sticking_out = """() => [...document.querySelectorAll('.course-live *')].filter((each) => {
          const frame = each.closest('.course-live').getBoundingClientRect();
          const box = each.getBoundingClientRect();
          return box.width && (box.right > frame.right || box.left < frame.left);
        }).map((each) => each.outerHTML.slice(0, 80))"""
        assert page.evaluate(sticking_out) == []


THEMES = {
    "system light": ("light", "", "light"),
    "system dark": ("dark", "", "dark"),
    "page dark": ("light", "document.documentElement.dataset.theme = 'dark'", "dark"),
    "page light": ("dark", "document.documentElement.dataset.theme = 'light'", "light"),
    "JupyterLab dark": ("light", "document.body.dataset.jpThemeLight = 'false'", "dark"),
    "JupyterLab light": ("dark", "document.body.dataset.jpThemeLight = 'true'", "light"),
}


@pytest.mark.parametrize("theme", THEMES)
def test_colours_follow_the_theme_and_can_be_read(open_page: Open, theme: str) -> None:
    scheme, script, expected = THEMES[theme]
    with open_page("kernel-playground", color_scheme=scheme) as page:
        page.evaluate(f"() => {{ {script} }}")
        page.wait_for_timeout(50)
        root = page.locator(".course-live").first
        colour = root.evaluate_handle("each => getComputedStyle(each)")

        def luminance(name: str) -> float:
            text = colour.evaluate("(style, name) => style.getPropertyValue(name)", f"--cl-{name}")
            channels = [int(text.strip()[start : start + 2], 16) / 255 for start in (1, 3, 5)]
            linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
            return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

        def contrast(one: str, other: str) -> float:
            low, high = sorted((luminance(one), luminance(other)))
            return (high + 0.05) / (low + 0.05)

        assert (luminance("paper") > 0.5) == (expected == "light")
        for text in ("ink", "muted", "warning"):
            assert contrast(text, "paper") >= 4.5 and contrast(text, "panel") >= 4.5
        assert contrast("ink", "soft") >= 4.5
        for part in ("edge", "accent", "mark", "positive", "negative", "warning"):
            assert contrast(part, "paper") >= 3
        # The canvas is painted, not styled: it has to follow, too.
        corner = """each => {
          const canvas = each.querySelector('canvas');
          const values = canvas.getContext('2d').getImageData(0, 0, 28, 28).data;
          return values.reduce((sum, value, index) => sum + (index % 4 < 3 ? value : 0), 0);
        }"""
        brightness = root.evaluate(corner) / (28 * 28 * 3 * 255)
        ink = float(IMAGE.float().mean()) / 255
        paper, black = root.evaluate(
            """each => ['paper', 'ink'].map((name) => {
              const text = getComputedStyle(each).getPropertyValue(`--cl-${name}`).trim();
              const channels = [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
              return (channels[0] + channels[1] + channels[2]) / 765;
            })"""
        )
        assert brightness == pytest.approx(paper + (black - paper) * ink, abs=0.01)


def test_paper_is_white_even_where_the_screen_is_dark(open_page: Open) -> None:
    with open_page(color_scheme="dark") as page:
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        page.emulate_media(media="print")
        background = "getComputedStyle(document.querySelector('.course-live')).backgroundColor"
        assert page.evaluate(background) == "rgb(255, 255, 255)"


def test_every_control_has_a_name_and_every_live_line_is_polite(open_page: Open) -> None:
    with open_page() as page:
        controls = page.locator(
            ".course-live :is(input, select, button, [role=application], [role=img])"
        )
        assert controls.count() > 30
        snapshot = page.locator("body").aria_snapshot()
        for role in ("spinbutton", "combobox", "slider", "button", "checkbox", "application"):
            lines = [line for line in snapshot.splitlines() if re.match(rf"\s*- {role}\b", line)]
            assert lines and all(f'{role} "' in line for line in lines), lines
        for line in page.get_by_role("status").all():
            expect(line).to_have_attribute("aria-live", "polite")


def test_focus_can_be_seen(open_page: Open) -> None:
    with open_page() as page:
        page.keyboard.press("Tab")
        seen = 0
        while page.evaluate("document.activeElement !== document.body") and seen < 200:
            width = page.evaluate(
                "parseFloat(getComputedStyle(document.activeElement).outlineWidth)"
            )
            assert width >= 2, page.evaluate("document.activeElement.outerHTML.slice(0, 90)")
            seen += 1
            page.keyboard.press("Tab")
        assert seen > 30


def test_arrow_keys_stay_in_the_figure_and_shortcuts_do_not(open_page: Open) -> None:
    with open_page() as page:
        page.evaluate("""() => {
          window.heard = [];
          document.addEventListener('keydown', (event) => window.heard.push(event.key));
        }""")
        for control in page.locator(".course-live :is([role=application], select)").all()[:6]:
            control.focus()
            control.press("ArrowLeft")
        assert page.evaluate("window.heard") == [], "JupyterLab or the page would act on them"
        page.keyboard.press("Control+k")
        assert "k" in page.evaluate("window.heard")


@pytest.mark.parametrize("name", FIGURES)
def test_as_a_widget_the_bundle_draws_and_cleans_up(open_page: Open, name: str) -> None:
    widget = MAKERS[name]()
    play = """async ([source, values]) => {
      const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
      const { default: widget } = await import(url);
      const el = document.body.appendChild(document.createElement('div'));
      const heard = new Set();
      const model = {
        get: (name) => values[name], set: (name, value) => { values[name] = value; },
        save_changes() {}, on: (name) => heard.add(name), off: (name) => heard.delete(name),
      };
      const close = await widget.render({ model, el });
      const before = [el.querySelectorAll('.course-live').length, heard.size];
      close();
      document.documentElement.dataset.theme = 'dark'; // nobody must be left who answers
      return [...before, el.childNodes.length, heard.size];
    }"""
    with open_page() as page:
        values = {"options": widget.options, **widget.state}
        found = page.evaluate(play, [figures.bundle(name), values])
        assert found == [1, len(widget.state), 0, 0], "it must listen to all that can be set"
        page.wait_for_timeout(50)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(open_page: Open, name: str, scheme: str) -> None:
    axe.needed()
    with open_page(name, color_scheme=scheme) as page:
        # A page of nothing but figures has no headings and no landmarks.
        found = axe.violations(page, but=["landmark-one-main", "page-has-heading-one", "region"])
        assert found == []


# --- kernel playground ----------------------------------------------------------------------------


def test_the_mouse_moves_the_pixel(open_page: Open) -> None:
    with open_page("kernel-playground") as page:
        output = output_of(page)
        box = output.bounding_box()
        for row, column in ((0, 0), (7, 19), (25, 25)):
            x, y = (column + 0.5) / 26 * box["width"], (row + 0.5) / 26 * box["height"]
            output.hover(position={"x": x, "y": y})
            assert status_of(page, "kernel-playground") == sentence(row, column)


def test_the_arrow_keys_move_the_pixel_and_stop_at_the_border(open_page: Open) -> None:
    with open_page("kernel-playground") as page:
        output = output_of(page)
        output.focus()
        for _ in range(6):
            output.press("Shift+ArrowUp")
            output.press("Shift+ArrowLeft")
        assert status_of(page, "kernel-playground") == sentence(0, 0)
        for key in ("ArrowDown", "ArrowRight", "Shift+ArrowRight", "ArrowLeft"):
            output.press(key)
        assert status_of(page, "kernel-playground") == sentence(1, 5)
        assert page.evaluate("scrollY") == 0, "the arrow keys must not scroll the page"


def test_a_finger_moves_the_pixel(open_page: Open) -> None:
    with open_page("kernel-playground", width=360, has_touch=True, is_mobile=True) as page:
        output = output_of(page)
        output.scroll_into_view_if_needed()
        box = output.bounding_box()
        page.touchscreen.tap(
            box["x"] + 10.5 / 26 * box["width"], box["y"] + 3.5 / 26 * box["height"]
        )
        assert status_of(page, "kernel-playground") == sentence(3, 10)


def test_the_nine_products_stand_there_and_add_up(open_page: Open) -> None:
    with open_page("kernel-playground") as page:
        figure = page.locator(".cl-kernel-playground").first
        output_of(page).focus()
        output_of(page).press("ArrowUp")
        terms = figure.get_by_role("listitem").all_inner_texts()
        assert len(terms) == 9
        numbers = [re.findall(r"−?\d+\.?\d*", term) for term in terms]
        values = [[float(text.replace("−", "-")) for text in three] for three in numbers]
        assert all(abs(pixel * weight - product) < 1e-3 for pixel, weight, product in values)
        total = float(re.search(r"add up to (\S+)\.$", status_of(page, "kernel-playground"))[1]
                      .replace("−", "-"))  # fmt: skip
        assert sum(product for _, _, product in values) == pytest.approx(total, abs=0.01)


def test_kernel_bias_and_relu_change_the_output_of_their_own_figure_only(open_page: Open) -> None:
    with open_page("kernel-playground") as page:
        first, second = page.locator(".cl-kernel-playground").all()
        other = second.get_by_role("status").inner_text()
        first.get_by_role("combobox", name="Kernel", exact=True).select_option("Identity")
        output_of(page).hover(position={"x": 3, "y": 3})
        identity = [[0.0] * 3, [0.0, 1.0, 0.0], [0.0] * 3]
        assert status_of(page, "kernel-playground") == sentence(0, 0, identity)
        first.get_by_label("Kernel, row 1, column 1").fill("-1.5")
        identity[1][1] = -1.5
        assert status_of(page, "kernel-playground") == sentence(0, 0, identity)
        expect(first.get_by_role("combobox", name="Kernel", exact=True)).to_have_value("")
        first.get_by_label("ReLU").check()
        assert status_of(page, "kernel-playground") == sentence(0, 0, identity, relu=True)
        first.get_by_label("Bias").fill("2.25")
        assert "+ bias 2.250 =" in status_of(page, "kernel-playground")
        assert second.get_by_role("status").inner_text() == other


def test_a_cell_without_a_number_is_marked_and_changes_nothing(open_page: Open) -> None:
    with open_page("kernel-playground") as page:
        cell = page.get_by_label("Kernel, row 0, column 0").first
        before = status_of(page, "kernel-playground")
        cell.fill("")
        expect(cell).to_have_attribute("aria-invalid", "true")
        assert status_of(page, "kernel-playground") == before
        cell.fill("3")
        expect(cell).not_to_have_attribute("aria-invalid", re.compile(".*"))
        assert status_of(page, "kernel-playground") != before


def test_numbers_that_no_picture_needs_are_marked_and_those_that_are_taken_fit(
    open_page: Open,
) -> None:
    with open_page("kernel-playground", width=360) as page:
        figure = page.locator(".cl-kernel-playground").first
        fields = [figure.get_by_label(re.compile("^Kernel, row")).nth(k) for k in range(9)]
        fields.append(figure.get_by_label("Bias"))
        before = status_of(page, "kernel-playground")
        for field in fields:
            for text in ("1e40", "-100.5"):
                field.fill(text)
                expect(field).to_have_attribute("aria-invalid", "true")
        assert status_of(page, "kernel-playground") == before
        for text in ("100", "-99.999"):
            for field in fields:
                field.fill(text)
                expect(field).not_to_have_attribute("aria-invalid", re.compile(".*"))
            weight = text.replace("-", "\u2212")
            products = figure.get_by_role("listitem").all_inner_texts()
            assert all(f"\u00d7 {weight}" in product for product in products)
            assert page.evaluate(OVERFLOW) == 0
            sticking_out = """each => [...each.querySelectorAll("*")].filter((part) =>
              part.clientWidth && part.scrollWidth > part.clientWidth + 1).length"""
            assert figure.locator(".kp-products").evaluate(sticking_out) == 0


def test_a_kernel_that_was_given_is_where_the_figure_begins(open_page: Open) -> None:
    with open_page("kernel-playground") as page:
        expect(page.get_by_label("Kernel, row 1, column 1").nth(1)).to_have_value("2")
        choice = (
            page.locator(".cl-kernel-playground")
            .nth(1)
            .get_by_role("combobox", name="Kernel", exact=True)
        )
        expect(choice).to_have_value("Given here")


# --- output size ----------------------------------------------------------------------------------


def move(page, label: str, keys: str, times: int = 1) -> None:
    slider = page.get_by_role("slider", name=label)
    slider.focus()
    for _ in range(times):
        page.keyboard.press(keys)


def test_the_sliders_change_formula_and_sentence(open_page: Open) -> None:
    with open_page("output-size") as page:
        worked = page.locator(".cl-output-size [role=math]").last
        expect(worked).to_have_attribute("aria-label", "o = floor((7) / 2) + 1 = 3 + 1 = 4")
        assert "pixel 9 is never read" in status_of(page, "output-size", last=False)
        move(page, "Padding p", "ArrowRight", 2)
        expect(worked).to_have_attribute("aria-label", "o = floor((11) / 2) + 1 = 5 + 1 = 6")
        assert "only padding is dropped" in status_of(page, "output-size", last=False)
        expect(page.locator(".cl-output-size").get_by_text("6 × 6", exact=True)).to_be_visible()


def test_sizes_that_do_not_fit_say_why(open_page: Open) -> None:
    with open_page("output-size") as page:
        move(page, "Input size n", "Home")
        line = page.locator(".cl-output-size").get_by_role("status").first
        assert "No window fits: the kernel spans d(k − 1) + 1 = 3 places" in line.inner_text()
        expect(line).to_have_attribute("data-kind", "warning")
        expect(page.locator(".cl-output-size").get_by_role("status")).to_have_count(1)
        output = page.locator(".cl-output-size").get_by_role("application")
        output.dispatch_event("keydown", {"key": "ArrowDown"})  # there is nothing to move
        move(page, "Input size n", "ArrowRight", 4)
        assert "gives 2 outputs" in line.inner_text()
        expect(page.locator(".cl-output-size").get_by_role("status")).to_have_count(2)


def test_an_output_pixel_shows_what_it_reads(open_page: Open) -> None:
    with open_page("output-size") as page:
        output = page.locator(".cl-output-size").get_by_role("application")
        output.focus()
        for key in ("Shift+ArrowUp", "Shift+ArrowLeft", "ArrowDown", "ArrowRight", "ArrowRight"):
            output.press(key)
        expected = "Output in row 1, column 2 reads rows 2, 3, 4 and columns 4, 5, 6."
        assert status_of(page, "output-size") == expected
        output.hover(position={"x": 5, "y": 5})
        expected = "Output in row 0, column 0 reads rows 0, 1, 2 and columns 0, 1, 2."
        assert status_of(page, "output-size") == expected
        move(page, "Padding p", "ArrowRight")
        assert "rows padding, 0, 1 and columns padding, 0, 1" in status_of(page, "output-size")


def test_a_finger_chooses_a_window_of_the_row(open_page: Open) -> None:
    with open_page("output-size", width=360, has_touch=True, is_mobile=True) as page:
        row = page.get_by_role("img", name="A row of 10 pixels")
        row.scroll_into_view_if_needed()
        box = row.bounding_box()
        page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] - 8)
        assert "column 3 reads" in status_of(page, "output-size")


@pytest.mark.parametrize("width", [360, 800])
def test_the_largest_settings_fit(open_page: Open, width: int) -> None:
    with open_page("output-size", width=width) as page:
        for label in ("Input size n", "Padding p", "Kernel size k", "Dilation d"):
            move(page, label, "End")
        move(page, "Stride s", "Home")
        assert page.evaluate(OVERFLOW) == 0
        box = page.locator(".cl-output-size").bounding_box()
        for picture in page.locator(".cl-output-size svg").all():
            inner = picture.bounding_box()
            assert inner["x"] + inner["width"] <= box["x"] + box["width"]


def test_a_finger_that_scrolls_over_a_figure_chooses_nothing_and_one_that_drags_across_does(
    open_page: Open,
) -> None:
    with open_page("output-size", width=360, has_touch=True, is_mobile=True) as page:
        page.set_viewport_size({"width": 360, "height": 500})
        client = page.context.new_cdp_session(page)

        def swipe(x: float, y: float, dx: float, dy: float) -> None:
            for step in range(13):
                point = {"x": x + dx * step / 12, "y": y + dy * step / 12, "id": 1}
                kind = "touchMove" if step else "touchStart"
                client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
            client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        output = page.locator(".cl-output-size").get_by_role("application")
        output.evaluate("each => each.scrollIntoView({ block: 'center' })")
        before, scrolled = status_of(page, "output-size"), page.evaluate("scrollY")
        box = output.bounding_box()
        x, y = box["x"] + box["width"] - 4, box["y"] + box["height"] - 4
        swipe(x, y, 5, -150)
        page.wait_for_function(f"Math.abs(scrollY - {scrolled}) > 40")
        assert status_of(page, "output-size") == before
        output.evaluate("each => each.scrollIntoView({ block: 'center' })")
        box = output.bounding_box()
        swipe(box["x"] + 4, box["y"] + box["height"] - 4, box["width"] - 8, 0)
        assert "Output in row 3, column 3" in status_of(page, "output-size")


# --- computational graph --------------------------------------------------------------------------


def graph_numbers(page, kind: str) -> list[str]:
    return page.locator(f".cl-graph .gr-{kind}").all_text_contents()


def test_the_graph_goes_forward_then_back_and_undoes(open_page: Open) -> None:
    with open_page("graph") as page:
        step = page.get_by_role("button", name="Step")
        assert graph_numbers(page, "value") == ["2", "3", "−1", "2"]
        for _ in range(5):
            step.click()
        assert graph_numbers(page, "value")[4:] == ["6", "5", "5", "10", "9"]
        assert graph_numbers(page, "slope") == []
        for _ in range(6):
            step.click()
        assert graph_numbers(page, "slope") == ["1", "6", "30", "12", "12", "12", "12", "24", "36"]
        assert step.get_attribute("aria-disabled") == "true"
        assert status_of(page, "graph").endswith("Every slope is known.")
        page.get_by_role("button", name="Undo").click()
        assert len(graph_numbers(page, "slope")) == 7


def test_a_shut_relu_lets_no_slope_through(open_page: Open) -> None:
    with open_page("graph") as page:
        page.get_by_role("button", name="All").click()
        page.get_by_label("Bias b").fill("-8")
        assert graph_numbers(page, "value")[4:] == ["6", "−2", "0", "0", "49"]
        assert graph_numbers(page, "slope") == ["1", "−14", "0", "−28", "0", "0", "0", "0", "0"]


# --- pooling and shift ----------------------------------------------------------------------------


def pooled_change(right: int, kind: str = "max") -> str:
    """What the figure should say of the pooled map of the digit."""
    before, after = (figures._pooled_maps(DIGIT[None] / 255, by, 0, kind=kind) for by in (0, right))
    changed = int(((before[2] - after[2]).abs() > 1e-9).sum())
    share = float((after[2] - before[2]).norm() / before[2].norm())
    return f"the pooled map in {changed} of 196 numbers, by {share:.2f} of its size."


def test_the_arrow_keys_move_the_digit_and_the_figure_says_what_changed(open_page: Open) -> None:
    with open_page("pooling") as page:
        assert pooled_change(1) in status_of(page, "pooling")
        assert "cannot simply move along" in status_of(page, "pooling")
        digit = page.get_by_role("application", name=re.compile("^The digit"))
        digit.press("ArrowRight")
        assert pooled_change(2) in status_of(page, "pooling")
        assert "has moved along, exactly" in status_of(page, "pooling")
        expect(page.get_by_role("slider", name="Move right")).to_have_value("2")
        page.get_by_role("combobox", name="Pooling").select_option("average")
        assert pooled_change(2, "average") in status_of(page, "pooling")
        for _ in range(2):
            digit.press("ArrowLeft")
        assert "Nothing has moved yet" in status_of(page, "pooling")


def test_a_pooled_number_shows_the_numbers_of_its_window(open_page: Open) -> None:
    with open_page("pooling") as page:
        page.get_by_role("combobox", name="Map of").select_option("digit")
        page.get_by_role("slider", name="Move right").fill("0")
        pooled = page.get_by_role("application", name=re.compile("^The pooled map"))
        pooled.press("Shift+ArrowDown")
        pooled.press("ArrowUp")
        for key in ("Shift+ArrowUp", "ArrowRight"):
            pooled.press(key)
        row, column = 5, 7
        window = DIGIT[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten() / 255
        numbers = ", ".join(f"{value:.2f}" for value in window.tolist())
        expected = f"row 5, column 7: the largest of {numbers} is {window.max():.2f}."
        expect(page.locator(".po-cell")).to_contain_text(expected)


def test_another_window_brings_its_stride_and_the_stride_can_differ(open_page: Open) -> None:
    with open_page("pooling") as page:
        page.get_by_role("combobox", name="Window").select_option("3")
        expect(page.get_by_role("combobox", name="Stride")).to_have_value("3")
        expect(page.get_by_text("9 × 9", exact=True)).to_be_visible()
        page.get_by_role("combobox", name="Stride").select_option("1")
        expect(page.get_by_text("26 × 26", exact=True)).to_be_visible()
        assert "has moved along, exactly" in status_of(page, "pooling")


def test_a_drawing_takes_the_place_of_the_digit_and_gives_it_back(open_page: Open) -> None:
    with open_page("pooling") as page:
        before = status_of(page, "pooling")
        page.get_by_text("Draw your own").click()
        sheet = page.get_by_role("application", name="Draw a digit here")
        box = sheet.bounding_box()
        page.mouse.move(box["x"] + 60, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + 70, box["y"] + 120, steps=5)
        page.mouse.up()
        assert status_of(page, "pooling") != before
        page.get_by_role("button", name="Clear, and take").click()
        assert status_of(page, "pooling") == before


# --- logits ---------------------------------------------------------------------------------------


def test_a_step_against_the_slopes_lowers_the_loss_and_a_constant_changes_nothing(
    open_page: Open,
) -> None:
    with open_page("logits") as page:
        z = torch.tensor([0, 0, 0, 0, 4.0, 0, 0, 1, 0, 3], dtype=torch.float64)
        label = torch.tensor(4)
        said = f"so the loss is {F.cross_entropy(z, label):.3f}."
        assert said in status_of(page, "logits")
        page.get_by_role("button", name="All + 1").click()
        assert said in status_of(page, "logits")
        page.get_by_role("button", name="One step against").click()
        z = z - (z.softmax(0) - F.one_hot(label, 10))
        assert f"so the loss is {F.cross_entropy(z, label):.3f}." in status_of(page, "logits")
        page.get_by_role("button", name="All equal").click()
        assert "10 digits share the largest probability, 10.0" in status_of(page, "logits")
        assert "the loss is 2.303" in status_of(page, "logits")
        page.get_by_role("button", name="As at first").click()
        assert said in status_of(page, "logits")


def test_logits_label_temperature_and_threshold_are_set_by_keyboard(open_page: Open) -> None:
    with open_page("logits") as page:
        assert "not sure enough to answer" in status_of(page, "logits")
        slider = page.get_by_role("slider", name="Logit of 4")
        for _ in range(25):
            slider.press("ArrowRight")
        assert re.search(r"a 4 with 9\d\.\d.%, sure enough", status_of(page, "logits"))
        page.get_by_role("radio", name="The right answer is 9").check()
        assert "sure enough to answer, and wrong" in status_of(page, "logits")
        page.get_by_role("slider", name="Temperature").press("End")
        assert "not sure enough" in status_of(page, "logits")
        expect(page.get_by_text("(p − y) / T")).to_be_visible()
        page.get_by_role("slider", name="Sure from").press("Home")
        assert re.search(r"%, sure enough", status_of(page, "logits"))


# --- valley ---------------------------------------------------------------------------------------


def test_a_click_starts_there_and_a_step_is_that_of_pytorch(open_page: Open) -> None:
    with open_page("valley") as page:
        page.get_by_role("button", name="Back to the start").click()
        picture = page.get_by_role("application")
        box = picture.bounding_box()
        picture.click(position={"x": 0.75 * box["width"], "y": 0.25 * box["height"]})
        found = re.search(r"w₀ = (\S+), w₁ = (\S+), loss", status_of(page, "valley"))
        start = [float(text) for text in found.groups()]
        assert start == pytest.approx([5.5, 2.5], abs=0.1)
        page.get_by_role("combobox", name="Rule").select_option("adam")
        for _ in range(2):
            page.get_by_role("button", name="Step").click()
        path = figures.walk("valley", "adam", 0.04, 0.9, start, 2)
        where = f"After 2 steps: w₀ = {path[2][0]:.2f}, w₁ = {path[2][1]:.2f}, loss"
        assert where in status_of(page, "valley")
        page.get_by_role("button", name="Undo").click()
        assert "After 1 step: " in status_of(page, "valley")


def test_a_walk_that_diverges_says_so_and_why(open_page: Open) -> None:
    with open_page("valley", address="#valley?rate=0.081&steps=300") as page:
        line = page.locator(".cl-valley").get_by_role("status")
        expect(line).to_have_attribute("data-kind", "warning")
        said = line.inner_text()
        assert "more than at the start. The rate is above 2/h = 0.08" in said
        page.get_by_role("slider", name="Rate").press("End")
        assert "the weights are no numbers any more" in line.inner_text()
        page.get_by_role("slider", name="Rate").press("Home")
        expect(line).not_to_have_attribute("data-kind", "warning")


def test_it_runs_pauses_and_stands_still_at_once_for_who_wants_less_motion(
    open_page: Open,
) -> None:
    with open_page("valley") as page:
        page.get_by_role("button", name="Back to the start").click()
        page.get_by_role("button", name="Run").click()
        line = page.locator(".cl-valley").get_by_role("status")
        expect(line).to_contain_text(re.compile(r"After ([2-9]|\d\d+) steps"))
        page.get_by_role("button", name="Pause").click()
        said = status_of(page, "valley")
        page.wait_for_timeout(200)
        assert status_of(page, "valley") == said
    with open_page("valley", reduced_motion="reduce") as page:
        page.get_by_role("button", name="Run").click()
        assert "After 300 steps" in status_of(page, "valley")


def test_a_path_is_kept_and_the_arrow_keys_move_the_start(open_page: Open) -> None:
    with open_page("valley") as page:
        page.get_by_role("button", name="Keep this path").click()
        expect(page.locator(".va-kept")).to_have_count(1)
        page.get_by_role("application").press("ArrowLeft")
        expect(page.get_by_role("application", name="from w₀ = 9.75, w₁ = 2.00")).to_be_visible()
        page.get_by_role("application").press("ArrowRight")
        page.get_by_role("button", name="Forget kept paths").click()
        expect(page.locator(".va-kept")).to_have_count(0)


# --- the address ----------------------------------------------------------------------------------


def test_the_address_follows_the_figure_and_the_figure_the_address(open_page: Open) -> None:
    with open_page("page", address="#valley?ground=bent&rule=adam&rate=0.5&steps=9") as page:
        assert "After 9 steps" in status_of(page, "valley")
        expect(page.get_by_role("combobox", name="Rule")).to_have_value("adam")
        page.get_by_role("button", name="Step").last.click()
        page.wait_for_function(
            "location.hash === '#valley?ground=bent&rule=adam&rate=0.5&steps=10'"
        )
        page.evaluate("location.hash = '#logits?label=7&threshold=0.1'")
        expect(page.locator(".cl-logits").get_by_role("status")).to_contain_text("and wrong")
        page.evaluate("location.hash = '#valley'")
        expect(page.locator(".cl-valley").get_by_role("status")).to_contain_text("After 40 steps")


def test_an_address_that_makes_no_sense_is_passed_over(open_page: Open) -> None:
    with open_page("valley", address="#valley?rate=fast&rule=<b>&start=[1]&steps=1e9") as page:
        assert "After 300 steps" in status_of(page, "valley")
        expect(page.get_by_role("combobox", name="Rule")).to_have_value("descent")


# --- receptive field ------------------------------------------------------------------------------


def test_a_unit_shows_what_it_sees_and_where_the_padding_begins(open_page: Open) -> None:
    with open_page("receptive-field") as page:
        picture = page.locator(".cl-receptive-field").get_by_role("application")
        assert "Unit 1 of layer 6 (pooling) sees the 22 places 1 … 22." in status_of(
            page, "receptive-field"
        )
        picture.focus()
        picture.press("ArrowLeft")
        text = "Unit 0 of layer 6 (pooling) sees the 22 places −7 … 14, 7 of them in the padding."
        assert text in status_of(page, "receptive-field")
        for _ in range(8):
            picture.press("ArrowDown")
        assert re.search(r"Pixel \d+ of the input sees itself", status_of(page, "receptive-field"))
        picture.press("ArrowUp")
        assert "of layer 1 (convolution) sees the 3 places" in status_of(page, "receptive-field")


def test_a_unit_that_sees_only_padding_says_so(open_page: Open) -> None:
    with open_page("receptive-field") as page:
        figure = page.locator(".cl-receptive-field")
        figure.get_by_label("Layer 1, kernel size").fill("1")
        figure.get_by_label("Layer 1, padding").fill("8")
        picture = figure.get_by_role("application")
        picture.focus()
        for _ in range(8):
            picture.press("ArrowDown")
        picture.press("ArrowUp")
        for _ in range(10):
            picture.press("Shift+ArrowLeft")
        assert "Unit 0 of layer 1 (convolution) sees the place −8, which is padding." in status_of(
            page, "receptive-field"
        )
        expect(figure.get_by_role("img", name="rows and columns −8 to −8")).to_be_visible()
        for _ in range(8):
            picture.press("ArrowRight")
        text = "Unit 8 of layer 1 (convolution) sees the pixel 0."
        assert text in status_of(page, "receptive-field")


def test_the_mouse_and_a_finger_choose_a_unit(open_page: Open) -> None:
    for touch in (False, True):
        with open_page("receptive-field", width=360, has_touch=touch, is_mobile=touch) as page:
            picture = page.locator(".cl-receptive-field").get_by_role("application")
            picture.scroll_into_view_if_needed()
            box = picture.bounding_box()
            # The input is the lowest row: 46 pixels of the picture lie under its middle.
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] - 42
            (page.touchscreen.tap if touch else page.mouse.move)(x, y)
            assert re.search(r"Pixel 1[2-5] of the input", status_of(page, "receptive-field"))


def test_the_recursion_stands_there_in_numbers(open_page: Open) -> None:
    with open_page("receptive-field") as page:
        rows = page.locator(".cl-receptive-field tbody tr").all_inner_texts()
        text = [re.sub(r"\s+", " ", row) for row in rows]
        assert text[0] == "input 28 1 1 0"
        assert "10 + 1·2·4 = 18 4·1 = 4 −3 − 1·4 = −7" in text[5]
        expect(page.locator('.cl-receptive-field tr[aria-current="true"]')).to_have_count(1)


def test_layers_can_be_changed_removed_and_added(open_page: Open) -> None:
    with open_page("receptive-field") as page:
        figure = page.locator(".cl-receptive-field")
        figure.get_by_role("combobox", name="Layers", exact=True).select_option(
            "Two 3 × 3 convolutions"
        )
        assert "sees the 5 places" in status_of(page, "receptive-field")
        figure.get_by_label("Layer 2, dilation").fill("2")
        assert "sees the 7 places" in status_of(page, "receptive-field")
        expect(figure.get_by_role("combobox", name="Layers", exact=True)).to_have_value("")
        figure.get_by_role("button", name="Remove layer 1").click()
        assert "sees the 5 places" in status_of(page, "receptive-field")
        assert "2 pixels among them are never read" in status_of(page, "receptive-field")
        expect(figure.get_by_role("button", name="Remove layer 1")).to_be_disabled()
        for _ in range(7):
            figure.get_by_role("button", name="Add convolution").click()
        expect(figure.get_by_role("button", name="Add convolution")).to_be_disabled()
        expect(figure.locator("tbody tr")).to_have_count(9)
        assert page.evaluate(OVERFLOW) == 0


def test_a_stack_that_does_not_fit_says_which_layer(open_page: Open) -> None:
    with open_page("receptive-field") as page:
        figure = page.locator(".cl-receptive-field")
        figure.get_by_label("Layer 2, stride").fill("4")
        figure.get_by_label("Layer 4, stride").fill("4")
        figure.get_by_label("Layer 6, kernel size").fill("9")
        warning = figure.get_by_role("status").first
        assert "Layer 6 (pooling): the window spans 9 places" in warning.inner_text()
        expect(figure.locator("tbody tr")).to_have_count(6)  # the layers that exist are still shown
