"""What belongs together on a page: rules through it, parts of one digit, digits of one line.

Positions are in pixels, rows downwards; angles are in degrees, positive where lines of writing
climb to the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from mnist_course.ink import Array, Part

BLOCKS = 28  # in each the mean of the columns is searched for rules
STEEPEST = 8.0  # degrees by which rules, or lines of digits, may be turned
FEWEST_RULES = 3
FAINTEST_RULE = 0.02
CONSISTENT = 0.3  # of the ridges' strength lies along rules; of a page without, some 0.05
SPANNED = 0.7  # of the page's width; no stroke of a digit is so long, and three times
CLOSE = 0.25  # of a digit's height: from here on, what stands above is another digit


@dataclass(frozen=True)
class Digit:
    """The parts of one digit.

    Attributes:
        parts: connected ink, the largest first.
    """

    parts: tuple[Part, ...]

    @property
    def top(self) -> int:
        """First row."""
        return min(part.box[0].start for part in self.parts)

    @property
    def bottom(self) -> int:
        """Row after the last."""
        return max(part.box[0].stop for part in self.parts)

    @property
    def left(self) -> int:
        """First column."""
        return min(part.box[1].start for part in self.parts)

    @property
    def right(self) -> int:
        """Column after the last."""
        return max(part.box[1].stop for part in self.parts)

    @property
    def height(self) -> int:
        """Rows that it takes."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns that it takes."""
        return self.right - self.left

    @property
    def side(self) -> int:
        """The longer of its two sides."""
        return max(self.height, self.width)

    @property
    def middle(self) -> tuple[float, float]:
        """Row and column of its middle."""
        return (self.top + self.bottom) / 2, (self.left + self.right) / 2

    @property
    def may_be_two(self) -> bool:
        """Whether two of its parts are tall, and stand side by side."""
        tall = [part for part in self.parts if part.height > 0.55 * self.height]
        rows = [part.box[0] for part in tall]
        return any(
            min(one.stop, two.stop) - max(one.start, two.start) > 0.45 * self.height
            for one, two in combinations(rows, 2)
        )


def without_rules(grey: Array) -> Array:
    """The picture of a page without the rules of ruled or squared paper.

    Where a rule runs, the page is filled in from above and below it, so that strokes that cross
    the rule stay whole. Paper without at least three parallel rules is left as it is.

    Args:
        grey: float32 ``(H, W)`` in [0, 1].
    """
    for _ in range(2):  # rules darker than the paper, and lighter ones
        across = _without_level_rules(1 - grey)
        grey = _without_level_rules(np.ascontiguousarray(across.T)).T
    return np.ascontiguousarray(grey)


