"""Measure how pictures of digits are read: a table of situations, before and now.

    python -m benchmarks.photographs                 # the code as it is
    python -m benchmarks.photographs --before REV    # the code of an older revision, too

The digits are the pen strokes of :mod:`benchmarks.strokes`. A program inks them on paper, lights
the paper, lays it on a desk, and takes the picture. Thresholds were chosen on the first half of the
lines (``--tuning``); the table comes from the second half: other digits, by the same people.

A *right* answer is sure and correct, a *wrong* one sure and false. On a page of several digits
every digit counts; if their number is wrong and nothing says so, all of them are wrong.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import time
import types
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

from benchmarks.strokes import halves, pen_strokes
from mnist_course import measurements, pretrained

SEED, PICTURES = 0, 200
OUTCOMES = ("right", "unsure", "wrong", "refused")
Rng = np.random.Generator
Array = np.ndarray[Any, np.dtype[Any]]
Stroke = list[list[float]]


class Sheet:
    """A sheet of paper, ``(height, width)`` pixels, and the ink on it, 0 … 1."""

    def __init__(self, height: int, width: int) -> None:
        self.shape = height, width
        self.image = Image.new("L", (2 * width, 2 * height))
        self.brush = ImageDraw.Draw(self.image)

    def write(self, strokes: list[Stroke], x: float, y: float, side: float, pen: float) -> None:
        """Ink a digit around ``(x, y)``, its longer side ``side``, with a round pen."""
        points = [np.array(stroke, float).reshape(-1, 2) for stroke in strokes if stroke]
        everything = np.concatenate(points)
        low, high = everything.min(0), everything.max(0)
        scale = (side - pen) / max(float((high - low).max()), 1)
        for stroke in points:
            moved = 2 * ((stroke - (low + high) / 2) * scale + [x, y])
            self.brush.line([tuple(p) for p in moved], fill=255, width=round(2 * pen))
            for px, py in moved:
                self.brush.ellipse([px - pen, py - pen, px + pen, py + pen], fill=255)

    def ink(self) -> Array:
        """How much of each pixel is ink, float32 ``(H, W)``."""
        return np.asarray(self.image.reduce(2), np.float32) / 255


def one_digit(digit: dict[str, Any], rng: Rng, largest: float = 0.75) -> Array:
    """The ink of one digit, somewhere on a page of some 400 pixels."""
    height, width = rng.integers(330, 470, 2)
    sheet = Sheet(height, width)
    side = rng.uniform(0.3, largest) * min(height, width)
    room = 0.5 * side + 12
    x, y = rng.uniform(room, width - room), rng.uniform(room, height - room)
    sheet.write(digit["strokes"], x, y, side, side * rng.uniform(0.05, 0.12))
    return sheet.ink()


def coordinates(shape: tuple[int, int]) -> tuple[Array, Array]:
    """Where each pixel lies, y and x, each from -1 to 1."""
    return np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")


def slope(shape: tuple[int, int], rng: Rng, least: float = 0.7) -> Array:
    """Light that falls from one side."""
    y, x = coordinates(shape)
    angle = rng.uniform(0, 2 * np.pi)
    along = (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(2)
    return 1 - (1 - rng.uniform(least, 1)) * (along + 1) / 2


def coloured(ink: Array, paper: Any, pen: Any) -> Array:
    """Paper and ink in colour, ``(H, W, 3)`` in [0, 1]; grey where a colour is a number."""
    paper, pen = np.broadcast_to(paper, 3), np.broadcast_to(pen, 3)
    return (paper + ink[..., None] * (pen - paper)).astype(np.float32)


def taken(scene: Array, rng: Rng) -> Image.Image:
    """The picture that a camera takes: a little blurred, with noise, often as a JPEG."""
    blurred = ndimage.gaussian_filter(scene, (*[rng.uniform(0.4, 1.3)] * 2, 0))
    noisy = blurred + rng.normal(0, rng.uniform(0.003, 0.025), scene.shape[:2])[..., None]
    picture = Image.fromarray((noisy.clip(0, 1) * 255).round().astype(np.uint8))
    if rng.random() < 0.5:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(60, 95)))
        return Image.open(file)
    return picture


def pen_colour(rng: Rng) -> Array:
    """A dark pen: black, blue or grey."""
    return rng.uniform(0.05, 0.3) + np.array([0, 0, rng.choice([0, 0.25])])


def plain(digit: Any, rng: Rng) -> Image.Image:
    """Black on white, as a drawing program saves it."""
    ink = one_digit(digit, rng)
    return Image.fromarray((255 - 235 * ink).round().astype(np.uint8))


def desk_edge(digit: Any, rng: Rng) -> Image.Image:
    """A little of the desk, at one side or all around; the page does not lie quite straight."""
    ink = one_digit(digit, rng)
    height, width = ink.shape
    y, x = (c * s for c, s in zip(coordinates(ink.shape), (height / 2, width / 2), strict=True))
    desk = np.zeros(ink.shape, bool)
    for turn in range(4):
        if rng.random() < 0.6 or turn == 0:
            angle = np.pi / 2 * turn + np.radians(rng.uniform(-3, 3))
            reach = (width if turn % 2 == 0 else height) / 2
            desk |= x * np.cos(angle) + y * np.sin(angle) > reach - rng.uniform(3, 45)
    scene = coloured(ink * ~desk, rng.uniform(0.75, 0.95), pen_colour(rng))
    wood = rng.uniform(0.1, 0.4) * np.array([1, rng.uniform(0.6, 1), rng.uniform(0.4, 1)])
    grain = 1 + 0.1 * ndimage.gaussian_filter(rng.normal(0, 8, ink.shape), (1, 12))
    scene = np.where(desk[..., None], wood * grain[..., None], scene)
    return taken(scene * slope(ink.shape, rng)[..., None], rng)


def scanner_strip(digit: Any, rng: Rng) -> Image.Image:
    """A scan with the scanner's black strip at one side or two."""
    ink = one_digit(digit, rng)
    scene = coloured(ink, rng.uniform(0.88, 1), pen_colour(rng))
    for side in rng.choice(4, rng.integers(1, 3), replace=False):
        strip = np.rot90(scene, side)[: rng.integers(3, 50)]
        strip[:] = rng.uniform(0, 0.12)
    return taken(scene, rng)


