"""The interactive figures: what Python gives to JupyterLab and to the page."""

import base64
import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ipywidgets
import pytest
import torch
import traitlets
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from mnist_course import figures
from mnist_course.data import Digits
from mnist_course.models import course_network
from tools import page_digits, page_script

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no Node.js on this machine")

IMAGE = torch.arange(28 * 28, dtype=torch.float32).reshape(1, 28, 28) / 783
MAKERS = {
    "kernel-playground": lambda: figures.kernel_playground(IMAGE),
    "output-size": figures.output_size_explorer,
    "graph": figures.computational_graph,
    "receptive-field": figures.receptive_field,
    "pooling": lambda: figures.pooling_shift(IMAGE),
    "logits": lambda: figures.logit_sliders(range(10), 9),
    "valley": figures.valley_walk,
    "train-here": figures.train_here,
}
PNG = re.compile(r'src="data:image/png;base64,([^"]+)"')


def options_of(text: str) -> dict:
    found = re.search(r'data-options="([^"]*)"', text)
    assert found
    return json.loads(html.unescape(found[1]))


@needs_node
def test_arithmetic_of_the_modules() -> None:
    tests = ROOT / "tests" / "pages" / "js" / "figures.test.mjs"
    done = subprocess.run([str(NODE), "--test", str(tests)], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"# pass (\d+)", done.stdout)[1]) > 0


# --- what is displayed ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_a_figure_is_a_widget_a_page_element_and_a_sentence(name: str) -> None:
    data, _ = MAKERS[name]()._repr_mimebundle_()
    assert set(data) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    assert f'class="course-figure-live" data-figure="{name}"' in data["text/html"]
    assert base64.b64decode(PNG.search(data["text/html"])[1]).startswith(b"\x89PNG")
    alt = re.search(r'alt="([^"]*)"', data["text/html"])[1]
    assert data["text/plain"] == f"Interactive figure: {html.unescape(alt)}"
    assert len(alt.split()) > 12


