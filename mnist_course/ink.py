"""Where the ink is in a photograph: which pixels belong to what was written, and to nothing else.

Ink differs from paper by its colour, and from everything else by its shape. A pen leaves *thin*
strokes, so a lamp's reflection or a stain is none: it is a blob. What is written lies *inside* the
picture, so the desk round the page, a scanner's black strip or a window's frame is none: it runs
along the border. And rules run *straight* through the whole page, as no digit does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]

WINDOW = 0.3  # of the picture's longer side: wider than any stroke
MARGIN = 3  # per cent of the longer side that the window at least sees of the picture
COARSE = 192  # pixels a side; enough to tell ink from paper, and light from dark
FAINTEST = 0.05  # of the paper's light; what swallows less cannot be told from the paper
NOISE = 4.5  # standard deviations that ink lies above the paper's grain
BLOB = 0.5  # of a part's longer side: strokes are thinner
CONTACT = (
    0.4  # of the rectangle around a part: what has more of it on the border surrounds the page
)
SMALLEST = 0.018  # of the picture's longer side; less is no digit
SPECK = 5  # pixels; less is grain
FAINT = 0.3  # of the depth of most of the ink
SHARP = 0.7  # of the outline of ink is an edge of the picture, too
EIGHT = np.ones((3, 3), bool)
"""Pixels that touch at a corner are connected."""


@dataclass(frozen=True)
class Part:
    """Connected ink.

    Attributes:
        box: the smallest rectangle around it, as two slices.
        mask: bool, as large as the box.
        cut: whether it reaches the picture's border, so that some of it may be missing.
    """

    box: Box
    mask: Mask
    cut: bool

    @property
    def height(self) -> int:
        """Rows that it takes."""
        return self.mask.shape[0]

    @property
    def width(self) -> int:
        """Columns that it takes."""
        return self.mask.shape[1]

    @property
    def side(self) -> int:
        """The longer of its two sides."""
        return max(self.mask.shape)


def cover(grey: Array, beyond: bool = True) -> Array:
    """How much of the paper's light the ink swallows.

    The paper's light is what a closing leaves, with a window wider than any stroke: it follows
    shadows, also hard ones, and every slope of light. (Serra, 1982.)

    Args:
        grey: float32 ``(H, W)`` in [0, 1]; ink is dark.
        beyond: whether the window may hang over the picture's border. It must, so that a dark
            corner is not taken for ink; but then it takes ink along the border for a dark edge.

    Returns:
        float32 ``(H, W)``: 0 is bare paper, and 1 is black ink; the paper's grain spreads
        around 0.
    """
    window = round(WINDOW * max(grey.shape)) | 1
    out = window // 2 - MARGIN * max(grey.shape) // 100 if beyond else 0
    paper = ndimage.maximum_filter(np.pad(grey, out), window, mode="nearest")
    paper = ndimage.minimum_filter(paper, window, mode="nearest")
    paper = paper[out : out + grey.shape[0], out : out + grey.shape[1]]
    # In deep shadow, and on a dark desk, the camera's noise must not be taken for ink.
    swallowed = (paper - grey) / np.maximum(paper, 0.5 * np.quantile(paper, 0.9) + 1e-3)
    # A closing follows the lightest grains of the paper; its average lies a little lower.
    return (swallowed - bare(swallowed)[0]).astype(np.float32)


def bare(swallowed: Array) -> tuple[float, float]:
    """Mean and standard deviation of the bare paper, which ink does not bend (median, and MAD)."""
    low, high = np.quantile(swallowed, (0.02, 0.98))
    # Where there is much ink, half of all pixels may be covered.
    paper = swallowed[swallowed < (low + high) / 2] if high - low > 0.25 else swallowed
    middle = float(np.median(paper))
    return middle, 1.4826 * float(np.median(np.abs(paper - middle)))


def faintest(swallowed: Array) -> float:
    """The least cover that is ink."""
    return max(FAINTEST, NOISE * bare(swallowed)[1])


def parts(swallowed: Array) -> list[Part]:
    """Connected ink, each part down to half of its own darkness.

    So a faint digit beside a black strip is found as well as the strip, and the soft shade around
    a dark stroke does not join it with the next.

    Args:
        swallowed: float32 ``(H, W)``, as :func:`cover` gives it.
    """
    least = faintest(swallowed)
    number, boxes = _labelled(swallowed > least)
    half = np.full(len(boxes) + 1, np.inf, np.float32)
    for n, box in boxes.items():
        own = swallowed[box][number[box] == n]
        half[n] = max(0.5 * float(np.quantile(own, 0.95)), least)
    number, boxes = _labelled(swallowed > half[number])
    (height, width), found = number.shape, []
    for n, box in boxes.items():
        rows, columns = box
        cut = rows.start < 2 or columns.start < 2 or rows.stop > height - 2
        found.append(Part(box, number[box] == n, cut or columns.stop > width - 2))
    return found


def _labelled(mask: Mask) -> tuple[NDArray[np.int32], dict[int, Box]]:
    """Number connected pixels from 1, specks left out; and the box around each number."""
    number, count = ndimage.label(mask, EIGHT)
    area = np.bincount(number.ravel(), minlength=count + 1)
    kept = area >= SPECK
    kept[0] = False
    place = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    number = place[number]
    return number, dict(enumerate(ndimage.find_objects(number), 1))


def evidence(swallowed: Array, grey: Array) -> float:
    """How much speaks for it that dark ink was written on the picture.

    The difference between the two sides of every outline, summed over its pixels. What lies
    between strokes of the other colour shares their edges, but ends also where there are none; so
    a part whose outline is not sharp counts less.

    Args:
        swallowed: float32 ``(H, W)``, from :func:`cover`.
        grey: float32 ``(H, W)``, the picture that it was found in; ink is dark.
    """
    total = 0.0
    for part in written(swallowed, grey):
        rows, columns = (slice(max(each.start - 1, 0), each.stop + 1) for each in part.box)
        mask = np.zeros(grey.shape, np.int8)
        mask[part.box] = part.mask
        steps = (
            np.diff(mask[rows, columns], axis=axis) * np.diff(grey[rows, columns], axis=axis)
            for axis in (0, 1)
        )
        total -= sum(float(step.sum()) for step in steps) * sharpness(part, swallowed, grey) ** 4
    return total


def surrounds(part: Part, shape: tuple[int, ...]) -> bool:
    """Whether a part runs along the picture's border, as a desk, a strip or a frame does."""
    if not part.cut:
        return False
    (rows, columns), mask, contact = part.box, part.mask, 0
    for near, edge in (
        (rows.start < 2, mask[:2].any(0)),
        (columns.start < 2, mask[:, :2].any(1)),
        (rows.stop > shape[0] - 2, mask[-2:].any(0)),
        (columns.stop > shape[1] - 2, mask[:, -2:].any(1)),
    ):
        contact += int(edge.sum()) if near else 0
    return contact > CONTACT * 2 * (part.height + part.width)


