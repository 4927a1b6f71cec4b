"""More digits than were written: random changes that leave a digit what it is.

Each augmentation is a small frozen object, called with a batch of pixels in [0, 1],
``(N, 1, H, W)``, and a generator on the processor; it returns a new batch of the same shape and
dtype. Every image of the batch is changed by its own random numbers. These are drawn on the
processor, so that they are the same wherever the images are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

Augmentation = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return torch.empty(n).uniform_(low, high, generator=generator)


@dataclass(frozen=True)
class Shift:
    """Move each image by a whole number of pixels; the background moves in at the edge.

    Attributes:
        pixels: the furthest move along each axis.
    """

    pixels: int = 1

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Move each image of ``(N, C, H, W)``, of any dtype."""
        N, C, H, W = images.shape
        p = self.pixels
        dy, dx = torch.randint(0, 2 * p + 1, (2, N, 1), generator=generator).to(images.device)
        width = W + 2 * p
        # One gather: where in the padded, flattened image each pixel of the result comes from.
        rows = (torch.arange(H, device=images.device) + dy) * width
        source = rows[:, :, None] + (torch.arange(W, device=images.device) + dx)[:, None, :]
        source = source.view(N, 1, H * W).expand(N, C, H * W)
        padded = functional.pad(images, (p, p, p, p)).flatten(2)
        return padded.gather(2, source).view(N, C, H, W)


@dataclass(frozen=True)
class Affine:
    """Turn, scale, slant and shift each image about its centre, with bilinear interpolation.

    Attributes:
        degrees: the largest rotation, either way.
        scale: the largest change of size; 0.1 means 0.9 … 1.1, width and height apart.
        shear: the largest slant: pixels to the side for each pixel up.
        shift: the largest move along each axis, in pixels.
    """

    degrees: float = 10
    scale: float = 0.1
    shear: float = 0.1
    shift: float = 1

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change each image of ``(N, C, H, W)``, floats."""
        N, size = len(images), images.shape[-1]
        angle = _uniform(N, -1, 1, generator) * math.radians(self.degrees)
        shear = _uniform(N, -self.shear, self.shear, generator)
        width, height = 1 + _uniform(2 * N, -self.scale, self.scale, generator).view(2, N)
        move = _uniform(2 * N, -self.shift, self.shift, generator).view(2, N) * 2 / size
        cos, sin = angle.cos(), angle.sin()
        # From a place in the result to its place in the image: scale, then slant, then turn.
        matrix = torch.stack(
            [
                torch.stack([cos / width, (shear * cos - sin) / height, move[0]], 1),
                torch.stack([sin / width, (shear * sin + cos) / height, move[1]], 1),
            ],
            1,
        )
        grid = functional.affine_grid(
            matrix.to(images.device), list(images.shape), align_corners=False
        )
        return functional.grid_sample(images, grid, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Stroke:
    """Make the strokes of each image thicker or thinner, by up to one pixel on each side.

    The image is mixed with its dilation (each pixel the largest of its 3×3 neighbours) or its
    erosion (the smallest).

    Attributes:
        thinner: the largest share of the eroded image, 0 … 1.
        thicker: the largest share of the dilated image, 0 … 1.
    """

    thinner: float = 0.5
    thicker: float = 0.5

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change each image of ``(N, C, H, W)``, floats."""
        amount = _uniform(len(images), -self.thinner, self.thicker, generator)
        amount = amount.to(images.device).view(-1, 1, 1, 1)
        thick = functional.max_pool2d(images, 3, stride=1, padding=1)
        thin = -functional.max_pool2d(-images, 3, stride=1, padding=1)
        return (
            images + amount.clamp(min=0) * (thick - images) + amount.clamp(max=0) * (images - thin)
        )


@dataclass(frozen=True)
class Sequence:
    """Several augmentations, one after the other."""

    parts: tuple[Augmentation, ...]

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Apply the parts in their order."""
        for part in self.parts:
            images = part(images, generator)
        return images