@pytest.mark.parametrize("name", MAKERS)
def test_the_page_element_is_the_same_every_time(name: str) -> None:
    first, second = (MAKERS[name]().html() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", MAKERS)
def test_the_widget_and_the_page_get_the_same_options(name: str) -> None:
    widget = MAKERS[name]()
    given = {name: value for name, value in widget.state.items() if value is not None}
    assert options_of(widget.html()) == json.loads(json.dumps({**widget.options, **given}))


@pytest.mark.parametrize("name", MAKERS)
def test_what_can_be_set_can_be_read_observed_linked_and_put_into_a_box(name: str) -> None:
    figure, other = MAKERS[name](), MAKERS[name]()
    assert figure.state and set(figure.state) <= set(figure.keys), "the browser must hear of it"
    assert ipywidgets.HBox([figure]).children == (figure,)
    for trait, value in figure.state.items():
        ipywidgets.jslink((figure, trait), (other, trait))
        seen: list = []
        figure.observe(seen.append, trait)
        new = another(figure, trait, value)
        setattr(figure, trait, new)
        assert [change["new"] for change in seen] == [new]


def another(figure: figures.LiveFigure, name: str, value: Any) -> Any:
    """Another value that a trait may have."""
    trait = figure.traits()[name]
    if isinstance(trait, traitlets.Enum):
        return next(each for each in trait.values if each not in (value, None))
    if name == "pixels":
        return base64.b64encode(bytes(784)).decode()
    if isinstance(value, list):
        return value[::-1] if value != value[::-1] else [7.0, *value[1:]]
    if isinstance(trait, traitlets.Bool):
        return not value
    low, high = getattr(trait, "min", None), getattr(trait, "max", None)
    return next(each for each in (low, high, 5) if each is not None and each != value)


def test_options_survive_every_character_of_html() -> None:
    class Any(figures.LiveFigure):
        module = "output-size"
        _esm = ""

    options = {"text": """<script>'"&amp;</div>"""}
    picture = figures.plt.figure()
    widget = Any(options, picture, alt='"quoted" & <bold>', caption="a < b")
    assert options_of(widget.html()) == options
    assert "<script>" not in widget.html() and "a &lt; b" in widget.html()
    assert not figures.plt.fignum_exists(picture.number), "the picture must be closed"


def test_importing_the_package_loads_neither_widgets_nor_matplotlib() -> None:
    code = (
        "import sys, mnist_course; print({'anywidget', 'matplotlib', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- kernel playground ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (1, 1, 28, 28)])
def test_the_playground_takes_bytes_and_floats(shape: tuple[int, ...]) -> None:
    image = torch.arange(784).remainder(256).to(torch.uint8).reshape(shape)
    for picture in (image, image.float() / 255):
        pixels = base64.b64decode(figures.kernel_playground(picture).options["pixels"])
        assert list(pixels) == image.flatten().tolist()


def test_the_playground_takes_a_learned_kernel() -> None:
    weight = nn.Conv2d(1, 1, 3).weight
    given_kernel = figures.kernel_playground(IMAGE, weight).kernel
    torch.testing.assert_close(torch.tensor(given_kernel), weight.detach().flatten())
    assert figures.kernel_playground(IMAGE).kernel == [-1, 0, 1] * 3


@pytest.mark.parametrize(
    ("image", "kernel", "message"),
    [
        (torch.zeros(2, 28, 28), None, r"one square picture .* got \(2, 28, 28\)"),
        (torch.zeros(28, 20), None, r"one square picture .* got \(28, 20\)"),
        (torch.full((28, 28), 255.0), None, r"floats in \[0, 1\], got torch.float32 from 255"),
        (torch.zeros(28, 28), torch.zeros(5, 5), r"shape \(3, 3\), got \(5, 5\)"),
        (torch.zeros(28, 28), torch.zeros(9), r"shape \(3, 3\), got \(9,\)"),
        (torch.zeros(28, 28), torch.zeros(2, 3, 3), r"shape \(3, 3\), got \(2, 3, 3\)"),
    ],
)
def test_the_playground_says_what_it_cannot_show(image, kernel, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures.kernel_playground(image, kernel)


# --- computational graph --------------------------------------------------------------------------

numbers_of_a_graph = st.integers(-9, 9)


@given(*5 * [numbers_of_a_graph])
def test_the_slopes_of_the_graph_are_those_of_autograd(x, w1, b, w2, t) -> None:
    wires = figures._graph_numbers(x, w1, b, w2, t)
    leaves = [torch.tensor(float(value), requires_grad=True) for value in (x, w1, b, w2)]
    loss = (leaves[3] * (leaves[1] * leaves[0] + leaves[2]).relu() - t) ** 2
    theirs = torch.autograd.grad(loss, leaves)
    assert wires["L"][0] == loss.item()
    assert [wires[name][1] for name in ("x", "w1", "b", "w2")] == [g.item() for g in theirs]


# --- receptive field ------------------------------------------------------------------------------


def test_layers_are_taken_from_a_network_up_to_the_flatten() -> None:
    layers = figures.receptive_field(course_network()).layers
    conv = {"kind": "conv", "k": 3, "s": 1, "p": 1, "d": 1}
    pool = {"kind": "pool", "k": 2, "s": 2, "p": 0, "d": 1}
    assert layers == [conv, pool] * 3


@st.composite
def stacks(draw) -> nn.Sequential:
    """Random convolutions and poolings of which every weight is one."""
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 4))):
        k, s = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        if draw(st.booleans()):
            p, d = draw(st.integers(0, 3)), draw(st.integers(1, 3))
            conv = nn.Conv2d(1, 1, k, s, p, d, bias=False, dtype=torch.float64)
            nn.init.ones_(conv.weight)
            layers.append(conv)
        else:
            layers.append(nn.AvgPool2d(k, s, draw(st.integers(0, k // 2))))
    return nn.Sequential(*layers)


@given(stacks(), st.integers(4, 20), st.data())
@settings(deadline=None, max_examples=60)
def test_the_pixels_a_unit_sees_are_those_with_a_gradient(
    stack: nn.Sequential, size: int, data
) -> None:
    layers = [figures._layer(layer) for layer in stack]
    sizes, fields = figures._recursion(layers, size)
    assume(min(sizes) > 0)
    pixels = torch.ones(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    output = stack(pixels)
    assert output.shape[-2:] == (sizes[-1], sizes[-1])
    unit = data.draw(st.integers(0, sizes[-1] - 1))
    # The gradient is an outer product: its columns with anything in them are the set in one row.
    (gradient,) = torch.autograd.grad(output[0, 0, unit, unit], pixels)
    seen = figures._seen(layers, sizes, unit)[0]
    assert seen == set(gradient[0, 0].sum(dim=0).nonzero().flatten().tolist())
    r, j, start = fields[-1]
    assert seen <= set(range(start + unit * j, start + unit * j + r))


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ([nn.Linear(3, 3)], TypeError, "cannot tell what Linear sees"),
        ([nn.ReLU()], ValueError, "at least one convolution"),
        ([nn.Conv2d(1, 1, (3, 5))], ValueError, "equal height and width"),
        ([nn.Conv2d(1, 1, 3, padding="same")], ValueError, "padding as a number"),
        ([nn.Conv2d(1, 1, 30)], ValueError, "do not fit"),
    ],
)
def test_layers_that_cannot_be_shown_are_refused(layers, error, message: str) -> None:
    with pytest.raises(error, match=message):
        figures.receptive_field(layers)


# --- train it here --------------------------------------------------------------------------------


def test_a_view_that_asks_gets_the_digits_and_others_get_nothing(monkeypatch) -> None:
    packed = figures.PackedDigits("noise", "", b"content")
    monkeypatch.setattr(figures, "training_digits", lambda: packed)
    widget = figures.train_here({"rate": 0.5})
    sent: list[tuple] = []
    monkeypatch.setattr(widget, "send", lambda *message: sent.append(message))
    for content in ({"type": "digits", "view": "a"}, {"type": "other"}, "digits", None):
        widget._answer(widget, content, [])
    assert sent == [({"type": "digits", "view": "a", "source": "noise"}, [b"content"])]
    assert widget.rate == 0.5 and "rate" in options_of(widget.html())


def test_a_training_says_which_settings_it_has_and_what_they_may_be() -> None:
    with pytest.raises(ValueError, match="no setting 'lr'; there are activation, batch"):
        figures.train_here({"lr": 0.5})
    with pytest.raises(traitlets.TraitError, match="optimizer"):
        figures.train_here({"optimizer": "lbfgs"})


@needs_node
def test_python_and_the_page_allow_the_same_settings() -> None:
    module = figures.STATIC / "training-settings.js"
    code = (
        f"const {{ CHOICES, RANGES, START }} = await import({module.as_uri()!r});"
        "console.log(JSON.stringify([CHOICES, RANGES, Object.keys(START)]))"
    )
    command = [str(NODE), "--input-type=module", "--eval", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    choices, ranges, names = json.loads(run.stdout)
    traits = figures.TrainHere.class_traits(setting=True)
    assert set(traits) == set(names)
    for name, words in choices.items():
        assert sorted(traits[name].values) == sorted(words)
    for name, (low, high, whole) in ranges.items():
        assert (traits[name].min, traits[name].max) == (low, high)
        assert isinstance(traits[name], traitlets.Int) == whole


def test_the_page_names_the_digits_and_their_licence(tmp_path: Path) -> None:
    digits = Digits(torch.zeros(12, 1, 28, 28, dtype=torch.uint8), torch.zeros(12).long(), "MNIST")
    text = page_digits.script(figures.pack_digits(digits, 3))
    assert text.isascii() and "CC BY-SA 3.0" in text.splitlines()[0]
    other = Digits(digits.images, digits.labels, "noise")
    assert "MNIST: " not in page_digits.script(figures.pack_digits(other, 3))


def test_the_digits_of_the_book_are_small_enough_and_nothing_is_fetched(monkeypatch) -> None:
    monkeypatch.setattr(figures.data, "available", lambda: "none")
    monkeypatch.setattr(figures.data, "load", lambda *_: pytest.fail("this might fetch"))
    packed = figures.training_digits()
    assert packed.source.startswith("UCI digits")
    monkeypatch.undo()
    if figures.data.available() in ("folder", "cache"):
        packed = figures.training_digits()
        assert len(page_digits.script(packed)) <= 2.5e6


# --- JavaScript -----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dom.js").write_text("export const one = 1;\nconst hidden = 7;\n", encoding="utf-8")
    return tmp_path


def run_module(source: str, tmp_path: Path) -> str:
    path = tmp_path / "bundle.mjs"
    path.write_text(f"{source}", encoding="utf-8")
    code = f"import figure from {json.dumps(path.as_uri())}; console.log(figure.render())"
    return subprocess.run(
        [str(NODE), "--input-type=module", "-e", code],
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout.strip()


@needs_node
def test_a_bundle_is_a_module_with_its_imports_inside(folder: Path) -> None:
    (folder / "two.js").write_text(
        'import { one } from "./dom.js";\nexport function two() { return one + one; }\n',
        encoding="utf-8",
    )
    # `hidden` and `two` are names in other modules, too, and must not meet.
    (folder / "figure.js").write_text(
        'import { one } from "./dom.js";\nimport {\n  two,\n} from "./two.js";\n'
        "const hidden = 10;\nexport class Kept {}\n"
        "export default { render() { return one + two() + hidden; } };\n",
        encoding="utf-8",
    )
    bundle = figures.bundle("figure", folder)
    assert not re.search(r"^import", bundle, re.MULTILINE)
    assert run_module(bundle, folder) == "13"


@needs_node
def test_comments_and_types_are_left_out_of_a_bundle_and_code_is_not(folder: Path) -> None:
    (folder / "figure.js").write_text(
        "/** @typedef {{a: number}} Thing */\n\n"
        "/**\n * Two lines * with / signs.\n */\n"
        "const list = [\n  /** @type {any} */ (1).toFixed(), // behind code\n"
        "  // on its own\n  /** @type {number[]} */\n  'https://x.example/',\n];\n"
        "/** @type {any} */ (list).push(2);\n/** A sentence. */\n"
        "export default { render() { return list.join(); } };\n",
        encoding="utf-8",
    )
    bundle = figures.bundle("figure", folder)
    assert "/*" not in bundle and "behind" not in bundle and "own" not in bundle
    assert run_module(bundle, folder) == "1,https://x.example/,2"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('import * as dom from "./dom.js";\n', "cannot bundle"),
        ('import dom from "./dom.js";\n', "cannot bundle"),
        ('import "./dom.js";\n', "cannot bundle"),
        ('import { one } from "https://elsewhere.example/dom.js";\n', "cannot bundle"),
        ('import { one as two } from "./dom.js";\n', "renames"),
        ('const dom = await import("./dom.js");\n', "cannot bundle"),
        ("const here = import.meta.url;\n", "cannot bundle"),
        ("export { one };\n", "cannot bundle"),
        ("export let one = 1;\n", "cannot bundle"),
        ('  export const one = 1;\n', "cannot bundle"),
        ("export default function render() {}\n", "cannot bundle"),
        ("const name = 1; // of 'one'\n", "cannot take out the comment"),
        ('import { hidden } from "./dom.js";\n', "hidden, which dom.js does not export"),
        ('import { mount } from "./figure.js";\n', "figure -> figure"),
    ],
)  # fmt: skip
def test_what_the_bundler_does_not_understand_is_an_error(
    folder: Path, source: str, message: str
) -> None:
    (folder / "figure.js").write_text(
        f"{source}export default {{ render() {{}} }};\n", encoding="utf-8"
    )
    with pytest.raises(ValueError, match=message):
        figures.bundle("figure", folder)


def test_a_module_without_a_default_export_is_no_widget(folder: Path) -> None:
    with pytest.raises(ValueError, match="no default export"):
        figures.bundle("dom", folder)


@needs_node
def test_every_figure_is_in_a_classic_script(tmp_path: Path) -> None:
    path = page_script.write(tmp_path / "new" / "folder")
    assert path.name == "course.js"
    scripts = [path, *(path.with_name(f"{name}.js") for name in page_script.APART)]
    mounted = set()
    for script in scripts:
        assert script.read_bytes().isascii()
        text = script.read_text(encoding="utf-8")
        found = set(re.findall(r'"([\w-]+)": modules\["\1"\]\.mount', text))
        assert not mounted & found, "a figure is in one script only"
        mounted |= found
        subprocess.run([str(NODE), "--check", str(script)], check=True)
    text = path.read_text(encoding="utf-8")
    for each in ("training-run", "shifting", "softmax", "valley-walks"):
        assert f'"{each}"' not in text, "most pages do without"
    assert mounted >= set(MAKERS)
    assert mounted == {
        path.stem
        for path in figures.STATIC.glob("*.js")
        if re.search(r"^export function mount\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }


@needs_node
def test_what_is_not_ascii_reads_the_same_in_the_page_script(tmp_path: Path) -> None:
    text = "− × … 𝄞"
    quoted = page_script._ascii(f"`{text}`")
    assert quoted.isascii()
    code = f"process.stdout.write(JSON.stringify({quoted}))"
    done = subprocess.run([str(NODE), "-e", code], capture_output=True, check=True)
    assert json.loads(done.stdout) == text
