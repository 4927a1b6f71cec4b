"""Interactive figures: live in JupyterLab and in the book, a picture everywhere else.

Each figure is one JavaScript module in ``static/``, with a function ``mount(element, options)``.
JupyterLab gets it through anywidget. The page gets it from ``course.js``, which looks for
``data-figure`` (see ``tools/page_script.py``). Where neither runs, on paper or in a notebook that
was reopened, a picture with alternative text takes its place.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import anywidget
import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_course import data, plots
from mnist_course.data import Digits
from mnist_course.models import Normalize, course_network

STATIC = Path(__file__).parent / "static"

# --- JavaScript modules ---------------------------------------------------------------------------

_IMPORT = re.compile(r'^import \{([\w\s,]+)\} from "\./([\w-]+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function|function\*?|const|class) (\w+))", re.MULTILINE)
_DEFAULT = re.compile(r"^export default (?=\{)", re.MULTILINE)
# Comments on lines of their own, types before an expression, comments behind code where no
# quotation mark follows; indentation.
_COMMENT = re.compile(
    r"^[ \t]*/\*\*(?:[^*]|\*(?!/))*\*/\n|/\*\* @type \{[^*\n]*\} \*/ ?"
    r"|^[ \t]*//.*\n|[ \t]+// [^\"'`\n]*$|^[ \t]+",
    re.MULTILINE,
)
# Line breaks that say nothing: behind what opens or parts, and before what closes.
_BREAK = re.compile(r"(?<=[{(\[,;])\n|\n(?=[})\]\n])")
_UNKNOWN = re.compile(r"^\s*(?:import|export)\b.*|\bimport\s*\(.*|\bimport\.meta\b.*", re.MULTILINE)


@dataclass(frozen=True)
class Module:
    """A module of ``static/`` without its imports and exports.

    Attributes:
        imports: the names that it takes from other modules, by module.
        exports: the names that it gives.
        body: its code, as a script without comments; a default export is the constant
            ``defaultExport``.
    """

    imports: Mapping[str, tuple[str, ...]]
    exports: tuple[str, ...]
    body: str

    def scope(self) -> str:
        """The module as a function without arguments that returns an object of its exports.

        What it imports is taken from the object ``modules``, which must be in scope.
        """
        imports = "".join(
            f'const {{ {", ".join(names)} }} = modules["{module}"];\n'
            for module, names in self.imports.items()
        )
        return f"() => {{\n{imports}{self.body}return {{ {', '.join(self.exports)} }};\n}}"


def read_module(name: str, folder: Path = STATIC) -> Module:
    """Read ``<name>.js``.

    Raises:
        ValueError: if it imports or exports in any other way than ``import { a } from "./b.js";``
            and ``export`` before a function, const or class, or ``export default {``, all at the
            start of a line.
    """
    source = (folder / f"{name}.js").read_text(encoding="utf-8")
    imports: dict[str, tuple[str, ...]] = {}
    for names, module in _IMPORT.findall(source):
        words = tuple(word.strip() for word in names.split(",") if word.strip())
        if not all(word.isidentifier() for word in words):
            raise ValueError(f"{name}.js: cannot bundle an import that renames: {names.strip()!r}")
        imports[module] = imports.get(module, ()) + words
    exports = tuple(_EXPORT.findall(source))
    body = _EXPORT.sub("", _IMPORT.sub("", source))
    body, defaults = _DEFAULT.subn("const defaultExport = ", body)
    if unknown := _UNKNOWN.search(body):
        raise ValueError(
            f"{name}.js: cannot bundle {unknown[0].strip()!r}; write "
            'import { names } from "./module.js"; and export before function, const, class '
            "or default {"
        )
    body = _BREAK.sub("", _COMMENT.sub("", body))
    if comment := re.search(r"(?<!:)//.*", body):
        raise ValueError(f"{name}.js: cannot take out the comment {comment[0]!r}; give it a line")
    return Module(imports, (*exports, "defaultExport") if defaults else exports, body)


def link(names: Iterable[str], folder: Path = STATIC) -> str:
    """Modules and all that they import, as script text that fills an object ``modules``.

    The object ``scopes`` holds the function that makes each.

    Raises:
        ValueError: if a module is not of the form that :func:`read_module` reads, imports what is
            not exported, or imports itself by way of others.
    """
    done: dict[str, Module] = {}

    def add(name: str, path: tuple[str, ...] = ()) -> None:
        if name in path:
            raise ValueError(f"modules import each other: {' -> '.join((*path, name))}")
        if name in done:
            return
        module = read_module(name, folder)
        for source, wanted in module.imports.items():
            add(source, (*path, name))
            if missing := [word for word in wanted if word not in done[source].exports]:
                raise ValueError(
                    f"{name}.js imports {', '.join(missing)}, which {source}.js does not export"
                )
        done[name] = module

    for name in names:
        add(name)
    # What a module is made of is kept, too: a worker gets a copy of it.
    parts = [
        f'modules["{name}"] = (scopes["{name}"] = {module.scope()})();\n'
        for name, module in done.items()
    ]
    return "".join(["const modules = {}, scopes = {};\n", *parts])


def bundle(name: str, folder: Path = STATIC) -> str:
    """The module ``<name>.js`` with all that it imports, as one ES module for anywidget.

    Raises:
        ValueError: if it cannot be bundled (see :func:`link`), or has no default export.
    """
    if "defaultExport" not in read_module(name, folder).exports:
        raise ValueError(f"{name}.js has no default export; anywidget needs {{ render }}")
    return f'{link([name], folder)}export default modules["{name}"].defaultExport;\n'


# --- the widget -----------------------------------------------------------------------------------


def _setting(trait: Any) -> Any:
    """A trait that says what a figure shows: readers set it in the figure, or you in Python."""
    return trait.tag(sync=True, setting=True)


class LiveFigure(anywidget.AnyWidget):
    """A figure that is live where JavaScript runs, and a picture where it does not.

    A subclass names its module, bundles it, and says what of it can be set::

        class Playground(LiveFigure):
            module = "kernel-playground"
            _esm = bundle(module)
            bias = _setting(traitlets.Float(0.0, min=-100, max=100))

    As in every widget, what can be set can also be read, observed with ``observe``, and linked to
    another widget with ``ipywidgets.jslink``; and a figure stands in boxes such as
    ``ipywidgets.HBox``.

    Args:
        options: what ``mount`` gets; anything that JSON can hold.
        picture: a finished matplotlib figure, drawn in place of the live one; it is closed.
        alt: what the picture shows, for people who cannot see it.
        caption: one or two sentences under the picture.
        traits: further synchronised traits of the subclass.
    """

    module: str
    options = traitlets.Dict().tag(sync=True)

    def __init__(
        self, options: Mapping[str, Any], picture: Figure, alt: str, caption: str, **traits: Any
    ) -> None:
        super().__init__(options=dict(options), **traits)
        buffer = io.BytesIO()
        picture.savefig(buffer, format="png", metadata={"Software": None})
        plt.close(picture)
        self._png = buffer.getvalue()
        self._width = round(picture.get_figwidth() * mpl.rcParams["figure.dpi"])
        self._alt, self._caption = alt, caption

    @property
    def state(self) -> dict[str, Any]:
        """What is set now, by name."""
        return {name: getattr(self, name) for name in self.traits(setting=True)}

    @property
    def png(self) -> bytes:
        """The picture that stands where the figure is not alive."""
        return self._png

    def html(self) -> str:
        """The figure for a page: the options for ``course.js``, and the picture until it runs."""
        set_now = {name: value for name, value in self.state.items() if value is not None}
        both = {**self.options, **set_now}
        options = html.escape(json.dumps(both, separators=(",", ":"), sort_keys=True))
        data = base64.b64encode(self._png).decode()
        return (
            f'<div class="course-figure-live" data-figure="{self.module}" '
            f'data-options="{options}">'
            f'<figure><img class="course-figure" width="{self._width}" '
            f'src="data:image/png;base64,{data}" alt="{html.escape(self._alt)}">'
            f"<figcaption>{html.escape(self._caption)}</figcaption></figure></div>"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return {
            **data,
            "text/html": self.html(),
            "text/plain": f"Interactive figure: {self._alt}",
        }, metadata


# --- kernel playground ----------------------------------------------------------------------------

EDGE = ((-1.0, 0.0, 1.0),) * 3
"""The kernel that the playground starts with; it answers to vertical edges."""


class KernelPlayground(LiveFigure):
    """See :func:`kernel_playground`.

    Attributes:
        kernel: its nine weights, row by row.
        bias, relu: what happens to the sums.
        row, column: the output pixel that is explained.
    """

    module = "kernel-playground"
    _esm = bundle(module)
    kernel = _setting(traitlets.List(traitlets.Float(min=-100, max=100), minlen=9, maxlen=9))
    bias = _setting(traitlets.Float(0.0, min=-100, max=100))
    relu = _setting(traitlets.Bool(False))
    row = _setting(traitlets.Int(0, min=0))
    column = _setting(traitlets.Int(0, min=0))


def kernel_playground(
    image: Tensor, kernel: Tensor | Sequence[Sequence[float]] | None = None
) -> KernelPlayground:
    """Slide a 3 x 3 kernel over a digit: change its numbers, and see each output pixel explained.

    Args:
        image: one square picture, ``(H, H)`` or ``(1, H, H)``: bytes, or floats in [0, 1].
        kernel: nine weights, ``(3, 3)`` or ``(1, 1, 3, 3)``, to begin with; the presets are there
            in any case.

    Raises:
        ValueError: if the image is not one square picture of at least 3 x 3 pixels in the range
            of its type, or the kernel is not 3 x 3.
    """
    pixels = _to_bytes(image)
    weights = torch.as_tensor(EDGE if kernel is None else kernel).detach().cpu().double()
    if weights.numel() != 9 or weights.shape[-2:] != (3, 3):
        raise ValueError(f"expected a kernel of shape (3, 3), got {tuple(weights.shape)}")
    weights = weights.reshape(3, 3)
    options: dict[str, Any] = {
        "pixels": base64.b64encode(pixels.numpy().tobytes()).decode(),
        "width": pixels.shape[1],
    }
    output = F.conv2d(pixels[None, None].double() / 255, weights[None, None])[0, 0]
    row, column = divmod(int(output.abs().argmax()), output.shape[1])
    alt = (
        f"A digit, a 3 by 3 kernel and the {output.shape[0]} by {output.shape[1]} output. A frame "
        f"marks the nine pixels from row {row}, column {column} on; their products with the "
        f"kernel add up to {output[row, column]:.2f}, the output pixel in row {row}, "
        f"column {column}."
    )
    caption = (
        "In JupyterLab and in the book this figure is live: the kernel can be changed, and every "
        "output pixel shows its nine products."
    )
    picture = _draw_playground(pixels, weights, output, row, column)
    nine = [round(weight, 6) for weight in weights.flatten().tolist()]
    return KernelPlayground(options, picture, alt, caption, kernel=nine, row=row, column=column)


def _to_bytes(image: Tensor) -> Tensor:
    """One picture as uint8 ``(H, H)``."""
    picture = image.detach().cpu().squeeze()
    if picture.ndim != 2 or picture.shape[0] != picture.shape[1] or len(picture) < 3:
        raise ValueError(
            f"expected one square picture such as (28, 28) or (1, 28, 28), "
            f"got {tuple(image.shape)}; take one with images[0]"
        )
    if picture.dtype == torch.uint8:
        return picture.contiguous()
    if picture.min() < 0 or picture.max() > 1:
        raise ValueError(
            f"expected bytes, or floats in [0, 1], got {picture.dtype} "
            f"from {picture.min():.2f} to {picture.max():.2f}"
        )
    return (picture * 255).round().to(torch.uint8)


def _draw_playground(
    pixels: Tensor, kernel: Tensor, output: Tensor, row: int, column: int
) -> Figure:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(6.4, 2.7), width_ratios=(3, 2, 3))
    left.imshow(pixels.numpy(), vmin=0, vmax=255)
    left.set_title(f"input {len(pixels)} × {len(pixels)}")
    _frame(left, row, column, 3)
    _signed(middle, kernel, pale=3)
    middle.set_title("kernel 3 × 3")
    for index, weight in enumerate(kernel.flatten().tolist()):
        middle.text(index % 3, index // 3, f"{weight:.2g}", ha="center", va="center")
    _signed(right, output)
    right.set_title(f"output {len(output)} × {len(output)}")
    _frame(right, row, column, 1)
    for axes in (left, middle, right):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(True)
    return figure


def _signed(axes: Axes, values: Tensor, pale: float = 1) -> None:
    largest = pale * max(float(values.abs().max()), 1e-9)
    axes.imshow(values.numpy(), cmap=plots.SIGNED, vmin=-largest, vmax=largest)


def _frame(axes: Axes, row: int, column: int, size: int) -> None:
    corner = (column - 0.5, row - 0.5)
    axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=plots.PINK, linewidth=2.5))


# --- output size ----------------------------------------------------------------------------------


class OutputSizeExplorer(LiveFigure):
    """See :func:`output_size_explorer`.

    Attributes:
        n, k, s, p, d: size of the input and of the kernel, stride, padding, dilation.
        row, column: the output whose window is marked.
    """

    module = "output-size"
    _esm = bundle(module)
    n = _setting(traitlets.Int(10, min=1, max=20))
    k = _setting(traitlets.Int(3, min=1, max=7))
    s = _setting(traitlets.Int(2, min=1, max=5))
    p = _setting(traitlets.Int(0, min=0, max=4))
    d = _setting(traitlets.Int(1, min=1, max=3))
    row = _setting(traitlets.Int(1, min=0))
    column = _setting(traitlets.Int(2, min=0))


def output_size_explorer() -> OutputSizeExplorer:
    """Sliders for input size, kernel, stride, padding and dilation; windows, formula, lost pixels.

    It begins with ten pixels, a kernel of three and stride two, where the last pixel is never read.
    """
    numbers = {"n": 10, "k": 3, "s": 2, "p": 0, "d": 1}
    alt = (
        "A row of ten pixels and four windows of three pixels, each two further than the one "
        "before. The last window ends at pixel 8; pixel 9 is crossed out, for no window reads it."
    )
    caption = (
        "Ten pixels, a kernel of three, stride two: four windows fit, and pixel 9 is never read. "
        "In JupyterLab and in the book this figure is live, with a slider for every number."
    )
    return OutputSizeExplorer({}, _draw_windows(**numbers), alt, caption, **numbers)


def _draw_windows(n: int, k: int, s: int, p: int, d: int) -> Figure:
    outputs = (n + 2 * p - d * (k - 1) - 1) // s + 1
    windows = [[i * s - p + u * d for u in range(k)] for i in range(outputs)]
    read = {pixel for window in windows for pixel in window}
    figure, axes = plt.subplots(figsize=(6.4, 2.6))
    for pixel in range(n):
        axes.add_patch(_cell(pixel, 0, plots.SKY if pixel in read else "white"))
        axes.text(pixel, 0, str(pixel), ha="center", va="center")
        if pixel not in read:
            axes.plot([pixel - 0.4, pixel + 0.4], [-0.4, 0.4], color=plots.RED)
            axes.plot([pixel - 0.4, pixel + 0.4], [0.4, -0.4], color=plots.RED)
    for number, window in enumerate(windows, start=1):
        axes.plot([window[0], window[-1]], [number, number], color="0.7", linewidth=2, zorder=0)
        axes.scatter(window, [number] * k, marker="s", s=110, color=plots.BLUE)
        axes.text(-1, number, f"$y_{number - 1}$", ha="center", va="center")
    axes.set(xlim=(-1.6, n), ylim=(outputs + 0.6, -0.7))
    axes.set_axis_off()
    return figure


def _cell(x: float, y: float, colour: str, width: float = 1) -> Rectangle:
    """A cell of a row, around ``(x, y)``."""
    corner = (x - width / 2 + 0.04, y - 0.42)
    return Rectangle(corner, width - 0.08, 0.84, facecolor=colour, edgecolor="0.45", linewidth=0.8)


# --- computational graph --------------------------------------------------------------------------


class ComputationalGraph(LiveFigure):
    """See :func:`computational_graph`.

    Attributes:
        x, w1, b, w2, t: input, weights, bias and target, from -9 to 9.
        step: how far it has come: 5 steps forward, then 6 back.
    """

    module = "graph"
    _esm = bundle(module)
    x = _setting(traitlets.Int(2, min=-9, max=9))
    w1 = _setting(traitlets.Int(3, min=-9, max=9))
    b = _setting(traitlets.Int(-1, min=-9, max=9))
    w2 = _setting(traitlets.Int(2, min=-9, max=9))
    t = _setting(traitlets.Int(7, min=-9, max=9))
    step = _setting(traitlets.Int(0, min=0, max=11))


def computational_graph() -> ComputationalGraph:
    """Step through a network of two layers in single numbers: values forward, slopes back.

    It begins with x = 2, w1 = 3, b = -1, w2 = 2 and the target t = 7; every number can be changed.
    """
    numbers = {"x": 2, "w1": 3, "b": -1, "w2": 2, "t": 7}
    wires = _graph_numbers(**numbers)
    said = ", ".join(f"{slope:g} for {name}" for name, (_, slope, _) in wires.items())
    alt = (
        "The computational graph of two layers, three times. First only the values stand above "
        f"the wires, up to the loss {wires['L'][0]:g}. Then the slopes appear below them, from the "
        f"loss backwards. At last all wires have one: {said}."
    )
    caption = (
        "Above each wire its value (blue), below it the slope of the loss with respect to it "
        "(orange). In JupyterLab and in the book this figure is live: you step through it, and can "
        "change every number."
    )
    return ComputationalGraph({}, _draw_graphs(wires), alt, caption, **numbers)


Wires: TypeAlias = dict[str, tuple[float, float, int]]


def _graph_numbers(x: float, w1: float, b: float, w2: float, t: float) -> Wires:
    """Of each wire its value, its slope, and after how many steps back the slope is known."""
    a = w1 * x
    z = a + b
    h = max(0, z)
    y = w2 * h
    dy = 2 * (y - t)
    dz = dy * w2 if z > 0 else 0
    return {
        "L": ((y - t) ** 2, 1, 0), "y": (y, dy, 1), "w2": (w2, dy * h, 2), "h": (h, dy * w2, 2),
        "z": (z, dz, 3), "a": (a, dz, 4), "b": (b, dz, 4), "w1": (w1, dz * x, 5),
        "x": (x, dz * w1, 5),
    }  # fmt: skip


# Where each wire starts and ends, in columns; True if it comes from above.
_PLACES = {
    "x": (0, 1, False), "w1": (1, 1, True), "a": (1, 2, False), "b": (2, 2, True),
    "z": (2, 3, False), "h": (3, 4, False), "w2": (4, 4, True), "y": (4, 5, False),
    "L": (5, 6, False),
}  # fmt: skip
_CIRCLES = {1: "×", 2: "+", 3: "ReLU", 4: "×", 5: "(·−t)²"}
_ENDS = {(0, 0): "$x$", (1, 1): "$w_1$", (2, 1): "$b$", (4, 1): "$w_2$", (6, 0): "$L$"}


def _draw_graphs(wires: Wires) -> Figure:
    titles = {
        "1. Forward: the values": -1,
        "2. Back to the second layer": 2,
        "3. Back to the inputs: every slope": 5,
    }
    figure, panels = plt.subplots(3, 1, figsize=(6.4, 5.6))
    for axes, (title, known) in zip(panels, titles.items(), strict=True):
        for name, (value, slope, step) in wires.items():
            place, side = _draw_wire(axes, *_PLACES[name])
            weight = "bold" if step == known else "normal"
            _number(axes, place, side, value, plots.BLUE)
            if step <= known:
                _number(axes, place, -side, slope, plots.RED, weight=weight)
        for column, text in _CIRCLES.items():
            axes.text(column, 0, text, ha="center", va="center", fontsize=9 if text[1:] else 13,
                      bbox={"boxstyle": "circle,pad=0.35", "facecolor": "white"})  # fmt: skip
        for at, text in _ENDS.items():
            axes.text(*at, text, ha="center", va="center", fontsize=12)
        axes.set(xlim=(-0.3, 6.3), ylim=(-0.45, 1.2))
        axes.set_title(title, loc="left")
        axes.set_axis_off()
    return figure


def _draw_wire(axes: Axes, start: int, end: int, above: bool) -> tuple[tuple[float, float], float]:
    """Draw a wire; return where its numbers stand, and how far from its middle."""
    axes.annotate("", (end, 0), (start, int(above)), arrowprops={
        "arrowstyle": "-|>", "color": "0.5", "shrinkA": 11, "shrinkB": 15})  # fmt: skip
    return ((end + 0.1, 0.55), 0.14) if above else (((start + end) / 2 - 0.02, 0), 0.17)


def _number(
    axes: Axes,
    place: tuple[float, float],
    offset: float,
    number: float,
    colour: str,
    weight: str = "normal",
) -> None:
    x, y = place
    side = "left" if y else "center"
    words = f"{number:g}".replace("-", "−")
    axes.text(x, y + offset, words, color=colour, ha=side, va="center", weight=weight)


# --- receptive field ------------------------------------------------------------------------------


class ReceptiveField(LiveFigure):
    """See :func:`receptive_field`.

    Attributes:
        layers: dictionaries with ``kind`` ("conv" or "pool"), ``k``, ``s``, ``p`` and ``d``.
        level, unit: the unit that is asked; level 0 is the input.
    """

    module = "receptive-field"
    _esm = bundle(module)
    layers = _setting(traitlets.List(traitlets.Dict(), minlen=1))
    level = _setting(traitlets.Int(0, min=0))
    unit = _setting(traitlets.Int(0, min=0))


def receptive_field(layers: Iterable[nn.Module] | None = None, size: int = 28) -> ReceptiveField:
    """A stack of layers: point at a unit of any of them and see the pixels that it sees.

    Args:
        layers: the layers in order, such as an ``nn.Sequential``. Convolutions and poolings are
            taken, with equal height and width; layers that look at one unit at a time are passed
            over. Everything after the first ``Flatten`` is left out, because its units see all
            pixels.
            Without layers, those of :func:`mnist_course.models.course_network`.
        size: height and width of the input.

    Raises:
        ValueError: if no layer is left, or one has unequal height and width, or does not fit.
        TypeError: if a layer is of an unknown kind.
    """
    stack = [_layer(module) for module in _spatial(course_network() if layers is None else layers)]
    if not stack:
        raise ValueError("expected at least one convolution or pooling layer")
    sizes, fields = _recursion(stack, size)
    if min(sizes) < 1:
        raise ValueError(f"the layers do not fit: a row of {size} pixels becomes {sizes[1:]}")
    unit = sizes[-1] // 2
    r, j, start = fields[-1]
    first = start + unit * j
    alt = (
        f"The units of {len(stack)} layers over a row of {size} pixels. The window of unit {unit} "
        f"of the last layer widens from layer to layer, down to the {r} places {first} to "
        f"{first + r - 1} of the input."
    )
    caption = (
        f"A unit of the last layer sees {r} × {r} pixels. In JupyterLab and in the book this "
        "figure is live: the layers can be changed, and every unit shows what it sees."
    )
    picture = _draw_receptive_field(stack, sizes, fields, unit)
    chosen = {"layers": stack, "level": len(stack), "unit": unit}
    return ReceptiveField({"n": size}, picture, alt, caption, **chosen)


def _spatial(layers: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The convolutions and poolings before the first ``Flatten``, in order."""
    pointwise = (
        Normalize, nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid,
        nn.Tanh, nn.BatchNorm2d, nn.Dropout, nn.Dropout2d,
    )  # fmt: skip
    for layer in layers:
        if isinstance(layer, nn.Flatten):
            return
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            yield layer
        elif not isinstance(layer, pointwise):
            raise TypeError(
                f"cannot tell what {type(layer).__name__} sees; "
                "pass convolutions, poolings and layers that act on each unit alone, in order"
            )


def _layer(module: nn.Module) -> dict[str, Any]:
    """A convolution or pooling as the JavaScript module knows it."""
    numbers = {
        short: getattr(module, name, default)
        for short, name, default in (
            ("k", "kernel_size", 1), ("s", "stride", 1), ("p", "padding", 0), ("d", "dilation", 1),
        )
    }  # fmt: skip
    layer: dict[str, Any] = {"kind": "conv" if isinstance(module, nn.Conv2d) else "pool"}
    for short, number in numbers.items():
        if isinstance(number, str):
            raise ValueError(f"expected padding as a number, got {number!r} in {module}")
        height, width = (number, number) if isinstance(number, int) else number
        if height != width:
            raise ValueError(f"expected equal height and width, got {module}")
        layer[short] = height
    return layer


def _recursion(
    stack: Sequence[Mapping[str, int]], size: int
) -> tuple[list[int], list[tuple[int, int, int]]]:
    """For the input and each layer: units in a row; receptive field, jump, start of unit 0."""
    sizes, fields = [size], [(1, 1, 0)]
    for layer in stack:
        k, s, p, d = (layer[name] for name in "kspd")
        r, j, start = fields[-1]
        sizes.append((sizes[-1] + 2 * p - d * (k - 1) - 1) // s + 1)
        fields.append((r + d * (k - 1) * j, j * s, start - p * j))
    return sizes, fields


def _seen(stack: Sequence[Mapping[str, Any]], sizes: Sequence[int], unit: int) -> list[set[int]]:
    """For the input and each layer: the units that a unit of the last layer depends on."""
    seen = [{unit}]
    for layer, size in zip(reversed(stack), reversed(sizes[:-1]), strict=True):
        k, s, p, d = (layer[name] for name in "kspd")
        read = {i * s - p + u * d for i in seen[0] for u in range(k)}
        seen.insert(0, read & set(range(size)))
    return seen


def _draw_receptive_field(
    stack: Sequence[Mapping[str, Any]],
    sizes: Sequence[int],
    fields: Sequence[tuple[int, int, int]],
    unit: int,
) -> Figure:
    figure, axes = plt.subplots(figsize=(6.4, 0.3 + 0.45 * len(sizes)))
    gap, seen = 1.7, _seen(stack, sizes, unit)
    edges = []
    for level, ((r, j, start), size) in enumerate(zip(fields, sizes, strict=True)):
        centres = [start + i * j + (r - 1) / 2 for i in range(size)]
        colour = plots.RED if level == len(stack) else plots.BLUE
        for i, centre in enumerate(centres):
            axes.add_patch(_cell(centre, level * gap, colour if i in seen[level] else "white", j))
        edges.append((centres[min(seen[level])] - j / 2, centres[max(seen[level])] + j / 2))
        name = f"{level} {stack[level - 1]['kind']}" if level else "input"
        axes.text(-9, level * gap, f"{name}: {size}", va="center")
    for level, (below, above) in enumerate(pairwise(edges)):
        axes.fill(
            [above[0], above[1], below[1], below[0]],
            [(level + 1) * gap - 0.42] * 2 + [level * gap + 0.42] * 2,
            color=plots.BLUE, alpha=0.15, linewidth=0,
        )  # fmt: skip
    axes.set(xlim=(-9.5, sizes[0] + 1), ylim=(-0.7, gap * len(stack) + 0.7))
    axes.set_axis_off()
    return figure


# --- pooling and shift ----------------------------------------------------------------------------


class PoolingShift(LiveFigure):
    """See :func:`pooling_shift`.

    Attributes:
        pixels: the digit, base64 of 28 x 28 bytes; :attr:`image` has it as a tensor.
        map: what is pooled, the map of left ``"edges"`` or the ``"digit"`` itself.
        kind: ``"max"`` or ``"average"``.
        window, stride: of the pooling, 1 to 4.
        right, down: how far the digit has moved, -6 to 6 pixels.
        row, column: the pooled number that is explained.
    """

    module = "pooling"
    _esm = bundle(module)
    pixels = _setting(traitlets.Unicode())
    map = _setting(traitlets.Enum(("edges", "digit"), "edges"))
    kind = _setting(traitlets.Enum(("max", "average"), "max"))
    window = _setting(traitlets.Int(2, min=1, max=4))
    stride = _setting(traitlets.Int(2, min=1, max=4))
    right = _setting(traitlets.Int(0, min=-6, max=6))
    down = _setting(traitlets.Int(0, min=-6, max=6))
    row = _setting(traitlets.Int(6, min=0))
    column = _setting(traitlets.Int(6, min=0))

    @traitlets.validate("pixels")
    def _check_pixels(self, proposal: dict[str, Any]) -> str:
        try:
            size = len(base64.b64decode(proposal["value"], validate=True))
        except ValueError:
            size = 0
        if size != 28 * 28:
            raise traitlets.TraitError("pixels must be base64 of 28 x 28 bytes; assign an image")
        return str(proposal["value"])

    @property
    def image(self) -> Tensor:
        """The digit where it began, or the reader's own, float32 ``(1, 28, 28)`` in [0, 1]."""
        raw = torch.frombuffer(bytearray(base64.b64decode(self.pixels)), dtype=torch.uint8)
        return raw.reshape(1, 28, 28) / 255

    @image.setter
    def image(self, image: Tensor) -> None:
        self.pixels = base64.b64encode(_to_bytes(image).numpy().tobytes()).decode()

    def maps(self, moved: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Digit and map, float64 ``(28, 28)``, and the pooled map: after the move, or before."""
        settings = {name: value for name, value in self.state.items() if name in _POOLING}
        by = (self.right, self.down) if moved else (0, 0)
        return _pooled_maps(self.image, *by, **settings)


_POOLING = ("map", "kind", "window", "stride")


def _pooled_maps(
    image: Tensor,
    right: int,
    down: int,
    map: str = "edges",
    kind: str = "max",
    window: int = 2,
    stride: int = 2,
) -> tuple[Tensor, Tensor, Tensor]:
    """A moved digit, its map and the pooled map; what leaves the picture is gone."""
    x = F.pad(image[None].double(), (right, -right, down, -down))
    edge = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=x.dtype)[None, None]
    values = F.conv2d(x, edge, padding=1).relu() if map == "edges" else x
    pool = F.max_pool2d if kind == "max" else F.avg_pool2d
    return x[0, 0], values[0, 0], pool(values, window, stride)[0, 0]


def pooling_shift(image: Tensor, right: int = 1, down: int = 0) -> PoolingShift:
    """Move a digit by pixels, and see what changes in its edge map and in the pooled map.

    Readers choose pooling, window and stride, and can draw a digit of their own.

    Args:
        image: one picture of 28 x 28 pixels, bytes or floats in [0, 1].
        right: how many pixels it has moved at first, -6 to 6.
        down: the same downwards.

    Raises:
        ValueError: if it is not such a picture.
    """
    pixels = _to_bytes(image)
    if pixels.shape != (28, 28):
        raise ValueError(f"expected a picture of 28 x 28 pixels, got {tuple(image.shape)}")
    settings = {
        "pixels": base64.b64encode(pixels.numpy().tobytes()).decode(), "right": right, "down": down,
    }  # fmt: skip
    before, after = (_pooled_maps(pixels[None] / 255, *by) for by in ((0, 0), (right, down)))
    changed = [(a - b).abs() > 1e-9 for a, b in zip(before, after, strict=True)]
    alt = (
        f"A digit that has moved to the right by {right} and down by {down}, its map of left "
        f"edges, and the largest number of each 2 by 2 window of the map. Dots mark what the move "
        f"has changed: {int(changed[1].sum())} of 784 numbers of the map, and "
        f"{int(changed[2].sum())} of 196 numbers of the pooled map."
    )
    caption = (
        "Dots mark the numbers that change when the digit moves. In JupyterLab and in the book "
        "this figure is live: you move the digit, choose the pooling, and can draw your own."
    )
    return PoolingShift({}, _draw_shift(after, changed), alt, caption, **settings)


def _draw_shift(maps: Sequence[Tensor], changed: Sequence[Tensor]) -> Figure:
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.5))
    titles = ("digit", "map of left edges", "largest of 2 × 2")
    for place, values, cells, title in zip(axes, maps, changed, titles, strict=True):
        place.imshow(values.numpy(), vmin=0)
        place.set(title=title, xticks=[], yticks=[], xlabel=f"{len(values)} × {len(values)}")
        place.spines[:].set_visible(True)
        if title != "digit":
            rows, columns = cells.nonzero().T
            place.scatter(columns, rows, s=2.5, marker="s", color=plots.PINK)
    return figure


# --- logits ---------------------------------------------------------------------------------------


class LogitSliders(LiveFigure):
    """See :func:`logit_sliders`.

    Attributes:
        logits: ten numbers.
        temperature: the logits are divided by it, 0.05 to 20.
        label: the right digit.
        threshold: the probability from which the answer counts as sure.
    """

    module = "logits"
    _esm = bundle(module)
    logits = _setting(traitlets.List(traitlets.Float(min=-1000, max=1000), minlen=10, maxlen=10))
    temperature = _setting(traitlets.Float(1.0, min=0.05, max=20))
    label = _setting(traitlets.Int(0, min=0, max=9))
    threshold = _setting(traitlets.Float(0.9, min=0, max=1))

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits at this temperature, float64 ``(10,)``."""
        return _answer(self.logits, self.label, self.temperature)[0]

    @property
    def loss(self) -> float:
        """The cross-entropy at this temperature."""
        return _answer(self.logits, self.label, self.temperature)[1]

    @property
    def slopes(self) -> Tensor:
        """The gradient of the loss with respect to the logits, float64 ``(10,)``."""
        return _answer(self.logits, self.label, self.temperature)[2]


def _answer(
    logits: Sequence[float], label: int, temperature: float
) -> tuple[Tensor, float, Tensor]:
    """Probabilities, loss, and the gradient of the loss with respect to the logits."""
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        loss = F.cross_entropy(z / temperature, torch.tensor(label))
    (slopes,) = torch.autograd.grad(loss, z)
    return (z.detach() / temperature).softmax(0), loss.item(), slopes


def logit_sliders(
    logits: Tensor | Sequence[float], label: int, temperature: float = 1.0, threshold: float = 0.9
) -> LogitSliders:
    """Move ten logits: probabilities, loss, the slopes p - y, and whether the answer is sure.

    Args:
        logits: ten numbers to begin with, any shape.
        label: the right digit.
        temperature: what the logits are divided by.
        threshold: the probability from which the answer counts as sure.

    Raises:
        ValueError: if there are not ten logits, or the label is not a digit.
    """
    numbers = [round(z, 2) for z in torch.as_tensor(logits).flatten().tolist()]
    if len(numbers) != 10:
        raise ValueError(f"expected ten logits, one for each digit, got {len(numbers)}")
    if not 0 <= label <= 9:
        raise ValueError(f"expected a label from 0 to 9, got {label}")
    p, loss, slopes = _answer(numbers, label, temperature)
    alt = (
        f"Ten logits, their probabilities and the slopes of the loss. The most probable digit is "
        f"{int(p.argmax())}, with {100 * p.max():.0f} per cent; the right one is {label}, with "
        f"{100 * p[label]:.0f} per cent. Its slope is {slopes[label]:.2f}, those of all others "
        f"are positive. The loss is {loss:.2f}."
    )
    caption = (
        "Logits, probabilities and slopes. In JupyterLab and in the book this figure is live: "
        "you move the logits, the temperature and the threshold."
    )
    picture = _draw_logits(numbers, p, slopes, threshold)
    return LogitSliders(
        {}, picture, alt, caption,
        logits=numbers, label=label, temperature=temperature, threshold=threshold,
    )  # fmt: skip


def _draw_logits(logits: list[float], p: Tensor, slopes: Tensor, threshold: float) -> Figure:
    figure, axes = plt.subplots(1, 3, figsize=(6.4, 2.6), sharey=True)
    columns = {"logit": logits, "probability": p.tolist(), "slope": slopes.tolist()}
    for place, (name, values) in zip(axes, columns.items(), strict=True):
        signed = [plots.RED if value > 0 else plots.BLUE for value in values]
        place.barh(range(10), values, color=signed if name == "slope" else plots.BLUE)
        place.axvline(0, color="0.5", linewidth=0.8)
        place.set(title=name, yticks=range(10))
    axes[1].axvline(threshold, color=plots.PINK)
    axes[1].set(xlim=(0, 1.02), xticks=[0, 0.5, 1])
    axes[0].invert_yaxis()
    axes[0].set_ylabel("digit")
    return figure


# --- valley ---------------------------------------------------------------------------------------


def _turned(w: Tensor, angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    a, b = w[..., 0], w[..., 1]
    return ((c * a + s * b) ** 2 + 25 * (c * b - s * a) ** 2) / 2


def _bent(w: Tensor) -> Tensor:
    a, b = w[..., 0], w[..., 1]
    return (0.2 * a**2 + 25 * (b + 2 - a**2 / 20) ** 2) / 2


def _double(w: Tensor) -> Tensor:
    a, b = w[..., 0], w[..., 1]
    return (a**2 - 36) ** 2 / 288 + a / 4 + 2 + 25 * b**2 / 2


GROUNDS: dict[str, Callable[[Tensor], Tensor]] = {
    "valley": lambda w: _turned(w, 0),
    "turned": lambda w: _turned(w, math.pi / 6),
    "bent": _bent,
    "double": _double,
}
"""The losses that can be walked down, from weights ``(..., 2)`` to losses ``(...)``."""

RULES: dict[str, Callable[[list[Tensor], float, float], torch.optim.Optimizer]] = {
    "descent": lambda w, rate, _: torch.optim.SGD(w, rate),
    "momentum": lambda w, rate, mu: torch.optim.SGD(w, rate, mu),
    "nesterov": lambda w, rate, mu: torch.optim.SGD(w, rate, mu, nesterov=mu > 0),
    "adam": lambda w, rate, mu: torch.optim.Adam(w, rate, betas=(mu, 0.999)),
}


class ValleyWalk(LiveFigure):
    """See :func:`valley_walk`.

    Attributes:
        ground: the loss, one of :data:`GROUNDS`.
        rule: ``"descent"``, ``"momentum"``, ``"nesterov"`` or ``"adam"``.
        rate: the learning rate, 0.001 to 10.
        momentum: of the rules that have it; Adam's first beta.
        start: the two weights at first, -11 to 11.
        steps: how far it has come, up to 300.
    """

    module = "valley"
    _esm = bundle(module)
    ground = _setting(traitlets.Enum(tuple(GROUNDS), "valley"))
    rule = _setting(traitlets.Enum(tuple(RULES), "descent"))
    rate = _setting(traitlets.Float(0.04, min=0.001, max=10))
    momentum = _setting(traitlets.Float(0.9, min=0, max=0.99))
    start = _setting(
        traitlets.List(traitlets.Float(min=-11, max=11), [10.0, 2.0], minlen=2, maxlen=2)
    )
    steps = _setting(traitlets.Int(0, min=0, max=300))

    @property
    def path(self) -> Tensor:
        """All places of the walk, by PyTorch, float64 ``(steps + 1, 2)``.

        Shorter where a number is no longer one.
        """
        return walk(**self.state)


def walk(
    ground: str, rule: str, rate: float, momentum: float, start: Sequence[float], steps: int
) -> Tensor:
    """The places of a walk, by PyTorch's optimiser: float64 ``(steps + 1, 2)``.

    Shorter where a number is no longer one.

    Raises:
        ValueError: if there is no such ground or rule.
    """
    for name, known in ((ground, GROUNDS), (rule, RULES)):
        if name not in known:
            raise ValueError(f"expected one of {', '.join(map(repr, known))}, got {name!r}")
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = RULES[rule]([w], rate, momentum)
    places = [w.detach().clone()]
    with torch.enable_grad():
        while len(places) <= steps and places[-1].isfinite().all():
            optimizer.zero_grad()
            torch.autograd.backward(GROUNDS[ground](w))
            optimizer.step()
            places.append(w.detach().clone())
    return torch.stack(places)


def valley_walk(
    ground: str = "valley",
    rule: str = "descent",
    rate: float = 0.04,
    momentum: float = 0.9,
    start: Sequence[float] = (10, 2),
    steps: int = 40,
) -> ValleyWalk:
    """Walk down a loss of two weights from a place of your own, by a rule and rate of your own.

    Args:
        ground: the loss, one of :data:`GROUNDS`.
        rule: ``"descent"``, ``"momentum"``, ``"nesterov"`` or ``"adam"``.
        rate: the learning rate.
        momentum: of the rules that have it.
        start: two weights.
        steps: how many at first.

    Raises:
        ValueError: if there is no such ground or rule.
        traitlets.TraitError: if a number is out of the range that :class:`ValleyWalk` says.
    """
    path = walk(ground, rule, rate, momentum, start, steps)
    last = path[path.isfinite().all(1)][-1]
    named = "gradient descent" if rule == "descent" else rule
    alt = (
        f"A loss of two weights from above, as lines of equal height, and {len(path) - 1} steps of "
        f"{named} at the rate {rate:g}: from {start[0]:g}, {start[1]:g} to {last[0]:.2f}, "
        f"{last[1]:.2f}."
    )
    caption = (
        f"{named.capitalize()} at the rate {rate:g}. In JupyterLab and in the book this figure is "
        "live: you choose the start, the rule and the rate."
    )
    return ValleyWalk(
        {}, _draw_walk(GROUNDS[ground], path), alt, caption,
        ground=ground, rule=rule, rate=rate, momentum=momentum, start=list(start), steps=steps,
    )  # fmt: skip


def _draw_walk(loss: Callable[[Tensor], Tensor], path: Tensor) -> Figure:
    figure, axes = plt.subplots(figsize=(6.4, 2.9))
    across, up = torch.linspace(-11, 11, 111), torch.linspace(-5, 5, 101)
    a, b = torch.meshgrid(across, up, indexing="xy")
    height = loss(torch.stack([a, b], -1)).sqrt()
    axes.contour(a, b, height, levels=14, colors="0.75", linewidths=0.8)
    axes.plot(*path.T, color=plots.BLUE, marker=".", markersize=4, linewidth=1)
    axes.scatter(*path[-1], color=plots.PINK, zorder=3)
    axes.set(xlim=(-11, 11), ylim=(-5, 5), xlabel="$w_0$", ylabel="$w_1$")
    return figure


# --- train it here --------------------------------------------------------------------------------

SHADES = 8
"""How many shades of grey a packed pixel has. They are enough to read by."""

MNIST_NOTICE = (
    "MNIST: Yann LeCun, Corinna Cortes and Christopher J. C. Burges; licence CC BY-SA 3.0, "
    "https://creativecommons.org/licenses/by-sa/3.0/. A selection, in eight shades of grey."
)


@dataclass(frozen=True)
class PackedDigits:
    """Digits for the training in the page, as ``static/digits.js`` reads them.

    Attributes:
        source: what they are, in a word or two.
        notice: what their licence wants to be said.
        content: the bytes, compressed.
    """

    source: str
    notice: str
    content: bytes


def pack_digits(digits: Digits, held_out: int) -> PackedDigits:
    """Pack digits: in :data:`SHADES` shades of grey, two pixels in a byte, compressed.

    Args:
        digits: the digits, in any order; the last ``held_out`` are not learned from.
        held_out: how many; fewer than there are digits.

    Raises:
        ValueError: if none would be left to learn from, or none is held out.
    """
    if not 0 < held_out < len(digits):
        raise ValueError(f"held_out must be 1 to {len(digits) - 1}, got {held_out}")
    pixels = data.to_float(digits.images).flatten(0, 1).mul(SHADES - 1).round().to(torch.uint8)
    pairs = (pixels[:, 0::2] | pixels[:, 1::2] << 4).numpy()
    head = struct.pack("<4sIII", b"DGIT", len(digits), len(digits) - held_out, SHADES)
    body = digits.labels.to(torch.uint8).numpy().tobytes() + pairs.tobytes()
    notice = MNIST_NOTICE if digits.source == "MNIST" else f"Digits: {digits.source}."
    return PackedDigits(digits.source, notice, zlib.compress(head + body, 9))


def training_digits() -> PackedDigits:
    """The digits that the page trains with: 24,000 of MNIST, and 1,500 that are held out.

    Where MNIST is not at hand, the stand-in; nothing is fetched for it.
    """
    at_hand = data.available() in ("folder", "cache")
    digits = data.load("train") if at_hand else data.uci_digits("train")
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    chosen = digits[order[:25_500]]
    return pack_digits(chosen, held_out=min(1500, len(chosen) // 5))


def _float_between(low: float, high: float) -> Any:
    return _setting(traitlets.Float(None, min=low, max=high, allow_none=True))


def _int_between(low: int, high: int) -> Any:
    return _setting(traitlets.Int(None, min=low, max=high, allow_none=True))


def _one_of(*words: str) -> Any:
    return _setting(traitlets.Enum(words, None, allow_none=True))


class TrainHere(LiveFigure):
    """See :func:`train_here`.

    A setting that is None is as the figure has it: it is known as soon as the figure is shown.

    Attributes:
        network: the recipe's (``"fast"``) or the clinic's (``"clinic"``).
        channels, norm, activation, dropout: of the network; channels in eights.
        optimizer: ``"sgd"``, ``"nesterov"`` or ``"adam"``.
        rate, momentum, schedule, batch, smoothing: of the training.
        digits, steps: how many to learn from, and how long.
        seed: of the weights and the order of the digits.
        pace: ``"slow"``, ``"watch"`` or ``"full"``.
        patient: of the clinic, 1 to 10; 0 is healthy.
        running: whether it trains; once it is shown, assign True to begin, False to pause.
        step: how many steps it has made.
        loss: of the last step; None before the first, and where it is not a number.
        accuracy: the share of the held-out digits that it reads; None before it was measured.
    """

    module = "train-here"
    _esm = bundle(module)
    network = _one_of("fast", "clinic")
    channels = _int_between(8, 32)
    norm = _setting(traitlets.Bool(None, allow_none=True))
    activation = _one_of("gelu", "relu", "leaky relu", "tanh", "sigmoid", "none")
    dropout = _float_between(0, 0.9)
    optimizer = _one_of("sgd", "nesterov", "adam")
    rate = _float_between(1e-6, 100)
    momentum = _float_between(0, 1)
    schedule = _one_of("triangular", "constant")
    batch = _int_between(2, 256)
    smoothing = _float_between(0, 0.9)
    digits = _int_between(20, 60_000)
    steps = _int_between(1, 5000)
    seed = _int_between(1, 999_999)
    pace = _one_of("slow", "watch", "full")
    patient = _int_between(0, 10)
    running = traitlets.Bool(False).tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    loss = traitlets.Float(None, allow_none=True).tag(sync=True)
    accuracy = traitlets.Float(None, allow_none=True).tag(sync=True)

    def __init__(self, *arguments: Any, **traits: Any) -> None:
        super().__init__(*arguments, **traits)
        self.on_msg(self._answer)

    def _answer(self, _: Any, content: Any, buffers: list[Any]) -> None:
        """Give the digits to a view that asks for them."""
        if isinstance(content, dict) and content.get("type") == "digits":
            packed = training_digits()
            answer = {"type": "digits", "view": content.get("view"), "source": packed.source}
            self.send(answer, [packed.content])


def train_here(settings: Mapping[str, Any] | None = None) -> TrainHere:
    """Train a network where you read: steer it, stop it, make it sick, draw on it.

    Args:
        settings: what to begin with, by the names in the figure's address, such as
            ``{"rate": 0.5, "optimizer": "sgd"}`` or ``{"patient": 3}``; the recipe ``sprint``
            otherwise.

    Raises:
        ValueError: if there is no such setting.
        traitlets.TraitError: if a setting has a value that it may not have.
    """
    known = TrainHere.class_trait_names(setting=True)
    if unknown := sorted(set(settings or {}) - set(known)):
        raise ValueError(f"no setting {unknown[0]!r}; there are {', '.join(sorted(known))}")
    losses, kernels = _short_training()
    alt = (
        f"The loss of a training of {len(losses)} steps falls from {losses[0]:.1f} to "
        f"{losses[-1]:.1f}, steeply at first and then slowly. Under it the eight kernels of the "
        "first layer, before and after: at first noise, afterwards some have a light and a dark "
        "side."
    )
    caption = (
        "Loss and first kernels of a small network in its first hundred steps. In JupyterLab and "
        "in the book this figure is live: you train the network yourself."
    )
    return TrainHere({}, _draw_training(losses, kernels), alt, caption, **(settings or {}))


def _short_training() -> tuple[list[float], list[torch.Tensor]]:
    """A hundred steps of the clinic's network: its losses; its first kernels before and after."""
    at_hand = data.available() in ("folder", "cache")
    digits = (data.load("train") if at_hand else data.uci_digits("train"))[:1400]
    pixels = (data.to_float(digits.images) - data.MEAN) / data.STD
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 5, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 10),
        )  # fmt: skip
        first = network[0]
        assert isinstance(first, nn.Conv2d)
        kernels = [first.weight.detach().clone()]
        optimizer = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9)
        losses = []
        for step in range(100):
            batch = torch.arange(50 * step, 50 * step + 50) % len(digits)
            loss = F.cross_entropy(network(pixels[batch]), digits.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, [*kernels, first.weight.detach()]


def _draw_training(losses: Sequence[float], kernels: Sequence[torch.Tensor]) -> Figure:
    figure, axes = plt.subplot_mosaic("a;b;c", figsize=(6.4, 3.6), height_ratios=[5, 1, 1])
    axes["a"].plot(losses, color=plots.BLUE)
    axes["a"].set(xlabel="step", ylabel="loss", xlim=(0, len(losses)), ylim=(0, None))
    for name, weights, word in zip("bc", kernels, ("before", "after"), strict=True):
        row = F.pad(weights[:, 0], (0, 1), value=float("nan"))
        largest = float(weights.abs().max())
        axes[name].imshow(
            row.permute(1, 0, 2).flatten(1).numpy(), cmap="RdBu_r", vmin=-largest, vmax=largest
        )
        axes[name].set(xticks=[], yticks=[])
        axes[name].set_ylabel(word, rotation=0, ha="right", va="center")
        axes[name].spines[:].set_visible(False)
    return figure