def window_frame(digit: Any, rng: Rng) -> Image.Image:
    """A screenshot: a drawing program's window with its title bar and frame."""
    ink = one_digit(digit, rng, 0.6)
    dark = rng.random() < 0.3
    colours = (0.12, 0.9) if dark else (1.0, 0.05)
    room, bar, line = int(rng.integers(0, 25)), int(rng.integers(14, 40)), int(rng.integers(1, 5))
    page = coloured(ink, *colours)
    frame = rng.uniform(0.2, 0.75, 3)
    window = np.pad(page, ((line, line), (line, line), (0, 0)))
    window[:line] = window[-line:] = frame
    window[:, :line] = window[:, -line:] = frame
    title = np.tile(frame.astype(np.float32), (bar, window.shape[1], 1))
    for n in range(3):  # the buttons of the window
        left = window.shape[1] - (n + 1) * bar + bar // 4
        title[bar // 4 : bar - bar // 4, left : left + bar // 2] = rng.uniform(0, 1, 3)
    window = np.concatenate([title, window])
    scene = np.tile(rng.uniform(0.1, 0.9, 3), (*np.add(window.shape[:2], 2 * room), 1))
    scene[room : room + len(window), room : room + window.shape[1]] = window
    return Image.fromarray((scene * 255).round().astype(np.uint8))


def transparency(digit: Any, rng: Rng) -> Image.Image:
    """Ink of any colour on nothing, as a sticker or a signature is saved."""
    ink = one_digit(digit, rng)
    colour = rng.uniform(0, 1, 3) * rng.choice([0, 1])
    if rng.random() < 0.3:
        colour = 1 - 0.2 * colour
    rgba = np.concatenate([np.broadcast_to(colour, (*ink.shape, 3)), ink[..., None]], axis=-1)
    if rng.random() < 0.5:  # whatever lies under what is not seen
        rgba[..., :3] = np.where(ink[..., None] > 0, colour, rng.uniform(0, 1, 3))
    return Image.fromarray((rgba * 255).round().astype(np.uint8))


def glare(digit: Any, rng: Rng) -> Image.Image:
    """A whiteboard with one or two soft reflections."""
    ink = one_digit(digit, rng)
    board = rng.uniform(0.55, 0.78)
    scene = coloured(ink, board, board * rng.uniform(0.3, 0.65))
    y, x = coordinates(ink.shape)
    for _ in range(rng.integers(1, 3)):
        cy, cx = rng.uniform(-1, 1, 2)
        width, height = rng.uniform(0.15, 0.5, 2)
        far = ((x - cx) / width) ** 2 + ((y - cy) / height) ** 2
        bright = rng.uniform(0.2, 0.6) * np.exp(-far)
        scene = scene + bright[..., None]  # the board reflects beside and over the ink
    return taken(scene, rng)


def lamp_spot(digit: Any, rng: Rng) -> Image.Image:
    """Dim paper, and the small bright spot of a lamp."""
    ink = one_digit(digit, rng)
    paper = rng.uniform(0.35, 0.6)
    scene = coloured(ink, paper, paper * rng.uniform(0.2, 0.6))
    y, x = coordinates(ink.shape)
    cy, cx = rng.uniform(-1, 1, 2)
    far = np.hypot(y - cy, x - cx) / rng.uniform(0.05, 0.2)
    spot = 1 / (1 + np.exp((far - 1) / rng.uniform(0.05, 0.4)))
    return taken(scene + (rng.uniform(0.4, 1) * spot)[..., None], rng)


def hard_shadow(digit: Any, rng: Rng) -> Image.Image:
    """The sharp edge of a shadow over the page, straight or of something round."""
    ink = one_digit(digit, rng)
    scene = coloured(ink, rng.uniform(0.75, 0.95), pen_colour(rng))
    y, x = coordinates(ink.shape)
    angle, round_ = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5) * rng.choice([0, 1])
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    edge = (along - rng.uniform(-0.5, 0.5) + round_ * across**2) / rng.uniform(0.005, 0.03)
    dark = rng.uniform(0.35, 0.65)
    light = dark + (1 - dark) / (1 + np.exp(-edge.clip(-50, 50)))
    return taken(scene * (light * slope(ink.shape, rng))[..., None], rng)


