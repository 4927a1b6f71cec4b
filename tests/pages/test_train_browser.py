"""The figure that trains, in a browser, on a page that was opened as a file."""

import base64
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from mnist_course import data, figures
from mnist_course.export import read_page_weights
from tests.pages import axe
from tools import page_digits, page_script

pytestmark = pytest.mark.browser

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Keeps the workers, to let one die, and notes the longest time between two frames of the screen.
WATCH = """
const Made = globalThis.Worker;
globalThis.workers = [];
if (Made) globalThis.Worker = class extends Made {
  constructor(...all) { super(...all); workers.push(this); }
};
globalThis.longest = 0;
let last = 0;
(function tick(now) {
  if (last) longest = Math.max(longest, now - last);
  last = now;
  requestAnimationFrame(tick);
})(0);
"""
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
# A clinic's network for whom everything is quick.
QUICK = "#train-here?network=clinic&digits=1000&pace=full"

Open = Callable[..., Iterator]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with the figure, and the stand-in's digits beside it."""
    folder = tmp_path_factory.mktemp("site")
    page_script.write(folder)
    digits = data.uci_digits("train")
    packed = figures.pack_digits(digits, held_out=200)
    (folder / "course-digits.js").write_text(page_digits.script(packed), encoding="ascii")
    element = figures.train_here().html()
    (folder / "page.html").write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Train it here</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<script src="course-train.js"></script></head>'
        f"<body><main><h1>Train it here</h1>{element}</main></body></html>",
        encoding="utf-8",
    )
    return folder


@pytest.fixture
def open_page(browser, site: Path) -> Open:
    """Open the page; at the end there was no error, and nothing was asked for elsewhere."""

    @contextmanager
    def opened(
        address: str = "", width: int = 800, script: str = "", errors: int = 0, **options
    ) -> Iterator[Page]:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        context.set_default_timeout(30_000)
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
        page.add_init_script(WATCH + script)
        page.goto((site / "page.html").as_uri() + address)
        try:
            yield page
            assert len(problems) == errors, problems
        finally:
            context.close()

    return opened


def status_of(page: Page) -> Locator:
    return page.locator(".cl-train-here .cl-status")


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def reach(page: Page, steps: int) -> None:
    """Wait until the training has made so many steps."""
    made = "Number(document.querySelector('.cl-train-here').dataset.steps)"
    page.wait_for_function(f"{made} >= {steps}")


def finish(page: Page) -> str:
    """Press Train, wait for the end, and return what is said of it."""
    press(page, "Train")
    expect(status_of(page)).to_have_text(re.compile("^Done"), timeout=60_000)
    return status_of(page).inner_text()


def settings(page: Page) -> Locator:
    """The settings, unfolded."""
    fold = page.locator("details", has_text="everything but the network")
    if not fold.evaluate("(fold) => fold.open"):
        fold.locator("summary").click()
    return fold


# --- training -------------------------------------------------------------------------------------


def test_nothing_is_loaded_before_it_is_asked_for_and_then_it_learns(open_page: Open) -> None:
    with open_page(QUICK) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.rsplit("/")[-1]))
        expect(status_of(page)).to_contain_text("Nothing is loaded yet")
        assert asked == []
        said = finish(page)
        assert "course-digits.js" in asked
        found = re.search(r"after 100 steps: loss ([\d.]+), ([\d.]+) % of all digits", said)
        assert found and float(found[1]) < 1 and float(found[2]) > 70
        root = page.locator(".cl-train-here")
        assert root.get_attribute("data-worker") is not None, "it must not run in the page"
        assert page.evaluate("workers.length") == 1
        assert page.evaluate("longest") < 1000, "the page was frozen"
        expect(page.locator(".th-numbers")).to_contain_text("200 held out (UCI digits")
        expect(
            page.get_by_role("img", name=re.compile("Loss: 2.* after 100 steps"))
        ).to_be_visible()


def test_without_workers_it_learns_in_the_page(open_page: Open) -> None:
    with open_page(QUICK, script="delete globalThis.Worker;") as page:
        finish(page)
        assert page.locator(".cl-train-here").get_attribute("data-worker") is None
        assert page.evaluate("longest") < 1000, "the page was frozen"


def test_without_simd_it_learns_slower(open_page: Open) -> None:
    with open_page(
        QUICK, script="delete globalThis.Worker; delete globalThis.WebAssembly;"
    ) as page:
        finish(page)
        expect(page.locator(".th-numbers")).to_contain_text("without SIMD")


def test_the_same_seed_gives_the_same_training(open_page: Open) -> None:
    with open_page(QUICK) as page:
        first = finish(page)
        press(page, "Start again")
        expect(status_of(page)).to_contain_text("same seed")
        assert finish(page) == first
        field = settings(page).get_by_label("Seed")
        field.fill("2")
        field.press("Enter")
        press(page, "Start again")
        assert finish(page) != first


