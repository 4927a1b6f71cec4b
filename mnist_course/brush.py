"""Many pen strokes drawn at once, as :func:`mnist_course.strokes.preprocess` draws one digit.

``preprocess`` asks each stroke for its distance to every pixel. Here a stroke is cut into pieces of
at most two pixels, and each asks only the 7 × 7 pixels that its brush can reach. The pictures are
the same up to rounding, and a hundred thousand take a minute instead of an hour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mnist_course.strokes import BOX, CENTRE, RADIUS, SIZE, TINY

LONGEST = 2.0
"""Pixels; a segment is cut into pieces that are no longer."""
THICKEST = 1.9
"""The largest radius of a brush, in pixels, whose ink stays within a piece's 7 × 7 pixels."""
_REACH, _MARGIN = 3, 8
_SIDE = SIZE + 2 * _MARGIN


def segments_of(drawings: Sequence[Sequence[ArrayLike]]) -> Tensor:
    """The segments of several drawings, padded to the same number by repeating the last one.

    Args:
        drawings: strokes each, as :func:`mnist_course.strokes.preprocess` takes them, none empty.

    Returns:
        float32 ``(N, P, 2, 2)``: for each segment its two ends ``(x, y)``.
    """
    rows = []
    for strokes in drawings:
        parts = []
        for stroke in strokes:
            points = np.asarray(stroke, np.float64).reshape(-1, 2)
            ends = points[1:] if len(points) > 1 else points
            parts.append(np.stack([points[: len(ends)], ends], axis=1))
        rows.append(np.concatenate(parts))
    longest = max(map(len, rows))
    padded = [np.concatenate([row, np.repeat(row[-1:], longest - len(row), 0)]) for row in rows]
    return torch.from_numpy(np.stack(padded)).float()


def draw_many(segments: Tensor, radius: float | Tensor = RADIUS) -> Tensor:
    """Draw drawings as MNIST would have them: brought to size, and centred by their mass.

    Args:
        segments: floats ``(N, P, 2, 2)`` in any unit, y downwards; see :func:`segments_of`.
        radius: of the brush in pixels, up to 1.9; for all, or ``(N,)``.

    Returns:
        float32 ``(N, 1, 28, 28)`` in [0, 1].

    Raises:
        ValueError: if the segments have another shape, or a brush is too thick.
    """
    if segments.ndim != 4 or segments.shape[2:] != (2, 2):
        raise ValueError(f"expected segments (N, P, 2, 2), got {tuple(segments.shape)}")
    radii = torch.as_tensor(radius, dtype=torch.float32).expand(len(segments))
    if not (radii > 0).all() or not (radii <= THICKEST).all():
        raise ValueError(f"expected radii above 0 and up to {THICKEST} pixels, got {radius}")
    low, high = segments.amin((1, 2)), segments.amax((1, 2))
    side = (high - low).amax(1)
    scale = torch.where(side > TINY, (BOX - 1 - 2 * radii) / side, 0.0)
    middle = ((low + high) / 2)[:, None, None]
    segments = (segments - middle) * scale[:, None, None, None] + SIZE / 2
    images = _drawn(segments, radii)
    grid = torch.arange(SIZE) + 0.5
    mass = images.sum((1, 2))
    centre = torch.stack([images.sum(1) @ grid, images.sum(2) @ grid], 1) / mass[:, None]
    return _drawn(segments + (CENTRE - centre)[:, None, None], radii)[:, None]


def _drawn(segments: Tensor, radii: Tensor) -> Tensor:
    """Segments in pixels as pictures ``(N, 28, 28)``."""
    pieces = _cut(segments)
    count = len(pieces)
    start, along = pieces[:, :, 0], pieces[:, :, 1] - pieces[:, :, 0]
    corner = ((start + along / 2).floor() - _REACH).clamp(-_MARGIN, SIZE + 1)
    steps = torch.arange(2 * _REACH + 1)
    x = corner[..., 0, None] + steps + 0.5 - start[..., 0, None]  # (N, P, 7), from the start
    y = corner[..., 1, None] + steps + 0.5 - start[..., 1, None]
    dx, dy = along[..., 0, None, None], along[..., 1, None, None]
    x, y = x[:, :, None, :], y[:, :, :, None]
    share = ((x * dx + y * dy) / (dx * dx + dy * dy).clamp(min=1e-12)).clamp_(0, 1)
    squared = (x - share * dx).square_() + (y - share * dy).square_()
    first = ((corner[..., 1] + _MARGIN) * _SIDE + corner[..., 0] + _MARGIN).long()
    place = first[..., None, None] + steps[:, None] * _SIDE + steps
    nearest = torch.full((count, _SIDE * _SIDE), 1e6)
    nearest.scatter_reduce_(1, place.view(count, -1), squared.view(count, -1), "amin")
    inner = nearest.view(count, _SIDE, _SIDE)[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return (radii[:, None, None] + 0.5 - inner.sqrt()).clamp_(0, 1)


def _cut(segments: Tensor) -> Tensor:
    """The same segments in equal pieces of at most :data:`LONGEST` pixels."""
    start, along = segments[:, :, 0], segments[:, :, 1] - segments[:, :, 0]
    pieces = max(1, math.ceil(float(along.norm(dim=-1).max()) / LONGEST))
    ends = torch.arange(pieces + 1) / pieces
    points = start[:, :, None] + along[:, :, None] * ends[:, None]
    return torch.stack([points[:, :, :-1], points[:, :, 1:]], 3).flatten(1, 2)