def _without_level_rules(dark: Array) -> Array:
    """The negative of a page without the rules that are darker than the paper."""
    height, width = dark.shape
    block, count = width // BLOCKS, BLOCKS
    if block < 2 or height < 4 * FEWEST_RULES:
        return dark
    blocks = dark[:, : count * block].reshape(height, count, block).mean(2)
    # A rule is a ridge: darker than what lies a little above and below.
    ridge = blocks - ndimage.uniform_filter1d(blocks, 2 * max(3, height // 100) + 1, axis=0)
    depth = float(np.median(np.quantile(ridge, 0.97, axis=0)))  # as rules are in most blocks
    if depth < FAINTEST_RULE:
        return dark
    rows = _rules(np.clip(ridge / depth, -1, 1), block)
    if rows is None:
        return dark
    result, half = dark.copy(), _half_thickness(blocks, rows)
    columns, offsets = np.arange(width), np.arange(-half, half + 1)[:, None]
    place = (columns + 0.5) / block - 0.5
    left = np.clip(np.floor(place), 0, count - 2).astype(int)
    share = place - left  # beyond the middles of the outer blocks, rules run on straight
    for row in rows:
        middle = np.round(row[left] + share * (row[left + 1] - row[left])).astype(int)
        above, below = (
            dark[np.clip(middle + side * (half + 1), 0, height - 1), columns] for side in (-1, 1)
        )
        place = np.clip(middle + offsets, 0, height - 1)
        filled = np.minimum(result[place, columns], np.maximum(above, below))
        result[place, columns] = filled
    return result


def _rules(ridge: Array, block: int) -> NDArray[np.float64] | None:
    """Where rules run: their rows in each block, ``(rules, blocks)``; None if there are none."""
    (height, count), spare = ridge.shape, int(ridge.shape[1] * block * 0.08)
    ridge = np.pad(ridge, ((spare, spare), (0, 0)))  # rules may enter from above or below
    inside = np.pad(np.ones((height, count)), ((spare, spare), (0, 0)))
    x = (np.arange(count) - (count - 1) / 2) * block
    best, profile, shift, seen = -1.0, ridge[:, 0], x, inside[:, 0]
    for angle in np.arange(-STEEPEST, STEEPEST + 0.1, 0.5):
        moved = np.round(x * np.tan(np.radians(angle))).astype(int)
        rows = np.clip(np.arange(len(ridge))[:, None] + moved, 0, len(ridge) - 1)
        blocks = np.take_along_axis(inside, rows, 0).sum(1)
        mean = np.take_along_axis(ridge, rows, 0).sum(1) / np.maximum(blocks, 4)
        if (score := float((mean**2 * blocks).sum())) > best:
            best, profile, shift, seen = score, mean, moved, blocks
    # What runs straight is as strong in the mean of the blocks as in each; chance is not.
    if best < CONSISTENT * float((ridge**2).sum()):
        return None
    wide = ndimage.maximum_filter1d(profile, 7)
    peaks = np.flatnonzero((profile == wide) & (profile > SPANNED / 2) & (seen >= 4))
    if len(peaks) < FEWEST_RULES:
        return None
    # A rule bends with the page: in each block it is the darkest row near the straight line.
    near = np.arange(-3, 4)
    straight = peaks[:, None] + shift
    rows = np.clip(straight[..., None] + near, 0, len(ridge) - 1)
    values = ridge[rows, np.arange(count)[None, :, None]]
    dark, there = values.max(2) > 0.3, inside[rows[..., 3], np.arange(count)]
    whole = (dark * there).sum(1) > SPANNED * there.sum(1)
    # Both rims of one broad bar are no rules of a page.
    if whole.sum() < FEWEST_RULES or np.ptp(peaks[whole]) < 0.3 * height:
        return None
    offset = np.where(dark, near[values.argmax(2)], 0)[whole]
    straight = straight[whole]
    return straight - spare + ndimage.median_filter(offset, (1, 5), mode="nearest")


def _half_thickness(blocks: Array, rows: NDArray[np.float64]) -> int:
    """How far the rules reach above and below their middle, in whole pixels."""
    height, count = blocks.shape
    offsets = np.arange(-8, 9)
    place = np.clip(np.round(rows[..., None] + offsets).astype(int), 0, height - 1)
    profile = np.median(blocks[place, np.arange(count)[None, :, None]], axis=(0, 1))
    profile = profile - profile.min()
    return int(np.abs(offsets[profile > 0.2 * profile[8]]).max(initial=1).clip(1, 6)) + 1


def digits(parts: Sequence[Part]) -> list[Digit]:
    """Put the parts of each digit together: the bar of a 5 above its belly, a dot beside a stroke.

    Args:
        parts: connected ink, as :func:`mnist_course.ink.written` gives it.

    Returns:
        Digits in no order; specks are left out.
    """
    if not parts:
        return []
    # As large as most of the ink: specks may be many, but are little.
    by_side = sorted(parts, key=lambda part: part.side)
    share = np.cumsum([part.mask.sum() for part in by_side])
    tall = float(by_side[int(np.searchsorted(share, share[-1] / 2))].side)
    groups = [[part] for part in sorted(parts, key=lambda part: -part.side)]
    merged = True
    while merged:
        merged = False
        for n, one in enumerate(groups):
            for other in groups[n + 1 :]:
                if _belong(Digit(tuple(one)), Digit(tuple(other)), tall):
                    one += other
                    groups.remove(other)
                    merged = True
                    break
    return [Digit(tuple(group)) for group in groups if Digit(tuple(group)).side > 0.35 * tall]


def _belong(one: Digit, other: Digit, tall: float) -> bool:
    """Whether two groups of parts are one digit: one above the other, or all but touching."""
    small, large = sorted((one, other), key=lambda digit: digit.side)
    down = max(small.top, large.top) - min(small.bottom, large.bottom)
    along = max(small.left, large.left) - min(small.right, large.right)
    height = max(small.bottom, large.bottom) - min(small.top, large.top)
    stacked = -down < 0.4 * small.height  # else they stand side by side
    if -along > (0.2 if stacked else 0.5) * small.width:
        limit = CLOSE * min(tall, large.side)
        return down < limit and height < 1.4 * max(tall, large.height)
    return small.side < 0.6 * large.side and max(down, along) < 0.12 * large.side


def turn(found: Sequence[Digit]) -> float:
    """By how many degrees lines of digits climb to the right; 0 for fewer than four digits.

    Of all angles, the one at which the middles of the digits lie on the fewest, narrowest lines.
    """
    if len(found) < 4:
        return 0.0
    y, x = np.array([digit.middle for digit in found]).T
    tall = float(np.median([digit.height for digit in found]))

    def spread(angle: float) -> float:
        slope = np.radians(angle)
        rows = np.sort(y * np.cos(slope) + x * np.sin(slope))
        gaps = np.minimum(np.diff(rows) / tall, 0.6)
        return float((gaps**1.5).sum()) + 0.004 * abs(angle) * len(found)

    angles = np.arange(-12, 12.1, 0.5)
    return float(angles[np.argmin([spread(angle) for angle in angles])])


def turned(swallowed: Array, angle: float) -> Array:
    """The cover of a page, turned clockwise by ``angle`` degrees; what comes in is bare paper."""
    image = Image.fromarray(swallowed)
    return np.asarray(image.rotate(-angle, Image.Resampling.BILINEAR, expand=True), np.float32)


def lines(found: Sequence[Digit]) -> list[list[Digit]]:
    """Digits in reading order: line by line, and from left to right.

    A line ends where the next middle, downwards, is more than half a digit lower.
    """
    if not found:
        return []
    tall = float(np.median([digit.height for digit in found]))
    downwards = sorted(found, key=lambda digit: digit.middle[0])
    result = [[downwards[0]]]
    for above, digit in pairwise(downwards):
        if digit.middle[0] - above.middle[0] > 0.45 * tall:
            result.append([])
        result[-1].append(digit)
    return [sorted(line, key=lambda digit: digit.left) for line in result]