def test_it_pauses_makes_single_steps_and_goes_on(open_page: Open) -> None:
    with open_page("#train-here?network=clinic&steps=5000") as page:
        root = page.locator(".cl-train-here")
        press(page, "Train")
        reach(page, 3)
        press(page, "Pause")
        expect(status_of(page)).to_contain_text("Paused after")
        page.wait_for_timeout(300)
        steps = int(root.get_attribute("data-steps") or 0)
        press(page, "One step")
        expect(page.locator(f".cl-train-here[data-steps='{steps + 1}']")).to_be_attached()
        press(page, "Train")
        reach(page, steps + 4)


def test_it_pauses_while_nobody_looks(open_page: Open) -> None:
    with open_page("#train-here?network=clinic&steps=5000") as page:
        press(page, "Train")
        reach(page, 2)
        page.evaluate(HIDE, True)
        expect(status_of(page)).to_contain_text("out of sight")
        page.wait_for_timeout(300)
        steps = int(page.locator(".cl-train-here").get_attribute("data-steps") or 0)
        page.wait_for_timeout(300)
        assert int(page.locator(".cl-train-here").get_attribute("data-steps") or 0) == steps
        page.evaluate(HIDE, False)
        reach(page, steps + 3)


# --- a race ---------------------------------------------------------------------------------------


def test_two_settings_race_on_the_same_charts(open_page: Open) -> None:
    with open_page(QUICK) as page:
        press(page, "Race against these settings")
        against = page.locator(".cl-train-here p", has_text="The other has")
        expect(against).to_contain_text("the same settings so far")
        seed = settings(page).get_by_label("Seed")
        seed.fill("2")
        seed.press("Enter")
        expect(against).to_have_text("The other has seed 1 (here 2).")
        press(page, "Train")
        both = re.compile(r"([\d.]+) % of all .* The other: ([\d.]+) % .* after 100 steps")
        expect(status_of(page)).to_have_text(both, timeout=60_000)
        assert page.evaluate("workers.length") == 2
        ours, other = both.search(status_of(page).inner_text()).groups()
        # The other is the training that these settings alone would have been.
        press(page, "End the race")
        expect(against).to_be_hidden()
        seed.fill("1")
        seed.press("Enter")
        alone = re.search(r"([\d.]+) % of all", finish(page))[1]
        assert (other, ours != other) == (alone, True)


def test_a_link_tells_of_a_race_and_what_it_may_not_say_is_left_out(open_page: Open) -> None:
    link = f"{QUICK}&against=rate:0.001,optimizer:adam,digits:99999999,html:<b>,patient:nobody"
    with open_page(link) as page:
        against = page.locator(".cl-train-here p", has_text="The other has")
        expect(against).to_contain_text("optimiser Adam (here SGD)")
        expect(against).to_contain_text("learning rate 0.001")
        expect(against).to_contain_text("digits to learn from 60000")
        assert "html" not in against.inner_text()
        settings(page).get_by_label("Optimiser").select_option("adam")
        assert "rate%3A0.001" in page.evaluate("location.hash")
        assert "optimizer%3A" not in page.evaluate("location.hash")


def test_a_link_on_the_page_begins_a_race_and_one_without_ends_it(open_page: Open) -> None:
    with open_page(QUICK) as page:
        against = page.locator(".cl-train-here p", has_text="The other has")
        page.evaluate("location.hash = '#train-here?network=clinic&against=rate:0.001'")
        expect(against).to_contain_text("learning rate 0.001")
        assert page.evaluate("location.hash") == "#train-here?network=clinic&against=rate%3A0.001"
        page.evaluate("location.hash = '#train-here?network=clinic&against=optimizer:adam'")
        expect(against).to_have_text("The other has optimiser Adam (here SGD).")
        page.evaluate("location.hash = '#train-here?network=clinic'")
        expect(against).to_be_hidden()
        assert page.evaluate("location.hash") == "#train-here?network=clinic"


def test_the_other_training_dies_and_the_race_is_over(open_page: Open) -> None:
    with open_page("#train-here?network=clinic&steps=5000&against=rate:0.001") as page:
        press(page, "Train")
        reach(page, 3)
        page.evaluate("workers[1].onerror({ preventDefault() {}, message: 'out of memory' })")
        expect(status_of(page)).to_contain_text("The other training has stopped: out of memory")
        expect(page.get_by_role("button", name="Race against these settings")).to_be_visible()
        steps = int(page.locator(".cl-train-here").get_attribute("data-steps") or 0)
        reach(page, steps + 3)  # this one goes on


# --- steering -------------------------------------------------------------------------------------