def may_be_eaten(part: Part, shape: tuple[int, ...]) -> bool:
    """Whether :func:`cover`, looking beyond the border, may have lost ink beside this part."""
    margin = MARGIN * max(shape) // 100
    pairs = list(zip(part.box, shape, strict=True))
    rims = [each.start for each, _ in pairs] + [n - each.stop for each, n in pairs]
    return part.cut or any(abs(rim - margin) <= 2 for rim in rims)


def is_blob(part: Part) -> bool:
    """Whether a part is wider than a stroke: a reflection, a stain, the inside of a loop."""
    depth = ndimage.distance_transform_cdt(np.pad(part.mask, 1), "chessboard")
    return bool(2 * depth.max() - 1 > BLOB * part.side)


def is_frame(part: Part) -> bool:
    """Whether a part is a rectangle, drawn or filled: it follows all four sides of its box."""
    mask = part.mask
    rims = [mask[:2].any(0), mask[-2:].any(0), mask[:, :2].any(1), mask[:, -2:].any(1)]
    slim = min(part.mask.shape) < 0.3 * part.side  # a 1 is a rectangle, too
    return not slim and min(float(np.mean(rim)) for rim in rims) > 0.85


def sharpness(part: Part, swallowed: Array, grey: Array) -> float:
    """Along how much of the part's outline, from 0 to 1, the picture has an edge.

    A reflection fades out, and what an estimate of the paper's light gets wrong in a corner ends
    where there is nothing to be seen.

    Args:
        part: a part of the picture.
        swallowed: float32 ``(H, W)``, from :func:`cover`.
        grey: float32 ``(H, W)``, the picture that it was found in; ink is dark.
    """
    reach = max(2, part.side // 20)  # a pixel of MNIST, on either side
    rows, columns = (slice(max(each.start - reach, 0), each.stop + reach) for each in part.box)
    near = grey[rows, columns]
    mask = np.zeros(near.shape, bool)
    top, left = part.box[0].start - rows.start, part.box[1].start - columns.start
    mask[top : top + part.height, left : left + part.width] = part.mask
    rim = mask & ~ndimage.binary_erosion(mask)
    width = 2 * reach + 1
    rise = ndimage.maximum_filter(near, width)[rim] - ndimage.minimum_filter(near, width)[rim]
    return float((rise > 0.5 * _depth(part, swallowed, grey)).mean())


def _depth(part: Part, swallowed: Array, grey: Array) -> float:
    """How much darker a part is than the paper around it."""
    share = float(np.median(swallowed[part.box][part.mask]))
    return share / max(1 - share, 0.01) * float(np.median(grey[part.box][part.mask]))


def written(swallowed: Array, grey: Array) -> list[Part]:
    """The parts that a pen may have left: not too small, no blobs, no frames, no surroundings.

    Args:
        swallowed: float32 ``(H, W)``, from :func:`cover`.
        grey: float32 ``(H, W)``, the picture that it was found in; ink is dark.
    """
    found = parts(swallowed)
    inside = [part for part in found if not surrounds(part, grey.shape)]
    longest = max((part.side for part in inside), default=0)
    if longest < SMALLEST * max(grey.shape):
        return []
    inside = [part for part in inside if part.side > 0.12 * longest]
    clear = 1.5 * faintest(swallowed)
    inside = [part for part in inside if np.median(swallowed[part.box][part.mask]) > clear]
    thin = [part for part in inside if not (is_blob(part) or is_frame(part))]
    # What is much fainter than most of the ink came from no pen: wood, noise, a shadow's rim.
    depths = [_depth(part, swallowed, grey) for part in thin]
    much = [depth * part.mask.sum() for depth, part in zip(depths, thin, strict=True)]
    least = FAINT * depths[int(np.argmax(much))] if thin else 0.0
    thin = [part for depth, part in zip(depths, thin, strict=True) if depth > least]
    thin = [part for part in thin if sharpness(part, swallowed, grey) > SHARP]
    thin = [part for part in thin if not any(_frames(part, other) for other in thin)]
    return [part for part in thin if not _is_margin(part, thin, grey.shape)]


def _is_margin(part: Part, found: Sequence[Part], shape: tuple[int, ...]) -> bool:
    """Whether a part is a long piece of a frame: near the border, with something further inside."""
    if part.side < 0.5 * max(shape):
        return False
    inside = _distance(part, shape)
    return inside < 0.12 and any(_distance(other, shape) > inside + 0.05 for other in found)


def _distance(part: Part, shape: tuple[int, ...]) -> float:
    """How far the middle of a part lies from the nearest border, as a share of the longer side."""
    middles = [(each.start + each.stop) / 2 for each in part.box]
    return min(min(m, n - m) for m, n in zip(middles, shape, strict=True)) / max(shape)


def _frames(part: Part, other: Part) -> bool:
    """Whether ``part`` is a frame around ``other``, which is large enough for a digit."""
    if part is other or other.side < 0.15 * part.side:
        return False
    return all(
        one.start < two.start and two.stop < one.stop
        for one, two in zip(part.box, other.box, strict=True)
    )