def ruled(digit: Any, rng: Rng, both: bool = False) -> Image.Image:
    """Rules through the whole page, lighter than the ink or nearly as dark; turned a little."""
    ink = one_digit(digit, rng)
    y, x = (c * s / 2 for c, s in zip(coordinates(ink.shape), ink.shape, strict=True))
    angle, bend = np.radians(rng.uniform(-3, 3)), rng.uniform(-2, 2)
    spacing = rng.uniform(14, 30) if both else rng.uniform(22, 55)
    phase, width = rng.uniform(0, spacing, 2), rng.uniform(0.5, 1.3)
    rules = np.zeros(ink.shape)
    for n, (u, v) in enumerate(((y, x), (x, y))[: 2 if both else 1]):
        turned = u * np.cos(angle) + (-1) ** n * v * np.sin(angle) + bend * (v / v.max()) ** 2
        nearest = np.abs((turned + phase[n]) % spacing - spacing / 2)
        rules = np.maximum(rules, (width + 0.5 - nearest).clip(0, 1))
    pen, paper = pen_colour(rng), rng.uniform(0.8, 0.97)
    dark = rng.uniform(0.15, 0.85)  # of the ink's darkness
    rule = paper + dark * (pen - paper) * (rng.uniform(0.4, 1) if rng.random() < 0.5 else 1)
    scene = coloured(rules.astype(np.float32), paper, rule)
    scene = scene + ink[..., None] * (np.minimum(pen, scene) - scene)
    return taken(scene * slope(ink.shape, rng)[..., None], rng)