def test_the_address_holds_the_settings(open_page: Open) -> None:
    with open_page("#train-here?patient=3") as page:
        expect(page.locator(".th-preset")).to_have_value("3")
        settings(page).get_by_label("Optimiser").select_option("adam")
        assert page.evaluate("location.hash") == "#train-here?patient=3&optimizer=adam"
        page.evaluate("location.hash = '#train-here?rate=0.5'")
        expect(page.locator(".th-preset")).to_have_value("own")
        expect(settings(page).get_by_label("Learning rate")).to_have_attribute(
            "aria-valuetext", "0.5"
        )
        page.evaluate("location.hash = '#elsewhere'")
        expect(page.locator(".th-preset")).to_have_value("own")


def test_there_is_a_way_back_to_what_the_page_began_with(open_page: Open) -> None:
    with open_page("#train-here?rate=0.5&digits=1000") as page:
        preset = page.locator(".th-preset")
        expect(preset).to_have_value("first")
        preset.select_option("3")
        preset.select_option("first")
        assert page.evaluate("location.hash") == "#train-here?rate=0.5&digits=1000"


def test_a_patient_is_sick_and_is_cured(open_page: Open) -> None:
    with open_page("#train-here?patient=7&digits=1000&pace=full") as page:
        finish(page)
        rows = page.locator(".th-layers tbody tr")
        expect(rows.nth(0).locator("td").nth(3)).to_have_text("0")
        press(page, "Diagnosis and cure")
        expect(status_of(page)).to_contain_text("Use nn.ModuleList")
        expect(page.locator(".th-preset")).to_have_value("0")
        finish(page)
        expect(rows.nth(0).locator("td").nth(3)).not_to_have_text("0")
        found = page.get_by_text("Patient 7 had this")
        expect(found).to_be_visible()  # while the status tells of the training
        page.locator(".th-preset").select_option("8")
        expect(found).to_be_hidden()
        page.locator(".th-preset").select_option("fast")
        expect(status_of(page)).to_have_text("New weights: press Train.")


def test_a_patient_without_numbers_is_not_diagnosed_by_the_figure(open_page: Open) -> None:
    with open_page("#train-here?patient=4&digits=1000&pace=full") as page:
        press(page, "Train")
        expect(status_of(page)).to_have_text(re.compile("since step 1, .* What do you see"))
        expect(page.get_by_text("the rate is too high")).to_have_count(0)
        expect(page.locator(".th-bars [data-best]")).to_have_count(0)


def test_a_number_that_may_not_be_is_refused_with_the_range(open_page: Open) -> None:
    with open_page(QUICK) as page:
        steps = settings(page).get_by_label("Steps")
        steps.fill("99999")
        steps.press("Tab")
        expect(status_of(page)).to_have_text("Steps: a number from 1 to 5,000.")
        steps.fill("50")
        steps.press("Tab")
        expect(status_of(page)).not_to_have_attribute("data-kind", "warning")


def test_a_rate_that_explodes_is_shown_as_what_it_is(open_page: Open) -> None:
    # Without batch norm, SGD at a rate of 100 leaves nothing but numbers that are none.
    with open_page(f"{QUICK}&rate=100&activation=none") as page:
        press(page, "Train")
        expect(status_of(page)).to_have_text(re.compile(r"not a number since step \d+"))
        expect(status_of(page)).to_have_attribute("data-kind", "warning")
        expect(page.get_by_role("button", name="Train", exact=True)).to_be_visible()
        settings(page).get_by_label("Activation").select_option("relu")
        rate = settings(page).get_by_label("Learning rate")
        rate.fill("-15")
        press(page, "Start again")
        assert "not a number" not in finish(page)


def test_you_draw_on_the_network_and_keep_it(open_page: Open) -> None:
    with open_page(QUICK) as page:
        finish(page)
        page.locator("details", has_text="Draw on it").locator("summary").click()
        sheet = page.get_by_label("Draw a digit here")
        sheet.scroll_into_view_if_needed()
        box = sheet.bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 20, steps=5)
        page.mouse.up()
        bars = page.locator(".th-draw .th-bars li")
        expect(bars.nth(1)).to_contain_text("%")
        with page.expect_download() as waiting:
            press(page, "Keep this network")
        content = Path(waiting.value.path()).read_bytes()
        # It has learned: the package reads the file, and the network reads other digits with it.
        digits = data.uci_digits("test")
        answers = read_page_weights(content)(data.to_float(digits.images)).argmax(1)
        assert (answers == digits.labels).float().mean() > 0.6


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_worker_that_dies_is_missed_and_another_begins(open_page: Open) -> None:
    with open_page("#train-here?network=clinic&steps=5000") as page:
        press(page, "Train")
        reach(page, 2)
        page.evaluate(
            "workers[0].dispatchEvent(new ErrorEvent('error', { message: 'out of memory' }))"
        )
        expect(status_of(page)).to_contain_text("has stopped: out of memory. Press Train")
        press(page, "Train")
        reach(page, 2)
        assert page.evaluate("workers.length") == 2


