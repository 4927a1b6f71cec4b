"""From pen strokes to the picture that a network trained on MNIST expects.

The digits of MNIST were scaled so that their longer side fills a 20-pixel box, drawn with grey
edges, and shifted until their centre of mass lay in the middle of a 28 × 28 field (LeCun, Bottou,
Bengio and Haffner, 1998, section III.A). A drawing gets the same treatment here, but as *vectors*:
the strokes themselves are scaled and moved, and then drawn once with a brush as wide as MNIST's.
So a small digit has the same pen width as a large one, and no picture is ever scaled down.

``static/strokes.js`` does the same arithmetic in the same order, so the pad in the browser and
this module agree to the last bit. If you change one, change the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SIZE = 28
"""Width and height of the picture, in pixels."""
BOX = 20
"""Longest side of the digit in the picture, brush included, in pixels."""
RADIUS = 1.35
"""Radius of the brush in pixels; its edge fades over half a pixel on either side."""
CENTRE = 14.5
"""Where the centre of mass goes, measured from the edge; in MNIST it lies in [14, 15)."""
LIMIT = 1e6
"""Largest coordinate that is taken for a drawing."""
TINY = 1e-300
"""A drawing is a dot unless its longer side exceeds this; rounding has taken its shape."""

Strokes = Sequence[npt.ArrayLike]
"""Strokes, each a sequence of points ``(x, y)``; x grows to the right and y downwards."""
Array = npt.NDArray[np.float64]


def preprocess(strokes: Strokes) -> npt.NDArray[np.float32]:
    """Draw pen strokes as MNIST would have them.

    The place and the size of the drawing make no difference.

    Args:
        strokes: strokes, each a sequence of points ``(x, y)`` in any unit, y downwards. A stroke
            of one point is a dot.

    Returns:
        float32 ``(28, 28)`` in [0, 1]: 0 is paper and 1 is ink. All zeros for an empty drawing.

    Raises:
        ValueError: if a stroke is not a sequence of pairs of finite numbers up to 1e6.
    """
    return draw(strokes).astype(np.float32)


def draw(strokes: Strokes) -> Array:
    """Like :func:`preprocess`, before the result is rounded to float32."""
    drawing = [points for points in map(_points, strokes) if len(points)]
    if not drawing:
        return np.zeros((SIZE, SIZE))
    low = np.min([points.min(axis=0) for points in drawing], axis=0)
    high = np.max([points.max(axis=0) for points in drawing], axis=0)
    side = max(high - low)
    scale = (BOX - 2 * RADIUS - 1) / side if side > TINY else 0.0
    middle = (low + high) / 2

    def at(target: Array) -> Array:
        """The picture with the middle of the drawing at ``target``."""
        return rasterize([(points - middle) * scale + target for points in drawing])

    half = np.full(2, SIZE / 2)
    return at(half + (CENTRE - centre_of_mass(at(half))))


def rasterize(strokes: Sequence[Array]) -> Array:
    """Draw strokes, in pixels, with a round brush: how much of each pixel is ink.

    A pixel whose centre lies ``d`` pixels from the nearest stroke gets ``RADIUS + 0.5 - d``, kept
    within [0, 1]: full ink inside, a soft edge one pixel wide.

    Args:
        strokes: float64 ``(n, 2)`` each, with ``n ≥ 1`` points ``(x, y)``.

    Returns:
        float64 ``(28, 28)``.
    """
    nearest = np.full((SIZE, SIZE), np.inf)  # squared distance to the strokes
    grid = np.arange(SIZE) + 0.5
    for points in strokes:
        ends = points[1:] if len(points) > 1 else points
        for (ax, ay), (bx, by) in zip(points, ends, strict=False):
            dx, dy = bx - ax, by - ay
            px, py = grid[None, :] - ax, grid[:, None] - ay
            length = dx * dx + dy * dy
            # Where along the segment, from 0 to 1, the point nearest to each pixel lies.
            along = np.clip((px * dx + py * dy) / length, 0, 1) if length > 0 else 0.0
            ex, ey = px - along * dx, py - along * dy
            np.minimum(nearest, ex * ex + ey * ey, out=nearest)
    return np.clip(RADIUS + 0.5 - np.sqrt(nearest), 0, 1)


def centre_of_mass(image: Array) -> Array:
    """Centre of mass ``(x, y)`` of a picture with ink, in pixels from its upper left corner."""
    grid = np.arange(SIZE) + 0.5
    mass = _sum(image)
    return np.array([_sum(image * grid[None, :]) / mass, _sum(image * grid[:, None]) / mass])


def _sum(values: Array) -> float:
    """Add one value after the other, as the browser does; ``np.sum`` adds in pairs."""
    return float(np.cumsum(values)[-1])


def _points(stroke: npt.ArrayLike) -> Array:
    """One stroke as float64 ``(n, 2)``."""
    try:
        given = np.asarray(stroke)
        # NumPy would read numbers in a text, count days, and drop what is imaginary or masked.
        if given.size and (given.dtype.kind not in "iufO" or np.ma.is_masked(stroke)):
            raise TypeError
        points = given.astype(np.float64) if given.size else np.zeros(0)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise ValueError(
            "expected a stroke to be a sequence of points (x, y), two numbers each"
        ) from None
    if points.size == 0:
        return np.zeros((0, 2))
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"expected a stroke of shape (points, 2), got {points.shape}")
    if not (np.abs(points) <= LIMIT).all():
        raise ValueError(f"expected coordinates that are finite and at most {LIMIT:g} in size")
    return points