def squared(digit: Any, rng: Rng) -> Image.Image:
    """Squared paper."""
    return ruled(digit, rng, both=True)


def coloured_ink(digit: Any, rng: Rng) -> Image.Image:
    """Any ink on any paper that a human eye can tell from it, however alike in grey."""
    while True:
        paper, pen = rng.uniform(0.1, 1, 3), rng.uniform(0, 1, 3)
        if np.abs(paper - pen).max() > 0.35:
            break
    ink = one_digit(digit, rng)
    return taken(coloured(ink, paper, pen) * slope(ink.shape, rng)[..., None], rng)


def light_on_dark(digit: Any, rng: Rng) -> Image.Image:
    """Chalk on a board."""
    ink = one_digit(digit, rng)
    board = rng.uniform(0.08, 0.3, 3)
    scene = coloured(ink, board, board + rng.uniform(0.3, 0.65))
    return taken(scene * slope(ink.shape, rng)[..., None], rng)


def small_digit(digit: Any, rng: Rng) -> Image.Image:
    """A small digit on a large page."""
    height, width = rng.integers(1000, 1500, 2)
    sheet = Sheet(height, width)
    side = rng.uniform(0.035, 0.08) * max(height, width)
    x, y = rng.uniform(side, width - side), rng.uniform(side, height - side)
    sheet.write(digit["strokes"], x, y, side, side * rng.uniform(0.06, 0.12))
    scene = coloured(sheet.ink(), rng.uniform(0.75, 0.95), pen_colour(rng))
    return taken(scene * slope(sheet.shape, rng)[..., None], rng)


def row(digits: list[Any], rng: Rng) -> Image.Image:
    """Two to five digits in a row, in one hand and with one pen."""
    side = rng.uniform(60, 110)
    pen, gap = side * rng.uniform(0.06, 0.11), side * rng.uniform(1.1, 1.5)
    sheet = Sheet(int(side * rng.uniform(1.6, 3)), int(gap * len(digits) + side))
    for n, digit in enumerate(digits):
        x = side / 2 + gap * (n + 0.5) + rng.normal(0, 0.02 * side)
        y = sheet.shape[0] / 2 + rng.normal(0, 0.05 * side)
        sheet.write(digit["strokes"], x, y, side * rng.uniform(0.85, 1), pen)
    scene = coloured(sheet.ink(), rng.uniform(0.75, 0.95), pen_colour(rng))
    return taken(scene * slope(sheet.shape, rng)[..., None], rng)