def test_digits_that_are_gone_or_damaged_are_said_and_waited_for(
    open_page: Open, site: Path
) -> None:
    path = site / "course-digits.js"
    whole = path.read_text(encoding="ascii")
    try:
        with open_page(QUICK, errors=1) as page:
            path.unlink()
            press(page, "Train")
            expect(status_of(page)).to_contain_text("does not lie beside the page's scripts")
            path.write_text(whole, encoding="ascii")
            finish(page)
        path.write_text(re.sub(r'"data": ".{1000}', '"data": "', whole), encoding="ascii")
        with open_page(QUICK) as page:
            press(page, "Train")
            expect(status_of(page)).to_contain_text("damaged or cut short")
            expect(page.get_by_role("button", name="Train", exact=True)).to_be_visible()
    finally:
        path.write_text(whole, encoding="ascii")


def test_in_jupyterlab_the_kernel_sends_the_digits(open_page: Open, site: Path) -> None:
    packed = figures.pack_digits(data.uci_digits("train"), held_out=200)
    content = base64.b64encode(packed.content).decode()
    show = """async ([code, content]) => {
      const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
      const { default: widget } = await import(address);
      let receive = () => {};
      const options = { network: "clinic", digits: 1000, pace: "full" };
      const model = {
        get: (name) => (name === "options" ? options : null),
        set: () => {},
        save_changes: () => {},
        on: (event, react) => { if (event === "msg:custom") receive = react; },
        off: () => {},
        send: ({ type, view }) => {
          const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
          receive({ type, view, source: "the kernel" }, [new DataView(bytes.buffer)]);
        },
      };
      document.body.replaceChildren(document.createElement("main"));
      widget.render({ model, el: document.body.firstChild });
    }"""
    with open_page() as page:
        page.evaluate(show, [figures.TrainHere._esm, content])
        finish(page)
        expect(page.locator(".th-numbers")).to_contain_text("held out (the kernel); in a worker")
        assert page.evaluate("location.hash") == "", "a notebook's address is not ours"


# --- how it looks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [390, 800])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_is_accessible(open_page: Open, width: int, scheme: str) -> None:
    axe.needed()
    with open_page(QUICK, width=width, color_scheme=scheme, bypass_csp=True) as page:
        press(page, "One step")
        reach(page, 1)
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        assert page.evaluate(OVERFLOW) == 0
        assert axe.violations(page) == []


def test_a_small_device_gets_a_smaller_network(open_page: Open) -> None:
    with open_page(has_touch=True, is_mobile=True) as page:
        preset = page.locator(".th-preset")
        expect(settings(page).get_by_label("Channels")).to_have_value("16")
        expect(preset).to_have_value("small")
        preset.select_option("fast")
        expect(settings(page).get_by_label("Channels")).to_have_value("24")
        preset.select_option("small")  # and there is a way back
        expect(settings(page).get_by_label("Channels")).to_have_value("16")


def test_on_a_small_screen_train_brings_the_curve_into_view(open_page: Open) -> None:
    with open_page(has_touch=True, is_mobile=True, width=320) as page:
        page.set_viewport_size({"width": 320, "height": 568})
        press(page, "Train")
        reach(page, 1)
        expect(page.get_by_label(re.compile("^Loss"))).to_be_in_viewport(ratio=0.6)
        expect(page.get_by_role("button", name="Pause")).to_be_in_viewport()


def test_the_buttons_at_the_end_answer_where_they_are(open_page: Open) -> None:
    with open_page("#train-here?patient=3") as page:
        below = page.locator(".th-keep + p")
        expect(below).to_have_text("")
        press(page, "Race against these settings")
        expect(below).to_contain_text("change a setting")
        page.locator(".th-preset").select_option("0")
        against = page.locator(".cl-train-here p", has_text="The other has")
        expect(against).to_contain_text("the fault of patient 3 (here no fault)")
        press(page, "End the race")
        expect(below).to_have_text("")


def test_less_motion_means_fewer_pictures(open_page: Open) -> None:
    drawn = {}
    for motion in ("no-preference", "reduce"):
        with open_page("#train-here?network=clinic&steps=40", reduced_motion=motion) as page:
            finish(page)
            frames = page.locator(".cl-train-here").get_attribute("data-frames")
            drawn[motion] = int(frames or 0)
    assert drawn["reduce"] < drawn["no-preference"] / 2


def test_on_paper_there_is_the_picture(open_page: Open) -> None:
    with open_page() as page:
        picture = page.locator("img.course-figure")
        expect(picture).to_be_hidden()
        page.emulate_media(media="print")
        expect(picture).to_be_visible()
        expect(page.locator(".cl-train-here")).to_be_hidden()
        assert len((picture.get_attribute("alt") or "").split()) > 12