def turned_page(digits: list[Any], rng: Rng) -> Image.Image:
    """Lines of four digits on a page that lies turned by six degrees."""
    side = rng.uniform(50, 70)
    lines, pen = len(digits) // 4, side * rng.uniform(0.07, 0.11)
    across, down = side * rng.uniform(1.3, 1.6), side * rng.uniform(1.5, 2)
    height, width = int(down * lines + 1.5 * side), int(across * 4 + 1.5 * side)
    sheet = Sheet(height, width)
    for n, digit in enumerate(digits):
        x = width / 2 + across * (n % 4 - 1.5) + rng.normal(0, 0.03 * side)
        y = height / 2 + down * (n // 4 - (lines - 1) / 2) + rng.normal(0, 0.03 * side)
        sheet.write(digit["strokes"], x, y, side * rng.uniform(0.85, 1), pen)
    turned = sheet.image.rotate(rng.choice([-6, 6]), Image.Resampling.BILINEAR)
    ink = np.asarray(turned.reduce(2), np.float32) / 255
    scene = coloured(ink, rng.uniform(0.75, 0.95), pen_colour(rng))
    return taken(scene * slope(ink.shape, rng)[..., None], rng)


SITUATIONS: dict[str, tuple[Callable[[Any, Rng], Image.Image], tuple[int, ...]]] = {
    "clean": (plain, (1,)),
    "edge of a desk": (desk_edge, (1,)),
    "scanner's strip": (scanner_strip, (1,)),
    "window's frame": (window_frame, (1,)),
    "transparency": (transparency, (1,)),
    "glare": (glare, (1,)),
    "lamp's spot": (lamp_spot, (1,)),
    "hard shadow": (hard_shadow, (1,)),
    "ruled paper": (ruled, (1,)),
    "squared paper": (squared, (1,)),
    "coloured ink": (coloured_ink, (1,)),
    "light on dark": (light_on_dark, (1,)),
    "small digit": (small_digit, (1,)),
    "several digits": (row, (2, 3, 4, 5)),
    "turned page": (turned_page, (8, 12)),
}
"""How each picture is made, and of how many digits; the same names stand in the table."""


def picture(
    situation: str, number: int, digits: list[dict[str, Any]]
) -> tuple[Image.Image, list[int]]:
    """The picture of this number in a situation, and the digits on it in reading order."""
    make, sizes = SITUATIONS[situation]
    rng = np.random.default_rng([SEED, list(SITUATIONS).index(situation), number])
    chosen = [digits[n] for n in rng.choice(len(digits), rng.choice(sizes), replace=False)]
    made = make(chosen[0] if sizes == (1,) else chosen, rng)  # type: ignore[arg-type]
    return made, [digit["label"] for digit in chosen]


def judged(labels: list[int], answers: list[int | None]) -> Counter[str]:
    """Count the outcomes, one for each digit of the picture; None is an answer that is unsure."""
    if len(labels) != len(answers):
        return Counter({"unsure" if None in answers else "wrong": len(labels)})
    pairs = zip(labels, answers, strict=True)
    return Counter("unsure" if b is None else "right" if a == b else "wrong" for a, b in pairs)


Read = Callable[[Image.Image], list[int | None]]


def reader() -> Read:
    """How the package reads a picture: digits, None where it is not sure."""
    from mnist_course import photos, reading

    network = pretrained.load()

    def read(image: Image.Image) -> list[int | None]:
        answers = reading.read(network, photos.find_digits(image))
        return [None if answer.doubt else answer.best[0] for answer in answers]

    return read


def older_reader(revision: str) -> Read:
    """How ``mnist_course/photos.py`` of an older revision read: one digit, always sure."""
    name = f"{revision}:mnist_course/photos.py"
    source = subprocess.run(["git", "show", name], capture_output=True, text=True, check=True)
    older = types.ModuleType("mnist_course.older_photos")
    sys.modules[older.__name__] = older
    exec(compile(source.stdout, name, "exec"), older.__dict__)
    network = pretrained.load()

    def read(image: Image.Image) -> list[int | None]:
        with torch.no_grad():
            return [int(network(older.digit_from_image(image)).argmax())]

    return read


def measured(read: Read, digits: list[dict[str, Any]], count: int) -> dict[str, Any]:
    """The table: for each situation, how many digits had which outcome."""
    table, seconds = {}, 0.0
    for situation in SITUATIONS:
        outcomes: Counter[str] = Counter()
        for number in range(count):
            image, labels = picture(situation, number, digits)
            image.load()
            started = time.process_time()
            try:
                outcomes += judged(labels, read(image))
            except ValueError:  # the picture is refused, with a message
                outcomes["refused"] += len(labels)
            seconds += time.process_time() - started
        table[situation] = {outcome: outcomes[outcome] for outcome in OUTCOMES}
        print(situation, table[situation], flush=True)
    return {"situations": table, "cpu_seconds": round(seconds / count / len(table), 3)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=PICTURES, help="of each situation")
    parser.add_argument("--before", metavar="REV", help="measure this older revision, too")
    parser.add_argument("--tuning", action="store_true", help="the other half; nothing is saved")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    strokes = halves(pen_strokes())
    if chosen.tuning:
        measured(reader(), strokes["choosing"], chosen.pictures)
        return
    numbers: dict[str, Any] = {"seed": SEED, "pictures": chosen.pictures}
    numbers["now"] = measured(reader(), strokes["reporting"], chosen.pictures)
    if chosen.before:
        before = measured(older_reader(chosen.before), strokes["reporting"], chosen.pictures)
        numbers["before"] = {"revision": chosen.before, **before}
    print(measurements.save("photographs", numbers))


if __name__ == "__main__":
    main()
